//! Expressions to programs.

use super::{
    Op, Regex,
    class::{Class, complement, named_class, posix_class},
};

impl Regex {
    /// Compiles an expression. `None` if it is malformed.
    pub(in crate::ignore) fn parse(expression: &[char]) -> Option<Self> {
        let mut compiler = Compiler {
            rest: expression,
            program: Vec::new(),
            classes: Vec::new(),
            atoms: Vec::new(),
        };
        compiler.sequence(None)?;
        compiler.program.push(Op::Match);
        let atoms = compiler.atoms.iter();
        let prefix: String = atoms.clone().map_while(|atom| *atom).collect();
        let mut suffix: Vec<char> = atoms.rev().map_while(|atom| *atom).collect();
        suffix.reverse();
        Some(Self {
            program: compiler.program,
            classes: compiler.classes,
            prefix: to_bytes(prefix),
            suffix: to_bytes(String::from_iter(suffix)),
        })
    }
}

/// Returns a text that paths must have; nothing for one with U+FFFD, which an invalid byte matches
/// although it is not its encoding.
fn to_bytes(text: String) -> Vec<u8> {
    if text.contains('\u{fffd}') {
        return Vec::new();
    }
    text.into_bytes()
}

struct Compiler<'a> {
    rest: &'a [char],
    program: Vec<Op>,
    classes: Vec<Class>,
    /// What is taken in order: a character, or (`None`) something that may vary.
    atoms: Vec<Option<char>>,
}

