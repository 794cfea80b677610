//! What instructions do to files, seen from outside: the cases that a wrong executor gets wrong.

use crate::support::image::Image;
use crate::support::tree::{Kind, What};
use crate::support::{TestEnv, bases, need};

const NEEDS: &str = "this needs busybox-static";

/// Builds on busybox, with two files in the context.
#[track_caller]
fn build(dockerfile: &str, args: &[&str]) -> Option<Image> {
    let env = TestEnv::new();
    env.import(bases::busybox()?, "busybox");
    let files = [
        ("Dockerfile", dockerfile),
        ("a.txt", "a\n"),
        ("dir/b.txt", "b\n"),
        ("dir/sub/c.txt", "c\n"),
    ];
    let context = env.context("ctx", &files);
    Some(env.build_image(&context, args))
}

/// Paths of the last layer, in the order of its tar.
fn last_layer(image: &Image) -> Vec<&str> {
    image
        .layers
        .last()
        .unwrap()
        .iter()
        .map(|entry| entry.path.as_str())
        .collect()
}

#[test]
fn whiteouts_for_what_a_run_deletes() {
    let image = build(
        "FROM busybox\nRUN mkdir -p /d/e && echo 1 > /d/one && echo 2 > /d/e/two && echo 3 > /three\n\
         RUN rm /three && rm -r /d/e\n",
        &[],
    );
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    let last = last_layer(&image);
    assert!(
        last.contains(&".wh.three") && last.contains(&"d/.wh.e"),
        "{last:?}"
    );
    assert!(image.has("d/one") && !image.has("d/e") && !image.has("three"));
}

#[test]
fn a_replaced_directory_hides_what_was_in_it() {
    let image = build(
        "FROM busybox\nRUN mkdir /d && echo old > /d/old\n\
         RUN rm -r /d && mkdir /d && echo new > /d/new\n",
        &[],
    );
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    assert!(
        image.has("d/new") && !image.has("d/old"),
        "{:?}",
        last_layer(&image)
    );
}

#[test]
fn kinds_change() {
    let image = build(
        "FROM busybox\nRUN mkdir /dir && echo x > /dir/x && echo f > /file && ln -s file /link\n\
         RUN rm -r /dir && echo f > /dir && rm /file && mkdir /file && rm /link && mkdir /link\n",
        &[],
    );
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    assert_eq!(image.text("dir"), "f\n");
    assert_eq!(image.node("file").kind, Kind::Dir);
    assert_eq!(image.node("link").kind, Kind::Dir);
    assert!(!image.has("dir/x"));
}

#[test]
fn hard_links_stay_links() {
    let image = build(
        "FROM busybox\nRUN echo x > /one && ln /one /two && ln /one /three\n",
        &[],
    );
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    let links = image
        .layers
        .last()
        .unwrap()
        .iter()
        .filter(|e| matches!(e.what, What::Link(_)));
    assert_eq!(links.count(), 2);
    assert_eq!(image.text("two"), "x\n");
}

#[test]
fn modes_owners_and_special_bits() {
    let image = build(
        "FROM busybox\nRUN touch /s /t && chown 12:34 /s && chmod 4711 /s && mkdir -m 1777 /sticky \
         && mkfifo -m 600 /fifo && mkdir -m 2750 /setgid && chgrp 34 /setgid && chmod 2750 /setgid\n",
        &[],
    );
    need!(
        image.is_some() && crate::support::is_root(),
        "{NEEDS} and root"
    );
    let image = image.unwrap();
    assert_eq!(image.node("s").summary().split(' ').nth(1), Some("4711"));
    assert_eq!((image.node("s").uid, image.node("s").gid), (12, 34));
    assert_eq!(image.node("sticky").mode, 0o1777);
    assert_eq!(image.node("setgid").mode, 0o2750);
    assert_eq!(
        (image.node("fifo").kind.clone(), image.node("fifo").mode),
        (Kind::Fifo, 0o600)
    );
}

