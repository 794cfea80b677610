//! Pid 1's waiting: it buries every process, passes signals on, and ends with the program.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::mount::MountAttrFlags;
use rustix::process::{WaitOptions, WaitStatus};

use crate::datagram::receive;
use crate::status::{Doing as _, Failure, Status, ignore};
use crate::sys::{self, SignalSet, notify};

/// The signals that pid 1 takes one by one: deaths, and what the building process sends for the program.
pub(super) const WATCHED: [i32; 5] = [
    libc::SIGCHLD,
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
];

/// How often, and how long apart, a root is tried that somebody still writes to. Descriptors that were on their way
/// between processes are closed a moment after these.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until the program has ended, reports how, and returns the code for pid 1 to exit with.
///
/// What else still runs then is killed, and the root, if one is given, can no longer be changed by anybody. If calls of the program's are to be answered,
/// `socket` brings the descriptor on which they arrive, and `answer` gets it with the first of them.
pub(super) fn until_end_of(
    program: i32,
    watched: &SignalSet,
    root: Option<BorrowedFd<'_>>,
    status: BorrowedFd<'_>,
    socket: Option<OwnedFd>,
    mut answer: impl FnMut(&OwnedFd),
) -> i32 {
    let mut way = socket.and_then(|fd| {
        let signals = notify::signal_fd(watched).ok()?;
        let is_listener = false;
        Some(Way {
            signals,
            fd,
            is_listener,
        })
    });
    loop {
        match next_event(watched, &mut way) {
            Event::Call(listener) => answer(&listener),
            Event::Signal(Ok(libc::SIGCHLD) | Err(_)) => {
                if let Some(end) = bury(program) {
                    let (message, code) = verdict(end);
                    bury_all();
                    if let Err(failure) = root.map_or(Ok(()), seal) {
                        Status::Setup(failure).send(status);
                    }
                    message.send(status);
                    return code;
                }
            }
            Event::Signal(Ok(signal)) => pass_on(program, signal),
        }
    }
}

/// Kills every other process of the pid namespace, and waits until they are gone.
fn bury_all() {
    ignore(sys::kill(-1, libc::SIGKILL)); // mostly there is none
    while rustix::process::wait(WaitOptions::empty()).is_ok() {}
}

/// Makes the mount of the root read-only.
///
/// Processes of another step may hold directories of it, sent through a socket in a cache that both have mounted. By
/// these they could change the layer after its digest was taken. Files that they hold for writing are a failure.
fn seal(root: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        match sys::mount_set(root, MountAttrFlags::MOUNT_ATTR_RDONLY, false) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            result => {
                return result.doing(|| {
                    String::from("end the step: a process of another one writes to its files")
                });
            }
        }
    }
}

/// How the program's calls get here, until the first has come.
struct Way {
    /// Readable when there are signals.
    signals: OwnedFd,
    /// A socket that brings the descriptor of calls, and then that descriptor.
    fd: OwnedFd,
    is_listener: bool,
}

enum Event {
    Signal(io::Result<i32>),
    /// The first call waits on this descriptor.
    Call(OwnedFd),
}

fn next_event(watched: &SignalSet, way: &mut Option<Way>) -> Event {
    while let Some(now) = way.take() {
        let mut poll = [
            PollFd::new(&now.signals, PollFlags::IN),
            PollFd::new(&now.fd, PollFlags::IN),
        ];
        if rustix::event::poll(&mut poll, None).is_err() {
            *way = Some(now);
            continue;
        }
        let is_signalled = !poll[0].revents().is_empty();
        let is_ready = poll[1].revents().contains(PollFlags::IN);
        if is_signalled {
            *way = Some(now);
            break;
        }
        if is_ready && now.is_listener {
            return Event::Call(now.fd);
        }
        // Nothing comes of a program that was never started; nobody asks when all have ended.
        if is_ready && let Ok((_, fds)) = receive::<1>(now.fd.as_fd()) {
            *way = fds.into_iter().next().map(|fd| Way {
                signals: now.signals,
                fd,
                is_listener: true,
            });
        }
    }
    Event::Signal(watched.wait())
}

/// Reaps every process that has ended, and returns the program's end if it is among them.
fn bury(program: i32) -> Option<WaitStatus> {
    // One signal may stand for several deaths.
    while let Ok(Some((pid, end))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid.as_raw_nonzero().get() == program {
            return Some(end);
        }
    }
    None
}

fn verdict(end: WaitStatus) -> (Status, i32) {
    match (end.exit_status(), end.terminating_signal()) {
        (Some(code), _) => (Status::Code(code), code),
        (None, Some(signal)) => (Status::Signal(signal), 128 + signal),
        (None, None) => (Status::Code(255), 255),
    }
}

/// To the program's whole process group; before it has one, to itself.
fn pass_on(program: i32, signal: i32) {
    if sys::kill(-program, signal).is_err() {
        drop(sys::kill(program, signal)); // it has ended in the meantime, as the sender wants
    }
}
