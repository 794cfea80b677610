//! Every program that handles images reads what this one writes, and this one reads what they write:
//! writer by writer, reader by reader.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::support::engine::Engine;
use crate::support::image::Image;
use crate::support::peers::{Buildah, skopeo, umoci_unpack};
use crate::support::podman::Podman;
use crate::support::registry::Registry;
use crate::support::run::Run;
use crate::support::tree::{self, differences};
use crate::support::{TestEnv, find, have, janitor, need};

const NEEDS: &str = "this needs docker-registry, skopeo, busybox-static and root";

/// The image in every form in which this program writes one.
struct Written {
    image: Image,
    /// `save` of the image as it was built.
    saved: PathBuf,
    /// `-o type=oci`, and the same as a directory.
    oci: PathBuf,
    layout: PathBuf,
    /// `-o type=docker,dest=`
    docker: PathBuf,
    /// Its name in the registry.
    pushed: String,
}

const NAME: &str = "matrix.example/app:1";

/// Files with owners, modes, links and a deletion; a config with a bit of everything.
const DOCKERFILE: &str = "FROM busybox
COPY --chown=7:8 --chmod=640 a /data/a
COPY a /data/gone
RUN rm /data/gone /bin/zcat && ln /data/a /data/hard && ln -s a /data/soft && chmod 4755 /data && \\
    mkdir -p /data/deep/er && echo text > /data/deep/er/file && mkfifo /data/fifo
ENV X=\"a b\"
USER 7
WORKDIR /data
LABEL kind=matrix
EXPOSE 80/tcp
CMD [\"cat\", \"a\"]
";

fn written() -> Option<&'static Written> {
    static WRITTEN: OnceLock<Option<Written>> = OnceLock::new();
    WRITTEN.get_or_init(write).as_ref()
}

fn write() -> Option<Written> {
    let registry = Registry::shared()?;
    let env = TestEnv::with_registry()?;
    env.remove_with_process();
    let dir = janitor::scratch();
    let files = [("Dockerfile", DOCKERFILE), ("a", "the file\n")];
    let context = env.context("ctx", &files);
    let [saved, oci, layout, docker] =
        ["saved.tar", "oci.tar", "layout", "docker.tar"].map(|name| dir.join(name));
    let pushed = format!("{}/matrix/app:1", registry.address);
    let outputs = [
        format!("type=oci,dest={}", oci.display()),
        format!("type=oci,tar=false,dest={}", layout.display()),
        format!("type=docker,dest={}", docker.display()),
        format!("type=image,name={NAME}"),
    ];
    let mut command = env.command();
    command.arg("build").args(["-t", NAME]);
    for output in &outputs {
        command.args(["-o", output]);
    }
    Run::of(command.arg(&context)).ok();
    env.rbuild(["save", "-o", saved.to_str().unwrap(), NAME])
        .ok();
    env.rbuild(["tag", NAME, &pushed]).ok();
    env.rbuild(["push", &pushed]).ok();
    let image = env.image(NAME);
    std::mem::forget(env);
    Some(Written {
        image,
        saved,
        oci,
        layout,
        docker,
        pushed,
    })
}

/// What must be the same in any form: files, and what a container starts with.
#[track_caller]
fn check(who: &str, expected: &Image, found: &Image) {
    let trees = differences(&expected.tree, &found.tree);
    assert!(trees.is_empty(), "{who}: {trees:#?}");
    for field in ["Env", "Cmd", "User", "WorkingDir", "Labels", "ExposedPorts"] {
        assert_eq!(
            found.setting(field),
            expected.setting(field),
            "{who}: {field}"
        );
    }
}

/// A folder with everything that an image has, at a path of this machine.
#[track_caller]
fn check_folder(who: &str, expected: &Image, root: &Path) {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    for (path, node) in &expected.tree {
        let there = fs_err::symlink_metadata(root.join(path))
            .unwrap_or_else(|error| panic!("{who}: {path}: {error}"));
        assert_eq!(u64::from(there.uid()), node.uid, "{who}: {path}");
        assert_eq!(u64::from(there.gid()), node.gid, "{who}: {path}");
    }
    for gone in ["data/gone", "bin/zcat"] {
        assert!(
            fs_err::symlink_metadata(root.join(gone)).is_err(),
            "{who}: {gone}"
        );
    }
    assert_eq!(
        fs_err::read_to_string(root.join("data/a")).unwrap(),
        "the file\n"
    );
    let [one, other] =
        ["data/a", "data/hard"].map(|path| fs_err::metadata(root.join(path)).unwrap().ino());
    assert_eq!(one, other, "{who}");
    let fifo = fs_err::symlink_metadata(root.join("data/fifo")).unwrap();
    assert!(fifo.file_type().is_fifo(), "{who}");
}

