//! Where control groups are mounted, and which of them this process is in.

use std::path::{Path, PathBuf};

/// What limits a kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// Shares and quotas of processor time.
    Cpu,
    /// Which processors and memory nodes there are.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// Processes and threads.
    Pids,
}

impl Controller {
    /// All that steps can be limited by.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Cpuset, Self::Memory, Self::Pids];

    /// The kernel's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

/// Generations of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// A hierarchy for each controller, or for a few.
    One,
    /// One hierarchy for all.
    Two,
}

/// A tree of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) version: Version,
    /// Names of its controllers, in version 1; those of version 2 differ from group to group.
    controllers: Vec<String>,
    /// The topmost group that can be seen.
    pub(crate) top: PathBuf,
    /// The group that this process is in, if it can be seen.
    pub(crate) own: Option<PathBuf>,
}

impl Hierarchy {
    /// The hierarchies of this machine.
    pub(crate) fn all() -> Vec<Self> {
        let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    /// Understands `/proc/self/mountinfo` and `/proc/self/cgroup`. Of several mounts of a hierarchy the last one that
    /// can be written to counts: it may cover others.
    fn parse(mounts: &str, own: &str) -> Vec<Self> {
        let mut found: Vec<(Self, bool)> = Vec::new();
        for (hierarchy, is_writable) in mounts.lines().filter_map(|line| parse_mount(line, own)) {
            let same = found.iter().position(|(other, _)| {
                (other.version, &other.controllers) == (hierarchy.version, &hierarchy.controllers)
            });
            match same.and_then(|at| found.get_mut(at)) {
                Some((_, true)) if !is_writable => {}
                Some(place) => *place = (hierarchy, is_writable),
                None => found.push((hierarchy, is_writable)),
            }
        }
        found.into_iter().map(|(hierarchy, _)| hierarchy).collect()
    }

    /// Whether the controller belongs to it in version 1.
    pub(crate) fn is_of(&self, controller: Controller) -> bool {
        self.version == Version::One
            && self
                .controllers
                .iter()
                .any(|name| name == controller.name())
    }
}

/// One line of `mountinfo`; the second value tells whether the mount can be written to.
fn parse_mount(line: &str, own: &str) -> Option<(Hierarchy, bool)> {
    let (place, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let version = match kind.next()? {
        "cgroup" => Version::One,
        "cgroup2" => Version::Two,
        _ => return None,
    };
    let options = kind.nth(1)?;
    let mut place = place.split(' ').skip(3);
    let (root, point, flags) = (place.next()?, place.next()?, place.next()?);
    let mine = own
        .lines()
        .filter_map(|line| {
            let (names, path) = line.split_once(':')?.1.split_once(':')?;
            Some((names, path))
        })
        .find(|(names, _)| match version {
            Version::Two => names.is_empty(),
            Version::One => {
                let has = |name| options.split(',').any(|option| option == name);
                !names.is_empty() && names.split(',').all(has)
            }
        });
    // Of version 1 there is a line for every hierarchy that is in use.
    let (names, path) = match version {
        Version::One => mine?,
        Version::Two => mine.unwrap_or_default(),
    };
    let top = PathBuf::from(unescaped(point));
    let hierarchy = Hierarchy {
        version,
        controllers: match version {
            Version::One => names.split(',').map(String::from).collect(),
            Version::Two => Vec::new(),
        },
        own: below(path, &unescaped(root)).map(|rest| match rest.as_os_str().is_empty() {
            true => top.clone(),
            false => top.join(rest),
        }),
        top,
    };
    Some((hierarchy, flags.split(',').any(|flag| flag == "rw")))
}

/// The part of a group's path below the group that is mounted, if it is below that.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a Path> {
    let rest = Path::new(path).strip_prefix(root).ok()?;
    let is_outside = path.starts_with("/..") || path.ends_with(" (deleted)");
    (!is_outside).then_some(rest)
}

/// A path as `mountinfo` writes it: blanks and backslashes are octal numbers.
fn unescaped(text: &str) -> String {
    let mut out = text.to_owned();
    for (code, character) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        out = out.replace(code, character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(
        version: Version,
        controllers: &[&str],
        top: &str,
        own: Option<&str>,
    ) -> Hierarchy {
        Hierarchy {
            version,
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            top: top.into(),
            own: own.map(PathBuf::from),
        }
    }

    #[test]
    fn version_2_is_one_tree() {
        let mounts = "\
22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
";
        let own = "0::/user.slice/user-1000.slice/session-3.scope\n";
        let expected = "/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope";
        assert_eq!(
            Hierarchy::parse(mounts, own),
            [hierarchy(
                Version::Two,
                &[],
                "/sys/fs/cgroup",
                Some(expected)
            )]
        );
    }

    #[test]
    fn version_1_has_one_a_controller() {
        let mounts = "\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
34 30 0:30 / /sys/fs/cgroup/with\\040blank rw - cgroup2 cgroup2 rw
35 30 0:28 /docker/1 /elsewhere rw - cgroup cgroup rw,memory
36 30 0:28 /docker/1 /third ro - cgroup cgroup rw,memory
";
        let own = "5:cpu,cpuacct:/\n4:memory:/docker/1/a\n1:name=systemd:/x\n0::/..\n";
        let found = Hierarchy::parse(mounts, own);
        use Version::{One, Two};
        assert_eq!(
            found,
            [
                hierarchy(
                    One,
                    &["cpu", "cpuacct"],
                    "/sys/fs/cgroup/cpu,cpuacct",
                    Some("/sys/fs/cgroup/cpu,cpuacct")
                ),
                hierarchy(One, &["memory"], "/elsewhere", Some("/elsewhere/a")),
                hierarchy(
                    One,
                    &["name=systemd"],
                    "/sys/fs/cgroup/systemd",
                    Some("/sys/fs/cgroup/systemd/x")
                ),
                hierarchy(Two, &[], "/sys/fs/cgroup/with blank", None),
            ]
        );
        assert!(found[0].is_of(Controller::Cpu) && !found[0].is_of(Controller::Memory));
    }

    #[test]
    fn groups_outside_cannot_be_seen() {
        assert_eq!(below("/a/b", "/"), Some(Path::new("a/b")));
        assert_eq!(below("/a/b", "/a"), Some(Path::new("b")));
        for (path, root) in [
            ("/a", "/b"),
            ("/../x", "/"),
            ("/a (deleted)", "/"),
            ("/a", "/.."),
        ] {
            assert_eq!(below(path, root), None, "{path} {root}");
        }
    }
}
