//! Build checks of a file: which findings are wanted, and whether they end the build.

use rbuild_parser::Parsed;
use rbuild_parser::ast::Dockerfile;
use rbuild_parser::checks::{self, CheckConfig, Filter, buildkit};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_planner::Request;

use crate::output;
use crate::report::{Failure, Source, render_all};

/// The configuration of a file's checks.
#[derive(Debug)]
pub(crate) struct Checks(CheckConfig);

impl Checks {
    /// Reads the file's `check` directive, or the build argument in its place.
    pub(crate) fn of(source: &Source, request: &Request) -> Result<Self, Failure> {
        let replacement = request
            .build_args
            .iter()
            .rev()
            .find(|(name, _)| name == checks::config::BUILD_ARG)
            .map(|(_, value)| value.as_str());
        CheckConfig::of_file(&source.text, replacement)
            .map(Self)
            .map_err(|(error, span)| {
                let message = format!("failed to parse check options: {error}");
                match span {
                    Some(span) => {
                        let fault = Diagnostic::error("check::option", message, span).with_help(
                            "the options are skip=RULE,…, error=true and experimental=RULE,…",
                        );
                        Failure::Source(source.clone(), vec![fault])
                    }
                    None => Failure::message(message),
                }
            })
    }

    /// Returns the warnings that are wanted, in BuildKit's order; `planned` are the planner's.
    pub(crate) fn wanted(&self, parsed: &Parsed, planned: &[Diagnostic]) -> Vec<Diagnostic> {
        let mut found = buildkit::check(parsed);
        found.extend_from_slice(planned);
        self.filter(&parsed.dockerfile).apply(found)
    }

    /// Fails if the file wants that for findings of its checks.
    pub(crate) fn refuse(&self, source: &Source, wanted: &[Diagnostic]) -> Result<(), Failure> {
        let Some(violation) = self.violation(wanted) else {
            return Ok(());
        };
        output::note(&report(source, wanted));
        Err(Failure::with_help(
            violation,
            "the check options say error=true; mend the findings, or skip the rules",
        ))
    }

    /// Returns what is wrong if the file wants findings to be errors and there are some.
    pub(crate) fn violation(&self, wanted: &[Diagnostic]) -> Option<String> {
        let mut rules: Vec<&str> = Vec::new();
        for finding in wanted {
            if checks::is_rule(finding.code) && !rules.contains(&finding.code) {
                rules.push(finding.code);
            }
        }
        let is_violated = self.0.error && !rules.is_empty();
        is_violated.then(|| format!("lint violation found for rules: {}", rules.join(", ")))
    }

    fn filter(&self, dockerfile: &Dockerfile) -> Filter {
        Filter::new(dockerfile, self.0.clone())
    }
}

/// Renders warnings with their number.
pub(crate) fn report(source: &Source, warnings: &[Diagnostic]) -> String {
    match warnings.len() {
        0 => String::new(),
        1 => format!("\n1 warning found:\n{}", render_all(source, warnings)),
        n => format!("\n{n} warnings found:\n{}", render_all(source, warnings)),
    }
}
