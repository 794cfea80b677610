//! Making files: what belongs to somebody else than root is made here, and so are devices.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::Keeper;
use super::caller::{Caller, Target, read_file};
use super::records::Owner;
use crate::owner_record::Device;
use crate::seccomp::Question;
use crate::status::ignore;
use crate::sys::notify::Answer;

/// The bit that makes `O_TMPFILE` of `O_DIRECTORY`.
const NAMELESS: u32 = 0o20_000_000;
/// Length of the first version of `struct open_how`.
const OPEN_HOW: usize = 24;
/// Number of the capability to make devices.
const CAP_MKNOD: u64 = 27;

/// What a call makes.
struct Wish {
    directory: Option<i32>,
    /// Address of the path.
    path: u64,
    mode: u32,
    what: What,
}

enum What {
    File {
        flags: u32,
    },
    Directory,
    /// With the address of what it leads to.
    Link {
        target: u64,
    },
    Node {
        kind: FileType,
        device: Device,
    },
}

/// Where something is made, and for whom.
#[derive(Clone, Copy)]
struct Spot<'a> {
    parent: &'a OwnedFd,
    name: &'a [u8],
    mode: Mode,
    owner: Owner,
}

/// What the kernel knows of a caller.
struct Status {
    umask: u32,
    user: u32,
    group: u32,
    makes_devices: bool,
}

impl Keeper {
    /// Makes what a call wants to be made, unless the kernel would do the same.
    pub(super) fn make(
        &mut self,
        caller: &Caller<'_>,
        question: &Question,
    ) -> Result<Answer, Errno> {
        let identity = self.identities.of(caller.pid);
        let (user, group) = (identity.user(), identity.group());
        let is_privileged = identity.may_all();
        let is_roots = (user, group) == (0, 0) && self.records.no_group_is_given();
        let by_open = question.name.starts_with("open") || question.name == "creat";
        if is_roots && (by_open || !question.name.starts_with("mknod")) {
            return Ok(Answer::Kernel);
        }
        let Some(wish) = wish(caller, question)? else {
            return Ok(Answer::Kernel);
        };
        let is_device = wish.is_device();
        if is_roots && !is_device {
            return Ok(Answer::Kernel);
        }
        let path = caller.string(wish.path)?;
        let Some((parent, name)) = split(&path, &wish.what) else {
            return Ok(Answer::Kernel);
        };
        let parent = match self.find(caller, wish.directory, parent, OFlags::DIRECTORY) {
            Ok(Target::File(parent)) => parent,
            Err(errno) if is_device => return Err(errno),
            _ => return Ok(Answer::Kernel),
        };
        let owner = Owner {
            uid: user,
            gid: self.records.given_group(&parent).unwrap_or(group),
        };
        if !is_device && owner == (Owner { uid: 0, gid: 0 }) {
            return Ok(Answer::Kernel);
        }
        let status = self.status(caller)?;
        let may_all = is_privileged || self.is_only_devices;
        if is_device && !(status.makes_devices && may_all) {
            return Err(Errno::PERM);
        }
        if !caller.is_waiting() {
            return Ok(Answer::Kernel);
        }
        rustix::process::umask(Mode::from_raw_mode(status.umask));
        let spot = Spot {
            parent: &parent,
            name,
            mode: Mode::from_raw_mode(wish.mode & 0o7777),
            owner,
        };
        match wish.what {
            What::File { flags } => Ok(self.make_file(spot, flags)),
            What::Node { kind, device } if is_device => {
                if kind == FileType::CharacterDevice && (device.major, device.minor) == (0, 0) {
                    return Err(Errno::PERM); // which is how overlays mark what is not there
                }
                self.make_device(spot, device, &status)
            }
            what => self.make_other(caller, spot, &what),
        }
    }

    fn make_file(&mut self, spot: Spot<'_>, flags: u32) -> Answer {
        let wanted = OFlags::from_bits_retain(flags);
        if wanted.contains(OFlags::PATH) {
            return Answer::Kernel;
        }
        let own = if flags & NAMELESS != 0 {
            OFlags::CLOEXEC
        } else {
            OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC
        };
        match rustix::fs::openat(spot.parent, spot.name, wanted | own, spot.mode) {
            Ok(fd) => {
                ignore(self.records.add(&fd, spot.owner, None));
                Answer::File {
                    fd,
                    closes_on_exec: wanted.contains(OFlags::CLOEXEC),
                }
            }
            // What is there is opened, or is an error, whoever asks.
            Err(_) => Answer::Kernel,
        }
    }

    fn make_other(
        &mut self,
        caller: &Caller<'_>,
        spot: Spot<'_>,
        what: &What,
    ) -> Result<Answer, Errno> {
        let (parent, name) = (spot.parent, spot.name);
        match what {
            What::Directory => rustix::fs::mkdirat(parent, name, spot.mode)?,
            What::Link { target } => {
                let target = caller.string(*target)?;
                rustix::fs::symlinkat(target, parent, name)?;
            }
            What::Node { kind, .. } => rustix::fs::mknodat(parent, name, *kind, spot.mode, 0)?,
            What::File { .. } => return Ok(Answer::Kernel),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        ignore(self.records.add(&made, spot.owner, None));
        Ok(Answer::Value(0))
    }

    /// Makes an empty file that stands for a device.
    fn make_device(
        &mut self,
        spot: Spot<'_>,
        device: Device,
        status: &Status,
    ) -> Result<Answer, Errno> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(spot.parent, spot.name, flags, spot.mode)?;
        let recorded = if self.is_only_devices {
            let (user, group) = (Uid::from_raw(status.user), Gid::from_raw(status.group));
            if (status.user, status.group) != (0, 0) {
                rustix::fs::fchown(&made, Some(user), Some(group))?;
            }
            self.records.add_device(&made, device)
        } else {
            self.records.add(&made, spot.owner, Some(device))
        };
        if recorded.is_err() {
            // Rather none than one that is not what it seems.
            ignore(rustix::fs::unlinkat(
                spot.parent,
                spot.name,
                AtFlags::empty(),
            ));
            return Err(Errno::PERM);
        }
        Ok(Answer::Value(0))
    }

