//! From errors to what a person reads: messages, source excerpts, help. All miette is here.

use std::io::IsTerminal as _;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report,
    Severity,
};
use rbuild_executor::{BuildError, FilesError, StepError};
use rbuild_parser::checks::hadolint::Level;
use rbuild_parser::diagnostic::{self, Diagnostic};
use rbuild_parser::span::Span;
use rbuild_planner::Plan;

use crate::lint::Finding;
use crate::progress::clean_text;

/// How a command ended, if not well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Findings in a Dockerfile.
    Source(Source, Vec<Diagnostic>),
    /// A step of a plan; the text of the Dockerfile shows where.
    Build(Source, Box<Plan>, BuildError),
    /// One error with what led to it.
    Error(Box<dyn std::error::Error + Send + Sync>),
    /// One message and what to do about it.
    Message {
        /// What is wrong.
        text: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// Wrong use of the command line.
    Usage(String),
    /// Everything was said already.
    Silent,
}

/// A file and its text, for excerpts.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// As the user names it.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) text: Vec<u8>,
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(Box::new(error))
    }
}

impl Failure {
    /// Returns an error without a source.
    pub(crate) fn message(text: impl Into<String>) -> Self {
        Self::Message {
            text: text.into(),
            help: None,
        }
    }

    /// Returns an error with what to do about it.
    pub(crate) fn with_help(text: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Message {
            text: text.into(),
            help: Some(help.into()),
        }
    }

    /// Returns the exit code: 1 failed, 2 wrong use, 130 interrupted.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Build(_, _, BuildError::Cancelled) => 130,
            _ => 1,
        }
    }

    /// Returns what is written to standard error.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Source(source, diagnostics) => {
                let first = diagnostics.iter().find(|found| found.is_error());
                let summary = first.map(|found| summary(&headline(source, found)));
                render_all(source, diagnostics) + &summary.unwrap_or_default()
            }
            Self::Error(error) => draw(&plain(&chain(error.as_ref()), None)),
            Self::Message { text, help } => draw(&plain(text, help.as_deref())),
            Self::Usage(text) => format!("rbuild: {}\n", clean_text(text)),
            Self::Build(_, _, BuildError::Cancelled) => "rbuild: interrupted\n".to_owned(),
            Self::Build(source, plan, error) => render_build(source, plan, error),
            Self::Silent => String::new(),
        }
    }
}

/// Renders findings in the order of the file, warnings too.
pub(crate) fn render_all(source: &Source, diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| draw(&excerpt(source, diagnostic)))
        .collect()
}

fn render_build(source: &Source, plan: &Plan, error: &BuildError) -> String {
    let BuildError::Step {
        step,
        argument,
        source: cause,
    } = error
    else {
        return draw(&plain(&chain(error), None));
    };
    let origin = &plan.step(*step).origin;
    let span = argument
        .and_then(|index| origin.arguments.get(index))
        .unwrap_or(&origin.span);
    let mut diagnostic = Diagnostic::error("build::failed", chain(cause.as_ref()), *span);
    diagnostic.help = step_help(cause);
    let mut text = String::new();
    if let StepError::ExitCode { last_output, .. } = cause.as_ref()
        && !last_output.is_empty()
    {
        text.push_str(&last_lines(&origin.title, last_output));
    }
    text.push_str(&draw(&excerpt(source, &diagnostic)));
    let prefix = match cause.as_ref() {
        StepError::Files(FilesError::NotFound { .. }) => CHECKSUM,
        _ => "",
    };
    text.push_str(&summary(&format!("{prefix}{}", diagnostic.message)));
    text
}

/// What BuildKit was about to do with a source that is not there.
const CHECKSUM: &str = "failed to compute cache key: failed to calculate checksum of ref source: ";

/// The last line of a failed build, in the words that scripts look for.
fn summary(message: &str) -> String {
    let message = clean_text(message).replace('\n', " ");
    format!("ERROR: failed to build: failed to solve: {message}\n")
}

