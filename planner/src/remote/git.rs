//! Git references: `URL[?query][#ref[:subdir]]`.
//!
//! Messages are BuildKit's, since scripts look for them.

use std::fmt;

use rbuild_parser::boolean::parse_bool;
use serde::Serialize;

use super::UrlLogin;
use super::url::{Url, cut, decode};

/// A revision of a git repository, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct GitSource {
    /// The repository's URL, or `user@host:path`; no password, no query, no fragment.
    pub remote: String,
    /// The user and password that stood in an http or https URL.
    #[serde(skip)]
    pub login: Option<UrlLogin>,
    /// Branch, tag, full name or commit id; empty for the default branch.
    pub reference: String,
    /// Folder in it; empty for all of it.
    pub subdir: String,
    /// The id, or its beginning, that the commit must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Keeps `.git`; `None` if nothing was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_git_dir: Option<bool>,
    /// Brings submodules.
    pub submodules: bool,
    /// Asks for the commit by its id.
    pub fetch_by_commit: bool,
    /// What time the files get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Mtime>,
}

/// `mtime=`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mtime {
    /// Now.
    Checkout,
    /// That of the commit.
    Commit,
}

/// What is wrong with a git reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitFault(pub String);

impl fmt::Display for GitFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GitFault {}

fn fault<T>(text: impl Into<String>) -> Result<T, GitFault> {
    Err(GitFault(text.into()))
}

impl GitSource {
    /// Reads a git reference, `github.com/…` included.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, GitFault> {
        let url;
        let text = if text.starts_with("github.com/") {
            url = format!("https://{text}");
            &url
        } else {
            text
        };
        let (remote, login, query, fragment) = if text.contains("://") {
            parse_url(text)?
        } else {
            let (rest, fragment) = cut(text, '#');
            let (remote, query) = cut(rest, '?');
            (remote.to_owned(), None, query, fragment)
        };
        let mut source = Self {
            remote,
            login,
            reference: String::new(),
            subdir: String::new(),
            checksum: None,
            keep_git_dir: None,
            submodules: true,
            fetch_by_commit: false,
            mtime: None,
        };
        if let Some(fragment) = fragment {
            let (reference, subdir) = cut(fragment, ':');
            reference.clone_into(&mut source.reference);
            subdir.unwrap_or_default().clone_into(&mut source.subdir);
        }
        if let Some(query) = query {
            source.read_query(query)?;
        }
        source.subdir = clean(&source.subdir);
        Ok(source)
    }

    /// Takes a `--checksum` in.
    ///
    /// # Errors
    /// If the reference says something else.
    pub fn set_checksum(&mut self, checksum: &str) -> Result<(), GitFault> {
        if let Some(known) = self.checksum.as_deref().filter(|known| *known != checksum) {
            return fault(format!("checksum mismatch {known:?} != {checksum:?}"));
        }
        self.checksum = Some(check_hex(checksum)?);
        Ok(())
    }

    /// Takes a `--keep-git-dir` in.
    ///
    /// # Errors
    /// If the reference says something else.
    pub fn set_keep_git_dir(&mut self, keeps: bool) -> Result<(), GitFault> {
        if self.keep_git_dir.is_some_and(|known| known != keeps) {
            return fault("inconsistent keep-git-dir configuration");
        }
        self.keep_git_dir = Some(keeps);
        Ok(())
    }

    fn read_query(&mut self, query: &str) -> Result<(), GitFault> {
        let mut seen: Vec<String> = Vec::new();
        let (mut tag, mut branch) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = cut(pair, '=');
            let text =
                |part: &str| String::from_utf8_lossy(&decode(&part.replace('+', " "))).into_owned();
            let (name, value) = (text(name), text(value.unwrap_or_default()));
            if seen.contains(&name) {
                return fault(format!("query {name:?} has multiple values"));
            }
            let may_be_bare = matches!(
                name.as_str(),
                "submodules" | "keep-git-dir" | "fetch-by-commit"
            );
            let is_known = may_be_bare
                || matches!(
                    name.as_str(),
                    "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" | "mtime"
                );
            if !is_known {
                return fault(format!("unexpected query {name:?}"));
            }
            if value.is_empty() && !may_be_bare {
                return fault(format!("query {name:?} has no value"));
            }
            match name.as_str() {
                "ref" => self.set_reference(value)?,
                "tag" => tag = Some(prefixed("refs/tags/", &value)),
                "branch" => branch = Some(prefixed("refs/heads/", &value)),
                "subdir" => {
                    if !self.subdir.is_empty() && self.subdir != value {
                        return fault(format!("subdir conflicts: {:?} vs {value:?}", self.subdir));
                    }
                    self.subdir = value;
                }
                "checksum" | "commit" => self.set_checksum(&value)?,
                "keep-git-dir" => self.keep_git_dir = Some(truth(&name, &value)?),
                "submodules" => self.submodules = truth(&name, &value)?,
                "fetch-by-commit" => self.fetch_by_commit = truth(&name, &value)?,
                _ => self.mtime = Some(mtime(&value)?),
            }
            seen.push(name);
        }
        if tag.is_some() && branch.is_some() {
            return fault("branch conflicts with tag");
        }
        match tag.or(branch) {
            Some(name) => self.set_reference(name),
            None => Ok(()),
        }
    }

    fn set_reference(&mut self, name: String) -> Result<(), GitFault> {
        if !self.reference.is_empty() && self.reference != name {
            return fault(format!("ref conflicts: {:?} vs {name:?}", self.reference));
        }
        self.reference = name;
        Ok(())
    }
}

type Parts<'a> = (String, Option<UrlLogin>, Option<&'a str>, Option<&'a str>);

