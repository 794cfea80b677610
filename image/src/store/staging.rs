//! Staging: files and folders in `tmp/` that go away with their owner, even if it is killed.
//!
//! Every owner holds a lock on what it stages for as long as it lives. A sweep removes what it can
//! lock, for that belongs to nobody. Making and locking are two steps, so makers hold `tmp/` itself
//! shared meanwhile, and a sweep holds it alone for the moment of asking.

use std::fs::{Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::ignore_missing;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sweep {
    /// Entries removed.
    pub n_removed: usize,
    /// Entries that living processes hold.
    pub n_alive: usize,
    /// Entries that could not be removed.
    pub n_failed: usize,
}

/// A folder in `tmp/` that removes itself, with all that is in it.
#[derive(Debug)]
pub struct StagingDir {
    staged: Staged,
    /// Keeps sweeps away.
    _lock: fs_err::File,
}

impl StagingDir {
    pub(super) fn new(tmp: &Path) -> io::Result<Self> {
        let _maker = lock_tmp(tmp, FlockOperation::LockShared);
        let path = with_new_name(tmp, "dir-", |path| fs_err::create_dir(path))?.1;
        let staged = Staged { path: Some(path) };
        let lock = open_entry(staged.path())?;
        hold(&lock);
        Ok(Self {
            staged,
            _lock: lock,
        })
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.staged.path()
    }

    /// Moves the folder to `dest`, which is on the same file system, not there yet or empty.
    ///
    /// # Errors
    /// What `rename(2)` says; the folder is then removed.
    pub fn persist(self, dest: &Path) -> io::Result<()> {
        self.staged.rename(dest)
    }
}

/// A path that is removed when this is dropped, unless it was moved away.
#[derive(Debug)]
pub(super) struct Staged {
    path: Option<PathBuf>,
}

impl Staged {
    pub(super) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    pub(super) fn rename(mut self, dest: &Path) -> io::Result<()> {
        fs_err::rename(self.path(), dest)?;
        self.path = None;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            drop(remove_tree(path)); // the next sweep tries again
        }
    }
}

/// A whole file in `tmp/` that waits for its name. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct StagedFile {
    file: fs_err::File,
    staged: Staged,
}

impl StagedFile {
    pub(super) fn write(tmp: &Path, bytes: &[u8]) -> io::Result<Self> {
        let (mut file, staged) = new_file(tmp, "file-", 0o644)?;
        file.write_all(bytes)?;
        Ok(Self { file, staged })
    }

    /// Waits until its bytes are on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Moves it to `dest`, in place of what is there.
    pub(crate) fn publish(self, dest: &Path) -> io::Result<()> {
        self.staged.rename(dest)
    }
}

/// Makes a locked file in `tmp`; the lock lives as long as the file is open.
pub(super) fn new_file(tmp: &Path, prefix: &str, mode: u32) -> io::Result<(fs_err::File, Staged)> {
    let _maker = lock_tmp(tmp, FlockOperation::LockShared);
    let (file, path) = with_new_name(tmp, prefix, |path| {
        fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
    })?;
    hold(&file);
    Ok((file, Staged { path: Some(path) }))
}

/// Removes what can be locked.
pub(super) fn sweep(tmp: &Path) -> io::Result<Sweep> {
    let mut sweep = Sweep::default();
    for entry in fs_err::read_dir(tmp)? {
        let path = entry?.path();
        let Some(alone) = lock_tmp(tmp, FlockOperation::NonBlockingLockExclusive) else {
            return Ok(sweep);
        };
        let lock = match open_entry(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => {
                sweep.n_failed += 1;
                continue;
            }
        };
        let is_dead = flock(lock.file(), FlockOperation::NonBlockingLockExclusive).is_ok();
        // Removing may take long, and nobody can come to hold this entry any more.
        drop(alone);
        if !is_dead {
            sweep.n_alive += 1;
        } else if remove_tree(&path).is_ok() {
            sweep.n_removed += 1;
        } else {
            sweep.n_failed += 1;
        }
    }
    Ok(sweep)
}