impl Compiler<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.first().copied()
    }

    fn next(&mut self) -> Option<char> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_there = self.peek() == Some(wanted);
        if is_there {
            self.rest = &self.rest[1..];
        }
        is_there
    }

    /// Compiles up to the end, or to `)` in a group. Groups come from `**` alone and hold no other.
    fn sequence(&mut self, close: Option<char>) -> Option<()> {
        loop {
            if self.peek() == close {
                return Some(());
            }
            let start = self.program.len();
            let first_atom = self.atoms.len();
            let can_repeat = self.atom(close.is_none())?;
            if let Some(quantifier @ ('*' | '?')) = self.peek() {
                self.next();
                // An expression never repeats a repetition.
                if !can_repeat || matches!(self.peek(), Some('*' | '?')) {
                    return None;
                }
                self.repeat(start, quantifier);
                self.atoms.truncate(first_atom);
                self.atoms.push(None);
            }
        }
    }

    /// Makes the operations from `start` on optional, or optional and repeated.
    fn repeat(&mut self, start: usize, quantifier: char) {
        let after_split = start + 1;
        for op in &mut self.program[start..] {
            if let Op::Split(first, second) = op {
                *first += 1;
                *second += 1;
            }
        }
        let end = self.program.len() + 1;
        if quantifier == '*' {
            self.program.insert(start, Op::Split(after_split, end + 1));
            self.program.push(Op::Split(after_split, end + 1));
        } else {
            self.program.insert(start, Op::Split(after_split, end));
        }
    }

    /// Compiles one unit; tells whether it may be repeated.
    fn atom(&mut self, groups: bool) -> Option<bool> {
        let c = self.next()?;
        match c {
            '(' if groups => {
                self.sequence(Some(')'))?;
                return self.take(')').then_some(true);
            }
            '^' => self.program.push(Op::Start),
            '$' => self.program.push(Op::End),
            '.' => self.push(Op::Any, None),
            '[' => {
                let class = self.class()?;
                self.push_class(class);
            }
            '\\' => self.escape()?,
            '(' | ')' | '*' | '+' | '?' | '|' | '{' => return None,
            _ => self.push(Op::Char(c), Some(c)),
        }
        Some(!matches!(c, '^' | '$'))
    }

    fn push(&mut self, op: Op, literal: Option<char>) {
        self.program.push(op);
        self.atoms.push(literal);
    }

    fn push_class(&mut self, class: Class) {
        self.classes.push(class);
        self.push(Op::Class(self.classes.len() - 1), None);
    }

    /// Compiles what a backslash stands for outside classes.
    fn escape(&mut self) -> Option<()> {
        match self.peek()? {
            'b' | 'B' => {
                let wanted = self.next() == Some('b');
                self.program.push(Op::WordBoundary(wanted));
                self.atoms.push(None);
            }
            'A' | 'z' => {
                let op = if self.next() == Some('A') {
                    Op::Start
                } else {
                    Op::End
                };
                self.program.push(op);
            }
            'Q' => {
                self.next();
                while !self.rest.is_empty() && !self.rest.starts_with(&['\\', 'E']) {
                    // The `$` of the translation is quoted as well, and then nothing anchors.
                    let c = self.next()?;
                    self.push(Op::Char(c), Some(c));
                }
                self.rest = self.rest.get(2..).unwrap_or_default();
            }
            c => match named_class(c) {
                Some(class) => {
                    self.next();
                    self.push_class(class);
                }
                None => {
                    let c = self.escaped_char()?;
                    self.push(Op::Char(c), Some(c));
                }
            },
        }
        Some(())
    }

    /// Reads an escaped character, the backslash taken.
    fn escaped_char(&mut self) -> Option<char> {
        let c = self.next()?;
        Some(match c {
            'a' => '\u{7}',
            'f' => '\u{c}',
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'v' => '\u{b}',
            'x' => return self.hex(),
            '0' => return self.octal(0),
            '1'..='7' if matches!(self.peek(), Some('0'..='7')) => {
                return self.octal(c.to_digit(8)?);
            }
            _ if c.is_ascii_alphanumeric() => return None,
            _ => c,
        })
    }

    fn octal(&mut self, first: u32) -> Option<char> {
        let mut value = first;
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else {
                break;
            };
            self.next();
            value = value * 8 + digit;
        }
        char::from_u32(value)
    }

    fn hex(&mut self) -> Option<char> {
        if !self.take('{') {
            let high = self.next()?.to_digit(16)?;
            let low = self.next()?.to_digit(16)?;
            return char::from_u32(high * 16 + low);
        }
        let mut value: u32 = 0;
        let mut n_digits = 0;
        while !self.take('}') {
            value = value.checked_mul(16)? + self.next()?.to_digit(16)?;
            n_digits += 1;
        }
        (n_digits > 0).then(|| char::from_u32(value)).flatten()
    }

    /// Reads a class whose bracket is taken.
    fn class(&mut self) -> Option<Class> {
        let mut class = Class {
            negated: self.take('^'),
            ranges: Vec::new(),
        };
        let mut is_first = true;
        while is_first || self.peek() != Some(']') {
            is_first = false;
            if self.rest.starts_with(&['[', ':'])
                && let Some(length) = self
                    .rest
                    .windows(2)
                    .skip(2)
                    .position(|end| end == [':', ']'])
            {
                let name: String = self.rest[2..length + 2].iter().collect();
                class.ranges.extend(posix_class(&name)?);
                self.rest = &self.rest[length + 4..];
                continue;
            }
            if let ['\\', letter, ..] = self.rest
                && let Some(named) = named_class(*letter)
            {
                self.rest = &self.rest[2..];
                class.ranges.extend(if named.negated {
                    complement(&named.ranges)
                } else {
                    named.ranges
                });
                continue;
            }
            let low = self.class_char()?;
            let high = match self.rest {
                ['-', end, ..] if *end != ']' => {
                    self.next();
                    self.class_char()?
                }
                _ => low,
            };
            if high < low {
                return None;
            }
            class.ranges.push((low, high));
        }
        self.take(']').then_some(class)
    }

    fn class_char(&mut self) -> Option<char> {
        match self.next()? {
            '\\' => self.escaped_char(),
            c => Some(c),
        }
    }
}
