//! A tar stream to an index, a diff ID and, if asked for, a tree, in one pass.
//!
//! Three threads: one reads (and thereby decompresses), one parses and writes, one computes the
//! SHA-256. Buffers of 1 MiB go from each to the next and round again.

use std::io::{self, BufRead, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use crate::digest::{DiffId, Digest};
use crate::error::ImageError;

use super::assemble::{Assembler, Step};
use super::entry::ContentDigest;
use super::index::LayerIndex;
use super::pack::CHUNK;
use super::tar_content::Chunk;
use super::tar_read::{TarReader, Whiteouts};
use super::tree::{TreeNotes, TreeOptions, TreeWriter};

/// Buffers that go round.
const N_CHUNKS: usize = 6;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// An unpacked layer.
#[derive(Debug)]
pub struct Unpacked {
    /// What it contains.
    pub index: LayerIndex,
    /// SHA-256 of the whole stream, what follows the end marker included.
    pub diff_id: DiffId,
    /// Size of the stream in bytes.
    pub size: u64,
    /// What the tree lacks; nothing if none was written.
    pub notes: TreeNotes,
}

/// Reads the uncompressed tar stream in `input` to its end.
///
/// With `tree`, an empty directory, the layer is unpacked there; on an error whatever was made so
/// far stays and is the caller's to remove.
///
/// # Errors
/// [`ImageError::BadArchive`], [`ImageError::Archive`] or [`ImageError::BadEntry`] for an archive
/// that is damaged or must not be unpacked; [`ImageError::Io`] from the input or the tree.
pub fn unpack(
    input: &mut (dyn Read + Send),
    whiteouts: Whiteouts,
    tree: Option<(BorrowedFd<'_>, TreeOptions)>,
) -> Result<Unpacked, ImageError> {
    std::thread::scope(|scope| {
        let (full_in, full_out) = sync_channel(N_CHUNKS);
        let (used_in, used_out) = sync_channel(N_CHUNKS);
        let (empty_in, empty_out) = sync_channel(N_CHUNKS);
        scope.spawn(move || read_chunks(input, &full_in, &empty_out));
        let hasher = scope.spawn(move || hash_chunks(&used_out, &empty_in));
        let chunks = Chunks {
            full: full_out,
            used: used_in,
            current: Filled::default(),
            position: 0,
        };
        let mut reader = TarReader::new(chunks, whiteouts);
        // On an error the reader goes, and with it the channels: the threads end by themselves.
        let (index, notes) = read_all(&mut reader, tree)?;
        drop(reader);
        let (digest, size) = hasher
            .join()
            .map_err(|_panic| ImageError::bad_archive("the thread that hashes it failed"))?;
        Ok(Unpacked {
            index,
            diff_id: DiffId(digest),
            size,
            notes,
        })
    })
}

fn read_all(
    reader: &mut TarReader<Chunks>,
    tree: Option<(BorrowedFd<'_>, TreeOptions)>,
) -> Result<(LayerIndex, TreeNotes), ImageError> {
    let mut assembler = Assembler::default();
    let mut tree = tree.map(|(root, options)| TreeWriter::new(root, options));
    while let Some(item) = reader.next_item()? {
        match assembler.place(item)? {
            Step::Nothing => {}
            Step::Clear(path) => {
                if let Some(tree) = &mut tree {
                    tree.remove(&path)?;
                }
            }
            Step::Link {
                path,
                target,
                replaces,
            } => {
                if let Some(tree) = &mut tree {
                    tree.link(&path, &target, replaces)?;
                }
            }
            Step::File {
                path,
                size,
                replaces,
            } => {
                let mut file = match &mut tree {
                    Some(tree) => Some(tree.create(&path, replaces)?),
                    None => None,
                };
                let digest = read_content(reader, size, file.as_mut())?;
                assembler.set_digest(&path, digest);
                if let (Some(tree), Some(file), Some(entry)) =
                    (&mut tree, &file, assembler.get(&path))
                {
                    tree.finish_file(file, &path, entry)?;
                }
            }
        }
    }
    reader.drain()?;
    let index = assembler.finish()?;
    let notes = match tree {
        Some(tree) => tree.finish(&index)?,
        None => TreeNotes::default(),
    };
    Ok((index, notes))
}

/// Reads the current file, of `expected` bytes, to its end, hashes it and writes it; holes stay
/// holes.
fn read_content(
    reader: &mut TarReader<Chunks>,
    expected: u64,
    mut file: Option<&mut fs_err::File>,
) -> Result<ContentDigest, ImageError> {
    let write = || ImageError::io("unpack a file");
    let mut hasher = blake3::Hasher::new();
    let mut whole = None;
    let (mut size, mut ends_in_hole) = (0_u64, false);
    loop {
        let n_bytes = match reader.chunk()? {
            Chunk::End => break,
            Chunk::Data(bytes) => {
                // Most files come whole, and those are hashed faster in one go.
                if bytes.len() as u64 == expected {
                    whole = Some(blake3::hash(bytes));
                } else {
                    hasher.update(bytes);
                }
                if let Some(file) = &mut file {
                    file.write_all(bytes).map_err(write())?;
                }
                ends_in_hole = false;
                bytes.len() as u64
            }
            Chunk::Hole(length) => {
                hash_zeros(&mut hasher, length);
                if let Some(file) = &mut file {
                    file.seek(SeekFrom::Start(size.saturating_add(length)))
                        .map_err(write())?;
                }
                ends_in_hole = true;
                length
            }
        };
        size = size.saturating_add(n_bytes);
        reader.consume(n_bytes);
    }
    if let (true, Some(file)) = (ends_in_hole, file) {
        file.set_len(size).map_err(write())?;
    }
    let hash = whole.unwrap_or_else(|| hasher.finalize());
    Ok(ContentDigest(*hash.as_bytes()))
}

fn hash_zeros(hasher: &mut blake3::Hasher, mut length: u64) {
    while length > 0 {
        let part = length.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..usize::try_from(part).unwrap_or(ZEROS.len())]);
        length -= part;
    }
}

/// A buffer and how much of it is filled.
#[derive(Debug, Default)]
struct Filled {
    buffer: Vec<u8>,
    length: usize,
}

/// The chunks of the stream as one [`BufRead`]; a chunk that was read goes to the hasher.
#[derive(Debug)]
struct Chunks {
    full: Receiver<io::Result<Filled>>,
    used: SyncSender<Filled>,
    current: Filled,
    position: usize,
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.length {
            let used = std::mem::take(&mut self.current);
            self.position = 0;
            if !used.buffer.is_empty() {
                self.used.send(used).map_err(|_closed| gone())?;
            }
            // A closed channel is the end of the stream: an error would have come before it.
            if let Ok(next) = self.full.recv() {
                self.current = next?;
            }
        }
        Ok(&self.current.buffer[self.position..self.current.length])
    }

    fn consume(&mut self, n_bytes: usize) {
        self.position = (self.position + n_bytes).min(self.current.length);
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n_bytes = available.len().min(buffer.len());
        buffer[..n_bytes].copy_from_slice(&available[..n_bytes]);
        self.consume(n_bytes);
        Ok(n_bytes)
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that hashes the layer is gone")
}

/// Reads until the end, an error, or until nobody wants more.
fn read_chunks(
    input: &mut (dyn Read + Send),
    full: &SyncSender<io::Result<Filled>>,
    empty: &Receiver<Vec<u8>>,
) {
    for n_chunk in 0.. {
        // Short streams never need all of the buffers.
        let mut buffer = if n_chunk < N_CHUNKS {
            vec![0; CHUNK]
        } else {
            match empty.recv() {
                Ok(buffer) => buffer,
                Err(_closed) => return,
            }
        };
        let result = fill_chunk(input, &mut buffer).map(|length| Filled { buffer, length });
        let is_last = result.as_ref().map_or(true, |filled| filled.length == 0);
        if full.send(result).is_err() || is_last {
            return;
        }
    }
}

fn fill_chunk(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n_bytes) => filled += n_bytes.min(buffer.len() - filled),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn hash_chunks(used: &Receiver<Filled>, empty: &SyncSender<Vec<u8>>) -> (Digest, u64) {
    let mut hasher = Sha256::new();
    let mut size = 0;
    while let Ok(Filled { buffer, length }) = used.recv() {
        hasher.update(&buffer[..length]);
        size += length as u64;
        if empty.send(buffer).is_err() {
            continue; // The reader is done; what it read still counts.
        }
    }
    (Digest::from_bytes(hasher.finalize().into()), size)
}
