//! What stands at a path of a source tree, whichever kind of tree it is.

use rbuild_cache::files::FileState;
use rbuild_image::layer::entry::{Entry, EntryKind};

/// A file, folder, link or special file of a source tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// As in a layer, but its path is the one in the source tree, and it is never a hard link.
    pub(crate) entry: Entry,
    /// Where its bytes are, if it is a file.
    pub(crate) home: Home,
    /// Equal for the names of one file of the tree.
    pub(crate) link: Option<LinkGroup>,
}

/// Identifies a file with several names within one tree: device and inode, or the layer and the place
/// of the first name.
pub(crate) type LinkGroup = (u64, u64);

/// Where a file's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// There are none: not a file, or an empty one that stands for a socket.
    Nowhere,
    /// On disk.
    Disk {
        /// The state in which it was found, until its digest is in the entry.
        unhashed: Option<FileState>,
    },
    /// In this layer of a root file system, counted from the base.
    Layer(usize),
    /// A file of its own that was fetched.
    Fetched,
}

impl Node {
    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.entry.kind, EntryKind::Directory { .. })
    }

    pub(crate) fn symlink_target(&self) -> Option<&[u8]> {
        match &self.entry.kind {
            EntryKind::Symlink { target } => Some(target),
            _ => None,
        }
    }
}

/// Tells whether an extended attribute of a context's file is copied: file capabilities and users'
/// own ones. Access lists name users of this machine, so they are not.
pub(crate) fn is_taken(name: &[u8]) -> bool {
    name == b"security.capability" || (name.starts_with(b"user.") && !is_private(name))
}

/// Tells whether an extended attribute belongs to the book-keeping of a file system or a builder.
pub(crate) fn is_private(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 4] = [
        b"user.overlay.",
        b"user.fuseoverlayfs.",
        b"user.containers.",
        b"user.rbuild.",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_portable_attributes_are_taken() {
        for (name, expected) in [
            (&b"security.capability"[..], true),
            (b"user.mime_type", true),
            (b"user.overlay.opaque", false),
            (b"user.rbuild.owner", false),
            (b"user.containers.override_stat", false),
            (b"security.selinux", false),
            (b"trusted.overlay.opaque", false),
            (b"system.posix_acl_access", false),
        ] {
            assert_eq!(is_taken(name), expected, "{}", name.escape_ascii());
        }
    }
}
