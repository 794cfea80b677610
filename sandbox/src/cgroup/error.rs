//! Why steps cannot be put into control groups, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::hierarchy::{Controller, Version};

/// Why steps cannot be put into a control group, or not be limited by one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// It cannot be the name of one.
    #[error("invalid cgroup parent {parent:?}")]
    Name {
        /// As given.
        parent: String,
    },
    /// There are none.
    #[error("no control groups are mounted here")]
    None,
    /// No hierarchy has the controller for this process.
    #[error("there is no control group here with the controller {}", controller.name())]
    NoController {
        /// The controller.
        controller: Controller,
    },
    /// The group lends no controllers because it has processes of its own.
    #[error(
        "the control group {} has other processes than rbuild in it, so it cannot limit some of them",
        path.display()
    )]
    Shared {
        /// The group.
        path: PathBuf,
    },
    /// A processor or memory node is not there.
    #[error("{asked} is more than there is: {file} is {available}")]
    NotThere {
        /// The file that says what there is.
        file: &'static str,
        /// What was asked for.
        asked: String,
        /// What there is.
        available: String,
    },
    /// The kernel refuses.
    #[error("cannot put steps into a control group: {}", path.display())]
    Refused {
        /// What was made or written.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// Of the hierarchy.
        version_1: bool,
    },
}

/// Turns an error at `path` into a refusal.
pub(crate) fn refused(path: &Path, version: Version) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError::Refused {
        path,
        source,
        version_1: version == Version::One,
    }
}

/// What makes a group for one command.
const SCOPE: &str = "systemd-run --user --scope -p Delegate=yes rbuild build …";

impl CgroupError {
    /// What to do about it, in full sentences; may span lines.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let is_root =
            rustix::process::geteuid().is_root() && crate::idmap::initial_user_namespace();
        let has_systemd = Path::new("/run/systemd/system").is_dir();
        match self {
            Self::Name { .. } | Self::NotThere { .. } => None,
            Self::None => Some("Mount them: mount -t cgroup2 none /sys/fs/cgroup".to_owned()),
            Self::Refused {
                version_1: true, ..
            } if !is_root => Some(
                "Control groups of version 1 are only for root. Build as root, or boot with \
                 systemd.unified_cgroup_hierarchy=1 for version 2."
                    .to_owned(),
            ),
            Self::NoController { .. } if !is_root => Some(format!(
                "Build in a group that was delegated to you: {SCOPE}\n\
                 If that does not have the controller, let systemd delegate it, once:\n  \
                 sudo mkdir -p /etc/systemd/system/user@.service.d\n  \
                 printf '[Service]\\nDelegate=cpu cpuset memory pids\\n' \
                 | sudo tee /etc/systemd/system/user@.service.d/delegate.conf\n  \
                 sudo systemctl daemon-reload\n\
                 and log in anew."
            )),
            Self::NoController { controller } => Some(format!(
                "The kernel may be without it (cgroup_disable={name}), or this is a container that \
                 was not given it.",
                name = controller.name()
            )),
            Self::Shared { path } if !has_systemd => Some(format!(
                "Move what runs there into a group of its own first, as in:\n  \
                 mkdir {path}/init && xargs -rn1 < {path}/cgroup.procs > {path}/init/cgroup.procs",
                path = path.display()
            )),
            Self::Shared { .. } | Self::Refused { .. } => Some(format!(
                "An ordinary user can use groups that were delegated to them: {SCOPE}"
            )),
        }
    }
}
