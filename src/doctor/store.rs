//! The file system of the store.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, fsetxattr, ioctl_ficlone, statfs, statvfs};

use super::Finding;
use crate::units::human_size;

/// Less free space than this is worth a word, in bytes.
const LITTLE: u64 = 2 << 30;

/// File systems by what `statfs` says.
const KINDS: [(i128, &str); 10] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlay"),
    (0x6969, "nfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0x6573_5546, "fuse"),
    (0xff53_4d42, "cifs"),
];

/// The store's directory, or the one in which it would be made.
pub(super) fn nearest(root: &Path) -> PathBuf {
    let mut place = root;
    while !place.is_dir() {
        match place.parent() {
            Some(parent) => place = parent,
            None => break,
        }
    }
    place.to_owned()
}

pub(super) fn look(root: &Path) -> Finding {
    let place = nearest(root);
    let shown = root.display();
    match examine(&place) {
        Ok(found) if found.free < LITTLE => Finding::lacking(
            "store",
            format!("{shown}: {}", found.text()),
            "free some space, or put the store elsewhere with --root or RBUILD_ROOT.",
        ),
        Ok(found) => Finding::good("store", format!("{shown}: {}", found.text())),
        Err(error) => Finding::bad(
            "store",
            format!("{shown} cannot be used: {error}"),
            "name a folder that you may write to with --root or RBUILD_ROOT.",
        ),
    }
}

struct Found {
    kind: String,
    free: u64,
    has_xattrs: bool,
    has_reflinks: bool,
}

impl Found {
    fn text(&self) -> String {
        let has = |has: bool| if has { "" } else { "no " };
        format!(
            "{}, {} free, {}user xattrs, {}reflinks",
            self.kind,
            human_size(self.free),
            has(self.has_xattrs),
            has(self.has_reflinks)
        )
    }
}

/// Tries the file system with two files that are gone afterwards.
fn examine(place: &Path) -> io::Result<Found> {
    let space = statvfs(place)?;
    // Signed or not, as the architecture has it.
    let magic = i128::from(statfs(place)?.f_type);
    let kind = KINDS.iter().find(|(known, _)| *known == magic);
    let dir = tempfile::Builder::new()
        .prefix(".rbuild-doctor-")
        .tempdir_in(place)?;
    fs_err::write(dir.path().join("one"), "x")?;
    let one = fs_err::File::open(dir.path().join("one"))?;
    let two = fs_err::File::create(dir.path().join("two"))?;
    let name = OsStr::new("user.rbuild.probe");
    Ok(Found {
        kind: kind.map_or_else(
            || format!("file system {magic:#x}"),
            |(_, name)| (*name).to_owned(),
        ),
        free: space.f_bavail.saturating_mul(space.f_frsize),
        has_xattrs: fsetxattr(&two, name, b"x", XattrFlags::empty()).is_ok(),
        has_reflinks: ioctl_ficlone(&two, &one).is_ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_not_there_yet_has_a_place() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        assert_eq!(nearest(&root), dir.path());
        let finding = look(&root);
        assert!(finding.text.contains(" free, "), "{finding:?}");
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
    }
}
