//! Writing blobs under the digest of what is written, and reading them with a check.

use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::staging::{self, Staged};
use super::{Pin, Store, ignore_missing};
use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{Descriptor, check_content};

/// How much of two blobs is compared at a time.
const COMPARED_BYTES: usize = 256 << 10;

/// Stores what is written to it. Dropped without [`BlobWriter::commit`], it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    file: fs_err::File,
    staged: Staged,
    hasher: Sha256,
    size: u64,
    store: Store,
}

impl BlobWriter {
    pub(super) fn new(store: &Store) -> Result<Self, ImageError> {
        let (file, staged) = staging::new_file(&store.tmp_dir(), "blob-", 0o444)
            .map_err(ImageError::io("store a blob"))?;
        Ok(Self {
            file,
            staged,
            hasher: Sha256::new(),
            size: 0,
            store: store.clone(),
        })
    }

    /// Returns the number of bytes written so far.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Publishes the blob and returns its digest and its length in bytes.
    ///
    /// # Errors
    /// [`ImageError::SizeMismatch`] or [`ImageError::DigestMismatch`] if `expected` is given and
    /// something else was written; nothing is stored then. [`ImageError::Io`].
    pub fn commit(self, expected: Option<(Digest, u64)>) -> Result<(Digest, u64), ImageError> {
        let digest = Digest::from_bytes(self.hasher.finalize().into());
        if let Some((expected, size)) = expected {
            check_content(&Descriptor::new("", expected, size), digest, self.size)?;
        }
        self.store.pin(&[Pin::Blob(digest)])?;
        let path = self.store.blob_path(&digest);
        if !holds_the_same(self.staged.path(), &path) {
            self.staged
                .rename(&path)
                .map_err(ImageError::io(format!("store blob {digest}")))?;
        }
        self.store.note_written(digest);
        Ok((digest, self.size))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_bytes = self.file.write(bytes)?;
        self.hasher.update(&bytes[..n_bytes]);
        self.size += n_bytes as u64;
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Moves the file at `path` to `dest` as a blob.
pub(super) fn publish(path: &Path, dest: &Path) -> io::Result<()> {
    if holds_the_same(path, dest) {
        return ignore_missing(fs_err::remove_file(path));
    }
    fs_err::set_permissions(path, Permissions::from_mode(0o444))?;
    fs_err::rename(path, dest)
}

/// Reports whether there is a blob at `dest` that holds what the file at `path` does, and not
/// damaged bytes. Such a blob stays: replacing it would make ext4 write the new one to disk on the
/// spot.
fn holds_the_same(path: &Path, dest: &Path) -> bool {
    let is_blob = |path| fs_err::symlink_metadata(path).is_ok_and(|found| found.is_file());
    let compare = || -> io::Result<bool> {
        let (mut new, mut old) = (fs_err::File::open(path)?, fs_err::File::open(dest)?);
        if new.metadata()?.len() != old.metadata()?.len() {
            return Ok(false);
        }
        let mut buffers = [vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]];
        let [ours, theirs] = &mut buffers;
        loop {
            let n_bytes = new.read(ours)?;
            if n_bytes == 0 {
                return Ok(true);
            }
            old.read_exact(&mut theirs[..n_bytes])?;
            if ours[..n_bytes] != theirs[..n_bytes] {
                return Ok(false);
            }
        }
    };
    is_blob(dest) && compare().unwrap_or(false)
}

/// Reads content and fails at its end, or as soon as it is too long, if it is not what a
/// descriptor names. The error is an [`ImageError`] inside an [`io::Error`].
#[derive(Debug)]
pub struct Verified<R> {
    inner: R,
    expected: Descriptor,
    hasher: Sha256,
    size: u64,
}

impl<R: Read> Verified<R> {
    /// Returns a reader of `inner` that checks it against `expected`.
    pub fn new(inner: R, expected: Descriptor) -> Self {
        Self {
            inner,
            expected,
            hasher: Sha256::new(),
            size: 0,
        }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n_bytes]);
        self.size += n_bytes as u64;
        let is_end = n_bytes == 0 && !buffer.is_empty();
        if is_end || self.size > self.expected.size {
            let digest = Digest::from_bytes(self.hasher.clone().finalize().into());
            check_content(&self.expected, digest, self.size)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(n_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        (folder, store)
    }

    #[test]
    fn a_blob_is_stored_under_its_digest() {
        let (_folder, store) = store();
        let mut writer = store.blob_writer().unwrap();
        writer.write_all(b"hello ").unwrap();
        writer.write_all(b"world").unwrap();
        let (digest, size) = writer.commit(None).unwrap();
        assert_eq!((digest, size), (Digest::of(b"hello world"), 11));
        assert_eq!(store.read_blob(&digest, 11).unwrap(), b"hello world");
        assert_eq!(store.put_blob(b"hello world").unwrap(), digest);
        let error = store.read_blob(&digest, 10).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
        assert_eq!(fs_err::read_dir(store.tmp_dir()).unwrap().count(), 0);
    }

    #[test]
    fn something_else_is_not_stored() {
        let (_folder, store) = store();
        for (expected, size) in [(Digest::of(b"x"), 1), (Digest::of(b"y"), 2)] {
            let mut writer = store.blob_writer().unwrap();
            writer.write_all(b"y").unwrap();
            writer.commit(Some((expected, size))).unwrap_err();
        }
        assert!(!store.has_blob(&Digest::of(b"y")));
        assert_eq!(fs_err::read_dir(store.tmp_dir()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_blob_is_noticed_and_replaced() {
        let (_folder, store) = store();
        let digest = store.put_blob(b"good").unwrap();
        fs_err::remove_file(store.blob_path(&digest)).unwrap();
        fs_err::write(store.blob_path(&digest), "evil").unwrap();
        let error = store.read_blob(&digest, 100).unwrap_err();
        assert!(
            matches!(error, ImageError::DigestMismatch { .. }),
            "{error}"
        );
        store.put_blob(b"good").unwrap();
        assert_eq!(store.read_blob(&digest, 100).unwrap(), b"good");
    }

    #[test]
    fn a_reader_checks_what_it_reads() {
        let read = |bytes: &[u8], expected: &[u8]| {
            let mut reader = Verified::new(bytes, Descriptor::of("", expected));
            io::copy(&mut reader, &mut io::sink())
        };
        assert_eq!(read(b"abc", b"abc").unwrap(), 3);
        for (bytes, expected) in [(b"abc", b"abd"), (b"abc", b"abcd".first_chunk().unwrap())] {
            let result = read(bytes, expected);
            assert_eq!(result.is_ok(), bytes == expected, "{result:?}");
        }
        let error = read(b"abcd", b"abc").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        read(b"ab", b"abc").unwrap_err();
    }

    #[test]
    fn a_finished_file_can_be_published() {
        let (_folder, store) = store();
        let digest = Digest::of(b"done");
        let part = store.ingest_path(&digest);
        for _ in 0..2 {
            fs_err::write(&part, "done").unwrap();
            store.publish_file(&part, &digest).unwrap();
            assert!(!part.try_exists().unwrap());
            assert_eq!(store.read_blob(&digest, 4).unwrap(), b"done");
        }
    }
}
