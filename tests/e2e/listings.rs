//! The commands that list images, in the looks that can be asked for.

use serde_json::json;

use crate::support::registry::Registry;
use crate::support::run::Run;
use crate::support::saved::{RECORDED_HOST, Saved, recorded_images};
use crate::support::{TestEnv, bases, need};

const APP: &str = "127.0.0.1:5701/team/app:1.0";

#[test]
fn filters_choose_images() {
    let env = TestEnv::new();
    for image in &recorded_images(RECORDED_HOST) {
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
    recorded_images(RECORDED_HOST)[0].load(&env);
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
    let id = recorded_images(RECORDED_HOST)[0].short_id();
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
    assert_eq!(document, "127.0.0.1:5701/base \n");
    let kinds = shown(&["system", "df", "--format", "{{.Type}}={{.TotalCount}}"]);
    assert!(
        kinds.starts_with("Images=1\nContainers=0\nLocal Volumes=0\nBuild Cache="),
        "{kinds}"
    );
}

#[test]
fn inspect_fills_templates() {
    let env = TestEnv::new();
    let app = &recorded_images(RECORDED_HOST)[1];
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
    let run = env.rbuild(["inspect", "--type=container", "app:1"]);
    assert_eq!(run.stdout, "[]\n");
    run.fails(1).says("No such container: app:1");
    env.rbuild(["inspect", "--type=foo", "app:1"])
        .fails(1)
        .says("unknown type: \"foo\": must be one of \"config\", \"container\"");
    let run = env.rbuild(["inspect", "-s", "-f", "{{.Os}}", "app:1"]).ok();
    assert_eq!(run.stdout, "linux\n");
    run.says("WARNING: --size ignored for image");
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

/// What Docker prints besides lists, to the letter.
#[test]
fn small_texts_are_docker_s() {
    let env = TestEnv::new();
    let [base, app, _] = recorded_images(RECORDED_HOST);
    base.load(&env);
    app.load(&env);
    // Another image takes the name.
    let history = [(19, "", "", Some(7))];
    let other = Saved::new(&["base:1"], "2026-11-22T00:00:00Z", json!({}), &history);
    let tar = env.out("other.tar");
    fs_err::write(&tar, other.archive()).unwrap();
    let path = tar.to_str().unwrap();
    let run = env.rbuild(["load", "-i", path]).ok();
    let expected = format!(
        "The image base:1 already exists, renaming the old one with ID {} to empty string\n\
         Loaded image: base:1\n",
        base.id()
    );
    assert_eq!(run.stdout, expected);
    let run = env.rbuild(["load", "-i", path]).ok();
    assert_eq!(run.stdout, "Loaded image: base:1\n");

    env.rbuild(["rmi", "-f", "nope"])
        .ok()
        .says("No such image: nope:latest");
    for (words, expected) in [
        (
            &["load", "-i", "no.tar"][..],
            "open no.tar: no such file or directory",
        ),
        (
            &["import", "no.tar"],
            "open no.tar: no such file or directory",
        ),
        (
            &["import", path, "Bad:1"],
            "invalid reference format: repository name (library/Bad) must be lowercase",
        ),
        (
            &["save", "-o", "/nodir/x.tar", "app:1"],
            "failed to save image: invalid output path: stat /nodir: no such file or directory",
        ),
        (&["pull", "scratch"], "'scratch' is a reserved name"),
        (
            &["pull", "docker.io/library/scratch:1"],
            "'scratch' is a reserved name",
        ),
        (
            &["tag", "app:1"],
            "rbuild: 'rbuild tag' requires 2 arguments",
        ),
        (
            &["image", "nope"],
            "rbuild: unknown command: rbuild image nope",
        ),
    ] {
        env.rbuild(words).fails(1).says(expected);
    }
    env.rbuild(["images", "--quiet=maybe"])
        .fails(125)
        .says("invalid argument \"maybe\" for \"-q, --quiet\" flag: strconv.ParseBool: parsing");
    let run = env.rbuild(["image"]).ok();
    assert!(run.stderr.contains("Commands:"), "{}", run.report());

    let format = [
        "system",
        "df",
        "-v",
        "--format",
        "{{range .Images}}{{.ID}} {{.CreatedAt}};{{end}}",
    ];
    let run = env.rbuild(format).ok();
    let first = format!("{} 2026-11-22 00:00:00 +0000 UTC;", other.id());
    assert!(run.stdout.starts_with(&first), "{}", run.report());
    let run = env.rbuild(["system", "df", "-v"]).ok();
    assert!(run.stdout.contains(&other.short_id()) && !run.stdout.contains("sha256:"));
    assert!(
        run.stdout.contains("USAGE     SHARED\n"),
        "{}",
        run.report()
    );
}

/// A stack of layers goes with the last image that has it.
#[test]
fn prune_names_each_stack_once() {
    let env = TestEnv::new();
    for image in &recorded_images(RECORDED_HOST) {
        image.load(&env);
    }
    let dry = env
        .rbuild(["image", "prune", "-af", "--dry-run"])
        .ok()
        .stdout;
    let run = env.rbuild(["image", "prune", "-f"]).ok();
    // The image without a name shares its only layer.
    assert_eq!(
        run.stdout.matches("deleted: ").count(),
        1,
        "{}",
        run.report()
    );
    let run = env.rbuild(["image", "prune", "-af"]).ok();
    let deleted: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("deleted: "))
        .collect();
    let mut once = deleted.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(
        (deleted.len(), once.len()),
        (2 + 4, 2 + 4),
        "{}",
        run.report()
    );
    assert!(
        deleted.iter().all(|line| dry.contains(line)),
        "{dry}{}",
        run.report()
    );
}

/// The commands of Docker's builder plugin are there under its names.
#[test]
fn buildx_is_another_name() {
    let env = TestEnv::new();
    let context = env.context(
        "ctx",
        &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /f\n")],
    );
    let context = context.to_str().unwrap();
    env.rbuild(["buildx", "build", "-q", "-t", "a:1", context])
        .ok();
    env.rbuild(["buildx", "b", "-q", "-t", "b:1", context]).ok();
    env.rbuild(["builder", "build", "-q", "-t", "c:1", context])
        .ok();
    let run = env.rbuild(["images", "--format", "{{.Repository}}"]).ok();
    assert_eq!(run.stdout, "a\nb\nc\n");
    let kinds = env.rbuild(["buildx", "du", "--format", "{{.Type}}"]).ok();
    assert!(kinds.stdout.starts_with("Images\n"), "{}", kinds.report());
    let run = env.rbuild(["buildx", "prune", "-af"]).ok();
    assert!(
        run.stdout.contains("Total reclaimed space: "),
        "{}",
        run.report()
    );
    env.rbuild(["buildx", "du", "--nope"])
        .fails(125)
        .says("unknown flag: --nope");
    env.rbuild(["inspect", "a:1"]).ok();
}
