//! The instructions that are little more than their arguments, and `FROM`.

use super::{Input, flags};
use crate::{
    ast::{ArgDeclaration, CommandLine, From, InstructionKind, KeyValues, Onbuild, Word},
    diagnostic::Diagnostic,
    messages,
    span::{Span, Spanned},
    syntax::{Arguments, Command},
};

const FROM_FLAGS: flags::Known = &[("platform", flags::FlagKind::Text)];

/// Reads a `FROM`. With errors, as much of it as there is.
pub(super) fn from(command: Command, diagnostics: &mut Vec<Diagnostic>) -> From {
    let end = command.text.span.end.max(command.keyword.span.end);
    let line = Span::new(command.keyword.span.start, end);
    let mut words = match command.arguments {
        Arguments::Words(words) => words,
        _ => Vec::new(),
    };
    let is_named = words.len() == 3 && words[1].value.eq_ignore_ascii_case("as");
    if words.len() != 1 && !is_named {
        diagnostics.push(messages::from_arity(line));
    }
    let mut name = None;
    let mut as_keyword = None;
    if is_named {
        let typed = words.pop();
        as_keyword = words.pop();
        name = typed.map(|typed| stage_name(&typed, diagnostics));
    }
    words.truncate(1);
    let mut values = flags::check(command.flags, FROM_FLAGS, diagnostics);
    From {
        platform: values.text("platform"),
        base: words
            .pop()
            .unwrap_or_else(|| Word::new(String::new(), Span::new(end, end))),
        name,
        as_keyword,
    }
}

/// Lower-cases a stage name and checks it.
fn stage_name(typed: &Word, diagnostics: &mut Vec<Diagnostic>) -> Word {
    let lower = typed.value.to_lowercase();
    let is_valid = lower.starts_with(|c: char| c.is_ascii_lowercase())
        && lower
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
    if !is_valid {
        diagnostics.push(messages::stage_name(&typed.value, typed.span));
    }
    Word::new(lower, typed.span)
}

/// Makes a command of text or exec form. `before` is where an empty command would have stood.
pub(super) fn command_line(arguments: Arguments, before: Span) -> CommandLine {
    match arguments {
        Arguments::Json(words) => CommandLine::Exec(words),
        Arguments::Text(Some(text)) => CommandLine::Shell(text),
        _ => CommandLine::Shell(Word::new(String::new(), Span::new(before.end, before.end))),
    }
}

/// Reports the flags of an instruction that has none.
fn no_flags(input: &mut Input<'_>) {
    let given = std::mem::take(&mut input.command.flags);
    flags::check(given, &[], input.diagnostics);
}

pub(super) fn arg(input: &mut Input<'_>) -> Option<InstructionKind> {
    // Any flag is accepted here, as BuildKit does.
    let arguments = std::mem::replace(&mut input.command.arguments, Arguments::Nothing);
    let declarations = match arguments {
        Arguments::Declarations(found) if !found.is_empty() => found,
        _ => return input.fail(messages::at_least_one("ARG", input.head.line_span)),
    };
    for ArgDeclaration { name, default } in &declarations {
        if name.value.is_empty() {
            let span = default
                .as_ref()
                .map_or(name.span, |word| name.span.to(word.span));
            input.diagnostics.push(messages::blank_name("ARG", span));
        }
    }
    Some(InstructionKind::Arg(declarations))
}

pub(super) fn env(input: &mut Input<'_>) -> Option<InstructionKind> {
    key_values(input).map(InstructionKind::Env)
}

pub(super) fn label(input: &mut Input<'_>) -> Option<InstructionKind> {
    key_values(input).map(InstructionKind::Label)
}

fn key_values(input: &mut Input<'_>) -> Option<KeyValues> {
    no_flags(input);
    let arguments = std::mem::replace(&mut input.command.arguments, Arguments::Nothing);
    let Arguments::Pairs(Some(found)) = arguments else {
        return input.fail(messages::at_least_one(input.name, input.head.line_span));
    };
    for (key, value) in &found.pairs {
        if key.value.is_empty() {
            let span = key.span.to(value.span);
            input
                .diagnostics
                .push(messages::blank_name(input.name, span));
        }
    }
    Some(found)
}

