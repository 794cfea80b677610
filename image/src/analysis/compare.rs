//! What is different between two root file systems.

use std::iter::Peekable;

use crate::layer::entry::{Entry, EntryKind};
use crate::layer::path::compare_paths;
use crate::layer::{Found, Rootfs, Walk};

/// Whether modification times are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// They are.
    Compare,
    /// They are not.
    Ignore,
}

/// What differs between two entries at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct What {
    /// One is a file, the other a directory, and so on. Nothing else is compared then but the mode
    /// and the owner.
    pub kind: bool,
    /// The bytes of a file, the target of a link, the numbers of a device.
    pub content: bool,
    /// Permission bits.
    pub mode: bool,
    /// Owner or group.
    pub owner: bool,
    /// Extended attributes.
    pub xattrs: bool,
    /// Modification time.
    pub time: bool,
}

impl What {
    fn between(before: &Entry, after: &Entry, times: Times) -> Self {
        let kind = std::mem::discriminant(&before.kind) != std::mem::discriminant(&after.kind);
        let is_directory = matches!(before.kind, EntryKind::Directory { .. });
        Self {
            kind,
            // Whether a directory is opaque is how a layer says something, not what it says.
            content: !kind && !is_directory && before.kind != after.kind,
            mode: before.mode != after.mode,
            owner: (before.uid, before.gid) != (after.uid, after.gid),
            xattrs: before.xattrs != after.xattrs,
            time: times == Times::Compare && before.mtime != after.mtime,
        }
    }
}

/// A path at which two root file systems differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the second has it.
    Added(Found),
    /// Only the first has it.
    Removed(Found),
    /// Both have it.
    Changed(Found, Found, What),
}

impl Difference {
    /// Returns where.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        match self {
            Self::Added(found) | Self::Removed(found) | Self::Changed(_, found, _) => found.path(),
        }
    }
}

/// Differences in the order of their paths; see [`differences`].
#[derive(Debug)]
pub struct Differences<'a> {
    before: Peekable<Walk<'a>>,
    after: Peekable<Walk<'a>>,
    times: Times,
}

/// Returns what is different between two root file systems. Both are walked once, in step.
#[must_use]
pub fn differences<'a>(before: &'a Rootfs, after: &'a Rootfs, times: Times) -> Differences<'a> {
    Differences {
        before: before.walk(b"").peekable(),
        after: after.walk(b"").peekable(),
        times,
    }
}

impl Iterator for Differences<'_> {
    type Item = Difference;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.before.peek(), self.after.peek()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(before), Some(after)) => compare_paths(before.path(), after.path()),
            };
            if order.is_lt() {
                return self.before.next().map(Difference::Removed);
            }
            if order.is_gt() {
                return self.after.next().map(Difference::Added);
            }
            let (before, after) = (self.before.next()?, self.after.next()?);
            let what = What::between(&before.entry, &after.entry, self.times);
            if what != What::default() {
                return Some(Difference::Changed(before, after, what));
            }
        }
    }
}
