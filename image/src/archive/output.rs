//! Where archives go: streams, and files that appear only when they are whole.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::ImageError;
use crate::manifest::{Descriptor, check_size};
use crate::store::{Store, Verified};

const BUFFER_BYTES: usize = 1 << 20;

/// Bytes that the kernel copies with one call.
const KERNEL_COPY_BYTES: usize = 1 << 30;

/// The end of an archive that bytes go into.
pub enum Output<'a> {
    /// A file; blobs are copied by the kernel where it can.
    File(&'a fs_err::File),
    /// Anything else.
    Stream(&'a mut dyn Write),
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

impl Output<'_> {
    /// Copies the rest of `source` and returns how many bytes there were.
    pub(super) fn copy_file(&mut self, source: &mut fs_err::File) -> io::Result<u64> {
        let mut n_copied = 0;
        if let Self::File(file) = self {
            loop {
                let copied = rustix::fs::copy_file_range(
                    source.file(),
                    None,
                    file.file(),
                    None,
                    KERNEL_COPY_BYTES,
                );
                match copied {
                    Ok(0) => break,
                    Ok(n_bytes) => n_copied += n_bytes as u64,
                    // Not between these two; the rest is copied by hand.
                    Err(
                        Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::BADF,
                    ) => break,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(n_copied + self.copy(source)?)
    }

    /// Copies the rest of `source` and returns how many bytes there were.
    pub(super) fn copy(&mut self, source: &mut dyn Read) -> io::Result<u64> {
        copy(source, self)
    }
}

/// Copies a blob of the store. Unless this process wrote it, its bytes are hashed on the way: the
/// store may be old, or damaged, and what is damaged is removed from it.
///
/// # Errors
/// [`ImageError::DamagedBlob`]; [`ImageError::Io`], which `doing` explains.
pub(super) fn copy_blob(
    store: &Store,
    blob: &Descriptor,
    out: &mut Output<'_>,
    doing: &str,
) -> Result<(), ImageError> {
    let mut file = store.open_blob(&blob.digest)?;
    if store.has_written(&blob.digest) {
        let n_copied = out.copy_file(&mut file).map_err(ImageError::io(doing))?;
        return check_size(blob, n_copied);
    }
    let copied = out.copy(&mut Verified::new(file, blob.clone()));
    let error = match copied {
        Ok(_) => return Ok(()),
        Err(error) => ImageError::unwrap_io(doing, error),
    };
    if !matches!(
        error,
        ImageError::DigestMismatch { .. } | ImageError::SizeMismatch { .. }
    ) {
        return Err(error);
    }
    store.remove_blob(&blob.digest)?;
    Err(ImageError::DamagedBlob {
        digest: blob.digest,
    })
}

/// Copies with a buffer that suits layers.
pub(super) fn copy(source: &mut dyn Read, sink: &mut dyn Write) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut n_copied = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(n_copied),
            Ok(n_bytes) => {
                sink.write_all(&buffer[..n_bytes])?;
                n_copied += n_bytes as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Most bytes between two files of an archive, for their headers: names are read into memory.
pub(super) const MAX_HEADERS: usize = 4 << 20;

/// Notes how a stream fared while somebody else reads it.
pub(super) struct Watched<'a, R> {
    pub(super) inner: R,
    pub(super) notes: &'a Notes,
}

/// What happened to a [`Watched`] stream.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// True if there was at least one byte.
    pub(super) has_bytes: Cell<bool>,
    /// True if reading itself failed, as opposed to what was read making no sense.
    pub(super) has_failed: Cell<bool>,
    /// How many bytes may still be read; `None` is all there are.
    pub(super) allowance: Cell<Option<usize>>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowance = self.notes.allowance.get();
        let length = allowance.map_or(buffer.len(), |allowance| allowance.min(buffer.len()));
        if length == 0 && !buffer.is_empty() {
            self.notes.has_failed.set(true);
            return Err(io::Error::other("an extended header is too large"));
        }
        let result = self.inner.read(&mut buffer[..length]);
        match &result {
            Ok(0) => {}
            Ok(n_bytes) => {
                self.notes.has_bytes.set(true);
                let left = allowance.map(|allowance| allowance.saturating_sub(*n_bytes));
                self.notes.allowance.set(left);
            }
            Err(_) => self.notes.has_failed.set(true),
        }
        result
    }
}

/// How long a file waits for the disk before it gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Until it is on the disk: a power failure leaves the old file or the new one.
    Synced,
    /// It does not: what is lost can be made again.
    Quick,
}

/// Writes a file that appears at `path`, mode 0600, only when it is whole. Devices and pipes are
/// written to directly.
///
/// # Errors
/// What `write` says; [`ImageError::Io`].
pub fn write_file(
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&mut Output<'_>) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let fail = |error| ImageError::io(format!("write `{}`", path.display()))(error);
    if is_special(path) {
        let file = fs_err::OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(fail)?;
        return write(&mut Output::File(&file));
    }
    // Through a link, the file it leads to is replaced, not the link.
    let target = fs_err::canonicalize(path).unwrap_or_else(|_new| path.to_owned());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (file, temporary) = tempfile::Builder::new()
        .prefix(".rbuild-")
        .tempfile_in(folder)
        .map_err(fail)?
        .into_parts();
    let file = fs_err::File::from_parts(file, path);
    write(&mut Output::File(&file))?;
    match durability {
        Durability::Synced => file.sync_all().map_err(fail)?,
        Durability::Quick if exchange(&temporary, &target) => return Ok(()),
        Durability::Quick => {}
    }
    temporary
        .persist(&target)
        .map_err(|error| fail(error.error))
}

/// Puts a file in place of an older one, which then has the temporary name. ext4 begins to write a file to
/// disk that is renamed over another, and who renames waits for that; it does not do so here.
fn exchange(temporary: &Path, target: &Path) -> bool {
    let is_file = fs_err::symlink_metadata(target).is_ok_and(|found| found.is_file());
    is_file && renameat_with(CWD, temporary, CWD, target, RenameFlags::EXCHANGE).is_ok()
}

fn is_special(path: &Path) -> bool {
    // Links are followed on purpose: `/dev/stdout` is one.
    path.metadata().is_ok_and(|metadata| {
        let kind = metadata.file_type();
        kind.is_fifo() || kind.is_char_device() || kind.is_block_device() || kind.is_socket()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let write = |is_fine: bool| {
            write_file(&path, Durability::Synced, |out| {
                out.write_all(b"content").unwrap();
                if is_fine {
                    Ok(())
                } else {
                    Err(ImageError::SchemaOne)
                }
            })
        };
        write(false).unwrap_err();
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
        write(true).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"content");
        let mode = fs_err::symlink_metadata(&path)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        write(false).unwrap_err();
        assert_eq!(fs_err::read(&path).unwrap(), b"content");
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_file(&link, Durability::Quick, |out| {
            out.write_all(b"more").map_err(ImageError::io("write"))
        })
        .unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"more");
    }

    #[test]
    fn devices_are_written_to() {
        write_file(Path::new("/dev/null"), Durability::Quick, |out| {
            out.write_all(b"x").map_err(ImageError::io("write"))
        })
        .unwrap();
        assert!(is_special(Path::new("/dev/null")));
    }

    #[test]
    fn files_are_copied_into_files_and_streams() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        fs_err::write(&path, vec![7; 3_000_000]).unwrap();
        let open = || fs_err::File::open(&path).unwrap();
        let mut stream = Vec::new();
        let n_copied = Output::Stream(&mut stream).copy_file(&mut open()).unwrap();
        assert_eq!((n_copied, stream.len()), (3_000_000, 3_000_000));
        let out = fs_err::File::create(folder.path().join("out")).unwrap();
        let n_copied = Output::File(&out).copy_file(&mut open()).unwrap();
        assert_eq!(
            (n_copied, out.metadata().unwrap().len()),
            (3_000_000, 3_000_000)
        );
    }
}
