//! Hostile archives: every one is refused, or what it does stays inside the tree.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod layer_support;

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use layer_support::{check_tree, listing, tree_options, unpack_to};
use rbuild_image::layer::{TarReader, Whiteouts, unpack};
use tar::{EntryType, Header};

/// One header block.
fn header(name: &[u8], kind: u8, size: u64, link: &[u8]) -> Header {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let header = header(name.as_bytes(), b'0', content.len() as u64, b"");
    padded([header.as_bytes(), content].concat())
}

fn special(name: &str, kind: u8, link: &str) -> Vec<u8> {
    header(name.as_bytes(), kind, 0, link.as_bytes())
        .as_bytes()
        .to_vec()
}

fn dir(name: &str) -> Vec<u8> {
    special(name, b'5', "")
}

fn symlink(name: &str, target: &str) -> Vec<u8> {
    special(name, b'2', target)
}

fn hardlink(name: &str, target: &str) -> Vec<u8> {
    special(name, b'1', target)
}

fn extension(kind: u8, content: &[u8]) -> Vec<u8> {
    let header = header(b"ext", kind, content.len() as u64, b"");
    padded([header.as_bytes(), content].concat())
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (1..).find(|length: &usize| rest + length.to_string().len() == *length);
        content.extend_from_slice(format!("{} {key}=", length.unwrap()).as_bytes());
        content.extend_from_slice(value);
        content.push(b'\n');
    }
    extension(b'x', &content)
}

fn device(name: &str, kind: u8, major: u32, minor: u32) -> Vec<u8> {
    let mut header = header(name.as_bytes(), kind, 0, b"");
    header.set_device_major(major).unwrap();
    header.set_device_minor(minor).unwrap();
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// Changes a header after the fact and makes its checksum right again.
fn patched(mut entry: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    entry[at..at + bytes.len()].copy_from_slice(bytes);
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(&entry[..512]);
    header.set_cksum();
    entry[..512].copy_from_slice(header.as_bytes());
    entry
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut tar = entries.concat();
    tar.extend_from_slice(&[0; 1024]);
    tar
}

/// A place for the tree, and a directory beside it that must not change.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = folder.path().join("host");
        fs_err::create_dir(&host).unwrap();
        fs_err::write(host.join("secret"), b"secret").unwrap();
        fs_err::write(host.join("victim"), b"victim").unwrap();
        Self { folder }
    }

    fn host(&self) -> String {
        self.folder.path().join("host").to_str().unwrap().to_owned()
    }

    fn check_host(&self) {
        let host = self.folder.path().join("host");
        let mut names: Vec<_> = fs_err::read_dir(&host)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["secret", "victim"]);
        for name in ["secret", "victim"] {
            assert_eq!(fs_err::read_to_string(host.join(name)).unwrap(), name);
            let metadata = fs_err::symlink_metadata(host.join(name)).unwrap();
            assert_eq!(
                (metadata.nlink(), metadata.mode() & 0o777),
                (1, 0o644),
                "{name}"
            );
        }
        let beside: Vec<_> = fs_err::read_dir(self.folder.path()).unwrap().collect();
        assert_eq!(beside.len(), 2, "something beside the tree");
    }
}

