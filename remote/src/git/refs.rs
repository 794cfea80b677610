//! Which URLs and names are handed to git, and which commit a name means.

use super::command::{Call, Git};
use super::{Commit, Repository};
use crate::RemoteError;

/// Schemes of repositories. `file`, `ext` and `fd` would read or run things of this machine.
const SCHEMES: &[&str] = &["http://", "https://", "git://", "ssh://"];

/// Refuses what could be an option, another kind of transport, or more than one line.
pub(crate) fn check_url(url: &str) -> Result<(), RemoteError> {
    let refuse = |problem| {
        Err(RemoteError::Refused {
            what: format!("repository {url:?}"),
            problem,
        })
    };
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return refuse("it has blanks or control characters in it");
    }
    let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme));
    let (authority, path) = match rest {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => match url.split_once(':') {
            Some((authority, path)) if authority.contains('@') && !authority.contains('/') => {
                (authority, path)
            }
            _ => return refuse("only http, https, git and ssh are possible"),
        },
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() || path.is_empty() {
        return refuse("it names no host or no path");
    }
    if [user, host, path].iter().any(|part| part.starts_with('-')) {
        return refuse("a part of it begins like an option");
    }
    Ok(())
}

/// Refuses what is no name of a branch, tag or commit.
///
/// Spec: <https://git-scm.com/docs/git-check-ref-format>
pub(crate) fn check_reference(name: &str) -> Result<(), RemoteError> {
    let is_bad = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    let is_bad_part = |part: &str| {
        part.is_empty() || part.starts_with('.') || part.ends_with('.') || part.ends_with(".lock")
    };
    let is_fine = name.is_empty()
        || !(name.starts_with('-')
            || name == "@"
            || name.contains("..")
            || name.contains("@{")
            || name.chars().any(is_bad)
            || name.split('/').any(is_bad_part));
    if is_fine {
        return Ok(());
    }
    Err(RemoteError::Refused {
        what: format!("git ref {name:?}"),
        problem: "it is not the name of a branch, tag or commit",
    })
}

/// Returns host and port of an http or https URL.
pub(crate) fn http_host(url: &str) -> Option<&str> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme))?;
    rest.split('/').next()
}

/// Tells whether `text` is a whole SHA-1 or SHA-256 id.
pub(crate) fn is_full_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Checks that one of `found` begins with `expected`.
pub(super) fn expect(expected: &str, found: &[&str]) -> Result<(), RemoteError> {
    let wanted = expected.to_ascii_lowercase();
    if found.iter().any(|id| id.starts_with(&wanted)) {
        return Ok(());
    }
    let words: Vec<&str> = found.to_vec();
    Err(RemoteError::CommitMismatch {
        expected: expected.to_owned(),
        found: words.join(" or "),
    })
}

/// Asks the repository what a name means. Branches win over tags, as in `git checkout`.
pub(super) fn resolve(git: &Git<'_>, repository: &Repository<'_>) -> Result<Commit, RemoteError> {
    let wanted = match repository.reference {
        "" => "HEAD",
        name => name,
    };
    let peeled = format!("{wanted}^{{}}");
    let mut args = vec!["ls-remote", "--symref", "--", repository.url, wanted];
    if wanted != "HEAD" {
        args.push(&peeled);
    }
    let call = Call {
        doing: "load",
        is_quick: true,
        ..Call::default()
    };
    let listing = git.run(&call, &args)?;
    let found = Listing::read(&String::from_utf8_lossy(&listing));
    let named = found.named(wanted).ok_or_else(|| RemoteError::NoRef {
        reference: wanted.to_owned(),
    })?;
    if let Some(checksum) = repository.checksum {
        let mut ids = vec![named.commit.as_str()];
        ids.extend(named.tag.as_deref());
        expect(checksum, &ids)?;
    }
    Ok(Commit {
        id: named.commit,
        name: named.name,
    })
}

/// What `git ls-remote --symref` lists.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Name and id.
    refs: Vec<(String, String)>,
    /// What HEAD points to.
    head: Option<String>,
}

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Full name.
    pub(crate) name: String,
    pub(crate) commit: String,
    /// The tag object, if it is an annotated tag.
    tag: Option<String>,
}

impl Listing {
    pub(crate) fn read(text: &str) -> Self {
        let mut listing = Self::default();
        for line in text.lines() {
            let Some((left, name)) = line.split_once('\t') else {
                continue;
            };
            if let Some(target) = left.strip_prefix("ref: ") {
                if name == "HEAD" {
                    listing.head = Some(target.to_owned());
                }
            } else if is_full_id(left) {
                listing.refs.push((name.to_owned(), left.to_owned()));
            }
        }
        listing
    }

