//! The files of an image without their layers: as a tar, or in a directory.

mod directory;
mod tar;

use std::collections::HashMap;
use std::sync::Arc;

use rbuild_image::digest::DiffId;
use rbuild_image::layer::entry::{Entry, EntryKind};
use rbuild_image::layer::rootfs::Found;
use rbuild_image::layer::{LayerIndex, LayerStore, Rootfs};

use crate::error::StepError;
use crate::layer_file;

pub use directory::export_directory;
pub use tar::export_tar;

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
    fn open_file(&self, found: &Found<'_>) -> Result<std::fs::File, StepError> {
        Ok(layer_file::open(
            self.store,
            &self.diff_ids[found.layer],
            found.entry,
        )?)
    }
}

/// The first name under which each file with several was exported.
#[derive(Default)]
struct Links(HashMap<(usize, Vec<u8>), Vec<u8>>);

impl Links {
    /// Returns the entry to be exported at a path: a hard link if an earlier path has the file.
    ///
    /// The first name of a file in its layer may be hidden by a layer above, so names are taken as
    /// the merged view shows them.
    fn entry(&mut self, found: &Found<'_>) -> Entry {
        let mut entry = Entry {
            path: found.path().to_vec(),
            ..found.entry.clone()
        };
        if let EntryKind::Directory { opaque } = &mut entry.kind {
            *opaque = false;
        }
        if !matches!(entry.kind, EntryKind::File { .. }) {
            return entry;
        }
        let file = (found.layer, found.entry.path.clone());
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
