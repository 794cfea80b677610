//! Warns of build arguments that nothing declares.

use std::collections::BTreeSet;

use rbuild_parser::ast::{Dockerfile, InstructionKind};

use crate::findings::Findings;
use crate::lower::PROXIES;
use crate::messages;
use crate::stages::Stages;

/// Given by tools for all builds, whether the file wants them or not.
const COMMON: &[&str] = &["SOURCE_DATE_EPOCH"];
/// Beginning of arguments that steer the build.
const SWITCH_PREFIX: &str = "BUILDKIT_";

/// Reports the build arguments that no `ARG` of what is built declares.
pub(crate) fn report(dockerfile: &Dockerfile, analyses: &[Stages<'_>], findings: &mut Findings) {
    let Some(first) = analyses.first() else {
        return;
    };
    let mut declared: BTreeSet<&str> = first.global.declared.iter().copied().collect();
    for stages in analyses {
        for number in &stages.reachable {
            let commands = &stages.nodes[*number].commands;
            for command in commands {
                if let InstructionKind::Arg(declarations) = &command.instruction.kind {
                    declared.extend(declarations.iter().map(|arg| arg.name.value.as_str()));
                }
            }
        }
    }
    let span = dockerfile.stages[first.target].head.line_span;
    let given: BTreeSet<&str> = first.global.build_args.keys().copied().collect();
    for name in given {
        let is_proxy = PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name));
        // Platform arguments are in the global scope, and FROM lines may use them undeclared.
        let is_known = declared.contains(name) || first.global.env.get(name).is_some();
        if is_known || is_proxy || COMMON.contains(&name) || name.starts_with(SWITCH_PREFIX) {
            continue;
        }
        let warning = messages::unused_build_arg(name, declared.iter().copied(), span);
        findings.report(warning);
    }
}
