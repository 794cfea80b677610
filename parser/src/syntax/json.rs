//! The little JSON that Dockerfiles hold: arrays of strings in exec form, and the object form of
//! the `syntax` directive. Any depth is checked without recursion.

use std::ops::Range;

/// Nesting that is still taken for JSON, as in Go.
const MAX_DEPTH: usize = 10_000;

/// One string of an array: the decoded value and its literal, quotes included.
pub(crate) type Element = (String, Range<usize>);

/// What text that starts with `[` turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Array {
    /// An array of nothing but strings.
    Strings(Vec<Element>),
    /// A valid array with something else in it, at this place.
    Mixed(Range<usize>),
    /// Not a JSON array: to be read as plain text.
    Invalid,
}

/// Reads `text`, blanks around it allowed, as an array of strings.
pub(crate) fn array(text: &str) -> Array {
    let start = text.len() - text.trim_start().len();
    if !text[start..].starts_with('[') {
        return Array::Invalid;
    }
    let mut reader = Reader {
        text,
        position: start + 1,
    };
    read_array(&mut reader).unwrap_or(Array::Invalid)
}

/// Returns the string under `key` if `text` is one JSON object; of equal keys the last one counts.
pub(crate) fn object_string(text: &str, key: &str) -> Option<String> {
    let mut reader = Reader { text, position: 0 };
    reader.blanks();
    reader.take(b'{')?;
    let mut found = None;
    reader.blanks();
    if reader.take(b'}').is_none() {
        loop {
            reader.blanks();
            let name = reader.string()?;
            reader.blanks();
            reader.take(b':')?;
            reader.blanks();
            let value = if reader.peek() == Some(b'"') {
                Some(reader.string()?)
            } else {
                reader.skip_value()?;
                None
            };
            if name == key {
                found = value;
            }
            reader.blanks();
            if reader.take(b',').is_none() {
                reader.take(b'}')?;
                break;
            }
        }
    }
    reader.blanks();
    reader.peek().is_none().then_some(found).flatten()
}

