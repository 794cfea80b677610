//! The commands on stored images.

use serde_json::{Value, json};

use crate::support::image::Image;
use crate::support::{TestEnv, bases, need};

/// A store with `app:1.0`: busybox, a file, settings.
fn with_app() -> Option<(TestEnv, String)> {
    let env = TestEnv::new();
    env.import(bases::busybox()?, "busybox");
    let dockerfile = "\
FROM busybox
LABEL kind=test
COPY file.txt /
ENV A=1
CMD [\"cat\", \"/file.txt\"]
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile), ("file.txt", "text\n")]);
    let id = env.build(&context, &["-t", "app:1.0"]);
    Some((env, id))
}

const NEEDS: &str = "this needs busybox-static";

#[test]
fn images_lists_names_and_ids() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, id) = app.unwrap();
    let short = &id["sha256:".len()..][..12];
    let table = env.rbuild(["images"]).ok();
    let row = table
        .stdout
        .lines()
        .find(|line| line.contains(short))
        .unwrap_or_default();
    assert!(
        row.contains("app") && row.contains("1.0"),
        "{}",
        table.report()
    );
    assert!(table.stdout.contains("busybox"), "{}", table.report());
    let quiet = env.rbuild(["images", "-q"]).ok();
    assert!(
        quiet.stdout.lines().any(|line| line == short),
        "{}",
        quiet.report()
    );
    let long = env.rbuild(["images", "-q", "--no-trunc"]).ok();
    assert!(
        long.stdout.lines().any(|line| line == id),
        "{}",
        long.report()
    );
    let one = env.rbuild(["images", "-q", "app"]).ok();
    assert_eq!(one.out(), short);
    assert_eq!(
        env.rbuild(["images", "-q", "nobody/has/this"]).ok().out(),
        ""
    );
}

#[test]
fn inspect_prints_dockers_json() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, id) = app.unwrap();
    for name in ["app:1.0", &id, &id[7..20]] {
        let run = env.rbuild(["inspect", name]).ok();
        let shown: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(shown[0]["Id"], json!(id), "{}", run.report());
        assert_eq!(shown[0]["Config"]["Labels"]["kind"], "test");
        assert_eq!(shown[0]["Config"]["Cmd"], json!(["cat", "/file.txt"]));
        assert_eq!(shown[0]["RootFS"]["Layers"].as_array().unwrap().len(), 2);
        assert_eq!(shown[0]["Os"], "linux");
    }
    env.rbuild(["inspect", "nothing:1"]).fails(1);
}

#[test]
fn history_tells_the_instructions() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, _) = app.unwrap();
    let run = env.rbuild(["history", "--no-trunc", "app:1.0"]).ok();
    let places: Vec<usize> = [
        "CMD [\"cat\" \"/file.txt\"]",
        "ENV A=1",
        "COPY file.txt /",
        "LABEL kind=test",
    ]
    .iter()
    .map(|text| {
        run.stdout
            .find(text)
            .unwrap_or_else(|| panic!("no {text}: {}", run.report()))
    })
    .collect();
    assert!(places.is_sorted(), "newest first: {}", run.report());
}

#[test]
fn tag_and_rmi() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, id) = app.unwrap();
    env.rbuild(["tag", "app:1.0", "example.com/team/app:2"])
        .ok();
    assert_eq!(env.image("example.com/team/app:2").id, id);
    env.rbuild(["rmi", "app:1.0"]).ok();
    env.rbuild(["inspect", "app:1.0"]).fails(1);
    // An image that still has a name stays.
    assert_eq!(env.image("example.com/team/app:2").id, id);
    env.rbuild(["rmi", "example.com/team/app:2"]).ok();
    env.rbuild(["inspect", &id]).fails(1);
    env.rbuild(["rmi", "app:1.0"]).fails(1);
    env.rbuild(["rmi", "-f", "app:1.0"]).ok();
    env.rbuild(["tag", "app:1.0", "again"]).fails(1);
    env.rbuild(["tag", "busybox", "Not A Name"]).fails(1);
}

#[test]
fn image_groups_the_commands() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, _) = app.unwrap();
    env.rbuild(["image", "tag", "app:1.0", "other:1"]).ok();
    assert_eq!(
        env.rbuild(["image", "inspect", "other:1"])
            .ok()
            .stdout
            .replace("\"other:1\",\n", ""),
        env.rbuild(["inspect", "app:1.0"])
            .ok()
            .stdout
            .replace("\"other:1\",\n", "")
    );
    env.rbuild(["image", "rm", "other:1"]).ok();
    assert!(!env.rbuild(["image", "ls"]).ok().stdout.contains("other"));
}

#[test]
fn save_and_load_keep_the_image() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, id) = app.unwrap();
    env.rbuild(["tag", "app:1.0", "second/name:3"]).ok();
    let tar = env.out("app.tar");
    let tar = tar.to_str().unwrap();
    env.rbuild(["save", "-o", tar, "app:1.0", "second/name:3"])
        .ok();

    let other = TestEnv::new();
    let run = other.rbuild(["load", "-i", tar]).ok();
    assert!(
        run.stdout.contains("app:1.0") && run.stdout.contains("second/name:3"),
        "{}",
        run.report()
    );
    for name in ["app:1.0", "second/name:3"] {
        let image = other.image(name);
        assert_eq!(image.id, id);
        assert_eq!(image.text("file.txt"), "text\n");
    }
    // Through pipes, and as a base.
    let saved = env.command().args(["save", "app:1.0"]).output().unwrap();
    assert!(saved.status.success());
    let piped = TestEnv::new();
    fs_err::write(piped.out("in.tar"), &saved.stdout).unwrap();
    let input = fs_err::File::open(piped.out("in.tar"))
        .unwrap()
        .into_parts()
        .0;
    let status = piped.command().arg("load").stdin(input).status().unwrap();
    assert!(status.success());
    let context = piped.context(
        "ctx",
        &[("Dockerfile", "FROM app:1.0\nRUN cp /file.txt /copy\n")],
    );
    assert_eq!(piped.build_image(&context, &[]).text("copy"), "text\n");
}

