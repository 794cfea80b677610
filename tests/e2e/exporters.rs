//! `--output` option by option: what each does, and what is refused and how.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::image::Image;
use crate::support::peers::{skopeo, umoci_unpack};
use crate::support::run::Run;
use crate::support::tree::What;
use crate::support::{TestEnv, have, need};

/// A context with a file of three mebibytes that compresses somewhat.
fn context(env: &TestEnv, base: &str) -> PathBuf {
    let words = ["layer", "index", "tree", "blob", "step", "stage", "image"];
    let mut state = 1_u32;
    let mut text = String::new();
    while text.len() < 3 << 20 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.push_str(words[(state >> 16) as usize % words.len()]);
        text.push(if state >> 31 == 0 { ' ' } else { '\n' });
    }
    let dockerfile = format!("FROM {base}\nCOPY text /text\n");
    let files = [("Dockerfile", dockerfile.as_str()), ("text", &text)];
    env.context("ctx", &files)
}

fn output(env: &TestEnv, context: &Path, output: &str) -> Run {
    let args = ["build", "-o", output].map(str::to_owned);
    Run::of(env.command().args(args).arg(context))
}

/// Digest and size of the last layer of an OCI layout, written with these fields.
fn layer(env: &TestEnv, context: &Path, fields: &str) -> (String, u64) {
    let option = format!("type=oci,dest=layout,tar=false,name=x.example/a:1,{fields}");
    output(env, context, &option).ok();
    let image = Image::all_from_layout(&env.out("layout")).remove(0);
    fs_err::remove_dir_all(env.out("layout")).unwrap();
    let layer = image.manifest["layers"].as_array().unwrap().last();
    let layer = layer.unwrap();
    let digest = layer["digest"].as_str().unwrap().to_owned();
    (digest, layer["size"].as_u64().unwrap())
}

fn n_blobs(env: &TestEnv) -> usize {
    let blobs = fs_err::read_dir(env.store().join("blobs/sha256")).unwrap();
    blobs.count()
}

#[test]
fn levels_make_layers_smaller_and_are_kept() {
    let env = TestEnv::new();
    let context = context(&env, "scratch");
    for (compression, levels) in [("gzip", [1, 6, 9]), ("zstd", [1, 9, 19])] {
        let fields = |level: i32| format!("compression={compression},compression-level={level}");
        let sizes = levels.map(|level| layer(&env, &context, &fields(level)).1);
        assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2], "{sizes:?}");
        assert!(sizes[2] > 100_000, "{sizes:?}");
    }
    // What there is no level of gets the nearest one; negative means the default.
    let zero = layer(&env, &context, "compression-level=0");
    assert!(zero.1 > 3 << 20, "{zero:?}");
    let usual = layer(&env, &context, "compression=gzip");
    for (level, same) in [("99", "9"), ("-1", "6")] {
        let [level, same] =
            [level, same].map(|level| layer(&env, &context, &format!("compression-level={level}")));
        assert_eq!(level, same);
    }
    assert_eq!(layer(&env, &context, "compression-level=-1"), usual);
    // They are in the store: nothing is packed again.
    let before = n_blobs(&env);
    for fields in [
        "compression-level=9",
        "compression=zstd,compression-level=19",
    ] {
        layer(&env, &context, fields);
    }
    assert_eq!(n_blobs(&env), before);
    let one = layer(&env, &context, "compression-level=1").0;
    let blob = |digest: &str| {
        let name = digest.strip_prefix("sha256:").unwrap();
        env.store().join("blobs/sha256").join(name)
    };
    let inode = || {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs_err::metadata(blob(&one)).unwrap();
        (metadata.ino(), metadata.mtime_nsec())
    };
    let was = inode();
    layer(&env, &context, "compression-level=1");
    assert_eq!(inode(), was);
    output(&env, &context, "type=oci,dest=a.tar,compression-level=high")
        .fails(2)
        .says("non-integer value high specified for compression-level");
}

