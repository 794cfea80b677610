//! What may be a change, and what of it a layer keeps.

use std::collections::{BTreeMap, HashMap};

use rbuild_image::layer::entry::{Entry, EntryKind};
use rbuild_image::layer::{EntryList, path as layer_path};

/// Something in the tree of a snapshot.
pub(crate) struct Candidate {
    pub(crate) entry: Entry,
    pub(crate) is_changed: bool,
    /// Device and inode of a file with several names.
    pub(crate) inode: Option<(u64, u64)>,
}

/// What may be a change, in the order of a layer; there may be some hundred thousand.
#[derive(Default)]
pub(crate) struct Candidates {
    pub(crate) entries: EntryList,
    is_changed: Vec<bool>,
    /// By position.
    inodes: BTreeMap<usize, (u64, u64)>,
}

impl Candidates {
    pub(crate) fn push(&mut self, candidate: &Candidate) {
        let at = self.entries.len();
        if self.entries.push(&candidate.entry) {
            self.is_changed.push(candidate.is_changed);
            self.inodes.extend(candidate.inode.map(|inode| (at, inode)));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Entry, bool, Option<(u64, u64)>)> {
        let entries = self.entries.iter().zip(&self.is_changed).enumerate();
        entries.map(|(at, (entry, is_changed))| (entry, *is_changed, self.inodes.get(&at).copied()))
    }
}

/// Keeps what changed, the directories above it, and every name of a changed file; further names
/// of a file become hard links to its first.
pub(crate) struct Kept {
    /// The files with several names that changed, and the first name once that is known.
    linked: HashMap<(u64, u64), Option<Vec<u8>>>,
    /// Directories that did not change, one in the other, in which nothing that did was found so far.
    unchanged: Vec<Entry>,
}

impl Kept {
    pub(crate) fn of(found: &Candidates) -> Self {
        let changed = found.inodes.iter().filter(|(at, _)| found.is_changed[**at]);
        Self {
            linked: changed.map(|(_, inode)| (*inode, None)).collect(),
            unchanged: Vec::new(),
        }
    }

    /// Takes the next candidate; returns the entries that are kept because of it.
    pub(crate) fn take(
        &mut self,
        mut entry: Entry,
        is_changed: bool,
        inode: Option<(u64, u64)>,
    ) -> Vec<Entry> {
        while let Some(directory) = self.unchanged.last()
            && !layer_path::is_below(&entry.path, &directory.path)
        {
            self.unchanged.pop();
        }
        let first = inode.and_then(|inode| self.linked.get_mut(&inode));
        if !is_changed && first.is_none() {
            // The root directory stands in a layer only if it changed itself.
            if is_directory(&entry.kind) && !entry.path.is_empty() {
                self.unchanged.push(entry);
            }
            return Vec::new();
        }
        match first {
            Some(Some(first)) => {
                entry.kind = EntryKind::Hardlink {
                    target: first.clone(),
                }
            }
            Some(first) => *first = Some(entry.path.clone()),
            None => {}
        }
        let mut kept = std::mem::take(&mut self.unchanged);
        kept.push(entry);
        kept
    }
}

pub(crate) fn is_directory(kind: &EntryKind) -> bool {
    matches!(kind, EntryKind::Directory { .. })
}
