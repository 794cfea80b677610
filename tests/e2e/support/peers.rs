//! Other builders and readers of images: buildah, skopeo, umoci.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::image::Image;
use super::registry::Registry;
use super::run::Run;
use super::{find, have, is_root, janitor};

/// buildah with a storage of its own, pulling from the test registry.
#[derive(Debug)]
pub(crate) struct Buildah {
    dir: PathBuf,
    registries_conf: PathBuf,
    runtime: PathBuf,
}

impl Buildah {
    /// Returns buildah; `None` without root, a runtime or the registry.
    pub(crate) fn shared() -> Option<&'static Self> {
        static BUILDAH: OnceLock<Option<Buildah>> = OnceLock::new();
        BUILDAH.get_or_init(Self::set_up).as_ref()
    }

    fn set_up() -> Option<Self> {
        let runtime = find("runc").or_else(|| find("crun"))?;
        if !is_root() || !have("buildah") {
            return None;
        }
        let registries_conf = Registry::shared()?.registries_conf.clone();
        let dir = janitor::scratch();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{0}/root\"\nrunroot = \"{0}/run\"\n",
            dir.display()
        );
        fs_err::write(dir.join("storage.conf"), storage).unwrap();
        // Where the hard limits are low, the defaults cannot be set.
        let limits =
            "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=20000:20000\"]\n";
        fs_err::write(dir.join("containers.conf"), limits).unwrap();
        let policy = r#"{"default": [{"type": "insecureAcceptAnything"}]}"#;
        fs_err::write(dir.join("policy.json"), policy).unwrap();
        Some(Self {
            dir,
            registries_conf,
            runtime,
        })
    }

    /// `buildah` with its settings, ready for a subcommand.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("buildah");
        command
            .env("CONTAINERS_CONF", self.dir.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.dir.join("storage.conf"))
            .env("CONTAINERS_REGISTRIES_CONF", &self.registries_conf)
            .env("TMPDIR", &self.dir);
        command
    }

    /// The option that accepts unsigned images; follows the subcommand.
    pub(crate) fn policy(&self) -> String {
        format!(
            "--signature-policy={}",
            self.dir.join("policy.json").display()
        )
    }

    /// Builds a context and returns the image.
    #[track_caller]
    pub(crate) fn build(&self, context: &Path, args: &[&str]) -> Image {
        let name = format!("built-{}", context.file_name().unwrap().to_string_lossy());
        let runtime = format!("--runtime={}", self.runtime.display());
        let mut build = self.command();
        build.args([
            "build",
            &self.policy(),
            &runtime,
            "--isolation=oci",
            "--network=host",
        ]);
        build.args([
            "--layers",
            "--format=docker",
            "--identity-label=false",
            "-q",
            "-t",
            &name,
        ]);
        Run::of(build.args(args).arg(".").current_dir(context)).ok();
        // Docker's archive: what OCI's config has no field for is kept.
        let tar = self.dir.join(format!("{name}.tar"));
        let dest = format!("docker-archive:{}:{name}:1", tar.display());
        Run::of(
            self.command()
                .args(["push", &self.policy(), "-q", &name, &dest]),
        )
        .ok();
        let image = Image::from_docker_archive(&tar).remove(0).0;
        fs_err::remove_file(&tar).unwrap();
        image
    }
}

/// Runs skopeo without signature checks.
#[track_caller]
pub(crate) fn skopeo(args: &[&str]) -> Run {
    Run::of(Command::new("skopeo").args([&["--insecure-policy"], args].concat())).ok()
}

/// Unpacks an image of an OCI layout with umoci and returns the root file system's folder.
#[track_caller]
pub(crate) fn umoci_unpack(layout: &str, bundle: &Path) -> PathBuf {
    let mut command = Command::new("umoci");
    command.args(["unpack", "--image", layout]);
    if !is_root() {
        command.arg("--rootless");
    }
    Run::of(command.arg(bundle)).ok();
    bundle.join("rootfs")
}
