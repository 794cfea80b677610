//! A root file system as its layers' indexes show it: look-ups, symbolic links, listings.
//!
//! Nothing here touches a file system, so nothing a layer contains can lead out of the root.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::error::ImageError;

use super::entry::{Entry, EntryKind, LayerPath};
use super::index::{LayerIndex, implied_directory};
use super::merge::{Depth, Walk, hides_lower};
use super::path::{self, split_last};
use super::places::{MANY, Places};

/// Most symbolic links that one resolution follows. Linux stops at 40; more would resolve nowhere.
const MAX_LINKS: usize = 255;

/// Longest path that a resolution may have to look at, in bytes.
const MAX_PENDING: usize = 1 << 20;

/// A stack of layers, seen as the one tree that they make.
#[derive(Debug, Clone, Default)]
pub struct Rootfs {
    layers: Vec<Arc<LayerIndex>>,
    /// Where paths are, once there are many layers. It is shared with clones to which layers were added, and knows
    /// theirs as well.
    places: Option<Arc<RwLock<Places>>>,
}

/// What is visible at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Position in [`Rootfs::layers`] of the layer that provides it; 0 in an empty stack.
    pub layer: usize,
    /// Its metadata and content. For a further name of a hard-linked file this is the file's entry,
    /// whose path is another name of the file in the same layer.
    pub entry: Entry,
    /// The path, if it is such a further name.
    link: Option<LayerPath>,
    /// Equal for all names of a file of the layer that has several.
    group: Option<usize>,
}

impl Found {
    /// Returns what the entry `name` of a layer, the one at `position`, stands for.
    pub(super) fn new(layer: usize, index: &LayerIndex, position: usize, name: Entry) -> Self {
        if let EntryKind::Hardlink { target } = &name.kind
            && let Some(file) = index.entries().find(target)
            && let Some(entry) = file.entry()
        {
            return Self {
                layer,
                entry,
                link: Some(name.path),
                group: index.link_number(file.position()),
            };
        }
        Self {
            layer,
            entry: name,
            link: None,
            group: index.link_number(position),
        }
    }

    /// Returns a directory that the layer only implies.
    pub(super) fn implied(layer: usize, entry: Entry) -> Self {
        Self {
            layer,
            entry,
            link: None,
            group: None,
        }
    }

    /// Returns where it was found.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        self.link.as_deref().unwrap_or(&self.entry.path)
    }

    /// Returns true if it is a further name of a file, the first being that of its entry.
    #[must_use]
    pub fn is_further_name(&self) -> bool {
        self.link.is_some()
    }

    /// Returns a number that the names of a file share in its layer, if it has several.
    #[must_use]
    pub fn group(&self) -> Option<usize> {
        self.group
    }

    /// Returns the entry at the path itself: a hard link, or the same as `entry`.
    #[must_use]
    pub fn name(&self) -> Entry {
        match &self.link {
            Some(path) => Entry {
                path: path.clone(),
                kind: EntryKind::Hardlink {
                    target: self.entry.path.clone(),
                },
                ..self.entry.clone()
            },
            None => self.entry.clone(),
        }
    }

    /// Returns the entry with the path where it was found.
    #[must_use]
    pub fn into_entry(self) -> Entry {
        match self.link {
            Some(path) => Entry { path, ..self.entry },
            None => self.entry,
        }
    }

    /// Returns true if it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        matches!(self.entry.kind, EntryKind::Directory { .. })
    }
}

/// Whether a symbolic link in the last place of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// It is, as `stat` does.
    Last,
    /// It is not, as `lstat` does.
    NoFollow,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The path without symbolic links, `.` and `..`. If nothing is there, the path that creating it
    /// would create.
    pub path: LayerPath,
    /// What is there.
    pub found: Option<Found>,
}

impl Rootfs {
    /// Returns the tree that `layers`, base first, make.
    #[must_use]
    pub fn new(layers: Vec<Arc<LayerIndex>>) -> Self {
        let mut rootfs = Self {
            layers,
            places: None,
        };
        rootfs.note_places();
        rootfs
    }

    /// Returns the layers, base first.
    #[must_use]
    pub fn layers(&self) -> &[Arc<LayerIndex>] {
        &self.layers
    }