/// The bytes do not depend on the processors.
#[test]
fn levels_give_the_same_bytes_anywhere() {
    need!(have("taskset"), "this needs taskset");
    for fields in [
        "compression-level=9",
        "compression=zstd,compression-level=12",
    ] {
        let digests = ["0", "0-63"].map(|processors| {
            let env = TestEnv::new();
            let context = context(&env, "scratch");
            fs_err::File::open(context.join("text"))
                .unwrap()
                .into_parts()
                .0
                .set_modified(std::time::UNIX_EPOCH)
                .unwrap();
            let program = env.command();
            let mut command = Command::new("taskset");
            command.args(["-c", processors]).arg(program.get_program());
            let variables = program.get_envs();
            command.envs(variables.filter_map(|(name, value)| Some((name, value?))));
            command.current_dir(program.get_current_dir().unwrap());
            let option = format!("type=oci,dest=a.tar,{fields}");
            command
                .env("SOURCE_DATE_EPOCH", "1")
                .args(["build", "-o", &option]);
            Run::of(command.arg(&context)).ok();
            Image::from_archive(&env.out("a.tar")).digest
        });
        assert_eq!(digests[0], digests[1], "{fields}");
    }
}

#[test]
fn bases_are_compressed_anew_where_that_is_forced() {
    let env = TestEnv::with_registry();
    need!(
        env.is_some() && have("umoci"),
        "this needs docker-registry, skopeo, umoci and busybox-static"
    );
    let env = env.unwrap();
    let context = context(&env, "busybox");
    let layers = |fields: &str| {
        let option = format!("type=oci,dest=layout,tar=false,name=x.example/a:1,{fields}");
        output(&env, &context, &option).ok();
        let image = Image::all_from_layout(&env.out("layout")).remove(0);
        let layers = image.manifest["layers"].as_array().unwrap().clone();
        let named = |layer: &Value| (layer["digest"].clone(), layer["size"].as_u64().unwrap());
        layers.iter().map(named).collect::<Vec<_>>()
    };
    let kept = layers("compression-level=9");
    fs_err::remove_dir_all(env.out("layout")).unwrap();
    let forced = layers("compression-level=9,force-compression=true");
    assert_ne!(kept[0], forced[0]);
    assert_eq!(kept[1], forced[1]);

    // Other programs read it.
    let layout = env.out("layout");
    let shown = skopeo(&["inspect", &format!("oci:{}", layout.display())]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["Layers"][0], forced[0].0);
    let dir = env.out("unpacked");
    let names = fs_err::read_to_string(layout.join("index.json")).unwrap();
    assert!(names.contains("x.example/a:1"), "{names}");
    let copy = format!("oci:{}:image", env.out("copy").display());
    skopeo(&["copy", "-q", &format!("oci:{}", layout.display()), &copy]);
    let root = umoci_unpack(&format!("{}:image", env.out("copy").display()), &dir);
    assert_eq!(fs_err::metadata(root.join("text")).unwrap().len() >> 20, 3);
    assert!(root.join("bin").exists());

    // The base as it was pulled is still the one that goes with an image that keeps it.
    fs_err::remove_dir_all(&layout).unwrap();
    assert_eq!(layers("compression-level=1")[0], kept[0]);
}

#[test]
fn push_takes_a_level() {
    use crate::support::registry::{Door, Registry};
    need!(
        Registry::shared().is_some(),
        "this needs docker-registry, skopeo and busybox-static"
    );
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let context = context(&env, "scratch");
    let sizes = ["1", "9"].map(|level| {
        let name = format!("{}/level:{level}", registry.address);
        env.build(&context, &["-t", &name]);
        env.rbuild(["push", "--compression-level", level, &name])
            .ok();
        let raw = crate::push::raw(&name);
        let manifest: Value = serde_json::from_slice(&raw).unwrap();
        manifest["layers"][0]["size"].as_u64().unwrap()
    });
    assert!(sizes[0] > sizes[1], "{sizes:?}");
    // An image that has its manifest keeps it, unless that is forced.
    let name = format!("{}/level:forced", registry.address);
    env.rbuild(["tag", &format!("{}/level:1", registry.address), &name])
        .ok();
    let forced = [
        "push",
        "--compression-level=9",
        "--force-compression",
        &name,
    ];
    env.rbuild(forced).ok();
    let manifest: Value = serde_json::from_slice(&crate::push::raw(&name)).unwrap();
    assert!(manifest["layers"][0]["size"].as_u64().unwrap() < sizes[0]);
}

