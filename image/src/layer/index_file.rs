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

use std::io::{self, Read as _, Write as _};

use crate::error::ImageError;

use super::entry::{Entry, LayerPath};
use super::index::{IndexBuilder, LayerIndex, MAX_ENTRIES, check_entry};
use super::index_codec::{Reader, put_entry};

const MAGIC: [u8; 8] = *b"rbldidx\n";
const VERSION: u32 = 1;
const HEADER: usize = 132;
const LEVEL: i32 = 1;
/// Nothing shorter can be an entry; what a count in a file may make us allocate.
const SHORTEST_ENTRY: u64 = 9;
/// Most bytes of paths, targets and xattrs together; prefixes shared in the file count each time.
const MAX_TEXT: usize = 1 << 30;
/// Largest body.
const MAX_BODY: u64 = 1 << 30;
/// Bytes of a body that are compressed, or decompressed, at once.
const PIECE: usize = 256 << 10;

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
        let summary = IndexSummary {
            content_digest: self.content_digest(),
            unpacked_size: self.unpacked_size(),
            entries: self.entries().len() as u64,
        };
        let mut body = Body::default();
        let mut before = LayerPath::new();
        for entry in self.entries() {
            put_entry(&mut body.waiting, &before, &entry);
            before = entry.path;
            body.flush_full()?;
        }
        body.finish(summary)
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
        let index = read_entries(BodyReader::new(packed, header.body_size)?, header.summary)?;
        if index.unpacked_size() != header.summary.unpacked_size {
            return Err(ImageError::bad_index("the sizes do not add up"));
        }
        Ok(index)
    }
}

/// Returns an index file with this body.
#[cfg(any(test, fuzzing))]
pub(crate) fn index_file_of(body: &[u8], summary: IndexSummary) -> Result<Vec<u8>, ImageError> {
    let waiting = body.to_vec();
    let body = Body {
        waiting,
        ..Body::default()
    };
    body.finish(summary)
}

/// The body of a file that is being written. Most are small, and compressed at once.
#[derive(Default)]
struct Body {
    waiting: Vec<u8>,
    size: u64,
    encoder: Option<zstd::stream::write::Encoder<'static, Vec<u8>>>,
}

impl Body {
    fn flush_full(&mut self) -> Result<(), ImageError> {
        if self.waiting.len() < PIECE {
            return Ok(());
        }
        self.flush()
            .map_err(ImageError::io("compress a layer index"))
    }

    fn flush(&mut self) -> io::Result<()> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            None => self
                .encoder
                .insert(zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?),
        };
        encoder.write_all(&self.waiting)?;
        self.size += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }

    fn packed(&mut self) -> io::Result<Vec<u8>> {
        if self.encoder.is_none() {
            self.size = self.waiting.len() as u64;
            return zstd::bulk::compress(&self.waiting, LEVEL);
        }
        self.flush()?;
        self.encoder
            .take()
            .map_or(Ok(Vec::new()), zstd::stream::write::Encoder::finish)
    }

    fn finish(mut self, summary: IndexSummary) -> Result<Vec<u8>, ImageError> {
        let packed = self
            .packed()
            .map_err(ImageError::io("compress a layer index"))?;
        let header = Header {
            summary,
            body_size: self.size,
            body_checksum: *blake3::hash(&packed).as_bytes(),
        };
        let mut file = packed;
        file.splice(..0, header.encode());
        Ok(file)
    }
}

/// The body of a file that is being read: only the part that is looked at is in memory.
struct BodyReader<'a> {
    decoder: io::Take<zstd::stream::read::Decoder<'static, &'a [u8]>>,
    buffer: Vec<u8>,
    start: usize,
    /// Bytes that the header says are still to come.
    rest: u64,
}

impl<'a> BodyReader<'a> {
    fn new(packed: &'a [u8], size: u64) -> Result<Self, ImageError> {
        if size > MAX_BODY {
            return Err(ImageError::bad_index("the body is too large"));
        }
        let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)
            .map_err(ImageError::io("decompress a layer index"))?;
        decoder
            .window_log_max(27)
            .map_err(ImageError::io("decompress a layer index"))?;
        Ok(Self {
            decoder: decoder.take(size + 1),
            buffer: Vec::new(),
            start: 0,
            rest: size,
        })
    }

    /// Returns the next entry; `before` is the path of the one before it.
    fn entry(&mut self, before: &[u8]) -> Result<Entry, ImageError> {
        loop {
            let bytes = &self.buffer[self.start..];
            let mut reader = Reader::new(bytes);
            match reader.entry(before) {
                Ok(entry) => {
                    self.start += bytes.len() - reader.rest().len();
                    return Ok(entry);
                }
                // It may only be cut off.
                Err(error) if self.rest == 0 => return Err(error),
                Err(_) => self.read_more()?,
            }
        }
    }

    /// Reads as much as there was, or one piece.
    fn read_more(&mut self) -> Result<(), ImageError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let want = (self.buffer.len().max(PIECE) as u64).min(self.rest);
        let n_read = self
            .decoder
            .by_ref()
            .take(want)
            .read_to_end(&mut self.buffer)
            .map_err(ImageError::io("decompress a layer index"))?;
        if n_read as u64 != want {
            return Err(wrong_size());
        }
        self.rest -= want;
        Ok(())
    }

    /// Checks that the body ends here.
    fn finish(mut self) -> Result<(), ImageError> {
        if self.start != self.buffer.len() || self.rest > 0 {
            return Err(ImageError::bad_index("something follows the last entry"));
        }
        let more = self.decoder.read(&mut [0]);
        match more.map_err(ImageError::io("decompress a layer index"))? {
            0 => Ok(()),
            _ => Err(wrong_size()),
        }
    }
}

fn wrong_size() -> ImageError {
    ImageError::bad_index("the body has another size than the header says")
}

fn read_entries(mut body: BodyReader<'_>, summary: IndexSummary) -> Result<LayerIndex, ImageError> {
    let n_most = body.rest / SHORTEST_ENTRY + 1;
    if summary.entries > n_most.min(MAX_ENTRIES as u64) {
        return Err(ImageError::bad_index("it cannot have that many entries"));
    }
    let mut builder = IndexBuilder::known(summary.content_digest);
    let mut text = 0_usize;
    for _ in 0..summary.entries {
        let entry = body.entry(builder.entries().last_path())?;
        check_entry(&entry)?;
        text = text.saturating_add(entry.path.len());
        if text > MAX_TEXT {
            return Err(ImageError::bad_index("the paths are too long together"));
        }
        builder.push(&entry)?;
    }
    body.finish()?;
    Ok(builder.finish())
}
