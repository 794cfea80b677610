//! Texts in quotes, HTML, JavaScript and URLs.

use std::fmt::Write as _;

/// A text in double quotes, as `%q` has it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            _ => push_in_quotes(&mut out, character),
        }
    }
    out.push('"');
    out
}

/// A character in single quotes, as `%q` has it.
pub(crate) fn quoted_character(character: char) -> String {
    let mut out = String::from('\'');
    match character {
        '\'' => out.push_str("\\'"),
        _ => push_in_quotes(&mut out, character),
    }
    out.push('\'');
    out
}

fn push_in_quotes(out: &mut String, character: char) {
    match character {
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        _ if is_print(character) => out.push(character),
        _ => {
            let code = u32::from(character);
            let written = match code {
                ..0x80 => write!(out, "\\x{code:02x}"),
                0x80..0x1_0000 => write!(out, "\\u{code:04x}"),
                _ => write!(out, "\\U{code:08x}"),
            };
            debug_assert!(written.is_ok(), "a string takes everything");
        }
    }
}

/// Go's `U+0041 'A'`.
pub(crate) fn character_name(character: char) -> String {
    let code = u32::from(character);
    if is_print(character) {
        format!("U+{code:04X} '{character}'")
    } else {
        format!("U+{code:04X}")
    }
}

/// Whether a character can be seen. Go's tables are finer; what matters is that nothing that steers
/// a terminal counts.
pub(crate) fn is_print(character: char) -> bool {
    let is_odd_blank = character != ' ' && character.is_whitespace();
    let is_invisible = matches!(character,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..);
    !character.is_control() && !is_odd_blank && !is_invisible
}

/// Reads a text or a character constant as it stands in a template; `None` if it is none.
pub(crate) fn unquoted(text: &str) -> Option<String> {
    let quote = text.chars().next()?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    if quote == '`' {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes = Vec::new();
    let mut rest = inner.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let simple = match rest.next()? {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            '\'' if quote == '\'' => b'\'',
            '"' if quote == '"' => b'"',
            'x' => u8::try_from(digits(&mut rest, 2, 16)?).ok()?,
            kind @ ('u' | 'U') => {
                let length = if kind == 'u' { 4 } else { 8 };
                let character = char::from_u32(digits(&mut rest, length, 16)?)?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            first @ '0'..='7' => {
                let others = digits(&mut rest, 2, 8)?;
                u8::try_from(first.to_digit(8)? * 64 + others).ok()?
            }
            _ => return None,
        };
        bytes.push(simple);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn digits(rest: &mut std::str::Chars<'_>, length: usize, radix: u32) -> Option<u32> {
    let mut value = 0_u32;
    for _ in 0..length {
        value = value
            .checked_mul(radix)?
            .checked_add(rest.next()?.to_digit(radix)?)?;
    }
    Some(value)
}

/// Go's `html`.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(character),
        }
    }
    out
}

/// Go's `js`.
pub(crate) fn javascript(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.extend(["\\u", &format!("{:04X}", u32::from(character))]),
            _ if is_print(character) => out.push(character),
            _ => out.extend(["\\u", &format!("{:04X}", u32::from(character))]),
        }
    }
    out
}

/// Go's `urlquery`.
pub(crate) fn query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => out.extend(["%", &format!("{byte:02X}")]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_go_both_ways() {
        for text in ["", "a\"b", "tab\t", "é\u{1b}[2J", "\u{202e}"] {
            assert_eq!(unquoted(&quoted(text)).as_deref(), Some(text));
        }
        assert_eq!(quoted("\u{1b}\u{202e}"), "\"\\x1b\\u202e\"");
        assert_eq!(unquoted("`a\\n`").as_deref(), Some("a\\n"));
        assert_eq!(unquoted("\"\\101\\x41\\u0041\"").as_deref(), Some("AAA"));
        for bad in ["\"\\q\"", "\"\\x4\"", "\"\\400\"", "\"\\ud800\"", "\""] {
            assert_eq!(unquoted(bad), None, "{bad}");
        }
    }
}
