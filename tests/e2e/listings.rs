//! The commands that list images, against what Docker prints.
//!
//! The recorded sessions lie below `$RBUILD_SHARED`, or in `shared` beside the checkout; without
//! them only the cases of this file run.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::image::sha256;
use crate::support::registry::Registry;
use crate::support::run::Run;
use crate::support::{TestEnv, bases, need};

/// A tar with one file of so many zeros.
fn layer(name: &str, size: u64) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let zeros = std::io::Read::take(std::io::repeat(0), size);
    tar.append_data(&mut header, name, zeros).unwrap();
    tar.into_inner().unwrap()
}

/// A line of a history: the second it was made, the instruction, a remark, the bytes of its layer.
type Line<'a> = (u32, &'a str, &'a str, Option<u64>);

/// An image as `docker save` writes them.
struct Saved {
    names: Vec<&'static str>,
    config: Vec<u8>,
    layers: Vec<Vec<u8>>,
}

impl Saved {
    /// History lines are newest first, as `history` shows them; those with a size have a layer.
    fn new(
        names: &[&'static str],
        created: &str,
        mut settings: Value,
        history: &[Line<'_>],
    ) -> Self {
        let mut layers = Vec::new();
        let mut lines = Vec::new();
        for (second, by, comment, size) in history.iter().rev() {
            lines.push(json!({
                "created": format!("2026-11-21T01:13:{second}Z"), "created_by": by, "comment": comment,
                "empty_layer": size.is_none(),
            }));
            layers.extend(size.map(|size| layer(&format!("file{}", layers.len()), size)));
        }
        let diff_ids: Vec<_> = layers.iter().map(|layer| sha256(layer)).collect();
        settings["architecture"] = json!("amd64");
        settings["os"] = json!("linux");
        settings["created"] = json!(created);
        settings["history"] = json!(lines);
        settings["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        Self {
            names: names.to_vec(),
            config: serde_json::to_vec(&settings).unwrap(),
            layers,
        }
    }

    fn id(&self) -> String {
        sha256(&self.config)
    }

    fn short_id(&self) -> String {
        self.id()["sha256:".len()..][..12].to_owned()
    }

    fn load(&self, env: &TestEnv) {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        let layers: Vec<_> = (0..self.layers.len())
            .map(|n| format!("{n}/layer.tar"))
            .collect();
        for (name, layer) in layers.iter().zip(&self.layers) {
            add(name, layer);
        }
        add("config.json", &self.config);
        let tags = (!self.names.is_empty()).then_some(&self.names);
        let manifest = json!([{"Config": "config.json", "RepoTags": tags, "Layers": layers}]);
        add("manifest.json", &serde_json::to_vec(&manifest).unwrap());
        let file = env.out("load.tar");
        fs_err::write(&file, tar.into_inner().unwrap()).unwrap();
        env.rbuild(["load", "-q", "-i", file.to_str().unwrap()])
            .ok();
    }
}

const APP: &str = "127.0.0.1:5701/team/app:1.0";

/// The images of the recorded sessions.
fn recorded_images() -> [Saved; 3] {
    let base = (19, "", "imported base", Some(1_982_298));
    let label = (
        19,
        "/bin/sh -c #(nop)  LABEL stage=demo maintainer=moi",
        "",
        None,
    );
    let app = json!({"config": {
        "User": "1000:1000",
        "ExposedPorts": {"80/tcp": {}},
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=1", "B=two words"],
        "Entrypoint": ["/bin/sh"],
        "Cmd": ["-c", "echo hello"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/app",
        "Labels": {"maintainer": "moi", "stage": "demo"},
        "Healthcheck": {"Test": ["CMD-SHELL", "/bin/ls"], "Interval": 5_000_000_000_u64},
    }});
    let lines = [
        (
            23,
            "/bin/sh -c #(nop)  CMD [\"-c\" \"echo hello\"]",
            "",
            None,
        ),
        (22, "/bin/sh -c #(nop)  ENTRYPOINT [\"/bin/sh\"]", "", None),
        (
            22,
            "/bin/sh -c #(nop)  HEALTHCHECK &{[\"CMD-SHELL\" \"/bin/ls\"] \"5s\"}",
            "",
            None,
        ),
        (22, "/bin/sh -c #(nop)  USER 1000:1000", "", None),
        (22, "/bin/sh -c #(nop)  VOLUME [/data]", "", None),
        (22, "/bin/sh -c #(nop)  EXPOSE 80/tcp", "", None),
        (21, "/bin/sh -c #(nop) WORKDIR /app", "", None),
        (
            21,
            "/bin/sh -c #(nop) COPY file:a85dcd91fd4c1d65aaaa in /app",
            "",
            Some(333),
        ),
        (21, "/bin/sh -c touch /etc/y", "", Some(0)),
        (
            20,
            "/bin/sh -c dd if=/dev/zero of=/big bs=1000 count=1500",
            "",
            Some(1_500_007),
        ),
        (19, "/bin/sh -c #(nop)  ENV A=1 B=two words", "", None),
        label,
        base,
    ];
    [
        Saved::new(
            &["127.0.0.1:5701/base:1", "base:1"],
            "2026-11-21T01:13:19Z",
            json!({}),
            &[base],
        ),
        Saved::new(
            &[APP, "app:1"],
            "2026-11-21T01:13:23.442163399Z",
            app,
            &lines,
        ),
        Saved::new(&[], "2026-11-21T01:13:23Z", json!({}), &[label, base]),
    ]
}

/// A recorded command, what it printed, and its exit status.
struct Step {
    command: String,
    lines: Vec<String>,
    code: i32,
}

fn session(name: &str) -> Option<Vec<Step>> {
    let shared = std::env::var_os("RBUILD_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let text = fs_err::read_to_string(shared.join("images-data").join(name)).ok()?;
    let mut steps: Vec<Step> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ docker ") {
            steps.push(Step {
                command: command.to_owned(),
                lines: Vec::new(),
                code: 0,
            });
            is_open = true;
        } else if let (Some(step), true) = (steps.last_mut(), is_open) {
            match line
                .strip_prefix("[rc=")
                .and_then(|rest| rest.strip_suffix(']'))
            {
                Some(code) => {
                    step.code = code.parse().unwrap();
                    is_open = false;
                }
                None => step.lines.push(line.to_owned()),
            }
        }
    }
    Some(steps)
}

/// Commands that need the registry the sessions were recorded with: four `push` of `team/app`, two
/// `pull` of it, and the `images` after them. They are not replayed.
const NEED_A_REGISTRY: &[&str] = &["push", "pull"];

/// What must differ, taken out: ages, IDs that are another engine's, the width of columns. `ids` are
/// IDs and their names.
fn redacted(line: &str, ids: &[(String, &str)]) -> String {
    let mut text = line.to_owned();
    for (id, name) in ids {
        text = text.replace(id.as_str(), name);
    }
    if let Ok(Value::Object(mut fields)) = serde_json::from_str(&text) {
        // Older versions had one size more.
        fields.retain(|name, _| name != "CreatedSince" && name != "VirtualSize");
        let is_escaped = text.contains("\\u003cnone\\u003e");
        return format!("{is_escaped} {}", Value::Object(fields));
    }
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let ago = words.iter().position(|word| *word == "ago");
    if let Some(ago) = ago {
        let is_age = |word: &&str| {
            word.parse::<u64>().is_ok()
                || ["Less", "than", "a", "About", "an"].contains(word)
                || ["second", "minute", "hour", "day", "week", "month", "year"]
                    .iter()
                    .any(|unit| word.trim_end_matches('s') == *unit)
        };
        let start = words[..ago]
            .iter()
            .rposition(|word| !is_age(word))
            .map_or(0, |n| n + 1);
        words.splice(start..=ago, ["AGE"]);
    }
    words.join(" ")
}

/// IDs of Docker's and of ours for the same images.
fn known_ids(images: &[Saved; 3], golden: [&str; 3]) -> Vec<(String, &'static str)> {
    let names = ["BASE", "APP", "DANGLING"];
    let mut ids = Vec::new();
    for (name, (image, golden)) in names.into_iter().zip(images.iter().zip(golden)) {
        ids.push((image.id(), name));
        ids.push((image.short_id(), name));
        ids.push((golden.to_owned(), name));
    }
    ids
}

/// A full ID behind a short one that is known.
fn shorten(line: &str, ids: &[(String, &str)]) -> String {
    let mut out = line.to_owned();
    for (id, _) in ids.iter().filter(|(id, _)| id.len() == 12) {
        if let Some(place) = out.find(&format!("sha256:{id}")) {
            out.replace_range(place..place + 71, id);
        }
    }
    out
}

fn compared(text: &str, ids: &[(String, &str)]) -> Vec<String> {
    text.lines()
        .map(|line| redacted(&shorten(line, ids), ids))
        .collect()
}

/// The session of the classic engine, without its registry: the same lines, but for what
/// [`redacted`] takes out, the order of names of one image (random there), the parents that only its
/// builder keeps, and the bytes that this store has on disk.
#[test]
fn a_session_with_the_classic_engine() {
    let steps = session("golden-cli28.2-engine20.10.txt");
    need!(
        steps.is_some(),
        "this needs the recorded sessions (set RBUILD_SHARED)"
    );
    let images = recorded_images();
    let env = TestEnv::new();
    for image in &images {
        image.load(&env);
    }
    let ids = known_ids(&images, ["08f12c09137b", "795cca6ceaa2", "6a597e58b2bd"]);
    let mut left = Vec::new();
    for step in steps.unwrap() {
        let words: Vec<_> = step.command.split_whitespace().collect();
        if NEED_A_REGISTRY.contains(&words[0]) {
            left.push(words[0].to_owned());
            continue;
        }
        if left.iter().any(|word| word == "pull") {
            // Nothing was pulled.
            break;
        }
        let archive = env.out("g.tar");
        let words = words
            .iter()
            .map(|word| word.replace("[DIR]/g.tar", archive.to_str().unwrap()));
        let run = env.rbuild(words);
        assert_eq!(run.code, Some(step.code), "{}", run.report());
        assert_same(&step, &run, &ids);
    }
    assert_eq!(left, ["push", "push", "push", "push", "pull", "pull"]);
}

/// Compares what a command printed with what was recorded of it.
fn assert_same(step: &Step, run: &Run, ids: &[(String, &str)]) {
    let mut expected = compared(&step.lines.join("\n"), ids);
    let mut actual = compared(&run.stdout, ids);
    match step.command.split_whitespace().next().unwrap() {
        "images" | "save" | "load" | "tag" => {}
        "history" => {
            // Its builder kept an image for every line.
            let first = |line: &mut String| {
                let rest = line.split_once(' ').map(|(_, rest)| rest.to_owned());
                *line = rest.unwrap_or_default();
            };
            expected.iter_mut().skip(1).for_each(first);
            actual.iter_mut().skip(1).for_each(first);
        }
        "rmi" => {
            expected.retain(|line| !line.contains('@') && !line.starts_with("Deleted: sha256"));
            actual.retain(|line| !line.starts_with("Deleted: sha256"));
        }
        "image" if step.command.starts_with("image prune") => {
            let is_shown =
                |line: &String| !line.starts_with("deleted: sha256") && !line.starts_with("Total");
            assert!(
                run.stdout.contains("Total reclaimed space: "),
                "{}",
                run.report()
            );
            expected.retain(is_shown);
            actual.retain(is_shown);
        }
        "image" => {
            compare_documents(&step.lines.join("\n"), &run.stdout);
            return;
        }
        "system" => {
            let is_title = |line: &String| line.starts_with("TYPE") || line.ends_with("usage:");
            expected.retain(is_title);
            for title in expected {
                assert!(actual.contains(&title), "{title}\n{}", run.report());
            }
            return;
        }
        other => panic!("nobody knows how to compare {other}"),
    }
    if !step.command.starts_with("history") {
        expected.sort();
        actual.sort();
    }
    assert_eq!(actual, expected, "{}", run.report());
}

/// Everything that the recorded document says and this engine can know is said here too.
fn compare_documents(golden: &str, ours: &str) {
    let golden: Value = serde_json::from_str(golden).unwrap();
    let ours: Value = serde_json::from_str(ours).unwrap();
    for field in ["RepoTags", "Created", "Architecture", "Os", "Size"] {
        assert_eq!(ours[0][field], golden[0][field], "{field}");
    }
    for (field, value) in golden[0]["Config"].as_object().unwrap() {
        let is_empty = [json!(""), json!(false), json!(null)].contains(value);
        if !is_empty && field != "Image" {
            assert_eq!(ours[0]["Config"][field], *value, "{field}");
        }
    }
}

/// The document of today's engine: its fields in its order.
#[test]
fn inspect_has_the_fields_of_today_in_their_order() {
    let steps = session("golden-cli29.8-engine29.txt");
    need!(
        steps.is_some(),
        "this needs the recorded sessions (set RBUILD_SHARED)"
    );
    let steps = steps.unwrap();
    let golden = steps
        .iter()
        .find(|step| step.command.starts_with("image inspect"));
    let golden: Value = serde_json::from_str(&golden.unwrap().lines.join("\n")).unwrap();
    let env = TestEnv::new();
    recorded_images()[1].load(&env);
    let run = env.rbuild(["image", "inspect", APP]).ok();
    let ours: Value = serde_json::from_str(&run.stdout).unwrap();
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&ours[0]["Config"]), names(&golden[0]["Config"]));
    assert_eq!(ours[0]["Config"], golden[0]["Config"]);
    let mut ours = names(&ours[0]);
    // What older engines had as well.
    ours.retain(|name| !["Parent", "Comment", "DockerVersion", "Author"].contains(&name.as_str()));
    let mut golden = names(&golden[0]);
    // An archive of this kind has no manifest.
    golden.retain(|name| name != "Identity" && name != "Descriptor");
    assert_eq!(ours, golden);
}

