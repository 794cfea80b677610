//! Sources and destinations: what lands where.

use super::*;

/// The tree that most cases copy from.
const SOURCE: &[&str] = &[
    "f644 f=F",
    "d750 d",
    "f640 d/a=A",
    "l d/l->a",
    "d711 d/s",
    "f600 d/s/b=B",
    "f644 w1=W1",
    "f644 w2=W2",
    "f644 x/y/1.txt=1",
    "f644 x/z/2.txt=2",
    "l lf->f",
    "l ld->d",
];

#[track_caller]
fn check(parent: &[&str], words: &str, expected: &[&str]) {
    World::new(SOURCE)
        .with_parent(parent)
        .check(&copy(words), expected);
}

#[track_caller]
fn check_error(parent: &[&str], words: &str, expected: &str) {
    World::new(SOURCE)
        .with_parent(parent)
        .check_error(&copy(words), expected);
}

#[test]
fn c1_to_c5_a_file() {
    check(&[], "f /n", &["f644 n=F"]);
    check(&[], "f /p/q/n", &["d755 p", "d755 p/q", "f644 p/q/n=F"]);
    check(&[], "f /n/", &["d755 n", "f644 n/f=F"]);
    check(&["d750 n"], "f /n", &["d750 n", "f644 n/f=F"]);
    check(&["f600 n=old"], "f /n", &["f644 n=F"]);
    check_error(&["f600 n=old"], "f /n/", r#"mkdir "/n": not a directory"#);
    check_error(
        &["f600 n=old"],
        "f /n/x/y",
        r#"mkdir "/n": not a directory"#,
    );
    let text = r#"cannot replace to directory "/n/f" with file"#;
    check_error(&["d755 n", "d755 n/f"], "f /n", text);
    check(&[], "f /", &["f644 f=F"]);
}

#[test]
fn c6_to_c8_a_directory() {
    let content =
        |top: &'static str| vec![top, "f640 n/a=A", "l n/l->a", "d711 n/s", "f600 n/s/b=B"];
    check(&[], "d /n", &content("d755 n"));
    check(&[], "d/ /n/", &content("d755 n"));
    check(&["d750@7:8 n"], "d /n", &content("d750@7:8 n"));
    check_error(
        &["f644 n=x"],
        "d /n",
        r#"cannot copy to non-directory: "/n""#,
    );
    // Only the top keeps what it is.
    check(
        &["d700 n", "d700@7:8 n/s", "f644 n/a=old"],
        "d /n",
        &content("d700 n"),
    );
    let text = r#"cannot copy to non-directory: "/n/s""#;
    check_error(&["d755 n", "f644 n/s=x"], "d /n", text);
    let text = r#"cannot replace to directory "/n/a" with file"#;
    check_error(&["d755 n", "d755 n/a"], "d /n", text);
    check(&[], "d /", &["f640 a=A", "l l->a", "d711 s", "f600 s/b=B"]);
}

#[test]
fn c9_and_c10_links_as_sources() {
    check(&[], "lf /n", &["f644 n=F"]);
    check(&[], "lf /n/", &["d755 n", "f644 n/lf=F"]);
    let through = [
        "d755 n",
        "f640 n/a=A",
        "l n/l->a",
        "d711 n/s",
        "f600 n/s/b=B",
    ];
    check(&[], "ld /n", &through);
    check(&[], "ld/s /n", &["d755 n", "f600 n/b=B"]);
    check(&[], "ld/l /n", &["f640 n=A"]);
}

#[test]
fn c11_to_c16_wildcards() {
    check(&[], "w* /n", &["f644 n=W2"]);
    check(&[], "w* /n/", &["d755 n", "f644 n/w1=W1", "f644 n/w2=W2"]);
    check(&[], "zz* /n", &[]);
    check(&[], "zz/* /n", &[]);
    check(&[], "f/* /n", &[]);
    check(&[], "x/*/1.txt /n/", &["d755 n", "f644 n/1.txt=1"]);
    check(
        &[],
        "x/*/*.txt /n/",
        &["d755 n", "f644 n/1.txt=1", "f644 n/2.txt=2"],
    );
    check(&[], "**/1.txt /n/", &[]);
    check(&[], "x/**/1.txt /n/", &["d755 n", "f644 n/1.txt=1"]);
    check(
        &[],
        "[dw][1-9] /n/",
        &["d755 n", "f644 n/w1=W1", "f644 n/w2=W2"],
    );
    check(&[], "w[^1] /n/", &["d755 n", "f644 n/w2=W2"]);
    // Links are followed before the first wildcard and in the last place, not between.
    check(&[], "ld/[a] /n", &["f640 n=A"]);
    check(&[], "l?/a /n/", &[]);
    check(&[], "lf* /n/", &["d755 n", "f644 n/lf=F"]);
    check(
        &[],
        "* /n/",
        &[
            "d755 n",
            "f640 n/a=A",
            "f644 n/f=F",
            "l n/l->a",
            "f644 n/lf=F",
            "d711 n/s",
            "f600 n/s/b=B",
            "f644 n/w1=W1",
            "f644 n/w2=W2",
            "d755 n/y",
            "f644 n/y/1.txt=1",
            "d755 n/z",
            "f644 n/z/2.txt=2",
        ],
    );
    // Directories that match make the destination one.
    check(
        &[],
        "[df] /n",
        &[
            "d755 n",
            "f640 n/a=A",
            "f644 n/f=F",
            "l n/l->a",
            "d711 n/s",
            "f600 n/s/b=B",
        ],
    );
}

#[test]
fn c17_and_c18_missing_and_several_sources() {
    check_error(&[], "zz /n", r#""/zz": not found"#);
    check_error(&[], "d/zz /n", r#""/d/zz": not found"#);
    check_error(&[], "f/zz /n", r#""/f/zz": not found"#);
    check(&[], "f w1 /n", &["f644 n=W1"]);
    check(&[], "f w1 /n/", &["d755 n", "f644 n/f=F", "f644 n/w1=W1"]);
    check(
        &[],
        "f d /n/",
        &[
            "d755 n",
            "f640 n/a=A",
            "f644 n/f=F",
            "l n/l->a",
            "d711 n/s",
            "f600 n/s/b=B",
        ],
    );
    check_error(&[], "f d /n", r#"cannot copy to non-directory: "/n""#);
}

#[test]
fn c19_to_c21_links_in_the_destination() {
    let parent = [
        "d755 real",
        "f600 file=old",
        "l sl->real",
        "l abs->/real",
        "l up->../../../real",
        "l lf->file",
        "l dangling->nope",
        "l deep->/no/such",
        "d755 n",
        "l n/s->/real",
        "l n/a->/real",
    ];
    check(&parent, "f /sl", &["d755 real", "f644 real/f=F"]);
    check(&parent, "f /sl/g", &["d755 real", "f644 real/g=F"]);
    check(&parent, "f /abs/", &["d755 real", "f644 real/f=F"]);
    check(&parent, "f /up/", &["d755 real", "f644 real/f=F"]);
    check(&parent, "f /lf", &["f644 file=F"]);
    check(&parent, "f /dangling", &["f644 nope=F"]);
    check(&parent, "f /dangling/", &["d755 nope", "f644 nope/f=F"]);
    check(&parent, "f /deep", &["d755 no", "f644 no/such=F"]);
    check_error(&parent, "d /n", r#"cannot copy to non-directory: "/n/s""#);
    // A link in the place of a copied file gives way.
    let parent = ["d755 real", "d755 n", "l n/f->/real"];
    check(&parent, "f /n/", &["d755 n", "f644 n/f=F"]);
    let text = r#""/a": too many levels of symbolic links"#;
    check_error(&["l a->b", "l b->/a"], "f /a/x", text);
}

#[test]
fn c26_odd_sources() {
    let world = World::new(&["f644 arr[0].txt=0", "f644 a=A", "f644 b=B"]);
    world.check(
        &copy("arr[[]0].txt /n/"),
        &["d755 n", "f644 n/arr[0].txt=0"],
    );
    world.check(&copy("[ab] /n/"), &["d755 n", "f644 n/a=A", "f644 n/b=B"]);
    world.check_error(
        &copy("a[ /n/"),
        r#"invalid pattern "a[": syntax error in pattern"#,
    );
}

#[test]
fn dangling_and_circular_sources_are_not_found() {
    let world = World::new(&["l dangling->nope", "l out->/etc/passwd", "l a->b", "l b->a"]);
    world.check_error(&copy("dangling /n"), r#""/dangling": not found"#);
    world.check_error(&copy("out /n"), r#""/out": not found"#);
    world.check_error(&copy("o* /n"), r#""/out": not found"#);
    world.check_error(&copy("a /n"), r#""/a": too many levels of symbolic links"#);
}

#[test]
fn absolute_links_stay_in_the_context() {
    let world = World::new(&["f644 real/f=IN", "l abs->/real", "l up->../../../../real/f"]);
    world.check(&copy("abs/f /n"), &["f644 n=IN"]);
    world.check(&copy("up /n"), &["f644 n=IN"]);
}

#[test]
fn stages_keep_owners_links_and_kinds() {
    let stage = [
        "d1777@1:2 d",
        "f4755@3:4 d/a=A",
        "h d/b=>d/a",
        "l@9:9 d/l->/etc/passwd",
        "p600@5:6 d/p",
        "f644 x=X",
        "l out->/../d",
    ];
    let world = World::new(&[]).with_stage(&stage);
    let expected = [
        "d755 n",
        "f4755@3:4 n/a=A",
        "h n/b=>n/a",
        "l@9:9 n/l->/etc/passwd",
        "p600@5:6 n/p",
    ];
    world.check(&copy_from("d /n"), &expected);
    world.check(&copy_from("out /n"), &expected);
    world.check(&copy_from("out/b /n"), &["f4755@3:4 n=A"]);
    world.check(
        &copy_from("d/[ab] /n/"),
        &["d755 n", "f4755@3:4 n/a=A", "f4755@3:4 n/b=A"],
    );
}

#[test]
fn hard_links_of_a_context_are_kept_within_one_copy() {
    let world = World::new(&["f644 d/b=X", "h d/a=>d/b", "h d/c=>d/b", "h other=>d/b"]);
    world.check(
        &copy("d /n"),
        &["d755 n", "f644 n/a=X", "h n/b=>n/a", "h n/c=>n/a"],
    );
    world.check(
        &copy("d/b other /n/"),
        &["d755 n", "f644 n/b=X", "f644 n/other=X"],
    );
}

#[test]
fn parents_of_the_destination_are_listed_as_they_are() {
    let parent = ["d700@1:1 usr", "d711@2:2 usr/local", "d755 etc"];
    let expected = [
        "d700@1:1 usr",
        "d711@2:2 usr/local",
        "d755 usr/local/bin",
        "f644 usr/local/bin/f=F",
    ];
    check(&parent, "f /usr/local/bin/", &expected);
}

#[test]
fn times_are_kept_or_set_to_the_epoch() {
    let mut world = World::new(&["f644 d/a=A"]).with_parent(&["d755 old"]);
    world.touch("d/a", 1_234_567_890);
    world.touch("d", 1_111_111_111);
    let layer = world.run(&copy("d /old/n")).unwrap();
    assert_eq!(layer.get("old/n/a").mtime.seconds, 1_234_567_890);
    assert_eq!(layer.get("old/n").mtime.seconds, 1_111_111_111);
    assert_eq!(layer.get("old").mtime.seconds, 5);
    let layer = world.run(&copy("d/a /p/")).unwrap();
    assert_eq!(layer.get("p").mtime, NOW);
    world.epoch = Some(2);
    let layer = world.run(&copy("d /old/n")).unwrap();
    for path in ["old", "old/n", "old/n/a"] {
        assert_eq!(layer.get(path).mtime.seconds, 2, "{path}");
    }
    // The time of a stage's file is brought forward only if it is later.
    let mut world = World::new(&[]).with_stage(&["f644 a=A"]);
    for (epoch, expected) in [(3, 3), (9, 5)] {
        world.epoch = Some(epoch);
        let layer = world.run(&copy_from("a /a")).unwrap();
        assert_eq!(layer.get("a").mtime.seconds, expected);
    }
}

#[test]
fn heredoc_files() {
    let world = World::new(&[]).with_parent(&["d755 etc"]);
    let mut step = copy("unused /etc/");
    step.sources = vec![
        FileSource::Inline {
            name: "a.conf".into(),
            content: "one\n".into(),
        },
        FileSource::Inline {
            name: "empty".into(),
            content: String::new(),
        },
    ];
    world.check(
        &step,
        &["d755 etc", "f644 etc/a.conf=one\n", "f644 etc/empty="],
    );
    let layer = world.run(&step).unwrap();
    assert_eq!(layer.get("etc/a.conf").mtime, NOW);
}
