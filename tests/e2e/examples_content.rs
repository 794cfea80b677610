//! What stands in the images of the examples.

use serde_json::json;

use crate::examples::{NEEDS, built, shared_env};
use crate::support::image::{Image, architecture};
use crate::support::registry::Registry;
use crate::support::run::Run;
use crate::support::tree::Kind;
use crate::support::{example, need};

#[test]
fn hello() {
    let image = built("hello");
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    let machine = rustix::system::uname();
    let machine = machine.machine().to_str().unwrap();
    let expected = format!("Hello from a Dockerfile.\nbuilt on {machine}\n");
    assert_eq!(image.text("etc/greeting"), expected);
    assert_eq!(*image.setting("Cmd"), json!(["cat", "/etc/greeting"]));
}

#[test]
fn web_app() {
    let image = built("web-app");
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    let page = image.text("var/www/index.html");
    let bundle = page
        .split('"')
        .find(|part| part.starts_with("bundle-"))
        .unwrap();
    let script = image.text(&format!("var/www/{bundle}"));
    assert!(
        script.contains("leftPad") && script.contains("routes"),
        "{script}"
    );
    assert_eq!(
        (
            image.node("var/www/index.html").uid,
            image.node("var/www/index.html").gid
        ),
        (33, 33)
    );
    assert_eq!(*image.setting("User"), json!("www-data"));
    assert_eq!(*image.setting("WorkingDir"), json!("/var/www"));
    assert_eq!(*image.setting("ExposedPorts"), json!({"8080/tcp": {}}));
    assert_eq!(*image.setting("StopSignal"), json!("SIGINT"));
    assert_eq!(
        *image.setting("Cmd"),
        json!(["/bin/sh", "-c", "httpd -f -p $PORT -h /var/www"])
    );
    assert!(!image.has("app"), "the build stages stay behind");
}

#[test]
fn heredocs() {
    let image = built("heredocs");
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    assert_eq!(image.text("srv/app/etc/names"), "one\ntwo\nthree\n");
    assert_eq!(image.text("srv/app/etc/squares"), "1\n4\n9\n");
    assert_eq!(
        image.text("srv/app/etc/shouted"),
        "TABS IN FRONT ARE\nTAKEN AWAY\n"
    );
    assert_eq!(
        image.text("srv/app/etc/app.conf"),
        "port = 8080\nhome = /srv/app\nfallback = none\n"
    );
    assert!(
        image
            .text("srv/app/etc/start.sh")
            .contains("\"${PORT:-8080}\" -h \"$APP_HOME\"")
    );
    assert_eq!(image.node("srv/app/etc/start.sh").mode, 0o644);
    assert_eq!(image.node("srv/app/bin/hello").mode, 0o755);
    assert_eq!(
        image.text("srv/app/bin/hello"),
        "#!/bin/sh\necho \"Hello, ${1:-world}\"\n"
    );
}

#[test]
fn production() {
    let image = built("production");
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    let labels = image.setting("Labels");
    assert_eq!(labels["org.opencontainers.image.version"], "0.0.0-dev");
    assert_eq!(labels.as_object().unwrap().len(), 5);
    assert_eq!(*image.setting("User"), json!("10001:10001"));
    assert_eq!(
        *image.setting("ExposedPorts"),
        json!({"9090/tcp": {}, "9125/udp": {}})
    );
    assert_eq!(*image.setting("Volumes"), json!({"/var/lib/ticker": {}}));
    assert_eq!(
        *image.setting("Healthcheck"),
        json!({
            "Test": ["CMD-SHELL", "test -s \"$TICKER_STATE\""],
            "Interval": 10_000_000_000_u64,
            "Timeout": 2_000_000_000_u64,
            "StartPeriod": 5_000_000_000_u64,
            "Retries": 5,
        })
    );
    assert_eq!(
        *image.setting("Entrypoint"),
        json!(["/usr/bin/entrypoint.sh"])
    );
    assert_eq!(
        *image.setting("Cmd"),
        json!(["/usr/bin/ticker.sh", "--interval", "1"])
    );
    let state = image.node("var/lib/ticker");
    assert_eq!((state.mode, state.uid, state.gid), (0o750, 10001, 10001));
    let config = image.node("etc/ticker/ticker.conf");
    assert_eq!((config.mode, config.uid, config.gid), (0o640, 10001, 10001));
    assert_eq!(image.node("usr/bin/ticker.sh").mode, 0o755);
}

#[test]
fn archive() {
    let image = built("archive");
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    assert_eq!(
        image.node("srv/current").kind,
        Kind::Symlink("v2".to_owned())
    );
    assert_eq!(image.text("srv/v1/index.html"), "<h1>version 1</h1>\n");
    // A hard link inside the archive.
    assert_eq!(
        image.node("srv/v2/start.html"),
        image.node("srv/v2/index.html")
    );
    let run = image.node("srv/plugins/search/run");
    assert_eq!((run.mode, run.uid, run.mtime), (0o755, 1000, 1_735_689_600));
    // COPY leaves an archive alone, ADD leaves a text alone.
    let packed = fs_err::read(example("archive").join("site.tar.gz")).unwrap();
    let Kind::File { size, .. } = image.node("usr/share/sources/site.tar.gz").kind else {
        panic!("not a file");
    };
    assert_eq!(size, packed.len() as u64);
    assert_eq!(
        image.text("srv/notes.txt"),
        "A file that is no archive is copied.\n"
    );
}

