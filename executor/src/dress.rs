//! Giving what was just made on disk the metadata of an entry.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rbuild_image::layer::entry::{Entry, EntryKind};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

/// Sets owner, mode, attributes and time, those of a symbolic link as far as it has any. Owners are
/// left alone if they `are_fake`: where they cannot be set.
pub(crate) fn dress(path: &Path, entry: &Entry, are_fake: bool) -> rustix::io::Result<()> {
    if !are_fake {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if !matches!(entry.kind, EntryKind::Symlink { .. }) {
        rustix::fs::chmod(path, Mode::from_raw_mode(entry.mode))?;
        for (name, value) in &entry.xattrs {
            // Where attributes are not supported, a build without them beats none.
            rustix::fs::lsetxattr(path, OsStr::from_bytes(name), value, XattrFlags::empty())
                .unwrap_or(());
        }
    }
    set_times(path, entry)
}

/// Sets the time of last change, and the time of last access to the same.
pub(crate) fn set_times(path: &Path, entry: &Entry) -> rustix::io::Result<()> {
    let time = Timespec {
        tv_sec: entry.mtime.seconds,
        tv_nsec: entry.mtime.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
}