/// The archive must be refused with a message that contains `problem`, or mean `expected`.
fn check(make: impl Fn(&str) -> Vec<u8>, expected: Result<&str, &str>) {
    let place = Place::new();
    let host = place.host();
    let tar = make(&host);
    let result = unpack_to(place.folder.path(), &tar);
    match (&result, expected) {
        (Ok(unpacked), Ok(expected)) => {
            let expected = expected.replace("HOST", host.trim_start_matches('/'));
            assert_eq!(listing(unpacked.index.entries()), expected);
            let options = tree_options(place.folder.path());
            check_tree(&place.folder.path().join("tree"), &unpacked.index, options);
        }
        (Err(error), Err(problem)) => {
            let text = format!(
                "{error}: {}",
                std::error::Error::source(error)
                    .map(ToString::to_string)
                    .unwrap_or_default()
            );
            assert!(text.contains(problem), "{text}");
            assert!(!text.contains(['\0', '\x1b']));
        }
        _ => panic!("expected {expected:?}, got {result:?}"),
    }
    place.check_host();
    // Without a tree the same comes out.
    let mut input = tar.as_slice();
    let again = unpack(&mut input, Whiteouts::Decode, None);
    assert_eq!(again.is_ok(), result.is_ok());
    if let (Ok(again), Ok(result)) = (again, result) {
        assert_eq!((again.index, again.diff_id), (result.index, result.diff_id));
    }
}

#[test]
fn paths_out_of_the_root() {
    let out = |host: &str| format!("../../../../../../..{host}/pwned");
    check(
        |host| archive(&[file(&out(host), b"x")]),
        Err("out of the root"),
    );
    check(
        |host| archive(&[file(&format!("{host}/pwned"), b"x")]),
        Ok("file HOST/pwned 1\n"),
    );
    check(
        |host| archive(&[dir("a"), file(&format!("a/{}", out(host)), b"x")]),
        Err("out of the root"),
    );
    check(|_| archive(&[file("a/../b", b"x")]), Ok("file b 1\n"));
    check(
        |host| archive(&[pax(&[("path", out(host).as_bytes())]), file("a", b"x")]),
        Err("out of the root"),
    );
    check(
        |host| archive(&[extension(b'L', out(host).as_bytes()), file("a", b"x")]),
        Err("out of the root"),
    );
    check(
        |host| archive(&[symlink("..", host), file("../pwned", b"x")]),
        Err("out of the root"),
    );
}

#[test]
fn files_through_links() {
    check(
        |host| archive(&[symlink("!l", host), file("!l/pwned", b"x")]),
        Ok("link !l -> /HOST\nfile HOST/pwned 1\n"),
    );
    check(
        |_| archive(&[symlink("l", "../../../../d"), dir("d"), file("l/x", b"x")]),
        Ok("dir d\nfile d/x 1\nlink l -> ../../../../d\n"),
    );
    check(
        |_| {
            archive(&[
                dir("d"),
                file("d/old", b""),
                symlink("d", "/e"),
                file("d/f", b"x"),
            ])
        },
        Ok("link d -> /e\nfile e/f 1\n"),
    );
    check(
        |_| archive(&[symlink("a", "b"), symlink("b", "a"), file("a/f", b"x")]),
        Err("too many levels"),
    );
    check(
        |_| archive(&[symlink("a", "f"), file("f", b""), file("a/x", b"")]),
        Err("not a directory"),
    );
    // The link itself: mode and owner of the entry must not reach its target.
    check(
        |host| {
            archive(&[patched(
                symlink("l", &format!("{host}/secret")),
                100,
                b"0000000\0",
            )])
        },
        Ok("link l -> /HOST/secret\n"),
    );
}

#[test]
fn the_root_is_a_directory() {
    for name in [".", "", "./", "/"] {
        check(
            |host| archive(&[symlink(name, host), file("pwned", b"x")]),
            Err("root can only be a directory"),
        );
        check(
            |_| archive(&[dir(name), file("a", b"x")]),
            Ok("dir \nfile a 1\n"),
        );
    }
}

