//! Keys that OpenSSH's programs make, used by its programs through our agent.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rbuild_agent::{Agent, AgentError, KeyError, Server};

/// `type`, `bits`, whether ring can use it.
const KINDS: [(&str, &str, bool); 6] = [
    ("ed25519", "256", true),
    ("ecdsa", "256", true),
    ("ecdsa", "384", true),
    ("rsa", "2048", true),
    ("rsa", "3072", true),
    ("ecdsa", "521", false),
];

fn have_openssh() -> bool {
    let found = Command::new("ssh-keygen").arg("-?").output().is_ok();
    let must = std::env::var_os("RBUILD_TEST_NO_SKIP").is_some();
    assert!(found || !must, "this needs openssh-client");
    if !found {
        let mut stderr = std::io::stderr().lock();
        writeln!(stderr, "SKIPPED tests of agents: this needs openssh-client").unwrap();
    }
    found
}

fn keygen(dir: &Path, kind: &str, bits: &str, more: &[&str]) -> PathBuf {
    let path = dir.join(format!("{kind}-{bits}-{}", more.len()));
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-b", bits, "-C", "the key", "-f"])
        .arg(&path)
        .args(more)
        .args(if more.contains(&"-N") {
            &[][..]
        } else {
            &["-N", ""]
        })
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    path
}

/// Runs `commands` while an agent serves at the socket that they get.
fn with_agent<T>(agent: &Agent, dir: &Path, commands: impl FnOnce(&Path) -> T) -> T {
    let server = Server::bind(dir, "agent").unwrap();
    let (stop, trigger) = rustix::pipe::pipe().unwrap();
    let result = std::thread::scope(|scope| {
        scope.spawn(|| server.serve(agent, stop.as_fd()));
        let result = commands(&dir.join("agent"));
        drop(trigger);
        result
    });
    fs_err::remove_file(dir.join("agent")).unwrap();
    result
}

fn run(socket: &Path, words: &[&str]) -> Output {
    Command::new(words[0])
        .args(&words[1..])
        .env("SSH_AUTH_SOCK", socket)
        .output()
        .unwrap()
}

/// Has data signed through the agent, and OpenSSH check the signature.
#[track_caller]
fn sign_and_verify(socket: &Path, key: &Path, dir: &Path) {
    let data = dir.join("data");
    fs_err::write(&data, "to be signed").unwrap();
    let public = format!("{}.pub", key.display());
    let signature = dir.join("data.sig");
    if signature.is_file() {
        fs_err::remove_file(&signature).unwrap();
    }
    let data = data.to_str().unwrap();
    let output = run(
        socket,
        &[
            "ssh-keygen",
            "-Y",
            "sign",
            "-n",
            "test",
            "-f",
            &public,
            data,
        ],
    );
    assert!(output.status.success(), "{key:?}: {output:?}");
    let check = Command::new("ssh-keygen")
        .args(["-Y", "check-novalidate", "-n", "test", "-s"])
        .arg(&signature)
        .stdin(std::fs::File::from(fs_err::File::open(data).unwrap()))
        .output()
        .unwrap();
    assert!(check.status.success(), "{key:?}: {check:?}");
}

#[test]
fn key_files_of_all_formats_sign() {
    if !have_openssh() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (kind, bits, is_usable) in KINDS {
        for format in [&[][..], &["-m", "PEM"], &["-m", "PKCS8", "-q"]] {
            let path = keygen(dir.path(), kind, bits, format);
            let opened = Agent::open(std::slice::from_ref(&path));
            if !is_usable {
                let reason = KeyError::Kind;
                assert!(
                    matches!(opened, Err(AgentError::Parse { reason: found, .. }) if found == reason)
                );
                continue;
            }
            let agent = opened.unwrap_or_else(|error| panic!("{path:?}: {error}"));
            // The private key must not be where ssh-keygen could find it.
            let hidden = dir.path().join("hidden");
            fs_err::rename(&path, &hidden).unwrap();
            with_agent(&agent, dir.path(), |socket| {
                let listed = run(socket, &["ssh-add", "-L"]);
                let public = fs_err::read_to_string(format!("{}.pub", path.display())).unwrap();
                let blob = public.split(' ').nth(1).unwrap();
                let listed = String::from_utf8(listed.stdout).unwrap();
                assert!(listed.contains(blob), "{listed} {public}");
                sign_and_verify(socket, &path, dir.path());
            });
        }
    }
}

#[test]
fn an_agent_is_forwarded_and_cannot_be_changed() {
    if !have_openssh() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let key = keygen(dir.path(), "ed25519", "256", &[]);
    let other = keygen(dir.path(), "ecdsa", "256", &[]);
    let upstream = dir.path().join("upstream");
    let mut real = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&upstream)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while UnixStream::connect(&upstream).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let added = run(&upstream, &["ssh-add", key.to_str().unwrap()]);
    assert!(added.status.success(), "{added:?}");
    let agent = Agent::open(std::slice::from_ref(&upstream)).unwrap();
    with_agent(&agent, dir.path(), |socket| {
        let listed = run(socket, &["ssh-add", "-l"]);
        assert!(String::from_utf8_lossy(&listed.stdout).contains("the key"));
        sign_and_verify(socket, &key, dir.path());
        for words in [
            &["ssh-add", other.to_str().unwrap()][..],
            &["ssh-add", "-d", key.to_str().unwrap()],
            &["ssh-add", "-D"],
        ] {
            let refused = run(socket, words);
            assert!(!refused.status.success(), "{words:?}: {refused:?}");
        }
        let still = run(&upstream, &["ssh-add", "-l"]);
        assert_eq!(still.stdout.split(|byte| *byte == b'\n').count(), 2);
    });
    real.kill().unwrap();
    real.wait().unwrap();
    with_agent(&agent, dir.path(), |socket| {
        let refused = run(socket, &["ssh-add", "-l"]);
        assert!(!refused.status.success(), "the agent is gone: {refused:?}");
    });
}

#[test]
fn what_is_no_usable_key_is_refused() {
    if !have_openssh() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path| match Agent::open(&[path.to_owned()]) {
        Err(AgentError::Parse { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    for format in [&["-N", "secret"][..], &["-N", "secret", "-m", "PEM"]] {
        let path = keygen(dir.path(), "rsa", "2048", format);
        assert_eq!(open(&path), KeyError::Passphrase);
    }
    let key = keygen(dir.path(), "ed25519", "256", &[]);
    assert_eq!(
        open(&dir.path().join("ed25519-256-0.pub")),
        KeyError::Format
    );
    let text = fs_err::read_to_string(&key).unwrap();
    let file = dir.path().join("file");
    // No damage makes it panic.
    for cut in 0..text.trim_end().len() {
        fs_err::write(&file, &text[..cut]).unwrap();
        open(&file);
    }
    fs_err::write(&file, b"\xff\xfe").unwrap();
    assert_eq!(open(&file), KeyError::Format);
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(
        Agent::open(&[socket.clone(), key]),
        Err(AgentError::KeysAndSocket)
    ));
    assert!(matches!(
        Agent::open(&[socket.clone(), socket]),
        Err(AgentError::SeveralSockets)
    ));
    assert!(matches!(
        Agent::open(&[dir.path().join("nothing")]),
        Err(AgentError::Open { .. })
    ));
}
