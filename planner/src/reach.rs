//! Follows the target's needs: asks for base images, and unfolds the ONBUILD triggers of bases,
//! which may need further stages and images.

use std::borrow::Cow;
use std::collections::BTreeSet;

use rbuild_parser::ast::InstructionKind;

use crate::findings::Findings;
use crate::messages;
use crate::request::BaseImage;
use crate::sources;
use crate::stages::{Base, Command, Purpose, Stages};

/// Fills `stages.reachable` and puts triggers before the instructions of the stages they run in.
pub(crate) fn resolve(stages: &mut Stages<'_>, findings: &mut Findings) {
    let mut pending = BTreeSet::new();
    if stages.purpose == (Purpose::Inspection { all_stages: true }) {
        (0..stages.nodes.len()).for_each(|number| add(stages, number, &mut pending));
    }
    add(stages, stages.target, &mut pending);
    // A stage comes after its base: bases have smaller numbers and are added with what they carry.
    while let Some(number) = pending.pop_first() {
        let triggers = triggers_of(stages, number, findings);
        if triggers.is_empty() {
            continue;
        }
        unfold(stages, number, triggers, findings);
        let sources: Vec<_> = stages.nodes[number]
            .commands
            .iter()
            .flat_map(|command| command.sources.iter().flatten().copied())
            .collect();
        for source in sources {
            add(stages, source, &mut pending);
        }
    }
}

/// Adds a stage and all it is known to need.
fn add(stages: &mut Stages<'_>, number: usize, pending: &mut BTreeSet<usize>) {
    let mut found = vec![number];
    while let Some(number) = found.pop() {
        if stages.reachable.insert(number) {
            pending.insert(number);
            found.extend(stages.needs_of(number).map(|(need, _)| need));
        }
    }
}

/// Returns the texts of the triggers that the stage's base carries, and asks for the base if it is
/// not known yet.
fn triggers_of(stages: &Stages<'_>, number: usize, findings: &mut Findings) -> Vec<String> {
    let node = &stages.nodes[number];
    match &node.base {
        Base::Image { .. } => {
            let image = image_of(stages, number, findings);
            let is_stage = number < stages.n_declared && !node.is_replaced;
            match image {
                Some(image) if is_stage => on_build(image),
                _ => Vec::new(),
            }
        }
        Base::Stage(base) => {
            let base_node = &stages.nodes[*base];
            if base_node.is_replaced {
                return image_of(stages, *base, findings).map_or_else(Vec::new, on_build);
            }
            base_node
                .commands
                .iter()
                .filter_map(|command| match &command.instruction.kind {
                    InstructionKind::Onbuild(onbuild) => Some(onbuild.trigger.value.clone()),
                    _ => None,
                })
                .collect()
        }
        Base::Scratch | Base::Directory(_) | Base::Unknown => Vec::new(),
    }
}

/// Returns the image that a stage is built upon, if it is known; else asks for it or says why
/// there is none.
fn image_of<'a>(
    stages: &Stages<'a>,
    number: usize,
    findings: &mut Findings,
) -> Option<&'a BaseImage> {
    let node = &stages.nodes[number];
    let Base::Image { query, typed } = &node.base else {
        return None;
    };
    match stages.bases.get(query) {
        Some(Ok(image)) => Some(image),
        Some(Err(reason)) => {
            findings.report(messages::unresolved_base(
                &query.reference,
                reason,
                typed,
                stages.labels(),
                node.base_span,
            ));
            None
        }
        None => {
            findings.ask(query, node.base_span);
            None
        }
    }
}

fn on_build(image: &BaseImage) -> Vec<String> {
    image.config.config.on_build.clone().unwrap_or_default()
}

fn unfold(stages: &mut Stages<'_>, number: usize, triggers: Vec<String>, findings: &mut Findings) {
    let span = stages.nodes[number].base_span;
    let mut commands = Vec::with_capacity(triggers.len());
    for trigger in triggers {
        let (instruction, diagnostics) = rbuild_parser::parse_trigger(&trigger);
        let mut faults = diagnostics
            .into_iter()
            .filter(rbuild_parser::diagnostic::Diagnostic::is_error)
            .peekable();
        if faults.peek().is_some() {
            faults.for_each(|fault| findings.report(messages::in_trigger(fault, &trigger, span)));
            continue;
        }
        let Some(instruction) = instruction else {
            findings.report(messages::bad_trigger(&trigger, span));
            continue;
        };
        commands.push(Command {
            instruction: Cow::Owned(instruction),
            sources: Vec::new(),
            trigger: Some(trigger),
        });
    }
    sources::link(stages, number, &mut commands, findings);
    commands.append(&mut stages.nodes[number].commands);
    stages.nodes[number].commands = commands;
}
