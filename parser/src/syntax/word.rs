//! Words: quote-aware ones as `ENV` and `ARG` have them, and plain blank-separated ones.

use nom::{
    IResult, Parser as _,
    branch::alt,
    bytes::complete::{take_while, take_while1},
    character::complete::{anychar, char as this_char},
    combinator::{opt, recognize},
    multi::{many0_count, many1_count},
};

use super::line::Fragment;

/// Tells whether `c` separates keyword and arguments, and plain words. No-break spaces do not.
pub(crate) fn is_separator(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Splits at runs of separators; quotes mean nothing.
pub(crate) fn split_blanks(text: Fragment<'_>) -> Vec<Fragment<'_>> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some((word, after)) = next_plain(rest) {
        words.push(word);
        rest = after;
    }
    words
}

/// Returns the first plain word and what follows it, separators included.
fn next_plain(text: Fragment<'_>) -> Option<(Fragment<'_>, Fragment<'_>)> {
    let raw = text.text();
    let start = raw.len() - raw.trim_start_matches(is_separator).len();
    let length = raw[start..].find(is_separator).unwrap_or(raw.len() - start);
    (length > 0).then(|| (text.slice(start..start + length), text.skip(start + length)))
}

/// Splits off the first word; the rest starts after the separators. `None` if there is no
/// separator.
pub(crate) fn split_first(text: Fragment<'_>) -> Option<(Fragment<'_>, Fragment<'_>)> {
    let raw = text.text();
    let end = raw.find(is_separator)?;
    let after = raw[end..].trim_start_matches(is_separator);
    Some((text.slice(0..end), text.skip(raw.len() - after.len())))
}

/// Splits into words in which quotes group and the escape character joins; both stay in the word.
/// An unclosed quote runs to the end, a lone escape character at the end is dropped.
pub(crate) fn split_words(text: Fragment<'_>, escape: char) -> Vec<Fragment<'_>> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim();
        match word(rest.text(), escape) {
            Ok((after, found)) if !found.is_empty() => {
                let length = rest.text().len() - after.len();
                words.push(rest.slice(0..length));
                rest = rest.skip(length);
            }
            _ => return words,
        }
    }
}

/// Recognises one word at the start of `input`.
fn word(input: &str, escape: char) -> IResult<&str, &str> {
    let plain = |input| {
        take_while1(|c: char| !c.is_whitespace() && c != '\'' && c != '"' && c != escape)(input)
    };
    let single = |input| {
        recognize((
            this_char('\''),
            take_while(|c| c != '\''),
            opt(this_char('\'')),
        ))
        .parse(input)
    };
    recognize(many1_count(alt((
        plain,
        |input| escaped(input, escape),
        single,
        |input| double_quoted(input, escape),
    ))))
    .parse(input)
}

/// The escape character and what it escapes.
fn escaped(input: &str, escape: char) -> IResult<&str, &str> {
    recognize((this_char(escape), anychar)).parse(input)
}

/// A double-quoted part; the closing quote may be missing.
fn double_quoted(input: &str, escape: char) -> IResult<&str, &str> {
    recognize((
        this_char('"'),
        many0_count(alt((take_while1(|c| c != '"' && c != escape), |input| {
            escaped(input, escape)
        }))),
        opt(this_char('"')),
    ))
    .parse(input)
}

#[cfg(test)]
mod tests {
    use super::{super::line::LogicalLine, *};

    fn words(text: &str, escape: char) -> Vec<String> {
        let line = LogicalLine::from_text(text);
        split_words(line.trimmed(), escape)
            .into_iter()
            .map(|word| word.text().to_owned())
            .collect()
    }

    #[test]
    fn quote_aware_words() {
        let cases: &[(&str, &[&str])] = &[
            ("foo", &["foo"]),
            ("foo\\ bar", &["foo\\ bar"]),
            ("a 'b c' \"d e\"", &["a", "'b c'", "\"d e\""]),
            ("a='b c'd e", &["a='b c'd", "e"]),
            ("a=\"b\\\"c d\" e", &["a=\"b\\\"c d\"", "e"]),
            ("a='b\\' c", &["a='b\\'", "c"]),
            ("a=\"b c", &["a=\"b c"]),
            ("a='b c", &["a='b c"]),
            ("a\\\\\\", &["a\\\\"]),
            ("a=\"b\\\\\\", &["a=\"b\\\\"]),
            ("\\\\\\", &["\\\\"]),
            ("föo\u{a0}bàr", &["föo", "bàr"]),
            ("\"\" ''", &["\"\"", "''"]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text, '\\'), *expected, "{text}");
        }
        assert_eq!(words("a` b\\ c", '`'), ["a` b\\", "c"]);
    }

    #[test]
    fn plain_words() {
        let line = LogicalLine::from_text("a \"b\tc\"  d\u{a0}e");
        let found: Vec<&str> = split_blanks(line.trimmed())
            .into_iter()
            .map(Fragment::text)
            .collect();
        assert_eq!(found, ["a", "\"b", "c\"", "d\u{a0}e"]);
        let (key, value) = split_first(line.trimmed()).unwrap();
        assert_eq!((key.text(), value.text()), ("a", "\"b\tc\"  d\u{a0}e"));
    }
}
