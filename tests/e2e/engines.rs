//! Docker engines and Podman: how they are found, and that they get only what they lack.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::support::engine::Engine;
use crate::support::image::{Image, sha256};
use crate::support::podman::Podman;
use crate::support::run::Run;
use crate::support::tree::differences;
use crate::support::{TestEnv, have, janitor, need};

const NEEDS: &str = "this needs a Docker engine that starts";

/// Passes on what comes to a socket of its own, and counts.
struct Relay {
    socket: PathBuf,
    n_sent: Arc<AtomicU64>,
}

impl Relay {
    fn to(engine: &str) -> Self {
        let target = PathBuf::from(engine.strip_prefix("unix://").unwrap());
        let socket = janitor::scratch().join("sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let n_sent = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&n_sent);
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let server = UnixStream::connect(&target).unwrap();
                let ways = [
                    (
                        client.try_clone().unwrap(),
                        server.try_clone().unwrap(),
                        Some(Arc::clone(&count)),
                    ),
                    (server, client, None),
                ];
                for (from, to, count) in ways {
                    std::thread::spawn(move || pass(from, to, count.as_deref()));
                }
            }
        });
        Self { socket, n_sent }
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Bytes that were sent to the engine since this was called last.
    fn sent(&self) -> u64 {
        self.n_sent.swap(0, Ordering::SeqCst)
    }
}

fn pass(mut from: UnixStream, mut to: UnixStream, count: Option<&AtomicU64>) {
    let mut buffer = [0; 1 << 16];
    while let Ok(n_bytes @ 1..) = from.read(&mut buffer) {
        // Before they are there: whoever answers has got them all.
        if let Some(count) = count {
            count.fetch_add(n_bytes as u64, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..n_bytes]).is_err() {
            break;
        }
    }
    drop(to.shutdown(std::net::Shutdown::Write));
}

/// A large layer, and above it a small one of `text`.
fn context(env: &TestEnv, text: &str) -> PathBuf {
    // Of this test alone: the engine is shared.
    let large = env.path("").display().to_string().repeat(1 << 16);
    let dockerfile = "FROM scratch\nCOPY large /\nCOPY small /\nCMD [\"/small\"]\n";
    env.context(
        "ctx",
        &[
            ("Dockerfile", dockerfile),
            ("large", &large),
            ("small", text),
        ],
    )
}

fn load(env: &TestEnv, variables: &[(&str, &str)], args: &[&str]) -> Run {
    let mut command = env.command();
    command
        .envs(variables.iter().copied())
        .args(["build", "--load"]);
    Run::of(command.args(args).arg(env.path("ctx")))
}

fn id_in(inspected: &mut Command) -> String {
    let run = Run::of(inspected).ok();
    format!("sha256:{}", run.out().trim_start_matches("sha256:"))
}

