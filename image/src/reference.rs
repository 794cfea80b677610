//! Image references: names, tags and digests, as docker reads and writes them.
//!
//! Grammar and normalisation follow <https://github.com/distribution/reference> v0.6.0. It knows
//! nothing of registries or of what is stored.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{ImageError, ReferenceFault};

/// The registry that names without a host belong to.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag that names without one stand for.
pub const DEFAULT_TAG: &str = "latest";

const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const MAX_PATH_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;
const MIN_DIGEST_HEX: usize = 32;

/// A normalised image reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Registry host with its port, e.g. `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub domain: String,
    /// Repository in that registry, e.g. `library/ubuntu`.
    pub path: String,
    /// Tag, if one was written.
    pub tag: Option<String>,
    /// Digest, if one was written.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises what a user wrote: `ubuntu` becomes `docker.io/library/ubuntu`.
    ///
    /// No tag is added; see [`Reference::with_default_tag`].
    ///
    /// # Errors
    /// [`ImageError::BadReference`] with docker's words for what is wrong.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        parse(text).map_err(|fault| ImageError::BadReference {
            text: text.chars().take(300).collect(),
            fault,
        })
    }

    /// Returns the repository with its registry: `docker.io/library/ubuntu`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Returns the repository as users see it: `ubuntu`, `team/app`, `localhost:5000/app`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            // One that looks like an image's ID could not be read again.
            Some(official) if !official.contains('/') && !looks_like_id(official) => {
                official.to_owned()
            }
            // Some names would be read as those of another registry if theirs were left out.
            _ if split_domain(&self.path) == (DEFAULT_DOMAIN.into(), self.path.clone()) => {
                self.path.clone()
            }
            _ => self.name(),
        }
    }

    /// Returns the whole reference as users see it: `ubuntu:22.04`.
    #[must_use]
    pub fn familiar(&self) -> String {
        self.with_name(self.familiar_name())
    }

    /// Returns the reference with the tag `latest` if it has neither a tag nor a digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// Returns what a registry is asked for: the digest wins over the tag.
    #[must_use]
    pub fn pull_form(&self) -> Self {
        let mut form = self.clone().with_default_tag();
        if form.digest.is_some() {
            form.tag = None;
        }
        form
    }

    /// Returns the repository alone, without tag and digest.
    #[must_use]
    pub fn repository(&self) -> Self {
        Self {
            tag: None,
            digest: None,
            ..self.clone()
        }
    }

    /// Returns this repository by `digest`, without a tag.
    #[must_use]
    pub fn at_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// Returns the tag, if one was written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if one was written.
    #[must_use]
    pub const fn digest(&self) -> Option<Digest> {
        self.digest
    }

    fn with_name(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

/// The normal form: `docker.io/library/ubuntu:22.04`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_name(self.name()))
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Returns advice for a text that [`Reference::parse`] refuses, where there is some to give.
#[must_use]
pub fn hint(text: &str) -> Option<&'static str> {
    if ["https://", "http://", "docker://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
    {
        Some("an image reference has no scheme; drop everything up to `://`")
    } else if text.contains(char::is_whitespace) {
        Some("an image reference has no blanks")
    } else if text
        .rsplit_once(':')
        .is_some_and(|(_, tag)| tag.contains('+'))
    {
        Some("a tag cannot have a `+`; use `-` or `_` instead")
    } else if text.ends_with([':', '@', '/']) {
        Some("something is missing at its end")
    } else {
        None
    }
}

fn parse(text: &str) -> Result<Reference, ReferenceFault> {
    if looks_like_id(text) {
        return Err(ReferenceFault::LooksLikeId {
            name: text.to_owned(),
        });
    }
    let (domain, remainder) = split_domain(text);
    // Docker looks for upper case before it looks for anything else, up to the first colon, so
    // that the message can name the repository.
    let remote = remainder.split(':').next().unwrap_or_default();
    if remote.chars().any(char::is_uppercase) {
        return Err(ReferenceFault::UpperCase {
            path: remote.to_owned(),
        });
    }
    let (named, digest) = match remainder.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (remainder.as_str(), None),
    };
    let (path, tag) = match named.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (named, None),
    };
    let well_formed =
        is_path(path) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest_shaped);
    if !well_formed || !is_domain(&domain) {
        let odd_domain = well_formed && domain.contains('_') && is_path(&domain);
        return Err(if odd_domain {
            ReferenceFault::OddDomain { domain }
        } else {
            ReferenceFault::Format
        });
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(ReferenceFault::TooLong);
    }
    Ok(Reference {
        path: path.to_owned(),
        tag: tag.map(str::to_owned),
        digest: digest.map(parse_digest).transpose()?,
        domain,
    })
}

