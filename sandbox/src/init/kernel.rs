//! The kernel's own file systems in the root: `/proc`, `/sys` and `/dev`, and what of them must not be seen or changed.
//!
//! What lies below one of them is found from that mount, never from the root, so that links in an image lead nowhere.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::limits;
use super::root::{Staging, open_target};
use crate::files::{INERT, Reach, attach, clone_of, new_mount, open_beneath, open_directory, stat};
use crate::spec::Spec;
use crate::status::{Doing as _, Failure, ignore};

/// Device nodes of the host that every step sees, with their numbers. `tty` answers `ENXIO`: no step has a terminal.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Symbolic links in `/dev`.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// Files and directories of `/proc` that tell about the machine; they are covered by something empty.
const HIDDEN_IN_PROC: [&str; 10] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "scsi",
];

/// The same of `/sys`.
const HIDDEN_IN_SYS: [&str; 2] = ["firmware", "devices/virtual/powercap"];

/// Files and directories of `/proc` that change the machine; they are made read-only.
const READ_ONLY_IN_PROC: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// What of a specification decides how these file systems look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traits {
    privileged: bool,
    fake_ownership: bool,
    /// Bytes of `/dev/shm`.
    shm_size: u64,
}

impl Traits {
    /// Length of [`Traits::to_bytes`].
    pub(crate) const LENGTH: usize = 10;

    pub(crate) fn of(spec: &Spec) -> Self {
        Self {
            privileged: spec.privileged,
            fake_ownership: spec.fake_ownership,
            shm_size: spec.shm_size,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let [privileged, fake_ownership, size @ ..] = &mut bytes;
        *privileged = self.privileged.into();
        *fake_ownership = self.fake_ownership.into();
        *size = self.shm_size.to_le_bytes();
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let [privileged, fake_ownership, size @ ..] = bytes;
        Self {
            privileged: privileged != 0,
            fake_ownership: fake_ownership != 0,
            shm_size: u64::from_le_bytes(size),
        }
    }
}

/// The three file systems with all that is mounted in them, not attached anywhere yet. They need nothing of the step's
/// but its namespaces, so they can be there before it.
#[derive(Debug)]
pub(super) struct Mounts {
    pub proc: Proc,
    pub sys: OwnedFd,
    pub dev: OwnedFd,
}

impl Mounts {
    /// Mounts them, and takes out of sight what a step must not see.
    pub(super) fn make(
        traits: Traits,
        may_share_proc: bool,
        own_pid_max: bool,
    ) -> Result<Self, Failure> {
        let nodes = open_nodes()?;
        // Only what is attached can have other mounts in it. The area covers a part of the host, so it goes again.
        let staging = Staging::new()?;
        let mut proc = mount_proc(&staging, may_share_proc)?;
        let sys = mount_sys(&staging, traits.privileged)?;
        let dev = mount_dev(&staging, traits, &nodes)?;
        // A shared one is read-only; the limit of the user's processes is there still.
        if own_pid_max && !proc.is_shared {
            proc.pid_max = Some(limits::open_pid_max(proc.fd.as_fd())?);
        }
        if !traits.privileged {
            hide(&staging, &proc, sys.as_fd(), nodes.null.as_fd())?;
        }
        let detached = |mount: &OwnedFd| {
            let as_it_is = MountAttrFlags::empty();
            clone_of(mount.as_fd(), as_it_is, Reach::WithMountsBelow)
        };
        proc.fd = detached(&proc.fd)?;
        let mounts = Self {
            proc,
            sys: detached(&sys)?,
            dev: detached(&dev)?,
        };
        staging.remove()?;
        Ok(mounts)
    }

