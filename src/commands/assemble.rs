//! `rbuild assemble`

use std::path::Path;

use clap::Args;
use rbuild_image::archive;
use rbuild_image::assemble::{AssembleOptions, LayerBlobs, PulledLayers};
use rbuild_image::manifest::{Annotations, Descriptor};
use rbuild_image::media::Format;
use rbuild_image::record::{ImageRecord, PlatformImage};
use rbuild_image::store::Pin;

use super::tag::parse_tag;
use crate::manifests::{self, Compression};
use crate::report::Failure;
use crate::workplace::Workplace;
use crate::{environment, output};

#[derive(Debug, Args)]
pub(crate) struct AssembleArguments {
    /// Name of the result
    #[arg(short, long, required = true, value_name = "NAME[:TAG]")]
    tag: Vec<String>,
    /// Names or IDs of images in the store, or archives and OCI layouts
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Joins images for different platforms to one image of the store, and prints the digest of its
/// index.
pub(crate) fn run(root: &Path, options: &AssembleArguments) -> Result<(), Failure> {
    let names = options.tag.iter().map(|tag| parse_tag(tag));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    // Layers may have to be packed from trees, which can hold files of other users.
    let workplace = Workplace::enter(root)?;
    let mut parts: Vec<(&str, PlatformImage)> = Vec::new();
    let mut records = Vec::new();
    for text in &options.images {
        for record in find(&workplace, text)? {
            for image in &record.images {
                add(&mut parts, text, image)?;
            }
            records.push(record);
        }
    }
    let mut images = Vec::new();
    let mut entries = Vec::new();
    for (_, image) in parts {
        let image = with_manifest(&workplace, image)?;
        if let Some(manifest) = &image.manifest {
            entries.push(Descriptor {
                platform: Some(image.platform.clone()),
                ..manifest.clone()
            });
        }
        images.push(image);
    }
    let index = write_index(&workplace, entries)?;
    let digest = index.digest;
    let origin = records.first().map(|record| record.origin);
    let joined = origin.and_then(|origin| ImageRecord::new(images, Some(index), origin));
    let mut joined = joined.ok_or_else(|| Failure::message("there is no image to join"))?;
    let of_this_machine = records.iter().find(|record| record.id == joined.id);
    joined.created = of_this_machine.and_then(|record| record.created.clone());
    joined.tagged_at = Some(environment::timestamp());
    workplace.layers.publish_image(&joined, &names)?;
    output::result(&format!("{digest}\n"))
}

/// Returns an image of the store, else those of an archive or a folder.
fn find(workplace: &Workplace, text: &str) -> Result<Vec<ImageRecord>, Failure> {
    let path = Path::new(text);
    let missing = match workplace.store.require(text) {
        Ok(found) => return Ok(vec![found.record]),
        Err(error) => error,
    };
    let loaded = if path.is_dir() {
        archive::load_folder(&workplace.layers, path, &[])?
    } else if path.is_file() {
        let file = fs_err::File::open(path)?;
        archive::load(&workplace.layers, file, &[])?
    } else {
        return Err(missing.into());
    };
    Ok(loaded.into_iter().map(|image| image.record).collect())
}

/// The same image may be named twice; two images for one platform may not.
fn add<'a>(
    parts: &mut Vec<(&'a str, PlatformImage)>,
    text: &'a str,
    image: &PlatformImage,
) -> Result<(), Failure> {
    let same = |known: &&(&str, PlatformImage)| known.1.platform.is_same(&image.platform);
    match parts.iter().find(same) {
        Some((_, known)) if known.config == image.config => Ok(()),
        Some((earlier, _)) => Err(Failure::with_help(
            format!("{earlier} and {text} are both for {}", image.platform),
            "an image can have one of each platform",
        )),
        None => {
            parts.push((text, image.clone()));
            Ok(())
        }
    }
}

/// A manifest that came with an image stays as it is; a build gets the one that `push` would make.
fn with_manifest(workplace: &Workplace, image: PlatformImage) -> Result<PlatformImage, Failure> {
    let mut image = image;
    workplace.store.pin(&[Pin::Blob(image.config)])?;
    for layer in &workplace.config(&image.config)?.rootfs.diff_ids {
        workplace.layers.hold(layer)?;
    }
    if let Some(manifest) = &image.manifest {
        workplace.store.pin(&[Pin::Blob(manifest.digest)])?;
        return Ok(image);
    }
    let options = AssembleOptions {
        format: Format::Oci,
        compression: Compression::Gzip.into(),
        pulled_layers: PulledLayers::Keep,
        layer_blobs: LayerBlobs::Known,
        annotations: Annotations::default(),
    };
    image.manifest = Some(manifests::make_as(workplace, &[image.config], &options)?);
    Ok(image)
}

fn write_index(workplace: &Workplace, entries: Vec<Descriptor>) -> Result<Descriptor, Failure> {
    let index = manifests::index_of(entries);
    let bytes = index.to_bytes();
    workplace.store.put_blob(&bytes)?;
    Ok(Descriptor::of(&index.media_type, &bytes))
}
