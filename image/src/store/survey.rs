//! What is in a store and how much room it takes, to the block.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::Store;
use crate::digest::{DiffId, Digest};
use crate::error::ImageError;

/// Bytes of the blocks that `st_blocks` counts.
const BLOCK: u64 = 512;

/// Something in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Piece {
    /// Bytes of the blocks it takes.
    pub bytes: u64,
    /// When it was made or used last, in seconds since the Unix epoch.
    pub used: i64,
}

/// Everything in a store. Its parts add up to what `du` says of the store's folder: every block is
/// counted once, that of several names of a file for the first that is met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Blobs.
    pub blobs: BTreeMap<Digest, Piece>,
    /// Folders of layers.
    pub layers: BTreeMap<DiffId, Piece>,
    /// Cache mounts, by the name of their folder.
    pub mounts: BTreeMap<String, Piece>,
    /// Mirrors of git repositories, by the name of their folder.
    pub mirrors: BTreeMap<String, Piece>,
    /// Bytes of what is under way: staging and downloads.
    pub staging_bytes: u64,
    /// Bytes of everything else: names, the database, folders.
    pub other_bytes: u64,
}

impl Survey {
    /// Returns the bytes of everything.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let pieces = self
            .blobs
            .values()
            .chain(self.layers.values())
            .chain(self.mounts.values())
            .chain(self.mirrors.values());
        pieces.map(|piece| piece.bytes).sum::<u64>() + self.staging_bytes + self.other_bytes
    }
}

impl Store {
    /// Looks at everything in the store. What others add or remove meanwhile is counted or not.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn survey(&self) -> Result<Survey, ImageError> {
        Surveyor::default()
            .store(self.root())
            .map_err(ImageError::io("see what is in the store"))
    }
}

/// Returns the bytes of a file or of a folder with all that is in it.
///
/// # Errors
/// [`ImageError::Io`]
pub fn disk_usage(path: &Path) -> Result<u64, ImageError> {
    Surveyor::default()
        .tree(path)
        .map(|piece| piece.bytes)
        .map_err(ImageError::io("see how large something is"))
}

#[derive(Default)]
struct Surveyor {
    /// Files with several names that were counted: device and inode.
    counted: Mutex<HashSet<(u64, u64)>>,
}

impl Surveyor {
    fn store(&self, root: &Path) -> io::Result<Survey> {
        let mut survey = Survey {
            other_bytes: self.alone(root)?.bytes,
            ..Survey::default()
        };
        for name in names(root)? {
            let path = root.join(&name);
            match name.to_string_lossy().as_ref() {
                "blobs" => self.blobs(&path, &mut survey)?,
                "layers" => {
                    let folder = self.pieces(&path, &mut survey.other_bytes)?;
                    for (name, piece) in folder {
                        match digest(&name) {
                            Some(digest) => drop(survey.layers.insert(DiffId(digest), piece)),
                            None => survey.other_bytes += piece.bytes,
                        }
                    }
                }
                "mounts" => {
                    for (name, mut piece) in self.pieces(&path, &mut survey.other_bytes)? {
                        if is_our_folder(&path, &name) {
                            piece.used = piece.used.max(newest_lock(&path.join(&name)));
                            survey.mounts.insert(name, piece);
                        } else {
                            survey.other_bytes += piece.bytes;
                        }
                    }
                }
                "remote" => self.remote(&path, &mut survey)?,
                "tmp" | "ingest" => survey.staging_bytes += self.tree(&path)?.bytes,
                _ => survey.other_bytes += self.tree(&path)?.bytes,
            }
        }
        Ok(survey)
    }

    fn blobs(&self, path: &Path, survey: &mut Survey) -> io::Result<()> {
        survey.other_bytes += self.alone(path)?.bytes;
        for algorithm in names(path)? {
            let folder = path.join(&algorithm);
            for (name, piece) in self.pieces(&folder, &mut survey.other_bytes)? {
                match digest(&name).filter(|_| algorithm == "sha256") {
                    Some(digest) => drop(survey.blobs.insert(digest, piece)),
                    None => survey.other_bytes += piece.bytes,
                }
            }
        }
        Ok(())
    }

