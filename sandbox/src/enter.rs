//! Becoming root of a private mount namespace, by the best means that the machine allows.

use std::fmt;
use std::io;
use std::os::fd::AsFd as _;

use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, unmount};
use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::error::SandboxError;
use crate::explain;
use crate::files;
use crate::idmap::{self, Helper, Map};
use crate::sys::{self, SingleThread};

/// What kind of isolation is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// The first of the others, in their order, that this process can have.
    #[default]
    Auto,
    /// See [`Mode::Root`].
    Root,
    /// See [`Mode::Identity`].
    Identity,
    /// See [`Mode::SubordinateIds`].
    SubordinateIds,
    /// See [`Mode::SingleId`].
    SingleId,
}

/// What kind of isolation there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// This process was root with `CAP_SYS_ADMIN` and still is; no user namespace.
    Root,
    /// A user namespace in which every id is itself; for root without `CAP_SYS_ADMIN`, as in a container.
    Identity,
    /// A user namespace in which the user is root and the other ids come from `/etc/subuid` and `/etc/subgid`.
    SubordinateIds,
    /// A user namespace in which the user is root and nobody else exists. Steps need
    /// [`crate::Spec::fake_ownership`].
    SingleId,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Root => "root",
            Self::Identity => "identity",
            Self::SubordinateIds => "subordinate-ids",
            Self::SingleId => "single-id",
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wish = match self {
            Self::Root => Isolation::Root,
            Self::Identity => Isolation::Identity,
            Self::SubordinateIds => Isolation::SubordinateIds,
            Self::SingleId => Isolation::SingleId,
        };
        wish.fmt(f)
    }
}

/// What [`enter`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// How this process is root now.
    pub mode: Mode,
    /// Whether device nodes can be made here; if not, those of base layers have to be left out of their trees.
    pub device_nodes: bool,
    /// Whether the user namespace that this process is in was made by [`enter`], and is nobody else's.
    pub own_user_namespace: bool,
    /// Why it is not a better mode, in full sentences for the user, with what to do about it.
    pub notes: Vec<String>,
}

/// Gives this process a mount namespace of its own, and a user namespace where that is needed, in which it is root.
///
/// To be called first thing, while the process has one thread. From then on mounts that the process makes are
/// invisible outside; mounts made outside still appear. In a user namespace the process can do what its user can do
/// outside of it, and see and set owners as far as ids are mapped. Signals of ended children are set to their default.
///
/// # Errors
///
/// [`SandboxError::Threads`] if other threads run, [`SandboxError::Unavailable`] if a certain isolation was asked for
/// that this process cannot have, [`SandboxError::Refused`] if the machine forbids namespaces, with what to change.
pub fn enter(wish: Isolation) -> Result<Entered, SandboxError> {
    let single = SingleThread::check()
        .map_err(|source| SandboxError::Start {
            step: String::from("count the threads"),
            source,
        })?
        .map_err(|count| SandboxError::Threads { count })?;
    // An inherited "ignore" would have the kernel reap our children before we can.
    sys::default_signal_action(libc::SIGCHLD);
    // A file that grows beyond a limit is an error that can be told, not a reason to die. Steps get their own default.
    sys::ignore_signal(libc::SIGXFSZ);
    let outside = idmap::user_namespace();
    let me = Me::look();
    let mut notes = Vec::new();
    let mode = match wish {
        Isolation::Auto => me.best(single, &mut notes)?,
        Isolation::Root => me.root(single)?,
        Isolation::Identity => me.identity(single)?,
        Isolation::SubordinateIds => me.subordinate_ids(single)?,
        Isolation::SingleId => me.single_id(single)?,
    };
    let own_user_namespace = idmap::user_namespace() != outside;
    let device_nodes = idmap::initial_user_namespace() && me.has(CapabilitySet::MKNOD);
    Ok(Entered {
        mode,
        device_nodes,
        own_user_namespace,
        notes,
    })
}

/// Who this process is, before anything is changed.
struct Me {
    uid: Uid,
    gid: Gid,
    capabilities: CapabilitySet,
}

impl Me {
    fn look() -> Self {
        let capabilities = rustix::thread::capabilities(None)
            .map_or(CapabilitySet::empty(), |sets| sets.effective);
        Self {
            uid: geteuid(),
            gid: getegid(),
            capabilities,
        }
    }

    fn has(&self, capabilities: CapabilitySet) -> bool {
        self.capabilities.contains(capabilities)
    }

