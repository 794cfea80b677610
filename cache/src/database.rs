//! The embedded database: records, how often each step ran, and file digests.
//!
//! `db` in the store's root, SQLite in WAL mode, so that several processes use it at once. It is
//! an accelerator: a damaged or newer file is moved aside and an empty one takes its place, which
//! costs rebuilds and loses no image.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::CacheError;

/// Version of the tables, kept in `user_version`.
const SCHEMA_VERSION: i64 = 3;

/// Files that SQLite has open at once: the database, its log, the log's index, a folder to be synced.
const MAX_FILES: usize = 4;

/// How long a statement waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A longer log than this many bytes is moved into the file at the end of a build.
const MAX_LOG: u64 = 128 << 10;

/// Everything is made if it is not there, so this also brings earlier versions up to date, whose
/// digests of files are not worth the taking over.
const SCHEMA: &str = "
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS records (
    key BLOB PRIMARY KEY,
    diff_id BLOB NOT NULL,
    content BLOB NOT NULL,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    instruction TEXT NOT NULL,
    leaves TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS executions (
    key BLOB PRIMARY KEY,
    n INTEGER NOT NULL,
    last INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS context_files (
    context BLOB NOT NULL,
    part INTEGER NOT NULL,
    used INTEGER NOT NULL,
    entries BLOB NOT NULL,
    PRIMARY KEY (context, part)
) WITHOUT ROWID;
DROP TABLE IF EXISTS file_digests;
DROP TABLE IF EXISTS contexts;
PRAGMA user_version = 3;
COMMIT;
";

/// A file with fewer pages (of 4 KiB) is not made smaller.
const MIN_PAGES: i64 = 256;

/// An open cache database. Shared by all threads of a build.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Database {
    /// Opens or makes the database file `path`.
    ///
    /// # Errors
    /// [`CacheError::Database`] if the file can neither be used nor moved aside.
    pub fn open(path: &Path) -> Result<Self, CacheError> {
        let connection = match connect(path) {
            Ok(connection) => connection,
            Err(error) if is_damage(&error) => {
                move_aside(path)?;
                connect(path).map_err(|source| open_error(path, source))?
            }
            Err(source) => {
                // The system says why; SQLite says that it could not.
                let mut options = fs_err::OpenOptions::new();
                options.append(true).create(true);
                (0..MAX_FILES)
                    .map(|_| options.open(path))
                    .collect::<std::io::Result<Vec<_>>>()?;
                return Err(open_error(path, source));
            }
        };
        Ok(Self {
            path: path.to_owned(),
            connection: Mutex::new(connection),
        })
    }

    /// Runs `work` on the connection; its error is reported as one met while `doing`.
    pub(crate) fn with<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, CacheError> {
        work(&self.lock()).map_err(|source| CacheError::Database {
            doing,
            path: self.path.clone(),
            source,
        })
    }

    /// Gives pages back to the file system if most of the file is unused.
    ///
    /// # Errors
    /// [`CacheError::Database`]
    pub(crate) fn shrink(&self) -> Result<(), CacheError> {
        self.with("make the tables smaller", |db| {
            let number = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let (pages, unused) = (number("page_count")?, number("freelist_count")?);
            if pages < MIN_PAGES || unused * 2 < pages {
                return Ok(());
            }
            db.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
        })
    }

    /// Moves what builds have written into the file itself, if that is much: who opens the tables next need not read
    /// it first. Others who use them now are not waited for.
    pub fn settle(&self) {
        let log = with_suffix(&self.path, "-wal");
        if !fs_err::metadata(log).is_ok_and(|found| found.len() > MAX_LOG) {
            return;
        }
        let settled = self.with("write down the tables", |db| {
            db.busy_timeout(Duration::ZERO)?;
            let written = db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);");
            db.busy_timeout(BUSY_TIMEOUT)?;
            written
        });
        drop(settled); // it is for speed only
    }

    /// A poisoned lock is taken all the same: SQLite rolls back what a panic left.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A checkpoint costs syncs that a build without a change must not pay for.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        SCHEMA_VERSION => {}
        0..SCHEMA_VERSION => connection.execute_batch(SCHEMA)?,
        _ => return Err(not_ours("written by another version of rbuild")),
    }
    Ok(connection)
}

/// Says what is wrong with the database file, without changing it.
pub(crate) fn fault(path: &Path) -> Option<String> {
    let check = || -> rusqlite::Result<String> {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if !(0..=SCHEMA_VERSION).contains(&version) {
            return Ok(format!("has tables of version {version}"));
        }
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
    };
    match check() {
        Ok(found) if found == "ok" => None,
        Ok(found) => Some(found),
        Err(error) => Some(error.to_string()),
    }
}

fn not_ours(text: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
        Some(text.to_owned()),
    )
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure)
    )
}

