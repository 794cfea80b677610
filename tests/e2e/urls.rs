//! `ADD` of URLs.

use std::process::Command;

use crate::support::TestEnv;
use crate::support::image::Image;
use crate::support::run::Run;
use crate::support::web::{Asked, Web};

const OLD: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const OLD_SECONDS: u64 = 1_700_000_000;
const LATER: &str = "Tue, 14 Nov 2023 23:13:20 GMT";

fn command(env: &TestEnv, dockerfile: &str) -> Command {
    let context = env.context("ctx", &[("Dockerfile", dockerfile), ("file.txt", "text\n")]);
    let mut command = env.command();
    let dest = format!("type=oci,dest={}", env.out("image.tar").display());
    command.args(["build", "--progress=plain", "-o", &dest]);
    command.arg(&context);
    command
}

fn build(env: &TestEnv, dockerfile: &str) -> (Image, Run) {
    let run = Run::of(&mut command(env, dockerfile)).ok();
    (Image::from_archive(&env.out("image.tar")), run)
}

fn refused(env: &TestEnv, dockerfile: &str) -> Run {
    Run::of(&mut command(env, dockerfile)).fails(1)
}

fn requests(asked: &[Asked]) -> Vec<(&str, u16)> {
    let one = |asked: &Asked| (asked.method.clone(), asked.status);
    let all: Vec<_> = asked.iter().map(one).collect();
    all.into_iter()
        .map(|(method, status)| (if method == "HEAD" { "HEAD" } else { "GET" }, status))
        .collect()
}

/// Tells whether any file below a folder holds a text.
fn holds(folder: &std::path::Path, text: &str) -> bool {
    let output = Command::new("grep")
        .args(["-rlF", text])
        .arg(folder)
        .output()
        .unwrap();
    !output.stdout.is_empty()
}

#[test]
fn a_file_has_its_name_mode_and_time() {
    let (env, web) = (TestEnv::new(), Web::start());
    web.put("/a/file.txt?v=1", "one", &[("Last-Modified", OLD)]);
    web.put(
        "/",
        "two",
        &[("Content-Disposition", "attachment; filename=../evil")],
    );
    web.put("/d/", "three", &[]);
    let base = web.url("");
    let dockerfile = format!(
        "FROM scratch\nADD {base}/a/file.txt?v=1 {base} {base}/d/ /x/\n\
         ADD --chmod=755 --chown=3:4 {base}/d/ /y\n"
    );
    let (image, _) = build(&env, &dockerfile);
    let file = image.node("x/file.txt");
    assert_eq!(
        (file.mode, file.uid, file.gid, file.mtime),
        (0o600, 0, 0, OLD_SECONDS)
    );
    assert_eq!(image.text("x/file.txt"), "one");
    assert_eq!(image.text("x/__unnamed__"), "two");
    assert_eq!(image.node("x/__unnamed__").mtime, 0);
    assert_eq!(image.text("x/d"), "three");
    let file = image.node("y");
    assert_eq!((file.mode, file.uid, file.gid), (0o755, 3, 4));
    assert_eq!(
        requests(&web.take_asked()).len(),
        3,
        "a URL is asked for once a build"
    );
}

#[test]
fn what_has_not_changed_is_not_fetched_again() {
    let (env, web) = (TestEnv::new(), Web::start());
    let dockerfile = format!("FROM scratch\nADD {} /\n", web.url("/f"));
    let get = ("GET", 200);
    for (first, second, expected) in [
        // By its tag.
        (
            vec![("ETag", "\"1\"")],
            vec![("ETag", "\"1\"")],
            vec![("GET", 304)],
        ),
        // By its time, which must be older than the clock's grain.
        (
            vec![("Last-Modified", OLD), ("Date", LATER)],
            vec![("Last-Modified", OLD), ("Date", LATER)],
            vec![("HEAD", 200)],
        ),
        (
            vec![("Last-Modified", OLD), ("Date", OLD)],
            vec![("Last-Modified", OLD), ("Date", LATER)],
            vec![get],
        ),
        // An older file may take the place of a newer one.
        (
            vec![
                ("Last-Modified", LATER),
                ("Date", "Tue, 14 Nov 2023 23:14:20 GMT"),
            ],
            vec![("Last-Modified", OLD), ("Date", LATER)],
            vec![("HEAD", 200), get],
        ),
        // There is no way to know.
        (vec![], vec![], vec![get]),
    ] {
        web.put("/f", "one", &first);
        build(&env, &dockerfile);
        assert!(requests(&web.take_asked()).contains(&get), "{first:?}");
        web.put("/f", "one", &second);
        let (image, _) = build(&env, &dockerfile);
        assert_eq!(
            requests(&web.take_asked()),
            expected,
            "{first:?} {second:?}"
        );
        assert_eq!(image.text("f"), "one");
        // The next round starts with nothing known.
        fs_err::remove_dir_all(env.store().join("remote")).unwrap();
    }
    web.put("/f", "one", &[("ETag", "\"1\"")]);
    build(&env, &dockerfile);
    web.put("/f", "two", &[("ETag", "\"2\"")]);
    let (image, run) = build(&env, &dockerfile);
    assert_eq!(image.text("f"), "two");
    assert!(!run.stderr.contains("CACHED"), "{}", run.report());
}

