//! `--chown`, `--chmod`, `--link`, `--parents`, `--exclude`, and `WORKDIR`.

use rbuild_planner::{Chmod, Workdir};

use super::*;
use crate::files::{Owner, workdir};

const SOURCE: &[&str] = &[
    "f644 f=F",
    "f644 d/a=A",
    "d711 d/s",
    "f600 d/s/b=B",
    "l d/l->a",
    "f644 x/y/1.txt=1",
    "f644 x/y/q/3.txt=3",
    "d700 x/z",
    "f644 x/z/2.txt=2",
    "l ld->d",
];

fn with(step: Files, change: impl FnOnce(&mut Files)) -> Files {
    let mut step = step;
    change(&mut step);
    step
}

fn chown(words: &str, value: &str) -> Files {
    with(copy(words), |step| step.chown = Some(value.into()))
}

fn parents(words: &str) -> Files {
    with(copy(words), |step| step.parents = true)
}

fn exclude(words: &str, patterns: &[&str]) -> Files {
    with(copy(words), |step| {
        step.exclude = patterns
            .iter()
            .map(|pattern| (*pattern).to_owned())
            .collect();
    })
}

#[test]
fn c22_to_c24_exclude() {
    let world = World::new(SOURCE);
    world.check(
        &exclude("d /n", &["s"]),
        &["d755 n", "f644 n/a=A", "l n/l->a"],
    );
    world.check(&exclude("f /n/", &["f"]), &["d755 n", "f644 n/f=F"]);
    world.check(
        &exclude("d /n", &["*", "!s"]),
        &["d755 n", "d711 n/s", "f600 n/s/b=B"],
    );
    // Relative to the source's directory, and anchored there.
    world.check(
        &exclude("d /n", &["d/a", "b", "l"]),
        &["d755 n", "f644 n/a=A", "d711 n/s", "f600 n/s/b=B"],
    );
    world.check(&exclude("d /n", &["**/b", "[al]"]), &["d755 n", "d711 n/s"]);
    world.check(
        &exclude("d /n", &["*", "!s/b"]),
        &["d755 n", "d711 n/s", "f600 n/s/b=B"],
    );
    let stage = [
        "d755 d",
        "f644 d/a=A",
        "d711 d/s",
        "f600 d/s/b=B",
        "f600 d/s/c=C",
    ];
    let world = World::new(&[]).with_stage(&stage);
    let step = with(copy_from("d /n"), |step| {
        step.exclude = vec!["*".into(), "!s/b".into()];
    });
    world.check(&step, &["d755 n", "d711 n/s", "f600 n/s/b=B"]);
}

#[test]
fn c30_and_c31_chmod() {
    let world = World::new(SOURCE).with_parent(&["d700 old"]);
    let chmod = |words: &str, mode: Chmod| with(copy(words), |step| step.chmod = Some(mode));
    world.check(
        &chmod("d /p/n", Chmod::Octal(0o751)),
        &[
            "d751 p",
            "d751 p/n",
            "f751 p/n/a=A",
            "l p/n/l->a",
            "d751 p/n/s",
            "f751 p/n/s/b=B",
        ],
    );
    world.check(
        &chmod("d/s /old", Chmod::Octal(0o4711)),
        &["d700 old", "f4711 old/b=B"],
    );
    let symbolic = Chmod::Symbolic("u=rwX,go=rX".into());
    world.check(
        &chmod("d /p/n", symbolic),
        &[
            "d755 p",
            "d755 p/n",
            "f644 p/n/a=A",
            "l p/n/l->a",
            "d755 p/n/s",
            "f644 p/n/s/b=B",
        ],
    );
    let text = r#"invalid --chmod value "zz": invalid syntax"#;
    world.check_error(&chmod("f /n", Chmod::Symbolic("zz".into())), text);
}

#[test]
fn c32_chown() {
    let accounts = [
        "d755 etc",
        "f644 etc/passwd=root:x:0:0::/:\napp:x:1000:100::/:\n",
        "l etc/group->../secret/group",
        "d700 secret",
        "f600 secret/group=wheel:x:10:\n",
    ];
    let world = World::new(SOURCE).with_parent(&accounts);
    world.check(&chown("f /p/n", ":5"), &["d755@0:5 p", "f644@0:5 p/n=F"]);
    world.check(&chown("f /n", "7"), &["f644@7:7 n=F"]);
    world.check(&chown("f /n", "app"), &["f644@1000:100 n=F"]);
    world.check(&chown("f /n", "app:wheel"), &["f644@1000:10 n=F"]);
    world.check(&chown("f /n", "ghost:ghost"), &["f644 n=F"]);
    world.check(
        &chown("d /n", "1:2"),
        &[
            "d755@1:2 n",
            "f644@1:2 n/a=A",
            "l@1:2 n/l->a",
            "d711@1:2 n/s",
            "f600@1:2 n/s/b=B",
        ],
    );
    World::new(SOURCE).check(&chown("f /n", "app"), &["f644 n=F"]);
}

