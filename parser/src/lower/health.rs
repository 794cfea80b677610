//! `HEALTHCHECK`.

use super::{
    Input, duration,
    flags::{self, FlagKind, Known, Values},
    simple::command_line,
};
use crate::{
    ast::{CommandLine, Healthcheck, InstructionKind, Word},
    diagnostic::Diagnostic,
    messages,
    syntax::Arguments,
};

const FLAGS: Known = &[
    ("interval", FlagKind::Text),
    ("retries", FlagKind::Text),
    ("start-interval", FlagKind::Text),
    ("start-period", FlagKind::Text),
    ("timeout", FlagKind::Text),
];

/// The shortest time, in nanoseconds, but for 0.
const MIN_INTERVAL: i64 = 1_000_000;

pub(super) fn healthcheck(input: &mut Input<'_>) -> Option<InstructionKind> {
    let arguments = std::mem::replace(&mut input.command.arguments, Arguments::Nothing);
    let Arguments::Typed(kind, arguments) = arguments else {
        return input.fail(messages::at_least_one("HEALTHCHECK", input.head.line_span));
    };
    let upper = kind.value.to_uppercase();
    if upper == "NONE" {
        // Flags are not looked at here.
        return match *arguments {
            Arguments::Text(None) => Some(InstructionKind::Healthcheck(Healthcheck::None)),
            Arguments::Json(words) if words.is_empty() => {
                Some(InstructionKind::Healthcheck(Healthcheck::None))
            }
            _ => input.fail(messages::healthcheck_none(input.head.line_span)),
        };
    }
    let given = std::mem::take(&mut input.command.flags);
    let mut values = flags::check(given, FLAGS, input.diagnostics);
    if upper != "CMD" {
        return input.fail(messages::healthcheck_type(&upper, kind.span));
    }
    let command = command_line(*arguments, kind.span);
    let is_empty = match &command {
        CommandLine::Shell(text) => text.value.is_empty(),
        CommandLine::Exec(words) => words.is_empty(),
    };
    if is_empty {
        return input.fail(messages::healthcheck_command(input.head.line_span));
    }
    Some(InstructionKind::Healthcheck(Healthcheck::Cmd {
        command,
        interval: interval(&mut values, "interval", input.diagnostics),
        timeout: interval(&mut values, "timeout", input.diagnostics),
        start_period: interval(&mut values, "start-period", input.diagnostics),
        start_interval: interval(&mut values, "start-interval", input.diagnostics),
        retries: retries(&mut values, input.diagnostics),
    }))
}

/// Reads a time in nanoseconds; 0 if not given or wrong.
fn interval(values: &mut Values, name: &str, diagnostics: &mut Vec<Diagnostic>) -> i64 {
    let Some(word) = values.text(name) else {
        return 0;
    };
    match duration::parse(&word.value) {
        Ok(0) => 0,
        Ok(time) if time < MIN_INTERVAL => {
            diagnostics.push(messages::short_interval(name, word.span));
            0
        }
        Ok(time) => time,
        Err(problem) => {
            diagnostics.push(messages::duration(problem, word.span));
            0
        }
    }
}

fn retries(values: &mut Values, diagnostics: &mut Vec<Diagnostic>) -> i64 {
    let Some(word) = values.text("retries") else {
        return 0;
    };
    match parse_retries(&word) {
        Ok(number) => number,
        Err(problem) => {
            diagnostics.push(messages::retries(problem, word.span));
            0
        }
    }
}

/// Reads a number as Go does; the messages are Go's too.
fn parse_retries(word: &Word) -> Result<i64, String> {
    let text = word.value.as_str();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let complain = |problem: &str| {
        let text = crate::quote::quote(text);
        Err(format!("strconv.ParseInt: parsing {text}: {problem}"))
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return complain("invalid syntax");
    }
    match text.parse::<i32>() {
        Ok(number) if number < 0 => Err(format!("--retries cannot be negative ({number})")),
        Ok(number) => Ok(i64::from(number)),
        Err(_) => complain("value out of range"),
    }
}
