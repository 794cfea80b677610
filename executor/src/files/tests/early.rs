//! Layers that are packed before their files were hashed.

use rustix::fs::XattrFlags;

use super::*;

/// Checks that a step gives the same both ways: the layer, and what the key says of the files.
#[track_caller]
fn check_same(world: &World, step: &Files) {
    let selection = world.select(step).unwrap();
    let expected = world.run(step).unwrap();
    let (found, digests) = world.run_early(step, &|| {}).unwrap();
    assert_eq!(found.entries, expected.entries);
    assert_eq!(found.bytes, expected.bytes);
    assert_eq!(digests, selection.source_digests());
}

#[test]
fn the_layer_and_the_key_are_those_of_files_that_were_hashed_before() {
    let large = "large".repeat(600_000);
    let world = World::new(&[
        "f644 d/a=A",
        "f755 d/sub/b=B",
        "f644 d/sub/empty=",
        "l d/link->a",
        "h d/sub/same=>d/a",
        "d750 d/folder",
        "f600 e/a=other",
        &format!("f644 d/large={large}"),
    ])
    .with_parent(&["d755 x", "f644 x/a=parent", "f644 x/b=parent"])
    .with_stage(&["f644 s/a=of the stage"]);
    for words in [
        ". /",
        "d /x/",
        "d/a d/sub/b /x/",
        "d/* /y/",
        "d /x/",
        "d/a /x/b",
    ] {
        check_same(&world, &copy(words));
    }
    // The second hides files of the first, which are only in the key.
    check_same(&world, &copy("d e /x/"));
    let mut mixed = copy("d /x/");
    mixed.sources.extend(copy_from("s /x/").sources);
    check_same(&world, &mixed);
}

#[test]
fn what_is_learnt_is_kept_for_later_builds() {
    let world = World::new(&["f644 d/a=A"]);
    let context = world.open().unwrap();
    let trees = |tree: &Tree| world.tree(&context, tree);
    let step = copy("d /x/");
    let old = std::time::Duration::from_millis(2_100);
    std::thread::sleep(old); // a file that was just written is not trusted
    let mut selection = choose(&step, &trees, &[]).unwrap();
    let state = context.state(b"d/a");
    world
        .with_surroundings(&context, |around| {
            pack_early(&step, &mut selection, around, &mut std::io::sink())
        })
        .unwrap();
    let database = Database::open(&world.database.path().join("db")).unwrap();
    context.into_digests().save(&database, 1).unwrap();
    let digests = FileDigests::load(&database, b"test").unwrap();
    assert_eq!(digests.lookup(&state), Some(*blake3::hash(b"A").as_bytes()));
}

#[test]
fn a_file_in_another_state_than_it_was_chosen_in_ends_it() {
    #[track_caller]
    fn check(change: &dyn Fn(&World)) {
        let world = World::new(&["f644 d/a=AAAA", "f644 d/b=B"]);
        let result = world.run_early(&copy("d /n"), &|| change(&world));
        assert_changed(result, r#""/d/a""#);
    }
    check(&|world| fs_err::write(world.path("d/a"), "BBBB").unwrap());
    check(&|world| fs_err::write(world.path("d/a"), "").unwrap());
    check(&|world| fs_err::remove_file(world.path("d/a")).unwrap());
    check(&|world| world.touch("d/a", 3));
    check(&|world| set_mode(&world.path("d/a"), 0o600));
    // Attributes belong to the header, which is made before the file is opened.
    check(&|world| {
        let set = |name: &str| {
            let path = world.path("d/a");
            rustix::fs::setxattr(path, name, b"1", XattrFlags::empty())
        };
        if set("user.x").is_err() {
            fs_err::remove_file(world.path("d/a")).unwrap(); // none can be had here
        }
    });
}

#[test]
fn another_file_that_looks_the_same_is_in_the_key_as_it_is_in_the_layer() {
    let world = World::new(&["f644 d/a=AAAA", "f644 d/b=B"]);
    let step = copy("d /n");
    let (layer, digests) = world
        .run_early(&step, &|| {
            world.add("f644 new=BBBB");
            fs_err::rename(world.path("new"), world.path("d/a")).unwrap();
        })
        .unwrap();
    assert_eq!(layer.bytes[&b"n/a"[..]], b"BBBB");
    assert_eq!(digests, world.select(&step).unwrap().source_digests());
}

#[test]
fn a_file_with_attributes_is_hashed_first() {
    let world = World::new(&["f644 d/a=AAAA"]);
    let path = world.path("d/a");
    if rustix::fs::setxattr(path, "user.x", b"1", XattrFlags::empty()).is_err() {
        return; // no such attributes on this file system
    }
    match world.run_early(&copy("d /n"), &|| {}) {
        Err(FilesError::Changed { .. }) => {}
        other => panic!("{:?}", other.err()),
    }
    let layer = world.run(&copy("d /n")).unwrap();
    assert_eq!(layer.get("n/a").xattrs[&b"user.x"[..]], b"1");
}

#[test]
fn key_and_layer_agree_while_folders_are_swapped() {
    let world = World::new(&[]);
    for file in 0..20 {
        world.add(&format!("f644 one/f{file}=A"));
        world.add(&format!("f644 two/f{file}=B"));
    }
    while_swapping(&world, ["one", "two"], &|| {
        for _ in 0..200 {
            let Ok((layer, digests)) = world.run_early(&copy(". /x/"), &|| {}) else {
                continue;
            };
            // The same tree, at rest, has the same digest.
            let still = World::new(&[]);
            for (path, bytes) in &layer.bytes {
                let path = String::from_utf8_lossy(path).replacen("x/", "", 1);
                still.add(&format!("f644 {path}={}", String::from_utf8_lossy(bytes)));
            }
            let selection = still.select(&copy(". /x/")).unwrap();
            assert_eq!(selection.source_digests(), digests);
        }
    });
}
