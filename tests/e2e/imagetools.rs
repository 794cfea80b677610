//! `rbuild imagetools`: indexes made in registries, and what other tools read there.

use serde_json::{Value, json};

use crate::support::image::sha256;
use crate::support::registry::{Door, Registry};
use crate::support::{TestEnv, need, peers};

const NEEDS: &str = "this needs docker-registry, skopeo and busybox-static";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The bytes of a manifest or index as the registry has them.
fn raw(name: &str) -> Vec<u8> {
    let source = format!("docker://{name}");
    let run = peers::skopeo(&["inspect", "--tls-verify=false", "--raw", &source]);
    run.stdout.into_bytes()
}

fn json_of(name: &str) -> Value {
    serde_json::from_slice(&raw(name)).unwrap()
}

/// Builds and pushes an image for one architecture; returns the digest of its manifest.
fn push_one(env: &TestEnv, name: &str, architecture: &str) -> String {
    let context = env.context(
        architecture,
        &[
            (
                "Dockerfile",
                "FROM scratch\nCOPY same /\nARG TARGETARCH\nCOPY same /$TARGETARCH\nCMD [\"/same\"]\n",
            ),
            ("same", "in both images\n"),
        ],
    );
    let platform = format!("--platform=linux/{architecture}");
    env.build(&context, &["-t", name, &platform]);
    env.rbuild(["push", "-q", name]).ok();
    sha256(&raw(name))
}

/// Pushes an image for each of two architectures into one repository; returns its name, theirs, and
/// the digests of their manifests.
fn push_both(env: &TestEnv, registry: &Registry) -> (String, [String; 2], [String; 2]) {
    let name = format!("{}/team/app", registry.address);
    let architectures = ["amd64", "arm64"];
    let images = architectures.map(|architecture| format!("{name}:{architecture}"));
    let digests = [0, 1].map(|index| push_one(env, &images[index], architectures[index]));
    (name, images, digests)
}

/// Uploads that the registry was asked for since there were `before` requests.
fn uploads(registry: &Registry, before: usize) -> Vec<String> {
    let requests = registry.requests().split_off(before);
    let is_upload = |request: &String| request.starts_with("PATCH") || request.contains("digest=");
    let is_mount = |request: &String| request.contains("mount=");
    requests
        .into_iter()
        .filter(|request| is_upload(request) && !is_mount(request))
        .collect()
}

#[test]
fn images_of_one_repository_are_joined_without_an_upload() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let (name, [amd64, arm64], digests) = push_both(&env, &registry);

    let before = registry.requests().len();
    let dry = env.rbuild(["imagetools", "create", "--dry-run", &amd64, &arm64]);
    let dry = dry.ok().stdout;
    let all = format!("{name}:1");
    env.rbuild(["imagetools", "create", "-t", &all, &amd64, &arm64])
        .ok();
    let blobs: Vec<String> = registry
        .requests()
        .split_off(before)
        .into_iter()
        .filter(|request| !request.starts_with("GET ") && request.contains("/blobs/"))
        .collect();
    assert_eq!(blobs, Vec::<String>::new());
    let bytes = raw(&all);
    assert_eq!(format!("{}\n", String::from_utf8_lossy(&bytes)), dry);
    let index = json_of(&all);
    assert_eq!(index["mediaType"], OCI_INDEX);
    for (place, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
        let entry = &index["manifests"][place];
        assert_eq!(entry["digest"], digests[place]);
        assert_eq!(
            entry["platform"],
            json!({"architecture": architecture, "os": "linux"})
        );
    }

    // Each platform's image can be had by the name of all.
    for architecture in ["amd64", "arm64"] {
        let source = format!("docker://{all}");
        let arch = format!("--override-arch={architecture}");
        let args = [&arch, "inspect", "--tls-verify=false", "--config", &source];
        let config: Value = serde_json::from_str(&peers::skopeo(&args).stdout).unwrap();
        assert_eq!(config["architecture"], architecture);
    }

    let shown = env.rbuild(["imagetools", "inspect", &all]).ok().stdout;
    let entry = |place: usize, architecture: &str| {
        format!(
            "  Name:      {all}@{}\n  MediaType: {OCI_MANIFEST}\n  Platform:  linux/{architecture}\n",
            digests[place]
        )
    };
    let expected = format!(
        "Name:      {all}\nMediaType: {OCI_INDEX}\nDigest:    {}\n{}\nManifests: \n{}{}\n{}",
        sha256(&bytes),
        " ".repeat(11),
        entry(0, "amd64"),
        " ".repeat(13),
        entry(1, "arm64")
    );
    assert_eq!(shown, expected);
    let shown = env.rbuild(["imagetools", "inspect", "--raw", &all]).ok();
    assert_eq!(shown.stdout.as_bytes(), bytes);
    let shown = env.rbuild(["imagetools", "inspect", &amd64]).ok().stdout;
    let expected = format!(
        "Name:      {amd64}\nMediaType: {OCI_MANIFEST}\nDigest:    {}\n",
        digests[0]
    );
    assert_eq!(shown, expected);
}

