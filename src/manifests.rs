//! Manifests of images that were built here: made when something needs them, and always the same
//! for the same image and compression.

use rbuild_executor::BuiltImage;
use rbuild_image::assemble::{AssembleOptions, LayerBlobs, PulledLayers, assemble, assemble_index};
use rbuild_image::digest::Digest;
use rbuild_image::manifest::{Annotations, Descriptor, Document, Index, MAX_MANIFEST_BYTES};
use rbuild_image::media::{DOCKER_MANIFEST, Format};

pub(crate) use rbuild_image::layer::{Compression, Method};

use crate::annotations::Level;
use crate::image_output::Form;
use crate::report::Failure;
use crate::workplace::Workplace;

/// What was made of an image.
#[derive(Debug)]
pub(crate) struct Made {
    /// One for each config, in order.
    pub(crate) manifests: Vec<Descriptor>,
    /// The only manifest, or the index of several.
    pub(crate) target: Descriptor,
}

/// Returns the manifest of the image whose config is in the store, or the index of several. All
/// blobs are in the store then.
pub(crate) fn make(
    workplace: &Workplace,
    configs: &[Digest],
    compression: Compression,
) -> Result<Descriptor, Failure> {
    let options = AssembleOptions {
        format: Format::Oci,
        compression: compression.into(),
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
    let manifests = configs
        .iter()
        .map(|config| assemble(&workplace.layers, config, options))
        .collect::<Result<Vec<_>, _>>()?;
    let made = join(workplace, manifests, options.format, &options.annotations)?;
    Ok(made.target)
}

/// Makes manifests, and an index of several, in the form that an output asks for.
pub(crate) fn make_form(
    workplace: &Workplace,
    images: &[BuiltImage],
    form: &Form,
    compression: Compression,
    layer_blobs: LayerBlobs,
) -> Result<Made, Failure> {
    let mut options = AssembleOptions {
        format: form.format(),
        compression: form.method(compression),
        pulled_layers: form.pulled_layers(),
        layer_blobs,
        annotations: Annotations::default(),
    };
    let mut manifests = Vec::with_capacity(images.len());
    for image in images {
        let of_level = |level| form.annotations.of_image(level, &image.platform);
        options.annotations = of_level(Level::Manifest);
        let mut made = assemble(&workplace.layers, &image.config_digest, &options)?;
        made.annotations = of_level(Level::ManifestDescriptor);
        manifests.push(made);
    }
    let of_index = |level| form.annotations.of_index(level);
    let mut made = join(
        workplace,
        manifests,
        options.format,
        &of_index(Level::Index),
    )?;
    if made.manifests.len() > 1 {
        made.target.annotations = of_index(Level::IndexDescriptor);
    }
    Ok(made)
}

/// Returns the blobs of the layers that a manifest in the store names.
pub(crate) fn layers(
    workplace: &Workplace,
    manifest: &Descriptor,
) -> Result<Vec<Descriptor>, Failure> {
    let store = &workplace.store;
    let bytes = store.read_blob(&manifest.digest, MAX_MANIFEST_BYTES)?;
    Ok(match Document::parse(&bytes, &manifest.media_type)? {
        Document::Manifest(manifest) => manifest.layers,
        Document::Index(_) => Vec::new(),
    })
}

fn join(
    workplace: &Workplace,
    manifests: Vec<Descriptor>,
    format: Format,
    annotations: &Annotations,
) -> Result<Made, Failure> {
    let target = match &manifests[..] {
        [only] => only.clone(),
        several => assemble_index(&workplace.store, format, several.to_vec(), annotations)?,
    };
    Ok(Made { manifests, target })
}

/// Returns an index of images that are there already: Docker's list if all of them are Docker's.
pub(crate) fn index_of(entries: Vec<Descriptor>) -> Index {
    let is_docker = |entry: &Descriptor| entry.media_type == DOCKER_MANIFEST;
    let format = if entries.iter().all(is_docker) {
        Format::Docker
    } else {
        Format::Oci
    };
    Index::new(format, entries)
}
