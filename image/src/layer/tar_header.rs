//! One tar header block: its checksum, and fields with every number checked.
//!
//! Understands V7, ustar, GNU and star headers. Knows nothing of what follows a header.

use crate::error::ImageError;

use super::tar_write::BLOCK;

/// A header block whose checksum is right.
pub(super) struct RawHeader {
    block: [u8; BLOCK],
}

/// The dialect, as the magic bytes tell it; it decides what the block's last third means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

impl RawHeader {
    /// Returns the header in `block`.
    ///
    /// # Errors
    /// [`ImageError::BadArchive`] if the checksum is wrong.
    pub(super) fn new(block: [u8; BLOCK]) -> Result<Self, ImageError> {
        let header = Self { block };
        let stored = number(header.field(148, 8), "checksum")?;
        // Old writers summed the bytes as signed numbers.
        let (mut unsigned, mut signed) = (0_i128, 0_i128);
        for (at, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            };
            unsigned += i128::from(byte);
            signed += i128::from(byte.cast_signed());
        }
        if stored == unsigned || stored == signed {
            Ok(header)
        } else {
            Err(ImageError::bad_archive("a header's checksum is wrong"))
        }
    }

    fn field(&self, start: usize, length: usize) -> &[u8] {
        &self.block[start..start + length]
    }

    fn dialect(&self) -> Dialect {
        match (self.field(257, 8), self.field(508, 4)) {
            (b"ustar  \0", _) => Dialect::Gnu,
            (magic, b"tar\0") if magic.starts_with(b"ustar\0") => Dialect::Star,
            (magic, _) if magic.starts_with(b"ustar") => Dialect::Ustar,
            _ => Dialect::V7,
        }
    }

    /// Returns the type byte.
    pub(super) fn kind(&self) -> u8 {
        self.block[156]
    }

    /// Returns the name, with the prefix where the dialect has one.
    pub(super) fn name(&self) -> Vec<u8> {
        let prefix = match self.dialect() {
            Dialect::Ustar => text(self.field(345, 155)),
            Dialect::Star => text(self.field(345, 131)),
            Dialect::V7 | Dialect::Gnu => b"",
        };
        let name = text(self.field(0, 100));
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    /// Returns the link target.
    pub(super) fn link(&self) -> &[u8] {
        text(self.field(157, 100))
    }

    /// Returns the permission bits; some writers put the file type there too.
    pub(super) fn mode(&self) -> Result<u32, ImageError> {
        let mode = number(self.field(100, 8), "mode")?;
        Ok(u32::try_from(mode & 0o7777).unwrap_or(0))
    }

    /// Returns the owner, as written.
    pub(super) fn uid(&self) -> Result<i128, ImageError> {
        number(self.field(108, 8), "owner")
    }

    /// Returns the group, as written.
    pub(super) fn gid(&self) -> Result<i128, ImageError> {
        number(self.field(116, 8), "group")
    }

    /// Returns the size in bytes.
    pub(super) fn size(&self) -> Result<u64, ImageError> {
        size_from(number(self.field(124, 12), "size")?)
    }

    /// Returns the modification time in seconds.
    pub(super) fn mtime(&self) -> Result<i64, ImageError> {
        i64::try_from(number(self.field(136, 12), "time")?)
            .map_err(|_large| ImageError::bad_archive("a time is out of range"))
    }

    /// Returns the device's major and minor number.
    pub(super) fn device(&self) -> Result<(u32, u32), ImageError> {
        if self.dialect() == Dialect::V7 {
            return Err(ImageError::bad_archive("a device without a number"));
        }
        let part = |start| {
            u32::try_from(number(self.field(start, 8), "device number")?)
                .map_err(|_large| ImageError::bad_archive("a device number is out of range"))
        };
        Ok((part(329)?, part(337)?))
    }

    /// Returns what an old GNU sparse header says.
    pub(super) fn gnu_sparse(&self) -> Result<GnuSparse, ImageError> {
        let mut segments = Vec::new();
        read_segments(self.field(386, 96), &mut segments)?;
        Ok(GnuSparse {
            segments,
            size: size_from(number(self.field(483, 12), "size")?)?,
            more: self.block[482] != 0,
        })
    }
}

/// What an old GNU sparse header says.
pub(super) struct GnuSparse {
    /// Offset and length of the first parts that are stored.
    pub(super) segments: Vec<(u64, u64)>,
    /// Size of the whole file.
    pub(super) size: u64,
    /// True if blocks with more segments follow.
    pub(super) more: bool,
}

/// Appends the segments (offset and length) of an old GNU sparse table; an empty one ends it.
pub(super) fn read_segments(
    table: &[u8],
    segments: &mut Vec<(u64, u64)>,
) -> Result<(), ImageError> {
    for pair in table.chunks_exact(24) {
        if pair[0] == 0 || pair[12] == 0 {
            break;
        }
        let offset = size_from(number(&pair[..12], "offset")?)?;
        segments.push((offset, size_from(number(&pair[12..], "size")?)?));
    }
    Ok(())
}

fn size_from(number: i128) -> Result<u64, ImageError> {
    i64::try_from(number)
        .ok()
        .and_then(|size| u64::try_from(size).ok())
        .ok_or_else(|| ImageError::bad_archive("a size is out of range"))
}

/// Returns a text field without the NULs that fill it up.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// Reads a number field: octal digits, or a big-endian two's complement number marked by its first
/// bit (the GNU extension). At most twelve bytes, so the result never overflows.
fn number(field: &[u8], what: &str) -> Result<i128, ImageError> {
    let bad = || ImageError::bad_archive(format!("a {what} is not a number"));
    let first = field.first().copied().unwrap_or(0);
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let start = if negative { -1 } else { 0_i128 };
        let head = if negative { first } else { first & 0x7f };
        return Ok(field[1..]
            .iter()
            .fold(start << 8 | i128::from(head), |number, byte| {
                number << 8 | i128::from(*byte)
            }));
    }
    let mut number = 0_i128;
    let mut digits = field.iter().skip_while(|byte| matches!(byte, b' ' | 0));
    for byte in digits.by_ref() {
        match byte {
            b'0'..=b'7' => number = number << 3 | i128::from(byte - b'0'),
            b' ' | 0 => break,
            _ => return Err(bad()),
        }
    }
    if digits.any(|byte| !matches!(byte, b' ' | 0)) {
        return Err(bad());
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |field: &[u8], expected: Option<i128>| {
            assert_eq!(number(field, "size").ok(), expected, "{field:?}");
        };
        check(b"0000644\0", Some(0o644));
        check(b"   644 \0", Some(0o644));
        check(b"\0\0\0\0\0\0\0\0", Some(0));
        check(b"        ", Some(0));
        check(b"77777777777\0", Some(0o77_777_777_777));
        check(b"777777777777", Some(0o777_777_777_777));
        check(b"00000000zz\0", None);
        check(b"12 34\0", None);
        check(b"-1\0", None);
        check(b"\x80\0\0\0\0\0\0\x05", Some(5));
        check(b"\x80\0\0\x01\0\0\0\0", Some(1 << 32));
        check(b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1));
        check(
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfb",
            Some(-5),
        );
        check(b"\x80\0\0\0\x40\0\0\0\0\0\0\0", Some(1 << 62));
    }

    #[test]
    fn sizes_are_within_63_bits() {
        assert!(size_from(-1).is_err());
        assert!(size_from(1 << 63).is_err());
        assert_eq!(size_from(1 << 62).unwrap(), 1 << 62);
    }
}
