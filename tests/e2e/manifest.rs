//! `rbuild manifest`: lists that are prepared here and pushed.

use serde_json::{Value, json};

use crate::support::image::sha256;
use crate::support::registry::{Door, Registry};
use crate::support::{TestEnv, need, peers};

const NEEDS: &str = "this needs docker-registry, skopeo and busybox-static";

fn raw(name: &str) -> String {
    let source = format!("docker://{name}");
    peers::skopeo(&["inspect", "--tls-verify=false", "--raw", &source]).stdout
}

fn push_one(env: &TestEnv, name: &str, architecture: &str) -> String {
    let context = env.context(
        architecture,
        &[
            (
                "Dockerfile",
                "FROM scratch\nARG TARGETARCH\nCOPY a /$TARGETARCH\n",
            ),
            ("a", "a\n"),
        ],
    );
    let platform = format!("--platform=linux/{architecture}");
    env.build(&context, &["-t", name, &platform]);
    env.rbuild(["push", "-q", name]).ok();
    sha256(raw(name).as_bytes())
}

#[test]
fn a_list_is_made_annotated_and_pushed() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let at = |name: &str| format!("{}/{name}", registry.address);
    let (amd64, arm, list) = (at("team/one:1"), at("team/two:1"), at("team/all:1"));
    let first = push_one(&env, &amd64, "amd64");
    let second = push_one(&env, &arm, "arm64");
    let manifest = |args: &[&str]| env.rbuild([&["manifest"][..], args].concat());

    let made = manifest(&["create", &list, &amd64]).ok().stdout;
    assert_eq!(made, format!("Created manifest list {list}\n"));
    manifest(&["create", &list, &arm])
        .fails(1)
        .says("refusing to amend an existing manifest list with no --amend flag");
    manifest(&["create", "--amend", &list, &arm, &amd64]).ok();
    manifest(&["annotate", "--variant=v9", "--os-features=x,y", &list, &arm]).ok();
    manifest(&["annotate", "--arch=arm", &list, &at("team/none:1")])
        .fails(1)
        .says("does not exist in");

    let here = manifest(&["inspect", &list]).ok().stdout;
    assert!(here.starts_with("{\n   \"schemaVersion\": 2,\n"), "{here}");
    let digest = manifest(&["push", "--purge", &list]).ok().stdout;
    let pushed = raw(&list);
    assert_eq!(digest, format!("{}\n", sha256(pushed.as_bytes())));
    assert_eq!(here, format!("{pushed}\n"));
    let index: Value = serde_json::from_str(&pushed).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["digest"], first);
    assert_eq!(entries[1]["digest"], second);
    assert_eq!(
        entries[1]["platform"],
        json!({"architecture": "arm64", "os": "linux", "os.features": ["x", "y"], "variant": "v9"})
    );
    // Its images can be had from its own repository.
    raw(&format!("{}@{second}", at("team/all")));

    // It was forgotten here; the registry has it.
    manifest(&["push", &list]).fails(1).says("no such manifest");
    manifest(&["rm", &list]).fails(1).says("no such manifest");
    assert_eq!(manifest(&["inspect", &list]).ok().stdout, here);
    assert_eq!(manifest(&["inspect", "--raw", &list]).ok().stdout, pushed);
    manifest(&["create", &list, &list])
        .fails(1)
        .says("is a manifest list");
    manifest(&["create", &list, &amd64]).ok();
    manifest(&["rm", &list]).ok();
    assert_eq!(manifest(&["inspect", &list]).ok().stdout, here);
    env.rbuild(["fsck"]).ok();
}

#[test]
fn manifests_are_shown() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let name = format!("{}/team/app:1", registry.address);
    let digest = push_one(&env, &name, "arm64");
    let bytes = raw(&name);
    let document: Value = serde_json::from_str(&bytes).unwrap();
    let shown = env.rbuild(["manifest", "inspect", &name]).ok().stdout;
    assert!(shown.starts_with("{\n\t\"schemaVersion\": 2,\n"), "{shown}");
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), document);

    let shown = env.rbuild(["manifest", "inspect", "-v", &name]).ok().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["Ref"], name);
    assert_eq!(shown["Descriptor"]["digest"], digest);
    assert_eq!(shown["Descriptor"]["platform"]["architecture"], "arm64");
    assert_eq!(shown["OCIManifest"], document);
    let list = format!("{}/team/list:1", registry.address);
    env.rbuild(["manifest", "create", &list, &name]).ok();
    let of_list = env.rbuild(["manifest", "inspect", "-v", &list]).ok().stdout;
    let of_list: Value = serde_json::from_str(&of_list).unwrap();
    assert_eq!(of_list, json!([shown]));
    let inside = env.rbuild(["manifest", "inspect", "--raw", &list, &name]);
    assert_eq!(inside.ok().stdout, bytes);

    let none = format!("{}/team/none:1", registry.address);
    env.rbuild(["manifest", "inspect", &none])
        .fails(1)
        .says(&format!("no such manifest: {none}"));
    env.rbuild(["manifest", "inspect"]).fails(1);
    env.rbuild(["manifest", "inspect", "--nope", &none])
        .fails(125);
}
