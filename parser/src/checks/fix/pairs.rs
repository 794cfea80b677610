//! `ENV name value` to `ENV name=value`, and `LABEL`.

use super::{Context, Edit};
use crate::{
    ast::{InstructionKind, KeyValues, Word},
    expand::{Lookup, NoVariables, expand_word},
    span::Span,
};

/// Gives every variable its own name in brackets.
struct Names(String);

impl Lookup for Names {
    fn get(&self, _name: &str) -> Option<&str> {
        Some(&self.0)
    }
}

pub(super) fn legacy(context: &mut Context<'_>) {
    let parsed = context.parsed;
    let escape = parsed.dockerfile.escape;
    for stage in &parsed.dockerfile.stages {
        for instruction in &stage.instructions {
            let (InstructionKind::Env(pairs) | InstructionKind::Label(pairs)) = &instruction.kind
            else {
                continue;
            };
            if let (true, [(key, value)]) = (pairs.legacy, &pairs.pairs[..])
                && let Some(edits) = edits(context, key, value, escape)
            {
                context.safe("LegacyKeyValueFormat", instruction.head.span, edits);
            }
        }
    }
}

fn edits(context: &Context<'_>, key: &Word, value: &Word, escape: char) -> Option<Vec<Edit>> {
    let gap = Span::new(key.span.end, value.span.start);
    // A comment between them would be lost.
    let between = context.source.get(gap.start..gap.end)?;
    let is_blank = between.iter().all(|byte| matches!(byte, b' ' | b'\t'));
    let is_one_line = context.is_written(value.span, &value.value);
    if !is_blank {
        return None;
    }
    [Quoting::None, Quoting::Double, Quoting::Escapes]
        .into_iter()
        .filter(|quoting| match quoting {
            Quoting::None => true,
            Quoting::Double => !value.value.contains('"'),
            Quoting::Escapes => is_one_line,
        })
        .find(|quoting| means_the_same(key, value, &quoting.apply(&value.value, escape), escape))
        .map(|quoting| match quoting {
            Quoting::None => vec![Edit::new(gap, "=")],
            Quoting::Double => vec![Edit::new(gap, "=\""), Edit::insert(value.span.end, "\"")],
            Quoting::Escapes => {
                let text = format!("={}", quoting.apply(&value.value, escape));
                vec![Edit::new(gap.to(value.span), text)]
            }
        })
}

/// Ways to keep a value with blanks together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    None,
    Double,
    Escapes,
}

impl Quoting {
    fn apply(self, value: &str, escape: char) -> String {
        match self {
            Self::None => value.to_owned(),
            Self::Double => format!("\"{value}\""),
            Self::Escapes => with_escaped_blanks(value, escape),
        }
    }
}

/// Puts the escape character before blanks outside quotes.
fn with_escaped_blanks(value: &str, escape: char) -> String {
    let mut out = String::with_capacity(value.len() + 8);
    let mut quote = None;
    let mut is_escaped = false;
    for character in value.chars() {
        let was_escaped = std::mem::take(&mut is_escaped);
        match (quote, character) {
            _ if was_escaped => {}
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None | Some('"'), _) if character == escape => is_escaped = true,
            (None, _) if character.is_whitespace() => out.push(escape),
            _ => {}
        }
        out.push(character);
    }
    out
}

/// Reads the new form and compares it with the old one, with and without variables.
fn means_the_same(key: &Word, value: &Word, quoted: &str, escape: char) -> bool {
    let text = format!("ENV {}={quoted}", key.value);
    let Some(pairs) = read(&text, escape) else {
        return false;
    };
    let [(new_key, new_value)] = &pairs.pairs[..] else {
        return false;
    };
    let same = |lookup: &dyn Lookup| {
        let old = expand_word(&value.value, escape, lookup);
        let new = expand_word(&new_value.value, escape, lookup);
        matches!((old, new), (Ok(old), Ok(new)) if old == new)
    };
    let has_line_end = value.value.contains(['\n', '\r', '\u{fffd}']);
    !pairs.legacy
        && !has_line_end
        && new_key.value == key.value
        && same(&NoVariables)
        && same(&Names("a b\"c'\\".to_owned()))
}

/// Reads an instruction by itself.
fn read(text: &str, escape: char) -> Option<KeyValues> {
    let source = format!("# escape={escape}\nFROM scratch\n{text}\n");
    let parsed = crate::parse(source.as_bytes());
    if parsed.has_errors() {
        return None;
    }
    let [stage] = &parsed.dockerfile.stages[..] else {
        return None;
    };
    match &stage.instructions[..] {
        [instruction] => match &instruction.kind {
            InstructionKind::Env(pairs) => Some(pairs.clone()),
            _ => None,
        },
        _ => None,
    }
}
