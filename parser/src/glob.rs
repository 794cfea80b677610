//! Shell patterns as `COPY` sources have them: Go's `filepath.Match`
//! (<https://pkg.go.dev/path/filepath#Match>). `*` and `?` do not match `/`; there is no `**`.
//!
//! Works on bytes; `?` and classes take a whole UTF-8 character, or one byte that is none. Time is
//! bounded by the product of the two lengths.

/// A pattern that cannot be read: an open class, an empty one, a range without its end, or nothing
/// after a backslash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// One character but `/`.
    Any,
    /// Any run without `/`.
    Star,
    /// One character of these ranges, or none of these.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is malformed anywhere.
    pub fn new(pattern: &[u8]) -> Result<Self, BadPattern> {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let [first, after @ ..] = rest {
            rest = after;
            tokens.push(match first {
                b'*' => {
                    if tokens.last() == Some(&Token::Star) {
                        continue;
                    }
                    Token::Star
                }
                b'?' => Token::Any,
                b'[' => {
                    let (class, after) = read_class(rest)?;
                    rest = after;
                    class
                }
                b'\\' => {
                    let (escaped, after) = rest.split_first().ok_or(BadPattern)?;
                    rest = after;
                    Token::Byte(*escaped)
                }
                byte => Token::Byte(*byte),
            });
        }
        Ok(Self { tokens })
    }

    /// Tells whether the pattern matches the whole of `name`.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        let mut token = 0;
        let mut position = 0;
        // Where to go on if what follows the last star does not fit: one byte further.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let step = match self.tokens.get(token) {
                Some(Token::Star) => {
                    retry = Some((token + 1, position));
                    Some(0)
                }
                Some(one) => one.length_at(&name[position..]),
                None => (position == name.len()).then_some(0),
            };
            if let Some(length) = step {
                if token == self.tokens.len() {
                    return true;
                }
                token += 1;
                position += length;
                continue;
            }
            match retry {
                Some((after_star, from)) if name.get(from).is_some_and(|&byte| byte != b'/') => {
                    retry = Some((after_star, from + 1));
                    token = after_star;
                    position = from + 1;
                }
                _ => return false,
            }
        }
    }

    /// Returns the name that the pattern stands for if it matches only that one.
    #[must_use]
    pub fn literal(&self) -> Option<Vec<u8>> {
        self.tokens
            .iter()
            .map(|token| match token {
                Token::Byte(byte) => Some(*byte),
                _ => None,
            })
            .collect()
    }
}

/// Tells whether `pattern` matches the whole of `name`, a component or a path.
///
/// # Errors
/// If the pattern is malformed.
pub fn matches(pattern: &[u8], name: &[u8]) -> Result<bool, BadPattern> {
    Ok(Pattern::new(pattern)?.matches(name))
}

/// Tells whether a source has anything but plain and escaped characters: only then it is matched
/// against names, otherwise it is a path.
#[must_use]
pub fn has_wildcard(pattern: &[u8]) -> bool {
    let mut rest = pattern;
    loop {
        match rest {
            [b'\\', _, after @ ..] => rest = after,
            [b'*' | b'?' | b'[', ..] => return true,
            [_, after @ ..] => rest = after,
            [] => return false,
        }
    }
}

impl Token {
    /// Returns how many bytes the token takes from the start of `name`.
    fn length_at(&self, name: &[u8]) -> Option<usize> {
        match self {
            Self::Byte(byte) => (name.first() == Some(byte)).then_some(1),
            Self::Any if name.first() == Some(&b'/') => None,
            Self::Any => decode(name).map(|(_, length)| length),
            Self::Star => Some(0),
            Self::Class { negated, ranges } => {
                let (c, length) = decode(name)?;
                let is_in = ranges.iter().any(|&(low, high)| low <= c && c <= high);
                (is_in != *negated).then_some(length)
            }
        }
    }
}

