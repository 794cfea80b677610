//! One form of a layer from another: blobs from blobs, blobs from trees.
//!
//! Whatever comes out is hashed on the way; nothing is kept whose diff ID is wrong.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use sha2::{Digest as _, Sha256};

use crate::digest::{DiffId, Digest};
use crate::error::ImageError;

use super::compression::{Method, compress, decompress};
use super::entry::EntryKind;
use super::index::LayerIndex;
use super::path::display;
use super::tar_write::TarWriter;

const BUFFER: usize = 256 * 1024;

/// Where the uncompressed bytes of a layer come from.
pub(super) enum Source<'a> {
    /// A blob of any compression.
    Blob(fs_err::File),
    /// A tree and its index; only what this program packed comes out right.
    Tree(&'a Path, &'a LayerIndex),
}

/// Writes the layer to `out`, compressed, and returns the digest and size of what it wrote.
///
/// # Errors
/// [`ImageError::DiffIdMismatch`] if the source is not that layer (any more); what decompressing and
/// reading may end with.
pub(super) fn convert(
    source: Source<'_>,
    diff_id: DiffId,
    method: Method,
    n_threads: usize,
    out: fs_err::File,
) -> Result<(Digest, u64), ImageError> {
    let mut out = Hashing::new(out);
    let found = compress(&mut out, method, n_threads, |sink| {
        let mut sink = Hashing::new(sink);
        match source {
            Source::Blob(file) => copy_blob(file, &mut sink)?,
            Source::Tree(path, index) => write_tar(path, index, &mut sink)?,
        }
        Ok::<_, ImageError>(sink.finish().0)
    })?;
    if DiffId(found) != diff_id {
        return Err(ImageError::DiffIdMismatch {
            expected: diff_id,
            found: DiffId(found),
        });
    }
    Ok(out.finish())
}

fn copy_blob(file: fs_err::File, sink: &mut dyn Write) -> Result<(), ImageError> {
    let (_, mut reader) = decompress(Box::new(file), None)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let n_bytes = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n_bytes) => n_bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ImageError::bad_archive(error.to_string())),
        };
        sink.write_all(&buffer[..n_bytes])
            .map_err(ImageError::io("write a layer"))?;
    }
}

/// Writes the tar of a tree.
pub(super) fn write_tar(
    path: &Path,
    index: &LayerIndex,
    sink: &mut dyn Write,
) -> Result<(), ImageError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| ImageError::io(format!("open {}", path.display()))(errno.into()))?;
    let mut writer = TarWriter::new(sink);
    let mut buffer = vec![0; BUFFER];
    for entry in index.entries() {
        writer.entry(&entry)?;
        if !matches!(entry.kind, EntryKind::File { .. }) {
            continue;
        }
        let failed = |error: io::Error| {
            ImageError::io(format!("read `{}` of a layer", display(&entry.path)))(error)
        };
        let mut file = open_file(&root, &entry.path).map_err(failed)?;
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n_bytes) => writer.data(&buffer[..n_bytes])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    writer.finish().map(drop)
}

/// Opens a file of a tree; no link leads out of it.
fn open_file(root: &OwnedFd, path: &[u8]) -> io::Result<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(root.as_fd(), path, flags, Mode::empty(), inside) {
        Ok(fd) => Ok(fd.into()),
        // Before Linux 5.6. The index says that no parent is a link, and the store is private.
        Err(rustix::io::Errno::NOSYS) => {
            let fd = rustix::fs::openat(root.as_fd(), path, flags, Mode::empty())?;
            Ok(fd.into())
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Hashes and counts what goes through, in either direction.
pub(super) struct Hashing<T> {
    inner: T,
    hasher: Sha256,
    size: u64,
}

impl<T> Hashing<T> {
    pub(super) fn new(inner: T) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            size: 0,
        }
    }

    pub(super) fn finish(self) -> (Digest, u64) {
        (Digest::from_bytes(self.hasher.finalize().into()), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n_bytes = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n_bytes]);
        self.size += n_bytes as u64;
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes what is read to a file as well, but for what is there already.
pub(super) struct Tee<R> {
    input: R,
    copy: fs_err::File,
    n_bytes: u64,
    n_there: u64,
    is_broken: bool,
}

impl<R: Read> Tee<R> {
    /// The first `n_there` bytes are not written.
    pub(super) fn new(input: R, copy: fs_err::File, n_there: u64) -> Self {
        Self {
            input,
            copy,
            n_bytes: 0,
            n_there,
            is_broken: false,
        }
    }

    /// Returns how many bytes were read so far.
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Reports whether the input ended with an error, and not for the bytes that it gave.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.input.read(buffer).inspect_err(|error| {
            let inner = error.get_ref();
            let is_about_bytes = inner
                .and_then(|inner| inner.downcast_ref::<ImageError>())
                .is_some();
            self.is_broken = !is_about_bytes && error.kind() != io::ErrorKind::Interrupted;
        })?;
        let there = self.n_there.saturating_sub(self.n_bytes);
        let n_known = usize::try_from(there).map_or(n_bytes, |there| there.min(n_bytes));
        self.copy.write_all(&buffer[n_known..n_bytes])?;
        self.n_bytes += n_bytes as u64;
        Ok(n_bytes)
    }
}

/// Returns the error that is inside, if an error of this crate went through an [`io::Error`].
pub(super) fn unwrap_io(error: ImageError) -> ImageError {
    match error {
        ImageError::Io { action, source } => match source.downcast::<ImageError>() {
            Ok(inner) => unwrap_io(inner),
            Err(source) => ImageError::Io { action, source },
        },
        other => other,
    }
}
