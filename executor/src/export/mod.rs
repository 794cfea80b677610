//! The files of an image without their layers: as a tar, or in a directory.

mod directory;
mod tar;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rbuild_image::digest::DiffId;
use rbuild_image::layer::entry::{Entry, EntryKind};
use rbuild_image::layer::rootfs::Found;
use rbuild_image::layer::{LayerIndex, LayerStore, Rootfs};

use crate::error::StepError;
use crate::layer_file;

pub use directory::{Others, export_directory};
pub use tar::export_tar;

/// The files of one image as part of what is exported.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its layers, base first.
    pub layers: &'a [DiffId],
    /// The directory that they go into; none if it is empty.
    pub prefix: &'a str,
    /// As messages call it.
    pub name: &'a str,
}

/// Refuses parts of which one would replace files of another; directories they may share.
///
/// # Errors
/// [`StepError::Overlap`], and layers that cannot be brought or read.
pub fn check_apart(store: &LayerStore, parts: &[Part<'_>]) -> Result<(), StepError> {
    let mut owners: HashMap<Vec<u8>, &str> = HashMap::new();
    for part in parts {
        let stack = Stack::open(store, part.layers)?;
        for found in stack.rootfs.walk(b"") {
            if matches!(found.entry.kind, EntryKind::Directory { .. }) {
                continue;
            }
            let path = rbuild_image::layer::path::join(part.prefix.as_bytes(), found.path());
            if let Some(first) = owners.get(&path) {
                return Err(StepError::Overlap {
                    path: rbuild_image::layer::path::display(&path),
                    first: (*first).to_owned(),
                    second: part.name.to_owned(),
                });
            }
            owners.insert(path, part.name);
        }
    }
    Ok(())
}

/// The directories that were exported so far: parts may share them.
#[derive(Default)]
struct Directories(HashSet<Vec<u8>>);

impl Directories {
    /// Notes an entry, and tells whether it is a directory that an earlier part has.
    fn is_repeated(&mut self, entry: &Entry) -> bool {
        matches!(entry.kind, EntryKind::Directory { .. }) && !self.0.insert(entry.path.clone())
    }
}

/// A stack of layers and its merged view.
struct Stack<'a> {
    store: &'a LayerStore,
    diff_ids: &'a [DiffId],
    rootfs: Rootfs,
}

impl<'a> Stack<'a> {
    fn open(store: &'a LayerStore, diff_ids: &'a [DiffId]) -> Result<Self, StepError> {
        let indexes = diff_ids
            .iter()
            .map(|diff_id| store.index(diff_id))
            .collect::<Result<Vec<Arc<LayerIndex>>, _>>()?;
        Ok(Self {
            store,
            diff_ids,
            rootfs: Rootfs::new(indexes),
        })
    }

    /// Opens the bytes of a file that was found in the merged view.
    fn open_file(&self, found: &Found) -> Result<std::fs::File, StepError> {
        Ok(layer_file::open(
            self.store,
            &self.diff_ids[found.layer],
            &found.entry,
        )?)
    }
}

/// The first name under which each file with several was exported.
#[derive(Default)]
struct Links(HashMap<(usize, usize), Vec<u8>>);

impl Links {
    /// Returns the entry to be exported at a path below `prefix`: a hard link if an earlier path has
    /// the file.
    ///
    /// The first name of a file in its layer may be hidden by a layer above, so names are taken as
    /// the merged view shows them.
    fn entry(&mut self, found: &Found, prefix: &str) -> Entry {
        let path = match prefix {
            "" => found.path().to_vec(),
            _ => rbuild_image::layer::path::join(prefix.as_bytes(), found.path()),
        };
        let mut entry = Entry {
            path,
            ..found.entry.clone()
        };
        if let EntryKind::Directory { opaque } = &mut entry.kind {
            *opaque = false;
        }
        let Some(group) = found.group() else {
            return entry;
        };
        let file = (found.layer, group);
        match self.0.get(&file) {
            Some(first) => {
                entry.kind = EntryKind::Hardlink {
                    target: first.clone(),
                }
            }
            None => drop(self.0.insert(file, entry.path.clone())),
        }
        entry
    }
}
