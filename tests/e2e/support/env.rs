//! A hermetic place to run the program in.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::container::Container;
use super::image::Image;
use super::registry::Registry;
use super::run::Run;
use super::users::User;
use super::{find, janitor};

/// A store, a home and a folder for contexts that nobody else uses. Removed when dropped.
#[derive(Debug)]
pub(crate) struct TestEnv {
    dir: TempDir,
    user: Option<User>,
    registries_conf: Option<PathBuf>,
    container: Option<Container>,
}

impl TestEnv {
    /// For the user who runs the tests.
    pub(crate) fn new() -> Self {
        Self::make(None)
    }

    /// For another user.
    pub(crate) fn of(user: User) -> Self {
        Self::make(Some(user))
    }

    /// Sends `docker.io` to the test registry; `None` if there is no registry.
    pub(crate) fn with_registry() -> Option<Self> {
        Self::new().and_registry()
    }

    /// Sends `docker.io` to the test registry; `None` if there is no registry.
    pub(crate) fn and_registry(mut self) -> Option<Self> {
        self.registries_conf = Some(Registry::shared()?.registries_conf.clone());
        Some(self)
    }

    /// Runs the program where containers leave it little. To be called before anything is stored.
    pub(crate) fn inside(mut self, container: Container) -> Self {
        self.container = Some(container);
        self
    }

    /// Sends `docker.io` to where nobody answers: whatever is pulled fails.
    pub(crate) fn cut_off(&mut self) {
        let file = self.path("nowhere.conf");
        let text =
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"127.0.0.1:1\"\ninsecure = true\n";
        fs_err::write(&file, text).unwrap();
        self.registries_conf = Some(file);
    }

    fn make(user: Option<User>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("rbuild-test-")
            .tempdir()
            .unwrap();
        fs_err::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let env = Self {
            dir,
            user,
            registries_conf: None,
            container: None,
        };
        for name in ["store", "home", "tmp", "out"] {
            fs_err::create_dir(env.path(name)).unwrap();
            if let Some(user) = &env.user {
                user.own(&env.path(name));
            }
        }
        env
    }

    /// For a store that lives in a static: it is never dropped.
    pub(crate) fn remove_with_process(&self) {
        janitor::remove_with_process(self.dir.path());
    }

    /// A path in the test's folder. `store`, `home`, `tmp` and `out` belong to the user.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// A path below `out`, where the program may write.
    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    /// The store.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes a build context of `(path, text)` and returns its folder. Names that end in `.sh` are
    /// executable. May be called again to change files.
    pub(crate) fn context(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let dir = self.path(name);
        for (path, text) in files {
            let file = dir.join(path);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(&file, text).unwrap();
            let mode = if path.ends_with(".sh") { 0o755 } else { 0o644 };
            fs_err::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        }
        fs_err::create_dir_all(&dir).unwrap();
        dir
    }

    /// The program with the environment of a clean login, ready for arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = match &self.user {
            None => Command::new(binary()),
            Some(user) => user.command(binary().as_os_str()),
        };
        if let Some(container) = self.container {
            command = container.wrap(&command, self.dir.path());
        }
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("RBUILD_ROOT", self.store())
            .env("NO_COLOR", "1")
            .env("COLUMNS", "200")
            .env("RUST_BACKTRACE", "1")
            .current_dir(self.path("out"));
        if let Some(file) = &self.registries_conf {
            command.env("CONTAINERS_REGISTRIES_CONF", file);
        }
        command
    }

    /// Runs the program.
    pub(crate) fn rbuild<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        Run::of(self.command().args(args))
    }

    /// Builds a context with further arguments, quietly, and returns the image ID.
    #[track_caller]
    pub(crate) fn build(&self, context: &Path, args: &[&str]) -> String {
        let run = Run::of(self.command().args(["build", "-q"]).args(args).arg(context)).ok();
        let id = run.out().to_owned();
        assert!(
            id.starts_with("sha256:") && id.len() == 71,
            "no image ID: {}",
            run.report()
        );
        id
    }

    /// Builds a context and returns what was made, read from an OCI archive.
    #[track_caller]
    pub(crate) fn build_image(&self, context: &Path, args: &[&str]) -> Image {
        let tar = self.out("image.tar");
        let dest = format!("type=oci,dest={}", tar.display());
        Run::of(
            self.command()
                .args(["build", "-o", &dest])
                .args(args)
                .arg(context),
        )
        .ok();
        Image::from_archive(&tar)
    }

    /// Reads an image of the store through `rbuild save`.
    #[track_caller]
    pub(crate) fn image(&self, name: &str) -> Image {
        let tar = self.out("saved.tar");
        self.rbuild(["save", "-o", tar.to_str().unwrap(), name])
            .ok();
        Image::from_archive(&tar)
    }

    /// Imports a root file system as an image of the store.
    #[track_caller]
    pub(crate) fn import(&self, tar: &Path, name: &str) {
        self.rbuild(["import", tar.to_str().unwrap(), name]).ok();
    }
}

/// The program under test, where every user can run it. `RBUILD_BIN` names another one.
pub(crate) fn binary() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let built = std::env::var_os("RBUILD_BIN").map_or_else(
            || PathBuf::from(env!("CARGO_BIN_EXE_rbuild")),
            PathBuf::from,
        );
        let copy = janitor::scratch().join("rbuild");
        // By another process: a program that this one has open for writing may be inherited by what
        // other threads start just then, and cannot be run as long as it is.
        let install = Command::new("install")
            .arg("--mode=755")
            .args([&built, &copy])
            .status();
        assert!(install.unwrap().success());
        copy
    })
}

/// Tells whether the kernel lets ordinary users make user namespaces.
pub(crate) fn user_namespaces(user: &User) -> bool {
    find("unshare").is_some_and(|unshare| {
        user.command(unshare.as_os_str())
            .args(["--user", "--map-root-user", "true"])
            .output()
            .is_ok_and(|output| output.status.success())
    })
}
