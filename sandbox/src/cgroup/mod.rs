//! Control groups: where a build's steps are, and what each of them may use.
//!
//! Every step has a group of its own in each hierarchy that matters, next to those of the build's other steps. It is
//! made before the step and removed after it. Groups are called `rbuild-<process id>.<number>`; those of processes
//! that are gone are removed by whoever comes next.

mod error;
mod hierarchy;
mod limits;
mod step;
mod unified;

use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub use error::CgroupError;
pub use hierarchy::Controller;
use hierarchy::{Hierarchy, Version};
pub use limits::{IdSet, Memory, StepLimits, Swap};
use step::Place;
pub use step::{Exceeded, StepGroup};

use crate::status::ignore;
use crate::zygote::Zygote;
use error::refused;

/// Names of groups made here, before the process id.
const PREFIX: &str = "rbuild-";

/// Makes the control groups of a build's steps. What it made for that is removed when this is dropped, which should be
/// after all steps and the helper process have ended.
#[derive(Debug)]
pub struct Cgroups {
    places: Vec<Place>,
    limits: StepLimits,
    n_steps: AtomicU32,
    /// Groups made on the way, in the order in which they were made.
    made: Vec<PathBuf>,
    /// Where this process is meanwhile.
    home: Option<unified::Home>,
}

impl Cgroups {
    /// Finds places for groups that can limit steps in this way: below `parent`, a path from the top of the
    /// hierarchies, or else near the groups that this process is in. One is made and removed to try.
    ///
    /// In version 2 this process, with the helper, may have to move into a new group below its own.
    ///
    /// # Errors
    ///
    /// [`CgroupError`]: above all, an ordinary user may only write to groups that were delegated to them.
    pub fn find(
        parent: Option<&str>,
        limits: StepLimits,
        helper: &Zygote,
    ) -> Result<Self, CgroupError> {
        let mut cgroups = Self {
            places: Vec::new(),
            limits,
            n_steps: AtomicU32::new(0),
            made: Vec::new(),
            home: None,
        };
        let hierarchies = Hierarchy::all();
        if hierarchies.is_empty() {
            return Err(CgroupError::None);
        }
        match parent {
            Some(parent) => cgroups.find_below(parent, &hierarchies)?,
            None => cgroups.find_near(&hierarchies, helper)?,
        }
        for place in &cgroups.places {
            sweep(&place.dir);
        }
        cgroups.step().map(drop)?;
        Ok(cgroups)
    }

