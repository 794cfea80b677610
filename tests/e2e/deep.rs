//! Stages with more layers than the kernel mounts in one overlay. What is right is what the same commands make of a
//! plain directory, one after the other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use crate::support::env::user_namespaces;
use crate::support::image::Image;
use crate::support::tree::{Kind, Tree};
use crate::support::{TestEnv, bases, have, is_root, need, users};

const NEEDS: &str = "this needs root, busybox-static, and the users of scripts/test-users.sh";

/// Enough for folds of folds, and for more than one overlay takes.
const MANY: usize = 510;

/// Every so many steps there is a `COPY`.
const COPIES: usize = 40;

/// One step, as a command in the directory that holds `w` and `log`.
struct Change {
    command: String,
    /// Instead of the command, as an instruction.
    copy: Option<String>,
}

/// Steps that make, replace, remove, move and link files and directories, the same every time. No file that may have
/// several names is written in place: layers keep apart what a directory would not.
fn changes(count: usize) -> Vec<Change> {
    let mut state = 1_u64;
    let mut chance = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let change = |number| {
        let names = ["a", "b", "c", "d", "a/x", "b/x", "c/y", "a/x/z"];
        let [mut dir, mut other] = [0; 2].map(|_| names[usize::try_from(chance(8)).unwrap()]);
        let (file, file2) = (chance(4), chance(4));
        if number % COPIES == COPIES - 1 {
            return Change {
                command: format!("mkdir w/copied{number} && echo copied > w/copied{number}/file"),
                copy: Some(format!("COPY file /d/w/copied{number}/")),
            };
        }
        let make = |dir| {
            format!(
                "{{ [ -d w/{dir} ] || {{ rm -rf w/{dir} && mkdir -p w/{dir}; }}; }} 2>/dev/null"
            )
        };
        if number % (8 * COPIES) == COPIES / 2 {
            // Too much to be copied.
            return Change {
                command: format!(
                    "rm -rf w/big && mkdir w/big && head -c 9000000 /dev/zero > w/big/{number}"
                ),
                copy: None,
            };
        }
        let body = match chance(10) {
            0 | 1 => format!(
                "{} && rm -rf w/{dir}/f{file} && echo {number} > w/{dir}/f{file}",
                make(dir)
            ),
            2 => format!("rm -rf w/{dir}"),
            3 => format!("rm -rf w/{dir} && mkdir w/{dir} && echo {number} > w/{dir}/f{file}"),
            4 => format!("rm -rf w/{dir}/f{file}"),
            5 => format!(
                "{} && [ -f w/{other}/f{file} ] && ln -f w/{other}/f{file} w/{dir}/h{file2}",
                make(dir)
            ),
            6 => format!(
                "{} && rm -rf w/{dir}/l && ln -s {other}/{number} w/{dir}/l",
                make(dir)
            ),
            7 => format!("rm -rf w/{dir} && echo {number} > w/{dir}"),
            8 => {
                // Not into itself.
                if other.starts_with(dir) {
                    (dir, other) = ("d", "c");
                }
                format!("[ -d w/{dir} ] && rm -rf w/{other} && mv w/{dir} w/{other}")
            }
            _ => format!("[ -d w/{dir} ] && chmod 7{file}5 w/{dir}"),
        };
        // What the step sees goes into what it writes.
        let seen = match number % 20 {
            0 => "find w | sort; find w -type f | sort | xargs cat",
            _ => "ls w w/*",
        };
        Change {
            command: format!(
                "{{ {body}; }} 2>/dev/null; {{ {seen}; }} 2>/dev/null | md5sum >> log"
            ),
            copy: None,
        }
    };
    (0..count).map(change).collect()
}

/// A `Dockerfile` of the changes upon `base`.
fn dockerfile(base: &str, changes: &[Change]) -> String {
    let mut text = format!("FROM {base}\nRUN mkdir -p /d/w && echo > /d/log\n");
    for change in changes {
        match &change.copy {
            Some(copy) => writeln!(text, "{copy}"),
            None => writeln!(text, "RUN cd /d && {{ {}; }}", change.command),
        }
        .unwrap();
    }
    // All of it seems to be on one file system, and nothing is there twice.
    text += "RUN cd /d && find w | xargs stat -c %d | sort -u | wc -l > one && \
             find w -type d | xargs stat -c %i | sort | uniq -d | wc -l > none\n";
    text
}

/// What a path is: kind, mode, content.
type Model = BTreeMap<String, String>;

/// What the changes make of a directory.
fn model(changes: &[Change]) -> Model {
    let dir = tempfile::tempdir().unwrap();
    let mut script = String::from("umask 022; set +e; cd \"$1\"; mkdir w; echo > log\n");
    for change in changes {
        writeln!(script, "({})", change.command).unwrap();
    }
    let status = Command::new("busybox")
        .args(["sh", "-c", &script, "sh"])
        .arg(dir.path())
        .status();
    status.unwrap();
    let mut model = Model::new();
    read(dir.path(), "d", &mut model);
    assert!(model.len() > 8, "nothing is left of it: {model:?}");
    model
}

