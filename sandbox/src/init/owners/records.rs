//! What is known of files: in an attribute of regular files and directories, in a table of all others.
//!
//! The table's changes are written to a journal, from which they get into the layer.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, FileType, Gid, StatxFlags, Uid, XattrFlags};
use rustix::io::Errno;

use super::stat::Shown;
use crate::owner_record::{Device, JournalLine, OWNER_ATTRIBUTE, OwnerRecord, SpecialFile};
use crate::status::ignore;

/// The group's bit of a directory's mode.
const SET_GROUP_ID: u32 = 0o2000;

/// The owner of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// What tells files apart that have no attributes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// One that can be changed.
    File(SpecialFile),
    /// One of the layers below.
    Below(Vec<u8>),
}

/// Everything that is known of files.
pub(super) struct Records {
    /// Where the files lie that this step can change.
    files: OwnedFd,
    journal: Option<File>,
    special: HashMap<Key, OwnerRecord>,
    /// Whether any of them is known by its path.
    has_paths: bool,
    /// Whether any file may have an attribute.
    has_attributes: bool,
    /// Whether any directory may give its group to what is made in it.
    has_group_directories: bool,
}

impl Records {
    /// Reads what the journal says of the layers below.
    pub(super) fn new(files: OwnedFd, journal: Option<OwnedFd>) -> Self {
        let mut records = Self {
            files,
            journal: None,
            special: HashMap::new(),
            has_paths: false,
            has_attributes: false,
            has_group_directories: false,
        };
        let Some(mut journal) = journal.map(File::from) else {
            return records;
        };
        let lines = JournalLine::read(&mut journal);
        records.journal = Some(journal);
        records.note(&JournalLine::Started);
        for line in lines {
            match line {
                JournalLine::Attributes => records.has_attributes = true,
                JournalLine::GroupDirectories => records.has_group_directories = true,
                JournalLine::Below { path, uid, gid } => {
                    let key = records.key_at(&path).unwrap_or(Key::Below(path));
                    records.put_special(key, OwnerRecord::of(uid, gid));
                }
                JournalLine::Started | JournalLine::Changed { .. } => {}
            }
        }
        records
    }

