//! Platforms: `os/architecture[/variant]`, and which image suits which.
//!
//! Parsing and matching follow <https://github.com/containerd/platforms> v1, which docker and
//! BuildKit use; so the same image is chosen for the same request.

mod fallback;
mod parse;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ImageError;
use crate::lenient::null_as_default;

use fallback::{arm_fallbacks, arm64_variants, level_of, windows_build};
use parse::{normalize_architecture, normalize_system};

/// What an image runs on, in Go's names.
///
/// Spec: <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md>
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture, e.g. `amd64`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub architecture: String,
    /// Operating system, e.g. `linux`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os: String,
    /// Operating system version; empty if none.
    #[serde(
        default,
        rename = "os.version",
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Features the operating system must have.
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// CPU variant, e.g. `v7`; empty if none.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub variant: String,
}

impl Platform {
    /// Returns a platform without a variant.
    #[must_use]
    pub fn new(os: &str, architecture: &str) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            ..Self::default()
        }
    }

    /// Parses `os`, `arch`, `os/arch` or `os/arch/variant`; what is left out is this machine's.
    ///
    /// Other spellings become Go's (`x86_64` is `amd64`). The result prints as docker prints it:
    /// `linux/arm/v7` keeps its variant, `linux/arm` has none though it means the same.
    ///
    /// # Errors
    /// [`ImageError::BadPlatform`] with containerd's words.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        parse::parse(text).map_err(|reason| ImageError::BadPlatform { reason })
    }

    /// Returns the platform of this machine, normalised.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "loongarch64" => "loong64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "mips64" if cfg!(target_endian = "little") => "mips64le",
            other => other,
        };
        let mut host = Self::new("linux", architecture);
        if architecture == "arm" {
            host.variant = match rustix::system::uname().machine().to_bytes() {
                b"armv5tel" | b"armv5tejl" => "v5".to_owned(),
                b"armv6l" => "v6".to_owned(),
                _ => "v7".to_owned(),
            };
        }
        host
    }

    /// Returns the one spelling that equal platforms share: `linux/arm/v7`, `linux/arm64`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let (architecture, variant) = normalize_architecture(&self.architecture, &self.variant);
        Self {
            os: normalize_system(&self.os),
            architecture,
            variant,
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
        }
    }

    /// Reports whether this is `unknown/unknown`, the mark of an attestation in an index.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// Returns the platforms whose images run here, best first; this one comes first.
    #[must_use]
    pub fn fallbacks(&self) -> Vec<Self> {
        let wanted = self.normalized();
        let with = |architecture: &str, variant: String| Self {
            architecture: architecture.to_owned(),
            variant,
            ..wanted.clone()
        };
        match wanted.architecture.as_str() {
            "amd64" => {
                let level = level_of(&wanted.variant).unwrap_or(1);
                let mut found = vec![wanted.clone()];
                found.extend((1..level).rev().map(|n| with("amd64", format!("v{n}"))));
                found.push(with("386", String::new()));
                found
            }
            "arm" => arm_fallbacks(&wanted),
            "arm64" => {
                let mut found: Vec<_> = arm64_variants(&wanted.variant)
                    .into_iter()
                    .map(|variant| with("arm64", variant))
                    .collect();
                found.extend(arm_fallbacks(&with("arm", "v8".to_owned())));
                found
            }
            _ => vec![wanted],
        }
        .into_iter()
        .map(|platform| platform.normalized())
        .collect()
    }

    /// Reports whether an image for `candidate` runs on this platform, exactly or as a fallback.
    #[must_use]
    pub fn accepts(&self, candidate: &Self) -> bool {
        self.rank(candidate).is_some()
    }

    /// Reports whether `candidate` is this very platform, however it is spelled.
    #[must_use]
    pub fn is_same(&self, candidate: &Self) -> bool {
        let (mine, other) = (self.normalized(), candidate.normalized());
        (mine.os, mine.architecture, mine.variant) == (other.os, other.architecture, other.variant)
    }

    /// Returns the place in `entries` of the best match; the first of equals.
    ///
    /// Entries without a platform (`None`) are taken only if nothing else matches: the caller must
    /// then look into the image's config. `unknown/unknown` is never taken.
    #[must_use]
    pub fn select<'a>(&self, entries: impl IntoIterator<Item = Option<&'a Self>>) -> Option<usize> {
        let fallbacks = self.fallbacks();
        entries
            .into_iter()
            .enumerate()
            .filter_map(|(place, entry)| {
                let rank = entry.map_or(Some(usize::MAX), |entry| self.rank_in(&fallbacks, entry));
                Some((rank?, place))
            })
            .min()
            .map(|(_, place)| place)
    }

    /// Returns the platform with its operating system version, as containerd writes it:
    /// `windows(10.0.17763)/amd64`.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut os = self.os.clone();
        if !self.os_version.is_empty() || !self.os_features.is_empty() {
            os.push('(');
            os.push_str(&self.os_version);
            for feature in &self.os_features {
                os.push('+');
                os.push_str(feature);
            }
            os.push(')');
        }
        Self { os, ..self.clone() }.to_string()
    }

    fn rank(&self, candidate: &Self) -> Option<usize> {
        self.rank_in(&self.fallbacks(), candidate)
    }

    fn rank_in(&self, fallbacks: &[Self], candidate: &Self) -> Option<usize> {
        if candidate.is_unknown() {
            return None;
        }
        let found = candidate.normalized();
        let features_fit = found
            .os_features
            .iter()
            .all(|feature| self.os_features.contains(feature));
        let version_fits = found.os != "windows"
            || self.os_version.is_empty()
            || found.os_version.is_empty()
            || windows_build(&self.os_version) == windows_build(&found.os_version);
        if !features_fit || !version_fits {
            return None;
        }
        fallbacks.iter().position(|fallback| {
            (&fallback.os, &fallback.architecture, &fallback.variant)
                == (&found.os, &found.architecture, &found.variant)
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.variant)
    }
}

