//! Findings as SARIF 2.1.0
//! (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>), as code scanning reads it.

use std::collections::BTreeMap;

use rbuild_parser::checks::hadolint::Level;
use serde_json::{Value, json};

use super::{Checked, Finding, Places, describe};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

pub(super) fn render(files: &[Checked]) -> String {
    let mut indexes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rules = Vec::new();
    for finding in files.iter().flat_map(|file| &file.findings) {
        let code = finding.diagnostic.code;
        indexes.entry(code).or_insert_with(|| {
            rules.push(rule(code));
            rules.len() - 1
        });
    }
    let results: Vec<Value> = files
        .iter()
        .flat_map(|file| {
            let places = Places::new(&file.source.text);
            let uri = uri(&file.source.name);
            let indexes = &indexes;
            file.findings
                .iter()
                .map(move |finding| result(&uri, &places, finding, indexes))
                .collect::<Vec<_>>()
        })
        .collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn rule(code: &str) -> Value {
    let mut rule = json!({"id": code});
    let (description, url) = describe(code);
    if let Some(description) = description {
        rule["shortDescription"] = json!({"text": description});
    }
    if let Some(url) = url {
        rule["helpUri"] = url.into();
    }
    rule
}

fn result(
    uri: &str,
    places: &Places<'_>,
    finding: &Finding,
    indexes: &BTreeMap<&str, usize>,
) -> Value {
    let diagnostic = &finding.diagnostic;
    let (start, end) = places.range(diagnostic.span);
    let text = match &diagnostic.help {
        Some(help) => format!("{}; {help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    json!({
        "ruleId": diagnostic.code,
        "ruleIndex": indexes.get(diagnostic.code),
        "level": match finding.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info | Level::Style => "note",
            Level::Off => "none",
        },
        "message": {"text": text},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri},
            "region": {
                "startLine": start.line,
                "startColumn": start.column,
                "endLine": end.line,
                "endColumn": end.column,
            },
        }}],
    })
}

/// Returns a path as a URI reference: what may not stand in one is escaped.
fn uri(path: &str) -> String {
    use std::fmt::Write as _;
    let mut uri = String::with_capacity(path.len());
    if path
        .split('/')
        .next()
        .is_some_and(|first| first.contains(':'))
    {
        uri.push_str("./"); // else it would be read as a scheme
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@!$&'()*+,;=".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02X}").unwrap_or_default();
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("a/Dockerfile.dev"), "a/Dockerfile.dev");
        assert_eq!(uri("a b#c?%"), "a%20b%23c%3F%25");
        assert_eq!(uri("\u{e4}"), "%C3%A4");
        assert_eq!(uri("c:d/e"), "./c:d/e");
        assert_eq!(uri("-"), "-");
    }
}
