//! Pushing to a real registry, and what other tools make of it.

use std::path::Path;

use serde_json::Value;

use crate::support::image::sha256;
use crate::support::registry::{Door, Registry};
use crate::support::{TestEnv, bases, have, need, peers};

const NEEDS: &str = "this needs docker-registry, skopeo, busybox-static (and htpasswd, openssl)";

/// The bytes of a manifest or index as the registry has them.
pub(crate) fn raw(name: &str) -> Vec<u8> {
    let source = format!("docker://{name}");
    let run = peers::skopeo(&["inspect", "--tls-verify=false", "--raw", &source]);
    run.stdout.into_bytes()
}

fn digest_line(name: &str, bytes: &[u8]) -> String {
    let tag = name.rsplit(':').next().unwrap();
    format!("{tag}: digest: {} size: {}", sha256(bytes), bytes.len())
}

/// What the registry was asked since there were `before` requests, by method.
pub(crate) fn more(registry: &Registry, before: usize, method: &str) -> Vec<String> {
    let requests = registry.requests().split_off(before);
    let of_method = requests
        .into_iter()
        .filter(|request| request.starts_with(method));
    of_method.collect()
}

fn build(env: &TestEnv, name: &str, args: &[&str]) {
    let context = env.context(
        "ctx",
        &[
            (
                "Dockerfile",
                "FROM scratch\nARG TARGETARCH\nCOPY a /\nCOPY b /$TARGETARCH\nCMD [\"/a\"]\n",
            ),
            ("a", "the first file\n"),
            ("b", "the second file\n"),
        ],
    );
    env.build(&context, &[args, &["-t", name]].concat());
}

#[test]
fn an_image_is_pushed_once() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let name = format!("{}/team/app:1.0", registry.address);
    build(&env, &name, &[]);
    let run = env.rbuild(["push", &name]).ok();
    let manifest = raw(&name);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(
        lines[0],
        format!(
            "The push refers to repository [{}/team/app]",
            registry.address
        )
    );
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.ends_with(": Preparing"))
            .count(),
        2
    );
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.ends_with(": Pushed"))
            .count(),
        2
    );
    assert_eq!(lines[5], digest_line(&name, &manifest));
    assert_eq!(lines.len(), 6, "{}", run.report());
    let json: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(
        json["layers"][0]["mediaType"],
        "application/vnd.oci.image.layer.v1.tar+gzip"
    );

    // The store knows it by its digest now.
    let by_digest = format!("{}/team/app@{}", registry.address, sha256(&manifest));
    env.rbuild(["inspect", &by_digest]).ok();

    let before = registry.requests().len();
    let again = env.rbuild(["push", &name]).ok();
    assert_eq!(again.stdout.matches(": Layer already exists").count(), 2);
    assert!(
        again
            .stdout
            .ends_with(&format!("{}\n", digest_line(&name, &manifest)))
    );
    for method in ["POST", "PUT", "PATCH"] {
        assert_eq!(more(&registry, before, method), Vec::<String>::new());
    }
    let quiet = env.rbuild(["push", "-q", &name]).ok();
    assert_eq!(quiet.stdout, format!("{name}\n"));
}

#[test]
fn layers_are_mounted_from_other_repositories() {
    let registry = Registry::shared();
    need!(registry.is_some(), "{NEEDS}");
    let registry = registry.unwrap();
    let env = TestEnv::new();
    let base = format!("{}/library/busybox", registry.address);
    let context = env.context(
        "ctx",
        &[
            ("Dockerfile", &format!("FROM {base}\nCOPY a /\n")),
            ("a", "mounted test\n"),
        ],
    );
    let (one, two) = (
        format!("{}/mounted/one:1", registry.address),
        format!("{}/mounted/two:1", registry.address),
    );
    env.build(&context, &["-t", &one, "-t", &two]);
    let run = env.rbuild(["push", &one]).ok();
    assert!(
        run.stdout.contains(": Mounted from library/busybox\n"),
        "{}",
        run.report()
    );
    assert!(run.stdout.contains(": Pushed\n"), "{}", run.report());
    // The layers of the base never came here.
    let before = registry.requests().len();
    let run = env.rbuild(["push", &two]).ok();
    assert_eq!(
        run.stdout.matches(": Mounted from mounted/one\n").count(),
        2,
        "{}",
        run.report()
    );
    let layers = more(registry, before, "PUT /v2/mounted/two/blobs");
    assert_eq!(layers.len(), 1, "only the configuration: {layers:?}");
}

#[test]
fn several_platforms_and_compressions() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let name = format!("{}/team/many:1", registry.address);
    build(&env, &name, &["--platform=linux/amd64,linux/arm64"]);
    let run = env.rbuild(["push", "--compression=zstd", &name]).ok();
    let index: Value = serde_json::from_slice(&raw(&name)).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(index["manifests"][1]["platform"]["architecture"], "arm64");
    assert!(
        run.stdout
            .ends_with(&format!("{}\n", digest_line(&name, &raw(&name))))
    );
    let child = index["manifests"][0]["digest"].as_str().unwrap();
    let child = format!("{}/team/many@{child}", registry.address);
    let manifest: Value = serde_json::from_slice(&raw(&child)).unwrap();
    assert_eq!(
        manifest["layers"][0]["mediaType"],
        "application/vnd.oci.image.layer.v1.tar+zstd"
    );

    env.rbuild(["push", "--platform=linux/arm64", &name]).ok();
    let alone: Value = serde_json::from_slice(&raw(&name)).unwrap();
    assert_eq!(
        alone["config"]["mediaType"],
        "application/vnd.oci.image.config.v1+json"
    );
    env.rbuild(["push", "--platform=linux/s390x", &name])
        .fails(1)
        .says("does not provide the specified platform (linux/s390x)");
}

