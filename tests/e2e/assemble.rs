//! `rbuild assemble`: images of several machines become one.

use serde_json::Value;

use crate::support::image::{Image, sha256};
use crate::support::registry::{Door, Registry};
use crate::support::{TestEnv, need, peers};

const NEEDS: &str = "this needs docker-registry, skopeo and busybox-static";

/// An archive of an image for one architecture, from a store of its own; and the image.
fn built(to: &TestEnv, architecture: &str) -> (String, Image) {
    let env = TestEnv::new();
    let context = env.context(
        "ctx",
        &[
            (
                "Dockerfile",
                "FROM scratch\nARG TARGETARCH\nCOPY a /$TARGETARCH\n",
            ),
            ("a", "content\n"),
        ],
    );
    let tar = to.out(&format!("{architecture}.tar"));
    let dest = format!("type=oci,dest={}", tar.display());
    let platform = format!("--platform=linux/{architecture}");
    env.build(&context, &[&platform, "-o", &dest]);
    let image = Image::from_archive(&tar);
    (tar.to_str().unwrap().to_owned(), image)
}

#[test]
fn images_of_several_machines_become_one() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let name = format!("{}/team/all:1", registry.address);
    let (amd64, first) = built(&env, "amd64");
    let (arm64, second) = built(&env, "arm64");
    let run = env.rbuild(["assemble", "-t", &name, "-t", "other:1", &amd64, &arm64]);
    let digest = run.ok().stdout.trim().to_owned();
    env.rbuild(["fsck"]).ok();

    // Saved, it is whole.
    let saved = env.out("saved.tar");
    env.rbuild(["save", "-o", saved.to_str().unwrap(), "other:1"])
        .ok();
    let ids: Vec<String> = Image::all_from_archive(&saved)
        .iter()
        .map(|image| image.id.clone())
        .collect();
    assert_eq!(ids, [first.id.as_str(), &second.id]);

    env.rbuild(["push", "-q", &name]).ok();
    let source = format!("docker://{name}");
    let raw = peers::skopeo(&["inspect", "--tls-verify=false", "--raw", &source]).stdout;
    assert_eq!(sha256(raw.as_bytes()), digest);
    let index: Value = serde_json::from_str(&raw).unwrap();
    for (place, (image, architecture)) in [(&first, "amd64"), (&second, "arm64")]
        .into_iter()
        .enumerate()
    {
        let entry = &index["manifests"][place];
        assert_eq!(entry["digest"], image.digest.as_str());
        assert_eq!(entry["platform"]["architecture"], architecture);
    }
    let layout = env.path("copied");
    let to = format!("oci:{}:all", layout.display());
    let from = [
        "copy",
        "-q",
        "--insecure-policy",
        "--all",
        "--src-tls-verify=false",
    ];
    peers::skopeo(&[&from[..], &[&source, &to]].concat());
}

#[test]
fn builds_of_the_store_are_joined_with_archives() {
    let env = TestEnv::new();
    let (arm64, image) = built(&env, "arm64");
    let context = env.context(
        "here",
        &[("Dockerfile", "FROM scratch\nCOPY a /\n"), ("a", "b\n")],
    );
    env.build(&context, &["-t", "here:1", "--platform=linux/amd64"]);
    // The same image twice is one.
    env.rbuild(["assemble", "-t", "all", "here:1", &arm64, "here:1"])
        .ok();
    let saved = env.out("saved.tar");
    env.rbuild(["save", "-o", saved.to_str().unwrap(), "all"])
        .ok();
    let images = Image::all_from_archive(&saved);
    assert_eq!(images.len(), 2);
    assert_eq!(images[1].digest, image.digest);

    env.build(
        &context,
        &["-t", "more:1", "--platform=linux/amd64", "--label=a=b"],
    );
    env.rbuild(["assemble", "-t", "bad", "all", "more:1"])
        .fails(1)
        .says("all and more:1 are both for linux/amd64");
    env.rbuild(["assemble", "-t", "bad", "nothing"])
        .fails(1)
        .says("nothing");
    env.rbuild(["inspect", "bad"]).fails(1);
}
