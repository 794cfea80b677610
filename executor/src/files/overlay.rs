//! The parent's tree with the new layer's entries on top, while they are being placed.
//!
//! It is a model: look-ups, symbolic links and new entries, all by path. Nothing is written, no
//! file system is touched.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use rbuild_cache::files::FileState;
use rbuild_image::layer::entry::{Entry, EntryKind, LayerPath, Mtime};
use rbuild_image::layer::path::{ancestors, compare_paths, is_below, join, split_last};
use rbuild_image::layer::rootfs::Rootfs;

use super::chown::Owner;
use super::error::{FilesError, shown};
use super::place::{Origin, Times};
use super::placed::{Linking, PlacedList};
use super::tree::components_reversed;

/// Most symbolic links that one resolution follows.
const MAX_LINKS: usize = 255;

/// Where a new file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    /// There are none: not a file, or an empty one.
    None,
    /// The file at this path of the tree of source `source`.
    Source {
        source: usize,
        path: LayerPath,
        /// What it was when it was chosen, if it has no digest by which it would be known again.
        unread: Option<Arc<Unread>>,
    },
    /// The text of source `source`.
    Inline { source: usize },
    /// The file at this path of the parent.
    Parent { path: LayerPath },
    /// A part of unpacked archive `archive`.
    Archive { archive: usize, offset: u64 },
}

/// A file of a context that was not read before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) mode: u32,
    pub(crate) mtime: Mtime,
    /// The state in which it is read.
    pub(crate) state: OnceLock<FileState>,
}

/// A new entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Never a hard link; see `link`.
    pub(crate) entry: Entry,
    pub(crate) data: Data,
    /// Equal for the names of one file.
    pub(crate) link: Option<usize>,
}

/// The parent and the new entries above it.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    parent: Option<&'a Rootfs>,
    /// The new entries that came in order, which are most.
    run: PlacedList,
    /// The others; they count before those.
    new: HashMap<LayerPath, Placed>,
    /// The directory made last where the parent has nothing: nothing below it needs to be looked
    /// for there.
    fresh: Option<LayerPath>,
    /// True once a directory of the parent was replaced, so that what it held is hidden.
    hides_any: bool,
}

impl<'a> Overlay<'a> {
    /// Starts on a parent; without one, on nothing but a root directory.
    pub(crate) fn new(parent: Option<&'a Rootfs>) -> Self {
        Self {
            parent,
            run: PlacedList::default(),
            new: HashMap::new(),
            fresh: None,
            hides_any: false,
        }
    }

    /// Returns the entry that is visible at `path`, a clean path; follows no link.
    pub(crate) fn lookup(&self, path: &[u8]) -> Option<Entry> {
        if let Some(placed) = self.placed(path) {
            return Some(placed.entry);
        }
        let is_fresh = self
            .fresh
            .as_ref()
            .is_some_and(|fresh| is_below(path, fresh));
        if is_fresh || (self.hides_any && self.is_hidden(path)) {
            return None;
        }
        self.parent?.lookup(path).map(|found| found.entry)
    }

    /// Returns the new entry at `path`.
    pub(crate) fn placed(&self, path: &[u8]) -> Option<Placed> {
        if let Some(placed) = self.new.get(path) {
            return Some(placed.clone());
        }
        let last = self.run.last_path()?;
        if compare_paths(path, last).is_gt() {
            return None;
        }
        self.run.get(path)
    }

    /// As [`Overlay::placed`], to be changed. Its path and kind must stay.
    pub(crate) fn placed_mut(&mut self, path: &[u8]) -> Option<&mut Placed> {
        if !self.new.contains_key(path) {
            let placed = self.placed(path)?;
            self.new.insert(path.to_vec(), placed);
        }
        self.new.get_mut(path)
    }

    /// Returns true if a directory is visible at `path`.
    pub(crate) fn is_directory(&self, path: &[u8]) -> bool {
        path.is_empty() || self.lookup(path).as_ref().is_some_and(is_directory)
    }

