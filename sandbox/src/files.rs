//! Opening things in untrusted trees, and mounts by descriptor: no path is used twice.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::status::{Doing as _, Failure};
use crate::sys;

/// `nosuid`, `nodev` and `noexec`: for file systems that hold no programs.
pub(crate) const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Opens (`O_PATH`) a directory by a path that the caller vouches for.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).doing(|| format!("open {}", path.display()))
}

/// Directories that can be covered by a mount, because nothing else is needed from them by then.
const STAGING_POINTS: [&str; 5] = ["/tmp", "/mnt", "/run", "/var", "/usr"];

/// Returns a directory that can be covered by a mount in a private mount namespace.
pub(crate) fn staging_point() -> Result<(&'static str, OwnedFd), Failure> {
    STAGING_POINTS
        .iter()
        .find_map(|point| Some((*point, open_directory(Path::new(point)).ok()?)))
        .ok_or_else(|| Failure {
            step: format!("find one of the directories {}", STAGING_POINTS.join(", ")),
            errno: libc::ENOENT,
        })
}

/// Opens (`O_PATH`) what `path` means for somebody whose root is `root`: links and `..` stay inside.
pub(crate) fn open_inside(
    root: impl AsFd,
    path: &Path,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    // An empty path would be refused, and "." is the root itself.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    retry(|| {
        rustix::fs::openat2(
            root.as_fd(),
            path,
            OFlags::PATH | OFlags::CLOEXEC | flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    })
}

/// Opens (`O_PATH`) a path of a tree that the kernel or this program made: there are no links in it.
pub(crate) fn open_beneath(tree: impl AsFd, path: &str) -> rustix::io::Result<OwnedFd> {
    retry(|| {
        rustix::fs::openat2(
            tree.as_fd(),
            path,
            OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
    })
}

/// `openat2` answers `EAGAIN` when something else is renamed or mounted at the same time.
fn retry(open: impl Fn() -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<OwnedFd> {
    let mut result = open();
    for _ in 0..100 {
        if !matches!(result, Err(Errno::AGAIN)) {
            break;
        }
        result = open();
    }
    result
}

/// Makes a file system with these options, not attached anywhere yet.
pub(crate) fn new_mount(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value)?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Makes another mount of what an `O_PATH` descriptor refers to, with these attributes set.
pub(crate) fn clone_of(
    source: BorrowedFd<'_>,
    attributes: MountAttrFlags,
    reach: Reach,
) -> Result<OwnedFd, Failure> {
    let recursive = reach == Reach::WithMountsBelow;
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let mount = open_tree(source, c"", flags).doing(|| String::from("clone a mount"))?;
    if !attributes.is_empty() {
        sys::mount_set(mount.as_fd(), attributes, recursive)
            .doing(|| String::from("set the attributes of a mount"))?;
    }
    Ok(mount)
}

/// How much [`clone_of`] clones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This file or directory only.
    ThisOnly,
    /// With what is mounted below it.
    WithMountsBelow,
}

/// Attaches a mount to what an `O_PATH` descriptor refers to.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// Which mount a descriptor is on.
pub(crate) fn mount_id(fd: BorrowedFd<'_>) -> rustix::io::Result<u64> {
    let found = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok(found.stx_mnt_id)
}

/// Whether a descriptor refers to the root directory of this mount, by whatever way it was found.
pub(crate) fn is_root_of(mount: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let found = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    let is_a_root = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok(is_a_root && found.stx_mnt_id == mount_id(mount)?)
}

/// `fstat` that also works on `O_PATH` descriptors of old kernels.
pub(crate) fn stat(fd: BorrowedFd<'_>) -> rustix::io::Result<Stat> {
    rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)
}
