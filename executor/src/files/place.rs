//! Where selected files go: the destination rules of `COPY` and `ADD`.
//!
//! `tests/copies.rs` beside this file is the table of the rules. Knows nothing of bytes: see
//! [`super::pack`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;

use rbuild_image::layer::entry::{Entry, EntryKind, LayerPath, Mtime};
use rbuild_image::layer::path::{join, split_last};

use super::chmod::ModeChange;
use super::chown::Owner;
use super::error::{FilesError, shown};
use super::node::{Home, LinkGroup, Node};
use super::nodes::Walked;
use super::overlay::{Data, Model, Overlay, Placed, Unread};
use super::select::Match;

/// Mode of directories that are made for what lies in them.
pub(crate) const DIRECTORY_MODE: u32 = 0o755;

/// What times new entries get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// For what the step makes itself.
    pub(crate) now: Mtime,
    /// `SOURCE_DATE_EPOCH` in seconds, if it is set.
    pub(crate) epoch: Option<i64>,
}

/// Where a file was before, as far as its time is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In a build context, where times are as they happen to be.
    Context,
    /// In another step's root file system, the parent, or an archive, where they mean something.
    Image,
    /// Made by this step.
    Made,
}

impl Times {
    /// Returns the time of an entry that had `mtime` where it comes from.
    pub(crate) fn of(&self, mtime: Mtime, origin: Origin) -> Mtime {
        let Some(seconds) = self.epoch else {
            return if origin == Origin::Made {
                self.now
            } else {
                mtime
            };
        };
        let epoch = Mtime {
            seconds,
            nanoseconds: 0,
        };
        match origin {
            Origin::Context | Origin::Made => epoch,
            Origin::Image => mtime.min(epoch),
        }
    }
}

/// How files change on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) owner: Option<Owner>,
    pub(crate) mode: Option<ModeChange>,
    pub(crate) times: Times,
}

impl Change {
    /// Returns what directories look like that are made on the way to the destination.
    pub(crate) fn model(&self) -> Model {
        let mode = self.mode.as_ref();
        Model {
            mode: mode.map_or(DIRECTORY_MODE, ModeChange::of_parents),
            owner: self.owner.unwrap_or_default(),
            mtime: self.times.of(Mtime::default(), Origin::Made),
        }
    }
}

/// A destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Destination<'a> {
    /// Absolute path.
    pub(crate) path: &'a [u8],
    /// True if it was written as a directory.
    pub(crate) is_directory: bool,
}

/// Places what one source names.
#[derive(Debug)]
pub(crate) struct Placer<'p, 'a> {
    pub(crate) overlay: &'p mut Overlay<'a>,
    pub(crate) change: &'p Change,
    /// The source's number and its kind.
    pub(crate) source: usize,
    pub(crate) origin: Origin,
    /// Next free number for a group of hard links.
    pub(crate) n_links: &'p mut usize,
}

impl Placer<'_, '_> {
    /// Places one match at `dest`.
    ///
    /// # Errors
    /// [`FilesError::NotDirectory`], [`FilesError::CopyToNonDirectory`],
    /// [`FilesError::ReplaceDirectory`], [`FilesError::TooManyLinks`].
    pub(crate) fn place(
        &mut self,
        matched: Match,
        dest: Destination<'_>,
    ) -> Result<(), FilesError> {
        let model = self.change.model();
        let holder = if dest.is_directory {
            dest.path
        } else {
            parent(dest.path)
        };
        let holder = self.overlay.resolve(b"", holder)?;
        self.overlay.make_directories(&holder, &model)?;
        let target = self.overlay.resolve(b"", dest.path)?;
        let exists = target.is_empty() || self.overlay.lookup(&target).is_some();
        if matched.top.is_directory() {
            if !exists {
                self.overlay.make_directories(&target, &model)?;
            }
            return self.place_directory(matched, &target);
        }
        let target = if self.overlay.is_directory(&target) {
            join(&target, &matched.name)
        } else {
            target
        };
        self.overlay.make_directories(parent(&target), &model)?;
        let mut links = HashMap::new();
        self.place_leaf(matched.top, target, &mut links)
    }

