//! A disk that is full, and other things that a store cannot have.

use std::path::PathBuf;
use std::process::Command;

use crate::support::run::Run;
use crate::support::{TestEnv, bases, is_root, need};

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
