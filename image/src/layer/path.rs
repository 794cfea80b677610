//! Paths inside a layer: their order, their parts, and what makes one acceptable.
//!
//! Everything here works on bytes; nothing looks at a file system.

use std::cmp::Ordering;

use crate::error::ImageError;

use super::entry::LayerPath;

/// Longest path in bytes. Linux takes 4,096 with the final NUL, and the leading slash counts too.
pub const MAX_PATH: usize = 4094;

/// Longest component in bytes, as on every Linux file system.
pub const MAX_COMPONENT: usize = 255;

/// Compares two paths component by component, each as bytes.
///
/// A directory sorts before all that is below it, and all that is below it sorts before whatever
/// follows the directory: a subtree is one contiguous run.
#[must_use]
pub fn compare_paths(left: &[u8], right: &[u8]) -> Ordering {
    let differs = left.iter().zip(right).position(|(l, r)| l != r);
    match differs {
        Some(at) => rank(left[at]).cmp(&rank(right[at])),
        None => left.len().cmp(&right.len()),
    }
}

/// A slash ends a component, so it sorts before every byte that would continue it.
fn rank(byte: u8) -> u16 {
    if byte == b'/' { 0 } else { u16::from(byte) + 1 }
}

/// A path whose order as bytes is that of [`compare_paths`]: NUL in place of slashes.
pub(super) type SortKey = Vec<u8>;

/// Returns the sort key of a path.
pub(super) fn sort_key(path: &[u8]) -> SortKey {
    replaced(path.to_vec(), b'/', 0)
}

/// Returns the path whose sort key is `key`.
pub(super) fn from_sort_key(key: SortKey) -> LayerPath {
    replaced(key, 0, b'/')
}

fn replaced(mut bytes: Vec<u8>, from: u8, to: u8) -> Vec<u8> {
    for byte in &mut bytes {
        if *byte == from {
            *byte = to;
        }
    }
    bytes
}

/// Returns true if `path` lies below `directory` (and is not `directory` itself).
#[must_use]
pub fn is_below(path: &[u8], directory: &[u8]) -> bool {
    if directory.is_empty() {
        return !path.is_empty();
    }
    path.len() > directory.len() && path[directory.len()] == b'/' && path.starts_with(directory)
}

/// Splits a path into its parent and its last component; `None` for the root.
#[must_use]
pub fn split_last(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None => Some((&[], path)),
    }
}

/// Returns `directory` and `name` joined.
#[must_use]
pub fn join(directory: &[u8], name: &[u8]) -> LayerPath {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    push(&mut path, directory);
    push(&mut path, name);
    path
}

/// Appends a component (or several) to `path`.
pub(crate) fn push(path: &mut LayerPath, name: &[u8]) {
    if !path.is_empty() && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// Removes the last component of `path`; the root stays the root.
pub(crate) fn pop(path: &mut LayerPath) {
    let length = split_last(path).map_or(0, |(parent, _)| parent.len());
    path.truncate(length);
}

/// Returns the proper ancestors of `path`, the root first.
pub fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let root = (!path.is_empty()).then_some(&path[..0]);
    let slashes = (0..path.len()).filter(|at| path[*at] == b'/');
    root.into_iter().chain(slashes.map(|at| &path[..at]))
}

/// Returns `path` as a text for messages: control and non-ASCII bytes escaped, long ones cut.
#[must_use]
pub fn display(path: &[u8]) -> String {
    const SHOWN: usize = 200;
    if path.is_empty() {
        return "/".to_owned();
    }
    let text = match std::str::from_utf8(path) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => path.escape_ascii().to_string(),
    };
    if text.chars().count() <= SHOWN {
        return text;
    }
    let head: String = text.chars().take(SHOWN).collect();
    format!("{head}...")
}

/// Brings a path as archives write it into the form of [`LayerPath`].
///
/// Leading slashes, empty and `.` components are dropped; `..` removes the component before it.
///
/// # Errors
/// [`ImageError::Archive`] if `..` climbs out of the root, for a NUL byte, a component of more than
/// 255 bytes or a path of more than 4,094.
pub fn clean(raw: &[u8]) -> Result<LayerPath, ImageError> {
    let mut path = LayerPath::with_capacity(raw.len().min(MAX_PATH));
    for component in raw.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if path.is_empty() => {
                return Err(ImageError::archive(raw, "the path leads out of the root"));
            }
            b".." => pop(&mut path),
            _ => {
                if component.len() > MAX_COMPONENT {
                    return Err(ImageError::archive(raw, "a name has more than 255 bytes"));
                }
                push(&mut path, component);
            }
        }
        if path.len() > MAX_PATH {
            return Err(ImageError::archive(raw, "the path is too long"));
        }
    }
    if path.contains(&0) {
        return Err(ImageError::archive(raw, "the path contains a NUL byte"));
    }
    Ok(path)
}

