//! The content store: a folder that is also an OCI layout, shared by any number of processes.
//!
//! It knows bytes and their digests, not what they mean. Objects are written to `tmp/` and renamed,
//! so readers need no lock and a crash leaves nothing but staging.
//!
//! | path | content |
//! |---|---|
//! | `VERSION` | format number; a newer one is refused |
//! | `oci-layout`, `index.json` | what makes it an OCI layout |
//! | `synced` | the boot of the machine in which the store was used last |
//! | `blobs/sha256/<hex>` | content, mode 0444 |
//! | `layers/<hex>/` | materialisations of a layer, by diff ID |
//! | `refs/`, `images/` | names and images, see [`crate::record`] |
//! | `builds/<id>/` | one folder a build |
//! | `remote/` | what URLs and git repositories were when they were asked for last |
//! | `ingest/` | downloads in flight, kept to be resumed |
//! | `leases/` | what running processes rely on, see [`Pin`] |
//! | `tmp/` | staging |

mod lease;
mod recovery;
mod staging;
mod survey;
mod writer;

use std::collections::{BTreeSet, HashSet};
use std::fs::{DirBuilder, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use oci_spec::image::OciLayoutBuilder;

use crate::digest::{DiffId, Digest};
use crate::error::ImageError;
use crate::manifest::Index;
use crate::media::Format;

pub use lease::{Collector, Pin};
pub use recovery::Recovery;
pub(crate) use recovery::boot_id;
pub(crate) use staging::StagedFile;
pub use staging::{StagingDir, Sweep, is_at, remove_tree};
pub use survey::{Piece, Survey, disk_usage};
pub use writer::{BlobWriter, Verified};

/// The store format that this program writes.
pub const FORMAT_VERSION: u32 = 1;

const FOLDERS: &[&str] = &[
    "blobs/sha256",
    "layers",
    "refs",
    "images",
    "builds",
    "ingest",
    "leases",
    "tmp",
];

/// Whether to wait for another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// As long as it takes.
    Yes,
    /// Not at all.
    No,
}

/// While it lives, no other process checks or cleans the whole store.
#[derive(Debug)]
pub struct Maintenance {
    _file: fs_err::File,
}

/// A content store on disk. Cheap to clone; safe to use from many threads and processes.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// What this process has written: nobody need hash it again.
    written: Arc<Mutex<HashSet<Digest>>>,
    /// What this process relies on.
    lease: Arc<lease::Lease>,
    changes: Arc<Changes>,
}

/// How far what this process wrote is known to be on disk.
#[derive(Debug, Default)]
struct Changes {
    n_made: AtomicU64,
    /// So many of them, plus one, were made before the last sync; 0 before the first.
    synced: AtomicU64,
}

