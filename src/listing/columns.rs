//! Text with tabs to columns, as Go's `tabwriter` does it with Docker's settings.

use std::ops::Range;

use unicode_width::UnicodeWidthStr as _;

/// Smallest width of a column, and the blanks after its longest cell.
const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Lays out lines whose cells end in tabs. What follows a line's last tab is not padded. A column
/// reaches as far down as lines have it.
pub(crate) fn columns(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let mut writer = Writer {
        lines: &lines,
        widths: Vec::new(),
        out: String::new(),
    };
    writer.block(0..lines.len());
    writer.out
}

struct Writer<'a> {
    lines: &'a [Vec<&'a str>],
    /// Of the columns to the left of the current one.
    widths: Vec<usize>,
    out: String,
}

impl Writer<'_> {
    /// Writes lines that have the same columns to the left.
    fn block(&mut self, lines: Range<usize>) {
        let column = self.widths.len();
        let has_column = |line: &Vec<&str>| column + 1 < line.len();
        let mut start = lines.start;
        while let Some(first) = (start..lines.end).find(|line| has_column(&self.lines[*line])) {
            self.write(start..first);
            let end = (first..lines.end)
                .find(|line| !has_column(&self.lines[*line]))
                .unwrap_or(lines.end);
            let cells = self.lines[first..end]
                .iter()
                .map(|line| line[column].width());
            let width = cells.max().unwrap_or(0) + PADDING;
            self.widths.push(width.max(MIN_WIDTH));
            self.block(first..end);
            self.widths.pop();
            start = end;
        }
        self.write(start..lines.end);
    }

    fn write(&mut self, lines: Range<usize>) {
        for line in &self.lines[lines] {
            for (place, cell) in line.iter().enumerate() {
                self.out.push_str(cell);
                if let Some(width) = self.widths.get(place) {
                    let missing = width.saturating_sub(cell.width());
                    self.out.extend(std::iter::repeat_n(' ', missing));
                }
            }
            self.out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(columns(text), expected, "{text:?}");
    }

    #[test]
    fn cells_line_up() {
        check("X\tY\na\tb\n", "X         Y\na         b\n");
        check(
            "long long long\tY\na\t\n",
            "long long long   Y\na                \n",
        );
        check("a\n", "a\n");
        check("", "");
        // Wide characters take two places.
        check(
            "日本日本日本\tx\na\tx\n",
            "日本日本日本   x\na              x\n",
        );
    }

    #[test]
    fn a_line_without_a_column_ends_it() {
        check(
            "a\tlong long long\tx\nb\nc\td\te\n",
            "a         long long long   x\nb\nc         d         e\n",
        );
    }
}
