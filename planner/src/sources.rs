//! Links every `COPY --from` and `RUN --mount` to the stage it takes files from.

use rbuild_parser::ast::{InstructionKind, Word};
use rbuild_parser::span::Span;

use crate::bases::Bases;
use crate::findings::{Budget, Findings};
use crate::messages;
use crate::mount_options;
use crate::stages::{Command, Node, Stages};

/// Links the instructions of a stage of the file.
pub(crate) fn link_stage(stages: &mut Stages<'_>, number: usize, findings: &mut Findings) {
    let mut commands = std::mem::take(&mut stages.nodes[number].commands);
    link(stages, number, &mut commands, findings);
    stages.nodes[number].commands = commands;
}

/// Links `commands` of stage `number`. Implicit stages are added as needed.
pub(crate) fn link(
    stages: &mut Stages<'_>,
    number: usize,
    commands: &mut [Command<'_>],
    findings: &mut Findings,
) {
    for command in commands {
        let names = match &command.instruction.kind {
            InstructionKind::Copy(copy) => {
                // `--from=` without a value is as if it were not there.
                let from = copy.from.as_ref().filter(|from| !from.value.is_empty());
                vec![from.map(|from| Name {
                    word: from.clone(),
                    may_be_index: true,
                })]
            }
            InstructionKind::Run(run) => run.mounts.iter().map(mounted).collect(),
            _ => continue,
        };
        let (place, span) = match &command.trigger {
            Some(_) => (
                Some(stages.nodes[number].base_span),
                stages.nodes[number].span,
            ),
            None => (None, command.instruction.head.line_span),
        };
        command.sources = names
            .into_iter()
            .map(|name| {
                let mut name = name?;
                name.word.span = place.unwrap_or(name.word.span);
                find(stages, number, &name, span, findings)
            })
            .collect();
    }
}

/// What names a stage.
struct Name {
    word: Word,
    /// True if a number counts stages.
    may_be_index: bool,
}

fn mounted(mount: &Word) -> Option<Name> {
    let from = mount_options::from_of(&mount.value)?;
    Some(Name {
        word: Word::new(from, mount.span),
        may_be_index: false,
    })
}

/// Reports whether any instruction of the file mounts something.
pub(crate) fn has_mounts(stages: &Stages<'_>) -> bool {
    let commands = stages.nodes.iter().flat_map(|node| &node.commands);
    commands
        .filter_map(|command| match &command.instruction.kind {
            InstructionKind::Run(run) => Some(run),
            _ => None,
        })
        .any(|run| !run.mounts.is_empty())
}

fn find(
    stages: &mut Stages<'_>,
    number: usize,
    from: &Name,
    span: Span,
    findings: &mut Findings,
) -> Option<usize> {
    let Name {
        word: from,
        may_be_index,
    } = from;
    if let Some(index) = from.value.parse::<i64>().ok().filter(|_| *may_be_index) {
        let found = usize::try_from(index)
            .ok()
            .filter(|index| *index < stages.n_declared);
        if found.is_none() {
            findings.report(messages::bad_stage_index(index, from.span));
        }
        return found;
    }
    let name = from.value.to_lowercase();
    if let Some(numbers) = stages.by_name.get(name.as_str()) {
        // Of several stages with this name the nearest above; if there is none, a later one, which
        // is a fault once the stage is needed.
        let above = stages.nearest_above(&name, number);
        return above.or(numbers.last().copied());
    }
    if let Some(number) = stages.implicit.get(&from.value) {
        return Some(*number);
    }
    let base = Bases {
        stages,
        findings,
        budget: &mut Budget::default(),
    }
    .outside(&from.value, None, from.span);
    let number = stages.nodes.len();
    stages.nodes.push(Node {
        label: from.value.clone(),
        name: None,
        span,
        base_span: from.span,
        base,
        platform: None,
        is_replaced: false,
        commands: Vec::new(),
    });
    stages.implicit.insert(from.value.clone(), number);
    Some(number)
}
