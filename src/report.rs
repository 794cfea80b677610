//! From errors to what a person reads: messages, source excerpts, help. All miette is here.

use std::io::IsTerminal as _;
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, Report, Severity,
};
use rbuild_executor::{BuildError, FilesError, StepError};
use rbuild_parser::checks::hadolint::Level;
use rbuild_parser::diagnostic::{self, Diagnostic};
use rbuild_parser::span::Span;
use rbuild_planner::Plan;
use rbuild_planner::remote::mask_logins;
use rbuild_sandbox::Exceeded;

use crate::lint::Finding;
use crate::page::{Page, floor};
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
    /// An option's value that cannot be read.
    Flag(String),
    /// A template that cannot be read.
    Template(String),
    /// A signal ended it.
    Interrupted,
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

    /// Returns the exit code: 1 failed, 2 wrong use, 64 and 125 as Docker has them, 130 interrupted.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Template(_) => 64,
            Self::Flag(_) => 125,
            Self::Interrupted | Self::Build(_, _, BuildError::Cancelled) => 130,
            _ => 1,
        }
    }

    /// Returns what is written to standard error.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Source(source, diagnostics) => {
                let page = Arc::new(Page::new(source));
                let first = diagnostics.iter().find(|found| found.is_error());
                let summary = first.map(|found| summary(&headline(&page, found)));
                render_on(&page, diagnostics) + &summary.unwrap_or_default()
            }
            Self::Error(error) => draw(&plain(&chain(error.as_ref()), None)),
            Self::Message { text, help } => draw(&plain(text, help.as_deref())),
            Self::Usage(text) | Self::Flag(text) | Self::Template(text) => {
                format!("rbuild: {}\n", clean_text(text))
            }
            Self::Interrupted | Self::Build(_, _, BuildError::Cancelled) => {
                "rbuild: interrupted\n".to_owned()
            }
            Self::Build(source, plan, error) => render_build(source, plan, error),
            Self::Silent => String::new(),
        }
    }
}

/// Renders findings in the order of the file, warnings too.
pub(crate) fn render_all(source: &Source, diagnostics: &[Diagnostic]) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    render_on(&Arc::new(Page::new(source)), diagnostics)
}

fn render_on(page: &Arc<Page>, diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| draw(&excerpt(page, diagnostic)))
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
        && (!last_output.is_empty() || plan.targets.len() > 1)
    {
        text.push_str(&last_lines(&origin.title, last_output));
    }
    text.push_str(&draw(&excerpt(&Arc::new(Page::new(source)), &diagnostic)));
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
    let message = shown(message).replace('\n', " ");
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
        StepError::ExitCode {
            exceeded: Some(limit),
            ..
        } => {
            return Some(
                match limit {
                    Exceeded::Memory(_) => "give it more with --memory, or have it use less",
                    Exceeded::Tasks(_) => "give it more with --pids-limit, or have it start fewer",
                }
                .to_owned(),
            );
        }
        StepError::ExitCode { code, .. } => code,
        StepError::NoEmulator { reason, .. } => return Some(reason.clone()),
        StepError::Files(FilesError::NotFound { .. }) => {
            return Some(
                "is the name right, and does .dockerignore leave it in? Paths start at the top \
                 of the build context or stage"
                    .to_owned(),
            );
        }
        StepError::Remote { source, .. } => return crate::fetching::help(source.as_ref()),
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

/// Why a file cannot be had, in the words that Go has for it.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        std::io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        _ => error.to_string(),
    }
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
    let mut report = MietteDiagnostic::new(shown(text));
    report.help = help.map(shown);
    Report::new(report)
}

/// Renders what `rbuild check` found.
pub(crate) fn render_finding(page: &Arc<Page>, finding: &Finding, is_terminal: bool) -> String {
    let mut report = diagnosis(page, &finding.diagnostic);
    report.severity = Some(match finding.level {
        Level::Error => Severity::Error,
        Level::Warning => Severity::Warning,
        Level::Info | Level::Style | Level::Off => Severity::Advice,
    });
    draw_on(
        &Report::new(report).with_source_code(Arc::clone(page)),
        is_terminal,
    )
}

fn excerpt(page: &Arc<Page>, diagnostic: &Diagnostic) -> Report {
    Report::new(diagnosis(page, diagnostic)).with_source_code(Arc::clone(page))
}

fn diagnosis(page: &Page, diagnostic: &Diagnostic) -> MietteDiagnostic {
    let mut report = MietteDiagnostic::new(headline(page, diagnostic));
    report.severity = Some(match diagnostic.severity {
        diagnostic::Severity::Error => Severity::Error,
        diagnostic::Severity::Warning => Severity::Warning,
    });
    report.code = Some(diagnostic.code.to_owned());
    report.help = diagnostic.help.as_deref().map(shown);
    let mut labels = vec![label(page, diagnostic.span, None)];
    for (span, what) in &diagnostic.labels {
        labels.push(label(page, *span, Some(shown(what))));
    }
    report.labels = Some(labels);
    report
}

fn label(page: &Page, span: Span, what: Option<String>) -> LabeledSpan {
    let (start, length) = page.mark(span);
    LabeledSpan::new(what, start, length)
}

/// What is wrong, with the line for what is wrong with the text itself.
pub(crate) fn headline(page: &Page, diagnostic: &Diagnostic) -> String {
    let message = shown(&diagnostic.message);
    if diagnostic.code.starts_with("parse::") {
        let line = page.line_of(diagnostic.span.start) + 1;
        format!("dockerfile parse error on line {line}: {message}")
    } else {
        message
    }
}

/// A message as it is shown. The middle of a long one is left out: commands and words of a
/// Dockerfile have no limit.
fn shown(text: &str) -> String {
    const HEAD: usize = 3000;
    const TAIL: usize = 1000;
    let text = mask_logins(&clean_text(text));
    if text.len() <= HEAD + TAIL {
        return text;
    }
    let (head, tail) = (floor(&text, HEAD), floor(&text, text.len() - TAIL));
    format!("{} … {}", &text[..head], &text[tail..])
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
