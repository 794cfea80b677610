//! What the operators of `${NAME…}` yield, once the words inside are expanded.

use super::{
    ExpandError,
    pattern::{Extent, Pattern},
    work::Work,
};

/// `${name<operator>…}` of a variable that was looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Modifier<'a> {
    pub(super) name: &'a str,
    pub(super) value: Option<&'a str>,
    /// A `:` came before the operator: an empty value counts as unset.
    pub(super) colon: bool,
    pub(super) operator: char,
}

impl Modifier<'_> {
    /// Returns the colon and the operator as written.
    pub(super) fn symbol(&self) -> String {
        let colon = if self.colon { ":" } else { "" };
        format!("{colon}{}", self.operator)
    }

    /// Works the form out with the word after the operator.
    pub(super) fn apply(&self, word: String, work: &mut Work) -> Result<String, ExpandError> {
        let usable = self.value.filter(|value| !(self.colon && value.is_empty()));
        match (self.operator, usable) {
            ('-' | '?', Some(value)) => Ok(value.to_owned()),
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            ('?', None) => Err(self.required(word)),
            ('#' | '%', _) if !self.colon => self.trim(&word, work),
            _ => Err(ExpandError::UnsupportedModifier(self.symbol())),
        }
    }

    fn required(&self, word: String) -> ExpandError {
        let message = match (word.is_empty(), self.value) {
            (false, _) => word,
            (true, None) => "is not allowed to be unset".to_owned(),
            (true, Some(_)) => "is not allowed to be empty".to_owned(),
        };
        ExpandError::Required {
            name: self.name.to_owned(),
            message,
        }
    }

    /// Works out `#`, `##`, `%` and `%%`.
    fn trim(&self, word: &str, work: &mut Work) -> Result<String, ExpandError> {
        let (pattern, extent) = match word.strip_prefix(self.operator) {
            Some(pattern) => (pattern, Extent::Longest),
            None => (word, Extent::Shortest),
        };
        let compiled = Pattern::parse(pattern)?;
        let value = self.value.unwrap_or_default();
        let rest = if self.operator == '#' {
            compiled.trim_start(value, extent, work)?
        } else {
            compiled.trim_end(value, extent, work)?
        };
        Ok(rest.to_owned())
    }
}
