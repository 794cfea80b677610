//! Keeping the store in order: `fsck`, `prune`, `df`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::env::user_namespaces;
use crate::support::processes::{signal, wait_until};
use crate::support::run::Run;
use crate::support::{TestEnv, bases, need, users};

/// Equal steps have equal results.
const EPOCH: &str = "--build-arg=SOURCE_DATE_EPOCH=1";

const NEEDS: &str = "this needs busybox-static";

/// Two stages: what the first makes is in no image but for one file.
const STAGES: &str = "\
FROM busybox AS tools
RUN echo tool > /tool; echo spare > /spare
FROM busybox
COPY --from=tools /tool /tool
RUN echo made > /made; rm /etc/passwd
";

/// Imports busybox, the same image each time.
#[track_caller]
fn import(env: &TestEnv) {
    let tar = bases::busybox().unwrap();
    let mut command = env.command();
    command.env("SOURCE_DATE_EPOCH", "1").arg("import").arg(tar);
    Run::of(command.arg("busybox")).ok();
}

fn with_app() -> Option<(TestEnv, PathBuf)> {
    let env = TestEnv::new();
    bases::busybox()?;
    import(&env);
    let context = env.context("ctx", &[("Dockerfile", STAGES)]);
    env.build(&context, &["-t", "app:1", EPOCH]);
    Some((env, context))
}

fn rebuild(env: &TestEnv, context: &Path) -> String {
    env.build(context, &["-t", "app:1", EPOCH])
}

/// `fsck` must find nothing.
#[track_caller]
pub(crate) fn assert_sound(env: &TestEnv) {
    env.rbuild(["fsck"]).ok();
}

/// Bytes of a store by `du`, which complains about what others remove meanwhile.
pub(crate) fn du(store: &Path) -> u64 {
    let run = Run::of(Command::new("du").args(["-s", "--block-size=1"]).arg(store));
    run.out().split('\t').next().unwrap().parse().unwrap()
}

fn files(store: &Path, below: &str) -> Vec<PathBuf> {
    let (mut found, mut pending) = (Vec::new(), vec![store.join(below)]);
    while let Some(folder) = pending.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match fs_err::symlink_metadata(&path).unwrap() {
                found if found.is_dir() => pending.push(path),
                metadata if metadata.is_file() && metadata.len() > 0 => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Every file of the store, one after the other, is damaged: `fsck` names it, `--repair` takes it
/// away, and the next build makes what is missing.
#[test]
fn fsck_finds_and_repairs_any_damaged_file() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, context) = app.unwrap();
    let id = rebuild(&env, &context);
    assert_sound(&env);
    let mut n_damaged = 0;
    for below in ["blobs", "layers", "images", "refs"] {
        for file in files(&env.store(), below) {
            let Ok(mut bytes) = fs_err::read(&file) else {
                continue; // gone with the repair of an earlier one
            };
            if file.ends_with("unsynced") || bytes.is_empty() {
                continue;
            }
            n_damaged += 1;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x80;
            let mode = fs_err::metadata(&file).unwrap().permissions();
            fs_err::remove_file(&file).unwrap();
            fs_err::write(&file, bytes).unwrap();
            fs_err::set_permissions(&file, mode).unwrap();
            let shown = file
                .strip_prefix(env.store())
                .unwrap()
                .display()
                .to_string();
            let found = env.rbuild(["fsck"]).fails(1);
            let named = shown.split("/tree/").next().unwrap();
            assert!(found.stdout.contains(named), "{shown}: {}", found.report());
            env.rbuild(["fsck", "--repair"]).ok();
            assert_sound(&env);
            if env.rbuild(["inspect", "busybox"]).code != Some(0) {
                import(&env);
            }
            assert_eq!(rebuild(&env, &context), id, "after {shown} was damaged");
            assert_sound(&env);
        }
    }
    assert!(n_damaged > 12, "{n_damaged}");
}

