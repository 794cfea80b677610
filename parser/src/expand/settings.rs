//! The switches of the lexer.

/// How a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `\` or `` ` ``.
    pub(crate) escape: char,
    /// Quotes group; otherwise they are ordinary characters.
    pub(crate) quotes: bool,
    /// Quotes stay in the result.
    pub(crate) raw_quotes: bool,
    /// Escape characters stay in the result.
    pub(crate) raw_escapes: bool,
    /// Variables that are not set stay as written.
    pub(crate) keep_unset: bool,
    /// Words are wanted besides the text.
    pub(crate) split: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            escape: '\\',
            quotes: true,
            raw_quotes: false,
            raw_escapes: false,
            keep_unset: false,
            split: false,
        }
    }
}

impl Settings {
    /// Returns how heredoc words are read: split, and no variable is ever set.
    pub(crate) fn literal() -> Self {
        Self {
            keep_unset: true,
            split: true,
            ..Self::default()
        }
    }
}
