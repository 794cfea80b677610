//! The index of a layer: its entries in order, and what is known from them alone.
//!
//! It knows nothing of trees and blobs. The file format is in [`super::index_file`].

use std::collections::BTreeMap;

use crate::error::ImageError;

use super::entry::{Entry, EntryKind, Mtime};
use super::entry_list::{Cursor, EntryList};
use super::path::{self, Shape, compare_paths, is_below};

/// Most entries that a layer may have.
pub const MAX_ENTRIES: usize = 4_000_000;

/// Largest device numbers that Linux has: 12 bits major, 20 bits minor.
pub(crate) const MAX_DEVICE: (u32, u32) = (0xfff, 0xf_ffff);

/// The sorted, consistent list of a layer's entries.
///
/// What holds: paths are clean, unique and in [`compare_paths`] order; nothing lies below an entry
/// that is not a directory; each hard link names a file entry that sorts before it and has the same
/// metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerIndex {
    entries: EntryList,
    implied: EntryList,
    /// Positions of the files that have further names, in order.
    linked: Vec<usize>,
    content: [u8; 32],
    unpacked_size: u64,
}

impl LayerIndex {
    /// Returns the index of a layer with these entries, in any order; of several with the same path
    /// the last one counts. Of the names of a hard-linked file the first in order becomes the file.
    ///
    /// # Errors
    /// [`ImageError::BadEntry`] if an entry cannot be part of a layer: an unclean path, something
    /// below a file, a hard link to what is not there, metadata out of range.
    pub fn from_entries(mut entries: Vec<Entry>) -> Result<Self, ImageError> {
        entries.sort_by(|left, right| compare_paths(&left.path, &right.path));
        entries.dedup_by(|later, earlier| {
            let same = later.path == earlier.path;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        for entry in &entries {
            check_entry(entry)?;
        }
        order_links(&mut entries)?;
        let mut builder = IndexBuilder::default();
        for entry in entries {
            builder.push(&entry)?;
        }
        Ok(builder.finish())
    }

    /// Returns the entries in [`compare_paths`] order.
    #[must_use]
    pub fn entries(&self) -> &EntryList {
        &self.entries
    }

    /// Returns the directories that have entries below them but none of their own, in order, as the
    /// entries they become if no lower layer has them: mode 755, owned by 0:0, of 1970. The root
    /// is among them unless it has an entry.
    #[must_use]
    pub fn implied(&self) -> &EntryList {
        &self.implied
    }

    /// Returns the entry at `path`.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<Entry> {
        self.entries.get(path)
    }

    /// Returns the implied directory at `path`.
    #[must_use]
    pub fn get_implied(&self, path: &[u8]) -> Option<Entry> {
        self.implied.get(path)
    }

    /// Returns the entry at `path` and all below it, in order.
    pub fn subtree(&self, path: &[u8]) -> impl Iterator<Item = Entry> {
        let mut cursor = self.entries.seek(path);
        std::iter::from_fn(move || {
            let entry = cursor.entry()?;
            cursor.advance();
            Some(entry).filter(|entry| entry.path == path || is_below(&entry.path, path))
        })
    }

    /// Returns the entries directly below `path`, in order.
    pub fn children(&self, path: &[u8]) -> impl Iterator<Item = Entry> {
        let mut cursor = self.entries.seek(path);
        if cursor.path() == Some(path) {
            cursor.advance();
        }
        std::iter::from_fn(move || {
            loop {
                let here = cursor.path().filter(|here| is_below(here, path))?;
                let child = child_of(here, path).to_vec();
                let entry = if here.len() == child.len() {
                    cursor.entry()
                } else {
                    None
                };
                cursor.skip(&child);
                if entry.is_some() {
                    return entry;
                }
            }
        })
    }

    /// Returns the file entry that `entry` is a name of: itself unless it is a hard link.
    #[must_use]
    pub fn file_of(&self, entry: &Entry) -> Entry {
        let target = match &entry.kind {
            EntryKind::Hardlink { target } => self.get(target),
            _ => None,
        };
        target.unwrap_or_else(|| entry.clone())
    }

    /// Returns a number that all names of the file entry at `position` share, if it has several.
    pub(super) fn link_number(&self, position: usize) -> Option<usize> {
        self.linked
            .binary_search(&position)
            .is_ok()
            .then_some(position)
    }

    /// Returns BLAKE3 over all entries with all fields except modification times.
    #[must_use]
    pub fn content_digest(&self) -> [u8; 32] {
        self.content
    }

    /// Returns the bytes of all files together; hard links count once.
    #[must_use]
    pub fn unpacked_size(&self) -> u64 {
        self.unpacked_size
    }
}

/// Puts an index together from entries in order, each of which was checked for itself.
#[derive(Debug)]
pub(super) struct IndexBuilder {
    entries: EntryList,
    implied: EntryList,
    linked: Vec<usize>,
    /// Lengths of the paths on the way from the root to the last entry; true for directories.
    way: Vec<(usize, bool)>,
    content: Content,
    unpacked_size: u64,
}

/// Bytes that are hashed at once.
const HASHED_AT_ONCE: usize = 64 << 10;

/// The content digest.
#[derive(Debug)]
enum Content {
    /// Of the entries so far, and what is still to be hashed: many small pieces cost more.
    Counted(Box<blake3::Hasher>, Vec<u8>),
    /// A checked file has it.
    Known([u8; 32]),
}

impl Default for IndexBuilder {
    fn default() -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"rbuild layer content 1\n");
        Self {
            entries: EntryList::default(),
            implied: EntryList::default(),
            linked: Vec::new(),
            way: Vec::new(),
            content: Content::Counted(Box::new(hasher), Vec::new()),
            unpacked_size: 0,
        }
    }
}

