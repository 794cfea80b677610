//! `RUN`: a process in a sandbox on a snapshot of the parent; its changes are the layer.

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};

use rbuild_cache::key::{CacheKey, Leaf};
use rbuild_cache::record::Record;
use rbuild_image::layer::Rootfs;
use rbuild_planner::{Network, Run, Step};
use rbuild_sandbox::{Exit, Mount, MountKind, Running, Spec};
use rustix::event::{PollFd, PollFlags, poll};

use super::{MadeLayer, StepContext};
use crate::diff;
use crate::error::StepError;
use crate::event::{Event, Stream};
use crate::owner::{self, Identity};
use crate::snapshot::Snapshot;

/// How much of the output is kept for an error, in bytes.
const LAST_OUTPUT: usize = 8 * 1024;

/// Finds or makes the layer of a `RUN`.
pub(super) fn resolve(context: &StepContext<'_>, run: &Run) -> Result<(Record, bool), StepError> {
    if run.argv.is_empty() {
        return Err(StepError::EmptyCommand);
    }
    if !run.mounts.is_empty() {
        return Err(StepError::NoSandbox {
            reason: "RUN --mount is not carried out yet".to_owned(),
        });
    }
    context.find_or_make(key(context, run), || make(context, run))
}

/// The leaves: `docs/cache-keys.md`.
fn key(context: &StepContext<'_>, run: &Run) -> (CacheKey, Vec<Leaf>) {
    let Run {
        argv,
        env,
        proxy_env: _, // may change without changing the result
        cwd,
        user,
        hostname,
        network,
        extra_hosts,
        pipe_scripts,
        mounts: _,
        security: _,
        limits: _,
    } = run;
    let Step {
        kind: _,
        platform,
        ignore_cache: _,
        origin: _,
    } = context.build.plan.step(context.step);
    let mut key = context.key("run");
    key.text(
        "platform",
        &format!(
            "{platform} {} {}",
            platform.os_version,
            platform.os_features.join(",")
        ),
    );
    key.digest("parent", &context.parent.content_chain());
    for argument in argv {
        key.text("argument", argument);
    }
    for variable in env {
        let name = variable.split('=').next().unwrap_or_default();
        key.text(&format!("env {name}"), variable);
    }
    key.text("cwd", cwd)
        .text("user", user)
        .text("hostname", hostname);
    key.text(
        "network",
        match network {
            Network::Default => "default",
            Network::None => "none",
            Network::Host => "host",
        },
    );
    for (host, _address) in extra_hosts {
        key.text("extra host", host);
    }
    for (name, script) in pipe_scripts {
        key.text(&format!("script {name}"), script);
    }
    key.finish()
}

fn make(context: &StepContext<'_>, run: &Run) -> Result<MadeLayer, StepError> {
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
    let mut spec = spec(context, run, &identity);
    let parent: Vec<_> = context.parent.diff_ids().copied().collect();
    let snapshot = {
        let staging = context.shared.workspace.folder(build.store)?;
        Snapshot::prepare(build, sandbox, &staging, &parent, &lower, &mut spec)?
    };

    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let platform = &build.plan.step(context.step).platform;
    let running = sandbox.spawn(build.plan, platform, &spec, stdout_end, stderr_end)?;
    let mut output = Output {
        context,
        last: Vec::new(),
    };
    let finished = output.forward(&running, stdout, stderr);
    if !finished? {
        running.kill();
        running.wait()?;
        return Err(StepError::Cancelled);
    }
    let ended = running
        .wait()
        .map_err(|error| sandbox.explain(build.plan, platform, error))?;
    let code = match ended {
        Exit::Code(0) => return pack(context, &snapshot, &lower),
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
    };
    Err(StepError::ExitCode {
        argv: run.argv.clone(),
        code,
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
    let tree = snapshot.layer_tree();
    let mut notices = Vec::new();
    // A blob is written only where there will be no tree to make it from.
    let packed = match tree {
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
    context.publish(packed, tree)
}

fn spec(context: &StepContext<'_>, run: &Run, identity: &Identity) -> Spec {
    let mut env = run.env.clone();
    env.extend(run.proxy_env.iter().cloned());
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        let home = identity.home.clone().unwrap_or_else(|| "/".into());
        env.push(format!("HOME={home}"));
    }
    let root = rbuild_sandbox::Root::Directory("/".into()); // the snapshot puts its own in place
    let mut spec = Spec::new(root, run.argv.iter().map(Into::into).collect());
    spec.env = env.into_iter().map(Into::into).collect();
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
    spec
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

/// Carries a process's output to the events.
struct Output<'a> {
    context: &'a StepContext<'a>,
    /// The end of it, for an error.
    last: Vec<u8>,
}

impl Output<'_> {
    /// Reads both pipes until they end. False: the build was cancelled before.
    ///
    /// A process that leaves its output open to a daemon ends with its pid namespace, so the pipes
    /// end with it.
    fn forward(
        &mut self,
        running: &Running,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> Result<bool, StepError> {
        let mut streams = [
            (Stream::Stdout, Some(std::fs::File::from(stdout))),
            (Stream::Stderr, Some(std::fs::File::from(stderr))),
        ];
        let mut buffer = vec![0; 64 * 1024];
        while streams.iter().any(|(_, file)| file.is_some()) {
            let ready = self.wait(running, &streams)?;
            if self.context.build.cancel.is_cancelled() {
                return Ok(false);
            }
            for ((stream, file), is_ready) in streams.iter_mut().zip(ready) {
                let Some(open) = file.as_mut().filter(|_| is_ready) else {
                    continue;
                };
                let n_read = open.read(&mut buffer)?;
                if n_read == 0 {
                    *file = None;
                } else {
                    self.take(*stream, &buffer[..n_read]);
                }
            }
        }
        Ok(true)
    }

    /// Waits until a stream has something, or the build is cancelled.
    fn wait(
        &self,
        _running: &Running,
        streams: &[(Stream, Option<std::fs::File>); 2],
    ) -> Result<[bool; 2], StepError> {
        let hangup = self.context.build.cancel.hangup();
        let mut fds = vec![PollFd::from_borrowed_fd(hangup, PollFlags::IN)];
        let mut places = Vec::new();
        for (place, (_, file)) in streams.iter().enumerate() {
            if let Some(file) = file {
                fds.push(PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN));
                places.push(place);
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        let mut ready = [false; 2];
        for (fd, place) in fds[1..].iter().zip(places) {
            ready[place] = !fd.revents().is_empty();
        }
        Ok(ready)
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        let surplus = self.last.len().saturating_sub(LAST_OUTPUT);
        self.last.drain(..surplus);
        self.context.send(Event::Output {
            step: self.context.step,
            stream,
            bytes: bytes.to_vec(),
        });
    }
}
