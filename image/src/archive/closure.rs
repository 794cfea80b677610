//! Everything that an image needs to be whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{Descriptor, Document, Index, MAX_MANIFEST_BYTES, Manifest};
use crate::media::{Format, Kind};
use crate::platform::Platform;
use crate::record::ImageRecord;
use crate::store::Store;

const MAX_INDEX_DEPTH: usize = 2;

/// The blobs of some images, and the manifests among them.
#[derive(Debug, Default)]
pub(super) struct Closure {
    /// Every blob with its length, by digest.
    pub(super) blobs: BTreeMap<Digest, u64>,
    /// The images behind each target, in order, attestations left out.
    pub(super) manifests: Vec<(Descriptor, Manifest)>,
    /// What the store does not have, or has with another length.
    pub(super) missing: Vec<Descriptor>,
}

impl Closure {
    /// Adds everything behind `target`.
    ///
    /// # Errors
    /// What [`Document::parse`] says about a manifest that is there.
    pub(super) fn add(&mut self, store: &Store, target: &Descriptor) -> Result<(), ImageError> {
        self.add_document(store, target, 0)
    }

    fn add_document(
        &mut self,
        store: &Store,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<(), ImageError> {
        if !self.add_blob(store, descriptor)? {
            return Ok(());
        }
        let is_root = depth == 0;
        if !is_root && Kind::of(&descriptor.media_type).is_none() {
            return Ok(()); // an entry for other tools
        }
        let bytes = store.read_blob(&descriptor.digest, MAX_MANIFEST_BYTES)?;
        match Document::parse(&bytes, &descriptor.media_type)? {
            Document::Manifest(manifest) => {
                for blob in manifest.blobs() {
                    self.add_blob(store, blob)?;
                }
                if !descriptor.is_attestation() && manifest.is_image() {
                    self.manifests.push((descriptor.clone(), manifest));
                }
            }
            Document::Index(_) if depth == MAX_INDEX_DEPTH => {
                return Err(ImageError::NestedTooDeeply {
                    digest: descriptor.digest,
                });
            }
            Document::Index(index) => {
                for entry in &index.manifests {
                    self.add_document(store, entry, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// Does without some blobs.
    pub(super) fn leave_out(&mut self, omitted: &BTreeSet<Digest>) {
        self.blobs.retain(|digest, _| !omitted.contains(digest));
        self.missing.retain(|blob| !omitted.contains(&blob.digest));
    }

    /// Returns whether the store has the blob.
    fn add_blob(&mut self, store: &Store, blob: &Descriptor) -> Result<bool, ImageError> {
        self.blobs.insert(blob.digest, blob.size);
        let is_there = store.blob_size(&blob.digest)? == Some(blob.size);
        if !is_there && !self.missing.iter().any(|known| known.digest == blob.digest) {
            self.missing.push(blob.clone());
        }
        Ok(is_there)
    }
}

/// Returns what the store lacks to write out everything behind `target`.
///
/// # Errors
/// [`ImageError::Io`]; what [`Document::parse`] says about a manifest that is there.
pub fn missing_blobs(store: &Store, target: &Descriptor) -> Result<Vec<Descriptor>, ImageError> {
    let mut closure = Closure::default();
    closure.add(store, target)?;
    Ok(closure.missing)
}

/// Returns the manifest or index to write out or push for an image, limited to `platforms` unless
/// they are empty.
///
/// The index that was pulled is taken if all of it is here and wanted; else the only manifest that
/// is; else a new index of those. An image that was built here needs its
/// manifests made first, see [`crate::assemble::with_manifests`].
///
/// # Errors
/// [`ImageError::NoMatchingPlatform`] if there is none of `platforms`; [`ImageError::NoManifest`]
/// for an image without manifests; [`ImageError::Io`].
pub fn export_target(
    store: &Store,
    record: &ImageRecord,
    platforms: &[Platform],
) -> Result<Descriptor, ImageError> {
    if platforms.is_empty()
        && let Some(index) = &record.index
        && missing_blobs(store, index)?.is_empty()
    {
        return Ok(index.clone());
    }
    let mut entries: Vec<Descriptor> = Vec::new();
    let wanted = |platform: &Platform| {
        platforms.is_empty() || platforms.iter().any(|wanted| wanted.is_same(platform))
    };
    for image in record.images.iter().filter(|image| wanted(&image.platform)) {
        let manifest = image
            .manifest
            .as_ref()
            .ok_or(ImageError::NoManifest { id: image.config })?;
        let mut entry = manifest.clone();
        entry.platform = Some(image.platform.clone());
        entries.push(entry);
    }
    match entries.len() {
        0 => Err(ImageError::NoMatchingPlatform {
            wanted: platforms
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            available: record.platform_names(),
        }),
        1 => Ok(entries.remove(0)),
        _ => {
            let bytes = Index::new(Format::Oci, entries).to_bytes();
            store.put_blob(&bytes)?;
            Ok(Descriptor::of(Format::Oci.index(), &bytes))
        }
    }
}
