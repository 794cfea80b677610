//! What each layer adds, changes, repeats and removes, and which bytes are hidden by that.

use super::Listing;
use crate::layer::entry::{Entry, EntryKind};
use crate::layer::path::compare_paths;

use super::ancestors::{Ancestors, Note};
use super::links::Links;
use super::stack::At;
use super::{is_directory, size_of};

/// A number of files (of any kind but directories) and the bytes in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many.
    pub files: u64,
    /// Bytes of regular files.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Files that a layer has with the bytes that they had before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repeats {
    /// All of them.
    pub all: Tally,
    /// Those with another owner or group.
    pub owner: Tally,
    /// Those with other permission bits.
    pub mode: Tally,
}

/// What one layer does to those below it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerChanges {
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Files where nothing was.
    pub added: Tally,
    /// Files in place of what was there, with the bytes that they have now.
    pub changed: Tally,
    /// Files with the bytes that they had before: only what is known about them changed.
    pub repeated: Repeats,
    /// Files of lower layers that are not there any more, with the bytes that they had.
    pub removed: Tally,
    /// Bytes of this layer that the image does not show.
    pub hidden_bytes: u64,
}

/// Why bytes are hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// A layer removes them, or a directory that they are in.
    Removed,
    /// A layer has something else there.
    Replaced,
    /// A layer has the same bytes there again.
    Repeated,
}

/// Bytes of lower layers that one layer hides at or below one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waste<'a> {
    /// Where.
    pub path: &'a [u8],
    /// Position of the layer that hides them.
    pub layer: usize,
    /// Why.
    pub cause: Cause,
    /// How many files.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What an entry of a layer is to the layers below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nothing was there.
    Added,
    /// Something else was there.
    Changed,
    /// The same bytes were there with another owner, mode, time or extended attribute.
    Repeated,
    /// The directory was there just so.
    Unchanged,
    /// It removes what was there.
    Removed,
}

/// An entry of a layer and what it is to the layers below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedEntry<'a> {
    /// What it is.
    pub mark: Mark,
    /// The entry; a mark of a removed file too.
    pub entry: &'a Entry,
    /// The bytes of the file, or of what is removed at this very path.
    pub bytes: u64,
}

/// What the pass found.
pub(super) struct Changes<'a> {
    pub(super) layers: Vec<LayerChanges>,
    pub(super) waste: Vec<Waste<'a>>,
    pub(super) listing: Vec<ListedEntry<'a>>,
}

pub(super) struct ChangePass<'a> {
    indexes: &'a [Listing],
    layers: Vec<LayerChanges>,
    /// Which layers hide what lower ones have below the directories above the current path:
    /// positions in `waste`.
    ancestors: Ancestors<'a, usize>,
    waste: Vec<Waste<'a>>,
    links: Links<'a>,
    listed: Option<usize>,
    listing: Vec<ListedEntry<'a>>,
}

impl<'a> ChangePass<'a> {
    pub(super) fn new(indexes: &'a [Listing], listed: Option<usize>) -> Self {
        let layer = |index: &Listing| LayerChanges {
            size_bytes: index.unpacked_size(),
            ..LayerChanges::default()
        };
        Self {
            indexes,
            layers: indexes.iter().map(layer).collect(),
            ancestors: Ancestors::default(),
            waste: Vec::new(),
            links: Links::new(indexes),
            listed,
            listing: Vec::new(),
        }
    }

