//! A source text as excerpts are cut from it: its lines are found once, however many findings there
//! are, and no excerpt is long, however long the lines.

use std::fmt;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use rbuild_parser::span::Span;
use rbuild_planner::remote::mask_logins;

use crate::progress::clean_text;
use crate::report::Source;

/// Longest excerpt in bytes. What is longer is cut around the place in question.
const LONGEST: usize = 4096;
/// What is shown on both sides of a place in a long line.
const AROUND: usize = 100;
/// Longest mark in bytes and lines: a heredoc may be long.
const LONGEST_MARK: usize = 1024;
const MARKED_LINES: usize = 6;

/// A text that may be shown, and where its lines begin.
pub(crate) struct Page {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Page {
    pub(crate) fn new(source: &Source) -> Self {
        // Passwords of URLs stay inside as well; masking keeps all places.
        let text = mask_logins(&displayable(&source.text));
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0)
            .chain(ends.map(|(at, _)| at + 1))
            .collect();
        Self {
            name: clean_text(&source.name),
            text,
            line_starts,
        }
    }

    /// Returns the number of the line, from 0, that holds a byte.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset) - 1
    }

    /// Returns where a span is marked, as start and length: in the text, and not all of a long one.
    pub(crate) fn mark(&self, span: Span) -> (usize, usize) {
        let start = floor(&self.text, span.start.min(self.text.len()));
        let mut end = span.end.clamp(start, self.text.len());
        end = end.min(self.end_of_line(self.line_of(start) + MARKED_LINES - 1));
        (
            start,
            floor(&self.text, end.min(start + LONGEST_MARK)) - start,
        )
    }

    /// Returns the end of a line, its line end excluded.
    fn end_of_line(&self, line: usize) -> usize {
        match self.line_starts.get(line + 1) {
            Some(next) => next - 1,
            None => self.text.len(),
        }
    }
}

/// Returns the boundary of a character at or before a byte.
pub(crate) fn floor(text: &str, offset: usize) -> usize {
    let at_boundary = |at: &usize| text.is_char_boundary(*at);
    (0..=offset).rev().find(at_boundary).unwrap_or(0)
}

impl SourceCode for Page {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        n_before: usize,
        n_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let from = span.offset();
        let to = from + span.len();
        if to > self.text.len() || span.len() > LONGEST {
            return Err(MietteError::OutOfBounds);
        }
        let (first, last) = (
            self.line_of(from),
            self.line_of(to.saturating_sub(1).max(from)),
        );
        let mut top = first.saturating_sub(n_before);
        let mut start = self.line_starts[top];
        let mut end = self.end_of_line(last + n_after);
        if end - start > LONGEST {
            top = first;
            start = floor(&self.text, from.saturating_sub(AROUND)).max(self.line_starts[top]);
            end = floor(&self.text, (to + AROUND).min(self.end_of_line(last)));
        }
        if n_before == 0 {
            start = from;
        }
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            &self.text.as_bytes()[start..end],
            (start, end - start).into(),
            top,
            start - self.line_starts[top],
            self.line_of(end) - top,
        )))
    }
}

/// The text with everything that a terminal would act on replaced, byte for byte, so that spans
/// stay right.
fn displayable(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut encoded = [0; 4];
            let bytes = character.encode_utf8(&mut encoded);
            match character {
                '\n' | '\t' | ' '..='~' => out.push(character),
                '\r' => out.push(' '),
                _ if clean_text(bytes).is_empty() => {
                    out.extend(std::iter::repeat_n('?', character.len_utf8()));
                }
                _ => out.push(character),
            }
        }
        out.extend(std::iter::repeat_n('?', chunk.invalid().len()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page::new(&Source {
            name: "Dockerfile".to_owned(),
            text: text.as_bytes().to_vec(),
        })
    }

    fn read(page: &Page, from: usize, len: usize) -> (String, usize, usize) {
        let contents = page.read_span(&(from, len).into(), 1, 1).unwrap();
        let text = String::from_utf8(contents.data().to_vec()).unwrap();
        (text, contents.line(), contents.column())
    }

    #[test]
    fn lines_around_a_place() {
        let page = page("one\ntwo\nthree\nfour\n");
        assert_eq!(read(&page, 8, 5), ("two\nthree\nfour".to_owned(), 1, 0));
        assert_eq!(read(&page, 0, 1), ("one\ntwo".to_owned(), 0, 0));
        assert_eq!(read(&page, 14, 4), ("three\nfour\n".to_owned(), 2, 0));
        let exact = page.read_span(&(9, 2).into(), 0, 0).unwrap();
        assert_eq!((exact.line(), exact.column()), (2, 1));
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let page = page(&format!(
            "a\n{}é{}\nb\n",
            "x".repeat(9000),
            "y".repeat(9000)
        ));
        let (text, line, column) = read(&page, 9002, 2);
        assert_eq!((text.len(), line, column), (202, 1, 8900));
        assert!(text.contains("xéy"));
        assert_eq!(page.mark(Span::new(2, 9000)), (2, LONGEST_MARK));
    }

    #[test]
    fn marks_end_after_some_lines() {
        let page = page("é1\n2\n3\n4\n5\n6\n7\n8\n");
        assert_eq!(page.mark(Span::new(0, 17)), (0, 13));
        assert_eq!(page.mark(Span::new(1, 99)), (0, 13));
        assert_eq!(page.mark(Span::new(99, 99)), (18, 0));
    }

    #[test]
    fn terminals_have_nothing_to_act_on() {
        let page = page("a\u{1b}[2J\rb\u{202e}");
        assert_eq!(page.text, "a?[2J b???");
    }
}