#[test]
fn the_content_counts_and_not_the_url() {
    let (env, web) = (TestEnv::new(), Web::start());
    for path in ["/a/f", "/b/f", "/b/g"] {
        web.put(path, "same", &[("Last-Modified", OLD)]);
    }
    let dockerfile = |path: &str| format!("FROM scratch\nADD {} /x/\n", web.url(path));
    build(&env, &dockerfile("/a/f"));
    let (_, run) = build(&env, &dockerfile("/b/f"));
    assert!(run.stderr.contains("CACHED"), "{}", run.report());
    let (image, run) = build(&env, &dockerfile("/b/g"));
    assert!(!run.stderr.contains("CACHED"), "{}", run.report());
    assert_eq!(image.text("x/g"), "same");
    web.put("/b/g", "same", &[("Last-Modified", LATER)]);
    let (image, _) = build(&env, &dockerfile("/b/g"));
    assert_eq!(image.node("x/g").mtime, OLD_SECONDS + 3600);
}

#[test]
fn checksums() {
    let (env, web) = (TestEnv::new(), Web::start());
    web.put("/f", "hello", &[]);
    let right = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let url = web.url("/f");
    let dockerfile =
        |checksum: &str| format!("FROM scratch\nADD --checksum=sha256:{checksum} {url} /f\n");
    refused(&env, &dockerfile(&"0".repeat(64)))
        .says("digest mismatch")
        .says(right);
    build(&env, &dockerfile(right));
    web.take_asked();
    let (image, _) = build(&env, &dockerfile(right));
    assert_eq!(image.text("f"), "hello");
    assert!(web.take_asked().is_empty(), "nobody need be asked");
    // What is in the store does not make another checksum right.
    refused(&env, &dockerfile(&"0".repeat(64))).says("digest mismatch");
}

#[test]
fn damaged_bodies_are_fetched_again() {
    let (env, web) = (TestEnv::new(), Web::start());
    web.put("/f", "hello", &[("ETag", "\"1\"")]);
    let url = web.url("/f");
    build(&env, &format!("FROM scratch\nADD {url} /a/\n"));
    let blob = "blobs/sha256/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let blob = env.store().join(blob);
    fs_err::remove_file(&blob).unwrap();
    fs_err::write(&blob, "hellO").unwrap();
    let (image, _) = build(&env, &format!("FROM scratch\nADD {url} /b/\n"));
    assert_eq!(image.text("b/f"), "hello");
    fs_err::remove_file(&blob).unwrap();
    let (image, _) = build(&env, &format!("FROM scratch\nADD {url} /c/\n"));
    assert_eq!(image.text("c/f"), "hello");
}

#[test]
fn archives_are_unpacked_on_demand() {
    let (env, web) = (TestEnv::new(), Web::start());
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o640);
    tar.append_data(&mut header, "d/inner", &b"inner"[..])
        .unwrap();
    let plain = tar.into_inner().unwrap();
    web.put("/a.tar", plain.clone(), &[]);
    web.put("/a.tar.zst", zstd::encode_all(&plain[..], 0).unwrap(), &[]);
    web.put("/text", "text", &[]);
    let base = web.url("");
    let (image, _) = build(
        &env,
        &format!(
            "FROM scratch\nADD {base}/a.tar /whole/\nADD --unpack {base}/a.tar /plain/\n\
             ADD --unpack=true {base}/a.tar.zst {base}/text /zstd/\n"
        ),
    );
    assert!(image.has("whole/a.tar"));
    assert_eq!(image.text("plain/d/inner"), "inner");
    assert_eq!(image.node("plain/d/inner").mode, 0o640);
    assert_eq!(image.text("zstd/d/inner"), "inner");
    assert_eq!(image.text("zstd/text"), "text");
}

#[test]
fn servers_that_fail_are_asked_again() {
    let (env, web) = (TestEnv::new(), Web::start());
    web.put("/f", "hello", &[]);
    web.fail("/f", 1);
    let (image, _) = build(&env, &format!("FROM scratch\nADD {} /\n", web.url("/f")));
    assert_eq!(image.text("f"), "hello");
    assert_eq!(requests(&web.take_asked()), [("GET", 503), ("GET", 200)]);
    let run = refused(
        &env,
        &format!("FROM scratch\nADD {} /\n", web.url("/missing")),
    )
    .says("invalid response status 404")
    .says("/missing");
    assert!(run.stderr.contains("Dockerfile:2"), "{}", run.report());
    assert_eq!(web.take_asked().len(), 1);
}

