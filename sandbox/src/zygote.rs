//! The helper process that every step is cloned from, and the socket to it.
//!
//! It is forked while the building process is small and has one thread, so cloning from it takes a fraction of a
//! millisecond however big the building process becomes, and is sound although that one has threads. The clone's
//! parent is the building process itself (`CLONE_PARENT`), which therefore waits for it without the helper.
//!
//! While one step runs, the pid 1 of the next may be made ready: it has its namespaces and the kernel's file systems,
//! and waits for its job at a socket whose other end the building process has.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitId, WaitIdOptions, WaitOptions};

use crate::cgroup::StepGroup;
use crate::check;
use crate::datagram::{Message, receive, send};
use crate::enter::Entered;
use crate::error::SandboxError;
use crate::explain;
use crate::foreign::{Binfmt, mount_here};
use crate::idmap::{Helper, Map};
use crate::init::{self, Host, Job, Source, Traits};
use crate::running::{Remains, Running};
use crate::spec::{Network, Privileges, Spec};
use crate::status::ignore;
use crate::sys::{self, Cloned, Fork, SingleThread};
use crate::view::n_mounted;
use crate::wire;

/// Bits of a request's first byte: the step gets an empty network namespace.
const OWN_NETWORK: u8 = 1;
/// It is in the helper's control group.
const OUR_GROUP: u8 = 2;
/// There is no step yet. The one descriptor is the socket by which it will come.
const AHEAD: u8 = 4;
/// No step is wanted, but a user namespace with rules of its own, see [`Zygote::binfmt`].
const MAKE_NAMESPACE: u8 = 8;

/// Bytes of a request: its bits, the [`Traits`] of the step, those of [`Job::parse`].
const REQUEST: usize = 1 + Traits::LENGTH + Job::HEAD;

/// How many ended steps [`Zygote::spawn_in`] can wait for.
pub const MAX_AFTER: usize = Job::MAX_AFTER;

/// What a pid 1 has to be for a step, as a request says it.
type Kind = (u8, Traits);

/// Exit code of a process of ours that found a mistake of the program's.
const BROKEN: i32 = 70;

/// The helper process. It ends when this is dropped, or this process dies.
///
/// Steps can be spawned from any thread. They end with this process, but not with the helper.
#[derive(Debug)]
pub struct Zygote {
    /// A request and its answer belong together, so the lock is held for both; about 0.3 ms.
    line: Mutex<Line>,
    pid: Option<Pid>,
}

/// The way to the helper, and what it was asked to make ready.
#[derive(Debug)]
struct Line {
    socket: OwnedFd,
    /// The answer to this request may still be on the way.
    ahead: Option<Ahead>,
}

/// A pid 1 that waits for its step.
#[derive(Debug)]
struct Ahead {
    kind: Kind,
    /// What [`n_mounted`] said before it was made: a step whose layers were mounted since must not get it.
    n_views: u64,
    /// Where it gets the step from.
    socket: OwnedFd,
    /// Its process; `None` as long as the answer was not read.
    process: Option<Process>,
}

/// What a step has to do with outside of itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// The control group that is to be its own.
    pub group: Option<&'a StepGroup>,
    /// The rules for programs of other architectures that hold there.
    pub binfmt: Option<&'a Binfmt>,
    /// What has to be gone, at most [`MAX_AFTER`], before anything is mounted for the step: a directory must not be
    /// the upper one of one overlay and a lower one of another.
    pub after: &'a [Remains],
}

/// Number and pidfd.
type Process = (i32, OwnedFd);

impl Zygote {
    /// Forks the helper process. To be called once, after [`crate::enter`], from the main thread: the kernel ends
    /// the helper, and every step, when the thread that called this ends.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Threads`] if other threads run, [`SandboxError::Start`] if the kernel has no process left.
    pub fn start() -> Result<Self, SandboxError> {
        Self::start_for(Privileges::Few)
    }