#[test]
fn hard_links() {
    check(
        |host| archive(&[hardlink("l", &format!("../../../../..{host}/secret"))]),
        Err("out of the root"),
    );
    check(
        |host| archive(&[hardlink("l", &format!("{host}/secret"))]),
        Err("does not come before"),
    );
    check(
        |host| archive(&[hardlink("l", &format!("{host}/secret")), file("l", b"x")]),
        Err("does not come before"),
    );
    check(
        |_| archive(&[hardlink("l", "Cargo.toml")]),
        Err("does not come before"),
    );
    check(|_| archive(&[hardlink("l", "l")]), Err("itself"));
    check(
        |_| archive(&[file("l", b"x"), hardlink("l", "l")]),
        Err("itself"),
    );
    check(
        |_| archive(&[hardlink("l", "f"), file("f", b"")]),
        Err("does not come before"),
    );
    check(
        |_| archive(&[dir("d"), hardlink("l", "d")]),
        Err("not a file"),
    );
    check(
        |_| archive(&[dir("d"), hardlink("l", "")]),
        Err("does not come before"),
    );
    check(
        |_| archive(&[file("d/f", b"x"), hardlink("d", "d/f")]),
        Err("which it replaces"),
    );
    check(
        |_| archive(&[symlink("s", "x"), hardlink("l", "s")]),
        Ok("link l -> x\nlink s -> x\n"),
    );
    // A link through a link that leads out.
    check(
        |host| archive(&[symlink("s", host), hardlink("l", "s/secret")]),
        Err("does not come before"),
    );
    // The first name is replaced later: the second keeps the content.
    check(
        |_| archive(&[file("f", b"old"), hardlink("l", "f"), file("f", b"newer")]),
        Ok("file f 5\nfile l 3\n"),
    );
    check(
        |_| archive(&[file("z", b"1"), hardlink("a", "z"), hardlink("m", "a")]),
        Ok("file a 1\nhard m = a\nhard z = a\n"),
    );
}

#[test]
fn the_last_entry_wins() {
    check(
        |_| archive(&[file("f", b"1"), file("f", b"22")]),
        Ok("file f 2\n"),
    );
    check(
        |_| {
            archive(&[
                file("f", b"1"),
                file("f", b"22"),
                dir("f"),
                file("f", b"333"),
            ])
        },
        Ok("file f 3\n"),
    );
    check(
        |_| archive(&[dir("d"), file("d/x", b""), file("d", b"1")]),
        Ok("file d 1\n"),
    );
    check(
        |_| archive(&[file("d/e/x", b""), file("d", b"1")]),
        Ok("file d 1\n"),
    );
    check(
        |_| archive(&[file("d", b"1"), dir("d"), file("d/x", b"")]),
        Ok("dir d\nfile d/x 0\n"),
    );
    check(
        |_| archive(&[dir("d"), file("d/x", b""), dir("d")]),
        Ok("dir d\nfile d/x 0\n"),
    );
    check(
        |_| archive(&[file("f", b""), symlink("f", "x")]),
        Ok("link f -> x\n"),
    );
    check(
        |_| archive(&[symlink("f", "x"), file("f", b"")]),
        Ok("file f 0\n"),
    );
    check(
        |_| archive(&[file("f", b"1"), file("f/x", b"1")]),
        Err("not a directory"),
    );
}

#[test]
fn headers_that_contradict() {
    let hidden = file("hidden", b"x");
    // The first extended header says that the hidden entry is content, the second that it is not.
    check(
        |_| {
            let size = hidden.len().to_string();
            archive(&[
                pax(&[("size", size.as_bytes())]),
                pax(&[("size", b"0")]),
                file("a", b""),
                hidden.clone(),
            ])
        },
        Err("two extended headers"),
    );
    check(
        |_| archive(&[extension(b'L', b"a"), extension(b'L', b"b"), file("c", b"")]),
        Err("two long names"),
    );
    check(
        |_| archive(&[pax(&[("path", b"a")])]),
        Err("after an extended header"),
    );
    // What an extended header says of the size counts.
    check(
        |_| {
            archive(&[
                pax(&[("size", b"1024")]),
                patched(file("a", &[7; 1024]), 124, b"00000000000\0"),
            ])
        },
        Ok("file a 1024\n"),
    );
    // Only files have content.
    check(
        |_| archive(&[patched(dir("d"), 124, b"00000001000\0"), hidden.clone()]),
        Ok("dir d\nfile hidden 1\n"),
    );
    check(
        |_| archive(&[extension(b'g', b"19 path=everything\n"), file("a", b"")]),
        Ok("file a 0\n"),
    );
}

