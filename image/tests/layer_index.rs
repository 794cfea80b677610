//! The layer index: its invariants, its digest, its file.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod layer_support;

use layer_support::{
    dir, entry, file, hardlink, index, layers, listing, opaque, symlink, whiteout,
};
use proptest::prelude::*;
use rbuild_image::layer::entry::{Entry, EntryKind, Mtime};
use rbuild_image::layer::path::compare_paths;
use rbuild_image::layer::{IndexSummary, LayerIndex};

fn sample() -> LayerIndex {
    index(vec![
        dir("a"),
        file("a/b", b"one"),
        file("a.b", b"two"),
        dir("a/c"),
        file("a/c/x", b"three"),
        file("d/e/f", b"four"),
        hardlink("a/a", "a/b"),
        symlink("s", "a/b"),
        whiteout("w"),
        opaque("o"),
    ])
}

#[test]
fn entries_come_in_order_and_links_after_their_file() {
    let expected = "\
dir a
file a/a 3
hard a/b = a/a
dir a/c
file a/c/x 5
file a.b 3
file d/e/f 4
opaque o
link s -> a/b
gone w
";
    assert_eq!(listing(sample().entries()), expected);
    assert_eq!(listing(sample().implied()), "dir \ndir d\ndir d/e\n");
    assert_eq!(sample().unpacked_size(), 15);
}

#[test]
fn parts_of_an_index() {
    let index = sample();
    let check = |path: &str, children: &str, subtree: &str| {
        assert_eq!(listing(index.children(path.as_bytes())), children, "{path}");
        assert_eq!(listing(index.subtree(path.as_bytes())), subtree, "{path}");
    };
    check(
        "a",
        "file a/a 3\nhard a/b = a/a\ndir a/c\n",
        "dir a\nfile a/a 3\nhard a/b = a/a\ndir a/c\nfile a/c/x 5\n",
    );
    check("a/c", "file a/c/x 5\n", "dir a/c\nfile a/c/x 5\n");
    check("d", "", "file d/e/f 4\n");
    check("d/e", "file d/e/f 4\n", "file d/e/f 4\n");
    check("x", "", "");
    check("s", "", "link s -> a/b\n");
    assert_eq!(listing(index.children(b"")).lines().count(), 5);
    assert_eq!(index.subtree(b"").count(), index.entries().len());
    assert!(index.get(b"a/b").is_some() && index.get(b"a/").is_none());
    let link = index.get(b"a/b").unwrap();
    assert_eq!(index.file_of(&link).path, b"a/a");
}

#[test]
fn the_last_of_equal_paths_counts() {
    let index = index(vec![file("a", b"1"), file("b", b"2"), file("a", b"longer")]);
    assert_eq!(listing(index.entries()), "file a 6\nfile b 1\n");
}

#[test]
fn what_no_layer_can_have() {
    let check = |entries: Vec<Entry>, problem: &str| {
        let error = LayerIndex::from_entries(entries).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    };
    check(vec![file("a/../b", b"")], "not a clean path");
    check(vec![file("/a", b"")], "not a clean path");
    check(vec![file("", b"")], "root can only be a directory");
    check(vec![file("a", b""), file("a/b", b"")], "not a directory");
    check(vec![whiteout("a"), file("a/b", b"")], "not a directory");
    check(vec![symlink("a", "b"), dir("a/b/c")], "not a directory");
    check(vec![hardlink("a", "b")], "does not have");
    check(vec![hardlink("a", "a")], "leads back to itself");
    check(vec![hardlink("a", "b"), hardlink("b", "a")], "itself");
    check(vec![hardlink("a", "b"), dir("b")], "not a file");
    check(vec![symlink("a", "")], "symbolic link");
    check(vec![symlink("a", "b\0c")], "symbolic link");
    check(vec![file(".wh.a", b"")], "removed files");
    check(vec![file(".wh.a/b", b"")], "removed files");
    let device = |major, minor| entry("a", EntryKind::CharDevice { major, minor });
    check(vec![device(0, 0)], "0:0");
    check(vec![device(0x1000, 0)], "out of range");
    let mut odd = file("a", b"");
    odd.mode = 0o10_000;
    check(vec![odd.clone()], "out of range");
    odd.mode = 0;
    odd.uid = u32::MAX;
    check(vec![odd], "4294967295");
    let huge = |path| {
        let mut huge = file(path, b"");
        let EntryKind::File { size, .. } = &mut huge.kind else {
            unreachable!()
        };
        *size = u64::MAX;
        huge
    };
    check(vec![huge("a"), huge("b")], "2^64");
}

