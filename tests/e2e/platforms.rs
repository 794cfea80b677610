//! Images for several platforms: parts of them shown, saved, loaded and removed.

use serde_json::Value;

use crate::support::image::Image;
use crate::support::registry::{Door, Registry};
use crate::support::{TestEnv, need};

/// Builds an image for two platforms, each with a file of its own.
fn build_both(env: &TestEnv, name: &str) {
    let files = "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\nCMD [\"/x\"]\n";
    let context = env.context("both", &[("Dockerfile", files)]);
    env.build(
        &context,
        &["--platform=linux/amd64,linux/arm64", "-t", name],
    );
}

fn architectures(env: &TestEnv, name: &str) -> Vec<String> {
    let of = |platform: &str| {
        let option = format!("--platform=linux/{platform}");
        let format = ["inspect", "-f", "{{.Architecture}}", &option, name];
        let run = env.rbuild(format);
        (run.code == Some(0)).then(|| run.out().to_owned())
    };
    ["amd64", "arm64"].into_iter().filter_map(of).collect()
}

fn id_for(env: &TestEnv, platform: &str, name: &str) -> String {
    let run = env.rbuild(["inspect", "-f", "{{.Id}}", "--platform", platform, name]);
    run.ok().out().to_owned()
}

#[test]
fn a_platform_is_shown_saved_and_loaded_alone() {
    let env = TestEnv::new();
    build_both(&env, "both:1");
    assert_eq!(architectures(&env, "both:1"), ["amd64", "arm64"]);
    let id = id_for(&env, "linux/arm64", "both:1");
    let shown = env.rbuild(["history", "-q", "--platform=linux/arm64", "both:1"]);
    let first = shown.ok().out().lines().next().unwrap().to_owned();
    assert_eq!(first, id["sha256:".len()..][..12]);

    let tar = env.out("arm64.tar");
    let path = tar.to_str().unwrap();
    env.rbuild(["save", "--platform", "linux/arm64", "-o", path, "both:1"])
        .ok();
    let saved = Image::from_archive(&tar);
    assert_eq!(saved.id, id);
    assert!(saved.has("arm64") && !saved.has("amd64"));
    let all = env.out("all.tar");
    let all = all.to_str().unwrap();
    env.rbuild([
        "save",
        "--platform=linux/arm64,linux/amd64",
        "-o",
        all,
        "both:1",
    ])
    .ok();
    assert_eq!(Image::all_from_archive(all.as_ref()).len(), 2);
    let missing = "image with reference both:1 was found but does not provide the specified \
                   platform (linux/s390x)";
    for command in [
        &["save", "-o", "nothing.tar"][..],
        &["history"],
        &["inspect"],
        &["rmi"],
    ] {
        let words = command.iter().chain(&["--platform=linux/s390x", "both:1"]);
        env.rbuild(words).fails(1).says(missing).says("linux/amd64");
    }
    assert!(!env.out("nothing.tar").exists());

    let other = TestEnv::new();
    other
        .rbuild(["load", "--platform=linux/s390x", "-i", all])
        .fails(1)
        .says("linux/arm64");
    let run = other.rbuild(["load", "--platform=linux/arm64", "-i", all]);
    assert_eq!(run.ok().stdout, "Loaded image: both:1\n");
    assert_eq!(architectures(&other, "both:1"), ["arm64"]);
    assert_eq!(id_for(&other, "linux/arm64", "both:1"), id);
}

