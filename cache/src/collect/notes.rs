//! Notes of what URLs were when they were asked for last: `remote/http/<hash of the URL>.json`.

use std::io;
use std::path::{Path, PathBuf};

use rbuild_image::digest::Digest;
use rbuild_image::store::Store;

use crate::error::CacheError;

/// A note; whoever fetches writes it and knows the rest of it.
pub(crate) struct Note {
    /// From the store's folder on.
    pub(crate) path: PathBuf,
}

/// What counts here.
#[derive(serde::Deserialize)]
struct Content {
    digest: Digest,
}

impl Note {
    /// Returns the blob that the URL was, nothing if the note is empty or gone, or why it cannot be
    /// read.
    pub(crate) fn digest(&self, store: &Store) -> Result<Option<Digest>, String> {
        let bytes = match fs_err::read(store.root().join(&self.path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| error.to_string())?,
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice::<Content>(&bytes)
            .map(|content| Some(content.digest))
            .map_err(|error| format!("cannot be read: {error}"))
    }
}

/// Returns all notes.
pub(crate) fn notes(store: &Store) -> Result<Vec<Note>, CacheError> {
    let folder = Path::new("remote/http");
    let entries = match fs_err::read_dir(store.root().join(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = folder.join(entry?.file_name());
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            found.push(Note { path });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}
