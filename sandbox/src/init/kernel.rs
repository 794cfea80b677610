//! The kernel's own file systems in the root: `/proc`, `/sys` and `/dev`, and what of them must not be seen or changed.
//!
//! What lies below one of them is found from that mount, never from the root, so that links in an image lead nowhere.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::root::{NewRoot, open_target};
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

/// The host's device nodes, opened and verified.
#[derive(Debug)]
pub(super) struct Nodes {
    /// `/dev/null`.
    pub null: OwnedFd,
    /// The others that there are, `null` again among them.
    all: Vec<(&'static str, OwnedFd)>,
}

/// Opens the host's device nodes, and checks by number that each is what its name says.
pub(super) fn open_nodes() -> Result<Nodes, Failure> {
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
}

/// Mounts a `/proc` of the step's own pid namespace.
///
/// In most containers the kernel refuses that, because what the container hides of `/proc` would be seen. There, and if
/// `may_share`, the step gets the one that is seen here, with all that covers parts of it, for reading only. Its
/// numbers of processes are not the step's own, but `/proc/self` is right. What must keep steps from each other's
/// processes is Landlock then, which counts every step as somebody else.
pub(super) fn mount_proc(root: BorrowedFd<'_>, may_share: bool) -> Result<Proc, Failure> {
    let target = open_target(root, "proc", OFlags::DIRECTORY)?;
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
    attach(fd.as_fd(), target.as_fd()).doing(|| String::from("attach /proc"))?;
    Ok(Proc { fd, is_shared })
}

const HIDDEN_HERE: &str = "\
mount /proc (parts of this machine's own /proc are hidden, as in containers, and before Linux 6.12 it cannot be shared: \
start the container with --security-opt systempaths=unconfined, or with podman --security-opt unmask=ALL)";

/// Mounts `/sys`: a fresh one where the network namespace is ours to show, else the host's.
pub(super) fn mount_sys(root: BorrowedFd<'_>, is_writable: bool) -> Result<OwnedFd, Failure> {
    let target = open_target(root, "sys", OFlags::DIRECTORY)?;
    let mut attributes = INERT;
    if !is_writable {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let mount = match new_mount("sysfs", &[], attributes) {
        Err(Errno::PERM | Errno::ACCESS | Errno::BUSY) => {
            let host = open_directory("/sys".as_ref())?;
            clone_of(host.as_fd(), attributes, Reach::WithMountsBelow)?
        }
        result => result.doing(|| String::from("mount /sys"))?,
    };
    attach(mount.as_fd(), target.as_fd()).doing(|| String::from("attach /sys"))?;
    mount_cgroup(&mount, attributes);
    Ok(mount)
}

/// Shows the step's own control group, from which programs read their limits. Without version 2 there is none.
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
pub(super) fn mount_dev(
    root: BorrowedFd<'_>,
    spec: &Spec,
    nodes: &Nodes,
) -> Result<OwnedFd, Failure> {
    let target = open_target(root, "dev", OFlags::DIRECTORY)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let dev = new_mount("tmpfs", &[("mode", "0755"), ("size", "64m")], attributes)
        .doing(|| String::from("mount /dev"))?;
    attach(dev.as_fd(), target.as_fd()).doing(|| String::from("attach /dev"))?;

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
    let group = if spec.fake_ownership { "0" } else { "5" };
    let pts = [
        ("newinstance", ""),
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("gid", group),
    ];
    let size = spec.shm_size.to_string();
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
pub(super) fn hide(new: &NewRoot) -> Result<(), Failure> {
    let places = HIDDEN_IN_PROC
        .iter()
        .map(|path| (&new.proc.fd, "/proc", path))
        .chain(HIDDEN_IN_SYS.iter().map(|path| (&new.sys, "/sys", path)));
    for (tree, name, path) in places {
        let hiding = || format!("hide {name}/{path}");
        let target = match open_beneath(tree, path) {
            Err(Errno::NOENT) => continue,
            result => result.doing(hiding)?,
        };
        let kind = FileType::from_raw_mode(stat(target.as_fd()).doing(hiding)?.st_mode);
        let cover = if kind == FileType::Directory {
            new.staging
                .mount_of("empty", INERT | MountAttrFlags::MOUNT_ATTR_RDONLY)?
        } else {
            clone_of(new.null.as_fd(), MountAttrFlags::empty(), Reach::ThisOnly)?
        };
        attach(cover.as_fd(), target.as_fd()).doing(hiding)?;
    }
    if new.proc.is_shared {
        return Ok(()); // all of it is read-only
    }
    for path in READ_ONLY_IN_PROC {
        let changing = || format!("make /proc/{path} read-only");
        let target = match open_beneath(&new.proc.fd, path) {
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
