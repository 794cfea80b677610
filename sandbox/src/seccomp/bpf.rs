//! Turns a table of system call ranges into a classic BPF program: a binary search, about eight steps deep.
//!
//! A linear list of the same rules is eight times as long and takes twelve times as long to install.

use libc::sock_filter;

/// What the filter does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Let it through.
    Allow,
    /// Do nothing and return this error; 0 pretends success.
    Errno(u16),
    /// Ask whoever listens to the filter.
    Ask,
    /// Let it through if the argument has none of the bits; else `EPERM`.
    AllowWithout { argument: u32, bits: u32 },
    /// Let it through if the argument is one of these; else `EPERM`.
    AllowOnly {
        argument: u32,
        values: &'static [u32],
    },
    /// Ask whoever listens if the argument has any of the bits; else let it through.
    AskIfAny { argument: u32, bits: u32 },
    /// Ask whoever listens if the argument is one of these; else let it through.
    AskIfOneOf {
        argument: u32,
        values: &'static [u32],
    },
    /// If the argument, as a file mode, says a device, ask or pretend success; else let it through.
    Device { argument: u32, is_asked: bool },
}

/// One architecture's part of the filter.
#[derive(Debug)]
pub(super) struct Section {
    /// `AUDIT_ARCH_*` number.
    pub arch: u32,
    /// First number of each range of calls with its verdict, ascending, from 0.
    pub ranges: Vec<(u32, Verdict)>,
}

const LOAD: u16 = 0x20; // ld [k], 32 bits
const AND: u16 = 0x54; // a &= k
const JUMP: u16 = 0x05; // pc += k
const EQUAL: u16 = 0x15; // pc += a == k ? jt : jf
const AT_LEAST: u16 = 0x35; // pc += a >= k ? jt : jf
const ANY_BIT: u16 = 0x45; // pc += a & k ? jt : jf
const RETURN: u16 = 0x06;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;
const RETURN_ASK: u32 = 0x7fc0_0000;
const RETURN_KILL_PROCESS: u32 = 0x8000_0000;

const EPERM: u16 = 1;
const FILE_TYPE: u32 = 0o170_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const BLOCK_DEVICE: u32 = 0o060_000;

/// Returns the program. A call of an architecture that has no section ends the process.
pub(super) fn assemble(sections: &[Section]) -> Vec<sock_filter> {
    let mut program = vec![plain(LOAD, OFFSET_ARCH)];
    for section in sections {
        let mut body = vec![plain(LOAD, OFFSET_NUMBER)];
        body.extend(search(&section.ranges));
        // Conditional jumps reach 255 instructions only.
        program.push(branch(EQUAL, section.arch, 1, 0));
        program.push(plain(JUMP, length(&body)));
        program.extend(body);
    }
    program.push(plain(RETURN, RETURN_KILL_PROCESS));
    program
}

fn search(ranges: &[(u32, Verdict)]) -> Vec<sock_filter> {
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let Some((first_high, verdict)) = high.first() else {
        return returns(Verdict::Errno(EPERM));
    };
    if low.is_empty() {
        return returns(*verdict);
    }
    let (low, high) = (search(low), search(high));
    let mut code = match u8::try_from(low.len()) {
        Ok(distance) => vec![branch(AT_LEAST, *first_high, distance, 0)],
        Err(_) => vec![
            branch(AT_LEAST, *first_high, 0, 1),
            plain(JUMP, length(&low)),
        ],
    };
    code.extend(low);
    code.extend(high);
    code
}

fn returns(verdict: Verdict) -> Vec<sock_filter> {
    let errno = |number: u16| plain(RETURN, RETURN_ERRNO | u32::from(number));
    let allow = plain(RETURN, RETURN_ALLOW);
    match verdict {
        Verdict::Allow => vec![allow],
        Verdict::Errno(number) => vec![errno(number)],
        Verdict::Ask => vec![plain(RETURN, RETURN_ASK)],
        Verdict::AllowWithout { argument, bits } => {
            vec![
                load(argument),
                branch(ANY_BIT, bits, 1, 0),
                allow,
                errno(EPERM),
            ]
        }
        Verdict::AllowOnly { argument, values } => {
            let mut code = vec![load(argument)];
            for value in values {
                code.push(branch(EQUAL, *value, 0, 1));
                code.push(allow);
            }
            code.push(errno(EPERM));
            code
        }
        Verdict::AskIfOneOf { argument, values } => {
            let mut code = vec![load(argument)];
            for value in values {
                code.push(branch(EQUAL, *value, 0, 1));
                code.push(plain(RETURN, RETURN_ASK));
            }
            code.push(allow);
            code
        }
        Verdict::AskIfAny { argument, bits } => vec![
            load(argument),
            branch(ANY_BIT, bits, 1, 0),
            allow,
            plain(RETURN, RETURN_ASK),
        ],
        Verdict::Device { argument, is_asked } => vec![
            load(argument),
            plain(AND, FILE_TYPE),
            branch(EQUAL, CHARACTER_DEVICE, 2, 0),
            branch(EQUAL, BLOCK_DEVICE, 1, 0),
            allow,
            if is_asked {
                plain(RETURN, RETURN_ASK)
            } else {
                errno(0)
            },
        ],
    }
}

/// Loads the low half of an argument. All arguments that are looked at are 32 bits wide in the kernel too, so the
/// high half says nothing. Little-endian, as all supported architectures are.
fn load(argument: u32) -> sock_filter {
    plain(LOAD, OFFSET_ARGUMENTS + 8 * argument)
}

fn plain(code: u16, k: u32) -> sock_filter {
    branch(code, k, 0, 0)
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn length(code: &[sock_filter]) -> u32 {
    u32::try_from(code.len()).unwrap_or(u32::MAX)
}

/// What the kernel does with such a program, for tests.
#[cfg(test)]
pub(super) fn interpret(program: &[sock_filter], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let word = |offset: u32| match offset {
        OFFSET_NUMBER => number,
        OFFSET_ARCH => arch,
        _ => (args[((offset - OFFSET_ARGUMENTS) / 8) as usize] & 0xffff_ffff) as u32,
    };
    let (mut pc, mut a) = (0_usize, 0_u32);
    loop {
        let instruction = &program[pc];
        pc += 1;
        let taken = match instruction.code {
            LOAD => {
                a = word(instruction.k);
                continue;
            }
            AND => {
                a &= instruction.k;
                continue;
            }
            JUMP => {
                pc += instruction.k as usize;
                continue;
            }
            RETURN => return instruction.k,
            EQUAL => a == instruction.k,
            AT_LEAST => a >= instruction.k,
            ANY_BIT => a & instruction.k != 0,
            other => panic!("instruction {other:#x}"),
        };
        pc += usize::from(if taken {
            instruction.jt
        } else {
            instruction.jf
        });
    }
}
