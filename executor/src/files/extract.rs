//! Chosen files on disk, for mounts of a `RUN`.
//!
//! The bytes are hashed on the way: what stands there is what the step's key says, whatever
//! happens to the source meanwhile.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rbuild_image::layer::entry::{ContentDigest, Entry, EntryKind};
use rustix::fs::{CWD, FileType, Mode};

use super::Selection;
use super::error::{FilesError, shown};
use super::node::Node;
use crate::dress::dress;

/// Bytes read at once; each copying thread has one buffer.
const BUFFER_SIZE: usize = 128 * 1024;

/// Opens a regular file of a source tree.
type Open<'a> = dyn Fn(&Node) -> Result<Box<dyn Read>, FilesError> + Sync + 'a;

/// How files of a selection are put on disk.
pub(crate) struct Extraction<'a> {
    /// Opens a regular file of the source tree.
    pub(crate) open: &'a Open<'a>,
    /// True if owners cannot be set.
    pub(crate) owners_are_fake: bool,
}

impl Selection {
    /// True if the first source names a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.top().is_some_and(Node::is_directory)
    }

    /// Path of what the first source names in its tree, links resolved.
    pub(crate) fn path(&self) -> &[u8] {
        self.top().map_or(&[], |top| &top.entry.path)
    }

    fn top(&self) -> Option<&Node> {
        Some(&self.sources.first()?.matches.first()?.top)
    }

    /// Puts what the first source names at `to`, which does not exist yet. Devices are left out.
    ///
    /// # Errors
    /// [`FilesError::Changed`] for a file whose bytes are not those that were selected,
    /// [`FilesError::Io`].
    pub(crate) fn extract(&self, to: &Path, how: &Extraction<'_>) -> Result<(), FilesError> {
        let Some(matched) = self.sources.first().and_then(|of| of.matches.first()) else {
            return Ok(());
        };
        let mut nodes = vec![(to.to_owned(), matched.top.clone())];
        nodes.extend(matched.below.iter().map(|below| {
            let place = to.join(OsStr::from_bytes(matched.relative(&below)));
            (place, below.node)
        }));
        let mut first_names = HashMap::new();
        let mut files = Vec::new();
        let mut later_names = Vec::new();
        for (place, node) in &nodes {
            match &node.entry.kind {
                EntryKind::Directory { .. } => fs_err::create_dir(place)
                    .map_err(|error| cannot("make a copy of", &node.entry, error))?,
                EntryKind::File { .. } => {
                    let known = node.link.and_then(|link| first_names.get(&link));
                    match known {
                        Some(first) => later_names.push((place, *first, node)),
                        None => files.push((place, node)),
                    }
                    if let Some(link) = node.link {
                        first_names.entry(link).or_insert(place);
                    }
                }
                EntryKind::Symlink { target } => {
                    fs_err::os::unix::fs::symlink(OsStr::from_bytes(target), place)
                        .map_err(|error| cannot("make a copy of", &node.entry, error))?;
                    how.dress(place, &node.entry)?;
                }
                EntryKind::Fifo => {
                    let mode = Mode::from_raw_mode(0o600);
                    rustix::fs::mknodat(CWD, place, FileType::Fifo, mode, 0)
                        .map_err(|errno| cannot("make a copy of", &node.entry, errno.into()))?;
                    how.dress(place, &node.entry)?;
                }
                EntryKind::CharDevice { .. }
                | EntryKind::BlockDevice { .. }
                | EntryKind::Hardlink { .. }
                | EntryKind::Whiteout => {}
            }
        }
        files.into_par_iter().try_for_each_init(
            || vec![0; BUFFER_SIZE],
            |buffer, (place, node)| how.file(place, node, buffer),
        )?;
        for (place, first, node) in later_names {
            fs_err::hard_link(first, place)
                .map_err(|error| cannot("make a copy of", &node.entry, error))?;
        }
        // Children first: making them changed their parents' times.
        for (place, node) in nodes.iter().rev().filter(|(_, node)| node.is_directory()) {
            how.dress(place, &node.entry)?;
        }
        Ok(())
    }
}

impl Extraction<'_> {
    fn file(&self, to: &PathBuf, node: &Node, buffer: &mut [u8]) -> Result<(), FilesError> {
        let entry = &node.entry;
        let EntryKind::File { digest, .. } = &entry.kind else {
            return Ok(());
        };
        let mut from = (self.open)(node)?;
        let mut file =
            fs_err::File::create(to).map_err(|error| cannot("make a copy of", entry, error))?;
        let mut hasher = blake3::Hasher::new();
        loop {
            let length = match from.read(buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(cannot("read", entry, error)),
            };
            hasher.update(&buffer[..length]);
            file.write_all(&buffer[..length])
                .map_err(|error| cannot("make a copy of", entry, error))?;
        }
        if ContentDigest(*hasher.finalize().as_bytes()) != *digest {
            return Err(FilesError::Changed {
                path: shown(&entry.path),
            });
        }
        self.dress(to, entry)
    }

    fn dress(&self, place: &Path, entry: &Entry) -> Result<(), FilesError> {
        dress(place, entry, self.owners_are_fake)
            .map_err(|errno| cannot("make a copy of", entry, errno.into()))
    }
}

fn cannot(doing: &'static str, entry: &Entry, source: std::io::Error) -> FilesError {
    FilesError::Io {
        doing,
        path: shown(&entry.path),
        source,
    }
}
