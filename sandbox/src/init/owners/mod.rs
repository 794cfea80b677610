//! Owners, users and devices where the kernel has none: calls about them come here instead.
//!
//! A process beside the step's program answers the calls (`seccomp_unotify(2)`). It looks a path up as the caller
//! would and has the rights that the step has. What a file should belong to is kept in an extended attribute, or in a
//! table for files that cannot have one ([`records`]); calls that look at files show it. Who a process should be is
//! kept with the process ([`identities`]); what it makes belongs to that user ([`creation`]).
//!
//! None of this protects anything: whatever a program may do, it may do as the one user that there is.

mod caller;
mod creation;
mod identities;
mod records;
mod stat;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use super::root::NewRoot;
use crate::seccomp::{OwnerCall, Place, Question, question};
use crate::spec::Spec;
use crate::status::ignore;
use crate::sys::notify::{self, Answer, Call};
use caller::{Caller, Target};
use identities::{Identities, Identity};
use records::Records;
use stat::Shown;

/// A `struct rlimit64` without limits.
const NO_LIMIT: [u8; 16] = [0xff; 16];

/// `PROC_SUPER_MAGIC`
const PROC: libc::c_long = 0x9fa0;

/// Answers calls until pid 1 ends. To be called in a process of its own; the program's calls arrive on `listener`.
pub(super) fn answer_all(spec: &Spec, new: &NewRoot, listener: BorrowedFd<'_>) {
    ignore(rustix::thread::set_name(c"rbuild-owners"));
    let Ok(mut keeper) = Keeper::new(spec, new) else {
        return;
    };
    loop {
        match notify::next_call(listener) {
            Ok(call) => {
                let answer = keeper.handle(listener, &call).unwrap_or_else(Answer::Error);
                // The caller may have been killed in the meantime.
                ignore(notify::answer(listener, &call, &answer));
            }
            // A caller that was killed before its call was read, or a signal.
            Err(error)
                if [Some(libc::ENOENT), Some(libc::EINTR)].contains(&error.raw_os_error()) => {}
            Err(_) => return,
        }
    }
}

struct Keeper {
    /// The step's `/proc`, which is the working directory.
    proc: OwnedFd,
    is_proc_shared: bool,
    /// The step's root, opened.
    root: OwnedFd,
    /// Whether some process may have another root.
    has_chroots: bool,
    /// Whether only devices are made here, and the kernel has all users.
    is_only_devices: bool,
    records: Records,
    identities: Identities,
}

