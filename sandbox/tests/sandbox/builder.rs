//! The building process: enters, starts the helper, runs one step as its arguments say, and reports.
//!
//! `as-builder BASE ISOLATION [OPTION…] -- ARGV…`, where BASE has `lower`, `stub`, `upper` and `work`. The step's
//! output goes to our own; what came of it, and facts about the building process, go to `BASE/result` line by line.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rbuild_sandbox::{
    BindSource, Entered, Exit, Isolation, Mount, MountKind, Network, Overlay, Resource, Rlimit,
    Root, Running, SandboxError, Spec, TargetKind, Upper, Zygote, enter, mount_points,
    probe_overlay,
};

struct Options {
    spec: Spec,
    /// Names of files in the upper directory: the step is killed, terminated or dropped once the file
    /// is there.
    kill_when: Option<String>,
    terminate_when: Option<String>,
    drop_when: Option<String>,
    repeat: u32,
    threads: u32,
    stubs: bool,
}

pub(crate) fn main(args: Vec<String>) -> ExitCode {
    let mut args = args.into_iter();
    let (base, wish) = (PathBuf::from(args.next().unwrap()), args.next().unwrap());
    let report = match build(&base, &wish, args) {
        Ok(report) => report,
        Err(error) => describe(&error),
    };
    fs_err::write(base.join("result"), report).unwrap();
    ExitCode::SUCCESS
}

/// Removes what a step made, some of which belongs to ids that only exist in the user namespace.
pub(crate) fn clean(base: &str) -> ExitCode {
    enter(Isolation::Auto).unwrap();
    for name in ["upper", "work", "upper2", "work2", "many"] {
        drop(fs_err::remove_dir_all(Path::new(base).join(name))); // most cases do not have all of them
    }
    ExitCode::SUCCESS
}

fn build(
    base: &Path,
    wish: &str,
    args: impl Iterator<Item = String>,
) -> Result<String, SandboxError> {
    let wish = match wish {
        "root" => Isolation::Root,
        "identity" => Isolation::Identity,
        "subordinate" => Isolation::SubordinateIds,
        "single" => Isolation::SingleId,
        _ => Isolation::Auto,
    };
    let Entered {
        mode,
        device_nodes,
        own_user_namespace: _,
        notes,
    } = enter(wish)?;
    let zygote = Zygote::start()?;
    let overlay = probe_overlay(base);
    let mut report = format!("mode {mode:?}\ndevice_nodes {device_nodes}\noverlay {overlay:?}\n");
    for note in notes {
        writeln!(report, "note {note}").unwrap();
    }
    let options = parse(base, &overlay, args);
    clear(base, &["stub", "upper", "work"]);
    if options.stubs {
        make_stubs(&base.join("stub"), &options.spec);
    }
    run(base, &zygote, &options, &mut report)?;
    Ok(report)
}

/// An upper directory is used once, as in real life.
fn clear(base: &Path, names: &[&str]) {
    for name in names {
        fs_err::remove_dir_all(base.join(name)).unwrap();
        fs_err::create_dir(base.join(name)).unwrap();
    }
}

fn run(
    base: &Path,
    zygote: &Zygote,
    options: &Options,
    report: &mut String,
) -> Result<(), SandboxError> {
    if options.threads > 0 {
        std::thread::scope(|scope| {
            for _ in 0..options.threads {
                scope.spawn(|| {
                    for _ in 0..options.repeat {
                        let (running, copies) = spawn(zygote, &options.spec).unwrap();
                        assert_eq!(running.wait().unwrap(), Exit::Code(0));
                        copies.into_iter().for_each(|copy| copy.join().unwrap());
                    }
                });
            }
        });
        report.push_str("exit Code(0)\n");
        return Ok(());
    }
    if options.repeat > 1 {
        let mut times = Vec::new();
        for number in 0..options.repeat {
            // Not the same directories emptied: ext4 is slow to create files soon after it has removed some.
            let mut spec = options.spec.clone();
            if let Root::Overlay { upper, work, .. } = &mut spec.root {
                *upper = base.join(format!("many/{number}/upper"));
                *work = base.join(format!("many/{number}/work"));
                fs_err::create_dir_all(upper).unwrap();
                fs_err::create_dir_all(work).unwrap();
            }
            let start = Instant::now();
            let (running, copies) = spawn(zygote, &spec)?;
            running.wait()?;
            times.push(start.elapsed());
            copies.into_iter().for_each(|copy| copy.join().unwrap());
        }
        times.sort();
        let middle = times[times.len() / 2];
        writeln!(report, "min {:?} median {middle:?}", times[0]).unwrap();
        return Ok(());
    }
    let (running, copies) = spawn(zygote, &options.spec)?;
    let killer = running.killer();
    if let Some(name) = &options.drop_when {
        wait_for(&base.join("upper").join(name));
        drop(running);
        copies.into_iter().for_each(|copy| copy.join().unwrap());
        report.push_str("dropped\n");
        return Ok(());
    }
    for (name, kill) in [(&options.kill_when, true), (&options.terminate_when, false)] {
        let Some(name) = name else { continue };
        wait_for(&base.join("upper").join(name));
        if kill {
            killer.kill();
        } else {
            killer.terminate();
        }
    }
    let exit = running.wait();
    copies.into_iter().for_each(|copy| copy.join().unwrap());
    writeln!(report, "exit {:?}", exit?).unwrap();
    Ok(())
}

/// Waits for a file that the step makes.
fn wait_for(path: &Path) {
    let end = Instant::now() + Duration::from_secs(60);
    while fs_err::symlink_metadata(path).is_err() {
        assert!(Instant::now() < end, "the step does not get that far");
        std::thread::sleep(Duration::from_millis(10));
    }
}