/// The forms as `containers/image` names them: which writer, and where.
fn transports(written: &Written) -> [(&'static str, String); 5] {
    [
        (
            "save",
            format!("docker-archive:{}", written.saved.display()),
        ),
        ("type=oci", format!("oci-archive:{}", written.oci.display())),
        (
            "type=oci,tar=false",
            format!("oci:{}", written.layout.display()),
        ),
        (
            "type=docker",
            format!("docker-archive:{}", written.docker.display()),
        ),
        ("push", format!("docker://{}", written.pushed)),
    ]
}

fn untar(tar: &Path) -> PathBuf {
    let dir = janitor::scratch();
    let file = fs_err::File::open(tar).unwrap();
    tar::Archive::new(file).unpack(&dir).unwrap();
    dir
}

#[test]
fn skopeo_reads_all_forms() {
    need!(written().is_some(), "{NEEDS}");
    let written = written().unwrap();
    // What `save` writes is an OCI archive as well.
    let both = format!("oci-archive:{}", written.saved.display());
    for (who, source) in transports(written).into_iter().chain([("save", both)]) {
        let copy = janitor::scratch().join("copy");
        let dest = format!("oci:{}:copy", copy.display());
        skopeo(&["copy", "-q", "--src-tls-verify=false", &source, &dest]);
        check(who, &written.image, &Image::all_from_layout(&copy)[0]);
    }
}

#[test]
fn umoci_reads_all_forms() {
    need!(written().is_some() && have("umoci"), "{NEEDS}, and umoci");
    let written = written().unwrap();
    let from_registry = janitor::scratch().join("copy");
    let (source, dest) = (
        format!("docker://{}", written.pushed),
        format!("oci:{}:1", from_registry.display()),
    );
    skopeo(&["copy", "-q", "--src-tls-verify=false", &source, &dest]);
    for (who, layout) in [
        ("type=oci,tar=false", written.layout.clone()),
        ("type=oci", untar(&written.oci)),
        ("save", untar(&written.saved)),
        ("type=docker", untar(&written.docker)),
        ("push", from_registry),
    ] {
        let bundle = janitor::scratch().join("bundle");
        let root = umoci_unpack(&format!("{}:1", layout.display()), &bundle);
        check_folder(who, &written.image, &root);
    }
}

#[test]
fn buildah_reads_all_forms() {
    need!(
        written().is_some() && Buildah::shared().is_some(),
        "{NEEDS}, buildah and runc"
    );
    let (written, buildah) = (written().unwrap(), Buildah::shared().unwrap());
    for (who, source) in transports(written) {
        let policy = buildah.policy();
        // It makes a name of a layout's path, which must have no upper case.
        let source = match source.starts_with("oci:") {
            true => "oci:layout:1",
            false => &source,
        };
        let mut from = buildah.command();
        from.args(["from", &policy, "--tls-verify=false", "-q", source]);
        let from = Run::of(from.current_dir(written.layout.parent().unwrap())).ok();
        let mount = Run::of(buildah.command().args(["mount", from.out()])).ok();
        check_folder(who, &written.image, Path::new(mount.out()));
        Run::of(buildah.command().args(["rm", from.out()])).ok();
    }
}

#[test]
fn a_docker_engine_reads_all_forms() {
    need!(
        written().is_some() && Engine::shared().is_some(),
        "{NEEDS}, and a Docker engine that starts"
    );
    let (written, engine) = (written().unwrap(), Engine::shared().unwrap());
    let _alone = alone_with_engine();
    let docker = |args: &[&str]| Run::of(&mut engine.command(args)).ok();
    let check = |who: &str, name: &str| {
        let tar = janitor::scratch().join("theirs.tar");
        docker(&["save", "-o", tar.to_str().unwrap(), name]);
        let theirs = Image::from_docker_archive(&tar).remove(0).0;
        check(who, &written.image, &theirs);
        assert_eq!(theirs.id, written.image.id, "{who}");
        docker(&["rmi", name]);
    };
    docker(&["load", "-q", "-i", written.saved.to_str().unwrap()]);
    check("save", NAME);
    docker(&["load", "-q", "-i", written.docker.to_str().unwrap()]);
    check("type=docker", NAME);
    docker(&["pull", "-q", &written.pushed]);
    check("push", &written.pushed);
    // Plain OCI archives are for engines since version 25.
    let version = docker(&["version", "--format", "{{.Server.Version}}"]);
    let major = version.out().split('.').next().unwrap().parse::<u32>();
    if major.is_ok_and(|major| major >= 25) {
        docker(&["load", "-q", "-i", written.oci.to_str().unwrap()]);
        check("type=oci", NAME);
    }
}

#[test]
fn podman_reads_all_forms() {
    need!(
        written().is_some() && Podman::shared().is_some(),
        "{NEEDS}, podman and runc or crun"
    );
    let (written, podman) = (written().unwrap(), Podman::shared().unwrap());
    let _alone = alone_with_podman();
    let run = |args: &[&str]| Run::of(&mut podman.command(args)).ok();
    let folder = written.layout.parent().unwrap();
    for (who, read) in [
        (
            "save",
            vec!["load", "-q", "-i", written.saved.to_str().unwrap()],
        ),
        (
            "type=docker",
            vec!["load", "-q", "-i", written.docker.to_str().unwrap()],
        ),
        (
            "type=oci",
            vec!["load", "-q", "-i", written.oci.to_str().unwrap()],
        ),
        ("type=oci,tar=false", vec!["pull", "-q", "oci:layout:1"]),
        (
            "push",
            vec!["pull", "-q", "--tls-verify=false", &written.pushed],
        ),
    ] {
        Run::of(podman.command(&read).current_dir(folder)).ok();
        let id = written.image.id.replace("sha256:", "");
        let mount = run(&["image", "mount", &id]);
        check_folder(who, &written.image, Path::new(mount.out()));
        run(&["image", "unmount", "-f", &id]);
        run(&["rmi", "-f", &id]);
    }
}

/// containerd itself, without running anything.
#[test]
fn containerd_imports_archives() {
    let daemon = find("containerd");
    need!(
        written().is_some() && daemon.is_some() && have("ctr"),
        "{NEEDS}, and containerd with ctr"
    );
    let written = written().unwrap();
    let dir = janitor::scratch();
    let socket = dir.join("sock");
    let config = format!(
        "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{}\"\n[ttrpc]\naddress = \"{}\"\n",
        socket.display(),
        dir.join("ttrpc").display()
    );
    fs_err::write(dir.join("config.toml"), config).unwrap();
    let log = fs_err::File::create(dir.join("log")).unwrap();
    let server = Command::new(daemon.unwrap())
        .arg("--config")
        .arg(dir.join("config.toml"))
        .arg("--root")
        .arg(dir.join("root"))
        .arg("--state")
        .arg(dir.join("state"))
        .stderr(log.into_parts().0)
        .spawn()
        .unwrap();
    janitor::keep(server);
    let ctr = |args: &[&str]| {
        let mut command = Command::new("ctr");
        Run::of(command.arg("--address").arg(&socket).args(args))
    };
    let is_up = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        ctr(&["version"]).code == Some(0)
    });
    need!(is_up, "this needs a containerd that starts");
    for archive in [&written.saved, &written.docker, &written.oci] {
        let archive = archive.to_str().unwrap();
        let import = ["images", "import", "--no-unpack", "--digests", archive];
        let run = ctr(&import);
        // Older ones cannot do without unpacking.
        let run = match run.code {
            Some(0) => run,
            _ => ctr(&["images", "import", archive]),
        };
        run.ok();
        assert!(ctr(&["images", "list", "-q"]).ok().stdout.contains(NAME));
        let found = ctr(&["images", "check", "-q"]).ok();
        assert!(found.stdout.contains(NAME), "{}", found.report());
        ctr(&["images", "rm", NAME]).ok();
    }
}

