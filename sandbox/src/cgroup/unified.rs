//! Version 2: finding or making a group whose children can be limited.
//!
//! A group lends controllers to its children only while it has no processes of its own. So this process moves out of
//! the way, into a child of the group that it was started in; where others are in that group as well, the groups above
//! are tried. Steps never get out of a limit that this process is under.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::error::{CgroupError, refused};
use super::hierarchy::{Controller, Version};
use crate::status::ignore;

const PROCESSES: &str = "cgroup.procs";
const LENT: &str = "cgroup.subtree_control";

/// Where this process is while its own group lends controllers. Dropping this moves it back.
#[derive(Debug)]
pub(crate) struct Home {
    group: PathBuf,
    dir: PathBuf,
    lent: Vec<Controller>,
}

/// Returns the group in which groups of steps can be made that limit what `wanted` says. `others` are the processes
/// that belong to this one.
pub(super) fn place(
    own: &Path,
    top: &Path,
    wanted: &[Controller],
    home: &str,
    others: &[i32],
) -> Result<(PathBuf, Option<Home>), CgroupError> {
    let first = match lend(own, wanted) {
        Ok(_) => return Ok((own.to_owned(), None)),
        Err(CgroupError::Shared { path }) => match Home::settle(own, home, others) {
            Ok(mut home) => match lend(own, wanted) {
                Ok(lent) => {
                    home.lent = lent;
                    return Ok((own.to_owned(), Some(home)));
                }
                Err(error) => error,
            },
            Err(_) => CgroupError::Shared { path },
        },
        Err(error) => error,
    };
    let mut group = own;
    while group != top && !is_limited(group) {
        let Some(above) = group.parent() else {
            break;
        };
        if lend(above, wanted).is_ok() {
            return Ok((above.to_owned(), None));
        }
        group = above;
    }
    Err(first)
}

/// Has a group lend controllers to its children. Returns those that it did not lend before.
pub(super) fn lend(group: &Path, wanted: &[Controller]) -> Result<Vec<Controller>, CgroupError> {
    let names = |file: &str| {
        let path = group.join(file);
        fs_err::read_to_string(&path).map_err(refused(&path, Version::Two))
    };
    let has = |text: &str, controller: &Controller| {
        text.split_whitespace()
            .any(|name| name == controller.name())
    };
    let (there, lent) = (names("cgroup.controllers")?, names(LENT)?);
    if let Some(missing) = wanted.iter().find(|wanted| !has(&there, wanted)) {
        return Err(CgroupError::NoController {
            controller: *missing,
        });
    }
    for path in [group.to_owned(), group.join(PROCESSES)] {
        let access = rustix::fs::access(&path, Access::WRITE_OK);
        access.map_err(|errno| refused(&path, Version::Two)(errno.into()))?;
    }
    if has_processes(group) {
        return Err(CgroupError::Shared {
            path: group.to_owned(),
        });
    }
    let new: Vec<Controller> = wanted
        .iter()
        .filter(|wanted| !has(&lent, wanted))
        .copied()
        .collect();
    if !new.is_empty() {
        write_lent(group, '+', &new).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => CgroupError::Shared {
                path: group.to_owned(),
            },
            _ => refused(&group.join(LENT), Version::Two)(error),
        })?;
    }
    Ok(new)
}

/// Whether processes keep a group from lending. The kernel lets it lend some controllers all the same, but then takes no
/// processes into its children. The machine's topmost group, which has no type, is free to do both.
fn has_processes(group: &Path) -> bool {
    let processes = fs_err::read_to_string(group.join(PROCESSES));
    group.join("cgroup.type").is_file() && processes.is_ok_and(|processes| !processes.is_empty())
}

fn write_lent(group: &Path, sign: char, controllers: &[Controller]) -> io::Result<()> {
    let words: Vec<String> = controllers
        .iter()
        .map(|controller| format!("{sign}{}", controller.name()))
        .collect();
    fs_err::write(group.join(LENT), words.join(" "))
}

/// Whether somebody has limited what is in this group.
fn is_limited(group: &Path) -> bool {
    let limits = [
        ("memory.max", "max"),
        ("memory.high", "max"),
        ("cpu.max", "max"),
        ("cpuset.cpus", ""),
        ("cpuset.mems", ""),
    ];
    limits.iter().any(|(file, none)| {
        let value = fs_err::read_to_string(group.join(file));
        value.is_ok_and(|value| value.split_whitespace().next().unwrap_or_default() != *none)
    })
}

impl Home {
    /// Moves this process and `others` into a new group below the one they are in.
    fn settle(group: &Path, name: &str, others: &[i32]) -> io::Result<Self> {
        let home = Self {
            group: group.to_owned(),
            dir: group.join(name),
            lent: Vec::new(),
        };
        fs_err::create_dir(&home.dir)?;
        let entrance = home.dir.join(PROCESSES);
        let own = std::process::id().to_string();
        fs_err::write(&entrance, own)?;
        for other in others {
            fs_err::write(&entrance, other.to_string())?;
        }
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.lent.is_empty() {
            ignore(write_lent(&self.group, '-', &self.lent));
        }
        let entrance = self.group.join(PROCESSES);
        let here = fs_err::read_to_string(self.dir.join(PROCESSES)).unwrap_or_default();
        for process in here.lines() {
            ignore(fs_err::write(&entrance, process)); // if it must stay, so must the group
        }
        ignore(fs_err::remove_dir(&self.dir));
    }
}
