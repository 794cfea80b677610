//! The differences for people.

use rbuild_image::analysis::{Difference, What, size_of};
use rbuild_image::layer::entry::{Entry, EntryKind};
use serde_json::Value;

use super::Comparison;
use super::config::Setting;
use crate::commands::analyze::mode;
use crate::commands::images::shown_id;
use crate::opened::OpenedImage;
use crate::progress::clean_text;
use crate::shown_path::{shown_path, shown_target};
use crate::table::table;
use crate::units::human_size;

pub(super) fn render(found: &Comparison<'_>) -> String {
    let mut out = [head("---", found.before), head("+++", found.after)].concat();
    if let Some(settings) = &found.settings
        && !settings.is_empty()
    {
        out.push_str("\nConfig\n");
        out.extend(settings.iter().map(setting));
    }
    if found.layers {
        out.push_str(&layers(found));
    }
    if let Some(files) = &found.files
        && !files.is_empty()
    {
        out.push_str(&summary(files));
        let rows: Vec<_> = files.iter().map(file).collect();
        out.push_str(&table(&["", "MODE", "OWNER", "SIZE", "PATH"], &rows));
    }
    if found.is_equal() {
        out.push_str("\nThere is no difference\n");
    }
    out
}

fn head(mark: &str, image: &OpenedImage) -> String {
    format!(
        "{mark} {}  {}  {}\n",
        clean_text(&image.name),
        image.platform,
        shown_id(&image.id.to_string(), false)
    )
}

fn setting(setting: &Setting) -> String {
    let name = match &setting.name {
        Some(name) => format!("{} {name}", setting.field),
        None => setting.field.clone(),
    };
    let name = clean_line(&name);
    match (&setting.before, &setting.after) {
        (Some(before), Some(after)) => {
            format!("  C {name}: {} -> {}\n", value(before), value(after))
        }
        (Some(before), None) => format!("  D {name}: {}\n", value(before)),
        (None, Some(after)) => format!("  A {name}: {}\n", value(after)),
        (None, None) => String::new(),
    }
}

fn value(value: &Value) -> String {
    clean_line(&value.to_string())
}

fn clean_line(text: &str) -> String {
    clean_text(text).replace(['\n', '\t'], " ")
}

/// Layers that both have, then those of the first, then those of the second.
fn layers(found: &Comparison<'_>) -> String {
    let ids = |image: &OpenedImage| image.config.rootfs.diff_ids.clone();
    let (before, after) = (ids(found.before), ids(found.after));
    let n_common = before
        .iter()
        .zip(&after)
        .take_while(|(before, after)| before == after)
        .count();
    let rows = |mark: &str, image: &OpenedImage, range: std::ops::Range<usize>| -> String {
        let instructions = image.instructions();
        range
            .map(|at| {
                format!(
                    "  {mark} {:>9}  {}  {}\n",
                    human_size(image.layers[at].unpacked_size()),
                    shown_id(&image.config.rootfs.diff_ids[at].to_string(), false),
                    instructions[at]
                )
            })
            .collect()
    };
    let size = |image: &OpenedImage| -> u64 {
        let layers = image.layers.iter();
        layers.map(|layer| layer.unpacked_size()).sum()
    };
    format!(
        "\nLayers: {} -> {}\n{}{}{}",
        human_size(size(found.before)),
        human_size(size(found.after)),
        rows(" ", found.before, 0..n_common),
        rows("D", found.before, n_common..before.len()),
        rows("A", found.after, n_common..after.len()),
    )
}

fn summary(files: &[Difference]) -> String {
    let count = |is: fn(&Difference) -> bool| files.iter().filter(|file| is(file)).count();
    format!(
        "\nFiles: {} added, {} removed, {} changed\n",
        count(|file| matches!(file, Difference::Added(_))),
        count(|file| matches!(file, Difference::Removed(_))),
        count(|file| matches!(file, Difference::Changed(..))),
    )
}

fn file(file: &Difference) -> Vec<String> {
    let path = shown_path(file.path());
    let alone = |mark: &str, entry: &Entry| {
        vec![
            mark.to_owned(),
            mode(entry),
            owner(entry),
            size(entry),
            format!("{path}{}", target(entry)),
        ]
    };
    match file {
        Difference::Added(found) => alone("A", &found.entry),
        Difference::Removed(found) => alone("D", &found.entry),
        Difference::Changed(before, after, what) => {
            let (before, after) = (&before.entry, &after.entry);
            let has_mode = what.mode || what.kind;
            let has_content = what.content || what.kind;
            vec![
                "C".to_owned(),
                both(has_mode, &mode(before), &mode(after)),
                both(what.owner, &owner(before), &owner(after)),
                both(has_content, &size(before), &size(after)),
                format!(
                    "{path}{}{}",
                    targets(before, after),
                    remark(*what, before, after)
                ),
            ]
        }
    }
}

/// The value after, behind the one before if that is another one.
fn both(has_changed: bool, before: &str, after: &str) -> String {
    if has_changed && before != after {
        let before = if before.is_empty() { "-" } else { before };
        let after = if after.is_empty() { "-" } else { after };
        return format!("{before} -> {after}");
    }
    after.to_owned()
}

fn owner(entry: &Entry) -> String {
    format!("{}:{}", entry.uid, entry.gid)
}

fn size(entry: &Entry) -> String {
    match entry.kind {
        EntryKind::File { .. } => human_size(size_of(entry)),
        _ => String::new(),
    }
}

fn target(entry: &Entry) -> String {
    match &entry.kind {
        EntryKind::Symlink { target } => format!(" -> {}", shown_target(target)),
        _ => String::new(),
    }
}

fn targets(before: &Entry, after: &Entry) -> String {
    match (target(before), target(after)) {
        (before, after) if before == after || before.is_empty() => after,
        (before, after) => format!("{after} (was{before})"),
    }
}

/// What the columns do not show.
fn remark(what: What, before: &Entry, after: &Entry) -> String {
    let same_size = size(before) == size(after);
    let is_file = matches!(after.kind, EntryKind::File { .. });
    let parts: Vec<_> = [
        (what.content && same_size && is_file, "content"),
        (what.xattrs, "extended attributes"),
        (what.time, "time"),
    ]
    .into_iter()
    .filter_map(|(is_so, name)| is_so.then_some(name))
    .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("  ({})", parts.join(", "))
}
