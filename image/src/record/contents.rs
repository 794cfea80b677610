//! What an image consists of.

use std::collections::BTreeSet;

use crate::config::ImageConfig;
use crate::digest::{ChainId, DiffId, Digest};
use crate::manifest::{Descriptor, Document, MAX_MANIFEST_BYTES, Manifest};
use crate::record::ImageRecord;
use crate::store::Store;

/// Everything that one or more images consist of, as far as the store has it. What cannot be read
/// is as good as gone, and names nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// Indexes, manifests, configs, attestations.
    pub documents: BTreeSet<Digest>,
    /// Layer blobs that manifests name, with what they unpack to where that is known.
    pub layers: BTreeSet<(Digest, Option<DiffId>)>,
    /// Layers that configs name.
    pub diff_ids: BTreeSet<DiffId>,
    /// Stacks of layers; of each image the highest first.
    pub chains: Vec<ChainId>,
}

impl Contents {
    /// Adds what `record` consists of.
    pub fn add(&mut self, store: &Store, record: &ImageRecord) {
        self.documents.extend(record.documents());
        if let Some(index) = &record.index {
            self.add_index(store, index);
        }
        for image in &record.images {
            let diff_ids = read_config(store, &image.config)
                .map(|config| config.rootfs.diff_ids)
                .unwrap_or_default();
            for n_layers in (1..=diff_ids.len()).rev() {
                let chain = ChainId::of(&diff_ids[..n_layers]);
                self.chains
                    .extend(chain.filter(|chain| !self.chains.contains(chain)));
            }
            self.diff_ids.extend(&diff_ids);
            if let Some(Document::Manifest(manifest)) =
                image.manifest.as_ref().and_then(|found| read(store, found))
            {
                self.add_manifest(&manifest, &diff_ids);
            }
        }
    }

    /// Attestations are in the index only.
    fn add_index(&mut self, store: &Store, descriptor: &Descriptor) {
        let Some(Document::Index(index)) = read(store, descriptor) else {
            return;
        };
        for entry in &index.manifests {
            self.documents.insert(entry.digest);
            if let Some(Document::Manifest(manifest)) = read(store, entry) {
                self.documents.insert(manifest.config.digest);
                let diff_ids = read_config(store, &manifest.config.digest)
                    .map(|config| config.rootfs.diff_ids)
                    .unwrap_or_default();
                self.add_manifest(&manifest, &diff_ids);
            }
        }
    }

    fn add_manifest(&mut self, manifest: &Manifest, diff_ids: &[DiffId]) {
        let layers = manifest.layers.iter().enumerate();
        self.layers
            .extend(layers.map(|(n, layer)| (layer.digest, diff_ids.get(n).copied())));
    }
}

fn read(store: &Store, descriptor: &Descriptor) -> Option<Document> {
    let bytes = store
        .read_blob(&descriptor.digest, MAX_MANIFEST_BYTES)
        .ok()?;
    Document::parse(&bytes, &descriptor.media_type).ok()
}

fn read_config(store: &Store, digest: &Digest) -> Option<ImageConfig> {
    let bytes = store.read_blob(digest, ImageConfig::MAX_BYTES).ok()?;
    ImageConfig::parse(&bytes).ok()
}
