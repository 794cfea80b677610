//! Contexts: ignore files, special files, odd names, many files, and what may not be read.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode};

use super::*;

const TREE: &[&str] = &[
    "f644 a=a",
    "f644 b.txt=b",
    "f644 foo/x=x",
    "f644 foo/y.txt=y",
    "f644 foo/bar/z=z",
    "f644 foo/bar/w.txt=w",
    "f644 foobar/k=k",
    "f644 p/foo/x=x",
    "f644 xfoo=x",
];

/// Returns the paths of a layer that are no directories with something in them.
fn leaves(layer: &Layer) -> Vec<String> {
    let paths: Vec<String> = layer
        .entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .collect();
    let holds = |path: &String| {
        paths
            .iter()
            .any(|other| other.starts_with(&format!("{path}/")))
    };
    paths.iter().filter(|path| !holds(path)).cloned().collect()
}

/// Copies all that an ignore file leaves, and checks what is missing of the whole tree.
#[track_caller]
fn check_dropped(ignore: &'static str, dropped: &[&str]) {
    let world = World::new(TREE).with_ignore(ignore);
    let kept = leaves(&world.run(&copy(". /")).unwrap());
    let whole = leaves(&World::new(TREE).run(&copy(". /")).unwrap());
    let missing: Vec<&String> = whole.iter().filter(|path| !kept.contains(path)).collect();
    assert_eq!(missing, dropped, "{ignore:?} kept {kept:?}");
}

#[test]
fn g1_to_g14_ignore_files() {
    let foo = ["foo/bar/w.txt", "foo/bar/z", "foo/x", "foo/y.txt"];
    for ignore in [
        "foo",
        "/foo",
        "foo/",
        "./foo",
        "foo/*",
        "foo/**",
        "!foo\nfoo",
    ] {
        check_dropped(ignore, &foo);
    }
    let everywhere: Vec<&str> = foo.into_iter().chain(["p/foo/x"]).collect();
    check_dropped("**/foo", &everywhere);
    let prefixed: Vec<&str> = foo.into_iter().chain(["foobar/k"]).collect();
    check_dropped("foo*", &prefixed);
    check_dropped("^fo*", &prefixed);
    let suffixed: Vec<&str> = everywhere.iter().copied().chain(["xfoo"]).collect();
    check_dropped("**foo", &suffixed);
    check_dropped("foo\n!foo/bar/*", &["foo/x", "foo/y.txt"]);
    check_dropped("*/*.txt", &["foo/y.txt"]);
    check_dropped(" #foo", &[]);
    check_dropped("#foo", &[]);
    check_dropped("[^f]oo", &[]);
    let rest = [
        "a",
        "b.txt",
        "foo/bar/w.txt",
        "foo/x",
        "foo/y.txt",
        "foobar/k",
        "p/foo/x",
        "xfoo",
    ];
    check_dropped("*\n!foo/bar/z", &rest);
}

#[test]
fn directories_stay_if_they_are_not_ignored_or_hold_something() {
    let lines = |ignore: &'static str| {
        let world = World::new(&["f644 foo/x=x", "d700 foo/e", "d711 g"]).with_ignore(ignore);
        world.lines(&copy(". /"))
    };
    assert_eq!(
        lines(""),
        ["d755 foo", "d700 foo/e", "f644 foo/x=x", "d711 g"]
    );
    assert_eq!(lines("foo/*"), ["d755 foo", "d711 g"]);
    assert_eq!(lines("foo\n!foo/x"), ["d755 foo", "f644 foo/x=x", "d711 g"]);
    assert_eq!(lines("*\n!foo/none"), [""; 0]);
    assert_eq!(lines("*\n!foo/e"), ["d755 foo", "d700 foo/e"]);
}

