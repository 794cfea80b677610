//! Entries in path order, close together in memory.
//!
//! A layer may have some hundred thousand entries. As an [`Entry`] each, with a path of its own, they
//! take three times what they take here: one run of bytes, in which a path is what it does not share
//! with the one before it. Every sixteenth path stands whole, so that look-ups need not start at
//! the beginning.

use std::ops::Range;

use super::entry::{Entry, LayerPath};
use super::index_codec::{Reader, put_entry_after, put_number, put_path};
use super::path::{compare_paths, is_below};

/// Entries from one whole path to the next.
const BLOCK: usize = 16;

/// Entries in [`compare_paths`] order, each path once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryList {
    /// Of each entry: the bytes that follow (number), what its path shares with the one before
    /// and the rest of it, all else as in an index file.
    bytes: Vec<u8>,
    /// Where the blocks start.
    blocks: Vec<usize>,
    n_entries: usize,
    last: LayerPath,
}

impl EntryList {
    /// Adds an entry; false, and nothing, unless its path comes after all that are here.
    pub fn push(&mut self, entry: &Entry) -> bool {
        self.push_with(&entry.path, |bytes| put_entry_after(bytes, entry))
    }

    /// As [`EntryList::push`], for the next one of another list, under this path.
    pub fn push_next(&mut self, path: &[u8], from: &IntoEntries) -> bool {
        self.push_with(path, |bytes| bytes.extend_from_slice(from.body()))
    }

    fn push_with(&mut self, path: &[u8], put_rest: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.n_entries > 0 && compare_paths(&self.last, path).is_ge() {
            return false;
        }
        if self.n_entries.is_multiple_of(BLOCK) {
            self.blocks.push(self.bytes.len());
            self.last.clear();
        }
        let start = self.bytes.len();
        put_path(&mut self.bytes, &self.last, path);
        put_rest(&mut self.bytes);
        let end = self.bytes.len();
        put_number(&mut self.bytes, (end - start) as u64);
        let n_head = self.bytes.len() - end;
        self.bytes[start..].rotate_right(n_head);
        self.last.clear();
        self.last.extend_from_slice(path);
        self.n_entries += 1;
        true
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.n_entries
    }

    /// Returns true if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.n_entries == 0
    }

    /// Returns the path of the last entry; that of none is empty.
    #[must_use]
    pub fn last_path(&self) -> &[u8] {
        &self.last
    }

    /// Returns the entry at `path`.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<Entry> {
        self.find(path)?.entry()
    }

    /// Returns the entry at `path`, and how many come before it.
    #[must_use]
    pub fn find_entry(&self, path: &[u8]) -> Option<(usize, Entry)> {
        let found = self.find(path)?;
        Some((found.position(), found.entry()?))
    }

    /// Returns the entry that `at` others come before.
    #[must_use]
    pub fn nth(&self, at: usize) -> Option<Entry> {
        let mut cursor = self.at_block(at / BLOCK);
        for _ in 0..at % BLOCK {
            cursor.advance();
        }
        cursor.entry()
    }

    /// Returns the place of the entry at `path`.
    pub(super) fn find(&self, path: &[u8]) -> Option<Cursor<'_>> {
        let cursor = self.seek(path);
        (cursor.path() == Some(path)).then_some(cursor)
    }

    /// Returns the first place at or behind `path`.
    pub(super) fn seek(&self, path: &[u8]) -> Cursor<'_> {
        let before = |start: &usize| compare_paths(self.first_path(*start), path).is_le();
        let block = self.blocks.partition_point(before).saturating_sub(1);
        let mut cursor = self.at_block(block);
        while cursor
            .path()
            .is_some_and(|here| compare_paths(here, path).is_lt())
        {
            cursor.advance();
        }
        cursor
    }

    /// Returns the place of the first entry.
    pub(super) fn start(&self) -> Cursor<'_> {
        self.at_block(0)
    }

    /// Returns the entries in order.
    #[must_use]
    pub fn iter(&self) -> Entries<'_> {
        Entries(self.start())
    }

    /// Returns the entries as they are in other lists.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Entry> {
        self.iter().collect()
    }

    /// Gives back the room that is kept for more.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.blocks.shrink_to_fit();
    }

    /// Returns the path that starts the block at `start`.
    fn first_path(&self, start: usize) -> &[u8] {
        let record = self.record(start);
        record.map_or(&[], |record| record.rest)
    }

    fn at_block(&self, block: usize) -> Cursor<'_> {
        let mut cursor = Cursor {
            list: self,
            at: block * BLOCK,
            next: self.blocks.get(block).copied().unwrap_or(self.bytes.len()),
            path: LayerPath::new(),
            body: None,
        };
        cursor.read();
        cursor
    }

    fn record(&self, start: usize) -> Option<Record<'_>> {
        let bytes = self.bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let mut reader = Reader::new(bytes);
        let length = reader.length().ok()?;
        let head = bytes.len() - reader.rest().len();
        let mut reader = Reader::new(reader.rest().get(..length)?);
        let shared = reader.length().ok()?;
        let rest = reader.bytes().ok()?;
        Some(Record {
            shared,
            rest,
            body: reader.rest(),
            end: start + head + length,
        })
    }
}

