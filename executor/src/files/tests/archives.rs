//! `ADD` of archives.

use std::io::Write as _;

use super::*;

/// An archive in the making.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    /// Adds an entry without any check of its name.
    fn entry(mut self, kind: u8, name: &str, link: &str, content: &str) -> Self {
        let mut header = tar::Header::new_ustar();
        let bytes = header.as_old_mut();
        bytes.name[..name.len()].copy_from_slice(name.as_bytes());
        bytes.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(if kind == b'5' { 0o751 } else { 0o640 });
        header.set_uid(3);
        header.set_gid(4);
        header.set_mtime(1000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content.as_bytes());
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.entry(b'0', name, "", content)
    }

    fn dir(self, name: &str) -> Self {
        self.entry(b'5', name, "", "")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name, target, "")
    }

    fn hardlink(self, name: &str, target: &str) -> Self {
        self.entry(b'1', name, target, "")
    }

    fn bytes(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

fn world(archive: &[u8]) -> World {
    let world = World::new(&[]);
    fs_err::write(world.path("t"), archive).unwrap();
    set_mode(&world.path("t"), 0o644);
    world
}

#[track_caller]
fn check(archive: Archive, parent: &[&str], dest: &str, expected: &[&str]) {
    world(&archive.bytes())
        .with_parent(parent)
        .check(&add(&format!("t {dest}")), expected);
}

#[track_caller]
fn check_refused(archive: Archive, parent: &[&str], part: &str) {
    let error = world(&archive.bytes())
        .with_parent(parent)
        .run(&add("t /n/"))
        .err()
        .expect("it went well");
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    assert!(text.contains(part), "{text}");
}

#[test]
fn archives_are_told_by_content_in_all_compressions() {
    let plain = Archive::default().dir("d").file("d/f", "F").bytes();
    let gzip = {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(&plain).unwrap();
        out.finish().unwrap()
    };
    let bzip2 = {
        let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        out.write_all(&plain).unwrap();
        out.finish().unwrap()
    };
    let xz = {
        let mut out = liblzma::write::XzEncoder::new(Vec::new(), 0);
        out.write_all(&plain).unwrap();
        out.finish().unwrap()
    };
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    let expected = ["d755 n", "d751@3:4 n/d", "f640@3:4 n/d/f=F"];
    for archive in [&plain, &gzip, &bzip2, &xz, &zstd] {
        world(archive).check(&add("t /n"), &expected);
        world(archive).check(&add("[t] /n/"), &expected);
        let layer = world(archive).run(&copy("t /n")).unwrap();
        assert_eq!(layer.bytes[&b"n"[..]], **archive);
    }
    for other in [&b""[..], b"text", &[0; 2048], &gzip[..40]] {
        let layer = world(other).run(&add("t /n")).unwrap();
        assert_eq!(layer.bytes[&b"n"[..]], other);
    }
    let compressed_text = zstd::encode_all(&b"text"[..], 1).unwrap();
    let layer = world(&compressed_text).run(&add("t /n")).unwrap();
    assert_eq!(layer.bytes[&b"n"[..]], compressed_text);
}

#[test]
fn damage_behind_the_first_entry_is_an_error() {
    let plain = Archive::default().file("a", "A").file("b", "B").bytes();
    let mut gzip = {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(&plain).unwrap();
        out.finish().unwrap()
    };
    for cut in [1100, 1500, 1600] {
        assert!(
            world(&plain[..cut]).run(&add("t /n")).is_err(),
            "cut at {cut}"
        );
    }
    let crc = gzip.len() - 6;
    gzip[crc] ^= 1;
    assert!(world(&gzip).run(&add("t /n")).is_err());
    let mut sum = plain.clone();
    sum[1024 + 150] ^= 1;
    assert!(world(&sum).run(&add("t /n")).is_err());
}

#[test]
fn entries_merge_with_what_is_there() {
    let parent = [
        "d700 n",
        "d700 n/d",
        "f600 n/d/old=x",
        "f600 n/f=old",
        "d711 n/was",
        "f600 n/was/x=x",
    ];
    let archive = Archive::default()
        .dir("d")
        .file("d/new", "N")
        .file("f", "F")
        .file("was", "file")
        .file("made/on/the/way", "W");
    check(
        archive,
        &parent,
        "/n",
        &[
            "d700 n",
            "d751@3:4 n/d",
            "f640@3:4 n/d/new=N",
            "f640@3:4 n/f=F",
            "d755 n/made",
            "d755 n/made/on",
            "d755 n/made/on/the",
            "f640@3:4 n/made/on/the/way=W",
            "f640@3:4 n/was=file",
        ],
    );
    // A directory that comes back does not show what the first one held.
    let archive = Archive::default()
        .file("was", "x")
        .dir("was")
        .file("was/y", "Y");
    check(
        archive,
        &parent,
        "/n",
        &["d700 n", "o751@3:4 n/was", "f640@3:4 n/was/y=Y"],
    );
    // The last of several entries of a name counts.
    let archive = Archive::default()
        .file("a", "1")
        .file("a", "2")
        .dir("b")
        .file("b/c", "C")
        .file("b", "3");
    check(
        archive,
        &[],
        "/n",
        &["d755 n", "f640@3:4 n/a=2", "f640@3:4 n/b=3"],
    );
    check(
        Archive::default().dir(".").file("./a", "A"),
        &["d711 n"],
        "/n",
        &["d711 n", "f640@3:4 n/a=A"],
    );
    let text = r#"mkdir "/n": not a directory"#;
    let archive = Archive::default().file("a", "A").bytes();
    world(&archive)
        .with_parent(&["f600 n=x"])
        .check_error(&add("t /n"), text);
    check_refused(
        Archive::default().file("f", "F").file("f/below", "B"),
        &[],
        "not a directory",
    );
}

#[test]
fn links_of_the_image_are_followed_inside_the_destination() {
    let parent = [
        "d755 usr",
        "d755 usr/bin",
        "l bin->usr/bin",
        "l abs->/usr",
        "l up->../../usr",
    ];
    let archive = Archive::default()
        .file("bin/a", "A")
        .file("abs/b", "B")
        .file("up/bin/c", "C");
    check(
        archive,
        &parent,
        "/",
        &[
            "d755 usr",
            "f640@3:4 usr/b=B",
            "d755 usr/bin",
            "f640@3:4 usr/bin/a=A",
            "f640@3:4 usr/bin/c=C",
        ],
    );
    check(
        Archive::default().file("a", "A"),
        &parent,
        "/bin",
        &["d755 usr", "d755 usr/bin", "f640@3:4 usr/bin/a=A"],
    );
}

#[test]
fn a_file_without_a_name_is_left_out() {
    for name in ["", ".", "./"] {
        let archive = Archive::default().file(name, "").file("f", "F");
        check(archive, &["d700 n"], "/n", &["d700 n", "f640@3:4 n/f=F"]);
    }
}

#[test]
fn links_of_the_archive_do_not_lead_out() {
    let archive = Archive::default().link("d", "/etc").file("d/f", "F");
    check(
        archive,
        &["d755 n", "d700 etc"],
        "/n",
        &[
            "d755 n",
            "l@3:4 n/d->/etc",
            "d755 n/etc",
            "f640@3:4 n/etc/f=F",
        ],
    );
    let archive = Archive::default()
        .dir("d")
        .link("d", "../../..")
        .file("d/f", "F");
    check(
        archive,
        &[],
        "/n",
        &["d755 n", "l@3:4 n/d->../../..", "f640@3:4 n/f=F"],
    );
    check_refused(
        Archive::default().file("../../etc/f", "F"),
        &[],
        "out of the root",
    );
    check_refused(
        Archive::default().file("a/../../../f", "F"),
        &[],
        "out of the root",
    );
    check(
        Archive::default().file("/etc/f", "F"),
        &[],
        "/n",
        &["d755 n", "d755 n/etc", "f640@3:4 n/etc/f=F"],
    );
    check_refused(Archive::default().link(".", "/etc").file("f", "F"), &[], "");
    check_refused(
        Archive::default().link("..", "/etc").file("f", "F"),
        &[],
        "",
    );
    let looped = Archive::default()
        .link("a", "b")
        .link("b", "a")
        .file("a/x", "X");
    check_refused(looped, &[], "too many levels");
    check_refused(
        Archive::default().file("f", "F").file(".wh.etc", ""),
        &[],
        ".wh.",
    );
}

#[test]
fn hard_links_of_archives() {
    let archive = Archive::default()
        .file("b", "B")
        .hardlink("a", "b")
        .hardlink("./d/c", "/b");
    check(
        archive,
        &[],
        "/n",
        &[
            "d755 n",
            "f640@3:4 n/a=B",
            "h n/b=>n/a",
            "d755 n/d",
            "h n/d/c=>n/a",
        ],
    );
    // To a file of the parent: a copy.
    let archive = Archive::default().hardlink("a", "old").file("x", "X");
    check(
        archive,
        &["d755 n", "f600@9:9 n/old=OLD"],
        "/n",
        &["d755 n", "f600@9:9 n/a=OLD", "f640@3:4 n/x=X"],
    );
    // A link that is overwritten leaves the other name alone.
    let archive = Archive::default()
        .file("a", "A")
        .hardlink("b", "a")
        .file("a", "new");
    check(
        archive,
        &[],
        "/n",
        &["d755 n", "f640@3:4 n/a=new", "f640@3:4 n/b=A"],
    );
    for target in ["../../etc/shadow", "missing", "a", "d"] {
        check_refused(
            Archive::default()
                .dir("d")
                .file("f", "F")
                .hardlink("a", target),
            &[],
            "",
        );
    }
}

#[test]
fn owners_modes_and_times() {
    let archive = Archive::default()
        .dir("d")
        .file("d/f", "F")
        .link("l", "d")
        .bytes();
    let mut world = world(&archive);
    let mut step = add("t /n");
    step.chown = Some("8:9".into());
    step.chmod = Some(rbuild_planner::Chmod::Octal(0o777));
    world.check(
        &step,
        &[
            "d755@8:9 n",
            "d751@8:9 n/d",
            "f640@8:9 n/d/f=F",
            "l@8:9 n/l->d",
        ],
    );
    assert_eq!(world.run(&step).unwrap().get("n/d/f").mtime.seconds, 1000);
    world.epoch = Some(10);
    assert_eq!(world.run(&step).unwrap().get("n/d/f").mtime.seconds, 10);
    world.epoch = Some(2000);
    assert_eq!(world.run(&step).unwrap().get("n/d/f").mtime.seconds, 1000);
    assert_eq!(world.run(&step).unwrap().get("n").mtime.seconds, 2000);
}

#[test]
fn an_archive_that_changes_before_it_is_unpacked_is_noticed() {
    let world = world(&Archive::default().file("a", "A").bytes());
    let other = Archive::default().file("a", "B").bytes();
    let result = world.run_with(&add("t /n"), &|| {
        fs_err::write(world.path("t"), &other).unwrap();
    });
    assert!(matches!(result.err(), Some(FilesError::Changed { .. })));
}

#[test]
fn archives_of_stages_are_not_unpacked() {
    let world = World::new(&[]).with_stage(&["f644 t=not an archive"]);
    let mut step = copy_from("t /n");
    step.unpack = Unpack::Always;
    world.check(&step, &["f644 n=not an archive"]);
}