fn open_error(path: &Path, source: rusqlite::Error) -> CacheError {
    CacheError::Database {
        doing: "open the tables",
        path: path.to_owned(),
        source,
    }
}

/// Renames the file and its companions to `<name>.bad…`; an earlier bad one is replaced.
pub(crate) fn move_aside(path: &Path) -> Result<(), CacheError> {
    for suffix in ["-wal", "-shm", ""] {
        let from = with_suffix(path, suffix);
        let to = with_suffix(path, &format!(".bad{suffix}"));
        match fs_err::rename(from, to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        fs_err::write(
            &path,
            "this was never a database, but it is long enough to be read as one",
        )
        .unwrap();
        let database = Database::open(&path).unwrap();
        let count: i64 = database
            .with("count", |db| {
                db.query_row("SELECT count(*) FROM records", [], |row| row.get(0))
            })
            .unwrap();
        assert_eq!(count, 0);
        assert!(dir.path().join("db.bad").try_exists().unwrap());
    }

    #[test]
    fn two_connections_see_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let (one, two) = (
            Database::open(&path).unwrap(),
            Database::open(&path).unwrap(),
        );
        one.with("write", |db| {
            db.execute("INSERT INTO context_files VALUES (x'00', 0, 1, x'05')", [])
        })
        .unwrap();
        let seen: Vec<u8> = two
            .with("read", |db| {
                db.query_row("SELECT entries FROM context_files", [], |r| r.get(0))
            })
            .unwrap();
        assert_eq!(seen, [5]);
    }

    /// The tables as the first version had them.
    const FIRST: &str = "
CREATE TABLE records (key BLOB PRIMARY KEY, diff_id BLOB NOT NULL, content BLOB NOT NULL,
    size INTEGER NOT NULL, created INTEGER NOT NULL, duration INTEGER NOT NULL,
    instruction TEXT NOT NULL, leaves TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE file_digests (context BLOB PRIMARY KEY, entries BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO records VALUES (zeroblob(32), zeroblob(32), zeroblob(32), 1, 2, 3, 'RUN true', '[]');
INSERT INTO file_digests VALUES (x'00', x'05');
PRAGMA user_version = 1;
";

    #[test]
    fn records_of_the_first_version_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        Connection::open(&path)
            .unwrap()
            .execute_batch(FIRST)
            .unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let records = Database::open(&path).unwrap().records().unwrap();
                    assert_eq!(records.len(), 1);
                    assert_eq!(records[0].n_executions, 0);
                });
            }
        });
        assert_eq!(fault(&path), None);
        assert!(!dir.path().join("db.bad").try_exists().unwrap());
    }

    #[test]
    fn a_later_version_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        drop(Database::open(&path).unwrap());
        let later = Connection::open(&path).unwrap();
        later.pragma_update(None, "user_version", 99).unwrap();
        drop(later);
        assert!(fault(&path).unwrap().contains("99"));
        assert!(Database::open(&path).unwrap().records().unwrap().is_empty());
        assert!(dir.path().join("db.bad").try_exists().unwrap());
    }

    #[test]
    fn a_long_log_is_moved_into_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let database = Database::open(&path).unwrap();
        let size = |name| fs_err::metadata(dir.path().join(name)).unwrap().len();
        database.settle();
        assert_ne!(size("db-wal"), 0, "it is not worth the while");
        let fill = "CREATE TABLE extra (x); INSERT INTO extra VALUES (zeroblob(1000000))";
        database.with("fill", |db| db.execute_batch(fill)).unwrap();
        // Others who are at work are not waited for, and see what they saw.
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN").unwrap();
        let count = |db: &Connection| {
            let query = "SELECT count(*) FROM extra";
            db.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!(count(&other), 1);
        database
            .with("empty", |db| db.execute("DELETE FROM extra", []))
            .unwrap();
        database.settle();
        assert_ne!(size("db-wal"), 0);
        assert_eq!(count(&other), 1);
        other.execute_batch("COMMIT").unwrap();
        database.settle();
        assert_eq!(size("db-wal"), 0);
        assert_eq!(count(&other), 0);
    }

    #[test]
    fn a_file_that_has_become_empty_gets_small() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let database = Database::open(&path).unwrap();
        let fill = "INSERT INTO context_files VALUES (x'00', 0, 1, zeroblob(4000000))";
        database.with("fill", |db| db.execute_batch(fill)).unwrap();
        database
            .with("empty", |db| db.execute("DELETE FROM context_files", []))
            .unwrap();
        database.shrink().unwrap();
        for name in ["db", "db-wal"] {
            let size = fs_err::metadata(dir.path().join(name)).unwrap().len();
            assert!(size < 1_000_000, "{name}: {size}");
        }
    }
}
