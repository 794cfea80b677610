//! Entries and file data to a layer, in one pass: the tar stream, its diff ID, the index.
//!
//! The caller's thread reads and frames, computes each file's BLAKE3 and writes the blob; a second
//! thread computes the SHA-256, which is the slowest part. Buffers of 1 MiB go round between them,
//! so memory does not grow with sizes. What fits into the first, small buffer needs no second thread.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};

use crate::digest::{DiffId, Digest};
use crate::error::ImageError;

use super::entry::{ContentDigest, Entry, EntryKind};
use super::index::{IndexBuilder, LayerIndex, check_entry};
use super::path::compare_paths;
use super::tar_write::TarWriter;

/// Size of a buffer in bytes.
pub(super) const CHUNK: usize = 1 << 20;

/// Size of the first one: most layers of a `RUN` are a few small files.
const FIRST_CHUNK: usize = 32 << 10;

/// Buffers between the two threads.
const N_CHUNKS: usize = 4;

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
/// The blob is written on the caller's thread and is not flushed or synced.
///
/// # Errors
/// What `fill` returns, and [`ImageError::Io`] from the blob.
pub fn pack<E: From<ImageError>>(
    blob: Option<&mut dyn Write>,
    fill: impl FnOnce(&mut LayerPacker<'_>) -> Result<(), E>,
) -> Result<Packed, E> {
    let has_blob = blob.is_some();
    let mut packer = LayerPacker {
        tar: TarWriter::new(ChunkSink {
            blob,
            buffer: Vec::new(),
            filled: 0,
            n_buffers: 0,
            hashing: None,
        }),
        index: IndexBuilder::default(),
    };
    // On an error the sink goes, and with it the channel: the hasher ends by itself.
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

/// The thread that hashes, and the buffers that go there and come back.
struct Hashing {
    full: SyncSender<(Vec<u8>, usize)>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<Digest>,
}

impl Hashing {
    fn start() -> io::Result<Self> {
        let (full, full_out) = sync_channel::<(Vec<u8>, usize)>(N_CHUNKS);
        let (empty_in, empty) = sync_channel::<Vec<u8>>(N_CHUNKS + 1);
        let hasher = std::thread::Builder::new().name(String::from("hash-layer"));
        let thread = hasher.spawn(move || hash_chunks(&full_out, &empty_in))?;
        Ok(Self {
            full,
            empty,
            thread,
        })
    }
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
        mut entry: Entry,
        data: Option<&mut dyn Read>,
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
            *digest = self.copy(*size, data.unwrap_or(&mut io::empty()))?;
            found = Some(*digest);
        }
        check_entry(&entry)?;
        self.index.push(&entry)?;
        Ok(found)
    }

    /// Reads a file straight into the outgoing buffers.
    fn copy(&mut self, size: u64, data: &mut dyn Read) -> Result<ContentDigest, ImageError> {
        let mut hasher = blake3::Hasher::new();
        let mut whole = None;
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
            // Most files come whole, and those are hashed faster in one go.
            if left == size && n_read as u64 == size {
                whole = Some(blake3::hash(&spare[..n_read]));
            } else {
                hasher.update(&spare[..n_read]);
            }
            sink.filled += n_read;
            self.tar.passed(n_read)?;
            left = left.saturating_sub(n_read as u64);
        }
        if left != 0 {
            return Err(self.tar.wrong_size());
        }
        let hash = whole.unwrap_or_else(|| hasher.finalize());
        Ok(ContentDigest(*hash.as_bytes()))
    }
}

impl fmt::Debug for LayerPacker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerPacker")
            .field("n_entries", &self.index.entries().len())
            .finish_non_exhaustive()
    }
}

/// Gathers the stream in buffers, writes each full one to the blob and sends it to the hasher.
struct ChunkSink<'a> {
    blob: Option<&'a mut dyn Write>,
    buffer: Vec<u8>,
    filled: usize,
    n_buffers: usize,
    /// Started with the first full buffer.
    hashing: Option<Hashing>,
}

impl ChunkSink<'_> {
    /// Returns the room that is left in the buffer, at least one byte of it.
    fn spare(&mut self) -> io::Result<&mut [u8]> {
        if self.filled == self.buffer.len() {
            self.hand_over()?;
            self.buffer = self.next_buffer()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    fn next_buffer(&mut self) -> io::Result<Vec<u8>> {
        if self.n_buffers < N_CHUNKS {
            self.n_buffers += 1;
            let length = if self.n_buffers == 1 {
                FIRST_CHUNK
            } else {
                CHUNK
            };
            return Ok(vec![0; length]);
        }
        self.hashing()?.empty.recv().map_err(|_closed| gone())
    }

    /// Writes and sends what is in the buffer, which is empty then.
    fn hand_over(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let filled = std::mem::take(&mut self.filled);
        if let Some(blob) = &mut self.blob {
            blob.write_all(&buffer[..filled])?;
        }
        if buffer.is_empty() {
            return Ok(());
        }
        let full = &self.hashing()?.full;
        full.send((buffer, filled)).map_err(|_closed| gone())
    }

    fn hashing(&mut self) -> io::Result<&Hashing> {
        let hashing = match self.hashing.take() {
            Some(hashing) => hashing,
            None => Hashing::start()?,
        };
        Ok(self.hashing.insert(hashing))
    }

    /// Hands over the last of it, and returns the digest of all.
    fn finish(mut self) -> Result<Digest, ImageError> {
        let writing = ImageError::io("write a layer");
        if self.hashing.is_none() {
            let bytes = &self.buffer[..self.filled];
            let written = self
                .blob
                .as_mut()
                .map_or(Ok(()), |blob| blob.write_all(bytes));
            written.map_err(writing)?;
            return Ok(Digest::of(bytes));
        }
        self.hand_over().map_err(writing)?;
        let Some(Hashing { full, thread, .. }) = self.hashing.take() else {
            return Err(ImageError::bad_archive("nothing hashes it"));
        };
        drop(full);
        let hashed = thread.join();
        hashed.map_err(|_panic| ImageError::bad_archive("the thread that hashes it failed"))
    }
}

impl Write for ChunkSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let spare = self.spare()?;
        let n_bytes = spare.len().min(bytes.len());
        spare[..n_bytes].copy_from_slice(&bytes[..n_bytes]);
        self.filled += n_bytes;
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that hashes the layer is gone")
}

fn hash_chunks(full: &Receiver<(Vec<u8>, usize)>, empty: &SyncSender<Vec<u8>>) -> Digest {
    let mut hasher = Sha256::new();
    while let Ok((buffer, filled)) = full.recv() {
        hasher.update(&buffer[..filled]);
        if empty.send(buffer).is_err() {
            continue; // The sender is done; what it sent still counts.
        }
    }
    Digest::from_bytes(hasher.finalize().into())
}
