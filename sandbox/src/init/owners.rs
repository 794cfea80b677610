//! Owners where a user namespace has one id: `chown` and its like come here instead of the kernel, and what they ask
//! for is recorded with the file.
//!
//! A process beside the step's program answers the calls (`seccomp_unotify(2)`). It looks a path up as the caller
//! would, has the kernel change the owner to the one there is, for all that goes with that (copying up, set-user-id
//! bits, times), and keeps the owner that was asked for in an extended attribute. Only regular files and directories
//! have such attributes; for others the call succeeds and is forgotten.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::root::NewRoot;
use crate::files::stat;
use crate::owner_record::{OWNER_ATTRIBUTE, OwnerRecord};
use crate::seccomp::{OwnerCall, owner_call};
use crate::status::ignore;
use crate::sys::{self, Call};
use crate::zygote::receive;

/// Longest path, in bytes.
const PATH_MAX: usize = 4096;
/// Smallest page of any machine, in bytes.
const PAGE: usize = 4096;

/// `PIDFD_THREAD`: a pidfd of a thread that does not lead its group.
const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.cast_unsigned());

/// Answers calls until pid 1 ends. To be called in a process of its own; `socket` brings the descriptor on which the
/// program's calls arrive.
pub(super) fn answer_all(new: &NewRoot, socket: BorrowedFd<'_>) {
    ignore(rustix::thread::set_name(c"rbuild-owners"));
    let Ok((_, fds)) = receive::<1>(socket) else {
        return;
    };
    // None: the program was never started.
    let Some(listener) = fds.into_iter().next() else {
        return;
    };
    let Ok(keeper) = Keeper::new(new) else {
        return;
    };
    loop {
        match sys::next_call(listener.as_fd()) {
            Ok(call) => {
                let errno = keeper.handle(listener.as_fd(), &call).err();
                // The caller may have been killed in the meantime.
                ignore(sys::answer(listener.as_fd(), &call, errno));
                if keeper.is_at_home().is_err() {
                    return;
                }
            }
            // A caller that was killed before its call was read, or a signal.
            Err(error)
                if [Some(libc::ENOENT), Some(libc::EINTR)].contains(&error.raw_os_error()) => {}
            Err(_) => return,
        }
    }
}

struct Keeper<'a> {
    /// The step's `/proc`, which is the working directory between calls.
    proc: &'a OwnedFd,
    is_proc_shared: bool,
    /// The step's root, opened.
    root: OwnedFd,
}

/// A call's caller, as `/proc` numbers it.
struct Caller<'a> {
    proc: &'a OwnedFd,
    number: String,
}

impl<'a> Keeper<'a> {
    fn new(new: &'a NewRoot) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty())?;
        let keeper = Self {
            proc: &new.proc.fd,
            is_proc_shared: new.proc.is_shared,
            root,
        };
        keeper.is_at_home()?;
        Ok(keeper)
    }

    /// Goes back to the step's root and `/proc`.
    fn is_at_home(&self) -> rustix::io::Result<()> {
        rustix::process::fchdir(&self.root)?;
        rustix::process::chroot(".")?;
        rustix::process::fchdir(self.proc)
    }

    /// Does what the call asks for. Whatever is nobody's fault counts as done.
    fn handle(&self, listener: BorrowedFd<'_>, call: &Call) -> Result<(), Errno> {
        let Some(wish) = owner_call(call.arch, call.number, &call.arguments) else {
            return Ok(());
        };
        let Some(caller) = self.caller(call.pid) else {
            return Ok(());
        };
        let target = self.open(&caller, &wish)?;
        // Only now is it certain that all of this was about the caller, and not about a later process of its number.
        let Some(target) = target.filter(|_| sys::is_waiting(listener, call)) else {
            return Ok(());
        };
        self.is_at_home()?;
        let (uid, gid) = (Some(Uid::ROOT), Some(Gid::ROOT));
        match rustix::fs::chownat(&target, c"", uid, gid, AtFlags::EMPTY_PATH) {
            Ok(()) => {
                // Where there is no room for the record, the file keeps the owner it had.
                ignore(record(&target, &wish));
                Ok(())
            }
            Err(Errno::ROFS) => Err(Errno::ROFS),
            // Devices and files of the machine, which belong to somebody who does not exist here.
            Err(_) => Ok(()),
        }
    }