#[test]
fn names_of_all_kinds() {
    let long = "n".repeat(200);
    let image = build(
        &format!(
            "FROM busybox\nRUN mkdir -p '/ü b/'\"$(printf 'tab\\there')\" /{long}/{long} && \
             echo deep > /{long}/{long}/{long} && ln -s /{long}/{long}/{long} /l && echo q > \"/it's\"\n"
        ),
        &[],
    );
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    assert!(image.has("ü b/tab\there") && image.has("it's"));
    assert_eq!(image.text(&format!("{long}/{long}/{long}")), "deep\n");
    assert_eq!(
        image.node("l").kind,
        Kind::Symlink(format!("/{long}/{long}/{long}"))
    );
}

#[test]
fn copy_into_and_over() {
    let image = build(
        "FROM busybox\n\
         COPY a.txt /file\n\
         COPY a.txt /in/\n\
         COPY dir /merged\n\
         COPY dir/sub a.txt /merged/\n\
         COPY --chown=7:8 --chmod=0600 dir/b.txt /owned\n\
         RUN ln -s /merged /link\n\
         COPY a.txt /link/through.txt\n\
         WORKDIR /work/deeper\n\
         COPY dir/*.txt ./\n",
        &[],
    );
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    for (path, text) in [
        ("file", "a\n"),
        ("in/a.txt", "a\n"),
        ("merged/b.txt", "b\n"),
        ("merged/sub/c.txt", "c\n"),
        ("merged/c.txt", "c\n"),
        ("merged/a.txt", "a\n"),
        ("merged/through.txt", "a\n"),
        ("work/deeper/b.txt", "b\n"),
    ] {
        assert_eq!(image.text(path), text, "{path}");
    }
    let owned = image.node("owned");
    assert_eq!((owned.uid, owned.gid, owned.mode), (7, 8, 0o600));
    assert_eq!(image.node("link").kind, Kind::Symlink("/merged".to_owned()));
}

#[test]
fn copy_from_a_stage_keeps_what_the_stage_has() {
    let image = build(
        "FROM busybox AS made\n\
         RUN mkdir -p /out/d && echo x > /out/d/x && chown 5:6 /out/d/x && chmod 640 /out/d/x && ln -s x /out/d/l \
         && ln /out/d/x /out/d/h && touch -d @1000000000 /out/d/x\n\
         FROM scratch\nCOPY --from=made /out /copied/\nCOPY --from=0 /out/d/l /single\n",
        &[],
    );
    need!(
        image.is_some() && crate::support::is_root(),
        "{NEEDS} and root"
    );
    let image = image.unwrap();
    let x = image.node("copied/d/x");
    assert_eq!(
        (x.uid, x.gid, x.mode, x.mtime),
        (5, 6, 0o640, 1_000_000_000)
    );
    assert_eq!(image.node("copied/d/l").kind, Kind::Symlink("x".to_owned()));
    assert_eq!(image.text("copied/d/h"), "x\n");
    // A source that is a symlink itself is followed.
    assert_eq!(image.text("single"), "x\n");
}

#[test]
fn a_run_sees_a_clean_world() {
    let image = build(
        "FROM busybox\nENV FROM_ENV=1\nARG FROM_ARG=2\nARG UNSET\nUSER 33\nWORKDIR /tmp/w\n\
         RUN (env | grep -v -e PWD -e SHLVL -e '^_=' | sort; id -u; id -g; pwd; umask; echo $PPID; ls /proc/self/fd | wc -l) > /tmp/seen\n",
        &[],
    );
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    let seen: Vec<&str> = image.text("tmp/seen").lines().collect();
    let paths = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert!(
        seen.contains(&"FROM_ENV=1") && seen.contains(&"FROM_ARG=2"),
        "{seen:?}"
    );
    assert!(seen.contains(&paths), "{seen:?}");
    assert!(
        seen.iter().any(|line| line.starts_with("HOME=")),
        "{seen:?}"
    );
    for word in ["RBUILD", "TMPDIR", "UNSET", "COLUMNS", "RUST_"] {
        assert!(
            !seen.iter().any(|line| line.starts_with(word)),
            "{word} leaked: {seen:?}"
        );
    }
    let at = seen.iter().position(|line| *line == "33").unwrap();
    assert_eq!(
        &seen[at..at + 4],
        ["33", "33", "/tmp/w", "0022"],
        "{seen:?}"
    );
}

