//! Pid 1 of a step, from its first instruction to its last.
//!
//! It mounts what every step needs, waits for its step if there is none yet, assembles the root, starts the program and
//! then does nothing but wait. It keeps its capabilities, so the
//! program can neither trace it nor look into its files; everything that could lead out of the root is closed before
//! the program starts, but for where [`owners`] are recorded.

mod kernel;
mod limits;
mod mounts;
mod owners;
mod payload;
mod reap;
mod root;

pub(crate) use kernel::Traits;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::sock_filter;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::UnshareFlags;

use crate::datagram::receive;
use crate::idmap::initial_user_namespace;
use crate::seccomp::{self, Ownership};
use crate::spec::{Network, Privileges, Spec};
use crate::status::{Doing as _, Failure, Status};
use crate::sys::{self, Fork, SignalSet, SingleThread};
use crate::wire;

/// The namespaces that every step begins with. That of its control groups comes once it is in them.
pub(crate) const NAMESPACES: i32 =
    libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// Exit code of pid 1 when the program was not started. Never seen by users: the status pipe says why.
const NOT_STARTED: i32 = 125;

/// What is the same for every step, found out once by the helper process.
#[derive(Debug)]
pub(crate) struct Host {
    real: Vec<sock_filter>,
    fake: Vec<sock_filter>,
    answered: Vec<sock_filter>,
    /// The filter for steps of users that the kernel has, where it makes no devices for them.
    without_devices: Option<Vec<sock_filter>>,
    /// Whether Landlock can scope signals and abstract sockets.
    scopes: bool,
    /// Why [`payload::drop_bounding_set`] failed, if it did.
    unbound: Option<Failure>,
    /// With [`Privileges::OnDemand`] every step gives up itself what it may not have.
    privileges: Privileges,
    /// Whether the limit of pids belongs to the pid namespace (and not to the machine).
    own_pid_max: bool,
}

impl Host {
    /// Looks at the machine, and gives this process what all steps inherit: default signal actions and a small
    /// bounding set of capabilities. To be called by the helper process.
    pub(crate) fn prepare(privileges: Privileges) -> Self {
        sys::default_signal_actions();
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        Self {
            real: seccomp::program(Ownership::Real),
            fake: seccomp::program(Ownership::Fake),
            answered: seccomp::program(Ownership::Answered),
            without_devices: (!initial_user_namespace())
                .then(|| seccomp::program(Ownership::RealButDevices)),
            scopes: sys::landlock_abi() >= 6,
            unbound: match privileges {
                Privileges::Few => payload::drop_bounding_set().err(),
                Privileges::OnDemand => None,
            },
            privileges,
            own_pid_max: has_own_pid_max(&release),
        }
    }

    fn filter(&self, spec: &Spec) -> Option<&[sock_filter]> {
        if spec.fake_ownership {
            Some(&self.fake)
        } else {
            (!spec.privileged).then_some(&self.real)
        }
    }

    /// The filter that has somebody answer what the kernel cannot.
    fn asking_filter(&self, spec: &Spec) -> Option<&[sock_filter]> {
        if spec.fake_ownership {
            Some(&self.answered)
        } else {
            self.without_devices.as_deref().filter(|_| !spec.privileged)
        }
    }
}

/// Whether every pid namespace has a limit of pids, or just the machine.
fn has_own_pid_max(release: &str) -> bool {
    at_least(release, 6, 14)
}

/// Whether a step is bound to [`Spec::max_tasks`] without a control group. Root of the machine is bound by nothing but
/// the pid namespace.
pub(crate) fn bounds_tasks() -> bool {
    let release = rustix::system::uname();
    !initial_user_namespace() || has_own_pid_max(&release.release().to_string_lossy())
}

/// Whether a kernel release (`6.18.44-generic`) is at least `major.minor`.
fn at_least(release: &str, major: u32, minor: u32) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    let (Some(Ok(first)), Some(Ok(second))) = (numbers.next(), numbers.next()) else {
        return false;
    };
    (first, second) >= (major, minor)
}

/// Where pid 1 gets its step from.
#[derive(Debug)]
pub(crate) enum Source {
    /// It is here.
    Job(Job),
    /// It comes through this socket, see [`Job::receive`]. If nothing comes, there is no step.
    Socket(OwnedFd),
}

/// What a step comes with: its specification and the pipes to the building process.
#[derive(Debug)]
pub(crate) struct Job {
    /// The specification, see [`crate::wire`].
    pub content: OwnedFd,
    /// Where output goes.
    pub stdout: OwnedFd,
    /// Where error output goes.
    pub stderr: OwnedFd,
    /// See [`crate::status`].
    pub status: OwnedFd,
    /// The user namespace that the program runs in, if it is not pid 1's.
    pub namespace: Option<OwnedFd>,
    /// Entrances of the control groups that the step is to be in. Without any it is where the helper is, and has its
    /// namespace of control groups already.
    pub groups: Vec<OwnedFd>,
    /// Pidfds of steps whose mounts must be gone before those of this step are made.
    pub after: Vec<OwnedFd>,
}

