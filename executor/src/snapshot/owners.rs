//! Owners and devices that the kernel cannot have here: what a step is told of them, and what it recorded.

use std::collections::HashMap;
use std::path::Path;

use rbuild_image::layer::entry::{Entry, EntryKind};
use rbuild_image::layer::{OWNER_ATTRIBUTE, Ownership, Rootfs, owner_record};
use rbuild_sandbox::{JournalLine, SpecialFile};
use rustix::fs::XattrFlags;

use crate::error::StepError;

/// The group's bit of a directory's mode.
const SET_GROUP_ID: u32 = 0o2000;

/// Keeps with a file what the kernel cannot. A device that could be made needs nothing of it, and has no attributes.
pub(super) fn note(path: &Path, entry: &Entry, owners_are_fake: bool) {
    let ownership = if owners_are_fake {
        Ownership::Recorded
    } else {
        Ownership::Kernel
    };
    let Some(record) = owner_record(entry, ownership) else {
        return;
    };
    // Where attributes are not supported the index still has it.
    rustix::fs::lsetxattr(
        path,
        OWNER_ATTRIBUTE,
        record.as_bytes(),
        XattrFlags::empty(),
    )
    .unwrap_or(());
}

/// Writes the journal that a step on `lower` begins with.
pub(super) fn begin(journal: &Path, lower: &Rootfs) -> Result<(), StepError> {
    let mut lines = Vec::new();
    let mut is_anything_recorded = false;
    let mut are_groups_given = false;
    let layers = lower.layers().iter().enumerate();
    for (at, entry) in
        layers.flat_map(|(at, layer)| layer.entries().iter().map(move |entry| (at, entry)))
    {
        let is_device = matches!(
            entry.kind,
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. }
        );
        is_anything_recorded |= is_device;
        if (entry.uid, entry.gid) == (0, 0) {
            continue;
        }
        match entry.kind {
            EntryKind::Symlink { .. } | EntryKind::Fifo => {
                let found = lower.lookup(&entry.path);
                if found.is_some_and(|found| (found.layer, &found.entry) == (at, &entry)) {
                    lines.extend(
                        JournalLine::Below {
                            path: entry.path.clone(),
                            uid: entry.uid,
                            gid: entry.gid,
                        }
                        .to_bytes(),
                    );
                }
            }
            EntryKind::Whiteout => {}
            EntryKind::Directory { .. } => {
                is_anything_recorded = true;
                are_groups_given |= entry.mode & SET_GROUP_ID != 0 && entry.gid != 0;
            }
            _ => is_anything_recorded = true,
        }
    }
    if is_anything_recorded {
        lines.extend(JournalLine::Attributes.to_bytes());
    }
    if are_groups_given {
        lines.extend(JournalLine::GroupDirectories.to_bytes());
    }
    Ok(fs_err::write(journal, lines)?)
}

/// What a step recorded.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// False if nothing could be recorded, which is so where something else listens to the step's calls already.
    pub(crate) has_started: bool,
    /// Owners of files that cannot have attributes.
    pub(crate) special: HashMap<SpecialFile, (u32, u32)>,
}

impl Recorded {
    pub(super) fn read(journal: &Path) -> Result<Self, StepError> {
        let mut recorded = Self::default();
        for line in JournalLine::read(&mut fs_err::File::open(journal)?) {
            match line {
                JournalLine::Started => recorded.has_started = true,
                JournalLine::Changed { file, uid, gid } => {
                    recorded.special.insert(file, (uid, gid));
                }
                JournalLine::Attributes
                | JournalLine::GroupDirectories
                | JournalLine::Below { .. } => {}
            }
        }
        Ok(recorded)
    }
}

#[cfg(test)]
mod tests {
    use rbuild_sandbox::OwnerRecord;

    use super::*;

    #[test]
    fn layers_and_steps_write_the_same_records() {
        assert_eq!(OWNER_ATTRIBUTE, rbuild_sandbox::OWNER_ATTRIBUTE);
        let entry = |kind, uid| Entry {
            path: b"a".to_vec(),
            kind,
            mode: 0o644,
            uid,
            gid: 5,
            mtime: rbuild_image::layer::entry::Mtime::default(),
            xattrs: std::collections::BTreeMap::new(),
        };
        let device = EntryKind::BlockDevice {
            major: 7,
            minor: 300,
        };
        for (entry, ownership) in [
            (
                entry(EntryKind::Directory { opaque: false }, 7),
                Ownership::Recorded,
            ),
            (entry(device.clone(), 0), Ownership::Recorded),
            (entry(device, 0), Ownership::Kernel),
        ] {
            let record = owner_record(&entry, ownership).unwrap();
            let read = OwnerRecord::parse(record.as_bytes()).unwrap();
            assert_eq!(read.to_string(), record);
            let is_owned = ownership == Ownership::Recorded;
            assert_eq!(read.gid, is_owned.then_some(5));
        }
        assert_eq!(
            owner_record(&entry(EntryKind::Fifo, 1), Ownership::Recorded),
            None
        );
    }
}
