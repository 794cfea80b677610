//! Pid 1's waiting: it buries every process, passes signals on, and ends with the program.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::mount::MountAttrFlags;
use rustix::process::{WaitOptions, WaitStatus};

use crate::status::{Doing as _, Failure, Status, ignore};
use crate::sys::{self, SignalSet};

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
/// What else still runs then is killed, and the root, if one is given, can no longer be changed by anybody.
pub(super) fn until_end_of(
    program: i32,
    watched: &SignalSet,
    root: Option<BorrowedFd<'_>>,
    status: BorrowedFd<'_>,
) -> i32 {
    loop {
        match watched.wait() {
            Ok(libc::SIGCHLD) | Err(_) => {
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
            Ok(signal) => pass_on(program, signal),
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
