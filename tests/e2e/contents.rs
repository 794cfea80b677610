//! Looking into images: `rbuild analyze` counts as dive counts, and says more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::examples::{NEEDS, ON_BUSYBOX, ON_DEBIAN, built, shared_env};
use crate::support::run::Run;
use crate::support::saved::{RECORDED_HOST, recorded_images};
use crate::support::{TestEnv, bases, find, need};

/// The dive that `scripts/test.sh` fetched, or one on the search path.
fn dive() -> Option<PathBuf> {
    let fetched = std::env::var_os("RBUILD_TEST_DIVE").map(PathBuf::from);
    fetched
        .filter(|file| file.is_file())
        .or_else(|| find("dive"))
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The image as dive sees it, through an archive.
fn by_dive(dive: &Path, env: &TestEnv, name: &str) -> Value {
    let (tar, json) = (env.out("dive.tar"), env.out("dive.json"));
    env.rbuild(["save", "-o", tar.to_str().unwrap(), name]).ok();
    let mut command = Command::new(dive);
    command
        .env_clear()
        .env("HOME", env.path("home"))
        .args(["--source", "docker-archive", tar.to_str().unwrap()])
        .args(["--json", json.to_str().unwrap()]);
    Run::of(&mut command).ok();
    let found = parse(&fs_err::read_to_string(&json).unwrap());
    fs_err::remove_file(tar).unwrap();
    fs_err::remove_file(json).unwrap();
    found
}

/// What both must say alike of an image: totals, and the inefficient paths in any order.
#[derive(Debug, PartialEq)]
struct Figures {
    totals: Vec<Option<f64>>,
    /// Path, how often, bytes.
    copies: BTreeSet<(String, u64, u64)>,
}

fn figures(found: &Value) -> Figures {
    let image = &found["image"];
    let totals = ["sizeBytes", "inefficientBytes", "efficiencyScore"];
    let copies = image["fileReference"].as_array().unwrap().iter();
    let number = |file: &Value, key: &str| file[key].as_u64().unwrap();
    Figures {
        totals: totals.iter().map(|key| image[key].as_f64()).collect(),
        copies: copies
            .map(|file| {
                let path = file["file"].as_str().unwrap().to_owned();
                (path, number(file, "count"), number(file, "sizeBytes"))
            })
            .collect(),
    }
}

/// What both must say alike of a layer's files. dive lists directories without an entry, too.
fn files(layer: &Value) -> BTreeSet<String> {
    let files = layer["fileList"].as_array().unwrap().iter();
    files
        .filter(|file| file["path"] != "")
        .map(|file| {
            let mut file = file.clone();
            if file["path"].as_str().unwrap().contains(".wh.") {
                file["fileMode"] = 0.into();
            }
            // Hard links lead where archives say in any spelling.
            let link = file["linkName"].as_str().unwrap();
            if file["typeFlag"] == u64::from(b'1') {
                file["linkName"] = link.trim_start_matches("./").into();
            }
            file.to_string()
        })
        .collect()
}

#[track_caller]
fn compare(dive: &Path, env: &TestEnv, name: &str) {
    let theirs = by_dive(dive, env, name);
    let ours = env.rbuild(["analyze", "--format=json", name]).ok();
    let ours = parse(&ours.stdout);
    assert_eq!(figures(&ours), figures(&theirs), "{name}");
    let layers = |found: &Value| found["layer"].as_array().unwrap().clone();
    assert_eq!(layers(&ours).len(), layers(&theirs).len(), "{name}");
    for (ours, theirs) in layers(&ours).iter().zip(layers(&theirs)) {
        for key in ["index", "digestId", "sizeBytes", "command"] {
            assert_eq!(ours[key], theirs[key], "{name}: {key}");
        }
        assert_eq!(files(ours), files(&theirs), "{name}");
    }
}

#[test]
fn examples_have_dive_s_numbers() {
    let dive = dive();
    need!(
        dive.is_some(),
        "comparing needs dive (scripts/test.sh fetches it)"
    );
    for name in ON_BUSYBOX.iter().chain(ON_DEBIAN) {
        need!(built(name).is_some(), "{NEEDS}");
        compare(
            dive.as_ref().unwrap(),
            shared_env().unwrap(),
            &format!("{name}:1.0"),
        );
    }
}

/// Steps that leave everything that dive may count in another way.
const ODD: &str = r#"FROM busybox
RUN mkdir -p /d/e /gone/below /o && for f in d/a d/e/b gone/x gone/below/y o/1 o/2; do head -c 5000 /dev/zero > /$f; done
RUN ln -s /d/a /link && ln /d/a /hard && mkdir /empty && echo text > /text
RUN chown -R 7:8 /d && chmod 600 /text
RUN rm -rf /gone && rm -rf /o && mkdir /o && echo 3 > /o/3
RUN rm /d/e/b /link && ln -s /d /link && touch /empty
COPY --chmod=755 text /text
RUN mkdir /gone && echo again > /gone/x && mv /hard /soft
RUN rm -rf /gone /empty && rm /text && mkdir /text && echo > /text/inside
RUN rm -rf /text && mkdir -p /text/deep && rmdir /text/deep
"#;

#[test]
fn odd_layers_have_dive_s_numbers() {
    let dive = dive();
    need!(
        dive.is_some() && bases::busybox().is_some(),
        "this needs dive (scripts/test.sh fetches it) and busybox-static"
    );
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let context = env.context("ctx", &[("Dockerfile", ODD), ("text", "other\n")]);
    env.build(&context, &["-t", "odd:1"]);
    compare(dive.as_ref().unwrap(), &env, "odd:1");
}

/// An image whose second layer holds the files of the first again.
fn wasteful() -> Option<TestEnv> {
    let env = TestEnv::new();
    env.import(bases::busybox()?, "busybox");
    let dockerfile = "FROM busybox\n\
        RUN mkdir /srv && head -c 300000 /dev/urandom > /srv/data && cp /srv/data /srv/copy\n\
        RUN chown 7:7 /srv/data\n\
        RUN rm /srv/copy\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    env.build(&context, &["-t", "app:1"]);
    Some(env)
}

#[test]
fn what_is_wasted_is_told_with_its_instruction() {
    let env = wasteful();
    need!(env.is_some(), "this needs busybox-static");
    let env = env.unwrap();
    let run = env.rbuild(["analyze", "app:1"]).ok();
    for line in [
        "Layer 2  300kB  ",
        "  repeats 1 file (300kB)\n",
        "  not shown    600kB are in layers, but not in the image\n",
        "repeated by layer 2: RUN chown 7:7 /srv/data\n",
        "removed by layer 3: RUN rm /srv/copy\n",
        "  layer 2: 1 file (300kB), with another owner\n    RUN chown 7:7 /srv/data\n",
    ] {
        assert!(run.stdout.contains(line), "{line:?}: {}", run.report());
    }
    let listing = env.rbuild(["analyze", "--layer=2", "app:1"]).ok();
    let row = listing.stdout.lines().find(|line| line.starts_with('M'));
    let words: Vec<_> = row.unwrap().split_whitespace().collect();
    assert_eq!(words, ["M", "-rw-r--r--", "7:7", "300kB", "/srv/data"]);
    env.rbuild(["analyze", "--layer=4", "app:1"])
        .fails(1)
        .says("the layers are 0 (the base) to 3");
}

#[test]
fn images_fail_their_limits() {
    let env = wasteful();
    need!(env.is_some(), "this needs busybox-static");
    let env = env.unwrap();
    let end = |run: &Run| {
        let last = run.stdout.lines().last().unwrap_or_default();
        last.split(' ').next().unwrap().to_owned()
    };
    let run = |args: &[&str]| env.rbuild([&["analyze"], args, &["app:1"]].concat());
    let failed = run(&["--ci"]);
    assert_eq!((failed.code, &*end(&failed)), (Some(1), "Result:FAIL"));
    let rules = [
        "  FAIL: highestUserWastedPercent: too many bytes wasted",
        "  SKIP: highestWastedBytes: rule disabled\n",
        "  FAIL: lowestEfficiency: image efficiency is too low",
    ];
    assert!(
        rules.iter().all(|rule| failed.stdout.contains(rule)),
        "{}",
        failed.report()
    );
    let lenient = [
        "--lowestEfficiency=0.5",
        "--highest-user-wasted-percent=off",
    ];
    let passed = run(&[&["--ci", "--highestWastedBytes=2MB"], &lenient[..]].concat()).ok();
    assert_eq!(end(&passed), "Result:PASS");
    assert!(!run(&lenient).ok().stdout.contains("Result:"));

    // dive's variable and its file; options count more than the file.
    fs_err::write(
        env.out(".dive-ci"),
        "rules:\n  lowestEfficiency: 0.5\n  highestUserWastedPercent: disabled\n",
    )
    .unwrap();
    let in_ci = |args: &[&str]| {
        let mut command = env.command();
        Run::of(
            command
                .env("CI", "true")
                .arg("analyze")
                .args(args)
                .arg("app:1"),
        )
    };
    assert_eq!(end(&in_ci(&[]).ok()), "Result:PASS");
    assert_eq!(in_ci(&["--highest-wasted-bytes", "1kB"]).code, Some(1));
    assert!(!in_ci(&["--ci=false"]).ok().stdout.contains("Result:"));
    let json = in_ci(&["--format=json"]).ok();
    assert_eq!(parse(&json.stdout)["ci"]["pass"], true);
    fs_err::write(env.out(".dive-ci"), "rules:\n  speed: 1\n").unwrap();
    in_ci(&[]).fails(1).says("line 2: there is no such rule");
    run(&["--ci", "--ci-config=nowhere"])
        .fails(1)
        .says("nowhere");
    run(&["--ci", "--lowest-efficiency=2"]).fails(1);
}

#[test]
fn names_of_files_reach_no_terminal() {
    need!(bases::busybox().is_some(), "this needs busybox-static");
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let dockerfile = "FROM busybox\nRUN printf x > \"$(printf '/a\\033[2J\\nb')\"\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    env.build(&context, &["-t", "evil"]);
    for args in [&["analyze", "evil"][..], &["analyze", "--layer=1", "evil"]] {
        let run = env.rbuild(args).ok();
        assert!(
            run.stdout.contains("/a\\u{1b}[2J\\nb\n"),
            "{}",
            run.report()
        );
        assert!(!run.stdout.contains('\u{1b}'), "{}", run.report());
    }
}

/// What was loaded is read once, and nothing is unpacked.
#[test]
fn loaded_images_are_not_unpacked() {
    let here = wasteful();
    need!(here.is_some(), "this needs busybox-static");
    let here = here.unwrap();
    let tar = here.out("app.tar");
    here.rbuild(["save", "-o", tar.to_str().unwrap(), "app:1"])
        .ok();
    let there = TestEnv::new();
    there.rbuild(["load", "-i", tar.to_str().unwrap()]).ok();
    let name = |env: &TestEnv| {
        let found = env.rbuild(["analyze", "--format=json", "app:1"]).ok();
        parse(&found.stdout)
    };
    assert_eq!(name(&there), name(&here));
    for layer in fs_err::read_dir(there.store().join("layers")).unwrap() {
        let layer = layer.unwrap().path();
        assert!(layer.join("index").is_file(), "{}", layer.display());
        assert!(!layer.join("tree").exists(), "{}", layer.display());
    }
    let json = there.out("found.json");
    there
        .rbuild(["analyze", "--json", json.to_str().unwrap(), "app:1"])
        .ok();
    assert_eq!(parse(&fs_err::read_to_string(json).unwrap()), name(&here));
}

#[test]
fn images_are_compared() {
    need!(bases::busybox().is_some(), "this needs busybox-static");
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let build = |tag: &str, lines: &str| {
        let dockerfile = format!("FROM busybox\n{lines}");
        let context = env.context(tag, &[("Dockerfile", &dockerfile), ("f", "text\n")]);
        env.build(&context, &["-t", &format!("app:{tag}")]);
    };
    build(
        "1",
        "COPY f /same\nCOPY f /moded\nCOPY f /gone\nENV A=1 B=2\nCMD [\"x\"]\n",
    );
    build(
        "2",
        "COPY --chown=3:4 f /new\nCOPY f /same\nCOPY --chmod=600 f /moded\nENV A=1 B=3\n\
         RUN echo more >> /etc/passwd\nLABEL l=v\n",
    );
    let run = env.rbuild(["diff", "app:1", "app:2"]).ok();
    for line in [
        "  D Cmd: [\"x\"]\n",
        "  C Env B: \"2\" -> \"3\"\n",
        "  A Labels l: \"v\"\n",
        "RUN echo more >> /etc/passwd\n",
        "Files: 1 added, 1 removed, 2 changed\n",
    ] {
        assert!(run.stdout.contains(line), "{line:?}: {}", run.report());
    }
    let words = |end: &str| -> Vec<&str> {
        let mut lines = run.stdout.lines().filter(|line| !line.starts_with(' '));
        let line = lines.find(|line| line.ends_with(end));
        line.unwrap().split_whitespace().collect()
    };
    assert_eq!(words("/new"), ["A", "-rw-r--r--", "3:4", "5B", "/new"]);
    assert_eq!(
        words("/moded"),
        ["C", "-rw-r--r--", "->", "-rw-------", "0:0", "5B", "/moded"]
    );
    let names = env.rbuild(["diff", "--name-only", "app:1", "app:2"]).ok();
    assert_eq!(names.out(), "/etc/passwd\n/gone\n/moded\n/new");

    let found = env.rbuild(["diff", "--format=json", "--files", "app:1", "app:2"]);
    let found = parse(&found.ok().stdout);
    assert!(found.get("config").is_none());
    assert_eq!(found["files"][0]["path"], "/etc/passwd");
    assert_eq!(found["files"][0]["what"], serde_json::json!(["content"]));
    assert_eq!(found["files"][3]["after"]["uid"], 3);

    let code = |args: &[&str]| env.rbuild([&["diff", "--exit-code"], args].concat()).code;
    assert_eq!(code(&["app:1", "app:2"]), Some(1));
    assert_eq!(code(&["app:1", "app:1"]), Some(0));
    env.rbuild(["diff", "app:1", "app:3"]).fails(1);
}

/// Also two platforms of one image.
#[test]
fn platforms_are_compared() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\nCOPY both /\n";
    let files = [
        ("Dockerfile", dockerfile),
        ("amd64", "a\n"),
        ("arm64", "aa\n"),
        ("both", "b\n"),
    ];
    let context = env.context("ctx", &files);
    let both = "--platform=linux/amd64,linux/arm64";
    env.rbuild(["build", both, "-t", "multi", context.to_str().unwrap()])
        .ok();
    let run = env.rbuild(["diff", both, "multi", "multi"]).ok();
    assert!(
        run.stdout
            .contains("  C Architecture: \"amd64\" -> \"arm64\"\n"),
        "{}",
        run.report()
    );
    assert!(
        run.stdout
            .contains("Files: 0 added, 0 removed, 1 changed\n")
    );
    let arm = env.rbuild(["analyze", "--platform=arm64", "multi"]).ok();
    assert!(
        arm.stdout.starts_with("multi  linux/arm64"),
        "{}",
        arm.report()
    );
    assert!(
        arm.stdout.contains("  size         5B in 2 layers"),
        "{}",
        arm.report()
    );
    env.rbuild(["analyze", "--platform=linux/s390x", "multi"])
        .fails(1)
        .says("there is one for linux/amd64, linux/arm64");
}