/// Files that are cut short, empty, or have changed places.
#[test]
fn fsck_finds_and_repairs_files_that_are_not_their_own() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, context) = app.unwrap();
    let id = rebuild(&env, &context);
    let store = env.store();
    let is_made = |file: &PathBuf| !file.ends_with("unsynced") && !file.ends_with("lock");
    let all: Vec<_> = ["blobs", "layers", "images", "refs"]
        .iter()
        .flat_map(|below| files(&store, below))
        .filter(is_made)
        .collect();
    let mut n_found = 0;
    for (n, file) in all.iter().enumerate() {
        let (Ok(bytes), Ok(other)) = (fs_err::read(file), fs_err::read(&all[n / 2])) else {
            continue; // gone with the repair of an earlier one
        };
        let bad = match n % 3 {
            0 => &bytes[..bytes.len() - 1],
            1 => &[],
            _ => &other[..],
        };
        if bad == bytes {
            continue;
        }
        fs_err::remove_file(file).unwrap();
        fs_err::write(file, bad).unwrap();
        let found = env.rbuild(["fsck"]);
        let shown = format!(
            "{} with {} bytes: {}",
            file.display(),
            bad.len(),
            found.report()
        );
        // An empty record of blobs, or one of another name for the same image, is one to go on with.
        let is_harmless = file.ends_with("blobs.json") || file.starts_with(store.join("refs"));
        assert!(found.code == Some(1) || is_harmless, "{shown}");
        n_found += usize::from(found.code == Some(1));
        env.rbuild(["fsck", "--repair"]).ok();
        assert_sound(&env);
        import(&env);
        assert_eq!(rebuild(&env, &context), id, "{shown}");
        assert_sound(&env);
    }
    assert!(n_found > 8, "{n_found}");
}

/// What was noted about URLs.
#[test]
fn fsck_looks_at_what_was_fetched() {
    let env = TestEnv::new();
    env.rbuild(["images"]).ok();
    let notes = env.store().join("remote/http");
    fs_err::create_dir_all(&notes).unwrap();
    let note = |name: &str, text: &str| fs_err::write(notes.join(name), text).unwrap();
    note("empty.json", "");
    assert_sound(&env);
    note("torn.json", "{\"digest\": \"sha2");
    let digest = format!("sha256:{}", "0".repeat(64));
    note("lost.json", &format!("{{\"digest\": \"{digest}\"}}"));
    let run = env.rbuild(["fsck"]).fails(1);
    for name in ["remote/http/torn.json", "remote/http/lost.json"] {
        assert!(run.stdout.contains(name), "{}", run.report());
    }
    env.rbuild(["fsck", "--repair"]).ok();
    assert_sound(&env);
    assert_eq!(files(&env.store(), "remote/http"), Vec::<PathBuf>::new());
}

#[test]
fn fsck_notices_what_is_gone() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, context) = app.unwrap();
    let id = rebuild(&env, &context);
    for name in ["layers", "blobs/sha256", "images"] {
        for entry in fs_err::read_dir(env.store().join(name)).unwrap() {
            let path = entry.unwrap().path();
            let away = env.out("away");
            fs_err::rename(&path, &away).unwrap();
            let run = env.rbuild(["fsck", "--format=json"]);
            let report: Value = serde_json::from_str(&run.stdout).unwrap();
            let findings = report["findings"].as_array().unwrap();
            assert_eq!(run.code == Some(0), findings.is_empty(), "{}", run.report());
            if findings.is_empty() {
                // The bytes can be made again from another form of the layer.
                assert!(
                    name.starts_with("blobs"),
                    "{}: {}",
                    path.display(),
                    run.report()
                );
                assert_eq!(env.image("app:1").id, id);
                env.image("busybox");
                fs_err::remove_file(&path).unwrap_or_default();
            }
            fs_err::rename(&away, &path).unwrap();
        }
    }
    fs_err::write(
        env.store().join("db"),
        "this is no database at all, but some text",
    )
    .unwrap();
    // What was written last is in the log of the database.
    fs_err::remove_file(env.store().join("db-wal")).unwrap();
    fs_err::remove_file(env.store().join("db-shm")).unwrap();
    env.rbuild(["fsck"]).fails(1);
    env.rbuild(["fsck", "--repair"]).ok();
    assert_sound(&env);
    assert_eq!(rebuild(&env, &context), id);
}