    fn id(&self, name: &str) -> Option<&String> {
        let found = self.refs.iter().find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    pub(crate) fn named(&self, wanted: &str) -> Option<Named> {
        if wanted == "HEAD" {
            let commit = self.id("HEAD")?.clone();
            // The branch's own name, so that a kept .git has it; what it says must be a name.
            let branch = self
                .head
                .clone()
                .filter(|name| check_reference(name).is_ok());
            return Some(Named {
                name: branch.unwrap_or_else(|| "HEAD".to_owned()),
                commit,
                tag: None,
            });
        }
        let candidates = [
            wanted.starts_with("refs/").then(|| wanted.to_owned()),
            Some(format!("refs/heads/{wanted}")),
            Some(format!("refs/tags/{wanted}")),
            Some(format!("refs/{wanted}")),
        ];
        candidates.into_iter().flatten().find_map(|name| {
            let id = self.id(&name)?.clone();
            let peeled = self.id(&format!("{name}^{{}}")).cloned();
            Some(Named {
                commit: peeled.clone().unwrap_or_else(|| id.clone()),
                tag: peeled.map(|_| id),
                name,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for url in [
            "https://h/r.git",
            "http://127.0.0.1:80/a/b.git",
            "git://h/r",
            "ssh://git@h:22/r",
            "git@h:a/b",
        ] {
            assert!(check_url(url).is_ok(), "{url}");
        }
        for url in [
            "file:///r",
            "ext::sh -c x",
            "fd::17",
            "/a/b",
            "--upload-pack=x",
            "ssh://-oProxyCommand=x/r",
            "ssh://u@-x/r",
            "git@-oProxyCommand=x:r",
            "-u@h:r",
            "git@h:-x",
            "git://h/-x.git",
            "https://h/a b",
            "https://h/a\nb",
            "https:///r",
            "https://h",
            "h:r",
        ] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn references() {
        for name in ["", "main", "v1.0", "refs/heads/a/b", "a@b", "deadbeef"] {
            assert!(check_reference(name).is_ok(), "{name}");
        }
        for name in [
            "--upload-pack=x",
            "-x",
            "a b",
            "a\tb",
            "a..b",
            "a:b",
            "a^{}",
            "@",
            "@{1}",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a.lock",
            "a*",
            "a\u{1b}",
        ] {
            assert!(check_reference(name).is_err(), "{name}");
        }
    }

    #[test]
    fn names_mean_commits() {
        let id = |c: char| c.to_string().repeat(40);
        let text = format!(
            "ref: refs/heads/main\tHEAD\n{a}\tHEAD\n{a}\trefs/heads/main\n{b}\trefs/heads/x\n\
             {c}\trefs/tags/x\n{d}\trefs/tags/v1\n{e}\trefs/tags/v1^{{}}\n{b}\trefs/heads/y/main\n\
             {c}\trefs/pull/1/head\nrubbish\n",
            a = id('a'),
            b = id('b'),
            c = id('c'),
            d = id('d'),
            e = id('e'),
        );
        let listing = Listing::read(&text);
        let check = |wanted: &str, expected: Option<(&str, char)>| {
            let found = listing
                .named(wanted)
                .map(|named| (named.name, named.commit));
            let expected = expected.map(|(name, c)| (name.to_owned(), id(c)));
            assert_eq!(found, expected, "{wanted}");
        };
        check("HEAD", Some(("refs/heads/main", 'a')));
        check("x", Some(("refs/heads/x", 'b')));
        check("refs/tags/x", Some(("refs/tags/x", 'c')));
        check("v1", Some(("refs/tags/v1", 'e')));
        check("pull/1/head", Some(("refs/pull/1/head", 'c')));
        check("nope", None);
        assert_eq!(listing.named("v1").unwrap().tag, Some(id('d')));
    }

    #[test]
    fn checksums_may_be_short() {
        assert!(expect("", &["abcd"]).is_ok());
        assert!(expect("AB", &["abcd"]).is_ok());
        assert!(expect("cd", &["abcd", "cdef"]).is_ok());
        let error = expect("ff", &["abcd"]).unwrap_err();
        assert_eq!(error.to_string(), "expected checksum to match ff, got abcd");
    }
}
