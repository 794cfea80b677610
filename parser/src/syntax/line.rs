//! Physical lines and the logical lines that continuations make of them. Knows comments and the
//! escape character, but no instruction.

use std::ops::Range;

use crate::span::{Span, Spanned};

/// Longest physical line, in bytes without the `\n`: BuildKit's scanner takes no more.
pub(crate) const MAX_LINE: usize = 65_535;

/// One line of the file without its `\n`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhysicalLine<'a> {
    /// Offset of the first byte.
    pub(crate) start: usize,
    /// The bytes up to the `\n`; a `\r` before it is included.
    pub(crate) bytes: &'a [u8],
    /// Offset after the `\n`, or the end of the file.
    pub(crate) next: usize,
}

impl<'a> PhysicalLine<'a> {
    /// Returns the bytes without the `\r`s at the end.
    pub(crate) fn content(&self) -> &'a [u8] {
        let mut content = self.bytes;
        while let [rest @ .., b'\r'] = content {
            content = rest;
        }
        content
    }

    /// Returns where [`Self::content`] is.
    pub(crate) fn span(&self) -> Span {
        Span::new(self.start, self.start + self.content().len())
    }

    /// Returns the content without leading blanks, and how many bytes those were.
    pub(crate) fn trimmed_start(&self) -> (&'a [u8], usize) {
        let content = self.content();
        let blanks = leading_blanks(content);
        (&content[blanks..], blanks)
    }

    /// Tells whether the line is longer than BuildKit reads.
    pub(crate) fn is_too_long(&self) -> bool {
        self.bytes.len() > MAX_LINE
    }
}

/// Walks over the lines of a file.
#[derive(Debug, Clone)]
pub(crate) struct Lines<'a> {
    source: &'a [u8],
    position: usize,
}

impl<'a> Lines<'a> {
    /// Starts at the first line; a byte order mark is skipped.
    pub(crate) fn new(source: &'a [u8]) -> Self {
        let position = if source.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        Self { source, position }
    }

    /// Starts at `position`, in the middle of a line perhaps.
    pub(crate) fn starting_at(source: &'a [u8], position: usize) -> Self {
        Self { source, position }
    }

    /// Returns the offset of the next line.
    pub(crate) fn offset(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = PhysicalLine<'a>;

    fn next(&mut self) -> Option<PhysicalLine<'a>> {
        let rest = self.source.get(self.position..)?;
        if rest.is_empty() {
            return None;
        }
        let start = self.position;
        let (bytes, next) = match rest.iter().position(|&byte| byte == b'\n') {
            Some(length) => (&rest[..length], start + length + 1),
            None => (rest, self.source.len()),
        };
        self.position = next;
        Some(PhysicalLine { start, bytes, next })
    }
}

/// Returns how many bytes of Unicode white space `bytes` starts with.
pub(crate) fn leading_blanks(bytes: &[u8]) -> usize {
    let mut position = 0;
    while let Some(&first) = bytes.get(position) {
        let width = match first {
            b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | b' ' => 1,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => break,
        };
        let is_blank = bytes
            .get(position..position + width)
            .and_then(|encoded| std::str::from_utf8(encoded).ok())
            .is_some_and(|text| text.chars().all(char::is_whitespace));
        if !is_blank {
            break;
        }
        position += width;
    }
    position
}

/// A run of logical text and the bytes that it came from. Either both have the same length, or the
/// text is one U+FFFD that stands for invalid bytes.
#[derive(Debug, Clone, Copy)]
struct Segment {
    logical: usize,
    logical_length: usize,
    file: usize,
    file_length: usize,
}

/// Continued lines joined, with the way back to the file.
#[derive(Debug)]
pub(crate) struct LogicalLine {
    /// The joined text, not trimmed at the end.
    pub(crate) text: String,
    segments: Vec<Segment>,
    /// The last physical line that was consumed.
    pub(crate) last: Span,
    /// The first empty line between continued lines.
    pub(crate) empty_line: Option<Span>,
}

