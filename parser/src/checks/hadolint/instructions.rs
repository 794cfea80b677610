//! Rules on single instructions and on what a stage has of them.

use std::collections::{HashMap, HashSet};

use super::{
    findings::Findings,
    model::{Model, RunModel, Source, StageModel},
};
use crate::{
    ast::{CommandLine, Healthcheck, Instruction, InstructionKind, KeyValues, Word},
    checks::fix::Edit,
    expand::{NoVariables, expand_word},
};

pub(super) fn check(model: &Model<'_>, findings: &mut Findings) {
    for instruction in &model.dockerfile.global_args {
        secrets(instruction, findings);
    }
    let mut known = known_variables(model);
    for stage in &model.stages {
        once(stage, findings);
        last_user(stage, findings);
        consecutive_runs(stage, findings);
        for instruction in stage.instructions() {
            single(instruction, findings);
            secrets(instruction, findings);
            if let InstructionKind::Env(pairs) = &instruction.kind {
                self_reference(
                    instruction,
                    pairs,
                    model.dockerfile.escape,
                    &known,
                    findings,
                );
            }
            learn(instruction, &mut known);
        }
    }
    healthcheck(model, findings);
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

/// Tells whether a path is absolute, on any system, or starts with a variable.
pub(super) fn may_be_absolute(path: &str) -> bool {
    let path = unquoted(path);
    let mut start = path.chars();
    match (start.next(), start.next()) {
        (Some('/' | '$'), _) => true,
        (Some(drive), Some(':')) => drive.is_ascii_alphabetic(),
        _ => false,
    }
}

/// What can be seen in one instruction alone.
fn single(instruction: &Instruction, findings: &mut Findings) {
    let place = instruction.head.span;
    match &instruction.kind {
        InstructionKind::Workdir(path) if !may_be_absolute(&path.value) => {
            findings.add("DL3000", place, path.span, "the path is relative");
        }
        InstructionKind::Expose(words) => {
            for word in words.iter().filter(|word| has_impossible_port(&word.value)) {
                let message = format!("there is no port {}", word.value);
                findings.add("DL3011", place, word.span, message);
            }
        }
        InstructionKind::Cmd(CommandLine::Shell(text))
        | InstructionKind::Entrypoint(CommandLine::Shell(text))
        | InstructionKind::Healthcheck(Healthcheck::Cmd {
            command: CommandLine::Shell(text),
            ..
        }) if !text.value.is_empty() => {
            findings.add("DL3025", place, text.span, "a shell runs the command");
        }
        InstructionKind::Label(pairs) => {
            for (key, _) in pairs
                .pairs
                .iter()
                .filter(|(key, _)| !is_label_key(&key.value))
            {
                let message = format!("{} is no label key", key.value);
                findings.add("DL3048", place, key.span, message);
            }
        }
        InstructionKind::User(user) => {
            let name = unquoted(&user.value).split(':').next().unwrap_or_default();
            if !name.contains('$') && !name.bytes().all(|byte| byte.is_ascii_digit()) {
                let message = format!("the user {name} is given by name");
                findings.add("DL3066", place, user.span, message);
            }
        }
        InstructionKind::Maintainer(name) => {
            let keyword = instruction.head.keyword.span;
            findings.add("DL4000", place, keyword, "MAINTAINER is deprecated");
            if let Some(edits) = as_label(instruction, name) {
                findings.fix("DL4000", place, edits);
            }
        }
        _ => {}
    }
}

/// Writes the author as a label: the image's own field for it is then empty.
fn as_label(instruction: &Instruction, name: &Word) -> Option<Vec<Edit>> {
    let keyword = &instruction.head.keyword;
    let is_plain =
        name.span.len() == name.value.len() && !name.value.contains(['"', '\'', '\\', '`', '$']);
    let label = match keyword.value.starts_with('m') {
        true => "label",
        false => "LABEL",
    };
    let key = "org.opencontainers.image.authors";
    is_plain.then(|| {
        vec![
            Edit::new(keyword.span, label),
            Edit::insert(name.span.start, format!("{key}=\"")),
            Edit::insert(name.span.end, "\""),
        ]
    })
}

fn has_impossible_port(word: &str) -> bool {
    let ports = word.split('/').next().unwrap_or_default();
    ports
        .split(['-', ':'])
        .filter(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
        .any(|port| port.parse::<u16>().is_err())
}

fn is_label_key(key: &str) -> bool {
    let key = unquoted(key);
    if key.contains('$') {
        return true;
    }
    let is_reserved = ["com.docker.", "io.docker.", "org.dockerproject."]
        .iter()
        .any(|prefix| key.starts_with(prefix));
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !is_reserved
        && key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().last().is_some_and(is_inner)
        && key
            .bytes()
            .all(|byte| is_inner(byte) || b".-_/".contains(&byte))
        && !["..", "--"].iter().any(|pair| key.contains(pair))
}

/// Instructions of which the last one counts.
fn once(stage: &StageModel<'_>, findings: &mut Findings) {
    let mut seen = [false; 3];
    for instruction in stage.instructions() {
        let (index, code) = match &instruction.kind {
            InstructionKind::Healthcheck(_) => (0, "DL3012"),
            InstructionKind::Cmd(_) => (1, "DL4003"),
            InstructionKind::Entrypoint(_) => (2, "DL4004"),
            _ => continue,
        };
        if std::mem::replace(&mut seen[index], true) {
            let keyword = &instruction.head.keyword;
            let message = format!("the {} before is without effect", keyword.value);
            findings.add(code, instruction.head.span, keyword.span, message);
        }
    }
}

fn last_user(stage: &StageModel<'_>, findings: &mut Findings) {
    let last = stage
        .instructions()
        .iter()
        .rev()
        .find_map(|instruction| match &instruction.kind {
            InstructionKind::User(user) => Some((instruction, user)),
            _ => None,
        });
    if let Some((instruction, user)) = last
        && matches!(unquoted(&user.value).split(':').next(), Some("root" | "0"))
    {
        let message = "the stage ends with the user root";
        findings.add("DL3002", instruction.head.span, user.span, message);
    }
}

fn consecutive_runs(stage: &StageModel<'_>, findings: &mut Findings) {
    let is_single = |run: &RunModel| {
        !run.is_trigger && !run.scripts.is_empty() && run.scripts.iter().all(has_one_command)
    };
    for pair in stage.runs.windows(2) {
        let [before, run] = pair else { continue };
        if run.index == before.index + 1
            && is_single(before)
            && is_single(run)
            && before.flags == run.flags
        {
            let keyword = stage.instructions()[run.index].head.keyword.span;
            findings.add(
                "DL3059",
                run.instruction,
                keyword,
                "RUN right after another RUN",
            );
        }
    }
}

/// Tells whether a script has one command at most; tests do not count.
fn has_one_command(source: &Source) -> bool {
    let commands = source.script.commands.iter();
    let named = commands.filter(|command| {
        let name = command.words.first();
        name.is_some_and(|name| !name.expands && name.text != "[")
    });
    named.count() <= 1
}

/// Variables that are set before the first stage.
fn known_variables(model: &Model<'_>) -> HashSet<String> {
    let mut known = HashSet::new();
    for instruction in &model.dockerfile.global_args {
        learn(instruction, &mut known);
    }
    known
}

fn learn(instruction: &Instruction, known: &mut HashSet<String>) {
    match &instruction.kind {
        InstructionKind::Env(pairs) => {
            known.extend(pairs.pairs.iter().map(|(key, _)| key.value.clone()));
        }
        InstructionKind::Arg(declarations) => {
            known.extend(declarations.iter().map(|found| found.name.value.clone()));
        }
        _ => {}
    }
}

fn self_reference(
    instruction: &Instruction,
    pairs: &KeyValues,
    escape: char,
    known: &HashSet<String>,
    findings: &mut Findings,
) {
    let mut n_set: HashMap<&str, usize> = HashMap::new();
    for (key, _) in &pairs.pairs {
        *n_set.entry(&key.value).or_default() += 1;
    }
    for (own, value) in &pairs.pairs {
        let Ok(expansion) = expand_word(&value.value, escape, &NoVariables) else {
            continue;
        };
        for name in expansion.undefined {
            let n_own = usize::from(own.value == name);
            let n_others = n_set.get(name.as_str()).copied().unwrap_or(0) - n_own;
            if n_others > 0 && !known.contains(&name) {
                let message = format!("${name} does not have the value yet that it gets here");
                findings.add("DL3044", instruction.head.span, value.span, message);
            }
        }
    }
}

/// Parts of names that secrets have.
const SECRET_NAMES: [&str; 8] = [
    "password",
    "secret",
    "token",
    "api_key",
    "private_key",
    "access_key_id",
    "username",
    "passphrase",
];

fn secrets(instruction: &Instruction, findings: &mut Findings) {
    let trigger;
    let kind = match &instruction.kind {
        InstructionKind::Onbuild(onbuild) => {
            trigger = crate::parse_trigger(&onbuild.trigger.value).0;
            let Some(found) = &trigger else { return };
            &found.kind
        }
        kind => kind,
    };
    let names: Vec<&Word> = match kind {
        InstructionKind::Arg(declarations) => {
            declarations.iter().map(|found| &found.name).collect()
        }
        InstructionKind::Env(pairs) => pairs.pairs.iter().map(|(key, _)| key).collect(),
        _ => return,
    };
    for name in names {
        let lower = name.value.to_ascii_lowercase();
        if SECRET_NAMES.iter().any(|part| lower.contains(part)) && !lower.ends_with("_file") {
            let is_trigger = matches!(instruction.kind, InstructionKind::Onbuild(_));
            let place = match is_trigger {
                true => instruction.head.line_span,
                false => name.span,
            };
            let message = format!("{} looks like a secret", name.value);
            findings.add("DL3064", instruction.head.span, place, message);
        }
    }
}

/// A stage has a health check if it, or a stage that it stands on, has one.
fn healthcheck(model: &Model<'_>, findings: &mut Findings) {
    let mut has_check: Vec<bool> = Vec::with_capacity(model.stages.len());
    for stage in &model.stages {
        let own = stage
            .instructions()
            .iter()
            .any(|instruction| matches!(instruction.kind, InstructionKind::Healthcheck(_)));
        let inherited = stage.parent.is_some_and(|parent| has_check[parent]);
        has_check.push(own || inherited);
    }
    for (stage, has_check) in model.stages.iter().zip(has_check) {
        let head = &stage.stage.head;
        if !has_check {
            let message = "the stage has no HEALTHCHECK";
            findings.add("DL3057", head.span, head.line_span, message);
        }
    }
}