impl Keeper {
    fn new(spec: &Spec, new: &NewRoot) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty())?;
        let files = new.upper.as_ref().unwrap_or(&new.root).try_clone()?;
        let journal = new.journal.as_ref().map(OwnedFd::try_clone).transpose()?;
        let keeper = Self {
            records: Records::new(files, journal),
            identities: Identities::new(Identity::new(spec.uid, spec.gid, &spec.groups)),
            is_only_devices: !spec.fake_ownership,
            proc: new.kernel.proc.fd.try_clone()?,
            is_proc_shared: new.kernel.proc.is_shared,
            root,
            has_chroots: false,
        };
        rustix::process::fchdir(&keeper.proc)?;
        Ok(keeper)
    }

    fn handle(&mut self, listener: BorrowedFd<'_>, call: &Call) -> Result<Answer, Errno> {
        let Some(question) = question(call.arch, call.number, &call.arguments) else {
            return Ok(Answer::Kernel);
        };
        let caller = Caller::new(listener, call);
        match question.name {
            "chroot" => {
                self.has_chroots = true;
                Ok(Answer::Kernel)
            }
            // Which would change who the process is; PAM resets all limits.
            "setrlimit" => Ok(Answer::Value(0)),
            "prlimit64" => {
                if question.arguments[3] != 0 && caller.is_waiting() {
                    caller.write(question.arguments[3], &NO_LIMIT)?;
                }
                Ok(Answer::Value(0))
            }
            "prctl" => {
                let mut after = self.identities.of(caller.pid).clone();
                after.keep_rights(&question);
                if caller.is_waiting() {
                    self.identities.set(caller.pid, after);
                }
                Ok(Answer::Kernel)
            }
            "execve" | "execveat" => Ok(self.execute(&caller, &question)),
            "open" | "openat" | "openat2" | "creat" | "mkdir" | "mkdirat" | "symlink"
            | "symlinkat" | "mknod" | "mknodat" => self.make(&caller, &question),
            "rename" | "renameat" | "renameat2" | "link" | "linkat" => {
                self.follow(&caller, &question);
                Ok(Answer::Kernel)
            }
            name if name.contains("stat") => self.stat(&caller, &question),
            _ => match question.owner_call() {
                Some(wish) => self.change_owner(&caller, &wish),
                None => self.identities.answer(&caller, &question),
            },
        }
    }

    /// Does what a call asks for that gives a file away. Whatever is nobody's fault counts as done.
    fn change_owner(&mut self, caller: &Caller<'_>, wish: &OwnerCall) -> Result<Answer, Errno> {
        let done = Ok(Answer::Value(0));
        let Target::File(target) = self.target(caller, &wish.place)? else {
            return done;
        };
        // Only now is it certain that all of this was about the caller, and not about a later process of its number.
        if !caller.is_waiting() {
            return done;
        }
        let identity = self.identities.of(caller.pid);
        if identity.user() != 0 {
            let owner = self.records.owner(target.as_fd())?;
            if !identity.may_give(&owner, wish.uid, wish.gid) {
                return Err(Errno::PERM);
            }
        }
        // The kernel does all that goes with it: copying up, set-user-id bits, times.
        let (uid, gid) = (Some(Uid::ROOT), Some(Gid::ROOT));
        match rustix::fs::chownat(&target, c"", uid, gid, AtFlags::EMPTY_PATH) {
            Ok(()) => {
                // Where there is no room for the record, the file keeps the owner it had.
                ignore(self.records.change(target.as_fd(), wish.uid, wish.gid));
                done
            }
            Err(Errno::ROFS) => Err(Errno::ROFS),
            // Devices and files of the machine, which belong to somebody who does not exist here.
            Err(_) => done,
        }
    }

    /// Keeps what is known of a file of the layers below by its path, when it gets another one.
    fn follow(&mut self, caller: &Caller<'_>, question: &Question) {
        if self.records.knows_by_path()
            && let Ok(Target::File(target)) = self.target(caller, &question.place())
            && caller.is_waiting()
        {
            ignore(self.records.copy_up(target.as_fd()));
        }
    }

    /// Shows a file as it should be; the kernel shows those that are as they should be.
    fn stat(&mut self, caller: &Caller<'_>, question: &Question) -> Result<Answer, Errno> {
        if self.records.is_empty() {
            return Ok(Answer::Kernel);
        }
        let target = match self.target(caller, &question.place()) {
            Ok(Target::File(target)) => target,
            Err(error @ (Errno::NOENT | Errno::NOTDIR)) => return Err(error),
            Ok(Target::Elsewhere) | Err(_) => return Ok(Answer::Kernel),
        };
        let Ok(mut shown) = Shown::of(target.as_fd(), question) else {
            return Ok(Answer::Kernel);
        };
        let record = self.records.look_up(target.as_fd(), &shown)?;
        let Some(record) = record.filter(|_| caller.is_waiting()) else {
            return Ok(Answer::Kernel);
        };
        shown.pretend(&record);
        caller.write(shown.address(question), &shown.bytes(question))?;
        Ok(Answer::Value(0))
    }

    /// Lets a file be executed; one with a set-user-id bit changes who the process is.
    fn execute(&mut self, caller: &Caller<'_>, question: &Question) -> Answer {
        let before = self.identities.of(caller.pid);
        if before.is_root() && self.records.is_empty() {
            return Answer::Kernel;
        }
        let (before, mut after) = (before.clone(), before.clone());
        after.executes();
        if let Ok(Target::File(target)) = self.target(caller, &question.place())
            && let Ok(shown) = Shown::of_file(target.as_fd())
            && shown.sets_ids()
            && !self.is_script(&target)
            && let Ok(owner) = self.records.owner(target.as_fd())
        {
            after.becomes(shown.mode(), owner);
        }
        if after != before && caller.is_waiting() {
            self.identities.set(caller.pid, after);
        }
        Answer::Kernel
    }

    /// The kernel ignores the bits of scripts.
    fn is_script(&self, target: &OwnedFd) -> bool {
        let mut start = [0; 2];
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.proc, records::link_to(target), flags, Mode::empty());
        file.and_then(|file| rustix::io::read(file, &mut start))
            .is_ok()
            && start == *b"#!"
    }

    /// Opens what a call is about.
    fn target(&self, caller: &Caller<'_>, place: &Place) -> Result<Target, Errno> {
        let path = match place.path {
            None => None,
            // Since Linux 6.11 no path is as good as an empty one.
            Some(0) if place.is_empty_allowed => None,
            Some(address) => Some(caller.string(address)?),
        };
        match path {
            Some(path) if !path.is_empty() => {
                let flags = if place.follows {
                    OFlags::empty()
                } else {
                    OFlags::NOFOLLOW
                };
                self.find(caller, place.directory, &path, flags)
            }
            Some(_) if !place.is_empty_allowed => Err(Errno::NOENT),
            _ => self.start(caller, place.directory).map(Target::File),
        }
    }

    /// Opens a descriptor of the caller's, or its working directory.
    fn start(&self, caller: &Caller<'_>, descriptor: Option<i32>) -> Result<OwnedFd, Errno> {
        let opened = match descriptor {
            Some(number) => self.open_of(caller, &format!("fd/{number}")),
            None => self.open_of(caller, "cwd"),
        };
        opened.map_err(|_missing| Errno::BADF)
    }

    /// Opens a path as the caller would look it up: from its root and directory, and not through descriptors, which
    /// would be this process's.
    fn find(
        &self,
        caller: &Caller<'_>,
        directory: Option<i32>,
        path: &[u8],
        flags: OFlags,
    ) -> Result<Target, Errno> {
        let start = if path.starts_with(b"/") {
            None
        } else {
            Some(self.start(caller, directory)?)
        };
        let start = start.as_ref().unwrap_or(&self.root);
        if !self.has_chroots {
            return open_as_written(start, path, flags);
        }
        let root = self.open_of(caller, "root")?;
        rustix::process::fchdir(&root)?;
        rustix::process::chroot(".")?;
        let found = open_as_written(start, path, flags);
        self.go_home()?;
        found
    }

    /// Goes back to the step's root and `/proc`.
    fn go_home(&self) -> rustix::io::Result<()> {
        rustix::process::fchdir(&self.root)?;
        rustix::process::chroot(".")?;
        rustix::process::fchdir(&self.proc)
    }

    /// Opens something of the caller's in `/proc`.
    fn open_of(&self, caller: &Caller<'_>, what: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let path = format!("{}/{what}", self.number_of(caller)?);
        rustix::fs::openat(&self.proc, path, flags, Mode::empty())
    }

    /// The number under which `/proc` has the caller.
    fn number_of(&self, caller: &Caller<'_>) -> rustix::io::Result<String> {
        if self.is_proc_shared {
            caller.number_in(&self.proc)
        } else {
            Ok(caller.pid.to_string())
        }
    }
}

fn open_as_written(start: &OwnedFd, path: &[u8], flags: OFlags) -> Result<Target, Errno> {
    let open = |also: ResolveFlags| {
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        let how = ResolveFlags::NO_MAGICLINKS | also;
        rustix::fs::openat2(start, path, flags, Mode::empty(), how)
    };
    match open(ResolveFlags::NO_XDEV) {
        Ok(found) => Ok(Target::File(found)),
        Err(Errno::XDEV) => match open(ResolveFlags::empty()) {
            // What is there depends on who looks.
            Ok(found) if rustix::fs::fstatfs(&found)?.f_type == PROC => Ok(Target::Elsewhere),
            Ok(found) => Ok(Target::File(found)),
            Err(Errno::LOOP) => Ok(Target::Elsewhere),
            Err(errno) => Err(errno),
        },
        // Mostly /dev/stdout, which leads to a pipe.
        Err(Errno::LOOP) => Ok(Target::Elsewhere),
        Err(errno) => Err(errno),
    }
}
