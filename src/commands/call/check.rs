//! `--call=check`: findings of the build checks.

use rbuild_parser::Parsed;
use rbuild_parser::checks::rule;
use rbuild_parser::diagnostic::Diagnostic;
use serde_json::{Map, Value, json};

use super::excerpt::Excerpts;
use super::place::{Lines, location};
use super::{Caller, Resolver, encoded};
use crate::arguments::CallFormat;
use crate::checks::{Checks, failure};
use crate::output;
use crate::page::Page;
use crate::progress::clean_text;
use crate::report::{Failure, Source, headline};

/// What there is to say about a file.
#[derive(Debug, Default)]
struct Report {
    warnings: Vec<Diagnostic>,
    /// What would fail the build.
    errors: Vec<Diagnostic>,
}

/// Checks a file and prints the findings. Fails quietly if there are some, unless that is not
/// wanted, and with a message if the build would fail.
pub(super) fn run(
    source: &Source,
    resolver: &Resolver<'_>,
    caller: &Caller<'_>,
) -> Result<(), Failure> {
    let parsed = rbuild_parser::parse(&source.text);
    let report = check(source, &parsed, resolver)?;
    let lines = Lines::new(&source.text, &parsed.dockerfile);
    caller.answer(
        &to_json(source, &report, &lines),
        &to_text(source, &report, &lines),
    )?;
    if !report.errors.is_empty() {
        if caller.call.format == CallFormat::Text && !report.warnings.is_empty() {
            output::result("\n")?;
        }
        return Err(failure(source, report.errors));
    }
    if report.warnings.is_empty() || caller.call.ignores_status {
        Ok(())
    } else {
        Err(Failure::Silent)
    }
}

fn check(source: &Source, parsed: &Parsed, resolver: &Resolver<'_>) -> Result<Report, Failure> {
    let checks = match Checks::read(source, resolver.request) {
        Ok(checks) => checks,
        Err(fault) => {
            return Ok(Report {
                errors: vec![fault],
                ..Report::default()
            });
        }
    };
    if parsed.has_errors() {
        let errors = parsed.diagnostics.iter().filter(|found| found.is_error());
        return Ok(Report {
            warnings: checks.wanted(parsed, &[]),
            errors: errors.cloned().collect(),
        });
    }
    let all_stages = resolver.request.target.is_none();
    let inspection = resolver.inspect(parsed, all_stages)?;
    let warnings = checks.wanted(parsed, &inspection.warnings);
    let mut errors = inspection.errors;
    if errors.is_empty() {
        errors.extend(checks.violation(&warnings));
    }
    Ok(Report { warnings, errors })
}

fn to_text(source: &Source, report: &Report, lines: &Lines) -> String {
    let mut out = match report.warnings.len() {
        0 if report.errors.is_empty() => "Check complete, no warnings found.\n".to_owned(),
        0 => String::new(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        n => format!("Check complete, {n} warnings have been found!\n"),
    };
    // The text is in the order of the file, whatever rule found what.
    let mut warnings: Vec<_> = report
        .warnings
        .iter()
        .map(|finding| (lines.of(finding), finding))
        .collect();
    warnings.sort_by_key(|(lines, _)| lines.map(|(first, _)| first));
    let excerpts = Excerpts::new(source);
    for (lines, finding) in warnings {
        out.push_str("\nWARNING: ");
        out.push_str(finding.code);
        if let Some(url) = rule::find(finding.code).and_then(rule::Rule::url) {
            out.push_str(" - ");
            out.push_str(&url);
        }
        out.push('\n');
        out.push_str(&clean_text(&finding.message));
        out.push('\n');
        out.extend(lines.map(|lines| excerpts.of(lines)));
    }
    out
}

fn to_json(source: &Source, report: &Report, lines: &Lines) -> Value {
    let warnings: Vec<_> = report
        .warnings
        .iter()
        .map(|finding| {
            let rule = rule::find(finding.code);
            let mut warning = Map::new();
            warning.insert("ruleName".into(), finding.code.into());
            if let Some(rule) = rule {
                warning.insert("description".into(), rule.description.into());
            }
            if let Some(url) = rule.and_then(rule::Rule::url) {
                warning.insert("url".into(), url.into());
            }
            warning.insert("detail".into(), finding.message.clone().into());
            warning.insert("location".into(), location(lines.of(finding)));
            Value::Object(warning)
        })
        .collect();
    let name = source.name.rsplit('/').next().unwrap_or_default();
    let file = json!({"filename": name, "data": encoded(source), "language": "Dockerfile"});
    let mut out = json!({"warnings": warnings, "sources": [file]});
    if let Some(error) = report.errors.first() {
        out["buildError"] = json!({
            "message": headline(&Page::new(source), error),
            "location": location(lines.of(error)),
        });
    }
    out
}