#[test]
fn templates_show_parts() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let (name, [amd64, arm64], digests) = push_both(&env, &registry);
    let all = format!("{name}:1");
    env.rbuild(["imagetools", "create", "-t", &all, &amd64, &arm64])
        .ok();
    let show = |format: &str, name: &str| {
        let args = ["imagetools", "inspect", "--format", format, name];
        env.rbuild(args).ok().stdout
    };
    let before = registry.requests().len();
    let own = sha256(&raw(&all));
    assert_eq!(
        show("{{.Name}} {{.Manifest.Digest}}", &all),
        format!("{all} {own}")
    );
    let requests = registry.requests().split_off(before);
    assert!(
        !requests.iter().any(|request| request.contains("/blobs/")),
        "{requests:?}"
    );
    let children = "{{range .Manifest.Manifests}}{{.Digest}}={{.Platform.Architecture}} {{end}}";
    let expected = format!("{}=amd64 {}=arm64 ", digests[0], digests[1]);
    assert_eq!(show(children, &all), expected);
    let of_arm = "{{(index .Image \"linux/arm64\").Architecture}}";
    assert_eq!(show(of_arm, &all), "arm64");
    // What a document lacks is worth what Go says.
    let absent = "{{.Image.Variant}}|{{.Image.Author}}|{{len .Image.Config.Entrypoint}}|{{.Image.Config.User}}";
    assert_eq!(show(absent, &arm64), "||0|");
    assert_eq!(show("{{index .Image.Config.Cmd 0}}", &arm64), "/same");
    let manifest = show("{{json .Manifest}}", &arm64);
    let expected = format!(
        "{{\n  \"mediaType\": \"{OCI_MANIFEST}\",\n  \"digest\": \"{}\",\n  \"size\": {}\n}}",
        digests[1],
        raw(&arm64).len()
    );
    assert_eq!(manifest, expected);
    let images: Value = serde_json::from_str(&show("{{json .Image}}", &all)).unwrap();
    let platforms: Vec<&String> = images.as_object().unwrap().keys().collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    let everything: Value = serde_json::from_str(&show("{{json .}}", &arm64)).unwrap();
    let names: Vec<&String> = everything.as_object().unwrap().keys().collect();
    assert_eq!(names, ["name", "manifest", "image"]);
    assert_eq!(everything["name"], arm64.as_str());
    assert_eq!(everything["image"]["architecture"], "arm64");
    assert_eq!(show("{{json .Provenance}} {{json .SBOM}}", &arm64), "{} {}");
    assert_eq!(show("{{json .Provenance}} {{json .SBOM}}", &all), "{} {}");
    let listing = env.rbuild(["imagetools", "inspect", &all]).ok().stdout;
    assert_eq!(show("{{.Manifest}}", &all), listing);
    let words = ["buildx", "imagetools", "inspect", &all];
    assert_eq!(env.rbuild(words).ok().stdout, listing);
    env.rbuild([
        "imagetools",
        "inspect",
        "--format",
        "{{.Image.Nope}}",
        &arm64,
    ])
    .fails(1)
    .says("can't evaluate field Nope in type *v1.Image");
    env.rbuild(["imagetools", "inspect", "--format", "{{", &all])
        .fails(1)
        .says("unclosed action");
}