    fn status(&self, caller: &Caller<'_>) -> Result<Status, Errno> {
        let text = read_file(&self.proc, &format!("{}/status", self.number_of(caller)?))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim()
        };
        let of_files = |name: &str| {
            let id = field(name).split_whitespace().nth(3);
            id.and_then(|id| id.parse().ok()).unwrap_or(0)
        };
        let capabilities = u64::from_str_radix(field("CapEff:"), 16).unwrap_or(0);
        Ok(Status {
            umask: u32::from_str_radix(field("Umask:"), 8).unwrap_or(0o022),
            user: of_files("Uid:"),
            group: of_files("Gid:"),
            makes_devices: capabilities & (1 << CAP_MKNOD) != 0,
        })
    }
}

impl Wish {
    fn is_device(&self) -> bool {
        let What::Node { kind, .. } = self.what else {
            return false;
        };
        matches!(kind, FileType::CharacterDevice | FileType::BlockDevice)
    }
}

/// Reads a call that makes something; `None` if it does not.
fn wish(caller: &Caller<'_>, question: &Question) -> Result<Option<Wish>, Errno> {
    let at = (question.directory(0), question.arguments[1]);
    let here = (None, question.arguments[0]);
    let file =
        |place: (Option<i32>, u64), flags: u32, mode: u32| (place, mode, What::File { flags });
    let node = |place, mode: u32, device: u32| {
        let kind = match FileType::from_raw_mode(mode) {
            // No kind is a regular file.
            FileType::Unknown => FileType::RegularFile,
            kind => kind,
        };
        let device = Device {
            is_block: kind == FileType::BlockDevice,
            major: (device >> 8) & 0xfff,
            minor: (device & 0xff) | ((device >> 12) & 0xf_ff00),
        };
        (place, mode, What::Node { kind, device })
    };
    let word = |place: usize| question.word(place);
    let created = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC).cast_unsigned();
    let ((directory, path), mode, what) = match question.name {
        "open" => file(here, word(1), word(2)),
        "openat" => file(at, word(2), word(3)),
        "creat" => file(here, created, word(1)),
        "openat2" => match open_how(caller, question)? {
            Some((flags, mode)) => file(at, flags, mode),
            None => return Ok(None),
        },
        "mkdir" => (here, word(1), What::Directory),
        "mkdirat" => (at, word(2), What::Directory),
        "symlink" => {
            let target = question.arguments[0];
            ((None, question.arguments[1]), 0, What::Link { target })
        }
        "symlinkat" => {
            let target = question.arguments[0];
            let place = (question.directory(1), question.arguments[2]);
            (place, 0, What::Link { target })
        }
        "mknod" => node(here, word(1), word(2)),
        "mknodat" => node(at, word(2), word(3)),
        _ => return Ok(None),
    };
    Ok(Some(Wish {
        directory,
        path,
        mode,
        what,
    }))
}

/// Flags and mode of a call that makes a file and has no further wishes.
fn open_how(caller: &Caller<'_>, question: &Question) -> Result<Option<(u32, u32)>, Errno> {
    if question.arguments[3] < OPEN_HOW as u64 {
        return Ok(None);
    }
    let mut how = [0; OPEN_HOW];
    caller.read(question.arguments[2], &mut how)?;
    let field = |place: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&how[place..place + 8]);
        u64::from_ne_bytes(bytes)
    };
    let (flags, mode) = (u32::try_from(field(0)), u32::try_from(field(8)));
    let (Ok(flags), Ok(mode), 0) = (flags, mode, field(16)) else {
        return Ok(None);
    };
    let makes = flags & (libc::O_CREAT.cast_unsigned() | NAMELESS) != 0;
    Ok(makes.then_some((flags, mode)))
}

/// Splits a path into the directory and the name of what is made; `None` for what cannot be made.
fn split<'a>(path: &'a [u8], what: &What) -> Option<(&'a [u8], &'a [u8])> {
    if matches!(what, What::File { flags } if flags & NAMELESS != 0) {
        return Some((path, b"."));
    }
    let end = match what {
        What::Directory => path.iter().rposition(|byte| *byte != b'/')? + 1,
        _ => path.len(),
    };
    let path = &path[..end];
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        None => (b".".as_slice(), path),
        Some(slash) => (&path[..=slash], &path[slash + 1..]),
    };
    (!matches!(name, b"" | b"." | b"..")).then_some((parent, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split() {
        let directory = What::Directory;
        let file = What::File { flags: 0o101 };
        let check = |path: &str, what: &What, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(parent, name)| (parent.as_bytes(), name.as_bytes()));
            assert_eq!(split(path.as_bytes(), what), expected, "{path}");
        };
        check("a", &file, Some((".", "a")));
        check("/a", &file, Some(("/", "a")));
        check("b/c/a", &file, Some(("b/c/", "a")));
        check("a/", &file, None);
        check("a/", &directory, Some((".", "a")));
        check("/b/a//", &directory, Some(("/b/", "a")));
        check("..", &directory, None);
        check("/", &directory, None);
        check("", &file, None);
        check("d/e", &What::File { flags: NAMELESS }, Some(("d/e", ".")));
    }
}
