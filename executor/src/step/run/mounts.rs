//! From what the plan mounts to what the sandbox mounts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_agent::{Agent, Server};
use rbuild_planner::{Run, RunMount};
use rbuild_sandbox::{BindSource, Mount, MountKind, TargetKind};

use rustix::fs::{Gid, Mode, Uid};

use super::cache_mounts::{CacheDirectory, Request};
use super::inputs::Inputs;
use crate::error::StepError;
use crate::schedule::Failure;
use crate::snapshot::{Access, Sandbox, Stack};
use crate::step::StepContext;

/// What tells programs where an agent is.
const AUTH_SOCK: &str = "SSH_AUTH_SOCK=";

/// Mode of a file system in memory: everybody may use it, as `/tmp`.
const TMPFS_MODE: u32 = 0o1777;

/// What the mounts of a step are made of. It must live as long as the process.
#[derive(Debug, Default)]
pub(super) struct Mounts<'a> {
    /// For the sandbox.
    pub(super) mounts: Vec<Mount>,
    /// Variables that come with them, `NAME=value`.
    pub(super) env: Vec<OsString>,
    /// Sockets and who answers there.
    pub(super) agents: Vec<(Server, &'a Agent)>,
    caches: BTreeMap<String, CacheDirectory>,
    /// What is mounted for them.
    stacks: Vec<Stack>,
}

/// Makes ready what the step's mounts need.
///
/// # Errors
/// A secret or agent that is required and missing; those of bind and cache mounts.
pub(super) fn prepare<'a>(
    context: &'a StepContext<'_>,
    sandbox: &'a Sandbox,
    run: &'a Run,
    inputs: &'a Inputs,
) -> Result<Mounts<'a>, Failure> {
    let mut mounts = Mounts::default();
    mounts.take_caches(context, sandbox, run, inputs)?;
    for (number, mount) in run.mounts.iter().enumerate() {
        let one = One {
            context,
            sandbox,
            run,
            inputs,
            number,
        };
        mounts.add(&one, mount).map_err(|source| Failure {
            argument: Some(number),
            source: Box::new(source),
        })?;
    }
    Ok(mounts)
}

/// One mount and what is around it.
struct One<'a> {
    context: &'a StepContext<'a>,
    sandbox: &'a Sandbox,
    run: &'a Run,
    inputs: &'a Inputs,
    number: usize,
}

impl<'a> Mounts<'a> {
    /// Does something while the agents answer.
    pub(super) fn while_served<T>(
        &self,
        work: impl FnOnce() -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        if self.agents.is_empty() {
            return work();
        }
        let (stop, trigger) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(std::io::Error::from)?;
        std::thread::scope(|scope| {
            // Dropped whatever happens in here, which ends the threads that the scope waits for.
            let _trigger = trigger;
            for (server, agent) in &self.agents {
                let stop = stop.as_fd();
                scope.spawn(move || server.serve(agent, stop));
            }
            work()
        })
    }

    /// Gets all caches, each once: in one order, so that no two steps wait for each other.
    fn take_caches(
        &mut self,
        context: &StepContext<'_>,
        sandbox: &Sandbox,
        run: &Run,
        inputs: &Inputs,
    ) -> Result<(), Failure> {
        let requests = run.mounts.iter().enumerate().filter_map(|(number, mount)| {
            let request = request(mount, inputs, number)?;
            Some((request.identity(), (number, request)))
        });
        // The first of several with the same id decides on sharing.
        let mut wanted = BTreeMap::new();
        for (identity, asked) in requests {
            wanted.entry(identity).or_insert(asked);
        }
        for (identity, (number, request)) in wanted {
            let directory = request.take(context, sandbox).map_err(|source| Failure {
                argument: Some(number),
                source: Box::new(source),
            })?;
            self.caches.insert(identity, directory);
        }
        Ok(())
    }

    fn add(&mut self, one: &One<'a>, mount: &RunMount) -> Result<(), StepError> {
        match mount {
            RunMount::Bind {
                target, writable, ..
            } => {
                let (kind, stack) = one.bind(*writable)?;
                self.stacks.extend(stack);
                self.push(target, kind);
            }
            RunMount::Cache {
                target, read_only, ..
            } => {
                let request = request(mount, one.inputs, one.number);
                let directory = request.and_then(|request| self.caches.get(&request.identity()));
                if let Some(directory) = directory {
                    let kind = MountKind::Bind {
                        source: BindSource::Path(directory.path.clone()),
                        target_kind: TargetKind::Directory,
                        read_only: *read_only,
                    };
                    self.push(target, kind);
                }
            }
            RunMount::Tmpfs { target, size } => {
                let kind = MountKind::Tmpfs {
                    size: *size,
                    mode: TMPFS_MODE,
                };
                self.push(target, kind);
            }
            RunMount::Secret { .. } => self.secret(one, mount)?,
            RunMount::Ssh { .. } => self.agent(one, mount)?,
        }
        Ok(())
    }

