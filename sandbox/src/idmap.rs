//! Maps the ids of a new user namespace: who may use which ids, and who writes the maps.
//!
//! A map of more than one's own id can only be written from the parent namespace, so a helper process is forked
//! before the namespace is made.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use rustix::pipe::PipeFlags;
use rustix::process::{Gid, Pid, Uid, WaitOptions};
use rustix::thread::UnshareFlags;

use crate::error::SandboxError;
use crate::explain;
use crate::status::ignore;
use crate::sys::{self, Fork, SingleThread};

/// What became of a map.
#[derive(Debug)]
pub(crate) enum Map {
    /// Both maps are written.
    Done,
    /// None is, for this reason; the namespace exists.
    Refused(String),
}

/// A range of ids: first inside, first outside, how many.
type Range = (u32, u32, u32);

/// The helper process's task.
#[derive(Debug)]
pub(crate) enum Helper {
    /// Run `newuidmap` and `newgidmap`, which may map what `/etc/subuid` and `/etc/subgid` grant.
    Programs {
        /// Ranges of users.
        uids: Vec<Range>,
        /// Ranges of groups.
        gids: Vec<Range>,
    },
    /// Write the maps itself, as root may.
    Write {
        /// Ranges of users.
        uids: Vec<Range>,
        /// Ranges of groups.
        gids: Vec<Range>,
    },
}

/// The inode number of the initial user namespace, the same on every machine.
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;

/// Whether this process is in the initial user namespace.
pub(crate) fn initial_user_namespace() -> bool {
    user_namespace() == Some(INITIAL_USER_NAMESPACE)
}

/// The inode number of this process's user namespace.
pub(crate) fn user_namespace() -> Option<u64> {
    Some(rustix::fs::stat("/proc/self/ns/user").ok()?.st_ino)
}

/// Returns how many user ids exist in this process's user namespace.
#[must_use]
pub fn mapped_ids() -> Option<u64> {
    let map = fs_err::read_to_string("/proc/self/uid_map").ok()?;
    Some(
        identity(&map)
            .iter()
            .map(|(_, _, count)| u64::from(*count))
            .sum(),
    )
}

/// Maps this user to root, and nobody else, in the user namespace that this process has just made.
pub(crate) fn map_single(uid: Uid, gid: Gid) -> io::Result<()> {
    // Without this, groups could be dropped that files are kept from.
    fs_err::write("/proc/self/setgroups", "deny")?;
    fs_err::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs_err::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

impl Helper {
    /// Returns the task for an ordinary user, or why there can be none, with what to do about it.
    pub(crate) fn find(uid: Uid, gid: Gid) -> Result<Self, String> {
        let name = user_name(uid);
        let shown = name.clone().unwrap_or_else(|| uid.to_string());
        let grant = format!(
            "grant a range with `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {shown}`"
        );
        let ranges = |file: &str, own: u32| {
            let text = fs_err::read_to_string(file).unwrap_or_default();
            let granted = granted(&text, name.as_deref(), uid.as_raw());
            if granted.is_empty() {
                return Err(format!("{file} grants no ids to {shown}; {grant}"));
            }
            Ok(stack(own, &granted))
        };
        let uids = ranges("/etc/subuid", uid.as_raw())?;
        let gids = ranges("/etc/subgid", gid.as_raw())?;
        Ok(Self::Programs { uids, gids })
    }

    /// Returns the task that maps every id that there is to itself.
    pub(crate) fn identity() -> Result<Self, String> {
        let ranges = |file: &str| {
            let text = fs_err::read_to_string(file).map_err(|error| error.to_string())?;
            let ranges = identity(&text);
            if ranges.is_empty() {
                Err(format!("{file} is empty"))
            } else {
                Ok(ranges)
            }
        };
        Ok(Self::Write {
            uids: ranges("/proc/self/uid_map")?,
            gids: ranges("/proc/self/gid_map")?,
        })
    }

    /// Makes a user and a mount namespace for this process, and has the helper process map the ids.
    pub(crate) fn map_new_namespace(&self, single: SingleThread) -> Result<Map, SandboxError> {
        let start = |step: &'static str| {
            move |source: io::Error| SandboxError::Start {
                step: String::from(step),
                source,
            }
        };
        let pipe = || {
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
                .map_err(io::Error::from)
                .map_err(start("make a pipe"))
        };
        let (go_reader, go_writer) = pipe()?;
        let (answer_reader, answer_writer) = pipe()?;
        let parent = rustix::process::getpid();
        let child = match sys::fork(single).map_err(start("fork a helper process"))? {
            Fork::Parent(pid) => pid,
            Fork::Child => {
                drop((go_writer, answer_reader));
                let mut go = [0; 1];
                let said = std::fs::File::from(go_reader).read_exact(&mut go);
                if said.is_ok() {
                    let answer = self.map(parent).err().unwrap_or_default();
                    // If the parent is gone, nobody needs the answer.
                    drop(std::fs::File::from(answer_writer).write_all(answer.as_bytes()));
                }
                sys::exit_now(0);
            }
        };
        drop((go_reader, answer_writer));
        let made = sys::unshare(single, UnshareFlags::NEWUSER | UnshareFlags::NEWNS);
        let mut answer = String::new();
        let mut told = Ok(());
        if made.is_ok() {
            told = std::fs::File::from(go_writer).write_all(b"!");
            let read = std::fs::File::from(answer_reader).read_to_string(&mut answer);
            told = told.and(read.map(drop));
        } else {
            drop(go_writer);
        }
        // Its answer counts, not its exit code.
        ignore(rustix::process::waitpid(
            Pid::from_raw(child),
            WaitOptions::empty(),
        ));
        made.map_err(|source| explain::refused("make a user namespace", source))?;
        told.map_err(start("talk to the helper process"))?;
        self.judge(answer)
    }

    /// An empty answer is success; but what counts is what the kernel says the maps are.
    fn judge(&self, answer: String) -> Result<Map, SandboxError> {
        let written =
            |file: &str| fs_err::read_to_string(file).is_ok_and(|map| !map.trim().is_empty());
        match (written("/proc/self/uid_map"), written("/proc/self/gid_map")) {
            (true, true) => Ok(Map::Done),
            (false, false) => Ok(Map::Refused(answer)),
            _ => Err(SandboxError::Refused {
                step: String::from("map ids in a user namespace"),
                help: answer,
                source: io::Error::from_raw_os_error(libc::EPERM),
            }),
        }
    }

    /// Runs in the helper process.
    fn map(&self, target: Pid) -> Result<(), String> {
        let target = target.as_raw_nonzero();
        match self {
            // Groups first: `newgidmap` is the stricter one, and if it refuses nothing is written yet.
            Self::Programs { uids, gids } => {
                run("newgidmap", target.get(), gids)?;
                run("newuidmap", target.get(), uids)
            }
            Self::Write { uids, gids } => {
                for (file, ranges) in [("gid_map", gids), ("uid_map", uids)] {
                    let path = format!("/proc/{target}/{file}");
                    fs_err::write(path, lines(ranges)).map_err(|error| error.to_string())?;
                }
                Ok(())
            }
        }
    }
}

