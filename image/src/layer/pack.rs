//! Entries and file data to a layer, in one pass: the tar stream, its diff ID, the index.
//!
//! The caller's thread reads and frames; [`super::chunk_sink`] hashes and writes what comes of it. Each file's
//! BLAKE3 is computed here, unless whoever reads it has done so.

use std::fmt;
use std::io::{self, Read, Write};

use crate::digest::{DiffId, Digest};
use crate::error::ImageError;

use super::chunk_sink::{Blob, ChunkSink};
use super::entry::{ContentDigest, Entry, EntryKind};
use super::index::{IndexBuilder, LayerIndex, check_entry};
use super::path::compare_paths;
use super::tar_write::TarWriter;

/// A packed layer.
#[derive(Debug)]
pub struct Packed {
    /// SHA-256 of the tar stream.
    pub diff_id: DiffId,
    /// What the layer contains.
    pub index: LayerIndex,
    /// Size of the tar stream in bytes.
    pub size: u64,
    /// Digest and size of the blob, if one was written; the same bytes as the tar stream.
    pub blob: Option<(Digest, u64)>,
}

/// Packs a layer: `fill` adds the entries. The uncompressed tar goes to `blob` if there is one;
/// without, the layer is only hashed and indexed.
///
/// The blob is not flushed or synced.
///
/// # Errors
/// What `fill` returns, and [`ImageError::Io`] from the blob.
pub fn pack<E: From<ImageError>>(
    blob: Option<&mut (dyn Write + Send)>,
    fill: impl FnOnce(&mut LayerPacker<'_>) -> Result<(), E>,
) -> Result<Packed, E> {
    std::thread::scope(|scope| {
        let has_blob = blob.is_some();
        let sink = ChunkSink::new(scope, blob.map(|blob| blob as Blob<'_>));
        pack_into(sink, has_blob, fill)
    })
}

fn pack_into<E: From<ImageError>>(
    sink: ChunkSink<'_>,
    has_blob: bool,
    fill: impl FnOnce(&mut LayerPacker<'_>) -> Result<(), E>,
) -> Result<Packed, E> {
    let mut packer = LayerPacker {
        tar: TarWriter::new(sink),
        index: IndexBuilder::default(),
    };
    // On an error the sink goes, and with it the channel: the threads end by themselves.
    fill(&mut packer)?;
    let LayerPacker { tar, index } = packer;
    let (sink, size) = tar.finish_counted()?;
    let digest = sink.finish()?;
    Ok(Packed {
        diff_id: DiffId(digest),
        index: index.finish(),
        size,
        blob: has_blob.then_some((digest, size)),
    })
}

/// The bytes of a file, from one who hashes them as well.
pub trait HashedRead: Read {
    /// Returns the BLAKE3 of the file, all of which was read.
    ///
    /// # Errors
    /// What reading may end with.
    fn digest(&mut self) -> io::Result<ContentDigest>;
}

/// Takes the entries of a layer; see [`pack`].
pub struct LayerPacker<'a> {
    tar: TarWriter<ChunkSink<'a>>,
    index: IndexBuilder,
}

impl LayerPacker<'_> {
    /// Adds an entry; for a file, `data` is read to its end. The digest in a file's entry does not
    /// matter; the one that its bytes have is returned and goes into the index.
    ///
    /// Entries come in [`compare_paths`] order, so that the tar stream can be made again from the
    /// index.
    ///
    /// # Errors
    /// [`ImageError::ContentSize`] if `data` has not exactly as many bytes as the entry says,
    /// [`ImageError::BadEntry`] for an entry out of order, [`ImageError::Io`] from `data` or the
    /// blob. After an error the packer is of no use.
    pub fn add(
        &mut self,
        entry: Entry,
        data: Option<&mut dyn Read>,
    ) -> Result<Option<ContentDigest>, ImageError> {
        self.add_entry(entry, |packer, size| {
            let mut hasher = Hasher::default();
            packer.copy(size, data.unwrap_or(&mut io::empty()), |bytes| {
                hasher.update(bytes, size);
            })?;
            Ok(hasher.finish())
        })
    }

    /// Adds an entry as [`LayerPacker::add`] does; a file's digest is the one that `data` says it has.
    ///
    /// # Errors
    /// As for [`LayerPacker::add`].
    pub fn add_hashed(
        &mut self,
        entry: Entry,
        data: &mut dyn HashedRead,
    ) -> Result<Option<ContentDigest>, ImageError> {
        self.add_entry(entry, |packer, size| {
            packer.copy(size, data, |_bytes| {})?;
            data.digest()
                .map_err(ImageError::io("read a file of a layer"))
        })
    }

    fn add_entry(
        &mut self,
        mut entry: Entry,
        copy: impl FnOnce(&mut Self, u64) -> Result<ContentDigest, ImageError>,
    ) -> Result<Option<ContentDigest>, ImageError> {
        let before = self.index.entries();
        if !before.is_empty() && compare_paths(before.last_path(), &entry.path).is_ge() {
            return Err(ImageError::bad_entry(&entry.path, "it comes out of order"));
        }
        if let EntryKind::Hardlink { target } = &entry.kind {
            let file = before.get(target);
            let Some(file) = file.filter(|file| matches!(file.kind, EntryKind::File { .. })) else {
                return Err(ImageError::bad_entry(
                    &entry.path,
                    "a hard link to what is not a file before it",
                ));
            };
            entry = Entry {
                path: entry.path,
                kind: entry.kind,
                ..file
            };
        }
        self.tar.entry(&entry)?;
        let mut found = None;
        if let EntryKind::File { size, digest } = &mut entry.kind {
            *digest = copy(self, *size)?;
            found = Some(*digest);
        }
        check_entry(&entry)?;
        self.index.push(&entry)?;
        Ok(found)
    }

    /// Reads a file straight into the outgoing buffers.
    fn copy<R: Read + ?Sized>(
        &mut self,
        size: u64,
        data: &mut R,
        mut pass: impl FnMut(&[u8]),
    ) -> Result<(), ImageError> {
        let mut left = size;
        loop {
            let sink = self.tar.output();
            let spare = sink.spare().map_err(ImageError::io("write a layer"))?;
            // One byte more than is due, to notice a file that has grown.
            let due = usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX);
            let end = due.min(spare.len());
            let n_read = match data.read(&mut spare[..end]) {
                Ok(n_read) => n_read.min(end),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ImageError::io("read a file of a layer")(error)),
            };
            if n_read == 0 {
                break;
            }
            pass(&spare[..n_read]);
            sink.filled += n_read;
            self.tar.passed(n_read)?;
            left = left.saturating_sub(n_read as u64);
        }
        if left != 0 {
            return Err(self.tar.wrong_size());
        }
        Ok(())
    }
}

/// Hashes a file that comes in pieces.
#[derive(Default)]
struct Hasher {
    whole: Option<blake3::Hash>,
    hasher: Option<blake3::Hasher>,
}

impl Hasher {
    /// Adds the next bytes of a file of `size` bytes.
    fn update(&mut self, bytes: &[u8], size: u64) {
        // Most files come whole, and those are hashed faster in one go.
        if self.hasher.is_none() && bytes.len() as u64 == size {
            self.whole = Some(blake3::hash(bytes));
        } else {
            self.hasher.get_or_insert_default().update(bytes);
        }
    }

    fn finish(self) -> ContentDigest {
        let pieces = self.hasher.map(|hasher| hasher.finalize());
        let hash = pieces.or(self.whole).unwrap_or_else(|| blake3::hash(b""));
        ContentDigest(*hash.as_bytes())
    }
}

impl fmt::Debug for LayerPacker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerPacker")
            .field("n_entries", &self.index.entries().len())
            .finish_non_exhaustive()
    }
}