#[test]
fn filters_choose_images() {
    let env = TestEnv::new();
    for image in &recorded_images() {
        image.load(&env);
    }
    let names = |arguments: &[&str]| {
        let format = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let run = env.rbuild(format.iter().chain(arguments)).ok();
        run.out()
            .replace("127.0.0.1:5701", "HOST")
            .replace('\n', " ")
    };
    for (arguments, expected) in [
        (
            vec![],
            "HOST/team/app:1.0 app:1 <none>:<none> HOST/base:1 base:1",
        ),
        (vec!["app"], "app:1"),
        (vec!["*app"], "app:1"),
        (vec!["*/team/app"], "HOST/team/app:1.0"),
        (vec!["docker.io/library/base:1"], "base:1"),
        (
            vec!["-f", "reference=base", "-f", "reference=app"],
            "app:1 base:1",
        ),
        (vec!["-f", "dangling=true"], "<none>:<none>"),
        (vec!["-f", "dangling=false", "base"], "base:1"),
        (vec!["-f", "label=stage=demo"], "HOST/team/app:1.0 app:1"),
        (vec!["-f", "label=stage", "-f", "label=none"], ""),
        (
            vec!["-f", "before=app:1", "-f", "dangling=false"],
            "HOST/base:1 base:1",
        ),
        (vec!["-f", "since=base:1", "-f", "reference=app"], "app:1"),
        (
            vec!["-f", "until=2026-11-21T01:13:20Z"],
            "HOST/base:1 base:1",
        ),
        (vec!["nobody"], ""),
    ] {
        assert_eq!(names(&arguments), expected, "{arguments:?}");
    }
    let refused = |arguments: &[&str], code, text: &str| {
        env.rbuild(["images"].iter().chain(arguments))
            .fails(code)
            .says(text);
    };
    refused(&["-f", "before=nope"], 1, "No such image: nope:latest");
    refused(
        &["-f", "dangling=maybe"],
        1,
        "invalid filter 'dangling=[maybe]'",
    );
    refused(&["-f", "bad=1"], 1, "invalid filter 'bad'");
    refused(
        &["-f", "foo"],
        125,
        "bad format of filter (expected name=value)",
    );
    refused(&["a["], 1, "syntax error in pattern");
    refused(&["--nope"], 125, "--nope");
    refused(
        &["--format", "{{.Nope}}"],
        1,
        "can't evaluate field Nope in type *formatter.imageContext",
    );
    let hint = env.rbuild(["images", "ls"]).ok();
    assert!(
        hint.stderr.contains("did you mean \"rbuild image ls\"?"),
        "{}",
        hint.report()
    );
}

