//! Flags (`--name=value`) between the keyword and the arguments: cutting them out and removing
//! their quotes. Knows no flag's meaning.

use nom::{
    IResult, Parser as _,
    branch::alt,
    bytes::complete::take_while1,
    character::complete::{anychar, char as this_char, one_of},
    combinator::{map, opt, verify},
    sequence::preceded,
};

use super::line::Fragment;
use crate::ast::Word;

/// One flag as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The name without `--`.
    pub name: Word,
    /// What follows the first `=`, if there is one.
    pub value: Option<Word>,
}

impl Flag {
    /// Returns the flag as one text, without the quotes it was written with.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.value {
            Some(value) => format!("--{}={}", self.name.value, value.value),
            None => format!("--{}", self.name.value),
        }
    }
}

/// Cuts the flags off the start of `text`; returns them and the arguments, trimmed. A bare `--`
/// ends the flags and is dropped.
pub(crate) fn split(text: Fragment<'_>, escape: char) -> (Vec<Flag>, Fragment<'_>) {
    let mut flags = Vec::new();
    let mut rest = text.trim();
    while rest.text().starts_with("--") {
        let token = Token::read(rest.text(), escape);
        let after = rest.skip(token.length).trim();
        if token.value == "--" {
            return (flags, after);
        }
        flags.push(token.into_flag(rest));
        rest = after;
    }
    (flags, rest)
}

/// A flag without quotes and escapes.
struct Token {
    value: String,
    /// Bytes that it takes in the source.
    length: usize,
    /// Offsets of the first `=` in `value` and in the source.
    equals: Option<(usize, usize)>,
}

/// What a flag consists of.
enum Part<'a> {
    Text(&'a str),
    Char(char),
    Nothing,
}

impl Token {
    fn read(input: &str, escape: char) -> Self {
        let mut token = Self {
            value: String::new(),
            length: 0,
            equals: None,
        };
        let mut rest = input;
        let mut quote = None;
        loop {
            let next = match quote {
                None => bare(rest, escape),
                Some(quote) => quoted(rest, quote, escape),
            };
            let Ok((after, (part, opened))) = next else {
                return token;
            };
            if let Some(mark) = opened {
                quote = if quote.is_none() { Some(mark) } else { None };
            }
            token.append(&part);
            rest = after;
            token.length = input.len() - rest.len();
        }
    }

    fn append(&mut self, part: &Part<'_>) {
        let mut buffer = [0; 4];
        let text: &str = match part {
            Part::Text(text) => text,
            Part::Char(c) => c.encode_utf8(&mut buffer),
            Part::Nothing => return,
        };
        if self.equals.is_none()
            && let Some(offset) = text.find('=')
        {
            // An escaped `=` is one byte after the escape character.
            let escaped = usize::from(matches!(part, Part::Char(_)));
            self.equals = Some((self.value.len() + offset, self.length + offset + escaped));
        }
        self.value.push_str(text);
    }

    fn into_flag(self, source: Fragment<'_>) -> Flag {
        let part = |value: &str, from: usize, to: usize| {
            Word::new(value.to_owned(), source.slice(from..to).span())
        };
        let name = |value: &str| value.strip_prefix("--").unwrap_or(value).to_owned();
        match self.equals {
            Some((at, raw)) => Flag {
                name: part(&name(&self.value[..at]), 0, raw),
                value: Some(part(&self.value[at + 1..], raw + 1, self.length)),
            },
            None => Flag {
                name: part(&name(&self.value), 0, self.length),
                value: None,
            },
        }
    }
}

type Piece<'a> = (Part<'a>, Option<char>);

/// A piece outside quotes; fails at a blank and at the end.
fn bare(input: &str, escape: char) -> IResult<&str, Piece<'_>> {
    alt((
        map(
            take_while1(|c: char| !c.is_whitespace() && c != '\'' && c != '"' && c != escape),
            |text| (Part::Text(text), None),
        ),
        map(one_of("'\""), |mark| (Part::Nothing, Some(mark))),
        |input| escape_pair(input, escape),
    ))
    .parse(input)
}

/// A piece inside quotes; fails at the end.
fn quoted(input: &str, quote: char, escape: char) -> IResult<&str, Piece<'_>> {
    alt((
        map(take_while1(|c| c != quote && c != escape), |text| {
            (Part::Text(text), None)
        }),
        map(verify(anychar, |c| *c == quote), |mark| {
            (Part::Nothing, Some(mark))
        }),
        |input| escape_pair(input, escape),
    ))
    .parse(input)
}

/// An escape character and what it escapes: at the very end, nothing.
fn escape_pair(input: &str, escape: char) -> IResult<&str, Piece<'_>> {
    map(
        preceded(this_char(escape), opt(anychar)),
        |escaped| match escaped {
            Some(c) => (Part::Char(c), None),
            None => (Part::Nothing, None),
        },
    )
    .parse(input)
}

#[cfg(test)]
mod tests {
    use super::{super::line::LogicalLine, *};
    use crate::span::Span;

    fn check(text: &str, expected: &[&str], rest: &str) {
        let line = LogicalLine::from_text(text);
        let (flags, arguments) = split(line.trimmed(), '\\');
        let found: Vec<String> = flags.iter().map(Flag::text).collect();
        assert_eq!(found, expected, "{text}");
        assert_eq!(arguments.text(), rest, "{text}");
    }

    #[test]
    fn flags_are_cut_off() {
        check("a b", &[], "a b");
        check("--from=x --link a", &["--from=x", "--link"], "a");
        check("-- --from=x b", &[], "--from=x b");
        check("--a -- b", &["--a"], "b");
        check("--", &[], "");
        check("- a", &[], "- a");
        check(r#"--m="a b",'c d' x"#, &["--m=a b,c d"], "x");
        check(r"--m=a\ b x", &["--m=a b"], "x");
        check(r#"--m="a\"b" x"#, &["--m=a\"b"], "x");
        check(r#"--m="open x"#, &["--m=open x"], "");
        check("--chown= a", &["--chown="], "a");
        check("--ü=é a", &["--ü=é"], "a");
    }

    #[test]
    fn places() {
        let line = LogicalLine::from_text(r#"--"from"='a b' x"#);
        let (flags, _) = split(line.trimmed(), '\\');
        assert_eq!(flags[0].name, Word::new("from".to_owned(), Span::new(0, 8)));
        let value = Word::new("a b".to_owned(), Span::new(9, 14));
        assert_eq!(flags[0].value, Some(value));
    }
}