/// Archives and layouts are looked into without being loaded.
#[test]
fn images_in_files_are_looked_into() {
    let env = TestEnv::new();
    let [base, app, _] = recorded_images(RECORDED_HOST);
    for image in [&base, &app] {
        image.load(&env);
    }
    let [one, both] = ["one.tar", "both.tar"].map(|name| env.out(name).display().to_string());
    env.rbuild(["save", "-o", &one, "app:1"]).ok();
    env.rbuild(["save", "-o", &both, "app:1", "base:1"]).ok();
    let layout = env.out("layout").display().to_string();
    let file = fs_err::File::open(&one).unwrap();
    tar::Archive::new(file).unpack(&layout).unwrap();

    let other = TestEnv::new();
    let figures = |env: &TestEnv, name: &str| {
        let run = env.rbuild(["analyze", "--format=json", name]).ok();
        let mut document = parse(&run.stdout);
        assert_eq!(document["image"]["name"], name);
        document["image"]["name"].take();
        document
    };
    let expected = figures(&env, "app:1");
    for name in [
        format!("docker-archive://{one}"),
        format!("docker-archive:{one}"),
        format!("oci-archive:{one}"),
        format!("oci:{layout}"),
        one.clone(),
        layout,
        format!("docker-archive:{both}:app:1"),
    ] {
        assert_eq!(figures(&other, &name), expected, "{name}");
    }
    other
        .rbuild(["analyze", &both])
        .fails(1)
        .says("holds several images")
        .says("base:1");
    other
        .rbuild(["analyze", &format!("docker-archive:{both}:nobody")])
        .fails(1)
        .says("does not hold nobody");
    other
        .rbuild(["analyze", "--platform=linux/s390x", &one])
        .fails(1)
        .says("linux/amd64");
    other
        .rbuild(["analyze", "./nothing.tar"])
        .fails(1)
        .says("nothing.tar");
    let base = format!("docker-archive:{both}:base:1");
    let run = other.rbuild(["diff", "--name-only", &base, &one]).ok();
    assert_eq!(run.stdout, "/file1\n/file2\n/file3\n", "{}", run.report());
    // Nothing of it stays.
    assert_eq!(other.rbuild(["images", "-aq"]).ok().stdout, "");
    let left = fs_err::read_dir(other.path("store/tmp")).unwrap().count();
    assert_eq!(left, 0);
}
