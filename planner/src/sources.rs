//! Links every `COPY --from` to the stage it takes files from.

use rbuild_parser::ast::{InstructionKind, Word};
use rbuild_parser::span::Span;

use crate::bases::Bases;
use crate::findings::{Budget, Findings};
use crate::messages;
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
        let InstructionKind::Copy(copy) = &command.instruction.kind else {
            continue;
        };
        // `--from=` without a value is as if it were not there.
        let from = copy.from.as_ref().filter(|from| !from.value.is_empty());
        let Some(from) = from else {
            continue;
        };
        let (place, span) = match &command.trigger {
            Some(_) => (stages.nodes[number].base_span, stages.nodes[number].span),
            None => (from.span, command.instruction.head.line_span),
        };
        let from = Word::new(from.value.clone(), place);
        command.source = find(stages, number, &from, span, findings);
    }
}

fn find(
    stages: &mut Stages<'_>,
    number: usize,
    from: &Word,
    span: Span,
    findings: &mut Findings,
) -> Option<usize> {
    if let Ok(index) = from.value.parse::<i64>() {
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
