//! The entries of a layer, each for itself, to be looked at in any order.

use crate::layer::LayerIndex;
use crate::layer::entry::{Entry, EntryKind};
use crate::layer::path::compare_paths;

/// What a layer's index says, laid out to be pointed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    entries: Vec<Entry>,
    implied: Vec<Entry>,
    unpacked_size: u64,
}

impl From<&LayerIndex> for Listing {
    fn from(index: &LayerIndex) -> Self {
        Self {
            entries: index.entries().to_vec(),
            implied: index.implied().to_vec(),
            unpacked_size: index.unpacked_size(),
        }
    }
}

impl Listing {
    /// Returns [`LayerIndex::entries`].
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns [`LayerIndex::implied`].
    #[must_use]
    pub fn implied(&self) -> &[Entry] {
        &self.implied
    }

    /// Returns [`LayerIndex::unpacked_size`].
    #[must_use]
    pub fn unpacked_size(&self) -> u64 {
        self.unpacked_size
    }

    /// Returns the entry at `path`.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        let at = self
            .entries
            .binary_search_by(|entry| compare_paths(&entry.path, path));
        self.entries.get(at.ok()?)
    }

    /// Returns the file entry that `entry` is a name of: itself unless it is a hard link.
    #[must_use]
    pub fn file_of<'a>(&'a self, entry: &'a Entry) -> &'a Entry {
        match &entry.kind {
            EntryKind::Hardlink { target } => self.get(target).unwrap_or(entry),
            _ => entry,
        }
    }
}