    /// Adds a layer on top.
    pub fn push(&mut self, layer: Arc<LayerIndex>) {
        let shared = self.places.as_ref().map(|places| {
            let mut places = places.write().unwrap_or_else(PoisonError::into_inner);
            let is_mine = places.n_layers() == self.layers.len();
            if is_mine {
                places.push(&layer);
            }
            is_mine
        });
        self.layers.push(layer);
        if shared != Some(true) {
            // Another layer was added to a clone.
            self.note_places();
        }
    }

    /// Begins to note where paths are, if there are layers enough for that.
    fn note_places(&mut self) {
        if self.layers.len() < MANY {
            return;
        }
        let mut places = Places::default();
        for layer in &self.layers {
            places.push(layer);
        }
        self.places = Some(Arc::new(RwLock::new(places)));
    }

    pub(super) fn layer(&self, at: usize) -> &LayerIndex {
        &self.layers[at]
    }

    /// Returns what is at `path`, which must be clean. No symbolic link is followed, neither on the
    /// way nor in the last place.
    #[must_use]
    pub fn lookup(&self, path: &[u8]) -> Option<Found> {
        match self.places() {
            None => self.lookup_in((0..self.layers.len()).rev(), path),
            Some(places) => self.lookup_in(self.deciding(&places, path), path),
        }
    }

