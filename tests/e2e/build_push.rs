//! Builds whose result goes to a registry, and the forms in which images are written.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::push::{make_certificate, more, raw};
use crate::support::image::{Image, sha256};
use crate::support::registry::{Door, Registry};
use crate::support::run::Run;
use crate::support::{TestEnv, have, need, peers};

const NEEDS: &str = "this needs docker-registry, skopeo and busybox-static (and openssl)";

fn context(env: &TestEnv, base: &str) -> PathBuf {
    let dockerfile = format!("FROM {base}\nARG TARGETARCH\nCOPY a /\nCOPY b /$TARGETARCH\n");
    let files = [
        ("Dockerfile", dockerfile.as_str()),
        ("a", "the first file\n"),
        ("b", "the second file\n"),
    ];
    env.context("ctx", &files)
}

fn build(env: &TestEnv, context: &Path, args: &[&str]) -> Run {
    Run::of(env.command().arg("build").args(args).arg(context))
}

fn json_of(name: &str) -> Value {
    serde_json::from_slice(&raw(name)).unwrap()
}

/// What the store says the registry has of an image.
fn repo_digests(env: &TestEnv, name: &str) -> Vec<String> {
    let run = env.rbuild(["inspect", name]).ok();
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    let digests = found[0]["RepoDigests"].as_array().unwrap().iter();
    digests
        .map(|digest| digest.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn push_sends_what_is_missing_and_says_what_it_was() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let context = context(&env, "scratch");
    let name = format!("{}/team/app:1.0", registry.address);
    let metadata = env.out("metadata.json");
    let args = ["--push", "-t", &name, "--metadata-file"];
    let args = [&args[..], &[metadata.to_str().unwrap()]].concat();
    let run = build(&env, &context, &args).ok();
    for line in ["pushing layers\n", &format!("pushing manifest for {name}")] {
        assert!(run.stderr.contains(line), "{line}: {}", run.report());
    }
    let manifest = raw(&name);
    let digest = sha256(&manifest);
    let metadata: Value = serde_json::from_slice(&fs_err::read(&metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.digest"], digest);
    let descriptor = &metadata["containerimage.descriptor"];
    assert_eq!(descriptor["size"], manifest.len());
    assert_eq!(descriptor["digest"], digest);
    assert_eq!(metadata["image.name"], name);
    let by_digest = format!("{}/team/app@{digest}", registry.address);
    assert_eq!(repo_digests(&env, &name), [by_digest]);
    // It is what `rbuild push` makes of the image.
    let other = format!("{}/team/other:1.0", registry.address);
    env.build(&context, &["-t", &other]);
    env.rbuild(["push", &other]).ok();
    assert_eq!(raw(&other), manifest);

    let before = registry.requests().len();
    let again = build(&env, &context, &["-q", "-o", "type=registry", "-t", &name]).ok();
    assert_eq!(again.stderr, "");
    assert_eq!(
        again.out(),
        json_of(&name)["config"]["digest"].as_str().unwrap()
    );
    for method in ["POST", "PUT", "PATCH"] {
        assert_eq!(more(&registry, before, method), Vec::<String>::new());
    }
}

#[test]
fn platforms_annotations_and_zstd() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let context = context(&env, "scratch");
    let name = format!("{}/team/many:1", registry.address);
    let output = format!(
        "type=image,name={name},push=true,compression=zstd,annotation.Kind=all,\
         annotation-manifest[linux/arm64].Kind=arm"
    );
    let args = [
        "--platform=linux/amd64,linux/arm64",
        "--annotation=index,manifest-descriptor:com.example.a=b=c",
        "-o",
        &output,
    ];
    build(&env, &context, &args).ok();
    let index = json_of(&name);
    assert_eq!(index["annotations"], json!({"com.example.a": "b=c"}));
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for (entry, (architecture, kind)) in entries.iter().zip([("amd64", "all"), ("arm64", "arm")]) {
        assert_eq!(entry["platform"]["architecture"], architecture);
        assert_eq!(entry["annotations"], json!({"com.example.a": "b=c"}));
        let digest = entry["digest"].as_str().unwrap();
        let manifest = json_of(&format!("{}/team/many@{digest}", registry.address));
        assert_eq!(manifest["annotations"], json!({"Kind": kind}));
        let media = &manifest["layers"][0]["mediaType"];
        assert_eq!(*media, "application/vnd.oci.image.layer.v1.tar+zstd");
    }
    let digest = sha256(&raw(&name));
    let by_digest = format!("{}/team/many@{digest}", registry.address);
    assert_eq!(repo_digests(&env, &name), [by_digest]);
    // The children went first.
    let puts = more(&registry, 0, "PUT /v2/team/many/manifests");
    assert_eq!(puts.len(), 3, "{puts:?}");
    assert!(puts[2].ends_with("/manifests/1"), "{puts:?}");
    // Everything is there and right.
    let copy = format!("dir:{}", env.out("copy").display());
    let source = format!("docker://{name}");
    peers::skopeo(&[
        "copy",
        "--all",
        "--src-tls-verify=false",
        "--insecure-policy",
        &source,
        &copy,
    ]);
    // Another store makes the same bytes of it.
    let other = TestEnv::new();
    let context = self::context(&other, "scratch");
    let before = registry.requests().len();
    let epoch = |env: &TestEnv, context: &Path, args: &[&str]| {
        let mut command = env.command();
        command.env("SOURCE_DATE_EPOCH", "1").arg("build");
        Run::of(command.args(args).arg(context)).ok();
        sha256(&raw(&name))
    };
    assert_eq!(
        epoch(&env, &env.path("ctx"), &args),
        epoch(&other, &context, &args)
    );
    let blobs = more(&registry, before, "PUT /v2/team/many/blobs");
    assert!(blobs.len() <= 6, "{blobs:?}");
}

#[test]
fn compression_of_bases_and_media_types() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::shared().unwrap();
    let env = TestEnv::new();
    let base = format!("{}/library/busybox", registry.address);
    let context = context(&env, &base);
    let media = |fields: &str| {
        let name = format!("{}/forms/app:1", registry.address);
        let output = format!("type=registry{fields}");
        build(&env, &context, &["-t", &name, "-o", &output]).ok();
        let manifest = json_of(&name);
        let layers = manifest["layers"].as_array().unwrap().iter();
        let kinds = layers.map(|layer| layer["mediaType"].as_str().unwrap().to_owned());
        let kinds: Vec<_> = kinds
            .map(|kind| kind.rsplit('.').next().unwrap().to_owned())
            .collect();
        (
            manifest["mediaType"].as_str().unwrap().to_owned(),
            kinds.join(" "),
        )
    };
    let oci = "application/vnd.oci.image.manifest.v1+json".to_owned();
    assert_eq!(
        media(",compression=zstd"),
        (oci.clone(), "tar+gzip tar+zstd tar+zstd".into())
    );
    assert_eq!(
        media(",compression=zstd,force-compression=true,oci-mediatypes=false"),
        (oci.clone(), "tar+zstd tar+zstd tar+zstd".into())
    );
    assert_eq!(
        media(",compression=uncompressed,force-compression=true"),
        (oci, "tar tar tar".into())
    );
    let docker = "application/vnd.docker.distribution.manifest.v2+json".to_owned();
    assert_eq!(
        media(",oci-mediatypes=false"),
        (docker, "gzip gzip gzip".into())
    );
}

#[test]
fn several_names_and_names_by_digest() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let context = context(&env, "scratch");
    let name = |repository: &str| format!("{}/{repository}", registry.address);
    let (one, two) = (name("a/one:1"), name("b/two:2"));
    let output = format!("type=image,\"name={one},{two}\",push=true");
    build(&env, &context, &["-o", &output]).ok();
    assert_eq!(raw(&one), raw(&two));
    for name in [&one, &two] {
        env.rbuild(["inspect", name]).ok();
    }

    let bare = name("c/bare");
    let metadata = env.out("metadata.json");
    let output = format!("type=image,name={bare},push-by-digest=true,push=true");
    let file = metadata.to_str().unwrap();
    build(&env, &context, &["-o", &output, "--metadata-file", file]).ok();
    let metadata: Value = serde_json::from_slice(&fs_err::read(&metadata).unwrap()).unwrap();
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    let by_digest = format!("{bare}@{digest}");
    assert_eq!(sha256(&raw(&by_digest)), digest);
    assert_eq!(metadata["image.name"], bare);
    env.rbuild(["inspect", &by_digest]).ok();
    let tags = more(&registry, 0, "PUT /v2/c/bare/manifests/latest");
    assert_eq!(tags, Vec::<String>::new());
    let tagged = format!("type=image,name={one},push-by-digest=true,push=true");
    build(&env, &context, &["-o", &tagged])
        .fails(1)
        .says("can't push tagged ref");

    // Without a registry, the names stand in the store.
    let image = "type=image,name=here.example/x,name-canonical=true,compression=zstd";
    build(&env, &context, &["-o", image]).ok();
    let digests = repo_digests(&env, "here.example/x");
    let ours = digests.iter().find(|name| name.starts_with("here.example"));
    env.rbuild(["inspect", ours.unwrap()]).ok();
    let dangling = "type=image,dangling-name-prefix=dangling.example/y,compression=zstd";
    build(&env, &context, &["-o", dangling]).ok();
    let (_, digest) = ours.unwrap().split_once('@').unwrap();
    env.rbuild(["inspect", &format!("dangling.example/y@{digest}")])
        .ok();
    let nameless = "type=image,name=nowhere.example/z,store=false";
    build(&env, &context, &["-o", nameless]).ok();
    env.rbuild(["inspect", "nowhere.example/z"]).fails(1);
}

