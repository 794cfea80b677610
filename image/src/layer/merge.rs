//! The merged view of a stack of layers, as one pass in order over all their entries.
//!
//! No entry is cloned and nothing is collected: each layer is a sorted slice, the pass takes the
//! smallest path of all, and jumps over what a higher layer hides.

use super::entry::{Entry, EntryKind};
use super::index::{count_through, subtree};
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
    /// What is left of each layer's entries and implied directories, base first.
    left: Vec<(&'a [Entry], &'a [Entry])>,
}

impl<'a> Walk<'a> {
    /// `floor` is the lowest layer whose entries below `start` are visible.
    pub(super) fn new(rootfs: &'a Rootfs, start: &[u8], floor: usize, depth: Depth) -> Self {
        let slices = |(at, layer): (usize, &'a std::sync::Arc<super::index::LayerIndex>)| {
            if at < floor {
                return (&[][..], &[][..]);
            }
            let mut entries = layer.subtree(start);
            let mut implied = subtree(layer.implied(), start);
            if depth == Depth::Children {
                entries = without(entries, start);
                implied = without(implied, start);
            }
            (entries, implied)
        };
        Self {
            rootfs,
            depth,
            left: rootfs.layers().iter().enumerate().map(slices).collect(),
        }
    }

    /// Returns the smallest path that is left.
    fn next_path(&self) -> Option<&'a [u8]> {
        let heads = self.left.iter().flat_map(|(entries, implied)| {
            let entry = entries.first().map(|entry| entry.path.as_slice());
            let implied = implied.first().map(|entry| entry.path.as_slice());
            entry.into_iter().chain(implied)
        });
        heads.min_by(|left, right| compare_paths(left, right))
    }

    /// Takes the entries at `path` off all layers; returns what is visible there, if anything, and
    /// drops what it hides.
    fn take(&mut self, path: &[u8]) -> Option<Found<'a>> {
        let mut found: Option<Found<'a>> = None;
        let mut implied: Option<Found<'a>> = None;
        let mut decided = false;
        let mut floor = 0;
        for at in (0..self.left.len()).rev() {
            let layer = self.rootfs.layer(at);
            let (entries, implicit) = &mut self.left[at];
            if let Some(entry) = take_first(entries, path) {
                if !decided {
                    decided = true;
                    let shown = match entry.kind {
                        EntryKind::Whiteout => false,
                        EntryKind::Directory { .. } => true,
                        _ => implied.is_none(),
                    };
                    found = shown.then(|| Found::new(at, layer, entry));
                }
                if floor == 0 && hides_lower(entry) {
                    floor = at;
                }
            }
            if let Some(entry) = take_first(implicit, path)
                && !decided
            {
                implied = Some(Found::new(at, layer, entry));
            }
        }
        for (entries, implicit) in &mut self.left[..floor] {
            *entries = &entries[count_through(entries, path)..];
            *implicit = &implicit[count_through(implicit, path)..];
        }
        if self.depth == Depth::Children {
            for (entries, implicit) in &mut self.left {
                *entries = &entries[count_through(entries, path)..];
                *implicit = &implicit[count_through(implicit, path)..];
            }
        }
        found.or(implied)
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let path = self.next_path()?;
            if let Some(found) = self.take(path) {
                return Some(found);
            }
        }
    }
}

/// Returns true if `entry` hides what lower layers have below its path.
pub(super) fn hides_lower(entry: &Entry) -> bool {
    !matches!(entry.kind, EntryKind::Directory { opaque: false })
}

fn take_first<'a>(entries: &mut &'a [Entry], path: &[u8]) -> Option<&'a Entry> {
    let (first, rest) = entries.split_first()?;
    if first.path != path {
        return None;
    }
    *entries = rest;
    Some(first)
}

fn without<'a>(entries: &'a [Entry], path: &[u8]) -> &'a [Entry] {
    match entries.split_first() {
        Some((first, rest)) if !is_below(&first.path, path) => rest,
        _ => entries,
    }
}
