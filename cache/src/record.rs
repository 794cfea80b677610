//! Records: which layer a key led to.

use std::collections::BTreeMap;
use std::time::Duration;

use rbuild_image::digest::{DiffId, Digest};
use rusqlite::{OptionalExtension as _, params};

use crate::database::Database;
use crate::error::CacheError;
use crate::key::{CacheKey, Leaf};

/// What a step produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The layer.
    pub diff_id: DiffId,
    /// Content digest of the layer: its index without times.
    pub content: [u8; 32],
    /// Sum of the sizes of the layer's files in bytes.
    pub size: u64,
    /// When the step was run, seconds since the Unix epoch.
    pub created: i64,
    /// How long it took.
    pub duration: Duration,
}

/// A record and its key, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The step's key.
    pub key: CacheKey,
    /// The layer.
    pub diff_id: DiffId,
    /// Content digest of the layer.
    pub content: [u8; 32],
    /// When the step was run, seconds since the Unix epoch.
    pub created: i64,
    /// How long it took.
    pub duration: Duration,
    /// The step as the Dockerfile has it.
    pub instruction: String,
    /// How often the step was run to its end, whatever became of the results.
    pub n_executions: u64,
    /// When that was last, in seconds since the Unix epoch.
    pub last_execution: i64,
}

/// The columns that [`kept`] reads.
const LIST: &str = "SELECT key, diff_id, content, created, duration, instruction, ifnull(n, 0), \
                    ifnull(last, 0) FROM records LEFT JOIN executions USING (key)";

