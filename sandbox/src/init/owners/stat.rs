//! What calls that look at a file write into memory.

use std::os::fd::BorrowedFd;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::owner_record::OwnerRecord;
use crate::seccomp::Question;
use crate::sys::notify::{STATX_SIZE, statx_bytes};

/// `STATX_BASIC_STATS`
const BASIC: u32 = 0x7ff;
/// `AT_STATX_SYNC_TYPE`
const SYNC_TYPE: u32 = 0x6000;

/// Places in `struct statx`.
mod at {
    pub(super) const BLOCK_SIZE: usize = 4;
    pub(super) const LINKS: usize = 16;
    pub(super) const UID: usize = 20;
    pub(super) const GID: usize = 24;
    pub(super) const MODE: usize = 28;
    pub(super) const INODE: usize = 32;
    pub(super) const SIZE: usize = 40;
    pub(super) const BLOCKS: usize = 48;
    pub(super) const ACCESSED: usize = 64;
    pub(super) const CHANGED: usize = 96;
    pub(super) const MODIFIED: usize = 112;
    pub(super) const NODE: usize = 128;
    pub(super) const DEVICE: usize = 136;
}

/// What `statx(2)` says of a file.
pub(super) struct Shown([u8; STATX_SIZE]);

impl Shown {
    /// What a call asks for.
    pub(super) fn of(file: BorrowedFd<'_>, question: &Question) -> Result<Self, Errno> {
        if question.name == "statx" {
            let flags = (question.word(2) & SYNC_TYPE).cast_signed();
            statx_bytes(file, flags, question.word(3) | BASIC).map(Self)
        } else {
            Self::of_file(file)
        }
    }

    /// What every call shows.
    pub(super) fn of_file(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        statx_bytes(file, 0, BASIC).map(Self)
    }

    pub(super) fn mode(&self) -> u32 {
        u32::from(u16::from_ne_bytes([self.0[at::MODE], self.0[at::MODE + 1]]))
    }

    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode())
    }

    /// Whether executing it may change who a process is.
    pub(super) fn sets_ids(&self) -> bool {
        self.kind() == FileType::RegularFile && self.mode() & 0o6000 != 0
    }

    pub(super) fn owner(&self) -> (u32, u32) {
        (self.word(at::UID), self.word(at::GID))
    }

    /// Puts in what a record says.
    pub(super) fn pretend(&mut self, record: &OwnerRecord) {
        let mut put = |place: usize, value: u32| {
            self.0[place..place + 4].copy_from_slice(&value.to_ne_bytes());
        };
        if let Some(uid) = record.uid {
            put(at::UID, uid);
        }
        if let Some(gid) = record.gid {
            put(at::GID, gid);
        }
        if let Some(device) = record.device {
            put(at::NODE, device.major);
            put(at::NODE + 4, device.minor);
            let kind = if device.is_block {
                libc::S_IFBLK
            } else {
                libc::S_IFCHR
            };
            let mode = (self.mode() & 0o7777 | kind).to_ne_bytes();
            self.0[at::MODE..at::MODE + 2].copy_from_slice(&mode[..2]);
        }
    }

    /// Where a call wants it.
    #[expect(clippy::unused_self, reason = "reads as what it is")]
    pub(super) fn address(&self, question: &Question) -> u64 {
        let place = match question.name {
            "statx" => 4,
            "newfstatat" | "fstatat64" => 2,
            _ => 1,
        };
        question.arguments[place]
    }

    /// As the call wants it.
    pub(super) fn bytes(&self, question: &Question) -> Vec<u8> {
        match question.name {
            "statx" => self.0.to_vec(),
            name if name.ends_with("64") => self.of_i386(),
            _ => self.of_this_machine(),
        }
    }

    fn word(&self, place: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[place..place + 4]);
        u32::from_ne_bytes(bytes)
    }

    fn long(&self, place: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[place..place + 8]);
        u64::from_ne_bytes(bytes)
    }

    fn device(&self, place: usize) -> u64 {
        rustix::fs::makedev(self.word(place), self.word(place + 4))
    }

    /// `struct stat` of x86-64.
    #[cfg(target_arch = "x86_64")]
    fn of_this_machine(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(144);
        put_long(&mut out, self.device(at::DEVICE));
        put_long(&mut out, self.long(at::INODE));
        put_long(&mut out, u64::from(self.word(at::LINKS)));
        for word in [self.mode(), self.word(at::UID), self.word(at::GID), 0] {
            put_word(&mut out, word);
        }
        put_long(&mut out, self.device(at::NODE));
        put_long(&mut out, self.long(at::SIZE));
        put_long(&mut out, u64::from(self.word(at::BLOCK_SIZE)));
        put_long(&mut out, self.long(at::BLOCKS));
        self.put_long_times(&mut out);
        out.resize(144, 0);
        out
    }

    /// `struct stat` of aarch64.
    #[cfg(target_arch = "aarch64")]
    fn of_this_machine(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        put_long(&mut out, self.device(at::DEVICE));
        put_long(&mut out, self.long(at::INODE));
        for word in [
            self.mode(),
            self.word(at::LINKS),
            self.word(at::UID),
            self.word(at::GID),
        ] {
            put_word(&mut out, word);
        }
        put_long(&mut out, self.device(at::NODE));
        put_long(&mut out, 0);
        put_long(&mut out, self.long(at::SIZE));
        put_long(&mut out, u64::from(self.word(at::BLOCK_SIZE)));
        put_long(&mut out, self.long(at::BLOCKS));
        self.put_long_times(&mut out);
        out.resize(128, 0);
        out
    }

    fn put_long_times(&self, out: &mut Vec<u8>) {
        for time in [at::ACCESSED, at::MODIFIED, at::CHANGED] {
            put_long(out, self.long(time));
            put_long(out, u64::from(self.word(time + 8)));
        }
    }

    /// `struct stat64` of i386.
    fn of_i386(&self) -> Vec<u8> {
        let low = |value: u64| (value & 0xffff_ffff) as u32;
        let mut out = Vec::with_capacity(96);
        put_long(&mut out, self.device(at::DEVICE));
        put_word(&mut out, 0);
        put_word(&mut out, low(self.long(at::INODE)));
        for word in [
            self.mode(),
            self.word(at::LINKS),
            self.word(at::UID),
            self.word(at::GID),
        ] {
            put_word(&mut out, word);
        }
        put_long(&mut out, self.device(at::NODE));
        put_word(&mut out, 0);
        put_long(&mut out, self.long(at::SIZE));
        put_word(&mut out, self.word(at::BLOCK_SIZE));
        put_long(&mut out, self.long(at::BLOCKS));
        for time in [at::ACCESSED, at::MODIFIED, at::CHANGED] {
            put_word(&mut out, low(self.long(time)));
            put_word(&mut out, self.word(time + 8));
        }
        put_long(&mut out, self.long(at::INODE));
        out
    }
}

