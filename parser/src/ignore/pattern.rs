//! One pattern of an ignore file. Docker's matcher turns patterns into regular expressions without
//! hiding all of the expressions' own syntax; so does this one, to match the same paths.

use super::regex::Regex;
use crate::glob::decode;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct IgnorePattern {
    /// It takes paths in again.
    pub(super) negated: bool,
    /// It matches all entries of the root.
    pub(super) catches_all: bool,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    /// Exactly this path.
    Exact(Vec<u8>),
    /// Paths that start so (`foo/**`).
    Prefix(Vec<u8>),
    /// Paths that end so (`**/foo`, which is also `foo` itself).
    Suffix(Vec<u8>),
    Regex(Regex),
}

impl IgnorePattern {
    /// Compiles a cleaned pattern without its `!`. `None` if the expression that it becomes is
    /// malformed.
    pub(super) fn compile(pattern: &[u8], negated: bool) -> Option<Self> {
        let matcher = match translate(pattern) {
            Translation::Exact => Matcher::Exact(pattern.to_vec()),
            Translation::Prefix => Matcher::Prefix(pattern[..pattern.len() - 2].to_vec()),
            Translation::Suffix => Matcher::Suffix(pattern[2..].to_vec()),
            Translation::Regex(expression) => Matcher::Regex(Regex::parse(&expression)?),
        };
        Some(Self {
            negated,
            catches_all: matches!(pattern, b"*" | b"**" | b"**/*"),
            matcher,
        })
    }

    /// Tells whether the pattern matches the path itself.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match &self.matcher {
            Matcher::Exact(exact) => path == exact,
            Matcher::Prefix(prefix) => path.starts_with(prefix),
            Matcher::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
            }
            Matcher::Regex(regex) => regex.matches(path),
        }
    }

    /// Tells whether the pattern could match some path below `dir`.
    pub(super) fn may_match_below(&self, dir: &[u8]) -> bool {
        let mut below = dir.to_vec();
        below.push(b'/');
        match &self.matcher {
            Matcher::Exact(exact) => exact.starts_with(&below),
            Matcher::Prefix(prefix) => prefix.starts_with(&below) || below.starts_with(prefix),
            Matcher::Suffix(_) => true,
            Matcher::Regex(regex) => regex.is_alive_after(&below),
        }
    }
}

/// Which comparison a pattern needs.
enum Translation {
    Exact,
    Prefix,
    Suffix,
    Regex(Vec<char>),
}

/// Characters that the translation hides from the expression; not `^`, `[`, `]` and `\`.
const HIDDEN: &str = ".+()|{}$";

fn translate(pattern: &[u8]) -> Translation {
    let chars = characters(pattern);
    let mut expression: Vec<char> = vec!['^'];
    let mut kind = Translation::Exact;
    let mut index = 0;
    while let Some(&c) = chars.get(index) {
        let is_first = index == 0;
        index += 1;
        match c {
            '*' if chars.get(index) == Some(&'*') => {
                index += 1;
                if chars.get(index) == Some(&'/') {
                    index += 1;
                }
                let is_last = index == chars.len();
                if is_last && matches!(kind, Translation::Exact) {
                    kind = Translation::Prefix;
                } else {
                    expression.extend(if is_last { ".*" } else { "(.*/)?" }.chars());
                    kind = Translation::Regex(Vec::new());
                }
                if is_first {
                    kind = Translation::Suffix;
                }
            }
            '*' | '?' => {
                expression.extend("[^/]".chars());
                expression.extend((c == '*').then_some('*'));
                kind = Translation::Regex(Vec::new());
            }
            '\\' => {
                expression.push('\\');
                if let Some(&escaped) = chars.get(index) {
                    index += 1;
                    expression.push(escaped);
                    kind = Translation::Regex(Vec::new());
                }
            }
            '[' | ']' => {
                expression.push(c);
                kind = Translation::Regex(Vec::new());
            }
            _ => {
                expression.extend(HIDDEN.contains(c).then_some('\\'));
                expression.push(c);
            }
        }
    }
    if let Translation::Regex(_) = kind {
        expression.push('$');
        return Translation::Regex(expression);
    }
    kind
}

/// Decodes bytes; each that is not UTF-8 becomes U+FFFD.
pub(super) fn characters(bytes: &[u8]) -> Vec<char> {
    let mut chars = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((c, length)) = decode(rest) {
        chars.push(c);
        rest = &rest[length..];
    }
    chars
}

/// Shortens a path by its text alone: no double or trailing slash, no `.`, `..` resolved where
/// possible.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let is_rooted = path.first() == Some(&b'/');
    let mut components: Vec<&[u8]> = Vec::new();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => match components.last() {
                Some(last) if *last != b".." => {
                    components.pop();
                }
                _ if is_rooted => {}
                _ => components.push(component),
            },
            _ => components.push(component),
        }
    }
    let joined = components.join(&b'/');
    match (is_rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning() {
        let cases = [
            ("a//b/../../foo", "foo"),
            ("foo/", "foo"),
            ("./foo", "foo"),
            ("", "."),
            ("a/..", "."),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("/..", "/"),
            ("/a/b/", "/a/b"),
        ];
        for (path, expected) in cases {
            let cleaned = clean(path.as_bytes());
            assert_eq!(String::from_utf8_lossy(&cleaned), expected, "{path}");
        }
    }

    #[test]
    fn translations() {
        let expression = |pattern: &str| match translate(pattern.as_bytes()) {
            Translation::Exact => "exact".to_owned(),
            Translation::Prefix => "prefix".to_owned(),
            Translation::Suffix => "suffix".to_owned(),
            Translation::Regex(found) => found.into_iter().collect(),
        };
        assert_eq!(expression("a.b"), "exact");
        assert_eq!(expression("foo/**"), "prefix");
        assert_eq!(expression("**/foo"), "suffix");
        assert_eq!(expression("**"), "suffix");
        assert_eq!(expression("*/a.b"), "^[^/]*/a\\.b$");
        assert_eq!(expression("a/**/b?"), "^a/(.*/)?b[^/]$");
        assert_eq!(expression("*a**"), "^[^/]*a.*$");
        assert_eq!(expression("d\\[1\\]"), "^d\\[1\\]$");
        assert_eq!(expression("[*]"), "^[[^/]*]$");
    }
}
