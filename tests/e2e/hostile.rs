//! Hostile steps: what they can see of the machine and of other steps, and what they can change.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::mounts::environments;
use crate::support::probe::probe;
use crate::support::processes::{signal, wait_until};
use crate::support::run::Run;
use crate::support::{TestEnv, bases, have, is_root, need, users};

const NEEDS: &str = "this needs busybox-static, gcc and libc6-dev";

/// A context with the probe, and environments to build it in; nothing where something is missing.
fn prepared(dockerfile: &str) -> Vec<(&'static str, TestEnv, PathBuf)> {
    let Some(probe) = probe() else {
        return Vec::new();
    };
    let with_context = |(who, env): (&'static str, TestEnv)| {
        let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
        fs_err::copy(probe, context.join("probe")).unwrap();
        (who, env, context)
    };
    environments().into_iter().map(with_context).collect()
}

/// Two steps that share a cache mount send each other descriptors; the one that gets them waits
/// until the other's layer was made, and then writes into it.
const COLLUDING: &str = "\
FROM busybox AS base
COPY probe /probe
FROM base AS takes
ARG WHEN
RUN --mount=type=cache,id=shared,target=/c /probe take /c/socket tool $WHEN > /said
FROM base AS lends
RUN --mount=type=cache,id=shared,target=/c mkdir /opt && echo good > /opt/tool && /probe lend /c/socket /opt
FROM lends
COPY --from=takes /said /said
RUN cat /opt/tool > /seen
";

#[test]
fn steps_that_work_together_cannot_change_a_finished_layer() {
    let all = prepared(COLLUDING);
    need!(!all.is_empty(), "{NEEDS}");
    for (who, env, context) in all {
        let image = env.build_image(&context, &["--build-arg", "WHEN=late"]);
        assert_eq!(
            image.text("said"),
            "refused: Read-only file system\n",
            "{who}"
        );
        assert_eq!(image.text("seen"), "good\n", "{who}");
        assert_eq!(image.text("opt/tool"), "good\n", "{who}");
        env.rbuild(["fsck"]).ok();
    }
}

#[test]
fn a_step_whose_files_another_one_holds_for_writing_fails() {
    let all = prepared(COLLUDING);
    need!(!all.is_empty(), "{NEEDS}");
    for (_, env, context) in all {
        let mut command = env.command();
        command
            .args(["build", "--build-arg", "WHEN=early"])
            .arg(&context);
        Run::of(&mut command)
            .fails(1)
            .says("cannot end the step: a process of another one writes to its files");
        env.rbuild(["fsck"]).ok();
    }
}

/// What the probe says of each thing that it tries, where everything is refused.
const REFUSED: &str = "\
inherited descriptors 0
TIOCSTI ENOTTY
TIOCSTI ENOTTY
TIOCSTI ENOTTY
/dev/tty refused
userfaultfd EPERM
io_uring_setup EPERM
bpf EPERM
kexec_load EPERM
kexec_file_load EPERM
keyctl EPERM
add_key EPERM
request_key EPERM
perf_event_open EPERM
unshare EPERM
setns EPERM
mount EPERM
open_by_handle_at EPERM
ptrace EPERM
pidfd_getfd EPERM
process_vm_readv EPERM
AF_PACKET EPERM
AF_ALG EPERM
AF_VSOCK EPERM
/proc/1/mem refused
/proc/1/environ refused
/proc/1/maps refused
/proc/1/exe refused
/proc/1/root/etc refused
/proc/1/cwd refused
/proc/1/fd/0 refused
/proc/1/task/1/mem refused
/proc/sys/kernel/core_pattern refused
/proc/sys/kernel/modprobe refused
/proc/sysrq-trigger refused
/proc/sys/vm/overcommit_memory refused
/sys/kernel/uevent_helper refused
/sys/power/state refused
/dev/mem refused
/dev/kmem refused
/dev/kmsg refused
/dev/fuse refused
/dev/kvm refused
/dev/net/tun refused
/dev/sda refused
/dev/vda refused
/dev/loop-control refused
/dev/console refused
/made refused
/dev/shm/made refused
abstract socket EPERM
";

#[test]
fn the_machine_is_out_of_reach_of_a_step() {
    let name = format!("rbuild-hostile-{}", std::process::id());
    let dockerfile = format!("FROM busybox\nCOPY probe /probe\nRUN /probe attack {name} > /said\n");
    let all = prepared(&dockerfile);
    need!(!all.is_empty(), "{NEEDS}");
    need!(has_landlock_scopes(), "this needs Linux 6.12");
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = UnixListener::bind_addr(&address).unwrap();
    for (who, env, context) in all {
        let image = env.build_image(&context, &[]);
        assert_eq!(image.text("said"), REFUSED, "{who}");
    }
}

/// Linux 6.12 keeps steps from abstract sockets.
fn has_landlock_scopes() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 12)
}

