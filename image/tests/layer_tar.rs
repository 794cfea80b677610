//! Layers to tar and back, and what other programs make of our archives and we of theirs.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod layer_support;

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use layer_support::{
    dir, entry, file, hardlink, layers, listing, opaque, symlink, whiteout, write_tar,
};
use proptest::prelude::*;
use rbuild_image::digest::Digest;
use rbuild_image::error::ImageError;
use rbuild_image::layer::entry::{Entry, EntryKind};
use rbuild_image::layer::path::{join, split_last};
use rbuild_image::layer::{LayerIndex, Packed, TarWriter, Unpacked, Whiteouts, pack, unpack};

fn read(tar: &[u8]) -> Result<Unpacked, ImageError> {
    let mut input = tar;
    unpack(&mut input, Whiteouts::Decode, None)
}

/// Packs entries that are in order.
fn packed(
    entries: &[Entry],
    content: &BTreeMap<Vec<u8>, Vec<u8>>,
    blob: Option<&mut (dyn io::Write + Send)>,
) -> Packed {
    let empty = Vec::new();
    pack::<ImageError>(blob, |packer| {
        for entry in entries {
            let mut bytes = content.get(&entry.path).unwrap_or(&empty).as_slice();
            packer.add(entry.clone(), Some(&mut bytes))?;
        }
        Ok(())
    })
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn write_then_read_is_the_identity((index, content) in layers()) {
        let tar = write_tar(&index.entries().to_vec(), &content);
        prop_assert_eq!(tar.len() % 512, 0);
        let unpacked = read(&tar).unwrap();
        prop_assert_eq!(listing(unpacked.index.entries()), listing(index.entries()));
        prop_assert_eq!(&unpacked.index, &index);
        prop_assert_eq!(unpacked.diff_id.0, Digest::of(&tar));
        prop_assert_eq!(unpacked.size, tar.len() as u64);
        let mut blob = Vec::new();
        let packed = packed(&index.entries().to_vec(), &content, Some(&mut blob));
        prop_assert_eq!(&packed.index, &index);
        prop_assert_eq!(packed.diff_id.0, Digest::of(&tar));
        prop_assert_eq!(packed.blob, Some((Digest::of(&tar), tar.len() as u64)));
        prop_assert!(blob == tar);
    }

    #[test]
    fn reading_damaged_archives_never_panics(
        (index, content) in layers(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let mut tar = write_tar(&index.entries().to_vec(), &content);
        for (at, byte) in damage {
            let at = at.index(tar.len());
            tar[at] = byte;
        }
        drop(read(&tar));
    }
}

#[test]
fn the_bytes_are_fixed() {
    let mut late = file("bin/sh", b"#!");
    late.mode = 0o4755;
    late.uid = 3_000_000;
    late.mtime.seconds = -5;
    late.mtime.nanoseconds = 999;
    late.xattrs.insert(b"user.a=b".to_vec(), b"c".to_vec());
    let entries = [
        dir("bin"),
        late,
        opaque("etc"),
        whiteout("etc/motd"),
        file("gr\u{fc}n", b""),
    ];
    let content = BTreeMap::from([(b"bin/sh".to_vec(), b"#!".to_vec())]);
    let tar = write_tar(&entries, &content);
    let text = |at: usize, length: usize| {
        let field = &tar[at..at + length];
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(length);
        field[..end].escape_ascii().to_string()
    };
    let names: Vec<String> = (0..tar.len() / 512)
        .filter(|block| &tar[block * 512 + 257..block * 512 + 263] == b"ustar\0")
        .map(|block| format!("{}{}", text(block * 512 + 156, 1), text(block * 512, 100)))
        .collect();
    assert_eq!(
        names,
        [
            "5bin/",
            "xPaxHeaders.0/sh",
            "0bin/sh",
            "5etc/",
            "0etc/.wh..wh..opq",
            "0etc/.wh.motd",
            "xPaxHeaders.0/gr__n",
            "0gr__n",
        ]
    );
    assert_eq!(
        text(1024, 512),
        "15 uid=3000000\\n12 mtime=-5\\n29 SCHILY.xattr.user.a%3Db=c\\n"
    );
    // Header of bin/sh: mode, uid, gid, size, mtime; no names of users.
    assert_eq!(text(1536 + 100, 8), "0004755");
    assert_eq!(text(1536 + 108, 8), "0000000");
    assert_eq!(text(1536 + 124, 12), "00000000002");
    assert_eq!(text(1536 + 136, 12), "00000000000");
    assert_eq!(text(1536 + 265, 64), "");
    assert_eq!(
        Digest::of(&tar).to_string(),
        "sha256:df2d8a8246220ee827d3a1b416bdc9eb9f7b41d93639544d368ad43bafcaa6fb",
        "a change of these bytes is a change of every diff ID"
    );
}

#[test]
fn names_that_just_fit_and_just_do_not() {
    let long =
        |directory: usize, name: usize| format!("{}/{}", "d".repeat(directory), "n".repeat(name));
    let check = |path: String, n_headers: usize| {
        let tar = write_tar(&[entry(&path, EntryKind::Fifo)], &BTreeMap::new());
        assert_eq!(tar.len(), (n_headers + 2) * 512, "{path}");
        let index = read(&tar).unwrap().index;
        assert_eq!(index.entries().to_vec()[0].path, path.as_bytes());
    };
    check("n".repeat(100), 1);
    check("n".repeat(101), 3);
    check("n".repeat(255), 3);
    check(long(155, 100), 1);
    check(long(156, 100), 3);
    check(long(155, 101), 3);
    check(long(1, 100), 1);
    let directory = dir(&long(120, 100));
    let tar = write_tar(std::slice::from_ref(&directory), &BTreeMap::new());
    assert_eq!(read(&tar).unwrap().index.entries().to_vec(), [directory]);
}

#[test]
fn the_size_of_a_file_must_be_right() {
    let sized = |size| {
        let mut file = file("a", b"");
        file.kind = EntryKind::File {
            size,
            digest: rbuild_image::layer::entry::ContentDigest([0; 32]),
        };
        file
    };
    let mut writer = TarWriter::new(Vec::new());
    writer.entry(&sized(3)).unwrap();
    writer.data(b"ab").unwrap();
    writer.data(b"cd").unwrap_err();
    assert!(writer.entry(&dir("b")).is_err());
    writer.finish().unwrap_err();
    for content in [&b"ab"[..], b"abcd", b""] {
        let result = pack::<ImageError>(None, |packer| {
            packer.add(sized(3), Some(&mut &*content)).map(drop)
        });
        let error = result.unwrap_err();
        assert!(
            matches!(
                error,
                ImageError::ContentSize {
                    expected_bytes: 3,
                    ..
                }
            ),
            "{error}"
        );
    }
    let result = pack::<ImageError>(None, |packer| packer.add(sized(3), None).map(drop));
    result.unwrap_err();
}

#[test]
fn a_packer_wants_order() {
    let check = |entries: &[Entry]| {
        let result = pack::<ImageError>(None, |packer| {
            entries
                .iter()
                .try_for_each(|entry| packer.add(entry.clone(), None).map(drop))
        });
        result.unwrap_err();
    };
    check(&[dir("b"), dir("a")]);
    check(&[dir("a"), dir("a")]);
    check(&[hardlink("a", "b"), file("b", b"")]);
    check(&[file("a", b""), dir("a/b")]);
}

#[test]
fn packing_large_files_reports_what_it_read() {
    let content: Vec<u8> = (0..5_000_000_u32)
        .flat_map(|n| (n / 7).to_le_bytes())
        .collect();
    let mut digest = None;
    let packed = pack::<ImageError>(None, |packer| {
        digest = packer.add(file("a", &content), Some(&mut Drip(&content)))?;
        Ok(())
    })
    .unwrap();
    assert_eq!(digest.unwrap().0, *blake3::hash(&content).as_bytes());
    assert_eq!(packed.blob, None);
    let content = BTreeMap::from([(b"a".to_vec(), content)]);
    let tar = write_tar(&packed.index.entries().to_vec(), &content);
    assert_eq!(packed.diff_id.0, Digest::of(&tar));
    assert_eq!(packed.size, tar.len() as u64);
}

/// Gives a prime number of bytes at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = buffer.len().min(65_521);
        self.0.read(&mut buffer[..n_bytes])
    }
}