#[test]
fn import_makes_an_image_of_a_tar() {
    let busybox = bases::busybox();
    need!(busybox.is_some(), "{NEEDS}");
    let busybox = busybox.unwrap();
    let env = TestEnv::new();
    let run = env
        .rbuild([
            "import",
            "-m",
            "from a tar",
            busybox.to_str().unwrap(),
            "bb:1",
        ])
        .ok();
    assert!(run.out().starts_with("sha256:"), "{}", run.report());
    let image = env.image("bb:1");
    assert_eq!(image.layers.len(), 1);
    assert_eq!(image.config["os"], "linux");
    assert!(image.has("bin/busybox"));
    assert_eq!(image.node("tmp").mode, 0o1777);
    assert_eq!(image.config["history"][0]["comment"], "from a tar");

    // Standard input, compressed.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &fs_err::read(busybox).unwrap()).unwrap();
    fs_err::write(env.out("bb.tar.gz"), gzip.finish().unwrap()).unwrap();
    let input = fs_err::File::open(env.out("bb.tar.gz"))
        .unwrap()
        .into_parts()
        .0;
    let status = env
        .command()
        .args(["import", "-", "bb:2"])
        .stdin(input)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(env.image("bb:2").config["rootfs"], image.config["rootfs"]);
}

#[test]
fn import_refuses_what_is_no_tar() {
    let env = TestEnv::new();
    let file = env.out("noise");
    fs_err::write(&file, vec![7_u8; 5000]).unwrap();
    env.rbuild(["import", file.to_str().unwrap(), "x:1"])
        .fails(1);
    env.rbuild(["import", "/nonexistent.tar", "x:1"])
        .fails(1)
        .says("/nonexistent.tar");
    env.rbuild(["load", "-i", file.to_str().unwrap()]).fails(1);
    assert_eq!(env.rbuild(["images", "-q"]).ok().out(), "");
}

/// The store itself is an OCI layout.
#[test]
fn the_store_is_a_layout() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, _) = app.unwrap();
    let layout: Value =
        serde_json::from_slice(&fs_err::read(env.store().join("oci-layout")).unwrap()).unwrap();
    assert_eq!(layout["imageLayoutVersion"], "1.0.0");
}

#[test]
fn an_older_or_foreign_store_is_refused_with_a_message() {
    let env = TestEnv::new();
    let foreign = env.out("foreign");
    fs_err::create_dir(&foreign).unwrap();
    fs_err::write(foreign.join("thesis.txt"), "precious").unwrap();
    let run = env.rbuild(["--root", foreign.to_str().unwrap(), "images"]);
    // Whatever is decided, nothing of the owner's is lost and nothing panics.
    assert!(
        run.code.is_some() && !run.stderr.contains("panicked"),
        "{}",
        run.report()
    );
    assert_eq!(
        fs_err::read_to_string(foreign.join("thesis.txt")).unwrap(),
        "precious"
    );
}

/// Not a test of its own: the reader used above must see what is there.
#[test]
fn the_reader_sees_deletions() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, _) = app.unwrap();
    let context = env.context("del", &[("Dockerfile", "FROM app:1.0\nRUN rm /file.txt\n")]);
    let image: Image = env.build_image(&context, &[]);
    assert!(!image.has("file.txt"));
    assert!(
        image
            .layers
            .last()
            .unwrap()
            .iter()
            .any(|entry| entry.path == ".wh.file.txt")
    );
}

#[test]
fn damaged_blobs_are_noticed_and_made_again() {
    let env = TestEnv::new();
    let dockerfile = "FROM scratch\nCOPY file.txt /\nENV A=1\nCOPY file.txt /again\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile), ("file.txt", "text\n")]);
    let archive = env.out("app.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let build = |flags: &[&str]| {
        let mut args = vec!["build", "--build-arg=SOURCE_DATE_EPOCH=1", "-o", &output];
        args.extend(flags);
        args.push(context.to_str().unwrap());
        env.rbuild(args)
    };
    build(&[]).ok();
    let id = Image::from_archive(&archive).id;
    let blobs = fs_err::read_dir(env.store().join("blobs/sha256")).unwrap();
    let mut n_noticed = 0;
    for blob in blobs.map(|entry| entry.unwrap().path()) {
        let mut bytes = fs_err::read(&blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs_err::remove_file(&blob).unwrap();
        fs_err::write(&blob, bytes).unwrap();
        let run = build(&[]);
        if run.code == Some(0) {
            assert_eq!(Image::from_archive(&archive).id, id);
        } else {
            run.fails(1).says("was damaged");
            n_noticed += 1;
        }
        build(&["--no-cache"]).ok();
        assert_eq!(Image::from_archive(&archive).id, id);
    }
    assert!(n_noticed > 0);
}
