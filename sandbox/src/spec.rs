//! What a step is: plain data, complete in itself, with no open files and nothing of this machine but paths.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// One process to run, and everything that it may see.
///
/// The environment is exactly `env`; nothing is added to it or taken from the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The root file system.
    pub root: Root,
    /// Program and arguments. A program without `/` is looked up in the `PATH` of `env`, inside the root.
    pub argv: Vec<OsString>,
    /// `NAME=value` strings, in order.
    pub env: Vec<OsString>,
    /// Working directory inside the root; it must exist. Symbolic links in it are resolved inside the root.
    pub cwd: PathBuf,
    /// User of the process, as the root file system numbers them.
    pub uid: u32,
    /// Group of the process.
    pub gid: u32,
    /// Supplementary groups; exactly these.
    pub groups: Vec<u32>,
    /// Host name, at most 64 bytes.
    pub hostname: String,
    /// What of the network is there.
    pub network: Network,
    /// Content of `/etc/hosts`, which is then read-only; empty: the root's own file stays.
    pub hosts: Vec<u8>,
    /// Content of `/etc/resolv.conf`, which is then read-only; empty: the root's own file stays.
    pub resolv_conf: Vec<u8>,
    /// Further mounts; parents are mounted before what lies below them, whatever the order here.
    pub mounts: Vec<Mount>,
    /// Limits that differ from the defaults.
    pub rlimits: Vec<Rlimit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// The most processes and threads that the step may have at once, at least 301; 0 for no limit of its own.
    ///
    /// Enforced by the pid namespace on Linux 6.14 and later, before that only without privileges, by
    /// `RLIMIT_NPROC`, which then counts all running steps together.
    pub max_tasks: u32,
    /// Pretend that there are other users than root: who a process is, whom it becomes and whom files belong to is kept
    /// beside what the kernel knows ([`crate::OwnerRecord`]) and shown to it. Every process can do what root can.
    ///
    /// Meant for [`crate::Mode::SingleId`], where there is no second id to change to.
    pub fake_ownership: bool,
    /// With [`Spec::fake_ownership`], a file of [`crate::JournalLine`]s: what is known of the layers below, to which the
    /// step adds.
    pub owner_journal: Option<PathBuf>,
    /// All that this process may do, the program may: no system call is filtered, `/proc` and `/sys` are as they are,
    /// nothing is scoped. The namespaces stay. Only after [`crate::Zygote::start_for`] with
    /// [`Privileges::OnDemand`]; with [`Spec::fake_ownership`] calls are filtered all the same.
    pub privileged: bool,
}

/// What a helper process can give its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Privileges {
    /// Never more than Docker's default capabilities.
    #[default]
    Few,
    /// All that there are, to steps that are [`Spec::privileged`].
    OnDemand,
}

impl Spec {
    /// Returns a specification that runs `argv` as root in `/`, with a usual `PATH`, the invoker's network and
    /// BuildKit's defaults for the rest.
    #[must_use]
    pub fn new(root: Root, argv: Vec<OsString>) -> Self {
        Self {
            root,
            argv,
            env: vec![OsString::from(format!("PATH={DEFAULT_PATH}"))],
            cwd: PathBuf::from("/"),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            hostname: String::from("buildkitsandbox"),
            network: Network::Host,
            hosts: Vec::new(),
            resolv_conf: Vec::new(),
            mounts: Vec::new(),
            rlimits: Vec::new(),
            shm_size: 64 << 20,
            max_tasks: MAX_TASKS,
            fake_ownership: false,
            owner_journal: None,
            privileged: false,
        }
    }
}

/// The most processes and threads of a step, unless something else is wanted: as many as there are process ids on most
/// machines.
pub const MAX_TASKS: u32 = 32_768;

/// Where programs are looked for when `env` has no `PATH`; Docker's default for Linux.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The root file system of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// An overlay; changes land in `upper`.
    Overlay {
        /// Read-only layers, topmost first; 1 to 500.
        lowers: Vec<PathBuf>,
        /// Usually an empty directory, on a file system that can carry one (see [`crate::probe_overlay`]). It can be
        /// an upper directory once; from then on it can be a lower layer.
        upper: PathBuf,
        /// An empty directory on the same file system as `upper`.
        work: PathBuf,
        /// Keep overlay's own attributes in `user.overlay.*`, as a user namespace requires.
        userxattr: bool,
    },
    /// A directory that is changed in place.
    Directory(PathBuf),
}