impl LogicalLine {
    /// Reads on from `first`, a line that is neither empty nor a comment.
    pub(crate) fn read(
        first: PhysicalLine<'_>,
        lines: &mut Lines<'_>,
        escape: char,
        mut on_line: impl FnMut(&PhysicalLine<'_>),
    ) -> Self {
        let (content, blanks) = first.trimmed_start();
        let mut logical = Self {
            text: String::with_capacity(content.len()),
            segments: Vec::new(),
            last: Span::new(first.start + blanks, first.start + blanks),
            empty_line: None,
        };
        let mut continued = logical.push(content, first.start + blanks, escape);
        logical.last = first.span();
        while continued {
            let Some(line) = lines.next() else { break };
            on_line(&line);
            logical.last = line.span();
            match line.trimmed_start().0 {
                [] => {
                    logical.empty_line.get_or_insert(line.span());
                }
                [b'#', ..] => {}
                _ => continued = logical.push(line.content(), line.start, escape),
            }
        }
        logical
    }

    /// Makes a line of text that has no file, such as a trigger's: offsets are the text's own.
    #[cfg(test)]
    pub(crate) fn from_text(text: &str) -> Self {
        let first = PhysicalLine {
            start: 0,
            bytes: text.as_bytes(),
            next: text.len(),
        };
        Self::read(first, &mut Lines::new(b""), '\\', |_| {})
    }

    /// Appends a line's content and tells whether it is continued.
    fn push(&mut self, content: &[u8], file: usize, escape: char) -> bool {
        let (content, continued) = split_continuation(content, escape);
        let mut file = file;
        for chunk in content.utf8_chunks() {
            self.push_segment(chunk.valid(), file, chunk.valid().len());
            file += chunk.valid().len();
            if !chunk.invalid().is_empty() {
                self.push_segment("\u{fffd}", file, chunk.invalid().len());
                file += chunk.invalid().len();
            }
        }
        continued
    }

    fn push_segment(&mut self, text: &str, file: usize, file_length: usize) {
        if text.is_empty() {
            return;
        }
        self.segments.push(Segment {
            logical: self.text.len(),
            logical_length: text.len(),
            file,
            file_length,
        });
        self.text.push_str(text);
    }

    /// Returns the whole line as a fragment, without blanks around it.
    pub(crate) fn trimmed(&self) -> Fragment<'_> {
        Fragment {
            line: self,
            start: 0,
            end: self.text.len(),
        }
        .trim()
    }

    /// Returns where `range` of the text is in the file.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let start = self.file_start(range.start);
        if range.is_empty() {
            return Span::new(start, start);
        }
        Span::new(start, self.file_end(range.end).max(start))
    }

    /// Maps the first byte of something.
    fn file_start(&self, logical: usize) -> usize {
        let index = self
            .segments
            .partition_point(|segment| segment.logical + segment.logical_length <= logical);
        match self.segments.get(index) {
            Some(segment) if segment.logical_length == segment.file_length => {
                segment.file + (logical - segment.logical)
            }
            Some(segment) => segment.file,
            None => self.file_end(logical),
        }
    }

    /// Maps the offset after the last byte of something: never into the next physical line.
    fn file_end(&self, logical: usize) -> usize {
        let index = self
            .segments
            .partition_point(|segment| segment.logical < logical);
        match index.checked_sub(1).and_then(|i| self.segments.get(i)) {
            Some(segment) if segment.logical_length == segment.file_length => {
                segment.file + (logical - segment.logical).min(segment.file_length)
            }
            Some(segment) => segment.file + segment.file_length,
            None => self.last.start,
        }
    }
}

/// Cuts the escape character and the blanks after it off a line's end. A doubled escape character
/// does not continue a line.
fn split_continuation(content: &[u8], escape: char) -> (&[u8], bool) {
    let mut end = content;
    while let [rest @ .., b' ' | b'\t'] = end {
        end = rest;
    }
    let is_escape = |byte: u8| char::from(byte) == escape;
    match end {
        [rest @ .., last] if is_escape(*last) && !rest.last().copied().is_some_and(is_escape) => {
            (rest, true)
        }
        _ => (content, false),
    }
}