#[test]
fn the_sandbox_has_its_file_systems_and_leaves_no_trace() {
    let image = build(
        "FROM busybox\nRUN set -e; test -c /dev/null; test -c /dev/urandom; test -d /proc/self; test -d /sys; \
         echo x > /dev/null; echo y > /dev/shm/y; test -s /etc/resolv.conf || true; \
         grep -q localhost /etc/hosts; ! test -w /proc/sys/kernel/hostname; echo ok > /ok\n",
        &[],
    );
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    assert_eq!(image.text("ok"), "ok\n");
    assert_eq!(last_layer(&image), ["ok"], "only what the command made");
}

#[test]
fn networks_and_hosts() {
    let image = build(
        "FROM busybox\nRUN --network=none ls /sys/class/net > /none\n\
         RUN cat /etc/hosts > /seen-hosts\n",
        &["--add-host", "somewhere:10.1.2.3"],
    );
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    assert_eq!(image.text("none").trim(), "lo");
    let hosts = image.text("seen-hosts");
    assert!(
        hosts
            .lines()
            .any(|line| line.split_whitespace().eq(["10.1.2.3", "somewhere"])),
        "{hosts}"
    );
    assert!(!image.text("etc/passwd").is_empty());
    assert!(
        !image.has("etc/hosts"),
        "the sandbox's own file is not part of the layer"
    );
}

#[test]
fn files_that_stay_open_and_sparse_files() {
    let image = build(
        "FROM busybox\nRUN dd if=/dev/zero of=/sparse bs=1 count=1 seek=50000000 2>/dev/null; \
         (sleep 0.1; echo late > /late) & wait\n",
        &[],
    );
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    assert_eq!(image.text("late"), "late\n");
    assert!(matches!(
        image.node("sparse").kind,
        Kind::File {
            size: 50_000_001,
            ..
        }
    ));
}

#[test]
fn onbuild_runs_in_the_child() {
    let Some(busybox) = bases::busybox() else {
        return crate::support::skip(NEEDS);
    };
    let env = TestEnv::new();
    env.import(busybox, "busybox");
    let parent = env.context(
        "parent",
        &[(
            "Dockerfile",
            "FROM busybox\nONBUILD COPY a.txt /got\nONBUILD RUN echo built > /built\n",
        )],
    );
    env.build(&parent, &["-t", "parent:1"]);
    let child = env.context(
        "child",
        &[
            ("Dockerfile", "FROM parent:1\nRUN cat /got > /read\n"),
            ("a.txt", "a\n"),
        ],
    );
    let image = env.build_image(&child, &[]);
    assert_eq!(
        (image.text("built"), image.text("read")),
        ("built\n", "a\n")
    );
    assert!(image.setting("OnBuild").is_null());
}

#[test]
fn named_contexts() {
    let Some(busybox) = bases::busybox() else {
        return crate::support::skip(NEEDS);
    };
    let env = TestEnv::new();
    env.import(busybox, "busybox");
    let layout = env.path("layout");
    fs_err::create_dir(&layout).unwrap();
    crate::support::image::write_layout(busybox, &layout);
    let other = env.context("other", &[("file.txt", "from elsewhere\n")]);
    let dockerfile =
        "FROM base\nCOPY --from=more file.txt /\nCOPY --from=img /bin/busybox /copied\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let image = env.build_image(
        &context,
        &[
            "--build-context",
            &format!("base=oci-layout://{}:latest", layout.display()),
            "--build-context",
            &format!("more={}", other.display()),
            "--build-context",
            "img=docker-image://busybox",
        ],
    );
    assert_eq!(image.text("file.txt"), "from elsewhere\n");
    assert_eq!(image.node("copied"), image.node("bin/busybox"));
}