#[test]
fn cacheonly_leaves_only_the_cache() {
    let env = TestEnv::new();
    let context = context(&env, "scratch");
    let files = ["--iidfile", "iid", "--metadata-file", "meta.json"];
    let mut command = env.command();
    command.args(["build", "-q", "-t", "app:1", "-o", "type=cacheonly"]);
    let run = Run::of(command.args(files).arg(&context)).ok();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    assert_eq!(env.rbuild(["images", "-aq"]).ok().out(), "");
    assert_eq!(fs_err::read_to_string(env.out("iid")).unwrap(), "");
    let metadata = fs_err::read(env.out("meta.json")).unwrap();
    let metadata: Value = serde_json::from_slice(&metadata).unwrap();
    assert_eq!(metadata.as_object().unwrap().len(), 1, "{metadata}");
    // The next build finds it all.
    let run = env.rbuild([
        "build",
        "--progress=plain",
        "-t",
        "app:1",
        context.to_str().unwrap(),
    ]);
    assert!(run.ok().stderr.contains("CACHED"));
    // Beside another output it changes nothing.
    let both = ["-o", "type=cacheonly", "-o", "type=image,name=other:1"];
    Run::of(env.command().arg("build").args(both).arg(&context)).ok();
    env.rbuild(["inspect", "other:1"]).ok();
}

#[test]
fn times_are_those_of_the_epoch() {
    let env = TestEnv::new();
    let context = context(&env, "scratch");
    for option in ["rewrite-timestamp=true", "rewrite-timestamp=false"] {
        let option = format!("type=oci,dest=a.tar,{option}");
        let mut command = env.command();
        command.env("SOURCE_DATE_EPOCH", "1000");
        Run::of(command.args(["build", "-o", &option]).arg(&context)).ok();
        let image = Image::from_archive(&env.out("a.tar"));
        assert_eq!(image.config["created"], "1970-01-01T00:16:40Z");
        for entry in image.layers.iter().flatten() {
            if let What::Node(node) = &entry.what {
                assert!(node.mtime <= 1000, "{}: {}", entry.path, node.mtime);
            }
        }
    }
    output(&env, &context, "type=oci,dest=a.tar,rewrite-timestamp=true")
        .ok()
        .says("rewrite-timestamp has no effect without SOURCE_DATE_EPOCH");
    // Files that are written out can have a time of their own.
    output(&env, &context, "type=local,dest=files,source-date-epoch=77").ok();
    let text = fs_err::metadata(env.out("files/text")).unwrap();
    let since = text.modified().unwrap();
    let since = since.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(since.as_secs(), 77);
    output(&env, &context, "type=oci,dest=a.tar,source-date-epoch=77")
        .fails(1)
        .says("--build-arg SOURCE_DATE_EPOCH=77");
}

fn platforms(env: &TestEnv, dockerfile: &str, option: &str) -> Run {
    let context = env.context("many", &[("Dockerfile", dockerfile), ("file", "x\n")]);
    let mut command = env.command();
    command.args(["build", "--platform=linux/amd64,linux/arm64", "-o", option]);
    Run::of(command.arg(context))
}

