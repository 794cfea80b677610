//! Rules of `binfmt_misc`: which programs the kernel hands to an emulator.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::architecture::Architecture;
use crate::error::SandboxError;
use crate::files::{INERT, new_mount};
use crate::status::ignore;

/// Where the machine's own rules are seen.
const MACHINE: &str = "/proc/sys/fs/binfmt_misc";

/// P: the emulator learns the program's own `argv[0]`. O, C: it is given the program opened, and set-user-id bits and
/// capabilities of the program count. F: it is opened now, so it need not be in the root.
const FLAGS: &str = "POCF";

/// Rules of our own. They hold until this is dropped.
#[derive(Debug)]
pub struct Binfmt {
    /// The file system through which they are made. The kernel forgets them with its last descriptor.
    mount: OwnedFd,
    /// The user namespace they hold in, if it is not this process's.
    namespace: Option<OwnedFd>,
}

impl Binfmt {
    pub(crate) fn new(mount: OwnedFd, namespace: Option<OwnedFd>) -> Self {
        Self { mount, namespace }
    }

    pub(crate) fn namespace(&self) -> Option<BorrowedFd<'_>> {
        self.namespace.as_ref().map(|fd| fd.as_fd())
    }

    /// Has programs of `architecture` run by the emulator at this absolute path.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Start`] if the kernel refuses the rule.
    pub fn register(
        &self,
        architecture: &Architecture,
        emulator: &Path,
    ) -> Result<(), SandboxError> {
        let write = || -> io::Result<()> {
            let rule = rule(architecture, emulator).ok_or(Errno::NAMETOOLONG)?;
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.mount, "register", flags, Mode::empty())?;
            rustix::io::write(&file, &rule)?;
            Ok(())
        };
        write().map_err(|source| SandboxError::Start {
            step: format!(
                "have {} programs run by {}",
                architecture.name(),
                emulator.display()
            ),
            source,
        })
    }
}

/// Mounts the `binfmt_misc` of this process's user namespace, attached nowhere.
pub(crate) fn mount_here() -> rustix::io::Result<OwnedFd> {
    new_mount("binfmt_misc", &[], INERT)
}

/// The text of a rule; `None` if it is too long for the kernel.
fn rule(architecture: &Architecture, emulator: &Path) -> Option<Vec<u8>> {
    const LONGEST: usize = 1920;
    let path = emulator.as_os_str().as_bytes();
    let separator = *b":|,;%".iter().find(|byte| !path.contains(byte))?;
    let mut rule = Vec::new();
    let name = format!("rbuild-{}", architecture.name());
    let (header, mask) = (
        escaped(&architecture.header()),
        escaped(&architecture.mask()),
    );
    for part in [name.as_str(), "M", "0", &header, &mask] {
        rule.push(separator);
        rule.extend_from_slice(part.as_bytes());
    }
    for part in [path, FLAGS.as_bytes()] {
        rule.push(separator);
        rule.extend_from_slice(part);
    }
    (rule.len() <= LONGEST).then_some(rule)
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a string cannot fail.
        ignore(write!(text, "\\x{byte:02x}"));
    }
    text
}

/// The rules that the machine's administrator, or a package, made for every program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineRules(Vec<Rule>);

/// One of them, as far as it can serve here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    interpreter: PathBuf,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl MachineRules {
    /// Reads them, if they can be seen from here. Rules for emulators that would have to be inside the root do not
    /// count.
    #[must_use]
    pub fn look() -> Self {
        Self::in_dir(Path::new(MACHINE))
    }

    fn in_dir(dir: &Path) -> Self {
        let read = |path: &Path| fs_err::read_to_string(path).unwrap_or_default();
        if read(&dir.join("status")).trim() != "enabled" {
            return Self::default();
        }
        let entries = fs_err::read_dir(dir).into_iter().flatten().flatten();
        let mut rules: Vec<Rule> = entries
            .filter(|entry| entry.file_name() != "register" && entry.file_name() != "status")
            .filter_map(|entry| Rule::parse(&read(&entry.path())))
            .collect();
        rules.sort_by(|a, b| a.interpreter.cmp(&b.interpreter));
        Self(rules)
    }

    /// Returns the path of the program that runs those of `architecture`.
    #[must_use]
    pub fn emulator(&self, architecture: &Architecture) -> Option<&Path> {
        let header = architecture.header();
        let found = self.0.iter().find(|rule| rule.matches(&header))?;
        Some(&found.interpreter)
    }
}

