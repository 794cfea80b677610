//! Who needs what.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::layer::LayerStore;
use rbuild_image::record::Contents;
use rbuild_image::store::{Collector, Pin};

use crate::error::CacheError;
use crate::record::Kept;

/// What is in the store at the moment, and who needs it.
pub(super) struct State<'a> {
    pub(super) gone: &'a Contents,
    pub(super) kept: &'a Contents,
    pub(super) records: &'a [Kept],
    pub(super) collector: &'a Collector,
    pub(super) pinned: BTreeSet<DiffId>,
    /// The layers that are here, and the blobs that are known to be these layers.
    pub(super) blobs_of: BTreeMap<DiffId, Vec<Digest>>,
    /// Blobs that stay whatever happens to the layers that may go.
    pub(super) in_use: BTreeSet<Digest>,
}

impl<'a> State<'a> {
    pub(super) fn new(
        layers: &LayerStore,
        kept: &'a Contents,
        gone: &'a Contents,
        records: &'a [Kept],
        collector: &'a Collector,
    ) -> Result<Self, CacheError> {
        let present = layers.store().layer_ids()?.into_iter();
        let mut state = Self {
            gone,
            kept,
            records,
            collector,
            pinned: collector.layers().collect(),
            blobs_of: present
                .map(|layer| (layer, layers.known_blobs(&layer)))
                .collect(),
            in_use: kept.documents.clone(),
        };
        let mut in_use: BTreeSet<Digest> = kept.layers.iter().map(|(blob, _)| *blob).collect();
        for (layer, blobs) in &state.blobs_of {
            if !state.is_free(layer) {
                in_use.extend(blobs);
            }
        }
        state.in_use.extend(in_use);
        Ok(state)
    }

    /// Reports whether no image that stays has the layer, and no living process uses it.
    pub(super) fn is_free(&self, layer: &DiffId) -> bool {
        !self.kept.diff_ids.contains(layer) && !self.pinned.contains(layer)
    }

    /// Reports whether nothing needs a blob but layers that may go.
    pub(super) fn is_loose(&self, blob: &Digest) -> bool {
        !self.in_use.contains(blob) && !self.collector.is_pinned(Pin::Blob(*blob))
    }

    /// Returns the blobs that go with these layers: no other one has them.
    pub(super) fn blobs_with(&self, layers: &BTreeSet<DiffId>) -> Vec<Digest> {
        let others = self
            .blobs_of
            .iter()
            .filter(|(layer, _)| !layers.contains(layer));
        let left: BTreeSet<&Digest> = others.flat_map(|(_, blobs)| blobs).collect();
        let going = layers.iter().filter_map(|layer| self.blobs_of.get(layer));
        going
            .flatten()
            .filter(|blob| self.is_loose(blob) && !left.contains(blob))
            .copied()
            .collect()
    }
}
