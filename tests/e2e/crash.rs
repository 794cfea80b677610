//! A build that is ended from outside leaves nothing but what the next one can use.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::env::user_namespaces;
use crate::support::processes::{assert_nothing_left, signal, wait_until};
use crate::support::run::Run;
use crate::support::{TestEnv, bases, need, users};

const NEEDS: &str = "this needs busybox-static";

/// A first step that is done quickly, and one that goes on until it is ended.
const ENDLESS: &str = "\
FROM busybox
RUN echo done > /first
RUN echo started > /dev/stderr; (sleep 1000 & sleep 1000 & wait)
";

/// Starts an endless build and waits until its second RUN is there.
fn start(env: &TestEnv, context: &PathBuf) -> Child {
    let log = env.out("log");
    let file = fs_err::File::create(&log).unwrap().into_parts().0;
    let child = env
        .command()
        .args(["build", "--progress=plain", "-t", "endless:1"])
        .arg(context)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .unwrap();
    wait_until("the second RUN starts", || {
        let text = fs_err::read_to_string(&log).unwrap();
        text.lines().any(|line| line.ends_with(" started"))
    });
    child
}

/// Ends an endless build with a signal and looks around; then the fixed Dockerfile must build.
fn interrupted(env: &TestEnv, how: Signal, code: Option<i32>) {
    env.import(bases::busybox().unwrap(), "busybox");
    let context = env.context("ctx", &[("Dockerfile", ENDLESS)]);
    let mut child = start(env, &context);
    signal(&child, how);
    let status = child.wait().unwrap();
    if code.is_some() {
        assert_eq!(
            status.code(),
            code,
            "{}",
            fs_err::read_to_string(env.out("log")).unwrap()
        );
    }
    if how != Signal::KILL {
        assert_nothing_left(&env.path("store"), &env.store());
    }
    env.rbuild(["inspect", "endless:1"]).fails(1);

    let fixed =
        ENDLESS.lines().take(2).collect::<Vec<_>>().join("\n") + "\nRUN cat /first > /second\n";
    env.context("ctx", &[("Dockerfile", &fixed)]);
    assert_eq!(env.build_image(&context, &[]).text("second"), "done\n");
    assert_nothing_left(&env.path("store"), &env.store());
}

#[test]
fn ctrl_c() {
    need!(bases::busybox().is_some(), "{NEEDS}");
    interrupted(&TestEnv::new(), Signal::INT, Some(130));
}

#[test]
fn termination() {
    need!(bases::busybox().is_some(), "{NEEDS}");
    interrupted(&TestEnv::new(), Signal::TERM, Some(130));
}

#[test]
fn killed() {
    need!(bases::busybox().is_some(), "{NEEDS}");
    interrupted(&TestEnv::new(), Signal::KILL, None);
}

#[test]
fn ctrl_c_as_an_ordinary_user() {
    let user = users::ordinary(true).filter(user_namespaces);
    need!(
        bases::busybox().is_some() && user.is_some(),
        "{NEEDS} and an ordinary user"
    );
    interrupted(&TestEnv::of(user.unwrap()), Signal::INT, Some(130));
}

#[test]
fn killed_as_an_ordinary_user() {
    let user = users::ordinary(true).filter(user_namespaces);
    need!(
        bases::busybox().is_some() && user.is_some(),
        "{NEEDS} and an ordinary user"
    );
    interrupted(&TestEnv::of(user.unwrap()), Signal::KILL, None);
}

/// A failed step ends its siblings.
#[test]
fn a_failure_ends_what_runs_beside_it() {
    need!(bases::busybox().is_some(), "{NEEDS}");
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let dockerfile = "\
FROM busybox AS slow
RUN sleep 1000
FROM busybox AS fails
RUN sleep 1; exit 3
FROM busybox
COPY --from=slow /etc/passwd /a
COPY --from=fails /etc/passwd /b
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    env.rbuild(["build", "--jobs=2", context.to_str().unwrap()])
        .fails(1)
        .says("exit code: 3");
    assert_nothing_left(&env.path("store"), &env.store());
}

/// What is killed over and over: a base from a registry, files from a context and from a stage,
/// steps that make, change and remove files.
const MANY_STEPS: &str = "\
FROM busybox AS tools
RUN mkdir /tools; for n in 1 2 3 4 5 6 7 8; do echo $n > /tools/$n; done
FROM busybox
COPY data /data
RUN cp -r /data /copy; rm /etc/group
COPY --from=tools /tools /tools
RUN rm -r /data; ln /copy/7.txt /linked
WORKDIR /copy
";

