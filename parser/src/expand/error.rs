//! Why a text cannot be expanded. The texts are BuildKit's, without the word that they are about.

use super::{MAX_DEPTH, MAX_EXPANSION};

/// Why [`super::expand_word`] and its kin failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// `${}`, `${{…` or `${:…`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// `${…` without its end.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${NAME/…` without the second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${NAME` and something that is no known operator.
    #[error("unsupported modifier ({0}) in substitution")]
    UnsupportedModifier(String),
    /// An escape that patterns do not know, or nothing after the escape character.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{escaped}'")]
    InvalidPattern {
        /// The pattern after its own expansion.
        pattern: String,
        /// The escaped character; U+FFFD for none.
        escaped: char,
    },
    /// `${NAME?…}` or `${NAME:?…}` did not find a value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the author wrote, or a standard text.
        message: String,
    },
    /// A `"` is not closed.
    #[error("unexpected end of statement while looking for matching double-quote")]
    OpenDoubleQuote,
    /// A `'` is not closed.
    #[error("unexpected end of statement while looking for matching single-quote")]
    OpenSingleQuote,
    /// The result is larger than [`MAX_EXPANSION`].
    #[error("the expansion is larger than {} MiB", MAX_EXPANSION >> 20)]
    TooLarge,
    /// Quotes and `${…}` are nested deeper than [`MAX_DEPTH`].
    #[error("variables are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Patterns and nested values took more work than any sensible file needs.
    #[error("the expansion takes too many steps")]
    TooExpensive,
}
