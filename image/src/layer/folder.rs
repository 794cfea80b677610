//! The folder of a layer in the store, `layers/<diff ID in hex>/`.
//!
//! | file | content |
//! |---|---|
//! | `index` | the index, see [`super::index_file`] |
//! | `tree/` | the unpacked layer |
//! | `blobs.json` | [`BlobRecord`]: which blobs are this layer, where it came from and went to |
//! | `unsynced` | there until the others are known to be on disk: the ID of the boot in which they were written, and in a second line who wrote them |
//!
//! The folder itself is locked while something of the above is made.
//! `index` and `tree` can be made again and are dropped when in doubt. A record that cannot be read
//! counts as empty.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::digest::{DiffId, Digest};
use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::store::{Store, boot_id, is_at, remove_tree};

use super::compression::{Compression, Method};
use super::index::LayerIndex;
use super::index_file::IndexSummary;

/// The version of `blobs.json` that is written; others are not read.
const RECORD_VERSION: u32 = 1;

/// Largest record and index that are read, in bytes.
const MAX_RECORD: u64 = 1 << 20;
const MAX_INDEX: u64 = 1 << 30;

/// Places that a layer was brought to which are remembered.
const MAX_COPIES: usize = 16;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Where a layer can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What kind of place it is: `registry`, `oci-layout`. Who fetches knows the kinds.
    pub kind: String,
    /// The place: a repository, a folder.
    pub location: String,
    /// The blob there.
    pub descriptor: Descriptor,
}

/// `blobs.json`, version 1.
///
/// | field | content |
/// |---|---|
/// | `version` | 1 |
/// | `blobs` | list of `compression` (`none`, `gzip`, `zstd`), `level` of those that were compressed here, and `descriptor`, one for each compression and level: blobs of this layer, which the store may have or not |
/// | `origins` | list of `kind`, `location` and `descriptor`, oldest first |
/// | `copies` | the same of places that the layer was brought to from here; may be missing |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobRecord {
    version: u32,
    #[serde(default)]
    blobs: Vec<Variant>,
    #[serde(default)]
    origins: Vec<Origin>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    copies: Vec<Origin>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Variant {
    compression: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<i32>,
    descriptor: Descriptor,
}

impl Variant {
    fn is_of(&self, compression: Compression) -> bool {
        self.compression == compression.name()
    }
}

impl Default for BlobRecord {
    fn default() -> Self {
        Self {
            version: RECORD_VERSION,
            blobs: Vec::new(),
            origins: Vec::new(),
            copies: Vec::new(),
        }
    }
}

impl BlobRecord {
    /// Returns the blobs of that compression, the preferred one first. Where no level is named that
    /// is the one that came from elsewhere, and else the one that was made here at the usual level.
    pub(super) fn of_method(&self, method: Method) -> impl Iterator<Item = &Descriptor> {
        let unknown = method.level().is_none().then_some(None);
        let levels = unknown.into_iter().chain([method.used_level()]);
        levels.flat_map(move |level| {
            let found = self
                .blobs
                .iter()
                .filter(move |variant| variant.is_of(method.compression) && variant.level == level);
            found.map(|variant| &variant.descriptor)
        })
    }

    /// Returns the preferred one of [`BlobRecord::of_method`].
    pub(super) fn variant(&self, method: Method) -> Option<&Descriptor> {
        self.of_method(method).next()
    }

    /// Returns all blobs, the ones that are read fastest first.
    pub(super) fn variants(&self) -> impl Iterator<Item = (Compression, &Descriptor)> {
        [Compression::None, Compression::Zstd, Compression::Gzip]
            .into_iter()
            .flat_map(|compression| {
                let found = self.blobs.iter();
                let found = found.filter(move |variant| variant.is_of(compression));
                found.map(move |variant| (compression, &variant.descriptor))
            })
    }

    /// Returns how to get the blob of that digest, if it is one of this layer's.
    pub(super) fn method_of(&self, digest: &Digest) -> Option<Method> {
        let of_digest = |variant: &&Variant| variant.descriptor.digest == *digest;
        let found = self.blobs.iter().find(of_digest)?;
        let compression = Compression::from_name(&found.compression)?;
        Some(match found.level {
            Some(level) => Method::at_level(compression, level.into()),
            None => compression.into(),
        })
    }