#[test]
fn kinds() {
    check(|_| archive(&[special("p", b'6', "")]), Ok("fifo p\n"));
    for kind in [b'M', b'D', b'N', b'Z', b'9', 0xff] {
        check(
            |_| archive(&[special("u", kind, ""), file("a", b"")]),
            Err("not known"),
        );
    }
    check(
        |_| archive(&[special("label", b'V', ""), file("a", b"")]),
        Ok("file a 0\n"),
    );
    check(
        |_| archive(&[patched(file("d/", b""), 156, b"\0")]),
        Ok("dir d\n"),
    );
    check(
        |_| archive(&[file("d/", b"content")]),
        Err("directory with content"),
    );
    check(|_| archive(&[device("n", b'3', 1, 3)]), Ok("char n 1:3\n"));
    check(|_| archive(&[device("n", b'4', 7, 0)]), Ok("block n 7:0\n"));
    check(|_| archive(&[device("n", b'3', 0, 0)]), Err("0:0"));
    check(
        |_| archive(&[device("n", b'3', 1 << 20, 0)]),
        Err("out of range"),
    );
    check(|_| archive(&[symlink("l", "")]), Err("symbolic link"));
}

#[test]
fn sizes() {
    let sized = |field: &[u8]| archive(&[patched(file("a", b"x"), 124, field)]);
    check(|_| sized(b"12345zz\0\0\0\0\0"), Err("not a number"));
    check(|_| sized(b"-0000000001\0"), Err("not a number"));
    check(
        |_| sized(b"\x80\0\0\0\x40\0\0\0\0\0\0\0"),
        Err("middle of an entry"),
    );
    check(
        |_| sized(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"),
        Err("out of range"),
    );
    check(|_| sized(&[0xff; 12]), Err("out of range"));
    check(
        |_| archive(&[pax(&[("size", b"4611686018427387904")]), file("a", b"x")]),
        Err("middle of an entry"),
    );
    check(
        |_| archive(&[pax(&[("size", b"99999999999999999999")]), file("a", b"x")]),
        Err("number"),
    );
    // Extensions are read into memory, so they have to be small.
    check(
        |_| archive(&[patched(extension(b'x', b""), 124, b"77777777777\0")]),
        Err("too large"),
    );
    check(
        |_| {
            archive(&[patched(
                extension(b'L', b""),
                124,
                b"\x80\0\0\0\x40\0\0\0\0\0\0\0",
            )])
        },
        Err("too large"),
    );
}

#[test]
fn sparse_files() {
    let sparse = |segments: &[(u64, u64)], size: u64, content: &[u8]| {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[0] = b's';
        header.set_entry_type(EntryType::GNUSparse);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.realsize = [0; 12];
        gnu.realsize[0] = 0x80;
        gnu.realsize[4..].copy_from_slice(&size.to_be_bytes());
        for (field, (offset, length)) in gnu.sparse.iter_mut().zip(segments) {
            field.set_offset(*offset);
            field.set_length(*length);
        }
        header.set_cksum();
        padded([header.as_bytes(), content].concat())
    };
    check(
        |_| archive(&[sparse(&[(512, 3)], 9000, b"abc"), file("t", b"")]),
        Ok("file s 9000\nfile t 0\n"),
    );
    check(
        |_| archive(&[sparse(&[(0, 3)], 1 << 46, b"abc")]),
        Err("too large"),
    );
    check(
        |_| archive(&[sparse(&[(0, 9)], 9000, b"abc")]),
        Err("map is broken"),
    );
    check(
        |_| archive(&[sparse(&[(5, 1), (0, 2)], 9000, b"abc")]),
        Err("map is broken"),
    );
    check(
        |_| {
            archive(&[
                pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.realsize", b"70368744177664"),
                ]),
                file("s", b"1\n0\n1\n"),
            ])
        },
        Err("map is broken"),
    );
    let mut content = padded(b"1\n0\n1\n".to_vec());
    content.push(b'x');
    check(
        |_| {
            archive(&[
                pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.realsize", b"70368744177664"),
                ]),
                file("s", &content),
            ])
        },
        Err("too large"),
    );
    check(
        |_| {
            archive(&[
                pax(&[("GNU.sparse.map", b"0,1,5"), ("GNU.sparse.size", b"9")]),
                file("s", b"x"),
            ])
        },
        Err("map is broken"),
    );
    check(
        |_| {
            archive(&[
                pax(&[("GNU.sparse.map", b"4,1"), ("GNU.sparse.size", b"9")]),
                file("s", b"x"),
            ])
        },
        Ok("file s 9\n"),
    );
}