type Copies = [JoinHandle<()>; 2];

/// Starts the step with pipes, and threads that copy them to our own output.
fn spawn(zygote: &Zygote, spec: &Spec) -> Result<(Running, Copies), SandboxError> {
    let (out, out_writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (err, err_writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let running = zygote.spawn(spec, out_writer, err_writer)?;
    Ok((running, [copy(out, true), copy(err, false)]))
}

#[expect(clippy::disallowed_methods, reason = "every caller joins it")]
fn copy(pipe: OwnedFd, to_stdout: bool) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::fs::File::from(pipe).read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        if to_stdout {
            print!("{text}");
        } else {
            eprint!("{text}");
        }
    })
}

fn describe(error: &SandboxError) -> String {
    let mut text = format!("error {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        write!(text, ": {cause}").unwrap();
        source = cause.source();
    }
    if let Some(code) = error.shell_exit_code() {
        write!(text, "\nshell_exit_code {code}").unwrap();
    }
    if let Some(help) = error.help() {
        write!(text, "\nhelp {help}").unwrap();
    }
    text + "\n"
}

fn parse(base: &Path, overlay: &Overlay, mut args: impl Iterator<Item = String>) -> Options {
    let root = Root::Overlay {
        lowers: vec![base.join("stub"), base.join("lower")],
        upper: base.join("upper"),
        work: base.join("work"),
        userxattr: *overlay != (Overlay::Kernel { userxattr: false }),
    };
    let mut options = Options {
        spec: Spec::new(root, Vec::new()),
        kill_when: None,
        terminate_when: None,
        drop_when: None,
        repeat: 1,
        threads: 0,
        stubs: true,
    };
    while let Some(option) = args.next() {
        if option == "--" {
            options.spec.argv = args.by_ref().map(OsString::from).collect();
        } else {
            one_option(base, &option, &mut options, &mut || args.next().unwrap());
        }
    }
    options
}

fn one_option(base: &Path, option: &str, options: &mut Options, next: &mut dyn FnMut() -> String) {
    let spec = &mut options.spec;
    match option {
        "directory" => spec.root = Root::Directory(base.join("lower")),
        "clear-env" => spec.env.clear(),
        "env" => spec.env.push(OsString::from(next())),
        "cwd" => spec.cwd = PathBuf::from(next()),
        "uid" => spec.uid = next().parse().unwrap(),
        "gid" => spec.gid = next().parse().unwrap(),
        "group" => spec.groups.push(next().parse().unwrap()),
        "hostname" => spec.hostname = next(),
        "no-network" => spec.network = Network::None,
        "hosts" => spec.hosts = next().into_bytes(),
        "resolv" => spec.resolv_conf = next().into_bytes(),
        "fake" => spec.fake_ownership = true,
        "tasks" => spec.max_tasks = next().parse().unwrap(),
        "rlimit" => {
            let resource = Resource::from_name(&next()).unwrap();
            let (soft, hard) = (next().parse().unwrap(), next().parse().unwrap());
            spec.rlimits.push(Rlimit {
                resource,
                soft,
                hard,
            });
        }
        "kill-when" => options.kill_when = Some(next()),
        "terminate-when" => options.terminate_when = Some(next()),
        "drop-when" => options.drop_when = Some(next()),
        "repeat" => options.repeat = next().parse().unwrap(),
        "threads" => options.threads = next().parse().unwrap(),
        "no-stubs" => options.stubs = false,
        mount => {
            let mount = mount_option(base, mount, &spec.root, next);
            spec.mounts.push(mount);
        }
    }
}

fn mount_option(base: &Path, option: &str, root: &Root, next: &mut dyn FnMut() -> String) -> Mount {
    let userxattr = matches!(
        root,
        Root::Overlay {
            userxattr: true,
            ..
        }
    );
    match option {
        "tmpfs" => {
            let kind = MountKind::Tmpfs {
                size: Some(1 << 20),
                mode: 0o1777,
            };
            Mount {
                target: PathBuf::from(next()),
                kind,
            }
        }
        "file" => {
            let target = PathBuf::from(next());
            let content = next().into_bytes();
            let kind = MountKind::File {
                content,
                mode: 0o750,
                uid: 0,
                gid: 0,
            };
            Mount { target, kind }
        }
        "bind" | "bind-ro" | "bind-inside" | "bind-stack" => {
            let (source, target) = (PathBuf::from(next()), PathBuf::from(next()));
            let is_file = source.is_file();
            let upper = Upper {
                upper: base.join("upper2"),
                work: base.join("work2"),
            };
            let source = match option {
                "bind-inside" => BindSource::Inside {
                    root: base.join("inside"),
                    path: source,
                },
                "bind-stack" => BindSource::Stack {
                    lowers: vec![base.join("stack1"), base.join("stack2")],
                    upper: Some(upper),
                    userxattr,
                    path: source,
                },
                _ => BindSource::Path(source),
            };
            let target_kind = if is_file {
                TargetKind::File
            } else {
                TargetKind::Directory
            };
            let read_only = option == "bind-ro";
            Mount {
                target,
                kind: MountKind::Bind {
                    source,
                    target_kind,
                    read_only,
                },
            }
        }
        other => panic!("option {other}"),
    }
}

/// What the executor does for real: every mount point that the root does not have goes into a throw-away layer.
fn make_stubs(stub: &Path, spec: &Spec) {
    for (path, kind) in mount_points(spec) {
        let path = stub.join(path.strip_prefix("/").unwrap());
        match kind {
            TargetKind::Directory => fs_err::create_dir_all(&path).unwrap(),
            TargetKind::File => {
                fs_err::create_dir_all(path.parent().unwrap()).unwrap();
                fs_err::write(&path, "").unwrap();
            }
        }
    }
}
