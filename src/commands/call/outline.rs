//! `--call=outline`: what a target takes.

use rbuild_parser::diagnostic::Diagnostic;
use rbuild_planner::{Outline, OutlineMount};
use serde_json::{Map, Value, json};

use super::place::{Lines, location};
use super::{Caller, Resolver, columns, encoded};
use crate::output;
use crate::planning;
use crate::progress::clean_text;
use crate::report::{Failure, Source, render_all};

/// Blanks between the columns of the tables, and of the target's name.
const PADDING: usize = 3;
const HEAD_PADDING: usize = 1;

/// Prints the outline. A base image that cannot be had takes nothing away from it.
pub(super) fn run(
    source: &Source,
    resolver: &Resolver<'_>,
    caller: &Caller<'_>,
) -> Result<(), Failure> {
    let parsed = planning::parse(source, resolver.options)?;
    let inspection = resolver.inspect(&parsed, false)?;
    let (unresolved, errors): (Vec<Diagnostic>, Vec<_>) = inspection
        .errors
        .into_iter()
        .partition(|error| error.code == "plan::unresolved-base");
    let Some(outline) = inspection.outline.filter(|_| errors.is_empty()) else {
        return Err(Failure::Source(source.clone(), errors));
    };
    output::note(&render_all(source, &unresolved));
    let lines = Lines::new(&source.text, &parsed.dockerfile);
    caller.answer(&to_json(source, &outline, &lines), &to_text(&outline))
}

fn to_text(outline: &Outline) -> String {
    let mut out = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.as_deref().unwrap_or("(default)");
        let mut rows = vec![row(&["TARGET:", name])];
        let description = outline.description.iter();
        rows.extend(description.map(|text| row(&["DESCRIPTION:", text])));
        out.push_str(&columns(&rows, HEAD_PADDING));
        out.push('\n');
    }
    let args = outline.args.iter().map(|arg| {
        let description = arg.description.as_deref().unwrap_or_default();
        row(&[&arg.name, &arg.value, description])
    });
    out.push_str(&table(&["BUILD ARG", "VALUE", "DESCRIPTION"], args));
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        let rows = mounts.iter().map(|mount| {
            let required = if mount.is_required { "true" } else { "" };
            row(&[&mount.name, required])
        });
        out.push_str(&table(&[title, "REQUIRED"], rows));
    }
    out
}

/// A table with an empty line after it; nothing if it has no rows.
fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<_> = std::iter::once(row(header)).chain(rows).collect();
    if rows.len() == 1 {
        return String::new();
    }
    columns(&rows, PADDING) + "\n"
}

fn row(cells: &[&str]) -> Vec<String> {
    cells
        .iter()
        .map(|cell| clean_text(cell).replace('\n', " "))
        .collect()
}

fn to_json(source: &Source, outline: &Outline, lines: &Lines) -> Value {
    let mut out = Map::new();
    let texts = [
        ("name", &outline.name),
        ("description", &outline.description),
    ];
    for (key, text) in texts {
        out.extend(text.clone().map(|text| (key.to_owned(), text.into())));
    }
    let args = outline.args.iter().map(|arg| {
        let mut object = Map::new();
        object.insert("name".into(), arg.name.clone().into());
        if let Some(description) = &arg.description {
            object.insert("description".into(), description.clone().into());
        }
        if !arg.value.is_empty() {
            object.insert("value".into(), arg.value.clone().into());
        }
        let place = lines.of_instruction(arg.span);
        object.insert("location".into(), location(Some(place)));
        Value::Object(object)
    });
    insert(&mut out, "args", args.collect());
    let secrets = outline.secrets.iter();
    insert(
        &mut out,
        "secrets",
        secrets.map(|mount| named(mount, lines)).collect(),
    );
    let agents = outline.ssh.iter();
    insert(
        &mut out,
        "ssh",
        agents.map(|mount| named(mount, lines)).collect(),
    );
    let caches = outline.caches.iter().map(|mount| {
        let place = lines.of_instruction(mount.span);
        json!({"ID": mount.name, "location": location(Some(place))})
    });
    insert(&mut out, "cache", caches.collect());
    out.insert("sources".into(), json!([encoded(source)]));
    Value::Object(out)
}

fn named(mount: &OutlineMount, lines: &Lines) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), mount.name.clone().into());
    if mount.is_required {
        object.insert("required".into(), true.into());
    }
    let place = lines.of_instruction(mount.span);
    object.insert("location".into(), location(Some(place)));
    Value::Object(object)
}

fn insert(out: &mut Map<String, Value>, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        out.insert(key.to_owned(), Value::Array(list));
    }
}
