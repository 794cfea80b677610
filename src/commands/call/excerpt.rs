//! Lines of the source as BuildKit's client shows them.

use std::fmt::Write as _;

use crate::progress::clean_text;
use crate::report::Source;

const RULE: &str = "--------------------\n";

/// Returns the lines `first` to `last`, marked, with two around one line on each side and one around
/// several.
pub(super) fn excerpt(source: &Source, (first, last): (usize, usize)) -> String {
    let text = String::from_utf8_lossy(&source.text);
    let lines: Vec<&str> = text.split('\n').collect();
    if first == 0 || first > lines.len() {
        return String::new();
    }
    let last = last.min(lines.len());
    let (start, end) = surroundings(first, last, lines.len());
    let name = clean_text(&source.name);
    let mut out = format!("{name}:{first}\n{RULE}");
    for (place, line) in lines.iter().enumerate().take(end).skip(start - 1) {
        let number = place + 1;
        let mark = if (first..=last).contains(&number) {
            ">>>"
        } else {
            "   "
        };
        let line = clean_text(line);
        writeln!(out, " {number:3} | {mark} {line}").expect("a string takes any text");
    }
    out + RULE
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
        assert_eq!(excerpt(&source, lines), expected);
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
