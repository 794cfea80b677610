//! The ladder of isolation: each rung by name, and what is left of it in containers.

use crate::examples;
use crate::support::container::Container;
use crate::support::env::user_namespaces;
use crate::support::registry::Registry;
use crate::support::run::Run;
use crate::support::{TestEnv, bases, example, need, tree, users};

const NEEDS: &str =
    "this needs root, unshare, setpriv, busybox-static, and the users of scripts/test-users.sh";

const CONTAINER: Container = Container {
    covers_proc: true,
    few_capabilities: false,
    no_namespaces: false,
};

/// Builds examples where the kernel mounts neither overlays nor `/proc`, and compares with root's.
fn examples_in(env: TestEnv, has_other_ids: bool) {
    let env = env.and_registry().unwrap();
    for name in examples::ON_BUSYBOX {
        // A copy: the repository may lie where the user cannot read.
        let context = env.out(name);
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .args([example(name), context.clone()])
            .status();
        assert!(copied.unwrap().success());
        let tag = format!("{name}:1.0");
        let build = ["build", "-q", "-f", "Dockerfile.prod", "-t", &tag, "."];
        Run::of(env.command().current_dir(&context).args(build)).ok();
        let ours = env.image(&tag);
        if has_other_ids {
            let roots = examples::built(name).unwrap();
            let differences = tree::differences(&ours.tree, &roots.tree);
            assert!(differences.is_empty(), "{name}: {differences:#?}");
        }
    }
}

/// A user's environment inside; `None` for root.
fn contained(user: Option<bool>, container: Container) -> Option<TestEnv> {
    let env = match user {
        None => TestEnv::new(),
        Some(subordinate_ids) => {
            TestEnv::of(users::ordinary(subordinate_ids).filter(user_namespaces)?)
        }
    };
    Container::is_possible().then(|| env.inside(container))
}

#[test]
fn examples_in_a_container_of_root() {
    let container = Container {
        few_capabilities: true,
        ..CONTAINER
    };
    let env = contained(None, container);
    need!(env.is_some() && Registry::shared().is_some(), "{NEEDS}");
    examples_in(env.unwrap(), true);
}

#[test]
fn examples_in_a_container_with_subordinate_ids() {
    let env = contained(Some(true), CONTAINER);
    need!(env.is_some() && Registry::shared().is_some(), "{NEEDS}");
    examples_in(env.unwrap(), true);
}

#[test]
fn examples_in_a_container_without_subordinate_ids() {
    let env = contained(Some(false), CONTAINER);
    need!(env.is_some() && Registry::shared().is_some(), "{NEEDS}");
    examples_in(env.unwrap(), false);
}

/// Everything that an overlay's upper directory would tell is found in a copied tree too.
#[test]
fn copied_trees_show_every_change() {
    let env = contained(Some(true), CONTAINER);
    need!(env.is_some() && bases::busybox().is_some(), "{NEEDS}");
    let dockerfile = "\
FROM busybox
RUN mkdir -p /gone/deep /kept && echo x > /gone/deep/file && echo x > /kept/file && ln -s file /kept/link \\
 && ln /kept/file /kept/second && mkfifo /fifo && chown 12:34 /kept/file && touch -d @1000000000 /kept/old
RUN rm -r /gone /kept/link && mkdir /gone && mv /kept/old /kept/new && chmod 4711 /bin/busybox && rm /etc/group
RUN --network=none touch /gone && test ! -e /gone/deep
";
    let check = |env: &TestEnv| {
        env.import(bases::busybox().unwrap(), "busybox");
        let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
        env.build_image(&context, &["--build-arg", "SOURCE_DATE_EPOCH=1700000000"])
    };
    let (copied, overlaid) = (check(&env.unwrap()), check(&TestEnv::new()));
    let differences = tree::differences(&copied.tree, &overlaid.tree);
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(!copied.tree.contains_key("etc/group") && !copied.tree.contains_key("gone/deep"));
    assert_eq!(copied.node("bin/busybox").mode, 0o4711);
    assert_eq!(
        (copied.node("kept/file").uid, copied.node("kept/second").gid),
        (12, 34)
    );
}

