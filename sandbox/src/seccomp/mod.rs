//! Which system calls a step may make: Docker's default profile for Docker's default capabilities, and a little less.
//!
//! Less: no `AF_PACKET` and other unusual address families (the step may share the host's network), no `modify_ldt`
//! on x86-64, no x32 calls. What is refused fails with `EPERM`, as under Docker; calls that are newer than the table
//! fail with `ENOSYS`, so that programs take their fall-back. 32-bit programs of the same family may run; they reach
//! sockets by `socketcall`, whose arguments a filter cannot see.
//!
//! Profile: <https://github.com/moby/profiles/blob/main/seccomp/default.json>

mod allowed;
mod bpf;
mod calls;

use libc::sock_filter;

use allowed::{ALLOWED, NONE};
use bpf::{Section, Verdict};
pub(crate) use calls::{OwnerCall, Place, Question, question};

/// Whether owners and users can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// As the kernel says.
    Real,
    /// As the kernel says, but whoever listens to the filter is asked to make devices.
    RealButDevices,
    /// Every change succeeds and has no effect.
    Fake,
    /// Whoever listens to the filter answers all calls about owners and users.
    Answered,
}

/// An architecture: its column in the table and its number in `seccomp_data`.
#[derive(Debug, Clone, Copy)]
struct Arch {
    column: usize,
    audit: u32,
}

#[cfg(any(test, target_arch = "x86_64"))]
const X86: [Arch; 2] = [
    Arch {
        column: 0,
        audit: 0xc000_003e,
    },
    Arch {
        column: 1,
        audit: 0x4000_0003,
    },
];
#[cfg(any(test, target_arch = "aarch64"))]
const ARM: [Arch; 2] = [
    Arch {
        column: 2,
        audit: 0xc000_00b7,
    },
    Arch {
        column: 3,
        audit: 0x4000_0028,
    },
];

#[cfg(target_arch = "x86_64")]
const HERE: [Arch; 2] = X86;
#[cfg(target_arch = "aarch64")]
const HERE: [Arch; 2] = ARM;

