//! What is in one layer, entry by entry.

use rbuild_image::analysis::{ListedEntry, Mark};
use rbuild_image::layer::entry::{Entry, EntryKind};

use super::Report;
use crate::shown_path::{shown_path, shown_target};
use crate::table::table;
use crate::units::human_size;

pub(super) fn render(report: &Report<'_>, layer: usize) -> String {
    let rows: Vec<_> = report.analysis.listing.iter().map(row).collect();
    let head = super::text::layer_head(report, layer);
    format!(
        "{head}\n{}",
        table(&["", "MODE", "OWNER", "SIZE", "PATH"], &rows)
    )
}

fn row(listed: &ListedEntry<'_>) -> Vec<String> {
    let entry = listed.entry;
    let mark = match listed.mark {
        Mark::Added => "A",
        Mark::Changed => "C",
        Mark::Repeated => "M",
        Mark::Unchanged => "",
        Mark::Removed => "D",
    };
    let is_gone = entry.kind == EntryKind::Whiteout;
    let path = shown_path(&entry.path);
    let path = match &entry.kind {
        EntryKind::Symlink { target } => format!("{path} -> {}", shown_target(target)),
        EntryKind::Hardlink { target } => format!("{path} = {}", shown_path(target)),
        _ => path,
    };
    let is_file = matches!(
        entry.kind,
        EntryKind::File { .. } | EntryKind::Hardlink { .. }
    );
    vec![
        mark.to_owned(),
        if is_gone { String::new() } else { mode(entry) },
        if is_gone {
            String::new()
        } else {
            format!("{}:{}", entry.uid, entry.gid)
        },
        if is_file || listed.bytes > 0 {
            human_size(listed.bytes)
        } else {
            String::new()
        },
        path,
    ]
}

/// The kind and the permissions of an entry as `ls` shows them.
pub(crate) fn mode(entry: &Entry) -> String {
    let kind = match entry.kind {
        EntryKind::File { .. } | EntryKind::Hardlink { .. } | EntryKind::Whiteout => '-',
        EntryKind::Directory { .. } => 'd',
        EntryKind::Symlink { .. } => 'l',
        EntryKind::Fifo => 'p',
        EntryKind::CharDevice { .. } => 'c',
        EntryKind::BlockDevice { .. } => 'b',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = entry.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (entry.mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    text
}