fn put_word(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_ne_bytes());
}

fn put_long(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::owner_record::Device;

    #[test]
    fn what_is_shown_is_what_the_kernel_shows() {
        let file = fs_err::File::open("/proc/self/exe").unwrap();
        let shown = Shown::of_file(file.as_fd()).unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        assert_eq!(shown.mode(), stat.st_mode);
        assert_eq!(shown.owner(), (stat.st_uid, stat.st_gid));
        let bytes = shown.of_this_machine();
        assert_eq!(bytes.len(), size_of::<libc::stat>());
        let long = |place: usize| shown_long(&bytes, place);
        assert_eq!(long(std::mem::offset_of!(libc::stat, st_dev)), stat.st_dev);
        assert_eq!(long(std::mem::offset_of!(libc::stat, st_ino)), stat.st_ino);
        let size = u64::try_from(stat.st_size).unwrap();
        assert_eq!(long(std::mem::offset_of!(libc::stat, st_size)), size);
        let nanoseconds = long(std::mem::offset_of!(libc::stat, st_ctime_nsec));
        assert_eq!(nanoseconds, stat.st_ctime_nsec);
        assert_eq!(shown.of_i386().len(), 96);
    }

    #[test]
    fn records_are_put_in() {
        let file = fs_err::File::open("/proc/self/exe").unwrap();
        let mut shown = Shown::of_file(file.as_fd()).unwrap();
        let permissions = shown.mode() & 0o7777;
        let mut record = OwnerRecord::of(7, 8);
        record.device = Some(Device {
            is_block: true,
            major: 510,
            minor: 70_000,
        });
        shown.pretend(&record);
        assert_eq!(shown.owner(), (7, 8));
        assert_eq!(shown.mode(), permissions | libc::S_IFBLK);
        assert_eq!(shown.device(at::NODE), rustix::fs::makedev(510, 70_000));
    }

    fn shown_long(bytes: &[u8], place: usize) -> u64 {
        let mut long = [0; 8];
        long.copy_from_slice(&bytes[place..place + 8]);
        u64::from_ne_bytes(long)
    }
}
