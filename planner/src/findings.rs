//! What planning finds out besides the plan: faults, warnings, questions; and how much it may keep.

use std::collections::{BTreeSet, HashSet};

use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::span::Span;

use crate::request::{BaseQuery, Need};

/// Upper bound for one environment, in bytes. No process takes more than a part of it.
pub(crate) const MAX_ENV_BYTES: usize = 16 << 20;
/// Upper bound for all texts that a plan keeps, in bytes.
///
/// A few lines of `ENV` that double each other, or many stages that inherit a large environment,
/// would otherwise fill any memory.
pub(crate) const MAX_PLAN_BYTES: usize = 128 << 20;

/// Beyond this number of warnings nobody reads them, and looking for suggestions costs time.
const MAX_WARNINGS: usize = 1000;

/// Faults, warnings and questions, each once.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) needs: Vec<Need>,
    /// True if warnings are not taken any more.
    is_mute: bool,
    seen: HashSet<(&'static str, Span, String)>,
    asked: BTreeSet<BaseQuery>,
}

impl Findings {
    /// Takes a fault or a warning, unless it is known already (from another platform, say).
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        let mark = (diagnostic.code, diagnostic.span, diagnostic.message.clone());
        if !self.seen.insert(mark) {
            return;
        }
        if diagnostic.is_error() {
            self.errors.push(diagnostic);
        } else if !self.is_mute {
            self.warnings.push(diagnostic);
        }
    }

    /// Takes warnings from now on, or not.
    pub(crate) fn mute(&mut self, is_mute: bool) {
        self.is_mute = is_mute;
    }

    /// Takes a question, unless it was asked already.
    pub(crate) fn ask(&mut self, query: &BaseQuery, span: Span) {
        if self.asked.insert(query.clone()) {
            self.needs.push(Need {
                query: query.clone(),
                span,
            });
        }
    }

    /// Reports whether more warnings are wanted.
    pub(crate) fn wants_warnings(&self) -> bool {
        !self.is_mute && self.warnings.len() < MAX_WARNINGS
    }

    /// Reports whether there was a fault.
    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }
}

/// How many bytes the plan may still keep.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    exhausted: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            left: MAX_PLAN_BYTES,
            exhausted: false,
        }
    }
}

impl Budget {
    /// Takes `n_bytes`; tells whether they were there.
    #[must_use]
    pub(crate) fn spend(&mut self, n_bytes: usize) -> bool {
        match self.left.checked_sub(n_bytes) {
            Some(left) => self.left = left,
            None => self.exhausted = true,
        }
        !self.exhausted
    }

    /// Reports whether more was asked for than there was: planning must stop.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }
}