/// The highest number that the table's profile knows (`removexattrat`); the same on all architectures.
const NEWEST: u32 = 466;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// `CLONE_NEW*` bits of `clone`, all but `NEWTIME`, which `clone` does not take.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// Linux, `PER_LINUX32`, both with `UNAME26`, and the question for the current one.
const PERSONALITIES: &[u32] = &[0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// `O_CREAT` and the bit that makes `O_TMPFILE` of `O_DIRECTORY`; the same on all supported architectures.
const MAKES_FILES: u32 = 0o20_000_100;
/// `RLIMIT_LOCKS`, in which whoever listens keeps who a process is.
const LOCKS: &[u32] = &[10];
/// `PR_SET_KEEPCAPS` and `PR_SET_SECUREBITS`.
const KEEPS_CAPABILITIES: &[u32] = &[8, 28];
/// `AF_UNSPEC`, `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`.
const ADDRESS_FAMILIES: &[u32] = &[0, 1, 2, 10, 16];

/// Returns the filter for this machine's architecture and its 32-bit form.
pub(crate) fn program(ownership: Ownership) -> Vec<sock_filter> {
    program_for(&HERE, ownership)
}

fn program_for(arches: &[Arch], ownership: Ownership) -> Vec<sock_filter> {
    let sections: Vec<Section> = arches
        .iter()
        .map(|arch| section(*arch, ownership))
        .collect();
    bpf::assemble(&sections)
}

fn section(arch: Arch, ownership: Ownership) -> Section {
    let mut calls: Vec<(u32, Verdict)> = ALLOWED
        .iter()
        .map(|(name, numbers)| (numbers[arch.column], verdict_for(name, arch, ownership)))
        .filter(|(number, _)| *number != NONE)
        .collect();
    calls.sort_by_key(|(number, _)| *number);
    calls.dedup_by_key(|(number, _)| *number);

    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    let mut push = |start: u32, verdict: Verdict| {
        // Neighbours with the same verdict are one range; a check of arguments is short, so it may be one too.
        if ranges.last().is_none_or(|(_, last)| *last != verdict) {
            ranges.push((start, verdict));
        }
    };
    let mut next = 0;
    for (number, verdict) in calls {
        gap(next, number, &mut push);
        push(number, verdict);
        next = number.saturating_add(1);
    }
    gap(next, u32::MAX, &mut push);
    Section {
        arch: arch.audit,
        ranges,
    }
}

/// What holds from `start` up to but not including `end`, where the table has nothing.
fn gap(start: u32, end: u32, push: &mut impl FnMut(u32, Verdict)) {
    if start < end && start <= NEWEST {
        push(start, Verdict::Errno(EPERM));
    }
    if end > NEWEST.saturating_add(1) && start < end {
        push(start.max(NEWEST + 1), Verdict::Errno(ENOSYS));
    }
}

fn verdict_for(name: &str, arch: Arch, ownership: Ownership) -> Verdict {
    let fake = ownership == Ownership::Fake;
    let answered = ownership == Ownership::Answered;
    match name {
        "clone" => Verdict::AllowWithout {
            argument: 0,
            bits: NEW_NAMESPACES,
        },
        // Its flags are in memory, where a filter cannot look; the C libraries then use clone.
        "clone3" => Verdict::Errno(ENOSYS),
        "personality" => Verdict::AllowOnly {
            argument: 0,
            values: PERSONALITIES,
        },
        "socket" => Verdict::AllowOnly {
            argument: 0,
            values: ADDRESS_FAMILIES,
        },
        _ if answered && calls::is_answered(name, arch) => Verdict::Ask,
        "creat" | "openat2" if answered => Verdict::Ask,
        "prctl" if answered => Verdict::AskIfOneOf {
            argument: 0,
            values: KEEPS_CAPABILITIES,
        },
        "setrlimit" | "prlimit64" if answered => Verdict::AskIfOneOf {
            argument: u32::from(name == "prlimit64"),
            values: LOCKS,
        },
        "open" | "openat" if answered => Verdict::AskIfAny {
            argument: u32::from(name == "openat") + 1,
            bits: MAKES_FILES,
        },
        "mknod" | "mknodat" if ownership != Ownership::Real => Verdict::Device {
            argument: u32::from(name == "mknodat") + 1,
            is_asked: !fake,
        },
        _ if fake && calls::changes_owners(name) => Verdict::Errno(0),
        _ => Verdict::Allow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documented::{sorted, words_behind};

    const ALLOW: u32 = 0x7fff_0000;

    fn errno(number: u16) -> u32 {
        0x0005_0000 | u32::from(number)
    }

    fn number(name: &str, arch: Arch) -> u32 {
        let row = ALLOWED.iter().find(|(known, _)| *known == name).unwrap();
        assert_ne!(row.1[arch.column], NONE, "{name}");
        row.1[arch.column]
    }

    fn check(arch: Arch, ownership: Ownership, number: u32, args: [u64; 6], expected: u32) {
        let pair = if arch.column < 2 { X86 } else { ARM };
        let program = program_for(&pair, ownership);
        let got = bpf::interpret(&program, arch.audit, number, args);
        assert_eq!(
            got, expected,
            "call {number} of column {}, {args:x?}",
            arch.column
        );
    }

    #[test]
    fn every_number_gets_its_verdict() {
        for pair in [X86, ARM] {
            let program = program_for(&pair, Ownership::Real);
            assert!(program.len() < 1000, "{} instructions", program.len());
            for arch in pair {
                let allowed: Vec<u32> = ALLOWED
                    .iter()
                    .filter(|(name, _)| verdict_for(name, arch, Ownership::Real) == Verdict::Allow)
                    .map(|(_, numbers)| numbers[arch.column])
                    .filter(|number| *number != NONE)
                    .collect();
                let looked_into: Vec<u32> = ["clone", "clone3", "personality", "socket"]
                    .map(|name| number(name, arch))
                    .to_vec();
                let numbers = (0..2000)
                    .chain(0xf_0000..0xf_0010)
                    .chain([u32::MAX, 0x4000_0000]);
                for call in numbers.filter(|call| !looked_into.contains(call)) {
                    let expected = match () {
                        () if allowed.contains(&call) => ALLOW,
                        () if call <= NEWEST => errno(EPERM),
                        () => errno(ENOSYS),
                    };
                    let got = bpf::interpret(&program, arch.audit, call, [0; 6]);
                    assert_eq!(got, expected, "call {call} of column {}", arch.column);
                }
            }
        }
    }

    #[test]
    fn arguments_are_looked_into() {
        for arch in X86.into_iter().chain(ARM) {
            let real = |name: &str, argument: u64, expected: u32| {
                let args = [argument, 0, 0, 0, 0, 0];
                check(arch, Ownership::Real, number(name, arch), args, expected);
            };
            real("clone3", 0, errno(ENOSYS));
            real("clone", 17, ALLOW);
            for namespace in [17, 25, 26, 27, 28, 29, 30] {
                real("clone", (1 << namespace) | 17, errno(EPERM));
            }
            for family in 0..50 {
                let expected = if [0, 1, 2, 10, 16].contains(&family) {
                    ALLOW
                } else {
                    errno(EPERM)
                };
                real("socket", family, expected);
            }
            real("personality", 0, ALLOW);
            real("personality", 0xffff_ffff, ALLOW);
            real("personality", 0x0004_0000, errno(EPERM));
        }
    }

    const ASK: u32 = 0x7fc0_0000;

    #[test]
    fn ownership_can_be_faked() {
        let amd64 = X86[0];
        for name in ["chown", "fchownat", "setuid", "setgroups"] {
            let number = number(name, amd64);
            check(amd64, Ownership::Fake, number, [0; 6], errno(0));
            check(amd64, Ownership::Real, number, [0; 6], ALLOW);
            check(amd64, Ownership::RealButDevices, number, [0; 6], ALLOW);
        }
        let chown32 = number("chown32", X86[1]);
        check(X86[1], Ownership::Fake, chown32, [0; 6], errno(0));
    }

    #[test]
    fn devices_are_made_by_others() {
        let amd64 = X86[0];
        let (mknod, mknodat) = (number("mknod", amd64), number("mknodat", amd64));
        for (mode, is_device) in [
            (0o020_644, true),
            (0o060_600, true),
            (0o010_644, false),
            (0, false),
        ] {
            for (ownership, expected) in [
                (Ownership::Real, ALLOW),
                (
                    Ownership::RealButDevices,
                    if is_device { ASK } else { ALLOW },
                ),
                (Ownership::Fake, if is_device { errno(0) } else { ALLOW }),
                (Ownership::Answered, ASK),
            ] {
                check(amd64, ownership, mknod, [9, mode, 9, 9, 0, 0], expected);
                check(amd64, ownership, mknodat, [9, 9, mode, 9, 0, 0], expected);
            }
        }
    }

    #[test]
    fn calls_about_owners_can_be_answered() {
        let answered = |arch: Arch, name: &str, args: [u64; 6], expected: u32| {
            check(
                arch,
                Ownership::Answered,
                number(name, arch),
                args,
                expected,
            );
        };
        let [amd64, i386] = X86;
        for name in [
            "chown", "fchownat", "stat", "statx", "setuid", "getuid", "mkdir", "execve",
        ] {
            answered(amd64, name, [0; 6], ASK);
        }
        for name in ["chown32", "fstatat64", "statx", "setuid", "getresuid32"] {
            answered(i386, name, [0; 6], ASK);
        }
        for name in ["read", "unlink", "access"] {
            answered(amd64, name, [0; 6], ALLOW);
        }
        answered(i386, "stat", [0; 6], ALLOW);
        answered(amd64, "openat", [9, 9, 0o100, 0, 0, 0], ASK);
        answered(amd64, "openat", [9, 9, 0o20_200_002, 0, 0, 0], ASK);
        answered(amd64, "openat", [0o100, 0o100, 0o202_000, 0, 0, 0], ALLOW);
        answered(i386, "open", [9, 0o101, 0, 0, 0, 0], ASK);
        answered(amd64, "prctl", [8, 1, 0, 0, 0, 0], ASK);
        answered(amd64, "prctl", [15, 8, 0, 0, 0, 0], ALLOW);
        answered(amd64, "prlimit64", [0, 10, 0, 0, 0, 0], ASK);
        answered(amd64, "prlimit64", [10, 7, 0, 0, 0, 0], ALLOW);
        answered(i386, "setrlimit", [10, 0, 0, 0, 0, 0], ASK);
    }

    #[test]
    fn questions_are_read() {
        let read = |arch: Arch, name: &str, arguments: [u64; 6]| {
            let pair = if arch.column < 2 { X86 } else { ARM };
            calls::read_question(&pair, arch.audit, number(name, arch), &arguments).unwrap()
        };
        let owner = |arch, name, arguments| read(arch, name, arguments).owner_call().unwrap();
        let [amd64, i386] = X86;
        let chown = owner(amd64, "chown", [0x1000, 5, 0xffff_ffff, 0, 0, 0]);
        let expected = OwnerCall {
            place: Place {
                directory: None,
                path: Some(0x1000),
                follows: true,
                is_empty_allowed: false,
            },
            uid: Some(5),
            gid: None,
        };
        assert_eq!(chown, expected);
        assert!(
            !owner(amd64, "lchown", [0x1000, 5, 6, 0, 0, 0])
                .place
                .follows
        );
        let fchown = owner(ARM[0], "fchown", [7, 5, 0xffff, 0, 0, 0]);
        assert_eq!((fchown.place.directory, fchown.place.path), (Some(7), None));
        assert_eq!(fchown.gid, Some(0xffff));
        let at = owner(amd64, "fchownat", [0xffff_ff9c, 0x1000, 5, 6, 0x1100, 0]);
        let place = at.place;
        assert_eq!(
            (place.directory, place.follows, place.is_empty_allowed),
            (None, false, true)
        );
        assert_eq!((at.uid, at.gid), (Some(5), Some(6)));
        let short = owner(i386, "chown", [0x1000, 0xffff, 6, 0, 0, 0]);
        assert_eq!((short.uid, short.gid), (None, Some(6)));
        let long = owner(i386, "chown32", [0x1000, 0xffff, 6, 0, 0, 0]);
        assert_eq!(long.uid, Some(0xffff));
        assert_eq!(
            owner(i386, "fchownat", [0, 0, 0xffff, 6, 0, 0]).uid,
            Some(0xffff)
        );
        let statx = read(amd64, "statx", [3, 0x1000, 0x100, 0, 0, 0]).place();
        assert_eq!((statx.directory, statx.follows), (Some(3), false));
        assert_eq!(read(i386, "setuid32", [0; 6]).name, "setuid");
        assert_eq!(read(amd64, "read", [0; 6]).owner_call(), None);
        assert_eq!(calls::read_question(&X86, ARM[0].audit, 55, &[0; 6]), None);
    }

    #[test]
    fn the_documented_calls_are_those_of_the_table() {
        let verdict = |name: &str| verdict_for(name, X86[0], Ownership::Real);
        let allowed = ALLOWED.iter().map(|(name, _)| *name);
        let allowed = allowed.filter(|name| verdict(name) == Verdict::Allow);
        let documented = words_behind("### System calls that are allowed");
        assert_eq!(documented, sorted(allowed));
        for name in words_behind("### System calls that are refused") {
            assert!(ALLOWED.iter().all(|(known, _)| *known != name), "{name}");
        }
        let looked_into = ALLOWED
            .iter()
            .filter(|(name, _)| verdict(name) != Verdict::Allow);
        let looked_into = looked_into.map(|(name, _)| *name);
        assert_eq!(
            sorted(looked_into),
            ["clone", "clone3", "personality", "socket"]
        );
    }

    #[test]
    fn other_architectures_are_killed() {
        let program = program_for(&X86, Ownership::Real);
        assert_eq!(
            bpf::interpret(&program, ARM[0].audit, 0, [0; 6]),
            0x8000_0000
        );
    }

    #[test]
    fn numbers_agree_with_the_c_library() {
        for (name, number) in [
            ("accept", libc::SYS_accept),
            ("clone", libc::SYS_clone),
            ("execve", libc::SYS_execve),
            ("mseal", 462),
            ("openat2", libc::SYS_openat2),
            ("ptrace", libc::SYS_ptrace),
            ("read", libc::SYS_read),
            ("socket", libc::SYS_socket),
            ("writev", libc::SYS_writev),
        ] {
            let row = ALLOWED.iter().find(|(known, _)| *known == name).unwrap();
            assert_eq!(i64::from(row.1[HERE[0].column]), number, "{name}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_has_no_duplicates() {
        let key = |name: &str| name.trim_start_matches('_').to_owned();
        for pair in ALLOWED.windows(2) {
            assert!(
                key(pair[0].0) < key(pair[1].0),
                "{} and {}",
                pair[0].0,
                pair[1].0
            );
        }
    }
}