    /// Notes a blob that came from elsewhere, in place of another of the same compression.
    pub(super) fn set_variant(&mut self, compression: Compression, descriptor: Descriptor) {
        self.set(compression, None, descriptor);
    }

    /// Notes a blob that was made here, in place of another that was made so.
    pub(super) fn set_made(&mut self, method: Method, descriptor: Descriptor) {
        self.set(method.compression, method.used_level(), descriptor);
    }

    fn set(&mut self, compression: Compression, level: Option<i32>, descriptor: Descriptor) {
        self.blobs.retain(|known| {
            let is_same = known.is_of(compression) && known.level == level;
            // The same bytes cannot be two compressions, but two levels.
            let is_other =
                !known.is_of(compression) && known.descriptor.digest == descriptor.digest;
            !is_same && !is_other
        });
        self.blobs.push(Variant {
            compression: compression.name().to_owned(),
            level,
            descriptor,
        });
    }

    pub(super) fn forget_blob(&mut self, digest: &Digest) {
        self.blobs
            .retain(|variant| variant.descriptor.digest != *digest);
    }

    /// Returns where the layer can be had.
    pub(super) fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Returns where the layer was brought to, the latest last.
    pub(super) fn copies(&self) -> &[Origin] {
        &self.copies
    }

    /// Notes a place that the layer was brought to; old ones are forgotten.
    pub(super) fn add_copy(&mut self, copy: Origin) {
        self.copies.retain(|known| *known != copy);
        self.copies.push(copy);
        let n_old = self.copies.len().saturating_sub(MAX_COPIES);
        self.copies.drain(..n_old);
    }

    /// Notes an origin; the one that was noted last is last.
    pub(super) fn add_origin(&mut self, origin: Origin) {
        self.origins.retain(|known| *known != origin);
        self.origins.push(origin);
    }
}

/// What was written to a layer's folder and may not be on disk yet.
#[derive(Debug)]
pub(super) struct Unsynced {
    pub(super) diff_id: DiffId,
    mark: Vec<u8>,
}

/// A file without a name that marks what one process writes before its next sync. It becomes `unsynced` by a link, so
/// that marking a layer makes no file.
#[derive(Debug)]
pub(super) struct Marker {
    file: std::fs::File,
    mark: Vec<u8>,
}

impl Marker {
    /// `None` where there are no files without names.
    pub(super) fn new(store: &Store) -> Option<Self> {
        let mark = new_mark();
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(store.root(), flags, Mode::from_raw_mode(0o644)).ok()?;
        let mut file = std::fs::File::from(file);
        file.write_all(&mark).ok()?;
        Some(Self { file, mark })
    }

    /// Puts it at `path`; false if something is there, or that cannot be.
    fn link(&self, path: &Path) -> bool {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW).is_ok()
    }

    fn unsynced(&self, diff_id: DiffId) -> Unsynced {
        Unsynced {
            diff_id,
            mark: self.mark.clone(),
        }
    }
}

/// This boot, and what no other mark of it has.
fn new_mark() -> Vec<u8> {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut mark = boot_id().to_owned();
    mark.extend_from_slice(format!("{}-{number}\n", std::process::id()).as_bytes());
    mark
}

/// A layer's folder, which may not be there yet.
#[derive(Debug)]
pub(super) struct LayerFolder<'a> {
    store: &'a Store,
    diff_id: DiffId,
    path: PathBuf,
}

/// While it lives, no other thread or process makes anything of the layer.
#[derive(Debug)]
pub(super) struct LayerLock {
    _folder: fs_err::File,
}

impl<'a> LayerFolder<'a> {
    pub(super) fn new(store: &'a Store, diff_id: DiffId) -> Self {
        Self {
            store,
            diff_id,
            path: store.root().join("layers").join(diff_id.0.hex()),
        }
    }

