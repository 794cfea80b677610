//! rbuild-planner: AST, arguments, platforms and base configs to a graph of expanded steps.
//!
//! Pure: it reads no file and no environment, and reaches no registry. What it needs to know of
//! base images it asks for, and is called again with the answers.
//!
//! ```text
//! Dockerfile, Request, BaseImages ──plan──▶ Needs   bases to be found; ask again with them
//!                                           Failed  what is wrong, all of it
//!                                           Ready   the plan
//! ```
//!
//! For each platform: the global scope (`global`), what every `FROM` and `--from` names (`bases`,
//! `sources`), what the target needs (`cycles`, `reach`), then the instructions of those stages
//! (`lower`). All platforms share one table of steps, in which equal steps are one (`table`).

mod bases;
mod checks;
mod cycles;
mod display;
mod env;
mod epoch;
mod expose;
mod findings;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod global;
mod graph;
mod history;
mod inspect;
mod lower;
mod messages;
mod mount_options;
mod outline;
mod paths;
mod plan;
mod reach;
pub mod remote;
mod render;
mod request;
mod signal;
mod sources;
mod stages;
mod state;
mod suggest;
mod table;
mod target;
mod unused;
mod words;

use std::collections::BTreeSet;

use rbuild_image::platform::Platform;
use rbuild_parser::ast::Dockerfile;
use rbuild_parser::diagnostic::Diagnostic;

pub use inspect::{Inspected, Inspection, inspect};
pub use outline::{Outline, OutlineArg, OutlineMount};
pub use plan::*;
pub use request::*;

use epoch::Epoch;
use lower::Shared;
use stages::{Purpose, Question};

/// What came of planning.
#[derive(Debug, Clone)]
pub enum Planned {
    /// Base images that must be known first. Ask again with [`BaseImages`] that hold the answers
    /// so far and these. There may be several rounds: a base's ONBUILD triggers can name others.
    Needs(Vec<Need>),
    /// What is wrong: faults in file order of their stages, then warnings.
    Failed(Vec<Diagnostic>),
    /// The plan.
    Ready(Box<Plan>),
}

/// Plans the build of a Dockerfile: what to do in which order, and the images it leads to.
///
/// The file must have been parsed without faults. No I/O is done, and equal arguments give equal
/// results.
#[must_use]
pub fn plan(dockerfile: &Dockerfile, request: &Request, bases: &BaseImages) -> Planned {
    let mut shared = Shared::default();
    let mut analyses = Vec::new();
    let question = Question {
        dockerfile,
        request,
        bases,
        purpose: Purpose::Build,
    };
    for (number, platform) in platforms(request).iter().enumerate() {
        let Shared {
            findings, budget, ..
        } = &mut shared;
        // What is odd is said of the first platform only.
        findings.mute(number > 0);
        analyses.extend(stages::analyse(&question, platform, findings, budget));
    }
    if shared.findings.has_errors() {
        return failed(shared);
    }
    if !shared.findings.needs.is_empty() {
        return Planned::Needs(shared.findings.needs);
    }
    let epoch = analyses
        .first()
        .and_then(|stages| epoch::of_build(dockerfile, stages, &mut shared.findings));
    let mut images = Vec::new();
    let mut epoch_source = None;
    for (number, stages) in analyses.iter().enumerate() {
        shared.findings.mute(number > 0);
        let states = lower::lower(stages, &mut shared);
        if let (0, Some(Epoch::OfStage(wanted))) = (number, &epoch) {
            epoch_source = wanted.source(stages, &states, &mut shared);
        }
        images.extend(target::image(stages, &states));
        if shared.budget.is_exhausted() {
            break;
        }
    }
    if shared.findings.has_errors() {
        return failed(shared);
    }
    shared.findings.mute(false);
    unused::report(dockerfile, &analyses, &mut shared.findings);
    let rootfs: Vec<_> = images.iter().map(|image| image.rootfs).collect();
    let (graph, indices) = shared.steps.finish(&rootfs);
    Planned::Ready(Box::new(Plan {
        graph,
        targets: images
            .into_iter()
            .map(|image| image.into_target(&indices))
            .collect(),
        epoch: match epoch {
            Some(Epoch::At(seconds)) => Some(seconds),
            Some(Epoch::OfStage(_)) | None => None,
        },
        epoch_source,
        warnings: shared.findings.warnings,
    }))
}

/// Returns the platforms to build for, normalised, each once.
fn platforms(request: &Request) -> Vec<Platform> {
    if request.platforms.is_empty() {
        return vec![request.build_platform.normalized()];
    }
    let mut seen = BTreeSet::new();
    request
        .platforms
        .iter()
        .map(Platform::normalized)
        .filter(|platform| seen.insert(platform.clone()))
        .collect()
}

fn failed(shared: Shared) -> Planned {
    let mut diagnostics = shared.findings.errors;
    diagnostics.extend(shared.findings.warnings);
    Planned::Failed(diagnostics)
}