/// Writes an OCI layout with an image for each of two platforms, and attestations of the first.
fn attested(folder: &std::path::Path) {
    let blobs = folder.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let add = |media_type: &str, bytes: &[u8]| {
        let digest = sha256(bytes);
        fs_err::write(blobs.join(&digest["sha256:".len()..]), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    };
    let add_json = |media_type: &str, value: &Value| add(media_type, value.to_string().as_bytes());
    let statement = |kind: &str, predicate: Value| {
        let statement =
            json!({"_type": "https://in-toto.io/Statement/v0.1", "predicate": predicate});
        let mut layer = add_json("application/vnd.in-toto+json", &statement);
        layer["annotations"] = json!({"in-toto.io/predicate-type": kind});
        layer
    };
    let manifest = |config: &Value, layers: &[Value]| {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
        });
        add_json(OCI_MANIFEST, &manifest)
    };
    let config_type = "application/vnd.oci.image.config.v1+json";
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        let mut entry = manifest(&add_json(config_type, &config), &[]);
        entry["platform"] = json!({"architecture": architecture, "os": "linux"});
        entries.push(entry);
    }
    let layers = [
        statement(
            "https://slsa.dev/provenance/v1",
            json!({"builder": {"id": "me & you"}}),
        ),
        statement(
            "https://spdx.dev/Document",
            json!({"name": "first", "files": 2}),
        ),
        statement("https://spdx.dev/Document", json!({"name": "second"})),
        statement("https://example.org/other", json!({"name": "other"})),
    ];
    let unknown = json!({"architecture": "unknown", "os": "unknown"});
    let nothing = json!({"architecture": "unknown", "os": "unknown", "config": {},
                         "rootfs": {"type": "layers", "diff_ids": []}});
    let mut attestation = manifest(&add_json(config_type, &nothing), &layers);
    attestation["platform"] = unknown;
    attestation["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": entries[0]["digest"],
    });
    entries.push(attestation);
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    let mut index = add_json(OCI_INDEX, &index);
    index["annotations"] = json!({"io.containerd.image.name": "docker.io/library/attested:1"});
    let index = json!({"schemaVersion": 2, "manifests": [index]});
    fs_err::write(folder.join("index.json"), index.to_string()).unwrap();
    let version = r#"{"imageLayoutVersion": "1.0.0"}"#;
    fs_err::write(folder.join("oci-layout"), version).unwrap();
}

#[test]
fn what_is_said_about_images_is_shown() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let folder = env.path("layout");
    attested(&folder);
    env.rbuild(["load", "-q", "-i", folder.to_str().unwrap()])
        .ok();
    let tree = env.rbuild(["images", "--tree"]).ok().stdout;
    let rows: Vec<&str> = tree.lines().map(str::trim_end).collect();
    assert!(
        rows[2].starts_with("├─ linux/amd64") && rows[2].ends_with("B   A"),
        "{tree}"
    );
    assert!(
        rows[3].starts_with("└─ linux/arm64") && rows[3].ends_with('B'),
        "{tree}"
    );
    assert_eq!(rows.len(), 4, "{tree}");

    let name = format!("{}/team/attested:1", registry.address);
    env.rbuild(["tag", "attested:1", &name]).ok();
    env.rbuild(["push", "-q", &name]).ok();
    let show = |format: &str, name: &str| {
        let args = ["buildx", "imagetools", "inspect", "--format", format, name];
        env.rbuild(args).ok().stdout
    };
    let provenance = "{\n  \"linux/amd64\": {\n    \"SLSA\": {\n      \"builder\": {\n        \
                      \"id\": \"me \\u0026 you\"\n      }\n    }\n  }\n}";
    assert_eq!(show("{{json .Provenance}}", &name), provenance);
    let names = "{{range $p, $s := .SBOM}}{{$p}}: {{$s.SPDX.name}} {{$s.SPDX.files}}\
                 {{range .AdditionalSPDXs}}, {{.name}}{{end}}{{end}}";
    assert_eq!(show(names, &name), "linux/amd64: first 2, second");
    let image = "{{range $p, $i := .Image}}{{$p}}={{$i.OS}} {{end}}";
    assert_eq!(show(image, &name), "linux/amd64=linux linux/arm64=linux ");
    // An index with one image is that image.
    let alone = format!("{}/team/attested:alone", registry.address);
    let index = json_of(&name);
    let mut words = vec![
        "imagetools".to_owned(),
        "create".to_owned(),
        "-t".to_owned(),
        alone.clone(),
    ];
    for place in [0, 2] {
        let mut source = index["manifests"][place].clone();
        source["mediaType"] = json!(OCI_MANIFEST);
        words.push(source.to_string());
    }
    words.insert(
        4,
        format!(
            "{name}@{}",
            index["manifests"][0]["digest"].as_str().unwrap()
        ),
    );
    env.rbuild(&words).ok();
    assert_eq!(
        show(
            "{{.Image.Architecture}} {{.Provenance.SLSA.builder.id}}",
            &alone
        ),
        "amd64 me & you"
    );
}

