//! Paths as text: absolute, clean, confined to their root. No file system is asked.

/// Returns `path` taken from `base` (absolute), clean: no `.`, no `..`, no double or trailing
/// slash. `..` stops at the root.
pub(crate) fn resolve(base: &str, path: &str) -> String {
    let start = if path.starts_with('/') { "" } else { base };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Returns `path` without `.`, `..` within it, double and trailing slashes, absolute or not.
pub(crate) fn clean(path: &str) -> String {
    if path.starts_with('/') {
        return resolve("/", path);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    if parts.is_empty() {
        return ".".to_owned();
    }
    parts.join("/")
}

/// Returns a path of Windows with slashes and without its drive.
pub(crate) fn from_windows(path: &str) -> String {
    let bytes = path.as_bytes();
    let has_drive = bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':';
    path[if has_drive { 2 } else { 0 }..].replace('\\', "/")
}

/// Reports whether a destination, as written, can only be a directory.
pub(crate) fn names_directory(dest: &str) -> bool {
    matches!(dest, "" | ".") || dest.ends_with('/') || dest.ends_with("/.")
}

/// Returns the source of a `COPY --parents`: the `/./` that marks where the kept directories begin
/// stays.
pub(crate) fn resolve_with_marker(path: &str) -> String {
    let Some((parent, kept)) = path.split_once("/./") else {
        return resolve("/", path);
    };
    let (parent, kept) = (resolve("/", parent), resolve("/", kept));
    format!("{}/.{kept}", parent.trim_end_matches('/'))
}

/// Reports whether a pattern matches anything but itself.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '[', '\\'])
}

/// Reports whether a pattern leads above its root, also where dots are written as classes (`[.]`)
/// or escapes.
pub(crate) fn climbs(pattern: &str) -> bool {
    let plain = pattern.replace("[.]", ".").replace("\\.", ".");
    let mut depth = 0usize;
    for part in plain.split('/') {
        match part {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

/// Returns the name of a file made from a heredoc, if that can be one.
pub(crate) fn heredoc_file_name(name: &str) -> Option<String> {
    let path = resolve("/", name);
    let name = &path[1..];
    let is_name = !name.is_empty() && !name.contains(['/', '\0']);
    is_name.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_clean_and_stay_below_their_root() {
        for (base, path, expected) in [
            ("/", "a", "/a"),
            ("/w", "a/b/", "/w/a/b"),
            ("/w", "/a//b/./c", "/a/b/c"),
            ("/w", "../../..", "/"),
            ("/w", "", "/w"),
            ("/w", ".", "/w"),
            ("/", "", "/"),
        ] {
            assert_eq!(resolve(base, path), expected, "{path} from {base}");
        }
    }

    #[test]
    fn relative_paths_stay_relative() {
        for (path, expected) in [
            ("a/../b/", "b"),
            ("", "."),
            ("../a", "../a"),
            ("a/../..", ".."),
            ("/a/../b", "/b"),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn windows_paths_get_slashes() {
        assert_eq!(from_windows(r"C:\app\bin"), "/app/bin");
        assert_eq!(from_windows("app"), "app");
        assert_eq!(from_windows("é:"), "é:");
    }

    #[test]
    fn directories_are_known_by_their_end() {
        for dest in ["", ".", "/", "a/", "a/.", "./"] {
            assert!(names_directory(dest), "{dest}");
        }
        for dest in ["a", "..", "a/..", "/a.", "/a/b"] {
            assert!(!names_directory(dest), "{dest}");
        }
    }

    #[test]
    fn the_marker_of_parents_is_kept() {
        for (path, expected) in [
            ("./x/./y/*.txt", "/x/./y/*.txt"),
            ("a/b", "/a/b"),
            ("/./a", "/./a"),
            ("../x/./../y/", "/x/./y"),
            ("x/./", "/x/./"),
        ] {
            assert_eq!(resolve_with_marker(path), expected, "{path}");
        }
    }

    #[test]
    fn patterns_that_climb_are_found() {
        for pattern in ["../*", "a/../../*", "[.][.]/x", "/../*", "\\.\\./?"] {
            assert!(climbs(pattern), "{pattern}");
        }
        for pattern in ["*", "a/../*", "..a/*", "[.]x/*", "*/..", "a*/b/../../*"] {
            assert!(!climbs(pattern), "{pattern}");
        }
    }

    #[test]
    fn heredoc_names_are_single_names() {
        assert_eq!(heredoc_file_name("EOF").as_deref(), Some("EOF"));
        assert_eq!(heredoc_file_name("/x").as_deref(), Some("x"));
        for bad in ["", "..", "/", "a/b", "a\0b"] {
            assert_eq!(heredoc_file_name(bad), None, "{bad:?}");
        }
    }
}