/// Runs a command of the program on a terminal; returns what the terminal is sent.
fn on_a_terminal(env: &TestEnv, args: &[&str]) -> Vec<u8> {
    let inner = env.command();
    let words = std::iter::once(inner.get_program().to_str().unwrap()).chain(args.iter().copied());
    let quoted: Vec<_> = words.map(|word| format!("'{word}'")).collect();
    let mut script = Command::new("script");
    script
        .args(["-qec", &quoted.join(" "), "/dev/null"])
        .env_clear();
    for (name, value) in inner.get_envs() {
        script.envs(value.map(|value| (name, value)));
    }
    let output = script
        .current_dir(env.path("out"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{args:?}: {report}");
    output.stdout
}

/// Names, labels, commands, output and notes with sequences that a terminal would follow.
#[test]
fn nothing_that_an_image_or_a_step_says_commands_a_terminal() {
    let env = TestEnv::new();
    need!(
        have("script") && bases::busybox().is_some(),
        "this needs script and busybox-static"
    );
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}2J\u{202e}\u{8}";
    let base = bases::busybox().unwrap().to_str().unwrap();
    let note = format!("note{evil}\nforged   row");
    env.rbuild(["import", "--message", &note, base, "busybox"])
        .ok();
    let dockerfile = format!(
        "FROM busybox AS one\nLABEL evil=\"{evil}\"\nRUN printf '\\033]0;x\\007\\033[31m\\233' && : '{evil}'\n\
         ARG NAME=\"{evil}\"\n"
    );
    let context = env.context(
        "ctx",
        &[("Dockerfile", &dockerfile), (&format!("a{evil}"), "")],
    );
    let context = context.to_str().unwrap();
    on_a_terminal(&env, &["build", "--progress=tty", "-t", "evil", context]);
    let build = [
        "build",
        "--progress=plain",
        "--no-cache",
        "-t",
        "evil",
        context,
    ];
    for args in [
        &build[..],
        &["history", "--no-trunc", "evil"],
        &["history", "busybox"],
        &["inspect", "evil"],
        &["images"],
        &["df", "-v"],
        &["plan", context],
        &["plan", "--format=json", context],
        &["build", "--call=outline", context],
        &["build", "--call=targets,format=json", context],
        &[
            "check",
            "--failure-threshold=none",
            "--format=json",
            context,
        ],
    ] {
        let sent = on_a_terminal(&env, args);
        let text = String::from_utf8_lossy(&sent);
        let is_bad = |c: char| (c.is_control() && !"\n\r\t".contains(c)) || c == '\u{202e}';
        assert!(!text.contains(is_bad), "{args:?}: {text:?}");
    }
    let history = env.rbuild(["history", "busybox"]).ok();
    assert_eq!(history.out().lines().count(), 2, "{}", history.report());
}

/// Neither rbuild nor its helpers show a secret on their command line; the kernel says by the owner
/// of what is in `/proc` that nobody else may read their memory.
#[test]
fn secrets_are_in_no_argument_and_no_dump() {
    const SECRET: &str = "swordfish-4711-swordfish";
    let user = users::ordinary(true).or_else(|| users::ordinary(false));
    need!(
        user.is_some() && is_root() && bases::busybox().is_some(),
        "this needs root, busybox-static and scripts/test-users.sh"
    );
    let env = TestEnv::of(user.unwrap());
    env.import(bases::busybox().unwrap(), "busybox");
    let dockerfile =
        "FROM busybox\nRUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B sleep 60\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let file = env.path("home").join("secret");
    fs_err::write(&file, SECRET).unwrap();
    let from_file = format!("id=a,src={}", file.display());
    let mut build = env
        .command()
        .args([
            "build",
            "--secret",
            &from_file,
            "--secret",
            "id=b,env=TOKEN",
        ])
        .arg(&context)
        .env("TOKEN", SECRET)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ours = || {
        let found = fs_err::read_dir("/proc")
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        let is_ours = |path: &PathBuf| {
            let name = fs_err::read_to_string(path.join("comm")).unwrap_or_default();
            let mine = fs_err::read(path.join("environ")).unwrap_or_default();
            let store = env.store().into_os_string().into_encoded_bytes();
            name.starts_with("rbuild") && mine.windows(store.len()).any(|window| window == store)
        };
        found.filter(is_ours).collect::<Vec<_>>()
    };
    wait_until("rbuild, its helper and a step run", || ours().len() >= 3);
    for process in ours() {
        let arguments = fs_err::read_to_string(process.join("cmdline")).unwrap();
        assert!(!arguments.contains(SECRET), "{arguments:?}");
        let owner = fs_err::metadata(process.join("environ")).unwrap();
        assert_eq!(
            owner.uid(),
            0,
            "{} can be read by its user",
            process.display()
        );
    }
    signal(&build, rustix::process::Signal::TERM);
    build.wait().unwrap();
}
