//! The index of a layer: its entries in order, and what is known from them alone.
//!
//! It knows nothing of trees and blobs. The file format is in [`super::index_file`].

use std::collections::BTreeMap;

use crate::error::ImageError;

use super::entry::{Entry, EntryKind, Mtime};
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
    entries: Vec<Entry>,
    implied: Vec<Entry>,
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
        Self::from_sorted(entries, None)
    }

    /// Returns the index of entries that are already in order. `content` is the content digest if
    /// it is known (a checked file has it).
    pub(super) fn from_sorted(
        entries: Vec<Entry>,
        content: Option<[u8; 32]>,
    ) -> Result<Self, ImageError> {
        if entries.len() > MAX_ENTRIES {
            return Err(ImageError::bad_entry(b"", "the layer has too many entries"));
        }
        let implied = implied_directories(&entries)?;
        let mut unpacked_size = 0_u64;
        for entry in &entries {
            if let EntryKind::File { size, .. } = entry.kind {
                unpacked_size = unpacked_size.checked_add(size).ok_or_else(|| {
                    ImageError::bad_entry(&entry.path, "the sizes add up to more than 2^64")
                })?;
            }
        }
        let content = content.unwrap_or_else(|| digest_entries(&entries));
        Ok(Self {
            entries,
            implied,
            content,
            unpacked_size,
        })
    }

    /// Returns the entries in [`compare_paths`] order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the directories that have entries below them but none of their own, in order, as the
    /// entries they become if no lower layer has them: mode 755, owned by 0:0, of 1970. The root
    /// is among them unless it has an entry.
    #[must_use]
    pub fn implied(&self) -> &[Entry] {
        &self.implied
    }

    /// Returns the entry at `path`.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        find(&self.entries, path)
    }

    /// Returns the implied directory at `path`.
    #[must_use]
    pub fn get_implied(&self, path: &[u8]) -> Option<&Entry> {
        find(&self.implied, path)
    }

    /// Returns the entry at `path` and all below it, in order.
    #[must_use]
    pub fn subtree(&self, path: &[u8]) -> &[Entry] {
        subtree(&self.entries, path)
    }

    /// Returns the entries directly below `path`, in order.
    pub fn children<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = &'a Entry> {
        let mut rest = subtree(&self.entries, path);
        if rest.first().is_some_and(|entry| entry.path == path) {
            rest = &rest[1..];
        }
        std::iter::from_fn(move || {
            loop {
                let first = rest.first()?;
                let child = child_of(&first.path, path);
                rest = &rest[count_through(rest, child)..];
                if first.path.len() == child.len() {
                    return Some(first);
                }
            }
        })
    }

    /// Returns the file entry that `entry` is a name of: itself unless it is a hard link.
    #[must_use]
    pub fn file_of<'a>(&'a self, entry: &'a Entry) -> &'a Entry {
        match &entry.kind {
            EntryKind::Hardlink { target } => self.get(target).unwrap_or(entry),
            _ => entry,
        }
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

/// Feeds `entry` into `hasher` as it counts for content digests: every field except the modification
/// time, with `path` in place of its own path. Each part has its length before it, so no two
/// entries look alike. Changing this changes what every content digest means.
pub fn hash_entry(hasher: &mut blake3::Hasher, path: &[u8], entry: &Entry) {
    let mut bytes = Vec::with_capacity(path.len() + 96);
    put_bytes(&mut bytes, path);
    match &entry.kind {
        EntryKind::File { size, digest } => {
            bytes.push(1);
            bytes.extend_from_slice(&size.to_le_bytes());
            bytes.extend_from_slice(&digest.0);
        }
        EntryKind::Directory { opaque } => bytes.extend_from_slice(&[2, u8::from(*opaque)]),
        EntryKind::Symlink { target } => {
            bytes.push(3);
            put_bytes(&mut bytes, target);
        }
        EntryKind::Hardlink { target } => {
            bytes.push(4);
            put_bytes(&mut bytes, target);
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
        put_bytes(&mut bytes, name);
        put_bytes(&mut bytes, value);
    }
    hasher.update(&bytes);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn digest_entries(entries: &[Entry]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"rbuild layer content 1\n");
    for entry in entries {
        hash_entry(&mut hasher, &entry.path, entry);
    }
    *hasher.finalize().as_bytes()
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

pub(super) fn find<'a>(entries: &'a [Entry], path: &[u8]) -> Option<&'a Entry> {
    let at = entries
        .binary_search_by(|entry| compare_paths(&entry.path, path))
        .ok()?;
    entries.get(at)
}

/// Returns the run of `entries` at and below `path`.
pub(super) fn subtree<'a>(entries: &'a [Entry], path: &[u8]) -> &'a [Entry] {
    let start = entries.partition_point(|entry| compare_paths(&entry.path, path).is_lt());
    let rest = &entries[start..];
    &rest[..count_through(rest, path)]
}

/// Returns how many of `entries`, which start at or below `path`, are at or below it.
pub(super) fn count_through(entries: &[Entry], path: &[u8]) -> usize {
    entries.partition_point(|entry| entry.path == path || is_below(&entry.path, path))
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

/// Lists the directories without entries, and checks that parents are directories.
fn implied_directories(entries: &[Entry]) -> Result<Vec<Entry>, ImageError> {
    let mut implied = Vec::new();
    // The way from the root to the entry before; true for directories.
    let mut way: Vec<(&[u8], bool)> = Vec::new();
    for entry in entries {
        while way
            .last()
            .is_some_and(|(dir, _)| !is_below(&entry.path, dir))
        {
            way.pop();
        }
        if way.last().is_some_and(|(_, is_directory)| !is_directory) {
            return Err(ImageError::bad_entry(
                &entry.path,
                "what it lies below is not a directory",
            ));
        }
        if way.is_empty() && !entry.path.is_empty() {
            implied.push(implied_directory(b""));
            way.push((b"", true));
        }
        // Each slash behind the known directory's own ends the name of one that is not known.
        let start = way.last().map_or(0, |(dir, _)| dir.len() + 1);
        for at in start..entry.path.len() {
            if entry.path[at] == b'/' {
                implied.push(implied_directory(&entry.path[..at]));
                way.push((&entry.path[..at], true));
            }
        }
        let is_directory = matches!(entry.kind, EntryKind::Directory { .. });
        way.push((&entry.path, is_directory));
    }
    if entries.is_empty() {
        implied.push(implied_directory(b""));
    }
    Ok(implied)
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
