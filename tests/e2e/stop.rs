//! Builds that are stopped before their first step: while contexts, bases or standard input are waited for.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::TestEnv;
use crate::support::processes::{assert_nothing_left, signal, wait_until};
use crate::support::run::Run;

/// A server that takes requests, begins some answers and ends none.
struct Stalling {
    port: u16,
    n_requests: Arc<AtomicUsize>,
}

impl Stalling {
    /// The thread ends with the tests.
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let n_requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&n_requests);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                const HANDSHAKE: u8 = 22;
                if request[0] == HANDSHAKE {
                    continue; // no TLS here
                }
                if request[..length].starts_with(b"GET /begun") {
                    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nFROM scratch\n";
                    stream.write_all(head.as_bytes()).unwrap_or_default();
                }
                counter.fetch_add(1, Ordering::SeqCst);
                open.push(stream);
            }
        });
        Self { port, n_requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Sends `docker.io` here.
    fn registries_conf(&self, env: &TestEnv) -> PathBuf {
        let file = env.path("stalling.conf");
        let text = format!(
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"127.0.0.1:{}\"\ninsecure = true\n",
            self.port
        );
        fs_err::write(&file, text).unwrap();
        file
    }
}

/// What a build may wait for.
const WAITS: [&str; 6] = [
    "a URL",
    "the rest of a URL",
    "git",
    "a base",
    "a source of COPY",
    "standard input",
];

/// A build that waits for something.
fn waiting(env: &TestEnv, server: &Stalling, what: &str) -> Command {
    let mut command = env.command();
    command
        .arg("build")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    match what {
        "a URL" => command.arg(server.url("nothing.tar")),
        "the rest of a URL" => command.arg(server.url("begun")),
        "git" => command.arg(server.url("repository.git")),
        "standard input" => command.arg("-").stdin(Stdio::piped()),
        _ => {
            let dockerfile = match what {
                "a base" => "FROM nowhere\nRUN true\n",
                _ => &format!("FROM scratch\nADD {} /\n", server.url("begun")),
            };
            let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
            let conf = server.registries_conf(env);
            command.env("CONTAINERS_REGISTRIES_CONF", conf).arg(context)
        }
    };
    command
}

/// Waits for the end of a build that was stopped.
fn ended(mut child: Child, what: &str) -> (Option<i32>, String) {
    let start = Instant::now();
    wait_until(what, || child.try_wait().unwrap().is_some());
    assert!(start.elapsed() < Duration::from_secs(9), "{what}");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

#[test]
fn signals_end_what_waits() {
    for what in WAITS {
        let (env, server) = (TestEnv::new(), Stalling::start());
        let mut command = waiting(&env, &server, what);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        match what {
            // It has begun to read: what was written is gone from the pipe.
            "standard input" => {
                let mut pipe = stdin.as_ref().unwrap();
                pipe.write_all(b"FROM scratch\n").unwrap();
                wait_until(what, || rustix::io::ioctl_fionread(pipe).unwrap() == 0);
            }
            _ => wait_until(what, || server.n_requests.load(Ordering::SeqCst) > 0),
        }
        signal(&child, Signal::INT);
        let (code, text) = ended(child, what);
        assert_eq!(code, Some(130), "{what}: {text}");
        assert!(text.ends_with("rbuild: interrupted\n"), "{what}: {text}");
        assert_nothing_left(&env.path("store"), &env.store());
    }
}

#[test]
fn the_time_of_a_build_begins_with_the_command() {
    for what in WAITS {
        let (env, server) = (TestEnv::new(), Stalling::start());
        let mut command = waiting(&env, &server, what);
        command.arg("--timeout=1s").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let (code, text) = ended(child, what);
        drop(stdin);
        assert_eq!(code, Some(1), "{what}: {text}");
        let message = "the build was stopped: it took longer than 1s (--timeout)";
        assert!(text.contains(message), "{what}: {text}");
        assert_nothing_left(&env.path("store"), &env.store());
    }
}

/// Who reads the result may be what hangs; that ends as well.
#[test]
fn readers_that_do_not_read_do_not_hold_a_build_up() {
    let env = TestEnv::new();
    let context = env.context("ctx", &[("Dockerfile", "FROM scratch\nCOPY . /\n")]);
    fs_err::write(context.join("large"), vec![7; 4 << 20]).unwrap();
    let mut command = env.command();
    command
        .args(["build", "--timeout=1s", "-o", "-"])
        .arg(&context);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdout = child.stdout.take();
    wait_until("the build gives up", || child.try_wait().unwrap().is_some());
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("it took longer than 1s"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    // What it left in the store goes with the next build.
    Run::of(env.command().args(["build", "-q"]).arg(&context)).ok();
    assert_nothing_left(&env.path("store"), &env.store());
}
