//! What the digest of a selection depends on.

use super::*;

fn digest(world: &World, step: &Files) -> Vec<[u8; 32]> {
    world.select(step).unwrap().source_digests()
}

#[test]
fn q1_to_q4_what_changes_a_digest() {
    let world = World::new(&[
        "f644 d/a=A",
        "f644 d/s/b=B",
        "f644 f=F",
        "f644 g/f=F",
        "f600 h/f=F",
    ]);
    let before = digest(&world, &copy("d /n"));
    world.touch("d/a", 7);
    assert_eq!(digest(&world, &copy("d /n")), before, "a time");
    set_mode(&world.path("d"), 0o700);
    assert_eq!(
        digest(&world, &copy("d /n")),
        before,
        "the directory itself"
    );
    if rustix::fs::chown(
        world.path("d/a"),
        Some(rustix::fs::Uid::from_raw(77)),
        Some(rustix::fs::Gid::from_raw(78)),
    )
    .is_ok()
    {
        assert_eq!(digest(&world, &copy("d /n")), before, "the owner");
    }
    let changes: [(&str, &dyn Fn()); 5] = [
        ("a mode", &|| set_mode(&world.path("d/a"), 0o600)),
        ("a folder's mode", &|| set_mode(&world.path("d/s"), 0o700)),
        ("a name", &|| {
            fs_err::rename(world.path("d/a"), world.path("d/c")).unwrap();
        }),
        ("a link", &|| symlink("a", world.path("d/l")).unwrap()),
        ("content of the same size", &|| {
            fs_err::write(world.path("d/s/b"), "C").unwrap();
        }),
    ];
    let mut before = before;
    for (what, change) in changes {
        change();
        let after = digest(&world, &copy("d /n"));
        assert_ne!(after, before, "{what}");
        before = after;
    }
    let file = digest(&world, &copy("f /x"));
    assert_eq!(digest(&world, &copy("g/f /x")), file, "where it is");
    assert_ne!(digest(&world, &copy("h/f /x")), file, "its mode");
    assert_eq!(
        digest(&world, &copy("[f] /x")),
        file,
        "a pattern for one file"
    );
    assert_eq!(
        digest(&world, &copy("d /x")),
        digest(&world, &copy("d/ /x/"))
    );
}

#[test]
fn q14_where_files_come_from_does_not_matter() {
    let world = World::new(&["f644 d/a=A", "d711 d/s", "f600 d/s/b=B", "l d/l->a"]).with_stage(&[
        "d700@1:2 other",
        "f644 other/a=A",
        "d711 other/s",
        "f600 other/s/b=B",
        "l other/l->a",
    ]);
    assert_eq!(
        digest(&world, &copy("d /n")),
        digest(&world, &copy_from("other /n"))
    );
}

#[test]
fn sets_of_files_do_not_run_into_one_another() {
    let world = World::new(&[
        "f644 a=A",
        "f644 b=B",
        "f644 d/a=A",
        "f644 d/b=B",
        "f644 ab=AB",
    ]);
    let steps = [
        "a /n/", "b /n/", "a b /n/", "b a /n/", "d /n/", "ab /n/", "[ab] /n/", "zz* /n/",
    ];
    let mut digests: Vec<Vec<[u8; 32]>> = steps
        .iter()
        .map(|words| digest(&world, &copy(words)))
        .collect();
    let exclude = Files {
        exclude: vec!["a".into()],
        ..copy("d /n/")
    };
    let parents = Files {
        parents: true,
        ..copy("d /n/")
    };
    digests.push(digest(&world, &exclude));
    digests.push(digest(&world, &parents));
    let n_digests = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), n_digests);
}

#[test]
fn hard_links_count() {
    let linked = World::new(&["f644 d/a=A", "h d/b=>d/a"]);
    let apart = World::new(&["f644 d/a=A", "f644 d/b=A"]);
    assert_ne!(
        digest(&linked, &copy("d /n")),
        digest(&apart, &copy("d /n"))
    );
}

#[test]
fn digests_of_files_that_did_not_change_are_not_computed_again() {
    let world = World::new(&["f644 d/a=A", "f644 d/b=B"]);
    let context = world.open().unwrap();
    let step = copy("d /n");
    let select = |context: &Context| prepare(&step, &|_| Some(SourceTree::Context(context)), &[]);
    let honest = select(&context).unwrap();
    // A digest that is known counts as it is: the file is not read.
    let state = context.state(b"d/a");
    let database = Database::open(&world.database.path().join("db")).unwrap();
    let digests = FileDigests::load(&database, b"test").unwrap();
    digests.note(state, [9; 32], i128::MAX);
    digests.save(&database, 200).unwrap();
    let context = world.open().unwrap();
    let known = select(&context).unwrap();
    let digest = |selection: &Selection| {
        let found = selection.files(0).find(|(path, _)| path == b"d/a").unwrap();
        found.1.0
    };
    assert_eq!(digest(&known), [9; 32]);
    // Any change of the file's state makes it unknown.
    world.touch("d/a", 42);
    assert_eq!(digest(&select(&context).unwrap()), digest(&honest));
}
