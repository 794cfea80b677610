//! Bytes of a file to lines and columns.

use rbuild_parser::span::Span;

/// The lines of a file.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    text: &'a [u8],
    /// Where the lines start.
    starts: Vec<usize>,
}

/// A line and a column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl<'a> Places<'a> {
    /// Finds the lines of a file.
    pub(crate) fn new(text: &'a [u8]) -> Self {
        let after_ends = text
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(index, _)| index + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(after_ends).collect(),
        }
    }

    /// Returns where a byte is.
    pub(crate) fn at(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let before = String::from_utf8_lossy(&self.text[start..offset]);
        let before = before.trim_start_matches('\u{feff}');
        Place {
            line,
            column: before.chars().count() + 1,
        }
    }

    /// Returns where the first byte of something is, and where what follows its last byte is.
    pub(crate) fn range(&self, span: Span) -> (Place, Place) {
        (self.at(span.start), self.at(span.end.max(span.start)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns() {
        let places = Places::new("\u{feff}ab\n\u{e4}\u{1f600}c\n".as_bytes());
        let at = |offset| {
            let place = places.at(offset);
            (place.line, place.column)
        };
        assert_eq!(at(3), (1, 1));
        assert_eq!(at(5), (1, 3));
        assert_eq!(at(6), (2, 1));
        assert_eq!(at(8), (2, 2));
        assert_eq!(at(12), (2, 3));
        assert_eq!(at(14), (3, 1));
        assert_eq!(at(99), (3, 1));
        assert_eq!(Places::new(b"").at(0), Place { line: 1, column: 1 });
    }
}
