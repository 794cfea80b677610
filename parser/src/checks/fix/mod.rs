//! Corrections of findings: edits of the file's bytes that leave everything else as it is.
//!
//! A safe fix changes nothing of what is built but the image's history, which quotes the file. The
//! others are what their rules ask for, and may change the result.

mod casing;
mod layout;
mod pairs;
mod shell_form;
mod sound;

use super::hadolint;
use crate::{Parsed, span::Span};

/// Bytes to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; empty where text is added.
    pub span: Span,
    /// What stands there afterwards.
    pub text: String,
}

/// A correction of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// The rule that it is for.
    pub rule: &'static str,
    /// The instruction with the finding.
    pub instruction: Span,
    /// True if what is built stays the same.
    pub is_safe: bool,
    /// The edits; they belong together.
    pub edits: Vec<Edit>,
}

impl Edit {
    pub(crate) fn new(span: Span, text: impl Into<String>) -> Self {
        Self {
            span,
            text: text.into(),
        }
    }

    pub(crate) fn insert(place: usize, text: impl Into<String>) -> Self {
        Self::new(Span::new(place, place), text)
    }
}

/// What the functions for each rule get.
struct Context<'a> {
    source: &'a [u8],
    parsed: &'a Parsed,
    fixes: Vec<Fix>,
}

impl Context<'_> {
    fn safe(&mut self, rule: &'static str, instruction: Span, edits: Vec<Edit>) {
        if !edits.is_empty() {
            self.fixes.push(Fix {
                rule,
                instruction,
                is_safe: true,
                edits,
            });
        }
    }

    /// Tells whether `text` stands at `span` as it is, without continuations in it.
    fn is_written(&self, span: Span, text: &str) -> bool {
        self.source.get(span.start..span.end) == Some(text.as_bytes())
    }
}

/// Returns the fixes that there are for a file, whether their rules are wanted or not; none if the
/// file has errors. Each leaves a file with the same instructions, but for what it corrects. `source`
/// are the bytes that `parsed` was made from.
#[must_use]
pub fn fixes(source: &[u8], parsed: &Parsed) -> Vec<Fix> {
    if parsed.has_errors() {
        return Vec::new();
    }
    let mut context = Context {
        source,
        parsed,
        fixes: Vec::new(),
    };
    for rule in [
        casing::keywords,
        casing::stage_names,
        casing::protocols,
        layout::empty_lines,
        layout::platform_flags,
        pairs::legacy,
        shell_form::commands,
    ] {
        rule(&mut context);
    }
    let mut fixes = context.fixes;
    fixes.append(&mut hadolint::fixes(source, &parsed.dockerfile));
    sound::retain(source, parsed, &mut fixes);
    fixes
}

/// Applies fixes. One that touches the same bytes as an earlier one is left out: it is there again
/// when the result is checked.
#[must_use]
pub fn apply<'f>(source: &[u8], fixes: impl IntoIterator<Item = &'f Fix>) -> Vec<u8> {
    let mut chosen: Vec<&Edit> = Vec::new();
    let mut taken = Taken::default();
    for fix in fixes {
        if taken.add(&fix.edits) {
            chosen.extend(&fix.edits);
        }
    }
    chosen.sort_by_key(|edit| edit.span);
    replace(source, Span::new(0, source.len()), &chosen)
}

/// Returns what is at `place` with edits that are in it, in order and apart from each other.
fn replace(source: &[u8], place: Span, edits: &[&Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(place.len());
    let mut position = place.start;
    for edit in edits {
        let before = source.get(position..edit.span.start);
        out.extend_from_slice(before.unwrap_or_default());
        out.extend_from_slice(edit.text.as_bytes());
        position = edit.span.end;
    }
    out.extend_from_slice(source.get(position..place.end).unwrap_or_default());
    out
}

/// The places of edits so far.
#[derive(Debug, Default)]
struct Taken(std::collections::BTreeMap<usize, usize>);

impl Taken {
    /// Adds edits unless one of them touches an earlier one.
    fn add(&mut self, edits: &[Edit]) -> bool {
        let is_free = |span: Span| {
            let before = self.0.range(..=span.end).next_back();
            before.is_none_or(|(_, end)| *end < span.start)
        };
        let mut own: Vec<Span> = edits.iter().map(|edit| edit.span).collect();
        own.sort_unstable();
        let overlap = own.windows(2).any(|pair| pair[1].start < pair[0].end);
        if overlap || !own.iter().all(|span| is_free(*span)) {
            return false;
        }
        self.0
            .extend(own.into_iter().map(|span| (span.start, span.end)));
        true
    }
}

#[cfg(test)]
mod tests;
