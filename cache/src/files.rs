//! The file-digest cache: BLAKE3 of context files by their state on disk.
//!
//! A file whose device, inode, size, modification time and change time are those of an earlier
//! build is not read again. Racy files follow git's rule: a file that was changed at, or shortly
//! before, the moment it was hashed could change again without a new time, so it is never kept.
//!
//! What nobody asks for goes: entries of a context when there are many of them, contexts that were
//! used longest ago when all of them together take too much room.
//!
//! One row per context holds all its entries, 88 bytes each, sorted by device and inode:
//! `dev, ino, size, mtime s, mtime ns, ctime s, ctime ns` as little-endian 64-bit numbers, then
//! the 32 bytes of the digest.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{OptionalExtension as _, params};

use crate::database::Database;
use crate::error::CacheError;

/// Bytes of one packed entry.
const ENTRY_SIZE: usize = 7 * 8 + 32;

/// A file that changed less than this before it was hashed is racy: times have the granularity of
/// the kernel's tick, at most 10 ms, and file systems of other kinds may round to 2 s.
const RACY_NANOSECONDS: i128 = 2_000_000_000;

/// So many entries that a build has not asked for are kept with the others: it may have copied only
/// a part of its context.
const MAX_IDLE_ENTRIES: usize = 1 << 16;

/// Bytes of all entries of all contexts, but for the one that was used last.
const MAX_BYTES: i64 = 64 << 20;

/// A note of use that is younger than this, in seconds, is not renewed: each costs a write.
const USE_GRAIN: i64 = 86_400;

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
    /// When it was used last, in seconds since the Unix epoch, as far as is noted.
    used: i64,
    known: HashMap<(u64, u64), Known>,
    fresh: Mutex<Vec<(FileState, [u8; 32])>>,
}

/// A digest of an earlier build.
#[derive(Debug)]
struct Known {
    state: FileState,
    digest: [u8; 32],
    /// This build has asked for it.
    is_wanted: AtomicBool,
}

impl FileDigests {
    /// Loads what is known of the context that `name` identifies (its absolute path).
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn load(database: &Database, name: &[u8]) -> Result<Self, CacheError> {
        let context = *blake3::hash(name).as_bytes();
        let found: Option<(i64, Vec<u8>)> = database.with("look up file digests", |db| {
            db.query_row(
                "SELECT used, entries FROM contexts WHERE context = ?1",
                [&context[..]],
                // A row of the wrong shape knows nothing.
                |row| {
                    Ok((
                        row.get(0).unwrap_or_default(),
                        row.get(1).unwrap_or_default(),
                    ))
                },
            )
            .optional()
        })?;
        let (used, packed) = found.unwrap_or_default();
        let known = packed.chunks_exact(ENTRY_SIZE).map(unpack);
        let known = known.map(|(state, digest)| {
            let is_wanted = AtomicBool::new(false);
            let known = Known {
                state,
                digest,
                is_wanted,
            };
            ((state.dev, state.ino), known)
        });
        Ok(Self {
            context,
            used,
            known: known.collect(),
            fresh: Mutex::default(),
        })
    }

    /// Starts with nothing known. To be dropped, not saved: for files that go with the build.
    #[must_use]
    pub fn passing() -> Self {
        Self {
            context: [0; 32],
            used: 0,
            known: HashMap::new(),
            fresh: Mutex::default(),
        }
    }

    /// Returns the digest of a file in this state.
    #[must_use]
    pub fn lookup(&self, state: &FileState) -> Option<[u8; 32]> {
        let known = self.known.get(&(state.dev, state.ino))?;
        if known.state != *state {
            return None;
        }
        known.is_wanted.store(true, Ordering::Relaxed);
        Some(known.digest)
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

    /// Writes what was noted, if anything, and that the context was used at `now`, in seconds since
    /// the Unix epoch.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn save(self, database: &Database, now: i64) -> Result<(), CacheError> {
        let fresh = self
            .fresh
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if fresh.is_empty() {
            return note_use(database, &self.context, self.used, now);
        }
        let (wanted, idle): (Vec<_>, Vec<_>) = self
            .known
            .into_iter()
            .partition(|(_, known)| known.is_wanted.load(Ordering::Relaxed));
        let idle = Some(idle).filter(|idle| idle.len() <= MAX_IDLE_ENTRIES);
        let old = wanted.into_iter().chain(idle.into_iter().flatten());
        let mut entries: HashMap<(u64, u64), (FileState, [u8; 32])> = old
            .map(|(file, known)| (file, (known.state, known.digest)))
            .collect();
        for (state, digest) in fresh {
            entries.insert((state.dev, state.ino), (state, digest));
        }
        let mut entries: Vec<_> = entries.into_values().collect();
        entries.sort_unstable_by_key(|(state, _)| (state.dev, state.ino));
        let mut packed = Vec::with_capacity(entries.len() * ENTRY_SIZE);
        for (state, digest) in &entries {
            pack(state, digest, &mut packed);
        }
        database.with("keep file digests", |db| {
            let transaction = db.unchecked_transaction()?;
            transaction.execute(
                "INSERT OR REPLACE INTO contexts VALUES (?1, ?2, ?3)",
                params![&self.context[..], now, packed],
            )?;
            transaction.execute(CROWD_OUT, params![&self.context[..], MAX_BYTES])?;
            transaction.commit()
        })
    }
}

