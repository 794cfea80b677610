//! What flags an instruction has, and their values.

use crate::{ast::Word, diagnostic::Diagnostic, messages, span::Span, syntax::Flag};

/// What value a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagKind {
    /// None, `true` or `false`.
    Switch,
    /// One text.
    Text,
    /// A text; the flag may be repeated.
    List,
}

/// The flags of one instruction, sorted by name.
pub(super) type Known = &'static [(&'static str, FlagKind)];

/// Checked flags.
#[derive(Debug, Default)]
pub(super) struct Values {
    switches: Vec<(&'static str, bool)>,
    texts: Vec<(&'static str, Word)>,
}

impl Values {
    /// Takes a text flag; an empty value counts as not given.
    pub(super) fn text(&mut self, name: &str) -> Option<Word> {
        self.given(name).filter(|word| !word.value.is_empty())
    }

    /// Takes a text flag, an empty value too.
    pub(super) fn given(&mut self, name: &str) -> Option<Word> {
        let index = self.texts.iter().position(|(known, _)| *known == name)?;
        Some(self.texts.remove(index).1)
    }

    /// Takes all values of a list flag.
    pub(super) fn list(&mut self, name: &str) -> Vec<Word> {
        let is_wanted = |(known, _): &mut (&str, Word)| *known == name;
        self.texts
            .extract_if(.., is_wanted)
            .map(|(_, word)| word)
            .collect()
    }

    /// Returns a switch, if given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        let found = self.switches.iter().find(|(known, _)| *known == name)?;
        Some(found.1)
    }
}

/// Checks flags against those that the instruction has; reports every bad one.
pub(super) fn check(flags: Vec<Flag>, known: Known, diagnostics: &mut Vec<Diagnostic>) -> Values {
    let mut values = Values::default();
    let mut seen: Vec<(&str, Span)> = Vec::new();
    for flag in flags {
        let name = flag.name.value.as_str();
        let span = flag
            .value
            .as_ref()
            .map_or(flag.name.span, |value| flag.name.span.to(value.span));
        let Some(&(name, kind)) = known.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
            diagnostics.push(messages::unknown_flag(name, &names, flag.name.span));
            continue;
        };
        let earlier = seen.iter().find(|(earlier, _)| *earlier == name);
        match earlier {
            Some((_, earlier)) if kind != FlagKind::List => {
                diagnostics.push(messages::duplicate_flag(name, span, *earlier));
                continue;
            }
            Some(_) => {}
            None => seen.push((name, span)),
        }
        match (kind, flag.value) {
            (FlagKind::Switch, value) => match switch(name, value.as_ref(), span) {
                Ok(on) => values.switches.push((name, on)),
                Err(error) => diagnostics.push(error),
            },
            (FlagKind::Text | FlagKind::List, Some(value)) => values.texts.push((name, value)),
            (FlagKind::Text | FlagKind::List, None) => {
                diagnostics.push(messages::missing_flag_value(name, span));
            }
        }
    }
    values
}

fn switch(name: &str, value: Option<&Word>, span: Span) -> Result<bool, Diagnostic> {
    let Some(value) = value else {
        return Ok(true);
    };
    match value.value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        "" => Err(messages::missing_flag_value(name, span)),
        _ => Err(messages::not_boolean(name, &value.value, value.span)),
    }
}
