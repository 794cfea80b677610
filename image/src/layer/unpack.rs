//! A tar stream to an index, a diff ID and, if asked for, a tree, in one pass.
//!
//! Three threads: one reads (and thereby decompresses), one parses and writes, one computes the
//! SHA-256. Buffers of 1 MiB go from each to the next and round again.

use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use sha2::{Digest as _, Sha256};

use crate::digest::{DiffId, Digest};
use crate::error::ImageError;

use super::assemble::{Assembler, Step};
use super::chunk_sink::CHUNK;
use super::chunks::{Chunks, Filled, Size, read_chunks};
use super::entry::ContentDigest;
use super::index::LayerIndex;
use super::tar_content::Chunk;
use super::tar_read::{TarReader, Whiteouts};
use super::tree::{TreeNotes, TreeOptions, TreeWriter};

/// Buffers that go round.
const BUFFERS: Size = Size {
    n_chunks: 6,
    chunk: CHUNK,
};

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
        let (full_in, full_out) = sync_channel(BUFFERS.n_chunks);
        let (used_in, used_out) = sync_channel(BUFFERS.n_chunks);
        let (empty_in, empty_out) = sync_channel(BUFFERS.n_chunks);
        scope.spawn(move || read_chunks(input, BUFFERS, &full_in, &empty_out));
        let hasher = scope.spawn(move || hash_chunks(&used_out, &empty_in));
        let chunks = Chunks::new(full_out, used_in);
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
                let mut file = match (&mut tree, assembler.get(&path)) {
                    (Some(tree), Some(entry)) => Some(tree.create(&path, &entry, replaces)?),
                    _ => None,
                };
                let digest = read_content(reader, size, file.as_mut())?;
                assembler.set_digest(&path, digest);
                if let (Some(tree), Some(file), Some(entry)) =
                    (&mut tree, &file, assembler.get(&path))
                {
                    tree.finish_file(file, &path, &entry)?;
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

fn hash_chunks(used: &Receiver<Filled>, empty: &SyncSender<Filled>) -> (Digest, u64) {
    let mut hasher = Sha256::new();
    let mut size = 0;
    while let Ok(filled) = used.recv() {
        hasher.update(filled.bytes());
        size += filled.bytes().len() as u64;
        if empty.send(filled).is_err() {
            continue; // The reader is done; what it read still counts.
        }
    }
    (Digest::from_bytes(hasher.finalize().into()), size)
}
