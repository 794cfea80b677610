//! Where a build's result goes, and in which form.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use serde_json::{Value, json};

use crate::support::image::Image;
use crate::support::run::Run;
use crate::support::tree::{self, What};
use crate::support::{TestEnv, bases, is_root, need};

const NEEDS: &str = "this needs busybox-static";

const FILES_ONLY: &str = "\
FROM scratch AS files
COPY --chmod=0640 one.txt /dir/
COPY run.sh /
LABEL kind=files
";

fn files_only(env: &TestEnv) -> std::path::PathBuf {
    let files = [
        ("Dockerfile", FILES_ONLY),
        ("one.txt", "one\n"),
        ("run.sh", "#!/bin/sh\n"),
    ];
    env.context("ctx", &files)
}

#[test]
fn oci_archive() {
    let env = TestEnv::new();
    let context = files_only(&env);
    let image = env.build_image(&context, &["-t", "example.com/a:1", "-t", "b:2"]);
    assert_eq!(image.text("dir/one.txt"), "one\n");
    assert_eq!(image.node("dir/one.txt").mode, 0o640);
    assert_eq!(image.node("run.sh").mode, 0o755);
    assert_eq!((image.node("run.sh").uid, image.node("run.sh").gid), (0, 0));
    assert_eq!(*image.setting("Labels"), json!({"kind": "files"}));
    let media = image.manifest["mediaType"].as_str().unwrap();
    assert_eq!(media, "application/vnd.oci.image.manifest.v1+json");
}

