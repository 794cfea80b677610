//! The machine stops at any moment, and is started again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::processes::signal;
use crate::support::run::Run;
use crate::support::{TestEnv, bases, find, is_root, need};

const NEEDS: &str = "this needs busybox-static and root";

const EPOCH: &str = "--build-arg=SOURCE_DATE_EPOCH=1";

/// A command of another start of the machine: the kernel's ID of the boot is another one.
fn after_start(env: &TestEnv, n_starts: usize) -> Command {
    let boot = env.path("boot");
    fs_err::write(&boot, format!("00000000-0000-4000-8000-{n_starts:012}\n")).unwrap();
    let inner = env.command();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"")
        .arg(boot)
        .arg(inner.get_program())
        .env_clear()
        .current_dir(env.path("out"));
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
}

/// What a failed build made is on disk when an image that has it gets a name.
#[test]
fn an_image_of_what_others_made_outlives_a_restart() {
    need!(is_root() && bases::busybox().is_some(), "{NEEDS}");
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let step = "FROM busybox\nRUN echo made > /made\n";
    let fails = env.context("fails", &[("Dockerfile", &format!("{step}RUN exit 3\n"))]);
    let works = env.context("works", &[("Dockerfile", step)]);
    env.rbuild(["build", EPOCH, fails.to_str().unwrap()])
        .fails(1);
    let id = env.build(&works, &["-t", "app", EPOCH]);
    // Another one makes the same again, and does not come to its end.
    env.rbuild(["build", "--no-cache", EPOCH, fails.to_str().unwrap()])
        .fails(1);
    Run::of(after_start(&env, 1).arg("fsck")).ok();
    let tar = env.out("app.tar");
    Run::of(
        after_start(&env, 1)
            .args(["save", "-o"])
            .arg(tar)
            .arg("app"),
    )
    .ok();
    let mut again = after_start(&env, 2);
    let again = Run::of(again.args(["build", "--progress=plain", EPOCH]).arg(&works)).ok();
    assert!(again.stderr.contains("CACHED"), "{}", again.report());
    assert!(again.stderr.contains(&id), "{}", again.report());
}

/// A disk that is a file. What the file has at a moment is what a disk would have if the machine
/// stopped then: what the kernel still keeps in memory is not in it.
struct Disk {
    folder: PathBuf,
    file: PathBuf,
}

impl Disk {
    /// `None` where nothing can be mounted.
    fn make(folder: PathBuf, file: PathBuf) -> Option<Self> {
        fs_err::File::create(&file)
            .unwrap()
            .set_len(96 << 20)
            .unwrap();
        let made = Command::new(find("mkfs.ext4")?)
            .args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&file)
            .status();
        let disk = Self { folder, file };
        (made.ok()?.success() && disk.mount()).then_some(disk)
    }

    fn mount(&self) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&self.file).arg(&self.folder);
        mount.output().is_ok_and(|done| done.status.success())
    }

    /// Stops the machine: only what the disk has by now is there after the next start.
    fn stop_and_start(&self) {
        let now = self.file.with_extension("now");
        loop {
            let copy = || Run::of(Command::new("cp").arg(&self.file).arg(&now)).ok();
            copy();
            let mut compare = Command::new("cmp");
            // Nothing may have come to the disk while it was read.
            if Run::of(compare.arg("-s").arg(&self.file).arg(&now)).code == Some(0) {
                break;
            }
        }
        self.unmount();
        fs_err::rename(&now, &self.file).unwrap();
        assert!(self.mount());
    }

    fn unmount(&self) {
        let mut umount = Command::new("umount");
        Run::of(umount.arg("-d").arg(&self.folder)).ok();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-dl").arg(&self.folder).output());
    }
}

/// Makes the file system write its journal while `work` goes on: names come to the disk, and the
/// bytes of files that nobody has synced do not.
fn with_commits<R>(folder: &Path, work: impl FnOnce() -> R) -> R {
    let is_over = AtomicBool::new(false);
    let file = folder.join("journal");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                fs_err::File::create(&file).unwrap().sync_all().unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let result = work();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

const MANY_STEPS: &str = "\
FROM busybox AS tools
RUN mkdir /tools; for n in 1 2 3 4 5 6 7 8; do echo $n > /tools/$n; done
FROM busybox
COPY data /data
RUN cp -r /data /copy; rm /etc/group
COPY --from=tools /tools /tools
RUN rm -r /data; ln /copy/a /linked
";

/// Stopped anywhere in builds, loads and prunes: after each start the store is sound, images that had names
/// are whole, and the next build makes the very same image.
#[test]
fn stopped_at_any_moment() {
    need!(is_root() && bases::busybox().is_some(), "{NEEDS}");
    let env = TestEnv::new();
    env.remove_with_process();
    let folder = env.path("disk");
    fs_err::create_dir(&folder).unwrap();
    let disk = Disk::make(folder.clone(), env.path("disk.img"));
    need!(disk.is_some(), "no disk can be made of a file here");
    let disk = disk.unwrap();
    let store = folder.join("store");
    let rbuild = |n_starts: usize| {
        let mut command = after_start(&env, n_starts);
        command.env("RBUILD_ROOT", &store);
        command
    };
    let text = "some text\n".repeat(2000);
    let context = env.context("ctx", &[("data/a", &text), ("Dockerfile", MANY_STEPS)]);
    let build = |n_starts| {
        let mut command = rbuild(n_starts);
        command
            .args(["build", "-q", "-t", "app", EPOCH])
            .arg(&context);
        command
    };
    let mut import = rbuild(0);
    import.arg("import").arg(bases::busybox().unwrap());
    Run::of(import.env("SOURCE_DATE_EPOCH", "1").arg("busybox")).ok();
    let id = Run::of(&mut build(0)).ok().out().to_owned();
    let archive = env.out("app.tar");
    Run::of(rbuild(0).args(["save", "-o"]).arg(&archive).arg("app")).ok();

    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut limits = [Duration::from_millis(400); 4];
    for n_starts in 0..20 {
        let kind = n_starts % 4;
        let mut command = match kind {
            0 => {
                let mut load = rbuild(n_starts);
                load.args(["load", "-i"]).arg(&archive);
                load
            }
            1 => build(n_starts),
            2 => {
                let mut prune = rbuild(n_starts);
                prune.args(["builder", "prune", "-af"]);
                prune
            }
            _ => {
                let mut build = build(n_starts);
                build.arg("--no-cache");
                build
            }
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let limit = &mut limits[kind];
        let pause = limit.mul_f64((random >> 40) as f64 / f64::from(1 << 24));
        let has_ended = with_commits(&folder, || {
            let mut child = command.spawn().unwrap();
            std::thread::sleep(pause);
            signal(&child, Signal::KILL);
            child.wait().unwrap().success()
        });
        *limit = limit.mul_f64(if has_ended { 0.7 } else { 1.2 });
        disk.stop_and_start();
        let next = n_starts + 1;
        let found = Run::of(rbuild(next).arg("fsck"));
        assert_eq!(found.code, Some(0), "stop {next}: {}", found.report());
        Run::of(rbuild(next).args(["save", "-o", "/dev/null", "busybox"])).ok();
        assert_eq!(Run::of(&mut build(next)).ok().out(), id, "stop {next}");
        Run::of(rbuild(next).arg("fsck")).ok();
        // What was reported is there, whatever happens next.
        disk.stop_and_start();
        Run::of(rbuild(next).args(["save", "-o", "/dev/null", "app"])).ok();
    }
}