#[test]
fn damage() {
    let good = archive(&[file("a", b"x"), file("b", b"y")]);
    let cut = |length: usize| good[..length].to_vec();
    check(|_| cut(1024 + 100), Err("middle of a header"));
    check(|_| cut(512 + 100), Err("middle of an entry"));
    check(|_| cut(512), Err("middle of an entry"));
    check(|_| cut(1024), Ok("file a 1\n"));
    check(|_| cut(0), Ok(""));
    check(
        |_| {
            let mut bad = good.clone();
            bad[1024 + 3] ^= 1;
            bad
        },
        Err("checksum"),
    );
    check(
        |_| [good.as_slice(), &[0xa5; 1 << 20]].concat(),
        Ok("file a 1\nfile b 1\n"),
    );
    check(
        |_| [file("a", b""), vec![0; 512], file("b", b"")].concat(),
        Err("empty block"),
    );
    check(|_| vec![b'x'; 4096], Err("not a number"));
}

#[test]
fn an_archive_must_end_some_time() {
    let tar = archive(&[file("a", b"")]);
    let mut endless = tar.chain(io::repeat(0));
    let error = unpack(&mut endless, Whiteouts::Decode, None).unwrap_err();
    assert!(error.to_string().contains("after its end"), "{error}");
}

#[test]
fn malformed_extended_headers() {
    for records in [
        &b"99 path=a\n"[..],
        b"8 path=a\n",
        b"11 path=a\n",
        b"7 patha\n",
        b"0 path=a\n",
        b"1000000000000000000000000000000 path=a\n",
        b" path=a\n",
        b"\0",
    ] {
        check(
            |_| archive(&[extension(b'x', records), file("b", b"")]),
            Err("damaged"),
        );
    }
    check(
        |_| archive(&[pax(&[("path", b"a\0/../../b")]), file("b", b"")]),
        Err("NUL"),
    );
    check(
        |_| archive(&[pax(&[("linkpath", b"a\0b")]), symlink("b", "x")]),
        Err("NUL"),
    );
    let many: Vec<(String, Vec<u8>)> = (0..600)
        .map(|n| (format!("SCHILY.xattr.user.{n}"), b"v".to_vec()))
        .collect();
    let many: Vec<(&str, &[u8])> = many
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_slice()))
        .collect();
    check(
        |_| archive(&[pax(&many), file("b", b"")]),
        Err("too many extended attributes"),
    );
    let long = vec![b'v'; 70_000];
    check(
        |_| archive(&[pax(&[("SCHILY.xattr.user.a", &long)]), file("b", b"")]),
        Err("too long"),
    );
}

