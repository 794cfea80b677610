//! The system calls that rustix does not offer as safe functions: one a function, and the only unsafe code.
//!
//! Knows nothing of steps. After [`fork`] and [`clone_process`] the child may allocate, because [`SingleThread`]
//! proves that no other thread held a lock of the allocator.

use std::ffi::{CStr, CString, c_int, c_void};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use rustix::mount::MountAttrFlags;

pub(crate) mod notify;

/// Gives back what the allocator keeps for later.
#[cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "nobody else wraps malloc_trim")
)]
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks, and touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Proof that the process had one thread when this was made. It cannot leave that thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SingleThread(PhantomData<*const ()>);

impl SingleThread {
    /// Returns the proof, or how many threads there are instead.
    pub(crate) fn check() -> io::Result<Result<Self, usize>> {
        let count = fs_err::read_dir("/proc/self/task")?.count();
        Ok(if count == 1 {
            Ok(Self(PhantomData))
        } else {
            Err(count)
        })
    }
}

#[cfg(test)]
impl SingleThread {
    /// Stands in where a test only changes its own thread.
    pub(crate) fn assumed() -> Self {
        Self(PhantomData)
    }
}

/// Where a fork returned.
#[derive(Debug)]
pub(crate) enum Fork {
    /// In the new process.
    Child,
    /// In the old one, with the new one's process id.
    Parent(i32),
}

/// `fork(2)` by way of the C library, for processes that live on.
#[expect(unsafe_code, reason = "std starts processes by exec only")]
pub(crate) fn fork(_: SingleThread) -> io::Result<Fork> {
    // SAFETY: no other thread exists that could hold a lock across the fork.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Bytes of the stack of [`fork_suspended`]'s child: many times what becoming a program takes.
const CHILD_STACK: usize = 256 << 10;

/// Starts a child that runs `life` in this process's memory while this process stands still: until the child executes
/// a program, or ends with the code that `life` returns. Returns the child's process id.
///
/// Nothing is copied, so this is several times faster than [`fork`] and the `execve` after it. What `life` allocates
/// and does not free stays allocated here; descriptors, working directory, credentials and signals are the child's own.
#[expect(unsafe_code, reason = "nobody else wraps CLONE_VFORK")]
pub(crate) fn fork_suspended<F: FnOnce() -> i32>(_: SingleThread, life: F) -> io::Result<i32> {
    extern "C" fn start<F: FnOnce() -> i32>(life: *mut c_void) -> c_int {
        // SAFETY: `fork_suspended` passes a pointer to this very type, and waits while it is used.
        let life = unsafe { &mut *life.cast::<Option<F>>() };
        // A panic must not unwind into the C library, nor into what the suspended process is doing.
        let live = AssertUnwindSafe(|| life.take().map_or(NO_LIFE, |life| life()));
        exit_now(catch_unwind(live).unwrap_or(NO_LIFE))
    }
    let mut stack = vec![0_u128; CHILD_STACK / size_of::<u128>()];
    let mut life = Some(life);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack grows down from the end of `stack`, aligned to 16 bytes; it and `life` outlive the child's use
    // of them, since CLONE_VFORK suspends this, the only thread until the child has executed or ended.
    let pid = unsafe {
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        libc::clone(start::<F>, top, flags, (&raw mut life).cast::<c_void>())
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}

/// Exit code of a child that broke.
const NO_LIFE: i32 = 255;

/// Where [`clone_process`] returned.
#[derive(Debug)]
pub(crate) enum Cloned {
    /// In the new process.
    Child,
    /// In the old one, with the new one's process id and a pidfd for it.
    Parent(i32, OwnedFd),
}

/// `struct clone_args` of `clone3(2)`, first version.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// `clone3(2)` with copied memory and `CLONE_PIDFD` in addition to `flags`.
///
/// `exit_signal` must be 0 with `CLONE_PARENT`, which takes the caller's.
#[expect(unsafe_code, reason = "nobody else wraps clone3")]
pub(crate) fn clone_process(_: SingleThread, flags: i32, exit_signal: i32) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: u64::from((flags | libc::CLONE_PIDFD).cast_unsigned()),
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: u64::from(exit_signal.cast_unsigned()),
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a valid clone_args of the given size and outlives the call; without CLONE_VM and with no
    // stack given the child runs on in its own copy of this memory, and no other thread existed.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just stored a new descriptor there, which nobody else knows.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent(i32::try_from(pid).unwrap_or(-1), pidfd))
        }
    }
}

