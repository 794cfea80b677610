//! Manifests of images that were built here: made when something needs them, and always the same
//! for the same image and compression.

use rbuild_image::assemble::{AssembleOptions, LayerBlobs, PulledLayers, assemble, assemble_index};
use rbuild_image::digest::Digest;
use rbuild_image::manifest::{Annotations, Descriptor};
use rbuild_image::media::Format;

pub(crate) use rbuild_image::layer::Compression;

use crate::report::Failure;
use crate::workplace::Workplace;

/// Returns the manifest of the image whose config is in the store, or the index of several. All
/// blobs are in the store then.
pub(crate) fn make(
    workplace: &Workplace,
    configs: &[Digest],
    compression: Compression,
) -> Result<Descriptor, Failure> {
    let options = AssembleOptions {
        format: Format::Oci,
        compression,
        pulled_layers: PulledLayers::Keep,
        layer_blobs: LayerBlobs::Here,
        annotations: Annotations::default(),
    };
    make_as(workplace, configs, &options)
}

/// Returns what [`make`] does, made in this way.
pub(crate) fn make_as(
    workplace: &Workplace,
    configs: &[Digest],
    options: &AssembleOptions,
) -> Result<Descriptor, Failure> {
    let mut manifests = configs
        .iter()
        .map(|config| assemble(&workplace.layers, config, options))
        .collect::<Result<Vec<_>, _>>()?;
    if manifests.len() == 1 {
        return Ok(manifests.remove(0));
    }
    Ok(assemble_index(
        &workplace.store,
        options.format,
        manifests,
        &options.annotations,
    )?)
}
