//! What the layer tests share: making entries, random layers, and tar archives byte by byte.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file uses another part of it"
)]

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use rbuild_image::error::ImageError;
use rbuild_image::layer::entry::{ContentDigest, Entry, EntryKind, Mtime};
use rbuild_image::layer::{
    LayerIndex, OpaqueMark, Ownership, TarWriter, TreeOptions, Unpacked, Whiteouts, unpack,
};

pub(crate) fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        mode: match kind {
            EntryKind::Directory { .. } => 0o755,
            EntryKind::Symlink { .. } => 0o777,
            EntryKind::Whiteout => 0,
            _ => 0o644,
        },
        kind,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: BTreeMap::new(),
    }
}

pub(crate) fn file(path: &str, content: &[u8]) -> Entry {
    let kind = EntryKind::File {
        size: content.len() as u64,
        digest: ContentDigest(*blake3::hash(content).as_bytes()),
    };
    entry(path, kind)
}

pub(crate) fn dir(path: &str) -> Entry {
    entry(path, EntryKind::Directory { opaque: false })
}

pub(crate) fn opaque(path: &str) -> Entry {
    entry(path, EntryKind::Directory { opaque: true })
}

pub(crate) fn symlink(path: &str, target: &str) -> Entry {
    let target = target.as_bytes().to_vec();
    entry(path, EntryKind::Symlink { target })
}

pub(crate) fn hardlink(path: &str, target: &str) -> Entry {
    let target = target.as_bytes().to_vec();
    entry(path, EntryKind::Hardlink { target })
}

pub(crate) fn whiteout(path: &str) -> Entry {
    entry(path, EntryKind::Whiteout)
}

pub(crate) fn index(entries: Vec<Entry>) -> LayerIndex {
    LayerIndex::from_entries(entries).unwrap()
}

