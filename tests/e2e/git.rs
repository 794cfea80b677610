//! `ADD` of git repositories, and repositories as contexts. They are served over HTTP by git's own
//! program.

use std::process::Command;

use crate::support::image::Image;
use crate::support::run::Run;
use crate::support::tree::Kind;
use crate::support::web::{Asked, GitRepository, Web};
use crate::support::{TestEnv, have, need};

const NEEDS: &str = "this needs git";
const COMMITTED: u64 = 1_700_000_000;

/// A served repository: `main` has a Dockerfile, a folder, a program and links; tags `v1` (plain)
/// and `v2` (annotated) are on it; `feature` has one more commit.
struct World {
    env: TestEnv,
    web: Web,
    repository: GitRepository,
    main: String,
    feature: String,
}

impl World {
    fn new() -> Self {
        let (env, web) = (TestEnv::new(), Web::start());
        let repository = GitRepository::new(env.path("work"));
        repository.write("Dockerfile", "FROM scratch\nCOPY . /c/\n");
        repository.write("dir/Dockerfile", "FROM scratch\nCOPY f /dir/\n");
        repository.write("dir/f", "main\n");
        repository.write("run.sh", "#!/bin/sh\n");
        repository.write(".dockerignore", "dir\n");
        repository.git(&["update-index", "--add", "--chmod=+x", "run.sh"]);
        for (name, target) in [("evil", "/etc"), ("inside", "dir")] {
            std::os::unix::fs::symlink(target, repository.path(name)).unwrap();
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(repository.path("run.sh"), mode).unwrap();
        let main = repository.commit();
        repository.git(&["tag", "v1"]);
        repository.git(&["tag", "-a", "v2", "-m", "two"]);
        repository.git(&["checkout", "-q", "-b", "feature"]);
        repository.write("dir/f", "feature\n");
        repository.write("run/Dockerfile", "FROM scratch\nCOPY dir/f /run\n");
        let feature = repository.commit();
        repository.git(&["checkout", "-q", "main"]);
        let world = Self {
            env,
            web,
            repository,
            main,
            feature,
        };
        world.publish();
        world.web.serve_git(&world.env.path("served"));
        world
    }

    fn publish(&self) {
        fs_err::create_dir_all(self.env.path("served")).unwrap();
        self.repository.publish(&self.env.path("served/repo.git"));
    }

    fn url(&self) -> String {
        self.web.url("/repo.git")
    }

    fn command(&self, context: &str, args: &[&str]) -> Command {
        let dest = format!("type=oci,dest={}", self.env.out("image.tar").display());
        let mut command = self.env.command();
        command
            .args(["build", "--progress=plain", "-o", &dest])
            .args(args)
            .arg(context);
        command
    }

    /// Builds a context with an `ADD` in it.
    fn add(&self, lines: &str) -> (Image, Run) {
        let dockerfile = format!("FROM scratch\n{lines}\n");
        let context = self.env.context("ctx", &[("Dockerfile", &dockerfile)]);
        let run = Run::of(&mut self.command(context.to_str().unwrap(), &[])).ok();
        (Image::from_archive(&self.env.out("image.tar")), run)
    }

    fn add_refused(&self, line: &str) -> Run {
        let dockerfile = format!("FROM scratch\n{line}\n");
        let context = self.env.context("ctx", &[("Dockerfile", &dockerfile)]);
        Run::of(&mut self.command(context.to_str().unwrap(), &[])).fails(1)
    }

    /// Builds from a repository.
    fn context(&self, reference: &str, args: &[&str]) -> Image {
        Run::of(&mut self.command(reference, args)).ok();
        Image::from_archive(&self.env.out("image.tar"))
    }
}

/// Tells whether objects were sent.
fn fetched(asked: &[Asked]) -> bool {
    asked.iter().any(|asked| {
        asked.path.ends_with("/git-upload-pack")
            && (asked.headers.contains_key("content-encoding")
                || asked.body.windows(13).any(|part| part == b"command=fetch"))
    })
}

#[test]
fn a_tree_is_what_is_committed() {
    need!(have("git"), "{NEEDS}");
    let world = World::new();
    let (image, _) = world.add(&format!("ADD {}#main /x/", world.url()));
    assert_eq!(image.text("x/dir/f"), "main\n");
    assert!(!image.tree.keys().any(|path| path.contains(".git/")));
    for (path, mode) in [("x/dir/f", 0o644), ("x/run.sh", 0o755), ("x/dir", 0o755)] {
        let node = image.node(path);
        assert_eq!(
            (node.mode, node.uid, node.gid, node.mtime),
            (mode, 0, 0, COMMITTED),
            "{path}"
        );
    }
    assert_eq!(image.node("x/evil").kind, Kind::Symlink("/etc".into()));
}

#[test]
fn revisions() {
    need!(have("git"), "{NEEDS}");
    let world = World::new();
    let url = world.url();
    let (image, _) = world.add(&format!(
        "ADD {url} /head/\nADD {url}#feature:dir /feature/\nADD {url}?tag=v1&subdir=dir /v1/\n\
         ADD --checksum={} {url}?tag=v2 /v2/\nADD {url}#{} /id/\nADD {url}?branch=main&checksum={} /c/\n\
         ADD {url}#main:inside /link/",
        &world.main[..12], world.feature, world.main
    ));
    for (path, text) in [
        ("head/dir/f", "main\n"),
        ("feature/f", "feature\n"),
        ("v1/f", "main\n"),
        ("v2/dir/f", "main\n"),
        ("id/dir/f", "feature\n"),
        ("c/dir/f", "main\n"),
        ("link/f", "main\n"),
    ] {
        assert_eq!(image.text(path), text, "{path}");
    }
    world
        .add_refused(&format!("ADD {url}#nope /x/"))
        .says("repository does not contain ref nope");
    world
        .add_refused(&format!("ADD --checksum=abcdef {url}#main /x/"))
        .says(&format!(
            "expected checksum to match abcdef, got {}",
            world.main
        ));
    world
        .add_refused(&format!("ADD {url}#main:nope /x/"))
        .says("\"/nope\": not found");
    world
        .add_refused(&format!("ADD {url}#main:evil /x/"))
        .says("not found");
    world
        .add_refused(&format!("ADD {}/nope.git /x/", world.web.url("")))
        .says("nope.git");
}

#[test]
fn a_commit_is_fetched_once() {
    need!(have("git"), "{NEEDS}");
    let world = World::new();
    let line = |dest: &str| format!("ADD {}#main {dest}", world.url());
    world.add(&line("/x/"));
    assert!(fetched(&world.web.take_asked()));
    let (_, run) = world.add(&line("/x/"));
    assert!(run.stderr.contains("CACHED"), "{}", run.report());
    assert!(!fetched(&world.web.take_asked()));
    let (image, run) = world.add(&line("/y/"));
    assert!(!run.stderr.contains("CACHED"), "{}", run.report());
    assert_eq!(image.text("y/dir/f"), "main\n");
    assert!(
        !fetched(&world.web.take_asked()),
        "the commit is here already"
    );
    world.repository.write("dir/f", "newer\n");
    world.repository.commit();
    world.publish();
    let (image, _) = world.add(&line("/x/"));
    assert_eq!(image.text("x/dir/f"), "newer\n");
    // A damaged mirror is made anew.
    let mirrors = world.env.store().join("remote/git");
    for entry in fs_err::read_dir(&mirrors).unwrap() {
        let objects = entry.unwrap().path().join("objects");
        if objects.is_dir() {
            fs_err::remove_dir_all(&objects).unwrap();
            fs_err::create_dir(&objects).unwrap();
        }
    }
    let (image, _) = world.add(&line("/z/"));
    assert_eq!(image.text("z/dir/f"), "newer\n");
}

#[test]
fn git_directories_are_kept_on_demand() {
    need!(have("git"), "{NEEDS}");
    let world = World::new();
    let url = world.url();
    let (image, _) = world.add(&format!(
        "ADD --keep-git-dir=true {url}#feature /a/\nADD {url}?tag=v1&keep-git-dir /b/"
    ));
    assert_eq!(image.text("a/.git/HEAD"), "ref: refs/heads/feature\n");
    assert_eq!(
        image.text("a/.git/refs/heads/feature").trim(),
        world.feature
    );
    assert!(image.text("a/.git/config").contains(&url));
    assert_eq!(image.text("b/.git/HEAD").trim(), world.main);
    assert!(!image.tree.keys().any(|path| path.contains("hooks")));
}

#[test]
fn submodules_come_along() {
    need!(have("git"), "{NEEDS}");
    let world = World::new();
    let part = GitRepository::new(world.env.path("part"));
    part.write("inner", "inner\n");
    part.commit();
    part.publish(&world.env.path("served/part.git"));
    let source = world.env.path("served/part.git");
    let source = source.to_str().unwrap();
    world
        .repository
        .git(&["submodule", "--quiet", "add", source, "part"]);
    world.repository.git(&[
        "config",
        "-f",
        ".gitmodules",
        "submodule.part.url",
        "../part.git",
    ]);
    world.repository.commit();
    world.publish();
    let url = world.url();
    let (image, _) = world.add(&format!(
        "ADD {url} /with/\nADD {url}?submodules=false /without/"
    ));
    assert_eq!(image.text("with/part/inner"), "inner\n");
    assert!(!image.has("with/part/.git"));
    assert!(!image.has("without/part/inner"));
    // A repository must not make the builder read repositories of this machine.
    world
        .repository
        .git(&["config", "-f", ".gitmodules", "submodule.part.url", source]);
    world.repository.commit();
    world.publish();
    world
        .add_refused(&format!("ADD {url} /x/"))
        .says("not allowed");
}

#[test]
fn repositories_are_contexts() {
    need!(have("git"), "{NEEDS}");
    let world = World::new();
    let url = world.url();
    let image = world.context(&url, &[]);
    assert_eq!(image.text("c/dir/f"), "main\n", "ignore files do not count");
    assert!(!image.tree.keys().any(|path| path.contains(".git/")));
    assert_eq!(image.node("c/dir/f").mtime, COMMITTED);
    let image = world.context(&format!("{url}#feature:dir"), &[]);
    assert_eq!(image.text("dir/f"), "feature\n");
    let image = world.context(&format!("{url}#feature"), &["-f", "run/Dockerfile"]);
    assert_eq!(image.text("run"), "feature\n");
}

#[test]
fn contexts_keep_git_directories_on_demand() {
    need!(have("git"), "{NEEDS}");
    let world = World::new();
    let keep = ["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"];
    let image = world.context(&world.url(), &keep);
    assert_eq!(image.text("c/.git/HEAD"), "ref: refs/heads/main\n");
    let dockerfile = "FROM scratch\nCOPY --from=repo /dir/f /f\n";
    let context = world.env.context("named", &[("Dockerfile", dockerfile)]);
    let named = format!("repo={}#feature", world.url());
    let image = world.context(context.to_str().unwrap(), &["--build-context", &named]);
    assert_eq!(image.text("f"), "feature\n");
}

#[test]
fn the_time_of_a_source_can_be_that_of_the_build() {
    need!(have("git"), "{NEEDS}");
    let world = World::new();
    let url = world.url();
    world.repository.write(
        "Dockerfile",
        "ARG SOURCE_DATE_EPOCH=context\nFROM scratch\nCOPY dir /d\n",
    );
    world.repository.commit();
    world.publish();
    let image = world.context(&url, &[]);
    assert_eq!(image.config["created"], "2023-11-14T22:13:20Z");
    let dockerfile = format!(
        "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD {url} /\nFROM scratch\n\
         COPY --from=src /dir /d\n"
    );
    let context = world.env.context("epoch", &[("Dockerfile", &dockerfile)]);
    let image = world.context(context.to_str().unwrap(), &[]);
    assert_eq!(image.config["created"], "2023-11-14T22:13:20Z");
}

#[test]
fn nothing_leads_out_of_a_repository() {
    need!(have("git"), "{NEEDS}");
    let world = World::new();
    fs_err::remove_file(world.repository.path("Dockerfile")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.repository.path("Dockerfile")).unwrap();
    world.repository.commit();
    world.publish();
    let url = world.url();
    for reference in [
        url.clone(),
        format!("{url}#main:evil"),
        format!("{url}#main:../../etc"),
        format!("{url}#--upload-pack=x"),
        "ext::sh -c true".to_owned(),
        "ssh://-oProxyCommand=x/r.git".to_owned(),
        "file:///r.git".to_owned(),
    ] {
        let run = Run::of(&mut world.command(&reference, &[])).fails(1);
        assert!(!run.stderr.contains("root:"), "{}", run.report());
    }
}

#[test]
fn credentials_are_sent_to_their_server_alone() {
    need!(have("git"), "{NEEDS}");
    let world = World::new();
    let basic = "basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMg==";
    world.web.want(basic);
    Run::of(&mut world.command(&world.url(), &[])).fails(1);
    let other = Web::start();
    for (id, reference) in [
        ("GIT_AUTH_TOKEN".to_owned(), world.url()),
        (format!("GIT_AUTH_TOKEN.{}", world.web.address), world.url()),
    ] {
        let id = format!("id={id},env=TOKEN");
        let mut command = world.command(&reference, &["--secret", &id]);
        Run::of(command.env("TOKEN", "hunter2")).ok();
    }
    let id = format!("id=GIT_AUTH_TOKEN.{},env=TOKEN", world.web.address);
    let mut command = world.command(&other.url("/r.git"), &["--secret", &id]);
    let run = Run::of(command.env("TOKEN", "hunter2")).fails(1);
    assert!(!run.report().contains("hunter2"), "{}", run.report());
    assert!(
        other
            .take_asked()
            .iter()
            .all(|asked| !asked.headers.contains_key("authorization"))
    );

    world.web.want("basic bWU6aHVudGVyMg==");
    let url = format!("http://me:hunter2@{}/repo.git", world.web.address);
    let (_, run) = world.add(&format!("ADD {url} /x/"));
    assert!(!run.stderr.contains("hunter2"), "{}", run.report());
    for place in [
        world.env.store(),
        world.env.path("out"),
        world.env.path("tmp"),
    ] {
        for secret in ["hunter2", "bWU6aHVudGVyMg", "aHVudGVyMg"] {
            let found = Command::new("grep")
                .args(["-rlF", secret])
                .arg(&place)
                .output();
            assert!(
                found.unwrap().stdout.is_empty(),
                "{secret} is in {}",
                place.display()
            );
        }
    }
}

#[test]
fn without_git_the_message_names_the_package() {
    need!(have("git"), "{NEEDS}");
    let world = World::new();
    let mut command = world.command(&world.url(), &[]);
    Run::of(command.env("PATH", world.env.path("home")))
        .fails(1)
        .says("git is needed")
        .says("install git");
}
