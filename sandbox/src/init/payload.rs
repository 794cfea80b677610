//! The program's own process, from pid 1's fork to `execve`: gives up what pid 1 has, in the one order that works.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use libc::sock_filter;
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType};

use super::limits;
use crate::datagram::send;
use crate::files::open_inside;
use crate::spec::{DEFAULT_PATH, Privileges, Spec};
use crate::status::{Doing as _, Failure, Status, ignore};
use crate::sys::{self, SignalSet, notify};

/// What Docker leaves to a container's root.
const CAPABILITIES: CapabilitySet = CapabilitySet::AUDIT_WRITE
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SYS_CHROOT);

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`.
const SCOPES: u64 = 3;

/// What is needed to become the program.
#[derive(Debug)]
pub(super) struct Program<'a> {
    /// The step.
    pub spec: &'a Spec,
    /// The system calls it may make; all if there is none.
    pub filter: Option<&'a [sock_filter]>,
    /// Who answers calls that the kernel cannot.
    pub owners: Option<Owners<'a>>,
    /// Why the bounding set could not be reduced, in which case no program may run.
    pub unbound: Option<&'a Failure>,
    /// What the helper process left.
    pub privileges: Privileges,
    /// Whether Landlock can keep it from abstract sockets and processes outside of the sandbox.
    pub scopes: bool,
    /// The root's `/dev`.
    pub dev: BorrowedFd<'a>,
    /// Where output goes.
    pub stdout: BorrowedFd<'a>,
    /// Where error output goes.
    pub stderr: BorrowedFd<'a>,
    /// The user namespace to run in, if it is not this process's.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// How to have calls answered that the kernel cannot.
#[derive(Debug)]
pub(super) struct Owners<'a> {
    /// Who answers.
    pub socket: BorrowedFd<'a>,
    /// The filter that asks.
    pub filter: &'a [sock_filter],
}

/// Becomes the program, or returns why not.
pub(super) fn become_program(program: &Program<'_>) -> Status {
    match give_up(program) {
        Ok(()) => Status::Exec(execute(program.spec)),
        Err(failure) => Status::Setup(failure),
    }
}

fn give_up(program: &Program<'_>) -> Result<(), Failure> {
    let spec = program.spec;
    // A session of its own has no terminal, so there is none to push characters into.
    rustix::process::setsid().doing(|| String::from("start a session"))?;
    connect(program)?;
    limits::set(spec)?;
    enter_directory(spec)?;
    if program.scopes {
        sys::landlock_scopes(SCOPES)
            .and_then(|ruleset| sys::landlock_enforce(ruleset.as_fd()))
            .doing(|| String::from("scope signals and abstract sockets by Landlock"))?;
    }
    if let Some(failure) = program.unbound {
        return Err(failure.clone());
    }
    match (program.privileges, spec.privileged) {
        (Privileges::Few, false) | (Privileges::OnDemand, true) => {}
        (Privileges::OnDemand, false) => drop_bounding_set()?,
        (Privileges::Few, true) => {
            return Err(Failure {
                step: String::from("run a privileged program: none is allowed here"),
                errno: libc::EPERM,
            });
        }
    }
    SignalSet::of(&[])
        .block()
        .doing(|| String::from("unblock signals"))?;
    if let Some(namespace) = program.namespace {
        enter_namespace(namespace)?;
    }
    // Without no_new_privs, which would break sudo, this needs CAP_SYS_ADMIN. All that follows must pass the filter.
    install_filter(program).doing(|| String::from("install the seccomp filter"))?;
    if !spec.fake_ownership {
        become_user(spec)?;
    }
    keep_capabilities(spec)?;
    sys::close_on_exec_from(3).doing(|| String::from("close descriptors"))
}

/// Where something listens already to another filter of this process (as some containers do), nobody answers, and owners
/// are forgotten.
fn install_filter(program: &Program<'_>) -> io::Result<()> {
    if let Some(owners) = &program.owners {
        match notify::install_filter_with_listener(owners.filter) {
            Ok(listener) => return Ok(send(owners.socket, &[0], &[listener.as_fd()])?),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
    program.filter.map_or(Ok(()), sys::install_filter)
}

/// Enters a user namespace in which ids are what they are here. That gives every capability in it anew.
fn enter_namespace(namespace: BorrowedFd<'_>) -> Result<(), Failure> {
    let kind = Some(LinkNameSpaceType::User);
    rustix::thread::move_into_link_name_space(namespace, kind)
        .doing(|| String::from("enter the user namespace for programs of other architectures"))?;
    drop_bounding_set()
}

/// Connects input to nothing and output to the pipes.
fn connect(program: &Program<'_>) -> Result<(), Failure> {
    let connecting = || String::from("connect the program's input and output");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::openat(program.dev, "null", flags, Mode::empty()).doing(connecting)?;
    rustix::stdio::dup2_stdin(null).doing(connecting)?;
    rustix::stdio::dup2_stdout(program.stdout).doing(connecting)?;
    rustix::stdio::dup2_stderr(program.stderr).doing(connecting)?;
    // So that the program's user can open /dev/stdout, which is a new opening of the pipe.
    let user = Some(Uid::from_raw(program.spec.uid));
    for output in [program.stdout, program.stderr] {
        let pipe = rustix::fs::fstat(output)
            .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo);
        if pipe && !program.spec.fake_ownership {
            ignore(rustix::fs::fchown(output, user, None)); // writing works without
        }
    }
    Ok(())
}

fn enter_directory(spec: &Spec) -> Result<(), Failure> {
    let entering = || format!("enter the working directory {}", spec.cwd.display());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(rustix::fs::CWD, "/", flags, Mode::empty()).doing(entering)?;
    let directory = open_inside(&root, &spec.cwd, OFlags::DIRECTORY).doing(entering)?;
    rustix::process::fchdir(&directory).doing(entering)?;
    // The kernel marks directories that cannot be reached from the root by a name without a slash in front.
    let name = rustix::process::getcwd(Vec::new()).doing(entering)?;
    if name.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Failure {
            step: entering(),
            errno: libc::EXDEV,
        })
    }
}

/// Takes from this process and all that it will start what no program may ever get by executing a file.
///
/// What the process itself can do stays as it is, so the helper does this once for all steps.
pub(super) fn drop_bounding_set() -> Result<(), Failure> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if CAPABILITIES.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Past the kernel's last one.
            Err(rustix::io::Errno::INVAL) => break,
            result => result.doing(|| String::from("drop capabilities"))?,
        }
    }
    rustix::thread::clear_ambient_capability_set()
        .doing(|| String::from("drop ambient capabilities"))
}

fn become_user(spec: &Spec) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(spec.uid), Gid::from_raw(spec.gid));
    let groups: Vec<Gid> = spec
        .groups
        .iter()
        .map(|group| Gid::from_raw(*group))
        .collect();
    let becoming = || {
        format!(
            "become user {}, group {} (is the id mapped?)",
            spec.uid, spec.gid
        )
    };
    rustix::thread::set_thread_groups(&groups).doing(becoming)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).doing(becoming)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).doing(becoming)
}

/// Keeps Docker's capabilities for root and none for others.
fn keep_capabilities(spec: &Spec) -> Result<(), Failure> {
    let dropping = || String::from("drop capabilities");
    let now = rustix::thread::capabilities(None).doing(dropping)?;
    let root = spec.fake_ownership || spec.uid == 0;
    let kept = if root && spec.privileged {
        now.permitted
    } else if root {
        CAPABILITIES & now.permitted
    } else {
        CapabilitySet::empty()
    };
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).doing(dropping)
}

/// Executes the program, and returns the error number if that fails.
fn execute(spec: &Spec) -> i32 {
    // Strings with NUL bytes were refused before the step was sent here.
    let strings = |words: &[std::ffi::OsString]| -> Result<Vec<CString>, i32> {
        let string = |word: &std::ffi::OsString| CString::new(word.as_bytes());
        words
            .iter()
            .map(string)
            .collect::<Result<_, _>>()
            .map_err(|_error| libc::EINVAL)
    };
    let (argv, env) = match (strings(&spec.argv), strings(&spec.env)) {
        (Ok(argv), Ok(env)) => (argv, env),
        (Err(errno), _) | (_, Err(errno)) => return errno,
    };
    let Some(name) = spec.argv.first() else {
        return libc::EINVAL;
    };
    let mut errno = libc::ENOENT;
    for candidate in candidates(name, &spec.env) {
        let error = sys::execve(&candidate, &argv, &env)
            .raw_os_error()
            .unwrap_or(libc::EIO);
        match error {
            libc::ENOENT | libc::ENOTDIR => {}
            // Somewhere further on there may be one that can be executed; if not, this is the better reason.
            libc::EACCES => errno = error,
            _ => return error,
        }
    }
    errno
}

/// The paths at which a program may be: itself if it has a slash, else one in each directory of `PATH`.
fn candidates(name: &OsStr, env: &[std::ffi::OsString]) -> Vec<CString> {
    let name = name.as_bytes();
    if name.contains(&b'/') {
        return CString::new(name).into_iter().collect();
    }
    let path = env
        .iter()
        .rev()
        .find_map(|variable| variable.as_bytes().strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH.as_bytes());
    path.split(|byte| *byte == b':')
        .filter_map(|directory| {
            let directory = if directory.is_empty() {
                b".".as_slice()
            } else {
                directory
            };
            CString::new([directory, b"/", name].concat()).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::documented::{sorted, words_behind};

    #[test]
    fn programs_are_looked_up_in_the_path_of_the_step() {
        let check = |name: &str, env: &[&str], expected: &[&str]| {
            let env: Vec<OsString> = env.iter().map(OsString::from).collect();
            let found = candidates(OsStr::new(name), &env);
            let found: Vec<&str> = found.iter().map(|path| path.to_str().unwrap()).collect();
            assert_eq!(found, expected);
        };
        check("/bin/sh", &["PATH=/x"], &["/bin/sh"]);
        check("./run", &[], &["./run"]);
        check("sh", &["PATH=/a:/b"], &["/a/sh", "/b/sh"]);
        check("sh", &["PATH=/a", "PATH=/b"], &["/b/sh"]);
        check("sh", &["PATH=:/b"], &["./sh", "/b/sh"]);
        check("sh", &["XPATH=/a", "PATH=/b"], &["/b/sh"]);
        assert_eq!(candidates(OsStr::new("sh"), &[]).len(), 6);
    }

    #[test]
    fn capabilities_are_dockers() {
        assert_eq!(CAPABILITIES.bits(), 0xa804_25fb);
        let names = CAPABILITIES.iter_names().map(|(name, _)| name);
        assert_eq!(words_behind("### Capabilities"), sorted(names));
    }
}
