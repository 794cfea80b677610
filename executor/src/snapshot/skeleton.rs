//! Empty files and directories that have to be there before a process starts, laid over a root
//! file system without changing how it looks otherwise.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rbuild_image::layer::entry::Entry;
use rbuild_image::layer::tree::OpaqueMark;
use rbuild_image::layer::{Follow, Rootfs, path as layer_path};
use rbuild_sandbox::TargetKind;
use rustix::fs::{Mode, XattrFlags};

use super::owners;
use crate::dress::dress;
use crate::error::{StepError, failed};

/// Whether directories that layers only imply get their right metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mends {
    Implied,
    Nothing,
}

/// Which mount points are drawn although they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Covered {
    /// Those that every step has mounts on, which no program can take away. In the topmost of many layers the kernel
    /// finds them at once; elsewhere it looks through all layers for each.
    ByKernel,
    Nothing,
}

impl Covered {
    fn has(self, target: &Path) -> bool {
        const ALWAYS: [&str; 5] = ["/proc", "/sys", "/dev", "/etc/hosts", "/etc/resolv.conf"];
        self == Self::ByKernel && ALWAYS.iter().any(|path| target == Path::new(path))
    }
}

/// Makes directories that are copies of those of a root file system.
pub(super) struct Skeleton<'a> {
    /// The root file system.
    pub(super) lower: &'a Rootfs,
    /// True if owners cannot be set.
    pub(super) owners_are_fake: bool,
}

impl Skeleton<'_> {
    /// Draws those `targets` that the root file system does not have, with their parents as they are there; and those
    /// that it has and that are `covered`.
    pub(super) fn draw(
        &self,
        targets: &[(PathBuf, TargetKind)],
        covered: Covered,
        mends: Mends,
    ) -> Result<Drawing, StepError> {
        let missing = self.missing(targets, covered)?;
        let mut directories = missing.parents;
        directories.extend(missing.directories);
        directories.extend(missing.covered.iter().cloned());
        if mends == Mends::Implied {
            for path in self.implied() {
                directories.extend(layer_path::ancestors(&path).map(<[u8]>::to_vec));
                directories.insert(path);
            }
        }
        let known = |path: Vec<u8>| {
            let entry = self.lower.lookup(&path).map(|found| found.entry);
            (path, entry)
        };
        Ok(Drawing {
            directories: directories.into_iter().map(known).collect(),
            covered: missing.covered,
            files: missing.files,
            owners_are_fake: self.owners_are_fake,
        })
    }

    /// Makes those `targets` that the root file system does not have in `root`, a copy of it.
    /// Returns the paths of what was made.
    pub(super) fn add(
        &self,
        root: &Path,
        targets: &[(PathBuf, TargetKind)],
    ) -> Result<Vec<Vec<u8>>, StepError> {
        let missing = self.missing(targets, Covered::Nothing)?;
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
    fn implied(&self) -> impl Iterator<Item = Vec<u8>> {
        let paths = self.lower.implied_paths().into_iter();
        paths.filter(|path| {
            self.lower.lookup(path).is_some_and(|found| {
                let entry = &found.entry;
                found.is_directory() && (entry.mode, entry.uid, entry.gid) != (0o755, 0, 0)
            })
        })
    }

    fn missing(
        &self,
        targets: &[(PathBuf, TargetKind)],
        covered: Covered,
    ) -> Result<Missing, StepError> {
        let mut missing = Missing::default();
        missing.parents.insert(Vec::new());
        for (target, kind) in targets {
            let resolved = self
                .lower
                .resolve(target.as_os_str().as_bytes(), Follow::Last)?;
            if resolved.found.is_some() && !covered.has(target) {
                continue;
            }
            let is_directory = resolved.found.map(|found| found.is_directory());
            let parents = layer_path::ancestors(&resolved.path).map(<[u8]>::to_vec);
            missing.parents.extend(parents);
            match (kind, is_directory) {
                (TargetKind::Directory, None) => missing.directories.insert(resolved.path),
                (TargetKind::Directory, Some(true)) => missing.covered.insert(resolved.path),
                (TargetKind::File, None | Some(false)) => missing.files.insert(resolved.path),
                // Mounting will say so.
                (TargetKind::Directory, Some(false)) | (TargetKind::File, Some(true)) => false,
            };
        }
        Ok(missing)
    }
}

/// What is to be made. Equal ones look the same once they are made.
#[derive(Debug, PartialEq)]
pub(crate) struct Drawing {
    /// By path, parents before children, from the root on; with what the root file system has there.
    directories: Vec<(Vec<u8>, Option<Entry>)>,
    /// Those of the directories below which nothing of the root file system is seen.
    covered: BTreeSet<Vec<u8>>,
    files: BTreeSet<Vec<u8>>,
    owners_are_fake: bool,
}

impl Drawing {
    /// True if there is something in it but the root.
    pub(super) fn has_targets(&self) -> bool {
        self.directories.len() > 1 || !self.files.is_empty()
    }

    /// Makes it below the directory `into`, which gets the root directory's metadata, with marks of overlayfs of the
    /// kind that `userxattr` says.
    pub(crate) fn make(&self, into: &Path, userxattr: bool) -> Result<(), StepError> {
        for (directory, _) in &self.directories {
            if !directory.is_empty() {
                make_directory(&place(into, directory))?;
            }
        }
        for file in &self.files {
            make_file(&place(into, file))?;
        }
        let mark = if userxattr {
            OpaqueMark::User
        } else {
            OpaqueMark::Trusted
        };
        for directory in &self.covered {
            // Without the mark the kernel just looks at more layers.
            let path = place(into, directory);
            rustix::fs::lsetxattr(&path, mark.xattr(), b"y", XattrFlags::empty()).unwrap_or(());
        }
        // Children first: making them changed their parents' times.
        for (directory, known) in self.directories.iter().rev() {
            if let Some(entry) = known {
                let path = place(into, directory);
                owners::note(&path, entry, self.owners_are_fake);
                dress(&path, entry, self.owners_are_fake)
                    .map_err(failed("make a copy of", &path))?;
            }
        }
        Ok(())
    }
}

/// What has to be made, parents before children.
#[derive(Default)]
struct Missing {
    parents: BTreeSet<Vec<u8>>,
    directories: BTreeSet<Vec<u8>>,
    covered: BTreeSet<Vec<u8>>,
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
