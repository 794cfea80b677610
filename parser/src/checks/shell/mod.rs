//! What a shell script's commands are: as much of the shell's grammar as it takes to tell commands,
//! words and pipes from each other. Total, and linear in the script's length.

use std::ops::Range;

mod splitter;
mod text;

pub(crate) use splitter::split;
pub(crate) use text::ShellText;

/// The simple commands of a script, those in subshells, functions and substitutions too, in the
/// order in which they start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Script {
    /// The commands.
    pub(crate) commands: Vec<Command>,
    /// Where commands are joined by `|` or `|&`.
    pub(crate) pipes: Vec<usize>,
}

/// A simple command without its redirections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Command {
    /// `NAME=value` before the command's name.
    pub(crate) assignments: Vec<Word>,
    /// The name and the arguments.
    pub(crate) words: Vec<Word>,
    /// How many heredocs it reads.
    pub(crate) n_heredocs: usize,
}

/// A word with its quotes removed. Variables stand in it as written, a command substitution as
/// `$()`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Word {
    /// The text.
    pub(crate) text: String,
    /// Where it is in the script, quotes included.
    pub(crate) range: Range<usize>,
    /// True if a variable or substitution is in it.
    pub(crate) expands: bool,
}

impl Command {
    /// Returns the name of the command; empty if it has only assignments.
    pub(crate) fn name(&self) -> &str {
        self.words.first().map_or("", |word| word.text.as_str())
    }

    /// Returns the words after the name.
    pub(crate) fn arguments(&self) -> &[Word] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Returns the places of name and arguments, first to last.
    pub(crate) fn range(&self) -> Range<usize> {
        match (self.words.first(), self.words.last()) {
            (Some(first), Some(last)) => first.range.start..last.range.end,
            _ => 0..0,
        }
    }

    /// Tells whether an argument is this text.
    pub(crate) fn has_argument(&self, text: &str) -> bool {
        self.arguments().iter().any(|word| word.text == text)
    }

    /// Tells whether the long option `name` is given, with a value or without.
    pub(crate) fn has_long(&self, name: &str) -> bool {
        self.long_options().any(|(found, _)| found == name)
    }

    /// Returns the long options without `--`, with the value after `=`.
    pub(crate) fn long_options(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.arguments()
            .iter()
            .filter_map(|word| word.text.strip_prefix("--"))
            .map(|option| match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            })
    }

    /// Tells how often the short option is given: alone or among others, as in `-qy`.
    pub(crate) fn count_short(&self, option: char) -> usize {
        self.short_clusters()
            .map(|cluster| cluster.matches(option).count())
            .sum()
    }

    /// Tells whether the short option is given.
    pub(crate) fn has_short(&self, option: char) -> bool {
        self.count_short(option) > 0
    }

    /// Returns what follows the `-` of short options, up to a `=`.
    pub(crate) fn short_clusters(&self) -> impl Iterator<Item = &str> {
        self.arguments()
            .iter()
            .filter_map(|word| word.text.strip_prefix('-'))
            .filter(|cluster| !cluster.starts_with('-'))
            .map(|cluster| cluster.split('=').next().unwrap_or_default())
    }

    /// Returns the value of an option that is written `--name value`, `--name=value` or `-n value`.
    pub(crate) fn option_value(&self, names: &[&str]) -> Option<&str> {
        let arguments = self.arguments();
        arguments.iter().enumerate().find_map(|(index, word)| {
            if let Some((name, value)) = word.text.split_once('=')
                && names.contains(&name)
            {
                return Some(value);
            }
            names
                .contains(&word.text.as_str())
                .then(|| arguments.get(index + 1))?
                .map(|value| value.text.as_str())
        })
    }

    /// Returns the arguments that are no options; `with_value` names the options whose value is the
    /// next word.
    pub(crate) fn operands<'a>(&'a self, with_value: &'a [&str]) -> impl Iterator<Item = &'a Word> {
        let mut is_value = false;
        self.arguments().iter().filter(move |word| {
            if std::mem::take(&mut is_value) {
                return false;
            }
            is_value = with_value.contains(&word.text.as_str());
            !is_value && (!word.text.starts_with('-') || word.text == "-")
        })
    }
}

#[cfg(test)]
mod tests;
