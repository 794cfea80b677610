//! `COPY` and `ADD`.

use std::collections::{HashMap, HashSet};

use super::{
    super::shell::Command,
    findings::Findings,
    instructions::may_be_absolute,
    model::{Model, StageModel},
};
use crate::ast::{Add, Copy, Head, InstructionKind, Transfer, TransferSource, Word};
use crate::checks::fix::Edit;

pub(super) fn check(model: &Model<'_>, findings: &mut Findings) {
    let mut has_workdir: Vec<bool> = Vec::with_capacity(model.stages.len());
    let mut earlier = HashSet::new();
    for (index, stage) in model.stages.iter().enumerate() {
        let unpacked = unpacked_names(stage);
        let mut in_workdir = stage.parent.is_some_and(|parent| has_workdir[parent]);
        for instruction in stage.instructions() {
            let head = &instruction.head;
            match &instruction.kind {
                InstructionKind::Workdir(_) => in_workdir = true,
                InstructionKind::Copy(copy) => {
                    destination(head, &copy.transfer, in_workdir, findings);
                    from(head, copy, &earlier, index, stage, findings);
                    whole_file_system(head, copy, findings);
                    if copy.from.is_none() {
                        unpacked_later(head, &copy.transfer, &unpacked, findings);
                    }
                }
                InstructionKind::Add(add) => added(head, add, findings),
                _ => {}
            }
        }
        has_workdir.push(in_workdir);
        earlier.extend(
            stage
                .stage
                .from
                .name
                .as_ref()
                .map(|name| name.value.as_str()),
        );
    }
}

fn unquoted(word: &Word) -> &str {
    word.value.trim_matches(['"', '\''])
}

fn destination(head: &Head, transfer: &Transfer, in_workdir: bool, findings: &mut Findings) {
    let dest = &transfer.dest;
    let path = unquoted(dest);
    if !in_workdir && !may_be_absolute(path) {
        let message = "the destination is relative, and no WORKDIR is set";
        findings.add("DL3045", head.span, dest.span, message);
    }
    if transfer.sources.len() > 1 && !path.ends_with('/') && !path.contains('$') {
        let message = "several files are copied, and the destination does not end with /";
        findings.add("DL3021", head.span, dest.span, message);
        if dest.span.len() == dest.value.len() && path == dest.value {
            let edit = Edit::insert(dest.span.end, "/");
            findings.fix("DL3021", head.span, vec![edit]);
        }
    }
}

fn from(
    head: &Head,
    copy: &Copy,
    earlier: &HashSet<&str>,
    index: usize,
    stage: &StageModel<'_>,
    findings: &mut Findings,
) {
    let Some(from) = &copy.from else { return };
    let name = from.value.to_lowercase();
    let own = stage.stage.from.name.as_ref().map(|name| &name.value);
    if own == Some(&name) {
        let message = format!("{name} is the stage that this instruction is in");
        findings.add("DL3023", head.span, from.span, message);
        return;
    }
    let is_stage = earlier.contains(name.as_str())
        || name.parse::<usize>().is_ok_and(|number| number <= index);
    if !is_stage && !name.contains([':', '@']) {
        let message = format!("no stage before this one is called {}", from.value);
        findings.add("DL3022", head.span, from.span, message);
    }
}

fn whole_file_system(head: &Head, copy: &Copy, findings: &mut Findings) {
    if copy.from.is_some()
        && let [TransferSource::Path(source)] = &copy.transfer.sources[..]
        && unquoted(source) == "/"
        && unquoted(&copy.transfer.dest) == "/"
    {
        let message = "everything is copied from the other stage";
        findings.add("DL3067", head.span, source.span, message);
    }
}

/// Ends of the names of what ADD may unpack.
const ARCHIVES: [&str; 17] = [
    ".tar", ".gz", ".bz2", ".xz", ".zst", ".Z", ".lz", ".lzma", ".tgz", ".tbz", ".tbz2", ".tb2",
    ".txz", ".tlz", ".tpz", ".tZ", ".tzst",
];

