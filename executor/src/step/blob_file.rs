//! The file that the tar of a new layer is written to.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};

use rbuild_image::digest::Digest;
use rbuild_image::error::ImageError;
use rbuild_image::store::Store;

/// So many bytes are written before the disk is to take them.
const WINDOW: u64 = 16 << 20;

/// A file that becomes a blob, or goes when it is dropped.
///
/// An image gets its name only when all of it is on disk. So a large layer is on its way there while the rest of it
/// is still being packed.
#[derive(Debug)]
pub(super) struct BlobFile {
    file: fs_err::File,
    path: Option<PathBuf>,
    /// Bytes since the disk was to take what was there.
    n_waiting: u64,
    write_back: Option<SyncSender<()>>,
}

impl BlobFile {
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            file: fs_err::File::create(&path)?,
            path: Some(path),
            n_waiting: 0,
            write_back: None,
        })
    }

    /// Moves it into the store, as the blob of that digest.
    pub(super) fn publish(mut self, store: &Store, digest: &Digest) -> Result<(), ImageError> {
        match self.path.take() {
            Some(path) => store.publish_file(&path, digest),
            None => Ok(()),
        }
    }

    /// Has what was written so far go to disk, and waits for nothing. Where that cannot be, the sync at the end of
    /// the build does all of it.
    fn begin_write_back(&mut self) {
        self.n_waiting = 0;
        if self.write_back.is_none() {
            self.write_back = self.start_write_back().ok();
        }
        if let Some(wishes) = &self.write_back
            && wishes.try_send(()).is_err()
        {
            // One that waits already is for these bytes too.
        }
    }

    fn start_write_back(&self) -> io::Result<SyncSender<()>> {
        let file = self.file.file().try_clone()?;
        let (wishes, wished) = sync_channel(1);
        let thread = std::thread::Builder::new().name(String::from("write-back"));
        thread.spawn(move || {
            while wished.recv().is_ok() {
                drop(file.sync_data()); // an error comes again when the store is synced
            }
        })?;
        Ok(wishes)
    }
}

impl Write for BlobFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_bytes = self.file.write(bytes)?;
        self.n_waiting += n_bytes as u64;
        if self.n_waiting >= WINDOW {
            self.begin_write_back();
        }
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            drop(fs_err::remove_file(path)); // the folder it is in goes as well, later
        }
    }
}