#[test]
fn prune_takes_what_no_image_has() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, context) = app.unwrap();
    let first = rebuild(&env, &context);
    // A new image takes the name; the old one has none.
    let second = env.build(&context, &["-t", "app:1", EPOCH, "--label=a=b"]);
    let asked = Run::of(env.command().arg("prune").stdin(Stdio::null())).ok();
    assert!(asked.stdout.contains("WARNING!") && !asked.stdout.contains("Total"));
    let dry = env.rbuild(["prune", "--dry-run"]).ok();
    assert!(dry.stdout.contains(&first), "{}", dry.report());
    env.rbuild(["inspect", &first]).ok();
    env.rbuild(["image", "prune", "-f", "--filter=label=nothing"])
        .ok();
    env.rbuild(["image", "prune", "-f", "--filter=until=1h"])
        .ok();
    env.rbuild(["inspect", &first]).ok();

    let before = du(&env.store());
    let pruned = env.rbuild(["prune", "-f"]).ok();
    assert!(pruned.stdout.contains(&first), "{}", pruned.report());
    assert!(
        pruned.stdout.contains("Deleted build cache objects:"),
        "{}",
        pruned.report()
    );
    assert!(du(&env.store()) < before);
    env.rbuild(["inspect", &first]).fails(1);
    assert_eq!(env.image("app:1").id, second);
    assert_sound(&env);
    // What the images have is still known, what the first stage made is made again.
    let log = env
        .rbuild([
            "build",
            "--progress=plain",
            EPOCH,
            context.to_str().unwrap(),
        ])
        .ok();
    assert!(log.stderr.contains("CACHED"), "{}", log.report());

    env.rbuild(["system", "prune", "-af"]).ok();
    assert_eq!(env.rbuild(["images", "-q"]).ok().out(), "");
    for folder in ["layers", "blobs/sha256", "tmp", "locks", "leases"] {
        let left: Vec<_> = fs_err::read_dir(env.store().join(folder))
            .unwrap()
            .collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
    assert_sound(&env);
}

#[test]
fn builder_prune_leaves_images_alone() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, context) = app.unwrap();
    let id = rebuild(&env, &context);
    env.rbuild(["builder", "prune", "-af"]).ok();
    assert_eq!(env.image("app:1").id, id);
    let log = env
        .rbuild([
            "build",
            "--progress=plain",
            EPOCH,
            context.to_str().unwrap(),
        ])
        .ok();
    assert!(!log.stderr.contains("CACHED"), "{}", log.report());
    assert_sound(&env);
}

/// A manifest that came with an archive belongs to the image, also when a build gives the name anew.
#[test]
fn prune_leaves_the_manifest_of_a_loaded_image() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, context) = app.unwrap();
    let archive = env.out("app.tar");
    let archive = archive.to_str().unwrap();
    env.rbuild(["save", "-o", archive, "app:1"]).ok();
    env.rbuild(["load", "-i", archive]).ok();
    rebuild(&env, &context);
    env.rbuild(["builder", "prune", "-af"]).ok();
    assert_sound(&env);
    env.image("app:1");
}

/// The limits that `buildx prune` has.
#[test]
fn prune_reckons_with_what_is_free_and_reserved() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, _) = app.unwrap();
    let size = du(&env.store()).to_string();
    let n_deleted = |limits: &[&str]| {
        let run = Run::of(
            env.command()
                .args(["builder", "prune", "-f", "--dry-run"])
                .args(limits),
        );
        let lines = run.ok().stdout;
        lines.lines().filter(|line| line.len() == 64).count()
    };
    let all = n_deleted(&[]);
    assert!(all > 0);
    for (limits, expected) in [
        (&["--max-used-space", "1"][..], all),
        (&["--max-used-space", &size], 0),
        (&["--keep-storage", "1"], all),
        (&["--reserved-space", "1"], all),
        (&["--reserved-space", &size], 0),
        (&["--max-used-space", "1", "--reserved-space", &size], 0),
        (&["--min-free-space", "1"], 0),
        (&["--min-free-space", "1000TB"], all),
        (
            &["--min-free-space", "1000TB", "--reserved-space", &size],
            0,
        ),
        (&["--min-free-space", "1", "--max-used-space", "1"], all),
    ] {
        assert_eq!(n_deleted(limits), expected, "{limits:?}");
    }
}