    pub(super) fn diff_id(&self) -> DiffId {
        self.diff_id
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn tree_path(&self) -> PathBuf {
        self.path.join("tree")
    }

    /// Waits until nobody else makes anything of the layer.
    ///
    /// What was written before the last crash of the machine and may not be on disk is dropped.
    pub(super) fn lock(&self) -> Result<LayerLock, ImageError> {
        let lock = self.lock_folder().map_err(self.fault("lock"))?;
        if self.is_doubtful() {
            self.discard().map_err(self.fault("clear"))?;
        }
        Ok(lock)
    }

    fn lock_folder(&self) -> io::Result<LayerLock> {
        loop {
            let folder = match fs_err::File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs_err::create_dir_all(&self.path)?;
                    continue;
                }
                other => other?,
            };
            // A file system without locks fails: then whoever renames first wins, which is enough.
            if flock(folder.file(), FlockOperation::LockExclusive) == Err(Errno::INTR) {
                continue;
            }
            // It may have been removed, and made again, while this waited.
            if is_at(&folder.metadata()?, &self.path) {
                return Ok(LayerLock { _folder: folder });
            }
        }
    }

    /// Makes `staged`, in which there is a whole tree and nothing else, this folder, all at once. `None`: there is one
    /// already, or that cannot be done here; the tree is where it was.
    pub(super) fn adopt(
        &self,
        staged: &Path,
        index: &LayerIndex,
        marker: &Marker,
    ) -> Result<Option<Unsynced>, ImageError> {
        if fs_err::symlink_metadata(&self.path).is_ok() {
            return Ok(None);
        }
        let [index_path, mark_path] = ["index", "unsynced"].map(|name| staged.join(name));
        let making = || self.fault("write the folder of");
        if marker.link(&mark_path) {
            fs_err::write(&index_path, index.encode()?).map_err(making())?;
            let renamed =
                rustix::fs::renameat_with(CWD, staged, CWD, &self.path, RenameFlags::NOREPLACE);
            if renamed.is_ok() {
                return Ok(Some(marker.unsynced(self.diff_id)));
            }
        }
        // One is there, or the file system has no such links or renames: then one thing after another.
        for part in [index_path, mark_path] {
            crate::store::ignore_missing(fs_err::remove_file(part)).map_err(self.fault("clear"))?;
        }
        Ok(None)
    }

    /// Returns true if the machine crashed since this was written.
    pub(super) fn is_doubtful(&self) -> bool {
        match fs_err::read(self.path.join("unsynced")) {
            Ok(written) => !written.starts_with(boot_id()),
            Err(_) => false,
        }
    }

    fn discard(&self) -> io::Result<()> {
        fs_err::create_dir_all(&self.path)?;
        for name in ["index", "tree", "unsynced"] {
            remove_tree(&self.path.join(name))?;
        }
        Ok(())
    }

    /// Returns true if the layer is unpacked here.
    pub(super) fn has_tree(&self) -> bool {
        !self.is_doubtful()
            && fs_err::symlink_metadata(self.tree_path()).is_ok_and(|found| found.is_dir())
    }

    /// Returns the index, `None` if it is not there or cannot be read.
    pub(super) fn read_index(&self) -> Option<LayerIndex> {
        if self.is_doubtful() {
            return None;
        }
        LayerIndex::decode(&self.read("index", MAX_INDEX)?).ok()
    }

    /// Returns the summary of the index, `None` if it is not there or cannot be read.
    pub(super) fn read_summary(&self) -> Option<IndexSummary> {
        if self.is_doubtful() {
            return None;
        }
        IndexSummary::decode(&self.read("index", IndexSummary::BYTES as u64)?).ok()
    }

    /// Returns the record; an empty one if it is not there or cannot be read.
    pub(super) fn read_record(&self) -> BlobRecord {
        self.read("blobs.json", MAX_RECORD)
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .filter(|record: &BlobRecord| record.version == RECORD_VERSION)
            .unwrap_or_default()
    }

    /// Returns the index, nothing if there is none, or what is wrong with it.
    pub(super) fn check_index(&self) -> Result<Option<LayerIndex>, String> {
        let Some(bytes) = self.read_checked("index", MAX_INDEX)? else {
            return Ok(None);
        };
        LayerIndex::decode(&bytes)
            .map(Some)
            .map_err(|error| error.to_string())
    }

    /// Says what is wrong with the record, if there is one.
    pub(super) fn check_record(&self) -> Result<(), String> {
        let bytes = self.read_checked("blobs.json", MAX_RECORD)?;
        // An empty one never reached the disk; nothing had a name yet.
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        let record: BlobRecord =
            serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if record.version == RECORD_VERSION {
            Ok(())
        } else {
            Err(format!("version {} is not known", record.version))
        }
    }

    fn read_checked(&self, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, String> {
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            fs_err::File::open(self.path.join(name))?
                .take(limit_bytes)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Removes one thing of the folder; a tree moves away first, so that no half of one is seen.
    pub(super) fn drop_part(&self, name: &str) -> Result<(), ImageError> {
        let staging = self.store.staging_dir()?;
        let moved = fs_err::rename(self.path.join(name), staging.path().join(name));
        crate::store::ignore_missing(moved).map_err(self.fault("clear"))
    }

    fn read(&self, name: &str, limit_bytes: u64) -> Option<Vec<u8>> {
        let file = fs_err::File::open(self.path.join(name)).ok()?;
        let mut bytes = Vec::new();
        file.take(limit_bytes).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Writes the index. Before that, and before a tree is moved here, comes
    /// [`LayerFolder::mark_unsynced`].
    pub(super) fn write_index(&self, index: &LayerIndex) -> Result<(), ImageError> {
        self.write("index", &index.encode()?)
    }

    /// Writes the record. A new one is on disk when the store was synced; one in place of another,
    /// which an image may need, is at once.
    pub(super) fn write_record(&self, record: &BlobRecord) -> Result<(), ImageError> {
        let earlier = self.read_record();
        if earlier == *record {
            return Ok(());
        }
        let mut bytes = serde_json::to_vec_pretty(record)
            .map_err(|error| self.fault("write the record of")(error.into()))?;
        bytes.push(b'\n');
        if earlier == BlobRecord::default() {
            return self.write("blobs.json", &bytes);
        }
        self.store
            .write_file_synced(self.name("blobs.json"), &bytes)
            .map_err(self.fault("write the folder of"))
    }

    /// Moves an unpacked tree here; if there is one already, `tree` stays where it is.
    pub(super) fn adopt_tree(&self, tree: &Path) -> Result<(), ImageError> {
        if self.has_tree() {
            return Ok(());
        }
        // An empty folder here would be replaced; the layer's tree it is then.
        fs_err::rename(tree, self.tree_path()).map_err(self.fault("move the tree of"))
    }

    /// Notes that what is written here may be lost in a crash of the machine.
    pub(super) fn mark_unsynced(&self, marker: Option<&Marker>) -> Result<Unsynced, ImageError> {
        if let Some(marker) = marker
            && marker.link(&self.path.join("unsynced"))
        {
            return Ok(marker.unsynced(self.diff_id));
        }
        // Somebody has marked it, or this kind of link cannot be.
        let mark = new_mark();
        self.write("unsynced", &mark)?;
        Ok(Unsynced {
            diff_id: self.diff_id,
            mark,
        })
    }

    /// Returns the mark of whoever wrote this and has not synced it, unless the machine crashed
    /// since.
    pub(super) fn mark(&self) -> Option<Unsynced> {
        let mark = fs_err::read(self.path.join("unsynced")).ok()?;
        let diff_id = self.diff_id;
        mark.starts_with(boot_id())
            .then_some(Unsynced { diff_id, mark })
    }

    /// Notes that everything here is on disk, unless somebody has written more since `unsynced`.
    pub(super) fn mark_synced(&self, unsynced: &Unsynced) -> Result<(), ImageError> {
        let _lock = self.lock()?;
        let path = self.path.join("unsynced");
        if fs_err::read(&path).is_ok_and(|found| found == unsynced.mark) {
            fs_err::remove_file(&path).map_err(self.fault("mark"))?;
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        self.store
            .write_file(self.name(name), bytes)
            .map_err(self.fault("write the folder of"))
    }

    /// The path of something here, from the store's folder on.
    fn name(&self, name: &str) -> PathBuf {
        Path::new("layers").join(self.diff_id.0.hex()).join(name)
    }

    fn fault(&self, action: &str) -> impl FnOnce(io::Error) -> ImageError {
        ImageError::io(format!("{action} layer {}", self.diff_id))
    }
}