#[test]
fn a_platform_is_removed_and_the_rest_stays() {
    let env = TestEnv::new();
    build_both(&env, "both:1");
    env.rbuild(["tag", "both:1", "other/both:2"]).ok();
    // An image whose index names both has manifests as well.
    let all = env.out("all.tar");
    let all = all.to_str().unwrap();
    env.rbuild(["save", "-o", all, "both:1"]).ok();
    let loaded = TestEnv::new();
    loaded.rbuild(["load", "-q", "-i", all]).ok();
    loaded.rbuild(["tag", "both:1", "other/both:2"]).ok();
    for env in [&env, &loaded] {
        let arm64 = id_for(env, "linux/arm64", "both:1");
        let run = env.rbuild(["rmi", "--platform=linux/arm64", "both:1"]).ok();
        let deleted = run.out().strip_prefix("Deleted: sha256:");
        assert!(
            deleted.is_some_and(|hex| hex.len() == 64),
            "{}",
            run.report()
        );
        for name in ["both:1", "other/both:2"] {
            assert_eq!(architectures(env, name), ["amd64"], "{name}");
        }
        env.rbuild(["inspect", &arm64])
            .fails(1)
            .says("No such image");
        env.rbuild(["fsck"]).ok();
        let tar = env.out("left.tar");
        env.rbuild(["save", "-o", tar.to_str().unwrap(), "both:1"])
            .ok();
        assert!(Image::from_archive(&tar).has("amd64"));
        // What runs here goes too: nothing is left, and no name.
        env.rbuild(["rmi", "--platform=linux/amd64", "other/both:2"])
            .ok();
        assert_eq!(env.rbuild(["images", "-q"]).ok().stdout, "");
        env.rbuild(["fsck"]).ok();
    }
}

/// The image for this machine goes: the other one gets the ID of its own config.
#[test]
fn the_platform_of_this_machine_is_removed() {
    let env = TestEnv::new();
    build_both(&env, "both:1");
    let arm64 = id_for(&env, "linux/arm64", "both:1");
    let amd64 = id_for(&env, "linux/amd64", "both:1");
    env.rbuild(["rmi", "--platform=linux/amd64", &amd64]).ok();
    let ids = env.rbuild(["images", "-q", "--no-trunc"]).ok();
    assert_eq!(ids.out(), arm64);
    assert_eq!(architectures(&env, "both:1"), ["arm64"]);
    env.rbuild(["rmi", "--platform=linux/s390x", "-f", "nobody:1"])
        .ok();
    env.rbuild(["rmi", "both:1"]).ok();
    env.rbuild(["fsck"]).ok();
}

#[test]
fn the_tree_shows_what_is_here() {
    need!(
        Registry::shared().is_some(),
        "this needs docker-registry, skopeo and busybox-static"
    );
    let registry = Registry::behind(&Door::default());
    let name = format!("{}/team/both:1", registry.address);
    let env = TestEnv::new();
    build_both(&env, &name);
    env.rbuild(["push", "-q", &name]).ok();
    let other = TestEnv::new();
    other
        .rbuild(["pull", "-q", "--platform=linux/amd64", &name])
        .ok();
    let run = other.rbuild(["images", "--tree"]).ok();
    let lines: Vec<Vec<&str>> = run
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["IMAGE", "ID", "DISK", "USAGE", "CONTENT", "SIZE", "EXTRA"]
    );
    assert_eq!(lines[1][0], name);
    assert_eq!(lines[2][..2], ["├─", "linux/amd64"]);
    assert_eq!(lines[2][3], lines[1][2], "{}", run.report());
    assert_eq!(lines[3][..2], ["└─", "linux/arm64"]);
    assert_eq!(lines[3][3..], ["0B", "0B"], "{}", run.report());
    assert_eq!(lines.len(), 4);
    for (option, named) in [
        ("-q", "quiet"),
        ("--no-trunc", "no-trunc"),
        ("--digests", "show-digest"),
        ("--format=json", "format"),
    ] {
        other
            .rbuild(["images", "--tree", option])
            .fails(1)
            .says(&format!("--{named} is not yet supported with --tree"));
    }
    other.rbuild(["images", "--tree", "-q=false"]).ok();

    // Docker's name for the digest's registry has no port.
    let run = other
        .rbuild(["inspect", "-f", "{{json .Identity}}", &name])
        .ok();
    let expected = "{\"Pull\":[{\"Repository\":\"127.0.0.1/team/both\"}]}\n";
    assert_eq!(run.stdout, expected);
    let run = env.rbuild(["inspect", &name]).ok();
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document[0].get("Identity"), None);
}
