//! `COPY` and `ADD`.

use std::collections::HashMap;

use super::{
    Input,
    flags::{self, FlagKind, Known, Values},
};
use crate::{
    ast::{Add, Copy, Head, InstructionKind, Transfer, TransferSource, Word},
    messages,
    span::Span,
    syntax::heredoc::{self, Announced},
};

const COPY_FLAGS: Known = &[
    ("chmod", FlagKind::Text),
    ("chown", FlagKind::Text),
    ("exclude", FlagKind::List),
    ("from", FlagKind::Text),
    ("link", FlagKind::Switch),
    ("parents", FlagKind::Switch),
];

const ADD_FLAGS: Known = &[
    ("checksum", FlagKind::Text),
    ("chmod", FlagKind::Text),
    ("chown", FlagKind::Text),
    ("exclude", FlagKind::List),
    ("keep-git-dir", FlagKind::Switch),
    ("link", FlagKind::Switch),
    ("unpack", FlagKind::Switch),
];

pub(super) fn copy(input: &mut Input<'_>) -> Option<InstructionKind> {
    let (mut values, transfer) = transfer(input, COPY_FLAGS)?;
    let from = values.text("from");
    if let Some(word) = &from
        && word.value.contains('$')
    {
        input.diagnostics.push(messages::from_variable(word.span));
    }
    Some(InstructionKind::Copy(Copy {
        from,
        parents: values.switch("parents").unwrap_or(false),
        transfer,
    }))
}

pub(super) fn add(input: &mut Input<'_>) -> Option<InstructionKind> {
    let (mut values, transfer) = transfer(input, ADD_FLAGS)?;
    Some(InstructionKind::Add(Add {
        keep_git_dir: values.switch("keep-git-dir"),
        checksum: values.text("checksum"),
        unpack: values.switch("unpack"),
        transfer,
    }))
}

fn transfer(input: &mut Input<'_>, known: Known) -> Option<(Values, Transfer)> {
    let mut words = input.take_words().unwrap_or_default();
    let dest = if words.len() < 2 { None } else { words.pop() };
    if dest.is_none() {
        let error = messages::no_destination(input.name, input.head.line_span);
        input.diagnostics.push(error);
    }
    let given = std::mem::take(&mut input.command.flags);
    let mut values = flags::check(given, known, input.diagnostics);
    let dest = dest?;
    if heredoc::parse_word(&dest.value).is_some() {
        return input.fail(messages::heredoc_destination(input.name, dest.span));
    }
    let transfer = Transfer {
        sources: sources(words, input.head),
        dest,
        chown: values.text("chown"),
        chmod: values.text("chmod"),
        link: values.switch("link").unwrap_or(false),
        exclude: values.list("exclude"),
    };
    Some((values, transfer))
}

/// Tells heredocs from paths. A word that looks like a heredoc always is one: of several bodies
/// with its name it means the last, and without any, e.g. in JSON form, an empty one.
fn sources(words: Vec<Word>, head: &mut Head) -> Vec<TransferSource> {
    let mut by_name: HashMap<String, usize> = HashMap::new();
    let mut by_word: HashMap<(String, bool, bool), usize> = HashMap::new();
    for (index, heredoc) in head.heredocs.iter().enumerate() {
        by_name.insert(heredoc.name.clone(), index);
    }
    for (index, heredoc) in head.heredocs.iter().enumerate() {
        if by_name.get(&heredoc.name) == Some(&index) {
            let word = (heredoc.name.clone(), heredoc.expand, heredoc.chomp);
            by_word.insert(word, index);
        }
    }
    words
        .into_iter()
        .map(|word| match heredoc::parse_word(&word.value) {
            None => TransferSource::Path(word),
            Some(announced) => {
                let key = (announced.name.clone(), announced.expand, announced.chomp);
                let index = *by_word.entry(key).or_insert_with(|| {
                    append_body(head, &by_name, announced, word.span);
                    head.heredocs.len() - 1
                });
                TransferSource::Heredoc(index)
            }
        })
        .collect()
}

/// Adds a heredoc for a word that has no body of its own: another word's body of that name, or
/// nothing.
fn append_body(
    head: &mut Head,
    by_name: &HashMap<String, usize>,
    announced: Announced,
    place: Span,
) {
    let shared = by_name
        .get(&announced.name)
        .and_then(|&index| head.heredocs.get(index));
    let (body, span) = match shared {
        Some(shared) => (shared.body.clone(), shared.span),
        None => (String::new(), Span::new(place.end, place.end)),
    };
    head.heredocs.push(announced.with_body(body, span));
}