#[test]
fn fan_out() {
    let image = built("fan-out");
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    assert!(image.text("usr/bin/main.sh").contains("this is fan-out"));
    assert!(image.has("usr/share/fan-out/assets/a.txt.gz"));
    assert!(image.has("usr/share/fan-out/assets/b.txt.gz"));
    assert_eq!(
        image.text("usr/share/fan-out/manual.md"),
        "# Manual\n\nThere is nothing to know.\n"
    );
    assert_eq!(
        image.text("usr/share/fan-out/SHA256SUMS").lines().count(),
        5
    );
    assert_eq!(image.text("usr/share/fan-out/origin"), "base\n");
    assert!(!image.has("work") && !image.has("out"));
}

#[test]
fn targets() {
    let release = built("targets");
    need!(release.is_some(), "{NEEDS}");
    let release = release.unwrap();
    assert_eq!(release.text("opt/tool/result"), "passed\n");
    assert_eq!(
        *release.setting("Entrypoint"),
        json!(["/bin/sh", "-eu", "-c", "tool"])
    );
    assert_eq!(*release.setting("Shell"), json!(["/bin/sh", "-eu", "-c"]));
    assert_eq!(release.node("opt/tool/tool.sh").mode, 0o755);

    let env = shared_env().unwrap();
    let args = [
        "-f",
        "Dockerfile.prod",
        "--target",
        "dev",
        "--build-arg",
        "FLAVOUR=spicy",
    ];
    let mut command = env.command();
    command
        .current_dir(example("targets"))
        .args(args)
        .args(["-t", "targets:dev", "."]);
    Run::of(&mut command).ok();
    let dev = env.image("targets:dev");
    assert!(!dev.has("opt/tool/result"), "dev needs no test stage");
    let env = dev.setting("Env").to_string();
    assert!(
        env.contains("FLAVOUR=spicy") && env.contains("DEBUG=1"),
        "{env}"
    );
}

#[test]
fn python_app() {
    let image = built("python-app");
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    assert_eq!(*image.setting("User"), json!("app"));
    assert_eq!(
        *image.setting("Entrypoint"),
        json!(["python3", "-m", "server"])
    );
    let server = image.node("srv/app/server.py");
    assert_eq!((server.uid, server.gid), (900, 900));
    assert!(image.has("usr/bin/python3"));
    assert!(image.has("usr/share/app/tests-passed"));
    assert!(image.text("etc/passwd").contains("app:x:900:900:"));
    assert!(
        !image.has("srv/app/Dockerfile"),
        ".dockerignore keeps the Dockerfile out"
    );
}

#[test]
fn c_static() {
    let image = built("c-static");
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    assert_eq!(image.tree.len(), 1, "one file: {:?}", image.tree.keys());
    assert_eq!(image.node("wordcount").mode, 0o755);
    assert_eq!(*image.setting("Entrypoint"), json!(["/wordcount"]));
    assert_eq!(image.layers.len(), 1);
}

#[test]
fn static_multiarch() {
    let native = built("static-multiarch");
    need!(native.is_some(), "{NEEDS}");
    let native = native.unwrap();
    assert_eq!(native.config["architecture"], architecture());
    assert_eq!(
        native.setting("Labels")["org.opencontainers.image.version"],
        "1.0.0"
    );
    assert!(matches!(
        native.node("usr/bin/agent").kind,
        Kind::File { .. }
    ));
}

/// Two platforms in one build: an index with two images whose files differ.
#[test]
fn static_multiarch_for_two_platforms() {
    let env = shared_env();
    let debian = Registry::shared().is_some_and(Registry::add_debian);
    need!(
        env.is_some() && debian && architecture() == "amd64",
        "{NEEDS}"
    );
    let env = env.unwrap();
    let tar = env.out("two.tar");
    let mut command = env.command();
    command
        .current_dir(example("static-multiarch"))
        .args(["-f", "Dockerfile.prod"])
        .args([
            "--platform=linux/amd64,linux/arm64",
            "-o",
            &format!("type=oci,dest={}", tar.display()),
            ".",
        ]);
    Run::of(&mut command).ok();
    let images = Image::all_from_archive(&tar);
    let platforms: Vec<_> = images
        .iter()
        .map(|image| image.config["architecture"].clone())
        .collect();
    assert_eq!(platforms, [json!("amd64"), json!("arm64")]);
    let agents: Vec<_> = images
        .iter()
        .map(|image| image.node("usr/bin/agent").summary())
        .collect();
    assert_ne!(agents[0], agents[1]);
}

#[test]
fn emulated_natively() {
    let image = built("emulated");
    need!(image.is_some(), "{NEEDS}");
    let image = image.unwrap();
    let machine = rustix::system::uname();
    let machine = machine.machine().to_str().unwrap();
    let report = image.text("srv/report/machine.txt");
    assert!(
        report.starts_with(&format!("machine: {machine}\n")),
        "{report}"
    );
    assert_eq!(image.node("srv/report/machine.txt").uid, 1500);
}