    /// Mirrors are folders; what is beside them are their locks.
    fn remote(&self, path: &Path, survey: &mut Survey) -> io::Result<()> {
        survey.other_bytes += self.alone(path)?.bytes;
        for kind in names(path)? {
            let folder = path.join(&kind);
            if kind != "git" {
                survey.other_bytes += self.tree(&folder)?.bytes;
                continue;
            }
            for (name, mut piece) in self.pieces(&folder, &mut survey.other_bytes)? {
                if is_our_folder(&folder, &name) {
                    let lock = folder.join(&name).with_extension("lock");
                    piece.used = piece.used.max(time_of(&lock));
                    survey.mirrors.insert(name, piece);
                } else {
                    survey.other_bytes += piece.bytes;
                }
            }
        }
        Ok(())
    }

    /// Looks at what is in a folder; the folder itself goes to `own_bytes`.
    fn pieces(&self, folder: &Path, own_bytes: &mut u64) -> io::Result<Vec<(String, Piece)>> {
        let own = self.alone(folder)?;
        *own_bytes += own.bytes;
        names(folder)?
            .into_par_iter()
            .map(|name| {
                let piece = self.tree(&folder.join(&name))?;
                Ok((name.to_string_lossy().into_owned(), piece))
            })
            .collect()
    }

    /// A file, or a folder with all that is in it; its time is that of the top.
    fn tree(&self, path: &Path) -> io::Result<Piece> {
        let (mut piece, is_dir) = self.look(path)?;
        let mut folders = Vec::new();
        if is_dir {
            folders.push(path.to_owned());
        }
        while let Some(folder) = folders.pop() {
            let entries = match fs_err::read_dir(&folder) {
                Err(error) if is_gone(&error) => continue,
                other => other?,
            };
            for entry in entries {
                let path = entry?.path();
                let (inner, is_dir) = self.look(&path)?;
                piece.bytes += inner.bytes;
                if is_dir {
                    folders.push(path);
                }
            }
        }
        Ok(piece)
    }

    fn alone(&self, path: &Path) -> io::Result<Piece> {
        self.look(path).map(|(piece, _)| piece)
    }

    /// Returns one inode's room, nothing if it was counted or is gone, and whether it is a folder.
    fn look(&self, path: &Path) -> io::Result<(Piece, bool)> {
        let metadata = match fs_err::symlink_metadata(path) {
            Err(error) if is_gone(&error) => return Ok((Piece::default(), false)),
            other => other?,
        };
        let mut bytes = metadata.blocks() * BLOCK;
        if metadata.nlink() > 1 && !metadata.is_dir() {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            if !counted.insert((metadata.dev(), metadata.ino())) {
                bytes = 0;
            }
        }
        let used = metadata.mtime();
        Ok((Piece { bytes, used }, metadata.is_dir()))
    }
}

/// Names that are no digests, and links, were put there by somebody else.
fn is_our_folder(parent: &Path, name: &str) -> bool {
    digest(name).is_some()
        && fs_err::symlink_metadata(parent.join(name)).is_ok_and(|found| found.is_dir())
}

/// Taking an instance of a cache mount renews the time of its lock.
fn newest_lock(mount: &Path) -> i64 {
    let names = names(mount).unwrap_or_default();
    let locks = names
        .iter()
        .filter(|name| name.as_encoded_bytes().ends_with(b".lock"));
    locks
        .map(|name| time_of(&mount.join(name)))
        .max()
        .unwrap_or(0)
}

fn time_of(path: &Path) -> i64 {
    fs_err::symlink_metadata(path).map_or(0, |found| found.mtime())
}

/// A path that is longer than the kernel takes counts as nothing: a step has made it, and nothing but
/// removing it whole is ever done with it.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}

fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    match fs_err::read_dir(folder) {
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        other => other?.map(|entry| Ok(entry?.file_name())).collect(),
    }
}

fn digest(hex: &str) -> Option<Digest> {
    format!("sha256:{hex}").parse().ok()
}