#[test]
fn a_failed_push_leaves_the_image() {
    let env = TestEnv::new();
    let context = context(&env, "scratch");
    let name = "127.0.0.1:1/team/app:1";
    build(&env, &context, &["--push", "-t", name])
        .fails(1)
        .says(&format!("failed to push {name}: no answer"));
    env.rbuild(["inspect", name]).ok();
    build(&env, &context, &["--push"])
        .fails(1)
        .says("tag is needed when pushing to registry");
}

#[test]
fn an_insecure_registry_is_allowed_by_name() {
    need!(have("openssl") && Registry::shared().is_some(), "{NEEDS}");
    let env = TestEnv::new();
    let (certificate, key) = (env.path("cert.pem"), env.path("key.pem"));
    make_certificate(&certificate, &key);
    let registry = Registry::behind(&Door {
        login: None,
        tls: Some((&certificate, &key)),
    });
    let context = context(&env, "scratch");
    let name = format!("{}/team/app:1", registry.address);
    build(&env, &context, &["--push", "-t", &name])
        .fails(1)
        .says("unknown authority");
    let output = "type=registry,registry.insecure=true";
    build(&env, &context, &["-t", &name, "-o", output]).ok();
    assert_eq!(more(&registry, 0, "PUT /v2/team/app/manifests").len(), 1);
}