impl<'a> IntoIterator for &'a EntryList {
    type Item = Entry;
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

impl IntoIterator for EntryList {
    type Item = Entry;
    type IntoIter = IntoEntries;

    fn into_iter(self) -> IntoEntries {
        let mut entries = IntoEntries {
            list: self,
            next: 0,
            path: LayerPath::new(),
            body: None,
        };
        entries.advance();
        entries
    }
}

/// The entries of a list that goes with them, in order.
#[derive(Debug)]
pub struct IntoEntries {
    list: EntryList,
    /// Where the entry behind the next one starts.
    next: usize,
    path: LayerPath,
    /// Where all of the next entry but its path is; `None` at the end.
    body: Option<Range<usize>>,
}

impl IntoEntries {
    /// Returns the path of the next entry.
    #[must_use]
    pub fn path(&self) -> Option<&[u8]> {
        self.body.as_ref().map(|_| self.path.as_slice())
    }

    /// Goes to the entry behind the next one.
    pub fn advance(&mut self) {
        let Some(record) = self.list.record(self.next) else {
            self.body = None;
            return;
        };
        self.path.truncate(record.shared);
        self.path.extend_from_slice(record.rest);
        self.body = Some(record.end - record.body.len()..record.end);
        self.next = record.end;
    }

    fn body(&self) -> &[u8] {
        let body = self.body.clone().and_then(|body| self.list.bytes.get(body));
        body.unwrap_or_default()
    }
}

impl Iterator for IntoEntries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let path = self.path()?.to_vec();
        let entry = Reader::new(self.body()).entry_after(path).ok()?;
        self.advance();
        Some(entry)
    }
}

/// One entry as it stands in the bytes.
struct Record<'a> {
    shared: usize,
    rest: &'a [u8],
    body: &'a [u8],
    end: usize,
}

/// A place in a list.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    list: &'a EntryList,
    at: usize,
    /// Where the entry behind this one starts.
    next: usize,
    path: LayerPath,
    /// All of the entry but its path; `None` at the end.
    body: Option<&'a [u8]>,
}

