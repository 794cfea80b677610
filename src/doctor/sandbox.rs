//! Namespaces, a step's sandbox, overlays, emulators: each is tried.

use std::io;
use std::path::{Path, PathBuf};

use rbuild_sandbox::{
    Architecture, Binfmt, Cgroups, Controller, Entered, Exit, MachineRules, Mode, Overlay,
    QemuDirs, Root, SandboxError, Spec, Surroundings, Zygote, enter, landlock_abi, probe_overlay,
};

use super::{Finding, store};
use crate::ground::{SandboxArguments, told};
use crate::report::{self, Failure};

/// A name that no program has: what a step's sandbox is tried with.
const NO_PROGRAM: &str = "/rbuild-doctor";

/// Returns the rung of isolation and what there is to say about it.
pub(super) fn look(
    root: &Path,
    options: &SandboxArguments,
) -> Result<(Option<String>, Vec<Finding>), Failure> {
    let qemu = options.qemu_dirs()?;
    let started =
        enter(options.isolation.into()).and_then(|entered| Ok((entered, Zygote::start()?)));
    let (entered, zygote) = match started {
        Ok(started) => started,
        Err(error) => {
            let help = error.help().unwrap_or_default();
            let finding = Finding::bad("isolation", report::chain(&error), help);
            return Ok((None, vec![finding]));
        }
    };
    let rung = entered.mode.to_string();
    let mut findings = isolation(&entered);
    let rules = zygote.binfmt(&entered);
    findings.push(steps(&zygote, rules.as_ref().ok()));
    if entered.mode != Mode::Root {
        findings.extend(proc());
    }
    findings.push(landlock());
    findings.push(control_groups(&zygote));
    findings.push(overlay(root));
    findings.push(emulators(&qemu, rules.as_ref().map(drop)));
    Ok((Some(rung), findings))
}

/// The rung, and why it is not a higher one.
fn isolation(entered: &Entered) -> Vec<Finding> {
    let text = match entered.mode {
        Mode::Root => "root: no user namespace is needed",
        Mode::Identity => "identity: a user namespace with every id; device nodes are stand-ins",
        Mode::SubordinateIds => {
            "subordinate-ids: a user namespace with ids of /etc/subuid and /etc/subgid; device nodes are stand-ins"
        }
        Mode::SingleId => {
            "single-id: a user namespace with one id; owners and users are recorded and shown to RUN"
        }
    };
    let mut notes = entered.notes.iter();
    let first = match notes.next() {
        None if entered.mode == Mode::SingleId => Finding::lacking(
            "isolation",
            text,
            "build as a user with subordinate ids, or as root.",
        ),
        None => Finding::good("isolation", text),
        Some(note) => Finding::lacking("isolation", text, note),
    };
    let others = notes.map(|note| Finding::lacking("isolation", text, note));
    std::iter::once(first).chain(others).collect()
}

/// Sets a whole sandbox up; that its program is not there is what shows that the rest is.
fn steps(zygote: &Zygote, rules: Option<&Binfmt>) -> Finding {
    let tried = try_step(zygote, None).and_then(|()| match rules {
        Some(_) => try_step(zygote, rules),
        None => Ok(()),
    });
    match tried {
        Ok(()) => Finding::good("steps", "a sandbox can be set up"),
        Err(failure) => Finding::bad("steps", failure, ""),
    }
}

fn try_step(zygote: &Zygote, rules: Option<&Binfmt>) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    let dir = tempfile::tempdir().map_err(told)?;
    for name in ["dev", "proc", "sys", "etc"] {
        fs_err::create_dir(dir.path().join(name)).map_err(told)?;
    }
    let mut spec = Spec::new(
        Root::Directory(dir.path().to_owned()),
        vec![NO_PROGRAM.into()],
    );
    spec.fake_ownership = rbuild_sandbox::mapped_ids() == Some(1);
    let null = || {
        fs_err::File::create("/dev/null")
            .map(std::fs::File::from)
            .map_err(told)
    };
    let surroundings = Surroundings {
        binfmt: rules,
        ..Surroundings::default()
    };
    let running = zygote
        .spawn_in(surroundings, &spec, null()?.into(), null()?.into())
        .map_err(|error| report::chain(&error))?;
    match running.wait() {
        Err(SandboxError::Exec { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(())
        }
        Err(error) => Err(report::chain(&error)),
        Ok(Exit::Code(code) | Exit::Signal(code)) => {
            Err(format!("{NO_PROGRAM} is there and ended with {code}"))
        }
    }
}

