//! What is said about the contents of images: dive's numbers, hidden bytes, changes, differences.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod layer_support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use layer_support::{dir, file, hardlink, index, layers, opaque, symlink, whiteout};
use proptest::prelude::*;
use rbuild_image::analysis::{
    Analysis, Cause, Difference, HintKind, Listing, Mark, Tally, Times, What, analyze, differences,
    largest_files,
};
use rbuild_image::layer::entry::{Entry, EntryKind};
use rbuild_image::layer::path::is_below;
use rbuild_image::layer::{LayerIndex, Rootfs};

fn stack(layers: Vec<Vec<Entry>>) -> Vec<Arc<LayerIndex>> {
    let layers = layers.into_iter();
    layers.map(|layer| Arc::new(index(layer))).collect()
}

fn listings(layers: &[Arc<LayerIndex>]) -> Vec<Listing> {
    layers.iter().map(|layer| (&**layer).into()).collect()
}

fn sized(path: &str, size: usize) -> Entry {
    file(path, &path.as_bytes().repeat(size)[..size])
}

fn text(path: &[u8]) -> &str {
    std::str::from_utf8(path).unwrap()
}

/// Checks dive's numbers: wasted bytes, the score to six digits, inefficient paths.
#[track_caller]
fn check_score(layers: Vec<Vec<Entry>>, wasted: u64, score: &str, copies: &[(&str, u64, u64)]) {
    let layers = stack(layers);
    let listed = listings(&layers);
    let found = analyze(&listed, None).score;
    let got: Vec<_> = found
        .copies
        .iter()
        .map(|copies| (text(copies.path), copies.count, copies.size_bytes))
        .collect();
    let got = (found.wasted_bytes, format!("{:.6}", found.efficiency), got);
    assert_eq!(got, (wasted, score.to_owned(), copies.to_vec()));
}

/// Each number was measured with dive 0.13.1 on the same layers.
#[test]
fn scores_are_dive_s() {
    let f = sized;
    check_score(vec![vec![f("a", 100)]], 0, "1.000000", &[]);
    check_score(
        vec![vec![f("a", 100)], vec![f("a", 60)]],
        160,
        "0.375000",
        &[("a", 2, 160)],
    );
    check_score(
        vec![vec![f("a", 100)], vec![whiteout("a")]],
        100,
        "0.000000",
        &[("a", 2, 100)],
    );
    check_score(
        vec![vec![f("a", 100)], vec![whiteout("a")], vec![f("a", 50)]],
        150,
        "0.000000",
        &[("a", 3, 150)],
    );
    let linked = || vec![f("a", 100), hardlink("b", "a")];
    check_score(
        vec![linked(), linked()],
        200,
        "0.500000",
        &[("a", 2, 200), ("b", 2, 0)],
    );
    check_score(
        vec![vec![symlink("a", "x")], vec![symlink("a", "y")]],
        0,
        "1.000000",
        &[("a", 2, 0)],
    );
    check_score(
        vec![vec![dir("t")], vec![dir("t")]],
        0,
        "1.000000",
        &[("t", 2, 0)],
    );
    check_score(
        vec![vec![dir(""), f("a", 9)], vec![dir(""), f("a", 9)]],
        18,
        "0.500000",
        &[("a", 2, 18)],
    );
    check_score(vec![vec![]], 0, "1.000000", &[]);
}

#[test]
fn scores_of_directories_are_dive_s() {
    let f = sized;
    let made = || vec![dir("d"), f("d/a", 100)];
    check_score(vec![made(), vec![whiteout("d")]], 0, "1.000000", &[]);
    check_score(
        vec![
            made(),
            vec![whiteout("d")],
            vec![dir("d"), f("d/b", 7)],
            vec![whiteout("d")],
        ],
        107,
        "0.532710",
        &[("d", 2, 107)],
    );
    check_score(
        vec![vec![f("d/a", 100)], vec![whiteout("d")]],
        0,
        "1.000000",
        &[],
    );
    check_score(
        vec![made(), vec![f("d/b", 5)], vec![whiteout("d")]],
        0,
        "1.000000",
        &[],
    );
    check_score(
        vec![vec![dir("d")], made(), vec![whiteout("d")]],
        100,
        "0.500000",
        &[("d", 2, 100)],
    );
    check_score(
        vec![made(), vec![opaque("d"), f("d/b", 3)]],
        0,
        "1.000000",
        &[],
    );
    check_score(vec![made(), vec![opaque("d")]], 0, "1.000000", &[]);
    check_score(
        vec![
            vec![f("a", 100)],
            vec![dir("a"), f("a/x", 4)],
            vec![whiteout("a")],
        ],
        104,
        "0.074074",
        &[("a", 2, 104)],
    );
    check_score(
        vec![
            vec![dir("a"), f("a/x", 40)],
            vec![f("a", 4)],
            vec![whiteout("a")],
        ],
        4,
        "0.909091",
        &[("a", 2, 4)],
    );
}

