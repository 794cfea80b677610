//! `RUN --mount`: binds, caches and memory, for root and for ordinary users.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::env::user_namespaces;
use crate::support::processes::{assert_nothing_left, signal, wait_until};
use crate::support::run::Run;
use crate::support::{TestEnv, bases, need, users};

const NEEDS: &str = "this needs busybox-static";

/// An environment with busybox for root, a user with subordinate ids and one without, as far as
/// there are such users.
pub(crate) fn environments() -> Vec<(&'static str, TestEnv)> {
    let Some(busybox) = bases::busybox() else {
        return Vec::new();
    };
    let user = |subordinate| users::ordinary(subordinate).filter(user_namespaces);
    let mut found = vec![("the user of the tests", TestEnv::new())];
    found.extend(user(true).map(|user| ("subordinate ids", TestEnv::of(user))));
    found.extend(user(false).map(|user| ("a single id", TestEnv::of(user))));
    for (_, env) in &found {
        env.import(busybox, "busybox");
    }
    found
}

fn environment() -> Option<TestEnv> {
    let env = TestEnv::new();
    env.import(bases::busybox()?, "busybox");
    Some(env)
}

fn context(env: &TestEnv, dockerfile: &str) -> PathBuf {
    env.context("ctx", &[("Dockerfile", dockerfile)])
}

/// Builds with plain progress, which names the steps that were cached.
fn build(env: &TestEnv, context: &Path, args: &[&str]) -> Run {
    let mut command = env.command();
    command.args(["build", "--progress=plain"]);
    Run::of(command.args(args).arg(context))
}

/// True if the build took its last RUN from the cache.
#[track_caller]
fn is_cached(run: &Run) -> bool {
    let line = run.stderr.lines().rfind(|line| line.contains("] RUN"));
    let number = line.unwrap().split(' ').next().unwrap();
    let cached = format!("{number} CACHED");
    run.stderr.lines().any(|line| line == cached)
}

#[test]
fn binds_show_what_they_should_and_leave_nothing() {
    let environments = environments();
    need!(!environments.is_empty(), "{NEEDS}");
    let dockerfile = "\
FROM busybox AS made
RUN mkdir -p /d/e && echo one > /d/e/f && ln -s e/f /d/link && ln -s /etc/passwd /d/out && chmod 0640 /d/e/f
FROM busybox
WORKDIR /w
RUN --mount=target=in --mount=from=made,source=/d,target=/m/n/o --mount=from=made,source=d/e/f,target=/file \
    --mount=from=made,source=/d/link,target=/linked --mount=from=made,target=/all <<EOF
set -e
ls -A in > /listing
cat in/sub/file /m/n/o/e/f /file /linked /m/n/o/link /all/d/e/f > /contents
stat -c '%a' in/sub/x.sh /m/n/o/e/f > /modes
! touch in/new && ! touch /m/n/o/new && ! touch /file
cmp /m/n/o/out /etc/passwd
EOF
";
    for (who, env) in environments {
        let context = env.context(
            "ctx",
            &[
                ("Dockerfile", dockerfile),
                ("sub/file", "from the context\n"),
                ("sub/x.sh", ""),
                ("ignored/file", "ignored\n"),
                (".dockerignore", "ignored\n**/*.secret\n"),
                ("sub/a.secret", "ignored"),
            ],
        );
        let image = env.build_image(&context, &[]);
        let listing = ".dockerignore\nDockerfile\nsub\n";
        assert_eq!(image.text("listing"), listing, "{who}");
        let contents = "from the context\none\none\none\none\none\n";
        assert_eq!(image.text("contents"), contents, "{who}");
        assert_eq!(image.text("modes"), "755\n640\n", "{who}");
        let layer = image.layers.last().unwrap();
        let names: Vec<_> = layer.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(names, ["contents", "listing", "modes"], "{who}");
        assert_nothing_left(&env.path("store"), &env.store());
    }
}

