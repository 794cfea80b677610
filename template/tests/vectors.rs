//! Templates and what Go makes of them, recorded.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::PathBuf;

use rbuild_template::{Missing, Template, TemplateError, Value};

/// The folder with what was recorded: below `$RBUILD_SHARED`, else `shared` beside the checkout.
fn vectors() -> Option<serde_json::Value> {
    let shared = std::env::var_os("RBUILD_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let text = fs_err::read_to_string(shared.join("images-data/templates.json")).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn recorded_templates() {
    let Some(vectors) = vectors() else {
        eprintln!("skipped: no recorded templates (set RBUILD_SHARED)");
        return;
    };
    let data = Value::from(vectors["data"].clone());
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() > 90);
    let mut differences = Vec::new();
    for case in cases {
        let template = case["template"].as_str().unwrap();
        let outcome = Template::parse(template)
            .and_then(|template| template.execute(&data, Missing::NoValue));
        let (result, text) = match outcome {
            Ok(text) => ("ok", text),
            Err(TemplateError::Execute(text)) => ("exec", text),
            Err(TemplateError::Parse(text)) => ("parse", text),
        };
        if case["result"] != result || case["text"] != text.as_str() {
            differences.push(format!("{template}\n  {case}\n  {result}: {text}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
