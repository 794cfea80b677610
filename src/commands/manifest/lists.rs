//! Lists that were not pushed yet: one JSON file each in `lists/` of the store. Nothing but names and
//! descriptors is in them.

use std::path::{Path, PathBuf};

use rbuild_image::digest::Digest;
use rbuild_image::manifest::{Descriptor, Index};
use rbuild_image::reference::Reference;
use rbuild_image::store::Store;
use serde::{Deserialize, Serialize};

use crate::manifests;
use crate::report::Failure;

const FOLDER: &str = "lists";

/// A list of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct List {
    /// Its name, for whoever reads the file.
    name: String,
    pub(super) entries: Vec<Entry>,
}

/// An image in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// What it is called, and where it is.
    pub(super) source: String,
    /// What the list says of it.
    pub(super) descriptor: Descriptor,
}

impl List {
    /// Returns a list without images.
    pub(super) fn new(name: &Reference) -> Self {
        Self {
            name: name.to_string(),
            entries: Vec::new(),
        }
    }

    /// Returns what the list is when it is pushed.
    pub(super) fn index(&self) -> Index {
        let entries = self.entries.iter().map(|entry| entry.descriptor.clone());
        manifests::index_of(entries.collect())
    }

    /// Returns the image that was added under this name.
    pub(super) fn entry(&mut self, source: &Reference) -> Option<&mut Entry> {
        let source = source.to_string();
        self.entries.iter_mut().find(|entry| entry.source == source)
    }

    /// Adds an image; one of the same name goes.
    pub(super) fn add(&mut self, entry: Entry) {
        match self
            .entries
            .iter_mut()
            .find(|known| known.source == entry.source)
        {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }
}

/// Returns a list, if there is one of this name.
pub(super) fn read(store: &Store, name: &Reference) -> Result<Option<List>, Failure> {
    let path = store.root().join(file_of(name));
    match fs_err::read(&path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Changes a list, or makes it. No other process changes it meanwhile.
pub(super) fn change(
    store: &Store,
    name: &Reference,
    change: impl FnOnce(Option<List>) -> Result<List, Failure>,
) -> Result<(), Failure> {
    let _lock = store.lock_names()?;
    let list = change(read(store, name)?)?;
    fs_err::create_dir_all(store.root().join(FOLDER))?;
    store.write_file_synced(file_of(name), &serde_json::to_vec_pretty(&list)?)?;
    Ok(())
}

/// Forgets a list; false if there is none.
pub(super) fn remove(store: &Store, name: &Reference) -> Result<bool, Failure> {
    match fs_err::remove_file(store.root().join(file_of(name))) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A name can be longer than a file's.
fn file_of(name: &Reference) -> PathBuf {
    let digest = Digest::of(name.to_string().as_bytes());
    Path::new(FOLDER).join(format!("{}.json", digest.hex()))
}
