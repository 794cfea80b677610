//! Findings as a JSON array, with the names that hadolint uses.

use serde_json::{Value, json};

use super::{Checked, Finding, Fixable, Places, describe};

pub(super) fn render(files: &[Checked]) -> String {
    let findings: Vec<Value> = files
        .iter()
        .flat_map(|file| {
            let places = Places::new(&file.source.text);
            let name = file.source.name.clone();
            file.findings
                .iter()
                .map(move |finding| object(&name, &places, finding))
                .collect::<Vec<_>>()
        })
        .collect();
    format!("{:#}\n", Value::Array(findings))
}

fn object(file: &str, places: &Places<'_>, finding: &Finding) -> Value {
    let diagnostic = &finding.diagnostic;
    let (start, end) = places.range(diagnostic.span);
    let (_, url) = describe(diagnostic.code);
    json!({
        "file": file,
        "code": diagnostic.code,
        "level": finding.level.name(),
        "message": diagnostic.message,
        "line": start.line,
        "column": start.column,
        "endLine": end.line,
        "endColumn": end.column,
        "instructionLine": places.at(finding.instruction.start).line,
        "help": diagnostic.help,
        "url": url,
        "fix": match finding.fixable {
            Fixable::No => None,
            Fixable::Safe => Some("safe"),
            Fixable::Unsafe => Some("unsafe"),
        },
    })
}
