//! Which checks are wanted: `skip=A,B;error=true;experimental=C`, from the file's `check`
//! directive, from the build argument that replaces it, or from a comment above an instruction.

use std::collections::BTreeSet;

use super::rule;
use crate::boolean::parse_bool;
use crate::{
    ast::Word,
    quote::quote,
    span::Span,
    syntax::{directive, leading_blanks},
};

/// The build argument that replaces the directive.
pub const BUILD_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// More options than this are not told apart: the rest belongs to the last one's value.
const MAX_OPTIONS: usize = 3;

/// Which checks are wanted, and whether a finding ends the build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckConfig {
    /// Rules that are not to be heard of. They do not silence experimental rules.
    pub skip: Selection,
    /// Experimental rules that are to be heard of.
    pub experimental: Selection,
    /// True if a finding is an error in the end.
    pub error: bool,
}

/// Some rules by name, or all. Unknown names do no harm; case counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    all: bool,
    names: BTreeSet<String>,
}

/// Why a text is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckOptionError {
    /// A part without `=`, or with a name that is not known.
    #[error("invalid check option {}", quote(.0))]
    Invalid(String),
    /// `error` is neither true nor false.
    #[error(
        "failed to parse check option {}: strconv.ParseBool: parsing {}: invalid syntax",
        quote(.option),
        quote(.value)
    )]
    NotBoolean {
        /// The whole option.
        option: String,
        /// Its value.
        value: String,
    },
}

impl CheckConfig {
    /// Reads `skip=…;error=…;experimental=…`, each at most once, in any order; empty means that
    /// nothing is set.
    ///
    /// # Errors
    /// For an option that is not known or has no `=`.
    pub fn parse(text: &str) -> Result<Self, CheckOptionError> {
        let mut config = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(config);
        }
        for option in text.splitn(MAX_OPTIONS, ';') {
            let Some((name, value)) = option.split_once('=') else {
                return Err(CheckOptionError::Invalid(option.to_owned()));
            };
            let value = value.trim();
            match name.trim() {
                "skip" => config.skip.set(value),
                "experimental" => config.experimental.set(value),
                "error" => {
                    config.error =
                        parse_bool(value).ok_or_else(|| CheckOptionError::NotBoolean {
                            option: option.to_owned(),
                            value: value.to_owned(),
                        })?;
                }
                unknown => return Err(CheckOptionError::Invalid(unknown.to_owned())),
            }
        }
        Ok(config)
    }

    /// Reads the `check` directive of a file; `replacement` is the value of the build argument
    /// [`BUILD_ARG`] if it was given. Of the directive only what comes before the first blank
    /// counts.
    ///
    /// # Errors
    /// As [`Self::parse`], with the place of the directive if it is at fault.
    pub fn of_file(
        source: &[u8],
        replacement: Option<&str>,
    ) -> Result<Self, (CheckOptionError, Option<Span>)> {
        if let Some(text) = replacement {
            return Self::parse(text).map_err(|error| (error, None));
        }
        match directive::detect("check", source) {
            Some(found) => Self::parse(&found.value).map_err(|error| (error, Some(found.span))),
            None => Ok(Self::default()),
        }
    }

    /// Reads the comments above an instruction: the first `check=…` counts, up to its first blank,
    /// and is nothing if it is at fault.
    #[must_use]
    pub fn of_comments(comments: &[Word]) -> Option<Self> {
        let value = comments
            .iter()
            .find_map(|comment| check_value(&comment.value))?;
        Self::parse(value).ok()
    }

    /// Adds what `other` skips and takes in; whether findings are errors stays.
    #[must_use]
    pub fn merged(mut self, other: &Self) -> Self {
        self.skip.add(&other.skip);
        self.experimental.add(&other.experimental);
        self
    }

    /// Tells whether findings of the rule called `name` are wanted. A rule that is not BuildKit's
    /// is wanted unless it is skipped.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        if rule::find(name).is_some_and(|rule| rule.is_experimental) {
            self.experimental.contains(name)
        } else {
            !self.skip.contains(name)
        }
    }
}

impl Selection {
    /// Tells whether the rule called `name` is one of them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }

    fn set(&mut self, value: &str) {
        if value == "all" {
            self.all = true;
        } else {
            self.names = value
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect();
        }
    }