/// `unshare(2)`; file descriptor tables stay as they are.
#[expect(unsafe_code, reason = "rustix marks it unsafe because of CLONE_FILES")]
pub(crate) fn unshare(_: SingleThread, flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    let flags = flags.difference(rustix::thread::UnshareFlags::FILES);
    // SAFETY: without CLONE_FILES there is no table that another thread could see.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Ends the process at once: no destructors, no exit handlers, no flushing of what the parent had buffered.
#[expect(
    unsafe_code,
    reason = "std's exit runs handlers that belong to the parent"
)]
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: always sound; takes no pointers.
    unsafe { libc::_exit(code) }
}

/// Overwrites the arguments of this process, which every process that sees it can read in `/proc`, by `name`.
///
/// To be called by a process that was forked and never looks at its arguments again.
#[expect(
    unsafe_code,
    reason = "the arguments are only known to the kernel, by address"
)]
pub(crate) fn overwrite_arguments(name: &[u8]) -> io::Result<()> {
    let (start, end) = arguments_range()?;
    for (offset, address) in (start..end).enumerate() {
        let byte = name.get(offset).copied().unwrap_or(0);
        let target = ptr::with_exposed_provenance_mut::<u8>(address);
        // SAFETY: the kernel says that the argument strings are here, on the stack, which is writable; the only
        // other pointers to them are std's copy of argv, which this process does not use any more.
        unsafe { target.write_volatile(byte) };
    }
    Ok(())
}

