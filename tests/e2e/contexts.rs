//! Build contexts that are no folders: archives and Dockerfiles on standard input and by URL.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::TestEnv;
use crate::support::image::Image;
use crate::support::run::Run;
use crate::support::web::Web;

const DOCKERFILE: &str = "FROM scratch\nCOPY . /c/\n";

/// A tar of files and links (texts that begin with `->`).
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        if let Some(target) = text.strip_prefix("->") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, path, target).unwrap();
        } else {
            header.set_size(text.len() as u64);
            // The builder itself would refuse what climbs.
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn plain() -> Vec<u8> {
    archive(&[
        ("Dockerfile", DOCKERFILE),
        ("other/Dockerfile", "FROM scratch\nCOPY f /other\n"),
        ("f", "text"),
        (".dockerignore", "f\n"),
    ])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn command(env: &TestEnv, args: &[&str]) -> Command {
    let dest = format!("type=oci,dest={}", env.out("image.tar").display());
    let mut command = env.command();
    command.args(["build", "-o", &dest]).args(args);
    command
}

/// Runs a build with this on its standard input.
fn piped(env: &TestEnv, args: &[&str], input: &[u8]) -> Run {
    let file = env.path("stdin");
    fs_err::write(&file, input).unwrap();
    let file = fs_err::File::open(&file).unwrap().into_parts().0;
    Run::of(command(env, args).stdin(Stdio::from(file)))
}

fn image(env: &TestEnv) -> Image {
    Image::from_archive(&env.out("image.tar"))
}

#[test]
fn archives_on_standard_input() {
    let env = TestEnv::new();
    let tar = plain();
    for input in [
        tar.clone(),
        gzip(&tar),
        zstd::encode_all(&tar[..], 0).unwrap(),
    ] {
        piped(&env, &["-"], &input).ok();
        let image = image(&env);
        assert_eq!(image.text("c/f"), "text", "ignore files do not count");
        assert_eq!(image.node("c/f").mtime, 1_700_000_000);
    }
    piped(&env, &["-f", "other/Dockerfile", "-"], &tar).ok();
    assert_eq!(image(&env).text("other"), "text");
    piped(&env, &["-f", "nope", "-"], &tar)
        .fails(1)
        .says("nope");
    assert_eq!(
        fs_err::read_dir(env.store().join("tmp")).unwrap().count(),
        0,
        "unpacked contexts are removed"
    );
}

#[test]
fn a_dockerfile_on_standard_input() {
    let env = TestEnv::new();
    piped(&env, &["-"], b"FROM scratch\nLABEL a=b\n").ok();
    piped(&env, &["-f", "x", "-"], b"FROM scratch\n")
        .fails(1)
        .says("ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles");
    piped(&env, &["-f", "-", "-"], b"FROM scratch\n")
        .fails(1)
        .says("can't use stdin for both build context and dockerfile");
    let context = env.context("ctx", &[("f", "text")]);
    let context = context.to_str().unwrap();
    piped(&env, &["-f", "-", context], DOCKERFILE.as_bytes()).ok();
    assert_eq!(image(&env).text("c/f"), "text");
}

#[test]
fn archives_and_dockerfiles_by_url() {
    let (env, web) = (TestEnv::new(), Web::start());
    web.put("/c.tar.gz", gzip(&plain()), &[("ETag", "\"1\"")]);
    for _ in 0..2 {
        Run::of(&mut command(&env, &[&web.url("/c.tar.gz")])).ok();
        assert_eq!(image(&env).text("c/f"), "text");
    }
    let statuses: Vec<u16> = web.take_asked().iter().map(|asked| asked.status).collect();
    assert_eq!(statuses, [200, 304]);
    Run::of(&mut command(
        &env,
        &["-f", "other/Dockerfile", &web.url("/c.tar.gz")],
    ))
    .ok();
    assert_eq!(image(&env).text("other"), "text");

    web.put("/Containerfile", DOCKERFILE, &[]);
    Run::of(&mut command(&env, &[&web.url("/Containerfile")])).ok();
    assert_eq!(image(&env).text("c/context"), DOCKERFILE);
    let context = env.context("ctx", &[("g", "text")]);
    let context = context.to_str().unwrap();
    Run::of(&mut command(
        &env,
        &["-f", &web.url("/Containerfile"), context],
    ))
    .ok();
    assert_eq!(image(&env).text("c/g"), "text");
    Run::of(&mut command(&env, &[&web.url("/nope")]))
        .fails(1)
        .says("unable to prepare context")
        .says("invalid response status 404");
}

#[test]
fn named_archives() {
    let (env, web) = (TestEnv::new(), Web::start());
    web.put("/c.tar", plain(), &[]);
    let dockerfile =
        "FROM named AS base\nFROM scratch\nCOPY --from=named f /a\nCOPY --from=base f /b\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let named = format!("named={}", web.url("/c.tar"));
    let args = ["--build-context", &named, context.to_str().unwrap()];
    Run::of(&mut command(&env, &args)).ok();
    assert_eq!(image(&env).text("a"), "text");
    assert_eq!(image(&env).text("b"), "text");
    for value in ["ftp://x/y", "target:x", "nowhere"] {
        let named = format!("named={value}");
        let args = ["--build-context", &named, context.to_str().unwrap()];
        Run::of(&mut command(&env, &args)).fails(1).says(value);
    }
}

#[test]
fn archives_do_not_lead_out() {
    let env = TestEnv::new();
    let secret = env.path("secret");
    fs_err::write(&secret, "canary").unwrap();
    let link = format!("->{}", secret.display());
    piped(
        &env,
        &["-"],
        &archive(&[("../x", "x"), ("Dockerfile", DOCKERFILE)]),
    )
    .fails(1);
    let run = piped(&env, &["-"], &archive(&[("Dockerfile", &link)])).fails(1);
    assert!(!run.stderr.contains("canary"), "{}", run.report());
    let through = [("d", "->/tmp"), ("d/x", "x"), ("Dockerfile", DOCKERFILE)];
    piped(&env, &["-"], &archive(&through));
    assert!(!std::path::Path::new("/tmp/x").is_symlink());
    let copied = [("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", &link)];
    let run = piped(&env, &["-"], &archive(&copied)).fails(1);
    assert!(!run.stderr.contains("canary"), "{}", run.report());
    // Cut, and with a size that never comes.
    let whole = gzip(&plain());
    piped(&env, &["-"], &whole[..whole.len() / 2])
        .fails(1)
        .says("build context");
}

#[test]
fn a_context_that_is_nowhere() {
    let env = TestEnv::new();
    env.rbuild(["build", "nowhere"])
        .fails(1)
        .says("unable to prepare context: path \"nowhere\" not found");
}

#[test]
fn archives_are_no_larger_than_is_allowed() {
    let env = TestEnv::new();
    let zeros = "\0".repeat(3_000_000);
    let bomb = gzip(&archive(&[("Dockerfile", DOCKERFILE), ("f", &zeros)]));
    assert!(bomb.len() < 10_000);
    for (most, is_fine) in [("2MB", false), ("4MB", true)] {
        let file = env.path("stdin");
        fs_err::write(&file, &bomb).unwrap();
        let stdin = fs_err::File::open(&file).unwrap().into_parts().0;
        let mut command = command(&env, &["-"]);
        let run = Run::of(
            command
                .env("RBUILD_MAX_UNPACKED", most)
                .stdin(Stdio::from(stdin)),
        );
        if is_fine {
            run.ok();
        } else {
            run.fails(1).says("is larger than 2000000 bytes");
        }
    }
}
