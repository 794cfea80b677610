//! Writes a layer's tree: a directory that overlayfs can take as a lower layer.
//!
//! Every path is walked from the root's descriptor, component by component, never through a link.
//! While files are written there is no link in the tree at all: links, devices and the marks of
//! removed files are made from the index in the end, and directories get their modes last. What a
//! file has as soon as it is made is not set again: each call of the kernel counts here.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat,
    chownat, fchmod, fchown, fsetxattr, fstat, futimens, linkat, makedev, mkdirat, mknodat, openat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::error::ImageError;

use super::entry::{Entry, EntryKind, LayerPath, Mtime};
use super::index::LayerIndex;
use super::path::{self, compare_paths, display, is_below, split_last};

/// Who owns the files of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Whom their entries name; whoever unpacks may give files away.
    Kernel,
    /// Whoever unpacks; whom regular files and directories should belong to is kept in [`OWNER_ATTRIBUTE`]. Of other
    /// files only the index knows.
    Recorded,
    /// Whoever unpacks, and there are no devices.
    Forgotten,
}

/// The attribute with the owner that a file should have, `UID:GID`. Behind that may stand ` c MAJOR:MINOR` or
/// ` b MAJOR:MINOR`: then the file, an empty one, stands for a device that could not be made.
pub const OWNER_ATTRIBUTE: &str = "user.rbuild.owner";

/// Returns the value of [`OWNER_ATTRIBUTE`] for an entry; `None` if it needs none. Where the kernel knows owners, it
/// has only the device.
#[must_use]
pub fn owner_record(entry: &Entry, ownership: Ownership) -> Option<String> {
    let owner = match ownership {
        Ownership::Kernel => ":".to_owned(),
        Ownership::Recorded => format!("{}:{}", entry.uid, entry.gid),
        Ownership::Forgotten => return None,
    };
    match entry.kind {
        EntryKind::CharDevice { major, minor } => Some(format!("{owner} c {major}:{minor}")),
        EntryKind::BlockDevice { major, minor } => Some(format!("{owner} b {major}:{minor}")),
        EntryKind::Symlink { .. } | EntryKind::Fifo | EntryKind::Whiteout => None,
        EntryKind::File { .. } | EntryKind::Directory { .. } | EntryKind::Hardlink { .. } => {
            let is_known = ownership == Ownership::Kernel || (entry.uid, entry.gid) == (0, 0);
            (!is_known).then_some(owner)
        }
    }
}

/// The name under which overlayfs looks for the mark of opaque directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpaqueMark {
    /// `trusted.overlay.opaque`; needs real root.
    Trusted,
    /// `user.overlay.opaque`, for mounts with `userxattr`.
    User,
}

impl OpaqueMark {
    /// Returns the xattr's name; its value is `y`.
    #[must_use]
    pub fn xattr(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }
}

/// How a tree is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeOptions {
    /// Who owns its files.
    pub ownership: Ownership,
    /// How opaque directories are marked.
    pub opaque: OpaqueMark,
}

/// What a tree lacks or has otherwise than its index says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeNotes {
    /// Devices for which something else stands, or nothing.
    pub n_devices_skipped: u64,
    /// Removed files marked by an empty file `.wh.<name>` because the kernel makes no device 0:0
    /// here. Kernel overlayfs does not understand them; where that happens it cannot be mounted
    /// either, and fuse-overlayfs does.
    pub n_whiteout_files: u64,
    /// Extended attributes that this user may not set.
    pub n_xattrs_skipped: u64,
}

/// Writes into an empty directory.
pub(super) struct TreeWriter<'a> {
    root: BorrowedFd<'a>,
    options: TreeOptions,
    notes: TreeNotes,
    /// The directory that was used last.
    last: LayerPath,
    /// The descriptors of that directory and of those it lies in, each with the length of its path.
    open: VecDeque<(usize, OwnedFd)>,
    new_file: Option<NewFile>,
}