#[test]
fn an_error_while_packing_ends_it() {
    struct Broken;
    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("disk full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let content = vec![1; 9_000_000];
    let result = pack::<ImageError>(Some(&mut Broken), |packer| {
        packer
            .add(file("a", &content), Some(&mut &content[..]))
            .map(drop)
    });
    assert!(matches!(result.unwrap_err(), ImageError::Io { .. }));
}

/// Runs a program with `input`; returns what it printed, or `None` if there is no such program.
fn run(command: &mut Command, input: &[u8]) -> Option<Vec<u8>> {
    let command = command.env("LC_ALL", "C").env("TZ", "UTC");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        other => other.unwrap(),
    };
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {output:?}");
    Some(output.stdout)
}

#[test]
fn gnu_tar_lists_ours() {
    let mut sh = file("bin/sh", b"#!/x");
    sh.uid = 1000;
    sh.gid = 4_000_000_000;
    sh.mtime.seconds = 1_700_000_000;
    let entries = [
        dir("bin"),
        sh,
        hardlink("bin/zsh", "bin/sh"),
        entry("dev-null", EntryKind::CharDevice { major: 1, minor: 3 }),
        entry("pipe", EntryKind::Fifo),
        file(&"long/".repeat(60), b"").rename("x"),
        symlink("sym", "/bin/sh"),
        whiteout("was"),
    ];
    let content = BTreeMap::from([(b"bin/sh".to_vec(), b"#!/x".to_vec())]);
    let tar = write_tar(&entries, &content);
    let Some(listed) = run(Command::new("tar").args(["-tvf", "-", "--full-time"]), &tar) else {
        return;
    };
    let words = |line: &str| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let listed: Vec<String> = String::from_utf8(listed)
        .unwrap()
        .lines()
        .map(words)
        .collect();
    let long = format!("{}x", "long/".repeat(60));
    assert_eq!(
        listed,
        [
            "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 bin/",
            "-rw-r--r-- 1000/4000000000 4 2023-11-14 22:13:20 bin/sh",
            "hrw-r--r-- 0/0 0 1970-01-01 00:00:00 bin/zsh link to bin/sh",
            "crw-r--r-- 0/0 1,3 1970-01-01 00:00:00 dev-null",
            "prw-r--r-- 0/0 0 1970-01-01 00:00:00 pipe",
            &format!("-rw-r--r-- 0/0 0 1970-01-01 00:00:00 {long}"),
            "lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 sym -> /bin/sh",
            "---------- 0/0 0 1970-01-01 00:00:00 .wh.was",
        ]
    );
}

