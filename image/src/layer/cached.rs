//! Indexes of layers that are kept in memory.

use std::collections::HashMap;
use std::sync::Arc;

use crate::digest::DiffId;

use super::index::LayerIndex;

/// Entries of the indexes that are kept in memory, all together; some 300 bytes each.
const MAX_CACHED_ENTRIES: usize = 150_000;

/// Indexes in memory.
#[derive(Debug, Default)]
pub(super) struct Cached {
    /// Each with the time of its last use.
    indexes: HashMap<DiffId, (u64, Arc<LayerIndex>)>,
    /// Counts uses.
    now: u64,
    n_entries: usize,
}

impl Cached {
    pub(super) fn get(&mut self, diff_id: &DiffId) -> Option<Arc<LayerIndex>> {
        let (used, index) = self.indexes.get_mut(diff_id)?;
        self.now += 1;
        *used = self.now;
        Some(Arc::clone(index))
    }

    /// Adds an index, and drops those that were not used for longest if there are too many entries.
    pub(super) fn insert(&mut self, diff_id: DiffId, index: Arc<LayerIndex>) {
        self.remove(&diff_id);
        self.now += 1;
        self.n_entries += index.entries().len();
        self.indexes.insert(diff_id, (self.now, index));
        if self.n_entries <= MAX_CACHED_ENTRIES {
            return;
        }
        let mut oldest_first: Vec<_> = self.indexes.iter().collect();
        oldest_first.sort_unstable_by_key(|(_, (used, _))| *used);
        let oldest_first: Vec<DiffId> = oldest_first.into_iter().map(|(id, _)| *id).collect();
        // A quarter at once: sorting costs more than removing.
        for diff_id in oldest_first {
            if self.n_entries <= MAX_CACHED_ENTRIES / 4 * 3 || self.indexes.len() == 1 {
                break;
            }
            self.remove(&diff_id);
        }
    }

    pub(super) fn remove(&mut self, diff_id: &DiffId) {
        if let Some((_, index)) = self.indexes.remove(diff_id) {
            self.n_entries -= index.entries().len();
        }
    }
}