/// Splits the registry off and adds what docker adds: the default registry, and `library/`.
fn split_domain(text: &str) -> (String, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((LEGACY_DEFAULT_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    let is_official = domain == DEFAULT_DOMAIN && !remainder.contains('/');
    let prefix = if is_official { OFFICIAL_PREFIX } else { "" };
    (domain.to_owned(), format!("{prefix}{remainder}"))
}

/// `host [":" digits]`, where host is a domain name, an IPv4 address or an IPv6 one in brackets.
fn is_domain(text: &str) -> bool {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else {
            return false;
        };
        let is_address = !address.is_empty()
            && address
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        if !is_address {
            return false;
        }
        (None, after)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        (Some(&text[..end]), &text[end..])
    };
    let port_is_fine = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
    port_is_fine && host.is_none_or(|host| host.split('.').all(is_domain_component))
}

fn is_domain_component(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_path(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// Lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_path_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_in_words =
        bytes.first().copied().is_some_and(is_word) && bytes.last().copied().is_some_and(is_word);
    ends_in_words
        && bytes
            .split(|byte| is_word(*byte))
            .all(|separator| match separator {
                b"" | b"." | b"_" | b"__" => true,
                dashes => dashes.iter().all(|byte| *byte == b'-'),
            })
}

/// Reports whether `text` can be a tag.
fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    bytes.len() <= MAX_TAG_BYTES
        && bytes.first().copied().is_some_and(is_word)
        && bytes
            .iter()
            .all(|byte| is_word(*byte) || matches!(byte, b'.' | b'-'))
}

/// `algorithm ":" hex{32,}`; whether the algorithm exists and the length fits comes later.
fn is_digest_shaped(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return false;
    };
    algorithm.split(['-', '_', '+', '.']).all(|part| {
        part.starts_with(|first: char| first.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }) && hex.len() >= MIN_DIGEST_HEX
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn looks_like_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_lower_hex)
}

fn parse_digest(text: &str) -> Result<Digest, ReferenceFault> {
    let (algorithm, hex) = text.split_once(':').unwrap_or_default();
    if algorithm.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceFault::DigestFormat);
    }
    // SHA-384 and SHA-512 are legal, but nothing publishes by them and the store is SHA-256.
    if algorithm != "sha256" {
        return Err(ReferenceFault::DigestAlgorithm);
    }
    if hex.len() != 64 {
        return Err(ReferenceFault::DigestLength);
    }
    text.parse()
        .map_err(|_not_hex: ImageError| ReferenceFault::DigestFormat)
}

const fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, normal: &str, familiar: &str) {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(reference.to_string(), normal, "normal form of {text}");
        assert_eq!(reference.familiar(), familiar, "familiar form of {text}");
        assert_eq!(Reference::parse(normal).unwrap(), reference);
        assert_eq!(Reference::parse(familiar).unwrap(), reference);
    }

    #[test]
    fn names_are_normalised() {
        check("ubuntu", "docker.io/library/ubuntu", "ubuntu");
        check("index.docker.io/a/b:1", "docker.io/a/b:1", "a/b:1");
        check("MYHOST/app", "MYHOST/app", "MYHOST/app");
        let twofold = "docker.io/index.docker.io/app";
        check(twofold, twofold, twofold);
        let twofold = "docker.io/ghcr.io/team/app";
        check(twofold, twofold, twofold);
        check(
            "docker.io/localhost/app",
            "docker.io/localhost/app",
            "docker.io/localhost/app",
        );
        check("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app");
        let digits = "0123456789abcdef".repeat(4);
        check(
            &format!("library/{digits}"),
            &format!("docker.io/library/{digits}"),
            &format!("library/{digits}"),
        );
        check(
            "docker.io/library/distros/ubuntu",
            "docker.io/library/distros/ubuntu",
            "library/distros/ubuntu",
        );
    }

    #[test]
    fn tags_are_added_only_without_a_digest() {
        let digest = Digest::of(b"");
        let plain = Reference::parse("app").unwrap().with_default_tag();
        assert_eq!(plain.familiar(), "app:latest");
        let pinned = Reference::parse(&format!("app@{digest}")).unwrap();
        assert_eq!(pinned.clone().with_default_tag(), pinned);
        let both = Reference::parse(&format!("app:1@{digest}")).unwrap();
        assert_eq!(both.pull_form(), pinned);
        assert_eq!(both.repository().familiar(), "app");
        assert_eq!(plain.at_digest(digest), pinned);
    }

    #[test]
    fn faults_give_hints() {
        let fault = |text: &str| match Reference::parse(text) {
            Err(ImageError::BadReference { fault, .. }) => fault,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(
            fault("foo_bar.com/app").to_string(),
            "invalid reference format: registry host name (foo_bar.com) must not contain an underscore"
        );
        assert_eq!(fault("a:b:c"), ReferenceFault::Format);
        for text in ["https://ghcr.io/app", "a b", "app:1.0+x", "app:"] {
            fault(text);
            assert!(hint(text).is_some(), "{text}");
        }
        assert_eq!(hint("a..b"), None);
        assert_eq!(
            fault("Ubuntu@sha256:0"),
            ReferenceFault::UpperCase {
                path: "library/Ubuntu@sha256".into()
            }
        );
    }
}
