//! What control groups do to steps: where they are, what they may use, and that no group stays.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::mounts::environments;
use crate::support::processes::{signal, wait_until};
use crate::support::run::Run;
use crate::support::{TestEnv, bases, is_root, need};

const NEEDS: &str = "this needs busybox-static and root";

/// A builder who may make groups, with a context of this Dockerfile.
fn builder(dockerfile: &str) -> Option<(TestEnv, PathBuf)> {
    let busybox = bases::busybox().filter(|_| is_root())?;
    let env = TestEnv::new();
    env.import(busybox, "busybox");
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    Some((env, context))
}

fn build(env: &TestEnv, context: &Path, args: &[&str]) -> Command {
    let mut command = env.command();
    command.args(["build", "-q"]).args(args).arg(context);
    command.stdout(Stdio::null());
    command
}

/// Groups with this name below the top of any hierarchy.
fn groups(name: &str) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let below = std::fs::read_dir(top).into_iter().flatten().flatten();
    let tops = below.map(|entry| entry.path()).chain([top.to_owned()]);
    tops.map(|top| top.join(name))
        .filter(|path| path.is_dir())
        .collect()
}

/// Groups that this process made for steps, wherever they are.
fn groups_of(builder: u32) -> Vec<PathBuf> {
    let prefix = format!("rbuild-{builder}.");
    let (mut found, mut rest) = (Vec::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
    while let Some(dir) = rest.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                found.push(entry.path());
            }
            rest.push(entry.path());
        }
    }
    found
}

#[test]
fn steps_are_in_the_control_group_that_was_asked_for() {
    let dockerfile = "FROM busybox\nRUN touch /started; sleep 1; cat /proc/self/cgroup > /seen\n";
    let found = builder(dockerfile);
    need!(found.is_some(), "{NEEDS}");
    let (env, context) = found.unwrap();
    let name = format!("rbuild-test-{}", std::process::id());
    let parent = format!("--cgroup-parent=/{name}/deep");
    let build = |args: &[&str]| build(&env, &context, args);
    let mut child = build(&[&parent]).spawn().unwrap();
    let inside = || {
        let groups = groups_of(child.id());
        let n_processes = |path: &PathBuf| {
            assert!(path.parent().unwrap().ends_with(format!("{name}/deep")));
            let processes = std::fs::read_to_string(path.join("cgroup.procs"));
            processes.unwrap_or_default().lines().count()
        };
        // The step's pid 1, its shell and what that runs, in every hierarchy.
        !groups.is_empty() && groups.iter().all(|group| n_processes(group) >= 3)
    };
    wait_until("the step is in its group", inside);
    assert!(child.wait().unwrap().success());
    assert_eq!(groups(&name), [""; 0].map(PathBuf::from));
    // Seen from inside, its groups are the tops.
    let image = env.build_image(&context, &[&parent]);
    let seen = image.text("seen");
    assert!(
        !seen.is_empty() && seen.lines().all(|line| line.ends_with(":/")),
        "{seen}"
    );

    // What a killed build left goes with the next one.
    let mut killed = build(&[&parent, "--no-cache"]).spawn().unwrap();
    wait_until("it runs", || !groups_of(killed.id()).is_empty());
    signal(&killed, Signal::KILL);
    killed.wait().unwrap();
    assert!(build(&[&parent, "--no-cache"]).status().unwrap().success());
    assert_eq!(groups_of(killed.id()), [""; 0].map(PathBuf::from));
    for left in groups(&format!("{name}/deep"))
        .into_iter()
        .chain(groups(&name))
    {
        std::fs::remove_dir(&left).unwrap();
    }
    for bad in ["--cgroup-parent=../x", "--cgroup-parent=/"] {
        let run = Run::of(&mut build(&[bad])).fails(1);
        run.says("invalid cgroup parent");
    }
}