/// Killed 200 times, anywhere in a build that pulls its base, or in a save: the store is sound after
/// each, and in the end the image is that of a store where nothing ever happened.
#[test]
fn killed_at_any_moment() {
    let env = TestEnv::with_registry();
    need!(
        env.is_some(),
        "this needs busybox-static, skopeo and docker-registry"
    );
    let env = env.unwrap();
    let files: Vec<_> = (0..20)
        .map(|n| (format!("data/{n}.txt"), "text\n".repeat(n * 100)))
        .collect();
    let context = |env: &TestEnv| {
        let files = files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()));
        env.context("ctx", &files.collect::<Vec<_>>());
        env.context("ctx", &[("Dockerfile", MANY_STEPS)])
    };
    let arguments = ["-t", "app:1", "--build-arg=SOURCE_DATE_EPOCH=1"];
    let undisturbed = TestEnv::with_registry().unwrap();
    let id = undisturbed.build(&context(&undisturbed), &arguments);
    let saved = saved_of(&undisturbed);

    let context = context(&env);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    // How long each kind of round may go on: as long as some come to their end and most do not.
    let mut limits = [Duration::from_millis(150); 8];
    let mut n_ended = 0;
    for round in 0..200 {
        if round % 8 == 0 {
            env.rbuild(["prune", "-af"]).ok();
        }
        let mut command = env.command();
        match round % 8 {
            6 => command
                .args(["save", "-o"])
                .arg(env.out("killed.tar"))
                .arg("app:1"),
            7 => command.args(["prune", "-f"]),
            n => {
                let cache = if n % 2 == 0 { "--no-cache" } else { "--quiet" };
                command.args(["build", cache]).args(arguments).arg(&context)
            }
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let limit = &mut limits[round % 8];
        std::thread::sleep(limit.mul_f64((random >> 40) as f64 / f64::from(1 << 24)));
        signal(&child, Signal::KILL);
        let has_ended = child.wait().unwrap().success();
        *limit = limit.mul_f64(if has_ended { 0.7 } else { 1.1 });
        n_ended += usize::from(has_ended);
        env.rbuild(["fsck"]).ok();
    }
    assert!(
        n_ended < 100,
        "{n_ended} of 200 came to their end before they were killed"
    );
    let built = env.build(&context, &arguments);
    assert_eq!(built, id);
    assert_eq!(saved_of(&env), saved);
    env.rbuild(["prune", "-f"]).ok();
    env.rbuild(["fsck"]).ok();
    for folder in ["locks", "leases"] {
        assert_eq!(
            fs_err::read_dir(env.store().join(folder)).unwrap().count(),
            0
        );
    }
    assert_nothing_left(&env.path("store"), &env.store());
}

/// The commands that change or read a store, killed anywhere: it is sound after each.
#[test]
fn other_commands_killed_at_any_moment() {
    need!(bases::busybox().is_some(), "{NEEDS}");
    let env = TestEnv::new();
    let busybox = bases::busybox().unwrap().to_str().unwrap();
    let import = || {
        let mut import = env.command();
        import.env("SOURCE_DATE_EPOCH", "1");
        import.args(["import", busybox, "busybox"]);
        import
    };
    Run::of(&mut import()).ok();
    let dockerfile = "FROM busybox\nRUN echo a > /a\nCOPY data /data\nRUN cp /data /copy\n";
    let text = "text\n".repeat(20_000);
    let context = env.context("ctx", &[("Dockerfile", dockerfile), ("data", &text)]);
    let arguments = ["-t", "app:1", "--build-arg=SOURCE_DATE_EPOCH=1"];
    let id = env.build(&context, &arguments);
    let archive = env.out("app.tar");
    let archive = archive.to_str().unwrap();
    env.rbuild(["save", "-o", archive, "app:1"]).ok();
    let copy = env.out("copy.tar");
    let commands: [&[&str]; 8] = [
        &["load", "-i", archive],
        &["fsck", "--repair"],
        &["prune", "-af"],
        &["load", "-i", archive],
        &["save", "-o", copy.to_str().unwrap(), "app:1"],
        &["tag", "app:1", "other:1"],
        &["builder", "prune", "-af"],
        &["rmi", "app:1"],
    ];
    let mut random = 0x0dd0_5eed_u64;
    let mut limits = [Duration::from_millis(100); 9];
    let mut n_killed = 0;
    for round in 0..72 {
        let kind = round % 9;
        let mut command = match commands.get(kind) {
            Some(arguments) => {
                let mut command = env.command();
                command.args(*arguments);
                command
            }
            None => import(),
        };
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let limit = &mut limits[kind];
        std::thread::sleep(limit.mul_f64((random >> 40) as f64 / f64::from(1 << 24)));
        signal(&child, Signal::KILL);
        let was_killed = child.wait().unwrap().code().is_none();
        *limit = limit.mul_f64(if was_killed { 1.2 } else { 0.6 });
        n_killed += usize::from(was_killed);
        env.rbuild(["fsck"]).ok();
    }
    assert!(n_killed > 20, "{n_killed} of 72");
    Run::of(&mut import()).ok();
    assert_eq!(env.build(&context, &arguments), id);
    env.rbuild(["prune", "-af"]).ok();
    env.rbuild(["fsck"]).ok();
    for folder in ["layers", "blobs/sha256", "locks", "leases", "tmp"] {
        let left = fs_err::read_dir(env.store().join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
}

/// The bytes that `save` writes.
fn saved_of(env: &TestEnv) -> Vec<u8> {
    let tar = env.out("app.tar");
    env.rbuild(["save", "-o", tar.to_str().unwrap(), "app:1"])
        .ok();
    fs_err::read(tar).unwrap()
}
