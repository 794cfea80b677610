//! A tar stream to entries. Nothing in the stream is trusted.
//!
//! Reads V7, ustar, GNU and pax archives, sparse files included. Paths come out clean or not at
//! all; whatever two readers could understand in two ways is refused. It knows nothing of what was
//! read before: [`super::assemble`] puts the entries together.
//! Spec: <https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md>

use std::io::{self, BufRead};

use crate::error::ImageError;

use super::entry::{ContentDigest, Entry, EntryKind, LayerPath, Mtime};
use super::marks::{Name, decode_name, whiteout};
use super::path;
use super::pax::Pax;
use super::sparse::SparseMap;
use super::tar_content::Chunk;
use super::tar_header::RawHeader;
use super::tar_write::{BLOCK, padding};

pub use super::marks::Whiteouts;

/// Largest extended header or long name, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// Most bytes after the end marker; writers fill up to a record, which is 10 KiB by default.
const MAX_TRAILING: u64 = 64 << 20;

/// What a tar entry means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TarItem {
    /// An entry. A file has an all-zero digest; its bytes are what [`TarReader`] reads next. A hard
    /// link has the metadata that the archive gives it.
    Entry(Entry),
    /// The directory at the path hides what lower layers have in it.
    Opaque(LayerPath),
}

/// Reads a tar stream entry by entry; between two calls of [`TarReader::next_item`], as a
/// [`Read`](io::Read), the bytes of the current file.
#[derive(Debug)]
pub struct TarReader<R> {
    pub(super) input: R,
    whiteouts: Whiteouts,
    /// Stored bytes of the current entry not yet read, and the zeros after them.
    pub(super) stored: u64,
    padding: usize,
    pub(super) sparse: Option<SparseMap>,
    /// Bytes of all holes so far.
    pub(super) holes: u64,
    ended: bool,
}

