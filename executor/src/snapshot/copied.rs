//! A whole copy of a root file system, where the kernel mounts no overlay.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rbuild_image::layer::Rootfs;
use rbuild_image::layer::entry::{Entry, EntryKind};
use rbuild_sandbox::{Spec, TargetKind, mount_points};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, XattrFlags};

use super::skeleton::Skeleton;
use super::{Fingerprint, Known, owners};
use crate::dress;
use crate::error::{StepError, failed};

/// Copies the merged view `lower` of the layers' `trees` (base first) to the new directory `to`,
/// and makes what `spec` needs to be there.
pub(super) fn copy(
    trees: &[PathBuf],
    lower: &Rootfs,
    to: &Path,
    spec: &Spec,
    owners_are_fake: bool,
) -> Result<Known, StepError> {
    let Copied {
        mut paths,
        directories,
    } = copy_files(trees, lower, to, owners_are_fake)?;
    let skeleton = Skeleton {
        lower,
        owners_are_fake,
    };
    let mut targets = mount_points(spec);
    targets.push((spec.cwd.clone(), TargetKind::Directory));
    paths.extend(skeleton.add(to, &targets)?);
    set_directory_times(&directories)?;
    paths
        .into_iter()
        .map(|path| fingerprint(to, path))
        .collect()
}

/// Copies the merged view `lower` of the layers' `trees` (base first) to the new directory `to`, all but what the root
/// directory itself is.
pub(super) fn copy_tree(
    trees: &[PathBuf],
    lower: &Rootfs,
    to: &Path,
    owners_are_fake: bool,
) -> Result<(), StepError> {
    set_directory_times(&copy_files(trees, lower, to, owners_are_fake)?.directories)
}

/// What was copied.
struct Copied {
    paths: Vec<Vec<u8>>,
    /// Their times are not set yet. Parents come before children.
    directories: Vec<(PathBuf, Entry)>,
}

fn copy_files(
    trees: &[PathBuf],
    lower: &Rootfs,
    to: &Path,
    owners_are_fake: bool,
) -> Result<Copied, StepError> {
    fs_err::create_dir(to)?;
    let mut directories = Vec::new();
    let mut paths = vec![Vec::new()];
    for found in lower.walk(b"") {
        let path = found.path();
        if path.is_empty() {
            continue;
        }
        let target = to.join(OsStr::from_bytes(path));
        paths.push(path.to_vec());
        if found.is_further_name() {
            // The first name may be hidden by a higher layer; then this one gets the bytes.
            let first = to.join(OsStr::from_bytes(&found.entry.path));
            if first.symlink_metadata().is_ok_and(|first| first.is_file())
                && fs_err::hard_link(&first, &target).is_ok()
            {
                continue;
            }
        }
        let source = trees
            .get(found.layer)
            .map(|tree| tree.join(OsStr::from_bytes(&found.entry.path)));
        make(&found.entry, source.as_deref(), &target, owners_are_fake)?;
        if matches!(found.entry.kind, EntryKind::Directory { .. }) {
            directories.push((target, found.entry));
        }
    }
    Ok(Copied { paths, directories })
}

fn set_directory_times(directories: &[(PathBuf, Entry)]) -> Result<(), StepError> {
    let children_first = directories.iter().rev();
    children_first
        .into_iter()
        .try_for_each(|(directory, entry)| set_times(directory, entry))
}

fn fingerprint(to: &Path, path: Vec<u8>) -> Result<(Vec<u8>, Fingerprint), StepError> {
    let file = if path.is_empty() {
        to.to_owned()
    } else {
        to.join(OsStr::from_bytes(&path))
    };
    let stat = rustix::fs::lstat(&file).map_err(failed("look at", &file))?;
    Ok((path, Fingerprint::of(&stat)))
}

fn make(
    entry: &Entry,
    source: Option<&Path>,
    target: &Path,
    owners_are_fake: bool,
) -> Result<(), StepError> {
    match &entry.kind {
        EntryKind::Directory { .. } => fs_err::create_dir(target)?,
        EntryKind::Symlink { target: to } => {
            fs_err::os::unix::fs::symlink(OsStr::from_bytes(to), target)?;
        }
        EntryKind::File { .. } => {
            let missing = || io::Error::from(io::ErrorKind::NotFound);
            fs_err::copy(source.ok_or_else(missing)?, target)?;
        }
        EntryKind::Fifo => mknod(target, FileType::Fifo, 0)?,
        EntryKind::CharDevice { major, minor } => {
            device(target, FileType::CharacterDevice, (*major, *minor))?;
        }
        EntryKind::BlockDevice { major, minor } => {
            device(target, FileType::BlockDevice, (*major, *minor))?;
        }
        EntryKind::Hardlink { .. } | EntryKind::Whiteout => return Ok(()),
    }
    if !owners_are_fake {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(CWD, target, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("change the owner of", target))?;
    }
    if matches!(entry.kind, EntryKind::Symlink { .. }) {
        return set_times(target, entry);
    }
    rustix::fs::chmod(target, Mode::from_raw_mode(entry.mode))
        .map_err(failed("change the mode of", target))?;
    for (name, value) in &entry.xattrs {
        // Where attributes are not supported the index still has them.
        rustix::fs::lsetxattr(target, OsStr::from_bytes(name), value, XattrFlags::empty())
            .unwrap_or(());
    }
    owners::note(target, entry, owners_are_fake);
    set_times(target, entry)
}

/// Makes a device, or where that is not possible an empty file that stands for it.
fn device(target: &Path, kind: FileType, (major, minor): (u32, u32)) -> Result<(), StepError> {
    let number = rustix::fs::makedev(major, minor);
    if mknod(target, kind, number).is_err() {
        fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(target)?;
    }
    Ok(())
}

fn mknod(target: &Path, kind: FileType, device: u64) -> Result<(), StepError> {
    rustix::fs::mknodat(CWD, target, kind, Mode::from_raw_mode(0o600), device)
        .map_err(failed("make", target))
}

fn set_times(path: &Path, entry: &Entry) -> Result<(), StepError> {
    dress::set_times(path, entry).map_err(failed("set the times of", path))
}