#[test]
fn what_is_written_to_a_bind_is_thrown_away() {
    let environments = environments();
    need!(!environments.is_empty(), "{NEEDS}");
    let dockerfile = "\
FROM busybox AS made
RUN mkdir /d && echo one > /d/f && echo two > /d/g
FROM busybox
RUN --mount=from=made,source=/d,target=/d,rw --mount=target=/ctx,rw <<EOF
set -e
echo more >> /d/f; rm /d/g; mkdir /d/new
echo more >> /ctx/file; rm /ctx/Dockerfile
cat /d/f /ctx/file > /seen
ls /d /ctx >> /seen
EOF
RUN --mount=from=made,source=/d,target=/d --mount=target=/ctx cat /d/f /d/g /ctx/file > /after
";
    for (who, env) in environments {
        let context = env.context("ctx", &[("Dockerfile", dockerfile), ("file", "ctx\n")]);
        let image = env.build_image(&context, &[]);
        let seen = "one\nmore\nctx\nmore\n/ctx:\nfile\n\n/d:\nf\nnew\n";
        assert_eq!(image.text("seen"), seen, "{who}");
        assert_eq!(image.text("after"), "one\ntwo\nctx\n", "{who}");
        let file = fs_err::read_to_string(context.join("file")).unwrap();
        assert_eq!(file, "ctx\n", "{who}");
        assert!(!image.has("d") && !image.has("ctx"), "{who}");
    }
}

/// Only what a step sees makes it run again; times do not.
#[test]
fn a_bind_counts_by_its_content() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let dockerfile = "\
FROM busybox AS made
COPY other /other
RUN mkdir /d && echo one > /d/f
FROM busybox
RUN --mount=source=used,target=/in --mount=from=made,source=/d,target=/d cat /in/a /d/f > /out
";
    let files = |a: &str, other: &str| {
        env.context(
            "ctx",
            &[
                ("Dockerfile", dockerfile),
                ("used/a", a),
                ("unused", other),
                ("other", other),
            ],
        )
    };
    let context = files("1", "1");
    assert!(!is_cached(&build(&env, &context, &[]).ok()));
    // Written again: other times, and the stage runs again with the same result.
    files("1", "2");
    assert!(is_cached(&build(&env, &context, &[]).ok()));
    files("2", "2");
    assert!(!is_cached(&build(&env, &context, &[]).ok()));
    assert_eq!(env.build_image(&context, &[]).text("out"), "2one\n");
}

#[test]
fn sources_that_are_not_there_or_lead_out() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let file = env.path("host-file");
    fs_err::write(&file, "the host's").unwrap();
    let empty = context(&env, "");
    fs_err::os::unix::fs::symlink(&file, empty.join("out")).unwrap();
    let refuse = |mount: &str, text: &str| {
        let dockerfile = format!(
            "FROM busybox AS made\n\
             RUN ln -s {} /out\n\
             FROM busybox\n\
             RUN --mount={mount} cat /m\n",
            file.display()
        );
        let run = build(&env, &context(&env, &dockerfile), &[]);
        let run = run.fails(1).says(text);
        assert!(!run.stderr.contains("the host's"), "{}", run.report());
    };
    refuse("source=/nothing,target=/m", "\"/nothing\": not found");
    refuse("source=../../nothing,target=/m", "\"/nothing\": not found");
    refuse("from=made,source=no/x,target=/m", "\"/no/x\": not found");
    refuse("source=out,target=/m", "not found");
    refuse("from=made,source=/out,target=/m", "not found");
    let file = "type=cache,from=made,source=/etc/passwd,target=/m";
    refuse(file, "is not a directory");
}

/// The mount points are below links to a folder of the host: they are followed in the image only.
#[test]
fn targets_stay_in_the_image() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let host = env.path("host");
    fs_err::create_dir(&host).unwrap();
    let at = host.display();
    let dockerfile = format!(
        "FROM busybox\n\
         RUN mkdir -p {at} && ln -s {at} /link && ln -s ../../../../../..{at} /climb\n\
         RUN --mount=type=cache,target=/link/a --mount=type=tmpfs,target=/climb/b \
         --mount=target=/link/c/d touch /link/a/x /climb/b/x && ls -R /link/ > /seen\n\
         RUN --mount=type=tmpfs,target=/gone/x/y rm -rf /gone/x; ln -s {at} /gone/x; true\n"
    );
    let image = env.build_image(&context(&env, &dockerfile), &[]);
    assert!(image.text("seen").contains("Dockerfile"));
    assert_eq!(fs_err::read_dir(&host).unwrap().count(), 0);
}

