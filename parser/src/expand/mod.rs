//! Quote removal and variable expansion, as the builder does it to the words of most instructions.
//! Knows no instruction; the environment comes in through [`Lookup`].
//!
//! Nothing here recurses: a nested `${…}` is a frame on a heap-allocated stack, and both depth and
//! size are bounded.

use std::collections::{BTreeMap, HashMap};

use settings::Settings;

mod dollar;
mod error;
mod frame;
pub(crate) mod lex;
mod operator;
mod pattern;
pub(crate) mod settings;
mod work;

pub use error::ExpandError;

/// Longest text that an expansion may yield, in bytes.
pub const MAX_EXPANSION: usize = 16 << 20;

/// Deepest nesting of quotes and `${…}`.
pub const MAX_DEPTH: usize = 1000;

/// Where values of variables come from. Names are case-sensitive.
pub trait Lookup {
    /// Returns the variable's value, `None` if it is not set.
    fn get(&self, name: &str) -> Option<&str>;
}

impl<T: Lookup + ?Sized> Lookup for &T {
    fn get(&self, name: &str) -> Option<&str> {
        (**self).get(name)
    }
}

impl Lookup for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        Self::get(self, name).map(String::as_str)
    }
}

impl<S: std::hash::BuildHasher> Lookup for HashMap<String, String, S> {
    fn get(&self, name: &str) -> Option<&str> {
        Self::get(self, name).map(String::as_str)
    }
}

/// Pairs of name and value; of equal names the last one counts.
impl Lookup for [(String, String)] {
    fn get(&self, name: &str) -> Option<&str> {
        let pair = self.iter().rev().find(|(key, _)| key == name)?;
        Some(&pair.1)
    }
}

impl Lookup for Vec<(String, String)> {
    fn get(&self, name: &str) -> Option<&str> {
        Lookup::get(self.as_slice(), name)
    }
}

/// An environment without variables.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVariables;

impl Lookup for NoVariables {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// An expanded text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expansion {
    /// The result.
    pub text: String,
    /// Names that were asked for and set, each once, in order.
    pub used: Vec<String>,
    /// Names that were asked for and not set, each once, in order; those with a default too, and
    /// those in a default that was not needed.
    pub undefined: Vec<String>,
}

/// The words that a text expands to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// The results; none is empty.
    pub words: Vec<String>,
    /// As [`Expansion::used`].
    pub used: Vec<String>,
    /// As [`Expansion::undefined`].
    pub undefined: Vec<String>,
}

/// Expands one word: quotes and escapes are removed, variables replaced. Blanks stay.
///
/// # Errors
/// For an open quote or brace, an unknown form of `${…}`, `${X:?…}` of an unset variable, a bad
/// pattern, and if [`MAX_EXPANSION`] or [`MAX_DEPTH`] is exceeded.
pub fn expand_word(
    word: &str,
    escape: char,
    lookup: &dyn Lookup,
) -> Result<Expansion, ExpandError> {
    let settings = Settings {
        escape,
        ..Settings::default()
    };
    let found = lex::process(word, settings, lookup)?;
    Ok(found.into_expansion())
}

/// Expands a text and splits the result at blanks that are not quoted, as `EXPOSE` does.
///
/// # Errors
/// As [`expand_word`].
pub fn expand_words(text: &str, escape: char, lookup: &dyn Lookup) -> Result<Words, ExpandError> {
    let settings = Settings {
        escape,
        split: true,
        ..Settings::default()
    };
    let found = lex::process(text, settings, lookup)?;
    Ok(found.into_words())
}

/// Expands the body of a `COPY` or `ADD` heredoc: quotes are ordinary characters, the escape
/// character is always `\`, which is removed before any character.
///
/// # Errors
/// As [`expand_word`].
pub fn expand_heredoc(body: &str, lookup: &dyn Lookup) -> Result<Expansion, ExpandError> {
    let settings = Settings {
        quotes: false,
        ..Settings::default()
    };
    let found = lex::process(body, settings, lookup)?;
    Ok(found.into_expansion())
}

#[cfg(test)]
mod tests;