#[test]
fn oci_to_standard_output() {
    let env = TestEnv::new();
    let context = files_only(&env);
    let output = env
        .command()
        .args(["build", "-o", "type=oci", context.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success());
    let tar = env.out("stdout.tar");
    fs_err::write(&tar, output.stdout).unwrap();
    assert_eq!(Image::from_archive(&tar).text("dir/one.txt"), "one\n");
}

#[test]
fn docker_archive() {
    let env = TestEnv::new();
    let context = files_only(&env);
    let tar = env.out("docker.tar");
    let dest = format!("type=docker,dest={}", tar.display());
    let iid = env.build(&context, &["-t", "app:1.0", "-o", &dest]);
    let images = Image::from_docker_archive(&tar);
    assert_eq!(images.len(), 1);
    let (image, names) = &images[0];
    assert_eq!(image.id, iid);
    assert!(
        names.iter().any(|name| name.ends_with("app:1.0")),
        "{names:?}"
    );
    assert_eq!(image.text("dir/one.txt"), "one\n");
}

#[test]
fn tar_of_the_root_file_system() {
    let env = TestEnv::new();
    let context = files_only(&env);
    let tar = env.out("root.tar");
    let dest = format!("type=tar,dest={}", tar.display());
    env.rbuild(["build", "-o", &dest, context.to_str().unwrap()])
        .ok();
    let entries = tree::read_layer(fs_err::File::open(&tar).unwrap());
    let tree = tree::flatten(&[entries]);
    assert_eq!(tree["dir/one.txt"].text(), "one\n");
    assert_eq!(tree["dir/one.txt"].mode, 0o640);
    assert_eq!(tree.len(), 3, "{:?}", tree.keys());
}

#[test]
fn local_folder() {
    let env = TestEnv::new();
    let context = files_only(&env);
    for output in ["type=local,dest=a", "b"] {
        env.rbuild(["build", "-o", output, context.to_str().unwrap()])
            .ok();
    }
    for dir in ["a", "b"] {
        let file = env.out(dir).join("dir/one.txt");
        assert_eq!(fs_err::read_to_string(&file).unwrap(), "one\n");
        let metadata = fs_err::symlink_metadata(&file).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
        assert_eq!(metadata.uid(), rustix::process::geteuid().as_raw());
    }
    // What was there and is not in the result stays.
    fs_err::write(env.out("b").join("mine"), "mine").unwrap();
    env.rbuild(["build", "-o", "b", context.to_str().unwrap()])
        .ok();
    assert_eq!(
        fs_err::read_to_string(env.out("b").join("mine")).unwrap(),
        "mine"
    );
}

#[test]
fn local_folder_of_a_run() {
    let busybox = bases::busybox();
    need!(busybox.is_some() && is_root(), "{NEEDS} and root");
    let env = TestEnv::new();
    env.import(busybox.unwrap(), "busybox");
    let dockerfile = "\
FROM busybox AS build
RUN mkdir /out && echo made > /out/file && ln -s file /out/link && ln /out/file /out/hard \\
 && rm /etc/group && mkfifo /out/fifo
FROM scratch
COPY --from=build /out /
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    env.rbuild(["build", "-o", "result", context.to_str().unwrap()])
        .ok();
    let dir = env.out("result");
    assert_eq!(fs_err::read_to_string(dir.join("hard")).unwrap(), "made\n");
    assert_eq!(
        fs_err::read_link(dir.join("link")).unwrap().to_str(),
        Some("file")
    );
    let inode = |name: &str| fs_err::symlink_metadata(dir.join(name)).unwrap().ino();
    assert_eq!(inode("file"), inode("hard"));
}

#[test]
fn several_outputs_of_one_build() {
    let env = TestEnv::new();
    let context = files_only(&env);
    env.rbuild([
        "build",
        "-t",
        "app:1",
        "-o",
        "type=oci,dest=a.tar",
        "-o",
        "type=tar,dest=b.tar",
        "-o",
        "c",
        context.to_str().unwrap(),
    ])
    .ok();
    assert!(env.out("a.tar").is_file() && env.out("b.tar").is_file());
    assert!(env.out("c/dir/one.txt").is_file());
}

#[test]
fn quiet_iidfile_and_metadata() {
    let env = TestEnv::new();
    let context = files_only(&env);
    let (iid, metadata) = (env.out("iid"), env.out("metadata.json"));
    let run = env
        .rbuild([
            "build",
            "-q",
            "-t",
            "app:1",
            "-t",
            "registry.example/app:2",
            "--iidfile",
            iid.to_str().unwrap(),
            "--metadata-file",
            metadata.to_str().unwrap(),
            context.to_str().unwrap(),
        ])
        .ok();
    assert_eq!(run.stderr, "", "quiet says nothing");
    assert_eq!(run.stdout.lines().count(), 1);
    assert_eq!(fs_err::read_to_string(&iid).unwrap(), run.out());
    let metadata: Value = serde_json::from_slice(&fs_err::read(&metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], json!(run.out()));
    let names = metadata["image.name"].as_str().unwrap();
    assert!(
        names.contains("app:1") && names.contains("registry.example/app:2"),
        "{names}"
    );
    for name in ["app:1", "registry.example/app:2"] {
        assert_eq!(env.image(name).id, run.out());
    }
}

#[test]
fn a_tag_moves_to_the_new_image() {
    let env = TestEnv::new();
    let context = files_only(&env);
    let first = env.build(&context, &["-t", "app:1"]);
    env.context("ctx", &[("one.txt", "two\n")]);
    let second = env.build(&context, &["-t", "app:1"]);
    assert_ne!(first, second);
    assert_eq!(env.image("app:1").id, second);
}

#[test]
fn a_dockerfile_from_standard_input() {
    let env = TestEnv::new();
    files_only(&env);
    let input = || {
        fs_err::File::open(env.path("ctx/Dockerfile"))
            .unwrap()
            .into_parts()
            .0
    };
    let with_context = env
        .command()
        .args(["build", "-q", "-f", "-", env.path("ctx").to_str().unwrap()])
        .stdin(input())
        .output()
        .unwrap();
    assert!(
        with_context.status.success(),
        "{}",
        String::from_utf8_lossy(&with_context.stderr)
    );
    fs_err::write(env.out("Alone"), "FROM scratch\nLABEL a=b\n").unwrap();
    let alone = fs_err::File::open(env.out("Alone")).unwrap().into_parts().0;
    let alone = env
        .command()
        .args(["build", "-q", "-"])
        .stdin(alone)
        .output()
        .unwrap();
    assert!(
        alone.status.success(),
        "{}",
        String::from_utf8_lossy(&alone.stderr)
    );
}

/// The same bytes in another store, another folder, at another time.
#[test]
fn source_date_epoch_gives_identical_archives() {
    let busybox = bases::busybox();
    need!(busybox.is_some(), "{NEEDS}");
    let dockerfile = "\
FROM busybox
WORKDIR /srv/app
COPY one.txt run.sh ./
RUN date > /dev/null; mkdir -p a/b && echo text > a/b/file && ln a/b/file a/hard && rm /etc/group
ENV X=y
";
    let files = [
        ("Dockerfile", dockerfile),
        ("one.txt", "one\n"),
        ("run.sh", "#!/bin/sh\n"),
    ];
    let mut archives = Vec::new();
    for round in 0..2 {
        let env = TestEnv::new();
        let import = ["import", busybox.unwrap().to_str().unwrap(), "busybox"];
        Run::of(
            env.command()
                .env("SOURCE_DATE_EPOCH", "1700000000")
                .args(import),
        )
        .ok();
        let context = env.context(if round == 0 { "here" } else { "there" }, &files);
        let tar = env.out("image.tar");
        let run = env
            .command()
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .args(["build", "-o", &format!("type=oci,dest={}", tar.display())])
            .arg(&context)
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        let image = Image::from_archive(&tar);
        assert_eq!(image.config["created"], "2023-11-14T22:13:20Z");
        for layer in &image.layers[1..] {
            for entry in layer {
                let What::Node(node) = &entry.what else {
                    continue;
                };
                assert!(node.mtime <= 1_700_000_000, "{} is later", entry.path);
            }
        }
        archives.push(fs_err::read(&tar).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    assert!(archives[0] == archives[1], "the archives differ");
}

#[test]
fn several_platforms_make_an_index() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch\nARG TARGETARCH TARGETPLATFORM\nCOPY one.txt /$TARGETARCH.txt\n\
                      ENV P=$TARGETPLATFORM\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile), ("one.txt", "one\n")]);
    let tar = env.out("multi.tar");
    env.rbuild([
        "build",
        "--platform",
        "linux/amd64,linux/arm64",
        "--platform",
        "linux/arm/v7",
        "-t",
        "multi:1",
        "-o",
        &format!("type=oci,dest={}", tar.display()),
        context.to_str().unwrap(),
    ])
    .ok();
    let images = Image::all_from_archive(&tar);
    let names: Vec<_> = images
        .iter()
        .map(|image| image.tree.keys().cloned().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(names, ["amd64.txt", "arm64.txt", "arm.txt"]);
    assert_eq!(images[2].config["variant"], "v7");
    assert_eq!(
        *images[1].setting("Env"),
        json!([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "P=linux/arm64"
        ])
    );
}

#[test]
fn plan_prints_the_graph() {
    let env = TestEnv::new();
    let context = files_only(&env);
    let path = context.to_str().unwrap();
    let text = env.rbuild(["plan", path]).ok();
    assert!(text.stdout.contains("COPY"), "{}", text.report());
    let json = env.rbuild(["plan", "--format", "json", path]).ok();
    assert!(
        serde_json::from_str::<Value>(&json.stdout).is_ok(),
        "{}",
        json.report()
    );
    let dot = env.rbuild(["plan", "--format=dot", path]).ok();
    assert!(
        dot.stdout.trim_start().starts_with("digraph"),
        "{}",
        dot.report()
    );
    // A plan builds nothing.
    assert_eq!(env.rbuild(["images", "-q"]).ok().out(), "");
}

#[test]
fn rawjson_progress_is_json() {
    let env = TestEnv::new();
    let context = files_only(&env);
    let run = env
        .rbuild(["build", "--progress=rawjson", context.to_str().unwrap()])
        .ok();
    assert!(!run.stderr.trim().is_empty());
    for line in run.stderr.lines() {
        assert!(
            serde_json::from_str::<Value>(line).is_ok(),
            "not JSON: {line}"
        );
    }
}