#[test]
fn caches_stay_from_build_to_build() {
    let environments = environments();
    need!(!environments.is_empty(), "{NEEDS}");
    let dockerfile = "\
FROM busybox AS seed
RUN mkdir /s && echo seed > /s/f && chown 3:4 /s/f
FROM busybox
ARG N
RUN --mount=type=cache,target=/c --mount=type=cache,id=seeded,from=seed,source=/s,target=/seeded \
    --mount=type=cache,target=/owned,uid=12,gid=34,mode=0750 --mount=type=cache,target=/same,id=/c,ro <<EOF
set -e
echo $N | tee -a /c/log >> /seeded/f
cat /same/log > /log; cat /seeded/f > /seeded.log
stat -c '%u:%g %a' /c /owned > /owners
! touch /same/new
EOF
";
    for (who, env) in environments {
        let context = context(&env, dockerfile);
        env.build(&context, &["--build-arg=N=1"]);
        let image = env.build_image(&context, &["--build-arg=N=2"]);
        assert_eq!(image.text("log"), "1\n2\n", "{who}");
        assert_eq!(image.text("seeded.log"), "seed\n1\n2\n", "{who}");
        let owner = if who == "a single id" { "0:0" } else { "12:34" };
        let owners = format!("0:0 755\n{owner} 750\n");
        assert_eq!(image.text("owners"), owners, "{who}");
        assert!(!image.has("c") && !image.has("seeded"), "{who}");
        let again = build(&env, &context, &["--build-arg=N=2"]).ok();
        assert!(is_cached(&again), "{who}");
        let image = env.build_image(&context, &["--build-arg=N=2", "--no-cache"]);
        assert_eq!(image.text("log"), "1\n2\n2\n", "{who}");
        assert_nothing_left(&env.path("store"), &env.store());
    }
}

/// Without a cache the caches stay, but those that something is said about are made anew, once.
#[test]
fn a_cache_with_a_mode_is_made_anew_without_a_cache() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let dockerfile = "\
FROM busybox
RUN --mount=type=cache,target=/c,mode=0700 echo a >> /c/log && cat /c/log > /1
RUN --mount=type=cache,target=/c,mode=0700 echo b >> /c/log && cat /c/log > /2
";
    let context = context(&env, dockerfile);
    env.build(&context, &[]);
    let image = env.build_image(&context, &["--no-cache"]);
    assert_eq!((image.text("1"), image.text("2")), ("a\n", "a\nb\n"));
}

/// Ids that would be paths, that no file can be called, or that are too long for a name.
#[test]
fn ids_are_only_names() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let long = "x".repeat(5000);
    let ids = ["../../../outside", "/etc", "a\u{1}b\u{1b}c", ".", &long];
    for (number, id) in ids.iter().enumerate() {
        // The id is in no key.
        let dockerfile = format!(
            "FROM busybox\nARG N\nENV ID={number}\n\
             RUN --mount=type=cache,target=/c,id={id} echo $N >> /c/log; cat /c/log > /log\n"
        );
        let context = context(&env, &dockerfile);
        env.build(&context, &["--build-arg=N=1"]);
        let image = env.build_image(&context, &["--build-arg=N=2"]);
        assert_eq!(image.text("log"), "1\n2\n", "{id:?}");
    }
    assert!(!env.path("outside").exists());
    let names = fs_err::read_dir(env.path("store/mounts")).unwrap();
    let names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), ids.len());
    for name in names {
        let is_hash = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hash, "{name}");
    }
}

/// What the id and sharing of a cache are, and what is in it, changes no key.
#[test]
fn keys_know_nothing_of_a_caches_name() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let cached = |mount: &str| {
        let dockerfile = format!("FROM busybox\nRUN --mount={mount} echo x >> /c/log\n");
        is_cached(&build(&env, &context(&env, &dockerfile), &[]).ok())
    };
    assert!(!cached("type=cache,target=/c,id=a,sharing=locked"));
    assert!(cached("type=cache,target=/c,id=b,sharing=private"));
    assert!(cached("type=cache,target=/c,id=b,mode=0700"));
    assert!(!cached("type=tmpfs,target=/c"));
    assert!(!cached("type=tmpfs,target=/c,size=1m"));
    assert!(cached("type=tmpfs,target=/c,size=1024k"));
}

/// Two steps of one build that last a second each and use one cache.
fn two_at_once(sharing: &str) -> String {
    let step = |name: &str| {
        format!(
            "FROM busybox AS {name}\n\
             RUN --mount=type=cache,target=/c,sharing={sharing} \
             echo {name} start >> /c/log; sleep 1; echo {name} end >> /c/log; cat /c/log > /log\n"
        )
    };
    let end = "FROM scratch\nCOPY --from=a /log /a\nCOPY --from=b /log /b\n";
    [step("a"), step("b"), end.to_owned()].concat()
}

