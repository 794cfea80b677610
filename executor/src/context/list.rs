//! From what the kernel says of a file to a node.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rbuild_cache::files::FileState;
use rbuild_image::layer::entry::{ContentDigest, Entry, EntryKind, Mtime};
use rustix::fs::{AtFlags, FileType, RawDir, Stat};
use rustix::io::Errno;

use crate::files::node::{Home, Node, is_taken};

/// Largest value or list of names of extended attributes: the kernel's own limit.
const LARGEST_XATTR: usize = 65_536;

/// Bytes of names that are asked for at once: those of most directories.
const NAMES: usize = 32 << 10;

/// What an open directory tells.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// In name order.
    pub(super) children: Vec<Child>,
}

/// What a directory has under a name.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: Vec<u8>,
    /// Without a path.
    pub(super) node: Node,
}

/// Reads an open directory.
///
/// What vanishes while it is read is left out: it might as well have gone before.
pub(super) fn read_directory(dir: &OwnedFd) -> Result<Listing, Errno> {
    let xattrs = read_xattrs(dir)?;
    let mut children = Vec::new();
    let mut buffer = Vec::with_capacity(NAMES);
    let mut reader = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(item) = reader.next() {
        let item = item?;
        let name = item.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match node_at(dir.as_fd(), name) {
            Ok(node) => children.push(Child {
                name: name.to_bytes().to_vec(),
                node,
            }),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    children.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(Listing { xattrs, children })
}

/// Returns what stands at `name` in an open directory. Its path is empty, its extended attributes
/// are not read.
pub(super) fn node_at(dir: BorrowedFd<'_>, name: &CStr) -> Result<Node, Errno> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut node = node_of(&stat);
    if let EntryKind::Symlink { target } = &mut node.entry.kind {
        match rustix::fs::readlinkat(dir, name, Vec::new()) {
            Ok(text) => *target = text.into_bytes(),
            // No longer a link: a rename came between.
            Err(Errno::INVAL) => return Err(Errno::NOENT),
            Err(error) => return Err(error),
        }
    }
    Ok(node)
}

/// Returns the node that `stat` describes. All of a context belongs to root. Sockets become empty
/// files; a link's target is empty.
pub(super) fn node_of(stat: &Stat) -> Node {
    let state = state_of(stat);
    let mut home = Home::Nowhere;
    let mut link = None;
    let device = (
        rustix::fs::major(stat.st_rdev),
        rustix::fs::minor(stat.st_rdev),
    );
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            home = Home::Disk {
                unhashed: Some(state),
            };
            link = (stat.st_nlink > 1).then_some((state.dev, state.ino));
            EntryKind::File {
                size: state.size,
                digest: ContentDigest([0; 32]),
            }
        }
        FileType::Directory => EntryKind::Directory { opaque: false },
        FileType::Symlink => EntryKind::Symlink { target: Vec::new() },
        FileType::Fifo => EntryKind::Fifo,
        FileType::CharacterDevice => EntryKind::CharDevice {
            major: device.0,
            minor: device.1,
        },
        FileType::BlockDevice => EntryKind::BlockDevice {
            major: device.0,
            minor: device.1,
        },
        FileType::Socket | FileType::Unknown => EntryKind::File {
            size: 0,
            digest: ContentDigest(*blake3::hash(b"").as_bytes()),
        },
    };
    Node {
        entry: Entry {
            path: Vec::new(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: 0,
            gid: 0,
            mtime: Mtime {
                seconds: state.mtime.0,
                nanoseconds: u32::try_from(state.mtime.1).unwrap_or(0),
            },
            xattrs: BTreeMap::new(),
        },
        home,
        link,
    }
}

/// Returns what the file-digest cache knows a file by.
pub(crate) fn state_of(stat: &Stat) -> FileState {
    FileState {
        dev: stat.st_dev,
        ino: stat.st_ino,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: (
            stat.st_mtime,
            i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
        ),
        ctime: (
            stat.st_ctime,
            i64::try_from(stat.st_ctime_nsec).unwrap_or(0),
        ),
    }
}

/// Returns the extended attributes of an open file that go into layers.
pub(crate) fn read_xattrs(fd: impl AsFd) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    let mut found = BTreeMap::new();
    match rustix::fs::flistxattr_query(&fd) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(found),
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    let mut names = vec![0; LARGEST_XATTR];
    let length = rustix::fs::flistxattr(&fd, &mut names)?;
    let mut value = Vec::new();
    for name in names[..length].split(|byte| *byte == 0) {
        if !is_taken(name) {
            continue;
        }
        value.resize(LARGEST_XATTR, 0);
        match rustix::fs::fgetxattr(&fd, name, &mut value) {
            Ok(length) => {
                found.insert(name.to_vec(), value[..length].to_vec());
            }
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