    /// [`Zygote::start`] of a helper that can give its steps these privileges.
    ///
    /// # Errors
    ///
    /// As for [`Zygote::start`].
    pub fn start_for(privileges: Privileges) -> Result<Self, SandboxError> {
        let start = |step: &str| {
            let step = String::from(step);
            move |source| SandboxError::Start { step, source }
        };
        let single = SingleThread::check()
            .map_err(start("count the threads"))?
            .map_err(|count| SandboxError::Threads { count })?;
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(io::Error::from)
        .map_err(start("make a socket pair"))?;
        let parent = rustix::process::getpid();
        match sys::fork(single).map_err(start("fork the helper process"))? {
            Fork::Parent(pid) => Ok(Self {
                line: Mutex::new(Line {
                    socket: ours,
                    ahead: None,
                }),
                pid: Pid::from_raw(pid),
            }),
            Fork::Child => {
                // A panic must not run the destructors of what was copied from the parent.
                let serving = AssertUnwindSafe(|| serve(single, theirs, parent, privileges));
                drop(catch_unwind(serving)); // there is nobody to report to
                sys::exit_now(BROKEN)
            }
        }
    }

    /// The helper's number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.map_or(0, |pid| pid.as_raw_nonzero().get())
    }

    /// Whether [`Spec::max_tasks`] binds steps by itself. Where it does not, a control group can.
    #[must_use]
    pub fn bounds_tasks(&self) -> bool {
        init::bounds_tasks()
    }

    /// Starts a step. Its output goes to `stdout` and `stderr`, which should be pipes; its input is empty.
    ///
    /// Returns as soon as the process exists: what fails while the sandbox is set up, or when the program is
    /// executed, is told by [`Running::wait`].
    ///
    /// # Errors
    ///
    /// [`SandboxError::Spec`] if the specification cannot be passed to the kernel, [`SandboxError::Start`] if there
    /// is no process, namespace or descriptor left, [`SandboxError::Zygote`] if the helper is gone.
    pub fn spawn(
        &self,
        spec: &Spec,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<Running, SandboxError> {
        self.spawn_in(Surroundings::default(), spec, stdout, stderr)
    }

    /// Starts a step like [`Zygote::spawn`], in these surroundings.
    ///
    /// For rules about programs the step may be in a user namespace of its own, in which device nodes cannot be made and the host's
    /// network cannot be changed.
    ///
    /// # Errors
    ///
    /// Those of [`Zygote::spawn`].
    pub fn spawn_in(
        &self,
        surroundings: Surroundings<'_>,
        spec: &Spec,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<Running, SandboxError> {
        let Surroundings {
            group,
            binfmt,
            after,
        } = surroundings;
        check::check(spec)?;
        let start = |step: &'static str| {
            move |errno: Errno| SandboxError::Start {
                step: String::from(step),
                source: errno.into(),
            }
        };
        let content = rustix::fs::memfd_create("rbuild-step", MemfdFlags::CLOEXEC)
            .map_err(start("make a memory file for the step"))?;
        write_all(content.as_fd(), &wire::encode(spec))
            .map_err(start("write the step's memory file"))?;
        let (status, status_writer) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(start("make a status pipe"))?;
        let mut fds = vec![
            content.as_fd(),
            stdout.as_fd(),
            stderr.as_fd(),
            status_writer.as_fd(),
        ];
        let mut bits = 0;
        if let Some(namespace) = binfmt.and_then(Binfmt::namespace) {
            bits |= Job::IN_NAMESPACE;
            fds.push(namespace);
        }
        let n_others = fds.len();
        fds.extend(group.into_iter().flat_map(StepGroup::entrances));
        let n_groups = fds.len() - n_others;
        fds.extend(after.iter().filter_map(Remains::pidfd));
        let n_after = fds.len() - n_others - n_groups;
        let [n_groups, n_after] = [n_groups, n_after].map(|n| u8::try_from(n).unwrap_or(u8::MAX));

        let (pid, pidfd) = self.give(kind(spec, group), [bits, n_groups, n_after], &fds)?;
        // The step has its own now. A copy here would keep the reader from seeing the end.
        drop((stdout, stderr));
        let program = spec
            .argv
            .first()
            .map(|arg| arg.to_string_lossy().into_owned());
        Ok(Running::new(
            pidfd,
            pid,
            status,
            program.unwrap_or_default(),
        ))
    }

    /// Hands a job to the pid 1 that was made for such steps, or to a new one.
    fn give(
        &self,
        kind: Kind,
        job: [u8; Job::HEAD],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Process, SandboxError> {
        let mut line = self.line();
        if let Some(ahead) = line.take_ahead()?
            && ahead.kind == kind
            && ahead.n_views == n_mounted()
            && let Some(process) = ahead.start(job, fds)
        {
            return Ok(process);
        }
        parse_answer(line.ask(request(kind, job), fds)?)
    }

    /// Has the helper make the pid 1 of a step like `spec`, in a control group of its own or not, before there is one.
    /// The next [`Zygote::spawn_in`] uses it if its step is like that. Returns at once; that there is none is no error.
    pub fn prepare(&self, spec: &Spec, group: Option<&StepGroup>) {
        let mut line = self.line();
        if line.ahead.is_some() {
            return;
        }
        let (bits, traits) = kind(spec, group);
        let n_views = n_mounted();
        let flags = SocketFlags::CLOEXEC;
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let Ok((ours, theirs)) = pair else { return };
        let asked = request((bits | AHEAD, traits), [0; Job::HEAD]);
        if send(line.socket.as_fd(), &asked, &[theirs.as_fd()]).is_ok() {
            line.ahead = Some(Ahead {
                kind: (bits, traits),
                n_views,
                socket: ours,
                process: None,
            });
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a place for rules about programs of other architectures, none yet, that only steps are subject to.
    ///
    /// Where this process has a user namespace of its own, they hold in that, for all that runs in it; so make them
    /// before anything relies on the machine's rules, which they replace. Elsewhere they hold in a new user namespace
    /// in which all ids are themselves; [`Zygote::spawn_in`] runs steps in that.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Refused`] if the kernel has no such rules (Linux 6.7 and later do) or forbids user namespaces.
    pub fn binfmt(&self, entered: &Entered) -> Result<Binfmt, SandboxError> {
        if entered.own_user_namespace {
            let mount = mount_here().map_err(|errno| explain::no_binfmt(errno.into()))?;
            return Ok(Binfmt::new(mount, None));
        }
        let mut request = [0; REQUEST];
        request[0] = MAKE_NAMESPACE;
        let mut line = self.line();
        // Answers come in the order of requests.
        let ahead = line.take_ahead()?;
        let answer = line.ask(request, &[]);
        line.ahead = ahead;
        let (bytes, fds) = answer?;
        match (bytes.first_chunk::<4>(), <[OwnedFd; 2]>::try_from(fds)) {
            (Some([0, 0, 0, 0]), Ok([namespace, mount])) => Ok(Binfmt::new(mount, Some(namespace))),
            (Some(errno), _) => {
                let errno = i32::from_le_bytes(*errno);
                Err(explain::no_binfmt(io::Error::from_raw_os_error(errno)))
            }
            (None, _) => Err(SandboxError::Zygote {
                source: io::ErrorKind::UnexpectedEof.into(),
            }),
        }
    }
}

impl Line {
    fn ask(
        &self,
        request: [u8; REQUEST],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Message<8>, SandboxError> {
        send(self.socket.as_fd(), &request, fds)
            .and_then(|()| receive::<8>(self.socket.as_fd()))
            .map_err(gone)
    }

    /// The pid 1 that was made ready, if there is one. After this the next answer is that to the next request.
    fn take_ahead(&mut self) -> Result<Option<Ahead>, SandboxError> {
        let Some(mut ahead) = self.ahead.take() else {
            return Ok(None);
        };
        if ahead.process.is_none() {
            let answer = receive::<8>(self.socket.as_fd()).map_err(gone)?;
            ahead.process = parse_answer(answer).ok();
        }
        Ok(ahead.process.is_some().then_some(ahead))
    }
}

impl Ahead {
    /// Gives it its job. `None` if it has died.
    fn start(mut self, job: [u8; Job::HEAD], fds: &[BorrowedFd<'_>]) -> Option<Process> {
        send(self.socket.as_fd(), &job, fds).ok()?;
        self.process.take()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some((_, pidfd)) = self.process.take() {
            ignore(rustix::process::pidfd_send_signal(&pidfd, Signal::KILL));
            ignore(rustix::process::waitid(
                WaitId::PidFd(pidfd.as_fd()),
                WaitIdOptions::EXITED,
            ));
        }
    }
}

fn gone(errno: Errno) -> SandboxError {
    SandboxError::Zygote {
        source: errno.into(),
    }
}

fn kind(spec: &Spec, group: Option<&StepGroup>) -> Kind {
    let mut bits = 0;
    if spec.network == Network::None {
        bits |= OWN_NETWORK;
    }
    if group.is_none_or(|group| group.entrances().next().is_none()) {
        bits |= OUR_GROUP;
    }
    (bits, Traits::of(spec))
}

fn request((bits, traits): Kind, job: [u8; Job::HEAD]) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    let (first, rest) = request.split_at_mut(1);
    let (middle, last) = rest.split_at_mut(Traits::LENGTH);
    first.copy_from_slice(&[bits]);
    middle.copy_from_slice(&traits.to_bytes());
    last.copy_from_slice(&job);
    request
}

impl Zygote {
    /// Ends the helper, as dropping this does, without waiting for its end. No step can be spawned any more.
    pub fn dismiss(&self) {
        // Before the helper's end: its number may be in an answer on the way.
        drop(self.line().take_ahead());
        if let Some(pid) = self.pid {
            // Not yet reaped, so the number is still its own. It may have died before.
            ignore(rustix::process::kill_process(pid, Signal::KILL));
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        self.dismiss();
        if let Some(pid) = self.pid {
            ignore(rustix::process::waitpid(Some(pid), WaitOptions::empty()));
        }
    }
}

/// Process id and pidfd of the new process, or the helper's reason why there is none.
fn parse_answer((bytes, fds): Message<8>) -> Result<Process, SandboxError> {
    let failed = |errno: i32| SandboxError::Start {
        step: String::from("start a process in namespaces of its own"),
        source: io::Error::from_raw_os_error(errno),
    };
    let numbers = bytes.split_first_chunk::<4>().and_then(|(errno, rest)| {
        let (pid, _) = rest.split_first_chunk::<4>()?;
        Some((i32::from_le_bytes(*errno), i32::from_le_bytes(*pid)))
    });
    match (numbers, fds.into_iter().next()) {
        (Some((0, pid)), Some(pidfd)) => Ok((pid, pidfd)),
        (Some((0, pid)), None) => {
            // The kernel drops descriptors that exceed our limit. What cannot be watched must not run.
            if let Some(pid) = Pid::from_raw(pid) {
                ignore(rustix::process::kill_process(pid, Signal::KILL));
                ignore(rustix::process::waitpid(Some(pid), WaitOptions::empty()));
            }
            Err(failed(libc::EMFILE))
        }
        (Some((errno, _)), _) => Err(failed(errno)),
        (None, _) => Err(SandboxError::Zygote {
            source: io::ErrorKind::UnexpectedEof.into(),
        }),
    }
}

/// The helper's whole life. Returns when it should end.
fn serve(single: SingleThread, socket: OwnedFd, parent: Pid, privileges: Privileges) {
    if prepare(socket.as_fd(), parent).is_err() {
        return;
    }
    let host = Host::prepare(privileges);
    while let Ok((request, fds)) = receive::<REQUEST>(socket.as_fd()) {
        // Nothing at all is the end of the building process.
        let Some((bits, rest)) = request.split_first() else {
            return;
        };
        if *bits == MAKE_NAMESPACE {
            if make_namespace(single, socket.as_fd()).is_err() {
                return;
            }
            continue;
        }
        let Some((traits, job)) = rest.split_first_chunk() else {
            return;
        };
        let Some(source) = parse_source(*bits, job, fds) else {
            return;
        };
        let mut flags = init::NAMESPACES | libc::CLONE_PARENT;
        if bits & OUR_GROUP != 0 {
            flags |= libc::CLONE_NEWCGROUP;
        }
        if bits & OWN_NETWORK != 0 {
            flags |= libc::CLONE_NEWNET;
        }
        let (errno, pid, pidfd) = match sys::clone_process(single, flags, 0) {
            Ok(Cloned::Child) => {
                drop(socket);
                init::run(single, &host, Traits::from_bytes(*traits), source);
            }
            Ok(Cloned::Parent(pid, pidfd)) => (0, pid, Some(pidfd)),
            Err(error) => (error.raw_os_error().unwrap_or(libc::EIO), 0, None),
        };
        let mut answer = errno.to_le_bytes().to_vec();
        answer.extend_from_slice(&pid.to_le_bytes());
        let fds: Vec<BorrowedFd<'_>> = pidfd.iter().map(|fd| fd.as_fd()).collect();
        if send(socket.as_fd(), &answer, &fds).is_err() {
            return;
        }
    }
}

fn parse_source(bits: u8, job: &[u8], fds: Vec<OwnedFd>) -> Option<Source> {
    if bits & AHEAD == 0 {
        return Some(Source::Job(Job::parse(job.try_into().ok()?, fds)?));
    }
    let [socket] = <[OwnedFd; 1]>::try_from(fds).ok()?;
    Some(Source::Socket(socket))
}

/// Has a child make a user namespace with rules of its own, and answers with the namespace and the rules' mount.
fn make_namespace(single: SingleThread, socket: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let errno = match sys::fork(single) {
        Ok(Fork::Child) => {
            let answer = |errno: i32, fds: &[BorrowedFd<'_>]| {
                let mut bytes = errno.to_le_bytes().to_vec();
                bytes.extend_from_slice(&[0; 4]);
                send(socket, &bytes, fds)
            };
            let sent = match namespace_with_rules(single) {
                Ok((namespace, mount)) => answer(0, &[namespace.as_fd(), mount.as_fd()]),
                Err(error) => answer(error.raw_os_error().unwrap_or(libc::EIO), &[]),
            };
            sys::exit_now(i32::from(sent.is_err()));
        }
        Ok(Fork::Parent(pid)) => {
            let ended = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty());
            match ended {
                Ok(Some((_, status))) if status.exit_status() == Some(0) => return Ok(()),
                _ => libc::EIO,
            }
        }
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    let mut answer = errno.to_le_bytes().to_vec();
    answer.extend_from_slice(&[0; 4]);
    send(socket, &answer, &[])
}

fn namespace_with_rules(single: SingleThread) -> io::Result<(OwnedFd, OwnedFd)> {
    let refused = |error: SandboxError| {
        let SandboxError::Refused { source, .. } = error else {
            return io::Error::from_raw_os_error(libc::EIO);
        };
        source
    };
    let helper = Helper::identity().map_err(io::Error::other)?;
    match helper.map_new_namespace(single).map_err(refused)? {
        Map::Done => {}
        Map::Refused(_) => return Err(Errno::PERM.into()),
    }
    let namespace = fs_err::File::open("/proc/self/ns/user")?;
    Ok((std::fs::File::from(namespace).into(), mount_here()?))
}

/// Keeps this process's memory out of core dumps, and from all who are not privileged over it.
///
/// To be called after [`crate::enter`], which needs what this takes away, and before there are secrets.
///
/// # Errors
/// What `prctl(2)` says.
pub fn hide_memory() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Ties the helper's life to its parent's and frees it from all else that it inherited.
fn prepare(socket: BorrowedFd<'_>, parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // Ctrl-C is for the building process: it decides what becomes of the steps.
    rustix::process::setsid()?;
    rustix::thread::set_name(c"rbuild-zygote")?;
    // Steps see their pid 1, a copy of this process, and the arguments may hold what is not for them.
    sys::overwrite_arguments(b"rbuild")?;
    // The environment, of which this is a copy too, may be the user's secrets.
    hide_memory()?;
    // Privileged steps may use keyrings. A kernel or container without them has nothing to hide.
    ignore(sys::forget_keyring());
    let null = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    drop(null);
    sys::close_all_but(socket)
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
