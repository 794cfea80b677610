//! A disk that is full, and other things that a store cannot have.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::processes::wait_until;
use crate::support::run::Run;
use crate::support::{TestEnv, bases, is_root, need, users};
use crate::upkeep::du;

const EPOCH: &str = "--build-arg=SOURCE_DATE_EPOCH=1";

const DOCKERFILE: &str = "\
FROM busybox AS tools
RUN dd if=/dev/zero of=/tool bs=64k count=6; tr '\\0' x < /tool > /tool2
FROM busybox
COPY data /data
RUN cat /data/* > /all; cp -r /data /copy
COPY --from=tools /tool2 /tool2
RUN rm -r /data
";

/// How many amounts of free space are tried.
const N_LEVELS: u64 = 20;

/// A small file system where a store will be; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nothing can be mounted.
    fn mount(path: PathBuf) -> Option<Self> {
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m,mode=700", "rbuild-test"])
            .arg(&path)
            .output()
            .ok()?;
        done.status.success().then_some(Self(path))
    }

    /// Leaves this much space and no more.
    fn fill(&self, free_bytes: u64) {
        let found = rustix::fs::statvfs(&self.0).unwrap();
        let there = found.f_bavail * found.f_frsize;
        let file = fs_err::File::create(self.filler()).unwrap();
        rustix::fs::fallocate(
            file.file(),
            rustix::fs::FallocateFlags::empty(),
            0,
            there.saturating_sub(free_bytes).max(1),
        )
        .unwrap();
    }

    fn empty(&self) {
        fs_err::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

#[test]
fn a_full_disk_does_no_harm() {
    need!(
        is_root() && bases::busybox().is_some(),
        "this needs busybox-static and root"
    );
    let env = TestEnv::new();
    env.remove_with_process();
    let disk = SmallDisk::mount(env.store());
    need!(disk.is_some(), "nothing can be mounted here");
    let disk = disk.unwrap();
    env.import(bases::busybox().unwrap(), "busybox");
    let data = "some data\n".repeat(20_000);
    let context = env.context(
        "ctx",
        &[
            ("Dockerfile", DOCKERFILE),
            ("data/a", &data),
            ("data/b", &data),
        ],
    );
    let free = || {
        let found = rustix::fs::statvfs(env.store()).unwrap();
        found.f_bavail * found.f_frsize
    };
    let archive = env.out("app.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let build = || {
        env.rbuild([
            "build",
            "-t",
            "app",
            EPOCH,
            "-o",
            &output,
            context.to_str().unwrap(),
        ])
    };
    let before = free();
    build().ok();
    let id = env.image("app").id;
    let needed = before - free();
    let mut n_failed = 0;
    for level in 0..N_LEVELS {
        env.rbuild(["rmi", "app"]).ok();
        env.rbuild(["builder", "prune", "-af"]).ok();
        // The last levels are where names are given.
        disk.fill(needed * (level + 1) / (N_LEVELS - 2));
        let run = build();
        if run.code != Some(0) {
            n_failed += 1;
            let run = run.fails(1);
            let is_clear = ["No space left on device", "database or disk is full"]
                .iter()
                .any(|words| run.stderr.contains(words));
            assert!(is_clear, "level {level}: {}", run.report());
            assert_ne!(
                env.rbuild(["inspect", "app"]).code,
                Some(0),
                "level {level}"
            );
        }
        assert!(!env.rbuild(["fsck"]).stderr.contains("panicked"));
        disk.empty();
        env.rbuild(["fsck"]).ok();
        build().ok();
        assert_eq!(env.image("app").id, id, "level {level}");
    }
    assert!(
        (5..N_LEVELS).contains(&n_failed),
        "{n_failed} of {N_LEVELS} failed"
    );
    drop(disk);
}

/// A store that cannot be written to can be read, and says what it is when it is to be changed.
#[test]
fn a_read_only_store_is_read() {
    need!(
        is_root() && bases::busybox().is_some(),
        "this needs busybox-static and root"
    );
    let env = TestEnv::new();
    env.remove_with_process();
    let disk = SmallDisk::mount(env.store());
    need!(disk.is_some(), "nothing can be mounted here");
    env.import(bases::busybox().unwrap(), "busybox");
    let mut mount = Command::new("mount");
    Run::of(mount.args(["-o", "remount,ro"]).arg(env.store())).ok();
    assert!(env.rbuild(["images"]).ok().stdout.contains("busybox"));
    env.rbuild(["inspect", "busybox"]).ok();
    env.rbuild(["df"]).ok();
    let context = env.context("ctx", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    let run = env.rbuild(["build", context.to_str().unwrap()]).fails(1);
    assert!(
        run.stderr.contains("Read-only file system"),
        "{}",
        run.report()
    );
    let run = env.rbuild(["prune", "-f"]).fails(1);
    assert!(run.stderr.contains("ead-only"), "{}", run.report());
    drop(disk);
}

/// Room is made while a step writes, of what is worth least.
#[test]
fn a_cap_makes_room_during_a_build() {
    need!(bases::busybox().is_some(), "this needs busybox-static");
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let write = |bytes: &str| format!("dd if=/dev/zero bs=64k count=64 of=/{bytes}");
    let old = format!(
        "FROM busybox AS old\nRUN {}\nFROM busybox\nCOPY --from=old /etc/passwd /\n",
        write("old")
    );
    let old = env.context("old", &[("Dockerfile", &old)]);
    env.build(&old, &["-t", "kept"]);
    let cap = du(&env.store()) + (2 << 20);
    let dockerfile = format!(
        "FROM busybox\nRUN --mount=type=cache,target=/c {}; touch /c/written; \
         until [ -e /c/go ]; do sleep 0.05; done\n",
        write("new")
    );
    let context = env.context("new", &[("Dockerfile", &dockerfile)]);
    let mut command = env.command();
    command.args(["build", "-t", "new"]).arg(&context);
    let mut child = command
        .stderr(Stdio::null())
        .env("RBUILD_STORAGE_CAP", cap.to_string())
        .spawn()
        .unwrap();
    let mut cache = None;
    wait_until("the step has written", || {
        let found = fs_err::read_dir(env.store().join("mounts"))
            .into_iter()
            .flatten();
        let found = found.map(|entry| entry.unwrap().path().join("0"));
        cache = found
            .into_iter()
            .find(|cache| cache.join("written").exists());
        cache.is_some()
    });
    wait_until("there is room", || du(&env.store()) <= cap);
    fs_err::write(cache.unwrap().join("go"), "").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(du(&env.store()) <= cap);
    env.rbuild(["fsck"]).ok();
    assert!(env.image("new").has("new"));
    env.image("kept");
}

/// A build that does not fit is stopped, and harms nothing.
#[test]
fn a_cap_stops_a_build_that_is_too_large() {
    need!(bases::busybox().is_some(), "this needs busybox-static");
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let cap = du(&env.store()) + (4 << 20);
    let build = |dockerfile: &str| {
        let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
        let mut command = env.command();
        command.args(["build", "-t", "app"]).arg(&context);
        Run::of(command.env("RBUILD_STORAGE_CAP", cap.to_string()))
    };
    let large = "FROM busybox\nRUN dd if=/dev/zero bs=64k count=200 of=/large; sleep 1000\n";
    let run = build(large).fails(1).says("RBUILD_STORAGE_CAP");
    assert!(
        run.stderr.contains("nothing more can be removed"),
        "{}",
        run.report()
    );
    assert!(du(&env.store()) <= cap, "{}", run.report());
    env.rbuild(["fsck"]).ok();
    env.rbuild(["inspect", "app"]).fails(1);
    build("FROM busybox\nRUN echo x > /small\n").ok();
    assert_eq!(env.image("app").text("small"), "x\n");
    let mut command = env.command();
    command
        .args(["build", "."])
        .env("RBUILD_STORAGE_CAP", "much");
    Run::of(&mut command).fails(2);
}

/// With few descriptors a build works or says what is missing; the store is sound in any case.
#[test]
fn too_few_descriptors_do_no_harm() {
    need!(bases::busybox().is_some(), "this needs busybox-static");
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let context = env.context("ctx", &[("Dockerfile", DOCKERFILE), ("data/a", "a\n")]);
    let id = env.build(&context, &["-t", "app", EPOCH]);
    for limit in [4, 8, 12, 16, 20, 24, 28, 32, 40, 64] {
        env.rbuild(["rmi", "app"]).ok();
        env.rbuild(["builder", "prune", "-af"]).ok();
        let program = env.command();
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -n $0 && exec \"$@\""])
            .arg(limit.to_string())
            .arg(program.get_program())
            .args(["build", "-t", "app", EPOCH])
            .arg(&context)
            .env_clear();
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let run = Run::of(&mut command);
        assert!(!run.stderr.contains("panicked"), "{}", run.report());
        if run.code != Some(0) {
            let is_clear = ["Too many open files", "No file descriptors available"];
            let is_clear = is_clear.iter().any(|words| run.stderr.contains(words));
            assert!(is_clear || limit < 8, "{}", run.report());
        }
        env.rbuild(["fsck"]).ok();
        assert_eq!(env.build(&context, &["-t", "app", EPOCH]), id, "{limit}");
    }
}

/// What cannot be a store of this program is refused and not touched.
#[test]
fn a_version_that_is_not_ours_is_refused() {
    let env = TestEnv::new();
    let version = env.store().join("VERSION");
    env.rbuild(["images"]).ok();
    for (text, words) in [
        ("2\n", "has format 2"),
        ("garbage", "does not say which format"),
        ("\u{1}\u{2}", "does not say which format"),
    ] {
        fs_err::write(&version, text).unwrap();
        for command in [
            &["images"][..],
            &["prune", "-f"],
            &["fsck", "--repair"],
            &["df"],
        ] {
            env.rbuild(command).fails(1).says(words);
        }
        assert_eq!(fs_err::read_to_string(&version).unwrap(), text);
    }
    // The machine stopped when the store was made.
    fs_err::write(&version, "").unwrap();
    env.rbuild(["images"]).ok();
    env.rbuild(["fsck"]).ok();
}

/// The store of another user is not entered.
#[test]
fn the_store_of_another_user_is_refused() {
    let user = users::ordinary(true);
    need!(
        is_root() && user.is_some(),
        "this needs root and an ordinary user"
    );
    let env = TestEnv::of(user.unwrap());
    let store = env.path("roots");
    fs_err::create_dir(&store).unwrap();
    fs_err::set_permissions(&store, PermissionsExt::from_mode(0o700)).unwrap();
    for command in [
        &["images"][..],
        &["prune", "-f"],
        &["fsck", "--repair"],
        &["df"],
    ] {
        let mut run = env.command();
        let run = Run::of(run.args(command).env("RBUILD_ROOT", &store)).fails(1);
        assert!(run.stderr.contains("Permission denied"), "{}", run.report());
        assert!(
            run.stderr.contains(store.to_str().unwrap()),
            "{}",
            run.report()
        );
    }
    assert_eq!(fs_err::read_dir(&store).unwrap().count(), 0);
}
