//! pip.

use super::{
    super::super::shell::{Command, Word},
    Found, is_path,
};
use crate::{
    ast::InstructionKind,
    checks::hadolint::{
        findings::Findings,
        model::{Model, RunModel},
    },
};

const WITH_VALUE: [&str; 44] = [
    "--abi",
    "--build-option",
    "--cache-dir",
    "--cert",
    "--client-cert",
    "-C",
    "--config-settings",
    "-c",
    "--constraint",
    "-d",
    "--dest",
    "-e",
    "--editable",
    "--exists-action",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--global-option",
    "--implementation",
    "-i",
    "--index-url",
    "--install-option",
    "--keyring-provider",
    "--log",
    "--no-binary",
    "--only-binary",
    "--platform",
    "--prefix",
    "--progress-bar",
    "--proxy",
    "--python",
    "--python-version",
    "-r",
    "--report",
    "--requirement",
    "--retries",
    "--root",
    "--src",
    "-t",
    "--target",
    "--timeout",
    "--trusted-host",
    "--upgrade-strategy",
    "--use-feature",
];

/// The variable that turns the cache off.
const NO_CACHE: &str = "PIP_NO_CACHE_DIR";

pub(super) fn check(model: &Model<'_>, findings: &mut Findings) {
    let mut without_cache: Vec<bool> = Vec::with_capacity(model.stages.len());
    for stage in &model.stages {
        let mut is_off = stage.parent.is_some_and(|parent| without_cache[parent]);
        let mut runs = stage.runs.iter().peekable();
        for (index, instruction) in stage.instructions().iter().enumerate() {
            if let InstructionKind::Env(pairs) = &instruction.kind {
                let value = pairs
                    .pairs
                    .iter()
                    .rev()
                    .find(|(key, _)| key.value == NO_CACHE);
                is_off = value.map_or(is_off, |(_, value)| turns_off(&value.value));
            }
            if let Some(run) = runs.next_if(|run| run.index == index) {
                installs(run, is_off, findings);
            }
        }
        without_cache.push(is_off);
    }
}

/// Tells whether the value turns the cache off.
fn turns_off(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'']).to_ascii_lowercase();
    matches!(value.as_str(), "1" | "true" | "on" | "yes")
}

fn installs(run: &RunModel, is_off: bool, findings: &mut Findings) {
    let mut found = Found { run, findings };
    let is_exported = run.commands().any(|(_, command)| {
        let words = match command.name() {
            "" => &command.assignments[..],
            "export" => command.arguments(),
            _ => &[],
        };
        words.iter().any(sets_no_cache)
    });
    let is_outside = run.has_mount(|target| {
        target.contains("/.cache/pip") || target.ends_with("/.cache") || target == "/root"
    });
    for (text, command) in run.commands() {
        let Some(arguments) = install_arguments(command) else {
            continue;
        };
        if !is_pinned_elsewhere(arguments) {
            let unpinned = operands(arguments).filter(|package| !is_pinned(&package.text));
            found.unpinned("DL3013", text, unpinned);
        }
        let is_without = command.has_long("no-cache-dir") && !is_on_again(command)
            || command.assignments.iter().any(sets_no_cache);
        if command.name() != "pipx" && !(is_without || is_off || is_exported || is_outside) {
            found.command("DL3042", text, command, "pip's cache stays in the layer");
            let install = command
                .arguments()
                .iter()
                .find(|word| word.text == "install");
            let install = install.filter(|_| !command.has_long("no-cache-dir"));
            found.insert("DL3042", text, install, "--no-cache-dir");
        }
    }
}

fn sets_no_cache(word: &Word) -> bool {
    let value = word
        .text
        .split_once('=')
        .filter(|(name, _)| *name == NO_CACHE);
    value.is_some_and(|(_, value)| turns_off(value))
}

fn is_on_again(command: &Command) -> bool {
    command.has_argument("--no-cache-dir=off") || command.has_argument("--no-cache-dir=false")
}

/// Returns what follows `install`; `None` if no pip installs.
fn install_arguments(command: &Command) -> Option<&[Word]> {
    let arguments = command.arguments();
    let is_versioned = |name: &str, base: &str| {
        let rest = name.strip_prefix(base);
        rest.is_some_and(|rest| {
            rest.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        })
    };
    let arguments = if is_versioned(command.name(), "pip") || command.name() == "pipx" {
        arguments
    } else if is_versioned(command.name(), "python") {
        let module = arguments
            .windows(2)
            .position(|pair| pair[0].text == "-m" && pair[1].text == "pip")?;
        arguments.get(module + 2..)?
    } else {
        return None;
    };
    let install = arguments
        .iter()
        .position(|word| !word.text.starts_with('-'))?;
    (arguments[install].text == "install").then(|| &arguments[install + 1..])
}

/// Tells whether a file says which versions, or what is installed is a folder.
fn is_pinned_elsewhere(arguments: &[Word]) -> bool {
    arguments.iter().any(|word| {
        let option = word.text.split('=').next().unwrap_or_default();
        matches!(option, "--requirement" | "--constraint")
            || ["-r", "-c"].iter().any(|short| option.starts_with(short))
            || option == "@"
    })
}

fn operands(arguments: &[Word]) -> impl Iterator<Item = &Word> {
    let mut is_value = false;
    arguments.iter().filter(move |word| {
        if std::mem::take(&mut is_value) {
            return false;
        }
        is_value = WITH_VALUE.contains(&word.text.as_str());
        !is_value && !word.text.starts_with('-')
    })
}

fn is_pinned(package: &str) -> bool {
    if let Some(repository) = package.split_once("git+").map(|(_, rest)| rest) {
        let path = repository
            .split_once("://")
            .map_or(repository, |(_, path)| path);
        // A user name before the host has an `@` too.
        return path
            .split_once('/')
            .is_some_and(|(_, path)| path.contains('@'));
    }
    let is_file = [".whl", ".tar.gz", ".zip"]
        .iter()
        .any(|end| package.ends_with(end));
    ["==", ">=", "<=", "~=", "!=", "<", ">", "@"]
        .iter()
        .any(|mark| package.contains(mark))
        || is_file
        || is_path(package)
        || package.starts_with('.')
}
