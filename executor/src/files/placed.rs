//! New entries in order, close together in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rbuild_image::layer::EntryList;
use rbuild_image::layer::entry::{Entry, EntryKind, LayerPath};

use super::overlay::{Data, Placed, Unread};

/// New entries in path order.
#[derive(Debug, Default)]
pub(crate) struct PlacedList {
    entries: EntryList,
    notes: Vec<Note>,
    origins: Vec<Origin>,
    /// What is known of files that were not read before, by position.
    unread: BTreeMap<usize, Arc<Unread>>,
}

/// What an entry does not say of what was placed.
#[derive(Debug, Clone, Copy)]
struct Note {
    /// The position of its origin.
    origin: u32,
    /// The number of its group of hard links, or 0.
    link: u32,
}

/// Where the bytes of files come from; mostly many files have one.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    /// What stands here at `to` and more is at `from` and as much more in the tree of a source.
    Source {
        source: usize,
        from: LayerPath,
        to: LayerPath,
    },
    Other(Data),
}

impl Origin {
    fn of(data: &Data, path: &[u8]) -> Self {
        let Data::Source {
            source, path: from, ..
        } = data
        else {
            return Self::Other(data.clone());
        };
        // What both paths end with.
        let pairs = from.iter().rev().zip(path.iter().rev());
        let n_shared = pairs.take_while(|(left, right)| left == right).count();
        Self::Source {
            source: *source,
            from: from[..from.len() - n_shared].to_vec(),
            to: path[..path.len() - n_shared].to_vec(),
        }
    }

    /// Returns true if this is where a file at `path` has its bytes from.
    fn is_of(&self, data: &Data, path: &[u8]) -> bool {
        match (self, data) {
            (
                Self::Source { source, from, to },
                Data::Source {
                    source: of,
                    path: whole,
                    ..
                },
            ) => {
                source == of
                    && path
                        .strip_prefix(to.as_slice())
                        .is_some_and(|tail| whole.strip_prefix(from.as_slice()) == Some(tail))
            }
            (Self::Other(known), data) => known == data,
            (Self::Source { .. }, _) => false,
        }
    }

    fn data(&self, path: &[u8]) -> Data {
        match self {
            Self::Source { source, from, to } => Data::Source {
                source: *source,
                path: [from, path.get(to.len()..).unwrap_or_default()].concat(),
                unread: None,
            },
            Self::Other(data) => data.clone(),
        }
    }
}

impl PlacedList {
    /// Adds what was placed; false, and nothing, unless its path comes after all that are here.
    pub(super) fn push(&mut self, placed: &Placed) -> bool {
        let path = placed.entry.path.as_slice();
        let (Some(link), true) = (
            u32::try_from(placed.link.unwrap_or(0)).ok(),
            self.entries.push(&placed.entry),
        ) else {
            return false;
        };
        // What comes behind one another mostly comes from one place, folders in between from none.
        let mut known = self.origins.iter().rev().take(2);
        let known = known.position(|origin| origin.is_of(&placed.data, path));
        let origin = match known {
            Some(back) => self.origins.len() - 1 - back,
            None => {
                self.origins.push(Origin::of(&placed.data, path));
                self.origins.len() - 1
            }
        };
        if let Data::Source {
            unread: Some(unread),
            ..
        } = &placed.data
        {
            self.unread.insert(self.notes.len(), Arc::clone(unread));
        }
        self.notes.push(Note {
            origin: u32::try_from(origin).unwrap_or(u32::MAX),
            link,
        });
        true
    }

    pub(super) fn last_path(&self) -> Option<&[u8]> {
        (!self.notes.is_empty()).then(|| self.entries.last_path())
    }

    /// Returns what is at `path`.
    pub(super) fn get(&self, path: &[u8]) -> Option<Placed> {
        let (at, entry) = self.entries.find_entry(path)?;
        Some(self.placed(at, entry))
    }

    /// Returns what is at a position.
    pub(super) fn nth(&self, at: usize) -> Option<Placed> {
        Some(self.placed(at, self.entries.nth(at)?))
    }

    /// Returns all in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Placed> {
        let entries = self.entries.iter().enumerate();
        entries.map(|(at, entry)| self.placed(at, entry))
    }

    fn placed(&self, at: usize, entry: Entry) -> Placed {
        let Note { origin, link } = self.notes[at];
        let origin = usize::try_from(origin).unwrap_or(usize::MAX);
        let known = self.origins.get(origin);
        let mut data = known.map_or(Data::None, |origin| origin.data(&entry.path));
        if let Data::Source { unread, .. } = &mut data {
            *unread = self.unread.get(&at).cloned();
        }
        Placed {
            data,
            link: usize::try_from(link).ok().filter(|link| *link > 0),
            entry,
        }
    }
}

/// Takes new entries in path order, and turns the names of one file into hard links to the first of
/// them.
#[derive(Debug, Default)]
pub(super) struct Linking {
    list: PlacedList,
    first: HashMap<usize, LayerPath>,
}

impl Linking {
    pub(super) fn push(&mut self, mut placed: Placed) {
        if let Some(link) = placed.link {
            let first = self.first.get(&link);
            match first.and_then(|first| self.list.entries.get(first)) {
                Some(model) => {
                    placed.entry = Entry {
                        path: placed.entry.path,
                        kind: EntryKind::Hardlink {
                            target: model.path.clone(),
                        },
                        ..model
                    };
                    placed.data = Data::None;
                }
                None => drop(self.first.insert(link, placed.entry.path.clone())),
            }
        }
        self.list.push(&placed);
    }

    pub(super) fn finish(self) -> PlacedList {
        self.list
    }
}