    /// Puts the contents of a directory into the one at `target`.
    fn place_directory(&mut self, matched: Match, target: &[u8]) -> Result<(), FilesError> {
        let times = self.change.times;
        if !target.is_empty() {
            // The directory itself keeps all it has, and takes its time from the source.
            let mut top = match self.overlay.lookup(target) {
                Some(entry) if matches!(entry.kind, EntryKind::Directory { .. }) => entry,
                _ => {
                    return Err(FilesError::CopyToNonDirectory {
                        path: shown(target),
                    });
                }
            };
            top.path = target.to_vec();
            top.mtime = times.of(matched.top.entry.mtime, self.origin);
            self.overlay.put(without_data(top));
        }
        let mut links = HashMap::new();
        for below in matched.below.into_nodes() {
            let from = &below.node.entry.path;
            let path = join(target, from.get(matched.prefix..).unwrap_or_default());
            if below.node.is_directory() {
                self.place_subdirectory(below, path, matched.is_sparse)?;
            } else {
                self.place_leaf(below.node, path, &mut links)?;
            }
        }
        Ok(())
    }

    fn place_subdirectory(
        &mut self,
        below: Walked,
        path: LayerPath,
        is_sparse: bool,
    ) -> Result<(), FilesError> {
        check_name(&path, &below.node.entry.path)?;
        let source_mode = below.node.entry.mode;
        let mut entry = match self.overlay.lookup(&path) {
            None => self.changed(below.node.entry),
            Some(existing) if !matches!(existing.kind, EntryKind::Directory { .. }) => {
                return Err(FilesError::CopyToNonDirectory { path: shown(&path) });
            }
            // Directories that were not asked for by name only get the source's mode.
            Some(existing) if is_sparse || below.is_implied => Entry {
                mode: source_mode,
                mtime: self.change.times.of(existing.mtime, Origin::Image),
                ..existing
            },
            Some(existing) => {
                let mut xattrs = existing.xattrs;
                let mut entry = self.changed(below.node.entry);
                xattrs.append(&mut entry.xattrs);
                entry.xattrs = xattrs;
                entry
            }
        };
        entry.path = path;
        self.overlay.put(without_data(entry));
        Ok(())
    }

    /// Places what is no directory.
    fn place_leaf(
        &mut self,
        node: Node,
        path: LayerPath,
        links: &mut HashMap<LinkGroup, usize>,
    ) -> Result<(), FilesError> {
        check_name(&path, &node.entry.path)?;
        if let EntryKind::CharDevice { major: 0, minor: 0 } = node.entry.kind {
            return Err(FilesError::Unstorable {
                path: shown(&node.entry.path),
                reason: "a device 0:0 marks a deletion in a layer",
            });
        }
        let existing = self.overlay.lookup(&path);
        if existing.is_some_and(|entry| matches!(entry.kind, EntryKind::Directory { .. })) {
            return Err(FilesError::ReplaceDirectory { path: shown(&path) });
        }
        let link = node.link.map(|group| {
            *links.entry(group).or_insert_with(|| {
                *self.n_links += 1;
                *self.n_links
            })
        });
        let is_inline = self.origin == Origin::Made;
        let unread = matches!(node.home, Home::Disk { unhashed: Some(_) }).then(|| {
            Arc::new(Unread {
                mode: node.entry.mode,
                mtime: node.entry.mtime,
                state: OnceLock::new(),
            })
        });
        let mut entry = self.changed(node.entry);
        let from = std::mem::replace(&mut entry.path, path);
        let source = self.source;
        let data = match node.home {
            Home::Nowhere if is_inline => Data::Inline { source },
            Home::Nowhere => Data::None,
            Home::Disk { .. } | Home::Layer(_) | Home::Fetched => Data::Source {
                source,
                path: from,
                unread,
            },
        };
        self.overlay.put(Placed { entry, data, link });
        Ok(())
    }

    /// Returns a source's entry with owner, mode and time as they will be.
    fn changed(&self, mut entry: Entry) -> Entry {
        if let Some(owner) = self.change.owner {
            entry.uid = owner.uid;
            entry.gid = owner.gid;
        }
        let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
        if let (Some(mode), false) = (&self.change.mode, is_link) {
            let is_directory = matches!(entry.kind, EntryKind::Directory { .. });
            entry.mode = mode.apply(entry.mode, is_directory);
        }
        entry.mtime = self.change.times.of(entry.mtime, self.origin);
        entry
    }
}

/// Refuses a name at the destination that a layer gives another meaning. `from` is where the file
/// comes from.
fn check_name(path: &[u8], from: &[u8]) -> Result<(), FilesError> {
    let name = split_last(path).map_or(path, |(_, name)| name);
    if !name.starts_with(b".wh.") {
        return Ok(());
    }
    Err(FilesError::Unstorable {
        path: shown(from),
        reason: "names that start with `.wh.` mark deletions in a layer",
    })
}

fn without_data(entry: Entry) -> Placed {
    Placed {
        entry,
        data: Data::None,
        link: None,
    }
}

fn parent(path: &[u8]) -> &[u8] {
    split_last(path).map_or(&[], |(parent, _)| parent)
}