    /// Resolves `path` as a process whose root is the directory `scope` would: links are followed
    /// everywhere, absolute ones and `..` stop at `scope`. What does not exist is taken as it is.
    ///
    /// # Errors
    /// [`FilesError::TooManyLinks`].
    pub(crate) fn resolve(&self, scope: &[u8], path: &[u8]) -> Result<LayerPath, FilesError> {
        let mut pending = components_reversed(path);
        let mut resolved = scope.to_vec();
        let mut n_links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                if resolved.len() > scope.len() {
                    let length = split_last(&resolved).map_or(0, |(parent, _)| parent.len());
                    resolved.truncate(length.max(scope.len()));
                }
                continue;
            }
            let next = join(&resolved, &name);
            let Some(EntryKind::Symlink { target }) = self.lookup(&next).map(|entry| entry.kind)
            else {
                resolved = next;
                continue;
            };
            n_links += 1;
            if n_links > MAX_LINKS {
                return Err(FilesError::TooManyLinks { path: shown(path) });
            }
            if target.starts_with(b"/") {
                resolved = scope.to_vec();
            }
            pending.extend(components_reversed(&target));
        }
        Ok(resolved)
    }

    /// Makes the directory at `path`, which holds no links, and those above it that are missing.
    ///
    /// # Errors
    /// [`FilesError::NotDirectory`] if something else is in the way.
    pub(crate) fn make_directories(
        &mut self,
        path: &[u8],
        model: &Model,
    ) -> Result<(), FilesError> {
        if self.is_directory(path) {
            return Ok(());
        }
        let above: Vec<LayerPath> = ancestors(path).map(<[u8]>::to_vec).collect();
        for path in above.iter().map(Vec::as_slice).chain([path]) {
            match self.lookup(path) {
                _ if path.is_empty() => {}
                None => self.put(model.directory(path)),
                Some(entry) if is_directory(&entry) => {}
                Some(_) => return Err(FilesError::NotDirectory { path: shown(path) }),
            }
        }
        Ok(())
    }

    /// Puts an entry at its path. If a directory gives way to something else, all that it holds
    /// goes too.
    pub(crate) fn put(&mut self, mut placed: Placed) {
        let path = placed.entry.path.clone();
        let before = self.lookup(&path).as_ref().map(is_directory);
        if before == Some(true) && !is_directory(&placed.entry) {
            // What is taken out of a run would have to be taken out of its middle.
            let run = std::mem::take(&mut self.run);
            for placed in run.iter() {
                let path = placed.entry.path.clone();
                self.new.entry(path).or_insert(placed);
            }
        }
        if let EntryKind::Directory { opaque } = &mut placed.entry.kind {
            // A directory in the place of a file that replaced a directory of the parent must not
            // show what that one held.
            let behind = self.placed(&path).map(|placed| placed.entry.kind);
            *opaque = match behind {
                Some(EntryKind::Directory { opaque }) => opaque,
                Some(_) => self.hides_any,
                None => false,
            };
            let is_below_fresh = self
                .fresh
                .as_ref()
                .is_some_and(|fresh| is_below(&path, fresh));
            if before.is_none() && !is_below_fresh {
                self.fresh = Some(path.clone());
            }
        } else if before == Some(true) {
            self.new.retain(|other, _| !is_below(other, &path));
            self.hides_any = true;
        }
        if self.new.contains_key(&path) || !self.run.push(&placed) {
            self.new.insert(path, placed);
        }
    }

    /// Returns the new entries in order, with every directory above them: of those that only the
    /// parent has, a copy. Further names of a file are hard links to the first.
    pub(crate) fn finish(mut self, times: Times) -> PlacedList {
        for path in self.directories_above() {
            if path.is_empty() || self.placed(&path).is_some() {
                continue;
            }
            let entry = match self.lookup(&path) {
                Some(entry) => Entry {
                    path: path.clone(),
                    kind: EntryKind::Directory { opaque: false },
                    mtime: times.of(entry.mtime, Origin::Image),
                    ..entry
                },
                None => Model::default().directory(&path).entry,
            };
            let copied = Placed {
                entry,
                data: Data::None,
                link: None,
            };
            self.new.insert(path, copied);
        }
        let mut others: Vec<Placed> = self.new.into_values().collect();
        others.sort_unstable_by(|left, right| in_order(left, right).reverse());
        let mut all = Linking::default();
        for placed in self.run.iter() {
            while let Some(other) = others.pop_if(|other| in_order(other, &placed).is_lt()) {
                all.push(other);
            }
            let instead = others.pop_if(|other| in_order(other, &placed).is_eq());
            all.push(instead.unwrap_or(placed));
        }
        others.into_iter().rev().for_each(|other| all.push(other));
        all.finish()
    }

    /// Returns the directories that new entries are in, and those above.
    fn directories_above(&self) -> BTreeSet<LayerPath> {
        let mut above = BTreeSet::new();
        let mut last = LayerPath::new();
        let others = self.new.values().map(|placed| placed.entry.path.clone());
        for path in self
            .run
            .iter()
            .map(|placed| placed.entry.path)
            .chain(others)
        {
            let parent = split_last(&path).map_or(&[][..], |(parent, _)| parent);
            if parent != last {
                last = parent.to_vec();
                above.extend(ancestors(parent).map(<[u8]>::to_vec));
                above.insert(last.clone());
            }
        }
        above
    }

    /// Tells whether what the parent has at `path` is hidden by a new entry above it.
    fn is_hidden(&self, path: &[u8]) -> bool {
        ancestors(path)
            .filter_map(|above| self.placed(above))
            .any(|placed| !matches!(placed.entry.kind, EntryKind::Directory { opaque: false }))
    }
}

/// What directories look like that are made because something lies in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
    pub(crate) mtime: Mtime,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            mode: super::place::DIRECTORY_MODE,
            owner: Owner::default(),
            mtime: Mtime::default(),
        }
    }
}

impl Model {
    /// Returns such a directory.
    pub(crate) fn directory(&self, path: &[u8]) -> Placed {
        Placed {
            entry: Entry {
                path: path.to_vec(),
                kind: EntryKind::Directory { opaque: false },
                mode: self.mode,
                uid: self.owner.uid,
                gid: self.owner.gid,
                mtime: self.mtime,
                xattrs: BTreeMap::new(),
            },
            data: Data::None,
            link: None,
        }
    }
}

fn in_order(left: &Placed, right: &Placed) -> Ordering {
    compare_paths(&left.entry.path, &right.entry.path)
}

fn is_directory(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::Directory { .. })
}