/// Where the argument strings of this process are: fields 48 and 49 of `/proc/self/stat`.
fn arguments_range() -> io::Result<(usize, usize)> {
    let stat = fs_err::read_to_string("/proc/self/stat")?;
    // The second field, the name, is in parentheses and may hold anything.
    let fields = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace();
    let mut addresses = fields.skip(45).map(str::parse::<usize>);
    match (addresses.next(), addresses.next()) {
        (Some(Ok(start)), Some(Ok(end))) => Ok((start, end)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// `execve(2)`; returns only with an error.
#[expect(
    unsafe_code,
    reason = "std's exec would reset signals and search PATH outside of the sandbox"
)]
pub(crate) fn execve(program: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|s| s.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: all three are NUL-terminated and outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// `mount_setattr(2)` on a mount that `fd` refers to: sets attributes, clears none.
#[expect(unsafe_code, reason = "rustix does not wrap mount_setattr")]
pub(crate) fn mount_set(
    fd: BorrowedFd<'_>,
    attributes: MountAttrFlags,
    recursive: bool,
) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: u64::from(attributes.bits()),
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path and `attr`, whose size is given, outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Marks every descriptor from `first` on as closed by the next `execve`.
#[expect(unsafe_code, reason = "rustix does not wrap close_range")]
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: takes no pointers, and closes nothing that this program still uses.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Closes every descriptor above standard error except one.
///
/// Only for a process that will never drop what it inherited: descriptors that Rust values own are closed too.
#[expect(unsafe_code, reason = "rustix does not wrap close_range")]
pub(crate) fn close_all_but(keep: BorrowedFd<'_>) -> io::Result<()> {
    let keep = keep.as_raw_fd().cast_unsigned();
    for (first, last) in [
        (3, keep.saturating_sub(1)),
        (keep.saturating_add(1), u32::MAX),
    ] {
        if first <= last {
            // SAFETY: takes no pointers; the caller's contract covers the descriptors.
            let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

/// Gives this process a session keyring of its own, in which there is nothing.
#[expect(unsafe_code, reason = "nobody else wraps keyctl")]
pub(crate) fn forget_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let no_name = ptr::null::<libc::c_char>();
    // SAFETY: without a name nothing in memory is looked at.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, no_name) };
    if result >= 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Installs a seccomp filter for good. Needs `CAP_SYS_ADMIN` in the caller's user namespace.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    seccomp(program, 0).map(drop)
}

#[expect(unsafe_code, reason = "rustix does not wrap seccomp")]
fn seccomp(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<i64> {
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `program` describes a slice that outlives the call, and the kernel only reads it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            // Before Linux 5.16 a filter would otherwise slow the program down by mitigations meant for browsers.
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW | flags,
            &raw const program,
        )
    };
    if result >= 0 {
        Ok(result)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `struct landlock_ruleset_attr` of `landlock_create_ruleset(2)`, ABI 6.
#[repr(C)]
struct LandlockRuleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// Flag of `landlock_create_ruleset(2)` that asks for the ABI's number.
const LANDLOCK_VERSION: u32 = 1;

/// Returns the kernel's Landlock ABI, 0 if there is none.
#[expect(unsafe_code, reason = "nobody else wraps landlock")]
pub(crate) fn landlock_abi() -> i64 {
    let nothing = ptr::null::<LandlockRuleset>();
    // SAFETY: with this flag the kernel reads no memory.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            nothing,
            0_usize,
            LANDLOCK_VERSION,
        )
    };
    abi.max(0)
}

/// Makes a Landlock ruleset that only scopes; `scopes` are `LANDLOCK_SCOPE_*` bits.
#[expect(unsafe_code, reason = "nobody else wraps landlock")]
pub(crate) fn landlock_scopes(scopes: u64) -> io::Result<OwnedFd> {
    let ruleset = LandlockRuleset {
        handled_access_fs: 0,
        handled_access_net: 0,
        scoped: scopes,
    };
    // SAFETY: `ruleset` has the given size and outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ruleset,
            size_of::<LandlockRuleset>(),
            0_u32,
        )
    };
    match RawFd::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor; nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Enforces a Landlock ruleset on this thread for good. Needs `CAP_SYS_ADMIN` in the caller's user namespace.
#[expect(unsafe_code, reason = "nobody else wraps landlock")]
pub(crate) fn landlock_enforce(ruleset: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers.
    let result =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets a network interface up. `socket` is any socket of the wanted network namespace.
#[expect(unsafe_code, reason = "rustix does not wrap SIOCSIFFLAGS")]
pub(crate) fn interface_up(socket: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: all bytes zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero, as the kernel expects.
    for (to, from) in request.ifr_name.iter_mut().take(15).zip(name.to_bytes()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).unwrap_or(i16::MAX);
    // SAFETY: the request is an ifreq, as this ioctl expects, and outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether the processor has the 32-bit instructions of its family too.
#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "nobody else wraps personality")]
pub(crate) fn can_be_32_bits() -> bool {
    const PER_LINUX32: libc::c_ulong = 8;
    // SAFETY: takes no pointers, and changes nothing but what this thread is told about the machine, until it is
    // changed back.
    let before = unsafe { libc::personality(0xffff_ffff) };
    let (Ok(before), true) = (libc::c_ulong::try_from(before), before >= 0) else {
        return false;
    };
    // SAFETY: as above.
    let is_known = unsafe { libc::personality(PER_LINUX32) } >= 0;
    // SAFETY: as above.
    unsafe { libc::personality(before) };
    is_known
}

/// A set of signals that [`SignalSet::block`] blocks and [`SignalSet::wait`] takes one by one.
#[derive(Clone, Copy)]
pub(crate) struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// Returns the set of exactly these signals.
    #[expect(unsafe_code, reason = "rustix has no safe signal sets")]
    pub(crate) fn of(signals: &[i32]) -> Self {
        // SAFETY: all bytes zero is a valid sigset_t: the empty set.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        for signal in signals {
            // SAFETY: `set` is a valid set; a number that is no signal is refused with an error and adds nothing.
            unsafe { libc::sigaddset(&raw mut set, *signal) };
        }
        Self(set)
    }

    /// Makes this the set of blocked signals of this thread.
    #[expect(unsafe_code, reason = "rustix has no safe signal masks")]
    pub(crate) fn block(&self) -> io::Result<()> {
        // SAFETY: the set outlives the call; the old mask is not asked for.
        let result =
            unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Waits until a signal of the set is pending, takes it and returns it.
    #[expect(unsafe_code, reason = "rustix does not wrap sigwaitinfo")]
    pub(crate) fn wait(&self) -> io::Result<i32> {
        // SAFETY: the set outlives the call; details of the signal are not asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const self.0, ptr::null_mut()) };
        if signal > 0 {
            Ok(signal)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// Gives every signal its default action. An ignored signal would stay ignored across `execve`, and Rust programs
/// ignore `SIGPIPE`.
#[expect(unsafe_code, reason = "rustix does not wrap sigaction")]
pub(crate) fn default_signal_actions() {
    for signal in 1..=64 {
        // SAFETY: no handler is installed; numbers that cannot be changed are refused with an error.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Gives one signal its default action.
#[expect(unsafe_code, reason = "rustix does not wrap sigaction")]
pub(crate) fn default_signal_action(signal: i32) {
    // SAFETY: no handler is installed; a number that cannot be changed is refused with an error.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ignores one signal.
#[expect(unsafe_code, reason = "rustix does not wrap sigaction")]
pub(crate) fn ignore_signal(signal: i32) {
    // SAFETY: no handler is installed; a number that cannot be changed is refused with an error.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// `kill(2)`; a negative `pid` means a process group.
#[expect(unsafe_code, reason = "rustix takes named signals only")]
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes no pointers.
    let result = unsafe { libc::kill(pid, signal) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