    fn secret(&mut self, one: &One<'_>, mount: &RunMount) -> Result<(), StepError> {
        let RunMount::Secret {
            id,
            target,
            env,
            required,
            mode,
            uid,
            gid,
        } = mount
        else {
            return Ok(());
        };
        let value = one.context.build.secrets.get(id)?;
        if value.is_none() && *required {
            return Err(StepError::SecretNotFound { id: id.clone() });
        }
        if let Some(name) = env {
            self.env.push(variable(id, name, value.as_ref())?);
        }
        if let (Some(target), Some(value)) = (target, value) {
            let kind = MountKind::File {
                content: value.to_vec(),
                mode: *mode,
                uid: *uid,
                gid: *gid,
            };
            self.push(one.absolute(target), kind);
        }
        Ok(())
    }

    fn agent(&mut self, one: &One<'a>, mount: &RunMount) -> Result<(), StepError> {
        let RunMount::Ssh {
            id,
            target,
            required,
            mode,
            uid,
            gid,
        } = mount
        else {
            return Ok(());
        };
        let Some(agent) = one.context.build.agents.get(id) else {
            return match required {
                true => Err(StepError::NoSshKey { id: id.clone() }),
                false => Ok(()),
            };
        };
        let staging = one
            .context
            .shared
            .workspace
            .folder(one.context.build.store)?;
        let socket = staging.join("agent");
        let server = Server::bind(&staging, "agent")?;
        let failed = |errno: rustix::io::Errno| StepError::File {
            doing: "make a socket for an SSH agent at",
            path: socket.clone(),
            source: errno.into(),
        };
        if !one.sandbox.owners_are_fake() {
            let owner = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
            rustix::fs::chown(&socket, owner.0, owner.1).map_err(failed)?;
        }
        rustix::fs::chmod(&socket, Mode::from_raw_mode(mode & 0o7777)).map_err(failed)?;
        let kind = MountKind::Bind {
            source: BindSource::Path(socket),
            target_kind: TargetKind::File,
            read_only: true,
        };
        self.push(one.absolute(target), kind);
        let is_set = |variable: &String| variable.starts_with(AUTH_SOCK);
        if self.agents.is_empty() && !one.run.env.iter().any(is_set) {
            self.env.insert(0, format!("{AUTH_SOCK}{target}").into());
        }
        self.agents.push((server, agent));
        Ok(())
    }

    fn push(&mut self, target: impl AsRef<Path>, kind: MountKind) {
        self.mounts.push(Mount {
            target: target.as_ref().to_owned(),
            kind,
        });
    }
}

impl One<'_> {
    fn bind(&self, writable: bool) -> Result<(MountKind, Option<Stack>), StepError> {
        let input = self.inputs.get(self.number).ok_or(StepError::NoContext {
            name: String::new(),
        })?;
        let access = if writable {
            Access::Writable
        } else {
            Access::ReadOnly
        };
        let context = self.context;
        let staging = context.shared.workspace.folder(context.build.store)?;
        let (source, target_kind, stack) = input.mount(context, self.sandbox, access, &staging)?;
        let kind = MountKind::Bind {
            source,
            target_kind,
            read_only: !writable,
        };
        Ok((kind, stack))
    }

    /// A relative target stands below the working directory.
    fn absolute(&self, target: &str) -> PathBuf {
        Path::new(&self.run.cwd).join(target)
    }
}

fn request<'a>(mount: &'a RunMount, inputs: &'a Inputs, number: usize) -> Option<Request<'a>> {
    let RunMount::Cache {
        id,
        sharing,
        mode,
        uid,
        gid,
        ..
    } = mount
    else {
        return None;
    };
    Some(Request {
        id,
        seed: inputs.get(number),
        sharing: *sharing,
        metadata: (*mode, *uid, *gid),
    })
}

/// A secret as a variable; an optional one that is missing is there, and empty.
fn variable(id: &str, name: &str, value: Option<&Arc<[u8]>>) -> Result<OsString, StepError> {
    let value: &[u8] = value.map_or(&[], |value| value);
    if value.contains(&0) || name.contains(['=', '\0']) {
        let (id, name) = (id.to_owned(), name.to_owned());
        return Err(StepError::SecretVariable { id, name });
    }
    let mut variable = format!("{name}=").into_bytes();
    variable.extend_from_slice(value);
    Ok(OsString::from_vec(variable))
}