#[test]
fn redirects_lead_to_web_servers_only() {
    let (env, web) = (TestEnv::new(), Web::start());
    let other = Web::start();
    other.put("/real", "hello", &[]);
    let secret = env.path("secret");
    fs_err::write(&secret, "canary").unwrap();
    let to = |target: &str| web.put_page("/f", 302, "", &[("Location", target)]);
    to(&other.url("/real"));
    let dockerfile = format!("FROM scratch\nADD http://me:hunter2@{}/f /\n", web.address);
    let (image, _) = build(&env, &dockerfile);
    assert_eq!(image.text("f"), "hello");
    let asked = other.take_asked();
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].headers.contains_key("authorization"));
    for target in [format!("file://{}", secret.display()), web.url("/f")] {
        to(&target);
        refused(&env, &dockerfile).says("redirects to");
    }
}

#[test]
fn passwords_of_urls_are_sent_and_kept_nowhere() {
    let (env, web) = (TestEnv::new(), Web::start());
    web.put("/f", "hello", &[]);
    web.want("Basic bWU6aHVudGVyMg==");
    let url = format!("http://me:hunter2@{}", web.address);
    let (image, run) = build(&env, &format!("FROM scratch\nADD {url}/f /\n"));
    let told = format!("{}{}", run.report(), image.config);
    assert!(!told.contains("hunter2"), "{told}");
    let run = refused(
        &env,
        &format!("FROM scratch\nADD {url}/f {url}/missing /\n"),
    );
    let shown = run.stderr.replace(&run.line, "");
    assert!(!shown.contains("hunter2"), "{shown}");
    for secret in ["hunter2", "bWU6aHVudGVyMg"] {
        assert!(!holds(&env.store(), secret), "{secret} is in the store");
        assert!(!holds(&env.path("out"), secret), "{secret} is in the image");
    }
}

#[test]
fn secrets_open_servers() {
    let (env, web) = (TestEnv::new(), Web::start());
    web.put("/f", "hello", &[]);
    web.want("Bearer hunter2");
    let dockerfile = format!("FROM scratch\nADD {} /\n", web.url("/f"));
    refused(&env, &dockerfile).says("401");
    let id = format!("id=HTTP_AUTH_TOKEN_{},env=TOKEN", web.address);
    let run = Run::of(
        command(&env, &dockerfile)
            .args(["--secret", &id])
            .env("TOKEN", "hunter2"),
    );
    assert_eq!(run.code, Some(0), "{}", run.report());
    web.want("Digest whatever");
    let host = web.address.split(':').next().unwrap();
    let id = format!("id=HTTP_AUTH_HEADER_{host},env=HEADER");
    let run = Run::of(
        command(&env, &dockerfile)
            .args(["--secret", &id])
            .env("HEADER", "Digest whatever"),
    );
    assert_eq!(run.code, Some(0), "{}", run.report());
    assert!(!holds(&env.store(), "hunter2"));
}

#[test]
fn plans_do_not_ask() {
    let (env, web) = (TestEnv::new(), Web::start());
    let dockerfile = format!("FROM scratch\nADD http://me:hunter2@{}/f /\n", web.address);
    let context = env.context("ctx", &[("Dockerfile", &dockerfile)]);
    for format in ["text", "json"] {
        let run = Run::of(
            env.command()
                .args(["plan", "--format", format])
                .arg(&context),
        )
        .ok();
        assert!(!run.stdout.contains("hunter2"), "{}", run.report());
    }
    assert!(web.take_asked().is_empty());
}

/// With and without a length that the server announces.
#[test]
fn files_are_no_larger_than_is_allowed() {
    let env = TestEnv::new();
    let web = Web::start();
    web.put("/f", vec![b'x'; 2000], &[]);
    let dockerfile = format!("FROM scratch\nADD {} /\n", web.url("/f"));
    for (most, is_fine) in [("1999", false), ("2000", true)] {
        let mut command = command(&env, &dockerfile);
        let run = Run::of(command.env("RBUILD_MAX_DOWNLOAD", most));
        if is_fine {
            run.ok();
        } else {
            run.fails(1).says("is larger than the 1999 bytes");
        }
    }
    let mut command = command(&env, &dockerfile);
    Run::of(command.env("RBUILD_MAX_DOWNLOAD", "much"))
        .fails(1)
        .says("RBUILD_MAX_DOWNLOAD");
}
