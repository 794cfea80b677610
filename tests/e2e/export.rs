//! `rbuild export`: the files of an image as one tar, and back again with `rbuild import`.

use serde_json::{Value, json};

use crate::support::tree::{self, differences};
use crate::support::web::Web;
use crate::support::{TestEnv, bases, need};

const NEEDS: &str = "this needs a busybox base";

#[test]
fn the_tree_of_an_image_comes_out_and_goes_in_again() {
    let busybox = bases::busybox();
    need!(busybox.is_some(), "{NEEDS}");
    let env = TestEnv::new();
    env.import(busybox.unwrap(), "busybox");
    let context = env.context(
        "ctx",
        &[
            (
                "Dockerfile",
                "FROM busybox\nCOPY a /kept/a\nCOPY a /gone/a\nRUN rm -r /gone && ln /kept/a /kept/b && \
                 ln -s a /kept/c && chmod 4711 /kept/a && chown 7:8 /kept && touch -d @1000 /kept/a\n",
            ),
            ("a", "content\n"),
        ],
    );
    let image = env.build_image(&context, &["-t", "app"]);
    let (first, second) = (env.out("first.tar"), env.out("second.tar"));
    for tar in [&first, &second] {
        env.rbuild(["export", "-o", tar.to_str().unwrap(), "app"])
            .ok();
    }
    let bytes = fs_err::read(&first).unwrap();
    assert!(
        bytes == fs_err::read(&second).unwrap(),
        "not the same twice"
    );

    let entries = tree::read_layer(&bytes[..]);
    let links = entries
        .iter()
        .filter(|entry| matches!(entry.what, tree::What::Link(_)));
    assert!(links.count() >= 1, "hard links are lost");
    let exported = tree::flatten(&[entries]);
    assert_eq!(differences(&exported, &image.tree), Vec::<String>::new());
    assert!(!exported.contains_key("gone"));
    assert_eq!(exported["kept/a"].mode, 0o4711);
    assert_eq!(exported["kept/a"].mtime, 1000);
    assert_eq!((exported["kept"].uid, exported["kept"].gid), (7, 8));

    // Another program reads the same names.
    let mut list = std::process::Command::new("tar");
    let listed = crate::support::run::Run::of(list.arg("-tf").arg(&first)).stdout;
    let names: Vec<&str> = listed.lines().collect();
    assert!(
        names.contains(&"kept/a") && names.contains(&"kept/b"),
        "{names:?}"
    );
    assert!(!names.iter().any(|name| name.contains(".wh.")));

    let piped = env.command().args(["export", "app"]).output().unwrap();
    assert!(
        piped.stdout == bytes,
        "standard output differs from the file"
    );
    env.import(&first, "again");
    let again = env.image("again");
    assert_eq!(differences(&again.tree, &image.tree), Vec::<String>::new());

    env.rbuild(["export", "none"]).fails(1).says("none");
    env.rbuild(["export", "--platform=linux/s390x", "app"])
        .fails(1)
        .says("does not provide the specified platform (linux/s390x)");
    env.rbuild(["export"]).fails(1);
}

#[test]
fn changes_of_an_import_are_in_its_config() {
    let busybox = bases::busybox();
    need!(busybox.is_some(), "{NEEDS}");
    let env = TestEnv::new();
    let tar = busybox.unwrap().to_str().unwrap();
    let import = |args: &[&str]| env.rbuild([&["import"][..], args].concat());
    import(&[
        "-c",
        "ENV A=1 B=\"two words\"",
        "--change=CMD [\"sh\", \"-c\", \"echo $A\"]",
        "-c",
        "workdir /srv",
        "-c",
        "LABEL of=$A",
        "-c",
        "EXPOSE 80",
        "-c",
        "USER ada",
        "--platform=linux/arm/v7",
        "-m",
        "by hand",
        tar,
        "changed:1",
    ])
    .ok();
    let config: Value = env.image("changed:1").config;
    assert_eq!(
        config["config"],
        json!({
            "User": "ada",
            "ExposedPorts": {"80/tcp": {}},
            "Env": ["A=1", "B=two words"],
            "Cmd": ["sh", "-c", "echo $A"],
            "WorkingDir": "/srv",
            "Labels": {"of": "1"},
        })
    );
    assert_eq!(config["architecture"], "arm");
    assert_eq!(config["variant"], "v7");
    assert_eq!(config["history"][0]["comment"], "by hand");
    assert_eq!(config["history"].as_array().unwrap().len(), 1);

    import(&["-c", "ENV PATH=/bin", tar, "path:1"]).ok();
    let config = env.image("path:1").config;
    assert_eq!(config["config"]["Env"], json!(["PATH=/bin"]));
    for (change, message) in [
        ("RUN true", "RUN is not a valid change command"),
        ("FROM busybox", "FROM is not a valid change command"),
        ("COPY a /", "COPY is not a valid change command"),
        ("NOPE", "unknown instruction"),
        ("EXPOSE 80/nope", "nope"),
        ("", "is empty"),
    ] {
        import(&["-c", change, tar, "bad:1"]).fails(1).says(message);
    }
    env.rbuild(["inspect", "bad:1"]).fails(1);
}

#[test]
fn an_import_reads_a_url() {
    let busybox = bases::busybox();
    need!(busybox.is_some(), "{NEEDS}");
    let (env, web) = (TestEnv::new(), Web::start());
    web.put("/root.tar", fs_err::read(busybox.unwrap()).unwrap(), &[]);
    env.import(busybox.unwrap(), "file:1");
    let url = web.url("/root.tar");
    env.rbuild(["import", &url, "url:1"]).ok();
    let (file, fetched) = (env.image("file:1"), env.image("url:1"));
    assert_eq!(fetched.config["rootfs"], file.config["rootfs"]);
    let comment = &fetched.config["history"][0]["comment"];
    assert_eq!(comment, &format!("Imported from {url}"));
    env.rbuild(["import", &web.url("/none.tar"), "url:2"])
        .fails(1)
        .says("404");
}