/// What a failed step wrote last, between rules.
fn last_lines(title: &str, output: &[u8]) -> String {
    const N_LINES: usize = 20;
    let output = clean_text(&String::from_utf8_lossy(output));
    let lines: Vec<&str> = output.trim_end_matches('\n').lines().collect();
    let mut text = format!("------\n > {}:\n", clean_text(title).replace('\n', " "));
    for line in &lines[lines.len().saturating_sub(N_LINES)..] {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("------\n");
    text
}

fn step_help(error: &StepError) -> Option<String> {
    let code = match error {
        StepError::ExitCode { code, .. } => code,
        StepError::Files(FilesError::NotFound { .. }) => {
            return Some(
                "is the name right, and does .dockerignore leave it in? Paths start at the top \
                 of the build context or stage"
                    .to_owned(),
            );
        }
        _ => return None,
    };
    let help = match code {
        126 => "exit code 126: the command was found but could not be run; is it executable?",
        127 => "exit code 127: the shell did not find a command; is its package installed?",
        137 => "exit code 137: the process was killed; often because memory ran out",
        _ => return None,
    };
    Some(help.to_owned())
}

/// An error and its causes in one line. Causes that a message already ends with are left out.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

fn plain(text: &str, help: Option<&str>) -> Report {
    let mut report = MietteDiagnostic::new(clean_text(text));
    report.help = help.map(clean_text);
    Report::new(report)
}

/// Renders what `rbuild check` found.
pub(crate) fn render_finding(source: &Source, finding: &Finding, is_terminal: bool) -> String {
    let mut report = excerpt_of(source, &finding.diagnostic);
    report.severity = Some(match finding.level {
        Level::Error => Severity::Error,
        Level::Warning => Severity::Warning,
        Level::Info | Level::Style | Level::Off => Severity::Advice,
    });
    draw_on(&with_source(source, report), is_terminal)
}

fn excerpt(source: &Source, diagnostic: &Diagnostic) -> Report {
    with_source(source, excerpt_of(source, diagnostic))
}

fn with_source(source: &Source, report: MietteDiagnostic) -> Report {
    let text = displayable(&source.text);
    Report::new(report).with_source_code(NamedSource::new(clean_text(&source.name), text))
}

fn excerpt_of(source: &Source, diagnostic: &Diagnostic) -> MietteDiagnostic {
    let text = displayable(&source.text);
    let mut report = MietteDiagnostic::new(clean_text(&headline(source, diagnostic)));
    report.severity = Some(match diagnostic.severity {
        diagnostic::Severity::Error => Severity::Error,
        diagnostic::Severity::Warning => Severity::Warning,
    });
    report.code = Some(diagnostic.code.to_owned());
    report.help = diagnostic.help.as_deref().map(clean_text);
    let mut labels = vec![label(&text, diagnostic.span, None)];
    for (span, what) in &diagnostic.labels {
        labels.push(label(&text, *span, Some(clean_text(what))));
    }
    report.labels = Some(labels);
    report
}

/// A span that lies in the text, cut to its first lines: a heredoc may be long.
fn label(text: &str, span: Span, what: Option<String>) -> LabeledSpan {
    const N_LINES: usize = 6;
    let start = span.start.min(text.len());
    let mut end = span.end.clamp(start, text.len());
    if let Some((place, _)) = text[start..end].match_indices('\n').nth(N_LINES - 1) {
        end = start + place;
    }
    LabeledSpan::new(what, start, end - start)
}

/// What is wrong, with the line for what is wrong with the text itself.
pub(crate) fn headline(source: &Source, diagnostic: &Diagnostic) -> String {
    let message = &diagnostic.message;
    if diagnostic.code.starts_with("parse::") {
        let line = line_of(&source.text, diagnostic.span);
        format!("dockerfile parse error on line {line}: {message}")
    } else {
        message.clone()
    }
}

fn line_of(text: &[u8], span: Span) -> usize {
    text[..span.start.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// The text with everything that a terminal would act on replaced, byte for byte, so that spans
/// stay right.
fn displayable(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut encoded = [0; 4];
            let bytes = character.encode_utf8(&mut encoded);
            match character {
                '\n' | '\t' => out.push(character),
                '\r' => out.push(' '),
                _ if clean_text(bytes).is_empty() => {
                    out.extend(std::iter::repeat_n('?', character.len_utf8()));
                }
                _ => out.push(character),
            }
        }
        out.extend(std::iter::repeat_n('?', chunk.invalid().len()));
    }
    out
}

fn draw(report: &Report) -> String {
    draw_on(report, std::io::stderr().is_terminal())
}

fn draw_on(report: &Report, is_terminal: bool) -> String {
    let theme = match (is_terminal, crate::environment::variable("NO_COLOR")) {
        (true, None) => GraphicalTheme::unicode(),
        (true, Some(_)) => GraphicalTheme::unicode_nocolor(),
        (false, _) => GraphicalTheme::unicode_nocolor(),
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_context_lines(2)
        .with_wrap_lines(false)
        .with_links(false);
    let mut out = String::new();
    if handler.render_report(&mut out, report.as_ref()).is_err() {
        out = report.to_string();
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}