#[test]
fn owners() {
    let owned = |field: &[u8]| archive(&[patched(file("a", b""), 108, field)]);
    check(|_| owned(b"\x80\0\0\x01\0\0\0\0"), Err("out of range"));
    check(
        |_| owned(b"\x80\0\0\0\xff\xff\xff\xff"),
        Err("out of range"),
    );
    check(|_| owned(&[0xff; 8]), Err("out of range"));
    check(|_| owned(b"\x80\0\0\0\xff\xff\xff\xfe"), Ok("file a 0\n"));
    for key in ["uid", "gid"] {
        for value in [
            &b"4294967296"[..],
            b"4294967295",
            b"-1",
            b"18446744073709551616",
        ] {
            check(
                |_| archive(&[pax(&[(key, value)]), file("a", b"")]),
                Err(""),
            );
        }
    }
}

#[test]
fn names() {
    let named = |name: &[u8]| archive(&[pax(&[("path", name)]), file("x", b"")]);
    let check_ok =
        |name: &[u8], listed: &str| check(|_| named(name), Ok(&format!("file {listed} 0\n")));
    let (n255, n256) = ("n".repeat(255), "n".repeat(256));
    check_ok(n255.as_bytes(), &n255);
    check(|_| named(n256.as_bytes()), Err("more than 255 bytes"));
    check(|_| named("ab/".repeat(2000).as_bytes()), Err("too long"));
    let deep = format!("{}x", "ab/".repeat(1300));
    check_ok(deep.as_bytes(), &deep);
    check_ok(b"\xff\xfe/\xe4\n\x1b[31m", "\\xff\\xfe/\\xe4\\n\\x1b[31m");
    check_ok(b" - -rf 'x' \"y\" ", " - -rf \\'x\\' \\\"y\\\" ");
}

#[test]
fn xattrs_of_overlayfs_are_dropped() {
    let place = Place::new();
    let records: [(&str, &[u8]); 6] = [
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.security.selinux", b"label"),
        ("SCHILY.xattr.user.mine", b"kept"),
    ];
    let tar = archive(&[pax(&records), dir("d")]);
    let unpacked = unpack_to(place.folder.path(), &tar).unwrap();
    let xattrs = &unpacked.index.get(b"d").unwrap().xattrs;
    assert_eq!(xattrs.keys().collect::<Vec<_>>(), [b"user.mine"]);
    assert_eq!(listing(unpacked.index.entries()), "dir d\n");
    let mut names = vec![0; 4096];
    let path = place.folder.path().join("tree/d");
    let length = rustix::fs::llistxattr(&path, &mut names[..]).unwrap();
    let names = String::from_utf8(names[..length].to_vec()).unwrap();
    assert!(!names.contains("overlay"), "{names}");
}

#[test]
fn removed_files() {
    check(|_| archive(&[file("a/.wh.b", b"")]), Ok("gone a/b\n"));
    check(
        |_| archive(&[dir("a"), file("a/.wh..wh..opq", b"")]),
        Ok("opaque a\n"),
    );
    check(
        |_| archive(&[file("a/.wh..wh..opq", b""), dir("a")]),
        Ok("opaque a\n"),
    );
    check(|_| archive(&[file(".wh..wh..opq", b"")]), Ok("opaque \n"));
    // The file of this layer stays, whatever comes first.
    check(
        |_| archive(&[file(".wh.a", b""), file("a", b"x")]),
        Ok("file a 1\n"),
    );
    check(
        |_| archive(&[file("a", b"x"), file(".wh.a", b"")]),
        Ok("file a 1\n"),
    );
    check(
        |_| archive(&[file(".wh.a", b""), dir("a")]),
        Ok("opaque a\n"),
    );
    check(
        |_| archive(&[dir("a"), file("a/x", b""), file(".wh.a", b"")]),
        Ok("opaque a\nfile a/x 0\n"),
    );
    check(
        |_| archive(&[file(".wh.a", b""), file("a/x", b"")]),
        Ok("opaque a\nfile a/x 0\n"),
    );
    check(
        |_| archive(&[file("a/x", b""), file(".wh.a", b"")]),
        Ok("opaque a\nfile a/x 0\n"),
    );
    // Whatever kind the mark has; aufs made hard links.
    check(
        |_| archive(&[hardlink(".wh.a", ".wh..wh.aufs")]),
        Ok("gone a\n"),
    );
    check(
        |_| {
            archive(&[
                dir(".wh..wh.plnk"),
                file(".wh..wh.plnk/1.2", b"x"),
                file(".wh..wh.aufs", b""),
            ])
        },
        Ok(""),
    );
    check(|_| archive(&[file(".wh.", b"")]), Err("not the mark"));
    check(|_| archive(&[file(".wh..", b"")]), Err("not the mark"));
    check(|_| archive(&[file("a/.wh...", b"")]), Err("not the mark"));
    check(|_| archive(&[file(".wh.a/b", b"")]), Err("not the mark"));
    check(
        |_| archive(&[file(".wh.a/.wh..wh..opq", b"")]),
        Err("not the mark"),
    );
}