/// What removes nothing does not count; dive forgets the rest of the layer.
#[test]
fn marks_that_remove_nothing_do_not_count() {
    check_score(
        vec![
            vec![sized("a", 100)],
            vec![whiteout("b"), sized("a", 10), sized("c", 3)],
            vec![sized("c", 4)],
        ],
        117,
        "0.111111",
        &[("a", 2, 110), ("c", 2, 7)],
    );
}

#[test]
fn parts_of_nothing_are_numbers() {
    let ratio = |layers| analyze(&listings(&stack(layers)), None).user_wasted_ratio();
    assert!(ratio(vec![vec![sized("a", 5)]]) == 0.0);
    assert!(ratio(vec![vec![sized("a", 5)], vec![whiteout("a")]]) == 1.0);
    assert!(ratio(vec![vec![sized("a", 5)], vec![sized("a", 15)]]) > 1.3);
}

fn waste<'a>(found: &'a Analysis<'_>) -> Vec<(&'a str, usize, Cause, u64, u64)> {
    let rows = found.waste.iter();
    rows.map(|row| (text(row.path), row.layer, row.cause, row.files, row.bytes))
        .collect()
}

#[test]
fn layers_change_what_is_below_them() {
    let mut owned = sized("app/big", 1000);
    owned.uid = 7;
    let mut readable = sized("app/small", 10);
    readable.mode = 0o600;
    let layers = stack(vec![
        vec![
            dir("app"),
            sized("app/big", 1000),
            sized("app/small", 10),
            dir("lists"),
            sized("lists/a", 50),
            sized("lists/b", 70),
            sized("tool", 30),
            hardlink("tool2", "tool"),
            symlink("link", "tool"),
        ],
        vec![
            dir("app"),
            owned,
            readable,
            sized("app/new", 5),
            whiteout("lists"),
            whiteout("tool"),
        ],
        vec![
            whiteout("tool2"),
            sized("link", 3),
            dir("lists"),
            sized("lists/c", 1),
        ],
    ]);
    let listed = listings(&layers);
    let found = analyze(&listed, Some(1));
    let tally = |files, bytes| Tally { files, bytes };
    assert_eq!(found.layers[0].added, tally(7, 1190));
    let second = &found.layers[1];
    assert_eq!(second.added, tally(1, 5));
    assert_eq!(second.repeated.all, tally(2, 1010));
    assert_eq!(second.repeated.owner, tally(1, 1000));
    assert_eq!(second.repeated.mode, tally(1, 10));
    assert_eq!(second.removed, tally(3, 150));
    let third = &found.layers[2];
    assert_eq!((third.added, third.changed), (tally(1, 1), tally(1, 3)));
    assert_eq!(third.removed, tally(1, 30));
    assert_eq!(
        waste(&found),
        [
            ("app/big", 1, Cause::Repeated, 1, 1000),
            ("lists", 1, Cause::Removed, 2, 120),
            // The first of the two names took nothing with it.
            ("tool2", 2, Cause::Removed, 1, 30),
            ("app/small", 1, Cause::Repeated, 1, 10),
        ]
    );
    assert_eq!(found.hidden_bytes(), 1160);
    let listing: Vec<_> = found
        .listing
        .iter()
        .map(|row| (text(&row.entry.path), row.mark, row.bytes))
        .collect();
    assert_eq!(
        listing,
        [
            ("app", Mark::Unchanged, 0),
            ("app/big", Mark::Repeated, 1000),
            ("app/new", Mark::Added, 5),
            ("app/small", Mark::Repeated, 10),
            ("lists", Mark::Removed, 0),
            ("tool", Mark::Removed, 30),
        ]
    );
    let largest: Vec<_> = largest_files(&listed[0], 2)
        .into_iter()
        .map(|entry| text(&entry.path))
        .collect();
    assert_eq!(largest, ["app/big", "lists/b"]);
}

