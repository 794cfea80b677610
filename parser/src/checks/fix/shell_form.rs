//! `CMD` and `ENTRYPOINT` in shell form: what the image records for them, written out.

use super::{Context, Edit, Fix};
use crate::ast::{CommandLine, InstructionKind, Word};

/// What runs the shell form if nobody says otherwise.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

pub(super) fn commands(context: &mut Context<'_>) {
    let parsed = context.parsed;
    for stage in &parsed.dockerfile.stages {
        let mut shell: Option<Vec<&str>> = None;
        for instruction in &stage.instructions {
            match &instruction.kind {
                InstructionKind::Shell(words) => {
                    shell = Some(words.iter().map(|word| word.value.as_str()).collect());
                }
                InstructionKind::Cmd(CommandLine::Shell(text))
                | InstructionKind::Entrypoint(CommandLine::Shell(text)) => {
                    let edits = edit(context, shell.as_deref(), text);
                    // The base image may have a shell of its own.
                    context.fixes.extend(edits.map(|edit| Fix {
                        rule: "JSONArgsRecommended",
                        instruction: instruction.head.span,
                        is_safe: shell.is_some(),
                        edits: vec![edit],
                    }));
                }
                _ => {}
            }
        }
    }
}

fn edit(context: &Context<'_>, shell: Option<&[&str]>, text: &Word) -> Option<Edit> {
    let is_plain = !text.value.is_empty()
        && !text
            .value
            .contains(|c: char| c.is_control() || c == '\u{fffd}')
        && context.is_written(text.span, &text.value);
    if !is_plain {
        return None;
    }
    let words = shell.unwrap_or(&DEFAULT_SHELL).iter().copied();
    let strings: Vec<String> = words
        .chain(std::iter::once(text.value.as_str()))
        .map(json_string)
        .collect();
    Some(Edit::new(text.span, format!("[{}]", strings.join(", "))))
}

fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}
