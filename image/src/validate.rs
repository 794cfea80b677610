//! Checking that an image in the store is whole and agrees with itself.

use std::io::{self, Read as _};

use crate::archive::{check_layer, missing_blobs};
use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{Descriptor, Document, MAX_MANIFEST_BYTES, Manifest};
use crate::media;
use crate::platform::Platform;
use crate::select::leaves;
use crate::store::{Store, Verified};

/// Checks everything behind `target`: that it is there, that every blob has its digest and every
/// layer its diff ID, that configs fit manifests and indexes fit configs.
///
/// Reads and decompresses every layer.
///
/// # Errors
/// [`ImageError::MissingBlob`], [`ImageError::DigestMismatch`], [`ImageError::SizeMismatch`],
/// [`ImageError::DiffIdMismatch`], [`ImageError::LayerCount`], [`ImageError::Inconsistent`], and
/// what [`Document::parse`] says.
pub fn validate(store: &Store, target: &Descriptor) -> Result<(), ImageError> {
    if let Some(missing) = missing_blobs(store, target)?.first() {
        return Err(ImageError::MissingBlob {
            digest: missing.digest,
            image: target.digest.to_string(),
        });
    }
    let mut fetch = |blob: &Descriptor| {
        let bytes = store.read_blob(&blob.digest, MAX_MANIFEST_BYTES)?;
        blob.verify(&bytes)?;
        Ok(bytes)
    };
    for leaf in leaves(target, &mut fetch)? {
        let bytes = fetch(&leaf.descriptor)?;
        match Document::parse(&bytes, &leaf.descriptor.media_type)? {
            Document::Manifest(manifest) if manifest.is_image() => {
                let digest = leaf.descriptor.digest;
                validate_image(store, &digest, &manifest, leaf.platform.as_ref())?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn validate_image(
    store: &Store,
    digest: &Digest,
    manifest: &Manifest,
    platform: Option<&Platform>,
) -> Result<(), ImageError> {
    let inconsistent = |problem: String| ImageError::Inconsistent {
        manifest: *digest,
        problem,
    };
    let bytes = store.read_blob(&manifest.config.digest, ImageConfig::MAX_BYTES)?;
    let config = ImageConfig::parse(&bytes)?;
    let (n_layers, n_diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if n_layers != n_diff_ids {
        return Err(ImageError::LayerCount {
            n_layers,
            n_diff_ids,
        });
    }
    let n_in_history = config
        .history
        .iter()
        .filter(|line| !line.empty_layer)
        .count();
    if !config.history.is_empty() && n_in_history != n_layers {
        return Err(inconsistent(format!(
            "its history has {n_in_history} layers, its manifest {n_layers}"
        )));
    }
    if let Some(platform) = platform
        && !platform.is_same(&config.platform())
    {
        return Err(inconsistent(format!(
            "its index says {platform}, its config {}",
            config.platform()
        )));
    }
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        if !media::is_layer(&layer.media_type) {
            return Err(inconsistent(format!("a layer is a {}", layer.media_type)));
        }
        let mut reader = Verified::new(store.open_blob(&layer.digest)?, layer.clone());
        io::copy(&mut reader.by_ref(), &mut io::sink())
            .map_err(|error| ImageError::unwrap_io("read a layer", error))?;
        check_layer(store, layer, diff_id)?;
    }
    Ok(())
}