    /// Attaches them where they belong in `root`. They were made for steps that are `privileged`, or are not.
    pub(super) fn attach(&self, root: BorrowedFd<'_>, privileged: bool) -> Result<(), Failure> {
        let mounts = [
            ("proc", &self.proc.fd),
            ("sys", &self.sys),
            ("dev", &self.dev),
        ];
        for (name, mount) in mounts {
            let target = open_target(root, name, OFlags::DIRECTORY)?;
            attach(mount.as_fd(), target.as_fd()).doing(|| format!("attach /{name}"))?;
        }
        mount_cgroup(&self.sys, sys_attributes(privileged));
        Ok(())
    }
}

/// The host's device nodes, opened and verified.
#[derive(Debug)]
struct Nodes {
    /// `/dev/null`.
    null: OwnedFd,
    /// The others that there are, `null` again among them.
    all: Vec<(&'static str, OwnedFd)>,
}

/// Opens the host's device nodes, and checks by number that each is what its name says.
fn open_nodes() -> Result<Nodes, Failure> {
    let mut all = Vec::new();
    for (name, major, minor) in NODES {
        let opening = || format!("open the device /dev/{name}");
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(CWD, format!("/dev/{name}"), flags, Mode::empty()) {
            Err(Errno::NOENT) if name == "tty" => continue,
            result => result.doing(opening)?,
        };
        let found = stat(fd.as_fd()).doing(opening)?;
        let numbers = (
            rustix::fs::major(found.st_rdev),
            rustix::fs::minor(found.st_rdev),
        );
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind != FileType::CharacterDevice || numbers != (major, minor) {
            let step = format!("trust /dev/{name}: it is not character device {major}:{minor}");
            return Err(Failure {
                step,
                errno: libc::ENODEV,
            });
        }
        all.push((name, fd));
    }
    let null = all
        .first()
        .ok_or(Errno::NOENT)
        .and_then(|(_, fd)| rustix::io::fcntl_dupfd_cloexec(fd, 3))
        .doing(|| String::from("open the device /dev/null"))?;
    Ok(Nodes { null, all })
}

/// A step's `/proc`.
#[derive(Debug)]
pub(super) struct Proc {
    /// The mount.
    pub fd: OwnedFd,
    /// Whether it is the one that this program sees, and not of the step's own pid namespace.
    pub is_shared: bool,
    /// The highest pid, opened for writing, where that is the pid namespace's own.
    pub pid_max: Option<OwnedFd>,
}

/// Mounts a `/proc` of the step's own pid namespace.
///
/// In most containers the kernel refuses that, because what the container hides of `/proc` would be seen. There, and if
/// `may_share`, the step gets the one that is seen here, with all that covers parts of it, for reading only. Its
/// numbers of processes are not the step's own, but `/proc/self` is right. What must keep steps from each other's
/// processes is Landlock then, which counts every step as somebody else.
fn mount_proc(staging: &Staging, may_share: bool) -> Result<Proc, Failure> {
    let (fd, is_shared) = match new_mount("proc", &[], INERT) {
        Err(Errno::PERM) if may_share => {
            let host = open_directory("/proc".as_ref())?;
            let attributes = INERT | MountAttrFlags::MOUNT_ATTR_RDONLY;
            let mount = clone_of(host.as_fd(), attributes, Reach::WithMountsBelow)?;
            (mount, true)
        }
        Err(Errno::PERM) => {
            let step = String::from(HIDDEN_HERE);
            return Err(Failure {
                step,
                errno: libc::EPERM,
            });
        }
        result => (result.doing(|| String::from("mount /proc"))?, false),
    };
    staging.attach(fd.as_fd(), "proc")?;
    Ok(Proc {
        fd,
        is_shared,
        pid_max: None,
    })
}

const HIDDEN_HERE: &str = "\
mount /proc (parts of this machine's own /proc are hidden, as in containers, and before Linux 6.12 it cannot be shared: \
start the container with --security-opt systempaths=unconfined, or with podman --security-opt unmask=ALL)";

/// Mounts `/sys`: a fresh one where the network namespace is ours to show, else the host's.
fn mount_sys(staging: &Staging, is_writable: bool) -> Result<OwnedFd, Failure> {
    let attributes = sys_attributes(is_writable);
    let mount = match new_mount("sysfs", &[], attributes) {
        Err(Errno::PERM | Errno::ACCESS | Errno::BUSY) => {
            let host = open_directory("/sys".as_ref())?;
            clone_of(host.as_fd(), attributes, Reach::WithMountsBelow)?
        }
        result => result.doing(|| String::from("mount /sys"))?,
    };
    staging.attach(mount.as_fd(), "sys")?;
    Ok(mount)
}

fn sys_attributes(is_writable: bool) -> MountAttrFlags {
    if is_writable {
        INERT
    } else {
        INERT | MountAttrFlags::MOUNT_ATTR_RDONLY
    }
}

/// Shows the step's own control group, from which programs read their limits. Without version 2 there is none. To be
/// called when the process is in its group.
fn mount_cgroup(sys: &OwnedFd, attributes: MountAttrFlags) {
    const CGROUP2: rustix::fs::FsWord = 0x6367_7270;
    let Ok(host) = rustix::fs::statfs("/sys/fs/cgroup") else {
        return;
    };
    if host.f_type != CGROUP2 {
        return;
    }
    let attached = new_mount("cgroup2", &[], attributes).and_then(|mount| {
        let target = open_beneath(sys, "fs/cgroup")?;
        attach(mount.as_fd(), target.as_fd())
    });
    ignore(attached); // programs that look for limits find none
}

/// Mounts a `/dev` with the usual nodes, links, pseudo-terminals, shared memory and message queues.
fn mount_dev(staging: &Staging, traits: Traits, nodes: &Nodes) -> Result<OwnedFd, Failure> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let dev = new_mount("tmpfs", &[("mode", "0755"), ("size", "64m")], attributes)
        .doing(|| String::from("mount /dev"))?;
    staging.attach(dev.as_fd(), "dev")?;

