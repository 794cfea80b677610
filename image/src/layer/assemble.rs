//! Entries in an archive's order to the entries of a layer.
//!
//! An archive may name a path twice, put files below links, and link to what it later replaces.
//! Here all of that is worked out on paths alone: the last entry of a path wins, links on the way
//! are followed inside the root, removed files give way to files of the same layer. What is to be
//! done on disk comes out as a [`Step`] whose path has no link on its way.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::error::ImageError;

use super::entry::{ContentDigest, Entry, EntryKind, LayerPath};
use super::index::{IndexBuilder, LayerIndex, MAX_ENTRIES, check_entry, implied_directory};
use super::index_codec::{Reader, put_entry_after, put_number};
use super::path::{self, SortKey, from_sort_key, is_below, sort_key, split_last};
use super::tar_read::TarItem;

/// Most bytes of paths, targets and xattrs that are kept in memory.
const MAX_TEXT: usize = 512 << 20;

/// Most links that are followed for one path.
const MAX_LINKS: usize = 40;

/// Most folders that are gone through for all paths together: each of a few million short entries
/// could lead through the longest targets of as many links as are followed.
const MAX_STEPS: usize = 50_000_000;

/// What an entry means for files and their names on disk. All else is made from the index in the
/// end, so that there is no link on disk while files are written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The content of a file follows; first remove what is there.
    File {
        /// Where.
        path: LayerPath,
        /// How many bytes.
        size: u64,
        /// True if something may be there.
        replaces: bool,
    },
    /// A further name of a file that was written.
    Link {
        /// Where.
        path: LayerPath,
        /// The file.
        target: LayerPath,
        /// True if something may be there.
        replaces: bool,
    },
    /// Remove what is there.
    Clear(LayerPath),
    /// Nothing to do now.
    Nothing,
}

/// What is known of a path, by which it is ordered. There may be some hundred thousand, so it is one
/// piece of memory: length of the sort key and number of the file (numbers; the same number is the
/// same file), the sort key, and the entry without its path as in an index file. Never a hard link.
struct Slot(Box<[u8]>);

impl Slot {
    fn new(key: &[u8], file: u64, entry: &Entry) -> Self {
        let mut bytes = Vec::with_capacity(key.len() + 80);
        put_number(&mut bytes, key.len() as u64);
        put_number(&mut bytes, file);
        bytes.extend_from_slice(key);
        put_entry_after(&mut bytes, entry);
        Self(bytes.into_boxed_slice())
    }

    /// Returns the sort key, the number of the file, and the packed entry.
    fn parts(&self) -> (&[u8], u64, &[u8]) {
        let mut reader = Reader::new(&self.0);
        let length = reader.length().unwrap_or_default();
        let file = reader.number().unwrap_or_default();
        let (key, packed) = reader.rest().split_at_checked(length).unwrap_or_default();
        (key, file, packed)
    }

    fn file(&self) -> u64 {
        self.parts().1
    }

    /// Returns the entry, with this path.
    fn entry(&self, path: LayerPath) -> Option<Entry> {
        Reader::new(self.parts().2).entry_after(path).ok()
    }
}

impl Borrow<[u8]> for Slot {
    fn borrow(&self) -> &[u8] {
        self.parts().0
    }
}

impl Ord for Slot {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().0.cmp(other.parts().0)
    }
}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Slot {}

/// Puts a layer together from archive entries, one by one.
#[derive(Default)]
pub(super) struct Assembler {
    slots: BTreeSet<Slot>,
    /// The files with several names (and some that have but one left).
    linked: BTreeSet<u64>,
    n_files: u64,
    text: usize,
    /// Folders gone through so far.
    n_steps: usize,
    /// The last directory as written and what it came to, until a link may change that.
    last_parent: Option<(LayerPath, LayerPath)>,
}

