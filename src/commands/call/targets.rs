//! `--call=targets`: the stages that can be built. Nothing is expanded and nothing is resolved.

use rbuild_parser::Parsed;
use rbuild_parser::ast::Stage;
use rbuild_parser::checks::buildkit::description;
use serde_json::{Map, Value, json};

use super::place::{Lines, location};
use super::{columns, encoded};
use crate::progress::clean_text;
use crate::report::Source;

const PADDING: usize = 1;

/// Returns the stages in order: name, description, and whether it is what is built by default.
fn stages(parsed: &Parsed) -> impl Iterator<Item = (&Stage, Option<&str>, Option<&str>, bool)> {
    let stages = &parsed.dockerfile.stages;
    let n_stages = stages.len();
    stages.iter().enumerate().map(move |(number, stage)| {
        let name = stage.from.name.as_ref().map(|name| name.value.as_str());
        let text = name.and_then(|name| description(&stage.head.comments, name));
        (stage, name, text, number + 1 == n_stages)
    })
}

pub(super) fn text(parsed: &Parsed) -> String {
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    for (_, name, description, is_default) in stages(parsed) {
        let name = match (name, is_default) {
            (None, true) => "(default)".to_owned(),
            (Some(name), true) => format!("{name} (default)"),
            (name, false) => name.unwrap_or_default().to_owned(),
        };
        rows.push(vec![name, clean_text(description.unwrap_or_default())]);
    }
    columns(&rows, PADDING)
}

pub(super) fn json(source: &Source, parsed: &Parsed) -> Value {
    let lines = Lines::new(&source.text, &parsed.dockerfile);
    let targets: Vec<_> = stages(parsed)
        .map(|(stage, name, description, is_default)| {
            let platform = stage.from.platform.as_ref();
            let place = lines.of_instruction(stage.head.span);
            let fields = [
                ("name", name.map(Value::from)),
                ("default", is_default.then_some(Value::from(true))),
                ("description", description.map(Value::from)),
                ("base", Some(Value::from(stage.from.base.value.as_str()))),
                ("platform", platform.map(|word| word.value.as_str().into())),
                ("location", Some(location(Some(place)))),
            ];
            let fields = fields.into_iter();
            let given = fields.filter_map(|(key, value)| Some((key.to_owned(), value?)));
            Value::Object(given.collect::<Map<_, _>>())
        })
        .collect();
    json!({"targets": targets, "sources": [encoded(source)]})
}
