//! The file-digest cache: BLAKE3 of context files by their state on disk.
//!
//! A file whose device, inode, size, modification time and change time are those of an earlier
//! build is not read again. Racy files follow git's rule: a file that was changed at, or shortly
//! before, the moment it was hashed could change again without a new time, so it is never kept.
//!
//! What nobody asks for goes: entries of a context when there are many of them, contexts that were
//! used longest ago when all of them together take too much room.
//!
//! Rows of up to 64 KiB hold a context's entries, 88 bytes each, sorted by device and inode:
//! `dev, ino, size, mtime s, mtime ns, ctime s, ctime ns` as little-endian 64-bit numbers, then
//! the 32 bytes of the digest. In memory they stand as they do there.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::params;

use crate::database::Database;
use crate::error::CacheError;

/// Bytes of one packed entry.
const ENTRY_SIZE: usize = 7 * 8 + 32;

/// Entries of one row.
const PART: usize = (64 << 10) / ENTRY_SIZE;

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
    known: Known,
    /// Packed entries.
    fresh: Mutex<Vec<u8>>,
}

/// Digests of an earlier build.
#[derive(Debug, Default)]
struct Known {
    /// Packed entries.
    entries: Vec<u8>,
    /// Hashed by device and inode: the numbers of entries, from 1; 0 where there is none.
    slots: Vec<u32>,
    /// For each slot, true if this build has asked for the entry.
    is_wanted: Vec<AtomicBool>,
}

impl Known {
    fn new(entries: Vec<u8>) -> Self {
        let n_entries = entries.len() / ENTRY_SIZE;
        // One of them at least stays empty: that ends a search.
        let n_slots = (n_entries + n_entries / 2 + 1).next_power_of_two();
        let mut known = Self {
            entries,
            slots: vec![0; n_slots],
            is_wanted: std::iter::repeat_with(AtomicBool::default)
                .take(n_slots)
                .collect(),
        };
        for (number, at) in (1..).zip(0..n_entries) {
            let slot = known.slot(file_of(known.entry(at)));
            known.slots[slot] = number;
        }
        known
    }

    fn entry(&self, at: usize) -> &[u8] {
        &self.entries[at * ENTRY_SIZE..(at + 1) * ENTRY_SIZE]
    }

    /// Returns the entry in a slot.
    fn in_slot(&self, slot: usize) -> Option<&[u8]> {
        let number = usize::try_from(self.slots[slot]).ok()?;
        Some(self.entry(number.checked_sub(1)?))
    }

