//! What a process changed: from a snapshot's tree to a layer.
//!
//! The rules are those of overlayfs' upper directories, measured: a whiteout is a character device
//! 0:0, a replaced directory carries an opaque mark, and a file that was only opened for writing is
//! a full copy of the lower one. Such a copy is dropped if its bytes are the same; equal times are
//! never trusted. A directory of which only the time differs is no change, but stands in the layer
//! if something below it does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rbuild_image::layer::entry::{ContentDigest, Entry, EntryKind, Mtime};
use rbuild_image::layer::{Packed, Rootfs, path as layer_path};
use rbuild_sandbox::{Device, OWNER_ATTRIBUTE, OwnerRecord, SpecialFile};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags};

use crate::changes::{Candidate, Candidates, Kept, is_directory};
use crate::error::StepError;
use crate::snapshot::{Fingerprint, Known, Recorded, Snapshot, SnapshotKind};

/// Packs the changes of a snapshot upon `lower`; the tar goes to `blob` if there is one. No time is
/// later than `epoch`. Remarks about what was left out are added to `notices`.
///
/// # Errors
/// Files that cannot be read, and [`StepError::WhiteoutName`].
pub(crate) fn pack(
    snapshot: &Snapshot,
    lower: &Rootfs,
    epoch: Option<i64>,
    blob: Option<&mut (dyn Write + Send)>,
    notices: &mut Vec<String>,
) -> Result<Packed, StepError> {
    let root = open_root(&snapshot.tree)?;
    let mut walk = Walk {
        snapshot,
        recorded: snapshot.recorded()?,
        lower,
        epoch,
        root: &root,
        found: Candidates::default(),
        notices: Vec::new(),
    };
    walk.directory(&root, Vec::new(), Lower::Visible)?;
    if let SnapshotKind::Copied(known) = &snapshot.kind {
        walk.add_deletions(known);
    }
    let Walk {
        found,
        notices: left_out,
        ..
    } = walk;
    notices.extend(left_out);
    let mut kept = Kept::of(&found);
    rbuild_image::layer::pack(blob, |packer| {
        for (entry, is_changed, inode) in found.iter() {
            for entry in kept.take(entry, is_changed, inode) {
                let is_file = matches!(entry.kind, EntryKind::File { .. });
                let mut data = if is_file {
                    Some(open_file(&root, &entry.path)?)
                } else {
                    None
                };
                packer.add(entry, data.as_mut().map(|file| file as &mut dyn Read))?;
            }
        }
        Ok(())
    })
}

/// What the extended attributes of a file say.
#[derive(Default)]
struct Attributes {
    /// Those that stand in a layer.
    shipped: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether overlayfs marked the directory opaque.
    is_opaque: bool,
    /// What the kernel could not do: owners where there is one user, devices where there are none.
    record: Option<OwnerRecord>,
}

/// What of the lower root file system shows at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lower {
    Visible,
    /// An opaque directory above hides it.
    Hidden,
}

struct Walk<'a> {
    snapshot: &'a Snapshot,
    /// Where the kernel has no owners.
    recorded: Option<Recorded>,
    lower: &'a Rootfs,
    epoch: Option<i64>,
    root: &'a OwnedFd,
    found: Candidates,
    notices: Vec<String>,
}

