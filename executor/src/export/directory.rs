//! A root file system in a directory of the invoker's.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rbuild_image::layer::LayerStore;
use rbuild_image::layer::entry::{Entry, EntryKind};
use rustix::fs::{CWD, FileType, Mode};

use super::{Directories, Links, Part, Stack};
use crate::dress::set_times;
use crate::error::{StepError, failed};

/// What becomes of other files in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Others {
    /// They stay.
    #[default]
    Keep,
    /// They are removed, so that the directory is what was exported.
    Remove,
}

/// Writes the files of all `parts` into the directory `to`, over what is there. Everything belongs to
/// the invoker; devices are left out. With an epoch, every time is set to it.
///
/// # Errors
/// Layers that cannot be brought or read, and files that cannot be written.
pub fn export_directory(
    store: &LayerStore,
    parts: &[Part<'_>],
    to: &Path,
    epoch: Option<i64>,
    others: Others,
) -> Result<(), StepError> {
    fs_err::create_dir_all(to)?;
    let mut export = Export {
        to,
        epoch,
        repeated: Directories::default(),
        directories: Vec::new(),
        written: (others == Others::Remove).then(HashSet::new),
    };
    for part in parts {
        export.write(store, part)?;
    }
    if let Some(written) = &export.written {
        remove_others(to, b"", written)?;
    }
    // Children first: a mode may forbid writing, and writing changes the time.
    for (path, entry) in export.directories.iter().rev() {
        finish(path, entry)?;
    }
    Ok(())
}

struct Export<'a> {
    to: &'a Path,
    epoch: Option<i64>,
    repeated: Directories,
    directories: Vec<(PathBuf, Entry)>,
    /// All paths in the directory, of parents too, if others are removed.
    written: Option<HashSet<Vec<u8>>>,
}

impl Export<'_> {
    fn note(&mut self, path: &[u8]) {
        if let Some(written) = &mut self.written {
            written.insert(path.to_vec());
        }
    }

    fn write(&mut self, store: &LayerStore, part: &Part<'_>) -> Result<(), StepError> {
        let Export { to, epoch, .. } = *self;
        let stack = Stack::open(store, part.layers)?;
        if !part.prefix.is_empty() {
            fs_err::create_dir_all(to.join(part.prefix))?;
            self.note(part.prefix.as_bytes());
        }
        let mut links = Links::default();
        for found in stack.rootfs.walk(b"") {
            if found.path().is_empty() && part.prefix.is_empty() {
                continue;
            }
            let mut entry = links.entry(&found, part.prefix);
            if self.repeated.is_repeated(&entry) {
                continue;
            }
            if let Some(epoch) = epoch {
                entry.mtime.seconds = epoch;
                entry.mtime.nanoseconds = 0;
            }
            let path = to.join(OsStr::from_bytes(&entry.path));
            clear(&path, &entry)?;
            match &entry.kind {
                EntryKind::Directory { .. } => {
                    make_directory(&path)?;
                    self.note(&entry.path);
                    self.directories.push((path, entry));
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
                    self.note(&entry.path);
                    continue;
                }
                EntryKind::Fifo => {
                    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                        .map_err(failed("make", &path))?;
                }
                EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::Whiteout => {
                    continue;
                }
            }
            finish(&path, &entry)?;
            self.note(&entry.path);
        }
        Ok(())
    }
}

/// Removes what is below the directory `path` of `to` and was not written.
fn remove_others(to: &Path, path: &[u8], written: &HashSet<Vec<u8>>) -> Result<(), StepError> {
    for entry in fs_err::read_dir(to.join(OsStr::from_bytes(path)))? {
        let entry = entry?;
        let below = rbuild_image::layer::path::join(path, entry.file_name().as_bytes());
        let is_directory = entry.file_type()?.is_dir();
        match (written.contains(&below), is_directory) {
            (true, true) => remove_others(to, &below, written)?,
            (true, false) => {}
            (false, true) => fs_err::remove_dir_all(entry.path())?,
            (false, false) => fs_err::remove_file(entry.path())?,
        }
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
