//! One entry of a layer.

use std::collections::BTreeMap;

/// BLAKE3 of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentDigest(pub [u8; 32]);

/// A path inside a root file system: components joined by `/`, raw bytes, no leading or trailing
/// slash, no empty, `.` or `..` component. The root itself is the empty path.
pub type LayerPath = Vec<u8>;

/// One entry of a layer: what the layer puts at, or removes from, a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: LayerPath,
    /// What.
    pub kind: EntryKind,
    /// Permission bits including set-id and sticky: `0..=0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Mtime,
    /// Extended attributes that are shipped (`security.capability`, `user.*`, POSIX ACLs).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Seconds and nanoseconds since the Unix epoch. Never part of a content digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mtime {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// `0..1_000_000_000`
    pub nanoseconds: u32,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Size in bytes.
        size: u64,
        /// Digest of its bytes.
        digest: ContentDigest,
    },
    /// A directory.
    Directory {
        /// True if it hides what lower layers have below it (`.wh..wh..opq`).
        opaque: bool,
    },
    /// A symbolic link with its target as written.
    Symlink {
        /// Raw bytes.
        target: Vec<u8>,
    },
    /// A further name of a file entry of the same layer; its metadata equals that entry's.
    Hardlink {
        /// Path of the first name.
        target: LayerPath,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Removes the path of the lower layers (`.wh.<name>`). Metadata is zero.
    Whiteout,
}