/// What a step sees of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The network of the invoking process.
    Host,
    /// A loopback interface and nothing else.
    None,
}

/// Something that is mounted for the time of the step and leaves no trace in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path inside the root; symbolic links in it are resolved inside the root.
    pub target: PathBuf,
    /// What to mount.
    pub kind: MountKind,
}

/// What is mounted on a target. Every kind is `nosuid` and `nodev`; none propagates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory from elsewhere, with the mounts below it.
    Bind {
        /// Where it is.
        source: BindSource,
        /// What it is, and therefore what the target has to be.
        target_kind: TargetKind,
        /// Whether the step may not change it.
        read_only: bool,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Limit in bytes; `None` for the kernel's default, half of the memory.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
    },
    /// A read-only file that lives in memory, for scripts and secrets.
    File {
        /// Its content.
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// Where a bind mount comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindSource {
    /// A path that the caller vouches for, absolute. Symbolic links are followed.
    Path(PathBuf),
    /// A path inside a directory whose content nobody vouches for: links and `..` stay inside it.
    Inside {
        /// The directory, absolute.
        root: PathBuf,
        /// The path in it.
        path: PathBuf,
    },
    /// A path inside a stack of layers, for example another stage's root file system.
    Stack {
        /// The layers, topmost first.
        lowers: Vec<PathBuf>,
        /// Where changes go; `None`: there can be none.
        upper: Option<Upper>,
        /// Keep overlay's own attributes in `user.overlay.*`.
        userxattr: bool,
        /// The path in the merged view; links and `..` stay inside it.
        path: PathBuf,
    },
}

/// The writable part of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upper {
    /// The upper directory.
    pub upper: PathBuf,
    /// The work directory, on the same file system.
    pub work: PathBuf,
}

/// What a mount target has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A directory.
    Directory,
    /// Anything that is not a directory.
    File,
}

/// A resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    /// What is limited.
    pub resource: Resource,
    /// The limit that holds; `u64::MAX` for none.
    pub soft: u64,
    /// How far the process may raise it; `u64::MAX` for no bound.
    pub hard: u64,
}

/// A resource of `setrlimit(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Size of the address space, in bytes.
    As,
    /// Size of a core file, in bytes.
    Core,
    /// Processor time, in seconds.
    Cpu,
    /// Size of the data segment, in bytes.
    Data,
    /// Size of a file, in bytes.
    Fsize,
    /// Number of file locks.
    Locks,
    /// Locked memory, in bytes.
    Memlock,
    /// Bytes in message queues.
    Msgqueue,
    /// Niceness, as 20 minus the lowest nice value.
    Nice,
    /// Number of open files.
    Nofile,
    /// Number of processes of the user.
    Nproc,
    /// Resident memory, in bytes; not enforced by Linux.
    Rss,
    /// Real-time priority.
    Rtprio,
    /// Real-time processor time without a system call, in microseconds.
    Rttime,
    /// Number of queued signals.
    Sigpending,
    /// Size of the stack, in bytes.
    Stack,
}

/// All resources with the names that `docker build --ulimit` knows them by.
const RESOURCES: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

impl Resource {
    /// Returns the resource of that name (`nofile`, `core`, …), as `--ulimit` spells it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        RESOURCES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, resource)| *resource)
    }

    /// Returns the name that [`Resource::from_name`] knows.
    #[must_use]
    pub fn name(self) -> &'static str {
        RESOURCES
            .iter()
            .find(|(_, resource)| *resource == self)
            .map_or("", |(name, _)| name)
    }
}