    for (name, node) in &nodes.all {
        let making = || format!("show the device /dev/{name}");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(rustix::fs::openat(&dev, *name, flags, Mode::from_raw_mode(0o666)).doing(making)?);
        let target = open_beneath(&dev, name).doing(making)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let mount = clone_of(node.as_fd(), attributes, Reach::ThisOnly)?;
        attach(mount.as_fd(), target.as_fd()).doing(making)?;
    }
    for (name, points_to) in LINKS {
        rustix::fs::symlinkat(points_to, &dev, name).doing(|| format!("make /dev/{name}"))?;
    }
    // With one mapped id there is no group 5 (tty), which is the usual owner.
    let group = if traits.fake_ownership { "0" } else { "5" };
    let pts = [
        ("newinstance", ""),
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("gid", group),
    ];
    let size = traits.shm_size.to_string();
    below_dev(
        &dev,
        "pts",
        "devpts",
        &pts,
        INERT - MountAttrFlags::MOUNT_ATTR_NODEV,
    )?;
    below_dev(
        &dev,
        "shm",
        "tmpfs",
        &[("mode", "1777"), ("size", &size)],
        INERT,
    )?;
    match below_dev(&dev, "mqueue", "mqueue", &[], INERT) {
        Err(failure) if failure.errno == libc::ENODEV => {} // a kernel without message queues
        result => result?,
    }
    Ok(dev)
}

fn below_dev(
    dev: &OwnedFd,
    name: &str,
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<(), Failure> {
    let mounting = || format!("mount /dev/{name}");
    rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).doing(mounting)?;
    let mount = match kind {
        "devpts" => new_devpts(options, attributes),
        _ => new_mount(kind, options, attributes),
    };
    let mount = mount.doing(mounting)?;
    let target = open_beneath(dev, name).doing(mounting)?;
    attach(mount.as_fd(), target.as_fd()).doing(mounting)
}

/// `newinstance` is a flag, the only one among the options here.
fn new_devpts(options: &[(&str, &str)], attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
        fsmount, fsopen,
    };
    let context = fsopen("devpts", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match *value {
            "" => fsconfig_set_flag(&context, *key)?,
            value => fsconfig_set_string(&context, *key, value)?,
        }
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Covers what tells about the machine, and makes read-only what changes it.
fn hide(
    staging: &Staging,
    proc: &Proc,
    sys: BorrowedFd<'_>,
    null: BorrowedFd<'_>,
) -> Result<(), Failure> {
    let places = HIDDEN_IN_PROC
        .iter()
        .map(|path| (proc.fd.as_fd(), "/proc", path))
        .chain(HIDDEN_IN_SYS.iter().map(|path| (sys, "/sys", path)));
    for (tree, name, path) in places {
        let hiding = || format!("hide {name}/{path}");
        let target = match open_beneath(tree, path) {
            Err(Errno::NOENT) => continue,
            result => result.doing(hiding)?,
        };
        let kind = FileType::from_raw_mode(stat(target.as_fd()).doing(hiding)?.st_mode);
        let cover = if kind == FileType::Directory {
            staging.mount_of("empty", INERT | MountAttrFlags::MOUNT_ATTR_RDONLY)?
        } else {
            clone_of(null, MountAttrFlags::empty(), Reach::ThisOnly)?
        };
        attach(cover.as_fd(), target.as_fd()).doing(hiding)?;
    }
    if proc.is_shared {
        return Ok(()); // all of it is read-only
    }
    for path in READ_ONLY_IN_PROC {
        let changing = || format!("make /proc/{path} read-only");
        let target = match open_beneath(&proc.fd, path) {
            Err(Errno::NOENT) => continue,
            result => result.doing(changing)?,
        };
        let attributes = INERT | MountAttrFlags::MOUNT_ATTR_RDONLY;
        let mount = clone_of(target.as_fd(), attributes, Reach::ThisOnly)?;
        attach(mount.as_fd(), target.as_fd()).doing(changing)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documented::{sorted, words_behind};

    #[test]
    fn the_documented_places_are_those_that_are_protected() {
        let nodes = NODES.iter().map(|(name, _, _)| *name);
        assert_eq!(words_behind("### Devices"), sorted(nodes));
        assert_eq!(words_behind("Of `/proc`:"), sorted(HIDDEN_IN_PROC));
        assert_eq!(words_behind("Of `/sys`:"), sorted(HIDDEN_IN_SYS));
        assert_eq!(words_behind("### Read-only"), sorted(READ_ONLY_IN_PROC));
    }
}
