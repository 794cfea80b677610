//! What `rbuild check` finds in a file, and the ways in which it is shown.

mod correct;
mod github;
mod json;
mod levels;
mod options;
mod place;
mod planned;
mod sarif;
mod text;

use std::collections::{HashMap, HashSet};

use rbuild_parser::{
    Parsed,
    ast::Dockerfile,
    checks::{
        CheckConfig, Filter, buildkit,
        fix::{self, Fix},
        hadolint,
        hadolint::Level,
        rule,
    },
    diagnostic::Diagnostic,
    span::Span,
};

pub(crate) use correct::{Corrected, correct, diff, write};
pub(crate) use levels::{Levels, RuleSet};
pub(crate) use options::{CheckArguments, CheckFormat, Threshold};
pub(crate) use place::Places;

use crate::checks::option_fault;
use crate::report::Source;

/// A finding and how much it matters.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) diagnostic: Diagnostic,
    /// The instruction that it is in.
    pub(crate) instruction: Span,
    /// Whether it can be corrected.
    pub(crate) fixable: Fixable,
}

/// Whether a finding can be corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fixable {
    No,
    /// What is built may change.
    Unsafe,
    /// What is built stays the same.
    Safe,
}

/// A file and what was found in it.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) source: Source,
    pub(crate) findings: Vec<Finding>,
    /// Corrections of the findings.
    fixes: Vec<Fix>,
}

/// Checks a file.
pub(crate) fn check(source: Source, levels: &Levels) -> Checked {
    let parsed = rbuild_parser::parse(&source.text);
    let mut findings = find(&source, &parsed, levels);
    let fixes = wanted_fixes(fix::fixes(&source.text, &parsed), &mut findings);
    Checked {
        source,
        findings,
        fixes,
    }
}

/// Returns what is wanted of all that is found, in the order of the file.
fn find(source: &Source, parsed: &Parsed, levels: &Levels) -> Vec<Finding> {
    let dockerfile = &parsed.dockerfile;
    let errors = parsed.diagnostics.iter().filter(|found| found.is_error());
    let mut found: Vec<Diagnostic> = errors.cloned().collect();
    let config = CheckConfig::of_file(&source.text, None).unwrap_or_else(|(error, span)| {
        found.push(option_fault(&error, span));
        CheckConfig::default()
    });
    found.extend(buildkit::check(parsed));
    if !parsed.has_errors() {
        found.extend(planned::check(dockerfile));
    }
    found.extend(hadolint::check(&source.text, dockerfile));
    let wishes = Wishes {
        levels,
        filter: Filter::new(dockerfile, config),
        ignores: hadolint::Ignores::new(&source.text, dockerfile),
    };
    let starts = instructions(dockerfile);
    let mut findings: Vec<Finding> = found
        .into_iter()
        .filter_map(|diagnostic| {
            Some(Finding {
                level: wishes.level(&diagnostic)?,
                instruction: instruction_at(&starts, diagnostic.span),
                diagnostic,
                fixable: Fixable::No,
            })
        })
        .collect();
    drop_twins(&mut findings);
    findings.sort_by_key(|finding| (finding.diagnostic.span, finding.diagnostic.code));
    findings
}

/// What the command line and the file want to hear.
struct Wishes<'a> {
    levels: &'a Levels,
    filter: Filter,
    ignores: hadolint::Ignores,
}

impl Wishes<'_> {
    /// Returns how much a finding matters, `None` if it is not wanted.
    fn level(&self, found: &Diagnostic) -> Option<Level> {
        if found.is_error() {
            return Some(Level::Error);
        }
        let level = self.levels.of(found.code)?;
        let is_wanted_as = |code: &'static str| {
            self.filter.wants(&Diagnostic {
                code,
                ..found.clone()
            })
        };
        let is_wanted = is_wanted_as(found.code)
            && hadolint::twin(found.code).all(is_wanted_as)
            && !self.ignores.ignores(found);
        is_wanted.then_some(level)
    }
}

/// Returns where the instructions are, in order.
fn instructions(dockerfile: &Dockerfile) -> Vec<Span> {
    let arguments = dockerfile.global_args.iter().map(|found| found.head.span);
    let stages = dockerfile.stages.iter().flat_map(|stage| {
        let spans = stage.instructions.iter().map(|found| found.head.span);
        std::iter::once(stage.head.span).chain(spans)
    });
    arguments.chain(stages).collect()
}

fn instruction_at(instructions: &[Span], place: Span) -> Span {
    let after = instructions.partition_point(|span| span.start <= place.start);
    after
        .checked_sub(1)
        .and_then(|index| instructions.get(index))
        .filter(|span| place.start <= span.end)
        .copied()
        .unwrap_or(place)
}

/// Leaves out findings that another rule has too: of BuildKit's and hadolint's rule for the same
/// thing in the same instruction, BuildKit's is shown.
fn drop_twins(findings: &mut Vec<Finding>) {
    let buildkit: HashSet<(usize, &str)> = findings
        .iter()
        .filter(|finding| rule::find(finding.diagnostic.code).is_some())
        .map(|finding| (finding.instruction.start, finding.diagnostic.code))
        .collect();
    findings.retain(|finding| {
        let twin = hadolint::find(finding.diagnostic.code).and_then(hadolint::DlRule::twin);
        !twin.is_some_and(|twin| buildkit.contains(&(finding.instruction.start, twin)))
    });
}

/// Returns the fixes whose findings are wanted, and notes in the findings which have one.
fn wanted_fixes(fixes: Vec<Fix>, findings: &mut [Finding]) -> Vec<Fix> {
    let mut by_place: HashMap<(usize, &str), Vec<usize>> = HashMap::new();
    for (index, finding) in findings.iter().enumerate() {
        let code = finding.diagnostic.code;
        for name in std::iter::once(code).chain(hadolint::twin(code)) {
            let place = (finding.instruction.start, name);
            by_place.entry(place).or_default().push(index);
        }
    }
    let mut wanted = Vec::new();
    for fix in fixes {
        let Some(places) = by_place.get(&(fix.instruction.start, fix.rule)) else {
            continue;
        };
        for index in places {
            findings[*index].fixable = match fix.is_safe {
                true => Fixable::Safe,
                false => Fixable::Unsafe,
            };
        }
        wanted.push(fix);
    }
    wanted
}

/// What is known of a rule besides its name.
pub(crate) fn describe(code: &str) -> (Option<&'static str>, Option<String>) {
    if let Some(rule) = hadolint::find(code) {
        return (Some(rule.description), Some(rule.url()));
    }
    match rule::find(code) {
        Some(rule) => (Some(rule.description), rule.url()),
        None => (None, None),
    }
}

/// Returns what is printed.
pub(crate) fn render(files: &[Checked], format: CheckFormat, is_terminal: bool) -> String {
    match format {
        CheckFormat::Text => text::render(files, is_terminal),
        CheckFormat::Json => json::render(files),
        CheckFormat::Sarif => sarif::render(files),
        CheckFormat::Github => github::render(files),
    }
}
