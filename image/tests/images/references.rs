//! References against what docker makes of them.

use rbuild_image::reference::Reference;
use serde_json::Value;

/// Docker takes these two, and cannot do anything with them afterwards.
const REFUSED: &[(&str, &str)] = &[
    (
        "foo_bar.com/app",
        "invalid reference format: registry host name (foo_bar.com) must not contain an underscore",
    ),
    ("ubuntu@sha512:", "unsupported digest algorithm"),
];

#[test]
fn references_are_read_as_docker_reads_them() {
    let Some(text) = crate::vectors::read("references.json") else {
        return;
    };
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 102, "only {} cases", cases.len());
    for case in &cases {
        check(case);
    }
}

fn check(case: &Value) {
    let input = case["in"].as_str().unwrap();
    let found = Reference::parse(input);
    let refused = REFUSED.iter().find(|(start, _)| input.starts_with(start));
    let error = refused.map(|(_, text)| *text).or(case["err"].as_str());
    if let Some(error) = error {
        assert_eq!(found.unwrap_err().to_string(), error, "error of `{input}`");
        return;
    }
    let found = found.unwrap_or_else(|error| panic!("`{input}`: {error}"));
    assert_eq!(
        found.domain,
        case["domain"].as_str().unwrap(),
        "domain of `{input}`"
    );
    assert_eq!(
        found.path,
        case["path"].as_str().unwrap(),
        "path of `{input}`"
    );
    let tagged = found.with_default_tag();
    assert_eq!(
        tagged.to_string(),
        case["ok"].as_str().unwrap(),
        "`{input}`"
    );
    assert_eq!(
        tagged.familiar(),
        case["familiar"].as_str().unwrap(),
        "`{input}`"
    );
    if let Some(pulled) = case["pull_ref"].as_str() {
        assert_eq!(
            tagged.pull_form().to_string(),
            pulled,
            "pull form of `{input}`"
        );
    }
}
