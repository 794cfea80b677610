//! Where images are loaded from: an archive that was taken apart, or a folder.

use std::io::{Read as _, Write as _};

use super::output::copy;
use super::stage::{Staged, StagedFile};
use crate::digest::Digest;
use crate::error::ImageError;
use crate::layout::Layout;
use crate::manifest::Descriptor;
use crate::store::{Store, Verified};

/// Blobs that are not in the store yet.
pub(super) trait Source {
    /// Reports whether there is such a blob.
    fn has(&self, digest: &Digest) -> bool;

    /// Returns the content of a document, checked.
    fn read(&self, blob: &Descriptor, limit_bytes: u64) -> Result<Vec<u8>, ImageError>;

    /// Brings a blob into the store, checked.
    fn deliver(&self, blob: &Descriptor, store: &Store) -> Result<(), ImageError>;
}

impl Source for Staged {
    fn has(&self, digest: &Digest) -> bool {
        self.file(digest).is_some()
    }

    fn read(&self, blob: &Descriptor, limit_bytes: u64) -> Result<Vec<u8>, ImageError> {
        let file = required(self, blob)?;
        read_file(self, &file, limit_bytes)
    }

    fn deliver(&self, blob: &Descriptor, store: &Store) -> Result<(), ImageError> {
        let file = required(self, blob)?;
        let path = self.path_of(&file);
        // It is gone if it was delivered for another image of the archive.
        if store.blob_size(&blob.digest)? == Some(file.size) {
            return Ok(());
        }
        store.publish_file(&path, &blob.digest)
    }
}

/// Returns the content of a staged file of at most `limit_bytes`.
pub(super) fn read_file(
    staged: &Staged,
    file: &StagedFile,
    limit_bytes: u64,
) -> Result<Vec<u8>, ImageError> {
    if file.size > limit_bytes {
        return Err(ImageError::TooLarge {
            what: format!("blob {}", file.digest),
            limit_bytes,
        });
    }
    fs_err::read(staged.path_of(file)).map_err(ImageError::io("read the archive"))
}

fn required(staged: &Staged, blob: &Descriptor) -> Result<StagedFile, ImageError> {
    let file = staged
        .file(&blob.digest)
        .ok_or_else(|| ImageError::NotInArchive {
            name: blob.digest.to_string(),
        })?;
    crate::manifest::check_size(blob, file.size)?;
    Ok(file)
}

impl Source for Layout {
    fn has(&self, digest: &Digest) -> bool {
        self.open_blob(digest).is_ok()
    }

    fn read(&self, blob: &Descriptor, limit_bytes: u64) -> Result<Vec<u8>, ImageError> {
        self.read_blob(blob, limit_bytes)
    }

    fn deliver(&self, blob: &Descriptor, store: &Store) -> Result<(), ImageError> {
        if store.blob_size(&blob.digest)? == Some(blob.size) {
            return Ok(());
        }
        let mut writer = store.blob_writer()?;
        let mut reader = Verified::new(self.open_blob(&blob.digest)?, blob.clone());
        copy(&mut reader.by_ref(), &mut writer)
            .and_then(|_| writer.flush())
            .map_err(|error| ImageError::unwrap_io("copy a blob", error))?;
        writer.commit(Some((blob.digest, blob.size)))?;
        Ok(())
    }
}
