//! BuildKit's rules that need nothing but the file.

mod descriptions;
mod file;
mod instructions;
mod messages;

pub(super) use file::majority_casing;
pub(super) use instructions::{Casing, casing};

pub use descriptions::description;

use crate::{Parsed, diagnostic::Diagnostic};

/// Returns the findings about a file, in BuildKit's order: those of reading it, those about one
/// instruction each, then those about stage names and casing as a whole. The latter are left out if
/// the file has errors: too little of it is known.
///
/// Nothing is filtered here; see [`Filter`](super::Filter).
#[must_use]
pub fn check(parsed: &Parsed) -> Vec<Diagnostic> {
    let warnings = parsed.diagnostics.iter().filter(|found| !found.is_error());
    let mut findings: Vec<Diagnostic> = warnings.cloned().collect();
    instructions::check(&parsed.dockerfile, &mut findings);
    if !parsed.has_errors() {
        file::check_stage_names(&parsed.dockerfile, &mut findings);
        file::check_casing(&parsed.dockerfile, &mut findings);
    }
    findings
}

#[cfg(test)]
mod tests;