/// Returns true if `path` has the form that [`LayerPath`] promises.
#[must_use]
pub fn is_clean(path: &[u8]) -> bool {
    shape(path) != Shape::Unclean
}

/// What a path looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// As [`LayerPath`] promises.
    Clean,
    /// Clean, but a component starts with `.wh.`.
    Marked,
    /// Anything else.
    Unclean,
}

/// Looks at a path once; a layer has many.
pub(super) fn shape(path: &[u8]) -> Shape {
    if path.len() > MAX_PATH {
        return Shape::Unclean;
    }
    let mut shape = Shape::Clean;
    let mut rest = path;
    while !path.is_empty() {
        let slash = rest.iter().position(|byte| matches!(byte, b'/' | 0));
        let name = &rest[..slash.unwrap_or(rest.len())];
        let is_bad = match name {
            b"" | b"." | b".." => true,
            [b'.', b'w', b'h', b'.', ..] => {
                shape = Shape::Marked;
                name.len() > MAX_COMPONENT
            }
            _ => name.len() > MAX_COMPONENT,
        };
        if is_bad {
            return Shape::Unclean;
        }
        match slash {
            None => break,
            Some(at) if rest[at] == 0 => return Shape::Unclean,
            Some(at) => rest = &rest[at + 1..],
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subtree_is_one_run() {
        let mut paths: Vec<&[u8]> = vec![
            b"a.b", b"a", b"a/b", b"", b"a-", b"a/b/c", b"a/b-", b"b", b"a\x01", b"a/\xff",
        ];
        paths.sort_by(|left, right| compare_paths(left, right));
        let expected: Vec<&[u8]> = vec![
            b"", b"a", b"a/b", b"a/b/c", b"a/b-", b"a/\xff", b"a\x01", b"a-", b"a.b", b"b",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn cleaning() {
        let check = |raw: &[u8], expected: Option<&[u8]>| {
            let got = clean(raw).ok();
            assert_eq!(got.as_deref(), expected, "{}", raw.escape_ascii());
        };
        check(b"a/b", Some(b"a/b"));
        check(b"/a//b/", Some(b"a/b"));
        check(b"./a/./b", Some(b"a/b"));
        check(b"a/../b", Some(b"b"));
        check(b".", Some(b""));
        check(b"", Some(b""));
        check(b"/", Some(b""));
        check(b"..", None);
        check(b"a/../../b", None);
        check(b"a\0b", None);
        check(&[b'a'; 255], Some(&[b'a'; 255]));
        check(&[b'a'; 256], None);
        check(&b"ab/".repeat(2000), None);
    }

    #[test]
    fn parts() {
        assert_eq!(split_last(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
        assert_eq!(split_last(b"a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split_last(b""), None);
        let found: Vec<&[u8]> = ancestors(b"a/b/c").collect();
        assert_eq!(found, [&b""[..], b"a", b"a/b"]);
        assert_eq!(ancestors(b"").count(), 0);
        assert!(is_below(b"a/b", b"a") && is_below(b"a", b"") && !is_below(b"ab", b"a"));
        assert!(!is_below(b"a", b"a") && !is_below(b"", b""));
        assert!(is_clean(b"") && !is_clean(b"a\0") && !is_clean(b"a//b") && !is_clean(b"."));
        assert_eq!(shape(b"a/.wh.b/c"), Shape::Marked);
        assert_eq!(shape(b"a/.whb"), Shape::Clean);
        assert!(is_clean(b"a/b") && !is_clean(b"a/") && !is_clean(b"/a") && !is_clean(b"a/../b"));
    }

    #[test]
    fn messages_carry_no_control_bytes() {
        assert_eq!(display(b"a\x1b[31m"), "a\\x1b[31m");
        assert_eq!(display("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
        assert_eq!(display(b"\xff"), "\\xff");
        assert_eq!(display(b""), "/");
    }
}
