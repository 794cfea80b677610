//! Build checks of a file: which findings are wanted, and whether they end the build.

use rbuild_parser::Parsed;
use rbuild_parser::checks::{self, CheckConfig, Filter, buildkit, config::CheckOptionError};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::span::Span;
use rbuild_parser::syntax::directive;
use rbuild_planner::Request;

use crate::output;
use crate::page::Page;
use crate::report::{Failure, Source, headline};

/// More warnings than this are not shown at the end of a build.
const MAX_SHOWN: usize = 50;

/// The configuration of a file's checks.
#[derive(Debug)]
pub(crate) struct Checks {
    config: CheckConfig,
    /// The directive that says so, if it is one.
    span: Option<Span>,
}

impl Checks {
    /// Reads the file's `check` directive, or the build argument in its place.
    pub(crate) fn of(source: &Source, request: &Request) -> Result<Self, Failure> {
        Self::read(source, request).map_err(|fault| failure(source, vec![fault]))
    }

    /// As [`Self::of`], with what is wrong as a finding.
    pub(crate) fn read(source: &Source, request: &Request) -> Result<Self, Diagnostic> {
        let replacement = request
            .build_args
            .iter()
            .rev()
            .find(|(name, _)| name == checks::config::BUILD_ARG)
            .map(|(_, value)| value.as_str());
        match CheckConfig::of_file(&source.text, replacement) {
            Ok(config) => {
                let directive = directive::detect("check", &source.text);
                let span = directive.filter(|_| replacement.is_none());
                Ok(Self {
                    config,
                    span: span.map(|found| found.span),
                })
            }
            Err((error, span)) => Err(option_fault(&error, span)),
        }
    }

    /// Returns the warnings that are wanted, in BuildKit's order; `planned` are the planner's.
    pub(crate) fn wanted(&self, parsed: &Parsed, planned: &[Diagnostic]) -> Vec<Diagnostic> {
        let mut found = buildkit::check(parsed);
        found.extend_from_slice(planned);
        Filter::new(&parsed.dockerfile, self.config.clone()).apply(found)
    }

    /// Fails if the file wants that for findings of its checks.
    pub(crate) fn refuse(&self, source: &Source, wanted: &[Diagnostic]) -> Result<(), Failure> {
        let Some(violation) = self.violation(wanted) else {
            return Ok(());
        };
        output::note(&report(source, wanted));
        Err(failure(source, vec![violation]))
    }

    /// Returns what is wrong if findings are to be errors and there are some.
    pub(crate) fn violation(&self, wanted: &[Diagnostic]) -> Option<Diagnostic> {
        let mut rules: Vec<&str> = Vec::new();
        for finding in wanted {
            if checks::is_rule(finding.code) && !rules.contains(&finding.code) {
                rules.push(finding.code);
            }
        }
        if !self.config.error || rules.is_empty() {
            return None;
        }
        let message = format!("lint violation found for rules: {}", rules.join(", "));
        let span = self.span.unwrap_or_default();
        Some(Diagnostic::error("check::violation", message, span))
    }
}

/// Returns the failure for what is wrong with a file. One thing without a place, as what comes from
/// the command line, needs no excerpt.
pub(crate) fn failure(source: &Source, mut errors: Vec<Diagnostic>) -> Failure {
    match errors.as_mut_slice() {
        [error] if error.span == Span::default() && error.code.starts_with("check::") => {
            Failure::Message {
                text: std::mem::take(&mut error.message),
                help: error.help.take(),
            }
        }
        _ => Failure::Source(source.clone(), errors),
    }
}

/// What is wrong with check options, as a finding.
pub(crate) fn option_fault(error: &CheckOptionError, span: Option<Span>) -> Diagnostic {
    let message = format!("failed to parse check options: {error}");
    Diagnostic::error("check::option", message, span.unwrap_or_default())
        .with_help("the options are skip=RULE,…, error=true and experimental=RULE,…")
}

/// Renders warnings as BuildKit's client does: a line each, as many of them as one reads.
pub(crate) fn report(source: &Source, warnings: &[Diagnostic]) -> String {
    let title = match warnings.len() {
        0 => return String::new(),
        1 => "1 warning found".to_owned(),
        n => format!("{n} warnings found"),
    };
    let page = Page::new(source);
    let (shown, others) = warnings.split_at(warnings.len().min(MAX_SHOWN));
    let lines: String = shown.iter().map(|warning| line(&page, warning)).collect();
    let rest = match others.len() {
        0 => String::new(),
        n => format!(" - {n} more\n"),
    };
    format!("\n{title} (use --check to expand):\n{lines}{rest}")
}

fn line(page: &Page, warning: &Diagnostic) -> String {
    let rule = match checks::is_rule(warning.code) {
        true => format!("{}: ", warning.code),
        false => String::new(),
    };
    let message = headline(page, warning).replace('\n', " ");
    let number = page.line_of(warning.span.start) + 1;
    format!(" - {rule}{message} (line {number})\n")
}
