//! What the machine has under construction: texts, words, names.

use std::collections::HashSet;

/// Names in the order in which they were first seen.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) order: Vec<String>,
    seen: HashSet<String>,
}

impl Names {
    pub(super) fn add(&mut self, name: &str) {
        if !self.seen.contains(name) {
            self.seen.insert(name.to_owned());
            self.order.push(name.to_owned());
        }
    }
}

/// The result as words: plain blanks separate, everything else does not.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    pub(super) words: Vec<String>,
    pub(super) word: String,
}

impl Splitter {
    pub(super) fn add(&mut self, text: &str) {
        for c in text.chars() {
            if !c.is_whitespace() {
                self.word.push(c);
            } else if !self.word.is_empty() {
                self.words.push(std::mem::take(&mut self.word));
            }
        }
    }

    pub(super) fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

/// A text under construction: the whole, a double-quoted part, or a word inside `${…}`.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) raw_escapes: bool,
}

impl Frame {
    pub(super) fn new(kind: Kind, raw_escapes: bool) -> Self {
        Self {
            kind,
            text: String::new(),
            raw_escapes,
        }
    }
}

#[derive(Debug)]
pub(super) enum Kind {
    Root,
    Quoted,
    Operand { name: String, role: Role },
}

/// What a word inside `${…}` is for.
#[derive(Debug)]
pub(super) enum Role {
    Modifier { colon: bool, operator: char },
    Pattern { all: bool },
    Replacement { all: bool, pattern: String },
}

impl Kind {
    /// Returns the character that ends the text.
    pub(super) fn stop(&self) -> Option<char> {
        match self {
            Self::Root => None,
            Self::Quoted => Some('"'),
            Self::Operand {
                role: Role::Pattern { .. },
                ..
            } => Some('/'),
            Self::Operand { .. } => Some('}'),
        }
    }
}
