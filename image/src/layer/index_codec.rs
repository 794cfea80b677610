//! Entries as the bytes of an index file's body; the format is in [`super::index_file`].

use std::collections::BTreeMap;

use crate::error::ImageError;

use super::entry::{ContentDigest, Entry, EntryKind, LayerPath, Mtime};

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends an entry; `before` is the path of the entry before it.
pub(super) fn put_entry(out: &mut Vec<u8>, before: &[u8], entry: &Entry) {
    put_path(out, before, &entry.path);
    put_entry_after(out, entry);
}

/// Appends a path; `before` is that of the entry before it.
pub(super) fn put_path(out: &mut Vec<u8>, before: &[u8], path: &[u8]) {
    let pairs = before.iter().zip(path);
    let shared = pairs.take_while(|(left, right)| left == right).count();
    put_number(out, shared as u64);
    put_bytes(out, &path[shared..]);
}

/// Appends all of an entry but its path.
pub(super) fn put_entry_after(out: &mut Vec<u8>, entry: &Entry) {
    out.push(kind_number(&entry.kind));
    for number in [entry.mode, entry.uid, entry.gid] {
        put_number(out, u64::from(number));
    }
    let seconds = entry.mtime.seconds;
    put_number(
        out,
        (seconds.cast_unsigned() << 1) ^ (seconds >> 63).cast_unsigned(),
    );
    put_number(out, u64::from(entry.mtime.nanoseconds));
    put_number(out, entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    match &entry.kind {
        EntryKind::File { size, digest } => {
            put_number(out, *size);
            out.extend_from_slice(&digest.0);
        }
        EntryKind::Directory { opaque } => out.push(u8::from(*opaque)),
        EntryKind::Symlink { target } | EntryKind::Hardlink { target } => put_bytes(out, target),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            put_number(out, u64::from(*major));
            put_number(out, u64::from(*minor));
        }
        EntryKind::Fifo | EntryKind::Whiteout => {}
    }
}

fn kind_number(kind: &EntryKind) -> u8 {
    match kind {
        EntryKind::File { .. } => 1,
        EntryKind::Directory { .. } => 2,
        EntryKind::Symlink { .. } => 3,
        EntryKind::Hardlink { .. } => 4,
        EntryKind::Fifo => 5,
        EntryKind::CharDevice { .. } => 6,
        EntryKind::BlockDevice { .. } => 7,
        EntryKind::Whiteout => 8,
    }
}

/// Takes bytes off the front, with an error where they end.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ImageError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| ImageError::bad_index("it ends in an entry"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, ImageError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, ImageError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ImageError::bad_index("a number is too long"))
    }

    fn small(&mut self) -> Result<u32, ImageError> {
        u32::try_from(self.number()?)
            .map_err(|_large| ImageError::bad_index("a number is too large"))
    }

    pub(super) fn length(&mut self) -> Result<usize, ImageError> {
        usize::try_from(self.number()?)
            .map_err(|_large| ImageError::bad_index("a length is too large"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], ImageError> {
        let length = self.length()?;
        self.take(length)
    }

    /// Returns the next entry; `before` is the path of the entry before it.
    pub(super) fn entry(&mut self, before: &[u8]) -> Result<Entry, ImageError> {
        let shared = self.length()?;
        let shared = before
            .get(..shared)
            .ok_or_else(|| ImageError::bad_index("a path shares more than there is"))?;
        let rest = self.bytes()?;
        let mut path = Vec::with_capacity(shared.len() + rest.len());
        path.extend_from_slice(shared);
        path.extend_from_slice(rest);
        self.entry_after(path)
    }

    /// Returns the next entry, whose path has been read.
    pub(super) fn entry_after(&mut self, path: LayerPath) -> Result<Entry, ImageError> {
        let kind = self.byte()?;
        let (mode, uid, gid) = (self.small()?, self.small()?, self.small()?);
        let zigzag = self.number()?;
        let mtime = Mtime {
            seconds: (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed(),
            nanoseconds: self.small()?,
        };
        let mut xattrs = BTreeMap::new();
        for _ in 0..self.number()? {
            let name = self.bytes()?.to_vec();
            xattrs.insert(name, self.bytes()?.to_vec());
        }
        Ok(Entry {
            path,
            kind: self.kind(kind)?,
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        })
    }

    fn kind(&mut self, number: u8) -> Result<EntryKind, ImageError> {
        Ok(match number {
            1 => EntryKind::File {
                size: self.number()?,
                digest: ContentDigest(self.array()?),
            },
            2 => EntryKind::Directory {
                opaque: match self.byte()? {
                    0 => false,
                    1 => true,
                    _ => return Err(ImageError::bad_index("a flag is neither 0 nor 1")),
                },
            },
            3 => EntryKind::Symlink {
                target: self.bytes()?.to_vec(),
            },
            4 => EntryKind::Hardlink {
                target: self.bytes()?.to_vec(),
            },
            5 => EntryKind::Fifo,
            6 => EntryKind::CharDevice {
                major: self.small()?,
                minor: self.small()?,
            },
            7 => EntryKind::BlockDevice {
                major: self.small()?,
                minor: self.small()?,
            },
            8 => EntryKind::Whiteout,
            _ => return Err(ImageError::bad_index("an entry is of no known kind")),
        })
    }
}
