//! Extended (pax) headers: what one says about the entry after it.
//!
//! Every record is checked; a malformed one refuses the archive, since readers that guess differ in
//! what they guess.

use std::collections::BTreeMap;

use crate::error::ImageError;

use super::entry::Mtime;

/// Most xattrs of one entry that are kept.
const MAX_XATTRS: usize = 512;

/// Longest xattr value, in bytes, as Linux has it.
const MAX_XATTR_VALUE: usize = 64 * 1024;

/// What an extended header says.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<i128>,
    pub(super) gid: Option<i128>,
    pub(super) mtime: Option<Mtime>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: PaxSparse,
}

/// The records of GNU's three ways to store sparse files in pax archives.
#[derive(Debug, Default)]
pub(super) struct PaxSparse {
    /// Versions 0.x: the numbers of the map, offset and length in turn.
    pub(super) map: Vec<u64>,
    /// Version 1.0: the map is the first part of the data.
    pub(super) map_in_data: bool,
    /// The real name; the header's is made up.
    pub(super) name: Option<Vec<u8>>,
    /// The real size.
    pub(super) size: Option<u64>,
}

impl Pax {
    /// Reads the records of an extended header.
    ///
    /// # Errors
    /// [`ImageError::BadArchive`] for anything that is not `LENGTH KEY=VALUE\n` throughout, and for
    /// values that their keys do not allow.
    pub(super) fn parse(mut records: &[u8]) -> Result<Self, ImageError> {
        let mut pax = Self::default();
        while !records.is_empty() {
            let record = split_record(&mut records)?;
            pax.set(record.key, record.value)?;
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImageError> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            return self.set_xattr(name, value);
        }
        match key {
            b"path" => self.path = some_text(value)?,
            b"linkpath" => self.link = some_text(value)?,
            b"size" => self.size = some(value, decimal)?,
            b"uid" => self.uid = some(value, signed)?,
            b"gid" => self.gid = some(value, signed)?,
            b"mtime" => self.mtime = some(value, time)?,
            b"GNU.sparse.major" => self.sparse.map_in_data = value != b"0",
            b"GNU.sparse.name" => self.sparse.name = some_text(value)?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.size = some(value, decimal)?;
            }
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                // Offset and length come in turn; a record of the wrong one is a broken map.
                let is_offset = key == b"GNU.sparse.offset";
                if is_offset != self.sparse.map.len().is_multiple_of(2) {
                    return Err(bad("a sparse map is broken"));
                }
                self.sparse.map.push(decimal(value)?);
            }
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').map(decimal);
                self.sparse.map = numbers.collect::<Result<_, _>>()?;
            }
            _ => {} // Times of access, names of owners, comments, and what others invented.
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), ImageError> {
        let name = decode_key(name);
        if !is_shipped(&name) {
            return Ok(());
        }
        if name.len() > 255 || name.contains(&0) || value.len() > MAX_XATTR_VALUE {
            return Err(bad("an extended attribute is too long"));
        }
        self.xattrs.insert(name, value.to_vec());
        if self.xattrs.len() > MAX_XATTRS {
            return Err(bad("an entry has too many extended attributes"));
        }
        Ok(())
    }
}

/// Returns true for the extended attributes that belong into an image: capabilities, users' own,
/// and access lists; never those by which overlayfs keeps its books (an image that could set them
/// could hide or redirect files of lower layers), and no labels of this machine.
#[must_use]
pub fn is_shipped(name: &[u8]) -> bool {
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        || name.starts_with(b"system.posix_acl_")
}

struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

/// Takes `LENGTH KEY=VALUE\n` off the front.
fn split_record<'a>(records: &mut &'a [u8]) -> Result<Record<'a>, ImageError> {
    let malformed = || bad("an extended header is malformed");
    let space = records
        .iter()
        .take(20)
        .position(|byte| *byte == b' ')
        .ok_or_else(malformed)?;
    let length = usize::try_from(decimal(&records[..space])?).unwrap_or(usize::MAX);
    let (record, rest) = records.split_at_checked(length).ok_or_else(malformed)?;
    let pair = record
        .get(space + 1..)
        .and_then(|pair| pair.strip_suffix(b"\n"))
        .ok_or_else(malformed)?;
    let equals = pair
        .iter()
        .position(|byte| *byte == b'=')
        .filter(|at| *at > 0)
        .ok_or_else(malformed)?;
    *records = rest;
    Ok(Record {
        key: &pair[..equals],
        value: &pair[equals + 1..],
    })
}

/// An empty value takes back what was said before.
fn some<T>(
    value: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, ImageError>,
) -> Result<Option<T>, ImageError> {
    if value.is_empty() {
        return Ok(None);
    }
    read(value).map(Some)
}