#[test]
fn images_are_mounted_and_copied_with_their_digests() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let (here, there) = (
        Registry::behind(&Door::default()),
        Registry::behind(&Door::default()),
    );
    let env = TestEnv::new();
    let amd64 = format!("{}/team/one:1", here.address);
    let arm64 = format!("{}/team/two:1", here.address);
    let digests = [
        push_one(&env, &amd64, "amd64"),
        push_one(&env, &arm64, "arm64"),
    ];

    let before = here.requests().len();
    let all = format!("{}/team/all:1", here.address);
    env.rbuild(["imagetools", "create", "-t", &all, &amd64, &arm64])
        .ok();
    assert_eq!(uploads(&here, before), Vec::<String>::new());

    // The store that built them is not needed, and an index goes as it is.
    let stranger = TestEnv::new();
    let copy = format!("{}/copies/all:2", there.address);
    stranger
        .rbuild(["imagetools", "create", "-t", &copy, &all])
        .ok();
    assert_eq!(raw(&copy), raw(&all));
    for digest in &digests {
        let child = format!("{}/copies/all@{digest}", there.address);
        assert_eq!(&sha256(&raw(&child)), digest);
    }
    let layout = env.path("copied");
    let to = format!("oci:{}:all", layout.display());
    let from = format!("docker://{copy}");
    peers::skopeo(&[
        "copy",
        "-q",
        "--insecure-policy",
        "--all",
        "--src-tls-verify=false",
        &from,
        &to,
    ]);

    let before = there.requests().len();
    stranger
        .rbuild(["imagetools", "create", "-t", &copy, &all])
        .ok();
    assert_eq!(uploads(&there, before), Vec::<String>::new());
}

#[test]
fn indexes_grow_and_get_annotations() {
    need!(Registry::shared().is_some(), "{NEEDS}");
    let registry = Registry::behind(&Door::default());
    let env = TestEnv::new();
    let (name, [amd64, arm64], digests) = push_both(&env, &registry);
    let all = format!("{name}:1");
    let create = |args: &[&str]| {
        let start = ["imagetools", "create", "-t", &all];
        env.rbuild(start.iter().chain(args))
    };

    create(&["--prefer-index=false", &amd64]).ok();
    assert_eq!(raw(&all), raw(&amd64));
    create(&[&digests[0]]).ok();
    assert_eq!(json_of(&all)["manifests"][0]["digest"], digests[0]);
    // Nothing is named twice.
    create(&["--append", &arm64, &amd64]).ok();
    let index = json_of(&all);
    let found: Vec<&Value> = index["manifests"].as_array().unwrap().iter().collect();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1]["digest"], digests[1]);

    let source = env.path("source");
    fs_err::write(&source, format!("{all}\n")).unwrap();
    create(&[
        "--annotation=index:org.example.of=all",
        "--annotation=manifest-descriptor[linux/arm64]:org.example.of=arm",
        "-f",
        source.to_str().unwrap(),
    ])
    .ok();
    let index = json_of(&all);
    assert_eq!(index["annotations"], json!({"org.example.of": "all"}));
    assert_eq!(index["manifests"][0]["annotations"], Value::Null);
    let of_arm = json!({"org.example.of": "arm"});
    assert_eq!(index["manifests"][1]["annotations"], of_arm);
    let shown = env.rbuild(["imagetools", "inspect", &all]).ok().stdout;
    let end = "  Platform:    linux/arm64\n  Annotations: \n    org.example.of: arm\n";
    assert!(shown.ends_with(end), "{shown}");

    create(&["--annotation=manifest-descriptor[linux/s390x]:k=v", &all])
        .fails(1)
        .says("invalid annotation: no platform linux/s390x found in source");
    create(&[]).fails(1).says("no sources specified");
    env.rbuild(["imagetools", "create", &all])
        .fails(1)
        .says("please set --tag or --dry-run");
    env.rbuild(["imagetools", "inspect", &format!("{name}:none")])
        .fails(1)
        .says("not found");
    env.rbuild(["imagetools", "create", "--dry-run", &digests[0]])
        .fails(1)
        .says("it is not clear in which repository");
}