#[test]
fn opaque_directories_and_other_kinds_hide() {
    let layers = stack(vec![
        vec![
            dir("d"),
            sized("d/a", 5),
            dir("e"),
            sized("e/a", 6),
            sized("f", 7),
        ],
        vec![
            opaque("d"),
            sized("d/b", 1),
            symlink("e", "d"),
            sized("f/x", 2),
        ],
    ]);
    let listed = listings(&layers);
    let found = analyze(&listed, None);
    assert_eq!(
        waste(&found),
        [
            ("f", 1, Cause::Replaced, 1, 7),
            ("e", 1, Cause::Replaced, 1, 6),
            ("d", 1, Cause::Removed, 1, 5),
        ]
    );
    assert_eq!(found.layers[0].hidden_bytes, 18);
}

#[test]
fn equal_contents_are_found() {
    let copy = |path: &str| {
        let mut entry = sized("x", 40);
        entry.path = path.as_bytes().to_vec();
        entry
    };
    let layers = stack(vec![
        vec![
            copy("a"),
            hardlink("b", "a"),
            copy("c"),
            copy("gone"),
            sized("other", 40),
        ],
        vec![
            copy("z/d"),
            whiteout("gone"),
            sized("empty1", 0),
            sized("empty2", 0),
        ],
    ]);
    let listed = listings(&layers);
    let found = analyze(&listed, None).duplicates;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].size_bytes, found[0].count), (40, 3));
    assert_eq!(found[0].extra_bytes(), 80);
    assert_eq!(found[0].paths, [&b"a"[..], b"c", b"z/d"]);
}

#[test]
fn hints_are_about_what_is_visible() {
    let mut su = sized("bin/su", 9);
    su.mode = 0o4755;
    let layers = stack(vec![
        vec![
            su,
            sized("var/lib/apt/lists/deb_Packages", 100),
            sized("var/lib/apt/lists/lock", 0),
            sized("var/cache/apt/pkgcache.bin", 11),
            sized("root/.cache/pip/http/x", 1),
            sized("home/me/.npm/_cacache/y", 2),
            sized("srv/app/.git/objects/pack/p", 3),
            sized("srv/app/.git/HEAD", 4),
            sized("srv/x.git/objects/p", 3),
            sized("usr/share/.cache/pip/z", 1),
        ],
        vec![whiteout("var/cache/apt/pkgcache.bin")],
    ]);
    let listed = listings(&layers);
    let found = analyze(&listed, None);
    let got: Vec<_> = found
        .hints
        .iter()
        .map(|hint| {
            (
                hint.kind,
                text(hint.path),
                hint.files.files,
                hint.files.bytes,
            )
        })
        .collect();
    assert_eq!(
        got,
        [
            (HintKind::Apt, "var/lib/apt/lists", 1, 100),
            (HintKind::Pip, "root/.cache/pip", 1, 1),
            (HintKind::Npm, "home/me/.npm/_cacache", 1, 2),
            (HintKind::Git, "srv/app/.git", 1, 3),
            (HintKind::SetId, "bin/su", 1, 9),
        ]
    );
}

#[test]
fn root_file_systems_are_compared() {
    let mut moved = sized("same", 4);
    moved.mtime.seconds = 9;
    let mut owned = dir("dir");
    owned.gid = 3;
    let before = Rootfs::new(stack(vec![vec![
        dir("dir"),
        sized("dir/a", 1),
        sized("same", 4),
        symlink("l", "x"),
        sized("k", 1),
    ]]));
    let after = Rootfs::new(stack(vec![
        vec![
            owned,
            sized("dir/b", 1),
            moved,
            symlink("l", "y"),
            sized("gone", 1),
        ],
        vec![dir("k"), whiteout("gone")],
    ]));
    let shown = |times| -> Vec<(String, &str, What)> {
        differences(&before, &after, times)
            .map(|found| {
                let (letter, what) = match found {
                    Difference::Added(_) => ("A", What::default()),
                    Difference::Removed(_) => ("D", What::default()),
                    Difference::Changed(_, _, what) => ("C", what),
                };
                (text(found.path()).to_owned(), letter, what)
            })
            .collect()
    };
    let none = What::default();
    let expected = vec![
        (
            "dir".to_owned(),
            "C",
            What {
                owner: true,
                ..none
            },
        ),
        ("dir/a".to_owned(), "D", none),
        ("dir/b".to_owned(), "A", none),
        (
            "k".to_owned(),
            "C",
            What {
                kind: true,
                mode: true,
                ..none
            },
        ),
        (
            "l".to_owned(),
            "C",
            What {
                content: true,
                ..none
            },
        ),
    ];
    assert_eq!(shown(Times::Ignore), expected);
    let with_times = shown(Times::Compare);
    assert_eq!(with_times.len(), expected.len() + 1);
    assert!(with_times.contains(&("same".to_owned(), "C", What { time: true, ..none })));
}