#[test]
fn df_counts_every_block_once() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, _) = app.unwrap();
    let dockerfile = "\
FROM busybox
RUN echo x > /a; ln /a /b; ln /a /c; truncate -s 100M /sparse; dd if=/dev/zero of=/full bs=64k count=20
";
    let context = env.context("links", &[("Dockerfile", dockerfile)]);
    env.build(&context, &["-t", "links"]);
    env.image("links");
    fs_err::write(env.store().join("tmp/left"), "left by somebody").unwrap();
    let run = env.rbuild(["df", "--format=json"]).ok();
    let usage: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(usage["Total"], du(&env.store()));
    let rows = usage["Usage"].as_array().unwrap();
    let sum: u64 = rows.iter().map(|row| row["Size"].as_u64().unwrap()).sum();
    assert_eq!(sum, usage["Total"]);
    let table = env.rbuild(["df"]).ok().stdout;
    for kind in ["TYPE", "Images", "Build Cache", "Cache Mounts", "Staging"] {
        assert!(table.contains(kind), "{table}");
    }
    let verbose = env.rbuild(["system", "df", "-v"]).ok().stdout;
    assert!(
        verbose.contains("links") && verbose.contains("RUN"),
        "{verbose}"
    );
}

/// Steps that take long are worth more than large ones.
#[test]
fn the_least_valuable_goes_first() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, _) = app.unwrap();
    env.rbuild(["builder", "prune", "-af"]).ok();
    let dockerfile = "\
FROM busybox AS slow
RUN sleep 1; echo slow > /slow
FROM busybox AS large
RUN dd if=/dev/zero of=/large bs=1M count=4
FROM busybox
COPY --from=slow /slow /slow
COPY --from=large /etc/passwd /large
";
    let context = env.context("value", &[("Dockerfile", dockerfile)]);
    let arguments = ["-t", "value", EPOCH];
    let id = env.build(&context, &arguments);
    let size = du(&env.store());
    let cap = (size - 1_000_000).to_string();
    let run = env.rbuild(["prune", "-f", "--keep-storage", &cap]).ok();
    assert!(du(&env.store()) <= size - 1_000_000, "{}", run.report());
    let log = env
        .rbuild([
            "build",
            "--progress=plain",
            EPOCH,
            context.to_str().unwrap(),
        ])
        .ok()
        .stderr;
    let cached = |step: &str| {
        let line = log.lines().find(|line| line.contains(step)).unwrap();
        let number = line.split(' ').next().unwrap();
        log.lines().any(|line| line == format!("{number} CACHED"))
    };
    assert!(cached("RUN sleep 1"), "{log}");
    assert!(!cached("RUN dd"), "{log}");

    // The same by itself when there is a cap. Images stay, and what the build uses.
    let dockerfile = "FROM busybox\nRUN echo small > /small\n";
    let small = env.context("small", &[("Dockerfile", dockerfile)]);
    let cap = (du(&env.store()) - 1_000_000).to_string();
    let mut command = env.command();
    command.args(["build", "-q", EPOCH]).arg(&small);
    let run = Run::of(command.env("RBUILD_STORAGE_CAP", &cap)).ok();
    assert!(du(&env.store()) <= cap.parse().unwrap(), "{}", run.report());
    let run = Run::of(command.env("RBUILD_STORAGE_CAP", "1kB")).fails(1);
    assert!(
        run.stderr.contains("RBUILD_STORAGE_CAP"),
        "{}",
        run.report()
    );
    assert_eq!(env.image("value").id, id);
    Run::of(command.env("RBUILD_STORAGE_CAP", "much")).fails(2);
    assert_sound(&env);
}

/// What a running build uses stays, whatever it is: its base, what its steps have made.
#[test]
fn prune_leaves_a_running_build_alone() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, _) = app.unwrap();
    let dockerfile = "\
FROM busybox AS first
RUN echo first > /first
RUN echo started > /dev/stderr; sleep 3; echo waited > /waited
FROM busybox
COPY --from=first /first /waited /
";
    let context = env.context("running", &[("Dockerfile", dockerfile)]);
    let log = env.out("log");
    let mut child = spawn(&env, &context, "running", &log);
    wait_until("the step starts", || {
        fs_err::read_to_string(&log)
            .unwrap()
            .lines()
            .any(|line| line.ends_with(" started"))
    });
    // Everything that can go goes: all images, all cache.
    env.rbuild(["prune", "-af"]).ok();
    assert_sound(&env);
    let status = child.wait().unwrap();
    assert!(
        status.success(),
        "{}",
        fs_err::read_to_string(&log).unwrap()
    );
    assert_sound(&env);
    let image = env.image("running");
    assert_eq!(image.text("first"), "first\n");
    assert_eq!(image.text("waited"), "waited\n");
    // A killed one holds nothing.
    let mut child = spawn(&env, &context, "running", &log);
    std::thread::sleep(Duration::from_millis(100));
    signal(&child, rustix::process::Signal::KILL);
    child.wait().unwrap();
    env.rbuild(["prune", "-af"]).ok();
    assert_eq!(files(&env.store(), "layers"), Vec::<PathBuf>::new());
}

