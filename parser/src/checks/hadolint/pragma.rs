//! Comments that ignore rules: `# hadolint ignore=DL3006,DL3008` above an instruction,
//! `# hadolint global ignore=…` anywhere.

use std::collections::BTreeSet;

use super::{findings::Findings, model::Model, rules};
use crate::{
    ast::{Dockerfile, Head, Word},
    diagnostic::Diagnostic,
    span::Span,
    syntax::line::Lines,
};

/// What a file wants ignored.
#[derive(Debug, Clone, Default)]
pub struct Ignores {
    everywhere: BTreeSet<String>,
    /// Instructions with a comment, in file order.
    instructions: Vec<(Span, BTreeSet<String>)>,
}

impl Ignores {
    /// Reads the comments of a file. `source` are the bytes that `dockerfile` was parsed from.
    #[must_use]
    pub fn new(source: &[u8], dockerfile: &Dockerfile) -> Self {
        let everywhere = Lines::new(source)
            .filter_map(|line| {
                let (content, _) = line.trimmed_start();
                let comment = std::str::from_utf8(content.strip_prefix(b"#")?).ok()?;
                names(comment.trim().strip_prefix("hadolint")?, true)
            })
            .flatten()
            .collect();
        let instructions = heads(dockerfile)
            .filter_map(|head| Some((head.span, pragma(head)?.1)))
            .collect();
        Self {
            everywhere,
            instructions,
        }
    }

    /// Tells whether a finding is to be ignored. A rule and BuildKit's rule for the same thing have
    /// two names, and either will do.
    #[must_use]
    pub fn ignores(&self, finding: &Diagnostic) -> bool {
        let after = self
            .instructions
            .partition_point(|(span, _)| span.start <= finding.span.start);
        let own = after
            .checked_sub(1)
            .and_then(|index| self.instructions.get(index))
            .filter(|(span, _)| finding.span.start < span.end)
            .map(|(_, names)| names);
        let twins: Vec<&str> = rules::twin(finding.code).collect();
        let mut names = std::iter::once(&finding.code).chain(&twins);
        // A rule with several twins is wider than each of them.
        let is_one = rules::find(finding.code).is_some() || twins.len() < 2;
        own.is_some_and(|own| names.any(|name| own.contains(*name)))
            || self.everywhere.contains(finding.code)
            || is_one && twins.iter().any(|name| self.everywhere.contains(*name))
    }
}

fn heads(dockerfile: &Dockerfile) -> impl Iterator<Item = &Head> {
    let arguments = dockerfile.global_args.iter().map(|found| &found.head);
    arguments.chain(dockerfile.stages.iter().flat_map(|stage| {
        let heads = stage.instructions.iter().map(|found| &found.head);
        std::iter::once(&stage.head).chain(heads)
    }))
}

/// Returns the comment above an instruction that ignores rules, and their names.
fn pragma(head: &Head) -> Option<(&Word, BTreeSet<String>)> {
    head.comments.iter().rev().find_map(|comment| {
        let names = names(comment.value.strip_prefix("hadolint")?, false)?;
        Some((comment, names.collect()))
    })
}

/// Reads what follows `hadolint`; what comes after the list does not count.
fn names(text: &str, is_global: bool) -> Option<impl Iterator<Item = String>> {
    let mut text = text.strip_prefix([' ', '\t'])?.trim_start();
    if is_global {
        text = text
            .strip_prefix("global")?
            .strip_prefix([' ', '\t'])?
            .trim_start();
    }
    let list = text
        .strip_prefix("ignore")?
        .trim_start()
        .strip_prefix('=')?;
    let names: Vec<String> = list
        .split(',')
        .map_while(|name| name.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    Some(names.into_iter())
}

/// Finds the comments themselves.
pub(super) fn check(model: &Model<'_>, findings: &mut Findings) {
    for head in heads(model.dockerfile) {
        if let Some((comment, _)) = pragma(head) {
            findings.add(
                "DL1001",
                comment.span,
                comment.span,
                "rules are ignored inline",
            );
        }
    }
}
