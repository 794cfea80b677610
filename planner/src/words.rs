//! Expansion of words against an [`Env`], bounded by a [`Budget`].

use rbuild_parser::ast::{Heredoc, Word};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::expand::{self, Expansion, Lookup, Words};
use rbuild_parser::span::Span;

use crate::env::Env;
use crate::findings::Budget;
use crate::messages;

impl Lookup for Env {
    fn get(&self, name: &str) -> Option<&str> {
        Self::get(self, name)
    }
}

/// What words are expanded with.
#[derive(Debug)]
pub(crate) struct Expander<'e> {
    pub(crate) env: &'e Env,
    pub(crate) escape: char,
    pub(crate) budget: &'e mut Budget,
}

impl Expander<'_> {
    /// Expands a word to one word.
    pub(crate) fn one(&mut self, word: &Word) -> Result<Expansion, Diagnostic> {
        let expansion = expand::expand_word(&word.value, self.escape, self.env)
            .map_err(|error| messages::expansion(&word.value, &error, word.span))?;
        self.charge(expansion.text.len(), word.span)?;
        Ok(expansion)
    }

    /// Expands a word to any number of words.
    pub(crate) fn several(&mut self, word: &Word) -> Result<Words, Diagnostic> {
        let words = expand::expand_words(&word.value, self.escape, self.env)
            .map_err(|error| messages::expansion(&word.value, &error, word.span))?;
        self.charge(words.words.iter().map(String::len).sum(), word.span)?;
        Ok(words)
    }

    /// Expands a heredoc's body if its delimiter was not quoted.
    pub(crate) fn heredoc(&mut self, heredoc: &Heredoc) -> Result<Expansion, Diagnostic> {
        let body = heredoc.content();
        let expansion = if heredoc.expand {
            expand::expand_heredoc(&body, self.env)
                .map_err(|error| messages::expansion(&body, &error, heredoc.span))?
        } else {
            Expansion {
                text: body,
                ..Expansion::default()
            }
        };
        self.charge(expansion.text.len(), heredoc.span)?;
        Ok(expansion)
    }

    fn charge(&mut self, n_bytes: usize, span: Span) -> Result<(), Diagnostic> {
        if self.budget.spend(n_bytes) {
            Ok(())
        } else {
            Err(messages::plan_too_large(span))
        }
    }
}