/// What extension headers said before an entry.
#[derive(Debug, Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> TarReader<R> {
    /// Returns a reader of the archive in `input`, which is not compressed.
    pub fn new(input: R, whiteouts: Whiteouts) -> Self {
        Self {
            input,
            whiteouts,
            stored: 0,
            padding: 0,
            sparse: None,
            holes: 0,
            ended: false,
        }
    }

    /// Returns the next entry, or `None` at the end. What was not read of a file is skipped.
    ///
    /// # Errors
    /// [`ImageError::BadArchive`] or [`ImageError::Archive`] for anything but a sound archive (after
    /// that, the reader is of no use), [`ImageError::Io`] from the input.
    pub fn next_item(&mut self) -> Result<Option<TarItem>, ImageError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let Some(header) = self.header()? else {
                if extensions.is_any() {
                    return Err(ImageError::bad_archive("it ends after an extended header"));
                }
                return Ok(None);
            };
            match header.kind() {
                b'x' | b'X' => {
                    if extensions.pax.is_some() {
                        return Err(ImageError::bad_archive("two extended headers in a row"));
                    }
                    extensions.pax = Some(Pax::parse(&self.extension(&header)?)?);
                }
                b'L' => self.long_text(&header, &mut extensions.long_name)?,
                b'K' => self.long_text(&header, &mut extensions.long_link)?,
                // Defaults for all entries, which no builder of images heeds: git's comment mostly.
                b'g' => self.start(header.size()?),
                // A label says nothing about files.
                b'V' if !extensions.is_any() => self.start(header.size()?),
                _ => {
                    let extensions = std::mem::take(&mut extensions);
                    if let Some(item) = self.item(&header, extensions)? {
                        return Ok(Some(item));
                    }
                }
            }
        }
    }

    /// Reads what follows the archive, so that a digest of the input covers all of it.
    ///
    /// # Errors
    /// [`ImageError::BadArchive`] after 64 MiB, [`ImageError::Io`] from the input.
    pub fn drain(&mut self) -> Result<(), ImageError> {
        let mut n_bytes = 0;
        loop {
            let available = fill(&mut self.input)?.len();
            if available == 0 {
                return Ok(());
            }
            n_bytes += available as u64;
            if n_bytes > MAX_TRAILING {
                return Err(ImageError::bad_archive("it goes on after its end"));
            }
            self.input.consume(available);
        }
    }

    /// Says how many bytes of content follow.
    pub(super) fn start(&mut self, size: u64) {
        self.stored = size;
        self.padding = padding(size);
        self.sparse = None;
    }

    fn skip_content(&mut self) -> Result<(), ImageError> {
        self.sparse = None;
        while self.stored > 0 {
            match self.chunk()? {
                Chunk::Data(bytes) => {
                    let n_bytes = bytes.len() as u64;
                    self.consume(n_bytes);
                }
                Chunk::Hole(_) | Chunk::End => break,
            }
        }
        let padding = std::mem::take(&mut self.padding);
        let mut block = [0; BLOCK];
        match self.read_full(&mut block[..padding])? {
            // Nothing is lost: some programs forget what comes behind the last file.
            0 => Ok(()),
            n_bytes if n_bytes == padding => Ok(()),
            _ => Err(ends_early()),
        }
    }

    /// Returns the next header; `None` at the end marker, or where the input ends between entries.
    fn header(&mut self) -> Result<Option<RawHeader>, ImageError> {
        if self.ended {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        for n_zero_blocks in 0..2 {
            match self.read_full(&mut block)? {
                BLOCK if block.iter().any(|byte| *byte != 0) => {
                    if n_zero_blocks == 0 {
                        return RawHeader::new(block).map(Some);
                    }
                    return Err(ImageError::bad_archive("an empty block between entries"));
                }
                BLOCK | 0 => {}
                _ => return Err(ImageError::bad_archive("it ends in the middle of a header")),
            }
        }
        self.ended = true;
        Ok(None)
    }

    /// Fills `buffer` as far as the input goes.
    pub(super) fn read_full(&mut self, buffer: &mut [u8]) -> Result<usize, ImageError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let available = fill(&mut self.input)?;
            if available.is_empty() {
                break;
            }
            let n_bytes = available.len().min(buffer.len() - filled);
            buffer[filled..filled + n_bytes].copy_from_slice(&available[..n_bytes]);
            self.input.consume(n_bytes);
            filled += n_bytes;
        }
        Ok(filled)
    }

    fn extension(&mut self, header: &RawHeader) -> Result<Vec<u8>, ImageError> {
        let size = header.size()?;
        if size > MAX_EXTENSION {
            return Err(ImageError::bad_archive("an extended header is too large"));
        }
        self.start(size);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        if self.read_full(&mut bytes)? < bytes.len() {
            return Err(ends_early());
        }
        self.stored = 0;
        Ok(bytes)
    }

    fn long_text(
        &mut self,
        header: &RawHeader,
        text: &mut Option<Vec<u8>>,
    ) -> Result<(), ImageError> {
        if text.is_some() {
            return Err(ImageError::bad_archive("two long names in a row"));
        }
        let mut bytes = self.extension(header)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        bytes.truncate(end.unwrap_or(bytes.len()));
        *text = Some(bytes);
        Ok(())
    }

    /// Returns what an entry's header and its extensions mean, ready to read its content.
    fn item(
        &mut self,
        header: &RawHeader,
        extensions: Extensions,
    ) -> Result<Option<TarItem>, ImageError> {
        let mut pax = extensions.pax.unwrap_or_default();
        let raw = (pax.sparse.name.take())
            .or_else(|| pax.path.take())
            .or(extensions.long_name)
            .unwrap_or_else(|| header.name());
        let link = (pax.link.take())
            .or(extensions.long_link)
            .unwrap_or_else(|| header.link().to_vec());
        let size = pax.size.map_or_else(|| header.size(), Ok)?;
        let kind = self.kind(header, &raw, &link, size, &pax)?;
        let path = path::clean(&raw)?;
        let Some(name) = decode_name(&path, &raw, self.whiteouts)? else {
            return Ok(None);
        };
        let (path, kind) = match name {
            Name::Opaque(directory) => return Ok(Some(TarItem::Opaque(directory))),
            Name::Removed(path) => return Ok(Some(TarItem::Entry(whiteout(path)))),
            Name::Plain => (path, kind),
        };
        let owner = |number: i128| {
            u32::try_from(number)
                .ok()
                .filter(|number| *number != u32::MAX)
                .ok_or_else(|| ImageError::archive(&raw, "the owner's number is out of range"))
        };
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => Mtime {
                seconds: header.mtime()?,
                nanoseconds: 0,
            },
        };
        let entry = Entry {
            path,
            kind,
            mode: header.mode()?,
            uid: owner(pax.uid.map_or_else(|| header.uid(), Ok)?)?,
            gid: owner(pax.gid.map_or_else(|| header.gid(), Ok)?)?,
            mtime,
            xattrs: pax.xattrs,
        };
        // Some programs write a file without a name first, and nobody unpacks it.
        let is_nameless = entry.path.is_empty() && matches!(entry.kind, EntryKind::File { .. });
        if is_nameless && self.whiteouts == Whiteouts::Refuse {
            return Ok(None);
        }
        super::index::check_entry(&entry)?;
        Ok(Some(TarItem::Entry(entry)))
    }

    /// Returns the kind, and sets up the content that follows the header.
    fn kind(
        &mut self,
        header: &RawHeader,
        raw: &[u8],
        link: &[u8],
        size: u64,
        pax: &Pax,
    ) -> Result<EntryKind, ImageError> {
        let file = |size| EntryKind::File {
            size,
            digest: ContentDigest([0; 32]),
        };
        let is_file = matches!(header.kind(), b'0' | 0 | b'7' | b'S');
        if !is_file {
            // As Go's reader has it, which all image tools share: only files have content.
            self.start(0);
        }
        Ok(match header.kind() {
            b'S' => file(self.start_old_sparse(header, size)?),
            b'0' | 0 | b'7' if raw.ends_with(b"/") => {
                if size != 0 {
                    return Err(ImageError::archive(raw, "a directory with content"));
                }
                self.start(0);
                EntryKind::Directory { opaque: false }
            }
            b'0' | 0 | b'7' => {
                self.start(size);
                file(self.start_pax_sparse(size, pax)?)
            }
            b'1' => EntryKind::Hardlink {
                target: path::clean(link)?,
            },
            b'2' => EntryKind::Symlink {
                target: link.to_vec(),
            },
            b'3' | b'4' => {
                let (major, minor) = header.device()?;
                match header.kind() {
                    b'3' => EntryKind::CharDevice { major, minor },
                    _ => EntryKind::BlockDevice { major, minor },
                }
            }
            b'5' => EntryKind::Directory { opaque: false },
            b'6' => EntryKind::Fifo,
            other => {
                let problem = format!("entries of type `{}` are not known", other.escape_ascii());
                return Err(ImageError::archive(raw, problem));
            }
        })
    }
}

impl Extensions {
    fn is_any(&self) -> bool {
        self.pax.is_some() || self.long_name.is_some() || self.long_link.is_some()
    }
}

/// Returns what the input has ready; interruptions are none.
pub(super) fn fill<R: BufRead>(input: &mut R) -> Result<&[u8], ImageError> {
    // The borrow of a returned slice cannot cross a retry, so it is asked for twice.
    loop {
        match input.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ImageError::io("read an archive")(error)),
        }
    }
    input.fill_buf().map_err(ImageError::io("read an archive"))
}

pub(super) fn ends_early() -> ImageError {
    ImageError::bad_archive("it ends in the middle of an entry")
}
