//! Lines of the source as BuildKit's client shows them.

use std::fmt::Write as _;

use crate::progress::clean_text;
use crate::report::Source;

const RULE: &str = "--------------------\n";
/// An instruction that is longer is not shown to its end: a heredoc may be as long as a file, and
/// there may be much to say about it.
const MAX_LINES: usize = 100;

/// The lines of a file, harmless to a terminal.
#[derive(Debug)]
pub(super) struct Excerpts {
    name: String,
    lines: Vec<String>,
}

impl Excerpts {
    pub(super) fn new(source: &Source) -> Self {
        let text = String::from_utf8_lossy(&source.text);
        Self {
            name: clean_text(&source.name),
            lines: text.split('\n').map(clean_text).collect(),
        }
    }

    /// Returns the lines `first` to `last`, marked, with two around one line on each side and one
    /// around several.
    pub(super) fn of(&self, (first, last): (usize, usize)) -> String {
        let n_lines = self.lines.len();
        if first == 0 || first > n_lines {
            return String::new();
        }
        let last = last.min(n_lines).min(first + MAX_LINES - 1);
        let (start, end) = surroundings(first, last, n_lines);
        let mut out = format!("{}:{first}\n{RULE}", self.name);
        for (place, line) in self.lines.iter().enumerate().take(end).skip(start - 1) {
            let number = place + 1;
            let is_meant = (first..=last).contains(&number);
            let mark = if is_meant { ">>>" } else { "   " };
            writeln!(out, " {number:3} | {mark} {line}").expect("a string takes any text");
        }
        out + RULE
    }
}

/// Widens a range of lines as BuildKit does. A round counts as a line itself, so that what is
/// missing at an end of the file is not made up for at the other side.
fn surroundings(first: usize, last: usize, n_lines: usize) -> (usize, usize) {
    let (mut start, mut end) = (first, last);
    let wanted = if first == last { 4 } else { 2 };
    let mut n_added = 0;
    while n_added < wanted {
        if start > 1 {
            start -= 1;
            n_added += 1;
        }
        if end < n_lines {
            end += 1;
            n_added += 1;
        }
        n_added += 1;
    }
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, lines: (usize, usize), expected: &str) {
        let source = Source {
            name: "Dockerfile".into(),
            text: text.into(),
        };
        assert_eq!(Excerpts::new(&source).of(lines), expected);
    }

    #[test]
    fn one_line_has_two_around_it() {
        check(
            "1\n2\n3\n4\n5\n6\n",
            (4, 4),
            "Dockerfile:4\n--------------------\n   2 |     2\n   3 |     3\n   4 | >>> 4\n   \
             5 |     5\n   6 |     6\n--------------------\n",
        );
        check(
            "1\n2\n3\n4\n5\n6\n",
            (1, 1),
            "Dockerfile:1\n--------------------\n   1 | >>> 1\n   2 |     2\n   3 |     3\n\
             --------------------\n",
        );
    }

    #[test]
    fn several_lines_have_one_around_them() {
        check(
            "1\n2\n3\n4\n5\n6",
            (3, 4),
            "Dockerfile:3\n--------------------\n   2 |     2\n   3 | >>> 3\n   4 | >>> 4\n   \
             5 |     5\n--------------------\n",
        );
        check(
            "a\u{1b}[31mb",
            (1, 9),
            "Dockerfile:1\n--------------------\n   1 | >>> ab\n--------------------\n",
        );
    }
}