impl IndexBuilder {
    /// Starts an index with this content digest.
    pub(super) fn known(content: [u8; 32]) -> Self {
        Self {
            content: Content::Known(content),
            ..Self::default()
        }
    }

    /// Returns the entries so far.
    pub(super) fn entries(&self) -> &EntryList {
        &self.entries
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`ImageError::BadEntry`] if it is out of order, lies below what is not a directory, or
    /// is a hard link to what is not a file before it or has other metadata than that.
    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), ImageError> {
        if self.entries.len() >= MAX_ENTRIES {
            return Err(ImageError::bad_entry(b"", "the layer has too many entries"));
        }
        if let EntryKind::Hardlink { target } = &entry.kind {
            self.note_link(entry, target)?;
        }
        self.imply_directories(entry)?;
        if let EntryKind::File { size, .. } = entry.kind {
            self.unpacked_size = self.unpacked_size.checked_add(size).ok_or_else(|| {
                ImageError::bad_entry(&entry.path, "the sizes add up to more than 2^64")
            })?;
        }
        if let Content::Counted(hasher, waiting) = &mut self.content {
            put_hashed(waiting, &entry.path, entry);
            if waiting.len() >= HASHED_AT_ONCE {
                hasher.update(waiting);
                waiting.clear();
            }
        }
        if !self.entries.push(entry) {
            return Err(ImageError::bad_entry(&entry.path, "it comes out of order"));
        }
        Ok(())
    }

    /// Returns the index.
    pub(super) fn finish(mut self) -> LayerIndex {
        if self.entries.is_empty() {
            self.implied.push(&implied_directory(b""));
        }
        self.entries.shrink();
        self.linked.sort_unstable();
        self.linked.dedup();
        LayerIndex {
            content: match self.content {
                Content::Counted(mut hasher, waiting) => {
                    *hasher.update(&waiting).finalize().as_bytes()
                }
                Content::Known(content) => content,
            },
            entries: self.entries,
            implied: self.implied,
            linked: self.linked,
            unpacked_size: self.unpacked_size,
        }
    }

    fn note_link(&mut self, entry: &Entry, target: &[u8]) -> Result<(), ImageError> {
        let found = self.entries.find(target);
        let file = found.as_ref().and_then(Cursor::entry);
        let is_sound = file.is_some_and(|file| {
            matches!(file.kind, EntryKind::File { .. })
                && (file.mode, file.uid, file.gid, file.mtime)
                    == (entry.mode, entry.uid, entry.gid, entry.mtime)
                && file.xattrs == entry.xattrs
        });
        match found.filter(|_| is_sound) {
            Some(found) => self.linked.push(found.position()),
            None => {
                let problem = "the hard link does not match a file before it";
                return Err(ImageError::bad_entry(&entry.path, problem));
            }
        }
        Ok(())
    }

    /// Notes the directories on the way to an entry that have no entries, and checks that it lies
    /// in one.
    fn imply_directories(&mut self, entry: &Entry) -> Result<(), ImageError> {
        let path = entry.path.as_slice();
        let last = self.entries.last_path();
        let has_any = !self.entries.is_empty();
        while has_any
            && self
                .way
                .last()
                .is_some_and(|(length, _)| !is_below(path, &last[..*length]))
        {
            self.way.pop();
        }
        if self
            .way
            .last()
            .is_some_and(|(_, is_directory)| !is_directory)
        {
            let problem = "what it lies below is not a directory";
            return Err(ImageError::bad_entry(path, problem));
        }
        if self.way.is_empty() && !path.is_empty() {
            self.implied.push(&implied_directory(b""));
            self.way.push((0, true));
        }
        // Each slash behind the known directory's own ends the name of one that is not known.
        let start = self.way.last().map_or(0, |(length, _)| length + 1);
        for at in start..path.len() {
            if path[at] == b'/' {
                self.implied.push(&implied_directory(&path[..at]));
                self.way.push((at, true));
            }
        }
        let is_directory = matches!(entry.kind, EntryKind::Directory { .. });
        self.way.push((path.len(), is_directory));
        Ok(())
    }
}

