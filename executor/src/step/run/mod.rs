//! `RUN`: a process in a sandbox on a snapshot of the parent; its changes are the layer.

mod cache_mounts;
mod inputs;
mod key;
mod mask;
mod mounts;
mod output;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rbuild_cache::record::Record;
use rbuild_image::layer::Rootfs;
use rbuild_planner::{Network, Run, Security};
use rbuild_sandbox::{Cgroups, Exit, Mount, MountKind, Resource, Rlimit, Spec, StepGroup};

use self::inputs::Inputs;
use self::mask::Mask;
use self::mounts::Mounts;
use self::output::Output;
use super::{MadeLayer, StepContext};
use crate::diff;
use crate::error::StepError;
use crate::event::Event;
use crate::files::FilesError;
use crate::owner::{self, Identity};
use crate::schedule::Failure;
use crate::snapshot::{Sandbox, Snapshot};

/// No kernel has more processes.
const MAX_PIDS: u32 = 1 << 22;

/// How often a step is keyed anew when files that it mounts change meanwhile.
const MAX_TRIES: usize = 3;

/// Finds or makes the layer of a `RUN`.
pub(super) fn resolve(context: &StepContext<'_>, run: &Run) -> Result<(Record, bool), Failure> {
    if run.argv.is_empty() {
        return Err(StepError::EmptyCommand.into());
    }
    let mut n_tries = 1;
    loop {
        let inputs = Inputs::find(context, run)?;
        let key = key::key(context, run, &inputs);
        let mut argument = None;
        let found = context.find_or_make(key, || {
            make(context, run, &inputs).map_err(|failure| {
                argument = failure.argument;
                *failure.source
            })
        });
        match found {
            Err(StepError::Files(FilesError::Changed { .. })) if n_tries < MAX_TRIES => {
                n_tries += 1;
            }
            Err(error) => {
                let source = Box::new(error);
                return Err(Failure { argument, source });
            }
            Ok(found) => return Ok(found),
        }
    }
}

fn make(context: &StepContext<'_>, run: &Run, inputs: &Inputs) -> Result<MadeLayer, Failure> {
    let build = context.build;
    let sandbox = build
        .sandbox
        .as_ref()
        .map_err(|reason| StepError::NoSandbox {
            reason: reason.clone(),
        })?;
    let lower = context.parent_rootfs()?;
    let accounts = context.accounts(&lower)?;
    let identity = owner::resolve(&run.user, &accounts)?;
    let mut mounts = mounts::prepare(context, sandbox, run, inputs)?;
    let mut spec = spec(context, run, &identity, &mut mounts)?;
    let workspace = &context.shared.workspace;
    let snapshot = Snapshot::prepare(build, sandbox, workspace, context.parent, &lower, &mut spec)?;
    if let Some(max_tasks) = sandbox.cgroups.as_ref().and_then(Cgroups::max_tasks) {
        // The group has the say; its limit may be higher.
        spec.max_tasks = spec.max_tasks.max(max_tasks.min(MAX_PIDS));
    }
    mounts.while_served(|| execute(context, sandbox, run, &spec))?;
    drop(mounts); // the caches are free
    Ok(pack(context, &snapshot, &lower)?)
}

/// Runs the process to its end.
fn execute(
    context: &StepContext<'_>,
    sandbox: &Sandbox,
    run: &Run,
    spec: &Spec,
) -> Result<(), StepError> {
    let build = context.build;
    let platform = &build.plan.step(context.step).platform;
    let mask = Mask::new(&build.secrets.known());
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let group = match &sandbox.cgroups {
        Some(cgroups) => Some(cgroups.step()?),
        None => None,
    };
    let process = (spec, group.as_ref());
    let (running, leaving) =
        sandbox.spawn(build.plan, platform, process, stdout_end, stderr_end)?;
    if context.shared.runs.is_another_to_come() {
        sandbox.zygote.prepare(spec, group.as_ref());
        if matches!(spec.root, rbuild_sandbox::Root::Overlay { .. }) {
            // If it cannot be, the next step says so.
            drop(context.shared.workspace.prepare(build.store));
        }
    }
    drop(leaving);
    let mut output = Output::new(context, &mask);
    let finished = output.forward(stdout, stderr);
    if !finished? {
        running.kill();
        running.wait()?;
        return Err(StepError::Cancelled);
    }
    let (ended, remains) = running
        .wait_for_program()
        .map_err(|error| sandbox.explain(build.plan, platform, error))?;
    if group.is_some() || spec.privileged {
        // Of a group that is still in use, or a root that its program may still have mounted elsewhere.
        remains.wait()?;
    } else {
        sandbox.leave(remains);
    }
    let exceeded = group.as_ref().and_then(StepGroup::exceeded);
    let code = match ended {
        Exit::Code(0) => {
            if let Some(exceeded) = exceeded {
                let text = format!("a part of this step failed, but not the step: {exceeded}");
                let step = context.step;
                context.send(Event::Notice { step, text });
            }
            return Ok(());
        }
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
    };
    Err(StepError::ExitCode {
        argv: run.argv.iter().map(|word| mask.hide(word)).collect(),
        code,
        exceeded,
        last_output: output.last,
    })
}

