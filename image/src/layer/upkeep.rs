//! What keeps a store's layers in order: saying that one is used, seeing whether one can be had,
//! and checking what is there against what should be.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timestamps, openat2, readlinkat,
};
use rustix::io::Errno;

use crate::digest::{DiffId, Digest};
use crate::error::ImageError;
use crate::store::{Pin, Store};

use super::convert::{Hashing, write_tar};
use super::entry::{Entry, EntryKind};
use super::folder::LayerFolder;
use super::index::LayerIndex;
use super::path::{display, join, split_last};
use super::store::LayerStore;
use super::tree::Ownership;

/// Notes of use that are younger than this are not renewed: each costs a write.
const USE_GRAIN: Duration = Duration::from_secs(3600);

/// Bytes of a file that are hashed at a time.
const BUFFER: usize = 256 * 1024;

/// What is wrong with a layer's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFault {
    /// Which part of it.
    pub part: LayerPart,
    /// What is wrong.
    pub reason: String,
}

/// A part of a layer's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerPart {
    /// `index`
    Index,
    /// `tree/`
    Tree,
    /// `blobs.json`
    Record,
}

impl LayerPart {
    /// Returns its name in the folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Tree => "tree",
            Self::Record => "blobs.json",
        }
    }
}

impl LayerStore {
    /// Pins a layer and notes that it is used now. To be called before looking whether it is here.
    /// The next [`LayerStore::sync`] counts for it.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn hold(&self, diff_id: &DiffId) -> Result<(), ImageError> {
        self.pin(diff_id)?;
        note_use(&LayerFolder::new(self.store(), *diff_id));
        self.rely_on(diff_id);
        Ok(())
    }

    pub(super) fn pin(&self, diff_id: &DiffId) -> Result<(), ImageError> {
        self.store().pin(&[Pin::Layer(*diff_id)])
    }

    /// Reports whether the layer can be had: it is unpacked and indexed, a blob of it is here, or it
    /// is known where one is.
    #[must_use]
    pub fn is_available(&self, diff_id: &DiffId) -> bool {
        let folder = LayerFolder::new(self.store(), *diff_id);
        folder.has_tree() && folder.read_summary().is_some() || self.has_blob(&folder)
    }

    /// Reports whether the machine failed before the layer, or some of it, was on disk: index and
    /// tree count as not there.
    #[must_use]
    pub fn is_doubtful(&self, diff_id: &DiffId) -> bool {
        LayerFolder::new(self.store(), *diff_id).is_doubtful()
    }

    /// Reports whether the bytes of a layer that has an index can be had.
    #[must_use]
    pub fn has_bytes(&self, diff_id: &DiffId) -> bool {
        let folder = LayerFolder::new(self.store(), *diff_id);
        folder.has_tree() || self.has_blob(&folder)
    }

    /// Reports whether the bytes of a layer are here, unpacked or as a blob.
    #[must_use]
    pub fn has_bytes_here(&self, diff_id: &DiffId) -> bool {
        let folder = LayerFolder::new(self.store(), *diff_id);
        folder.has_tree() || self.has_local_blob(&folder)
    }

    fn has_blob(&self, folder: &LayerFolder<'_>) -> bool {
        !folder.read_record().origins().is_empty() || self.has_local_blob(folder)
    }

    fn has_local_blob(&self, folder: &LayerFolder<'_>) -> bool {
        let record = folder.read_record();
        record
            .variants()
            .any(|(_, blob)| self.store().has_blob(&blob.digest))
    }

    /// Returns the blobs that are this layer, as far as is known; the store may have them or not.
    #[must_use]
    pub fn known_blobs(&self, diff_id: &DiffId) -> Vec<Digest> {
        known_blobs(self.store(), diff_id)
    }

    /// Checks what is in a layer's folder: the index, the record of blobs, the tree against the
    /// index. What is being made is not looked at, nor what a crash of the machine left in doubt.
    ///
    /// Paths that only the tree has are no fault: the index does not list what a step wrote anew
    /// with the same bytes. Times are not compared.
    #[must_use]
    pub fn check(&self, diff_id: &DiffId) -> Vec<LayerFault> {
        let folder = LayerFolder::new(self.store(), *diff_id);
        let mut faults = Vec::new();
        let mut fault = |part, reason| faults.push(LayerFault { part, reason });
        if let Err(reason) = folder.check_record() {
            fault(LayerPart::Record, reason);
        }
        if folder.is_doubtful() {
            return faults;
        }
        match folder.check_index() {
            Err(reason) => fault(LayerPart::Index, reason),
            Ok(Some(index)) if folder.has_tree() => {
                let checked = self.check_tree(&folder, &index);
                if let Err(reason) = checked.and_then(|()| self.check_blobs(&folder, &index)) {
                    fault(LayerPart::Tree, reason);
                }
            }
            Ok(_) => {}
        }
        faults
    }

    /// Removes parts of a layer's folder, so that they are made again when something needs them.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn drop_parts(&self, diff_id: &DiffId, parts: &[LayerPart]) -> Result<(), ImageError> {
        let folder = LayerFolder::new(self.store(), *diff_id);
        let _lock = folder.lock()?;
        self.forget(diff_id);
        for part in parts {
            folder.drop_part(part.name())?;
        }
        Ok(())
    }

    /// If the blobs of a layer are gone, the tree must do: that of somebody else's tar cannot.
    fn check_blobs(&self, folder: &LayerFolder<'_>, index: &LayerIndex) -> Result<(), String> {
        let record = folder.read_record();
        let mut blobs = record.variants().peekable();
        if blobs.peek().is_none()
            || !record.origins().is_empty()
            || blobs.any(|(_, blob)| self.store().has_blob(&blob.digest))
        {
            return Ok(());
        }
        let mut sink = Hashing::new(io::sink());
        match write_tar(&folder.tree_path(), index, &mut sink) {
            Ok(()) if DiffId(sink.finish().0) == folder.diff_id() => Ok(()),
            // It went while this looked.
            Err(_) if !folder.has_tree() => Ok(()),
            _ => {
                Err("is all that is left of the layer; its blob cannot be made from it".to_owned())
            }
        }
    }

    fn check_tree(&self, folder: &LayerFolder<'_>, index: &LayerIndex) -> Result<(), String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = match rustix::fs::open(folder.tree_path(), flags, Mode::empty()) {
            Ok(root) => root,
            // It went while this looked.
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(io::Error::from(errno).to_string()),
        };
        let tree = Tree {
            root,
            ownership: self.tree_options().ownership,
        };
        let mut buffer = vec![0; BUFFER];
        for entry in index.entries() {
            tree.check(index, &entry, &mut buffer)
                .map_err(|reason| format!("`{}`: {reason}", display(&entry.path)))?;
        }
        Ok(())
    }
}