fn may_be_archive(path: &str) -> bool {
    path.contains(".tar") || ARCHIVES.iter().any(|end| path.ends_with(end))
}

/// Tells whether ADD fetches the source: a URL or a repository.
fn is_remote(path: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"]
        .iter()
        .any(|start| path.starts_with(start))
}

fn added(head: &Head, add: &Add, findings: &mut Findings) {
    if add.unpack.is_some() {
        return;
    }
    let sources = &add.transfer.sources;
    let copied: Vec<&Word> = sources
        .iter()
        .filter_map(|source| match source {
            TransferSource::Path(source) => Some(source),
            TransferSource::Heredoc(_) => None,
        })
        .filter(|source| {
            let path = unquoted(source);
            !is_remote(path) && !may_be_archive(path) && !path.contains('$')
        })
        .collect();
    for source in &copied {
        let message = format!("ADD only copies {}", unquoted(source));
        findings.add("DL3020", head.span, source.span, message);
    }
    // Whether a file is an archive depends on its content.
    if !copied.is_empty() && copied.len() == sources.len() && add.checksum.is_none() {
        let keyword = match head.keyword.value.starts_with('a') {
            true => "copy",
            false => "COPY",
        };
        let edit = Edit::new(head.keyword.span, keyword);
        findings.fix("DL3020", head.span, vec![edit]);
    }
}

/// Ends of the names of tar archives.
fn is_tar(name: &str) -> bool {
    let ends = [
        ".tgz", ".tbz", ".tbz2", ".tb2", ".txz", ".tlz", ".tpz", ".tZ", ".tzst",
    ];
    name.contains(".tar") || ends.iter().any(|end| name.ends_with(end))
}

fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or_default()
}

/// Finds archives that are copied and unpacked afterwards.
fn unpacked_later(
    head: &Head,
    transfer: &Transfer,
    unpacked: &HashMap<&str, usize>,
    findings: &mut Findings,
) {
    let dest = unquoted(&transfer.dest);
    let renamed = (transfer.sources.len() == 1 && is_tar(dest)).then(|| base_name(dest));
    for source in &transfer.sources {
        let TransferSource::Path(source) = source else {
            continue;
        };
        let name = renamed.unwrap_or_else(|| base_name(unquoted(source)));
        let is_later = unpacked
            .get(name)
            .is_some_and(|place| *place > head.span.start);
        if is_later && is_tar(name) && !name.contains(['$', '*', '?']) {
            let message = format!("{name} is unpacked later");
            findings.add("DL3010", head.span, source.span, message);
        }
    }
}

/// Returns the names of the files that a stage unpacks, and where the last `RUN` is that does.
fn unpacked_names<'a>(stage: &'a StageModel<'_>) -> HashMap<&'a str, usize> {
    let mut names = HashMap::new();
    for run in &stage.runs {
        for (_, command) in run.commands().filter(|(_, command)| unpacks(command)) {
            for word in command.arguments() {
                let path = word
                    .text
                    .split_once('=')
                    .map_or(word.text.as_str(), |(_, path)| path);
                names.insert(base_name(path), run.instruction.start);
            }
        }
    }
    names
}

fn unpacks(command: &Command) -> bool {
    match command.name() {
        "tar" | "bsdtar" => {
            // `tar xf`: the first word needs no `-`.
            let is_old_style = command.arguments().first().is_some_and(|word| {
                word.text.contains('x') && word.text.bytes().all(|byte| byte.is_ascii_lowercase())
            });
            is_old_style
                || command.has_short('x')
                || command.has_long("extract")
                || command.has_long("get")
        }
        "gunzip" | "bunzip2" | "unxz" | "unlzma" | "uncompress" | "zcat" | "unzstd" => true,
        _ => false,
    }
}
