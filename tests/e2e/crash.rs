//! A build that is ended from outside leaves nothing but what the next one can use.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::env::user_namespaces;
use crate::support::processes::{assert_nothing_left, signal, wait_until};
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

/// Killed at many moments of a build with many steps: the next build always works.
#[test]
fn killed_at_any_moment() {
    need!(bases::busybox().is_some(), "{NEEDS}");
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let steps: Vec<String> = (0..15)
        .map(|n| {
            format!(
                "RUN echo {n} > /file-{n}; cp -r /data /copy-{n}; rm -f /file-{}",
                n - 3
            )
        })
        .collect();
    let dockerfile = format!("FROM busybox\nCOPY data /data\n{}\n", steps.join("\n"));
    let context = env.context("ctx", &[("Dockerfile", &dockerfile)]);
    for n in 0..50 {
        env.context(
            "ctx",
            &[(&format!("data/{n}.txt"), &"text\n".repeat(n * 100))],
        );
    }
    for round in 0..12_u64 {
        let args = ["build", "-q", "--no-cache", "-t", "app:1"];
        let mut child = env
            .command()
            .args(args)
            .arg(&context)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + round * 37));
        signal(&child, Signal::KILL);
        child.wait().unwrap();
    }
    let image = env.build_image(&context, &["-t", "app:1"]);
    assert_eq!(image.text("copy-14/7.txt"), "text\n".repeat(700));
    assert!(image.has("file-14") && !image.has("file-11"));
    assert_eq!(env.image("app:1").id, image.id);
    assert_nothing_left(&env.path("store"), &env.store());
}