impl Walk<'_> {
    /// Collects what is in an open directory, in the order of a layer. Directories are visited from
    /// a list, not by recursion: a process can make them as deep as it likes.
    fn directory(&mut self, top: &OwnedFd, path: Vec<u8>, lower: Lower) -> Result<(), StepError> {
        let stat = rustix::fs::fstat(top).map_err(std::io::Error::from)?;
        let below = self.add_directory(&path, &stat, lower)?;
        let mut pending = vec![(path, below, names(top)?)];
        while let Some((path, lower, left)) = pending.last_mut() {
            let Some(name) = left.pop() else {
                pending.pop();
                continue;
            };
            let path = layer_path::join(path, &name);
            let lower = *lower;
            let stat = self.stat(&path)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let below = self.add_directory(&path, &stat, lower)?;
                let directory = open_directory(self.root, &path)?;
                pending.push((path, below, names(&directory)?));
            } else {
                self.add_leaf(path, &name, &stat, lower)?;
            }
        }
        Ok(())
    }

    fn stat(&self, path: &[u8]) -> Result<Stat, StepError> {
        rustix::fs::statat(
            self.root,
            OsStr::from_bytes(path),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(|error| self.failed("look at", path, error))
    }

    fn failed(&self, doing: &'static str, path: &[u8], error: rustix::io::Errno) -> StepError {
        StepError::File {
            doing,
            path: Path::new("/").join(OsStr::from_bytes(path)),
            source: error.into(),
        }
    }

    /// Adds a directory; returns what of the lower root file system shows below it.
    fn add_directory(
        &mut self,
        path: &[u8],
        stat: &Stat,
        lower: Lower,
    ) -> Result<Lower, StepError> {
        let Attributes {
            shipped,
            is_opaque,
            record,
        } = self.attributes(path)?;
        let below = self.lower_entry(path, lower);
        let hides = is_opaque
            && below
                .as_ref()
                .is_some_and(|entry| is_directory(&entry.kind));
        let kind = EntryKind::Directory { opaque: hides };
        let mut entry = self.entry(path, kind, stat, below.as_ref(), record);
        entry.xattrs = shipped;
        let is_changed = hides
            || below
                .is_none_or(|below| !is_directory(&below.kind) || !same_metadata(&below, &entry));
        let is_known = self.is_known(path, stat);
        self.found.push(&Candidate {
            entry,
            is_changed: is_changed && !is_known,
            inode: None,
        });
        Ok(if is_opaque { Lower::Hidden } else { lower })
    }

    fn add_leaf(
        &mut self,
        path: Vec<u8>,
        name: &[u8],
        stat: &Stat,
        lower: Lower,
    ) -> Result<(), StepError> {
        let below = self.lower_entry(&path, lower);
        let Some(mut kind) = self.leaf_kind(&path, stat)? else {
            return Ok(());
        };
        if name.starts_with(b".wh.") {
            return Err(StepError::WhiteoutName {
                path: layer_path::display(&path),
            });
        }
        if kind == EntryKind::Whiteout {
            if below.is_some() {
                self.found.push(&whiteout(path));
            }
            return Ok(());
        }
        let mut attributes = self.attributes(&path)?;
        match attributes.record {
            Some(OwnerRecord {
                device: Some(device),
                ..
            }) if matches!(kind, EntryKind::File { size: 0, .. }) => kind = device_kind(device),
            None => attributes.record = self.special_owner(&path, &kind)?,
            Some(_) => {}
        }
        // Only files may have several names in a layer.
        let is_linked = matches!(kind, EntryKind::File { .. }) && stat.st_nlink > 1;
        let mut entry = self.entry(&path, kind, stat, below.as_ref(), attributes.record);
        entry.xattrs = attributes.shipped;
        let is_changed = !self.is_known(&path, stat)
            && match &below {
                Some(below) => !self.is_same(below, &mut entry)?,
                None => true,
            };
        let inode = is_linked.then_some((stat.st_dev, stat.st_ino));
        self.found.push(&Candidate {
            entry,
            is_changed,
            inode,
        });
        Ok(())
    }

    /// What a leaf is; `None` for what a layer cannot hold.
    fn leaf_kind(&mut self, path: &[u8], stat: &Stat) -> Result<Option<EntryKind>, StepError> {
        let device = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        let is_upper = matches!(self.snapshot.kind, SnapshotKind::Upper { .. });
        Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                digest: ContentDigest([0; 32]),
            },
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(self.root, OsStr::from_bytes(path), Vec::new())
                    .map_err(|error| self.failed("read the link", path, error))?;
                EntryKind::Symlink {
                    target: target.into_bytes(),
                }
            }
            FileType::Fifo => EntryKind::Fifo,
            FileType::CharacterDevice if device == (0, 0) && is_upper => EntryKind::Whiteout,
            FileType::CharacterDevice => EntryKind::CharDevice {
                major: device.0,
                minor: device.1,
            },
            FileType::BlockDevice => EntryKind::BlockDevice {
                major: device.0,
                minor: device.1,
            },
            _ => {
                let path = layer_path::display(path);
                self.notices
                    .push(format!("left out /{path}: a layer cannot hold a socket"));
                return Ok(None);
            }
        }))
    }

    /// The owner that was recorded of a file that cannot have attributes.
    fn special_owner(
        &self,
        path: &[u8],
        kind: &EntryKind,
    ) -> Result<Option<OwnerRecord>, StepError> {
        let special = match &self.recorded {
            Some(recorded) if !recorded.special.is_empty() => &recorded.special,
            _ => return Ok(None),
        };
        if matches!(kind, EntryKind::File { .. }) {
            return Ok(None);
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let mask = StatxFlags::INO | StatxFlags::BTIME;
        let found = rustix::fs::statx(self.root, OsStr::from_bytes(path), flags, mask)
            .map_err(|error| self.failed("look at", path, error))?;
        let file = SpecialFile {
            inode: found.stx_ino,
            born: (found.stx_btime.tv_sec, found.stx_btime.tv_nsec),
        };
        let owner = special.get(&file);
        Ok(owner.map(|(uid, gid)| OwnerRecord::of(*uid, *gid)))
    }

    fn lower_entry(&self, path: &[u8], lower: Lower) -> Option<Entry> {
        if lower == Lower::Hidden {
            return None;
        }
        self.lower.lookup(path).map(|found| found.entry)
    }

    /// True if a copied tree has here what was put there, untouched.
    fn is_known(&self, path: &[u8], stat: &Stat) -> bool {
        match &self.snapshot.kind {
            SnapshotKind::Upper { .. } => false,
            SnapshotKind::Copied(known) => known.get(path) == Some(&Fingerprint::of(stat)),
        }
    }

    fn entry(
        &self,
        path: &[u8],
        kind: EntryKind,
        stat: &Stat,
        below: Option<&Entry>,
        record: Option<OwnerRecord>,
    ) -> Entry {
        let (uid, gid) = match &self.recorded {
            None => (stat.st_uid, stat.st_gid),
            Some(recorded) => {
                let before = match below {
                    // What has no record is root's.
                    _ if recorded.has_started => (0, 0),
                    Some(below) => (below.uid, below.gid),
                    None if path.is_empty() => (0, 0),
                    None => self.snapshot.user,
                };
                let asked = |id: fn(OwnerRecord) -> Option<u32>| record.and_then(id);
                (
                    asked(|record| record.uid).unwrap_or(before.0),
                    asked(|record| record.gid).unwrap_or(before.1),
                )
            }
        };
        Entry {
            path: path.to_vec(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            mtime: self.clamp(stat.st_mtime),
            xattrs: BTreeMap::new(),
        }
    }

    /// Layers hold whole seconds.
    fn clamp(&self, seconds: i64) -> Mtime {
        let seconds = self.epoch.map_or(seconds, |epoch| seconds.min(epoch));
        Mtime {
            seconds,
            nanoseconds: 0,
        }
    }

    fn attributes(&self, path: &[u8]) -> Result<Attributes, StepError> {
        let file = self.snapshot.tree.join(OsStr::from_bytes(path));
        let mut list = vec![0; 1024];
        let length = loop {
            match rustix::fs::llistxattr(&file, &mut list[..]) {
                Ok(length) => break length,
                Err(rustix::io::Errno::RANGE) if list.len() < 64 * 1024 => {
                    list.resize(list.len() * 4, 0);
                }
                Err(rustix::io::Errno::NOTSUP) => break 0,
                Err(error) => return Err(self.failed("list the attributes of", path, error)),
            }
        };
        let mut found = Attributes::default();
        for name in list[..length]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            if matches!(name, b"trusted.overlay.opaque" | b"user.overlay.opaque") {
                let is_ours = name.starts_with(b"user.") == self.snapshot.uses_user_xattrs();
                found.is_opaque |= is_ours && read_xattr(&file, name)? == b"y";
            }
            if name == OWNER_ATTRIBUTE.as_bytes() {
                found.record = OwnerRecord::parse(&read_xattr(&file, name)?);
            }
            if is_shipped(name) {
                let value = read_xattr(&file, name)?;
                found.shipped.insert(name.to_vec(), value);
            }
        }
        Ok(found)
    }

    /// Compares with the lower entry, in the end by content.
    fn is_same(&self, below: &Entry, entry: &mut Entry) -> Result<bool, StepError> {
        let same_kind = match (&below.kind, &entry.kind) {
            (EntryKind::File { size, .. }, EntryKind::File { size: size_now, .. }) => {
                size == size_now
            }
            (kind, kind_now) => kind == kind_now,
        };
        if !same_kind
            || !same_metadata(below, entry)
            || self.clamp(below.mtime.seconds) != entry.mtime
        {
            return Ok(false);
        }
        let EntryKind::File { digest, .. } = &below.kind else {
            return Ok(true);
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(open_file(self.root, &entry.path)?)?;
        Ok(hasher.finalize().as_bytes() == &digest.0)
    }

    /// A copied tree has no whiteouts: what was put there and is there no more was deleted.
    fn add_deletions(&mut self, known: &Known) {
        let there = &self.found.entries;
        let gone = known
            .keys()
            .filter(|path| there.find_entry(path).is_none() && self.lower.lookup(path).is_some())
            // Only the topmost: a whiteout hides all below.
            .filter(|path| {
                layer_path::split_last(path)
                    .is_some_and(|(parent, _)| there.find_entry(parent).is_some())
            });
        let mut all: Vec<Candidate> = gone.map(|path| whiteout(path.clone())).collect();
        if all.is_empty() {
            return;
        }
        let found = self.found.iter();
        all.extend(found.map(|(entry, is_changed, inode)| Candidate {
            entry,
            is_changed,
            inode,
        }));
        all.sort_by(|a, b| layer_path::compare_paths(&a.entry.path, &b.entry.path));
        self.found = Candidates::default();
        for candidate in &all {
            self.found.push(candidate);
        }
    }
}

fn device_kind(device: Device) -> EntryKind {
    let Device {
        is_block,
        major,
        minor,
    } = device;
    match is_block {
        true => EntryKind::BlockDevice { major, minor },
        false => EntryKind::CharDevice { major, minor },
    }
}

fn whiteout(path: Vec<u8>) -> Candidate {
    let entry = Entry {
        path,
        kind: EntryKind::Whiteout,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: BTreeMap::new(),
    };
    Candidate {
        entry,
        is_changed: true,
        inode: None,
    }
}

fn same_metadata(below: &Entry, entry: &Entry) -> bool {
    (below.mode, below.uid, below.gid) == (entry.mode, entry.uid, entry.gid)
        && below.xattrs == entry.xattrs
}

/// Attributes that mean something on another machine; overlayfs' and our own never do.
fn is_shipped(name: &[u8]) -> bool {
    name == b"security.capability"
        || name.starts_with(b"system.posix_acl_")
        || name.starts_with(b"user.")
            && !name.starts_with(b"user.overlay.")
            && name != OWNER_ATTRIBUTE.as_bytes()
}

fn read_xattr(file: &Path, name: &[u8]) -> Result<Vec<u8>, StepError> {
    let mut value = vec![0; 64 * 1024];
    let length =
        rustix::fs::lgetxattr(file, OsStr::from_bytes(name), &mut value[..]).map_err(|error| {
            StepError::File {
                doing: "read an attribute of",
                path: file.to_owned(),
                source: error.into(),
            }
        })?;
    value.truncate(length);
    Ok(value)
}

fn open_root(path: &Path) -> Result<OwnedFd, StepError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| StepError::File {
        doing: "open",
        path: path.to_owned(),
        source: error.into(),
    })
}

fn open_below(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, StepError> {
    rustix::fs::openat2(
        root,
        OsStr::from_bytes(path),
        flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|error| StepError::File {
        doing: "open",
        path: Path::new("/").join(OsStr::from_bytes(path)),
        source: error.into(),
    })
}

fn open_directory(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, StepError> {
    open_below(root, path, OFlags::DIRECTORY)
}

fn open_file(root: &OwnedFd, path: &[u8]) -> Result<File, StepError> {
    open_below(root, path, OFlags::NONBLOCK).map(File::from)
}

/// Names in a directory, the last in order first.
fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, StepError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(std::io::Error::from)? {
        let name = entry
            .map_err(std::io::Error::from)?
            .file_name()
            .to_bytes()
            .to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}
