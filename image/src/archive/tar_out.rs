//! The frame of an archive: headers that say nothing of when, where and by whom.

use std::io::{self, Write as _};

use tar::{EntryType, Header};

use super::Output;
use super::output::copy_blob;
use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::store::Store;

const BLOCK_BYTES: usize = 512;
const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Writes a tar of files whose names have at most 100 bytes.
#[derive(Debug)]
pub(super) struct TarOut<'a, 'b> {
    out: &'a mut Output<'b>,
}

impl<'a, 'b> TarOut<'a, 'b> {
    pub(super) const fn new(out: &'a mut Output<'b>) -> Self {
        Self { out }
    }

    pub(super) fn folder(&mut self, name: &str) -> Result<(), ImageError> {
        self.header(name, EntryType::Directory, 0o755, 0)
            .map_err(ImageError::io("write the archive"))
    }

    pub(super) fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        let size = bytes.len() as u64;
        self.header(name, EntryType::Regular, 0o644, size)
            .and_then(|()| self.out.write_all(bytes))
            .and_then(|()| self.pad(size))
            .map_err(ImageError::io("write the archive"))
    }

    pub(super) fn blob(
        &mut self,
        name: &str,
        store: &Store,
        blob: &Descriptor,
    ) -> Result<(), ImageError> {
        self.header(name, EntryType::Regular, 0o644, blob.size)
            .map_err(ImageError::io("write the archive"))?;
        copy_blob(store, blob, self.out, "write the archive")?;
        self.pad(blob.size)
            .map_err(ImageError::io("write the archive"))
    }

    pub(super) fn finish(self) -> Result<(), ImageError> {
        self.out
            .write_all(&ZEROS)
            .and_then(|()| self.out.write_all(&ZEROS))
            .and_then(|()| self.out.flush())
            .map_err(ImageError::io("write the archive"))
    }

    fn header(&mut self, name: &str, kind: EntryType, mode: u32, size: u64) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_path(name)?;
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let n_used = usize::try_from(size % BLOCK_BYTES as u64).unwrap_or(0);
        let padding = if n_used == 0 { &[] } else { &ZEROS[n_used..] };
        self.out.write_all(padding)
    }
}