#[test]
fn formats_come_from_templates_and_the_configuration() {
    let env = TestEnv::new();
    recorded_images()[0].load(&env);
    let shown = |arguments: &[&str]| env.rbuild(arguments).ok().stdout;
    assert_eq!(
        shown(&[
            "images",
            "base",
            "--format",
            "table {{.Repository}}\\t{{upper .Tag}}\\t{{.Size}}"
        ]),
        "REPOSITORY   TAG       SIZE\nbase         1         1.98MB\n"
    );
    assert_eq!(
        shown(&["images", "base", "--format=raw"]).lines().next(),
        Some("repository: base")
    );
    let folder = env.path("home/.docker");
    fs_err::create_dir_all(&folder).unwrap();
    let config = r#"{"imagesFormat": "{{.Repository}} has {{.Size}}", "auths": {}}"#;
    fs_err::write(folder.join("config.json"), config).unwrap();
    assert_eq!(shown(&["images", "base"]), "base has 1.98MB\n");
    let id = recorded_images()[0].short_id();
    assert_eq!(shown(&["images", "-q", "base"]), format!("{id}\n"));

    let tree = shown(&["images", "--tree"]);
    assert!(
        tree.contains("base:1") && tree.contains("└─ linux/amd64"),
        "{tree}"
    );
    let comment = shown(&["history", "--format", "{{.Comment}}: {{.Size}}", "base:1"]);
    assert_eq!(comment, "imported base: 1.98MB\n");
    assert_eq!(shown(&["history", "-q", "base:1"]), format!("{id}\n"));
    let document = shown(&[
        "system",
        "df",
        "-v",
        "--format",
        "{{range .Images}}{{.Repository}} {{end}}",
    ]);
    assert_eq!(document, "127.0.0.1:5701/base base \n");
    let kinds = shown(&["system", "df", "--format", "{{.Type}}={{.TotalCount}}"]);
    assert!(
        kinds.starts_with("Images=1\nContainers=0\nLocal Volumes=0\nBuild Cache="),
        "{kinds}"
    );
}