    fn caller(&self, pid: u32) -> Option<Caller<'_>> {
        let number = if self.is_proc_shared {
            // The number there is another one, and a descriptor of the process tells it.
            let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
            let process = rustix::process::pidfd_open(pid, THREAD).ok()?;
            let info = format!("self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&process));
            let info = read_file(self.proc, &info).ok()?;
            let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
            line.trim().to_owned()
        } else {
            pid.to_string()
        };
        Some(Caller {
            proc: self.proc,
            number,
        })
    }

    /// Opens what the call is about; `None` if that cannot be found out.
    fn open(&self, caller: &Caller<'_>, wish: &OwnerCall) -> Result<Option<OwnedFd>, Errno> {
        let start = match wish.directory {
            Some(number) => caller.open(&format!("fd/{number}")),
            None => caller.open("cwd"),
        };
        let Some(address) = wish.path else {
            return start.map(Some).map_err(|_missing| Errno::BADF);
        };
        let Ok(memory) = caller.memory() else {
            return Ok(None);
        };
        let path = path_at(&memory, address)?;
        if path.is_empty() {
            return match wish.is_empty_allowed {
                true => start.map(Some).map_err(|_missing| Errno::BADF),
                false => Err(Errno::NOENT),
            };
        }
        // As the caller would look it up: from its root, its directory, and not through descriptors of this process.
        let Ok(root) = caller.open("root") else {
            return Ok(None);
        };
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(".")?;
        if !path.starts_with(b"/") {
            rustix::process::fchdir(start.map_err(|_missing| Errno::BADF)?)?;
        }
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        if !wish.follows {
            flags |= OFlags::NOFOLLOW;
        }
        let cwd = rustix::fs::CWD;
        let path = Path::new(OsStr::from_bytes(&path));
        match rustix::fs::openat2(cwd, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            Ok(found) => Ok(Some(found)),
            // Mostly /dev/stdout, which leads to a pipe.
            Err(Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl Caller<'_> {
    fn open(&self, what: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let path = format!("{}/{what}", self.number);
        rustix::fs::openat(self.proc, path, flags, Mode::empty())
    }

    fn memory(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let path = format!("{}/mem", self.number);
        rustix::fs::openat(self.proc, path, flags, Mode::empty())
    }
}

/// Reads a path in somebody's memory, with the kernel's errors for one that is not there or has no end.
fn path_at(memory: &OwnedFd, address: u64) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    while text.len() < PATH_MAX {
        let from = address.checked_add(text.len() as u64).ok_or(Errno::FAULT)?;
        // Not past the end of a page: the next one may not be there.
        let mut part = [0; PAGE];
        let offset = usize::try_from(from % PAGE as u64).unwrap_or(0);
        let length = rustix::io::pread(memory, &mut part[offset..], from);
        let length = length.map_err(|_unreadable| Errno::FAULT)?;
        let part = &part[offset..offset + length];
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&part[..end]);
            return Ok(text);
        }
        if part.is_empty() {
            return Err(Errno::FAULT);
        }
        text.extend_from_slice(part);
    }
    Err(Errno::NAMETOOLONG)
}

/// Writes the record of a file's owner. The working directory is `/proc`.
fn record(target: &OwnedFd, wish: &OwnerCall) -> rustix::io::Result<()> {
    let kind = FileType::from_raw_mode(stat(target.as_fd())?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return Ok(());
    }
    let file = format!("self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(target));
    let mut value = [0; 64];
    let before = rustix::fs::getxattr(&file, OWNER_ATTRIBUTE, &mut value[..])
        .ok()
        .and_then(|length| OwnerRecord::parse(&value[..length]));
    let Some(after) = OwnerRecord::changed(before, wish.uid, wish.gid) else {
        return Ok(());
    };
    let value = after.to_string();
    rustix::fs::setxattr(
        &file,
        OWNER_ATTRIBUTE,
        value.as_bytes(),
        XattrFlags::empty(),
    )
}

fn read_file(proc: &OwnedFd, path: &str) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(proc, path, flags, Mode::empty())?;
    io::read_to_string(std::fs::File::from(file))
}