pub(super) fn cmd(input: &mut Input<'_>) -> Option<InstructionKind> {
    no_flags(input);
    let arguments = std::mem::replace(&mut input.command.arguments, Arguments::Nothing);
    let command = command_line(arguments, input.command.keyword.span);
    Some(InstructionKind::Cmd(command))
}

pub(super) fn entrypoint(input: &mut Input<'_>) -> Option<InstructionKind> {
    no_flags(input);
    let arguments = std::mem::replace(&mut input.command.arguments, Arguments::Nothing);
    let command = command_line(arguments, input.command.keyword.span);
    Some(InstructionKind::Entrypoint(command))
}

pub(super) fn expose(input: &mut Input<'_>) -> Option<InstructionKind> {
    let words = input.take_words().unwrap_or_default();
    if words.is_empty() {
        input
            .diagnostics
            .push(messages::at_least_one("EXPOSE", input.head.line_span));
    }
    no_flags(input);
    Some(InstructionKind::Expose(words))
}

pub(super) fn volume(input: &mut Input<'_>) -> Option<InstructionKind> {
    let mut words = input.take_words().unwrap_or_default();
    if words.is_empty() {
        input
            .diagnostics
            .push(messages::at_least_one("VOLUME", input.head.line_span));
    }
    no_flags(input);
    for word in &mut words {
        word.value = word.value.trim().to_owned();
        if word.value.is_empty() {
            input.diagnostics.push(messages::blank_volume(word.span));
        }
    }
    Some(InstructionKind::Volume(words))
}

pub(super) fn workdir(input: &mut Input<'_>) -> Option<InstructionKind> {
    whole_line(input).map(InstructionKind::Workdir)
}

pub(super) fn user(input: &mut Input<'_>) -> Option<InstructionKind> {
    whole_line(input).map(InstructionKind::User)
}

pub(super) fn maintainer(input: &mut Input<'_>) -> Option<InstructionKind> {
    whole_line(input).map(InstructionKind::Maintainer)
}

pub(super) fn stop_signal(input: &mut Input<'_>) -> Option<InstructionKind> {
    // Any flag is accepted here, as BuildKit does.
    input.command.flags.clear();
    whole_line(input).map(InstructionKind::StopSignal)
}

/// Reads an instruction whose argument is the rest of the line.
fn whole_line(input: &mut Input<'_>) -> Option<Word> {
    let arguments = std::mem::replace(&mut input.command.arguments, Arguments::Nothing);
    let found = match arguments {
        Arguments::Text(Some(word)) => Some(word),
        _ => input.fail(messages::exactly_one(input.name, input.head.line_span)),
    };
    no_flags(input);
    found
}

pub(super) fn shell(input: &mut Input<'_>) -> Option<InstructionKind> {
    no_flags(input);
    let arguments = std::mem::replace(&mut input.command.arguments, Arguments::Nothing);
    match arguments {
        Arguments::Json(words) if !words.is_empty() => Some(InstructionKind::Shell(words)),
        Arguments::Text(Some(text)) => input.fail(messages::shell_not_json(text.span)),
        _ => input.fail(messages::at_least_one("SHELL", input.head.line_span)),
    }
}

pub(super) fn onbuild(input: &mut Input<'_>) -> Option<InstructionKind> {
    let Some(trigger) = input.trigger.take() else {
        return input.fail(messages::at_least_one("ONBUILD", input.head.line_span));
    };
    no_flags(input);
    let keyword = trigger.keyword.value.to_uppercase();
    match keyword.as_str() {
        "ONBUILD" => return input.fail(messages::onbuild_chain(trigger.keyword.span)),
        "FROM" | "MAINTAINER" => {
            return input.fail(messages::onbuild_trigger(&keyword, trigger.keyword.span));
        }
        _ => {}
    }
    if trigger.arguments == Arguments::Invalid {
        return None;
    }
    let mut text = input.command.text.value.clone();
    text.push_str(&input.trailing_blanks);
    for heredoc in &input.head.heredocs {
        text.push('\n');
        text.push_str(&heredoc.body);
        text.push_str(&heredoc.name);
    }
    let span = Span::new(input.command.text.span.start, input.head.span.end);
    Some(InstructionKind::Onbuild(Onbuild {
        trigger: Spanned::new(text, span),
    }))
}
