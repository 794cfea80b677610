//! Holds each fix against the grammar: corrected, an instruction must still be one of the same
//! outline, and what follows it must be read as before.
//!
//! What a rule edits is a word to it, but the file may see more in the new text: `/` after `<<` is a
//! heredoc, a line of a body without its `sudo` may be the body's last, the flags of `ADD` are not
//! those of `COPY`.

use std::collections::HashMap;

use super::{Edit, Fix, replace};
use crate::{
    Parsed,
    ast::{CommandLine, Head, InstructionKind},
    parse,
    span::Span,
};

/// Bytes that are read at most to hold the fixes of a file against the grammar. Beyond, fixes are left
/// out: they are there again once the others are made.
const MAX_READ: usize = 32 << 20;

/// Leaves only fixes that keep the outline of the instructions they edit.
pub(super) fn retain(source: &[u8], parsed: &Parsed, fixes: &mut Vec<Fix>) {
    let mut outlines = Outlines::new(source, parsed);
    fixes.retain(|fix| outlines.are_kept_by(fix));
}

/// What a piece of the file is to the grammar: its instructions with their heredocs; `None` if it has
/// errors.
type Outline = Option<Vec<(Form, Vec<Delimiter>)>>;

/// How an instruction is read, as far as no fix is meant to change it.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    From,
    RunShell { heredoc_only: bool },
    RunExec,
    Other,
}

/// The delimiter of a heredoc, with what its body is taken for.
#[derive(Debug, PartialEq, Eq)]
struct Delimiter {
    name: String,
    expand: bool,
    chomp: bool,
    file_descriptor: u32,
}

struct Outlines<'a> {
    source: &'a [u8],
    /// The line that sets the escape character, and a stage for what stands in one.
    start: String,
    /// Where the instructions start.
    starts: Vec<usize>,
    /// The outlines of instructions as they are.
    known: HashMap<usize, Outline>,
    left: usize,
}

impl<'a> Outlines<'a> {
    fn new(source: &'a [u8], parsed: &Parsed) -> Self {
        let dockerfile = &parsed.dockerfile;
        let arguments = dockerfile.global_args.iter().map(|found| found.head.span);
        let stages = dockerfile.stages.iter().flat_map(|stage| {
            let spans = stage.instructions.iter().map(|found| found.head.span);
            std::iter::once(stage.head.span).chain(spans)
        });
        Self {
            source,
            start: format!("# escape={}\nFROM scratch\n", dockerfile.escape),
            starts: arguments.chain(stages).map(|span| span.start).collect(),
            known: HashMap::new(),
            left: MAX_READ,
        }
    }

    fn are_kept_by(&mut self, fix: &Fix) -> bool {
        let mut edits: Vec<&Edit> = fix.edits.iter().collect();
        edits.sort_by_key(|edit| edit.span);
        let index_of = |edit: &Edit| self.index_at(edit.span.start);
        let groups: Vec<_> = edits
            .chunk_by(|a, b| index_of(a) == index_of(b))
            .map(|group| (index_of(group[0]), group))
            .collect();
        groups.into_iter().all(|(index, group)| {
            index.is_some_and(|index| {
                let place = self.place(index);
                let is_within = group.iter().all(|edit| edit.span.end <= place.end);
                is_within && self.is_kept(index, &replace(self.source, place, group))
            })
        })
    }

    /// Returns which instruction is at an offset, or the last before it.
    fn index_at(&self, offset: usize) -> Option<usize> {
        let after = self.starts.partition_point(|start| *start <= offset);
        after.checked_sub(1)
    }

    /// Returns where an instruction is, with what stands between it and the next one.
    fn place(&self, index: usize) -> Span {
        let end = self.starts.get(index + 1).copied();
        Span::new(self.starts[index], end.unwrap_or(self.source.len()))
    }

    fn is_kept(&mut self, index: usize, corrected: &[u8]) -> bool {
        if !self.known.contains_key(&index) {
            let place = self.place(index);
            let outline = self.read(&self.source[place.start..place.end]);
            self.known.insert(index, outline);
        }
        let outline = self.read(corrected);
        outline.is_some() && self.known.get(&index) == Some(&outline)
    }

    /// Reads a piece of the file, and a stage after it: what is open at its end shows.
    fn read(&mut self, piece: &[u8]) -> Outline {
        let mut text = Vec::from(self.start.as_bytes());
        text.extend_from_slice(piece);
        text.extend_from_slice(b"\nFROM scratch\n");
        self.left = self.left.checked_sub(text.len())?;
        let parsed = parse(&text);
        (!parsed.has_errors()).then(|| outline(&parsed))
    }
}

fn outline(parsed: &Parsed) -> Vec<(Form, Vec<Delimiter>)> {
    let stages = parsed.dockerfile.stages.iter().flat_map(|stage| {
        let instructions = stage.instructions.iter();
        let rest = instructions.map(|found| (form(&found.kind), delimiters(&found.head)));
        std::iter::once((Form::From, delimiters(&stage.head))).chain(rest)
    });
    stages.collect()
}

fn form(kind: &InstructionKind) -> Form {
    match kind {
        InstructionKind::Run(run) => match run.command {
            CommandLine::Exec(_) => Form::RunExec,
            CommandLine::Shell(_) => Form::RunShell {
                heredoc_only: run.heredoc_only,
            },
        },
        _ => Form::Other,
    }
}

fn delimiters(head: &Head) -> Vec<Delimiter> {
    let heredocs = head.heredocs.iter().map(|heredoc| Delimiter {
        name: heredoc.name.clone(),
        expand: heredoc.expand,
        chomp: heredoc.chomp,
        file_descriptor: heredoc.file_descriptor,
    });
    heredocs.collect()
}