impl Cursor<'_> {
    /// Returns the path of the entry here; `None` at the end.
    pub(super) fn path(&self) -> Option<&[u8]> {
        self.body.map(|_| self.path.as_slice())
    }

    /// Returns how many entries come before this one.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Returns the entry here.
    pub(super) fn entry(&self) -> Option<Entry> {
        Reader::new(self.body?).entry_after(self.path.clone()).ok()
    }

    /// Goes to the next entry.
    pub(super) fn advance(&mut self) {
        self.at += 1;
        self.read();
    }

    /// Goes behind all that is at or below `path`, which is where this is, or a folder above.
    pub(super) fn skip(&mut self, path: &[u8]) {
        let is_within = |here: &[u8]| here == path || is_below(here, path);
        // Most hold little.
        while self.path().is_some_and(is_within) {
            let block = self.at / BLOCK + 1;
            let first = self.list.blocks.get(block);
            if first.is_none_or(|start| !is_within(self.list.first_path(*start))) {
                self.advance();
                continue;
            }
            let rest = &self.list.blocks[block..];
            let n_within = rest.partition_point(|start| is_within(self.list.first_path(*start)));
            *self = self.list.at_block(block + n_within - 1);
        }
    }

    /// Goes to the end.
    pub(super) fn finish(&mut self) {
        self.body = None;
        self.at = self.list.n_entries;
        self.next = self.list.bytes.len();
    }

    fn read(&mut self) {
        let Some(record) = self.list.record(self.next) else {
            self.finish();
            return;
        };
        self.path.truncate(record.shared);
        self.path.extend_from_slice(record.rest);
        self.next = record.end;
        self.body = Some(record.body);
    }
}

/// The entries of a list, in order.
#[derive(Debug, Clone)]
pub struct Entries<'a>(Cursor<'a>);

impl Iterator for Entries<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let entry = self.0.entry()?;
        self.0.advance();
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.0.list.n_entries - self.0.at;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Entries<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::index::implied_directory;
    use crate::layer::path::join;

    fn list(paths: &[Vec<u8>]) -> EntryList {
        let mut list = EntryList::default();
        for path in paths {
            assert!(list.push(&implied_directory(path)));
        }
        list
    }

    fn tree() -> Vec<Vec<u8>> {
        let mut paths = vec![Vec::new()];
        for folder in ["a", "a-b", "b", "c"] {
            let folder = folder.as_bytes().to_vec();
            paths.push(folder.clone());
            for number in 0..70 {
                paths.push(join(&folder, format!("file{number:03}").as_bytes()));
            }
        }
        paths.sort_by(|left, right| compare_paths(left, right));
        paths
    }

    #[test]
    fn everything_is_found_where_it_is() {
        let paths = tree();
        let list = list(&paths);
        assert_eq!(list.len(), paths.len());
        assert!(
            list.iter()
                .map(|entry| entry.path)
                .eq(paths.iter().cloned())
        );
        assert!(list.clone().into_iter().eq(list.iter()));
        for (at, path) in paths.iter().enumerate() {
            assert_eq!(list.find(path).unwrap().position(), at);
            assert_eq!(list.get(path).unwrap().path, *path);
            assert_eq!(list.nth(at).unwrap().path, *path);
            let missing = [path.as_slice(), b"!"].concat();
            assert_eq!(list.get(&missing), None);
            let behind = list.seek(&missing);
            assert!(
                behind
                    .path()
                    .is_none_or(|next| compare_paths(next, &missing).is_gt())
            );
        }
        assert_eq!(list.nth(paths.len()), None);
        assert!(EntryList::default().seek(b"a").path().is_none());
    }

    #[test]
    fn subtrees_are_skipped() {
        let paths = tree();
        let list = list(&paths);
        for path in &paths {
            let mut cursor = list.find(path).unwrap();
            cursor.skip(path);
            let expected = paths
                .iter()
                .find(|other| compare_paths(other, path).is_gt() && !is_below(other, path));
            assert_eq!(cursor.path(), expected.map(Vec::as_slice));
        }
    }

    #[test]
    fn nothing_comes_out_of_order() {
        let mut list = list(&tree());
        assert!(!list.push(&implied_directory(b"c/file069")));
        assert!(!list.push(&implied_directory(b"a")));
        assert!(list.push(&implied_directory(b"d")));
        assert_eq!(list.last_path(), b"d");
    }
}