/// Reads an archive, and checks it.
#[track_caller]
fn loads(who: &str, expected: &Image, archive: &Path, name: &str) {
    let env = TestEnv::new();
    let load = ["load", "-q", "-i", archive.to_str().unwrap()];
    let run = env.rbuild(load).ok();
    let said = run.out().rsplit(": ").next().unwrap().to_owned();
    let name = if name.is_empty() { &said } else { name };
    check(who, expected, &env.image(name));
}

/// Pulls from the registry, and checks.
#[track_caller]
fn pulls(who: &str, expected: &Image, name: &str) {
    let env = TestEnv::new();
    env.rbuild(["pull", "-q", name]).ok();
    check(who, expected, &env.image(name));
}

/// Builds on an OCI layout, and checks.
#[track_caller]
fn builds_on(who: &str, expected: &Image, layout: &Path, tag: &str) {
    let env = TestEnv::new();
    let context = env.context(
        "ctx",
        &[(
            "Dockerfile",
            "FROM base\nRUN [\"/bin/busybox\", \"true\"]\n",
        )],
    );
    let base = format!("base=oci-layout://{}:{tag}", layout.display());
    let image = env.build_image(&context, &["--build-context", &base]);
    check(who, expected, &image);
}

#[test]
fn what_skopeo_writes_is_read() {
    need!(written().is_some(), "{NEEDS}");
    let written = written().unwrap();
    let address = &Registry::shared().unwrap().address;
    let source = format!("oci:{}", written.layout.display());
    let dir = janitor::scratch();
    let copy = |args: &[&str], dest: &str| {
        let start = ["copy", "-q", "--dest-tls-verify=false"];
        skopeo(&[&start, args, &[&source, dest]].concat());
    };
    let (docker, oci, layout) = (dir.join("d.tar"), dir.join("o.tar"), dir.join("layout"));
    copy(
        &[],
        &format!("docker-archive:{}:by.example/skopeo:1", docker.display()),
    );
    loads(
        "skopeo docker-archive",
        &written.image,
        &docker,
        "by.example/skopeo:1",
    );
    copy(
        &[],
        &format!("oci-archive:{}:by.example/skopeo:2", oci.display()),
    );
    loads("skopeo oci-archive", &written.image, &oci, "");
    for (format, compression) in [("oci", "gzip"), ("oci", "zstd"), ("v2s2", "gzip")] {
        let name = format!("{address}/by/skopeo:{format}-{compression}");
        let args = ["--format", format, "--dest-compress-format", compression];
        copy(&args, &format!("docker://{name}"));
        pulls(
            &format!("skopeo {format} {compression}"),
            &written.image,
            &name,
        );
    }
    copy(&[], &format!("oci:{}:here", layout.display()));
    builds_on("skopeo oci", &written.image, &layout, "here");
}