/// Appends what is hashed of `entry` for content digests: every field except the modification
/// time, with `path` in place of its own path. Each part has its length before it, so no two
/// entries look alike. Changing this changes what every content digest means.
pub fn put_hashed(bytes: &mut Vec<u8>, path: &[u8], entry: &Entry) {
    put_bytes(bytes, path);
    match &entry.kind {
        EntryKind::File { size, digest } => {
            bytes.push(1);
            bytes.extend_from_slice(&size.to_le_bytes());
            bytes.extend_from_slice(&digest.0);
        }
        EntryKind::Directory { opaque } => bytes.extend_from_slice(&[2, u8::from(*opaque)]),
        EntryKind::Symlink { target } => {
            bytes.push(3);
            put_bytes(bytes, target);
        }
        EntryKind::Hardlink { target } => {
            bytes.push(4);
            put_bytes(bytes, target);
        }
        EntryKind::Fifo => bytes.push(5),
        EntryKind::CharDevice { major, minor } => {
            bytes.push(6);
            bytes.extend_from_slice(&major.to_le_bytes());
            bytes.extend_from_slice(&minor.to_le_bytes());
        }
        EntryKind::BlockDevice { major, minor } => {
            bytes.push(7);
            bytes.extend_from_slice(&major.to_le_bytes());
            bytes.extend_from_slice(&minor.to_le_bytes());
        }
        EntryKind::Whiteout => bytes.push(8),
    }
    for number in [entry.mode, entry.uid, entry.gid] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&(entry.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &entry.xattrs {
        put_bytes(bytes, name);
        put_bytes(bytes, value);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Returns the directory that is there because something below `path` is.
pub(super) fn implied_directory(path: &[u8]) -> Entry {
    Entry {
        path: path.to_vec(),
        kind: EntryKind::Directory { opaque: false },
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: BTreeMap::new(),
    }
}

/// Returns the prefix of `path`, which is below `directory`, that is directly below it.
pub(super) fn child_of<'a>(path: &'a [u8], directory: &[u8]) -> &'a [u8] {
    let start = if directory.is_empty() {
        0
    } else {
        directory.len() + 1
    };
    let name = path[start..].iter().position(|byte| *byte == b'/');
    &path[..name.map_or(path.len(), |length| start + length)]
}

/// Checks what can be said of one entry alone.
pub(super) fn check_entry(entry: &Entry) -> Result<(), ImageError> {
    let bad = |problem: &str| Err(ImageError::bad_entry(&entry.path, problem));
    match path::shape(&entry.path) {
        Shape::Clean => {}
        Shape::Marked => return bad("names that start with `.wh.` mean removed files"),
        Shape::Unclean => return bad("not a clean path"),
    }
    if entry.mode > 0o7777 || entry.mtime.nanoseconds > 999_999_999 {
        return bad("mode or time out of range");
    }
    if entry.uid == u32::MAX || entry.gid == u32::MAX {
        return bad("no owner has the number 4294967295");
    }
    if entry.path.is_empty() && !matches!(entry.kind, EntryKind::Directory { .. }) {
        return bad("the root can only be a directory");
    }
    match &entry.kind {
        EntryKind::Symlink { target }
            if target.is_empty() || target.len() > path::MAX_PATH || target.contains(&0) =>
        {
            return bad("not a target that a symbolic link can have");
        }
        EntryKind::CharDevice { major: 0, minor: 0 } => {
            return bad("device 0:0 is how overlayfs marks removed files");
        }
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor }
            if *major > MAX_DEVICE.0 || *minor > MAX_DEVICE.1 =>
        {
            return bad("device number out of range");
        }
        EntryKind::Hardlink { target } if !path::is_clean(target) => {
            return bad("the hard link's target is not a clean path");
        }
        _ => {}
    }
    Ok(())
}

/// Makes the first name of each hard-linked file the file, and the others links to it.
fn order_links(entries: &mut [Entry]) -> Result<(), ImageError> {
    let mut names: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        if matches!(entry.kind, EntryKind::Hardlink { .. }) {
            names.entry(file_behind(entries, at)?).or_default().push(at);
        }
    }
    for (file, links) in names {
        let first = links.iter().copied().fold(file, usize::min);
        let model = entries[file].clone();
        let target = entries[first].path.clone();
        for at in links.into_iter().chain([file]) {
            let path = std::mem::take(&mut entries[at].path);
            entries[at] = Entry {
                path,
                ..model.clone()
            };
            if at != first {
                entries[at].kind = EntryKind::Hardlink {
                    target: target.clone(),
                };
            }
        }
    }
    Ok(())
}

/// Returns the position of the file that the hard link at position `link` leads to.
fn file_behind(entries: &[Entry], link: usize) -> Result<usize, ImageError> {
    const CHAIN: usize = 64;
    let mut at = link;
    for _ in 0..CHAIN {
        match &entries[at].kind {
            EntryKind::Hardlink { target } => {
                at = entries
                    .binary_search_by(|entry| compare_paths(&entry.path, target))
                    .map_err(|_missing| {
                        ImageError::bad_entry(
                            &entries[link].path,
                            format!(
                                "a hard link to `{}`, which the layer does not have",
                                path::display(target)
                            ),
                        )
                    })?;
            }
            EntryKind::File { .. } => return Ok(at),
            _ => {
                return Err(ImageError::bad_entry(
                    &entries[link].path,
                    "a hard link to something that is not a file",
                ));
            }
        }
    }
    Err(ImageError::bad_entry(
        &entries[link].path,
        "a hard link that leads back to itself",
    ))
}
