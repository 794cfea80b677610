//! The calls that a filter passes on, and what they say.

use super::allowed::{ALLOWED, NONE};
use super::{Arch, HERE};

/// Calls about the owners of files.
const FILE_OWNERS: &[&str] = &["chown", "fchown", "fchownat", "lchown"];

/// Calls that change who a process is, without their `…32` forms.
const CHANGES_OF_IDS: &[&str] = &[
    "setfsgid",
    "setfsuid",
    "setgid",
    "setgroups",
    "setregid",
    "setresgid",
    "setresuid",
    "setreuid",
    "setuid",
];

/// Calls that ask who a process is.
const QUESTIONS_OF_IDS: &[&str] = &[
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getresgid",
    "getresuid",
    "getuid",
];

/// Calls that show the owner of a file. The old 32-bit ones, which no C library makes any more, are not among them.
const STATS: &[&str] = &["fstat", "lstat", "newfstatat", "stat", "statx"];

/// Those of i386.
const STATS_OF_I386: &[&str] = &["fstat64", "fstatat64", "lstat64", "stat64", "statx"];

/// Calls that make something other than a regular file, give a file a name, change what paths mean, or begin another
/// program.
const OTHERS: &[&str] = &[
    "chroot",
    "execve",
    "execveat",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "rename",
    "renameat",
    "renameat2",
    "symlink",
    "symlinkat",
];

/// True for a call that would change an owner or a user.
pub(super) fn changes_owners(name: &str) -> bool {
    let name = name.trim_end_matches("32");
    FILE_OWNERS.contains(&name) || CHANGES_OF_IDS.contains(&name)
}

/// True for a call that somebody answers where there is one id, whatever its arguments.
pub(super) fn is_answered(name: &str, arch: Arch) -> bool {
    let stats = match arch.column {
        0 | 2 => STATS,
        1 => STATS_OF_I386,
        _ => &["statx"],
    };
    let short = name.trim_end_matches("32");
    changes_owners(name)
        || QUESTIONS_OF_IDS.contains(&short)
        || OTHERS.contains(&name)
        || stats.contains(&name)
}

/// A call that a filter passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Question {
    /// Its name, without a `32` behind that only says how wide ids are.
    pub name: &'static str,
    /// Whether ids are 16 bits wide, as in old calls of 32-bit architectures.
    pub has_short_ids: bool,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// What a call means by a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Descriptor of the file, or of the directory that the path starts from; `None` for the working directory.
    pub directory: Option<i32>,
    /// Address of the path; `None` if the descriptor is the file's.
    pub path: Option<u64>,
    /// Whether a path that ends in a symbolic link means what that points to.
    pub follows: bool,
    /// Whether an empty path means the descriptor's file.
    pub is_empty_allowed: bool,
}

/// What a call about a file's owner asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnerCall {
    /// The file.
    pub place: Place,
    /// The user, if it is to change.
    pub uid: Option<u32>,
    /// The group, if it is to change.
    pub gid: Option<u32>,
}

/// Returns the call that was made; `None` for one of an unknown architecture, or one that no filter passes on.
pub(crate) fn question(arch: u32, number: u32, arguments: &[u64; 6]) -> Option<Question> {
    read_question(&HERE, arch, number, arguments)
}

pub(super) fn read_question(
    arches: &[Arch],
    arch: u32,
    number: u32,
    arguments: &[u64; 6],
) -> Option<Question> {
    let arch = arches.iter().find(|known| known.audit == arch)?;
    let (name, _) = ALLOWED
        .iter()
        .find(|(_, numbers)| numbers[arch.column] == number && number != NONE)?;
    // Only old calls that have a successor are short.
    let has_successor = arch.column % 2 == 1
        && ALLOWED
            .iter()
            .any(|(other, _)| other.strip_suffix("32") == Some(*name));
    Some(Question {
        name: name.trim_end_matches("32"),
        has_short_ids: has_successor,
        arguments: *arguments,
    })
}

impl Question {
    /// An argument, as the kernel looks at those of 32 bits: by the low half of the register.
    pub(crate) fn word(&self, place: usize) -> u32 {
        (self.arguments[place] & 0xffff_ffff) as u32
    }

    /// A user or group; `None` for the number that stands for no change.
    pub(crate) fn id(&self, place: usize) -> Option<u32> {
        match self.word(place) {
            id if self.has_short_ids => Some(id & 0xffff).filter(|id| *id != 0xffff),
            id => Some(id).filter(|id| *id != u32::MAX),
        }
    }

    /// A descriptor of a directory, unless it stands for the working directory.
    pub(crate) fn directory(&self, place: usize) -> Option<i32> {
        Some(self.word(place).cast_signed()).filter(|number| *number != libc::AT_FDCWD)
    }

    fn flags(&self, place: usize, path: (Option<i32>, u64)) -> Place {
        let flags = self.word(place).cast_signed();
        Place {
            directory: path.0,
            path: Some(path.1),
            follows: flags & libc::AT_SYMLINK_NOFOLLOW == 0,
            is_empty_allowed: flags & libc::AT_EMPTY_PATH != 0,
        }
    }

    /// The file that a call is about which looks at a file, changes its owner or gives it a name.
    pub(crate) fn place(&self) -> Place {
        let at = (self.directory(0), self.arguments[1]);
        match self.name {
            "fchown" | "fstat" | "fstat64" => Place {
                directory: Some(self.word(0).cast_signed()),
                path: None,
                follows: true,
                is_empty_allowed: false,
            },
            "fchownat" | "execveat" => self.flags(4, at),
            "newfstatat" | "fstatat64" => self.flags(3, at),
            "statx" => self.flags(2, at),
            "rename" | "link" | "renameat" | "renameat2" | "linkat" => {
                let (directory, path) = match self.name {
                    "rename" | "link" => (None, self.arguments[0]),
                    _ => at,
                };
                Place {
                    directory,
                    path: Some(path),
                    follows: false,
                    is_empty_allowed: false,
                }
            }
            name => Place {
                directory: None,
                path: Some(self.arguments[0]),
                follows: !name.starts_with('l'),
                is_empty_allowed: false,
            },
        }
    }

    /// What a call asks for that changes the owner of a file; `None` for all others.
    pub(crate) fn owner_call(&self) -> Option<OwnerCall> {
        let ids = match self.name {
            "chown" | "lchown" | "fchown" => 1,
            "fchownat" => 2,
            _ => return None,
        };
        Some(OwnerCall {
            place: self.place(),
            uid: self.id(ids),
            gid: self.id(ids + 1),
        })
    }
}