#[test]
fn what_buildah_writes_is_read() {
    need!(
        written().is_some() && Buildah::shared().is_some(),
        "{NEEDS}, buildah and runc"
    );
    let (written, buildah) = (written().unwrap(), Buildah::shared().unwrap());
    let address = &Registry::shared().unwrap().address;
    let policy = buildah.policy();
    let mut pull = buildah.command();
    pull.args(["pull", &policy, "-q", "oci:layout:1"]);
    let pull = Run::of(pull.current_dir(written.layout.parent().unwrap())).ok();
    let id = pull.out();
    let dir = janitor::scratch();
    let push = |dest: &str| {
        let push = ["push", &policy, "-q", "--tls-verify=false", id, dest];
        Run::of(buildah.command().args(push)).ok();
    };
    let (docker, oci, layout) = (dir.join("d.tar"), dir.join("o.tar"), dir.join("layout"));
    push(&format!(
        "docker-archive:{}:by.example/buildah:1",
        docker.display()
    ));
    loads(
        "buildah docker-archive",
        &written.image,
        &docker,
        "by.example/buildah:1",
    );
    push(&format!(
        "oci-archive:{}:by.example/buildah:2",
        oci.display()
    ));
    loads("buildah oci-archive", &written.image, &oci, "");
    let name = format!("{address}/by/buildah:1");
    push(&format!("docker://{name}"));
    pulls("buildah push", &written.image, &name);
    push(&format!("oci:{}:here", layout.display()));
    builds_on("buildah oci", &written.image, &layout, "here");
}

