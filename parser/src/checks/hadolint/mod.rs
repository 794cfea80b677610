//! Rules under the numbers that hadolint gave them (<https://github.com/hadolint/hadolint>), on
//! this crate's own tree. A finding's `code` is the number.
//!
//! Each rule is found once an instruction: its first place is the finding's, others are labels.

use crate::{ast::Dockerfile, checks::fix::Fix, diagnostic::Diagnostic};

mod bases;
mod commands;
mod files;
mod findings;
mod instructions;
mod model;
mod packages;
mod pragma;
mod rules;

pub use pragma::Ignores;
pub use rules::{DlRule, Level, RULES, find, twin};

use findings::Findings;
use model::Model;

/// Returns what the rules find in a file, in the order of the file. `source` are the bytes that
/// `dockerfile` was parsed from. Rules of level [`Level::Off`] are included, and nothing is
/// ignored: what is wanted is the caller's to say.
#[must_use]
pub fn check(source: &[u8], dockerfile: &Dockerfile) -> Vec<Diagnostic> {
    findings(source, dockerfile).finish()
}

/// Returns the corrections of what the rules find. None is safe.
pub(super) fn fixes(source: &[u8], dockerfile: &Dockerfile) -> Vec<Fix> {
    findings(source, dockerfile).into_fixes()
}

fn findings(source: &[u8], dockerfile: &Dockerfile) -> Findings {
    let model = Model::new(source, dockerfile);
    let mut findings = Findings::default();
    for rule in [
        bases::check,
        instructions::check,
        files::check,
        commands::check,
        packages::check,
        pragma::check,
    ] {
        rule(&model, &mut findings);
    }
    findings
}

#[cfg(test)]
mod tests;
