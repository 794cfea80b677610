//! Calls that a seccomp filter passes on (`seccomp_unotify(2)`), and the memory of whoever makes them.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::io::Errno;

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (Linux 5.19): once a call was read here, only a deadly signal interrupts it,
/// so it is not made a second time.
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;
/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS` with `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (Linux 6.6): caller and answerer take turns
/// on one processor, which is several times faster.
const SET_FLAGS: libc::Ioctl = 0x4008_2104_u32 as libc::Ioctl;
const SYNC_WAKE_UP: libc::c_ulong = 1;
/// `SECCOMP_IOCTL_NOTIF_ADDFD` with `SECCOMP_ADDFD_FLAG_SEND` (Linux 5.14).
const ADD_DESCRIPTOR: libc::Ioctl = 0x4018_2103_u32 as libc::Ioctl;
const ADD_AND_ANSWER: u32 = 2;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`
const CONTINUE: u32 = 1;

/// Installs a filter that may pass calls on to whoever has the descriptor that this returns.
#[expect(unsafe_code, reason = "rustix does not wrap seccomp")]
pub(crate) fn install_filter_with_listener(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fd = match super::seccomp(program, listener | WAIT_KILLABLE) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            super::seccomp(program, listener)
        }
        result => result,
    }?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor; nobody else knows it.
    let listener = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: takes no pointer. A kernel that does not know it is slower.
    unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
    Ok(listener)
}

/// A call that a filter passed on. The process that made it waits.
#[derive(Debug)]
pub(crate) struct Call {
    id: u64,
    /// The thread, in this process's pid namespace.
    pub pid: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The system call's number.
    pub number: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// What becomes of a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It returns this.
    Value(u32),
    /// It fails.
    Error(Errno),
    /// It returns a descriptor of this file.
    File {
        /// The file.
        fd: OwnedFd,
        /// Whether `execve` closes it.
        closes_on_exec: bool,
    },
    /// The kernel does what was asked.
    Kernel,
}

/// Waits for the next call that a filter passes on.
#[expect(unsafe_code, reason = "nobody else wraps seccomp_unotify")]
pub(crate) fn next_call(listener: BorrowedFd<'_>) -> io::Result<Call> {
    /// Room for what later kernels may add; it has to be zero.
    #[repr(C)]
    struct Buffer {
        call: libc::seccomp_notif,
        room: [u64; 64],
    }
    // SAFETY: all bytes zero is a valid value of both.
    let mut buffer: Buffer = unsafe { std::mem::zeroed() };
    // SAFETY: the buffer is at least as large as the kernel's structure and outlives the call.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            &raw mut buffer,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let call = buffer.call;
    Ok(Call {
        id: call.id,
        pid: call.pid,
        arch: call.data.arch,
        number: call.data.nr.cast_unsigned(),
        arguments: call.data.args,
    })
}

/// Whether the process still waits for the answer to its call.
#[expect(unsafe_code, reason = "nobody else wraps seccomp_unotify")]
pub(crate) fn is_waiting(listener: BorrowedFd<'_>, call: &Call) -> bool {
    // SAFETY: the number outlives the call, and the kernel only reads it.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const call.id,
        )
    };
    result == 0
}

/// Answers a call.
#[expect(unsafe_code, reason = "nobody else wraps seccomp_unotify")]
pub(crate) fn answer(listener: BorrowedFd<'_>, call: &Call, answer: &Answer) -> io::Result<()> {
    let mut response = libc::seccomp_notif_resp {
        id: call.id,
        val: 0,
        error: 0,
        flags: 0,
    };
    match answer {
        Answer::Value(value) => response.val = i64::from(*value),
        Answer::Error(errno) => response.error = -errno.raw_os_error(),
        Answer::Kernel => response.flags = CONTINUE,
        Answer::File { fd, closes_on_exec } => {
            let mut file = libc::seccomp_notif_addfd {
                id: call.id,
                flags: ADD_AND_ANSWER,
                srcfd: fd.as_raw_fd().cast_unsigned(),
                newfd: 0,
                newfd_flags: if *closes_on_exec {
                    libc::O_CLOEXEC.cast_unsigned()
                } else {
                    0
                },
            };
            // SAFETY: the structure is the kernel's and outlives the call.
            let result =
                unsafe { libc::ioctl(listener.as_raw_fd(), ADD_DESCRIPTOR, &raw mut file) };
            if result >= 0 {
                return Ok(());
            }
            // Most likely it has as many open files as it may have.
            let error = io::Error::last_os_error();
            response.error = -error.raw_os_error().unwrap_or(libc::EMFILE);
        }
    }
    // SAFETY: the structure is the kernel's and outlives the call.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw mut response,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads from the memory of a process; returns how much there was to read.
#[expect(unsafe_code, reason = "rustix does not wrap process_vm_readv")]
pub(crate) fn read_memory(pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let (local, remote) = vectors(buffer.as_mut_ptr(), buffer.len(), address)?;
    // SAFETY: the local vector is a buffer that outlives the call; the remote one is checked by the kernel.
    let length = unsafe {
        libc::process_vm_readv(number(pid)?, &raw const local, 1, &raw const remote, 1, 0)
    };
    usize::try_from(length).map_err(|_negative| io::Error::last_os_error())
}

/// Writes all of `bytes` to the memory of a process.
#[expect(unsafe_code, reason = "rustix does not wrap process_vm_writev")]
pub(crate) fn write_memory(pid: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let (local, remote) = vectors(bytes.as_ptr().cast_mut(), bytes.len(), address)?;
    // SAFETY: the kernel only reads the local vector, which outlives the call, and checks the remote one.
    let length = unsafe {
        libc::process_vm_writev(number(pid)?, &raw const local, 1, &raw const remote, 1, 0)
    };
    match usize::try_from(length) {
        Ok(length) if length == bytes.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

fn vectors(start: *mut u8, length: usize, address: u64) -> io::Result<(libc::iovec, libc::iovec)> {
    let address = usize::try_from(address).map_err(io::Error::other)?;
    let vector = |base: *mut libc::c_void| libc::iovec {
        iov_base: base,
        iov_len: length,
    };
    Ok((
        vector(start.cast()),
        vector(std::ptr::without_provenance_mut(address)),
    ))
}

fn number(pid: u32) -> io::Result<libc::pid_t> {
    libc::pid_t::try_from(pid).map_err(io::Error::other)
}

/// Size of `struct statx`.
pub(crate) const STATX_SIZE: usize = 256;

/// What `statx(2)` says of an open file, as it lies in memory.
#[expect(unsafe_code, reason = "rustix hides the bytes")]
pub(crate) fn statx_bytes(
    fd: BorrowedFd<'_>,
    flags: i32,
    mask: u32,
) -> Result<[u8; STATX_SIZE], Errno> {
    let mut found = [0_u64; STATX_SIZE / 8];
    // SAFETY: the path is a string, and the buffer is as large as the kernel's structure and aligned like it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_statx,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags | libc::AT_EMPTY_PATH,
            mask,
            found.as_mut_ptr(),
        )
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    let mut bytes = [0; STATX_SIZE];
    for (to, from) in bytes.chunks_exact_mut(8).zip(found) {
        to.copy_from_slice(&from.to_ne_bytes());
    }
    Ok(bytes)
}

/// Returns a process's limit of file locks, which the kernel has not used since Linux 2.4.
#[expect(unsafe_code, reason = "rustix only sets limits of other processes")]
pub(crate) fn locks_limit(pid: u32) -> io::Result<libc::rlimit64> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure is the kernel's and outlives the call.
    let result = unsafe {
        libc::prlimit64(
            number(pid)?,
            libc::RLIMIT_LOCKS,
            std::ptr::null(),
            &raw mut limit,
        )
    };
    match result {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets a process's limit of file locks.
#[expect(unsafe_code, reason = "rustix knows no limit of locks")]
pub(crate) fn set_locks_limit(pid: u32, limit: libc::rlimit64) -> io::Result<()> {
    // SAFETY: the structure outlives the call, and the kernel only reads it.
    let result = unsafe {
        libc::prlimit64(
            number(pid)?,
            libc::RLIMIT_LOCKS,
            &raw const limit,
            std::ptr::null_mut(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `signalfd(2)`: signals of the set, which must be blocked, can be waited for together with other things.
#[expect(unsafe_code, reason = "rustix does not wrap signalfd")]
pub(crate) fn signal_fd(signals: &super::SignalSet) -> io::Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the set outlives the call.
    let fd = unsafe { libc::signalfd(-1, &raw const signals.0, flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