impl Assembler {
    /// Takes an item. After a [`Step::File`], [`Assembler::set_digest`] is due.
    ///
    /// # Errors
    /// [`ImageError::Archive`] for what cannot be placed: below a file, a hard link to what is not
    /// there, too much of everything.
    pub(super) fn place(&mut self, item: TarItem) -> Result<Step, ImageError> {
        let entry = match item {
            TarItem::Opaque(directory) => return self.place_opaque(&directory),
            TarItem::Entry(entry) => entry,
        };
        self.charge(&entry)?;
        let place = self.canonical(&entry.path)?;
        match &entry.kind {
            EntryKind::Directory { opaque } => {
                let opaque = *opaque;
                self.place_directory(place, entry, opaque)
            }
            EntryKind::Whiteout => self.place_whiteout(&place, &entry),
            EntryKind::Hardlink { target } => {
                let target = target.clone();
                self.place_link(place, &target)
            }
            _ => {
                let replaces = self.clear(&place);
                let size = match entry.kind {
                    EntryKind::File { size, .. } => Some(size),
                    _ => None,
                };
                self.n_files += 1;
                self.put(&place, &entry, self.n_files);
                Ok(match (size, replaces) {
                    (Some(size), _) => Step::File {
                        path: place,
                        size,
                        replaces,
                    },
                    (None, true) => Step::Clear(place),
                    (None, false) => Step::Nothing,
                })
            }
        }
    }

    /// Counts what an entry takes in memory.
    fn charge(&mut self, entry: &Entry) -> Result<(), ImageError> {
        self.text += entry.path.len() + 64;
        for (name, value) in &entry.xattrs {
            self.text += name.len() + value.len() + 64;
        }
        if let EntryKind::Symlink { target } = &entry.kind {
            self.text += target.len();
        }
        if self.text > MAX_TEXT || self.slots.len() >= MAX_ENTRIES {
            return Err(ImageError::bad_archive("it has too many entries"));
        }
        Ok(())
    }

    /// Sets the content digest of the file that was placed at `path`.
    pub(super) fn set_digest(&mut self, path: &[u8], found: ContentDigest) {
        self.change(path, |entry| {
            if let EntryKind::File { digest, .. } = &mut entry.kind {
                *digest = found;
            }
        });
    }

    /// Returns the entry at `path`, without its path.
    pub(super) fn get(&self, path: &[u8]) -> Option<Entry> {
        let slot = self.slots.get(sort_key(path).as_slice())?;
        slot.entry(LayerPath::new())
    }

    fn change(&mut self, path: &[u8], change: impl FnOnce(&mut Entry)) {
        let key = sort_key(path);
        let slot = self.slots.get(key.as_slice());
        let found = slot.and_then(|slot| Some((slot.file(), slot.entry(LayerPath::new())?)));
        if let Some((file, mut entry)) = found {
            change(&mut entry);
            self.slots.replace(Slot::new(&key, file, &entry));
        }
    }

    /// Returns the index of the layer.
    ///
    /// # Errors
    /// Those of [`LayerIndex::from_entries`]; there should be none.
    pub(super) fn finish(self) -> Result<LayerIndex, ImageError> {
        let Self { slots, linked, .. } = self;
        let mut first_names: BTreeMap<u64, LayerPath> = BTreeMap::new();
        let mut builder = IndexBuilder::default();
        for slot in slots {
            let path = from_sort_key(slot.parts().0.to_vec());
            let Some(mut entry) = slot.entry(path) else {
                continue;
            };
            if linked.contains(&slot.file()) && matches!(entry.kind, EntryKind::File { .. }) {
                match first_names.get(&slot.file()) {
                    Some(target) => {
                        entry.kind = EntryKind::Hardlink {
                            target: target.clone(),
                        };
                    }
                    None => drop(first_names.insert(slot.file(), entry.path.clone())),
                }
            }
            check_entry(&entry)?;
            builder.push(&entry)?;
        }
        Ok(builder.finish())
    }

    fn place_directory(
        &mut self,
        place: LayerPath,
        mut entry: Entry,
        opaque: bool,
    ) -> Result<Step, ImageError> {
        let (was_opaque, clear) = match self.get(&place).map(|entry| entry.kind) {
            None => (false, false),
            Some(EntryKind::Directory { opaque }) => (opaque, false),
            // The directory of lower layers is removed, then there is a new one.
            Some(EntryKind::Whiteout) => (true, false),
            Some(_) => (false, true),
        };
        if clear {
            self.clear(&place);
        }
        entry.kind = EntryKind::Directory {
            opaque: opaque || was_opaque,
        };
        self.put(&place, &entry, 0);
        Ok(if clear {
            Step::Clear(place)
        } else {
            Step::Nothing
        })
    }

