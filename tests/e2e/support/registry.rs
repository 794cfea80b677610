//! A registry on a free port of the loopback interface, one for the whole test process, that
//! mirrors `docker.io`. It holds `library/busybox:latest` and `library/debian:12`.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::run::Run;
use super::{TestEnv, bases, have, image, janitor};

/// A running registry; ends with the process.
#[derive(Debug)]
pub(crate) struct Registry {
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    /// A `registries.conf` that sends `docker.io` here.
    pub(crate) registries_conf: PathBuf,
    /// Where it writes what it is asked.
    access_log: PathBuf,
}

/// How a registry is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Door<'a> {
    /// User and password.
    pub(crate) login: Option<(&'a str, &'a str)>,
    /// Certificate and key, PEM.
    pub(crate) tls: Option<(&'a Path, &'a Path)>,
}

impl Registry {
    /// Returns the registry of this process; `None` if its programs are not installed.
    pub(crate) fn shared() -> Option<&'static Self> {
        static REGISTRY: OnceLock<Option<Registry>> = OnceLock::new();
        REGISTRY
            .get_or_init(|| {
                (have("docker-registry") && have("skopeo") && bases::busybox().is_some())
                    .then(|| start(&Door::default(), true))
            })
            .as_ref()
    }

    /// Starts a further registry that wants this user and password.
    pub(crate) fn with_password(user: &str, password: &str) -> Self {
        let login = Some((user, password));
        start(&Door { login, tls: None }, false)
    }

    /// Starts a further registry, which is empty.
    pub(crate) fn behind(door: &Door<'_>) -> Self {
        start(door, false)
    }

    /// Writes a login for the registry, as it is encoded in Docker's `config.json`, into the home of `env`.
    pub(crate) fn write_login(&self, env: &TestEnv, auth: &str) {
        let dir = env.path("home/.docker");
        fs_err::create_dir_all(&dir).unwrap();
        let config = format!(
            r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#,
            self.address
        );
        fs_err::write(dir.join("config.json"), config).unwrap();
    }

    /// Returns what the registry was asked so far: method and path.
    pub(crate) fn requests(&self) -> Vec<String> {
        let log = fs_err::read_to_string(&self.access_log).unwrap();
        let quoted = log.lines().filter_map(|line| line.split('"').nth(1));
        quoted
            .filter_map(|request| Some(request.rsplit_once(' ')?.0.to_owned()))
            .collect()
    }

    /// Copies the Debian base here, once; false if there is none.
    pub(crate) fn add_debian(&self) -> bool {
        static DONE: OnceLock<bool> = OnceLock::new();
        *DONE.get_or_init(|| {
            let Some(tar) = bases::debian() else {
                return false;
            };
            self.push_rootfs(tar, "library/debian:12", &[]);
            true
        })
    }

    /// Makes a one-layer image from a root file system tar and pushes it under `name`.
    pub(crate) fn push_rootfs(&self, tar: &Path, name: &str, skopeo: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        image::write_layout(tar, dir.path());
        let source = format!("oci:{}:latest", dir.path().display());
        self.push(&source, name, skopeo);
    }

    /// Copies an image of any transport here.
    pub(crate) fn push(&self, source: &str, name: &str, skopeo: &[&str]) {
        let dest = format!("docker://{}/{name}", self.address);
        let mut command = Command::new("skopeo");
        command.args(["copy", "-q", "--insecure-policy", "--dest-tls-verify=false"]);
        Run::of(command.args(skopeo).args([source, &dest])).ok();
    }
}

fn start(door: &Door<'_>, has_busybox: bool) -> Registry {
    let dir = janitor::scratch();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let auth = door.login.map_or_else(String::new, |(user, password)| {
        let file = dir.join("htpasswd");
        Run::of(
            Command::new("htpasswd")
                .args(["-Bbc"])
                .arg(&file)
                .args([user, password]),
        )
        .ok();
        format!(
            "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            file.display()
        )
    });
    let tls = door.tls.map_or_else(String::new, |(certificate, key)| {
        let (certificate, key) = (certificate.display(), key.display());
        format!(", tls: {{certificate: {certificate}, key: {key}}}")
    });
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: {address}{tls}}}\n{auth}",
        dir.join("data").display()
    );
    fs_err::write(dir.join("config.yml"), config).unwrap();
    let log = fs_err::File::create(dir.join("log"))
        .unwrap()
        .into_parts()
        .0;
    let access_log = dir.join("access");
    let access = fs_err::File::create(&access_log).unwrap().into_parts().0;
    let mut server = Command::new("docker-registry");
    server.arg("serve").arg(dir.join("config.yml"));
    server.stdin(Stdio::null()).stdout(access).stderr(log);
    janitor::keep(server.spawn().unwrap());
    for _ in 0..200 {
        if TcpStream::connect(&address).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let registries_conf = dir.join("registries.conf");
    fs_err::write(
        &registries_conf,
        format!(
            "unqualified-search-registries = [\"docker.io\"]\nshort-name-mode = \"permissive\"\n\
             [[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n\
             [[registry.mirror]]\nlocation = \"{address}\"\ninsecure = true\n"
        ),
    )
    .unwrap();
    let registry = Registry {
        address,
        registries_conf,
        access_log,
    };
    if has_busybox {
        let busybox = bases::busybox().expect("the caller looked");
        registry.push_rootfs(busybox, "library/busybox:latest", &[]);
    }
    registry
}

/// Returns a port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
