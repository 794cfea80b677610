//! Empty files and directories that have to be there before a process starts, laid over a root
//! file system without changing how it looks otherwise.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rbuild_image::layer::{Follow, Rootfs, path as layer_path};
use rbuild_sandbox::TargetKind;
use rustix::fs::Mode;

use super::owners;
use crate::dress::dress;
use crate::error::{StepError, failed};

/// Whether directories that layers only imply get their right metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mends {
    Implied,
    Nothing,
}

/// Makes directories that are copies of those of a root file system.
pub(super) struct Skeleton<'a> {
    /// The root file system.
    pub(super) lower: &'a Rootfs,
    /// True if owners cannot be set.
    pub(super) owners_are_fake: bool,
}

impl Skeleton<'_> {
    /// Makes those `targets` that the root file system does not have below the directory `into`,
    /// with their parents as they are there; gives `into` the root directory's metadata. Returns
    /// true if any target was made.
    pub(super) fn make(
        &self,
        into: &Path,
        targets: &[(PathBuf, TargetKind)],
        mends: Mends,
    ) -> Result<bool, StepError> {
        let missing = self.missing(targets)?;
        let mut directories = missing.parents.clone();
        directories.extend(missing.directories.iter().cloned());
        if mends == Mends::Implied {
            for path in self.implied() {
                directories.extend(layer_path::ancestors(path).map(<[u8]>::to_vec));
                directories.insert(path.to_vec());
            }
        }
        for directory in directories.iter().filter(|path| !path.is_empty()) {
            make_directory(&place(into, directory))?;
        }
        for file in &missing.files {
            make_file(&place(into, file))?;
        }
        // Children first: making them changed their parents' times.
        for directory in directories.iter().rev() {
            if let Some(found) = self.lower.lookup(directory) {
                let path = place(into, directory);
                owners::note(&path, found.entry, self.owners_are_fake);
                dress(&path, found.entry, self.owners_are_fake)
                    .map_err(failed("make a copy of", &path))?;
            }
        }
        Ok(directories.len() > 1 || !missing.files.is_empty())
    }

    /// Makes those `targets` that the root file system does not have in `root`, a copy of it.
    /// Returns the paths of what was made.
    pub(super) fn add(
        &self,
        root: &Path,
        targets: &[(PathBuf, TargetKind)],
    ) -> Result<Vec<Vec<u8>>, StepError> {
        let missing = self.missing(targets)?;
        let new_parents = missing
            .parents
            .iter()
            .filter(|path| self.lower.lookup(path).is_none());
        let directories: BTreeSet<_> = new_parents.chain(&missing.directories).cloned().collect();
        for directory in &directories {
            make_directory(&place(root, directory))?;
        }
        for file in &missing.files {
            make_file(&place(root, file))?;
        }
        Ok(directories.into_iter().chain(missing.files).collect())
    }

    /// Directories that a layer only implies, with other metadata than its tree had to invent: a
    /// tree has them as 0755 of root, which an overlay would show.
    fn implied(&self) -> impl Iterator<Item = &[u8]> {
        let implied = self.lower.layers().iter().flat_map(|layer| layer.implied());
        implied.map(|entry| entry.path.as_slice()).filter(|path| {
            self.lower.lookup(path).is_some_and(|found| {
                let entry = found.entry;
                found.is_directory() && (entry.mode, entry.uid, entry.gid) != (0o755, 0, 0)
            })
        })
    }

    fn missing(&self, targets: &[(PathBuf, TargetKind)]) -> Result<Missing, StepError> {
        let mut missing = Missing::default();
        missing.parents.insert(Vec::new());
        for (target, kind) in targets {
            let resolved = self
                .lower
                .resolve(target.as_os_str().as_bytes(), Follow::Last)?;
            if resolved.found.is_some() {
                continue;
            }
            missing
                .parents
                .extend(layer_path::ancestors(&resolved.path).map(<[u8]>::to_vec));
            match kind {
                TargetKind::Directory => missing.directories.insert(resolved.path),
                TargetKind::File => missing.files.insert(resolved.path),
            };
        }
        Ok(missing)
    }
}

/// What has to be made, parents before children.
#[derive(Default)]
struct Missing {
    parents: BTreeSet<Vec<u8>>,
    directories: BTreeSet<Vec<u8>>,
    files: BTreeSet<Vec<u8>>,
}

fn make_directory(path: &Path) -> Result<(), StepError> {
    fs_err::create_dir(path)?;
    // Whatever the umask says.
    let mode = Mode::from_raw_mode(0o755);
    Ok(rustix::fs::chmod(path, mode).map_err(std::io::Error::from)?)
}

fn make_file(path: &Path) -> Result<(), StepError> {
    fs_err::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    Ok(())
}

fn place(into: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() {
        into.to_owned()
    } else {
        into.join(OsStr::from_bytes(path))
    }
}