/// What a file is given when it is made, whatever one asks for.
struct NewFile {
    uid: u32,
    gid: u32,
    /// The permissions it may have.
    permissions: u32,
}

const NEW_DIRECTORY: Mode = Mode::RWXU;

/// Permissions that a file can be made with; the other bits of modes are lost in writing.
const PERMISSIONS: u32 = 0o777;

/// Most directories that are held open.
const MAX_OPEN: usize = 32;

impl<'a> TreeWriter<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, options: TreeOptions) -> Self {
        Self {
            root,
            options,
            notes: TreeNotes::default(),
            last: LayerPath::new(),
            open: VecDeque::new(),
            new_file: NewFile::probe(root),
        }
    }

    /// Makes an empty file for an entry, and the directories on its way.
    pub(super) fn create(
        &mut self,
        path: &[u8],
        entry: &Entry,
        replaces: bool,
    ) -> Result<fs_err::File, ImageError> {
        if replaces {
            self.remove(path)?;
        }
        let mode = self.first_mode(entry);
        let (directory, name) = self.parent_of(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(directory, name, flags, mode).map_err(at(path))?;
        Ok(fs_err::File::from_parts(fd.into(), display(path)))
    }

    /// Returns the permissions that the file of an entry is made with.
    fn first_mode(&self, entry: &Entry) -> Mode {
        // An ordinary user may set attributes of what he may write only.
        let has_attributes =
            !entry.xattrs.is_empty() || owner_record(entry, self.options.ownership).is_some();
        match has_attributes {
            true => Mode::RUSR | Mode::WUSR,
            false => Mode::from_raw_mode(entry.mode & PERMISSIONS),
        }
    }

    /// Gives a file that was written what else its entry says.
    pub(super) fn finish_file(
        &mut self,
        file: &fs_err::File,
        path: &[u8],
        entry: &Entry,
    ) -> Result<(), ImageError> {
        let mode = self.first_mode(entry).as_raw_mode();
        let has = self
            .new_file
            .as_ref()
            .map(|new| mode & new.permissions)
            .filter(|has| *has == entry.mode);
        self.set_metadata(file.file().as_fd(), path, entry, has)
    }

    /// Gives a file a further name.
    pub(super) fn link(
        &mut self,
        path: &[u8],
        target: &[u8],
        replaces: bool,
    ) -> Result<(), ImageError> {
        if replaces {
            self.remove(path)?;
        }
        let (directory, name) = self.parent_of(target)?;
        let from = directory
            .try_clone_to_owned()
            .map_err(|error| failed(target, error))?;
        let (directory, new_name) = self.parent_of(path)?;
        linkat(from, name, directory, new_name, AtFlags::empty()).map_err(at(path))
    }

    /// Removes what is at `path`, if anything is.
    pub(super) fn remove(&mut self, path: &[u8]) -> Result<(), ImageError> {
        // The directories that are open may go.
        self.open.clear();
        let (directory, name) = self.parent_of(path)?;
        match remove_at(directory, name) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(at(path)(errno)),
        }
    }

    /// Makes everything that is not a file, then gives directories their metadata.
    pub(super) fn finish(mut self, index: &LayerIndex) -> Result<TreeNotes, ImageError> {
        let mut directories: Vec<Entry> = index.implied().to_vec();
        for entry in index.entries() {
            match entry.kind {
                EntryKind::Directory { .. } => {
                    self.directory(&entry.path)?;
                    directories.push(entry);
                }
                EntryKind::File { .. } | EntryKind::Hardlink { .. } => {}
                _ => self.special(&entry)?,
            }
        }
        directories.sort_by(|left, right| compare_paths(&right.path, &left.path));
        // Those further down first: the mode of one further up may forbid to go there.
        for entry in &directories {
            let path = entry.path.as_slice();
            let fd = self.open_readable(path)?;
            self.set_metadata(fd.as_fd(), path, entry, None)?;
        }
        Ok(self.notes)
    }

    /// Makes a link, a pipe, a device or the mark of a removed file.
    fn special(&mut self, entry: &Entry) -> Result<(), ImageError> {
        let path = entry.path.as_slice();
        let ownership = self.options.ownership;
        let (directory, name) = self.parent_of(path)?;
        let mode = Mode::from_raw_mode(entry.mode);
        let made = match &entry.kind {
            EntryKind::Symlink { target } => symlinkat(target.as_slice(), directory, name),
            EntryKind::Fifo => mknodat(directory, name, FileType::Fifo, mode, 0),
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                let kind = match entry.kind {
                    EntryKind::CharDevice { .. } => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                let made = match ownership {
                    Ownership::Kernel => {
                        mknodat(directory, name, kind, mode, makedev(*major, *minor))
                    }
                    Ownership::Recorded | Ownership::Forgotten => Err(Errno::PERM),
                };
                if made == Err(Errno::PERM) {
                    self.notes.n_devices_skipped += 1;
                    return match ownership {
                        Ownership::Forgotten => Ok(()),
                        Ownership::Kernel | Ownership::Recorded => self.stand_in(entry),
                    };
                }
                made
            }
            EntryKind::Whiteout => return self.whiteout(path),
            EntryKind::File { .. } | EntryKind::Hardlink { .. } | EntryKind::Directory { .. } => {
                return Ok(());
            }
        };
        made.map_err(at(path))?;
        if ownership == Ownership::Kernel {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            chownat(
                directory,
                name,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(|errno| cannot_give(path, entry, errno))?;
        }
        if !matches!(entry.kind, EntryKind::Symlink { .. }) {
            // The umask and the new owner may have taken bits away. This would follow a link, but
            // what is there was just made, and it is none.
            chmodat(directory, name, mode, AtFlags::empty()).map_err(at(path))?;
        }
        utimensat(
            directory,
            name,
            &times(entry.mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(at(path))
    }

    /// Makes a file that stands for a device.
    fn stand_in(&mut self, entry: &Entry) -> Result<(), ImageError> {
        let path = entry.path.as_slice();
        let file = self.create(path, entry, false)?;
        self.finish_file(&file, path, entry)
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), ImageError> {
        let (directory, name) = self.parent_of(path)?;
        match mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Err(Errno::PERM) => {}
            other => return other.map_err(at(path)),
        }
        let name = [b".wh.", name].concat();
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(directory, name, flags, Mode::empty()).map_err(at(path))?;
        self.notes.n_whiteout_files += 1;
        Ok(())
    }

    /// Gives what was made what else its entry says; `has` is its mode if that is right already.
    fn set_metadata(
        &mut self,
        fd: BorrowedFd<'_>,
        path: &[u8],
        entry: &Entry,
        has: Option<u32>,
    ) -> Result<(), ImageError> {
        let new = self.new_file.as_ref();
        let is_owned = new.is_some_and(|new| (new.uid, new.gid) == (entry.uid, entry.gid));
        if self.options.ownership == Ownership::Kernel && !is_owned {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            fchown(fd, Some(uid), Some(gid)).map_err(|errno| cannot_give(path, entry, errno))?;
        }
        // A new owner takes set-id bits and capabilities away, so these come after. The mode comes
        // last: it may forbid an ordinary user to set the rest.
        for (name, value) in &entry.xattrs {
            match fsetxattr(fd, name.as_slice(), value, XattrFlags::empty()) {
                Err(Errno::PERM)
                    if name.starts_with(b"user.") || name == b"security.capability" =>
                {
                    self.notes.n_xattrs_skipped += 1;
                }
                other => other.map_err(at(path))?,
            }
        }
        if let Some(record) = owner_record(entry, self.options.ownership) {
            match fsetxattr(fd, OWNER_ATTRIBUTE, record.as_bytes(), XattrFlags::empty()) {
                Err(Errno::PERM | Errno::NOTSUP) => self.notes.n_xattrs_skipped += 1,
                other => other.map_err(at(path))?,
            }
        }
        if entry.kind == (EntryKind::Directory { opaque: true }) {
            fsetxattr(fd, self.options.opaque.xattr(), b"y", XattrFlags::empty())
                .map_err(at(path))?;
        }
        if has != Some(entry.mode) {
            fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(at(path))?;
        }
        futimens(fd, &times(entry.mtime)).map_err(at(path))
    }

    /// Returns the descriptor of the directory that `path` lies in, made if need be, and its name.
    fn parent_of<'p>(&mut self, path: &'p [u8]) -> Result<(BorrowedFd<'_>, &'p [u8]), ImageError> {
        let (parent, name) = split_last(path)
            .ok_or_else(|| ImageError::bad_entry(path, "the root cannot be replaced"))?;
        Ok((self.directory(parent)?, name))
    }

    /// Returns the descriptor of a directory, which is made if need be.
    fn directory(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, ImageError> {
        if path.is_empty() {
            return Ok(self.root);
        }
        while let Some((length, _)) = self.open.back() {
            let known = &self.last[..*length];
            if known == path || is_below(path, known) {
                break;
            }
            self.open.pop_back();
        }
        self.last
            .truncate(self.open.back().map_or(0, |(length, _)| *length));
        while self.last.len() < path.len() {
            let start = self.last.len() + usize::from(!self.last.is_empty());
            let rest = &path[start..];
            let length = rest.iter().position(|byte| *byte == b'/');
            let name = &rest[..length.unwrap_or(rest.len())];
            let from = self.open.back();
            let fd = from.map_or(self.root, |(_, fd)| fd.as_fd());
            let next = open_or_make(fd, name).map_err(at(path))?;
            path::push(&mut self.last, name);
            if self.open.len() == MAX_OPEN {
                self.open.pop_front();
            }
            self.open.push_back((self.last.len(), next));
        }
        Ok(self.open.back().map_or(self.root, |(_, fd)| fd.as_fd()))
    }

    /// Opens a directory so that its metadata can be set.
    fn open_readable(&mut self, path: &[u8]) -> Result<OwnedFd, ImageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match split_last(path) {
            None => openat(self.root, c".", flags, Mode::empty()).map_err(at(path)),
            Some((parent, name)) => {
                let directory = self.directory(parent)?;
                openat(directory, name, flags, Mode::empty()).map_err(at(path))
            }
        }
    }
}

