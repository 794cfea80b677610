//! Cache mounts: directories that stay from build to build.
//!
//! `<store>/mounts/<identity>/` belongs to one cache. It has any number of instances: `0/`, `1/`, …
//! with a lock each, `0.lock`, …; `lock` is held while one is chosen; `cache.json` says what the
//! cache is called. The identity is a hash, so no id can name anything else. The kernel drops the
//! locks of a process that dies.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rbuild_planner::Sharing;
use rustix::fs::{Gid, Mode, Timespec, Timestamps, UTIME_NOW, Uid};
use serde_json::json;

use super::inputs::Input;
use crate::error::StepError;
use crate::snapshot::Sandbox;
use crate::step::StepContext;

/// How often a waiting step looks whether a cache is free, or the build was cancelled.
const PATIENCE: Duration = Duration::from_millis(20);

const DEFAULT_MODE: u32 = 0o755;

/// A cache that a step asks for.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// Its name, anything.
    pub(super) id: &'a str,
    /// What it begins with.
    pub(super) seed: Option<&'a Input>,
    /// Who may use it meanwhile.
    pub(super) sharing: Sharing,
    /// Mode, owner and group of its directory, if given.
    pub(super) metadata: (Option<u32>, Option<u32>, Option<u32>),
}

/// A cache directory that a step may use as long as this exists.
#[derive(Debug)]
pub(super) struct CacheDirectory {
    /// The directory.
    pub(super) path: PathBuf,
    _lock: File,
}

impl Request<'_> {
    /// The name of the cache's folder: a hash of all that makes it another cache.
    pub(super) fn identity(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("rbuild 2026 cache mount");
        hasher.update(&(self.id.len() as u64).to_le_bytes());
        hasher.update(self.id.as_bytes());
        let (mode, uid, gid) = self.metadata;
        for number in [mode, uid, gid] {
            hasher.update(&[u8::from(number.is_some())]);
            hasher.update(&number.unwrap_or(0).to_le_bytes());
        }
        if let Some(seed) = self.seed {
            hasher.update(&seed.digest);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Gets an instance of the cache, a new one if there is none, or none that is free and others
    /// must not be waited for.
    ///
    /// # Errors
    /// [`StepError::Cancelled`] while it waits; those of making and seeding a directory.
    pub(super) fn take(
        &self,
        context: &StepContext<'_>,
        sandbox: &Sandbox,
    ) -> Result<CacheDirectory, StepError> {
        let identity = self.identity();
        let folder = context.build.store.root().join("mounts").join(&identity);
        loop {
            let _choosing = wait_for_lock(&folder, context)?;
            if self.is_to_be_reset(context, &identity) {
                reset(&folder, context)?;
            }
            let instances = instances(&folder)?;
            for number in &instances {
                if let Some(lock) = self.try_lock(&folder, *number)? {
                    let path = folder.join(number.to_string());
                    return Ok(CacheDirectory { path, _lock: lock });
                }
            }
            if self.sharing != Sharing::Locked || instances.is_empty() {
                let number = instances.last().map_or(0, |last| last + 1);
                return self.make(&folder, number, context, sandbox);
            }
            drop(_choosing);
            pause(context)?;
        }
    }

    fn make(
        &self,
        folder: &Path,
        number: u64,
        context: &StepContext<'_>,
        sandbox: &Sandbox,
    ) -> Result<CacheDirectory, StepError> {
        let note = json!({ "id": self.id, "seed": self.seed.map(|_| self.identity()) });
        let staging = context.shared.workspace.folder(context.build.store)?;
        // Whole or not at all, wherever this process is killed.
        fs_err::write(staging.join("cache.json"), format!("{note:#}\n"))?;
        fs_err::rename(staging.join("cache.json"), folder.join("cache.json"))?;
        let fresh = staging.join("cache");
        match self.seed {
            Some(seed) if !seed.is_directory() => {
                return Err(StepError::CacheSeed {
                    id: self.id.to_owned(),
                });
            }
            Some(seed) => seed.copy(context, sandbox, &fresh)?,
            None => fs_err::create_dir(&fresh)?,
        }
        let failed = |doing| {
            let path = fresh.clone();
            move |error: rustix::io::Errno| StepError::File {
                doing,
                path,
                source: error.into(),
            }
        };
        let (mode, uid, gid) = self.metadata;
        if !sandbox.owners_are_fake() && (uid.is_some() || gid.is_some()) {
            let owner = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            rustix::fs::chown(&fresh, owner.0, owner.1).map_err(failed("change the owner of"))?;
        }
        if mode.is_some() || self.seed.is_none() {
            let mode = Mode::from_raw_mode(mode.unwrap_or(DEFAULT_MODE) & 0o7777);
            rustix::fs::chmod(&fresh, mode).map_err(failed("change the mode of"))?;
        }
        let path = folder.join(number.to_string());
        let lock = self
            .try_lock(folder, number)?
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::WouldBlock))?;
        fs_err::rename(&fresh, &path)?;
        Ok(CacheDirectory { path, _lock: lock })
    }

    /// `None`: others use the instance in a way that does not go together with this one.
    fn try_lock(&self, folder: &Path, number: u64) -> Result<Option<File>, StepError> {
        let lock = open_lock(&folder.join(format!("{number}.lock")))?;
        let taken = match self.sharing {
            Sharing::Shared => lock.try_lock_shared(),
            Sharing::Private | Sharing::Locked => lock.try_lock(),
        };
        match taken {
            Ok(()) => {
                // When it was last used; who removes old ones may want to know.
                let now = Timespec {
                    tv_sec: 0,
                    tv_nsec: UTIME_NOW,
                };
                let times = Timestamps {
                    last_access: now,
                    last_modification: now,
                };
                rustix::fs::futimens(&lock, &times).map_err(std::io::Error::from)?;
                Ok(Some(lock))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// As the directory is made by a step of its own when something is said about it, `--no-cache`
    /// makes it anew: once a build.
    fn is_to_be_reset(&self, context: &StepContext<'_>, identity: &str) -> bool {
        let is_asked = context.build.plan.step(context.step).ignore_cache
            && !matches!(self.metadata, (None, None, None));
        is_asked && context.shared.reset_caches.is_new(identity)
    }
}

/// Takes the free instances away. They go with the build's staging.
fn reset(folder: &Path, context: &StepContext<'_>) -> Result<(), StepError> {
    let trash = context.shared.workspace.folder(context.build.store)?;
    for number in instances(folder)? {
        let lock = open_lock(&folder.join(format!("{number}.lock")))?;
        match lock.try_lock() {
            Ok(()) => {
                let name = number.to_string();
                fs_err::rename(folder.join(&name), trash.join(&name))?;
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The numbers of the instances, in order.
fn instances(folder: &Path) -> Result<Vec<u64>, StepError> {
    let mut numbers = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Takes the lock for choosing an instance of the cache in `folder`, which is made if need be.
fn wait_for_lock(folder: &Path, context: &StepContext<'_>) -> Result<File, StepError> {
    let path = folder.join("lock");
    loop {
        fs_err::create_dir_all(folder)?;
        let lock = match open_lock(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other?,
        };
        match lock.try_lock() {
            // Who removed the cache removed the file too; then there is another one by now.
            Ok(()) if lock.metadata()?.nlink() > 0 => return Ok(lock),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => pause(context)?,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    let file = fs_err::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    Ok(file.into_parts().0)
}

fn pause(context: &StepContext<'_>) -> Result<(), StepError> {
    if context.build.cancel.is_cancelled() {
        return Err(StepError::Cancelled);
    }
    std::thread::sleep(PATIENCE);
    Ok(())
}