#[test]
fn an_engine_gets_only_what_it_lacks() {
    let engine = Engine::shared();
    need!(engine.is_some(), "{NEEDS}");
    let engine = engine.unwrap();
    let relay = Relay::to(&engine.host());
    let env = TestEnv::new();
    let host = relay.host();
    let send = |text: &str, name: &str| {
        context(&env, text);
        let run = load(&env, &[("DOCKER_HOST", &host)], &["-q", "-t", name]).ok();
        let id = id_in(&mut engine.command(&["inspect", "-f", "{{.Id}}", name]));
        assert_eq!(id, run.out());
        relay.sent()
    };
    let text = format!("first {}", env.path("").display());
    let whole = send(&text, "lacks.example/app:1");
    assert!(whole > 1 << 20, "{whole}");
    // The large layer is there already.
    let changed = send("second", "lacks.example/app:2");
    assert!(changed < 1 << 18, "{changed}");
    // All of it is there.
    let named = send("second", "lacks.example/app:3");
    assert!(named < 4096, "{named}");

    // What came in parts is whole.
    let tar = env.out("theirs.tar");
    let save = ["save", "-o", tar.to_str().unwrap(), "lacks.example/app:3"];
    Run::of(&mut engine.command(&save)).ok();
    let theirs = Image::from_docker_archive(&tar).remove(0).0;
    let ours = env.image("lacks.example/app:3");
    assert_eq!(theirs.id, ours.id);
    assert_eq!(differences(&ours.tree, &theirs.tree), Vec::<String>::new());

    // With none of the images left it gets everything again.
    let names = ["1", "2", "3"].map(|tag| format!("lacks.example/app:{tag}"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Run::of(&mut engine.command(&[&["rmi"], &names[..]].concat())).ok();
    let again = send(&text, "lacks.example/app:1");
    assert!(again > 1 << 20, "{again}");
    Run::of(&mut engine.command(&["rmi", "lacks.example/app:1"])).ok();
}

#[test]
fn several_platforms_go_to_an_engine() {
    let engine = Engine::shared();
    need!(engine.is_some(), "{NEEDS}");
    let engine = engine.unwrap();
    let env = TestEnv::new();
    context(&env, "platforms");
    let args = [
        "--platform=linux/amd64,linux/arm64",
        "-t",
        "many.example/app:1",
    ];
    load(&env, &[("DOCKER_HOST", &engine.host())], &args).ok();
    let format = "{{.Architecture}}";
    let found = Run::of(&mut engine.command(&["inspect", "-f", format, "many.example/app:1"])).ok();
    assert_eq!(found.out(), "amd64");
}

/// The environment names an engine in Docker's ways, or one of Docker's contexts does.
#[test]
fn contexts_of_docker() {
    let engine = Engine::shared();
    need!(engine.is_some(), "{NEEDS}");
    let engine = engine.unwrap();
    let env = TestEnv::new();
    context(&env, "contexts");
    let config = env.path("home/.docker");
    let id = sha256(b"there").replace("sha256:", "");
    let meta = config.join("contexts/meta").join(&id);
    fs_err::create_dir_all(&meta).unwrap();
    let document = json!({
        "Name": "there",
        "Metadata": {},
        "Endpoints": {"docker": {"Host": engine.host(), "SkipTLSVerify": false}},
    });
    fs_err::write(meta.join("meta.json"), document.to_string()).unwrap();
    let is_there = |name: &str| {
        let found = Run::of(&mut engine.command(&["inspect", "-f", "{{.Id}}", name]));
        found.code == Some(0)
    };
    load(
        &env,
        &[("DOCKER_CONTEXT", "there")],
        &["-t", "by.example/variable:1"],
    )
    .ok();
    assert!(is_there("by.example/variable:1"));
    load(&env, &[("DOCKER_CONTEXT", "nowhere")], &[])
        .fails(1)
        .says("context \"nowhere\": context not found");
    // DOCKER_HOST comes first.
    let both = [
        ("DOCKER_CONTEXT", "there"),
        ("DOCKER_HOST", "unix:///nowhere"),
    ];
    load(&env, &both, &[])
        .fails(1)
        .says("cannot reach the engine at unix:///nowhere");
    fs_err::write(config.join("config.json"), r#"{"currentContext": "there"}"#).unwrap();
    load(&env, &[], &["-t", "by.example/current:1"]).ok();
    assert!(is_there("by.example/current:1"));
    fs_err::remove_file(config.join("config.json")).unwrap();

    let mut command = env.command();
    let output = [
        "build",
        "-t",
        "by.example/output:1",
        "-o",
        "type=docker,context=there",
    ];
    Run::of(command.args(output).arg(env.path("ctx"))).ok();
    assert!(is_there("by.example/output:1"));
    // Without a dest it goes to the engine.
    let mut command = env.command();
    command.env("DOCKER_HOST", engine.host());
    let output = ["build", "-t", "by.example/docker:1", "-o", "type=docker"];
    Run::of(command.args(output).arg(env.path("ctx"))).ok();
    assert!(is_there("by.example/docker:1"));
}

/// `ssh` is a script here: it notes how it was called and runs the command on this machine.
fn fake_ssh(env: &TestEnv, variables: &str) -> String {
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {0}/ssh.log\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\n\
         {variables} exec \"$@\"\n",
        env.path("out").display()
    );
    env.context("bin", &[("ssh.sh", &script)]);
    fs_err::rename(env.path("bin/ssh.sh"), env.path("bin/ssh")).unwrap();
    format!(
        "{}:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        env.path("bin").display()
    )
}

#[test]
fn an_engine_behind_ssh() {
    let engine = Engine::shared();
    need!(engine.is_some(), "{NEEDS}");
    let engine = engine.unwrap();
    let env = TestEnv::new();
    context(&env, "ssh");
    let path = fake_ssh(&env, &format!("DOCKER_HOST={}", engine.host()));
    let variables = [
        ("DOCKER_HOST", "ssh://me@far.example:2222"),
        ("PATH", &path),
    ];
    load(&env, &variables, &["-t", "ssh.example/app:1"]).ok();
    Run::of(&mut engine.command(&["inspect", "ssh.example/app:1"])).ok();
    let log = fs_err::read_to_string(env.out("ssh.log")).unwrap();
    let call = "-l me -p 2222 -- far.example docker system dial-stdio\n";
    assert!(log.ends_with(call), "{log}");
    // Where there is no engine, what ssh says is seen.
    let path = fake_ssh(&env, "echo broken pipe to nowhere >&2; exit 255;");
    let variables = [("DOCKER_HOST", "ssh://far.example"), ("PATH", &path)];
    load(&env, &variables, &[])
        .fails(1)
        .says("broken pipe to nowhere");
}

#[test]
fn an_engine_with_tls() {
    let engine = Engine::shared();
    need!(
        engine.is_some_and(|engine| engine.tls.is_some()),
        "{NEEDS}, and openssl"
    );
    let engine = engine.unwrap();
    let (address, files) = engine.tls.as_ref().unwrap();
    let env = TestEnv::new();
    context(&env, "tls");
    let host = format!("tcp://{address}");
    let folder = files.to_str().unwrap();
    let on = [
        ("DOCKER_HOST", host.as_str()),
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", folder),
    ];
    load(&env, &on, &["-t", "tls.example/app:1"]).ok();
    Run::of(&mut engine.command(&["inspect", "tls.example/app:1"])).ok();
    // Somebody whom nobody vouches for, without TLS, and with files that are not there.
    let other = env.path("other");
    fs_err::create_dir(&other).unwrap();
    crate::push::make_certificate(&other.join("ca.pem"), &other.join("key.pem"));
    let distrusted = [on[0], on[1], ("DOCKER_CERT_PATH", other.to_str().unwrap())];
    load(&env, &distrusted, &[])
        .fails(1)
        .says("cannot reach the engine at tcp://");
    load(&env, &on[..1], &[])
        .fails(1)
        .says("did not load the image");
    let missing = [on[0], on[1], ("DOCKER_CERT_PATH", "/nowhere")];
    load(&env, &missing, &[])
        .fails(1)
        .says("/nowhere is no directory");

    // A context of Docker's has files of its own.
    let config = env.path("home/.docker/contexts");
    let id = sha256(b"sure").replace("sha256:", "");
    let (meta, tls) = (config.join("meta").join(&id), config.join("tls").join(&id));
    fs_err::create_dir_all(&meta).unwrap();
    fs_err::create_dir_all(tls.join("docker")).unwrap();
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        fs_err::copy(files.join(name), tls.join("docker").join(name)).unwrap();
    }
    let document = json!({"Name": "sure", "Endpoints": {"docker": {"Host": host}}});
    fs_err::write(meta.join("meta.json"), document.to_string()).unwrap();
    load(
        &env,
        &[("DOCKER_CONTEXT", "sure")],
        &["-t", "tls.example/context:1"],
    )
    .ok();
    Run::of(&mut engine.command(&["inspect", "tls.example/context:1"])).ok();
}

#[test]
fn podman_takes_images_through_its_socket() {
    let podman = Podman::shared();
    need!(
        podman.is_some(),
        "this needs podman, runc or crun, and root"
    );
    let podman = podman.unwrap();
    let relay = Relay::to(&podman.host());
    let env = TestEnv::new();
    context(&env, "podman");
    let host = relay.host();
    for (variable, name) in [("CONTAINER_HOST", "a"), ("DOCKER_HOST", "b")] {
        let name = format!("podman.example/{name}:1");
        let run = load(&env, &[(variable, &host)], &["-q", "-t", &name]).ok();
        let format = "{{.Id}}";
        let id = id_in(&mut podman.command(&["image", "inspect", "-f", format, &name]));
        assert_eq!(id, run.out());
    }
    let sent = relay.sent();
    assert!(sent < 2 << 20, "the image went twice: {sent}");
    let mount = Run::of(&mut podman.command(&["image", "mount", "podman.example/b:1"])).ok();
    let small = Path::new(mount.out()).join("small");
    assert_eq!(fs_err::read_to_string(small).unwrap(), "podman");

    // Through ssh, as Podman's own remote client names it.
    need!(have("podman"), "this needs podman");
    context(&env, "podman again");
    let path = fake_ssh(&env, "");
    let socket = podman.host().replace("unix://", "");
    let there = format!("ssh://far.example{socket}");
    let variables = [("CONTAINER_HOST", there.as_str()), ("PATH", &path)];
    load(&env, &variables, &["-t", "podman.example/far:1"]).ok();
    Run::of(&mut podman.command(&["image", "inspect", "podman.example/far:1"])).ok();
}
