//! The merged view of a stack of layers, as one pass in order over all their entries.
//!
//! Nothing is collected: each layer is a sorted list, the pass takes the smallest path of all, and
//! jumps over what a higher layer hides.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::entry::{Entry, EntryKind, LayerPath};
use super::entry_list::{Cursor, EntryList};
use super::path::{compare_paths, is_below};
use super::rootfs::{Found, Rootfs};

/// How far below the starting path a pass goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The path itself and everything below it.
    All,
    /// What lies directly below it. Directories without entries are among the implied ones, so the
    /// first path of each subtree is always that of the child itself.
    Children,
}

/// The visible entries at and below a path, in [`compare_paths`] order; see [`Rootfs::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    rootfs: &'a Rootfs,
    depth: Depth,
    start: LayerPath,
    /// Where it is in the layers. The smallest path is on top, and of equal ones that of the highest layer.
    left: BinaryHeap<Rest<'a>>,
    /// The directories on the way to the last path of which something is hidden, each with the lowest layer that shows
    /// there.
    floors: Vec<(LayerPath, usize)>,
}

/// What is left of a layer's entries, or of its implied directories.
#[derive(Debug)]
struct Rest<'a> {
    layer: usize,
    is_implied: bool,
    /// Not at the end.
    cursor: Cursor<'a>,
}

impl<'a> Walk<'a> {
    /// `layers` are those that have something at `start`, from the lowest on of which something is visible.
    pub(super) fn new(
        rootfs: &'a Rootfs,
        start: &[u8],
        layers: impl Iterator<Item = usize>,
        depth: Depth,
    ) -> Self {
        let mut walk = Self {
            rootfs,
            depth,
            start: start.to_vec(),
            left: BinaryHeap::new(),
            floors: Vec::new(),
        };
        let rest = |layer: usize, is_implied: bool, list: &'a EntryList| {
            let mut cursor = list.seek(start);
            if depth == Depth::Children && cursor.path() == Some(start) {
                cursor.advance();
            }
            Rest {
                layer,
                is_implied,
                cursor,
            }
        };
        for at in layers {
            let layer = rootfs.layer(at);
            walk.push(rest(at, false, layer.entries()));
            walk.push(rest(at, true, layer.implied()));
        }
        walk
    }

    fn push(&mut self, rest: Rest<'a>) {
        let path = rest.cursor.path();
        if path.is_some_and(|path| path == self.start || is_below(path, &self.start)) {
            self.left.push(rest);
        }
    }

    /// Takes the entries at `path` off all layers; returns what is visible there, if anything.
    fn take(&mut self, path: &[u8]) -> Option<Found> {
        let is_left = |(above, _): &(LayerPath, usize)| !is_below(path, above);
        while self.floors.last().is_some_and(is_left) {
            self.floors.pop();
        }
        let mut found: Option<Found> = None;
        let mut implied: Option<Found> = None;
        let mut decided = false;
        let mut floor = 0;
        while let Some(mut rest) = self.take_rest(path) {
            let at = rest.layer;
            if let Some((above, _)) = self.floors.iter().find(|(_, floor)| at < *floor) {
                rest.cursor.skip(above);
                self.push(rest);
                continue;
            }
            if let Some(entry) = rest.cursor.entry().filter(|_| !decided || floor == 0) {
                if rest.is_implied {
                    if !decided {
                        implied = Some(Found::implied(at, entry));
                    }
                } else {
                    if floor == 0 && hides_lower(&entry) {
                        floor = at;
                    }
                    if !decided {
                        decided = true;
                        let shown = match entry.kind {
                            EntryKind::Whiteout => false,
                            EntryKind::Directory { .. } => true,
                            _ => implied.is_none(),
                        };
                        let (layer, position) = (self.rootfs.layer(at), rest.cursor.position());
                        found = shown.then(|| Found::new(at, layer, position, entry));
                    }
                }
            }
            rest.cursor.advance();
            self.push(rest);
        }
        if self.depth == Depth::Children {
            floor = usize::MAX;
        }
        if floor > 0 {
            self.floors.push((path.to_vec(), floor));
        }
        found.or(implied)
    }

    /// Takes what is on top, if it is at `path`.
    fn take_rest(&mut self, path: &[u8]) -> Option<Rest<'a>> {
        if self.left.peek()?.cursor.path() != Some(path) {
            return None;
        }
        self.left.pop()
    }
}

impl Iterator for Walk<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let path = self.left.peek()?.cursor.path()?.to_vec();
            if let Some(found) = self.take(&path) {
                return Some(found);
            }
        }
    }
}

impl Ord for Rest<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let [ours, theirs] = [self, other].map(|rest| rest.cursor.path().unwrap_or_default());
        compare_paths(theirs, ours).then(self.layer.cmp(&other.layer))
    }
}

impl PartialOrd for Rest<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rest<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rest<'_> {}

/// Returns true if `entry` hides what lower layers have below its path.
pub(super) fn hides_lower(entry: &Entry) -> bool {
    !matches!(entry.kind, EntryKind::Directory { opaque: false })
}
