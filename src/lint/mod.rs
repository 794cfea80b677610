//! What `rbuild check` finds in a file, and the ways in which it is shown.

mod github;
mod json;
mod levels;
mod options;
mod place;
mod sarif;
mod text;

use rbuild_parser::{
    Parsed,
    ast::Dockerfile,
    checks::{CheckConfig, Filter, buildkit, hadolint, hadolint::Level, rule},
    diagnostic::Diagnostic,
    span::Span,
};

pub(crate) use levels::{Levels, RuleSet};
pub(crate) use options::{CheckArguments, CheckFormat, Threshold};
pub(crate) use place::Places;

use crate::report::{Failure, Source};

/// A finding and how much it matters.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) diagnostic: Diagnostic,
    /// The instruction that it is in.
    pub(crate) instruction: Span,
}

/// A file and what was found in it.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) source: Source,
    pub(crate) findings: Vec<Finding>,
}

/// Checks a file.
pub(crate) fn check(source: Source, levels: &Levels) -> Result<Checked, Failure> {
    let parsed = rbuild_parser::parse(&source.text);
    let findings = find(&source, &parsed, levels)?;
    Ok(Checked { source, findings })
}

/// Returns what is wanted of all that is found, in the order of the file.
fn find(source: &Source, parsed: &Parsed, levels: &Levels) -> Result<Vec<Finding>, Failure> {
    let dockerfile = &parsed.dockerfile;
    let config = CheckConfig::of_file(&source.text, None).map_err(|(error, span)| {
        let diagnostic =
            Diagnostic::error("check::config", error.to_string(), span.unwrap_or_default());
        Failure::Source(source.clone(), vec![diagnostic])
    })?;
    let errors = parsed.diagnostics.iter().filter(|found| found.is_error());
    let mut found: Vec<Diagnostic> = errors.cloned().collect();
    found.extend(buildkit::check(parsed));
    found.extend(hadolint::check(&source.text, dockerfile));
    let filter = Filter::new(dockerfile, config);
    let ignores = hadolint::Ignores::new(&source.text, dockerfile);
    let starts = instructions(dockerfile);
    let mut findings: Vec<Finding> = found
        .into_iter()
        .filter_map(|diagnostic| {
            let level = match diagnostic.is_error() {
                true => Level::Error,
                false => levels.of(diagnostic.code)?,
            };
            let twins = || hadolint::twin(diagnostic.code);
            let is_wanted = diagnostic.is_error()
                || filter.wants(&diagnostic)
                    && !ignores.ignores(&diagnostic)
                    && twins().all(|twin| {
                        let mut other = diagnostic.clone();
                        other.code = twin;
                        filter.wants(&other)
                    });
            is_wanted.then(|| Finding {
                level,
                instruction: instruction_at(&starts, diagnostic.span),
                diagnostic,
            })
        })
        .collect();
    drop_twins(&mut findings);
    findings.sort_by_key(|finding| (finding.diagnostic.span, finding.diagnostic.code));
    Ok(findings)
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
    let buildkit: std::collections::HashSet<(usize, &str)> = findings
        .iter()
        .filter(|finding| rule::find(finding.diagnostic.code).is_some())
        .map(|finding| (finding.instruction.start, finding.diagnostic.code))
        .collect();
    findings.retain(|finding| {
        let twin = hadolint::find(finding.diagnostic.code).and_then(hadolint::DlRule::twin);
        !twin.is_some_and(|twin| buildkit.contains(&(finding.instruction.start, twin)))
    });
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
