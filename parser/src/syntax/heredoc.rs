//! Heredocs: finding the words that announce them and reading the bodies.

use super::line::{Lines, LogicalLine};
use crate::{
    ast::Heredoc,
    expand::{lex, settings::Settings},
    span::Span,
};

/// A `<<NAME` word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) name: String,
    pub(crate) expand: bool,
    pub(crate) chomp: bool,
    pub(crate) file_descriptor: u32,
}

impl Announced {
    /// Makes a heredoc with this body.
    pub(crate) fn with_body(self, body: String, span: Span) -> Heredoc {
        Heredoc {
            name: self.name,
            expand: self.expand,
            chomp: self.chomp,
            file_descriptor: self.file_descriptor,
            body,
            span,
        }
    }
}

/// Returns the heredocs that a line announces, in order. None if the line does not lex, e.g. for
/// an apostrophe in it: the body then is read as instructions, as in BuildKit.
pub(crate) fn announced(line: &str) -> Vec<Announced> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let words = lex::split_literal(
        line,
        Settings {
            raw_quotes: true,
            raw_escapes: true,
            ..Settings::literal()
        },
    );
    words
        .unwrap_or_default()
        .iter()
        .filter_map(|word| parse_word(word))
        .collect()
}

/// Reads one word; `None` if it is no heredoc.
pub(crate) fn parse_word(word: &str) -> Option<Announced> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = word[digits..].strip_prefix("<<")?;
    let (rest, chomp) = match rest.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let raw_name = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
    if raw_name.is_empty() || raw_name.contains('<') {
        return None;
    }
    let single = |settings: Settings| -> Option<String> {
        let mut words = lex::split_literal(raw_name, settings).ok()?;
        let word = words.pop()?;
        words.is_empty().then_some(word)
    };
    let name = single(Settings::literal())?;
    let quoted = single(Settings {
        raw_quotes: true,
        ..Settings::literal()
    })?;
    // Escaped quotes are in both, those that quote only in one.
    let quotes = |text: &str| text.bytes().filter(|b| matches!(b, b'\'' | b'"')).count();
    Some(Announced {
        expand: quotes(&name) == quotes(&quoted),
        chomp,
        file_descriptor: match &word[..digits] {
            "" => 0,
            number => number.parse().unwrap_or(u32::MAX),
        },
        name,
    })
}

/// How reading a body ended.
#[derive(Debug)]
pub(crate) enum Body {
    /// The terminator was found.
    Complete(Heredoc),
    /// It was not, or only after a line that is too long (then its place is given).
    Unterminated { too_long: Option<Span> },
}

/// Reads lines up to the terminator.
pub(crate) fn read_body(
    source: &[u8],
    announced: Announced,
    lines: &mut Lines<'_>,
    logical: &mut LogicalLine,
) -> Body {
    let start = lines.offset();
    let mut too_long = None;
    for line in lines.by_ref() {
        logical.last = line.span();
        if line.is_too_long() {
            too_long.get_or_insert(line.span());
        }
        let mut candidate = line.content();
        if announced.chomp {
            while let [b'\t', rest @ ..] = candidate {
                candidate = rest;
            }
        }
        if candidate == announced.name.as_bytes() {
            if too_long.is_some() {
                break;
            }
            let span = Span::new(start, line.start);
            let body = String::from_utf8_lossy(&source[start..line.start]).into_owned();
            return Body::Complete(announced.with_body(body, span));
        }
    }
    Body::Unterminated { too_long }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heredoc_words() {
        let name = |word: &str| parse_word(word).map(|found| found.name);
        for word in [
            "<<EOF",
            "<<'EOF'",
            "<<\"EOF\"",
            "<<-EOF",
            "<<-'EOF'",
            "<<EO\"F\"",
            "<< EOF",
            "<<- EOF",
            "12<<EOF",
            "<<E\\OF",
        ] {
            assert_eq!(name(word).as_deref(), Some("EOF"), "{word}");
        }
        for word in [
            "", "EOF", "<<", "<<-", "<EOF", "<<<EOF", "<<EOF sh", "<<'EOF", "<<EOF\"", "a<<EOF",
            "<<''",
        ] {
            assert_eq!(name(word), None, "{word}");
        }
        assert_eq!(name("<<'one two'").as_deref(), Some("one two"));
        assert_eq!(name("<<$EOF").as_deref(), Some("$EOF"));
        assert_eq!(name("<<${A:-b}").as_deref(), Some("${A:-b}"));
    }

    #[test]
    fn quoting_stops_expansion() {
        let expand = |word: &str| parse_word(word).map(|found| found.expand);
        assert_eq!(expand("<<EOF"), Some(true));
        assert_eq!(expand("<<eo\\'f"), Some(true));
        assert_eq!(expand("<<eo'f'"), Some(false));
        assert_eq!(expand("<<'e'o\\'f"), Some(false));
    }

    #[test]
    fn lines() {
        let names = |line: &str| -> Vec<String> {
            announced(line)
                .into_iter()
                .map(|found| found.name)
                .collect()
        };
        assert_eq!(names("RUN <<A <<B cat"), ["A", "B"]);
        assert_eq!(names("RUN <<  A > b"), ["A"]);
        assert_eq!(names("RUN << -A"), ["-A"]);
        assert_eq!(names("RUN <<- A <<-B"), ["A", "B"]);
        assert_eq!(names("RUN echo $((1 << 2))"), ["2))"]);
        for line in [
            "RUN cat<<A",
            "RUN echo $((1<<2))",
            "RUN cat <<<A",
            "RUN echo it's <<A",
            "RUN '<<A' \"<<B\"",
        ] {
            assert!(names(line).is_empty(), "{line}");
        }
        let found = announced("RUN 99999999999<<-A 3<<B");
        assert_eq!(found[0].file_descriptor, u32::MAX);
        assert!(found[0].chomp);
        assert_eq!(found[1].file_descriptor, 3);
    }
}
