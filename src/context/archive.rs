//! Archives as contexts: told by their first bytes, unpacked into a folder of ours.

use std::io::Read;
use std::path::Path;

use rbuild_image::error::ImageError;
use rbuild_image::layer::{OpaqueMark, Ownership, TreeOptions, Whiteouts, decompress, unpack};
use rbuild_image::media::Encoding;
use rustix::fd::AsFd as _;
use rustix::fs::{CWD, Mode, OFlags};

use crate::report::Failure;
use crate::size::limit;

/// Bytes that tell an archive from a Dockerfile: one tar header.
pub(super) const START: usize = 512;

/// Unpacked bytes of an archive, unless `RBUILD_MAX_UNPACKED` says otherwise; one that goes on is
/// refused.
const MAX_UNPACKED: u64 = 64 << 30;

/// Tells whether a file that starts like this is a tar archive, plain or compressed.
pub(super) fn is_archive(start: &[u8]) -> bool {
    Encoding::sniff(start) != Encoding::Plain || is_tar_header(start)
}

/// A header's checksum is the sum of its bytes, with blanks in its own place.
fn is_tar_header(start: &[u8]) -> bool {
    let Some(header) = start.get(..START) else {
        return false;
    };
    let digits: String = header[148..156]
        .iter()
        .map(|byte| char::from(*byte))
        .skip_while(|c| *c == ' ')
        .take_while(char::is_ascii_digit)
        .collect();
    let sum: u32 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| match at {
            148..156 => u32::from(b' '),
            _ => u32::from(*byte),
        })
        .sum();
    header[0] != 0 && u32::from_str_radix(&digits, 8) == Ok(sum)
}

/// Unpacks an archive into the empty folder `dest`. Nothing in it is trusted: no path and no link
/// leads out, there are no devices, and everything belongs to us. Returns the time of the newest
/// entry, in seconds since the Unix epoch.
pub(super) fn unpack_into(
    archive: Box<dyn Read + Send + '_>,
    dest: &Path,
) -> Result<Option<i64>, Failure> {
    let allowed = limit("RBUILD_MAX_UNPACKED", MAX_UNPACKED).map_err(Failure::Usage)?;
    let disk = rustix::fs::statvfs(dest);
    let free = disk.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let unpack_all = || -> Result<Option<i64>, ImageError> {
        let (_, mut decoded) = decompress(archive, Some(allowed.min(free)))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, dest, flags, Mode::empty())
            .map_err(|errno| ImageError::io("open a folder of the store")(errno.into()))?;
        let options = TreeOptions {
            ownership: Ownership::Forgotten,
            opaque: OpaqueMark::User,
        };
        let unpacked = unpack(
            &mut decoded,
            Whiteouts::Refuse,
            Some((folder.as_fd(), options)),
        )?;
        let entries = unpacked.index.entries().iter();
        Ok(entries.map(|entry| entry.mtime.seconds).max())
    };
    unpack_all().map_err(|error| {
        Failure::message(format!(
            "cannot unpack the build context: {}",
            crate::report::chain(&error)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_by_their_start() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_old();
        header.set_size(1);
        header.set_mode(0o644);
        builder.append_data(&mut header, "f", &b"x"[..]).unwrap();
        let tar = builder.into_inner().unwrap();
        assert!(is_archive(&tar[..START]));
        assert!(!is_archive(&tar[..START - 1]));
        assert!(is_archive(b"\x1f\x8b\x08\0rest"));
        assert!(is_archive(b"\xfd7zXZ\0rest"));
        assert!(is_archive(b"BZh91AY&SYrest"));
        assert!(is_archive(b"\x28\xb5\x2f\xfdrest"));
        assert!(!is_archive(b"FROM scratch\n"));
        assert!(!is_archive("FROM scratch\n".repeat(100).as_bytes()));
        assert!(!is_archive(&[0; START]));
        assert!(!is_archive(b""));
    }
}
