//! The file format of a layer's index.
//!
//! Version 1. Numbers in the header are little-endian; "number" in the body is LEB128.
//!
//! | header field | bytes | |
//! |---|---|---|
//! | magic | 8 | `rbldidx\n` |
//! | version | 4 | 1 |
//! | entries | 8 | how many |
//! | unpacked size | 8 | bytes of all files |
//! | body size | 8 | bytes, decompressed |
//! | content digest | 32 | [`LayerIndex::content_digest`] |
//! | body checksum | 32 | BLAKE3 of the compressed body |
//! | header checksum | 32 | BLAKE3 of all above |
//!
//! Then the body: one zstd frame of level 1 with the entries in order. Each: length of what its path
//! shares with the one before (number), length of the rest (number), the rest, kind (1 byte), mode,
//! uid, gid (numbers), seconds (zigzag number), nanoseconds (number), count of xattrs (number) and
//! for each the name and value (length as number, bytes); then what the kind has: file: size
//! (number), digest (32 bytes); directory: opaque (1 byte); links: the target (length, bytes);
//! devices: major, minor (numbers).
//!
//! A file is not trusted: whatever its bytes are, decoding ends with an index or an error.

use std::io::Read as _;

use crate::error::ImageError;

use super::entry::{Entry, EntryKind};
use super::index::{LayerIndex, MAX_ENTRIES, check_entry, find};
use super::index_codec::{Reader, put_entry};
use super::path::compare_paths;

const MAGIC: [u8; 8] = *b"rbldidx\n";
const VERSION: u32 = 1;
const HEADER: usize = 132;
const LEVEL: i32 = 1;
/// Nothing shorter can be an entry; what a count in a file may make us allocate.
const SHORTEST_ENTRY: usize = 9;
/// Most bytes of paths, targets and xattrs together; prefixes shared in the file count each time.
const MAX_TEXT: usize = 1 << 30;
/// Largest body.
const MAX_BODY: u64 = 1 << 30;

/// What an index file's first bytes tell without reading the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexSummary {
    /// [`LayerIndex::content_digest`].
    pub content_digest: [u8; 32],
    /// [`LayerIndex::unpacked_size`], in bytes.
    pub unpacked_size: u64,
    /// How many entries there are.
    pub entries: u64,
}

impl IndexSummary {
    /// How many bytes from the start of an index file [`IndexSummary::decode`] needs.
    pub const BYTES: usize = HEADER;

    /// Reads the summary from an index file's first [`IndexSummary::BYTES`] bytes.
    ///
    /// # Errors
    /// [`ImageError::BadIndex`] if they are not such a start.
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        Header::decode(bytes).map(|header| header.summary)
    }
}

struct Header {
    summary: IndexSummary,
    body_size: u64,
    body_checksum: [u8; 32],
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.summary.entries.to_le_bytes());
        out.extend_from_slice(&self.summary.unpacked_size.to_le_bytes());
        out.extend_from_slice(&self.body_size.to_le_bytes());
        out.extend_from_slice(&self.summary.content_digest);
        out.extend_from_slice(&self.body_checksum);
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        let short = || ImageError::bad_index("it ends in its header");
        let (fields, rest) = bytes.split_at_checked(HEADER - 32).ok_or_else(short)?;
        let stored = rest.get(..32).ok_or_else(short)?;
        let mut reader = Reader::new(fields);
        if reader.array()? != MAGIC {
            return Err(ImageError::bad_index("it is not an index file"));
        }
        let version = u32::from_le_bytes(reader.array()?);
        if version != VERSION {
            return Err(ImageError::bad_index(format!(
                "version {version} is not known"
            )));
        }
        if blake3::hash(fields).as_bytes() != stored {
            return Err(ImageError::bad_index("the header's checksum is wrong"));
        }
        let entries = u64::from_le_bytes(reader.array()?);
        let unpacked_size = u64::from_le_bytes(reader.array()?);
        let body_size = u64::from_le_bytes(reader.array()?);
        let content_digest = reader.array()?;
        let body_checksum = reader.array()?;
        Ok(Self {
            summary: IndexSummary {
                content_digest,
                unpacked_size,
                entries,
            },
            body_size,
            body_checksum,
        })
    }
}