    fn places(&self) -> Option<RwLockReadGuard<'_, Places>> {
        let places = self.places.as_ref()?;
        Some(places.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the layers, the highest first, by which [`Rootfs::lookup_in`] finds what it finds by all.
    fn deciding(&self, places: &Places, path: &[u8]) -> impl Iterator<Item = usize> + use<> {
        let n = self.layers.len();
        let mut layers = places.large(n).to_vec();
        let entry = places.entry(path, n);
        let hiding = path::ancestors(path).filter_map(|ancestor| places.hiding(ancestor, n));
        let hiding = hiding.max();
        let is_end = |layer: &usize| {
            let layer = &self.layers[*layer];
            layer.get(path).is_some() || hides_below_ancestor(layer, path)
        };
        let large = layers.iter().copied().rfind(is_end);
        let end = entry.max(hiding).max(large).unwrap_or(0);
        let implied = places.implied(path, end).filter(|layer| *layer < n);
        layers.extend([entry, hiding, implied].into_iter().flatten());
        layers.sort_unstable();
        layers.dedup();
        layers.into_iter().rev()
    }

    /// Returns what these layers, the highest first, have at `path`.
    fn lookup_in(&self, layers: impl Iterator<Item = usize>, path: &[u8]) -> Option<Found> {
        // A directory that a layer only implies: it exists, but a lower layer may know its metadata.
        let mut implied = None;
        for at in layers {
            let layer = &self.layers[at];
            let place = layer.entries().find(path);
            if let Some((place, entry)) =
                place.and_then(|place| Some((place.position(), place.entry()?)))
            {
                return match entry.kind {
                    EntryKind::Whiteout => implied,
                    EntryKind::Directory { .. } => Some(Found::new(at, layer, place, entry)),
                    _ => implied.or_else(|| Some(Found::new(at, layer, place, entry))),
                };
            }
            // Of several that imply it, the lowest was the first to.
            let here = layer.get_implied(path);
            implied = here.map(|entry| Found::implied(at, entry)).or(implied);
            if hides_below_ancestor(layer, path) {
                return implied;
            }
        }
        if path.is_empty() {
            return implied.or_else(|| Some(Found::implied(0, implied_directory(b""))));
        }
        implied
    }

    /// Resolves `path` as a process whose root directory is this tree would: absolute targets start
    /// at the root again, `..` stops at it. A leading slash makes no difference, and neither does
    /// one at the end.
    ///
    /// Components after something that does not exist (or is no directory) are taken as they are.
    ///
    /// # Errors
    /// [`ImageError::LinkLoop`] after 255 symbolic links.
    pub fn resolve(&self, path: &[u8], follow: Follow) -> Result<Resolved, ImageError> {
        let looped = || ImageError::LinkLoop {
            path: path::display(path),
        };
        // Components still to go, the next one last.
        let mut pending: Vec<LayerPath> = components_reversed(path);
        let mut resolved = LayerPath::new();
        let mut found = self.lookup(b"");
        let mut n_links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                path::pop(&mut resolved);
                found = self.lookup(&resolved);
                continue;
            }
            let length = resolved.len();
            path::push(&mut resolved, &name);
            found = self.lookup(&resolved);
            let kind = found.as_ref().map(|found| &found.entry.kind);
            let Some(EntryKind::Symlink { target }) = kind else {
                continue;
            };
            if pending.is_empty() && follow == Follow::NoFollow {
                continue;
            }
            n_links += 1;
            if n_links > MAX_LINKS || pending.len() > MAX_PENDING {
                return Err(looped());
            }
            resolved.truncate(if target.starts_with(b"/") { 0 } else { length });
            pending.extend(components_reversed(target));
            found = self.lookup(&resolved);
        }
        Ok(Resolved {
            path: resolved,
            found,
        })
    }

    /// Returns what lies directly in the directory at `path`, which must be clean, sorted by name.
    /// Nothing if there is no directory.
    pub fn read_dir(&self, path: &[u8]) -> Walk<'_> {
        Walk::new(self, path, self.layers_at(path), Depth::Children)
    }

    /// Returns what is at `path`, which must be clean, and all below it, in
    /// [`compare_paths`](super::path::compare_paths) order. Symbolic links are not followed.
    pub fn walk(&self, path: &[u8]) -> Walk<'_> {
        Walk::new(self, path, self.layers_at(path), Depth::All)
    }

    /// Returns the layers of which anything at or below `path` can be visible.
    fn layers_at(&self, path: &[u8]) -> impl Iterator<Item = usize> + use<> {
        let (floor, n) = (self.floor(path), self.layers.len());
        let noted = self.places().map(|places| places.at(path, n));
        let all = noted.is_none().then_some(floor..n);
        let noted = noted.into_iter().flatten();
        noted
            .filter(move |at| *at >= floor)
            .chain(all.into_iter().flatten())
    }

    /// Returns the lowest layer of which anything at or below `path` can be visible.
    fn floor(&self, path: &[u8]) -> usize {
        let n = self.layers.len();
        let hides = |at: &usize| {
            let layer = &self.layers[*at];
            layer.get(path).as_ref().is_some_and(hides_lower) || hides_below_ancestor(layer, path)
        };
        let Some(places) = self.places() else {
            return (0..n).rfind(hides).unwrap_or(0);
        };
        let large = places.large(n).iter().copied().rfind(hides);
        let way = path::ancestors(path).chain([path]);
        let noted = way.filter_map(|path| places.hiding(path, n)).max();
        large.max(noted).unwrap_or(0)
    }

    /// Returns the directories that some layer only implies, each once, in order.
    #[must_use]
    pub fn implied_paths(&self) -> Vec<LayerPath> {
        let n = self.layers.len();
        let of_layer = |layer: &Arc<LayerIndex>| {
            let implied = layer.implied().iter();
            implied.map(|entry| entry.path).collect::<Vec<_>>()
        };
        let paths: BTreeSet<LayerPath> = match self.places() {
            None => self.layers.iter().flat_map(of_layer).collect(),
            Some(places) => {
                let large = places.large(n).iter().map(|at| &self.layers[*at]);
                let noted = places.implied_paths(n).map(<[u8]>::to_vec);
                large.flat_map(of_layer).chain(noted).collect()
            }
        };
        paths.into_iter().collect()
    }
}

/// Returns true if `layer` hides `path` of the layers below it because of an ancestor of `path`.
fn hides_below_ancestor(layer: &LayerIndex, path: &[u8]) -> bool {
    let mut ancestor = path;
    while let Some((parent, _)) = split_last(ancestor) {
        if layer.get(parent).as_ref().is_some_and(hides_lower) {
            return true;
        }
        ancestor = parent;
    }
    false
}

/// Splits a path as written into its components, dropping empty ones and `.`.
fn components_reversed(path: &[u8]) -> Vec<LayerPath> {
    path.rsplit(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .map(<[u8]>::to_vec)
        .collect()
}