impl FromStr for Platform {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(Platform::parse(text).unwrap().to_string(), expected);
    }

    #[test]
    fn spellings_become_gos() {
        check("linux/x86-64", "linux/amd64");
        check("Linux/AArch64/8", "linux/arm64/v8");
        check("linux/arm/7", "linux/arm/v7");
        check("linux/armhf", "linux/arm");
        check("macos/arm64", "darwin/arm64");
        check("linux/i386/any", "linux/386");
    }

    #[test]
    fn versions_and_features_are_kept() {
        let platform = Platform::parse("windows(10.0.17763+win32k)/amd64").unwrap();
        assert_eq!(platform.os_version, "10.0.17763");
        assert_eq!(platform.os_features, ["win32k"]);
        assert_eq!(platform.describe(), "windows(10.0.17763+win32k)/amd64");
        let plain = Platform::parse("windows/amd64").unwrap();
        assert!(!plain.accepts(&platform), "a feature is missing");
        assert!(platform.accepts(&plain));
        let newer = Platform::parse("windows(10.0.20348.1)/amd64").unwrap();
        assert!(!platform.accepts(&newer));
        assert!(Platform::parse("windows(10+)/amd64").is_err());
        assert!(Platform::parse("windows(10/amd64").is_err());
    }

    #[test]
    fn arm64_falls_back_through_older_versions() {
        let names: Vec<_> = Platform::parse("linux/arm64/v9.1")
            .unwrap()
            .fallbacks()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            names.join(" "),
            "linux/arm64/v9.1 linux/arm64/v9 linux/arm64/v8.6 linux/arm64/v8.5 linux/arm64/v8.4 \
             linux/arm64/v8.3 linux/arm64/v8.2 linux/arm64/v8.1 linux/arm64 linux/arm/v8 \
             linux/arm/v7 linux/arm/v6 linux/arm/v5"
        );
    }

    #[test]
    fn an_entry_without_a_platform_comes_last() {
        let arm = Platform::parse("linux/arm").unwrap();
        let (other, same) = (Platform::new("linux", "s390x"), arm.clone());
        assert_eq!(arm.select([None, Some(&other), Some(&same)]), Some(2));
        assert_eq!(arm.select([None, Some(&other)]), Some(0));
        let unknown = Platform::new("unknown", "unknown");
        assert_eq!(unknown.select([Some(&unknown)]), None);
    }

    #[test]
    fn odd_variants_do_no_harm() {
        for text in [
            "linux/amd64/v4294967295",
            "linux/arm64/v8.99999999999",
            "linux/arm/v999",
            // Not the number 4.
            "linux/arm64/v9.04",
        ] {
            assert_eq!(
                Platform::parse(text).unwrap().fallbacks()[0].to_string(),
                text
            );
        }
    }
}
