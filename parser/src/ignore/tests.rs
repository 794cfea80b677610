//! Walks over a small tree; the outcomes are Docker's.

use super::*;

/// Entries with their parents before them; folders end with a slash.
const TREE: &[&str] = &[
    "a",
    "b.txt",
    "foo/",
    "foo/bar/",
    "foo/bar/w.txt",
    "foo/bar/z",
    "foo/x",
    "foo/y.txt",
    "foobar/",
    "foobar/k",
    "p/",
    "p/foo/",
    "p/foo/x",
    "xfoo",
];

/// Returns the entries that are not excluded. Checks on the way that all ways of asking agree.
fn kept(file: &str) -> Vec<&'static str> {
    let ignore = Ignore::parse(file.as_bytes()).unwrap();
    let mut kept = Vec::new();
    let mut states: Vec<(&str, ParentState)> = vec![("", ParentState::default())];
    let mut pruned: Vec<&str> = Vec::new();
    for entry in TREE {
        let path = entry.trim_end_matches('/');
        let parent = path.rfind('/').map_or("", |end| &path[..end]);
        let (_, state) = states.iter().find(|(dir, _)| *dir == parent).unwrap();
        let (is_excluded, state) = ignore.matches_with_parent(path, state);
        assert_eq!(ignore.is_excluded(path), is_excluded, "{path}");
        let in_pruned = pruned
            .iter()
            .any(|dir| path.starts_with(&format!("{dir}/")));
        assert!(is_excluded || !in_pruned, "{path}");
        if !is_excluded {
            kept.push(*entry);
        } else if path != *entry && !ignore.may_include_below(path) {
            pruned.push(path);
        }
        states.push((path, state));
    }
    kept
}

/// Checks which entries an ignore file drops.
fn drops(row: &str, file: &str, expected: &[&str]) {
    let kept = kept(file);
    let dropped: Vec<&str> = TREE
        .iter()
        .copied()
        .filter(|entry| !kept.contains(entry))
        .collect();
    assert_eq!(dropped, expected, "{row}: {file:?}");
}

const FOO: &[&str] = &[
    "foo/",
    "foo/bar/",
    "foo/bar/w.txt",
    "foo/bar/z",
    "foo/x",
    "foo/y.txt",
];