/// dive's counting, step by step on whole trees.
fn slow_score(layers: &[Arc<LayerIndex>]) -> (u64, u64, BTreeMap<Vec<u8>, (u64, u64)>) {
    let mut shown: BTreeMap<Vec<u8>, (u64, bool)> = BTreeMap::new();
    let mut counted: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
    for layer in layers {
        let before = shown.clone();
        for entry in layer.entries().iter().chain(layer.implied()) {
            let path = &entry.path;
            let inside = |other: &[u8]| other == path.as_slice() || is_below(other, path);
            if path.is_empty() {
                continue;
            }
            if entry.kind == EntryKind::Whiteout {
                let Some((_, is_directory)) = before.get(path) else {
                    continue;
                };
                let all = before.iter().filter(|(other, _)| inside(other));
                let sum = if *is_directory {
                    all.map(|(_, (size, _))| size).sum()
                } else {
                    0
                };
                counted.entry(path.clone()).or_default().push(sum);
                shown.retain(|other, _| !inside(other));
                continue;
            }
            let is_implied = layer.get(path).is_none();
            let is_directory = matches!(entry.kind, EntryKind::Directory { .. });
            let size = match entry.kind {
                EntryKind::File { size, .. } => size,
                _ => 0,
            };
            shown.insert(path.clone(), (size, is_directory && !is_implied));
            if !is_implied && layer.subtree(path).count() == 1 {
                counted.entry(path.clone()).or_default().push(size);
            }
        }
    }
    let needed = counted
        .values()
        .map(|sizes| sizes.iter().min().unwrap())
        .sum();
    let all = counted.values().flatten().sum();
    let copies = counted.into_iter().filter(|(_, sizes)| sizes.len() > 1);
    let copies = copies.map(|(path, sizes)| (path, (sizes.len() as u64, sizes.iter().sum())));
    (needed, all, copies.collect())
}

proptest! {
    #[test]
    fn scores_agree_with_slow_counting(found in prop::collection::vec(layers(), 1..6)) {
        let layers: Vec<_> = found.into_iter().map(|(layer, _)| Arc::new(layer)).collect();
        let listed = listings(&layers);
        let score = analyze(&listed, None).score;
        let (needed, all, copies) = slow_score(&layers);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let expected = if all == 0 { 1.0 } else { needed as f64 / all as f64 };
        prop_assert!(score.efficiency == expected, "{} {expected}", score.efficiency);
        prop_assert_eq!(score.wasted_bytes, copies.values().map(|(_, size)| size).sum::<u64>());
        let got: BTreeMap<_, _> = score
            .copies
            .iter()
            .map(|copies| (copies.path.to_vec(), (copies.count, copies.size_bytes)))
            .collect();
        prop_assert_eq!(got, copies);
    }

    #[test]
    fn hidden_is_what_a_walk_does_not_show(found in prop::collection::vec(layers(), 1..6)) {
        let layers: Vec<_> = found.into_iter().map(|(layer, _)| Arc::new(layer)).collect();
        let listed = listings(&layers);
        let analysis = analyze(&listed, Some(layers.len() - 1));
        let rootfs = Rootfs::new(layers.clone());
        let mut seen = BTreeSet::new();
        let mut visible = vec![0; layers.len()];
        for found in rootfs.walk(b"") {
            if let EntryKind::File { size, .. } = found.entry.kind
                && seen.insert((found.layer, found.entry.path.clone()))
            {
                visible[found.layer] += size;
            }
        }
        for (at, layer) in analysis.layers.iter().enumerate() {
            prop_assert_eq!(layer.size_bytes - layer.hidden_bytes, visible[at], "layer {}", at);
        }
        let wasted: u64 = analysis.waste.iter().map(|row| row.bytes).sum();
        prop_assert_eq!(wasted, analysis.hidden_bytes());
        prop_assert_eq!(analysis.listing.len(), layers[layers.len() - 1].entries().len());
        prop_assert_eq!(differences(&rootfs, &rootfs, Times::Compare).count(), 0);
    }
}
