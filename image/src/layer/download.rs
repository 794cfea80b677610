//! The file that a fetched blob is written to. What a killed process or a broken connection leaves of
//! it is where the next download goes on.

use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;

use crate::digest::Digest;
use crate::error::ImageError;
use crate::store::{StagingDir, Store};

/// A download under way. Unless it is kept or published, its file goes when this is dropped.
pub(super) struct Download {
    path: PathBuf,
    file: fs_err::File,
    is_kept: bool,
    /// Where the file lies if another process has the one that could be resumed.
    _staging: Option<StagingDir>,
}

impl Download {
    /// Opens what there is of a blob, alone.
    pub(super) fn open(store: &Store, digest: &Digest) -> Result<Self, ImageError> {
        let open = || -> io::Result<Option<Self>> {
            let path = store.ingest_path(digest);
            let file = fs_err::OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&path)?;
            match file.file().try_lock() {
                // Whoever had it before may have removed it.
                Ok(()) if file.metadata()?.nlink() > 0 => Ok(Some(Self {
                    path,
                    file,
                    is_kept: false,
                    _staging: None,
                })),
                // On a file system without locks nothing can be shared.
                Ok(()) | Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Ok(None),
            }
        };
        if let Some(download) = open().map_err(ImageError::io("store a layer"))? {
            return Ok(download);
        }
        let staging = store.staging_dir()?;
        let path = staging.path().join("blob");
        let file = fs_err::File::create(&path).map_err(ImageError::io("store a layer"))?;
        Ok(Self {
            path,
            file,
            is_kept: true,
            _staging: Some(staging),
        })
    }

    /// How many bytes of the blob are there.
    pub(super) fn size(&self) -> Result<u64, ImageError> {
        let size = || Ok(self.file.metadata()?.len());
        size().map_err(ImageError::io("store a layer"))
    }

    /// Opens the file from its beginning.
    pub(super) fn reader(&self) -> Result<fs_err::File, ImageError> {
        fs_err::File::open(&self.path).map_err(ImageError::io("store a layer"))
    }

    /// Where more is appended.
    pub(super) fn writer(&self) -> Result<fs_err::File, ImageError> {
        self.file
            .try_clone()
            .map_err(ImageError::io("store a layer"))
    }

    /// Forgets what is there.
    pub(super) fn restart(&self) -> Result<(), ImageError> {
        self.file
            .set_len(0)
            .map_err(ImageError::io("store a layer"))
    }

    /// The file stays for the next download, if anything is in it.
    pub(super) fn keep(mut self) {
        self.is_kept = self.size().is_ok_and(|size| size > 0);
    }

    /// Makes the file a blob.
    pub(super) fn publish(&mut self, store: &Store, digest: &Digest) -> Result<(), ImageError> {
        store.publish_file(&self.path, digest)?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if !self.is_kept {
            drop(fs_err::remove_file(&self.path));
        }
    }
}

impl Store {
    /// Removes what broken downloads have left, unless somebody goes on with one.
    ///
    /// # Errors
    /// [`ImageError::Io`] if the folder cannot be read.
    pub fn sweep_downloads(&self) -> Result<(), ImageError> {
        let sweep = || -> io::Result<()> {
            for entry in fs_err::read_dir(self.root().join("ingest"))? {
                let path = entry?.path();
                if path
                    .extension()
                    .is_some_and(|extension| extension == "part")
                {
                    remove_if_free(&path);
                }
            }
            Ok(())
        };
        match sweep() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(ImageError::io("sweep broken downloads")),
        }
    }
}

fn remove_if_free(path: &Path) {
    let is_file = fs_err::symlink_metadata(path).is_ok_and(|found| found.is_file());
    if let Ok(file) = fs_err::File::open(path)
        && is_file
        && file.file().try_lock().is_ok()
    {
        drop(fs_err::remove_file(path)); // it is swept another time
    }
}
