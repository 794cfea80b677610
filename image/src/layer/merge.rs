//! The merged view of a stack of layers, as one pass in order over all their entries.
//!
//! Nothing is collected: each layer is a sorted list, the pass takes the smallest path of all, and
//! jumps over what a higher layer hides.

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
    /// Where it is in each layer's entries and implied directories, base first.
    left: Vec<(Cursor<'a>, Cursor<'a>)>,
}

impl<'a> Walk<'a> {
    /// `floor` is the lowest layer whose entries below `start` are visible.
    pub(super) fn new(rootfs: &'a Rootfs, start: &[u8], floor: usize, depth: Depth) -> Self {
        let cursor = |at: usize, list: &'a EntryList| {
            let mut cursor = list.seek(start);
            if at < floor {
                cursor.finish();
            }
            if depth == Depth::Children && cursor.path() == Some(start) {
                cursor.advance();
            }
            cursor
        };
        let layers = rootfs.layers().iter().enumerate();
        Self {
            rootfs,
            depth,
            start: start.to_vec(),
            left: layers
                .map(|(at, layer)| (cursor(at, layer.entries()), cursor(at, layer.implied())))
                .collect(),
        }
    }

    /// Returns the smallest path that is left.
    fn next_path(&self) -> Option<&[u8]> {
        let heads = self
            .left
            .iter()
            .flat_map(|(entries, implied)| entries.path().into_iter().chain(implied.path()));
        let is_inside = |path: &&[u8]| *path == self.start || is_below(path, &self.start);
        heads
            .min_by(|left, right| compare_paths(left, right))
            .filter(is_inside)
    }

    /// Takes the entries at `path` off all layers; returns what is visible there, if anything, and
    /// drops what it hides.
    fn take(&mut self, path: &[u8]) -> Option<Found> {
        let mut found: Option<Found> = None;
        let mut implied: Option<Found> = None;
        let mut decided = false;
        let mut floor = 0;
        for at in (0..self.left.len()).rev() {
            let layer = self.rootfs.layer(at);
            let (entries, implicit) = &mut self.left[at];
            if let Some((position, entry)) = take_here(entries, path) {
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
                    found = shown.then(|| Found::new(at, layer, position, entry));
                }
            }
            if let Some((_, entry)) = take_here(implicit, path)
                && !decided
            {
                implied = Some(Found::implied(at, entry));
            }
        }
        let n_skipped = match self.depth {
            Depth::All => floor,
            Depth::Children => self.left.len(),
        };
        for (entries, implicit) in &mut self.left[..n_skipped] {
            entries.skip(path);
            implicit.skip(path);
        }
        found.or(implied)
    }
}

impl Iterator for Walk<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let path = self.next_path()?.to_vec();
            if let Some(found) = self.take(&path) {
                return Some(found);
            }
        }
    }
}

/// Returns true if `entry` hides what lower layers have below its path.
pub(super) fn hides_lower(entry: &Entry) -> bool {
    !matches!(entry.kind, EntryKind::Directory { opaque: false })
}

/// Takes the entry at `path`, with its position, if the cursor is there.
fn take_here(cursor: &mut Cursor<'_>, path: &[u8]) -> Option<(usize, Entry)> {
    if cursor.path() != Some(path) {
        return None;
    }
    let taken = (cursor.position(), cursor.entry()?);
    cursor.advance();
    Some(taken)
}
