//! `SOURCE_DATE_EPOCH`: the time that the build's layers and history get.

use rbuild_parser::ast::{Dockerfile, InstructionKind};
use rbuild_parser::span::Span;

use crate::findings::Findings;
use crate::global::Global;
use crate::messages;

const NAME: &str = "SOURCE_DATE_EPOCH";
/// The time of the build context; a directory has none.
const OF_CONTEXT: &str = "context";

/// Returns the build's epoch, in seconds.
pub(crate) fn of_build(
    dockerfile: &Dockerfile,
    global: &Global<'_>,
    findings: &mut Findings,
) -> Option<i64> {
    let value = match global.build_args.get(NAME) {
        Some(value) => value,
        None => global.env.get(NAME)?,
    };
    if value.is_empty() || value == OF_CONTEXT {
        return None;
    }
    let span = declaration(dockerfile);
    let stages = &dockerfile.stages;
    let is_stage = |name: &str| {
        let mut names = stages.iter().filter_map(|stage| stage.from.name.as_ref());
        names.any(|stage| stage.value == name)
    };
    match value.parse() {
        Ok(seconds) => return Some(seconds),
        Err(_) if is_stage(value) => {
            let help = "write seconds since 1970";
            findings.report(messages::unsupported(
                "SOURCE_DATE_EPOCH of a stage",
                help,
                span,
            ));
        }
        Err(_) => findings.report(messages::bad_epoch(value, span)),
    }
    None
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