/// Whether a user namespace can have a `/proc` of its own: not where parts of this one are covered.
fn proc() -> Option<Finding> {
    const NO_COVER: &str = "/proc/sys/fs/binfmt_misc";
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let covered: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| point.starts_with("/proc/") && *point != NO_COVER)
        .collect();
    let first = covered.first()?;
    Some(Finding::lacking(
        "proc",
        format!("parts are covered ({first}), as in containers: steps share it for reading"),
        "start the container with `--security-opt systempaths=unconfined` (docker) or \
         `--security-opt unmask=ALL` (podman).",
    ))
}

/// By which controllers the options of `build` can limit steps: groups are made and removed again.
fn control_groups(zygote: &Zygote) -> Finding {
    let options = |controller| match controller {
        Controller::Cpu => "--cpu-shares, --cpu-quota, --cpu-period",
        Controller::Cpuset => "--cpuset-cpus, --cpuset-mems",
        Controller::Memory => "--memory, --memory-swap",
        Controller::Pids => "--pids-limit",
    };
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    let mut reason = None;
    for controller in Controller::ALL {
        match Cgroups::probe(controller, zygote) {
            Ok(()) => there.push(controller.name()),
            Err(error) => {
                missing.push(options(controller));
                reason.get_or_insert(error);
            }
        }
    }
    let there = match there.is_empty() {
        true => "none can be made".to_owned(),
        false => format!("steps can be limited by {}", there.join(", ")),
    };
    match reason {
        None => Finding::good("cgroups", there),
        Some(error) => Finding::lacking(
            "cgroups",
            format!(
                "{there}; builds with {} fail: {}",
                missing.join(", "),
                report::chain(&error)
            ),
            error.help().unwrap_or_default(),
        ),
    }
}

fn landlock() -> Finding {
    match landlock_abi() {
        0 => Finding::lacking(
            "landlock",
            "none: steps can reach abstract sockets of this machine",
            "add landlock to the kernel's `lsm=` parameter, or upgrade it to Linux 6.12.",
        ),
        abi @ 1..6 => Finding::lacking(
            "landlock",
            format!("ABI {abi}: steps can reach abstract sockets of this machine"),
            "upgrade the kernel to Linux 6.12.",
        ),
        abi => Finding::good("landlock", format!("ABI {abi}")),
    }
}

fn overlay(root: &Path) -> Finding {
    let place = store::nearest(root);
    match probe_overlay(&place) {
        Overlay::Kernel { userxattr: false } => Finding::good("overlay", "the kernel's"),
        Overlay::Kernel { userxattr: true } => {
            Finding::good("overlay", "the kernel's, with attributes in user.overlay.*")
        }
        Overlay::None(reason) => Finding::lacking(
            "overlay",
            format!(
                "none in {}, so every RUN copies its root file system: {reason}",
                place.display()
            ),
            "put the store on ext4, xfs, btrfs or tmpfs with --root or RBUILD_ROOT; in a container, on a volume.",
        ),
    }
}

/// What runs programs of each architecture.
fn emulators(qemu: &QemuDirs, rules: Result<(), &SandboxError>) -> Finding {
    let machine = if qemu.is_chosen() {
        MachineRules::default()
    } else {
        MachineRules::look()
    };
    let (mut lines, mut missing) = (Vec::new(), Vec::new());
    let mut reason = None;
    for architecture in Architecture::all() {
        let name = architecture.name();
        let found: Result<PathBuf, String> = match machine.emulator(architecture) {
            Some(path) => Ok(path.to_owned()),
            None => match rules {
                Ok(()) => qemu.find(architecture),
                Err(error) => Err(told(error)),
            },
        };
        match found {
            _ if architecture.is_native() => lines.push(format!("linux/{name}: native")),
            Ok(path) => lines.push(format!("linux/{name}: {}", path.display())),
            Err(error) => {
                missing.push(name);
                reason.get_or_insert(error);
            }
        }
    }
    if !missing.is_empty() {
        lines.push(format!("none for {}", missing.join(", ")));
    }
    let text = lines.join("\n");
    match reason {
        None => Finding::good("platforms", text),
        Some(reason) => Finding::lacking("platforms", text, reason),
    }
}
