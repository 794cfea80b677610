//! Pushing and pulling what is interrupted on the way, or wrong where it was left.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::image::sha256;
use crate::support::processes::{assert_nothing_left, signal, wait_until};
use crate::support::registry::{Door, Registry};
use crate::support::tree::Kind;
use crate::support::{TestEnv, need};

const NEEDS: &str = "this needs docker-registry and skopeo";

/// Bytes of a layer; nothing compresses them.
const LAYER: usize = 24 << 20;

/// What a connection may carry in one direction before it stalls.
const ENOUGH: usize = 4 << 20;

/// A door to a registry that lets so much through and then nothing, until it is opened.
struct Narrow {
    address: String,
    is_open: Arc<AtomicBool>,
    n_stalled: Arc<AtomicUsize>,
    /// What clients have asked: the beginnings of what they have sent.
    asked: Arc<Mutex<String>>,
}

impl Narrow {
    /// The threads end with the tests.
    fn before(registry: &Registry) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let door = Self {
            address: listener.local_addr().unwrap().to_string(),
            is_open: Arc::default(),
            n_stalled: Arc::default(),
            asked: Arc::default(),
        };
        let inner = registry.address.clone();
        let (is_open, n_stalled) = (Arc::clone(&door.is_open), Arc::clone(&door.n_stalled));
        let asked = Arc::clone(&door.asked);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&inner) else {
                    continue;
                };
                for (from, to, is_request) in [
                    (
                        client.try_clone().unwrap(),
                        server.try_clone().unwrap(),
                        true,
                    ),
                    (server, client, false),
                ] {
                    let (is_open, n_stalled) = (Arc::clone(&is_open), Arc::clone(&n_stalled));
                    let asked = Arc::clone(&asked);
                    std::thread::spawn(move || {
                        let note = |bytes: &[u8]| {
                            if is_request && bytes.len() < 4096 {
                                asked
                                    .lock()
                                    .unwrap()
                                    .push_str(&String::from_utf8_lossy(bytes));
                            }
                        };
                        carry(from, to, &is_open, &n_stalled, &note);
                    });
                }
            }
        });
        door
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }

    fn has_stalled(&self) -> bool {
        self.n_stalled.load(Ordering::SeqCst) > 0
    }

    fn asked(&self) -> String {
        self.asked.lock().unwrap().clone()
    }
}

fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    is_open: &AtomicBool,
    n_stalled: &AtomicUsize,
    note: &dyn Fn(&[u8]),
) {
    let (mut buffer, mut n_carried) = (vec![0; 64 << 10], 0);
    while let Ok(n_bytes) = from.read(&mut buffer)
        && n_bytes > 0
    {
        note(&buffer[..n_bytes]);
        n_carried += n_bytes;
        if n_carried > ENOUGH && !is_open.load(Ordering::SeqCst) {
            n_stalled.fetch_add(1, Ordering::SeqCst);
            // Nothing arrives any more, until somebody hangs up.
            while from.read(&mut buffer).is_ok_and(|n_bytes| n_bytes > 0) {}
            break;
        }
        if to.write_all(&buffer[..n_bytes]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).unwrap_or_default();
    to.shutdown(Shutdown::Both).unwrap_or_default();
}

/// Bytes that look like nothing.
fn noise(n_bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next)
        .flatten()
        .take(n_bytes)
        .collect()
}

/// Builds an image of one layer that is too much for a narrow door.
fn build(env: &TestEnv, name: &str) {
    let context = env.context("ctx", &[("Dockerfile", "FROM scratch\nCOPY noise /\n")]);
    fs_err::write(context.join("noise"), noise(LAYER)).unwrap();
    env.build(&context, &["-t", name]);
}

/// Starts a command, stops it as Ctrl-C would once the door has stalled it, and waits for its end.
#[track_caller]
fn interrupted(env: &TestEnv, door: &Narrow, args: &[&str]) {
    let mut command = env.command();
    command.args(args).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child: Child = command.spawn().unwrap();
    wait_until("the door stalls", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        door.has_stalled()
    });
    let start = Instant::now();
    signal(&child, Signal::INT);
    wait_until("the end", || child.try_wait().unwrap().is_some());
    assert!(start.elapsed() < Duration::from_secs(8), "{args:?}");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_nothing_left(&env.path("store"), &env.store());
}

/// Asserts that an image has all of its one file.
#[track_caller]
fn assert_whole(env: &TestEnv, name: &str) {
    let image = env.image(name);
    let Kind::File { sha256: found, .. } = &image.node("noise").kind else {
        panic!("it is no file");
    };
    assert_eq!(*found, sha256(&noise(LAYER)).trim_start_matches("sha256:"));
}

/// The one file of a broken download.
fn partial(env: &TestEnv) -> PathBuf {
    let files = fs_err::read_dir(env.store().join("ingest")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn an_interrupted_push_gives_its_session_up() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let (env, door) = (TestEnv::new(), Narrow::before(&registry));
    let name = format!("{}/team/big:1", door.address);
    build(&env, &name);
    interrupted(&env, &door, &["push", &name]);
    let deleted = |request: &String| request.starts_with("DELETE /v2/team/big/blobs/uploads/");
    // This registry gives up only what has not got any further since it named the URL.
    wait_until("the session is given up", || {
        registry.requests().iter().any(deleted)
    });
    // Nothing has a name yet; the next push brings it all.
    let source = format!("docker://{}/team/big:1", registry.address);
    let inspect = ["inspect", "--raw", "--tls-verify=false", &source];
    let mut skopeo = std::process::Command::new("skopeo");
    assert!(!skopeo.args(inspect).output().unwrap().status.success());
    door.open();
    let run = env.rbuild(["push", &name]).ok();
    assert_eq!(
        run.stdout.matches(": Pushed\n").count(),
        1,
        "{}",
        run.report()
    );
    let other = TestEnv::new();
    other.rbuild(["pull", &name]).ok();
    assert_whole(&other, &name);
}

#[test]
fn an_interrupted_pull_goes_on_where_it_was() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let (maker, env) = (TestEnv::new(), TestEnv::new());
    let straight = format!("{}/team/big:1", registry.address);
    build(&maker, &straight);
    maker.rbuild(["push", &straight]).ok();

    for (is_damaged, unpack) in [(false, &["--unpack"][..]), (true, &[])] {
        env.rbuild(["prune", "-af"]).ok();
        let door = Narrow::before(&registry);
        let name = format!("{}/team/big:1", door.address);
        interrupted(&env, &door, &[&["pull"], unpack, &[&name]].concat());
        env.rbuild(["inspect", &name]).fails(1);
        let part = partial(&env);
        let n_there = fs_err::metadata(&part).unwrap().len();
        assert!(n_there > 1 << 20 && n_there < LAYER as u64, "{n_there}");
        if is_damaged {
            // As a failure of the machine leaves it.
            let mut bytes = fs_err::read(&part).unwrap();
            bytes[1 << 19..1 << 20].fill(0);
            fs_err::write(&part, bytes).unwrap();
        }
        door.open();
        env.rbuild([&["pull"], unpack, &[&name]].concat()).ok();
        assert_whole(&env, &name);
        let range = format!("range: bytes={n_there}-");
        let asked = door.asked().to_lowercase();
        assert!(asked.contains(&range), "{range}: {asked}");
        env.rbuild(["fsck"]).ok();
    }
}