/// Reads the rest of an array whose bracket is open. `None` if it is not valid.
fn read_array(reader: &mut Reader<'_>) -> Option<Array> {
    let mut elements = Vec::new();
    let mut mixed = None;
    reader.blanks();
    if reader.take(b']').is_none() {
        loop {
            reader.blanks();
            let start = reader.position;
            if reader.peek() == Some(b'"') {
                let value = reader.string()?;
                elements.push((value, start..reader.position));
            } else {
                reader.skip_value()?;
                mixed.get_or_insert(start..reader.position);
            }
            reader.blanks();
            if reader.take(b',').is_none() {
                reader.take(b']')?;
                break;
            }
        }
    }
    reader.blanks();
    if reader.peek().is_some() {
        return None;
    }
    Some(mixed.map_or(Array::Strings(elements), Array::Mixed))
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.position += 1)
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.position += 1;
        }
    }

    /// Reads a string literal. A surrogate without its partner becomes U+FFFD, as in Go.
    fn string(&mut self) -> Option<String> {
        self.take(b'"')?;
        let mut value = String::new();
        loop {
            let rest = &self.text[self.position..];
            let length = rest.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
            value.push_str(&rest[..length]);
            self.position += length;
            match self.peek()? {
                b'"' => {
                    self.position += 1;
                    return Some(value);
                }
                b'\\' => {
                    self.position += 1;
                    value.push(self.escape()?);
                }
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let kind = self.peek()?;
        self.position += 1;
        Some(match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex4()?;
                char::from_u32(high).unwrap_or_else(|| self.low_surrogate(high))
            }
            _ => return None,
        })
    }

    /// Joins the half `high` with the half that follows it, which is consumed only if it fits.
    fn low_surrogate(&mut self, high: u32) -> char {
        let before = self.position;
        if self.take(b'\\').is_some()
            && self.take(b'u').is_some()
            && let Some(low) = self.hex4()
            && (0xd800..0xdc00).contains(&high)
            && (0xdc00..0xe000).contains(&low)
            && let Some(joined) = char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
        {
            return joined;
        }
        self.position = before;
        '\u{fffd}'
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.position..self.position + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.position += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    /// Skips one value of any kind, checking it.
    fn skip_value(&mut self) -> Option<()> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.blanks();
            let is_complete = match self.peek()? {
                byte @ (b'[' | b'{') => {
                    self.position += 1;
                    self.blanks();
                    let close = if byte == b'[' { b']' } else { b'}' };
                    let is_empty = self.take(close).is_some();
                    if !is_empty {
                        open.push(close);
                        if open.len() > MAX_DEPTH {
                            return None;
                        }
                        self.key(&open)?;
                    }
                    is_empty
                }
                b'"' => self.string().map(|_| true)?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.number()?,
            };
            if is_complete && self.close(&mut open)? {
                return Some(());
            }
        }
    }

    /// Goes on after a value: closes what ends here, or moves to the next value. True if nothing
    /// is open any more.
    fn close(&mut self, open: &mut Vec<u8>) -> Option<bool> {
        while let Some(&close) = open.last() {
            self.blanks();
            if self.take(b',').is_some() {
                self.key(open)?;
                return Some(false);
            }
            self.take(close)?;
            open.pop();
        }
        Some(true)
    }

    /// Reads `"key":` if the innermost open value is an object.
    fn key(&mut self, open: &[u8]) -> Option<()> {
        if open.last() == Some(&b'}') {
            self.blanks();
            self.string()?;
            self.blanks();
            self.take(b':')?;
        }
        Some(())
    }

    fn literal(&mut self, word: &str) -> Option<bool> {
        self.text[self.position..].starts_with(word).then(|| {
            self.position += word.len();
            true
        })
    }

    fn number(&mut self) -> Option<bool> {
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            self.digits()?;
        }
        // Go refuses numbers that a float cannot hold, so such text is no array.
        let value: f64 = self.text[start..self.position].parse().ok()?;
        value.is_finite().then_some(true)
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.position;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.position += 1;
        }
        (self.position > start).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Option<Vec<String>> {
        match array(text) {
            Array::Strings(found) => Some(found.into_iter().map(|(value, _)| value).collect()),
            _ => None,
        }
    }

    #[test]
    fn arrays() {
        let cases: &[(&str, &[&str])] = &[
            ("[]", &[]),
            (" [ ] ", &[]),
            (r#"["a","b c"]"#, &["a", "b c"]),
            ("\t[\t\"a\"\t]\t", &["a"]),
            (r#"["\u0041\n\"\/\\"]"#, &["A\n\"/\\"]),
            (r#"["\ud83d\ude00\ud83d\u0041"]"#, &["😀\u{fffd}A"]),
        ];
        for (text, expected) in cases {
            assert_eq!(strings(text).unwrap(), *expected, "{text}");
        }
    }

    #[test]
    fn literals_have_places() {
        let Array::Strings(found) = array(r#" ["a", "bc"]"#) else {
            panic!()
        };
        assert_eq!(found[1].1, 7..11);
    }

    #[test]
    fn other_values_are_told_from_plain_text() {
        for text in [
            "[1]",
            "[null]",
            "[[\"a\"]]",
            "[{\"a\":[1,2,{}],\"b\":\"c\"}]",
            "[\"a\",true]",
            "[-1.5e+3]",
        ] {
            assert!(matches!(array(text), Array::Mixed(_)), "{text}");
        }
        for text in [
            "",
            "a",
            "[",
            "['a']",
            "[\"a\"] b",
            "[\"a\",]",
            "[\"a\"",
            "[\"\\w\"]",
            "[\"\t\"]",
            "[01]",
            "[1e999]",
            "[-]",
            "[tru]",
            "[{a:1}]",
            "[\"\\u00\"]",
        ] {
            assert_eq!(array(text), Array::Invalid, "{text}");
        }
    }

    #[test]
    fn deep_nesting_does_not_recurse() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(matches!(array(&deep(5_000)), Array::Mixed(_)));
        assert_eq!(array(&deep(200_000)), Array::Invalid);
        assert_eq!(array(&"[{\"a\":".repeat(100_000)), Array::Invalid);
    }

    #[test]
    fn objects() {
        let text = r#" {"a": [1, {}], "syntax": "x", "b": null} "#;
        assert_eq!(object_string(text, "syntax").as_deref(), Some("x"));
        assert_eq!(object_string(r#"{"syntax": "x""#, "syntax"), None);
        assert_eq!(object_string(r#"{"syntax": "x"} y"#, "syntax"), None);
        assert_eq!(object_string("{}", "syntax"), None);
    }
}
