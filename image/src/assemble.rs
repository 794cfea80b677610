//! Making manifests and indexes for images that were built here.
//!
//! Equal images have equal manifests: nothing in them depends on when, where or how often they are
//! made.

use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest};
use crate::error::ImageError;
use crate::layer::{Compression, LayerStore, Method};
use crate::manifest::{Annotations, Descriptor, Index, Manifest};
use crate::media::Format;
use crate::record::{ImageRecord, PlatformImage};
use crate::store::Store;

/// How manifests are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembleOptions {
    /// The family of media types.
    pub format: Format,
    /// What layers are compressed with.
    pub compression: Method,
    /// Whether layers that came from elsewhere are compressed anew.
    pub pulled_layers: PulledLayers,
    /// Whether layers that came from elsewhere are brought here.
    pub layer_blobs: LayerBlobs,
    /// Annotations of the manifests.
    pub annotations: Annotations,
}

/// Where the blobs are that a manifest names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LayerBlobs {
    /// All in the store.
    #[default]
    Here,
    /// In the store, or where they came from.
    Known,
}

/// What becomes of layers that came compressed from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PulledLayers {
    /// They stay as they are, so that registries have them already.
    Keep,
    /// They are compressed like the others.
    Recompress,
}

/// Makes the manifest of the image whose config is the blob `config`, and all of its layer blobs that
/// [`LayerBlobs`] wants here.
/// Returns its descriptor, with the platform that the config names.
///
/// # Errors
/// [`ImageError::NoSuchBlob`] or [`ImageError::BadDocument`] for the config;
/// [`ImageError::LayerUnavailable`] and what else [`LayerStore::blob`] says.
pub fn assemble(
    layers: &LayerStore,
    config: &Digest,
    options: &AssembleOptions,
) -> Result<Descriptor, ImageError> {
    let store = layers.store();
    let bytes = store.read_blob(config, ImageConfig::MAX_BYTES)?;
    let parsed = ImageConfig::parse(&bytes)?;
    let blobs = parsed
        .rootfs
        .diff_ids
        .iter()
        .map(|diff_id| layer_blob(layers, diff_id, options));
    let blobs = blobs.collect::<Result<Vec<_>, _>>()?;
    let config = Descriptor::of(options.format.config(), &bytes);
    let mut manifest = Manifest::new(options.format, config, blobs);
    manifest.annotations.clone_from(&options.annotations);
    let bytes = manifest.to_bytes();
    store.put_blob(&bytes)?;
    let mut descriptor = Descriptor::of(options.format.manifest(), &bytes);
    descriptor.platform = Some(parsed.platform());
    Ok(descriptor)
}

/// Makes the index of some manifests, in order.
///
/// # Errors
/// [`ImageError::Io`]
pub fn assemble_index(
    store: &Store,
    format: Format,
    manifests: Vec<Descriptor>,
    annotations: &Annotations,
) -> Result<Descriptor, ImageError> {
    let mut index = Index::new(format, manifests);
    index.annotations.clone_from(annotations);
    let bytes = index.to_bytes();
    store.put_blob(&bytes)?;
    Ok(Descriptor::of(format.index(), &bytes))
}

/// Returns the record with a manifest for every image; those that have one keep it.
///
/// # Errors
/// Those of [`assemble`].
pub fn with_manifests(
    layers: &LayerStore,
    record: &ImageRecord,
    options: &AssembleOptions,
) -> Result<ImageRecord, ImageError> {
    let mut record = record.clone();
    for image in &mut record.images {
        let PlatformImage {
            manifest, config, ..
        } = image;
        if manifest.is_none() {
            *manifest = Some(assemble(layers, config, options)?);
        }
    }
    Ok(record)
}

fn layer_blob(
    layers: &LayerStore,
    diff_id: &DiffId,
    options: &AssembleOptions,
) -> Result<Descriptor, ImageError> {
    let method = match options.pulled_layers {
        PulledLayers::Recompress => options.compression,
        PulledLayers::Keep => layers
            .origins(diff_id)
            .last()
            .and_then(|origin| Compression::of_layer(&origin.descriptor.media_type))
            .map_or(options.compression, Method::from),
    };
    let mut blob = match options.layer_blobs {
        LayerBlobs::Here => layers.blob(diff_id, method)?,
        LayerBlobs::Known => layers.blob_name(diff_id, method)?,
    };
    // The same bytes have another name in docker's family.
    if let Some(media_type) = options.format.layer(method.compression.encoding()) {
        media_type.clone_into(&mut blob.media_type);
    }
    Ok(blob)
}