/// Returns the first character and its length: U+FFFD and 1 for a byte that is not UTF-8.
pub(crate) fn decode(bytes: &[u8]) -> Option<(char, usize)> {
    let first = *bytes.first()?;
    if first.is_ascii() {
        return Some((char::from(first), 1));
    }
    let found = (2..=4).find_map(|length| {
        let text = std::str::from_utf8(bytes.get(..length)?).ok()?;
        Some((text.chars().next()?, length))
    });
    Some(found.unwrap_or(('\u{fffd}', 1)))
}

/// Reads a class whose bracket is open; returns it and what follows.
fn read_class(pattern: &[u8]) -> Result<(Token, &[u8]), BadPattern> {
    let (negated, mut rest) = match pattern {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut ranges = Vec::new();
    loop {
        if let [b']', after @ ..] = rest
            && !ranges.is_empty()
        {
            return Ok((Token::Class { negated, ranges }, after));
        }
        let (low, after) = class_char(rest)?;
        let (high, after) = match after {
            [b'-', after @ ..] => class_char(after)?,
            _ => (low, after),
        };
        ranges.push((low, high));
        rest = after;
    }
}

/// Reads one character of a class. It must not be the pattern's last.
fn class_char(pattern: &[u8]) -> Result<(char, &[u8]), BadPattern> {
    let text = match pattern {
        [] | [b'-' | b']', ..] => return Err(BadPattern),
        [b'\\', rest @ ..] => rest,
        _ => pattern,
    };
    let (c, length) = decode(text).ok_or(BadPattern)?;
    let is_invalid = c == '\u{fffd}' && length == 1;
    if is_invalid || length == text.len() {
        return Err(BadPattern);
    }
    Ok((c, &text[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str) -> Result<bool, BadPattern> {
        matches(pattern.as_bytes(), name.as_bytes())
    }

    #[test]
    fn matching() {
        let cases: &[(&str, &str, bool)] = &[
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*", "", true),
            ("*", "a/b", false),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("**", "a", true),
            ("**/b", "a/b", true),
            ("**/b", "a/a/b", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[^b-d]", "abc", false),
            ("[^a]", "/", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "acb", false),
            ("a?b", "aüb", true),
            ("a??b", "aüb", false),
            ("a[^a]b", "a☺b", true),
            ("[a-ζ]*", "α", true),
            ("?", "/", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("[*]", "*", true),
            ("[[]", "[", true),
            (".*", ".a", true),
            ("*", ".a", true),
            ("", "", true),
            ("", "a", false),
            ("*x", "xxx", true),
            ("[!f]oo", "!oo", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(check(pattern, name), Ok(*expected), "{pattern} {name}");
        }
    }

    #[test]
    fn bad_patterns() {
        for pattern in [
            "[", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[^", "[^bc", "a[", "a\\", "[a", "[a-",
            "*[", "[\\",
        ] {
            assert_eq!(check(pattern, "a"), Err(BadPattern), "{pattern}");
        }
    }

    #[test]
    fn bytes_that_are_no_text() {
        assert_eq!(matches(b"a?b", b"a\xffb"), Ok(true));
        assert_eq!(matches(b"\xff*", b"\xff\xfe"), Ok(true));
        assert_eq!(matches(b"[\xff]", b"\xff"), Err(BadPattern));
    }

    #[test]
    fn wildcards() {
        for pattern in ["*", "a?", "[", "\\\\*"] {
            assert!(has_wildcard(pattern.as_bytes()), "{pattern}");
        }
        for pattern in ["", "a", "\\*", "a]"] {
            assert!(!has_wildcard(pattern.as_bytes()), "{pattern}");
        }
        assert_eq!(
            Pattern::new(b"a\\*").unwrap().literal().as_deref(),
            Some(b"a*".as_slice())
        );
        assert_eq!(Pattern::new(b"a[b]").unwrap().literal(), None);
    }

    #[test]
    fn hostile_patterns_end() {
        let pattern = "*a".repeat(500) + "b";
        assert_eq!(check(&pattern, &"a".repeat(4096)), Ok(false));
    }
}