#[test]
fn a_host_passwd_is_never_read() {
    let climbing = ["d755 etc", "l etc/passwd->../../../etc/passwd"];
    let world = World::new(SOURCE).with_parent(&climbing);
    let text = r#""/etc/passwd": too many levels of symbolic links"#;
    world.check_error(&chown("f /n", "daemon"), text);
    let outside = [
        "d755 etc",
        "l etc/passwd->/usr/../proc/self/root/etc/passwd",
    ];
    let world = World::new(SOURCE).with_parent(&outside);
    world.check(&chown("f /n", "daemon"), &["f644 n=F"]);
}

#[test]
fn linked_copies_do_not_look_at_the_parent() {
    let parent = ["d1777 tmp", "l sl->/real", "d755 real", "f644 n=x"];
    let world = World::new(SOURCE).with_parent(&parent);
    let link = |step: Files| with(step, |step| step.link = true);
    world.check(&link(copy("f /tmp/f")), &["d755 tmp", "f644 tmp/f=F"]);
    world.check(&link(copy("f /sl/")), &["d755 sl", "f644 sl/f=F"]);
    world.check(&link(copy("f /n/")), &["d755 n", "f644 n/f=F"]);
    world.check(&link(chown("f /n", "1:2")), &["f644@1:2 n=F"]);
    let text = r#"invalid --chown value "app": --link copies know only numbers and root"#;
    world.check_error(&link(chown("f /n", "app")), text);
}

#[test]
fn c40_parents() {
    let world = World::new(SOURCE).with_parent(&["d755 p", "d700@1:1 p/y"]);
    world.check(
        &parents("x/y/1.txt /n/"),
        &["d755 n", "d755 n/x", "d755 n/x/y", "f644 n/x/y/1.txt=1"],
    );
    world.check(
        &parents("x/z /n/"),
        &["d755 n", "d755 n/x", "d700 n/x/z", "f644 n/x/z/2.txt=2"],
    );
    world.check(
        &parents("x/*/*.txt /n"),
        &[
            "d755 n",
            "d755 n/x",
            "d755 n/x/y",
            "f644 n/x/y/1.txt=1",
            "d700 n/x/z",
            "f644 n/x/z/2.txt=2",
        ],
    );
    world.check(
        &parents("**/*.txt /n/"),
        &[
            "d755 n",
            "d755 n/x",
            "d755 n/x/y",
            "f644 n/x/y/1.txt=1",
            "d755 n/x/y/q",
            "f644 n/x/y/q/3.txt=3",
            "d700 n/x/z",
            "f644 n/x/z/2.txt=2",
        ],
    );
    // What exists keeps its owner and gets the source's mode.
    let step = with(parents("x /p/"), |step| {
        if let FileSource::Path {
            pattern, wildcard, ..
        } = &mut step.sources[0]
        {
            *pattern = "/x/./y/*.txt".into();
            *wildcard = true;
        }
    });
    world.check(&step, &["d755 p", "d755@1:1 p/y", "f644 p/y/1.txt=1"]);
    world.check(
        &parents("x/y*/1.tx? d/s /n/"),
        &[
            "d755 n",
            "d755 n/d",
            "d711 n/d/s",
            "f600 n/d/s/b=B",
            "d755 n/x",
            "d755 n/x/y",
            "f644 n/x/y/1.txt=1",
        ],
    );
    world.check(&parents("zz* /n/"), &["d755 n"]);
    world.check_error(&parents("x/zz /n/"), r#""/x/zz": not found"#);
    let excluded = with(parents("x /n/"), |step| step.exclude = vec!["x/y".into()]);
    world.check(
        &excluded,
        &["d755 n", "d755 n/x", "d700 n/x/z", "f644 n/x/z/2.txt=2"],
    );
}

#[test]
fn working_directories() {
    let parent = Stage::new(&[
        "d755 a",
        "l sl->/outside",
        "d700@5:5 outside",
        "f644 file=x",
        "l up->../../../outside",
    ]);
    let times = Times {
        now: NOW,
        epoch: None,
    };
    let run = |path: &str| {
        let step = Workdir {
            path: path.into(),
            user: None,
        };
        let owner = Owner { uid: 7, gid: 8 };
        let mut blob = Vec::new();
        let packed = workdir(&step, &parent.rootfs, owner, times, Some(&mut blob))?;
        Ok::<_, FilesError>(Layer::read(&blob, &packed).lines())
    };
    assert_eq!(
        run("/a/b/c").unwrap(),
        ["d755 a", "d755@7:8 a/b", "d755@7:8 a/b/c"]
    );
    assert_eq!(run("/a").unwrap(), [""; 0]);
    assert_eq!(
        run("/sl/sub").unwrap(),
        ["d700@5:5 outside", "d755@7:8 outside/sub"]
    );
    assert_eq!(
        run("/up/sub").unwrap(),
        ["d700@5:5 outside", "d755@7:8 outside/sub"]
    );
    let error = run("/file/x").unwrap_err();
    assert_eq!(error.to_string(), r#"mkdir "/file": not a directory"#);
}