fn read(dir: &Path, name: &str, model: &mut Model) {
    for entry in fs_err::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{name}/{}", entry.file_name().to_str().unwrap());
        let path = entry.path();
        let metadata = fs_err::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let line = if metadata.is_dir() {
            read(&path, &name, model);
            format!("dir {mode:o}")
        } else if metadata.is_symlink() {
            format!("link {}", fs_err::read_link(&path).unwrap().display())
        } else {
            let text = fs_err::read_to_string(&path).unwrap();
            let shown = if text.len() > 64 << 10 { "" } else { &text };
            format!("file {mode:o} {} {shown}", text.len())
        };
        assert!(!is_root() || metadata.uid() == 0);
        model.insert(name, line);
    }
}

/// The same of a part of an image.
fn shown(tree: &Tree) -> Model {
    let below = tree.iter().filter(|(path, _)| path.starts_with("d/"));
    let line = |(path, node): (&String, &crate::support::tree::Node)| {
        assert_eq!((node.uid, node.gid), (0, 0), "{path}");
        let line = match &node.kind {
            Kind::Dir => format!("dir {:o}", node.mode),
            Kind::Symlink(target) => format!("link {target}"),
            Kind::File { size, text, .. } => {
                let text = text.as_deref().filter(|_| *size <= 64 << 10);
                format!("file {:o} {size} {}", node.mode, text.unwrap_or_default())
            }
            other => panic!("{path}: {other:?}"),
        };
        (path.clone(), line)
    };
    below.map(line).collect()
}

/// Builds, and compares the tree with the model's; returns the image.
fn check(env: &TestEnv, args: &[&str], base: &str, changes: &[Change]) -> Image {
    let context = env.context(
        "context",
        &[
            ("Dockerfile", &dockerfile(base, changes)),
            ("file", "copied\n"),
        ],
    );
    let image = env.build_image(&context, args);
    let mut shown = shown(&image.tree);
    let once = |path: &str| shown.get(path).map(String::as_str);
    assert_eq!(once("d/one"), Some("file 644 2 1\n"), "on one file system");
    assert_eq!(
        once("d/none"),
        Some("file 644 2 0\n"),
        "directories that seem to be one"
    );
    shown.retain(|path, _| path != "d/one" && path != "d/none");
    let expected = model(changes);
    let first = expected["d/log"].lines().zip(shown["d/log"].lines());
    let differing = first.enumerate().find(|(_, (model, step))| model != step);
    assert_eq!(differing, None, "what a step saw");
    assert_eq!(shown, expected);
    image
}

fn with_base(env: TestEnv) -> TestEnv {
    env.import(bases::busybox().unwrap(), "busybox");
    env
}

#[test]
fn as_root() {
    need!(
        is_root() && bases::busybox().is_some() && have("busybox"),
        "{NEEDS}"
    );
    let env = with_base(TestEnv::new());
    let changes = changes(MANY);
    let image = check(&env, &["-t", "deep"], "busybox", &changes);
    assert!(image.layers.len() > 500, "{} layers", image.layers.len());

    // As a base whose layers are unpacked, below steps, as a mount, and where folds are of no use.
    let other = TestEnv::new();
    let tar = env.out("image.tar");
    other.rbuild(["load", "-i", tar.to_str().unwrap()]).ok();
    let text = "\
FROM deep AS base
RUN cd /d && find w | sort > /seen && rm -rf w && mkdir w && echo new > w/new
COPY file /d/w/
FROM deep
RUN --mount=type=bind,from=base,target=/m cp /m/seen /seen && find /m/d/w | sort > /mounted
RUN --security=insecure cd /d && find w | sort > /insecure
COPY --from=base /d /copied
";
    let context = other.context("upon", &[("Dockerfile", text), ("file", "copied\n")]);
    let upon = other.build_image(&context, &["--allow", "security.insecure"]);
    let paths: Vec<_> = shown(&image.tree).into_keys().collect();
    let mut expected: Vec<&str> = paths
        .iter()
        .filter_map(|path| path.strip_prefix("d/"))
        .filter(|path| *path == "w" || path.starts_with("w/"))
        .collect();
    expected.sort_unstable();
    for seen in ["seen", "insecure"] {
        assert_eq!(
            upon.text(seen).lines().collect::<Vec<_>>(),
            expected,
            "{seen}"
        );
    }
    assert_eq!(upon.text("mounted"), "/m/d/w\n/m/d/w/file\n/m/d/w/new\n");
    let copied = upon.tree.keys().filter(|path| path.starts_with("copied/w"));
    assert_eq!(
        copied.collect::<Vec<_>>(),
        ["copied/w", "copied/w/file", "copied/w/new"]
    );
}

#[test]
fn as_a_user_with_subordinate_ids() {
    let user = users::ordinary(true).filter(user_namespaces);
    need!(
        user.is_some() && bases::busybox().is_some() && have("busybox"),
        "{NEEDS}"
    );
    let env = with_base(TestEnv::of(user.unwrap()));
    let isolation = ["--isolation", "subordinate-ids"];
    check(&env, &isolation, "busybox", &changes(200));
}

#[test]
fn as_a_user_with_one_id() {
    let user = users::ordinary(false).filter(user_namespaces);
    need!(
        user.is_some() && bases::busybox().is_some() && have("busybox"),
        "{NEEDS}"
    );
    let env = with_base(TestEnv::of(user.unwrap()));
    check(
        &env,
        &["--isolation", "single-id"],
        "busybox",
        &changes(200),
    );
}

#[test]
fn in_containers_roots_namespace() {
    need!(
        is_root() && bases::busybox().is_some() && have("busybox"),
        "{NEEDS}"
    );
    let env = with_base(TestEnv::new());
    check(&env, &["--isolation", "identity"], "busybox", &changes(150));
}