fn some_text(value: &[u8]) -> Result<Option<Vec<u8>>, ImageError> {
    if value.contains(&0) {
        return Err(bad("a name contains a NUL byte"));
    }
    some(value, |value| Ok(value.to_vec()))
}

/// Reads a number of digits only, below 2^63.
pub(super) fn decimal(text: &[u8]) -> Result<u64, ImageError> {
    let not_a_number = || bad("an extended header has a number that is none");
    if text.is_empty() || text.len() > 19 {
        return Err(not_a_number());
    }
    let number = text.iter().try_fold(0_u64, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + u64::from(byte - b'0'))
    });
    number
        .filter(|number| i64::try_from(*number).is_ok())
        .ok_or_else(not_a_number)
}

fn signed(text: &[u8]) -> Result<i128, ImageError> {
    match text.strip_prefix(b"-") {
        Some(digits) => decimal(digits).map(|number| -i128::from(number)),
        None => decimal(text).map(i128::from),
    }
}

/// Reads seconds with a fraction, of which nine digits count.
fn time(text: &[u8]) -> Result<Mtime, ImageError> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &b""[..]),
    };
    let seconds = decimal(whole)?.cast_signed();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad("a time is not a number"));
    }
    let nanoseconds = (0..9).fold(0_u32, |sum, at| {
        let digit = fraction.get(at).map_or(0, |byte| byte - b'0');
        sum * 10 + u32::from(digit)
    });
    Ok(match (negative, nanoseconds) {
        (false, _) => Mtime {
            seconds,
            nanoseconds,
        },
        (true, 0) => Mtime {
            seconds: -seconds,
            nanoseconds: 0,
        },
        // -1.25 is -2 seconds and 750,000,000 nanoseconds.
        (true, _) => Mtime {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

/// Undoes GNU tar's way to write `=` and `%` in names.
fn decode_key(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"%3D") {
            decoded.push(b'=');
            rest = after;
        } else if let Some(after) = rest.strip_prefix(b"%25") {
            decoded.push(b'%');
            rest = after;
        } else {
            decoded.push(*byte);
            rest = after;
        }
    }
    decoded
}

fn bad(problem: &str) -> ImageError {
    ImageError::bad_archive(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let pax =
            Pax::parse(b"12 path=a/b\n16 size=1234567\n23 SCHILY.xattr.user.a=\n").unwrap_err();
        assert!(pax.to_string().contains("malformed"));
        let pax = Pax::parse(b"12 path=a/b\n13 uid=12345\n27 SCHILY.xattr.user.a=b=\n\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a/b"[..]));
        assert_eq!(pax.uid, Some(12345));
        assert_eq!(pax.xattrs[&b"user.a"[..]], b"b=\n");
    }

    #[test]
    fn malformed_records() {
        let check = |records: &[u8]| {
            assert!(Pax::parse(records).is_err(), "{}", records.escape_ascii());
        };
        check(b"0 path=a\n");
        check(b"5 path=a\n");
        check(b"99 path=a\n");
        check(b"1000000000000000000000000000000 path=a\n");
        check(b"8 patha\n");
        check(b"5 =a\n");
        check(b"9 path=a ");
        check(b"path=a\n");
        check(b"-9 path=a\n");
        check(b"11 path=a\0b\n");
        check(b"10 size=-1\n");
        check(b"10 size=0x\n");
        check(b"27 GNU.sparse.numbytes=12\n");
    }

    #[test]
    fn times() {
        let check = |text: &[u8], seconds, nanoseconds| {
            let expected = Mtime {
                seconds,
                nanoseconds,
            };
            assert_eq!(time(text).unwrap(), expected);
        };
        check(b"1", 1, 0);
        check(b"1.5", 1, 500_000_000);
        check(b"1.1234567899", 1, 123_456_789);
        check(b"-1.25", -2, 750_000_000);
        check(b"-3", -3, 0);
        check(b"0.", 0, 0);
        assert!(time(b"1e9").is_err() && time(b"1.x").is_err() && time(b"--1").is_err());
    }

    #[test]
    fn shipped_xattrs() {
        assert!(is_shipped(b"security.capability") && is_shipped(b"user.x"));
        assert!(is_shipped(b"system.posix_acl_access"));
        for name in [
            &b"trusted.overlay.opaque"[..],
            b"user.overlay.opaque",
            b"trusted.x",
            b"security.selinux",
            b"system.nfs4_acl",
        ] {
            assert!(!is_shipped(name));
        }
    }

    #[test]
    fn encoded_names() {
        assert_eq!(decode_key(b"user.a%3Db%25%2"), b"user.a=b%%2");
    }
}
