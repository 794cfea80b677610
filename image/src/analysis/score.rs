//! The efficiency score and the wasted bytes that dive reports, counted as dive 0.13 counts them, so
//! that limits that were chosen for its numbers keep their meaning.
//!
//! A layer counts at each path below which it has nothing: files, links, empty directories, marks of
//! removed files. A file counts with its size, everything else with 0, the mark of a removed
//! directory with the size of what was in it. A path that counts more than once is inefficient, and
//! wastes all that was counted there. Each path could have done with the smallest size that was
//! counted there; what all paths could have done with, as a part of what was counted, is the score.
//!
//! Two faults are not copied: a mark that removes nothing makes dive forget the rest of the layer
//! (here it does not count), and its part of the user's bytes is not a number if there are none.

use super::ancestors::{Ancestors, Note};
use super::stack::At;
use super::{is_directory, ratio, size_of};
use crate::layer::entry::EntryKind;
use crate::layer::path::compare_paths;

/// What dive says about a stack of layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Score<'a> {
    /// From 0 to 1.
    pub efficiency: f64,
    /// Bytes at inefficient paths; all copies count.
    pub wasted_bytes: u64,
    /// The inefficient paths, the most bytes first.
    pub copies: Vec<Copies<'a>>,
}

/// A path that more than one layer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies<'a> {
    /// Where.
    pub path: &'a [u8],
    /// How often.
    pub count: u64,
    /// Bytes of all of them.
    pub size_bytes: u64,
}

/// What was counted at a path.
#[derive(Debug, Default, Clone, Copy)]
struct Counted {
    count: u64,
    sum: u64,
    smallest: Option<u64>,
}

impl Counted {
    fn add(&mut self, size: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(size);
        self.smallest = Some(self.smallest.map_or(size, |smallest| smallest.min(size)));
    }
}

/// A mark that removes a directory; what was in it is known after the directory.
#[derive(Debug)]
struct Removal {
    /// Position in the list of open paths, if the size counts there.
    path: Option<usize>,
    size: u64,
}

#[derive(Debug, Default)]
pub(super) struct ScorePass<'a> {
    /// Which layers remove the directories above the current path: positions in `removals`.
    ancestors: Ancestors<'a, usize>,
    removals: Vec<Removal>,
    /// Paths with removals.
    open: Vec<(&'a [u8], Counted)>,
    copies: Vec<Copies<'a>>,
    needed: u64,
    counted: u64,
}

impl<'a> ScorePass<'a> {
    pub(super) fn visit(&mut self, path: &'a [u8], found: &[At<'a>]) {
        // dive has no root.
        if path.is_empty() {
            return;
        }
        self.ancestors.enter(path);
        let mut counted = Counted::default();
        let mut own: Vec<Note<usize>> = Vec::new();
        let mut shown: Option<At<'a>> = None;
        for at in found {
            self.remove_below(&mut shown, Some(at.layer));
            if !matches!(at.entry.kind, EntryKind::Whiteout) {
                shown = Some(*at);
                if at.is_leaf {
                    counted.add(size_of(at.entry));
                }
                continue;
            }
            let Some(before) = shown.take() else {
                continue;
            };
            // To dive, a directory that a layer only implies is none.
            let is_sized = is_directory(before.entry) && !before.is_implied;
            if !is_sized {
                counted.add(0);
            }
            if found.iter().any(|at| is_directory(at.entry)) {
                own.push(Note {
                    layer: at.layer,
                    what: self.removals.len(),
                });
                self.removals.push(Removal {
                    path: is_sized.then_some(self.open.len()),
                    size: 0,
                });
            }
        }
        self.remove_below(&mut shown, None);
        if own.is_empty() {
            self.close(path, counted);
        } else {
            self.open.push((path, counted));
            self.ancestors.push(path, &own);
        }
    }

    /// Drops what is shown if a layer up to `limit` removes a directory above it.
    fn remove_below(&mut self, shown: &mut Option<At<'a>>, limit: Option<usize>) {
        if let Some(at) = *shown
            && let Some(removal) = self.ancestors.first_between(at.layer, limit)
        {
            let size = &mut self.removals[removal.what].size;
            *size = size.saturating_add(size_of(at.entry));
            *shown = None;
        }
    }

    fn close(&mut self, path: &'a [u8], counted: Counted) {
        self.counted = self.counted.saturating_add(counted.sum);
        self.needed = self
            .needed
            .saturating_add(counted.smallest.unwrap_or_default());
        if counted.count > 1 {
            self.copies.push(Copies {
                path,
                count: counted.count,
                size_bytes: counted.sum,
            });
        }
    }

    pub(super) fn finish(mut self) -> Score<'a> {
        let mut open = std::mem::take(&mut self.open);
        for removal in &self.removals {
            if let Some((_, counted)) = removal.path.and_then(|at| open.get_mut(at)) {
                counted.add(removal.size);
            }
        }
        for (path, counted) in open {
            self.close(path, counted);
        }
        self.copies.sort_by(|a, b| {
            (b.size_bytes.cmp(&a.size_bytes)).then_with(|| compare_paths(a.path, b.path))
        });
        Score {
            efficiency: match self.counted {
                0 => 1.0,
                counted => ratio(self.needed, counted),
            },
            wasted_bytes: self
                .copies
                .iter()
                .fold(0, |sum, copies| sum.saturating_add(copies.size_bytes)),
            copies: self.copies,
        }
    }
}
