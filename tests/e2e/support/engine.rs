//! A Docker engine with its own root, started once per test process where it can be.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::registry::{Registry, free_port};
use super::{find, have, is_root, janitor};
use crate::push::make_certificate;

/// A running engine; ends with the process.
#[derive(Debug)]
pub(crate) struct Engine {
    socket: PathBuf,
    client: PathBuf,
    /// Where it listens with TLS; its authority, certificate and key are Docker's files there.
    pub(crate) tls: Option<(String, PathBuf)>,
}

impl Engine {
    /// Returns the engine; `None` if it is not installed or does not start here.
    pub(crate) fn shared() -> Option<&'static Self> {
        static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
        ENGINE.get_or_init(Self::start).as_ref()
    }

    fn start() -> Option<Self> {
        let daemon = find("dockerd")?;
        // The client that came with the daemon: another may lack its plugins.
        let client = Some(PathBuf::from("/usr/bin/docker"))
            .filter(|client| client.is_file())
            .or_else(|| find("docker"))?;
        if !is_root() {
            return None;
        }
        let dir = janitor::scratch();
        let registry = &Registry::shared()?.address;
        let log = fs_err::File::create(dir.join("log"))
            .unwrap()
            .into_parts()
            .0;
        let socket = dir.join("sock");
        let tls = have("openssl").then(|| {
            let files = dir.join("tls");
            fs_err::create_dir(&files).unwrap();
            make_certificate(&files.join("cert.pem"), &files.join("key.pem"));
            fs_err::copy(files.join("cert.pem"), files.join("ca.pem")).unwrap();
            (format!("127.0.0.1:{}", free_port()), files)
        });
        let mut command = Command::new(daemon);
        if let Some((address, files)) = &tls {
            command.args(["--tlsverify", &format!("--host=tcp://{address}")]);
            for (option, file) in [("tlscacert", "ca"), ("tlscert", "cert"), ("tlskey", "key")] {
                let file = files.join(format!("{file}.pem"));
                command.arg(format!("--{option}={}", file.display()));
            }
        }
        let mut child = command
            .arg(format!("--data-root={}", dir.join("root").display()))
            .arg(format!("--exec-root={}", dir.join("exec").display()))
            .arg(format!("--pidfile={}", dir.join("pid").display()))
            .arg(format!("--host=unix://{}", socket.display()))
            .args(["--iptables=false", "--bridge=none"])
            .arg(format!("--insecure-registry={registry}"))
            .arg(format!("--registry-mirror=http://{registry}"))
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .ok()?;
        let engine = Self {
            socket,
            client,
            tls,
        };
        for _ in 0..150 {
            if engine
                .command(&["version"])
                .output()
                .is_ok_and(|output| output.status.success())
            {
                janitor::keep(child);
                return Some(engine);
            }
            if child.try_wait().ok()?.is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        janitor::keep(child);
        None
    }

    /// Returns its address for `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// `docker ARGS` against this engine.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command
            .env("DOCKER_HOST", self.host())
            .env("DOCKER_BUILDKIT", "1")
            .args(args);
        command
    }
}