fn parse_url(text: &str) -> Result<Parts<'_>, GitFault> {
    let url =
        Url::parse(text).map_err(|problem| GitFault(format!("invalid git URL: {problem}")))?;
    let is_http = matches!(url.scheme, "http" | "https");
    if !is_http && url.has_password() {
        return fault("invalid git URL: only http and https URLs may have a password");
    }
    let user = url.user().filter(|_| !is_http);
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    let remote = format!("{}://{user}{}{}", url.scheme, url.host, url.path);
    let login = url.login().filter(|_| is_http);
    Ok((remote, login, url.query, url.fragment))
}

fn prefixed(prefix: &str, name: &str) -> String {
    if name.starts_with(prefix) {
        name.to_owned()
    } else {
        format!("{prefix}{name}")
    }
}

/// As Go's `strconv.ParseBool`; a bare name is true.
fn truth(name: &str, value: &str) -> Result<bool, GitFault> {
    match parse_bool(value) {
        None if value.is_empty() => Ok(true),
        None => fault(format!("invalid {name} value: {value:?}")),
        Some(is_true) => Ok(is_true),
    }
}

fn mtime(value: &str) -> Result<Mtime, GitFault> {
    match value {
        "checkout" => Ok(Mtime::Checkout),
        "commit" => Ok(Mtime::Commit),
        _ => fault(format!("invalid mtime value: {value:?}")),
    }
}

fn check_hex(checksum: &str) -> Result<String, GitFault> {
    let is_fine =
        (1..=64).contains(&checksum.len()) && checksum.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_fine {
        Ok(checksum.to_owned())
    } else {
        fault(format!(
            "invalid checksum {checksum:?}: not the beginning of a commit id"
        ))
    }
}

/// Returns the folder without empty and `.` components; `..` stops at the top.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let check = |text: &str, remote: &str, reference: &str, subdir: &str| {
            let found = GitSource::parse(text).unwrap();
            assert_eq!(
                (
                    found.remote.as_str(),
                    found.reference.as_str(),
                    found.subdir.as_str()
                ),
                (remote, reference, subdir),
                "{text}"
            );
        };
        check("https://x.y/z.git", "https://x.y/z.git", "", "");
        check(
            "https://x.y/z.git#main:a/b/",
            "https://x.y/z.git",
            "main",
            "a/b",
        );
        check("https://x.y/z.git#:a/../../b", "https://x.y/z.git", "", "b");
        check("https://x.y/z.git#a/b", "https://x.y/z.git", "a/b", "");
        check("github.com/a/b#v1", "https://github.com/a/b", "v1", "");
        check("git@h:a/b.git#v1:s", "git@h:a/b.git", "v1", "s");
        check(
            "ssh://git@h:22/r?tag=v1",
            "ssh://git@h:22/r",
            "refs/tags/v1",
            "",
        );
        check(
            "https://x.y/z.git?branch=b",
            "https://x.y/z.git",
            "refs/heads/b",
            "",
        );
        check(
            "https://x.y/z.git?tag=refs/tags/b",
            "https://x.y/z.git",
            "refs/tags/b",
            "",
        );
        check(
            "https://x.y/z.git?ref=r&subdir=s",
            "https://x.y/z.git",
            "r",
            "s",
        );
    }

    #[test]
    fn options() {
        let found = GitSource::parse(
            "https://x.y/z.git?tag=v1&subdir=s&submodules=false&keep-git-dir&commit=ab12&mtime=commit",
        )
        .unwrap();
        assert_eq!(found.keep_git_dir, Some(true));
        assert!(!found.submodules && !found.fetch_by_commit);
        assert_eq!(found.checksum.as_deref(), Some("ab12"));
        assert_eq!(found.mtime, Some(Mtime::Commit));
    }

    #[test]
    fn faults() {
        for (text, expected) in [
            ("https://x/z.git?foo=1", "unexpected query \"foo\""),
            (
                "https://x/z.git?ref=a&ref=b",
                "query \"ref\" has multiple values",
            ),
            ("https://x/z.git?ref=", "query \"ref\" has no value"),
            ("https://x/z.git?ref", "query \"ref\" has no value"),
            ("https://x/z.git?ref=a#b", "ref conflicts: \"b\" vs \"a\""),
            (
                "https://x/z.git?tag=a&branch=b",
                "branch conflicts with tag",
            ),
            (
                "https://x/z.git?keep-git-dir=x",
                "invalid keep-git-dir value: \"x\"",
            ),
            (
                "https://x/z.git?checksum=ab&commit=cd",
                "checksum mismatch \"ab\" != \"cd\"",
            ),
            (
                "ssh://u:p@h/r",
                "invalid git URL: only http and https URLs may have a password",
            ),
            ("https:///r.git", "invalid git URL: it names no host"),
        ] {
            assert_eq!(GitSource::parse(text).unwrap_err().0, expected, "{text}");
        }
        let mut source = GitSource::parse("https://x/z.git?keep-git-dir=true").unwrap();
        let fault = source.set_keep_git_dir(false).unwrap_err();
        assert_eq!(fault.0, "inconsistent keep-git-dir configuration");
        let mut source = GitSource::parse("https://x/z.git?checksum=abcd").unwrap();
        let fault = source.set_checksum("abce").unwrap_err();
        assert_eq!(fault.0, "checksum mismatch \"abcd\" != \"abce\"");
    }

    #[test]
    fn logins_of_http_are_kept_apart() {
        let source = GitSource::parse("https://me:pw@x/z.git#m").unwrap();
        assert_eq!(source.remote, "https://x/z.git");
        assert_eq!(source.login.clone().unwrap().password, "pw");
        assert!(!format!("{source:?}").contains("pw"));
    }
}