    fn best(&self, single: SingleThread, notes: &mut Vec<String>) -> Result<Mode, SandboxError> {
        if self.uid.is_root() && self.has(CapabilitySet::SYS_ADMIN) {
            return self.root(single);
        }
        if self.uid.is_root() && self.has(CapabilitySet::SETUID | CapabilitySet::SETGID) {
            return self.identity(single);
        }
        let helper = match Helper::find(self.uid, self.gid) {
            Ok(helper) => helper,
            Err(reason) => {
                notes.push(single_id_note(&reason));
                return self.single_id(single);
            }
        };
        match helper.map_new_namespace(single)? {
            Map::Done => self.finish(Mode::SubordinateIds),
            Map::Refused(reason) => {
                // The user namespace is there already, with nobody in it yet.
                notes.push(single_id_note(&reason));
                self.map_single()?;
                self.finish(Mode::SingleId)
            }
        }
    }

    fn root(&self, single: SingleThread) -> Result<Mode, SandboxError> {
        if !self.has(CapabilitySet::SYS_ADMIN) {
            let reason = "this process does not have CAP_SYS_ADMIN";
            return Err(unavailable(Isolation::Root, reason.to_owned()));
        }
        sys::unshare(single, UnshareFlags::NEWNS)
            .map_err(|source| explain::refused("make a mount namespace", source))?;
        // Somebody has made a user namespace for us already, and mapped just one id into it.
        let alone = idmap::mapped_ids() == Some(1);
        self.finish(if alone { Mode::SingleId } else { Mode::Root })
    }

    fn identity(&self, single: SingleThread) -> Result<Mode, SandboxError> {
        if !self.has(CapabilitySet::SETUID | CapabilitySet::SETGID) {
            let reason = "this process does not have CAP_SETUID and CAP_SETGID";
            return Err(unavailable(Isolation::Identity, reason.to_owned()));
        }
        let helper = Helper::identity().map_err(|r| unavailable(Isolation::Identity, r))?;
        match helper.map_new_namespace(single)? {
            Map::Done => self.finish(Mode::Identity),
            Map::Refused(reason) => Err(unavailable(Isolation::Identity, reason)),
        }
    }

    fn subordinate_ids(&self, single: SingleThread) -> Result<Mode, SandboxError> {
        let wish = Isolation::SubordinateIds;
        let helper = Helper::find(self.uid, self.gid).map_err(|r| unavailable(wish, r))?;
        match helper.map_new_namespace(single)? {
            Map::Done => self.finish(Mode::SubordinateIds),
            Map::Refused(reason) => Err(unavailable(wish, reason)),
        }
    }

    fn single_id(&self, single: SingleThread) -> Result<Mode, SandboxError> {
        sys::unshare(single, UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
            .map_err(|source| explain::refused("make a user namespace", source))?;
        self.map_single()?;
        self.finish(Mode::SingleId)
    }

    fn map_single(&self) -> Result<(), SandboxError> {
        idmap::map_single(self.uid, self.gid)
            .map_err(|source| explain::refused("map the user to root in a user namespace", source))
    }

    /// Becomes root of the new namespaces and checks that they are good for something.
    fn finish(&self, mode: Mode) -> Result<Mode, SandboxError> {
        if !self.uid.is_root() || mode != Mode::Root {
            become_root()
                .map_err(|source| explain::refused("become root in a user namespace", source))?;
        }
        // Not private: what is unmounted outside must not stay in use in here.
        let below = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", below)
            .map_err(io::Error::from)
            .map_err(|source| explain::refused("separate the mounts from the system's", source))?;
        try_mount().map_err(|source| explain::refused("mount a file system in memory", source))?;
        Ok(mode)
    }
}

fn become_root() -> io::Result<()> {
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Security modules may allow user namespaces and then forbid everything in them.
fn try_mount() -> io::Result<()> {
    let mount = files::new_mount("tmpfs", &[], MountAttrFlags::MOUNT_ATTR_NODEV)?;
    let (point, target) = files::staging_point()
        .map_err(|failure| io::Error::new(io::ErrorKind::NotFound, failure.step))?;
    files::attach(mount.as_fd(), target.as_fd())?;
    unmount(point, UnmountFlags::DETACH)?;
    Ok(())
}

fn unavailable(wish: Isolation, reason: String) -> SandboxError {
    SandboxError::Unavailable {
        wish: wish.to_string(),
        reason,
    }
}

fn single_id_note(reason: &str) -> String {
    format!(
        "Files in builds can only belong to one user, and other owners are only recorded: {reason}"
    )
}