/// Where `/proc` is shared it is for reading, and shows nothing of other processes' inner lives.
#[test]
fn a_shared_proc_gives_nothing_away() {
    let env = contained(Some(true), CONTAINER);
    need!(env.is_some() && bases::busybox().is_some(), "{NEEDS}");
    let env = env.unwrap();
    env.import(bases::busybox().unwrap(), "busybox");
    let dockerfile = "\
FROM busybox AS one
RUN SECRET=of-a-neighbour sh -c 'sleep 2; echo $SECRET > /one'
FROM busybox AS two
RUN readlink /proc/self/exe; test -z \"$(cat /proc/interrupts)\"; ls /proc/irq | wc -l; \\
    for n in 1 2 3 4 5 6 7 8 9; do sleep 0.2; \\
      for p in /proc/[0-9]*; do test $(readlink /proc/self) = ${p##*/} || \\
        tr '\\0' '\\n' < $p/environ | grep of-a-neighbour && echo LEAK; ls $p/root/ | grep one && echo LEAK; done; \\
    done 2> /dev/null | grep LEAK; \\
    echo 1000 > /proc/self/oom_score_adj || echo refused; echo 300 > /proc/sys/kernel/pid_max || echo refused
FROM scratch
COPY --from=one /one /
COPY --from=two /bin/busybox /
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let run = env
        .rbuild(["build", "--progress=plain", context.to_str().unwrap()])
        .ok();
    let said: Vec<_> = run
        .stderr
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.split_once(' '))
        .filter(|(time, _)| time.parse::<f32>().is_ok())
        .map(|(_, text)| text)
        .collect();
    assert!(
        !said.iter().any(|line| line.contains("LEAK")),
        "{}",
        run.report()
    );
    assert_eq!(
        said.iter().filter(|line| **line == "refused").count(),
        2,
        "{}",
        run.report()
    );
    assert!(said.contains(&"/bin/busybox"), "{}", run.report());
}

/// Without namespaces only what needs none is done, and the message has the cure.
#[test]
fn without_namespaces_a_run_is_refused() {
    let container = Container {
        covers_proc: false,
        few_capabilities: true,
        no_namespaces: true,
    };
    let env = contained(None, container);
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let files = env.context(
        "files",
        &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")],
    );
    env.build(&files, &[]);
    let runs = env.context("runs", &[("Dockerfile", "FROM scratch\nRUN [\"/x\"]\n")]);
    env.rbuild(["build", runs.to_str().unwrap()])
        .fails(1)
        .says("RUN needs a sandbox")
        .says("sudo sysctl -w user.max_user_namespaces");
}

/// What is asked for by name is there, or the build does not begin.
#[test]
fn rungs_can_be_chosen() {
    let user = users::ordinary(true).filter(user_namespaces);
    need!(user.is_some() && bases::busybox().is_some(), "{NEEDS}");
    let env = TestEnv::of(user.unwrap());
    env.import(bases::busybox().unwrap(), "busybox");
    let dockerfile =
        "FROM busybox\nRUN wc -l < /proc/self/uid_map > /extents; touch /f; chown 5:5 /f\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let extents = |arguments: &[&str]| {
        let image = env.build_image(&context, &[&["--no-cache"], arguments].concat());
        (image.text("extents").trim().to_owned(), image.node("f").uid)
    };
    for all_ids in ["auto", "default", "rootless", "subordinate-ids"] {
        assert_eq!(
            extents(&["--isolation", all_ids]),
            ("2".to_owned(), 5),
            "{all_ids}"
        );
    }
    assert_eq!(extents(&["--isolation=single-id"]).0, "1");
    let build = |isolation: &str| {
        let mut command = env.command();
        Run::of(
            command
                .env("RBUILD_ISOLATION", isolation)
                .arg("build")
                .arg(&context),
        )
    };
    build("").ok();
    build("root")
        .fails(1)
        .says("isolation root is not possible: this process does not have CAP_SYS_ADMIN");
    build("identity").fails(1).says("CAP_SETUID");
    build("hyperv").fails(2).says("invalid value 'hyperv'");
}

