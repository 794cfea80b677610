//! The groups of one step.

use std::fmt;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{CgroupError, refused};
use super::hierarchy::{Controller, Version};
use super::limits::{IdSet, StepLimits};
use crate::status::ignore;

/// A group's list of processes. Whoever writes `0` to it is in the group.
const PROCESSES: &str = "cgroup.procs";

/// How often, and how far apart, it is tried to remove a group whose last process has just ended.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// Where groups of steps are made: a group of one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) version: Version,
    pub(crate) dir: PathBuf,
    /// What groups here limit.
    pub(crate) controllers: Vec<Controller>,
}

/// Groups for the processes of one step, one in each hierarchy that matters. Removed when this is dropped, which
/// should be after the step has ended.
#[derive(Debug)]
pub struct StepGroup {
    /// In the order in which they were made.
    made: Vec<Place>,
    /// Their lists of processes, opened for writing.
    entrances: Vec<OwnedFd>,
    limits: StepLimits,
}

/// The limit that a step ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// Processes of it were killed because it used more memory than these bytes.
    Memory(u64),
    /// It could not start more than this number of processes and threads.
    Tasks(u32),
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => {
                let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
                let unit = units
                    .iter()
                    .find(|(shift, _)| bytes.trailing_zeros() >= *shift);
                let (number, unit) =
                    unit.map_or((*bytes, "bytes"), |(shift, unit)| (bytes >> shift, unit));
                write!(
                    f,
                    "it was killed: it used more than the memory limit ({number} {unit})"
                )
            }
            Self::Tasks(limit) => {
                write!(
                    f,
                    "it could not start more than {limit} processes and threads"
                )
            }
        }
    }
}

impl StepGroup {
    /// Makes a group called `name` in every place, with the limits.
    pub(super) fn make(
        places: &[Place],
        name: &str,
        limits: &StepLimits,
    ) -> Result<Self, CgroupError> {
        let mut group = Self {
            made: Vec::new(),
            entrances: Vec::new(),
            limits: limits.clone(),
        };
        for place in places {
            let dir = place.dir.join(name);
            fs_err::create_dir(&dir).map_err(refused(&dir, place.version))?;
            group.made.push(Place {
                dir: dir.clone(),
                ..place.clone()
            });
            if place.version == Version::One {
                inherit_cpuset(&dir)?;
            }
            for controller in &place.controllers {
                set(&dir, place.version, *controller, limits)?;
            }
            let entrance = dir.join(PROCESSES);
            let opened = fs_err::OpenOptions::new().write(true).open(&entrance);
            let opened = opened.map_err(refused(&entrance, place.version))?;
            group.entrances.push(std::fs::File::from(opened).into());
        }
        Ok(group)
    }

    /// What a process writes `0` to, to be in this group.
    pub(crate) fn entrances(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.entrances.iter().map(|fd| fd.as_fd())
    }

    /// The limit that the step ran into, if it did; the one that kills first.
    #[must_use]
    pub fn exceeded(&self) -> Option<Exceeded> {
        let killed = || {
            let limit = self.limits.memory?;
            let place = self.place_of(Controller::Memory)?;
            was_killed(place, limit.bytes).then_some(Exceeded::Memory(limit.bytes))
        };
        let refused = || {
            let limit = self.limits.tasks?;
            let place = self.place_of(Controller::Pids)?;
            let n_refused = count(&place.dir.join("pids.events"), "max")?;
            (n_refused > 0).then_some(Exceeded::Tasks(limit))
        };
        killed().or_else(refused)
    }

    fn place_of(&self, controller: Controller) -> Option<&Place> {
        self.made
            .iter()
            .find(|place| place.controllers.contains(&controller))
    }
}

impl Drop for StepGroup {
    fn drop(&mut self) {
        self.entrances.clear();
        for place in self.made.iter().rev() {
            remove(&place.dir);
        }
    }
}

/// Whether the group's own limit of memory, and not somebody else's, had processes killed.
fn was_killed(place: &Place, limit: u64) -> bool {
    let some = |file: &str, name: &str| count(&place.dir.join(file), name).is_some_and(|n| n > 0);
    match place.version {
        Version::One => {
            // Nobody counts, but who was killed by another limit did not come near this one.
            let most = fs_err::read_to_string(place.dir.join("memory.max_usage_in_bytes"));
            let most: u64 = most.map_or(0, |most| most.trim().parse().unwrap_or(0));
            let is_at_limit = most >= limit / 8 * 7;
            is_at_limit && some("memory.oom_control", "oom_kill")
        }
        Version::Two => some("memory.events", "oom") && some("memory.events", "oom_kill"),
    }
}

/// The number behind a name in a file with a pair on each line.
fn count(file: &Path, name: &str) -> Option<u64> {
    let text = fs_err::read_to_string(file).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.find(|(key, _)| *key == name)?.1.parse().ok()
}

/// Writes a controller's limits.
fn set(
    dir: &Path,
    version: Version,
    controller: Controller,
    limits: &StepLimits,
) -> Result<(), CgroupError> {
    if controller == Controller::Cpuset {
        let above = dir.parent().unwrap_or(dir);
        available(above, version, "cpuset.cpus", limits.cpus.as_ref())?;
        available(above, version, "cpuset.mems", limits.memory_nodes.as_ref())?;
    }
    for setting in limits.settings(controller, version) {
        let path = dir.join(setting.file);
        let written = fs_err::write(&path, &setting.value);
        if setting.is_needed || path.is_file() {
            written.map_err(refused(&path, version))?;
        }
    }
    Ok(())
}

