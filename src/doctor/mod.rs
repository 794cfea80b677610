//! What this machine gives to builds, what it lacks, and the command that would change that.

mod machine;
mod sandbox;
mod store;

use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::ground::SandboxArguments;
use crate::output;
use crate::report::Failure;

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    sandbox: SandboxArguments,
    /// How the findings are printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: DoctorFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DoctorFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As good as it gets.
    Good,
    /// Builds run, but slower, or some of them not.
    Lacking,
    /// No build can run, or none with a `RUN`.
    Bad,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Lacking => "lacks",
            Self::Bad => "bad",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    topic: &'static str,
    state: State,
    text: String,
    /// What to do about it: sentences with the exact command.
    fix: Option<String>,
}

impl Finding {
    fn good(topic: &'static str, text: impl Into<String>) -> Self {
        Self {
            topic,
            state: State::Good,
            text: text.into(),
            fix: None,
        }
    }

    fn lacking(topic: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            topic,
            state: State::Lacking,
            text: text.into(),
            fix: Some(fix.into()).filter(|fix| !fix.is_empty()),
        }
    }

    fn bad(topic: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            state: State::Bad,
            ..Self::lacking(topic, text, fix)
        }
    }
}

/// Looks at the machine; fails if no build with a `RUN` can succeed here.
pub(crate) fn run(root: &Path, options: &DoctorArguments) -> Result<(), Failure> {
    // Namespaces are entered while this process has one thread.
    let (rung, mut findings) = sandbox::look(root, &options.sandbox)?;
    findings.insert(0, machine::kernel());
    findings.push(store::look(root));
    findings.extend(machine::tools());
    let can_build = findings.iter().all(|finding| finding.state != State::Bad);
    let text = match options.format {
        DoctorFormat::Text => text(rung.as_deref(), &findings),
        DoctorFormat::Json => json(rung.as_deref(), &findings),
    };
    output::result(&text)?;
    if can_build {
        Ok(())
    } else {
        Err(Failure::Silent)
    }
}

fn text(rung: Option<&str>, findings: &[Finding]) -> String {
    const INDENT: &str = "                  ";
    let block = |finding: &Finding| {
        let (word, topic) = (finding.state.word(), finding.topic);
        let lines = finding.text.replace('\n', &format!("\n{INDENT}"));
        let fix = finding.fix.as_ref().map(|fix| {
            let fix = fix.replace('\n', &format!("\n{INDENT}  "));
            format!("{INDENT}→ {fix}\n")
        });
        format!(
            "{word:<5}  {topic:<9}  {lines}\n{}",
            fix.unwrap_or_default()
        )
    };
    let blocks: String = findings.iter().map(block).collect();
    let bad = findings.iter().any(|finding| finding.state == State::Bad);
    match (bad, rung) {
        (false, Some(rung)) => format!("{blocks}\nBuilds can run, with isolation {rung}.\n"),
        _ => format!("{blocks}\nBuilds cannot run here as it is.\n"),
    }
}

fn json(rung: Option<&str>, findings: &[Finding]) -> String {
    let list: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "topic": finding.topic,
                "state": finding.state.word(),
                "text": finding.text,
                "fix": finding.fix,
            })
        })
        .collect();
    let can_build = findings.iter().all(|finding| finding.state != State::Bad);
    let report = json!({ "canBuild": can_build, "isolation": rung, "findings": list });
    format!("{report:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_lines_with_their_cure() {
        let findings = [
            Finding::good("kernel", "Linux 6"),
            Finding::lacking("overlay", "none", "one\ntwo"),
        ];
        assert_eq!(
            text(Some("root"), &findings),
            "ok     kernel     Linux 6\n\
             lacks  overlay    none\n                  → one\n                    two\n\
             \nBuilds can run, with isolation root.\n"
        );
        let bad = [Finding::bad("isolation", "none", "")];
        assert!(text(None, &bad).ends_with("Builds cannot run here as it is.\n"));
        assert!(json(None, &bad).contains("\"canBuild\": false"));
    }
}
