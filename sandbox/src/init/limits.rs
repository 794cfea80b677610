//! How much a step may use.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process as rp;

use crate::spec::{Resource, Spec};
use crate::status::{Doing as _, Failure};

/// Open files: what systemd gives to services. Programs that need more raise it themselves, and old ones that try
/// every number up to the limit stay fast.
const NOFILE: (u64, u64) = (1024, 524_288);

/// The kernel accepts no smaller limit of pids than this.
const MIN_PID_MAX: u32 = 301;

/// Opens the pid namespace's highest pid in the step's own `/proc`, for [`limit_tasks`].
///
/// Only for kernels where that limit is the namespace's own (Linux 6.14): before, it is the machine's.
pub(super) fn open_pid_max(proc: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    rustix::fs::openat2(
        proc,
        "sys/kernel/pid_max",
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
    .doing(|| String::from("open the limit of the step's tasks"))
}

/// Limits the number of tasks by what [`open_pid_max`] opened.
pub(super) fn limit_tasks(pid_max: BorrowedFd<'_>, max_tasks: u32) -> Result<(), Failure> {
    let value = max_tasks.max(MIN_PID_MAX).to_string();
    rustix::io::write(pid_max, value.as_bytes())
        .doing(|| format!("limit the step to {max_tasks} tasks"))?;
    Ok(())
}

/// Sets the resource limits of this process: the defaults, then those of the specification.
pub(super) fn set(spec: &Spec) -> Result<(), Failure> {
    let hard = rp::getrlimit(rp::Resource::Nofile)
        .maximum
        .unwrap_or(u64::MAX);
    let files = (NOFILE.0.min(hard), NOFILE.1.min(hard));
    set_one(rp::Resource::Nofile, files.0, files.1, "nofile")?;
    let core = rp::getrlimit(rp::Resource::Core)
        .maximum
        .unwrap_or(u64::MAX);
    set_one(rp::Resource::Core, 0, core, "core")?;
    // Does not bind real root; for everybody else it counts what runs in this user namespace.
    if spec.max_tasks > 0 {
        let tasks = u64::from(spec.max_tasks);
        let hard = rp::getrlimit(rp::Resource::Nproc)
            .maximum
            .unwrap_or(u64::MAX);
        set_one(
            rp::Resource::Nproc,
            tasks.min(hard),
            tasks.min(hard),
            "nproc",
        )?;
    }
    for limit in &spec.rlimits {
        set_one(
            resource(limit.resource),
            limit.soft,
            limit.hard,
            limit.resource.name(),
        )?;
    }
    Ok(())
}

fn set_one(resource: rp::Resource, soft: u64, hard: u64, name: &str) -> Result<(), Failure> {
    let value = |limit: u64| (limit != u64::MAX).then_some(limit);
    let limit = rp::Rlimit {
        current: value(soft),
        maximum: value(hard),
    };
    rp::setrlimit(resource, limit).doing(|| {
        let has = rp::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        format!("set the limit {name} to {soft}:{hard} (this user may go up to {has})")
    })
}

fn resource(resource: Resource) -> rp::Resource {
    match resource {
        Resource::As => rp::Resource::As,
        Resource::Core => rp::Resource::Core,
        Resource::Cpu => rp::Resource::Cpu,
        Resource::Data => rp::Resource::Data,
        Resource::Fsize => rp::Resource::Fsize,
        Resource::Locks => rp::Resource::Locks,
        Resource::Memlock => rp::Resource::Memlock,
        Resource::Msgqueue => rp::Resource::Msgqueue,
        Resource::Nice => rp::Resource::Nice,
        Resource::Nofile => rp::Resource::Nofile,
        Resource::Nproc => rp::Resource::Nproc,
        Resource::Rss => rp::Resource::Rss,
        Resource::Rtprio => rp::Resource::Rtprio,
        Resource::Rttime => rp::Resource::Rttime,
        Resource::Sigpending => rp::Resource::Sigpending,
        Resource::Stack => rp::Resource::Stack,
    }
}
