//! Base images from a registry.

use std::path::Path;

use crate::support::registry::Registry;
use crate::support::{TestEnv, bases, have, need};

const NEEDS: &str = "this needs docker-registry, skopeo, busybox-static (and htpasswd)";

fn dockerfile(base: &str) -> String {
    format!("FROM {base}\nRUN echo ran > /ran\n")
}

/// Builds on `base` and looks whether the command ran in it.
#[track_caller]
fn builds(env: &TestEnv, base: &str) {
    let context = env.context("ctx", &[("Dockerfile", &dockerfile(base))]);
    assert_eq!(env.build_image(&context, &[]).text("ran"), "ran\n");
}

#[test]
fn short_and_long_names_through_a_mirror() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    for name in [
        "busybox",
        "busybox:latest",
        "docker.io/library/busybox",
        "docker.io/busybox:latest",
    ] {
        builds(&env, name);
    }
}

#[test]
fn formats_and_compressions() {
    let registry = Registry::shared();
    need!(registry.is_some(), "{NEEDS}");
    let registry = registry.unwrap();
    let busybox = bases::busybox().unwrap();
    registry.push_rootfs(busybox, "formats/schema2:1", &["--format=v2s2"]);
    registry.push_rootfs(
        busybox,
        "formats/zstd:1",
        &["--format=oci", "--dest-compress-format=zstd"],
    );
    let env = TestEnv::new();
    // The loopback interface needs neither certificate nor configuration.
    for name in ["formats/schema2:1", "formats/zstd:1"] {
        builds(&env, &format!("{}/{name}", registry.address));
    }
}

#[test]
fn by_digest() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let registry = Registry::shared().unwrap();
    let name = format!("{}/library/busybox", registry.address);
    let inspect = crate::support::peers::skopeo(&[
        "inspect",
        "--tls-verify=false",
        "--format={{.Digest}}",
        &format!("docker://{name}:latest"),
    ]);
    let env = env.unwrap();
    builds(&env, &format!("{name}@{}", inspect.out()));
    let wrong = format!("{name}@sha256:{}", "0".repeat(64));
    let context = env.context("ctx", &[("Dockerfile", &dockerfile(&wrong))]);
    env.rbuild(["build", context.to_str().unwrap()])
        .fails(1)
        .says(&"0".repeat(64));
}

#[test]
fn with_a_password() {
    need!(have("htpasswd") && Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::with_password("ada", "secret words");
    let login = "--dest-creds=ada:secret words";
    registry.push_rootfs(bases::busybox().unwrap(), "private/bb:1", &[login]);
    let base = format!("{}/private/bb:1", registry.address);

    let env = TestEnv::new();
    let context = env.context("ctx", &[("Dockerfile", &dockerfile(&base))]);
    let run = env.rbuild(["build", context.to_str().unwrap()]).fails(1);
    assert!(!run.stderr.contains("secret words"), "{}", run.report());

    let write_login = |auth: &str| registry.write_login(&env, auth);
    // ada:wrong, then ada:secret words
    write_login("YWRhOndyb25n");
    env.rbuild(["build", context.to_str().unwrap()]).fails(1);
    write_login("YWRhOnNlY3JldCB3b3Jkcw==");
    builds(&env, &base);
}

#[test]
fn pull_asks_the_registry_again() {
    let registry = Registry::shared();
    need!(registry.is_some(), "{NEEDS}");
    let registry = registry.unwrap();
    registry.push_rootfs(bases::busybox().unwrap(), "moving/base:1", &[]);
    let base = format!("{}/moving/base:1", registry.address);
    let env = TestEnv::new();
    let context = env.context(
        "ctx",
        &[(
            "Dockerfile",
            &format!("FROM {base}\nCOPY --from={base} /etc/passwd /p\n"),
        )],
    );
    let first = env.build(&context, &[]);

    let changed = env.context(
        "changed",
        &[(
            "Dockerfile",
            &format!("FROM {base}\nRUN echo new >> /etc/passwd\n"),
        )],
    );
    let tar = env.out("changed.tar");
    env.rbuild([
        "build",
        "-o",
        &format!("type=oci,dest={}", tar.display()),
        changed.to_str().unwrap(),
    ])
    .ok();
    registry.push(
        &format!("oci-archive:{}", tar.display()),
        "moving/base:1",
        &[],
    );

    assert_eq!(env.build(&context, &[]), first, "what is here is used");
    assert_ne!(
        env.build(&context, &["--pull"]),
        first,
        "--pull looks for a newer one"
    );
}

/// A platform is chosen from an index; one that is not in it is refused by name.
#[test]
fn an_index_of_platforms() {
    let registry = Registry::shared();
    need!(registry.is_some(), "{NEEDS}");
    let registry = registry.unwrap();
    let env = TestEnv::new();
    let files = "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n";
    let context = env.context("ctx", &[("Dockerfile", files)]);
    let tar = env.out("index.tar");
    let dest = format!("type=oci,dest={}", tar.display());
    env.rbuild([
        "build",
        "--platform=linux/amd64,linux/arm64",
        "-o",
        &dest,
        context.to_str().unwrap(),
    ])
    .ok();
    registry.push(
        &format!("oci-archive:{}", tar.display()),
        "multi/base:1",
        &["--all"],
    );
    let base = format!("{}/multi/base:1", registry.address);

    let other = TestEnv::new();
    let context = other.context(
        "ctx",
        &[("Dockerfile", &format!("FROM {base}\nLABEL a=b\n"))],
    );
    let image = other.build_image(&context, &["--platform=linux/arm64"]);
    assert!(image.has("arm64") && !image.has("amd64"));
    assert_eq!(image.config["architecture"], "arm64");
    other
        .rbuild(["build", "--platform=linux/s390x", context.to_str().unwrap()])
        .fails(1)
        .says("linux/s390x");
}

/// A build that needs no file of its base downloads none of its layers.
#[test]
fn settings_alone_download_no_layer() {
    let env = TestEnv::with_registry();
    need!(env.is_some(), "{NEEDS}");
    let env = env.unwrap();
    let context = env.context(
        "ctx",
        &[("Dockerfile", "FROM busybox\nLABEL a=b\nENV C=d\n")],
    );
    env.build(&context, &["-t", "app:1"]);
    let big = biggest_file(&env.store());
    assert!(
        big < 500_000,
        "a layer was downloaded: a file of {big} bytes is in the store"
    );
    // When it is needed after all, it comes.
    assert!(env.image("app:1").has("bin/busybox"));
}

fn biggest_file(dir: &Path) -> u64 {
    let mut biggest = 0;
    for entry in fs_err::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        biggest = biggest.max(if metadata.is_dir() {
            biggest_file(&entry.path())
        } else if entry
            .path()
            .components()
            .any(|part| part.as_os_str() == "blobs")
        {
            metadata.len()
        } else {
            0
        });
    }
    biggest
}