impl Store {
    /// Opens the store in `root`, making it if it is not there. Nobody but the owner may enter a
    /// store that is made here: it holds the files of images.
    ///
    /// # Errors
    /// [`ImageError::NewerStore`] if a later program has written it, [`ImageError::BadVersion`] if
    /// that is not to be known, [`ImageError::Io`].
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let store = Self {
            root: root.to_owned(),
            written: Arc::default(),
            lease: Arc::default(),
            changes: Arc::default(),
        };
        match store.format()? {
            Some(found) if found.parse() == Ok(FORMAT_VERSION) => {}
            Some(found) => {
                return Err(match found.parse::<u32>() {
                    Ok(0) | Err(_) => ImageError::BadVersion { root: store.root },
                    Ok(_) => ImageError::NewerStore {
                        root: store.root,
                        found,
                        supported: FORMAT_VERSION,
                    },
                });
            }
            None => store
                .initialize()
                .map_err(ImageError::io("make the store"))?,
        }
        Ok(store)
    }

    /// Returns the folder of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns how many more bytes fit on the store's disk; any number if the disk does not say.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.root)
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Returns where a blob lies, whether or not it does.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Returns where a download of a blob may keep what it has so far.
    #[must_use]
    pub fn ingest_path(&self, digest: &Digest) -> PathBuf {
        let name = format!("sha256-{}.part", digest.hex());
        self.root.join("ingest").join(name)
    }

    /// Reports whether a blob is there. False also if the store cannot be read.
    #[must_use]
    pub fn has_blob(&self, digest: &Digest) -> bool {
        matches!(self.blob_size(digest), Ok(Some(_)))
    }

    /// Returns the length of a blob in bytes, `None` if it is not there.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, ImageError> {
        match fs_err::symlink_metadata(self.blob_path(digest)) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ImageError::io("look for a blob")(error)),
        }
    }

    /// Opens a blob for reading. Its bytes are not checked; see [`Verified`].
    ///
    /// # Errors
    /// [`ImageError::NoSuchBlob`], [`ImageError::Io`]
    pub fn open_blob(&self, digest: &Digest) -> Result<fs_err::File, ImageError> {
        fs_err::File::open(self.blob_path(digest)).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                ImageError::NoSuchBlob { digest: *digest }
            } else {
                ImageError::io("open a blob")(error)
            }
        })
    }

    /// Returns a blob of at most `limit_bytes`, checked against its digest.
    ///
    /// # Errors
    /// [`ImageError::NoSuchBlob`], [`ImageError::TooLarge`], [`ImageError::DigestMismatch`] if the
    /// store is damaged, [`ImageError::Io`].
    pub fn read_blob(&self, digest: &Digest, limit_bytes: u64) -> Result<Vec<u8>, ImageError> {
        let file = self.open_blob(digest)?;
        let mut bytes = Vec::new();
        file.take(limit_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(ImageError::io(format!("read blob {digest}")))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(ImageError::TooLarge {
                what: format!("blob {digest}"),
                limit_bytes,
            });
        }
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(ImageError::DigestMismatch {
                expected: *digest,
                found,
            });
        }
        Ok(bytes)
    }

    /// Stores `bytes` and returns their digest. A damaged blob of that digest is replaced.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, ImageError> {
        let digest = Digest::of(bytes);
        self.pin(&[Pin::Blob(digest)])?;
        let is_there = self
            .read_blob(&digest, bytes.len() as u64)
            .is_ok_and(|found| found == bytes);
        if is_there {
            return Ok(digest);
        }
        self.remove_blob(&digest)?;
        let mut writer = self.blob_writer()?;
        writer
            .write_all(bytes)
            .map_err(ImageError::io("store a blob"))?;
        Ok(writer.commit(None)?.0)
    }

    /// Returns a writer that stores what is written to it under its digest.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn blob_writer(&self) -> Result<BlobWriter, ImageError> {
        BlobWriter::new(self)
    }

    /// Moves a file of this file system into the store as blob `digest`. The caller has hashed it.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn publish_file(&self, path: &Path, digest: &Digest) -> Result<(), ImageError> {
        self.pin(&[Pin::Blob(*digest)])?;
        writer::publish(path, &self.blob_path(digest))
            .map_err(ImageError::io(format!("store blob {digest}")))?;
        self.note_written(*digest);
        Ok(())
    }

    /// Reports whether this process wrote the blob, so that its bytes are known to be right.
    #[must_use]
    pub fn has_written(&self, digest: &Digest) -> bool {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.contains(digest)
    }

    /// Reports whether this process wrote any blob.
    pub(crate) fn has_written_any(&self) -> bool {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        !written.is_empty()
    }

    fn note_written(&self, digest: Digest) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(digest);
        self.note_change();
    }

    fn note_change(&self) {
        self.changes.n_made.fetch_add(1, Ordering::SeqCst);
    }

    /// Reports whether this process has synced the store, and put no blob or file there since.
    pub(crate) fn is_synced(&self) -> bool {
        let n_made = self.changes.n_made.load(Ordering::SeqCst);
        self.changes.synced.load(Ordering::SeqCst) == n_made + 1
    }

    /// Returns the layers that have a folder, in no order.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn layer_ids(&self) -> Result<Vec<DiffId>, ImageError> {
        self.digests_in("layers")
            .map(|found| found.into_iter().map(DiffId).collect())
    }

    /// Returns the blobs that are there, in no order.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn blob_ids(&self) -> Result<Vec<Digest>, ImageError> {
        self.digests_in("blobs/sha256")
    }

    fn digests_in(&self, folder: &str) -> Result<Vec<Digest>, ImageError> {
        let list = || -> io::Result<Vec<Digest>> {
            let mut found = Vec::new();
            for entry in fs_err::read_dir(self.root.join(folder))? {
                // Names that are no digests were put there by somebody else.
                let digest: Option<Digest> = entry?
                    .file_name()
                    .to_str()
                    .and_then(|hex| format!("sha256:{hex}").parse().ok());
                found.extend(digest);
            }
            Ok(found)
        };
        match list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(ImageError::io("list what is in the store")),
        }
    }

    /// Removes a blob; it need not be there. Whoever has it open can read on.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn remove_blob(&self, digest: &Digest) -> Result<(), ImageError> {
        ignore_missing(fs_err::remove_file(self.blob_path(digest)))
            .map_err(ImageError::io("remove a blob"))
    }

    /// Returns a new empty folder in `tmp/` that removes itself.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn staging_dir(&self) -> Result<StagingDir, ImageError> {
        StagingDir::new(&self.tmp_dir()).map_err(ImageError::io("make a staging folder"))
    }

    /// Removes what dead processes left in `tmp/`. Never waits: if another process is at it, or is
    /// just making a file there, nothing is done.
    ///
    /// # Errors
    /// [`ImageError::Io`] if `tmp/` cannot be read; what cannot be removed is only counted.
    pub fn sweep_tmp(&self) -> Result<Sweep, ImageError> {
        staging::sweep(&self.tmp_dir()).map_err(ImageError::io("sweep the store's tmp folder"))
    }

    /// Waits for the right to check or clean the whole store, which one process at a time has; with
    /// [`Wait::No`], `None` if another one has it.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn maintain(&self, wait: Wait) -> Result<Option<Maintenance>, ImageError> {
        let lock = || {
            let folder = fs_err::File::open(self.root.join("layers"))?;
            match wait {
                Wait::Yes => folder.lock()?,
                Wait::No => match folder.try_lock() {
                    Ok(()) => {}
                    Err(TryLockError::WouldBlock) => return Ok(None),
                    Err(TryLockError::Error(error)) => return Err(error),
                },
            }
            Ok(Some(Maintenance { _file: folder }))
        };
        lock().map_err(ImageError::io("lock the store for maintenance"))
    }

    /// Writes everything in the store to disk. To be called once before a name is published, so
    /// that no name ever points to something that a power failure takes away.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn sync(&self) -> Result<(), ImageError> {
        // What others write meanwhile may be on disk then, or not.
        let n_made = self.changes.n_made.load(Ordering::SeqCst);
        self.sync_all()
            .map_err(ImageError::io("write the store to disk"))?;
        self.changes.synced.store(n_made + 1, Ordering::SeqCst);
        Ok(())
    }

    /// Writes these blobs to disk, and that they are there; those that are not here are passed over.
    pub(crate) fn sync_blobs(&self, blobs: &BTreeSet<Digest>) -> Result<(), ImageError> {
        let paths = blobs.iter().map(|blob| self.blob_path(blob));
        self.sync_paths(paths.chain([self.root.join("blobs/sha256")]))
            .map_err(ImageError::io("write blobs to disk"))
    }

    /// Writes files to disk, and of folders which names they have.
    pub(crate) fn sync_paths(&self, paths: impl IntoIterator<Item = PathBuf>) -> io::Result<()> {
        paths.into_iter().try_for_each(|path| {
            let synced = fs_err::File::open(path).and_then(|file| file.sync_all());
            ignore_missing(synced)
        })
    }

    pub(crate) fn tmp_dir(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn format(&self) -> Result<Option<String>, ImageError> {
        match fs_err::read_to_string(self.root.join("VERSION")) {
            // Empty: it never reached the disk, and so nothing else has a name.
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some("?".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ImageError::io("open the store")(error)),
        }
    }

    /// Several processes may do this at once: every file has the same content for all of them.
    /// `VERSION` comes last and says that the rest is there.
    fn initialize(&self) -> io::Result<()> {
        make_private_dir(&self.root)?;
        for folder in FOLDERS {
            fs_err::create_dir_all(self.root.join(folder))?;
        }
        self.write_layout_files()?;
        self.note_boot()?;
        self.write_file_synced("VERSION", format!("{FORMAT_VERSION}\n").as_bytes())
    }

    /// Writes the files that make the store an OCI layout. Its images are under names of our own:
    /// the index stays empty, so that giving a name is one rename.
    fn write_layout_files(&self) -> io::Result<()> {
        self.write_file_synced("oci-layout", oci_layout().as_bytes())?;
        let index = Index::new(Format::Oci, Vec::new());
        self.write_file_synced("index.json", &index.to_bytes())
    }

    /// Writes `oci-layout` and `index.json` anew.
    pub(crate) fn write_layout(&self) -> Result<(), ImageError> {
        self.write_layout_files()
            .map_err(ImageError::io("write the store's layout"))
    }

    /// Replaces a file of the store in one step. `name` is its path in the store.
    ///
    /// # Errors
    /// Those of writing and renaming.
    pub fn write_file(&self, name: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        self.stage_file(bytes)?.publish(&self.root.join(name))?;
        self.note_change();
        Ok(())
    }

    /// As [`Store::write_file`], and after a power failure there is the old file or the new one: a
    /// rename alone may reach the disk before the bytes do.
    ///
    /// # Errors
    /// Those of writing, syncing and renaming.
    pub fn write_file_synced(&self, name: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let staged = self.stage_file(bytes)?;
        staged.sync()?;
        staged.publish(&self.root.join(name))
    }

    pub(crate) fn stage_file(&self, bytes: &[u8]) -> io::Result<StagedFile> {
        StagedFile::write(&self.tmp_dir(), bytes)
    }
}