#[test]
fn the_content_digest_covers_everything_but_times() {
    let base = index(vec![dir("a"), file("a/b", b"1")]);
    let digest = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = base.entries().to_vec();
        change(&mut entries);
        index(entries).content_digest()
    };
    assert_eq!(digest(&|_| {}), base.content_digest());
    let times = |entries: &mut Vec<Entry>| {
        entries[1].mtime = Mtime {
            seconds: 7,
            nanoseconds: 9,
        };
    };
    assert_eq!(digest(&times), base.content_digest());
    type Change<'a> = &'a dyn Fn(&mut Vec<Entry>);
    let changes: [Change<'_>; 9] = [
        &|entries| entries[1].mode = 0o600,
        &|entries| entries[1].uid = 1,
        &|entries| entries[1].gid = 1,
        &|entries| entries[1] = file("a/b", b"2"),
        &|entries| entries[1] = file("a/c", b"1"),
        &|entries| entries[1] = symlink("a/b", "1"),
        &|entries| drop(entries[1].xattrs.insert(b"user.a".to_vec(), b"".to_vec())),
        &|entries| entries[0].kind = EntryKind::Directory { opaque: true },
        &|entries| drop(entries.pop()),
    ];
    let mut digests: Vec<_> = changes.iter().map(|change| digest(change)).collect();
    digests.push(base.content_digest());
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 10);
}

#[test]
fn a_damaged_file_is_an_error() {
    let bytes = sample().encode().unwrap();
    for length in 0..bytes.len() {
        LayerIndex::decode(&bytes[..length]).unwrap_err();
    }
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= bit;
            LayerIndex::decode(&damaged).unwrap_err();
        }
    }
    let mut longer = bytes;
    longer.push(0);
    LayerIndex::decode(&longer).unwrap_err();
}

/// Makes a file with right checksums around any body.
fn forge(body: &[u8], n_entries: u64, body_size: u64) -> Vec<u8> {
    let packed = zstd::bulk::compress(body, 1).unwrap();
    let mut file = b"rbldidx\n".to_vec();
    file.extend_from_slice(&1_u32.to_le_bytes());
    file.extend_from_slice(&n_entries.to_le_bytes());
    file.extend_from_slice(&0_u64.to_le_bytes());
    file.extend_from_slice(&body_size.to_le_bytes());
    file.extend_from_slice(&[0; 32]);
    file.extend_from_slice(blake3::hash(&packed).as_bytes());
    let checksum = *blake3::hash(&file).as_bytes();
    file.extend_from_slice(&checksum);
    file.extend_from_slice(&packed);
    file
}

#[test]
fn a_hostile_file_is_an_error() {
    let check = |body: &[u8], n_entries, body_size| {
        LayerIndex::decode(&forge(body, n_entries, body_size)).unwrap_err();
    };
    check(b"", u64::MAX, 0);
    check(b"", 1, 0);
    check(b"", 0, 1);
    check(b"", 0, u64::MAX);
    check(b"", 0, 1 << 29);
    check(&[0; 100], 3_999_999, 100);
    // Shares bytes of a path that is not there; lengths of 2^63; a path out of order.
    check(&[1, 0, 2, 0, 0, 0, 0, 0, 0, 0], 1, 10);
    check(
        &[0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
        1,
        11,
    );
    let two = [
        0, 1, b'b', 8, 0, 0, 0, 0, 0, 0, 0, 1, b'a', 8, 0, 0, 0, 0, 0, 0,
    ];
    check(&two, 2, 20);
    // Xattrs without end.
    check(
        &[0, 1, b'a', 2, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0],
        1,
        14,
    );
    assert!(
        LayerIndex::decode(&forge(b"", 0, 0))
            .unwrap()
            .entries()
            .is_empty()
    );
}

#[test]
fn the_start_of_a_file_is_enough_for_the_summary() {
    let index = sample();
    let bytes = index.encode().unwrap();
    let summary = IndexSummary::decode(&bytes[..IndexSummary::BYTES]).unwrap();
    assert_eq!(summary.content_digest, index.content_digest());
    assert_eq!(summary.unpacked_size, index.unpacked_size());
    assert_eq!(summary.entries, index.entries().len() as u64);
    IndexSummary::decode(&bytes[..IndexSummary::BYTES - 1]).unwrap_err();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn write_then_read_is_the_identity((index, _) in layers()) {
        let bytes = index.encode().unwrap();
        prop_assert_eq!(&LayerIndex::decode(&bytes).unwrap(), &index);
        prop_assert_eq!(&LayerIndex::from_entries(index.entries().to_vec()).unwrap(), &index);
        prop_assert!(index.entries().to_vec().is_sorted_by(|a, b| compare_paths(&a.path, &b.path).is_lt()));
    }

    #[test]
    fn reading_rubbish_never_panics(body in prop::collection::vec(any::<u8>(), 0..200), n in 0..30_u64) {
        drop(LayerIndex::decode(&forge(&body, n, body.len() as u64)));
    }
}
