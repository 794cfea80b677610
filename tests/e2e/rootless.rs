//! The same work as an ordinary user, with subordinate ids and without.

use crate::examples;
use crate::support::env::user_namespaces;
use crate::support::image::Image;
use crate::support::registry::Registry;
use crate::support::run::Run;
use crate::support::users::{self, User};
use crate::support::{TestEnv, bases, example, need};

/// The user, if this machine lets them build.
fn user(subordinate_ids: bool) -> Option<User> {
    users::ordinary(subordinate_ids).filter(user_namespaces)
}

fn needs(subordinate_ids: bool) -> String {
    let which = if subordinate_ids { "with" } else { "without" };
    format!(
        "this needs an ordinary user {which} subordinate ids (scripts/test-users.sh makes one), \
         user namespaces, busybox-static and docker-registry"
    )
}

/// Builds one example as a user and returns the image.
#[track_caller]
fn build_example(env: &TestEnv, name: &str) -> Image {
    // A user's own copy: the repository may lie where they cannot read.
    let context = env.out(name);
    copy_dir(&example(name), &context);
    let run = |args: &[&str]| Run::of(env.command().current_dir(&context).args(args)).ok();
    let tag = format!("{name}:1.0");
    let first = run(&["-q", "-f", "Dockerfile.prod", "-t", &tag, "."]);
    assert_eq!(
        run(&["-q", "-f", "Dockerfile.prod", "-t", &tag, "."]).out(),
        first.out()
    );
    let image = env.image(&tag);
    assert_eq!(image.id, first.out());
    image
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    let status = std::process::Command::new("cp")
        .arg("-r")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}

/// All busybox examples; with subordinate ids each gives root's files to the byte.
fn busybox_examples(subordinate_ids: bool) {
    let user = user(subordinate_ids);
    need!(
        user.is_some() && Registry::shared().is_some(),
        "{}",
        needs(subordinate_ids)
    );
    let env = TestEnv::of(user.unwrap()).and_registry().unwrap();
    for name in examples::ON_BUSYBOX {
        let ours = build_example(&env, name);
        if !subordinate_ids {
            continue;
        }
        let roots = examples::built(name).unwrap();
        let differences = crate::support::tree::differences(&ours.tree, &roots.tree);
        // Modes of copied files are the checkout's, which the user's umask may have changed.
        assert!(differences.is_empty(), "{name}: {differences:#?}");
        assert_eq!(
            examples::settings(&ours),
            examples::settings(&roots),
            "{name}"
        );
    }
}

#[test]
fn examples_with_subordinate_ids() {
    busybox_examples(true);
}

#[test]
fn examples_without_subordinate_ids() {
    busybox_examples(false);
}

/// apt drops its privileges and changes owners: the hardest common thing to do without root.
fn debian_examples(subordinate_ids: bool) {
    let user = user(subordinate_ids);
    let debian = Registry::shared().is_some_and(Registry::add_debian);
    need!(
        user.is_some() && debian,
        "{} (and mmdebstrap)",
        needs(subordinate_ids)
    );
    let env = TestEnv::of(user.unwrap()).and_registry().unwrap();
    for name in examples::ON_DEBIAN {
        let image = build_example(&env, name);
        assert!(!image.tree.is_empty());
    }
}

#[test]
fn debian_examples_with_subordinate_ids() {
    debian_examples(true);
}

#[test]
fn debian_examples_without_subordinate_ids() {
    debian_examples(false);
}

/// Owners inside are the image's, whatever the ids outside are.
#[test]
fn owners_with_subordinate_ids() {
    let user = user(true);
    need!(
        user.is_some() && bases::busybox().is_some(),
        "{}",
        needs(true)
    );
    let env = TestEnv::of(user.unwrap());
    env.import(bases::busybox().unwrap(), "busybox");
    let dockerfile = "\
FROM busybox
RUN id -u > /id && touch /a /b && chown 1000:2000 /a && chmod 4755 /a && mkdir /w && chown 33:33 /w
COPY --chown=12:34 Dockerfile /copied
USER www-data
RUN id -u > /w/id && touch /w/mine
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let image = env.build_image(&context, &[]);
    assert_eq!((image.text("id"), image.text("w/id")), ("0\n", "33\n"));
    let owner = |path: &str| (image.node(path).uid, image.node(path).gid);
    assert_eq!(
        [owner("a"), owner("b"), owner("copied"), owner("w/mine")],
        [(1000, 2000), (0, 0), (12, 34), (33, 33)]
    );
    assert_eq!(image.node("a").mode, 0o4755);
}

/// With a single id COPY still writes any owner: no process needs it.
#[test]
fn owners_without_subordinate_ids() {
    let user = user(false);
    need!(
        user.is_some() && bases::busybox().is_some(),
        "{}",
        needs(false)
    );
    let env = TestEnv::of(user.unwrap());
    env.import(bases::busybox().unwrap(), "busybox");
    let dockerfile = "\
FROM busybox
RUN id -u > /id && touch /made
COPY --chown=12:34 Dockerfile /copied
RUN cat /copied > /read
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let image = env.build_image(&context, &[]);
    assert_eq!(image.text("id"), "0\n");
    assert_eq!((image.node("made").uid, image.node("made").gid), (0, 0));
    assert_eq!(
        (image.node("copied").uid, image.node("copied").gid),
        (12, 34)
    );
    assert_eq!(image.text("read"), dockerfile);
}

/// The default store of a user lies below their home, and everything there belongs to them.
#[test]
fn the_default_store() {
    let user = user(true);
    need!(user.is_some(), "{}", needs(true));
    let env = TestEnv::of(user.unwrap());
    let context = env.context("ctx", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")]);
    let run = |command: &mut std::process::Command| {
        Run::of(
            command
                .env_remove("RBUILD_ROOT")
                .args(["build", "-q", "-t", "a:1"])
                .arg(&context),
        )
        .ok()
    };
    run(&mut env.command());
    assert!(env.path("home/.local/share/rbuild/oci-layout").is_file());
    run(env.command().env("XDG_DATA_HOME", env.path("home/data")));
    assert!(env.path("home/data/rbuild/oci-layout").is_file());
}

/// A user's store never becomes a way around the context's permissions.
#[test]
fn unreadable_files_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let user = user(true);
    need!(
        user.is_some() && crate::support::is_root(),
        "{} and root",
        needs(true)
    );
    let env = TestEnv::of(user.unwrap());
    let context = env.context(
        "ctx",
        &[
            ("Dockerfile", "FROM scratch\nCOPY secret /\n"),
            ("secret", "x"),
        ],
    );
    fs_err::set_permissions(context.join("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    env.rbuild(["build", context.to_str().unwrap()])
        .fails(1)
        .says("secret")
        .says("denied");
}
