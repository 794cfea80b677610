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

    /// Says what is wrong with a cache mount that nobody uses at the moment.
    ///
    /// # Errors
    /// [`CacheError::Io`]
    pub(crate) fn fault(&self, store: &Store) -> Result<Option<String>, CacheError> {
        let path = store.root().join(self.path());
        let Self::Mount(_) = self else {
            return Ok(None);
        };
        let Some(_locks) = self.lock(&path)? else {
            return Ok(None);
        };
        let mut has_instance = false;
        for entry in fs_err::read_dir(&path)? {
            let entry = entry?;
            let is_instance = entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.parse::<u64>().is_ok());
            if is_instance && !entry.file_type()?.is_dir() {
                return Ok(Some(format!("{} is no folder", entry.path().display())));
            }
            has_instance |= is_instance;
        }
        if !has_instance {
            return Ok(None);
        }
        let note = fs_err::read(path.join("cache.json")).map_err(|error| error.to_string());
        let note = note.and_then(|bytes| {
            serde_json::from_slice::<serde_json::Value>(&bytes).map_err(|error| error.to_string())
        });
        Ok(note.err().map(|error| format!("its cache.json: {error}")))
    }

    /// Removes it unless it is in use; returns whether it is gone.
    ///
    /// # Errors
    /// [`CacheError`]
    pub(crate) fn remove(&self, store: &Store) -> Result<bool, CacheError> {
        let trash = store.staging_dir()?;
        let taken = self.take(store, trash.path())?;
        drop(trash);
        Ok(taken.is_some())
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

/// Returns the cache mounts; what has another name was put there by somebody else.
pub(crate) fn mounts(store: &Store) -> Result<Vec<Folder>, CacheError> {
    let entries = match fs_err::read_dir(store.root().join("mounts")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_ours && entry.file_type()?.is_dir() {
            found.push(Folder::Mount(name));
        }
    }
    found.sort();
    Ok(found)
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