#[test]
fn what_umoci_writes_is_read() {
    need!(written().is_some() && have("umoci"), "{NEEDS}, and umoci");
    let written = written().unwrap();
    let address = &Registry::shared().unwrap().address;
    let dir = janitor::scratch();
    let layout = untar(&written.oci);
    fs_err::write(dir.join("new"), "by umoci\n").unwrap();
    let image = format!("{}:1", layout.display());
    let umoci = |args: &[&str]| {
        Run::of(Command::new("umoci").args(args)).ok();
    };
    umoci(&[
        "insert",
        "--image",
        &image,
        dir.join("new").to_str().unwrap(),
        "/new",
    ]);
    umoci(&["config", "--image", &image, "--config.label", "by=umoci"]);

    // Its layer ends with the last byte of the last file; not all readers of tars take that.
    let env = TestEnv::new();
    let read = |name: &str| {
        let tar = env.out("files.tar");
        env.rbuild(["export", "-o", tar.to_str().unwrap(), name])
            .ok();
        let entries = tree::read_layer(fs_err::File::open(tar).unwrap());
        let files = tree::flatten(&[entries]);
        assert_eq!(files["new"].text(), "by umoci\n");
        assert_eq!(files["data/hard"].text(), "the file\n");
        assert!(!files.contains_key("data/gone"));
        let format = "{{.Config.Labels.by}}";
        let label = env.rbuild(["inspect", "--format", format, name]).ok();
        assert_eq!(label.out(), "umoci");
    };
    let context = env.context("ctx", &[("Dockerfile", "FROM base\nLABEL more=1\n")]);
    let base = format!("base=oci-layout://{image}");
    env.build(&context, &["-t", "built:1", "--build-context", &base]);
    read("built:1");

    let tar = dir.join("umoci.tar");
    let (folder, file) = (layout.to_str().unwrap(), tar.to_str().unwrap());
    Run::of(Command::new("tar").args(["-C", folder, "-cf", file, "."])).ok();
    let run = env.rbuild(["load", "-q", "-i", file]).ok();
    let loaded = run.out().rsplit(": ").next().unwrap().to_owned();
    read(&loaded);

    let name = format!("{address}/by/umoci:1");
    let dest = format!("docker://{name}");
    skopeo(&[
        "copy",
        "-q",
        "--dest-tls-verify=false",
        &format!("oci:{image}"),
        &dest,
    ]);
    env.rbuild(["pull", &name]).ok();
    read(&name);
}

#[test]
fn what_a_docker_engine_writes_is_read() {
    need!(
        written().is_some() && Engine::shared().is_some(),
        "{NEEDS}, and a Docker engine that starts"
    );
    let (written, engine) = (written().unwrap(), Engine::shared().unwrap());
    let _alone = alone_with_engine();
    let address = &Registry::shared().unwrap().address;
    let docker = |args: &[&str]| Run::of(&mut engine.command(args)).ok();
    // An image that the engine made itself, of what it read.
    docker(&["load", "-q", "-i", written.saved.to_str().unwrap()]);
    let name = format!("{address}/by/docker:1");
    docker(&["tag", NAME, &name]);
    let tar = janitor::scratch().join("theirs.tar");
    docker(&["save", "-o", tar.to_str().unwrap(), &name]);
    loads("docker save", &written.image, &tar, &name);
    docker(&["push", &name]);
    pulls("docker push", &written.image, &name);
    let layout = janitor::scratch().join("layout");
    let source = format!("docker-archive:{}", tar.display());
    skopeo(&[
        "copy",
        "-q",
        &source,
        &format!("oci:{}:here", layout.display()),
    ]);
    builds_on("docker save, skopeo copy", &written.image, &layout, "here");
    docker(&["rmi", &name]);
}

/// Both tests of the engine give its image one name, and remove that.
fn alone_with_engine() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Podman removes an image with all of its names, those of other tests among them.
fn alone_with_podman() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn what_podman_writes_is_read() {
    need!(
        written().is_some() && Podman::shared().is_some(),
        "{NEEDS}, podman and runc or crun"
    );
    let (written, podman) = (written().unwrap(), Podman::shared().unwrap());
    let _alone = alone_with_podman();
    let address = &Registry::shared().unwrap().address;
    let run = |args: &[&str]| Run::of(&mut podman.command(args)).ok();
    run(&["load", "-q", "-i", written.oci.to_str().unwrap()]);
    let name = format!("{address}/by/podman:1");
    let id = written.image.id.replace("sha256:", "");
    run(&["tag", &id, &name]);
    let dir = janitor::scratch();
    for format in ["docker-archive", "oci-archive"] {
        let tar = dir.join(format);
        run(&[
            "save",
            "-q",
            "--format",
            format,
            "-o",
            tar.to_str().unwrap(),
            &name,
        ]);
        loads(&format!("podman {format}"), &written.image, &tar, &name);
    }
    let layout = dir.join("layout");
    run(&[
        "save",
        "-q",
        "--format",
        "oci-dir",
        "-o",
        layout.to_str().unwrap(),
        &name,
    ]);
    // The whole name is the tag there.
    let index = fs_err::read_to_string(layout.join("index.json")).unwrap();
    fs_err::write(layout.join("index.json"), index.replace(&name, "here")).unwrap();
    builds_on("podman oci-dir", &written.image, &layout, "here");
    run(&["push", "-q", "--tls-verify=false", &name]);
    pulls("podman push", &written.image, &name);
    run(&["rmi", "-f", &id]);
}