/// Shows entries one a line: kind, path, and what matters of the rest.
pub(crate) fn listing(entries: impl IntoIterator<Item = impl Borrow<Entry>>) -> String {
    let mut lines = String::new();
    for entry in entries {
        let entry = entry.borrow();
        let path = entry.path.escape_ascii();
        let line = match &entry.kind {
            EntryKind::File { size, .. } => format!("file {path} {size}"),
            EntryKind::Directory { opaque: true } => format!("opaque {path}"),
            EntryKind::Directory { opaque: false } => format!("dir {path}"),
            EntryKind::Symlink { target } => format!("link {path} -> {}", target.escape_ascii()),
            EntryKind::Hardlink { target } => format!("hard {path} = {}", target.escape_ascii()),
            EntryKind::Fifo => format!("fifo {path}"),
            EntryKind::CharDevice { major, minor } => format!("char {path} {major}:{minor}"),
            EntryKind::BlockDevice { major, minor } => format!("block {path} {major}:{minor}"),
            EntryKind::Whiteout => format!("gone {path}"),
        };
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

/// The tar stream of entries; `content` has the bytes of files by path.
pub(crate) fn write_tar(entries: &[Entry], content: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for entry in entries {
        writer.entry(entry).unwrap();
        if let EntryKind::File { size, .. } = entry.kind {
            let empty = Vec::new();
            let bytes = content.get(&entry.path).unwrap_or(&empty);
            assert_eq!(bytes.len() as u64, size, "content of {:?}", entry.path);
            writer.data(bytes).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let odd = vec(
        any::<u8>().prop_filter("in a name", |byte| !matches!(byte, 0 | b'/')),
        1..12,
    );
    prop_oneof![
        6 => "[a-c]{1,2}".prop_map(String::into_bytes),
        1 => "[a-z]{90,120}".prop_map(String::into_bytes),
        1 => "[\u{e4}\u{f6}\u{fc}]{1,3}".prop_map(String::into_bytes),
        1 => odd,
    ]
    .prop_filter("a name", |name| {
        !matches!(name.as_slice(), b"." | b"..") && !name.starts_with(b".wh.")
    })
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..100_u32, 1 => 0..u32::MAX]
}

/// An entry without a path and, if it is a file, its content.
fn node() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let kind = prop_oneof![
        5 => vec(any::<u8>(), 0..1500).prop_map(|content| (file("", &content).kind, content)),
        4 => any::<bool>().prop_map(|opaque| (EntryKind::Directory { opaque }, Vec::new())),
        1 => vec(1..=255_u8, 1..150)
            .prop_map(|target| (EntryKind::Symlink { target }, Vec::new())),
        1 => Just((EntryKind::Fifo, Vec::new())),
        1 => (1..0xfff_u32, 0..0xf_ffff_u32)
            .prop_map(|(major, minor)| (EntryKind::CharDevice { major, minor }, Vec::new())),
        1 => (0..0xfff_u32, 0..0xf_ffff_u32)
            .prop_map(|(major, minor)| (EntryKind::BlockDevice { major, minor }, Vec::new())),
        1 => Just((EntryKind::Whiteout, Vec::new())),
    ];
    let xattr_name = prop_oneof![
        Just(b"security.capability".to_vec()),
        "user\\.[a-z=%]{1,5}".prop_map(String::into_bytes),
    ];
    let xattrs = prop_oneof![
        5 => Just(BTreeMap::new()),
        1 => btree_map(xattr_name, vec(any::<u8>(), 0..40), 0..4),
    ];
    let seconds = prop_oneof![3 => 0..2_000_000_000_i64, 1 => -10_000_000_000_i64..1 << 60];
    let rest = (0..=0o7777_u32, number(), number(), seconds, xattrs);
    (kind, rest).prop_map(|((kind, content), (mode, uid, gid, seconds, xattrs))| {
        let mut entry = Entry {
            path: Vec::new(),
            mode,
            uid,
            gid,
            mtime: Mtime {
                seconds,
                nanoseconds: 0,
            },
            xattrs,
            kind,
        };
        if entry.kind == EntryKind::Whiteout {
            entry = whiteout("");
        }
        (entry, content)
    })
}

/// A random layer: its entries in order and the content of its files.
pub(crate) fn layers() -> impl Strategy<Value = (LayerIndex, BTreeMap<Vec<u8>, Vec<u8>>)> {
    let nodes = vec(
        (vec(name(), 1..5), node(), any::<prop::sample::Index>()),
        0..24,
    );
    (nodes, any::<bool>()).prop_map(|(nodes, has_root)| {
        let mut entries: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
        let mut content: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        if has_root {
            entries.insert(Vec::new(), opaque(""));
        }
        for (names, (mut entry, bytes), pick) in nodes {
            entry.path = names.join(&b'/');
            // Keep what fits: nothing below or above something that is not a directory.
            let fits = entries.values().all(|other| {
                let is_dir = |e: &Entry| matches!(e.kind, EntryKind::Directory { .. });
                let below =
                    |a: &Entry, b: &Entry| rbuild_image::layer::path::is_below(&a.path, &b.path);
                other.path != entry.path
                    && (!below(&entry, other) || is_dir(other))
                    && (!below(other, &entry) || is_dir(&entry))
            });
            if !fits {
                continue;
            }
            let files: Vec<_> = content.keys().cloned().collect();
            if entry.kind == EntryKind::Fifo && !files.is_empty() {
                entry.kind = EntryKind::Hardlink {
                    target: pick.get(&files).clone(),
                };
            }
            if matches!(entry.kind, EntryKind::File { .. }) {
                content.insert(entry.path.clone(), bytes);
            }
            entries.insert(entry.path.clone(), entry);
        }
        let before = content.clone();
        let index = index(entries.into_values().collect());
        // The first name of a linked file carries the content now.
        for entry in index.entries() {
            if let EntryKind::File { digest, .. } = entry.kind {
                let bytes = before
                    .values()
                    .find(|bytes| *blake3::hash(bytes).as_bytes() == digest.0)
                    .unwrap();
                content.insert(entry.path.clone(), bytes.clone());
            }
        }
        (index, content)
    })
}

/// Whether this process may give files away and mark them as only root can.
pub(crate) fn is_root(folder: &Path) -> bool {
    let probe = folder.join("probe");
    fs_err::write(&probe, b"").unwrap();
    let result = rustix::fs::chown(
        &probe,
        Some(rustix::fs::Uid::from_raw(4_000_000_000)),
        Some(rustix::fs::Gid::from_raw(4_000_000_000)),
    );
    fs_err::remove_file(&probe).unwrap();
    result.is_ok()
}

/// How this process can write trees.
pub(crate) fn tree_options(folder: &Path) -> TreeOptions {
    if is_root(folder) {
        TreeOptions {
            ownership: Ownership::Kernel,
            opaque: OpaqueMark::Trusted,
        }
    } else {
        TreeOptions {
            ownership: Ownership::Recorded,
            opaque: OpaqueMark::User,
        }
    }
}

/// Unpacks into `folder/tree`.
pub(crate) fn unpack_to(folder: &Path, tar: &[u8]) -> Result<Unpacked, ImageError> {
    let tree = folder.join("tree");
    fs_err::create_dir(&tree).unwrap();
    let options = tree_options(folder);
    let root = fs_err::File::open(&tree).unwrap();
    let mut input = tar;
    unpack(
        &mut input,
        Whiteouts::Decode,
        Some((root.file().as_fd(), options)),
    )
}

/// Checks that the tree is what the index says, and nothing more.
pub(crate) fn check_tree(tree: &Path, index: &LayerIndex, options: TreeOptions) {
    let mut n_expected = 0;
    for entry in index.entries().iter().chain(index.implied()) {
        let path = tree.join(OsStr::from_bytes(&entry.path));
        let found = fs_err::symlink_metadata(&path);
        let is_device = matches!(
            entry.kind,
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. }
        );
        if is_device && found.is_err() {
            continue; // Not allowed to make them.
        }
        n_expected += usize::from(!entry.path.is_empty());
        let found = found.unwrap();
        let kind = found.file_type();
        match &index.file_of(&entry).kind {
            EntryKind::File { size, digest } => {
                let content = fs_err::read(&path).unwrap();
                assert_eq!(content.len() as u64, *size);
                assert_eq!(*blake3::hash(&content).as_bytes(), digest.0);
            }
            EntryKind::Directory { opaque } => {
                assert!(kind.is_dir());
                let mut value = [0; 8];
                let got = rustix::fs::lgetxattr(&path, options.opaque.xattr(), &mut value);
                assert_eq!(got.is_ok(), *opaque, "{path:?}");
            }
            EntryKind::Symlink { target } => {
                assert_eq!(
                    fs_err::read_link(&path).unwrap().as_os_str().as_bytes(),
                    target
                );
            }
            EntryKind::Fifo => assert!(kind.is_fifo()),
            EntryKind::Whiteout => {
                assert!(kind.is_char_device() && found.rdev() == 0);
                continue;
            }
            EntryKind::CharDevice { major, minor } => {
                assert!(kind.is_char_device());
                assert_eq!(found.rdev(), rustix::fs::makedev(*major, *minor));
            }
            EntryKind::BlockDevice { major, minor } => {
                assert!(kind.is_block_device());
                assert_eq!(found.rdev(), rustix::fs::makedev(*major, *minor));
            }
            EntryKind::Hardlink { .. } => panic!("a hard link to a hard link"),
        }
        if options.ownership == Ownership::Kernel {
            assert_eq!(
                (found.uid(), found.gid()),
                (entry.uid, entry.gid),
                "{path:?}"
            );
        }
        if !kind.is_symlink() {
            assert_eq!(found.mode() & 0o7777, entry.mode, "{path:?}");
        }
        if (-(1 << 31)..1 << 33).contains(&entry.mtime.seconds) {
            let expected = (entry.mtime.seconds, i64::from(entry.mtime.nanoseconds));
            assert_eq!((found.mtime(), found.mtime_nsec()), expected, "{path:?}");
        }
        if kind.is_file() || kind.is_dir() {
            for (name, value) in &entry.xattrs {
                let mut buffer = vec![0; 1000];
                let length =
                    rustix::fs::lgetxattr(&path, name.as_slice(), &mut buffer[..]).unwrap();
                assert_eq!(&buffer[..length], value);
            }
        }
    }
    assert_eq!(
        count_below(tree),
        n_expected,
        "the tree has something else in it"
    );
}

/// Counts what lies below a folder.
fn count_below(tree: &Path) -> usize {
    let mut n_found = 0;
    let mut folders = vec![tree.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            n_found += 1;
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    n_found
}