    /// Finds out whether steps can be limited by this controller: makes a group that it governs, and removes it.
    ///
    /// # Errors
    ///
    /// [`CgroupError`]: why not.
    pub fn probe(controller: Controller, helper: &Zygote) -> Result<(), CgroupError> {
        let any = StepLimits {
            memory: (controller == Controller::Memory).then_some(Memory {
                bytes: 1 << 30,
                swap: Swap::Unlimited,
            }),
            cpu_period: (controller == Controller::Cpu).then_some(100_000),
            cpus: (controller == Controller::Cpuset).then(IdSet::first),
            tasks: (controller == Controller::Pids).then_some(1000),
            ..StepLimits::default()
        };
        match Self::find(None, any, helper) {
            // It is there; which processors are is not the question.
            Ok(_) | Err(CgroupError::NotThere { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The most processes and threads that a step may have at a time, if that is limited.
    #[must_use]
    pub fn max_tasks(&self) -> Option<u32> {
        self.limits.tasks
    }

    /// Makes the groups of a step.
    ///
    /// # Errors
    ///
    /// [`CgroupError`].
    pub fn step(&self) -> Result<StepGroup, CgroupError> {
        let number = self.n_steps.fetch_add(1, Ordering::Relaxed);
        StepGroup::make(&self.places, &own_name(number), &self.limits)
    }

    fn find_below(&mut self, parent: &str, all: &[Hierarchy]) -> Result<(), CgroupError> {
        let names = names(parent).ok_or_else(|| CgroupError::Name {
            parent: parent.to_owned(),
        })?;
        let shares = self.shares(all)?;
        for (hierarchy, controllers) in all.iter().zip(shares) {
            let mut dir = hierarchy.top.clone();
            for name in &names {
                self.lend(hierarchy, &dir, &controllers)?;
                dir.push(name);
                self.make(&dir, hierarchy.version)?;
            }
            self.lend(hierarchy, &dir, &controllers)?;
            self.places.push(Place {
                version: hierarchy.version,
                dir,
                controllers,
            });
        }
        Ok(())
    }

    fn lend(&self, of: &Hierarchy, dir: &Path, wanted: &[Controller]) -> Result<(), CgroupError> {
        if of.version == Version::Two && !wanted.is_empty() {
            unified::lend(dir, wanted)?;
        }
        Ok(())
    }

    fn find_near(&mut self, all: &[Hierarchy], helper: &Zygote) -> Result<(), CgroupError> {
        let shares = self.shares(all)?;
        for (hierarchy, controllers) in all.iter().zip(shares) {
            let Some(first) = controllers.first() else {
                continue;
            };
            let missing = CgroupError::NoController { controller: *first };
            let own = hierarchy.own.as_deref().ok_or(missing)?;
            let dir = match hierarchy.version {
                Version::One => own.to_owned(),
                Version::Two => {
                    let home = format!("{PREFIX}{}.home", std::process::id());
                    sweep(own);
                    let others = [helper.pid()];
                    let found = unified::place(own, &hierarchy.top, &controllers, &home, &others)?;
                    self.home = found.1;
                    found.0
                }
            };
            self.places.push(Place {
                version: hierarchy.version,
                dir,
                controllers,
            });
        }
        Ok(())
    }

    /// The controllers that are wanted of each hierarchy: what version 1 does not have is version 2's.
    fn shares(&self, all: &[Hierarchy]) -> Result<Vec<Vec<Controller>>, CgroupError> {
        let mut shares = vec![Vec::new(); all.len()];
        for controller in self.limits.controllers() {
            let of_one = all.iter().position(|hierarchy| hierarchy.is_of(controller));
            let of_two = || all.iter().position(|one| one.version == Version::Two);
            let share = of_one.or_else(of_two).and_then(|at| shares.get_mut(at));
            share
                .ok_or(CgroupError::NoController { controller })?
                .push(controller);
        }
        Ok(shares)
    }

    fn make(&mut self, dir: &Path, version: Version) -> Result<(), CgroupError> {
        match fs_err::create_dir(dir) {
            Ok(()) => self.made.push(dir.to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(refused(dir, version)(error)),
        }
        match version {
            Version::One => step::inherit_cpuset(dir),
            Version::Two => Ok(()),
        }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for place in &self.places {
            // What a killed build left may have been dying still when this one began.
            sweep(&place.dir);
        }
        for dir in self.made.iter().rev() {
            // One that others use by now stays.
            ignore(fs_err::remove_dir(dir));
        }
    }
}

/// The name of a group of this process.
fn own_name(number: u32) -> String {
    format!("{PREFIX}{}.{number}", std::process::id())
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

/// Removes groups of processes that are gone. Groups with processes stay whatever they are called.
fn sweep(parent: &Path) {
    let Ok(found) = fs_err::read_dir(parent) else {
        return;
    };
    for entry in found.flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(maker).is_some_and(is_gone) {
            ignore(fs_err::remove_dir(entry.path()));
        }
    }
}

/// The process that made a group of this name.
fn maker(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(PREFIX)?;
    let pid = rest.split_once('.').map_or(rest, |(pid, _)| pid);
    pid.parse().ok()
}

fn is_gone(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).is_dir()
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

    #[test]
    fn groups_have_makers() {
        assert_eq!(maker(&own_name(3)), Some(std::process::id()));
        assert_eq!(maker("rbuild-12"), Some(12));
        assert_eq!(maker("rbuild-12.home"), Some(12));
        for other in ["rbuild", "rbuild-", "rbuild-x.1", "build-1.1"] {
            assert_eq!(maker(other), None, "{other}");
        }
    }
}
