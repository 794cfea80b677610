//! Parser directives (`# name=value` at the top of the file), as the parser sees them, and the
//! detection of `syntax` and `check` on raw bytes, which has rules of its own.

use crate::{
    ast::Directive,
    span::{Span, Spanned},
    syntax::{
        json,
        line::{Lines, PhysicalLine, leading_blanks},
    },
};

/// Names that are directives; any other ends the zone where directives are looked for.
const NAMES: [&str; 3] = ["escape", "syntax", "check"];

/// What [`detect`] and [`detect_syntax`] find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectedDirective {
    /// The value up to its first blank: for `syntax`, the reference of a frontend image.
    pub value: String,
    /// The whole value.
    pub command_line: String,
    /// The line it is on.
    pub span: Span,
}

/// Looks for the directive `name` (`syntax` or `check`) by the rules for raw bytes: a first line
/// `#!…` is skipped, blanks before `#` are not accepted.
#[must_use]
pub fn detect(name: &str, source: &[u8]) -> Option<DetectedDirective> {
    detect_with_marker(name, source, b"#")
}

/// Looks for the frontend that a file asks for. Also takes `//syntax=…` and a file that is a JSON
/// object with the key `syntax`, as files for other frontends may be written.
#[must_use]
pub fn detect_syntax(source: &[u8]) -> Option<DetectedDirective> {
    detect_with_marker("syntax", source, b"#")
        .or_else(|| detect_with_marker("syntax", source, b"//"))
        .or_else(|| {
            let start = after_shebang(source);
            let text = std::str::from_utf8(source.get(start..)?).ok()?;
            let value = json::object_string(text, "syntax")?;
            Some(DetectedDirective {
                command_line: value.clone(),
                value,
                span: Span::new(start, source.len()),
            })
        })
}

/// Returns where the file starts without a byte order mark and a `#!` line.
fn after_shebang(source: &[u8]) -> usize {
    let mut lines = Lines::new(source);
    let start = lines.offset();
    match lines.next() {
        Some(line) if line.bytes.starts_with(b"#!") => line.next,
        _ => start,
    }
}

fn detect_with_marker(name: &str, source: &[u8], marker: &[u8]) -> Option<DetectedDirective> {
    let start = after_shebang(source);
    let mut seen: Vec<String> = Vec::new();
    for line in Lines::new(source).skip_while(|line| line.start < start) {
        let directive = parse_line(&line, line.content().strip_prefix(marker)?)?;
        if seen.contains(&directive.name) {
            return None;
        }
        if directive.name == name {
            let command_line = directive.value.value;
            let value = command_line.split(' ').next().unwrap_or_default();
            return Some(DetectedDirective {
                value: value.to_owned(),
                command_line,
                span: line.span(),
            });
        }
        seen.push(directive.name);
    }
    None
}

/// Reads a comment line as the parser does; blanks before `#` are fine. `None` if it is no
/// directive, which ends the zone.
pub(crate) fn read(line: &PhysicalLine<'_>) -> Option<Directive> {
    let (content, _) = line.trimmed_start();
    parse_line(line, content.strip_prefix(b"#")?)
}

/// Reads `name = value`, what follows the comment marker.
fn parse_line(line: &PhysicalLine<'_>, text: &[u8]) -> Option<Directive> {
    let text = &text[leading_blanks(text)..];
    let name_length = text
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .count();
    let (name, rest) = text.split_at(name_length);
    if !name.first()?.is_ascii_alphabetic() {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    if !NAMES.contains(&name.as_str()) {
        return None;
    }
    let value = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
    if value.is_empty() {
        return None;
    }
    // The value ends where the line's content ends, but for blanks: count from there.
    let content = line.content();
    let end = line.start + content.trim_ascii_end().len();
    Some(Directive {
        name,
        value: Spanned::new(
            String::from_utf8_lossy(value).into_owned(),
            Span::new(end - value.len(), end),
        ),
        span: line.span(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Option<(String, String, Span)> {
        let line = Lines::new(text.as_bytes()).next().unwrap();
        read(&line).map(|found| (found.name, found.value.value, found.value.span))
    }

    #[test]
    fn directive_lines() {
        let found = |name: &str, value: &str, start, end| {
            Some((name.to_owned(), value.to_owned(), Span::new(start, end)))
        };
        assert_eq!(read_text("# escape=`"), found("escape", "`", 9, 10));
        assert_eq!(
            read_text("  #EsCape = ` \t\r\n"),
            found("escape", "`", 12, 13)
        );
        assert_eq!(
            read_text("# syntax=a/b:c d"),
            found("syntax", "a/b:c d", 9, 16)
        );
        for text in [
            "# escape=",
            "# escape= ",
            "# foo=bar",
            "# 1a=b",
            "#",
            "x",
            "# escape x",
        ] {
            assert_eq!(read_text(text), None, "{text}");
        }
    }

    #[test]
    fn raw_detection() {
        let value = |text: &str| detect_syntax(text.as_bytes()).map(|found| found.value);
        assert_eq!(value("#syntax=a b\nFROM x"), Some("a".to_owned()));
        assert_eq!(value("\u{feff}# syntax=a\n"), Some("a".to_owned()));
        assert_eq!(value("#!/bin/sh\n# syntax=a\n"), Some("a".to_owned()));
        assert_eq!(value(" # syntax=a\n"), None);
        assert_eq!(value("# escape=`\n# syntax=a\n"), Some("a".to_owned()));
        assert_eq!(value("# x\n# syntax=a\n"), None);
        let check = detect("check", b"# check=skip=all;error=true\n").unwrap();
        assert_eq!(check.command_line, "skip=all;error=true");
    }
}
