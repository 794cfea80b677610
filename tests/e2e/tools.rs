//! Other programs read what this one writes.

use std::process::Command;

use serde_json::Value;

use crate::examples::{NEEDS, built, shared_env};
use crate::support::engine::Engine;
use crate::support::image::Image;
use crate::support::peers::{Buildah, skopeo, umoci_unpack};
use crate::support::run::Run;
use crate::support::tree::differences;
use crate::support::{TestEnv, have, is_root, janitor, need};

/// An example of the shared store as an OCI archive.
fn archive(name: &str) -> Option<(std::path::PathBuf, std::sync::Arc<Image>)> {
    let image = built(name)?;
    let tar = janitor::scratch().join("image.tar");
    let saved = shared_env()?.rbuild(["save", "-o", tar.to_str().unwrap(), &format!("{name}:1.0")]);
    saved.ok();
    Some((tar, image))
}

#[test]
fn skopeo_inspects_and_copies() {
    let archive = archive("production");
    need!(archive.is_some(), "{NEEDS}");
    let (tar, image) = archive.unwrap();
    let source = format!("oci-archive:{}", tar.display());
    let shown: Value = serde_json::from_str(&skopeo(&["inspect", &source]).stdout).unwrap();
    assert_eq!(shown["Digest"], image.digest.as_str());
    assert_eq!(shown["Labels"]["org.opencontainers.image.title"], "ticker");
    assert_eq!(
        shown["Layers"].as_array().unwrap().len(),
        image.layers.len()
    );
    let config: Value =
        serde_json::from_str(&skopeo(&["inspect", "--raw", "--config", &source]).stdout).unwrap();
    assert_eq!(config, image.config);
    let dir = janitor::scratch();
    skopeo(&[
        "copy",
        "-q",
        &source,
        &format!("dir:{}", dir.join("copy").display()),
    ]);
}

/// The store is an OCI layout; skopeo reads its images as they lie there.
#[test]
fn skopeo_reads_a_docker_archive() {
    let image = built("hello");
    need!(image.is_some(), "{NEEDS}");
    let env = shared_env().unwrap();
    let tar = env.out("hello-docker.tar");
    let dest = format!("type=docker,dest={}", tar.display());
    let context = crate::support::example("hello");
    env.rbuild([
        "build",
        "-t",
        "hello:1.0",
        "-o",
        &dest,
        context.to_str().unwrap(),
    ])
    .ok();
    let source = format!("docker-archive:{}", tar.display());
    let config: Value =
        serde_json::from_str(&skopeo(&["inspect", "--raw", "--config", &source]).stdout).unwrap();
    assert_eq!(config["config"], image.unwrap().config["config"]);
}

#[test]
fn umoci_unpacks() {
    for name in ["archive", "production", "fan-out"] {
        let archive = archive(name);
        need!(archive.is_some() && have("umoci"), "{NEEDS}, and umoci");
        let (tar, image) = archive.unwrap();
        let dir = janitor::scratch();
        let layout = dir.join("layout");
        let source = format!("oci-archive:{}", tar.display());
        skopeo(&[
            "copy",
            "-q",
            &source,
            &format!("oci:{}:image", layout.display()),
        ]);
        let root = umoci_unpack(&format!("{}:image", layout.display()), &dir.join("bundle"));
        for (path, node) in &image.tree {
            let metadata = fs_err::symlink_metadata(root.join(path)).unwrap();
            if is_root() {
                use std::os::unix::fs::MetadataExt as _;
                assert_eq!(u64::from(metadata.uid()), node.uid, "{name}: {path}");
            }
        }
    }
}

#[test]
fn buildah_builds_on_it() {
    let archive = archive("web-app");
    need!(
        archive.is_some() && Buildah::shared().is_some(),
        "{NEEDS}, buildah, runc and root"
    );
    let (tar, image) = archive.unwrap();
    let buildah = Buildah::shared().unwrap();
    let source = format!("oci-archive:{}", tar.display());
    let from = Run::of(
        buildah
            .command()
            .args(["from", &buildah.policy(), "-q", &source]),
    )
    .ok();
    let mount = Run::of(buildah.command().args(["mount", from.out()])).ok();
    for path in image.tree.keys() {
        let there = std::path::Path::new(mount.out()).join(path);
        assert!(
            fs_err::symlink_metadata(&there).is_ok(),
            "{path} is missing"
        );
    }
    Run::of(buildah.command().args(["rm", from.out()])).ok();
}

