//! Podman with a storage of its own, and its socket.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::{find, have, is_root, janitor};

/// Podman's settings, and a service that listens.
#[derive(Debug)]
pub(crate) struct Podman {
    dir: PathBuf,
}

impl Podman {
    /// Returns Podman; `None` if it is not installed or its service does not start here.
    pub(crate) fn shared() -> Option<&'static Self> {
        static PODMAN: OnceLock<Option<Podman>> = OnceLock::new();
        PODMAN.get_or_init(Self::start).as_ref()
    }

    fn start() -> Option<Self> {
        if !is_root() || !have("podman") || find("runc").or_else(|| find("crun")).is_none() {
            return None;
        }
        let dir = janitor::scratch();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{0}/root\"\nrunroot = \"{0}/run\"\n",
            dir.display()
        );
        fs_err::write(dir.join("storage.conf"), storage).unwrap();
        let containers = dir.join("home/.config/containers");
        fs_err::create_dir_all(&containers).unwrap();
        let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
        fs_err::write(containers.join("policy.json"), policy).unwrap();
        let podman = Self { dir };
        let log = fs_err::File::create(podman.dir.join("log")).unwrap();
        let mut service = podman.command(&["system", "service", "--time=0", &podman.host()]);
        service.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = service.stderr(log.into_parts().0).spawn().ok()?;
        for _ in 0..100 {
            if std::os::unix::net::UnixStream::connect(podman.dir.join("sock")).is_ok() {
                janitor::keep(child);
                return Some(podman);
            }
            if child.try_wait().ok()?.is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        janitor::keep(child);
        None
    }

    /// Returns the address of its service, for `CONTAINER_HOST` and `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.dir.join("sock").display())
    }

    /// `podman ARGS` on the same storage.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .env("HOME", self.dir.join("home"))
            .env("CONTAINERS_STORAGE_CONF", self.dir.join("storage.conf"))
            .env("TMPDIR", &self.dir)
            .args(args);
        command
    }
}