impl Job {
    /// Bytes of a job's message.
    pub(crate) const HEAD: usize = 3;

    /// Most of [`Job::after`].
    pub(crate) const MAX_AFTER: usize = 4;

    /// Bit of the first byte: a fifth descriptor comes along, [`Job::namespace`]. The other bytes say how many
    /// of the descriptors are entrances of control groups ([`Job::groups`]; there is one for each hierarchy, and no
    /// kernel has more than 14) and how many are [`Job::after`].
    pub(crate) const IN_NAMESPACE: u8 = 1;

    /// Reads what came as one message. `None` if the descriptors are not those that the bytes speak of: better no step
    /// than one in the wrong place.
    pub(crate) fn parse(head: [u8; Self::HEAD], fds: Vec<OwnedFd>) -> Option<Self> {
        let [bits, n_groups, n_after] = head;
        let mut fds = fds.into_iter();
        let (content, stdout, stderr, status) =
            (fds.next()?, fds.next()?, fds.next()?, fds.next()?);
        let namespace = match bits & Self::IN_NAMESPACE {
            0 => None,
            _ => Some(fds.next()?),
        };
        let groups: Vec<OwnedFd> = fds.by_ref().take(n_groups.into()).collect();
        let after: Vec<OwnedFd> = fds.collect();
        let counts = (groups.len(), after.len());
        (counts == (n_groups.into(), n_after.into())).then_some(Self {
            content,
            stdout,
            stderr,
            status,
            namespace,
            groups,
            after,
        })
    }

    /// Waits for the job on a socket. `None`: it was closed, nobody needs this process.
    fn receive(socket: &OwnedFd) -> Option<Self> {
        let (bytes, fds) = receive::<{ Self::HEAD }>(socket.as_fd()).ok()?;
        Self::parse(bytes.try_into().ok()?, fds)
    }
}

/// Lives pid 1's life. To be called in the process that [`sys::clone_process`] made, with [`NAMESPACES`].
pub(crate) fn run(single: SingleThread, host: &Host, traits: Traits, source: Source) -> ! {
    // A panic must not unwind into what was copied from the helper.
    let life = AssertUnwindSafe(|| live(single, host, traits, source));
    sys::exit_now(catch_unwind(life).unwrap_or(NOT_STARTED))
}

fn live(single: SingleThread, host: &Host, traits: Traits, source: Source) -> i32 {
    if die_with_parent().is_err() {
        return NOT_STARTED;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // Blocked from the beginning, so that no wish to terminate and no end of a process is missed.
    let watched = SignalSet::of(&reap::WATCHED);
    let ready = watched
        .block()
        .doing(|| String::from("block signals"))
        .and_then(|()| kernel::Mounts::make(traits, host.scopes, host.own_pid_max));
    let job = match source {
        Source::Job(job) => job,
        Source::Socket(socket) => match Job::receive(&socket) {
            Some(job) => job,
            None => return NOT_STARTED,
        },
    };
    work(single, host, (&watched, ready), job)
}

fn work(
    single: SingleThread,
    host: &Host,
    (watched, ready): (&SignalSet, Result<kernel::Mounts, Failure>),
    job: Job,
) -> i32 {
    let Job {
        content,
        stdout,
        stderr,
        status,
        namespace,
        groups,
        after,
    } = job;
    if !has_reader(status.as_fd()) {
        return NOT_STARTED; // the building process is gone
    }
    let started = ready
        .and_then(|mounts| {
            enter_groups(single, groups)?;
            prepare(content, mounts, &after)
        })
        .and_then(|(spec, root)| {
            let owners = match host.asking_filter(&spec) {
                Some(filter) => Some((filter, socket_pair()?)),
                None => None,
            };
            let life = || {
                let owners = owners
                    .as_ref()
                    .map(|(filter, (_, theirs))| payload::Owners {
                        socket: theirs.as_fd(),
                        filter,
                    });
                let error = payload::become_program(&payload::Program {
                    spec: &spec,
                    filter: host.filter(&spec),
                    unbound: host.unbound.as_ref(),
                    owners,
                    scopes: host.scopes && !spec.privileged,
                    privileges: host.privileges,
                    dev: root.kernel.dev.as_fd(),
                    stdout: stdout.as_fd(),
                    stderr: stderr.as_fd(),
                    namespace: namespace.as_ref().map(|fd| fd.as_fd()),
                });
                error.send(status.as_fd());
                NOT_STARTED
            };
            // Where calls on the way to the program are answered from here, this must not stand still.
            let pid = if spec.fake_ownership {
                match sys::fork(single) {
                    Ok(Fork::Child) => sys::exit_now(life()),
                    Ok(Fork::Parent(pid)) => Ok(pid),
                    Err(error) => Err(error),
                }
            } else {
                sys::fork_suspended(single, life)
            }
            .doing(|| String::from("start the step's program"))?;
            let asked = owners.map(|(_, (ours, _theirs))| ours);
            Ok((pid, asked, spec, root))
        });
    match started {
        Ok((pid, asked, spec, root)) => {
            // From here on only the program's processes hold the output pipes open.
            drop((stdout, stderr));
            let answer = |listener: &OwnedFd| answer_calls(single, &spec, &root, listener);
            // What a privileged program did with its root is its own affair.
            let sealed = (!spec.privileged).then_some(root.root.as_fd());
            reap::until_end_of(pid, watched, sealed, status.as_fd(), asked, answer)
        }
        Err(failure) => {
            Status::Setup(failure).send(status.as_fd());
            NOT_STARTED
        }
    }
}

/// Goes into control groups, and makes them the tops of what the step sees of theirs.
fn enter_groups(single: SingleThread, groups: Vec<OwnedFd>) -> Result<(), Failure> {
    if groups.is_empty() {
        return Ok(());
    }
    for entrance in groups {
        rustix::io::write(&entrance, b"0")
            .doing(|| String::from("put the step into its control group"))?;
    }
    sys::unshare(single, UnshareFlags::NEWCGROUP)
        .doing(|| String::from("make a namespace of control groups"))
}

/// Two ends of a socket by which the program's calls get to who answers them.
fn socket_pair() -> Result<(OwnedFd, OwnedFd), Failure> {
    let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None)
        .doing(|| String::from("make a socket pair"))
}