    /// Whether all files are what they seem.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_attributes && self.special.is_empty()
    }

    /// Returns what is known of a file, if anything is.
    pub(super) fn look_up(
        &self,
        file: BorrowedFd<'_>,
        shown: &Shown,
    ) -> Result<Option<OwnerRecord>, Errno> {
        match shown.kind() {
            FileType::RegularFile | FileType::Directory if self.has_attributes => {
                Ok(attribute(file))
            }
            FileType::RegularFile | FileType::Directory => Ok(None),
            _ if self.special.is_empty() => Ok(None),
            _ => Ok(self
                .key_of(file)
                .and_then(|key| self.special.get(&key))
                .copied()),
        }
    }

    /// Returns whom a file belongs to.
    pub(super) fn owner(&self, file: impl AsFd) -> Result<Owner, Errno> {
        let shown = Shown::of_file(file.as_fd())?;
        let record = self.look_up(file.as_fd(), &shown)?;
        let (uid, gid) = shown.owner();
        Ok(Owner {
            uid: record.and_then(|record| record.uid).unwrap_or(uid),
            gid: record.and_then(|record| record.gid).unwrap_or(gid),
        })
    }

    /// Returns the group that a directory gives to what is made in it, if it gives one.
    pub(super) fn given_group(&self, directory: &OwnedFd) -> Option<u32> {
        if !self.has_group_directories {
            return None;
        }
        let shown = Shown::of_file(directory.as_fd()).ok()?;
        let gives = shown.mode() & SET_GROUP_ID != 0;
        gives.then(|| self.owner(directory).ok().map(|owner| owner.gid))?
    }

    /// Whether new files belong to whoever makes them, wherever they are.
    pub(super) fn no_group_is_given(&self) -> bool {
        !self.has_group_directories
    }

    /// Notes that a file is given away.
    pub(super) fn change(
        &mut self,
        file: BorrowedFd<'_>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(), Errno> {
        let shown = Shown::of_file(file)?;
        let before = self.look_up(file, &shown)?;
        match OwnerRecord::changed(before, uid, gid) {
            Some(after) => self.put(file, shown.kind(), after),
            None => Ok(()),
        }
    }

    /// Whether anything is known of files by their paths.
    pub(super) fn knows_by_path(&self) -> bool {
        self.has_paths
    }

    /// Has a file that is known by its path copied to where it can be changed, and known by itself.
    pub(super) fn copy_up(&mut self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let shown = Shown::of_file(file)?;
        if matches!(shown.kind(), FileType::RegularFile | FileType::Directory) {
            return Ok(());
        }
        let Some(record) = self.look_up(file, &shown)? else {
            return Ok(());
        };
        let (uid, gid) = (Some(Uid::ROOT), Some(Gid::ROOT));
        rustix::fs::chownat(file, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        self.put(file, shown.kind(), record)
    }

    /// Notes whose a new file is, and what device it stands for.
    pub(super) fn add(
        &mut self,
        file: impl AsFd,
        owner: Owner,
        device: Option<Device>,
    ) -> Result<(), Errno> {
        let file = file.as_fd();
        let kind = Shown::of_file(file)?.kind();
        let mut record = OwnerRecord::of(owner.uid, owner.gid);
        record.device = device;
        self.put(file, kind, record)
    }

    /// Notes what device a new file stands for whose owner the kernel has.
    pub(super) fn add_device(&mut self, file: impl AsFd, device: Device) -> Result<(), Errno> {
        self.has_attributes = true;
        let record = OwnerRecord {
            uid: None,
            gid: None,
            device: Some(device),
        };
        set_attribute(file.as_fd(), &record)
    }

    fn put(
        &mut self,
        file: BorrowedFd<'_>,
        kind: FileType,
        record: OwnerRecord,
    ) -> Result<(), Errno> {
        match kind {
            FileType::RegularFile => {}
            FileType::Directory => {
                self.has_group_directories |= record.gid.is_some_and(|gid| gid != 0);
            }
            _ => {
                let key = self.key_of(file).ok_or(Errno::NOENT)?;
                self.put_special(key, record);
                return Ok(());
            }
        }
        self.has_attributes = true;
        set_attribute(file, &record)
    }

    fn put_special(&mut self, key: Key, record: OwnerRecord) {
        match key {
            Key::File(file) => {
                let (uid, gid) = (record.uid.unwrap_or(0), record.gid.unwrap_or(0));
                self.note(&JournalLine::Changed { file, uid, gid });
            }
            Key::Below(_) => self.has_paths = true,
        }
        self.special.insert(key, record);
    }

    fn note(&mut self, line: &JournalLine) {
        if let Some(journal) = &mut self.journal {
            // Without room on the disk the step fails soon enough.
            ignore(journal.write_all(&line.to_bytes()));
        }
    }

    fn key_of(&self, file: BorrowedFd<'_>) -> Option<Key> {
        let path = rustix::fs::readlink(link_to(file), Vec::new()).ok()?;
        let path = path.to_bytes().strip_prefix(b"/")?;
        Some(
            self.key_at(path)
                .unwrap_or_else(|| Key::Below(path.to_vec())),
        )
    }

    /// The key of a file that this step can change, by its path without a slash in front.
    fn key_at(&self, path: &[u8]) -> Option<Key> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let mask = StatxFlags::INO | StatxFlags::BTIME;
        let found = rustix::fs::statx(&self.files, OsStr::from_bytes(path), flags, mask).ok()?;
        Some(Key::File(SpecialFile {
            inode: found.stx_ino,
            born: (found.stx_btime.tv_sec, found.stx_btime.tv_nsec),
        }))
    }
}

/// The path of an open file in `/proc`, where this process stands.
pub(super) fn link_to(file: impl AsFd) -> String {
    format!("self/fd/{}", file.as_fd().as_raw_fd())
}

fn attribute(file: BorrowedFd<'_>) -> Option<OwnerRecord> {
    let mut value = [0; 128];
    let length = rustix::fs::getxattr(link_to(file), OWNER_ATTRIBUTE, &mut value[..]).ok()?;
    OwnerRecord::parse(&value[..length])
}

fn set_attribute(file: BorrowedFd<'_>, record: &OwnerRecord) -> Result<(), Errno> {
    let value = record.to_string();
    let flags = XattrFlags::empty();
    rustix::fs::setxattr(link_to(file), OWNER_ATTRIBUTE, value.as_bytes(), flags)
}