/// A part of a logical line: cheap to copy, and it knows where it is in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment<'a> {
    line: &'a LogicalLine,
    start: usize,
    end: usize,
}

impl<'a> Fragment<'a> {
    /// Returns the text.
    pub(crate) fn text(self) -> &'a str {
        self.line.text.get(self.start..self.end).unwrap_or_default()
    }

    /// Tells whether there is no text.
    pub(crate) fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Returns the part at `range`, counted from this fragment's start. The range must lie on
    /// character boundaries.
    pub(crate) fn slice(self, range: Range<usize>) -> Self {
        let start = (self.start + range.start).min(self.end);
        Self {
            line: self.line,
            start,
            end: (self.start + range.end).clamp(start, self.end),
        }
    }

    /// Returns what follows the first `length` bytes.
    pub(crate) fn skip(self, length: usize) -> Self {
        self.slice(length..self.end - self.start)
    }

    /// Returns the fragment without white space (Unicode's) around it.
    pub(crate) fn trim(self) -> Self {
        let text = self.text();
        let start = text.len() - text.trim_start().len();
        self.slice(start..start.max(text.trim_end().len()))
    }

    /// Returns its place in the file.
    pub(crate) fn span(self) -> Span {
        self.line.span(self.start..self.end)
    }

    /// Returns text and place as a value of its own.
    pub(crate) fn to_word(self) -> Spanned<String> {
        Spanned::new(self.text().to_owned(), self.span())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> LogicalLine {
        let mut lines = Lines::new(source.as_bytes());
        let first = lines.next().unwrap();
        LogicalLine::read(first, &mut lines, '\\', |_| {})
    }

    #[test]
    fn continuations() {
        let cases: &[(&str, &str)] = &[
            ("a \\\n  b", "a   b"),
            ("a\\\n\\\nb", "ab"),
            ("a \\ \t\n b", "a  b"),
            ("a \\\\\nb", "a \\\\"),
            ("a \\\\\\\nb", "a \\\\\\"),
            ("a \\\r\n  b\r\n", "a   b"),
            ("a \\\n# c\n  # d \\\n b", "a  b"),
            ("a \\\n\n b", "a  b"),
            ("a \\", "a "),
            ("\\\nb", "b"),
        ];
        for (source, expected) in cases {
            assert_eq!(read(source).text, *expected, "{source:?}");
        }
    }

    #[test]
    fn spans_cross_continuations() {
        let line = read("  ab \\\n# x\n cd");
        assert_eq!(line.text, "ab  cd");
        assert_eq!(line.span(0..2), Span::new(2, 4));
        assert_eq!(line.span(1..5), Span::new(3, 13));
        assert_eq!(line.span(4..6), Span::new(12, 14));
        // The end of the first part stays on its line.
        assert_eq!(line.span(0..3), Span::new(2, 5));
        assert_eq!(line.span(6..6), Span::new(14, 14));
        assert_eq!(line.last, Span::new(11, 14));
    }

    #[test]
    fn spans_cover_invalid_bytes() {
        let source = b"a\xff\xe2\x28b";
        let mut lines = Lines::new(source);
        let first = lines.next().unwrap();
        let line = LogicalLine::read(first, &mut lines, '\\', |_| {});
        assert_eq!(line.text, "a\u{fffd}\u{fffd}(b");
        assert_eq!(line.span(1..4), Span::new(1, 2));
        assert_eq!(line.span(4..7), Span::new(2, 3));
        assert_eq!(line.span(7..9), Span::new(3, 5));
    }

    #[test]
    fn blanks_are_unicode() {
        assert_eq!(leading_blanks("\u{a0}\u{2003} x".as_bytes()), 6);
        assert_eq!(leading_blanks(b"\xc2"), 0);
        assert_eq!(leading_blanks(b"\xe2\x80x"), 0);
    }
}
