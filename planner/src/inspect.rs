//! Looks at a Dockerfile without a plan as the aim: what is odd or wrong, and what a target takes.

use rbuild_parser::ast::Dockerfile;
use rbuild_parser::diagnostic::Diagnostic;

use crate::lower::{self, Shared};
use crate::outline::{self, Outline};
use crate::request::{BaseImages, Need, Request};
use crate::stages::{self, Purpose, Question};

/// What came of looking.
#[derive(Debug, Clone)]
pub enum Inspected {
    /// Base images that must be known first; ask again as for a plan. One that cannot be had is an
    /// error and keeps nothing else from being found.
    Needs(Vec<Need>),
    /// What was found.
    Done(Box<Inspection>),
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// What would fail the build.
    pub errors: Vec<Diagnostic>,
    /// Findings of build checks, in BuildKit's order, and other warnings.
    pub warnings: Vec<Diagnostic>,
    /// What the target takes; `None` if the errors leave nothing to tell.
    pub outline: Option<Outline>,
}

/// Looks at a Dockerfile for the first platform of the request: at what the target needs, or at
/// all stages.
///
/// The file must have been parsed without faults. No I/O is done.
#[must_use]
pub fn inspect(
    dockerfile: &Dockerfile,
    request: &Request,
    bases: &BaseImages,
    all_stages: bool,
) -> Inspected {
    let mut shared = Shared::default();
    let Shared {
        findings, budget, ..
    } = &mut shared;
    let question = Question {
        dockerfile,
        request,
        bases,
        purpose: Purpose::Inspection { all_stages },
    };
    let platforms = crate::platforms(request);
    let stages = platforms
        .first()
        .and_then(|platform| stages::analyse(&question, platform, findings, budget));
    if !shared.findings.needs.is_empty() {
        return Inspected::Needs(shared.findings.needs);
    }
    let outline = stages.map(|stages| {
        let states = lower::lower(&stages, &mut shared);
        outline::outline(dockerfile, &stages, &states, &shared.steps)
    });
    Inspected::Done(Box::new(Inspection {
        errors: shared.findings.errors,
        warnings: shared.findings.warnings,
        outline,
    }))
}