fn spawn(env: &TestEnv, context: &Path, tag: &str, log: &Path) -> Child {
    let file = fs_err::File::create(log).unwrap().into_parts().0;
    env.command()
        .args(["build", "--progress=plain", "-t", tag])
        .arg(EPOCH)
        .arg(context)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .unwrap()
}

/// Sixteen builds at once, of the same and of different Dockerfiles, beside an endless prune: all
/// images are those of one build after the other, and no step ran twice.
#[test]
fn many_builds_beside_prune() {
    need!(bases::busybox().is_some(), "{NEEDS}");
    let dockerfile = |n: usize| {
        format!(
            "FROM busybox\nRUN echo common > /common; sleep 0.1; echo ran > /dev/stderr\n\
             COPY data /data\nRUN echo {n} > /own; cat /data/* >> /own; echo ran > /dev/stderr\n\
             WORKDIR /work/{n}\n"
        )
    };
    const N_KINDS: usize = 4;
    let contexts = |env: &TestEnv| -> Vec<PathBuf> {
        (0..N_KINDS)
            .map(|n| {
                let text = dockerfile(n);
                let name = format!("ctx-{n}");
                env.context(
                    &name,
                    &[("Dockerfile", &text), ("data/a", "a\n"), ("data/b", "b\n")],
                )
            })
            .collect()
    };
    let alone = TestEnv::new();
    import(&alone);
    let expected: Vec<String> = contexts(&alone)
        .iter()
        .map(|context| alone.build(context, &[EPOCH]))
        .collect();

    let env = TestEnv::new();
    import(&env);
    let contexts = contexts(&env);
    let mut children: Vec<Child> = (0..16)
        .map(|n| {
            let kind = n % N_KINDS;
            spawn(
                &env,
                &contexts[kind],
                &format!("app:{kind}"),
                &env.out(&format!("log-{n}")),
            )
        })
        .collect();
    let mut n_prunes = 0;
    while children
        .iter_mut()
        .any(|child| child.try_wait().unwrap().is_none())
    {
        env.rbuild(["prune", "-f"]).ok();
        assert_sound(&env);
        n_prunes += 1;
    }
    let mut ran: BTreeMap<usize, usize> = BTreeMap::new();
    for (n, child) in children.iter_mut().enumerate() {
        let log = fs_err::read_to_string(env.out(&format!("log-{n}"))).unwrap();
        assert!(child.wait().unwrap().success(), "{log}");
        let n_ran = log.lines().filter(|line| line.ends_with(" ran")).count();
        *ran.entry(n % N_KINDS).or_default() += n_ran;
    }
    assert!(n_prunes > 0);
    for (kind, id) in expected.iter().enumerate() {
        assert_eq!(&env.image(&format!("app:{kind}")).id, id);
    }
    // One common step and one of each kind, each in one of the builds.
    assert_eq!(ran.values().sum::<usize>(), 1 + N_KINDS, "{ran:?}");
    let executions = executions(&env);
    // The first `RUN` and the `COPY`, which all share; the second `RUN` and the `WORKDIR` of each kind.
    assert_eq!(executions.len(), 2 + 2 * N_KINDS, "{executions:?}");
    assert!(executions.values().all(|n| *n == 1), "{executions:?}");
    assert_sound(&env);
}

/// How often the store says that the step of each key was run.
fn executions(env: &TestEnv) -> BTreeMap<String, u64> {
    let run = env.rbuild(["df", "-v", "--format=json"]).ok();
    let usage: Value = serde_json::from_str(&run.stdout).unwrap();
    serde_json::from_value(usage["Executions"].clone()).unwrap()
}

