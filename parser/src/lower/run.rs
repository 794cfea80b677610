//! `RUN`.

use super::{
    Input,
    flags::{self, FlagKind, Known},
    simple::command_line,
};
use crate::{
    ast::{CommandLine, InstructionKind, Run, Word},
    csv,
    diagnostic::Diagnostic,
    messages,
    syntax::{Arguments, heredoc},
};

const FLAGS: Known = &[
    ("device", FlagKind::List),
    ("mount", FlagKind::List),
    ("network", FlagKind::Text),
    ("security", FlagKind::Text),
];

pub(super) fn run(input: &mut Input<'_>) -> Option<InstructionKind> {
    let given = std::mem::take(&mut input.command.flags);
    let mut values = flags::check(given, FLAGS, input.diagnostics);
    let mounts = values.list("mount");
    for mount in &mounts {
        if let Err(error) = check_mount(mount) {
            input.diagnostics.push(error);
        }
    }
    let network = values.given("network");
    if let Some(word) = &network
        && !matches!(word.value.as_str(), "default" | "none" | "host")
    {
        input
            .diagnostics
            .push(messages::network(&word.value, word.span));
    }
    let security = values.given("security");
    if let Some(word) = &security
        && !matches!(word.value.as_str(), "sandbox" | "insecure")
    {
        input
            .diagnostics
            .push(messages::security(&word.value, word.span));
    }
    let arguments = std::mem::replace(&mut input.command.arguments, Arguments::Nothing);
    let command = command_line(arguments, input.command.keyword.span);
    let heredoc_only = match &command {
        CommandLine::Shell(text) => {
            !input.head.heredocs.is_empty() && heredoc::parse_word(&text.value).is_some()
        }
        CommandLine::Exec(_) => false,
    };
    Some(InstructionKind::Run(Run {
        mounts,
        network,
        security,
        devices: values.list("device"),
        command,
        heredoc_only,
    }))
}

/// Checks what is known before variables are: the form, and that `from` has no variable. All else
/// about mounts is said only when the stage is built.
fn check_mount(mount: &Word) -> Result<(), Diagnostic> {
    let fields = csv::fields(&mount.value)
        .map_err(|error| messages::mount_csv(&error.to_string(), mount.span))?;
    for field in fields {
        let Some((key, value)) = field.split_once('=') else {
            continue;
        };
        let has_variable = value.find('$').is_some_and(|at| at + 1 < value.len());
        if key.eq_ignore_ascii_case("from") && has_variable {
            return Err(messages::mount_from_variable("from", mount.span));
        }
    }
    Ok(())
}
