//! Stacks of layers: look-ups, links, listings.

mod layer_support;

use std::collections::BTreeMap;
use std::sync::Arc;

use layer_support::{dir, file, hardlink, index, layers, listing, opaque, symlink, whiteout};
use proptest::prelude::*;
use rbuild_image::layer::entry::{Entry, EntryKind};
use rbuild_image::layer::path::{compare_paths, is_below};
use rbuild_image::layer::{Follow, LayerIndex, Rootfs};

fn rootfs(layers: Vec<Vec<Entry>>) -> Rootfs {
    Rootfs::new(
        layers
            .into_iter()
            .map(|layer| Arc::new(index(layer)))
            .collect(),
    )
}

/// Shows what is visible, each with its layer.
fn shown(found: impl Iterator<Item = rbuild_image::layer::Found>) -> String {
    found
        .map(|found| format!("{} {}", found.layer, listing([found.name()])))
        .collect()
}

fn stack() -> Rootfs {
    let mut etc = dir("etc");
    etc.mode = 0o700;
    rootfs(vec![
        vec![
            dir("bin"),
            file("bin/sh", b"sh"),
            etc,
            file("etc/passwd", b"root"),
            file("etc/hosts", b"1"),
            dir("var"),
            dir("var/log"),
            file("var/log/a", b"a"),
            dir("opt"),
            file("opt/x", b""),
            file("thing", b"file"),
        ],
        vec![
            file("etc/hosts", b"22"),
            whiteout("bin"),
            opaque("var"),
            file("var/b", b"b"),
            whiteout("opt/x"),
            dir("thing"),
            file("thing/y", b""),
        ],
        vec![
            dir("bin"),
            file("bin/ash", b"ash"),
            hardlink("bin/busybox", "bin/ash"),
            file("opt/z/deep", b""),
        ],
    ])
}

#[test]
fn what_is_visible() {
    let stack = stack();
    let check = |path: &str, expected: Option<(usize, &str)>| {
        let found = stack.lookup(path.as_bytes());
        let got = found.map(|found| (found.layer, listing([found.name()])));
        let expected = expected.map(|(layer, line)| (layer, format!("{line}\n")));
        assert_eq!(got, expected, "{path}");
    };
    check("", Some((0, "dir ")));
    check("bin", Some((2, "dir bin")));
    check("bin/sh", None);
    check("bin/ash", Some((2, "file bin/ash 3")));
    check("etc/passwd", Some((0, "file etc/passwd 4")));
    check("etc/hosts", Some((1, "file etc/hosts 2")));
    check("etc/hosts/x", None);
    check("var/log", None);
    check("var/log/a", None);
    check("var/b", Some((1, "file var/b 1")));
    check("opt", Some((0, "dir opt")));
    check("opt/x", None);
    check("opt/z", Some((2, "dir opt/z")));
    check("thing", Some((1, "dir thing")));
    check("thing/y", Some((1, "file thing/y 0")));
    check("nothing", None);
    // Layer 1 has no entry for it, so the metadata is that of layer 0.
    assert_eq!(stack.lookup(b"etc").unwrap().entry.mode, 0o700);
    let linked = stack.lookup(b"bin/busybox").unwrap();
    assert_eq!(linked.path(), b"bin/busybox");
    assert_eq!(linked.entry.path, b"bin/ash");
    assert!(stack.lookup(b"").unwrap().is_directory());
    assert!(Rootfs::default().lookup(b"").unwrap().is_directory());
    assert!(Rootfs::default().lookup(b"a").is_none());
}

#[test]
fn listings() {
    let stack = stack();
    let expected = "\
0 dir 
2 dir bin
2 file bin/ash 3
2 hard bin/busybox = bin/ash
0 dir etc
1 file etc/hosts 2
0 file etc/passwd 4
0 dir opt
2 dir opt/z
2 file opt/z/deep 0
1 dir thing
1 file thing/y 0
1 opaque var
1 file var/b 1
";
    assert_eq!(shown(stack.walk(b"")), expected);
    let check = |path: &str, names: &str| {
        let found = stack.read_dir(path.as_bytes());
        let got: Vec<String> = found
            .map(|found| found.path().escape_ascii().to_string())
            .collect();
        assert_eq!(got.join(" "), names, "{path}");
    };
    check("", "bin etc opt thing var");
    check("bin", "bin/ash bin/busybox");
    check("opt", "opt/z");
    check("var", "var/b");
    check("etc/hosts", "");
    check("nothing", "");
    assert_eq!(shown(stack.walk(b"var/log")), "");
    assert_eq!(shown(stack.walk(b"etc/hosts")), "1 file etc/hosts 2\n");
    assert_eq!(shown(Rootfs::default().walk(b"")), "");
}

#[test]
fn an_implied_directory_hides_files_but_not_directories() {
    let stack = rootfs(vec![
        vec![dir("a"), file("a/x", b"")],
        vec![file("a", b"")],
        vec![file("a/b", b"")],
    ]);
    assert_eq!(stack.lookup(b"a").unwrap().layer, 2);
    assert!(stack.lookup(b"a").unwrap().is_directory());
    assert!(stack.lookup(b"a/x").is_none());
    assert_eq!(shown(stack.walk(b"a")), "2 dir a\n2 file a/b 0\n");
    assert_eq!(shown(stack.read_dir(b"a")), "2 file a/b 0\n");
}