/// Directories that the sandbox mounts over in every step. Targets below them are made by the sandbox itself.
const OWN_DIRECTORIES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Returns what must exist in the root before the step, in mount order, each with what it has to be.
///
/// Targets that lie below another mount are not listed: the root never shows them, and the sandbox makes them where
/// the mount above allows it. Paths are as given in the specification, not resolved.
#[must_use]
pub fn mount_points(spec: &Spec) -> Vec<(PathBuf, TargetKind)> {
    let mut points: Vec<(PathBuf, TargetKind)> = OWN_DIRECTORIES
        .iter()
        .map(|path| (PathBuf::from(path), TargetKind::Directory))
        .collect();
    let covers: Vec<&Path> = OWN_DIRECTORIES
        .iter()
        .map(Path::new)
        .chain(spec.mounts.iter().map(|mount| mount.target.as_path()))
        .collect();
    for mount in in_mount_order(spec) {
        let covered = covers
            .iter()
            .any(|cover| mount.target.starts_with(cover) && mount.target != *cover);
        let point = (mount.target.clone(), mount.kind.target_kind());
        if !covered && !points.contains(&point) {
            points.push(point);
        }
    }
    points
}

impl MountKind {
    /// Returns what the target has to be.
    #[must_use]
    pub fn target_kind(&self) -> TargetKind {
        match self {
            Self::Bind { target_kind, .. } => *target_kind,
            Self::Tmpfs { .. } => TargetKind::Directory,
            Self::File { .. } => TargetKind::File,
        }
    }
}

/// Returns the mounts of the step, those for `hosts` and `resolv_conf` among them, parents first.
pub(crate) fn in_mount_order(spec: &Spec) -> Vec<Mount> {
    let mut mounts = spec.mounts.clone();
    for (target, content) in [
        ("/etc/hosts", &spec.hosts),
        ("/etc/resolv.conf", &spec.resolv_conf),
    ] {
        if !content.is_empty() {
            let kind = MountKind::File {
                content: content.clone(),
                mode: 0o644,
                uid: 0,
                gid: 0,
            };
            mounts.push(Mount {
                target: PathBuf::from(target),
                kind,
            });
        }
    }
    mounts.sort_by_key(|mount| mount.target.components().count());
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(target: &str) -> Mount {
        let kind = MountKind::File {
            content: b"x".to_vec(),
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        Mount {
            target: PathBuf::from(target),
            kind,
        }
    }

    fn tmpfs(target: &str) -> Mount {
        Mount {
            target: PathBuf::from(target),
            kind: MountKind::Tmpfs {
                size: None,
                mode: 0o755,
            },
        }
    }

    fn names(spec: &Spec) -> Vec<String> {
        mount_points(spec)
            .iter()
            .map(|(path, _)| path.display().to_string())
            .collect()
    }

    #[test]
    fn mount_points_list_what_the_root_must_have() {
        let mut spec = Spec::new(Root::Directory(PathBuf::from("/r")), Vec::new());
        assert_eq!(names(&spec), ["/dev", "/proc", "/sys"]);
        spec.hosts = b"127.0.0.1 localhost\n".to_vec();
        spec.mounts = vec![
            file("/cache/deep/f"),
            tmpfs("/cache"),
            file("/dev/pipes/EOF"),
            tmpfs("/t"),
        ];
        assert_eq!(
            names(&spec),
            ["/dev", "/proc", "/sys", "/cache", "/t", "/etc/hosts"]
        );
        let kinds: Vec<TargetKind> = mount_points(&spec).iter().map(|(_, kind)| *kind).collect();
        assert_eq!(kinds[3], TargetKind::Directory);
        assert_eq!(kinds[5], TargetKind::File);
    }

    #[test]
    fn parents_are_mounted_first() {
        let mut spec = Spec::new(Root::Directory(PathBuf::from("/r")), Vec::new());
        spec.mounts = vec![file("/a/b/c"), tmpfs("/a"), tmpfs("/a/b")];
        let order: Vec<String> = in_mount_order(&spec)
            .iter()
            .map(|m| m.target.display().to_string())
            .collect();
        assert_eq!(order, ["/a", "/a/b", "/a/b/c"]);
    }

    #[test]
    fn resources_have_names() {
        for (name, resource) in RESOURCES {
            assert_eq!(Resource::from_name(name), Some(resource));
            assert_eq!(resource.name(), name);
        }
        assert_eq!(Resource::from_name("files"), None);
    }
}
