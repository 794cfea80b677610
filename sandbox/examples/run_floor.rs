//! What a step costs at least: a process in its own mount and pid namespaces, on an overlay, and nothing else.
//!
//! `run_floor N ROOT SCRATCH PROGRAM [ARG…]` does that N times on the root file system ROOT, with upper directories
//! below SCRATCH, and prints the seconds of each; `run_floor N` starts `/bin/true` N times instead, with no namespace.
//! No shell, no /proc, no limits, no seccomp: a floor for comparisons, not something to run untrusted programs with.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::ptr;
use std::time::Instant;

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
};

fn main() -> io::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let count = args.next().and_then(|count| count.to_str()?.parse().ok());
    let count: u32 = count.ok_or_else(|| io::Error::other("how many times?"))?;
    let rest: Vec<OsString> = args.collect();
    for number in 0..count {
        let start = Instant::now();
        let status = match rest.as_slice() {
            [] => Command::new("/bin/true").status()?,
            [root, scratch, program @ ..] if !program.is_empty() => isolated(
                Path::new(root),
                &Path::new(scratch).join(number.to_string()),
                program,
            )?,
            _ => return Err(io::Error::other("a root, a scratch folder and a program")),
        };
        if !status.success() {
            return Err(io::Error::other(format!("the program ended with {status}")));
        }
        println!("{:.6}", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Runs one program on an overlay of its own and waits for it.
fn isolated(root: &Path, scratch: &Path, program: &[OsString]) -> io::Result<ExitStatus> {
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    fs_err::create_dir_all(&upper)?;
    fs_err::create_dir_all(&work)?;
    let c_string = |text: &OsString| CString::new(text.as_bytes()).map_err(io::Error::from);
    let program: Vec<CString> = program.iter().map(c_string).collect::<Result<_, _>>()?;
    let child = clone_with(libc::CLONE_NEWNS | libc::CLONE_NEWPID)?;
    if child == 0 {
        let failed = match enter(root, &upper, &work) {
            Ok(()) => execute(&program),
            Err(error) => error,
        };
        println!("{failed}");
        leave(127);
    }
    wait_for(child)
}

/// Mounts the overlay and makes it this process's root.
fn enter(root: &Path, upper: &Path, work: &Path) -> io::Result<()> {
    let private = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    let overlay = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("lowerdir", root), ("upperdir", upper), ("workdir", work)] {
        rustix::mount::fsconfig_set_string(&overlay, key, value)?;
    }
    rustix::mount::fsconfig_set_flag(&overlay, "volatile")?;
    rustix::mount::fsconfig_create(&overlay)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let mounted = rustix::mount::fsmount(&overlay, flags, MountAttrFlags::empty())?;
    let here = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&mounted, "", rustix::fs::CWD, root, here)?;
    rustix::process::chdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

#[expect(unsafe_code, reason = "std knows no namespaces")]
fn clone_with(flags: i32) -> io::Result<i32> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: a fork with namespaces: no stack and no thread-local storage is given, and this program has one thread.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match i32::try_from(result) {
        Ok(pid) if pid >= 0 => Ok(pid),
        _ => Err(io::Error::last_os_error()),
    }
}

#[expect(unsafe_code, reason = "std's exec searches PATH outside")]
fn execute(program: &[CString]) -> io::Error {
    let pointers = program.iter().map(|arg| arg.as_ptr());
    let argv: Vec<*const libc::c_char> = pointers.chain([ptr::null()]).collect();
    // SAFETY: the strings and the array, which a null pointer ends, outlive the call.
    unsafe { libc::execv(argv[0], argv.as_ptr()) };
    io::Error::last_os_error()
}

#[expect(unsafe_code, reason = "std's exit runs what belongs to the parent")]
fn leave(code: i32) -> ! {
    // SAFETY: takes no pointers.
    unsafe { libc::_exit(code) }
}

#[expect(unsafe_code, reason = "std waits for its own children only")]
fn wait_for(child: i32) -> io::Result<ExitStatus> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    match unsafe { libc::waitpid(child, &raw mut status, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(ExitStatus::from_raw(status)),
    }
}
