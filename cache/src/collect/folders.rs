//! What has a folder and locks of its own: cache mounts, and mirrors of git repositories. Whoever
//! uses one holds its lock, so no lease names them.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use rbuild_image::store::Store;

use crate::error::CacheError;

/// A folder that goes if nobody uses it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// `mounts/<name>`: instances with a lock each, and one lock for choosing.
    Mount(String),
    /// `remote/git/<name>`, locked by a file beside it.
    Mirror(String),
}

impl Folder {
    /// Returns where it is, from the store's folder on.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Mount(name) => Path::new("mounts").join(name),
            Self::Mirror(name) => Path::new("remote/git").join(name),
        }
    }

    /// Moves it to `trash` unless it is in use. The locks are held by what is returned: as long as
    /// they are, nobody can take the moved one for the real one.
    pub(super) fn take(&self, store: &Store, trash: &Path) -> Result<Option<Taken>, CacheError> {
        let path = store.root().join(self.path());
        let Some(locks) = self.lock(&path)? else {
            return Ok(None);
        };
        let name = path.file_name().unwrap_or_default();
        super::move_away(&path, &trash.join(name))?;
        Ok(Some(Taken { _locks: locks }))
    }

    /// Takes all locks, or none.
    fn lock(&self, path: &Path) -> Result<Option<Vec<File>>, CacheError> {
        let mut locks = Vec::new();
        let first = match self {
            Self::Mirror(_) => path.with_extension("lock"),
            // Nobody takes an instance without this one.
            Self::Mount(_) => path.join("lock"),
        };
        match try_lock(&first)? {
            Some(lock) => locks.push(lock),
            None => return Ok(None),
        }
        if matches!(self, Self::Mount(_)) {
            for entry in fs_err::read_dir(path)? {
                let path = entry?.path();
                if path.extension().is_none_or(|extension| extension != "lock") {
                    continue;
                }
                match try_lock(&path)? {
                    Some(lock) => locks.push(lock),
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(locks))
    }
}

/// A folder that was moved away, still locked.
pub(super) struct Taken {
    _locks: Vec<File>,
}

fn try_lock(path: &Path) -> Result<Option<File>, CacheError> {
    let file = fs_err::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?
        .into_parts()
        .0;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let folder = dir.path().join("mounts/id");
        fs_err::create_dir_all(folder.join("0")).unwrap();
        let trash = tempfile::tempdir_in(dir.path()).unwrap();
        let mount = Folder::Mount("id".to_owned());
        let used = try_lock(&folder.join("0.lock")).unwrap().unwrap();
        assert!(mount.take(&store, trash.path()).unwrap().is_none());
        assert!(folder.is_dir());
        drop(used);
        assert!(mount.take(&store, trash.path()).unwrap().is_some());
        assert!(!folder.is_dir() && trash.path().join("id/0").is_dir());
    }
}
