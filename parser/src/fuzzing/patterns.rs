//! Ignore files and globs.

use crate::glob;
use crate::ignore::{Ignore, ParentState};

/// Longest path that is asked for: a walk only meets those that Linux has.
const LONGEST: usize = 200;

/// Any bytes are an ignore file or are refused; asking for a path folder by folder, the way a walk
/// does, gives what asking for it at once gives, and what the patterns mean by their definition. The
/// path stands after the first NUL.
pub fn dockerignore(input: &[u8]) {
    let mut halves = input.splitn(2, |byte| *byte == 0);
    let source = halves.next().unwrap_or_default();
    let path = halves.next().unwrap_or(b"a/b/c.txt");
    globs(source, path);
    let Ok(ignore) = Ignore::parse(source) else {
        return;
    };
    let is_clean = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
    if path.len() > LONGEST || !path.split(|byte| *byte == b'/').all(is_clean) {
        return;
    }
    let at_once = ignore.is_excluded(path);
    let mut state = ParentState::default();
    let mut is_pruned = false;
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    for end in slashes.map(|(index, _)| index).chain([path.len()]) {
        let (is_excluded, next) = ignore.matches_with_parent(&path[..end], &state);
        if end == path.len() {
            assert_eq!(is_excluded, at_once, "{}", path.escape_ascii());
            let is_hidden = is_pruned && !is_excluded;
            assert!(!is_hidden, "a pruned folder hides {}", path.escape_ascii());
        } else {
            is_pruned |= is_excluded && !ignore.may_include_below(&path[..end]);
        }
        state = next;
    }
    if let Some(expected) = by_definition(source, path) {
        assert_eq!(at_once, expected, "{}", path.escape_ascii());
    }
    if ignore.is_empty() || (ignore.catches_all() && !ignore.has_negated()) {
        assert_eq!(at_once, !ignore.is_empty());
    }
}

/// Patterns of `COPY` match names as they say.
fn globs(pattern: &[u8], name: &[u8]) {
    let pattern = pattern.split(|byte| *byte == b'\n').next();
    let pattern = pattern.unwrap_or_default();
    let compiled = glob::Pattern::new(pattern);
    let at_once = glob::matches(pattern, name);
    assert_eq!(compiled.is_ok(), at_once.is_ok());
    let Ok(compiled) = compiled else { return };
    assert_eq!(at_once.ok(), Some(compiled.matches(name)));
    if let Some(literal) = compiled.literal() {
        assert!(compiled.matches(&literal));
    } else {
        assert!(glob::has_wildcard(pattern));
    }
}

/// Decides by trying everything: for files with nothing but plain letters, `*`, `?`, `**` and `/`, of
/// which each line is a path that is already short. (What takes paths in again depends on the order
/// in which a walk tries patterns, in BuildKit too.)
fn by_definition(source: &[u8], path: &[u8]) -> Option<bool> {
    let text = std::str::from_utf8(source).ok()?;
    let path = std::str::from_utf8(path).ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "*?/\n".contains(c);
    let is_long = text.len() > 64 || path.len() > 64;
    if is_long || path.contains('\n') || !text.chars().all(is_plain) {
        return None;
    }
    let mut is_excluded = false;
    for pattern in text.lines().filter(|line| !line.is_empty()) {
        let is_short = !pattern.contains("//") && !pattern.ends_with('/');
        // `**` in front of a name is not folders, but any beginning.
        let is_odd = pattern.contains("***")
            || pattern
                .split("**")
                .skip(1)
                .any(|rest| !rest.is_empty() && !rest.starts_with('/'));
        if !is_short || is_odd {
            return None;
        }
        let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
        let pattern: Vec<char> = pattern.chars().collect();
        let ends = path.match_indices('/').map(|(end, _)| end);
        is_excluded |= ends.chain([path.len()]).any(|end| {
            let part: Vec<char> = path[..end].chars().collect();
            matches(&pattern, &part)
        });
    }
    Some(is_excluded)
}

/// `**/` is any number of whole folders, `**` at the end is anything, `*` anything without a slash.
fn matches(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', '*'] => true,
        ['*', '*', '/'] => true,
        ['*', '*', rest @ ..] => {
            let rest = rest.strip_prefix(&['/']).unwrap_or(rest);
            let ends = name.iter().enumerate().filter(|(_, c)| **c == '/');
            matches(rest, name)
                || ends
                    .into_iter()
                    .any(|(end, _)| matches(rest, &name[end + 1..]))
        }
        ['*', rest @ ..] => (0..=name.len())
            .take_while(|length| *length == 0 || name[*length - 1] != '/')
            .any(|length| matches(rest, &name[length..])),
        ['?', rest @ ..] => matches!(name, [c, after @ ..] if *c != '/' && matches(rest, after)),
        [first, rest @ ..] => {
            matches!(name, [c, after @ ..] if c == first && matches(rest, after))
        }
    }
}
