//! Single flight between processes: one lock file a key.
//!
//! A build that misses takes the key's lock before it runs the step, and looks the record up again
//! once it has it: the process that held it may have produced the layer. The kernel drops the lock
//! of a process that dies, so nothing has to be cleaned up.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::CacheError;
use crate::key::CacheKey;

/// How often a waiting build looks whether it was cancelled.
const PATIENCE: Duration = Duration::from_millis(20);

/// The right to run a key's step. Dropped: given up, and the lock file removed.
#[derive(Debug)]
pub struct Flight {
    path: PathBuf,
    _lock: File,
}

impl Flight {
    /// Waits for the right to run the step of `key`. Lock files are in the folder `locks`.
    ///
    /// # Errors
    /// [`CacheError::Cancelled`] once `is_cancelled` says so, [`CacheError::Io`] if the lock file
    /// cannot be used.
    pub fn take(
        locks: &Path,
        key: &CacheKey,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Self, CacheError> {
        let path = locks.join(key.hex());
        loop {
            let lock = fs_err::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?
                .into_parts()
                .0;
            match lock.try_lock() {
                // The holder before us removed the file: whoever comes next locks another one.
                Ok(()) if lock.metadata()?.nlink() > 0 => return Ok(Self { path, _lock: lock }),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => std::thread::sleep(PATIENCE),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            if is_cancelled() {
                return Err(CacheError::Cancelled);
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Removed while it is still held; a file that stays costs nothing but its name.
        drop(fs_err::remove_file(&self.path));
    }
}

/// Removes the lock files of processes that were killed.
///
/// # Errors
/// [`CacheError::Io`] if the folder cannot be read; no folder is an empty one.
pub fn sweep_locks(locks: &Path) -> Result<(), CacheError> {
    let entries = match fs_err::read_dir(locks) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let Ok(file) = File::options().write(true).open(entry.path()) else {
            continue;
        };
        // Removed while it is held, as its owner would; who waits for it takes another one.
        if is_file && file.try_lock().is_ok() {
            drop(fs_err::remove_file(entry.path()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::key::KeyBuilder;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyBuilder::new("run").finish().0;
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let flight = Flight::take(dir.path(), &key, &|| false).unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(2));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(flight);
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn locks_of_the_dead_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyBuilder::new("run").finish().0;
        let _held = Flight::take(dir.path(), &key, &|| false).unwrap();
        fs_err::write(dir.path().join("left"), "").unwrap();
        sweep_locks(dir.path()).unwrap();
        let left: Vec<_> = fs_err::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left, [key.hex()]);
    }

    #[test]
    fn a_waiter_can_be_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyBuilder::new("run").finish().0;
        let _held = Flight::take(dir.path(), &key, &|| false).unwrap();
        assert!(matches!(
            Flight::take(dir.path(), &key, &|| true),
            Err(CacheError::Cancelled)
        ));
    }
}