#[test]
fn inspect_fills_templates() {
    let env = TestEnv::new();
    let app = &recorded_images()[1];
    app.load(&env);
    let shown = |format: &str| env.rbuild(["inspect", "-f", format, "app:1"]).ok().stdout;
    for (format, expected) in [
        ("{{.Id}} {{.ID}}", format!("{0} {0}\n", app.id())),
        (
            "{{.Os}}/{{.Architecture}}\\t",
            "linux/amd64\\t\n".to_owned(),
        ),
        (
            "{{json .Config.Cmd}}",
            "[\"-c\",\"echo hello\"]\n".to_owned(),
        ),
        (
            "{{range .RepoTags}}{{.}},{{end}}",
            format!("{APP},app:1,\n"),
        ),
        (
            "{{index .Config.Labels \"stage\"}}{{index .Config.Labels \"none\"}}",
            "demo\n".to_owned(),
        ),
        ("{{.Config.ExposedPorts}}", "map[80/tcp:{}]\n".to_owned()),
        (
            "{{if gt .Size 1000}}{{len .RootFS.Layers}}{{end}}",
            "4\n".to_owned(),
        ),
        (
            "{{range $k, $v := .Config}}{{$k}} {{end}}",
            "Cmd Entrypoint Env ExposedPorts Healthcheck Labels User Volumes WorkingDir \n"
                .to_owned(),
        ),
    ] {
        assert_eq!(shown(format), expected, "{format}");
    }
    let run = env.rbuild(["inspect", "-f", "{{.Os}}", "nope", "app:1", "neither:2"]);
    assert_eq!(run.stdout, "linux\n");
    run.fails(1)
        .says("No such image: nope:latest")
        .says("No such image: neither:2");
    let run = env.rbuild(["inspect", "-f", "{{.Nope}}", "app:1"]);
    assert_eq!(run.stdout, "\n");
    run.fails(1).says("map has no entry for key \"Nope\"");
    assert_eq!(env.rbuild(["inspect", "nope"]).stdout, "[]\n");
    env.rbuild(["inspect", "-f", "{{.Os", "app:1"])
        .fails(64)
        .says("unclosed action");
    env.rbuild(["inspect", "--platform=linux/s390x", "app:1"])
        .fails(1)
        .says("linux/amd64");
    env.rbuild(["inspect"]).fails(1);
    env.rbuild(["inspect", "--type=container", "app:1"])
        .fails(125);
}