/// Starts the process that answers calls. It ends with pid 1. If it cannot be started, the calls fail.
fn answer_calls(single: SingleThread, spec: &Spec, root: &root::NewRoot, listener: &OwnedFd) {
    if let Ok(Fork::Child) = sys::fork(single) {
        owners::answer_all(spec, root, listener.as_fd());
        sys::exit_now(0)
    }
}

/// Everything up to the program's own process.
fn prepare(
    content: OwnedFd,
    mut mounts: kernel::Mounts,
    after: &[OwnedFd],
) -> Result<(Spec, root::NewRoot), Failure> {
    let spec = read_spec(content)?;
    if let Some(pid_max) = mounts.proc.pid_max.take().filter(|_| spec.max_tasks > 0) {
        limits::limit_tasks(pid_max.as_fd(), spec.max_tasks)?;
    }
    let root = root::assemble(&spec, mounts, after)?;
    root::enter(&root)?;
    rustix::system::sethostname(spec.hostname.as_bytes())
        .doing(|| format!("set the host name {}", spec.hostname))?;
    if spec.network == Network::None {
        loopback_up().doing(|| String::from("set the loopback interface up"))?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing(|| String::from("hide the memory of pid 1"))?;
    Ok((spec, root))
}

/// Has the kernel end this process with the building process.
fn die_with_parent() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_name(c"rbuild-init")?;
    Ok(())
}

/// Whether the building process, which may have died before [`die_with_parent`], still lives: it is outside of the pid
/// namespace, so getppid cannot tell, but its end of the pipe can.
fn has_reader(status: BorrowedFd<'_>) -> bool {
    let mut poll = [PollFd::from_borrowed_fd(status, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let polled = rustix::event::poll(&mut poll, Some(&at_once));
    let is_gone = poll.iter().any(|fd| fd.revents().contains(PollFlags::ERR));
    polled.is_ok() && !is_gone
}

fn read_spec(content: OwnedFd) -> Result<Spec, Failure> {
    let reading = || String::from("read the step's specification");
    let mut bytes = Vec::new();
    let mut file = std::fs::File::from(content);
    io::Seek::rewind(&mut file).doing(reading)?;
    io::Read::read_to_end(&mut file, &mut bytes).doing(reading)?;
    wire::decode(&bytes).ok_or_else(|| Failure {
        step: reading(),
        errno: libc::EBADMSG,
    })
}

fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sys::interface_up(socket.as_fd(), c"lo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, expected) in [
            ("6.14.0", true),
            ("6.18.44-fc-v657", true),
            ("7.0", true),
            ("6.13.9-generic", false),
            ("6.2", false),
            ("5.15.0", false),
            ("", false),
            ("weird", false),
        ] {
            assert_eq!(at_least(release, 6, 14), expected, "{release}");
        }
    }
}