/// A build that takes too long leaves nothing running and nothing built.
#[test]
fn builds_can_be_limited_in_time() {
    need!(bases::busybox().is_some(), "{NEEDS}");
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let dockerfile = "FROM busybox\nRUN sleep 1000.5 & sleep 1000.5\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let start = std::time::Instant::now();
    let build = |timeout: &str, context: &std::path::Path| {
        env.rbuild([
            "build",
            "-t",
            "slow:1",
            "--timeout",
            timeout,
            context.to_str().unwrap(),
        ])
    };
    build("500ms", &context)
        .fails(1)
        .says("the build was stopped: it took longer than 500ms");
    assert!(start.elapsed().as_secs() < 60);
    let running = fs_err::read_dir("/proc").unwrap().flatten().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.starts_with(b"sleep\0") && line.ends_with(b"1000.5\0")
    });
    assert!(!running, "a process of the step still runs");
    env.rbuild(["inspect", "slow:1"]).fails(1);
    let quick = env.context("quick", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    build("1h", &quick).ok();
    build("soon", &quick).fails(2).says("not a duration");
}

/// With one id, what `chown` asks for is in the layer all the same. Always user and group: busybox
/// puts what it sees, root, in the place of one that is not given.
fn owners_are_recorded(env: &TestEnv) {
    env.import(bases::busybox().unwrap(), "busybox");
    let dockerfile = "\
FROM busybox
COPY --chown=44:45 Dockerfile /copied
RUN mkdir -p /app/sub && cd /app && touch all one sub/two setuid fd && chmod 4755 setuid \\
 && chown -R 1000:1001 /app && chown 1000:55 one && chown 76:66 sub/../sub/two && chmod 4711 setuid \\
 && ln -s two sub/link && chown 77:66 sub/link && ln all hard && chown 5:6 hard && chown -h 1:1 sub/link
RUN sed -i s/FROM/from/ /copied && echo more >> /app/one && chown 0:1001 /app/sub \\
 && mkdir -p /jail/bin && cp /bin/busybox /jail/bin/ && touch /jail/inner && chroot /jail /bin/busybox chown 8:9 /inner \\
 && chown 1:1 /dev/null /dev/stdout /proc/self/exe && ! chown 1:1 /nowhere && ! chown 1:1 /copied/below
USER www-data
RUN touch /tmp/users
";
    let context = env.context("owners", &[("Dockerfile", dockerfile)]);
    let image = env.build_image(&context, &[]);
    let owner = |path: &str| (image.node(path).uid, image.node(path).gid);
    for (path, expected) in [
        ("app", (1000, 1001)),
        ("app/fd", (1000, 1001)),
        ("app/one", (1000, 55)),
        ("app/sub", (0, 1001)),
        ("app/sub/two", (77, 66)),
        ("app/all", (5, 6)),
        ("app/hard", (5, 6)),
        ("jail/inner", (8, 9)),
        ("jail/bin", (0, 0)),
        ("copied", (44, 45)),
        ("tmp/users", (33, 33)),
        ("etc/passwd", (0, 0)),
    ] {
        assert_eq!(owner(path), expected, "{path}");
    }
    assert_eq!(image.node("app/setuid").mode, 0o4711);
    assert!(
        image.node("app").xattrs.is_empty(),
        "the record is not shipped"
    );
}

#[test]
fn owners_are_recorded_with_one_id() {
    let user = users::ordinary(false).filter(user_namespaces);
    need!(user.is_some() && bases::busybox().is_some(), "{NEEDS}");
    owners_are_recorded(&TestEnv::of(user.unwrap()));
}

/// There the numbers of processes are others.
#[test]
fn owners_are_recorded_in_a_container() {
    let env = contained(Some(false), CONTAINER);
    need!(env.is_some() && bases::busybox().is_some(), "{NEEDS}");
    owners_are_recorded(&env.unwrap());
}

/// Calls of emulated programs are the machine's own by the time they are seen.
#[test]
fn owners_are_recorded_for_other_architectures() {
    let user = users::ordinary(false).filter(user_namespaces);
    let base = bases::foreign("i386");
    need!(
        user.is_some() && base.is_some() && cfg!(target_arch = "x86_64"),
        "{NEEDS}"
    );
    let env = TestEnv::of(user.unwrap());
    let base = base.unwrap();
    env.rbuild([
        "import",
        "--platform=linux/386",
        base.to_str().unwrap(),
        "base-386",
    ])
    .ok();
    let dockerfile = "FROM base-386\nRUN touch /a /b && chown 70000:5 /a && chown -h :9 /b\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let image = env.build_image(&context, &["--platform=linux/386"]);
    assert_eq!((image.node("a").uid, image.node("a").gid), (70_000, 5));
    assert_eq!((image.node("b").uid, image.node("b").gid), (0, 9));
}