#[test]
fn platforms_are_split_or_not() {
    let env = TestEnv::new();
    let apart = "FROM scratch\nARG TARGETARCH\nCOPY file /all/$TARGETARCH\n";
    let tar_names = |tar: &Path| {
        let list = Run::of(Command::new("tar").arg("-tf").arg(tar)).ok();
        let mut names: Vec<_> = list.stdout.lines().map(str::to_owned).collect();
        names.retain(|name| !name.ends_with('/'));
        names
    };
    platforms(&env, apart, "type=tar,dest=split.tar").ok();
    let split = ["linux_amd64/all/amd64", "linux_arm64/all/arm64"];
    assert_eq!(tar_names(&env.out("split.tar")), split);
    platforms(&env, apart, "type=tar,dest=one.tar,platform-split=false").ok();
    assert_eq!(tar_names(&env.out("one.tar")), ["all/amd64", "all/arm64"]);
    platforms(&env, apart, "type=local,dest=split").ok();
    platforms(&env, apart, "type=local,dest=one,platform-split=false").ok();
    for path in [
        "split/linux_amd64/all/amd64",
        "split/linux_arm64/all/arm64",
        "one/all/amd64",
        "one/all/arm64",
    ] {
        assert!(env.out(path).is_file(), "{path}");
    }
    // A single platform can have a directory, too.
    let context = env.context("many", &[]);
    let option = "type=local,dest=single,platform-split=true";
    let args = ["build", "--platform=linux/arm64", "-o", option];
    Run::of(env.command().args(args).arg(context)).ok();
    assert!(env.out("single/linux_arm64/all/arm64").is_file());

    let same = "FROM scratch\nARG TARGETARCH\nCOPY file /file\n";
    for option in [
        "type=local,dest=clash,platform-split=false",
        "type=tar,dest=clash.tar,platform-split=false",
    ] {
        platforms(&env, same, option).fails(1).says(
            "cannot overwrite file from linux/amd64 with linux/arm64 when split option is disabled",
        );
    }
    assert!(!env.out("clash.tar").exists() && !env.out("clash/file").exists());
}

#[test]
fn a_directory_becomes_what_was_built() {
    let env = TestEnv::new();
    let context = env.context(
        "ctx",
        &[
            ("Dockerfile", "FROM scratch\nCOPY a /kept/a\n"),
            ("a", "1\n"),
        ],
    );
    let outside = env.path("outside");
    for dir in [&env.out("mirror"), &outside] {
        for name in ["kept/old", "gone/deep/old", "old"] {
            let file = dir.join(name);
            fs_err::create_dir_all(file.parent().unwrap()).unwrap();
            fs_err::write(file, "old").unwrap();
        }
        fs_err::os::unix::fs::symlink("/etc", dir.join("link")).unwrap();
    }
    output(&env, &context, "type=local,dest=mirror").ok();
    assert!(env.out("mirror/kept/old").is_file() && env.out("mirror/link").is_symlink());
    output(&env, &context, "type=local,dest=mirror,mode=delete").ok();
    let listed = |dir: &Path| {
        let list = Run::of(Command::new("find").arg(dir).args(["-printf", "%P "])).ok();
        let mut names: Vec<_> = list.out().split(' ').map(str::to_owned).collect();
        names.retain(|name| !name.is_empty());
        names.sort();
        names
    };
    assert_eq!(listed(&env.out("mirror")), ["kept", "kept/a"]);
    assert!(Path::new("/etc/passwd").exists());

    let option = format!("type=local,dest={},mode=delete", outside.display());
    output(&env, &context, &option)
        .fails(1)
        .says("is not below the current directory")
        .says("--allow=buildx.local.delete permits it");
    assert!(outside.join("old").exists());
    let args = ["build", "--allow=buildx.local.delete", "-o", &option];
    Run::of(env.command().args(args).arg(&context)).ok();
    assert_eq!(listed(&outside), ["kept", "kept/a"]);
}