#[test]
fn removed_files_stay_inside() {
    check(
        |host| archive(&[file(&format!("../../../../..{host}/.wh.victim"), b"")]),
        Err("out of the root"),
    );
    check(
        |host| archive(&[file(&format!("{host}/.wh.victim"), b"")]),
        Ok("gone HOST/victim\n"),
    );
    check(
        |host| archive(&[symlink("!l", host), file("!l/.wh.victim", b"")]),
        Ok("link !l -> /HOST\ngone HOST/victim\n"),
    );
    check(
        |host| archive(&[symlink("!l", host), file("!l/.wh..wh..opq", b"")]),
        Ok("link !l -> /HOST\nopaque HOST\n"),
    );
}

#[test]
fn names_of_removed_files_are_refused_elsewhere() {
    let refused = |tar: Vec<u8>| {
        let mut reader = TarReader::new(tar.as_slice(), Whiteouts::Refuse);
        loop {
            match reader.next_item() {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(error) => return error.to_string().contains("removed files"),
            }
        }
    };
    assert!(refused(archive(&[file("a/.wh.b", b"")])));
    assert!(refused(archive(&[file("a/.wh..wh..opq", b"")])));
    assert!(refused(archive(&[file(".wh.b/c", b"")])));
    assert!(!refused(archive(&[file("a/.whb", b"")])));
}

#[test]
fn a_reader_gives_content_and_skips_what_is_not_read() {
    let tar = archive(&[file("a", &[1; 3000]), file("b", b"bbb"), dir("c")]);
    let mut reader = TarReader::new(tar.as_slice(), Whiteouts::Refuse);
    reader.next_item().unwrap().unwrap();
    let mut some = [0; 10];
    reader.read_exact(&mut some).unwrap();
    reader.next_item().unwrap().unwrap();
    let mut content = Vec::new();
    reader.read_to_end(&mut content).unwrap();
    assert_eq!(content, b"bbb");
    reader.next_item().unwrap().unwrap();
    assert_eq!(reader.read(&mut some).unwrap(), 0);
    assert_eq!(reader.next_item().unwrap(), None);
    assert_eq!(reader.next_item().unwrap(), None);
}

#[test]
fn the_tree_is_private_until_it_is_done() {
    // A directory whose mode shuts its owner out, with something in it.
    let closed = patched(dir("d"), 100, b"0000000\0");
    let place = Place::new();
    let tar = archive(&[closed, file("d/f", b"x"), symlink("d/l", "f")]);
    let unpacked = unpack_to(place.folder.path(), &tar).unwrap();
    assert_eq!(
        listing(unpacked.index.entries()),
        "dir d\nfile d/f 1\nlink d/l -> f\n"
    );
    let path: &Path = &place.folder.path().join("tree/d");
    assert_eq!(fs_err::symlink_metadata(path).unwrap().mode() & 0o7777, 0);
    // So that an ordinary user can remove it.
    rustix::fs::chmod(path, rustix::fs::Mode::RWXU).unwrap();
}
