//! What is wrong with a command line, in Docker's words: scripts look for them.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory as _};

use crate::arguments::Arguments;

/// Returns the message for wrong use of a command that Docker has; `None` for what Docker does not
/// know.
pub(crate) fn message(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let mut command = Arguments::command();
    command.build();
    let command = called(&command, words);
    let name = command.get_bin_name().unwrap_or_default().to_owned();
    let more = format!("Run '{name} --help' for more information\n");
    let usage = command.clone().render_usage().to_string();
    let usage = usage.replacen("Usage: ", "Usage:  ", 1);
    let with_usage = |text: &str| format!("{text}\n\n{usage}\n\n{more}");
    let given = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::MissingSubcommand => Some(command.clone().render_help().to_string()),
        ErrorKind::InvalidSubcommand => {
            let word = given(ContextKind::InvalidSubcommand)?;
            Some(format!("rbuild: unknown command: {name} {word}\n\n{more}"))
        }
        ErrorKind::UnknownArgument => {
            let word = given(ContextKind::InvalidArg)?;
            if !word.starts_with('-') {
                return Some(with_usage(&number_of_arguments(command, &name)));
            }
            Some(with_usage(&unknown_flag(word, words)))
        }
        ErrorKind::MissingRequiredArgument => {
            Some(with_usage(&number_of_arguments(command, &name)))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let argument = argument(command, given(ContextKind::InvalidArg)?)?;
            let value = given(ContextKind::InvalidValue)?;
            let is_empty = |word: &OsString| word.as_encoded_bytes().ends_with(b"=");
            let is_missing = value.is_empty() && !words.iter().any(is_empty);
            if is_missing {
                return Some(with_usage(&needs_argument(argument, words)?));
            }
            let reason = reason(error, argument, value);
            let shown = match (argument.get_short(), argument.get_long()) {
                (Some(short), Some(long)) => format!("-{short}, --{long}"),
                (None, Some(long)) => format!("--{long}"),
                _ => return None,
            };
            let text = format!("invalid argument \"{value}\" for \"{shown}\" flag: {reason}");
            Some(with_usage(&text))
        }
        _ => None,
    }
}

/// The command that the words lead to.
fn called<'a>(top: &'a Command, words: &[OsString]) -> &'a Command {
    let mut command = top;
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        if word == "--root" {
            words.next();
        }
        if word.starts_with("--root") {
            continue;
        }
        match command.find_subcommand(word) {
            Some(found) => command = found,
            None => break,
        }
    }
    command
}

/// `--nope=1` is `--nope`; of `-az` the rest from the first unknown letter is shown.
fn unknown_flag(word: &str, words: &[OsString]) -> String {
    if word.starts_with("--") {
        let name = word.split('=').next().unwrap_or(word);
        return format!("unknown flag: {name}");
    }
    let letter = word.trim_start_matches('-').chars().next().unwrap_or('-');
    let texts = words.iter().filter_map(|word| word.to_str());
    let rest = texts
        .filter(|text| text.starts_with('-') && !text.starts_with("--"))
        .find_map(|text| Some(&text[text.find(letter)?..]));
    format!(
        "unknown shorthand flag: '{letter}' in -{}",
        rest.unwrap_or(word)
    )
}

fn needs_argument(argument: &Arg, words: &[OsString]) -> Option<String> {
    let last = words.last()?.to_str()?;
    Some(match argument.get_short() {
        Some(short) if !last.starts_with("--") => {
            format!("flag needs an argument: '{short}' in -{short}")
        }
        _ => format!("flag needs an argument: --{}", argument.get_long()?),
    })
}

fn reason(error: &clap::Error, argument: &Arg, value: &str) -> String {
    let possible = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => values.as_slice(),
        _ => &[],
    };
    let is_truth = argument.get_action().takes_values()
        && argument
            .get_value_names()
            .is_some_and(|names| names == ["BOOL"])
        || matches!(argument.get_action(), clap::ArgAction::SetTrue);
    if is_truth {
        return format!("strconv.ParseBool: parsing \"{value}\": invalid syntax");
    }
    match error.source() {
        Some(source) => source.to_string(),
        None => format!("it must be one of {}", possible.join(", ")),
    }
}

/// Finds an option by how a message writes it: `--format <FORMAT>`.
fn argument<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let end = shown.find(['[', '=', ' ', '<']).unwrap_or(shown.len());
    let long = shown[..end].strip_prefix("--")?;
    command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(long))
}

fn number_of_arguments(command: &Command, name: &str) -> String {
    let (mut least, mut most) = (0_usize, 0_usize);
    for positional in command.get_positionals() {
        let Some(range) = positional.get_num_args() else {
            continue;
        };
        if positional.is_required_set() {
            least += range.min_values().max(1);
        }
        most = most.saturating_add(range.max_values());
    }
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let wanted = match (least, most) {
        (0, 0) => "accepts no arguments".to_owned(),
        _ if least == most => format!("requires {least} argument{}", plural(least)),
        (_, usize::MAX) => format!("requires at least {least} argument{}", plural(least)),
        (0, _) => format!("requires at most {most} argument{}", plural(most)),
        _ => format!("requires at least {least} and at most {most} arguments"),
    };
    format!("rbuild: '{name}' {wanted}")
}