trait Rename {
    fn rename(self, name: &str) -> Self;
}

impl Rename for Entry {
    /// Appends to a path that ends with a slash.
    fn rename(mut self, name: &str) -> Self {
        self.path.extend_from_slice(name.as_bytes());
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    /// Python's tarfile is a second reader of what we write.
    #[test]
    fn python_reads_ours((index, content) in layers()) {
        let script = "
import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode='r|', encoding='utf-8') as tar:
    for m in tar:
        data = tar.extractfile(m).read() if m.isreg() else b''
        name = m.name.encode('utf-8', 'surrogateescape')
        link = m.linkname.encode('utf-8', 'surrogateescape')
        print(name.hex(), m.type.decode(), oct(m.mode), m.uid, m.gid, m.pax_headers.get('mtime') or int(m.mtime), link.hex(), m.devmajor, m.devminor, data.hex())
";
        let tar = write_tar(&index.entries().to_vec(), &content);
        if let Some(output) = run(Command::new("python3").args(["-c", script]), &tar) {
            let expected = python_lines(&index, &content);
            let output = String::from_utf8(output).unwrap();
            prop_assert_eq!(output.lines().collect::<Vec<_>>(), expected);
        }
    }
}

/// What the script prints of an archive of these entries.
fn python_lines(index: &LayerIndex, content: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<String> {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let mut lines = Vec::new();
    for entry in index.entries() {
        let (parent, name) = split_last(&entry.path).unwrap_or((b"", b"."));
        let mut path = entry.path.clone();
        if path.is_empty() {
            path = b".".to_vec();
        }
        let (mut kind, mut link, mut device) = ('0', &b""[..], (0, 0));
        match &entry.kind {
            EntryKind::File { .. } => {}
            EntryKind::Directory { .. } => kind = '5',
            EntryKind::Hardlink { target } => (kind, link) = ('1', target),
            EntryKind::Symlink { target } => (kind, link) = ('2', target),
            EntryKind::CharDevice { major, minor } => (kind, device) = ('3', (*major, *minor)),
            EntryKind::BlockDevice { major, minor } => (kind, device) = ('4', (*major, *minor)),
            EntryKind::Fifo => kind = '6',
            EntryKind::Whiteout => path = join(parent, &[b".wh.", name].concat()),
        }
        let data = match entry.kind {
            EntryKind::File { .. } => content.get(&entry.path).map(|bytes| hex(bytes)),
            _ => None,
        };
        lines.push(format!(
            "{} {kind} 0o{:o} {} {} {} {} {} {} {}",
            hex(&path),
            entry.mode,
            entry.uid,
            entry.gid,
            entry.mtime.seconds,
            hex(link),
            device.0,
            device.1,
            data.unwrap_or_default()
        ));
        if entry.kind == (EntryKind::Directory { opaque: true }) {
            let mark = join(&entry.path, b".wh..wh..opq");
            lines.push(format!("{} 0 0o0 0 0 0  0 0 ", hex(&mark)));
        }
    }
    lines
}

/// A folder with one of everything that an ordinary user can make.
fn make_tree(root: &Path) {
    fs_err::create_dir_all(root.join("sub/deeper")).unwrap();
    fs_err::write(root.join("sub/file"), b"content").unwrap();
    fs_err::write(root.join("n".repeat(200)), b"long").unwrap();
    fs_err::write(root.join("gr\u{fc}n"), b"green").unwrap();
    fs_err::hard_link(root.join("sub/file"), root.join("sub/again")).unwrap();
    fs_err::os::unix::fs::symlink("../".repeat(60), root.join("sub/link")).unwrap();
    let sparse = fs_err::File::create(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(sparse.file(), b"end", 1 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(sparse.file(), b"middle", 1 << 19).unwrap();
    sparse.set_len((1 << 20) + 8192).unwrap();
}

fn check_tree(index: &LayerIndex) {
    let long = "n".repeat(200);
    let up = "../".repeat(60);
    let digest_of = |path: &[u8]| match &index.file_of(&index.get(path).unwrap()).kind {
        EntryKind::File { digest, .. } => digest.0,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        listing(index.entries()),
        format!(
            "dir \nfile gr\\xc3\\xbcn 5\nfile {long} 4\nfile sparse {}\ndir sub\nfile sub/again 7\n\
             dir sub/deeper\nhard sub/file = sub/again\nlink sub/link -> {up}\n",
            (1 << 20) + 8192
        )
    );
    assert_eq!(digest_of(b"sub/file"), *blake3::hash(b"content").as_bytes());
    let mut sparse = vec![0; (1 << 20) + 8192];
    sparse[1 << 19..][..6].copy_from_slice(b"middle");
    sparse[1 << 20..][..3].copy_from_slice(b"end");
    assert_eq!(digest_of(b"sparse"), *blake3::hash(&sparse).as_bytes());
}

#[test]
fn gnu_tar_archives_are_read() {
    let folder = tempfile::tempdir().unwrap();
    make_tree(folder.path());
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "--sparse"],
        &["--format=pax"],
        &["--format=pax", "--sparse"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--xattrs", "--acls", "--selinux"],
    ] {
        let mut command = Command::new("tar");
        command
            .args(options)
            .args(["--sort=name", "-cf", "-", "-C"]);
        let Some(tar) = run(command.arg(folder.path()).arg("."), b"") else {
            return;
        };
        let unpacked = read(&tar).unwrap();
        check_tree(&unpacked.index);
        assert_eq!(unpacked.diff_id.0, Digest::of(&tar), "{options:?}");
    }
}

#[test]
fn python_archives_are_read() {
    let folder = tempfile::tempdir().unwrap();
    make_tree(folder.path());
    for format in ["GNU", "PAX"] {
        let script = format!(
            "import sys, tarfile
t = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.{format}_FORMAT)
t.add(sys.argv[1], arcname='.')
t.close()"
        );
        let mut command = Command::new("python3");
        let Some(tar) = run(command.args(["-c", &script]).arg(folder.path()), b"") else {
            return;
        };
        check_tree(&read(&tar).unwrap().index);
    }
}

#[test]
fn old_archives_are_read() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::create_dir(folder.path().join("a")).unwrap();
    fs_err::write(folder.path().join("a/b"), b"x").unwrap();
    for format in ["v7", "oldgnu", "ustar", "posix"] {
        let mut command = Command::new("tar");
        command
            .arg(format!("--format={format}"))
            .args(["-cf", "-", "-C"]);
        let Some(tar) = run(command.arg(folder.path()).arg("a"), b"") else {
            return;
        };
        assert_eq!(
            listing(read(&tar).unwrap().index.entries()),
            "dir a\nfile a/b 1\n",
            "{format}"
        );
    }
}

/// Some programs forget the padding of the last file, and the end.
#[test]
fn what_follows_the_last_file_may_be_missing() {
    let content = BTreeMap::from([(b"f".to_vec(), vec![7; 700])]);
    let whole = write_tar(&[file("f", &[7; 700])], &content);
    let end = 512 + 700;
    let read_cut = |at: usize| read(&whole[..at]).map(|unpacked| unpacked.index.entries().len());
    for at in [end, 512 + 1024, 512 + 1536] {
        assert_eq!(read_cut(at).unwrap(), 1, "{at}");
    }
    for at in [end - 1, end + 1, 512 + 1023, 512] {
        read_cut(at).unwrap_err();
    }
}