#[test]
fn rows() {
    let below = &FOO[1..];
    let with = |more: &[&'static str]| [FOO, more].concat();
    for (row, file, dropped) in [
        ("G1", "foo", FOO.to_vec()),
        ("G1", "/foo", FOO.to_vec()),
        ("G1", "foo/", FOO.to_vec()),
        ("G1", "./foo", FOO.to_vec()),
        ("G2", "foo/*", below.to_vec()),
        ("G2", "foo/**", below.to_vec()),
        ("G3", "**/foo", with(&["p/foo/", "p/foo/x"])),
        ("G4", "foo*", with(&["foobar/", "foobar/k"])),
        ("G5", "**foo", with(&["p/foo/", "p/foo/x", "xfoo"])),
        (
            "G7",
            "foo\n!foo/bar/*",
            vec!["foo/", "foo/bar/", "foo/x", "foo/y.txt"],
        ),
        ("G8", "!foo\nfoo", FOO.to_vec()),
        ("G9", "*/*.txt", vec!["foo/y.txt"]),
        ("G10", " #foo", vec![]),
        ("G13", "^fo*", with(&["foobar/", "foobar/k"])),
        ("G14", "[!f]oo", FOO.to_vec()),
        ("G14", "[^f]oo", vec![]),
    ] {
        drops(row, file, &dropped);
    }
    assert_eq!(kept("*\n!foo/bar/z"), ["foo/bar/z"], "G6");
    for (row, file, message) in [
        ("G11", "!", "illegal exclusion pattern: \"!\""),
        ("G12", "[", "syntax error in pattern"),
        ("G12", "foo\\", "syntax error in pattern"),
    ] {
        let error = Ignore::parse(file.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, message, "{row}: {file:?}");
    }
}

#[test]
fn patterns() {
    for file in ["  foo  ", "foo\r", "x/../foo", "\u{feff}foo"] {
        drops("", file, FOO);
    }
    drops("", "foo**", &[FOO, &["foobar/", "foobar/k"]].concat());
    drops("", "**/*.txt", &["b.txt", "foo/bar/w.txt", "foo/y.txt"]);
    drops("", "foo/**/z", &["foo/bar/z"]);
    drops("", "?", &["a", "p/", "p/foo/", "p/foo/x"]);
    for file in ["*", "**", "**/*", "***"] {
        drops("", file, TREE);
    }
    for file in [
        "", "#foo", ".", "/", "..", "../a", "bar", "\\#foo", "Foo", "{foo,a}",
    ] {
        drops("", file, &[]);
    }
}

#[test]
fn taking_in_again() {
    assert_eq!(kept("*\n! foo/bar/z"), ["foo/bar/z"]);
    drops("", "foo\n!foo/bar", &["foo/", "foo/x", "foo/y.txt"]);
    drops(
        "",
        "foo\n!foo/bar\nfoo/bar/z",
        &["foo/", "foo/bar/z", "foo/x", "foo/y.txt"],
    );
    drops("", "**/*.txt\n!**/w.txt", &["b.txt", "foo/y.txt"]);
    drops("", "*\n!**", &[]);
}

#[test]
fn special_names() {
    let excluded =
        |file: &str, path: &str| Ignore::parse(file.as_bytes()).unwrap().is_excluded(path);
    assert!(excluded("\\#foo", "#foo"));
    assert!(excluded(" #foo", "#foo"));
    assert!(excluded("d\\[1\\]", "d[1]"));
    assert!(excluded("d[[]1]", "d[1]"));
    assert!(excluded("we ird", "we ird"));
    assert!(excluded("{a,b}", "{a,b}"));
    assert!(excluded("^q", "^q"));
    assert!(!excluded("^q*", "^q"));
    assert!(excluded("a.b", "a.b"));
    assert!(!excluded("a.b", "axb"));
    assert!(!excluded("a.?", "axb"));
    assert!(excluded("\\*", "*"));
    assert!(!excluded("\\*", "a"));
}

#[test]
fn pruning() {
    let below = |file: &str, dir: &str| {
        Ignore::parse(file.as_bytes())
            .unwrap()
            .may_include_below(dir)
    };
    assert!(!below("foo", "foo"));
    assert!(below("*\n!foo/bar/z", "foo"));
    assert!(below("*\n!foo/bar/z", "foo/bar"));
    assert!(!below("*\n!foo/bar/z", "p"));
    assert!(!below("*\n!foo", "foo"));
    assert!(below("*\n!foo/**", "foo/bar/deep"));
    assert!(below("*\n!**/z", "any"));
    assert!(below("*\n!*/x", "any"));
    assert!(!below("*\n!*/x", "any/where"));
    assert!(!below("*\n!*.md", "docs"));
    assert!(below("*\n!a/\\b*", "a"));
}

#[test]
fn errors() {
    let message = |file: &str| Ignore::parse(file.as_bytes()).unwrap_err().to_string();
    assert_eq!(message("a\n! "), "illegal exclusion pattern: \"!\"");
    assert_eq!(
        Ignore::parse(b"# x\n\na[").unwrap_err(),
        IgnoreError::BadPattern {
            pattern: "a[".to_owned(),
            line: 3
        }
    );
}

#[test]
fn lists() {
    let ignore = Ignore::from_patterns(["*.txt", "!b.txt", "", "/a", "#x"]).unwrap();
    assert!(ignore.is_excluded("c.txt"));
    assert!(!ignore.is_excluded("b.txt"));
    assert!(!ignore.is_excluded("a"));
    assert!(ignore.is_excluded("#x"));
    assert!(ignore.has_negated());
    assert!(Ignore::from_patterns([""]).unwrap().is_empty());
    assert!(Ignore::from_patterns(["["]).is_err());
}

#[test]
fn names_that_are_no_text() {
    let ignore = Ignore::parse(b"a*\n\xff\n").unwrap();
    assert!(ignore.is_excluded(b"a\xff"));
    assert!(ignore.is_excluded(b"\xff"));
    assert!(!ignore.is_excluded(b"b\xff"));
}