#[test]
fn archives_have_the_form_that_is_asked_for() {
    let env = TestEnv::new();
    let context = context(&env, "scratch");
    let output = "type=oci,dest=layout,tar=false,name=example.com/x:1,compression=uncompressed,\
                  annotation-manifest-descriptor.a=1";
    let args = [
        "--annotation",
        "b=2",
        "-o",
        output,
        "-o",
        "type=docker,dest=a.tar,compression=gzip",
    ];
    build(&env, &context, &args).ok();
    let layout = env.out("layout");
    let index = fs_err::read(layout.join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["a"], "1");
    assert_eq!(
        entry["annotations"]["io.containerd.image.name"],
        "example.com/x:1"
    );
    let image = &Image::all_from_layout(&layout)[0];
    assert_eq!(image.manifest["annotations"], json!({"b": "2"}));
    assert_eq!(image.text("a"), "the first file\n");
    let media = &image.manifest["layers"][0]["mediaType"];
    assert_eq!(*media, "application/vnd.oci.image.layer.v1.tar");
    let (docker, _) = &Image::from_docker_archive(&env.out("a.tar"))[0];
    assert_eq!(docker.id, image.id);
}

#[test]
fn what_cannot_be_is_refused() {
    let env = TestEnv::new();
    let context = context(&env, "scratch");
    for (args, code, text) in [
        (["-o", "type=image,compression=estargz"], 1, "eStargz"),
        (
            ["-o", "type=image,compression=xz"],
            2,
            "unsupported compression type xz",
        ),
        (["-o", "type=image,push=maybe"], 2, "expected true or false"),
        (["-o", "type=local,dest=x,push=true"], 2, "no option"),
        (["--annotation", "x"], 2, "expected key=value"),
        (["--annotation", "layer:a=b"], 2, "unknown annotation type"),
        (
            ["--annotation", "index:a=b"],
            1,
            "index annotations not supported for single platform export",
        ),
        (
            ["--annotation", "manifest[linux/s390x]:a=b"],
            1,
            "no platform linux/s390x found",
        ),
    ] {
        build(&env, &context, &args).fails(code).says(text);
    }
    assert_eq!(env.rbuild(["images", "-q"]).ok().out(), "");
}
