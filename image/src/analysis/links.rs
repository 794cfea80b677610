//! Files with several names: their bytes are hidden when the last of the names is.

use std::collections::BTreeMap;

use super::Listing;
use crate::layer::entry::{Entry, EntryKind};

use super::size_of;
use super::stack::At;

/// How many names of each hard-linked file are left, and what hid one of them last.
#[derive(Debug)]
pub(super) struct Links<'a> {
    files: BTreeMap<(usize, &'a [u8]), Linked>,
}

#[derive(Debug, Default)]
struct Linked {
    n_names: usize,
    size: u64,
    /// The highest layer that hid a name, and the row of what it hid there.
    last: Option<(usize, usize)>,
}

/// Bytes that a name takes with it, and whose they are.
pub(super) struct Hidden {
    /// Position in the list of waste.
    pub(super) row: usize,
    /// How many.
    pub(super) size: u64,
}

impl<'a> Links<'a> {
    pub(super) fn new(layers: &'a [Listing]) -> Self {
        let mut files: BTreeMap<(usize, &[u8]), Linked> = BTreeMap::new();
        for (at, layer) in layers.iter().enumerate() {
            for entry in layer.entries() {
                if let EntryKind::Hardlink { target } = &entry.kind {
                    let linked = files.entry((at, target)).or_insert_with(|| Linked {
                        n_names: 1,
                        size: layer.get(target).map_or(0, size_of),
                        last: None,
                    });
                    linked.n_names += 1;
                }
            }
        }
        Self { files }
    }

    /// Notes that layer `by` hides a name; returns the bytes that are hidden with it.
    pub(super) fn hide(&mut self, name: &At<'a>, by: usize, row: usize) -> Hidden {
        let Some(linked) = self.files.get_mut(&(name.layer, file_path(name.entry))) else {
            let size = size_of(name.entry);
            return Hidden { row, size };
        };
        linked.n_names = linked.n_names.saturating_sub(1);
        if linked.last.is_none_or(|(layer, _)| layer <= by) {
            linked.last = Some((by, row));
        }
        let size = if linked.n_names == 0 { linked.size } else { 0 };
        let row = linked.last.map_or(row, |(_, row)| row);
        Hidden { row, size }
    }
}

/// Returns the path of the file that an entry is a name of.
pub(super) fn file_path(entry: &Entry) -> &[u8] {
    match &entry.kind {
        EntryKind::Hardlink { target } => target,
        _ => &entry.path,
    }
}