impl Rule {
    /// Reads what the kernel says about a rule; `None` if it is switched off or of no use inside a root.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "enabled" {
            return None;
        }
        let mut rule = Self {
            interpreter: PathBuf::new(),
            offset: 0,
            magic: Vec::new(),
            mask: Vec::new(),
        };
        let mut is_opened = false;
        for line in lines {
            match line.split_once(' ')? {
                ("interpreter", path) => rule.interpreter = path.into(),
                ("flags:", flags) => is_opened = flags.contains('F'),
                ("offset", number) => rule.offset = number.parse().ok()?,
                ("magic", hex) => rule.magic = bytes(hex)?,
                ("mask", hex) => rule.mask = bytes(hex)?,
                _ => return None,
            }
        }
        (is_opened && !rule.magic.is_empty()).then_some(rule)
    }

    fn matches(&self, start: &[u8]) -> bool {
        let Some(start) = start.get(self.offset..) else {
            return false;
        };
        // Magic that is longer than what all programs share cannot be judged; no emulator's is.
        self.magic.len() <= start.len()
            && self
                .magic
                .iter()
                .zip(start)
                .enumerate()
                .all(|(place, (magic, byte))| {
                    let mask = self.mask.get(place).copied().unwrap_or(0xff);
                    magic & mask == byte & mask
                })
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.trim().as_bytes();
    let pairs = digits.chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair)
            .ok()
            .filter(|text| text.len() == 2)?;
        u8::from_str_radix(text, 16).ok()
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static Architecture {
        Architecture::named(name).unwrap()
    }

    #[test]
    fn rules_are_written_as_the_kernel_reads_them() {
        let rule = |path: &str| rule(named("arm64"), Path::new(path));
        assert_eq!(
            String::from_utf8(rule("/q/qemu-aarch64").unwrap()).unwrap(),
            ":rbuild-arm64:M:0:\
             \\x7f\\x45\\x4c\\x46\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\
             \\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xfe\\xff\\xff\\xff:\
             /q/qemu-aarch64:POCF"
        );
        assert!(rule("/a:b").unwrap().starts_with(b"|rbuild"));
        assert_eq!(rule(&"x".repeat(2000)), None);
        assert_eq!(rule(":|,;%"), None);
    }

    /// As Debian's package registers it.
    const AARCH64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n\
                           magic 7f454c460201010000000000000000000200b700\n\
                           mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn the_machines_rules_are_understood() {
        let rules = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            fs_err::write(dir.path().join("status"), "enabled\n").unwrap();
            fs_err::write(dir.path().join("register"), "").unwrap();
            fs_err::write(dir.path().join("qemu-aarch64"), text).unwrap();
            MachineRules::in_dir(dir.path())
        };
        let found = rules(AARCH64);
        let emulator = Some(Path::new("/usr/bin/qemu-aarch64-static"));
        assert_eq!(found.emulator(named("arm64")), emulator);
        assert_eq!(found.emulator(named("amd64")), None);
        assert_eq!(found.emulator(named("arm")), None);
        for useless in [
            AARCH64.replace("OCF", "OC"),
            AARCH64.replace("enabled", "disabled"),
            AARCH64.replace("magic 7f", "magic 7"),
            "enabled\ninterpreter /usr/bin/jexec\nflags: F\nextension .jar\n".to_owned(),
            String::new(),
        ] {
            assert_eq!(rules(&useless), MachineRules::default(), "{useless}");
        }
    }

    #[test]
    fn rules_that_are_switched_off_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(MachineRules::in_dir(dir.path()), MachineRules::default());
        fs_err::write(dir.path().join("status"), "disabled\n").unwrap();
        fs_err::write(dir.path().join("a"), AARCH64).unwrap();
        assert_eq!(MachineRules::in_dir(dir.path()), MachineRules::default());
    }
}