/// Returns the blobs that are a layer, as far as is known.
pub(crate) fn known_blobs(store: &Store, diff_id: &DiffId) -> Vec<Digest> {
    let record = LayerFolder::new(store, *diff_id).read_record();
    record.variants().map(|(_, blob)| blob.digest).collect()
}

/// The time of the folder tells when the layer was used last. Failing costs only that knowledge.
fn note_use(folder: &LayerFolder<'_>) {
    let Ok(metadata) = fs_err::symlink_metadata(folder.path()) else {
        return;
    };
    let is_recent = metadata.modified().is_ok_and(|used| {
        #[expect(
            clippy::disallowed_methods,
            reason = "file times are the kernel's clock; nothing that is built depends on it"
        )]
        let since = SystemTime::now().duration_since(used);
        since.is_ok_and(|since| since < USE_GRAIN)
    });
    if !is_recent {
        let now = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if rustix::fs::utimensat(rustix::fs::CWD, folder.path(), &times, flags).is_err() {
            // A store that cannot be written to; nothing will be removed from it either.
        }
    }
}

/// An unpacked layer that is being checked.
struct Tree {
    root: OwnedFd,
    ownership: Ownership,
}

impl Tree {
    fn check(&self, index: &LayerIndex, entry: &Entry, buffer: &mut [u8]) -> Result<(), String> {
        if entry.kind == EntryKind::Whiteout {
            return self.check_whiteout(&entry.path);
        }
        let is_device = matches!(
            entry.kind,
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. }
        );
        let stat = match self.stat(&entry.path) {
            Ok(stat) => stat,
            // Not everybody can make devices.
            Err(Errno::NOENT) if is_device => return Ok(()),
            Err(Errno::NOENT) => return Err("is missing".to_owned()),
            Err(errno) => return Err(io::Error::from(errno).to_string()),
        };
        let (found, expected) = (
            FileType::from_raw_mode(stat.st_mode),
            file_type(&entry.kind),
        );
        // For a device that cannot be made an empty file stands.
        let stands_in = is_device && found == FileType::RegularFile && stat.st_size == 0;
        if found != expected && !stands_in {
            return Err(format!("is a {found:?} instead of a {expected:?}"));
        }
        let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
        if !is_link && stat.st_mode & 0o7777 != entry.mode {
            let found = stat.st_mode & 0o7777;
            return Err(format!("has mode {found:o} instead of {:o}", entry.mode));
        }
        let owner = (stat.st_uid, stat.st_gid);
        if self.ownership == Ownership::Kernel && owner != (entry.uid, entry.gid) {
            return Err(format!(
                "belongs to {}:{} instead of {}:{}",
                owner.0, owner.1, entry.uid, entry.gid
            ));
        }
        match &entry.kind {
            EntryKind::File { size, digest } => {
                self.check_content(entry, &stat, *size, &digest.0, buffer)?;
                self.check_xattrs(entry)
            }
            EntryKind::Directory { .. } => self.check_xattrs(entry),
            EntryKind::Hardlink { target } => self.check_link(index, &stat, target),
            EntryKind::Symlink { target } => {
                let found = self
                    .target(&entry.path)
                    .map_err(|errno| errno.to_string())?;
                if found == *target {
                    Ok(())
                } else {
                    Err(format!("leads to `{}`", display(&found)))
                }
            }
            _ => Ok(()),
        }
    }

    fn check_content(
        &self,
        entry: &Entry,
        stat: &Stat,
        size: u64,
        digest: &[u8; 32],
        buffer: &mut [u8],
    ) -> Result<(), String> {
        if u64::try_from(stat.st_size) != Ok(size) {
            return Err(format!("has {} bytes instead of {size}", stat.st_size));
        }
        let mut hash = || -> io::Result<blake3::Hash> {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let mut file = std::fs::File::from(self.open(&entry.path, flags)?);
            let mut hasher = blake3::Hasher::new();
            loop {
                match file.read(buffer) {
                    Ok(0) => return Ok(hasher.finalize()),
                    Ok(n_bytes) => drop(hasher.update(&buffer[..n_bytes])),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        };
        match hash() {
            Ok(found) if found.as_bytes() == digest => Ok(()),
            Ok(_) => Err("has other bytes than were written".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Attributes that the file system, or the user, could not have are missing; others must be right.
    fn check_xattrs(&self, entry: &Entry) -> Result<(), String> {
        if entry.xattrs.is_empty() {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = self
            .open(&entry.path, flags)
            .map_err(|errno| errno.to_string())?;
        for (name, expected) in &entry.xattrs {
            let mut found = vec![0; expected.len() + 1];
            let shown = display(name);
            match rustix::fs::fgetxattr(&file, name.as_slice(), &mut found[..]) {
                Ok(length) if found.get(..length) == Some(expected) => {}
                Ok(_) | Err(Errno::RANGE) => {
                    return Err(format!("has another `{shown}` than was written"));
                }
                Err(Errno::NODATA) if name.starts_with(b"user.") => {
                    return Err(format!("has lost its attribute `{shown}`"));
                }
                Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
                Err(errno) => return Err(errno.to_string()),
            }
        }
        Ok(())
    }

    /// A further name must be one of the same file, or of one with the same bytes in number.
    fn check_link(&self, index: &LayerIndex, stat: &Stat, target: &[u8]) -> Result<(), String> {
        let found = index.get(target).map(|entry| entry.kind);
        let Some(EntryKind::File { size, .. }) = found else {
            return Ok(());
        };
        let first = self.stat(target).map_err(|errno| errno.to_string())?;
        let is_same = (first.st_dev, first.st_ino) == (stat.st_dev, stat.st_ino);
        if is_same || u64::try_from(stat.st_size) == Ok(size) {
            Ok(())
        } else {
            Err(format!("is no name of `{}`", display(target)))
        }
    }

    /// A device 0:0, or an empty file `.wh.<name>` where no device can be made.
    fn check_whiteout(&self, path: &[u8]) -> Result<(), String> {
        if self.stat(path).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
        }) {
            return Ok(());
        }
        let (parent, name) = split_last(path).unwrap_or((b"", path));
        let mark = join(parent, &[b".wh.", name].concat());
        match self.stat(&mark) {
            Ok(_) => Ok(()),
            Err(_) => Err("is not marked as removed".to_owned()),
        }
    }

    fn stat(&self, path: &[u8]) -> rustix::io::Result<Stat> {
        if path.is_empty() {
            return rustix::fs::fstat(&self.root);
        }
        rustix::fs::fstat(self.open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?)
    }

    fn target(&self, path: &[u8]) -> rustix::io::Result<Vec<u8>> {
        let link = self.open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
        Ok(readlinkat(link, c"", Vec::new())?.into_bytes())
    }

    /// Opens something of the tree; no link leads out of it.
    fn open(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        openat2(self.root.as_fd(), path, flags, Mode::empty(), inside)
    }
}

fn file_type(kind: &EntryKind) -> FileType {
    match kind {
        EntryKind::File { .. } | EntryKind::Hardlink { .. } => FileType::RegularFile,
        EntryKind::Directory { .. } => FileType::Directory,
        EntryKind::Symlink { .. } => FileType::Symlink,
        EntryKind::Fifo => FileType::Fifo,
        EntryKind::CharDevice { .. } | EntryKind::Whiteout => FileType::CharacterDevice,
        EntryKind::BlockDevice { .. } => FileType::BlockDevice,
    }
}
