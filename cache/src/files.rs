//! The file-digest cache: BLAKE3 of context files by their state on disk.
//!
//! A file whose device, inode, size, modification time and change time are those of an earlier
//! build is not read again. Racy files follow git's rule: a file that was changed at, or shortly
//! before, the moment it was hashed could change again without a new time, so it is never kept.
//!
//! One row per context holds all its entries, 88 bytes each, sorted by device and inode:
//! `dev, ino, size, mtime s, mtime ns, ctime s, ctime ns` as little-endian 64-bit numbers, then
//! the 32 bytes of the digest.

use std::collections::HashMap;
use std::sync::Mutex;

use rusqlite::{OptionalExtension as _, params};

use crate::database::Database;
use crate::error::CacheError;

/// Bytes of one packed entry.
const ENTRY_SIZE: usize = 7 * 8 + 32;

/// A file that changed less than this before it was hashed is racy: times have the granularity of
/// the kernel's tick, at most 10 ms, and file systems of other kinds may round to 2 s.
const RACY_NANOSECONDS: i128 = 2_000_000_000;

/// What identifies a file's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileState {
    /// Device of the file system.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Change time: seconds and nanoseconds.
    pub ctime: (i64, i64),
}

impl FileState {
    /// The later of the two times in nanoseconds.
    fn last_change(&self) -> i128 {
        let nanoseconds = |(s, ns): (i64, i64)| i128::from(s) * 1_000_000_000 + i128::from(ns);
        nanoseconds(self.mtime).max(nanoseconds(self.ctime))
    }
}

/// Digests of one context's files. Shared by the threads that hash.
#[derive(Debug)]
pub struct FileDigests {
    context: [u8; 32],
    known: HashMap<(u64, u64), (FileState, [u8; 32])>,
    fresh: Mutex<Vec<(FileState, [u8; 32])>>,
}

impl FileDigests {
    /// Loads what is known of the context that `name` identifies (its absolute path).
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn load(database: &Database, name: &[u8]) -> Result<Self, CacheError> {
        let context = *blake3::hash(name).as_bytes();
        let packed: Option<Vec<u8>> = database.with("look up file digests", |db| {
            db.query_row(
                "SELECT entries FROM file_digests WHERE context = ?1",
                [&context[..]],
                |row| row.get(0),
            )
            .optional()
        })?;
        let known = packed
            .unwrap_or_default()
            .chunks_exact(ENTRY_SIZE)
            .map(unpack)
            .map(|(state, digest)| ((state.dev, state.ino), (state, digest)))
            .collect();
        Ok(Self {
            context,
            known,
            fresh: Mutex::default(),
        })
    }

    /// Starts with nothing known. To be dropped, not saved: for files that go with the build.
    #[must_use]
    pub fn passing() -> Self {
        Self {
            context: [0; 32],
            known: HashMap::new(),
            fresh: Mutex::default(),
        }
    }

    /// Returns the digest of a file in this state.
    #[must_use]
    pub fn lookup(&self, state: &FileState) -> Option<[u8; 32]> {
        let (known, digest) = self.known.get(&(state.dev, state.ino))?;
        (known == state).then_some(*digest)
    }

    /// Notes the digest of a file that was in this state before it was read at `hashed_at`
    /// (nanoseconds since the Unix epoch). A racy one is dropped.
    pub fn note(&self, state: FileState, digest: [u8; 32], hashed_at: i128) {
        if state.last_change() + RACY_NANOSECONDS <= hashed_at {
            self.fresh
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push((state, digest));
        }
    }

    /// Writes what was noted, if anything. Entries of files that are gone fall away once they
    /// outnumber the others.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn save(mut self, database: &Database) -> Result<(), CacheError> {
        let fresh = std::mem::take(
            &mut *self
                .fresh
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        if fresh.is_empty() {
            return Ok(());
        }
        for (state, digest) in fresh {
            self.known.insert((state.dev, state.ino), (state, digest));
        }
        let mut entries: Vec<_> = self.known.into_values().collect();
        entries.sort_unstable_by_key(|(state, _)| (state.dev, state.ino));
        let mut packed = Vec::with_capacity(entries.len() * ENTRY_SIZE);
        for (state, digest) in &entries {
            pack(state, digest, &mut packed);
        }
        database.with("keep file digests", |db| {
            db.execute(
                "INSERT OR REPLACE INTO file_digests VALUES (?1, ?2)",
                params![&self.context[..], packed],
            )
        })?;
        Ok(())
    }
}

fn pack(state: &FileState, digest: &[u8; 32], out: &mut Vec<u8>) {
    for number in [state.dev, state.ino, state.size] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for number in [state.mtime.0, state.mtime.1, state.ctime.0, state.ctime.1] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(digest);
}

fn unpack(entry: &[u8]) -> (FileState, [u8; 32]) {
    let word = |i: usize| -> [u8; 8] {
        entry[i * 8..i * 8 + 8]
            .try_into()
            .expect("a slice of eight bytes")
    };
    let state = FileState {
        dev: u64::from_le_bytes(word(0)),
        ino: u64::from_le_bytes(word(1)),
        size: u64::from_le_bytes(word(2)),
        mtime: (i64::from_le_bytes(word(3)), i64::from_le_bytes(word(4))),
        ctime: (i64::from_le_bytes(word(5)), i64::from_le_bytes(word(6))),
    };
    (
        state,
        entry[56..].try_into().expect("entries are cut to size"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: FileState = FileState {
        dev: 1,
        ino: 2,
        size: 3,
        mtime: (100, 5),
        ctime: (100, 6),
    };

    #[test]
    fn a_kept_digest_needs_the_very_same_state() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("db")).unwrap();
        let digests = FileDigests::load(&database, b"/ctx").unwrap();
        digests.note(OLD, [4; 32], 200 * 1_000_000_000);
        digests.save(&database).unwrap();
        let digests = FileDigests::load(&database, b"/ctx").unwrap();
        assert_eq!(digests.lookup(&OLD), Some([4; 32]));
        for changed in [
            FileState { size: 4, ..OLD },
            FileState {
                mtime: (100, 6),
                ..OLD
            },
            FileState {
                ctime: (101, 6),
                ..OLD
            },
            FileState { ino: 3, ..OLD },
        ] {
            assert_eq!(digests.lookup(&changed), None);
        }
        assert_eq!(
            FileDigests::load(&database, b"/other")
                .unwrap()
                .lookup(&OLD),
            None
        );
    }

    #[test]
    fn a_racy_file_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("db")).unwrap();
        let digests = FileDigests::load(&database, b"/ctx").unwrap();
        digests.note(OLD, [4; 32], 101 * 1_000_000_000);
        digests.save(&database).unwrap();
        assert_eq!(
            FileDigests::load(&database, b"/ctx").unwrap().lookup(&OLD),
            None
        );
    }
}