    /// A mark of a removed file is about lower layers: what this layer has there stays.
    fn place_whiteout(&mut self, place: &[u8], entry: &Entry) -> Result<Step, ImageError> {
        match self.get(place).map(|entry| entry.kind) {
            None if self.has_below(place) => return self.place_opaque(place),
            None => self.put(place, entry, 0),
            Some(EntryKind::Directory { .. }) => return self.place_opaque(place),
            Some(_) => {}
        }
        Ok(Step::Nothing)
    }

    fn place_opaque(&mut self, directory: &[u8]) -> Result<Step, ImageError> {
        let mut place = self.canonical(directory)?;
        // The mark lies in the directory, so a link at its place is followed as well.
        if self.is_link(&place) {
            place.extend_from_slice(b"/x");
            place = self.canonical(&place)?;
            path::pop(&mut place);
        }
        match self.get(&place).map(|entry| entry.kind) {
            None | Some(EntryKind::Whiteout) => {
                let mut entry = implied_directory(&place);
                entry.kind = EntryKind::Directory { opaque: true };
                self.put(&place, &entry, 0);
            }
            Some(EntryKind::Directory { .. }) => {
                self.change(&place, |entry| {
                    entry.kind = EntryKind::Directory { opaque: true };
                });
            }
            Some(_) => return Err(not_a_directory(directory)),
        }
        Ok(Step::Nothing)
    }

    fn place_link(&mut self, place: LayerPath, target: &[u8]) -> Result<Step, ImageError> {
        let bad = |problem: &str| {
            Err(ImageError::archive(
                &place,
                format!("a hard link to `{}`, {problem}", path::display(target)),
            ))
        };
        let target_place = self.canonical(target)?;
        if target_place == place {
            return bad("which is itself");
        }
        if is_below(&target_place, &place) {
            return bad("which it replaces");
        }
        let slot = self.slots.get(sort_key(&target_place).as_slice());
        let found = slot.and_then(|slot| Some((slot.entry(LayerPath::new())?, slot.file())));
        let Some((entry, file)) = found else {
            return bad("which does not come before it");
        };
        match entry.kind {
            EntryKind::Directory { .. } | EntryKind::Whiteout => {
                return bad("which is not a file");
            }
            // Each name has the attributes, though the archive has them once.
            EntryKind::File { .. } => self.charge(&entry)?,
            // A second name of a link or device cannot be told from a second one like it.
            _ => {
                let entry = Entry {
                    path: place,
                    ..entry
                };
                return self.place(TarItem::Entry(entry));
            }
        }
        let replaces = self.clear(&place);
        self.linked.insert(file);
        self.put(&place, &entry, file);
        Ok(Step::Link {
            path: place,
            target: target_place,
            replaces,
        })
    }

    fn put(&mut self, place: &[u8], entry: &Entry, file: u64) {
        if matches!(entry.kind, EntryKind::Symlink { .. }) {
            self.last_parent = None;
        }
        self.slots.replace(Slot::new(&sort_key(place), file, entry));
    }

    /// Forgets what is at and below `place`; returns true if that was anything.
    fn clear(&mut self, place: &[u8]) -> bool {
        let mut cleared = false;
        let keys: Vec<SortKey> = self
            .below(place)
            .map(|slot| slot.parts().0.to_vec())
            .collect();
        for key in keys.into_iter().chain([sort_key(place)]) {
            cleared |= self.slots.remove(key.as_slice());
        }
        if cleared {
            self.last_parent = None;
        }
        cleared
    }

    fn has_below(&self, place: &[u8]) -> bool {
        self.below(place).next().is_some()
    }

    fn below(&self, place: &[u8]) -> impl Iterator<Item = &Slot> {
        let mut prefix = sort_key(place);
        if !prefix.is_empty() {
            prefix.push(0);
        }
        let from = prefix.clone();
        self.slots
            .range::<[u8], _>((Bound::Included(from.as_slice()), Bound::Unbounded))
            .skip_while(|slot| slot.parts().0.is_empty())
            .take_while(move |slot| slot.parts().0.starts_with(&prefix))
    }

    fn is_link(&self, place: &[u8]) -> bool {
        self.get(place)
            .is_some_and(|entry| matches!(entry.kind, EntryKind::Symlink { .. }))
    }

