//! Where the paths of a stack of many layers are, so that a look-up need not go through all of them.

use std::collections::HashMap;

use super::index::LayerIndex;
use super::merge::hides_lower;

/// Stacks of fewer layers are looked through one by one.
pub(super) const MANY: usize = 16;

/// A layer with more entries is not noted here, but looked into each time. There cannot be many of them.
const LARGE: usize = 4096;

/// The paths of the layers of a stack that begins like all those that share this.
#[derive(Debug, Default)]
pub(super) struct Places {
    n_layers: usize,
    /// By path, the layers with an entry there, the lowest first.
    entries: HashMap<Box<[u8]>, Vec<EntryPlace>>,
    /// By path, the layers that imply a directory there, the lowest first.
    implied: HashMap<Box<[u8]>, Vec<usize>>,
    /// The layers that are not noted, the lowest first.
    large: Vec<usize>,
}

/// A layer with an entry at some path.
#[derive(Debug, Clone, Copy)]
struct EntryPlace {
    layer: usize,
    /// The highest layer up to this one whose entry at the path hides what is below.
    hiding: Option<usize>,
}

impl Places {
    /// How many layers are known.
    pub(super) fn n_layers(&self) -> usize {
        self.n_layers
    }

    /// Adds a layer on top.
    pub(super) fn push(&mut self, index: &LayerIndex) {
        let layer = self.n_layers;
        self.n_layers += 1;
        if index.entries().len() > LARGE {
            self.large.push(layer);
            return;
        }
        for entry in index.entries() {
            let places = self
                .entries
                .entry(entry.path.as_slice().into())
                .or_default();
            let hiding = match hides_lower(&entry) {
                true => Some(layer),
                false => places.last().and_then(|place| place.hiding),
            };
            places.push(EntryPlace { layer, hiding });
        }
        for entry in index.implied() {
            self.implied
                .entry(entry.path.as_slice().into())
                .or_default()
                .push(layer);
        }
    }

    /// Returns the highest of the first `n` layers that has an entry at `path`, as far as they are noted.
    pub(super) fn entry(&self, path: &[u8], n: usize) -> Option<usize> {
        self.entry_place(path, n).map(|place| place.layer)
    }

    /// Returns the highest of the first `n` layers whose entry at `path` hides what is below, as far as they are noted.
    pub(super) fn hiding(&self, path: &[u8], n: usize) -> Option<usize> {
        self.entry_place(path, n)?.hiding
    }

    /// Returns the lowest layer from `from` on that implies a directory at `path`, as far as it is noted.
    pub(super) fn implied(&self, path: &[u8], from: usize) -> Option<usize> {
        let layers = self.implied.get(path)?;
        let at = layers.partition_point(|layer| *layer < from);
        layers.get(at).copied()
    }

    /// Returns those of the first `n` layers that have something at or below `path`, and those that are not noted.
    pub(super) fn at(&self, path: &[u8], n: usize) -> Vec<usize> {
        let entries = self.entries.get(path).into_iter().flatten();
        let implied = self.implied.get(path).into_iter().flatten().copied();
        let noted = entries.map(|place| place.layer).chain(implied);
        let large = self.large.iter().copied();
        noted.chain(large).filter(|layer| *layer < n).collect()
    }

    /// Returns the paths of directories that are implied by the first `n` layers, as far as they are noted.
    pub(super) fn implied_paths(&self, n: usize) -> impl Iterator<Item = &[u8]> {
        let first = move |layers: &[usize]| layers.first().is_some_and(|layer| *layer < n);
        let known = self.implied.iter();
        known.filter_map(move |(path, layers)| first(layers).then_some(&**path))
    }

    /// Returns those of the first `n` layers that are not noted, the lowest first.
    pub(super) fn large(&self, n: usize) -> &[usize] {
        &self.large[..self.large.partition_point(|layer| *layer < n)]
    }

    fn entry_place(&self, path: &[u8], n: usize) -> Option<EntryPlace> {
        let places = self.entries.get(path)?;
        let at = places.partition_point(|place| place.layer < n);
        places.get(at.checked_sub(1)?).copied()
    }
}
