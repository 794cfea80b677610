//! Bringing images into the store, each with everything it needs.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Loaded;
use super::adopt::adopt_layer;
use super::source::Source;
use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest};
use crate::error::ImageError;
use crate::layer::LayerStore;
use crate::layout::{reference_of, without_name};
use crate::manifest::{Descriptor, Document, Index, MAX_MANIFEST_BYTES, Manifest};
use crate::platform::Platform;
use crate::record::{ImageRecord, Origin, PlatformImage};
use crate::select::{Leaf, leaves};
use crate::store::Store;

/// Loads from one source into one store.
pub(super) struct Loader<'a> {
    pub(super) layers: &'a LayerStore,
    pub(super) source: &'a (dyn Source + Sync),
    pub(super) platforms: &'a [Platform],
}

impl Loader<'_> {
    fn store(&self) -> &Store {
        self.layers.store()
    }

    pub(super) fn load_index(&self, index: &Index) -> Result<Vec<Loaded>, ImageError> {
        let mut loaded: Vec<(Descriptor, Loaded)> = Vec::new();
        for entry in index.images() {
            let name = reference_of(entry);
            let known = loaded
                .iter_mut()
                .find(|(known, _)| known.digest == entry.digest);
            if let Some((_, image)) = known {
                image
                    .names
                    .extend(name.filter(|name| !image.names.contains(name)));
                continue;
            }
            if let Some(record) = self.load_target(&without_name(entry))? {
                let names = name.into_iter().collect();
                loaded.push((entry.clone(), Loaded { record, names }));
            }
        }
        if loaded.is_empty() {
            return Err(ImageError::UnknownArchive);
        }
        Ok(loaded.into_iter().map(|(_, image)| image).collect())
    }

    /// Returns `None` for what is no image.
    pub(super) fn load_target(
        &self,
        target: &Descriptor,
    ) -> Result<Option<ImageRecord>, ImageError> {
        let bytes = self.read(target, MAX_MANIFEST_BYTES)?;
        let (index, mut found) = match Document::parse(&bytes, &target.media_type)? {
            Document::Manifest(manifest) if !manifest.is_image() => return Ok(None),
            Document::Manifest(_) => {
                let leaf = Leaf {
                    descriptor: target.clone(),
                    platform: None,
                };
                (None, vec![leaf])
            }
            Document::Index(index) => {
                let mut fetch = |blob: &Descriptor| self.read(blob, MAX_MANIFEST_BYTES);
                (Some(index), leaves(target, &mut fetch)?)
            }
        };
        if index.is_some() {
            self.keep_wanted(&mut found)?;
        }
        let mut images = Vec::new();
        let mut missing = None;
        for leaf in &found {
            match self.load_manifest(leaf) {
                Ok(image) => images.extend(image),
                // An index may name platforms that nobody has saved.
                Err(ImageError::NotInArchive { name }) if index.is_some() => missing = Some(name),
                Err(error) => return Err(error),
            }
        }
        if let Some(index) = &index {
            self.deliver_attestations(index)?;
            self.source.deliver(target, self.store())?;
        }
        let descriptor = index.is_some().then(|| target.clone());
        match (
            ImageRecord::new(images, descriptor, Origin::Loaded),
            missing,
        ) {
            (Some(record), _) => self.with_created(record).map(Some),
            (None, Some(name)) => Err(ImageError::NotInArchive { name }),
            (None, None) => Ok(None),
        }
    }

    fn keep_wanted(&self, found: &mut Vec<Leaf>) -> Result<(), ImageError> {
        if self.platforms.is_empty() {
            return Ok(());
        }
        let mut wanted = Vec::new();
        for platform in self.platforms {
            let best = platform.select(found.iter().map(|leaf| leaf.platform.as_ref()));
            wanted.push(best.ok_or_else(|| {
                ImageError::NoMatchingPlatform {
                    wanted: platform.to_string(),
                    available: found
                        .iter()
                        .filter_map(|leaf| leaf.platform.as_ref())
                        .map(ToString::to_string)
                        .collect(),
                }
            })?);
        }
        let mut place = 0;
        found.retain(|_| {
            place += 1;
            wanted.contains(&(place - 1))
        });
        Ok(())
    }

    /// Checks the platform of a single image: nothing could be chosen.
    pub(super) fn check_wanted(&self, platform: &Platform) -> Result<(), ImageError> {
        let Some(first) = self.platforms.first() else {
            return Ok(());
        };
        if self.platforms.iter().any(|wanted| wanted.accepts(platform)) {
            return Ok(());
        }
        Err(ImageError::NoMatchingPlatform {
            wanted: first.to_string(),
            available: vec![platform.to_string()],
        })
    }

    /// Brings a manifest with all it names into the store; `None` for what is no image.
    fn load_manifest(&self, leaf: &Leaf) -> Result<Option<PlatformImage>, ImageError> {
        let bytes = self.read(&leaf.descriptor, MAX_MANIFEST_BYTES)?;
        let manifest = match Document::parse(&bytes, &leaf.descriptor.media_type)? {
            Document::Manifest(manifest) if manifest.is_image() => manifest,
            _ => return Ok(None),
        };
        let config = ImageConfig::parse(&self.read(&manifest.config, ImageConfig::MAX_BYTES)?)?;
        if leaf.platform.is_none() {
            self.check_wanted(&config.platform())?;
        }
        self.load_layers(&manifest, &config)?;
        self.source.deliver(&manifest.config, self.store())?;
        self.source.deliver(&leaf.descriptor, self.store())?;
        Ok(Some(PlatformImage {
            platform: leaf.platform.clone().unwrap_or_else(|| config.platform()),
            config: manifest.config.digest,
            manifest: Some(leaf.descriptor.clone()),
            size_bytes: None,
        }))
    }

    pub(super) fn load_layers(
        &self,
        manifest: &Manifest,
        config: &ImageConfig,
    ) -> Result<(), ImageError> {
        let diff_ids = &config.rootfs.diff_ids;
        check_layer_count(manifest.layers.len(), diff_ids.len())?;
        if let Some(missing) = manifest.layers.iter().find(|layer| !self.has(layer)) {
            return Err(ImageError::NotInArchive {
                name: missing.digest.to_string(),
            });
        }
        // An image may have a layer twice.
        let blobs: BTreeMap<Digest, &Descriptor> = manifest
            .layers
            .iter()
            .filter(|layer| self.source.has(&layer.digest))
            .map(|layer| (layer.digest, layer))
            .collect();
        blobs
            .into_par_iter()
            .try_for_each(|(_, layer)| self.source.deliver(layer, self.store()))?;
        let layers: BTreeMap<(Digest, DiffId), &Descriptor> = manifest
            .layers
            .iter()
            .zip(diff_ids)
            .map(|(layer, diff_id)| ((layer.digest, *diff_id), layer))
            .collect();
        layers
            .into_par_iter()
            .try_for_each(|((_, diff_id), layer)| adopt_layer(self.layers, layer, &diff_id))
    }

    /// Attestations are kept with their index where they are whole.
    fn deliver_attestations(&self, index: &Index) -> Result<(), ImageError> {
        for entry in index
            .manifests
            .iter()
            .filter(|entry| entry.is_attestation())
        {
            if !self.source.has(&entry.digest) {
                continue;
            }
            let bytes = self.read(entry, MAX_MANIFEST_BYTES)?;
            if let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, &entry.media_type) {
                for blob in manifest
                    .blobs()
                    .filter(|blob| self.source.has(&blob.digest))
                {
                    self.source.deliver(blob, self.store())?;
                }
            }
            self.source.deliver(entry, self.store())?;
        }
        Ok(())
    }

    pub(super) fn with_created(&self, mut record: ImageRecord) -> Result<ImageRecord, ImageError> {
        let bytes = self.store().read_blob(&record.id, ImageConfig::MAX_BYTES)?;
        record.created = ImageConfig::parse(&bytes)?.created;
        Ok(record)
    }

    fn has(&self, blob: &Descriptor) -> bool {
        self.source.has(&blob.digest) || self.store().has_blob(&blob.digest)
    }

    /// Reads from the store what is there already: an archive need not repeat it, and what was
    /// delivered is no longer in the staging folder.
    pub(super) fn read(&self, blob: &Descriptor, limit_bytes: u64) -> Result<Vec<u8>, ImageError> {
        if self.store().blob_size(&blob.digest)? == Some(blob.size)
            && let Ok(bytes) = self.store().read_blob(&blob.digest, limit_bytes)
        {
            return Ok(bytes);
        }
        match self.source.read(blob, limit_bytes) {
            Err(ImageError::NoSuchBlob { digest }) => Err(ImageError::NotInArchive {
                name: digest.to_string(),
            }),
            other => other,
        }
    }
}
fn check_layer_count(n_layers: usize, n_diff_ids: usize) -> Result<(), ImageError> {
    if n_layers == n_diff_ids {
        return Ok(());
    }
    Err(ImageError::LayerCount {
        n_layers,
        n_diff_ids,
    })
}