/// Whether what was opened is still what stands at `path`: who waited for a lock may have got that of a file that was
/// removed or renamed meanwhile.
#[must_use]
pub fn is_at(opened: &Metadata, path: &Path) -> bool {
    fs_err::symlink_metadata(path)
        .is_ok_and(|found| (found.dev(), found.ino()) == (opened.dev(), opened.ino()))
}

/// Removes a file, or a folder with all that is in it. Folders that forbid it are opened up first;
/// links are removed, not followed. It need not be there.
///
/// # Errors
/// [`io::Error`] if something stays.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let metadata = match fs_err::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !metadata.is_dir() {
        return ignore_missing(fs_err::remove_file(path));
    }
    match ignore_missing(fs_err::remove_dir_all(path)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            ignore_missing(fs_err::remove_dir_all(path))
        }
        other => other,
    }
}

/// Gives the owner all rights to every folder below `root`.
fn open_up(root: &Path) -> io::Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        fs_err::set_permissions(&folder, Permissions::from_mode(0o700))?;
        for entry in fs_err::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Tries names until one is free: another process may have the same ID in its own namespace.
pub(super) fn with_new_name<T>(
    tmp: &Path,
    prefix: &str,
    make: impl Fn(&Path) -> io::Result<T>,
) -> io::Result<(T, PathBuf)> {
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = tmp.join(format!("{prefix}{}-{number}", std::process::id()));
        match make(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return Ok((other?, path)),
        }
    }
}

/// Opens a file or folder to lock it; links are not followed.
pub(super) fn open_entry(path: &Path) -> io::Result<fs_err::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
    Ok(fs_err::File::from_parts(std::fs::File::from(fd), path))
}

/// Locks `tmp` itself; `None` if somebody else has it, or the file system knows no locks. Makers
/// then go on without: the worst is that a sweep at that very moment takes their new file.
fn lock_tmp(tmp: &Path, operation: FlockOperation) -> Option<fs_err::File> {
    let folder = open_entry(tmp).ok()?;
    flock(folder.file(), operation).ok()?;
    Some(folder)
}

fn hold(file: &fs_err::File) {
    if flock(file.file(), FlockOperation::NonBlockingLockExclusive).is_err() {
        // The file system knows no locks. Then sweeps cannot lock either, and leave it alone.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_takes_what_the_dead_left() {
        let tmp = tempfile::tempdir().unwrap();
        let (file, staged) = new_file(tmp.path(), "file-", 0o444).unwrap();
        let folder = StagingDir::new(tmp.path()).unwrap();
        fs_err::create_dir_all(tmp.path().join("dir-0-0/sub")).unwrap();
        fs_err::write(tmp.path().join("dir-0-0/sub/file"), "x").unwrap();
        fs_err::write(tmp.path().join("file-0-0"), "x").unwrap();
        let swept = sweep(tmp.path()).unwrap();
        assert_eq!(
            swept,
            Sweep {
                n_removed: 2,
                n_alive: 2,
                n_failed: 0
            }
        );
        assert!(folder.path().is_dir() && staged.path().is_file());
        drop((file, staged, folder));
        assert_eq!(fs_err::read_dir(tmp.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_can_be_kept() {
        let tmp = tempfile::tempdir().unwrap();
        let folder = StagingDir::new(tmp.path()).unwrap();
        fs_err::write(folder.path().join("file"), "x").unwrap();
        let dest = tmp.path().join("kept");
        folder.persist(&dest).unwrap();
        assert_eq!(fs_err::read(dest.join("file")).unwrap(), b"x");
    }

    #[test]
    fn closed_folders_are_removed_too() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().join("root");
        fs_err::create_dir_all(root.join("a/b")).unwrap();
        fs_err::write(root.join("a/b/file"), "x").unwrap();
        fs_err::set_permissions(root.join("a/b"), Permissions::from_mode(0o000)).unwrap();
        fs_err::set_permissions(root.join("a"), Permissions::from_mode(0o500)).unwrap();
        remove_tree(&root).unwrap();
        remove_tree(&root).unwrap();
        assert!(!root.try_exists().unwrap());
    }
}