/// Removes the contexts that do not fit into the room for all when those used later are in it.
const CROWD_OUT: &str = "
DELETE FROM contexts WHERE context != ?1 AND context IN (
    SELECT context FROM (
        SELECT context, sum(length(entries)) OVER (ORDER BY used DESC, context) AS bytes FROM contexts
    ) WHERE bytes > ?2
)";

fn note_use(
    database: &Database,
    context: &[u8; 32],
    used: i64,
    now: i64,
) -> Result<(), CacheError> {
    if now.saturating_sub(used) < USE_GRAIN {
        return Ok(());
    }
    database.with("note the use of file digests", |db| {
        db.execute(
            "UPDATE contexts SET used = ?2 WHERE context = ?1",
            params![&context[..], now],
        )
    })?;
    Ok(())
}

impl Database {
    /// Forgets the digests of contexts that were used last before this time.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub(crate) fn forget_contexts(&self, before: i64) -> Result<(), CacheError> {
        self.with("forget file digests", |db| {
            db.execute("DELETE FROM contexts WHERE used < ?1", [before])
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
        digests.save(&database, 200).unwrap();
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
        digests.save(&database, 200).unwrap();
        assert_eq!(
            FileDigests::load(&database, b"/ctx").unwrap().lookup(&OLD),
            None
        );
    }

    fn open() -> (tempfile::TempDir, Database) {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("db")).unwrap();
        (dir, database)
    }

    /// Notes `n_files` in a context, from inode `first` on.
    fn fill(database: &Database, name: &[u8], inodes: std::ops::Range<u64>, now: i64) {
        let digests = FileDigests::load(database, name).unwrap();
        for ino in inodes {
            digests.note(FileState { ino, ..OLD }, [1; 32], 200 * 1_000_000_000);
        }
        digests.save(database, now).unwrap();
    }

    fn n_known(database: &Database, name: &[u8]) -> usize {
        FileDigests::load(database, name).unwrap().known.len()
    }

    #[test]
    fn files_that_are_gone_are_forgotten() {
        let (_dir, database) = open();
        let many = MAX_IDLE_ENTRIES as u64 + 1;
        fill(&database, b"/ctx", 0..many, 1);
        let digests = FileDigests::load(&database, b"/ctx").unwrap();
        for ino in 0..10 {
            digests.lookup(&FileState { ino, ..OLD }).unwrap();
        }
        digests.note(FileState { ino: many, ..OLD }, [1; 32], 200 * 1_000_000_000);
        digests.save(&database, 2).unwrap();
        assert_eq!(
            n_known(&database, b"/ctx"),
            MAX_IDLE_ENTRIES + 2,
            "one too few to go"
        );
        fill(&database, b"/ctx", many + 1..many + 2, 3);
        assert_eq!(n_known(&database, b"/ctx"), 1);
    }

    #[test]
    fn contexts_crowd_out_those_used_before() {
        let (_dir, database) = open();
        for (now, name) in [(0, b"/a"), (1, b"/b")] {
            let context = *blake3::hash(name).as_bytes();
            // Two of them fill the room.
            let insert = "INSERT INTO contexts VALUES (?1, ?2, zeroblob(?3))";
            database
                .with("fill", |db| {
                    db.execute(insert, params![&context[..], now, MAX_BYTES / 2])
                })
                .unwrap();
        }
        fill(&database, b"/c", 0..1, 2);
        let known = [b"/a", b"/b", b"/c"].map(|name| n_known(&database, name) > 0);
        assert_eq!(known, [false, true, true]);
        database.forget_contexts(2).unwrap();
        let known = [b"/b", b"/c"].map(|name| n_known(&database, name) > 0);
        assert_eq!(known, [false, true]);
    }

    #[test]
    fn use_is_noted_now_and_then() {
        let (_dir, database) = open();
        fill(&database, b"/ctx", 0..1, 100);
        for now in [101, 100 + USE_GRAIN] {
            let digests = FileDigests::load(&database, b"/ctx").unwrap();
            digests.save(&database, now).unwrap();
        }
        assert_eq!(
            FileDigests::load(&database, b"/ctx").unwrap().used,
            100 + USE_GRAIN
        );
    }
}