#[test]
fn what_rbuild_does_not_do_is_said() {
    let env = TestEnv::new();
    let context = env.context("ctx", &[("Dockerfile", "FROM scratch\nENV A=1\n")]);
    for (option, code, text) in [
        (
            "type=image,attestation-inline=true",
            1,
            "writes no attestations",
        ),
        (
            "type=oci,dest=a,oci-artifact=true",
            1,
            "leave out oci-artifact",
        ),
        (
            "type=local,dest=a,attestation-prefix=x",
            1,
            "leave out attestation-prefix",
        ),
        (
            "type=image,buildinfo=true",
            1,
            "--metadata-file says what was built",
        ),
        (
            "type=image,prefer-nondist-layers=true",
            1,
            "leave out prefer-nondist-layers",
        ),
        (
            "type=image,compression=estargz",
            1,
            "use compression=gzip, zstd or uncompressed",
        ),
        ("type=tar,dest=a,mode=delete", 2, "has no option \"mode\""),
        ("type=local,dest=a,mode=sync", 2, "expected copy or delete"),
        (
            "type=local,dest=a,source-date-epoch=noon",
            2,
            "expected seconds",
        ),
        ("type=cacheonly,dest=a", 2, "has no option \"dest\""),
        ("type=docker,dest=a,context=b", 2, "not both"),
        ("type=image,unpack=perhaps", 2, "expected true or false"),
    ] {
        output(&env, &context, option).fails(code).says(text);
    }
    // These ask for what is so anyway, or need not be asked for.
    for option in [
        "type=image,unpack=true,attestation-inline=false,oci-artifact=false,prefer-nondist-layers=false",
        "type=image,danging-name-empty-only=true,dangling-name-prefix=d.example/x",
    ] {
        output(&env, &context, option).ok();
    }
}

/// What `--metadata-file` and `--iidfile` get, with an output.
fn told(env: &TestEnv, context: &Path, args: &[&str]) -> (Value, String) {
    let mut command = env.command();
    command.args(["build", "--iidfile", "iid", "--metadata-file", "meta.json"]);
    Run::of(command.args(args).arg(context)).ok();
    let metadata = fs_err::read(env.out("meta.json")).unwrap();
    let id = fs_err::read_to_string(env.out("iid")).unwrap();
    (serde_json::from_slice(&metadata).unwrap(), id)
}

