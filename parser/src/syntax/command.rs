//! One logical line to keyword, flags and arguments.

use super::{
    Arguments, Command, flag,
    json::{self, Array},
    line::Fragment,
    word::{split_blanks, split_first, split_words},
};
use crate::{
    ast::{ArgDeclaration, KeyValues, Word},
    diagnostic::Diagnostic,
    messages,
};

/// Commands of a chain `ONBUILD ONBUILD …` that are looked at. Such chains are refused whatever
/// they end in, and keeping each one's text would take quadratic time.
const MAX_CHAIN: usize = 8;

/// Reads a trimmed line. For `ONBUILD` the trigger follows as a command of its own, and so on.
pub(crate) fn read(
    line: Fragment<'_>,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut next = Some(line);
    while let Some(line) = next {
        let (keyword, text) = split_first(line).unwrap_or((line, line.skip(line.text().len())));
        let (flags, rest) = flag::split(text, escape);
        let name = keyword.text().to_ascii_lowercase();
        let arguments = read_arguments(&name, rest, escape).unwrap_or_else(|error| {
            diagnostics.push(error);
            Arguments::Invalid
        });
        next = (arguments == Arguments::Trigger).then_some(rest);
        commands.push(Command {
            keyword: keyword.to_word(),
            text: text.to_word(),
            flags,
            arguments,
        });
        if commands.len() == MAX_CHAIN {
            break;
        }
    }
    commands
}

fn read_arguments(name: &str, rest: Fragment<'_>, escape: char) -> Result<Arguments, Diagnostic> {
    Ok(match name {
        "add" | "copy" | "volume" => match string_array(rest)? {
            Some(array) => array,
            None => Arguments::Words(to_words(&split_blanks(rest))),
        },
        "run" | "cmd" | "entrypoint" | "shell" => text_or_array(rest)?,
        "from" | "expose" => Arguments::Words(to_words(&split_blanks(rest))),
        "maintainer" | "stopsignal" | "user" | "workdir" => Arguments::Text(to_text(rest)),
        "env" | "label" => Arguments::Pairs(pairs(&name.to_ascii_uppercase(), rest, escape)?),
        "arg" => Arguments::Declarations(
            split_words(rest, escape)
                .into_iter()
                .map(declaration)
                .collect(),
        ),
        "healthcheck" => typed(rest)?,
        "onbuild" if !rest.is_empty() => Arguments::Trigger,
        _ => Arguments::Nothing,
    })
}

fn to_words(fragments: &[Fragment<'_>]) -> Vec<Word> {
    fragments.iter().map(|found| found.to_word()).collect()
}

fn to_text(rest: Fragment<'_>) -> Option<Word> {
    (!rest.is_empty()).then(|| rest.to_word())
}

fn text_or_array(rest: Fragment<'_>) -> Result<Arguments, Diagnostic> {
    Ok(string_array(rest)?.unwrap_or_else(|| Arguments::Text(to_text(rest))))
}

/// Reads exec form; `None` if it is not written so, or badly.
fn string_array(rest: Fragment<'_>) -> Result<Option<Arguments>, Diagnostic> {
    match json::array(rest.text()) {
        Array::Strings(elements) => {
            let words = elements
                .into_iter()
                .map(|(value, range)| Word::new(value, rest.slice(range).span()));
            Ok(Some(Arguments::Json(words.collect())))
        }
        Array::Mixed(range) => Err(messages::json_not_strings(rest.slice(range).span())),
        Array::Invalid => Ok(None),
    }
}

/// Splits a word of `ARG`.
fn declaration(word: Fragment<'_>) -> ArgDeclaration {
    match word.text().find('=') {
        Some(at) => ArgDeclaration {
            name: word.slice(0..at).to_word(),
            default: Some(word.skip(at + 1).to_word()),
        },
        None => ArgDeclaration {
            name: word.to_word(),
            default: None,
        },
    }
}

/// Reads `HEALTHCHECK`'s type and command.
fn typed(rest: Fragment<'_>) -> Result<Arguments, Diagnostic> {
    if rest.is_empty() {
        return Ok(Arguments::Nothing);
    }
    let text = rest.text();
    let length = text.find(char::is_whitespace).unwrap_or(text.len());
    let command = text_or_array(rest.skip(length).trim())?;
    Ok(Arguments::Typed(
        rest.slice(0..length).to_word(),
        Box::new(command),
    ))
}

/// Reads `ENV` and `LABEL`; `name` is the keyword for messages.
fn pairs(name: &str, rest: Fragment<'_>, escape: char) -> Result<Option<KeyValues>, Diagnostic> {
    let words = split_words(rest, escape);
    let Some(first) = words.first() else {
        return Ok(None);
    };
    if !first.text().contains('=') {
        let Some((key, value)) = split_first(rest) else {
            return Err(messages::two_arguments(name, rest.span()));
        };
        return Ok(Some(KeyValues {
            pairs: vec![(key.to_word(), value.to_word())],
            legacy: true,
        }));
    }
    let mut pairs = Vec::with_capacity(words.len());
    for word in words {
        let Some(at) = word.text().find('=') else {
            return Err(messages::missing_equals(word.text(), word.span()));
        };
        pairs.push((word.slice(0..at).to_word(), word.skip(at + 1).to_word()));
    }
    Ok(Some(KeyValues {
        pairs,
        legacy: false,
    }))
}
