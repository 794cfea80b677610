//! The process that made a call, and its memory.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::sys::notify::{self, Call};

/// Longest path, in bytes.
const PATH_MAX: usize = 4096;
/// Smallest page of any machine, in bytes.
const PAGE: usize = 4096;

/// `PIDFD_THREAD`: a pidfd of a thread that does not lead its group.
const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.cast_unsigned());

/// What a call is about.
pub(super) enum Target {
    /// This file, opened with `O_PATH`.
    File(OwnedFd),
    /// Something that only the caller can open, or nothing of the step's.
    Elsewhere,
}

/// A call's caller.
pub(super) struct Caller<'a> {
    listener: BorrowedFd<'a>,
    call: &'a Call,
    /// Its thread.
    pub pid: u32,
}

impl<'a> Caller<'a> {
    pub(super) fn new(listener: BorrowedFd<'a>, call: &'a Call) -> Self {
        Self {
            listener,
            call,
            pid: call.pid,
        }
    }

    /// Whether it still waits for the answer; if so, all that was found out of it was of it.
    pub(super) fn is_waiting(&self) -> bool {
        notify::is_waiting(self.listener, self.call)
    }

    /// Reads a string in its memory, with the kernel's errors for one that is not there or has no end.
    pub(super) fn string(&self, address: u64) -> Result<Vec<u8>, Errno> {
        let mut text = Vec::new();
        while text.len() < PATH_MAX {
            let from = address.checked_add(text.len() as u64).ok_or(Errno::FAULT)?;
            // Not past the end of a page: the next one may not be there.
            let mut part = [0; PAGE];
            let offset = usize::try_from(from % PAGE as u64).unwrap_or(0);
            let length = notify::read_memory(self.pid, from, &mut part[offset..])
                .map_err(|_unreadable| Errno::FAULT)?;
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

    /// Reads as many bytes as there is room for.
    pub(super) fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        match notify::read_memory(self.pid, address, buffer) {
            Ok(length) if length == buffer.len() => Ok(()),
            _ => Err(Errno::FAULT),
        }
    }

    /// Writes to its memory.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.is_empty() {
            return Ok(());
        }
        notify::write_memory(self.pid, address, bytes).map_err(|_unwritable| Errno::FAULT)
    }

    /// The number under which a `/proc` of another pid namespace has it.
    pub(super) fn number_in(&self, proc: &OwnedFd) -> rustix::io::Result<String> {
        let raw = i32::try_from(self.pid).map_err(|_large| Errno::SRCH)?;
        let pid = Pid::from_raw(raw).ok_or(Errno::SRCH)?;
        let process = rustix::process::pidfd_open(pid, THREAD)?;
        // A descriptor of the process tells.
        let info = read_file(proc, &format!("self/fdinfo/{}", process.as_raw_fd()))?;
        let line = info.lines().find_map(|line| line.strip_prefix("Pid:"));
        Ok(line.ok_or(Errno::SRCH)?.trim().to_owned())
    }
}

/// Reads a file of `/proc`.
pub(super) fn read_file(proc: &OwnedFd, path: &str) -> rustix::io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(proc, path, flags, Mode::empty())?;
    io::read_to_string(std::fs::File::from(file))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