#[test]
fn other_programs_are_told_what_was_made() {
    let env = TestEnv::new();
    let context = env.context(
        "ctx",
        &[("Dockerfile", "FROM scratch\nCOPY a /\n"), ("a", "1\n")],
    );
    let id = env.build(&context, &[]);
    let mut builds = Vec::new();
    for (output, archive) in [
        ("type=oci,dest=oci.tar", Some("oci.tar")),
        ("type=oci,dest=layout,tar=false", Some("layout")),
        ("type=docker,dest=docker.tar", Some("docker.tar")),
        ("type=image,compression=zstd", None),
    ] {
        let (metadata, iid) = told(&env, &context, &["-t", "app:1", "-o", output]);
        assert_eq!(iid, id, "{output}");
        assert_eq!(metadata["containerimage.config.digest"], *id, "{output}");
        assert_eq!(metadata["image.name"], "docker.io/library/app:1");
        let descriptor = &metadata["containerimage.descriptor"];
        assert_eq!(metadata["containerimage.digest"], descriptor["digest"]);
        let digest = descriptor["digest"].as_str().unwrap();
        if let Some(archive) = archive {
            let archive = env.out(archive);
            let image = match archive.is_dir() {
                true => Image::all_from_layout(&archive).remove(0),
                false => Image::from_archive(&archive),
            };
            assert_eq!(digest, image.digest, "{output}");
        }
        let blob = digest.strip_prefix("sha256:").unwrap();
        let blob = fs_err::metadata(env.store().join("blobs/sha256").join(blob)).unwrap();
        assert_eq!(descriptor["size"], blob.len(), "{output}");
        assert_eq!(
            descriptor["mediaType"],
            "application/vnd.oci.image.manifest.v1+json"
        );
        builds.push(metadata["buildx.build.ref"].as_str().unwrap().to_owned());
    }
    // No manifest was needed: there is the image's ID only.
    for output in ["type=image", "type=local,dest=files", "type=tar,dest=a.tar"] {
        let (metadata, iid) = told(&env, &context, &["-o", output]);
        assert_eq!(iid, id, "{output}");
        assert_eq!(metadata["containerimage.digest"], *id, "{output}");
        assert!(metadata["containerimage.descriptor"].is_null(), "{output}");
        assert!(metadata["image.name"].is_null(), "{output}");
        builds.push(metadata["buildx.build.ref"].as_str().unwrap().to_owned());
    }
    let n_builds = builds.len();
    builds.sort();
    builds.dedup();
    assert_eq!(builds.len(), n_builds, "builds share a name");

    let many = [
        "--platform=linux/amd64,linux/arm64",
        "-o",
        "type=oci,dest=many.tar",
    ];
    let (metadata, _) = told(&env, &context, &many);
    assert!(metadata["containerimage.config.digest"].is_null());
    let descriptor = &metadata["containerimage.descriptor"];
    assert_eq!(
        descriptor["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    assert_eq!(metadata["containerimage.digest"], descriptor["digest"]);

    // After a failure there is no ID of an earlier build.
    assert!(env.out("iid").exists());
    let wrong = env.context("wrong", &[("Dockerfile", "FROM scratch\nCOPY none /\n")]);
    let mut command = env.command();
    Run::of(command.args(["build", "--iidfile", "iid"]).arg(wrong)).fails(1);
    assert!(!env.out("iid").exists());
}

/// Two machines push by digest, a third joins what they told it.
#[test]
fn runners_push_by_digest_and_another_joins() {
    use crate::support::registry::{Door, Registry};
    need!(
        Registry::shared().is_some(),
        "this needs docker-registry, skopeo and busybox-static"
    );
    let registry = Registry::behind(&Door::default());
    let name = format!("{}/team/app", registry.address);
    let fields = "push-by-digest=true,name-canonical=true,push=true";
    let digests = ["amd64", "arm64"].map(|architecture| {
        let runner = TestEnv::new();
        let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY a /$TARGETARCH\n";
        let context = runner.context("ctx", &[("Dockerfile", dockerfile), ("a", "1\n")]);
        let platform = format!("--platform=linux/{architecture}");
        // The name may come in both ways.
        let (output, tag) = match architecture {
            "amd64" => (format!("type=image,name={name},{fields}"), vec![]),
            _ => (format!("type=image,{fields}"), vec!["-t", name.as_str()]),
        };
        let args = [&["-o", output.as_str(), platform.as_str()][..], &tag].concat();
        let (metadata, id) = told(&runner, &context, &args);
        assert_eq!(metadata["image.name"], name.as_str());
        assert_eq!(metadata["containerimage.config.digest"], *id);
        let digest = metadata["containerimage.digest"].as_str().unwrap();
        let canonical = format!("{name}@{digest}");
        runner.rbuild(["inspect", &canonical]).ok();
        digest.to_owned()
    });
    let tags = || {
        let run = Run::of(Command::new("skopeo").args([
            "list-tags",
            "--tls-verify=false",
            &format!("docker://{name}"),
        ]));
        run.stdout
    };
    assert!(!tags().contains("latest"), "{}", tags());

    let joiner = TestEnv::new();
    let mut create = vec!["imagetools".to_owned(), "create".to_owned()];
    for tag in ["1.2.3", "latest"] {
        create.extend(["-t".to_owned(), format!("{name}:{tag}")]);
    }
    create.extend(digests.iter().map(|digest| format!("{name}@{digest}")));
    joiner.rbuild(&create).ok();
    let index = crate::push::raw(&format!("{name}:1.2.3"));
    assert_eq!(index, crate::push::raw(&format!("{name}:latest")));
    let index: Value = serde_json::from_slice(&index).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    let found: Vec<_> = entries
        .iter()
        .map(|entry| {
            let architecture = entry["platform"]["architecture"].as_str().unwrap();
            (architecture, entry["digest"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        found,
        [("amd64", digests[0].as_str()), ("arm64", &digests[1])]
    );
    // Others see one image for both.
    let source = format!("docker://{name}:1.2.3");
    for architecture in ["amd64", "arm64"] {
        let chosen = format!("--override-arch={architecture}");
        let shown = skopeo(&[&chosen, "inspect", "--tls-verify=false", &source]);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(shown["Architecture"], architecture);
    }
    let copy = format!("oci:{}:all", joiner.out("copy").display());
    skopeo(&[
        "copy",
        "-q",
        "--all",
        "--src-tls-verify=false",
        &source,
        &copy,
    ]);
    let images = Image::all_from_layout(&joiner.out("copy"));
    assert!(images[0].has("amd64") && images[1].has("arm64"));
}
