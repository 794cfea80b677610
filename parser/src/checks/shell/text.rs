//! A script's text with the way back to the Dockerfile.

use std::ops::Range;

use crate::{
    span::Span,
    syntax::line::{Lines, LogicalLine},
};

/// A script and where it stands in the file.
#[derive(Debug)]
pub(crate) struct ShellText {
    /// The text that the shell gets.
    pub(crate) text: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A part of a logical line, from this offset on.
    Line(LogicalLine, usize),
    /// Bytes of the file as they are, from this offset on.
    Bytes(usize),
    /// Somewhere in this span.
    Somewhere(Span),
    /// The text's positions are those of the words here.
    Words(Vec<Span>, Span),
}

impl ShellText {
    /// Returns `text`, the end of the logical line at `place`.
    pub(crate) fn of_line(source: &[u8], place: Span, escape: char, text: &str) -> Self {
        let mut lines = Lines::starting_at(source, place.start);
        let line = lines
            .next()
            .map(|first| LogicalLine::read(first, &mut lines, escape, |_| {}));
        let in_line = line.and_then(|line| {
            let whole = line.text.trim_end();
            let offset = whole.len().checked_sub(text.len())?;
            whole.ends_with(text).then_some(())?;
            Some(Place::Line(line, offset))
        });
        Self {
            text: text.to_owned(),
            place: in_line.unwrap_or(Place::Somewhere(place)),
        }
    }

    /// Returns a heredoc's body.
    pub(crate) fn of_body(body: &str, span: Span) -> Self {
        let place = match body.len() == span.len() {
            true => Place::Bytes(span.start),
            false => Place::Somewhere(span),
        };
        Self {
            text: body.to_owned(),
            place,
        }
    }

    /// Returns a text whose parts cannot be told from each other in the file.
    pub(crate) fn somewhere(text: String, span: Span) -> Self {
        Self {
            text,
            place: Place::Somewhere(span),
        }
    }

    /// Returns no text, but the places of words: the word at position `i` is at `spans[i]`, all are
    /// in `whole`.
    pub(crate) fn of_words(spans: Vec<Span>, whole: Span) -> Self {
        Self {
            text: String::new(),
            place: Place::Words(spans, whole),
        }
    }

    /// Returns where a part of the text is in the file, `None` if that is not known exactly or
    /// something else is in between.
    pub(crate) fn exact_span(&self, range: Range<usize>) -> Option<Span> {
        let length = range.len();
        let is_exact = matches!(self.place, Place::Line(..) | Place::Bytes(_));
        let span = self.span(range);
        (is_exact && span.len() == length).then_some(span)
    }

    /// Returns where a part of the text is in the file.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        match &self.place {
            Place::Line(line, offset) => line.span(range.start + offset..range.end + offset),
            Place::Bytes(offset) => Span::new(range.start + offset, range.end + offset),
            Place::Somewhere(span) => *span,
            Place::Words(spans, whole) => match spans.get(range) {
                Some([first, .., last]) => first.to(*last),
                Some([only]) => *only,
                _ => *whole,
            },
        }
    }
}
