//! Contexts that change while they are copied.

use super::*;

#[test]
fn a_folder_swapped_for_a_link_never_leads_outside() {
    let outside = tempfile::tempdir().unwrap();
    let world = World::new(&[]);
    for file in 0..40 {
        world.add(&format!("f644 d/f{file}=INSIDE"));
        fs_err::write(outside.path().join(format!("f{file}")), "SECRET").unwrap();
    }
    symlink(outside.path(), world.path("dlink")).unwrap();
    let n_swaps = while_swapping(&world, ["d", "dlink"], &|| {
        for words in ["d /x/", ". /x/", "d/* /x/", "d/f1 /x/", "dlink/f2 /x/"] {
            for _ in 0..20 {
                let Ok(layer) = world.run(&copy(words)) else {
                    continue; // Refusing is right too.
                };
                for bytes in layer.bytes.values() {
                    assert_eq!(bytes, b"INSIDE");
                }
            }
        }
    });
    assert!(n_swaps > 0);
}

#[test]
fn swapped_contents_give_whole_files_and_true_digests() {
    let size = 65536;
    let (a, b) = ("A".repeat(size), "B".repeat(size));
    let world = World::new(&[]);
    for file in 0..8 {
        world.add(&format!("f644 one/f{file}={a}"));
        world.add(&format!("f644 two/f{file}={b}"));
    }
    while_swapping(&world, ["one", "two"], &|| {
        for _ in 0..30 {
            let Ok(layer) = world.run(&copy("one /x/")) else {
                continue;
            };
            for bytes in layer.bytes.values() {
                assert!(
                    bytes == a.as_bytes() || bytes == b.as_bytes(),
                    "a mix of two files"
                );
            }
        }
    });
    let layer = world.run(&copy("one /x/")).unwrap();
    for (path, bytes) in &layer.bytes {
        let path = String::from_utf8_lossy(path).replace("x/", "one/");
        assert_eq!(bytes, &fs_err::read(world.path(&path)).unwrap());
    }
}

#[test]
fn what_changes_between_choosing_and_packing_is_noticed() {
    #[track_caller]
    fn check(change: &dyn Fn(&World)) {
        let world = World::new(&["f644 d/a=AAAA", "f644 d/b=B"]);
        let result = world.run_with(&copy("d /n"), &|| change(&world));
        assert_changed(result, r#""/d/a""#);
        // Keyed anew, the step goes well.
        drop(world.run(&copy("d /n")).unwrap());
    }
    check(&|world| fs_err::write(world.path("d/a"), "BBBB").unwrap());
    check(&|world| fs_err::write(world.path("d/a"), "longer").unwrap());
    check(&|world| fs_err::write(world.path("d/a"), "").unwrap());
    check(&|world| fs_err::remove_file(world.path("d/a")).unwrap());
    check(&|world| {
        fs_err::rename(world.path("d/a"), world.path("d/c")).unwrap();
        symlink("c", world.path("d/a")).unwrap();
    });
    check(&|world| {
        fs_err::remove_file(world.path("d/a")).unwrap();
        fs_err::create_dir(world.path("d/a")).unwrap();
    });
}

#[test]
fn a_changed_time_alone_is_no_change() {
    let world = World::new(&["f644 d/a=A"]);
    let layer = world
        .run_with(&copy("d /n"), &|| world.touch("d/a", 3))
        .unwrap();
    assert_eq!(layer.bytes[&b"n/a"[..]], b"A");
}
