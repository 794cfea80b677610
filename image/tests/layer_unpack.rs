//! Trees are what their indexes say.

mod layer_support;

use std::os::unix::fs::MetadataExt as _;

use layer_support::{
    check_tree, file, hardlink, index, is_root, layers, tree_options, unpack_to, write_tar,
};
use proptest::prelude::*;
use rbuild_image::layer::LayerIndex;
use rbuild_image::layer::entry::EntryKind;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn any_layer_becomes_its_tree((layer, content) in layers()) {
        // The kernel takes only sound capabilities, and these are random bytes.
        let mut entries = layer.entries().to_vec();
        for entry in &mut entries {
            entry.xattrs.remove(&b"security.capability"[..]);
        }
        let folder = tempfile::tempdir().unwrap();
        if !is_root(folder.path()) {
            // An ordinary user could not look into all of them.
            entries.iter_mut().filter(|entry| entry.kind != EntryKind::Whiteout).for_each(|entry| entry.mode |= 0o700);
        }
        let layer = index(entries);
        let unpacked = unpack_to(folder.path(), &write_tar(&layer.entries().to_vec(), &content)).unwrap();
        prop_assert_eq!(&unpacked.index, &layer);
        check_tree(&folder.path().join("tree"), &unpacked.index, tree_options(folder.path()));
    }
}

#[test]
fn capabilities_survive_the_change_of_owner() {
    let folder = tempfile::tempdir().unwrap();
    if !is_root(folder.path()) {
        return;
    }
    let mut ping = file("ping", b"x");
    (ping.uid, ping.mode) = (1000, 0o4755);
    // cap_net_raw=ep, version 2.
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    ping.xattrs
        .insert(b"security.capability".to_vec(), capability.to_vec());
    let layer = index(vec![ping, hardlink("pong", "ping")]);
    let content = std::collections::BTreeMap::from([(b"ping".to_vec(), b"x".to_vec())]);
    let unpacked = unpack_to(
        folder.path(),
        &write_tar(&layer.entries().to_vec(), &content),
    )
    .unwrap();
    let tree = folder.path().join("tree");
    check_tree(&tree, &unpacked.index, tree_options(folder.path()));
    assert_eq!(
        fs_err::symlink_metadata(tree.join("pong")).unwrap().nlink(),
        2
    );
}

#[test]
fn an_empty_layer() {
    let folder = tempfile::tempdir().unwrap();
    let unpacked = unpack_to(folder.path(), &[0; 1024]).unwrap();
    assert_eq!(
        unpacked.index,
        LayerIndex::from_entries(Vec::new()).unwrap()
    );
    check_tree(
        &folder.path().join("tree"),
        &unpacked.index,
        tree_options(folder.path()),
    );
}
