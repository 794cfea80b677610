//! `SOURCE_DATE_EPOCH`: the time that the build's layers and history get.

use rbuild_parser::ast::{Dockerfile, InstructionKind};
use rbuild_parser::span::Span;

use crate::findings::Findings;
use crate::lower::Shared;
use crate::messages;
use crate::plan::{FileSource, StepKind};
use crate::stages::Stages;
use crate::state::StageState;

const NAME: &str = "SOURCE_DATE_EPOCH";
/// The time of the main build context.
const OF_CONTEXT: &str = "context";

/// What the build's epoch is.
#[derive(Debug)]
pub(crate) enum Epoch {
    /// Seconds since 1970.
    At(i64),
    /// The time of what a stage fetches.
    OfStage(StageOfEpoch),
}

/// A stage whose only file comes from elsewhere.
#[derive(Debug)]
pub(crate) struct StageOfEpoch {
    name: String,
    span: Span,
}

/// Returns the build's epoch.
pub(crate) fn of_build(
    dockerfile: &Dockerfile,
    stages: &Stages<'_>,
    findings: &mut Findings,
) -> Option<Epoch> {
    let Stages {
        global, request, ..
    } = stages;
    let value = match global.build_args.get(NAME) {
        Some(value) => value,
        None => global.env.get(NAME)?,
    };
    if value.is_empty() {
        return None;
    }
    // Folders and images have no time of their own.
    let context = if value == OF_CONTEXT { "" } else { value };
    if context.is_empty() || request.contexts.contains_key(context) {
        return request.context_times.get(context).copied().map(Epoch::At);
    }
    if let Ok(seconds) = value.parse() {
        return Some(Epoch::At(seconds));
    }
    let span = declaration(dockerfile);
    let mut names = dockerfile
        .stages
        .iter()
        .filter_map(|stage| stage.from.name.as_ref());
    if names.any(|stage| stage.value == *value) {
        let name = value.to_owned();
        return Some(Epoch::OfStage(StageOfEpoch { name, span }));
    }
    findings.report(messages::bad_epoch(value, span));
    None
}

impl StageOfEpoch {
    /// Returns the only source of the stage. It must stand on nothing, and the target must need it.
    pub(crate) fn source(
        &self,
        stages: &Stages<'_>,
        states: &[Option<StageState>],
        shared: &mut Shared,
    ) -> Option<FileSource> {
        let number = stages
            .nodes
            .iter()
            .take(stages.n_declared)
            .position(|node| node.label == self.name)?;
        let state = states.get(number)?.as_ref();
        let source = state.and_then(|state| match shared.steps.kind(state.rootfs) {
            StepKind::Files(files) => {
                let stands_on_nothing = shared
                    .steps
                    .parent(state.rootfs)
                    .is_some_and(|parent| *shared.steps.kind(parent) == StepKind::Scratch);
                match &files.sources[..] {
                    [source @ (FileSource::Http(_) | FileSource::Git(_))] if stands_on_nothing => {
                        Some(source.clone())
                    }
                    _ => None,
                }
            }
            _ => None,
        });
        if source.is_none() {
            shared
                .findings
                .report(messages::epoch_stage(&self.name, self.span));
        }
        source
    }
}

/// Returns the place of the global `ARG`, or the first `FROM` if there is none.
fn declaration(dockerfile: &Dockerfile) -> Span {
    let declared = dockerfile
        .global_args
        .iter()
        .filter_map(|instruction| match &instruction.kind {
            InstructionKind::Arg(declarations) => Some(declarations),
            _ => None,
        })
        .flatten()
        .rfind(|declaration| declaration.name.value == NAME);
    let first = dockerfile.stages.first().map(|stage| stage.head.line_span);
    declared
        .map(|declaration| {
            let default = declaration.default.as_ref();
            default.map_or(declaration.name.span, |default| default.span)
        })
        .or(first)
        .unwrap_or_default()
}