    /// Returns the slot of a file, or the empty one where it would be.
    fn slot(&self, file: (u64, u64)) -> usize {
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mask = self.slots.len() - 1;
        let hash = (file.1 ^ file.0.rotate_left(32)).wrapping_mul(SPREAD) >> 32;
        let mut slot = usize::try_from(hash).unwrap_or_default() & mask;
        while self
            .in_slot(slot)
            .is_some_and(|entry| file_of(entry) != file)
        {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn get(&self, state: &FileState) -> Option<[u8; 32]> {
        if self.entries.is_empty() {
            return None;
        }
        let slot = self.slot((state.dev, state.ino));
        let (known, digest) = unpack(self.in_slot(slot)?);
        if known != *state {
            return None;
        }
        self.is_wanted[slot].store(true, Ordering::Relaxed);
        Some(digest)
    }

    /// Returns the entries that are worth keeping.
    fn kept(&self) -> Vec<&[u8]> {
        let slots = || (0..self.slots.len()).filter_map(|slot| Some((slot, self.in_slot(slot)?)));
        let is_wanted = |slot: usize| self.is_wanted[slot].load(Ordering::Relaxed);
        let n_idle = slots().filter(|(slot, _)| !is_wanted(*slot)).count();
        let keeps_idle = n_idle <= MAX_IDLE_ENTRIES;
        slots()
            .filter(|(slot, _)| keeps_idle || is_wanted(*slot))
            .map(|(_, entry)| entry)
            .collect()
    }
}

impl FileDigests {
    /// Loads what is known of the context that `name` identifies (its absolute path).
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn load(database: &Database, name: &[u8]) -> Result<Self, CacheError> {
        let context = *blake3::hash(name).as_bytes();
        let (used, entries) = database.with("look up file digests", |db| {
            let mut entries = Vec::new();
            let mut used = 0;
            let sql = "SELECT used, entries FROM context_files WHERE context = ?1 ORDER BY part";
            let mut rows = db.prepare(sql)?;
            let mut rows = rows.query([&context[..]])?;
            while let Some(row) = rows.next()? {
                used = row.get(0).unwrap_or_default();
                // A row of the wrong shape knows nothing.
                let part = row.get_ref(1)?.as_blob().unwrap_or_default();
                let n_whole = part.len() / ENTRY_SIZE * ENTRY_SIZE;
                entries.extend_from_slice(&part[..n_whole]);
            }
            Ok((used, entries))
        })?;
        Ok(Self {
            context,
            used,
            known: Known::new(entries),
            fresh: Mutex::default(),
        })
    }

    /// Starts with nothing known. To be dropped, not saved: for files that go with the build.
    #[must_use]
    pub fn passing() -> Self {
        Self {
            context: [0; 32],
            used: 0,
            known: Known::default(),
            fresh: Mutex::default(),
        }
    }

    /// Returns the digest of a file in this state.
    #[must_use]
    pub fn lookup(&self, state: &FileState) -> Option<[u8; 32]> {
        self.known.get(state)
    }

    /// Notes the digest of a file that was in this state before it was read at `hashed_at`
    /// (nanoseconds since the Unix epoch). A racy one is dropped.
    pub fn note(&self, state: FileState, digest: [u8; 32], hashed_at: i128) {
        if state.last_change() + RACY_NANOSECONDS <= hashed_at {
            let mut fresh = self
                .fresh
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            pack(&state, &digest, &mut fresh);
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
        let mut entries = self.known.kept();
        entries.extend(fresh.chunks_exact(ENTRY_SIZE));
        // Of several entries of a file the last one counts, so that comes first.
        entries.reverse();
        entries.sort_by_key(|entry| file_of(entry));
        entries.dedup_by_key(|entry| file_of(entry));
        let context = &self.context[..];
        database.with("keep file digests", |db| {
            let transaction = db.unchecked_transaction()?;
            transaction.execute("DELETE FROM context_files WHERE context = ?1", [context])?;
            let sql = "INSERT INTO context_files VALUES (?1, ?2, ?3, ?4)";
            let mut insert = transaction.prepare(sql)?;
            for (number, part) in (0_i64..).zip(entries.chunks(PART)) {
                insert.execute(params![context, number, now, part.concat()])?;
            }
            drop(insert);
            transaction.execute(CROWD_OUT, params![context, MAX_BYTES])?;
            transaction.commit()
        })
    }
}

/// Removes the contexts that do not fit into the room for all when those used later are in it.
const CROWD_OUT: &str = "
DELETE FROM context_files WHERE context != ?1 AND context IN (
    SELECT context FROM (
        SELECT context, sum(sum(length(entries))) OVER (ORDER BY max(used) DESC, context) AS bytes
        FROM context_files GROUP BY context
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
            "UPDATE context_files SET used = ?2 WHERE context = ?1",
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
            db.execute("DELETE FROM context_files WHERE used < ?1", [before])
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

/// Returns the device and inode of a packed entry.
fn file_of(entry: &[u8]) -> (u64, u64) {
    let (state, _) = unpack(entry);
    (state.dev, state.ino)
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
        FileDigests::load(database, name)
            .unwrap()
            .known
            .entries
            .len()
            / ENTRY_SIZE
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
            let insert = "INSERT INTO context_files VALUES (?1, 0, ?2, zeroblob(?3))";
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