    /// Returns the path with the links on its way (not in its last place) followed inside the root.
    fn canonical(&mut self, raw: &[u8]) -> Result<LayerPath, ImageError> {
        let Some((parent, name)) = split_last(raw) else {
            return Ok(LayerPath::new());
        };
        if parent.is_empty() {
            self.check_root()?;
            return Ok(name.to_vec());
        }
        if let Some((known, place)) = &self.last_parent
            && known == parent
        {
            return Ok(path::join(place, name));
        }
        let place = self.resolve_directory(parent)?;
        let joined = path::join(&place, name);
        self.last_parent = Some((parent.to_vec(), place));
        Ok(joined)
    }

    fn check_root(&self) -> Result<(), ImageError> {
        match self.get(b"").map(|entry| entry.kind) {
            None | Some(EntryKind::Directory { .. }) => Ok(()),
            Some(_) => Err(not_a_directory(b"")),
        }
    }

    /// Returns the path of the directory that `raw` leads to; it need not be there yet. A removed
    /// file on the way becomes the new directory that it must be.
    fn resolve_directory(&mut self, raw: &[u8]) -> Result<LayerPath, ImageError> {
        let components = |path: &[u8]| -> Vec<Vec<u8>> {
            let names = path.rsplit(|byte| *byte == b'/');
            names
                .filter(|name| !matches!(*name, b"" | b"."))
                .map(<[u8]>::to_vec)
                .collect()
        };
        let mut pending = components(raw);
        let mut place = LayerPath::new();
        let mut n_links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                path::pop(&mut place);
                continue;
            }
            self.n_steps += 1;
            if self.n_steps > MAX_STEPS {
                return Err(ImageError::bad_archive(
                    "its paths lead through too many links",
                ));
            }
            let length = place.len();
            path::push(&mut place, &name);
            match self.get(&place).map(|entry| entry.kind) {
                None | Some(EntryKind::Directory { .. }) => {}
                Some(EntryKind::Symlink { target }) => {
                    n_links += 1;
                    if n_links > MAX_LINKS {
                        return Err(ImageError::LinkLoop {
                            path: path::display(raw),
                        });
                    }
                    place.truncate(if target.starts_with(b"/") { 0 } else { length });
                    pending.extend(components(&target));
                }
                Some(EntryKind::Whiteout) => {
                    let mut entry = implied_directory(&place);
                    entry.kind = EntryKind::Directory { opaque: true };
                    self.put(&place, &entry, 0);
                }
                Some(_) => return Err(not_a_directory(raw)),
            }
            if place.len() > path::MAX_PATH {
                return Err(ImageError::archive(raw, "the path is too long"));
            }
        }
        // A link may have led to a path with the name of a mark.
        if path::is_clean(&place) {
            Ok(place)
        } else {
            Err(ImageError::archive(raw, "a link on its way leads nowhere"))
        }
    }
}

fn not_a_directory(path: &[u8]) -> ImageError {
    ImageError::archive(path, "it is, or lies below, what is not a directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_archive_may_cost_is_limited() {
        let mut file = implied_directory(b"file");
        file.kind = EntryKind::File {
            size: 0,
            digest: ContentDigest([0; 32]),
        };
        file.xattrs.insert(b"user.x".to_vec(), vec![0; 60_000]);
        let mut link = implied_directory(b"link");
        link.kind = EntryKind::Hardlink {
            target: b"file".to_vec(),
        };
        let mut assembler = Assembler {
            text: MAX_TEXT - 100_000,
            ..Assembler::default()
        };
        assembler.place(TarItem::Entry(file.clone())).unwrap();
        let error = assembler.place(TarItem::Entry(link)).unwrap_err();
        assert!(error.to_string().contains("too many entries"), "{error}");
        // So does each folder on the way.
        let mut assembler = Assembler {
            n_steps: MAX_STEPS - 2,
            ..Assembler::default()
        };
        file.path = b"a/b/c".to_vec();
        assembler.place(TarItem::Entry(file.clone())).unwrap();
        file.path = b"x/c".to_vec();
        let error = assembler.place(TarItem::Entry(file)).unwrap_err();
        assert!(error.to_string().contains("too many links"), "{error}");
    }
}