/// Who may not, is told so: nothing that was asked for is left out without a word.
#[test]
fn control_groups_are_not_for_everybody() {
    let environments = environments();
    need!(environments.len() > 1, "{NEEDS} and ordinary users");
    for (who, env) in environments.into_iter().skip(1) {
        let context = env.context("ctx", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
        for option in [
            "--cgroup-parent=/x",
            "--memory=64m",
            "--pids-limit=50",
            "--cpu-quota=50000",
        ] {
            let run = env
                .rbuild(["build", option, context.to_str().unwrap()])
                .fails(1);
            assert!(
                run.stderr.contains("control group"),
                "{who}: {}",
                run.report()
            );
            assert!(run.stderr.contains("help: "), "{who}: {}", run.report());
        }
        // What means "no limit" needs none.
        env.build(
            &context,
            &["--memory=0", "--memory-swap=-1", "--cpu-quota=-1"],
        );
    }
}

/// The limit and the step that it killed are named, also where the step hides it.
#[test]
fn memory_is_limited() {
    let hog = "x=$(head -c 200m /dev/zero | tr '\\0' x)";
    let found = builder(&format!("FROM busybox\nRUN {hog}; echo over\n"));
    need!(found.is_some(), "{NEEDS}");
    let (env, context) = found.unwrap();
    for args in [
        &["-m", "64m"][..],
        &["--memory=67108864", "--memory-swap=64m"],
        &["--resource=memory=64MiB"],
    ] {
        let run = Run::of(&mut build(&env, &context, args)).fails(1);
        let text = "it was killed: it used more than the memory limit (64 MiB)";
        run.says("exit code: 137").says(text).says("--memory");
    }
    let hidden = format!("FROM busybox\nRUN ( {hog} ); test $? = 137\n");
    fs_err::write(context.join("Dockerfile"), hidden).unwrap();
    let mut command = env.command();
    command
        .args(["build", "--progress=plain", "-m64m"])
        .arg(&context);
    Run::of(&mut command)
        .ok()
        .says("a part of this step failed, but not the step: it was killed");
    // Without a limit there is none; and no limit is in a key.
    let free = format!("FROM busybox\nRUN {hog}; echo ${{#x}} > /size\n");
    fs_err::write(context.join("Dockerfile"), free).unwrap();
    let image = env.build_image(&context, &[]);
    assert_eq!(image.text("size"), "209715200\n");
    env.build(&context, &["--memory=64m", "--cpu-shares=2"]);
}

#[test]
fn processes_are_limited() {
    let many = "for i in $(seq 60); do sleep 2 & done; wait";
    let found = builder(&format!("FROM busybox\nRUN {many}\n"));
    need!(found.is_some(), "{NEEDS}");
    let (env, context) = found.unwrap();
    let limited = |limit| Run::of(&mut build(&env, &context, &[limit]));
    limited("--pids-limit=30")
        .fails(1)
        .says("it could not start more than 30 processes and threads");
    limited("--pids-limit=100").ok();
    // A fork bomb ends.
    let bomb = "FROM busybox\nRUN b() { b | b & }; b; sleep 2; echo over\n";
    fs_err::write(context.join("Dockerfile"), bomb).unwrap();
    let mut child = build(&env, &context, &["--pids-limit=200"])
        .spawn()
        .unwrap();
    wait_until("the bomb's build ends", || {
        child.try_wait().unwrap().is_some()
    });
    assert_eq!(groups_of(child.id()), [""; 0].map(PathBuf::from));
}

#[test]
fn processors_are_limited() {
    let seen =
        "grep Cpus_allowed_list /proc/self/status | tr -d 'A-Za-z_: \\t' > /cpus; nproc > /n";
    let found = builder(&format!(
        "FROM busybox\nRUN {seen}\nRUN for i in $(seq 3); do (while :; do :; done) & done; sleep 2; \
         kill $(jobs -p); times > /times\n"
    ));
    need!(found.is_some(), "{NEEDS}");
    let (env, context) = found.unwrap();
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    let last = own.trim().rsplit([',', '-']).next().unwrap();
    let image = env.build_image(
        &context,
        &[
            &format!("--cpuset-cpus={last}"),
            "--cpu-quota=20000",
            "--cpu-period=100000",
        ],
    );
    assert_eq!(image.text("cpus").trim(), last);
    assert_eq!(image.text("n"), "1\n");
    // User and system time of the ended children, in seconds: a fifth of two, with room for what is not exact.
    let times = image.text("times");
    let spent: f64 = times
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .map(|time| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
            minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
        })
        .sum();
    assert!(spent < 1.2, "{times}");
    let run = Run::of(&mut build(&env, &context, &["--cpuset-cpus=8000"])).fails(1);
    run.says("8000 is more than there is");
}

#[test]
fn limits_are_read_before_anything_is_done() {
    let env = TestEnv::new();
    let context = env.context("ctx", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")]);
    let context = context.to_str().unwrap();
    for (options, text) in [
        (&["--memory=much"][..], "--memory: `much` is not a size"),
        (&["--memory=1m"], "least limit of memory is 6m"),
        (&["--memory-swap=1g"], "only with --memory"),
        (&["-m", "1g", "--memory-swap=512m"], "no less than that"),
        (&["--cpu-period=5"], "periods are from 1000"),
        (&["--cpuset-cpus=x"], "--cpuset-cpus: `x` is not a list"),
        (&["--resource=disk=1g"], "the limits are memory,"),
        (&["--resource=memory"], "not a name and a value"),
    ] {
        let args = ["build"].iter().chain(options).chain([&context]);
        env.rbuild(args).fails(2).says(text);
    }
}