/// Nothing in an image acts on a terminal.
#[test]
fn names_and_remarks_are_harmless() {
    let env = TestEnv::new();
    let evil = "a\u{1b}[2Jb\nc\td";
    let history = [(19, evil, evil, Some(1))];
    Saved::new(&["evil:1"], "2026-11-21T01:13:19Z", json!({}), &history).load(&env);
    let run = env.rbuild(["history", "--no-trunc", "evil:1"]).ok();
    assert!(
        !run.stdout.contains('\u{1b}') && run.stdout.contains("ab c d"),
        "{}",
        run.report()
    );
    assert_eq!(run.stdout.lines().count(), 2);
}

#[test]
fn image_prune_chooses_by_name_and_age() {
    let env = TestEnv::new();
    for n in 1..=4 {
        let names = [["app:1"], ["app:2"], ["app:3"], ["other:1"]][n - 1];
        let created = format!("2026-11-2{n}T00:00:00Z");
        let history = [(19, "", "", Some(n as u64))];
        Saved::new(&names, &created, json!({}), &history).load(&env);
    }
    let names = || {
        let run = env
            .rbuild(["images", "--format", "{{.Repository}}:{{.Tag}}"])
            .ok();
        run.out().replace('\n', " ")
    };
    let asked = Run::of(
        env.command()
            .args(["image", "prune", "-a"])
            .stdin(std::process::Stdio::null()),
    )
    .ok();
    assert_eq!(
        asked.stdout,
        "WARNING! This will remove all images without at least one container associated to them.\n\
         Are you sure you want to continue? [y/N] "
    );
    env.rbuild([
        "image",
        "prune",
        "-af",
        "--keep=1",
        "--filter=reference=app",
        "--dry-run",
    ])
    .ok();
    assert_eq!(names(), "other:1 app:3 app:2 app:1");
    let run = env
        .rbuild([
            "image",
            "prune",
            "-af",
            "--keep=2",
            "--filter=reference=app",
        ])
        .ok();
    assert!(
        run.stdout
            .starts_with("Deleted Images:\nuntagged: app:1\ndeleted: sha256:"),
        "{}",
        run.report()
    );
    assert_eq!(names(), "other:1 app:3 app:2");
    env.rbuild(["image", "prune", "-af", "--keep=1"]).ok();
    assert_eq!(names(), "other:1 app:3");
    let run = env.rbuild(["image", "prune", "-f"]).ok();
    assert_eq!(run.stdout, "Total reclaimed space: 0B\n");
    env.rbuild(["image", "prune", "-af", "--filter=bad=1"])
        .fails(1)
        .says("invalid filter 'bad'");
    env.rbuild(["image", "prune", "-f", "--keep=1"]).fails(1);
    assert_eq!(names(), "other:1 app:3");
}

#[test]
fn search_lists_a_registry() {
    let registry = Registry::shared();
    need!(
        registry.is_some(),
        "this needs docker-registry, skopeo and busybox-static"
    );
    let registry = registry.unwrap();
    let env = TestEnv::new();
    let term = format!("{}/BUSY", registry.address);
    let run = env.rbuild(["search", "--format", "{{.Name}}", &term]).ok();
    let name = format!("{}/library/busybox", registry.address);
    assert!(
        run.stdout.lines().any(|line| line == name),
        "{}",
        run.report()
    );
    assert!(bases::busybox().is_some());
    env.rbuild(["search", "--limit=101", "x"])
        .fails(1)
        .says("limit 101 is outside the range of [1, 100]");
}
