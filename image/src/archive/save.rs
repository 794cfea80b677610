//! Writing images as one archive.

use std::collections::BTreeSet;

use super::closure::Closure;
use super::docker::DockerImage;
use super::tar_out::TarOut;
use super::{ArchiveImage, Output};
use crate::digest::Digest;
use crate::error::ImageError;
use crate::layout::{name_of, with_name};
use crate::manifest::{Descriptor, Index, Manifest};
use crate::media::Format;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{Store, oci_layout};

/// Writes an archive that is an OCI layout and a `docker save` archive at once, so that everything
/// that loads images loads it: blobs in order of digest, `index.json`, `manifest.json`,
/// `oci-layout`.
///
/// Docker's part names one image of each index: the one for this machine, else the first.
///
/// # Errors
/// [`ImageError::MissingBlob`] before anything is written, if the store has not all of it;
/// [`ImageError::DigestMismatch`] or [`ImageError::SizeMismatch`] for a damaged blob;
/// [`ImageError::Io`].
pub fn save(
    store: &Store,
    images: &[ArchiveImage],
    out: &mut Output<'_>,
) -> Result<(), ImageError> {
    save_without(store, images, &BTreeSet::new(), out)
}

/// Writes what [`save`] does, without some blobs: for an engine that has what they unpack to. They
/// need not be in the store.
///
/// # Errors
/// As [`save`].
pub fn save_without(
    store: &Store,
    images: &[ArchiveImage],
    omitted: &BTreeSet<Digest>,
    out: &mut Output<'_>,
) -> Result<(), ImageError> {
    let contents = ArchiveContents::gather_without(store, images, omitted)?;
    let mut tar = TarOut::new(out);
    contents.write_blobs(store, &mut tar)?;
    tar.file("index.json", &contents.index().to_bytes())?;
    tar.file("manifest.json", &contents.docker_manifest())?;
    tar.file("oci-layout", oci_layout().as_bytes())?;
    tar.finish()
}

/// Writes a plain OCI layout as a tar: blobs in order of digest, `index.json`, `oci-layout`.
///
/// # Errors
/// As [`save`].
pub fn write_oci(
    store: &Store,
    images: &[ArchiveImage],
    out: &mut Output<'_>,
) -> Result<(), ImageError> {
    let contents = ArchiveContents::gather(store, images)?;
    let mut tar = TarOut::new(out);
    contents.write_blobs(store, &mut tar)?;
    tar.file("index.json", &contents.index().to_bytes())?;
    tar.file("oci-layout", oci_layout().as_bytes())?;
    tar.finish()
}

/// Everything that goes into an archive.
pub(super) struct ArchiveContents {
    pub(super) closure: Closure,
    entries: Vec<ArchiveEntry>,
}

struct ArchiveEntry {
    target: Descriptor,
    names: Vec<Reference>,
    /// What docker is told of the image: its manifest for this machine, if it has one.
    docker: Option<Manifest>,
}

impl ArchiveContents {
    /// Images that are given twice are written once, with all their names.
    pub(super) fn gather(store: &Store, images: &[ArchiveImage]) -> Result<Self, ImageError> {
        Self::gather_without(store, images, &BTreeSet::new())
    }

    fn gather_without(
        store: &Store,
        images: &[ArchiveImage],
        omitted: &BTreeSet<Digest>,
    ) -> Result<Self, ImageError> {
        let mut contents = Self {
            closure: Closure::default(),
            entries: Vec::new(),
        };
        for image in images {
            let names = image.names.iter().filter(|name| name.tag.is_some());
            let same = contents
                .entries
                .iter_mut()
                .find(|entry| entry.target.digest == image.target.digest);
            if let Some(entry) = same {
                for name in names {
                    if !entry.names.contains(name) {
                        entry.names.push(name.clone());
                    }
                }
                continue;
            }
            let n_before = contents.closure.manifests.len();
            contents.closure.add(store, &image.target)?;
            contents.closure.leave_out(omitted);
            if let Some(missing) = contents.closure.missing.first() {
                return Err(ImageError::MissingBlob {
                    digest: missing.digest,
                    image: image
                        .names
                        .first()
                        .map_or_else(|| image.target.digest.to_string(), Reference::familiar),
                });
            }
            let manifests = &contents.closure.manifests[n_before..];
            let platforms = manifests
                .iter()
                .map(|(descriptor, _)| descriptor.platform.as_ref());
            let chosen = Platform::host().select(platforms).unwrap_or(0);
            contents.entries.push(ArchiveEntry {
                target: image.target.clone(),
                names: names.cloned().collect(),
                docker: manifests.get(chosen).map(|(_, manifest)| manifest.clone()),
            });
        }
        Ok(contents)
    }

    fn write_blobs(&self, store: &Store, tar: &mut TarOut<'_, '_>) -> Result<(), ImageError> {
        tar.folder("blobs/")?;
        tar.folder("blobs/sha256/")?;
        for (digest, size) in &self.closure.blobs {
            let blob = Descriptor::new("", *digest, *size);
            tar.blob(&format!("blobs/sha256/{}", digest.hex()), store, &blob)?;
        }
        Ok(())
    }

    /// One entry a name; an image without names has one as well.
    pub(super) fn index(&self) -> Index {
        let entries = self.entries.iter().flat_map(|entry| {
            let unnamed = entry.names.is_empty().then(|| entry.target.clone());
            let named = entry
                .names
                .iter()
                .map(|name| with_name(&entry.target, name));
            unnamed.into_iter().chain(named)
        });
        Index::new(Format::Oci, entries.collect())
    }

    fn docker_manifest(&self) -> Vec<u8> {
        let path = |blob: &Descriptor| format!("blobs/sha256/{}", blob.digest.hex());
        let images: Vec<DockerImage> = self
            .entries
            .iter()
            .filter_map(|entry| {
                let manifest = entry.docker.as_ref()?;
                let names = entry.names.iter().map(|name| {
                    Reference {
                        digest: None,
                        ..(*name).clone()
                    }
                    .familiar()
                });
                Some(DockerImage {
                    config: path(&manifest.config),
                    repo_tags: (!entry.names.is_empty()).then(|| names.collect()),
                    layers: manifest.layers.iter().map(path).collect(),
                })
            })
            .collect();
        serde_json::to_vec(&images).expect("an archive has only string keys")
    }
}

/// Returns the entries of `earlier` that `new` does not replace: others by name, and unnamed ones
/// by content.
pub(super) fn entries_to_keep(earlier: &Index, new: &Index) -> Vec<Descriptor> {
    let is_replaced = |entry: &Descriptor| {
        new.manifests.iter().any(|other| match name_of(entry) {
            Some(name) => name_of(other) == Some(name),
            None => other.digest == entry.digest,
        })
    };
    earlier
        .manifests
        .iter()
        .filter(|entry| !is_replaced(entry))
        .cloned()
        .collect()
}
