//! What a failure of the machine may have torn.
//!
//! Nothing but names is synced file by file, so blobs that were written after the last sync may be
//! cut short or empty once the machine has failed. `synced` holds the ID of the boot in which the
//! store was used last; its time is that of the last sync. Who opens the store first after a start of
//! the machine looks at what is younger than that. Layers need no such look: each has a mark of its
//! own.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use rustix::fs::{Access, Timespec, Timestamps};
use rustix::time::{ClockId, clock_gettime};

use super::{Maintenance, Store, Wait};
use crate::error::ImageError;

const FILE: &str = "synced";

/// File systems that keep whole seconds only round down.
const GRAIN_SECONDS: i64 = 2;

/// The machine was started since the store was used last. Dropped before [`Recovery::finish`], the
/// next one to open the store begins anew.
#[derive(Debug)]
pub struct Recovery<'a> {
    store: &'a Store,
    since: i64,
    _maintenance: Maintenance,
}

impl Store {
    /// Sees whether the machine was started since the store was used last, and removes blobs that
    /// were torn then. Whoever knows more that may not be on disk looks at it before he
    /// [finishes](Recovery::finish).
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn recover(&self) -> Result<Option<Recovery<'_>>, ImageError> {
        let is_writable = || rustix::fs::access(self.root(), Access::WRITE_OK).is_ok();
        if self.is_of_this_boot() || !is_writable() {
            return Ok(None);
        }
        let Some(maintenance) = self.maintain(Wait::Yes)? else {
            return Ok(None);
        };
        if self.is_of_this_boot() {
            return Ok(None);
        }
        let synced = fs_err::symlink_metadata(self.root().join(FILE));
        let recovery = Recovery {
            store: self,
            since: synced.map_or(0, |found| found.mtime().saturating_sub(GRAIN_SECONDS)),
            _maintenance: maintenance,
        };
        recovery.check_blobs()?;
        Ok(Some(recovery))
    }

    fn is_of_this_boot(&self) -> bool {
        fs_err::read(self.root().join(FILE)).is_ok_and(|found| found == boot_id())
    }

    /// Notes that the store is used in this boot, and that all of it is on disk.
    pub(super) fn note_boot(&self) -> io::Result<()> {
        self.write_file_synced(FILE, boot_id())
    }

    /// Writes the file system to disk, and notes that all was there at this moment.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        // The clock of file times.
        let now = clock_gettime(ClockId::RealtimeCoarse);
        let root = fs_err::File::open(self.root())?;
        rustix::fs::syncfs(root.file())?;
        let now = Timespec {
            tv_sec: now.tv_sec,
            tv_nsec: now.tv_nsec,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        match fs_err::File::open(self.root().join(FILE)) {
            Ok(file) => Ok(rustix::fs::futimens(file.file(), &times)?),
            // Then everything is looked at after the next start.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Recovery<'_> {
    /// Returns the time of the last sync, in seconds since the Unix epoch: what is younger may not be
    /// on disk.
    #[must_use]
    pub fn since(&self) -> i64 {
        self.since
    }

    /// Notes that all is in order.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn finish(self) -> Result<(), ImageError> {
        self.store
            .note_boot()
            .map_err(ImageError::io("note that the store is in order"))
    }

    fn check_blobs(&self) -> Result<(), ImageError> {
        for digest in self.store.blob_ids()? {
            let path = self.store.blob_path(&digest);
            let is_young = fs_err::symlink_metadata(&path)
                .is_ok_and(|found| found.is_file() && found.ctime() >= self.since);
            if is_young && crate::audit::check_blob(self.store, &digest).is_err() {
                self.store.remove_blob(&digest)?;
            }
        }
        Ok(())
    }
}

/// Returns what is different after every start of the machine; nothing if that is not to be known.
pub(crate) fn boot_id() -> &'static [u8] {
    static BOOT_ID: OnceLock<Vec<u8>> = OnceLock::new();
    BOOT_ID.get_or_init(|| fs_err::read("/proc/sys/kernel/random/boot_id").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn tear(store: &Store, bytes: &[u8]) -> Digest {
        let digest = store.put_blob(bytes).unwrap();
        let path = store.blob_path(&digest);
        fs_err::remove_file(&path).unwrap();
        fs_err::write(&path, "").unwrap();
        digest
    }

    #[test]
    fn torn_blobs_go_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (torn, whole) = (tear(&store, b"torn"), store.put_blob(b"whole").unwrap());
        assert!(store.recover().unwrap().is_none(), "the machine runs on");
        fs_err::write(folder.path().join(FILE), "another boot").unwrap();
        drop(store.recover().unwrap().unwrap());
        assert!(store.has_blob(&whole) && !store.has_blob(&torn));
        tear(&store, b"torn");
        store.recover().unwrap().unwrap().finish().unwrap();
        assert!(!store.has_blob(&torn));
        assert!(store.recover().unwrap().is_none());
    }

    #[test]
    fn only_what_is_younger_than_the_last_sync_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let old = tear(&store, b"old");
        let later = Timespec {
            tv_sec: i64::from(u32::MAX),
            tv_nsec: 0,
        };
        let path = folder.path().join(FILE);
        fs_err::write(&path, "another boot").unwrap();
        let times = Timestamps {
            last_access: later,
            last_modification: later,
        };
        let file = fs_err::File::open(&path).unwrap();
        rustix::fs::futimens(file.file(), &times).unwrap();
        store.recover().unwrap().unwrap().finish().unwrap();
        assert!(store.has_blob(&old));
    }
}
