//! Sources that are fetched: what a URL or a git reference says. Nothing is asked of anybody here.

mod git;
mod url;

use std::fmt;

use rbuild_image::digest::Digest;
use serde::Serialize;

pub use git::{GitFault, GitSource, Mtime};
pub use url::mask_logins;

use url::Url;

/// File name of a URL that has none.
const UNNAMED: &str = "__unnamed__";

/// Longest name of a file on any usual file system, in bytes.
const MAX_NAME: usize = 255;

/// A file of the web.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct HttpSource {
    /// The URL without its user.
    pub url: String,
    /// The user and password that stood in it.
    #[serde(skip)]
    pub login: Option<UrlLogin>,
    /// Name of the file: the last element of the path.
    pub name: String,
    /// What the file must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Digest>,
}

/// User and password of a URL. Not shown by `Debug`, not part of a printed plan.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UrlLogin {
    /// User, decoded.
    pub user: String,
    /// Password, decoded; may be empty.
    pub password: String,
}

impl fmt::Debug for UrlLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[login]")
    }
}

/// What a source is by the way it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteKind {
    /// A git repository.
    Git,
    /// A file of the web.
    Url,
}

impl RemoteKind {
    /// Tells remote sources from paths as BuildKit does: schemes count in small letters only, and
    /// `github.com/…` is a path.
    #[must_use]
    pub fn of(source: &str) -> Option<Self> {
        if source.starts_with("git://") || source.starts_with("ssh://") {
            return Some(Self::Git);
        }
        if source.starts_with("http://") || source.starts_with("https://") {
            let end = source.find(['#', '?']).unwrap_or(source.len());
            return Some(if source[..end].ends_with(".git") {
                Self::Git
            } else {
                Self::Url
            });
        }
        let (user, rest) = source.split_once('@')?;
        let (host, _) = rest.split_once(':')?;
        let is_word = |text: &str, more: &[u8]| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
            !text.is_empty() && text.bytes().all(fits)
        };
        (is_word(user, b"-_") && is_word(host, b"-.")).then_some(Self::Git)
    }

    /// Tells what a build context is: as [`RemoteKind::of`], and `github.com/…` is a repository.
    #[must_use]
    pub fn of_context(source: &str) -> Option<Self> {
        if source.starts_with("github.com/") {
            return Some(Self::Git);
        }
        Self::of(source)
    }
}

impl HttpSource {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, checksum: Option<Digest>) -> Result<Self, String> {
        let url = Url::parse(text)?;
        let path = url::decode(url.path);
        let last = path
            .split(|byte| *byte == b'/')
            .rfind(|part| !part.is_empty())
            .unwrap_or_default();
        let name = match last {
            b"" | b"." | b".." => UNNAMED.to_owned(),
            name => String::from_utf8_lossy(name).into_owned(),
        };
        if name.contains('\0') || name.len() > MAX_NAME {
            return Err("its last element cannot be the name of a file".to_owned());
        }
        Ok(Self {
            url: url.without_login(),
            login: url.login(),
            name,
            checksum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_sources_are_told_from_paths() {
        for (source, expected) in [
            ("https://x.y/z", Some(RemoteKind::Url)),
            ("http://x.y", Some(RemoteKind::Url)),
            ("https://x.y/z.git", Some(RemoteKind::Git)),
            ("https://x.y/z.git?tag=v1&subdir=s", Some(RemoteKind::Git)),
            ("https://x.y/z.git#main:sub", Some(RemoteKind::Git)),
            ("https://x.y/z?x=.git", Some(RemoteKind::Url)),
            ("git://h/r", Some(RemoteKind::Git)),
            ("ssh://git@h/r", Some(RemoteKind::Git)),
            ("git@github.com:a/b", Some(RemoteKind::Git)),
            ("HTTPS://x.y/z", None),
            ("ftp://x/y", None),
            ("github.com/a/b", None),
            ("a@b", None),
            ("dir/a@b:c", None),
            ("a:b@c", None),
        ] {
            assert_eq!(RemoteKind::of(source), expected, "{source}");
        }
        assert_eq!(
            RemoteKind::of_context("github.com/a/b"),
            Some(RemoteKind::Git)
        );
    }

    #[test]
    fn files_are_named_by_the_path() {
        for (url, name) in [
            ("https://x.y", UNNAMED),
            ("https://x.y/", UNNAMED),
            ("https://x.y/d/", "d"),
            ("https://x.y/a/b.tar.gz?x=1/2#f", "b.tar.gz"),
            ("https://x.y/a%20b", "a b"),
            ("https://x.y/a%2f..%2fpwned", "pwned"),
            ("https://x.y/%2e%2e", UNNAMED),
            ("https://x.y?q=/z", UNNAMED),
        ] {
            assert_eq!(HttpSource::parse(url, None).unwrap().name, name, "{url}");
        }
        for url in [
            "https://".to_owned(),
            "https://x.y/a b".to_owned(),
            "https://x.y/%00x".to_owned(),
            format!("https://x.y/{}", "n".repeat(256)),
        ] {
            assert!(HttpSource::parse(&url, None).is_err(), "{url}");
        }
    }

    #[test]
    fn logins_are_kept_apart() {
        let source = HttpSource::parse("http://me:p%40ss@x.y:8/z?q", None).unwrap();
        assert_eq!(source.url, "http://x.y:8/z?q");
        let login = source.login.clone().unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.as_str()),
            ("me", "p@ss")
        );
        let shown = format!("{source:?}{}", serde_json::to_string(&source).unwrap());
        assert!(!shown.contains("ss"), "{shown}");
    }
}