/// Returns the content of `oci-layout`.
pub(crate) fn oci_layout() -> String {
    OciLayoutBuilder::default()
        .image_layout_version("1.0.0")
        .build()
        .and_then(|layout| layout.to_string())
        .expect("a version is all that a layout needs")
}

/// Takes it for done if the thing was not there.
pub(crate) fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes `path` for the owner alone; its parents with the usual mode.
fn make_private_dir(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        fs_err::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("failed to create folder `{}`: {error}", path.display()),
        )),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_store_is_made_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/store");
        let store = Store::open(&root).unwrap();
        let mode = fs_err::symlink_metadata(&root)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
        let layout = fs_err::read_to_string(root.join("oci-layout")).unwrap();
        assert_eq!(layout, r#"{"imageLayoutVersion":"1.0.0"}"#);
        let digest = store.put_blob(b"x").unwrap();
        let again = Store::open(&root).unwrap();
        assert!(again.has_blob(&digest));
        assert!(!again.has_blob(&Digest::of(b"y")));
        let mode = fs_err::symlink_metadata(again.blob_path(&digest)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o222, 0, "blobs are read-only");
        again.sync().unwrap();
    }

    #[test]
    fn a_newer_store_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("VERSION"), "2\n").unwrap();
        let error = Store::open(folder.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("has format 2, this program knows up to 1")
        );
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_version_that_is_none_is_not_guessed() {
        let folder = tempfile::tempdir().unwrap();
        let version = folder.path().join("VERSION");
        for garbage in [&b"\xff\xfe\0"[..], b"one", b"0", b"-1", b"1\n1"] {
            fs_err::write(&version, garbage).unwrap();
            let error = Store::open(folder.path()).unwrap_err();
            assert!(matches!(error, ImageError::BadVersion { .. }), "{error}");
            assert_eq!(fs_err::read(&version).unwrap(), garbage);
        }
        fs_err::write(&version, "").unwrap();
        Store::open(folder.path()).unwrap();
        assert_eq!(fs_err::read(&version).unwrap(), b"1\n");
    }

    #[test]
    fn many_open_a_new_store_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        std::thread::scope(|scope| {
            for n in 0..8u8 {
                let root = &root;
                scope.spawn(move || Store::open(root).unwrap().put_blob(&[n]).unwrap());
            }
        });
        let store = Store::open(&root).unwrap();
        assert!((0..8u8).all(|n| store.has_blob(&Digest::of(&[n]))));
    }
}
