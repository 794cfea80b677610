//! Pid 1's waiting: it buries every process, passes signals on, and ends with the program.

use std::os::fd::BorrowedFd;

use rustix::process::{WaitOptions, WaitStatus};

use crate::status::Status;
use crate::sys::{self, SignalSet};

/// The signals that pid 1 takes one by one: deaths, and what the building process sends for the program.
pub(super) const WATCHED: [i32; 5] = [
    libc::SIGCHLD,
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
];

/// Waits until the program has ended, reports how, and returns the code for pid 1 to exit with.
///
/// What else still runs then is killed by the kernel when pid 1 exits.
pub(super) fn until_end_of(program: i32, watched: &SignalSet, status: BorrowedFd<'_>) -> i32 {
    loop {
        match watched.wait() {
            Ok(libc::SIGCHLD) | Err(_) => {
                if let Some(end) = bury(program) {
                    let (message, code) = verdict(end);
                    message.send(status);
                    return code;
                }
            }
            Ok(signal) => pass_on(program, signal),
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
