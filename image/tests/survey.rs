//! What a store takes on disk, held against `du`. In a program of its own: a process that is just
//! being started has the locks of other tests open, and they are to be free when they are let go.

use std::process::Command;

use rbuild_image::digest::DiffId;
use rbuild_image::store::Store;

#[test]
fn the_sum_is_what_du_says() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let root = store.root().to_owned();
    let digest = store.put_blob(&vec![7; 100_000]).unwrap();
    let layer = root.join("layers").join(digest.hex());
    fs_err::create_dir_all(layer.join("tree/a/b")).unwrap();
    fs_err::write(layer.join("tree/a/file"), vec![1; 5000]).unwrap();
    fs_err::hard_link(layer.join("tree/a/file"), layer.join("tree/a/b/same")).unwrap();
    // A hole takes no room.
    let sparse = fs_err::File::create(layer.join("tree/sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    fs_err::write(root.join("tmp/left"), "x").unwrap();
    let mount = root.join("mounts").join(digest.hex());
    fs_err::create_dir_all(mount.join("0")).unwrap();
    fs_err::write(mount.join("0/file"), vec![1; 9000]).unwrap();
    // Blocks are given out when files are written back: the count must not change from here on.
    store.sync().unwrap();
    let survey = store.survey().unwrap();
    let du = Command::new("du")
        .args(["-s", "--block-size=1"])
        .arg(&root)
        .output()
        .unwrap();
    let du = String::from_utf8(du.stdout).unwrap();
    let expected: u64 = du.split('\t').next().unwrap().parse().unwrap();
    assert_eq!(survey.total_bytes(), expected);
    assert!(survey.layers[&DiffId(digest)].bytes < 100_000);
    assert!(survey.blobs[&digest].bytes >= 100_000);
    assert!(survey.mounts[&digest.hex()].bytes >= 9000);
}