impl Database {
    /// Returns all records by key. Rows of the wrong shape are left out.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn records(&self) -> Result<Vec<Kept>, CacheError> {
        let rows = self.with("list records", |db| {
            let mut statement = db.prepare(LIST)?;
            let rows = statement.query_map([], |row| Ok(kept(row)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Removes records, all or none.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn drop_records(&self, keys: &[CacheKey]) -> Result<(), CacheError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.with("drop records", |db| {
            let transaction = db.unchecked_transaction()?;
            for key in keys {
                transaction
                    .prepare_cached("DELETE FROM records WHERE key = ?1")?
                    .execute([&key.0[..]])?;
            }
            transaction.commit()
        })
    }

    /// Removes the rows that [`Database::records`] leaves out and returns how many there were;
    /// with `only_count`, they stay.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn drop_misshapen(&self, only_count: bool) -> Result<usize, CacheError> {
        self.with("check records", |db| {
            let mut statement = db.prepare(LIST)?;
            let mut rows = statement.query([])?;
            let mut bad: Vec<rusqlite::types::Value> = Vec::new();
            while let Some(row) = rows.next()? {
                if kept(row).is_none() {
                    bad.push(row.get(0)?);
                }
            }
            for key in bad.iter().filter(|_| !only_count) {
                db.execute("DELETE FROM records WHERE key = ?1", [key])?;
            }
            Ok(bad.len())
        })
    }

    /// Returns what the step with this key produced, if that is known.
    ///
    /// # Errors
    /// [`CacheError::Database`]. A row of the wrong shape counts as absent.
    pub fn record(&self, key: &CacheKey) -> Result<Option<Record>, CacheError> {
        let row = self.with("look up a record", |db| {
            db.prepare_cached(
                "SELECT diff_id, content, size, created, duration FROM records WHERE key = ?1",
            )?
            .query_row([&key.0[..]], |row| Ok(found(row)))
            .optional()
        })?;
        Ok(row.flatten())
    }

    /// Keeps what a step produced, with the leaves of its key; replaces an earlier record. Counts
    /// the execution, which ended at `now`.
    ///
    /// `instruction` is the step as the Dockerfile has it, by which a later miss finds its nearest
    /// earlier record.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn keep_record(
        &self,
        key: &CacheKey,
        record: &Record,
        instruction: &str,
        leaves: &[Leaf],
        now: i64,
    ) -> Result<(), CacheError> {
        let leaves = serde_json::to_string(leaves).unwrap_or_default();
        let duration = i64::try_from(record.duration.as_millis()).unwrap_or(i64::MAX);
        self.with("keep a record", |db| {
            let transaction = db.unchecked_transaction()?;
            transaction
                .prepare_cached("INSERT OR REPLACE INTO records VALUES (?1,?2,?3,?4,?5,?6,?7,?8)")?
                .execute(params![
                    &key.0[..],
                    &record.diff_id.0.as_bytes()[..],
                    &record.content[..],
                    i64::try_from(record.size).unwrap_or(i64::MAX),
                    record.created,
                    duration,
                    instruction,
                    leaves,
                ])?;
            transaction
                .prepare_cached(
                    "INSERT INTO executions VALUES (?1, 1, ?2) \
                     ON CONFLICT (key) DO UPDATE SET n = n + 1, last = ?2",
                )?
                .execute(params![&key.0[..], now])?;
            transaction.commit()
        })
    }

    /// Returns how often the step of each key was run to its end, also where the record has gone
    /// since.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn executions(&self) -> Result<BTreeMap<CacheKey, u64>, CacheError> {
        let rows = self.with("list executions", |db| {
            let mut statement = db.prepare("SELECT key, n FROM executions")?;
            let rows = statement.query_map([], |row| {
                let key: Option<[u8; 32]> = row.get::<_, Vec<u8>>(0)?.try_into().ok();
                let n = u64::try_from(row.get::<_, i64>(1)?).ok();
                Ok(key.map(CacheKey).zip(n))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Returns the layers of the steps that were run at this time or later.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub(crate) fn layers_since(&self, since: i64) -> Result<Vec<(CacheKey, DiffId)>, CacheError> {
        let mut records = self.records()?;
        records.retain(|record| record.last_execution >= since);
        let records = records.into_iter();
        Ok(records.map(|record| (record.key, record.diff_id)).collect())
    }

    /// Forgets how often steps ran that have no record and last ran before this time.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub(crate) fn forget_executions(&self, before: i64) -> Result<(), CacheError> {
        self.with("forget executions", |db| {
            db.execute(
                "DELETE FROM executions WHERE last < ?1 \
                 AND NOT EXISTS (SELECT 1 FROM records WHERE records.key = executions.key)",
                [before],
            )
        })?;
        Ok(())
    }

    /// Reports whether there is a record of a step that is written like this, with whatever key.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn knows(&self, instruction: &str) -> Result<bool, CacheError> {
        self.with("look for records", |db| {
            db.prepare_cached("SELECT EXISTS (SELECT 1 FROM records WHERE instruction = ?1)")?
                .query_row([instruction], |row| row.get(0))
        })
    }

    /// Removes a record whose layer turned out to be gone.
    ///
    /// # Errors
    /// [`CacheError::Database`].
    pub fn drop_record(&self, key: &CacheKey) -> Result<(), CacheError> {
        self.with("drop a record", |db| {
            db.execute("DELETE FROM records WHERE key = ?1", [&key.0[..]])
        })?;
        Ok(())
    }
}

/// Reads a row of one record; `None` if it has the wrong shape.
fn found(row: &rusqlite::Row<'_>) -> Option<Record> {
    let bytes = |column| row.get::<_, Vec<u8>>(column).ok();
    let number = |column| row.get::<_, i64>(column).ok();
    Some(Record {
        diff_id: DiffId(Digest::from_bytes(bytes(0)?.try_into().ok()?)),
        content: bytes(1)?.try_into().ok()?,
        size: u64::try_from(number(2)?).ok()?,
        created: number(3)?,
        duration: Duration::from_millis(u64::try_from(number(4)?).ok()?),
    })
}

/// Reads a row; `None` if it has the wrong shape.
fn kept(row: &rusqlite::Row<'_>) -> Option<Kept> {
    let bytes = |column| row.get::<_, Vec<u8>>(column).ok();
    Some(Kept {
        key: CacheKey(bytes(0)?.try_into().ok()?),
        diff_id: DiffId(Digest::from_bytes(bytes(1)?.try_into().ok()?)),
        content: bytes(2)?.try_into().ok()?,
        created: row.get(3).ok()?,
        duration: Duration::from_millis(u64::try_from(row.get::<_, i64>(4).ok()?).ok()?),
        instruction: row.get(5).ok()?,
        n_executions: u64::try_from(row.get::<_, i64>(6).ok()?).ok()?,
        last_execution: row.get(7).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyBuilder;

    #[test]
    fn a_record_comes_back_as_it_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("db")).unwrap();
        let (key, leaves) = KeyBuilder::new("run").finish();
        assert_eq!(database.record(&key).unwrap(), None);
        let record = Record {
            diff_id: DiffId(Digest::of(b"layer")),
            content: [9; 32],
            size: 12,
            created: 1_700_000_000,
            duration: Duration::from_millis(1500),
        };
        database
            .keep_record(&key, &record, "RUN true", &leaves, 100)
            .unwrap();
        assert_eq!(database.record(&key).unwrap(), Some(record));
        database.drop_record(&key).unwrap();
        assert_eq!(database.record(&key).unwrap(), None);
    }

    fn record() -> Record {
        Record {
            diff_id: DiffId(Digest::of(b"layer")),
            content: [9; 32],
            size: 12,
            created: 1,
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn a_row_of_the_wrong_shape_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("db")).unwrap();
        let (key, leaves) = KeyBuilder::new("run").finish();
        let record = record();
        for column in ["diff_id", "content", "size", "created", "duration"] {
            for value in ["'text'", "x'00'", "1.5", "-1"] {
                database
                    .keep_record(&key, &record, "RUN true", &leaves, 1)
                    .unwrap();
                let damage = format!("UPDATE records SET {column} = {value}");
                database
                    .with("damage a record", |db| db.execute(&damage, []))
                    .unwrap();
                let found = database.record(&key).unwrap();
                let is_time = (column, value) == ("created", "-1");
                assert_eq!(found.is_some(), is_time, "{damage}");
            }
        }
    }

    #[test]
    fn executions_are_counted_whatever_becomes_of_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("db")).unwrap();
        let (key, leaves) = KeyBuilder::new("run").finish();
        let record = record();
        let run = |now| {
            database
                .keep_record(&key, &record, "RUN true", &leaves, now)
                .unwrap();
        };
        run(100);
        run(200);
        assert_eq!(database.records().unwrap()[0].n_executions, 2);
        database.forget_executions(1000).unwrap();
        database.drop_record(&key).unwrap();
        assert_eq!(database.executions().unwrap(), [(key, 2)].into());
        run(300);
        assert_eq!(database.records().unwrap()[0].n_executions, 3);
        database.drop_record(&key).unwrap();
        database.forget_executions(300).unwrap();
        assert_eq!(database.executions().unwrap().len(), 1);
        database.forget_executions(301).unwrap();
        assert_eq!(database.executions().unwrap().len(), 0);
    }
}
