//! Rules on what `RUN` runs, but for package managers.

use super::{
    super::shell::{Command, ShellText},
    findings::Findings,
    model::{Model, RunModel, StageModel},
};
use crate::{ast::InstructionKind, checks::fix::Edit};

/// Commands that need a running system or a person.
const POINTLESS: [&str; 9] = [
    "free", "kill", "mount", "ps", "service", "shutdown", "ssh", "top", "vim",
];

pub(super) fn check(model: &Model<'_>, findings: &mut Findings) {
    let mut has_pipefail: Vec<bool> = Vec::with_capacity(model.stages.len());
    for stage in &model.stages {
        for run in &stage.runs {
            for (text, command) in run.commands() {
                single(run, text, command, findings);
            }
        }
        downloads(stage, findings);
        let inherited = stage.parent.is_some_and(|parent| has_pipefail[parent]);
        has_pipefail.push(pipes(stage, inherited, findings));
    }
}

fn single(run: &RunModel, text: &ShellText, command: &Command, findings: &mut Findings) {
    let Some(name) = command.words.first() else {
        return;
    };
    let mut add = |code, message: String| {
        let place = text.span(name.range.clone());
        findings.add(code, run.instruction, place, message);
    };
    let place = text.exact_span(name.range.clone());
    let insert = |option: &str| place.map(|place| Edit::insert(place.end, option));
    let (code, edit) = match name.text.as_str() {
        "cd" => {
            return add(
                "DL3003",
                "cd changes the folder of this RUN only".to_owned(),
            );
        }
        "sudo" => {
            add("DL3004", "sudo is not needed in a build".to_owned());
            ("DL3004", without_sudo(text, command))
        }
        "apt" => {
            add("DL3027", "apt is made for people".to_owned());
            let other = command
                .operands(&[])
                .next()
                .and_then(|word| for_scripts(&word.text));
            let edit = place
                .zip(other)
                .map(|(place, other)| Edit::new(place, other));
            ("DL3027", edit)
        }
        "useradd" if has_high_uid(command) && !is_without_log(command) => {
            let message = "useradd writes a log file that grows with the user id";
            add("DL3046", message.to_owned());
            ("DL3046", insert(" -l"))
        }
        "wget" if shows_progress(command) => {
            add("DL3047", "wget writes a progress bar to the log".to_owned());
            ("DL3047", insert(" --progress=dot:giga"))
        }
        "ln" if command.has_argument("/bin/sh") => {
            return add(
                "DL4005",
                "the link changes /bin/sh for everything".to_owned(),
            );
        }
        name if POINTLESS.contains(&name) => {
            return add("DL3001", format!("{name} makes no sense in a build"));
        }
        _ => return,
    };
    if let Some(edit) = edit {
        findings.fix(code, run.instruction, vec![edit]);
    }
}

/// Returns the edit that removes `sudo`, if it has no options of its own and no redirections before
/// the command.
fn without_sudo(text: &ShellText, command: &Command) -> Option<Edit> {
    let [sudo, next, ..] = &command.words[..] else {
        return None;
    };
    let is_plain = !next.text.starts_with('-') && !next.text.contains('=');
    let between = text.text.get(sudo.range.end..next.range.start)?;
    let is_alone = between.bytes().all(|byte| matches!(byte, b' ' | b'\t'));
    let span = text.exact_span(sudo.range.start..next.range.start)?;
    (is_plain && is_alone).then(|| Edit::new(span, ""))
}

/// Returns the program that does for scripts what apt does for people.
fn for_scripts(subcommand: &str) -> Option<&'static str> {
    match subcommand {
        "install" | "update" | "upgrade" | "remove" | "purge" | "autoremove" | "clean"
        | "autoclean" | "dist-upgrade" | "source" | "build-dep" | "download" => Some("apt-get"),
        "search" | "show" | "policy" | "depends" | "rdepends" => Some("apt-cache"),
        _ => None,
    }
}

/// Tells whether a user id has more than five digits.
fn has_high_uid(command: &Command) -> bool {
    let arguments = command.arguments();
    arguments.iter().enumerate().any(|(index, word)| {
        let value = match word.text.strip_prefix("--uid") {
            Some(value) => value.strip_prefix('='),
            None => word
                .text
                .strip_prefix('-')
                .and_then(|cluster| cluster.split_once('u'))
                .filter(|(flags, _)| flags.bytes().all(|byte| byte.is_ascii_lowercase()))
                .map(|(_, value)| value),
        };
        let is_option = word.text == "--uid" || value.is_some();
        let value = match value {
            Some(value) if !value.is_empty() => Some(value),
            _ if is_option => arguments.get(index + 1).map(|next| next.text.as_str()),
            _ => None,
        };
        value
            .is_some_and(|value| value.len() > 5 && value.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn is_without_log(command: &Command) -> bool {
    command.has_short('l') || command.has_long("no-log-init")
}

fn shows_progress(command: &Command) -> bool {
    const QUIET: [&str; 7] = [
        "quiet",
        "no-verbose",
        "progress",
        "output-file",
        "append-output",
        "version",
        "help",
    ];
    let is_quiet = command
        .long_options()
        .any(|(name, _)| QUIET.contains(&name))
        || command
            .short_clusters()
            .any(|cluster| cluster.contains(['q', 'o', 'a']) || cluster.contains("nv"));
    !is_quiet && !command.arguments().is_empty()
}

/// Finds stages that use both wget and curl, from where that shows.
fn downloads(stage: &StageModel<'_>, findings: &mut Findings) {
    let mut seen = [false; 2];
    for run in &stage.runs {
        let used: Vec<_> = run
            .commands()
            .filter_map(|(text, command)| {
                let index = ["wget", "curl"]
                    .iter()
                    .position(|name| command.name() == *name)?;
                let place = command.words.first()?.range.clone();
                Some((index, text.span(place)))
            })
            .collect();
        for (index, _) in &used {
            seen[*index] = true;
        }
        if seen == [true, true]
            && let Some((_, place)) = used.last()
        {
            let message = "the stage uses both wget and curl";
            findings.add("DL4001", run.instruction, *place, message);
        }
    }
}

/// Finds pipes whose failures get lost; returns whether the stage ends with a shell that knows
/// better.
fn pipes(stage: &StageModel<'_>, inherited: bool, findings: &mut Findings) -> bool {
    let mut has_pipefail = inherited;
    let mut runs = stage.runs.iter().peekable();
    for (index, instruction) in stage.instructions().iter().enumerate() {
        if let InstructionKind::Shell(words) = &instruction.kind {
            has_pipefail = words.iter().any(|word| word.value == "pipefail");
        }
        let Some(run) = runs.next_if(|run| run.index == index) else {
            continue;
        };
        if has_pipefail || run.is_trigger {
            continue;
        }
        for source in &run.scripts {
            let set_at = source
                .script
                .commands
                .iter()
                .find(|command| command.name() == "set" && command.has_argument("pipefail"))
                .map_or(usize::MAX, |command| command.range().start);
            if let Some(pipe) = source.script.pipes.iter().find(|pipe| **pipe < set_at) {
                let place = source.text.span(*pipe..pipe + 1);
                let message = "only the last command of the pipe decides whether the RUN fails";
                findings.add("DL4006", run.instruction, place, message);
            }
        }
    }
    has_pipefail
}