    /// Takes in what the layers have at a path; returns the file that the image shows there.
    pub(super) fn visit(&mut self, path: &'a [u8], found: &[At<'a>]) -> Option<At<'a>> {
        self.ancestors.enter(path);
        let has_directory = found.iter().any(|at| is_directory(at.entry));
        let mut own: Vec<Note<usize>> = Vec::new();
        let mut shown: Option<At<'a>> = None;
        for at in found {
            self.hide_below(&mut shown, Some(at.layer));
            if has_directory && hides_lower(at) {
                let row = self.new_row(path, at.layer, cause_below(at));
                own.push(Note {
                    layer: at.layer,
                    what: row,
                });
            }
            let mark = self.apply(path, at, &mut shown);
            if self.listed == Some(at.layer) && !at.is_implied {
                self.list(at, mark);
            }
        }
        self.hide_below(&mut shown, None);
        self.ancestors.push(path, &own);
        shown.filter(|at| !is_directory(at.entry))
    }

    /// Puts what one layer has at the path over what is shown there.
    fn apply(&mut self, path: &'a [u8], at: &At<'a>, shown: &mut Option<At<'a>>) -> (Mark, u64) {
        let before = *shown;
        let bytes = self.bytes_of(at);
        if matches!(at.entry.kind, EntryKind::Whiteout) {
            *shown = None;
            let Some(before) = before.filter(|before| !is_directory(before.entry)) else {
                return (Mark::Removed, 0);
            };
            self.hide(path, &before, at.layer, Cause::Removed);
            return (Mark::Removed, self.bytes_of(&before));
        }
        // A directory of its own knows more than one that is only implied.
        let is_known = before.is_some_and(|before| is_directory(before.entry));
        if !(at.is_implied && is_known) {
            *shown = Some(*at);
        }
        let is_file = !is_directory(at.entry);
        let Some(before) = before else {
            if is_file {
                self.layers[at.layer].added.add(bytes);
            }
            return (Mark::Added, bytes);
        };
        match (is_directory(before.entry), is_file) {
            (true, false) => {
                let is_same = at.is_implied || metadata(before.entry) == metadata(at.entry);
                let mark = if is_same {
                    Mark::Unchanged
                } else {
                    Mark::Repeated
                };
                (mark, 0)
            }
            (true, true) => {
                self.layers[at.layer].changed.add(bytes);
                (Mark::Changed, bytes)
            }
            (false, false) => {
                self.hide(path, &before, at.layer, Cause::Replaced);
                (Mark::Changed, 0)
            }
            (false, true) if self.has_same_content(&before, at) => {
                self.repeat(&before, at, bytes);
                self.hide(path, &before, at.layer, Cause::Repeated);
                (Mark::Repeated, bytes)
            }
            (false, true) => {
                self.layers[at.layer].changed.add(bytes);
                self.hide(path, &before, at.layer, Cause::Replaced);
                (Mark::Changed, bytes)
            }
        }
    }

    fn repeat(&mut self, before: &At<'a>, at: &At<'a>, bytes: u64) {
        let repeated = &mut self.layers[at.layer].repeated;
        repeated.all.add(bytes);
        if (before.entry.uid, before.entry.gid) != (at.entry.uid, at.entry.gid) {
            repeated.owner.add(bytes);
        }
        if before.entry.mode != at.entry.mode {
            repeated.mode.add(bytes);
        }
    }

    /// Hides what is shown if a layer up to `limit` hides everything below a directory above it.
    fn hide_below(&mut self, shown: &mut Option<At<'a>>, limit: Option<usize>) {
        if let Some(at) = *shown
            && let Some(hider) = self.ancestors.first_between(at.layer, limit)
        {
            *shown = None;
            if !is_directory(at.entry) {
                self.count_removed(&at, hider.layer, Cause::Removed);
                self.hide_in(hider.what, &at, hider.layer);
            }
        }
    }

    /// Notes that layer `by` hides a file at its very path.
    fn hide(&mut self, path: &'a [u8], file: &At<'a>, by: usize, cause: Cause) {
        self.count_removed(file, by, cause);
        let row = self.new_row(path, by, cause);
        self.hide_in(row, file, by);
    }

    fn count_removed(&mut self, file: &At<'a>, by: usize, cause: Cause) {
        if cause == Cause::Removed {
            let bytes = self.bytes_of(file);
            self.layers[by].removed.add(bytes);
        }
    }

    fn hide_in(&mut self, row: usize, file: &At<'a>, by: usize) {
        let hidden = self.links.hide(file, by, row);
        if hidden.size > 0 {
            let waste = &mut self.waste[hidden.row];
            waste.files += 1;
            waste.bytes = waste.bytes.saturating_add(hidden.size);
            self.layers[file.layer].hidden_bytes += hidden.size;
        }
    }

    fn new_row(&mut self, path: &'a [u8], layer: usize, cause: Cause) -> usize {
        self.waste.push(Waste {
            path,
            layer,
            cause,
            files: 0,
            bytes: 0,
        });
        self.waste.len() - 1
    }

    fn list(&mut self, at: &At<'a>, (mark, bytes): (Mark, u64)) {
        self.listing.push(ListedEntry {
            mark,
            entry: at.entry,
            bytes,
        });
    }

    /// Returns the bytes that are to be read at a name, whichever name of the file it is.
    fn bytes_of(&self, at: &At<'a>) -> u64 {
        size_of(self.indexes[at.layer].file_of(at.entry))
    }

    fn has_same_content(&self, before: &At<'a>, at: &At<'a>) -> bool {
        let file = |at: &At<'a>| &self.indexes[at.layer].file_of(at.entry).kind;
        file(before) == file(at)
    }

    pub(super) fn finish(mut self) -> Changes<'a> {
        self.waste.retain(|waste| waste.bytes > 0);
        self.waste.sort_by(|a, b| {
            (b.bytes.cmp(&a.bytes))
                .then_with(|| compare_paths(a.path, b.path))
                .then_with(|| a.layer.cmp(&b.layer))
        });
        Changes {
            layers: self.layers,
            waste: self.waste,
            listing: self.listing,
        }
    }
}

/// Returns true if a layer hides what lower ones have below the path.
fn hides_lower(at: &At<'_>) -> bool {
    !matches!(at.entry.kind, EntryKind::Directory { opaque: false })
}

fn cause_below(at: &At<'_>) -> Cause {
    match at.entry.kind {
        EntryKind::Whiteout | EntryKind::Directory { .. } => Cause::Removed,
        _ => Cause::Replaced,
    }
}

/// What is known about an entry but for its content and time.
fn metadata(entry: &Entry) -> impl PartialEq + use<'_> {
    (entry.mode, entry.uid, entry.gid, &entry.xattrs)
}