    fn add(&mut self, other: &Self) {
        self.all |= other.all;
        self.names.extend(other.names.iter().cloned());
    }
}

/// Returns what a comment says after `check=`, up to the first blank.
fn check_value(comment: &str) -> Option<&str> {
    let (name, value) = comment.split_once('=')?;
    let value = value.get(leading_blanks(value.as_bytes())..)?;
    let value = value.split(' ').next().unwrap_or_default();
    (name.trim().eq_ignore_ascii_case("check") && !value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, skipped: &str, experimental: &str, error: bool) {
        let config = CheckConfig::parse(text).unwrap();
        let names = |selection: &Selection| {
            let names: Vec<_> = selection.names.iter().map(String::as_str).collect();
            format!(
                "{}{}",
                if selection.all { "*" } else { "" },
                names.join(" ")
            )
        };
        assert_eq!(names(&config.skip), skipped, "{text}");
        assert_eq!(names(&config.experimental), experimental, "{text}");
        assert_eq!(config.error, error, "{text}");
    }

    #[test]
    fn options() {
        check("", "", "", false);
        check("skip=A,B;error=true;experimental=C", "A B", "C", true);
        check(" skip = A , B ; error = 1 ", "A B", "", true);
        check("skip=all;experimental=all", "*", "*", false);
        check("skip=A;skip=B", "B", "", false);
        check("skip=all;skip=B", "*B", "", false);
        check("error=true;error=F", "", "", false);
        // What comes after the third option belongs to its value.
        check(
            "skip=A;error=true;skip=B;error=false",
            "B;error=false",
            "",
            true,
        );
    }

    #[test]
    fn faults() {
        let message = |text: &str| CheckConfig::parse(text).unwrap_err().to_string();
        assert_eq!(message("foo"), "invalid check option \"foo\"");
        assert_eq!(message(" foo = 1"), "invalid check option \"foo\"");
        assert_eq!(message("skip=A;"), "invalid check option \"\"");
        assert_eq!(message("Skip=A"), "invalid check option \"Skip\"");
        assert_eq!(
            message("skip=A;error=yes"),
            "failed to parse check option \"error=yes\": strconv.ParseBool: parsing \"yes\": \
             invalid syntax"
        );
    }

    #[test]
    fn the_build_argument_replaces_the_directive() {
        let source = b"# check=skip=A because of B\nFROM scratch\n";
        let config = CheckConfig::of_file(source, None).unwrap();
        assert!(!config.wants("A") && config.wants("B"));
        let config = CheckConfig::of_file(source, Some("skip=B")).unwrap();
        assert!(config.wants("A") && !config.wants("B"));
        let config = CheckConfig::of_file(source, Some("")).unwrap();
        assert!(config.wants("A"));
        let (error, span) = CheckConfig::of_file(b"# check=foo=1\nFROM a", None).unwrap_err();
        assert_eq!(error.to_string(), "invalid check option \"foo\"");
        assert_eq!(span, Some(Span::new(0, 13)));
        let (_, span) = CheckConfig::of_file(source, Some("foo")).unwrap_err();
        assert_eq!(span, None);
    }

    #[test]
    fn comments_above_an_instruction() {
        let config = |comments: &[&str]| {
            let words: Vec<_> = comments
                .iter()
                .map(|text| Word::new((*text).to_owned(), Span::default()))
                .collect();
            CheckConfig::of_comments(&words)
        };
        assert!(!config(&["check=skip=A because"]).unwrap().wants("A"));
        assert!(!config(&["why", "Check = skip=A,B"]).unwrap().wants("B"));
        // The first one counts; one that is at fault counts for nothing.
        assert!(
            config(&["check=skip=A", "check=skip=B"])
                .unwrap()
                .wants("B")
        );
        assert_eq!(config(&["check=foo", "check=skip=B"]), None);
        assert_eq!(config(&["check", "a check=skip=A", "check="]), None);
    }

    #[test]
    fn experimental_rules_are_silent_until_named_and_never_skipped() {
        let wants = |text: &str| {
            CheckConfig::parse(text)
                .unwrap()
                .wants("InvalidDefinitionDescription")
        };
        assert!(!wants(""));
        assert!(wants("experimental=InvalidDefinitionDescription"));
        assert!(wants("skip=all;experimental=all"));
        assert!(
            CheckConfig::parse("experimental=all")
                .unwrap()
                .wants("DL3008")
        );
    }
}