#[test]
fn the_docker_engine_loads_and_runs_it() {
    let image = built("hello");
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    let engine = Engine::shared();
    need!(engine.is_some(), "this needs dockerd and root");
    let engine = engine.unwrap();
    let env = shared_env().unwrap();
    let tar = env.out("for-engine.tar");
    let dest = format!("type=docker,dest={}", tar.display());
    let context = crate::support::example("hello");
    env.rbuild([
        "build",
        "-t",
        "hello:1.0",
        "-o",
        &dest,
        context.to_str().unwrap(),
    ])
    .ok();
    Run::of(&mut engine.command(&["load", "-q", "-i", tar.to_str().unwrap()])).ok();
    let shown = Run::of(&mut engine.command(&["inspect", "--type=image", "hello:1.0"])).ok();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown[0]["Id"], image.id.as_str());

    // What `save` writes is understood as well.
    let saved = env.out("saved-for-engine.tar");
    env.rbuild(["save", "-o", saved.to_str().unwrap(), "hello:1.0"])
        .ok();
    Run::of(&mut engine.command(&["load", "-q", "-i", saved.to_str().unwrap()])).ok();

    let run = Run::of(&mut engine.command(&["run", "--rm", "--network=none", "hello:1.0"]));
    if run.code == Some(0) {
        assert_eq!(run.stdout, image.text("etc/greeting"));
    }
}

/// The engine's own BuildKit gives the same files and settings.
#[test]
fn buildkit_gives_the_same() {
    for name in [
        "hello",
        "production",
        "archive",
        "web-app",
        "fan-out",
        "targets",
    ] {
        let ours = built(name);
        need!(ours.is_some(), "{NEEDS}");
        let engine = Engine::shared();
        need!(engine.is_some(), "this needs dockerd and root");
        let ours = ours.unwrap();
        let engine = engine.unwrap();
        let tag = format!("bk-{name}:1");
        let mut build = engine.command(&["build", "-q", "--network=host", "-f", "Dockerfile.prod"]);
        Run::of(
            build
                .args(["-t", &tag, "."])
                .current_dir(crate::support::example(name)),
        )
        .ok();
        let tar = janitor::scratch().join("theirs.tar");
        Run::of(&mut engine.command(&["save", "-o", tar.to_str().unwrap(), &tag])).ok();
        let theirs = Image::from_docker_archive(&tar).remove(0).0;
        let trees = differences(&ours.tree, &theirs.tree);
        assert!(
            trees.is_empty(),
            "{name}: files differ from BuildKit's: {trees:#?}"
        );
        assert_eq!(
            crate::examples::settings(&ours),
            crate::examples::settings(&theirs),
            "{name}: config differs from BuildKit's"
        );
        // An ARG that takes its value from the global scope shows it only in newer versions.
        if name != "targets" {
            assert_eq!(
                history(&ours),
                history(&theirs),
                "{name}: history differs from BuildKit's"
            );
        }
    }
}

/// History lines without the base's. Of lines that Debian's old BuildKit words differently only the
/// instruction is kept.
fn history(image: &Image) -> Vec<String> {
    let mut lines = image.created_by();
    lines.remove(0);
    for line in &mut lines {
        for word in ["COPY", "ADD", "EXPOSE", "HEALTHCHECK"] {
            if line.starts_with(word) {
                word.clone_into(line);
            }
        }
    }
    lines
}

/// An archive with several platforms is an index for skopeo.
#[test]
fn skopeo_sees_all_platforms() {
    need!(have("skopeo"), "this needs skopeo");
    let env = TestEnv::new();
    let context = env.context(
        "ctx",
        &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")],
    );
    let tar = env.out("multi.tar");
    let dest = format!("type=oci,dest={}", tar.display());
    env.rbuild([
        "build",
        "--platform=linux/amd64,linux/arm64",
        "-o",
        &dest,
        context.to_str().unwrap(),
    ])
    .ok();
    let raw = Run::of(Command::new("skopeo").args([
        "--insecure-policy",
        "inspect",
        "--raw",
        &format!("oci-archive:{}", tar.display()),
    ]))
    .ok();
    let index: Value = serde_json::from_str(&raw.stdout).unwrap();
    assert_eq!(
        index["manifests"].as_array().unwrap().len(),
        2,
        "{}",
        raw.stdout
    );
}
