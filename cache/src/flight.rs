//! Single flight between processes: one lock file a key.
//!
//! A build that misses takes the key's lock before it runs the step, and looks the record up again
//! once it has it: the process that held it may have produced the layer. The kernel drops the lock
//! of a process that dies, so nothing has to be cleaned up.
//!
//! Files are made and removed once a build, not once a step, which file systems take their time for:
//! a process has files that it holds locked, and gives one the key's name while it makes the step.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rbuild_image::store::is_at;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::CacheError;
use crate::key::CacheKey;

/// How often a waiting build looks whether it may go on, or was cancelled.
const PATIENCE: Duration = Duration::from_millis(20);

/// Where the files of keys that are worked on are, and those that wait for a key.
#[derive(Debug)]
pub struct Flights {
    folder: PathBuf,
    idle: Mutex<Vec<LockFile>>,
}

/// A file that this process holds locked. Dropped, it is removed.
#[derive(Debug)]
struct LockFile {
    path: PathBuf,
    _lock: File,
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Removed while it is still held; a file that stays costs nothing but its name.
        drop(fs_err::remove_file(&self.path));
    }
}

impl LockFile {
    /// Gives it another name; false if somebody has that.
    fn rename(&mut self, to: PathBuf) -> Result<bool, CacheError> {
        match renameat_with(CWD, &self.path, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(false),
            // A file system that cannot leave a name alone, can link one.
            Err(Errno::INVAL | Errno::NOSYS) => match fs_err::hard_link(&self.path, &to) {
                Ok(()) => fs_err::remove_file(&self.path)?,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            },
            Err(errno) => return Err(std::io::Error::from(errno).into()),
        }
        self.path = to;
        Ok(true)
    }
}

/// The right to run a key's step, until it is dropped.
#[derive(Debug)]
pub struct Flight<'a> {
    flights: &'a Flights,
    lock: Option<LockFile>,
}

impl Flights {
    /// Keeps lock files in `folder`, which is there.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            idle: Mutex::default(),
        }
    }

    /// Waits for the right to run the step of `key`.
    ///
    /// # Errors
    /// [`CacheError::Cancelled`] once `is_cancelled` says so, [`CacheError::Io`] if the lock file
    /// cannot be used.
    pub fn take(
        &self,
        key: &CacheKey,
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<Flight<'_>, CacheError> {
        let path = self.folder.join(key.hex());
        loop {
            let mut own = self.idle()?;
            let lock = if own.rename(path.clone())? {
                Some(own)
            } else {
                self.keep(own);
                take_over(&path)?
            };
            if lock.is_some() {
                let flights = self;
                return Ok(Flight { flights, lock });
            }
            if is_cancelled() {
                return Err(CacheError::Cancelled);
            }
            std::thread::sleep(PATIENCE);
        }
    }

    /// A file that has no key.
    fn idle(&self) -> Result<LockFile, CacheError> {
        if let Some(file) = self.lock().pop() {
            return Ok(file);
        }
        loop {
            let path = self.idle_path();
            let opened = fs_err::OpenOptions::new()
                .create_new(true)
                .write(true)
                .open(&path);
            let file = match opened {
                // Of a process with the same number, in another pid namespace or before this one.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                other => other?.into_parts().0,
            };
            if try_lock(&file)? && file.metadata()?.nlink() > 0 {
                return Ok(LockFile { path, _lock: file });
            } // else it was swept away before it was held
        }
    }

    fn idle_path(&self) -> PathBuf {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        self.folder
            .join(format!("idle-{}-{number}", std::process::id()))
    }

    fn keep(&self, file: LockFile) {
        self.lock().push(file);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LockFile>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the file of a process that died with it.
fn take_over(path: &Path) -> Result<Option<LockFile>, CacheError> {
    let file = match File::options().write(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !try_lock(&file)? {
        return Ok(None);
    }
    // Whoever had it may have renamed or removed it meanwhile.
    Ok(is_at(&file.metadata()?, path).then(|| LockFile {
        path: path.to_owned(),
        _lock: file,
    }))
}

/// False if another process holds it.
fn try_lock(file: &File) -> Result<bool, CacheError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(mut lock) = self.lock.take()
            && lock.rename(self.flights.idle_path()).is_ok_and(|done| done)
        {
            self.flights.keep(lock);
        } // else it is removed
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
        let flights = Flights::new(dir.path().to_owned());
        let key = KeyBuilder::new("run").finish().0;
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let flight = flights.take(&key, &|| false).unwrap();
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
    fn one_holder_of_several_processes_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let keys = ["a", "b"].map(|kind| KeyBuilder::new(kind).finish().0);
        let inside = [const { AtomicU32::new(0) }; 2];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    // A process has one, and other descriptors than the others.
                    let flights = Flights::new(dir.path().to_owned());
                    for n in 0..20 {
                        let flight = flights.take(&keys[n % 2], &|| false).unwrap();
                        assert_eq!(inside[n % 2].fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside[n % 2].fetch_sub(1, Ordering::SeqCst);
                        drop(flight);
                    }
                });
            }
        });
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_key_of_a_process_that_died_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let flights = Flights::new(dir.path().to_owned());
        let key = KeyBuilder::new("run").finish().0;
        fs_err::write(dir.path().join(key.hex()), "").unwrap();
        drop(flights.take(&key, &|| false).unwrap());
        assert!(fs_err::symlink_metadata(dir.path().join(key.hex())).is_err());
    }

    #[test]
    fn locks_of_the_dead_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let flights = Flights::new(dir.path().to_owned());
        let key = KeyBuilder::new("run").finish().0;
        let _held = flights.take(&key, &|| false).unwrap();
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
        let flights = Flights::new(dir.path().to_owned());
        let key = KeyBuilder::new("run").finish().0;
        let _held = flights.take(&key, &|| false).unwrap();
        assert!(matches!(
            flights.take(&key, &|| true),
            Err(CacheError::Cancelled)
        ));
    }
}