/// What is not there would be left out by the kernel without a word, or refused without a reason.
fn available(
    above: &Path,
    version: Version,
    file: &'static str,
    asked: Option<&IdSet>,
) -> Result<(), CgroupError> {
    let Some(asked) = asked else {
        return Ok(());
    };
    let name = match version {
        Version::One => file.to_owned(),
        Version::Two => format!("{file}.effective"),
    };
    let text = fs_err::read_to_string(above.join(name)).unwrap_or_default();
    match IdSet::parse(&text) {
        Some(there) if !asked.is_within(&there) => Err(CgroupError::NotThere {
            file,
            asked: asked.to_string(),
            available: there.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Gives a new group of version 1 what a group must have before a process can be in it.
pub(super) fn inherit_cpuset(dir: &Path) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let setting = dir.join(name);
        let above = dir.parent().map(|parent| parent.join(name));
        let value = above.and_then(|above| fs_err::read_to_string(above).ok());
        let is_unset = fs_err::read_to_string(&setting).is_ok_and(|own| own.trim().is_empty());
        if let Some(value) = value.filter(|_| is_unset) {
            fs_err::write(&setting, value).map_err(refused(&setting, Version::One))?;
        }
    }
    Ok(())
}

/// Removes a group that should be empty. What is in it all the same is killed, where the kernel can.
fn remove(dir: &Path) {
    for _ in 0..TRIES {
        match fs_err::remove_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {}
            _ => return, // removed, or never to be: the next build's sweep looks again
        }
        ignore(fs_err::write(dir.join("cgroup.kill"), "1"));
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::limits::{Memory, Swap};

    #[test]
    fn limits_are_told_in_the_unit_they_fill() {
        for (bytes, shown) in [
            (64 << 20, "64 MiB"),
            (3 << 30, "3 GiB"),
            (1536, "1536 bytes"),
            (10 << 10, "10 KiB"),
        ] {
            let text = Exceeded::Memory(bytes).to_string();
            assert!(text.ends_with(&format!("({shown})")), "{text}");
        }
    }

    /// A group's whole life in version 2, where this machine has it and lets us: made, entered, killed, removed.
    #[test]
    fn groups_of_version_2_live_and_die() {
        let all = crate::cgroup::hierarchy::Hierarchy::all();
        let unified = all.into_iter().find(|one| one.version == Version::Two);
        let Some(dir) = unified.and_then(|hierarchy| hierarchy.own) else {
            return; // no version 2 here
        };
        let place = Place {
            version: Version::Two,
            dir: dir.clone(),
            controllers: Vec::new(),
        };
        let name = format!("rbuild-{}.life", std::process::id());
        let Ok(group) = StepGroup::make(&[place], &name, &StepLimits::default()) else {
            return; // no right to make any
        };
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        let entrance = group.entrances().next().unwrap();
        let entered = rustix::io::write(entrance, pid.as_bytes());
        if entered.is_err() {
            child.kill().unwrap();
            child.wait().unwrap();
            return; // no right to move what is in there
        }
        let inside = fs_err::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(inside.lines().any(|line| line.ends_with(&name)), "{inside}");
        // Nobody else may be in it when it goes, so who is there is killed.
        drop(group);
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        ignore(fs_err::remove_dir(dir.join(&name)));
        assert!(!dir.join(&name).is_dir());
    }

    /// What a step ran into, as the files of its group say.
    #[test]
    fn the_kernels_counters_tell() {
        let dir = tempfile::tempdir().unwrap();
        let limits = StepLimits {
            memory: Some(Memory {
                bytes: 1 << 20,
                swap: Swap::Unlimited,
            }),
            tasks: Some(9),
            ..StepLimits::default()
        };
        let check = |version, files: &[(&str, &str)], expected: Option<Exceeded>| {
            for (name, text) in files {
                fs_err::write(dir.path().join(name), text).unwrap();
            }
            let place = Place {
                version,
                dir: dir.path().to_owned(),
                controllers: vec![Controller::Memory, Controller::Pids],
            };
            let group = StepGroup {
                made: vec![place],
                entrances: Vec::new(),
                limits: limits.clone(),
            };
            assert_eq!(group.exceeded(), expected, "{files:?}");
        };
        let events = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\n";
        let elsewhere = "low 0\nmax 0\noom 0\noom_kill 1\n";
        let kill = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";
        check(Version::Two, &[("pids.events", "max 0\n")], None);
        check(Version::Two, &[("memory.events", elsewhere)], None);
        let tasks = Some(Exceeded::Tasks(9));
        check(Version::Two, &[("pids.events", "max 3\n")], tasks);
        let memory = Some(Exceeded::Memory(1 << 20));
        check(Version::Two, &[("memory.events", events)], memory);
        let untouched = [
            ("memory.oom_control", kill),
            ("memory.max_usage_in_bytes", "9999\n"),
        ];
        check(Version::One, &untouched, tasks);
        check(
            Version::One,
            &[("memory.max_usage_in_bytes", "1048576\n")],
            memory,
        );
    }
}
