//! Collects what is found, once a rule and instruction.

use std::collections::BTreeMap;

use super::rules;
use crate::{
    checks::fix::{Edit, Fix},
    diagnostic::Diagnostic,
    span::Span,
};

/// Findings by instruction and rule.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: BTreeMap<(usize, &'static str), Diagnostic>,
    fixes: Vec<Fix>,
}

impl Findings {
    /// Notes a finding of the rule called `code` in the instruction at `instruction`.
    pub(super) fn add(
        &mut self,
        code: &'static str,
        instruction: Span,
        place: Span,
        message: impl Into<String>,
    ) {
        if let Some(first) = self.found.get_mut(&(instruction.start, code)) {
            let is_known =
                first.span == place || first.labels.iter().any(|(span, _)| *span == place);
            // A hostile file must not make labels without end.
            if !is_known && first.labels.len() < 16 {
                first.labels.push((place, "and here".to_owned()));
            }
            return;
        }
        let mut finding = Diagnostic::warning(code, message, place);
        finding.help = rules::find(code).map(|rule| rule.help.to_owned());
        self.found.insert((instruction.start, code), finding);
    }

    /// Notes how a finding may be corrected; the result is another one then.
    pub(super) fn fix(&mut self, rule: &'static str, instruction: Span, edits: Vec<Edit>) {
        self.fixes.push(Fix {
            rule,
            instruction,
            is_safe: false,
            edits,
        });
    }

    /// Returns the corrections.
    pub(super) fn into_fixes(self) -> Vec<Fix> {
        self.fixes
    }

    /// Returns the findings in the order of the file.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        let mut found: Vec<Diagnostic> = self.found.into_values().collect();
        found.sort_by_key(|finding| finding.span.start);
        found
    }
}
