//! A root file system in a directory of the invoker's.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rbuild_image::digest::DiffId;
use rbuild_image::layer::LayerStore;
use rbuild_image::layer::entry::{Entry, EntryKind};
use rustix::fs::{CWD, FileType, Mode};

use super::{Links, Stack};
use crate::dress::set_times;
use crate::error::{StepError, failed};

/// Writes the files that `layers`, base first, make together into the directory `to`, over what is
/// there. Everything belongs to the invoker; devices are left out. With an epoch, every time is set
/// to it.
///
/// # Errors
/// Layers that cannot be brought or read, and files that cannot be written.
pub fn export_directory(
    store: &LayerStore,
    layers: &[DiffId],
    to: &Path,
    epoch: Option<i64>,
) -> Result<(), StepError> {
    let stack = Stack::open(store, layers)?;
    let mut links = Links::default();
    let mut directories = Vec::new();
    fs_err::create_dir_all(to)?;
    for found in stack.rootfs.walk(b"") {
        if found.path().is_empty() {
            continue;
        }
        let mut entry = links.entry(&found);
        if let Some(epoch) = epoch {
            entry.mtime.seconds = epoch;
            entry.mtime.nanoseconds = 0;
        }
        let path = to.join(OsStr::from_bytes(&entry.path));
        clear(&path, &entry)?;
        match &entry.kind {
            EntryKind::Directory { .. } => {
                make_directory(&path)?;
                directories.push((path, entry));
                continue;
            }
            EntryKind::File { .. } => {
                let mut file = fs_err::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&path)?;
                io::copy(&mut stack.open_file(&found)?, &mut file)?;
            }
            EntryKind::Symlink { target } => {
                fs_err::os::unix::fs::symlink(OsStr::from_bytes(target), &path)?;
            }
            EntryKind::Hardlink { target } => {
                fs_err::hard_link(to.join(OsStr::from_bytes(target)), &path)?;
                continue;
            }
            EntryKind::Fifo => {
                rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                    .map_err(failed("make", &path))?;
            }
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } | EntryKind::Whiteout => {
                continue;
            }
        }
        finish(&path, &entry)?;
    }
    // Children first: a mode may forbid writing, and writing changes the time.
    for (path, entry) in directories.iter().rev() {
        finish(path, entry)?;
    }
    Ok(())
}

/// Removes what stands at a path, unless a directory is to be there and one is. Links are removed,
/// not followed: an earlier export may have left one where a directory is now.
fn clear(path: &Path, entry: &Entry) -> Result<(), StepError> {
    let there = match fs_err::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let is_directory = matches!(entry.kind, EntryKind::Directory { .. });
    match (there.is_dir(), is_directory) {
        (true, true) => Ok(()),
        (true, false) => {
            let refused = io::Error::from(io::ErrorKind::IsADirectory);
            Err(StepError::File {
                doing: "replace",
                path: path.to_owned(),
                source: refused,
            })
        }
        (false, _) => Ok(fs_err::remove_file(path)?),
    }
}

fn make_directory(path: &Path) -> Result<(), StepError> {
    match fs_err::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => Ok(result?),
    }
}

fn finish(path: &Path, entry: &Entry) -> Result<(), StepError> {
    if !matches!(entry.kind, EntryKind::Symlink { .. }) {
        rustix::fs::chmod(path, Mode::from_raw_mode(entry.mode))
            .map_err(failed("change the mode of", path))?;
    }
    set_times(path, entry).map_err(failed("set the times of", path))
}