/// Turns what the process changed into a published layer.
fn pack(
    context: &StepContext<'_>,
    snapshot: &Snapshot,
    lower: &Rootfs,
) -> Result<MadeLayer, StepError> {
    let epoch = context.build.options.epoch;
    let folder = snapshot.layer_folder();
    let mut notices = Vec::new();
    // A blob is written only where there will be no tree to make it from.
    let packed = match folder {
        Some(_) => diff::pack(snapshot, lower, epoch, None, &mut notices)?,
        None => context
            .pack_with_blob(|blob| diff::pack(snapshot, lower, epoch, Some(blob), &mut notices))?,
    };
    for text in notices {
        context.send(Event::Notice {
            step: context.step,
            text,
        });
    }
    context.publish(packed, folder)
}

fn spec(
    context: &StepContext<'_>,
    run: &Run,
    identity: &Identity,
    mounts: &mut Mounts<'_>,
) -> Result<Spec, StepError> {
    let root = rbuild_sandbox::Root::Directory("/".into()); // the snapshot puts its own in place
    let mut spec = Spec::new(root, run.argv.iter().map(Into::into).collect());
    spec.env = env(run, identity, &mounts.env);
    spec.cwd = run.cwd.clone().into();
    spec.uid = identity.uid;
    spec.gid = identity.gid;
    spec.groups.clone_from(&identity.groups);
    spec.hostname.clone_from(&run.hostname);
    spec.network = match run.network {
        Network::None => rbuild_sandbox::Network::None,
        Network::Default | Network::Host => rbuild_sandbox::Network::Host,
    };
    spec.hosts = hosts_file(run);
    spec.resolv_conf
        .clone_from(&context.build.options.resolv_conf);
    for (name, script) in &run.pipe_scripts {
        spec.mounts.push(Mount {
            target: format!("/dev/pipes/{name}").into(),
            kind: MountKind::File {
                content: script.clone().into_bytes(),
                mode: 0o755,
                uid: 0,
                gid: 0,
            },
        });
    }
    spec.privileged = run.security == Security::Insecure;
    spec.mounts.append(&mut mounts.mounts);
    if let Some(size) = run.limits.shm_size {
        spec.shm_size = size;
    }
    for (name, soft, hard) in &run.limits.ulimits {
        let resource = Resource::from_name(name)
            .ok_or_else(|| StepError::UnknownLimit { name: name.clone() })?;
        spec.rlimits.push(Rlimit {
            resource,
            soft: *soft,
            hard: *hard,
        });
    }
    Ok(spec)
}

/// The variables in BuildKit's order. Of several with one name the last counts, for every program.
fn env(run: &Run, identity: &Identity, own: &[OsString]) -> Vec<OsString> {
    let mut env: Vec<OsString> = run.env.iter().map(Into::into).collect();
    env.extend(run.proxy_env.iter().map(Into::into));
    if !env.iter().any(|variable| name_of(variable) == b"HOME") {
        let home = identity.home.as_deref().unwrap_or("/");
        env.push(format!("HOME={home}").into());
    }
    for variable in own {
        env.retain(|other| name_of(other) != name_of(variable));
        env.push(variable.clone());
    }
    env
}

fn name_of(variable: &OsString) -> &[u8] {
    let bytes = variable.as_bytes();
    bytes.split(|byte| *byte == b'=').next().unwrap_or(bytes)
}

/// `/etc/hosts` of the step: the loopback names, then what was added.
fn hosts_file(run: &Run) -> Vec<u8> {
    let mut text = format!(
        "127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n",
        run.hostname
    );
    for (name, address) in &run.extra_hosts {
        text.extend([address, "\t", name, "\n"]);
    }
    text.into_bytes()
}

fn pipe() -> Result<(OwnedFd, OwnedFd), StepError> {
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    Ok((reader, writer))
}
