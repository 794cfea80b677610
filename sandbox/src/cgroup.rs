//! A control group for the helper process, and so for every step.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::status::ignore;
use crate::zygote::Zygote;

/// Where version 2 is mounted, if it is the only one.
const UNIFIED: &str = "/sys/fs/cgroup";

/// Names of groups made here, before the process id.
const PREFIX: &str = "rbuild-";

/// Settings of version 1's `cpuset` that a group must have before a process can be in it.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// A group of processes in every hierarchy. Removed when this is dropped, which should be after the helper process
/// has ended.
#[derive(Debug)]
pub struct Cgroup {
    /// In the order in which they were made.
    made: Vec<PathBuf>,
}

/// Why steps cannot be put into a control group.
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
    #[error("no control groups are mounted on /sys/fs/cgroup")]
    None,
    /// The kernel refuses.
    #[error("cannot put steps into a control group: {}", path.display())]
    Refused {
        /// What was made or written.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Cgroup {
    /// Makes a group below `parent`, a path from the top of the hierarchy, and moves the helper process into it: steps
    /// begin where it is. What killed processes left there is removed.
    ///
    /// # Errors
    ///
    /// [`CgroupError`]: above all, an ordinary user may only write to groups that were delegated to them.
    pub fn below(parent: &str, helper: &Zygote) -> Result<Self, CgroupError> {
        let names = names(parent).ok_or_else(|| CgroupError::Name {
            parent: parent.to_owned(),
        })?;
        let tops = hierarchies();
        if tops.is_empty() {
            return Err(CgroupError::None);
        }
        let mut group = Self { made: Vec::new() };
        for top in tops {
            let mut path = top;
            for name in &names {
                path.push(name);
                group.make(&path)?;
            }
            sweep(&path);
            path.push(format!("{PREFIX}{}", std::process::id()));
            group.make(&path)?;
            let processes = path.join("cgroup.procs");
            fs_err::write(&processes, helper.pid().to_string()).map_err(|source| {
                CgroupError::Refused {
                    path: processes,
                    source,
                }
            })?;
        }
        Ok(group)
    }

    fn make(&mut self, path: &Path) -> Result<(), CgroupError> {
        let refused = |source| CgroupError::Refused {
            path: path.to_owned(),
            source,
        };
        match fs_err::create_dir(path) {
            Ok(()) => self.made.push(path.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(refused(error)),
        }
        for name in CPUSET {
            let setting = path.join(name);
            let above = path.parent().map(|parent| parent.join(name));
            let value = above.and_then(|above| fs_err::read_to_string(above).ok());
            let is_unset = fs_err::read_to_string(&setting).is_ok_and(|own| own.trim().is_empty());
            if let Some(value) = value.filter(|_| is_unset) {
                fs_err::write(setting, value).map_err(refused)?;
            }
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // One that others use by now stays.
            ignore(fs_err::remove_dir(path));
            // What a killed process left may have been dying still when this one began.
            let is_own = path.ends_with(format!("{PREFIX}{}", std::process::id()));
            if let Some(parent) = path.parent().filter(|_| is_own) {
                sweep(parent);
            }
        }
    }
}

/// The parts of a path that stays below its top.
fn names(parent: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    for component in Path::new(parent).components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) => names.push(name.to_str()?),
            Component::CurDir | Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    let is_fine = !names.is_empty() && !parent.contains(char::is_control);
    is_fine.then_some(names)
}

/// The mount points of the hierarchies: one of version 2, or one a controller of version 1.
fn hierarchies() -> Vec<PathBuf> {
    if Path::new(UNIFIED).join("cgroup.controllers").is_file() {
        return vec![PathBuf::from(UNIFIED)];
    }
    let Ok(found) = fs_err::read_dir(UNIFIED) else {
        return Vec::new();
    };
    let mut tops: Vec<PathBuf> = found
        .filter_map(|entry| {
            let entry = entry.ok()?;
            // A controller may have several names, all but one of them links.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let path = entry.path();
            (is_folder && path.join("cgroup.procs").is_file()).then_some(path)
        })
        .collect();
    tops.sort();
    tops
}

/// Removes groups of processes that are gone. Groups with processes stay whatever they are called.
fn sweep(parent: &Path) {
    let Ok(found) = fs_err::read_dir(parent) else {
        return;
    };
    for entry in found.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let is_gone = pid.is_some_and(|pid| {
            pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).is_dir()
        });
        if is_gone {
            ignore(fs_err::remove_dir(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_stay_below_the_top() {
        assert_eq!(names("/a/b"), Some(vec!["a", "b"]));
        assert_eq!(names("a.slice"), Some(vec!["a.slice"]));
        for bad in ["", "/", "..", "a/../b", "./a", "a\nb"] {
            assert_eq!(names(bad), None, "{bad:?}");
        }
    }
}
