//! Ordinary users to run the program as.
//!
//! As root the tests become one of two users that `scripts/test-users.sh` makes; as an ordinary
//! user they can only be that user.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use super::{find, is_root};

/// Has subordinate ids.
pub(crate) const WITH_SUBORDINATE_IDS: &str = "rbuild-sub";
/// Has none.
pub(crate) const WITHOUT_SUBORDINATE_IDS: &str = "rbuild-nosub";

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// Looks a user up by name; `None` if there is none, or this process may not become them.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let user = all().into_iter().find(|user| user.name == name)?;
        let reachable = (is_root() && find("setpriv").is_some())
            || user.uid == rustix::process::geteuid().as_raw();
        reachable.then_some(user)
    }

    /// Tells whether the user has subordinate user and group ids, and the programs to map them.
    pub(crate) fn has_subordinate_ids(&self) -> bool {
        let listed = |file: &str| {
            fs_err::read_to_string(file)
                .unwrap_or_default()
                .lines()
                .any(|line| {
                    let owner = line.split(':').next().unwrap_or_default();
                    owner == self.name || owner == self.uid.to_string()
                })
        };
        listed("/etc/subuid") && listed("/etc/subgid") && find("newuidmap").is_some()
    }

    /// Gives a file to the user.
    pub(crate) fn own(&self, path: &Path) {
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid)).unwrap();
    }

    /// A command that runs `program` as the user, without any capability or further group.
    pub(crate) fn command(&self, program: &OsStr) -> Command {
        if self.uid == rustix::process::geteuid().as_raw() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", self.uid))
            .arg(format!("--regid={}", self.gid))
            .args(["--clear-groups", "--inh-caps=-all"])
            .arg(OsStr::from_bytes(program.as_bytes()));
        command
    }
}

/// The ordinary user for a test: with or without subordinate ids. `None` if there is no such user.
pub(crate) fn ordinary(subordinate_ids: bool) -> Option<User> {
    if is_root() {
        let name = if subordinate_ids {
            WITH_SUBORDINATE_IDS
        } else {
            WITHOUT_SUBORDINATE_IDS
        };
        return User::named(name).filter(|user| user.has_subordinate_ids() == subordinate_ids);
    }
    let uid = rustix::process::geteuid().as_raw();
    let user = all().into_iter().find(|user| user.uid == uid)?;
    (user.has_subordinate_ids() == subordinate_ids).then_some(user)
}

fn all() -> Vec<User> {
    fs_err::read_to_string("/etc/passwd")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            Some(User {
                name: (*fields.first()?).to_owned(),
                uid: fields.get(2)?.parse().ok()?,
                gid: fields.get(3)?.parse().ok()?,
            })
        })
        .collect()
}
