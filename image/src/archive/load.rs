//! Loading images from archives and folders.

use std::io::Read;
use std::path::Path;

use super::docker::{add_docker_names, parse_docker};
use super::loader::Loader;
use super::stage::Staged;
use crate::error::ImageError;
use crate::layer::LayerStore;
use crate::layout::Layout;
use crate::manifest::{Document, Index};
use crate::media;
use crate::platform::Platform;
use crate::record::ImageRecord;
use crate::reference::Reference;

/// An image that was loaded: all of it is in the store, but it has no name yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub record: ImageRecord,
    /// The names it has in the archive.
    pub names: Vec<Reference>,
}

/// Loads the images of an archive, compressed or not: what `docker save` writes and wrote, OCI
/// layouts as tars, and archives that are both. Only `platforms` are loaded, unless they are empty.
///
/// Every blob is checked against its digest and every layer against its diff ID.
///
/// # Errors
/// [`ImageError::EmptyArchive`], [`ImageError::UnknownArchive`], [`ImageError::BadArchive`] for
/// what cannot be read; [`ImageError::NotInArchive`], [`ImageError::LayerCount`],
/// [`ImageError::DiffIdMismatch`] for what does not fit together;
/// [`ImageError::NoMatchingPlatform`].
pub fn load(
    layers: &LayerStore,
    input: impl Read + Send,
    platforms: &[Platform],
) -> Result<Vec<Loaded>, ImageError> {
    let staged = Staged::read(layers.store(), input)?;
    let loader = Loader {
        layers,
        source: &staged,
        platforms,
    };
    let index = match (staged.document("oci-layout"), staged.document("index.json")) {
        (Some(_), Some(bytes)) => Some(parse_index(bytes)?),
        _ => None,
    };
    let docker = staged
        .document("manifest.json")
        .map(parse_docker)
        .transpose()?;
    match (index, docker) {
        (Some(index), docker) => {
            let loaded = loader.load_index(&index);
            match (loaded, docker) {
                (Ok(mut loaded), Some(docker)) => {
                    add_docker_names(&staged, &mut loaded, &docker);
                    Ok(loaded)
                }
                // Some engines write indexes that name more than they wrote.
                (Err(ImageError::NotInArchive { .. }), Some(docker)) => {
                    loader.load_docker(&staged, &docker)
                }
                (loaded, _) => loaded,
            }
        }
        (None, Some(docker)) => loader.load_docker(&staged, &docker),
        (None, None) => Err(ImageError::UnknownArchive),
    }
}

/// Loads the images of an OCI layout in a folder; as [`load`] otherwise.
///
/// # Errors
/// [`ImageError::NoLayout`], and those of [`load`].
pub fn load_folder(
    layers: &LayerStore,
    folder: &Path,
    platforms: &[Platform],
) -> Result<Vec<Loaded>, ImageError> {
    let layout = Layout::open(folder)?;
    let loader = Loader {
        layers,
        source: &layout,
        platforms,
    };
    loader.load_index(layout.index())
}

fn parse_index(bytes: &[u8]) -> Result<Index, ImageError> {
    match Document::parse(bytes, media::OCI_INDEX)? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(ImageError::UnknownArchive),
    }
}
