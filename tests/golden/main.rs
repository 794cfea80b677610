//! Dockerfiles and what each stage of the compiler makes of them, as files that can be read and
//! compared.
//!
//! A case is a folder in `cases/` with a `Dockerfile`, an optional `request.json` (what the command
//! line would ask for) and the expected texts:
//!
//! - `ast.txt`: the syntax tree
//! - `diagnostics.txt`: what is wrong with the file, or odd
//! - `plan.txt`: the graph of steps and the settings of the images
//! - `steps.json`: the same with every field of every step
//! - `config.json`: the image config with its history, one a platform
//! - `report.txt`: what the program says about a file that cannot be built
//! - `layers.txt`: entries of the layers, for cases that are built (see the end-to-end tests)
//!
//! `SNAPSHOTS=overwrite cargo test --test golden` writes them anew; read the difference then.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bases;
mod calls;
mod fixes;
mod request;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild_parser::checks::{CheckConfig, Filter, buildkit};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::{Parsed, dump, parse};
use rbuild_planner::{BaseImages, Plan, Planned, plan};
use snapbox::assert::Action;
use snapbox::{Assert, Data};

use request::Case;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases")
}

/// Compares all texts of a case and returns what differs.
fn check(case: &Case) -> Vec<String> {
    let source = fs_err::read(case.dir.join("Dockerfile")).unwrap();
    let parsed = parse(&source);
    let text = String::from_utf8_lossy(&source);
    let mut outcome = Outcome::new(case);
    outcome.compare("ast.txt", &dump::dump(&parsed));
    let planned = planned(&parsed, case);
    let mut findings = if parsed.has_errors() {
        parsed.diagnostics.clone()
    } else {
        buildkit::check(&parsed)
    };
    match &planned {
        Some(Planned::Failed(diagnostics)) => findings.extend_from_slice(diagnostics),
        Some(Planned::Ready(plan)) => findings.extend_from_slice(&plan.warnings),
        Some(Planned::Needs(needs)) => {
            let names: Vec<_> = needs.iter().map(|need| &need.query.reference).collect();
            panic!("{}: bases.rs does not know {names:?}", case.name);
        }
        None => {}
    }
    let config = CheckConfig::of_file(&source, None).unwrap();
    let findings = Filter::new(&parsed.dockerfile, config).apply(findings);
    let failed = findings.iter().any(Diagnostic::is_error);
    outcome.compare("diagnostics.txt", &diagnostics(&findings, &text));
    if let Some(Planned::Ready(plan)) = &planned {
        outcome.compare("plan.txt", &plan.to_text());
        outcome.compare("steps.json", &format!("{:#}\n", plan.to_json()["steps"]));
        outcome.compare("config.json", &configs(plan));
    }
    outcome.compare(
        "report.txt",
        &if failed { report(case) } else { String::new() },
    );
    outcome.differences
}

/// Plans a file without syntax errors until no more bases are asked for.
fn planned(parsed: &Parsed, case: &Case) -> Option<Planned> {
    if parsed.has_errors() {
        return None;
    }
    let mut known = BaseImages::new();
    loop {
        let planned = plan(&parsed.dockerfile, &case.request, &known);
        let Planned::Needs(needs) = &planned else {
            return Some(planned);
        };
        let before = known.len();
        for need in needs {
            if let Some(answer) = bases::find(&need.query) {
                known.insert(need.query.clone(), answer);
            }
        }
        if known.len() == before {
            return Some(planned);
        }
    }
}

/// The configs of all targets, with history.
fn configs(plan: &Plan) -> String {
    let configs: Vec<_> = plan
        .targets
        .iter()
        .map(|target| serde_json::to_value(&target.config).unwrap())
        .collect();
    format!("{:#}\n", serde_json::Value::Array(configs))
}

/// One finding a paragraph, with the text that it is about.
fn diagnostics(findings: &[Diagnostic], source: &str) -> String {
    let mut out = String::new();
    for finding in findings {
        let severity = format!("{:?}", finding.severity).to_lowercase();
        writeln!(out, "{severity} {}: {}", finding.code, finding.message).unwrap();
        writeln!(out, "  at {}", place(finding.span, source)).unwrap();
        for (span, text) in &finding.labels {
            writeln!(out, "  {text}: {}", place(*span, source)).unwrap();
        }
        if let Some(help) = &finding.help {
            writeln!(out, "  help: {help}").unwrap();
        }
    }
    out
}

fn place(span: rbuild_parser::span::Span, source: &str) -> String {
    let bytes = source.as_bytes();
    let before = bytes.get(..span.start).expect("a span lies in the file");
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before
        .rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
        .len()
        + 1;
    let text = bytes
        .get(span.start..span.end)
        .expect("a span lies in the file");
    format!("{line}:{column} {:?}", String::from_utf8_lossy(text))
}

/// What the program itself says, with paths that are the same everywhere.
fn report(case: &Case) -> String {
    let store = tempfile::tempdir().unwrap();
    let nowhere = store.path().join("registries.conf");
    let text =
        "[[registry]]\nprefix = \"docker.io\"\nlocation = \"127.0.0.1:1\"\ninsecure = true\n";
    fs_err::write(&nowhere, text).unwrap();
    let program = std::env::var_os("RBUILD_BIN");
    let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_rbuild").into()));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", store.path())
        .env("RBUILD_ROOT", store.path().join("store"))
        .env("CONTAINERS_REGISTRIES_CONF", &nowhere)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .args(["plan", "."])
        .args(&case.arguments)
        .current_dir(&case.dir);
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{} is planned by the program",
        case.name
    );
    String::from_utf8_lossy(&output.stderr)
        .replace(case.dir.to_str().unwrap(), "[CASE]")
        .replace(store.path().to_str().unwrap(), "[STORE]")
}

/// Compares texts of one case with its files.
struct Outcome<'a> {
    case: &'a Case,
    assert: Assert,
    differences: Vec<String>,
}

impl<'a> Outcome<'a> {
    fn new(case: &'a Case) -> Self {
        let assert = Assert::new().action_env("SNAPSHOTS");
        Self {
            case,
            assert,
            differences: Vec::new(),
        }
    }

    /// An empty text has no file.
    fn compare(&mut self, file: &str, actual: &str) {
        let path = self.case.dir.join(file);
        if actual.is_empty() {
            if self.assert.selected_action() == Action::Overwrite && path.is_file() {
                fs_err::remove_file(&path).unwrap();
            }
            if path.is_file() {
                self.differences
                    .push(format!("{}: {file} should be empty", self.case.name));
            }
            return;
        }
        let expected = Data::read_from(&path, None).raw();
        if let Err(error) = self
            .assert
            .try_eq(Some(&file), Data::text(actual), expected)
        {
            self.differences
                .push(format!("{}: {error}", self.case.name));
        }
    }
}

#[test]
fn cases() {
    let mut names: Vec<_> = fs_err::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 12, "cases are missing");
    let differences: Vec<_> = names
        .iter()
        .flat_map(|name| check(&Case::read(&folder(), name)))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Planning twice gives the same graph: nothing depends on the order of a hash table.
#[test]
fn plans_are_the_same_every_time() {
    for entry in fs_err::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let case = Case::read(&folder(), &name);
        let source = fs_err::read(case.dir.join("Dockerfile")).unwrap();
        let texts: Vec<_> = (0..3)
            .map(|_| match planned(&parse(&source), &case) {
                Some(Planned::Ready(plan)) => format!("{}{}", plan.to_json(), plan.to_dot()),
                other => format!("{other:?}"),
            })
            .collect();
        assert!(texts.iter().all(|text| *text == texts[0]), "{name}");
    }
}