impl NewFile {
    /// Finds out by a file without a name; some file systems have none.
    fn probe(root: BorrowedFd<'_>) -> Option<Self> {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(PERMISSIONS);
        let found = fstat(openat(root, c".", flags, mode).ok()?).ok()?;
        Some(Self {
            uid: found.st_uid,
            gid: found.st_gid,
            permissions: found.st_mode & PERMISSIONS,
        })
    }
}

fn open_or_make(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    mkdirat(directory, name, NEW_DIRECTORY)?;
    openat(directory, name, flags, Mode::empty())
}

/// Removes a file, or a directory with all that is in it.
fn remove_at(directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        other => return other,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = openat(directory, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&inner)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name != c"." && name != c".." {
            remove_at(inner.as_fd(), name.to_bytes())?;
        }
    }
    unlinkat(directory, name, AtFlags::REMOVEDIR)
}

fn times(mtime: Mtime) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: i64::from(mtime.nanoseconds),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn failed(path: &[u8], source: io::Error) -> ImageError {
    ImageError::Io {
        action: format!("unpack `{}`", display(path)),
        source,
    }
}

fn at(path: &[u8]) -> impl Fn(Errno) -> ImageError {
    move |errno| failed(path, errno.into())
}

/// Numbers without a mapping in this user namespace are what fails mostly.
fn cannot_give(path: &[u8], entry: &Entry, errno: Errno) -> ImageError {
    ImageError::Io {
        action: format!(
            "give `{}` to user {} and group {}, who may not exist in this user namespace",
            display(path),
            entry.uid,
            entry.gid
        ),
        source: errno.into(),
    }
}
