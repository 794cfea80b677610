//! Following all ways through a text at once.

use super::{Op, Regex};
use crate::glob::decode;

/// The ways through a text.
pub(super) struct Run<'a> {
    regex: &'a Regex,
    text: &'a [u8],
    /// Whether more text follows, of which nothing is known.
    is_open: bool,
    position: usize,
    before: Option<char>,
    /// Operations to go on at, no two alike.
    pub(super) active: Vec<usize>,
    next: Vec<usize>,
    /// The step at which an operation was last added, from 1.
    added: Vec<usize>,
    n_steps: usize,
    pub(super) matched: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(regex: &'a Regex, text: &'a [u8]) -> Self {
        Self::start(regex, text, false)
    }

    /// Returns the ways through a text that goes on.
    pub(super) fn of_start(regex: &'a Regex, text: &'a [u8]) -> Self {
        Self::start(regex, text, true)
    }

    fn start(regex: &'a Regex, text: &'a [u8], is_open: bool) -> Self {
        let mut run = Self {
            regex,
            text,
            is_open,
            position: 0,
            before: None,
            active: Vec::new(),
            next: Vec::new(),
            added: vec![0; regex.program.len()],
            n_steps: 1,
            matched: false,
        };
        run.add(0);
        std::mem::swap(&mut run.active, &mut run.next);
        run
    }

    /// Takes one character. False if there is none or no way is left.
    pub(super) fn step(&mut self) -> bool {
        let Some((c, length)) = decode(&self.text[self.position..]) else {
            return false;
        };
        if self.active.is_empty() {
            return false;
        }
        self.position += length;
        self.before = Some(c);
        self.n_steps += 1;
        self.next.clear();
        self.matched = false;
        for index in 0..self.active.len() {
            let op = self.active[index];
            let takes = match self.regex.program[op] {
                Op::Char(wanted) => wanted == c,
                Op::Any => c != '\n',
                Op::Class(class) => self.regex.classes[class].contains(c),
                _ => false,
            };
            if takes {
                self.add(op + 1);
            }
        }
        std::mem::swap(&mut self.active, &mut self.next);
        true
    }

    /// Adds an operation and those that it leads to without taking a character.
    fn add(&mut self, op: usize) {
        let mut pending = vec![op];
        while let Some(op) = pending.pop() {
            if std::mem::replace(&mut self.added[op], self.n_steps) == self.n_steps {
                continue;
            }
            match self.regex.program[op] {
                Op::Split(first, second) => pending.extend([second, first]),
                Op::Start if self.position == 0 => pending.push(op + 1),
                Op::End if self.position == self.text.len() => pending.push(op + 1),
                Op::WordBoundary(wanted) if self.may_be_word_boundary(wanted) => {
                    pending.push(op + 1);
                }
                Op::Start | Op::End | Op::WordBoundary(_) => {}
                Op::Match => self.matched = true,
                Op::Char(_) | Op::Class(_) | Op::Any => self.next.push(op),
            }
        }
    }

    /// Tells whether there is a word boundary here, or none, as `wanted`.
    fn may_be_word_boundary(&self, wanted: bool) -> bool {
        if self.is_open && self.position == self.text.len() {
            return true;
        }
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        let after = decode(&self.text[self.position..]).map(|(c, _)| c);
        (is_word(self.before) != is_word(after)) == wanted
    }
}