#[test]
fn sharing() {
    need!(bases::busybox().is_some(), "{NEEDS}");
    for mode in ["shared", "private", "locked"] {
        let env = environment().unwrap();
        let context = context(&env, &two_at_once(mode));
        let start = Instant::now();
        let image = env.build_image(&context, &[]);
        let n_lines = |path: &str| image.text(path).lines().count();
        let least = n_lines("a").min(n_lines("b"));
        let most = n_lines("a").max(n_lines("b"));
        match mode {
            "private" => assert_eq!((least, most), (2, 2)),
            "locked" => {
                assert_eq!((least, most), (2, 4));
                let last = if n_lines("a") == 4 { "a" } else { "b" };
                let text = image.text(last);
                let order: Vec<_> = text.lines().map(|line| &line[..1]).collect();
                assert!(order[0] == order[1] && order[2] == order[3], "{text}");
                assert!(start.elapsed() >= Duration::from_secs(2));
            }
            _ => assert_eq!(most, 4),
        }
    }
}

/// Several processes wait for each other just as several steps do.
#[test]
fn a_locked_cache_between_builds() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let dockerfile = "\
FROM busybox
ARG N
RUN --mount=type=cache,target=/c,sharing=locked mkdir /c/mine && sleep 0.3 && rmdir /c/mine && echo $N >> /c/log
";
    let context = context(&env, dockerfile);
    let mut builds: Vec<_> = (0..4)
        .map(|n| {
            let arg = format!("--build-arg=N={n}");
            let mut command = env.command();
            command.args(["build", "-q", &arg]).arg(&context);
            command.stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for build in &mut builds {
        assert!(build.wait().unwrap().success());
    }
    let dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c wc -l < /c/log > /n\n";
    let context = env.context("n", &[("Dockerfile", dockerfile)]);
    assert_eq!(env.build_image(&context, &[]).text("n").trim(), "4");
}

/// A step that waits for a cache can be interrupted; a killed build gives its caches back.
#[test]
fn waiting_for_a_cache_ends_with_the_build() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let mount = "RUN --mount=type=cache,target=/c,sharing=locked";
    let spawn = |name: &str, command: &str| {
        let dockerfile = format!("FROM busybox\n{mount} {command}\n");
        let context = env.context(name, &[("Dockerfile", &dockerfile)]);
        let mut build = env.command();
        build.arg("build").arg(&context);
        let child = build.stderr(std::process::Stdio::null()).spawn().unwrap();
        (child, context)
    };
    let (mut holder, _) = spawn("holding", "touch /c/held; sleep 1000");
    wait_until("the first build has the cache", || {
        let caches = std::fs::read_dir(env.path("store/mounts"));
        let mut caches = caches.into_iter().flatten().flatten();
        caches.any(|cache| cache.path().join("0/held").exists())
    });
    let (mut waiter, context) = spawn("waiting", "ls /c > /seen");
    std::thread::sleep(Duration::from_millis(700));
    signal(&waiter, Signal::INT);
    assert_eq!(waiter.wait().unwrap().code(), Some(130));
    signal(&holder, Signal::KILL);
    holder.wait().unwrap();
    assert_eq!(env.build_image(&context, &[]).text("seen"), "held\n");
    assert_nothing_left(&env.path("store"), &env.store());
}

#[test]
fn memory() {
    let environments = environments();
    need!(!environments.is_empty(), "{NEEDS}");
    let dockerfile = "\
FROM busybox
RUN --mount=type=tmpfs,target=/t,size=1m --mount=type=tmpfs,target=/t/deep <<EOF
set -e
stat -c %a /t > /mode
ls -A /t > /content
touch /t/deep/file
! dd if=/dev/zero of=/t/big bs=1024 count=2000
EOF
RUN --mount=type=tmpfs,target=/etc ls /etc > /hidden
";
    for (who, env) in environments {
        let image = env.build_image(&context(&env, dockerfile), &[]);
        assert_eq!(image.text("mode"), "1777\n", "{who}");
        assert_eq!(image.text("content"), "deep\n", "{who}");
        assert_eq!(image.text("hidden"), "hosts\nresolv.conf\n", "{who}");
        assert!(!image.has("t"), "{who}");
    }
}

#[test]
fn steps_that_share_a_cache_make_mount_points_in_it_at_the_same_time() {
    let env = environment();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    for round in 0..40 {
        let stage = |n: usize| {
            format!(
                "FROM busybox AS s{n}\nRUN --mount=type=cache,id=o{round},target=/outer \
                 --mount=type=cache,id=i{round},target=/outer/a/b/inner echo {n} > /made\n"
            )
        };
        let copy = |n: usize| format!("COPY --from=s{n} /made /{n}\n");
        let mut lines: Vec<String> = (0..8).map(stage).collect();
        lines.push("FROM scratch\n".to_owned());
        lines.extend((0..8).map(copy));
        let context = context(&env, &lines.concat());
        build(&env, &context, &["--no-cache"]).ok();
    }
}