#[test]
fn links_stay_inside() {
    let stack = rootfs(vec![
        vec![
            dir("usr"),
            dir("usr/lib"),
            file("usr/lib/libc", b""),
            symlink("lib", "usr/lib"),
            symlink("abs", "/usr/lib"),
            symlink("up", "../../../../usr"),
            symlink("usr/self", "."),
            symlink("usr/root", "/"),
            symlink("usr/back", "../lib/libc"),
            symlink("dangling", "usr/new/file"),
            symlink("dangling-abs", "/srv/x"),
            symlink("loop1", "loop2"),
            symlink("loop2", "loop1"),
            symlink("me", "me"),
            symlink("grow", "grow/x"),
            file("file", b""),
            symlink("chain0", "usr"),
        ],
        vec![symlink("over", "lib"), whiteout("abs")],
    ]);
    let check = |path: &str, follow, expected: &str, exists: bool| {
        let resolved = stack.resolve(path.as_bytes(), follow).unwrap();
        let got = String::from_utf8(resolved.path).unwrap();
        assert_eq!(
            (got.as_str(), resolved.found.is_some()),
            (expected, exists),
            "{path}"
        );
    };
    let (last, no) = (Follow::Last, Follow::NoFollow);
    check("", last, "", true);
    check("/", no, "", true);
    check("/usr//lib/./libc", last, "usr/lib/libc", true);
    check("lib/libc", no, "usr/lib/libc", true);
    check("lib", no, "lib", true);
    check("lib", last, "usr/lib", true);
    check("over/libc", no, "usr/lib/libc", true);
    check("abs/libc", last, "abs/libc", false);
    check("up/lib", last, "usr/lib", true);
    check("usr/self/self/lib", last, "usr/lib", true);
    check("usr/root/usr/root", last, "", true);
    check("usr/back", last, "usr/lib/libc", true);
    check("lib/../..", last, "", true);
    check("lib/..", last, "usr", true);
    check("../../etc", last, "etc", false);
    check("dangling", last, "usr/new/file", false);
    check("dangling-abs/y", last, "srv/x/y", false);
    check("new/../x", last, "x", false);
    check("file/x", last, "file/x", false);
    check("loop1", no, "loop1", true);
    for path in ["loop1", "me", "grow", "loop2/x", "me/../x"] {
        let error = stack.resolve(path.as_bytes(), last).unwrap_err();
        assert!(error.to_string().contains("too many levels"), "{error}");
    }
}

#[test]
fn up_to_255_links_are_followed() {
    let chain = |length: usize| {
        let mut entries = vec![file("l0", b"")];
        entries.extend((1..=length).map(|n| symlink(&format!("l{n}"), &format!("l{}", n - 1))));
        rootfs(vec![entries])
    };
    let resolved = chain(300);
    assert_eq!(resolved.resolve(b"l255", Follow::Last).unwrap().path, b"l0");
    resolved.resolve(b"l256", Follow::Last).unwrap_err();
}

/// The obvious way to merge: apply layer after layer to a map.
fn merge(layers: &[LayerIndex]) -> BTreeMap<Vec<u8>, (usize, Entry)> {
    let mut tree: BTreeMap<Vec<u8>, (usize, Entry)> = BTreeMap::new();
    for (at, layer) in layers.iter().enumerate() {
        let implied = layer.implied().iter().map(|entry| (entry, true));
        let entries = layer.entries().iter().map(|entry| (entry, false));
        let mut all: Vec<_> = implied.chain(entries).collect();
        all.sort_by(|left, right| compare_paths(&left.0.path, &right.0.path));
        for (entry, is_implied) in all {
            let is_dir =
                |(_, entry): &(usize, Entry)| matches!(entry.kind, EntryKind::Directory { .. });
            if is_implied && tree.get(&entry.path).is_some_and(is_dir) {
                continue;
            }
            if entry.kind != (EntryKind::Directory { opaque: false }) {
                tree.retain(|path, (from, _)| *from == at || !is_below(path, &entry.path));
            }
            if entry.kind == EntryKind::Whiteout {
                tree.remove(&entry.path);
            } else {
                tree.insert(entry.path.clone(), (at, entry.clone()));
            }
        }
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn merging_is_applying_layer_after_layer(stack in prop_oneof![
        3 => prop::collection::vec(layers(), 1..5),
        1 => prop::collection::vec(layers(), 14..24), // looked up by paths
    ]) {
        let layers: Vec<LayerIndex> = stack.into_iter().map(|(index, _)| index).collect();
        let rootfs = Rootfs::new(layers.iter().cloned().map(Arc::new).collect());
        let merged = merge(&layers);
        let walked: BTreeMap<Vec<u8>, (usize, Entry)> = rootfs
            .walk(b"")
            .map(|found| (found.path().to_vec(), (found.layer, found.name())))
            .collect();
        prop_assert_eq!(&walked, &merged);
        let everywhere = layers.iter().flat_map(|layer| layer.entries().iter().chain(layer.implied()));
        for entry in everywhere {
            let path = &entry.path;
            let found = rootfs.lookup(path).map(|found| (found.layer, found.name()));
            prop_assert_eq!(&found, &merged.get(path).cloned());
            let below = merged.keys().filter(|other| is_below(other, path) || *other == path).count();
            prop_assert_eq!(rootfs.walk(path).count(), below);
            let direct = |other: &&Vec<u8>| {
                is_below(other, path) && !other[path.len() + usize::from(!path.is_empty())..].contains(&b'/')
            };
            let children: Vec<_> = rootfs.read_dir(path).map(|found| found.path().to_vec()).collect();
            prop_assert_eq!(children.len(), merged.keys().filter(direct).count());
        }
    }
}