#[test]
fn g15_and_g16_what_is_ignored_is_not_there() {
    let world = World::new(TREE).with_ignore("Dockerfile\nfoo\n!foo/bar/z\np/*");
    world.add("f644 Dockerfile=FROM scratch");
    world.add("l link->foo/x");
    world.add("l ok->foo/bar/z");
    world.check_error(&copy("Dockerfile /"), r#""/Dockerfile": not found"#);
    world.check_error(&copy("foo/x /"), r#""/foo/x": not found"#);
    world.check_error(&copy("link /"), r#""/link": not found"#);
    world.check_error(&copy("p/foo /"), r#""/p/foo": not found"#);
    world.check(&copy("foo/bar/z /"), &["f644 z=z"]);
    world.check(&copy("ok /"), &["f644 ok=z"]);
    world.check(
        &copy("foo /n/"),
        &["d755 n", "d755 n/bar", "f644 n/bar/z=z"],
    );
    world.check(
        &copy("fo? /n/"),
        &["d755 n", "d755 n/bar", "f644 n/bar/z=z"],
    );
    world.check(&copy("foo/* /n/"), &["d755 n", "f644 n/z=z"]);
    world.check(&copy("Docker* /"), &[]);
    world.check(&copy("p /n"), &["d755 n"]);
}

#[test]
fn only_what_is_copied_is_looked_at() {
    let world = World::new(&["f644 d/a=A", "f644 other/secret=S"]);
    set_mode(&world.path("other"), 0);
    world.check(&copy("d /n"), &["d755 n", "f644 n/a=A"]);
    let selection = world.select(&copy("d /n")).unwrap();
    let files: Vec<Vec<u8>> = selection.files(0).map(|(path, _)| path).collect();
    assert_eq!(files, [b"d/a"]);
}

#[test]
fn special_files_are_copied_as_such_and_never_opened() {
    let world = World::new(&["f644 f=F"]);
    let fifo = |path: &str| {
        rustix::fs::mknodat(CWD, world.path(path), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    };
    fifo("pipe");
    let socket = UnixListener::bind(world.path("sock")).unwrap();
    set_mode(&world.path("pipe"), 0o600);
    set_mode(&world.path("sock"), 0o700);
    world.check(
        &copy(". /x/"),
        &["d755 x", "f644 x/f=F", "p600 x/pipe", "f700 x/sock="],
    );
    world.check(&copy("pipe /"), &["p600 pipe"]);
    drop(socket);
    // A pipe that takes a file's place between choosing and packing is not waited on.
    let error = world.run_with(&copy("f /"), &|| {
        fs_err::remove_file(world.path("f")).unwrap();
        fifo("f");
    });
    assert!(matches!(error.err().unwrap(), FilesError::Changed { .. }));
    let device = rustix::fs::mknodat(
        CWD,
        world.path("zero"),
        FileType::CharacterDevice,
        Mode::from(0o600),
        rustix::fs::makedev(1, 5),
    );
    if device.is_ok() {
        world.check(&copy("zero /"), &["c600 zero 1:5"]);
    }
}

#[test]
fn an_unreadable_file_is_named_unless_it_is_ignored() {
    let world = World::new(&["f644 f=F", "f644 locked-file=L"]);
    set_mode(&world.path("locked-file"), 0);
    if fs_err::read(world.path("locked-file")).is_ok() {
        return; // Root reads everything.
    }
    world.check_error(&copy(". /"), r#"cannot read "/locked-file""#);
    let world = world.with_ignore("locked-file");
    world.check(&copy(". /"), &["f644 f=F"]);
}

#[test]
fn odd_names_are_kept_byte_by_byte() {
    let long = [b'n'; 255];
    let names: [&[u8]; 9] = [
        &long,
        b"caf\xe9\xff",
        b"new\nline",
        b"esc\x1b]0;TITLE\x07",
        b"-rf",
        b"q'\"$(id)",
        b" lead",
        b"trail ",
        b"\xe2\x80\xae.txt",
    ];
    let world = World::new(&[]);
    for name in names {
        fs_err::write(world.dir.path().join(OsStr::from_bytes(name)), "v").unwrap();
    }
    let layer = world.run(&copy(". /x/")).unwrap();
    for name in names {
        let path = [b"x/", name].concat();
        assert_eq!(layer.bytes[&path], b"v");
    }
    assert_eq!(layer.entries.len(), names.len() + 1);
    world.add("d755 \u{1b}dir");
    let world = world.with_parent(&["d755 x", "f644 x/\u{1b}dir=x"]);
    let error = world.run(&copy(". /x/")).err().unwrap().to_string();
    assert!(
        !error.contains('\u{1b}') && error.contains("u{1b}"),
        "{error}"
    );
}

#[test]
fn names_that_would_remove_files_are_refused() {
    let world = World::new(&["f644 d/.wh.etc=x"]);
    let text = r#""/d/.wh.etc": names that start with `.wh.` mark deletions in a layer"#;
    world.check_error(&copy("d /"), text);
    world.check_error(&copy("d/.wh.etc /"), text);
    world.check(&copy("d/.wh.etc /etc"), &["f644 etc=x"]);
    let world = World::new(&["d755 d/.wh.x"]);
    let text = r#""/d/.wh.x": names that start with `.wh.` mark deletions in a layer"#;
    world.check_error(&copy("d /"), text);
}

#[test]
fn ten_thousand_files() {
    let world = World::new(&[]);
    for folder in 0..100 {
        fs_err::create_dir_all(world.path(&format!("t/{folder}"))).unwrap();
        for file in 0..100 {
            let path = world.path(&format!("t/{folder}/{file}"));
            fs_err::write(path, format!("{folder}-{file}")).unwrap();
        }
    }
    let check = |changed: &str| {
        let layer = world.run(&copy("t /t")).unwrap();
        assert_eq!(layer.bytes.len(), 10_000);
        assert_eq!(layer.bytes[&b"t/99/7"[..]], b"99-7");
        assert_eq!(layer.bytes[&b"t/7/99"[..]], changed.as_bytes());
    };
    check("7-99");
    let before = world.select(&copy("t /t")).unwrap().source_digests();
    fs_err::write(world.path("t/7/99"), "new").unwrap();
    check("new");
    assert_ne!(
        world.select(&copy("t /t")).unwrap().source_digests(),
        before
    );
}

#[test]
fn large_files_come_through_whole() {
    let world = World::new(&["f644 d/small=s", "f644 d/empty="]);
    let large: Vec<u8> = (0..5_000_000_u32)
        .flat_map(|n| (n % 251).to_le_bytes())
        .collect();
    for name in ["d/large", "d/z"] {
        fs_err::write(world.path(name), &large).unwrap();
    }
    let layer = world.run(&copy("d /")).unwrap();
    assert_eq!(layer.bytes[&b"large"[..]], large);
    assert_eq!(layer.bytes[&b"z"[..]], large);
    assert_eq!(layer.bytes[&b"small"[..]], b"s");
    assert_eq!(layer.bytes[&b"empty"[..]], b"");
}

#[test]
fn attributes_of_files_and_folders_are_kept() {
    let world = World::new(&["f644 d/s/a=A", "f644 d/s/b=B"]);
    let set = |path: &str, name: &str, value: &[u8]| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(world.path(path), name, value, flags).is_ok()
    };
    if !set("d/s/a", "user.note", b"1") {
        return; // Not every file system has them.
    }
    assert!(set("d/s", "user.folder", b"2") && set("d/s/b", "user.overlay.opaque", b"y"));
    let layer = world.run(&copy("d /n")).unwrap();
    let xattrs = |path: &str| -> Vec<String> {
        let found = layer.get(path).xattrs.keys();
        found
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    };
    assert_eq!(xattrs("n/s/a"), ["user.note"]);
    assert_eq!(xattrs("n/s"), ["user.folder"]);
    assert_eq!(xattrs("n/s/b"), [""; 0]);
}
