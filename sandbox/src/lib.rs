//! Runs one process isolated in a given root file system.
//!
//! Three steps, in this order:
//!
//! 1. [`enter`], first thing in `main`, while the process has one thread: it becomes root of a private mount
//!    namespace, where needed in a user namespace of its own.
//! 2. [`Zygote::start`], still with one thread: a small helper process from which every step is cloned, so that
//!    the big process never forks. From here on threads are welcome.
//! 3. [`Zygote::spawn`] with a [`Spec`], from any thread, as often as wanted; [`Running::wait`] for the result. Where
//!    another step is to come, [`Zygote::prepare`] makes its pid 1 ready meanwhile.
//!
//! A step runs as pid 1's child in its own mount, pid, IPC, UTS and cgroup namespaces (and an empty network
//! namespace on request), with Docker's capabilities and a seccomp allow-list. When it ends, or this process dies in
//! any way, all of its processes and mounts are gone.
//!
//! The crate knows nothing of Dockerfiles, layers, images or caches. It needs Linux 5.12 or later.

mod cgroup;
mod check;
mod datagram;
#[cfg(test)]
mod documented;
mod enter;
mod error;
mod explain;
mod files;
mod foreign;
mod idmap;
mod init;
mod memory;
mod overlay;
mod owner_record;
mod probe;
mod running;
mod seccomp;
mod spec;
mod status;
mod sys;
mod view;
mod wire;
mod zygote;

pub use cgroup::{
    CgroupError, Cgroups, Controller, Exceeded, IdSet, Memory, StepGroup, StepLimits, Swap,
};
pub use enter::{Entered, Isolation, Mode, enter};
pub use error::SandboxError;
pub use foreign::{Architecture, Binfmt, MachineRules, QemuDirs};
pub use idmap::mapped_ids;
pub use memory::give_back_memory;
pub use owner_record::{Device, JournalLine, OWNER_ATTRIBUTE, OwnerRecord, SpecialFile};
pub use probe::{Overlay, landlock_abi, probe_overlay};
pub use running::{Exit, Killer, Remains, Running};
pub use spec::{
    BindSource, MAX_TASKS, Mount, MountKind, Network, Privileges, Resource, Rlimit, Root, Spec,
    TargetKind, Upper, mount_points,
};
pub use view::View;
pub use zygote::{MAX_AFTER, Surroundings, Zygote, hide_memory};