/// The counter goes on whatever becomes of the record.
#[test]
fn executions_are_counted() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, context) = app.unwrap();
    let counts = |env: &TestEnv| executions(env).into_values().collect::<Vec<_>>();
    assert_eq!(counts(&env), [1, 1, 1]);
    rebuild(&env, &context);
    assert_eq!(counts(&env), [1, 1, 1]);
    env.build(&context, &["--no-cache", EPOCH]);
    assert_eq!(counts(&env), [2, 2, 2]);
    env.rbuild(["prune", "-af"]).ok();
    assert_eq!(counts(&env), [2, 2, 2]);
    import(&env);
    rebuild(&env, &context);
    assert_eq!(counts(&env), [3, 3, 3]);
    let table = env.rbuild(["df", "-v"]).ok().stdout;
    assert!(table.contains("EXECUTED"), "{table}");
}

/// A cache mount goes when nobody uses it; a step that wants it gets a new one.
#[test]
fn prune_takes_cache_mounts_that_nobody_uses() {
    let app = with_app();
    need!(app.is_some(), "{NEEDS}");
    let (env, _) = app.unwrap();
    let dockerfile = "\
FROM busybox
RUN --mount=type=cache,target=/c ls /c; echo x > /c/file; echo started > /dev/stderr; sleep 2; ls /c > /seen
";
    let context = env.context("mounted", &[("Dockerfile", dockerfile)]);
    let log = env.out("log");
    let mut child = spawn(&env, &context, "mounted", &log);
    wait_until("the step starts", || {
        let text = fs_err::read_to_string(&log).unwrap();
        text.lines().any(|line| line.ends_with(" started"))
    });
    assert!(
        env.rbuild(["df"])
            .ok()
            .stdout
            .contains("Cache Mounts        1")
    );
    let run = env.rbuild(["prune", "-af"]).ok();
    assert!(!run.stdout.contains("mounts/"), "{}", run.report());
    assert!(child.wait().unwrap().success());
    assert_eq!(env.image("mounted").text("seen"), "file\n");
    let usage: Value =
        serde_json::from_str(&env.rbuild(["df", "--format=json"]).ok().stdout).unwrap();
    assert_eq!(usage["Total"], du(&env.store()));
    let note = files(&env.store(), "mounts")
        .into_iter()
        .find(|file| file.ends_with("cache.json"))
        .unwrap();
    let text = fs_err::read(&note).unwrap();
    fs_err::write(&note, &text[..9]).unwrap();
    let run = env.rbuild(["fsck"]).fails(1);
    assert!(run.stdout.contains("cache.json"), "{}", run.report());
    fs_err::write(&note, text).unwrap();
    assert_sound(&env);
    let run = env.rbuild(["prune", "-f", "--filter=until=1h"]).ok();
    assert!(!run.stdout.contains("mounts/"), "{}", run.report());
    let run = env.rbuild(["builder", "prune", "-f"]).ok();
    assert!(run.stdout.contains("mounts/"), "{}", run.report());
    assert_eq!(files(&env.store(), "mounts"), Vec::<PathBuf>::new());
    assert_sound(&env);
}

/// Trees of an ordinary user hold files of other users of the namespace.
#[test]
fn an_ordinary_user_keeps_a_store() {
    let user = users::ordinary(true).filter(user_namespaces);
    need!(
        bases::busybox().is_some() && user.is_some(),
        "{NEEDS} and an ordinary user"
    );
    let env = TestEnv::of(user.unwrap());
    import(&env);
    let dockerfile = "\
FROM busybox AS first
RUN mkdir /d; echo x > /d/f; chown -R 7:8 /d; chmod 700 /d; chmod 600 /d/f
FROM busybox
COPY --from=first /d /d
RUN chown 9:9 /d/f
";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let id = env.build(&context, &["-t", "app", EPOCH]);
    assert_sound(&env);
    env.rbuild(["df", "-v"]).ok();
    let run = env.rbuild(["prune", "-f"]).ok();
    assert!(
        run.stdout.contains("Deleted build cache"),
        "{}",
        run.report()
    );
    assert_sound(&env);
    assert_eq!(env.build(&context, &["-t", "app", EPOCH]), id);
    env.rbuild(["prune", "-af"]).ok();
    for folder in ["layers", "tmp"] {
        let left = fs_err::read_dir(env.store().join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
}