impl LayerIndex {
    /// Returns the index as the bytes of an index file.
    ///
    /// # Errors
    /// [`ImageError::Io`] if zstd fails.
    pub fn encode(&self) -> Result<Vec<u8>, ImageError> {
        let mut body = Vec::with_capacity(self.entries().len() * 72);
        let mut before: &[u8] = b"";
        for entry in self.entries() {
            put_entry(&mut body, before, entry);
            before = &entry.path;
        }
        let summary = IndexSummary {
            content_digest: self.content_digest(),
            unpacked_size: self.unpacked_size(),
            entries: self.entries().len() as u64,
        };
        index_file_of(&body, summary)
    }

    /// Reads an index from the bytes of an index file.
    ///
    /// # Errors
    /// [`ImageError::BadIndex`] or [`ImageError::BadEntry`] if they are anything but what
    /// [`LayerIndex::encode`] wrote.
    pub fn decode(file: &[u8]) -> Result<Self, ImageError> {
        let header = Header::decode(file)?;
        let packed = file.get(HEADER..).unwrap_or_default();
        if *blake3::hash(packed).as_bytes() != header.body_checksum {
            return Err(ImageError::bad_index("the checksum is wrong"));
        }
        let body = decompress(packed, header.body_size)?;
        let entries = read_entries(&body, header.summary.entries)?;
        let index = Self::from_sorted(entries, Some(header.summary.content_digest))?;
        if index.unpacked_size() != header.summary.unpacked_size {
            return Err(ImageError::bad_index("the sizes do not add up"));
        }
        Ok(index)
    }
}

/// Returns an index file with this body.
pub(crate) fn index_file_of(body: &[u8], summary: IndexSummary) -> Result<Vec<u8>, ImageError> {
    let packed =
        zstd::bulk::compress(body, LEVEL).map_err(ImageError::io("compress a layer index"))?;
    let header = Header {
        summary,
        body_size: body.len() as u64,
        body_checksum: *blake3::hash(&packed).as_bytes(),
    };
    let mut file = header.encode();
    file.extend_from_slice(&packed);
    Ok(file)
}

fn decompress(packed: &[u8], size: u64) -> Result<Vec<u8>, ImageError> {
    let wrong = || ImageError::bad_index("the body has another size than the header says");
    if size > MAX_BODY {
        return Err(ImageError::bad_index("the body is too large"));
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)
        .map_err(ImageError::io("decompress a layer index"))?;
    decoder
        .window_log_max(27)
        .map_err(ImageError::io("decompress a layer index"))?;
    // Zstd makes at most some thousand bytes of one, so a short file cannot ask for much memory.
    let likely = size.min(packed.len() as u64 * 16 + 4096);
    let mut body = Vec::with_capacity(usize::try_from(likely).unwrap_or(0));
    decoder
        .take(size + 1)
        .read_to_end(&mut body)
        .map_err(ImageError::io("decompress a layer index"))?;
    if body.len() as u64 != size {
        return Err(wrong());
    }
    Ok(body)
}

fn read_entries(body: &[u8], count: u64) -> Result<Vec<Entry>, ImageError> {
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= MAX_ENTRIES && *count <= body.len() / SHORTEST_ENTRY + 1)
        .ok_or_else(|| ImageError::bad_index("it cannot have that many entries"))?;
    let mut reader = Reader::new(body);
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut text = 0_usize;
    for _ in 0..count {
        let before = entries.last().map_or(&b""[..], |entry| &entry.path);
        let entry = reader.entry(before)?;
        check_entry(&entry)?;
        if !entries.is_empty() && compare_paths(before, &entry.path).is_ge() {
            return Err(ImageError::bad_index("the entries are not in order"));
        }
        check_link(&entries, &entry)?;
        text = text.saturating_add(entry.path.len());
        if text > MAX_TEXT {
            return Err(ImageError::bad_index("the paths are too long together"));
        }
        entries.push(entry);
    }
    if !reader.is_empty() {
        return Err(ImageError::bad_index("something follows the last entry"));
    }
    Ok(entries)
}

/// A hard link must name a file entry before it and be equal to it.
fn check_link(before: &[Entry], entry: &Entry) -> Result<(), ImageError> {
    let EntryKind::Hardlink { target } = &entry.kind else {
        return Ok(());
    };
    let sound = find(before, target).is_some_and(|file| {
        matches!(file.kind, EntryKind::File { .. })
            && (file.mode, file.uid, file.gid, file.mtime)
                == (entry.mode, entry.uid, entry.gid, entry.mtime)
            && file.xattrs == entry.xattrs
    });
    if sound {
        Ok(())
    } else {
        Err(ImageError::bad_entry(
            &entry.path,
            "the hard link does not match a file before it",
        ))
    }
}