#[test]
fn all_tags_and_wrong_names() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let name = format!("{}/team/tags", registry.address);
    build(&env, &format!("{name}:1"), &[]);
    env.rbuild(["tag", &format!("{name}:1"), &format!("{name}:2")])
        .ok();
    let run = env.rbuild(["push", "-a", &name]).ok();
    for tag in ["1", "2"] {
        assert!(
            run.stdout.contains(&format!("\n{tag}: digest: sha256:")),
            "{}",
            run.report()
        );
        raw(&format!("{name}:{tag}"));
    }
    env.rbuild(["push", "-a", &format!("{name}:1")])
        .fails(1)
        .says("tag can't be used with --all-tags/-a");
    let run = env.rbuild(["push", &name]).fails(1);
    assert!(
        run.stderr.contains(&format!(
            "An image does not exist locally with the tag: {name}"
        )),
        "{}",
        run.report()
    );
    env.rbuild(["push", &format!("{name}@sha256:{}", "0".repeat(64))])
        .fails(1)
        .says("cannot push a digest reference");
}

#[test]
fn with_a_password_and_over_tls() {
    need!(
        have("htpasswd") && have("openssl") && Registry::shared().is_some(),
        "{NEEDS}"
    );
    let env = TestEnv::new();
    let (certificate, key) = (env.path("cert.pem"), env.path("key.pem"));
    make_certificate(&certificate, &key);
    let registry = Registry::behind(&Door {
        login: Some(("ada", "secret words")),
        tls: Some((&certificate, &key)),
    });
    let name = format!("{}/team/private:1", registry.address);
    build(&env, &name, &[]);
    env.rbuild(["push", &name])
        .fails(1)
        .says("unknown authority");
    let folder = env.path(&format!(
        "home/.config/containers/certs.d/{}",
        registry.address
    ));
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::copy(&certificate, folder.join("ca.crt")).unwrap();
    env.rbuild(["push", &name]).fails(1).says("no credentials");
    let write_login = |auth: &str| registry.write_login(&env, auth);
    // ada:wrong, then ada:secret words
    write_login("YWRhOndyb25n");
    let run = env.rbuild(["push", &name]).fails(1);
    assert!(!run.report().contains("YWRhOndyb25n"), "{}", run.report());
    write_login("YWRhOnNlY3JldCB3b3Jkcw==");
    let run = env.rbuild(["push", &name]).ok();
    assert!(!run.report().contains("secret words"), "{}", run.report());
    assert_eq!(run.stdout.matches(": Pushed").count(), 2);
}

pub(crate) fn make_certificate(certificate: &Path, key: &Path) {
    let mut command = std::process::Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]);
    command.args(["-nodes", "-days", "30", "-subj", "/CN=127.0.0.1"]);
    command.args(["-addext", "subjectAltName=IP:127.0.0.1", "-out"]);
    command.arg(certificate).arg("-keyout").arg(key);
    crate::support::run::Run::of(&mut command).ok();
}

/// What other tools wrote keeps its digest on the way through the store, whatever its format.
#[test]
fn bytes_of_others_stay_as_they_are() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let busybox = bases::busybox().unwrap();
    for (tag, args) in [
        ("schema2", &["--format=v2s2"][..]),
        ("oci", &["--format=oci"]),
        ("zstd", &["--format=oci", "--dest-compress-format=zstd"]),
    ] {
        registry.push_rootfs(busybox, &format!("from/others:{tag}"), args);
        let source = format!("{}/from/others:{tag}", registry.address);
        let env = TestEnv::new();
        let context = env.context(
            "ctx",
            &[("Dockerfile", &format!("FROM {source}\nRUN true\n"))],
        );
        env.build(&context, &[]);
        let target = format!("{}/to/others:{tag}", registry.address);
        env.rbuild(["tag", &source, &target]).ok();
        env.rbuild(["push", &target]).ok();
        assert_eq!(raw(&target), raw(&source), "{tag}");
        // Both repositories are known to have it.
        let removed = env.rbuild(["rmi", &target]).ok().stdout;
        let by_digest = format!("{}/to/others@{}", registry.address, sha256(&raw(&target)));
        assert!(
            removed.contains(&format!("Untagged: {by_digest}\n")),
            "{removed}"
        );
        // Everything it names is there.
        let copy = format!("dir:{}", env.out("copy").display());
        peers::skopeo(&[
            "copy",
            "--src-tls-verify=false",
            &format!("docker://{target}"),
            &copy,
        ]);
    }
}

/// A damaged blob of the store does not leave it.
#[test]
fn a_damaged_layer_is_not_pushed() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let name = format!("{}/team/damaged:1", registry.address);
    build(&env, &name, &[]);
    env.rbuild(["push", &name]).ok();
    let manifest: Value = serde_json::from_slice(&raw(&name)).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let blob = env
        .store()
        .join("blobs/sha256")
        .join(&layer["sha256:".len()..]);
    let mut bytes = fs_err::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::remove_file(&blob).unwrap();
    fs_err::write(&blob, bytes).unwrap();
    let other = Registry::behind(&Door::default());
    let target = format!("{}/team/damaged:1", other.address);
    env.rbuild(["tag", &name, &target]).ok();
    env.rbuild(["push", &target])
        .fails(1)
        .says("in the local store");
    assert_eq!(
        more(&other, 0, "PUT /v2/team/damaged/manifests"),
        Vec::<String>::new()
    );
}