fn run(program: &str, target: i32, ranges: &[Range]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg(target.to_string());
    for (inside, outside, count) in ranges {
        command.args([inside.to_string(), outside.to_string(), count.to_string()]);
    }
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!(
                "{program} refused ({said}); it must be owned by root with mode 4755, on a file system \
                 without nosuid"
            ))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "{program} is not installed; it comes in the package `uidmap` (Debian, Ubuntu), `shadow-utils` \
             (Fedora), `shadow` (Arch) or `shadow-uidmap` (Alpine)"
        )),
        Err(error) => Err(format!("{program} cannot be run: {error}")),
    }
}

fn lines(ranges: &[Range]) -> String {
    let mut text = String::new();
    for (inside, outside, count) in ranges {
        // Writing to a string cannot fail.
        ignore(writeln!(text, "{inside} {outside} {count}"));
    }
    text
}

/// The ranges, as (first, count), that a `subuid(5)` file grants to a user by name or number.
fn granted(text: &str, name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            if Some(owner) != name && owner != number {
                return None;
            }
            let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (count > 0).then_some((first, count))
        })
        .collect()
}

/// Root is the user itself; the granted ranges follow from 1 on without gaps.
fn stack(own: u32, granted: &[(u32, u32)]) -> Vec<Range> {
    let mut ranges = vec![(0, own, 1)];
    let mut inside = 1_u32;
    for (first, count) in granted {
        // The last id (2^32-1) means "none" and cannot be mapped.
        let count = (*count).min(u32::MAX - inside);
        ranges.push((inside, *first, count));
        inside += count;
    }
    ranges.retain(|(_, _, count)| *count > 0);
    ranges
}

/// The ids that a map file shows, each mapped to itself.
fn identity(text: &str) -> Vec<Range> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse::<u32>);
            let (inside, _, count) = (fields.next()?, fields.next()?, fields.next()?);
            let (inside, count) = (inside.ok()?, count.ok()?);
            Some((inside, inside, count))
        })
        .collect()
}

/// The user's name: from `/etc/passwd`, or else from `id`, which also asks directories.
fn user_name(uid: Uid) -> Option<String> {
    let number = uid.as_raw().to_string();
    let passwd = fs_err::read_to_string(Path::new("/etc/passwd")).unwrap_or_default();
    let known = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    known.or_else(|| {
        let output = Command::new("id").arg("-un").output().ok()?;
        let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let text = "root:100000:65536\n# c\nann:200000:65536\n1000:300000:10\nann:x:1\nann:5:0\nannex:1:1\n";
        assert_eq!(
            granted(text, Some("ann"), 1000),
            [(200_000, 65_536), (300_000, 10)]
        );
        assert_eq!(granted(text, Some("bob"), 1001), []);
        assert_eq!(granted(text, None, 1000), [(300_000, 10)]);
    }

    #[test]
    fn ranges_are_stacked_without_gaps() {
        let stacked = stack(1000, &[(200_000, 65_536), (300_000, 10)]);
        assert_eq!(
            stacked,
            [(0, 1000, 1), (1, 200_000, 65_536), (65_537, 300_000, 10)]
        );
        let huge = stack(0, &[(5, u32::MAX), (7, 3)]);
        assert_eq!(huge, [(0, 0, 1), (1, 5, u32::MAX - 1)]);
    }

    #[test]
    fn every_known_id_can_be_itself() {
        assert_eq!(
            identity("         0          0 4294967295\n"),
            [(0, 0, u32::MAX)]
        );
        assert_eq!(
            identity("0 1000 1\n1 200000 65536\n"),
            [(0, 0, 1), (1, 1, 65_536)]
        );
        assert_eq!(lines(&[(0, 0, 1), (1, 1, 9)]), "0 0 1\n1 1 9\n");
    }
}
