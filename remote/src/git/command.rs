//! How git is run: a fresh environment, no prompts, no hooks, no configuration but ours.
//!
//! Credentials are in the environment of the process, never on its command line or in a file.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rbuild_registry::Secret;
use rustix::process::{Pid, Signal, kill_process_group};

use super::refs::http_host;
use crate::{Cancelled, RemoteError};

/// Transports that a remote may name.
const PROTOCOLS: &str = "http:https:git:ssh";

/// Most bytes of output that are kept; a listing of refs was filtered by the server.
const MAX_OUTPUT: u64 = 32 << 20;

/// Most bytes of a complaint that are kept.
const MAX_COMPLAINT: u64 = 1 << 20;

/// Longest question, and longest transfer.
const QUICK: Duration = Duration::from_secs(120);
const SLOW: Duration = Duration::from_secs(3600);

const CONFIG: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.autocrlf", "false"),
    ("core.logAllRefUpdates", "false"),
    ("credential.helper", ""),
    ("advice.detachedHead", "false"),
    ("init.defaultBranch", "main"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("protocol.version", "2"),
    // A mirror gives any commit that it has to our own checkouts.
    ("uploadpack.allowAnySHA1InWant", "true"),
    ("safe.directory", "*"),
    // A server that sends nothing for a minute is given up.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
];

/// Runs git for one repository.
pub(super) struct Git<'a> {
    /// The repository's URL, without a password.
    pub(super) remote: &'a str,
    /// Search path, proxies, certificates, ssh agent.
    pub(super) environment: &'a [(String, String)],
    /// A header for the repository's own server.
    pub(super) header: Option<Secret>,
    pub(super) cancelled: Cancelled<'a>,
}

/// How one command is run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Call<'c> {
    /// What it does, for messages.
    pub(super) doing: &'static str,
    /// `GIT_DIR`.
    pub(super) git_dir: Option<&'c Path>,
    /// `GIT_WORK_TREE`, in which it also runs.
    pub(super) work_tree: Option<&'c Path>,
    /// `GIT_INDEX_FILE`.
    pub(super) index: Option<&'c Path>,
    /// True if it may read repositories of this machine: only for paths of our own.
    pub(super) reads_files: bool,
    /// True for a question, false for a transfer.
    pub(super) is_quick: bool,
}

impl Git<'_> {
    /// Runs `git` with these arguments and returns what it wrote.
    ///
    /// # Errors
    /// [`RemoteError::NoGit`], [`RemoteError::Git`] with git's own words,
    /// [`RemoteError::Cancelled`].
    pub(super) fn run<A: AsRef<OsStr>>(
        &self,
        call: &Call<'_>,
        args: &[A],
    ) -> Result<Vec<u8>, RemoteError> {
        let mut command = self.command(call);
        command.args(args);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RemoteError::NoGit {
                remote: self.remote.to_owned(),
            },
            _ => RemoteError::file("start git")(error),
        })?;
        let (output, complaint) = (child.stdout.take(), child.stderr.take());
        let limit = if call.is_quick { QUICK } else { SLOW };
        std::thread::scope(|scope| {
            let output = scope.spawn(|| read_up_to(output, MAX_OUTPUT));
            let complaint = scope.spawn(|| read_up_to(complaint, MAX_COMPLAINT));
            let status = self.wait(&mut child, limit);
            let output = output.join().unwrap_or_default();
            let complaint = complaint.join().unwrap_or_default();
            match status? {
                Some(status) if status.success() => Ok(output),
                Some(_) => Err(self.failure(call.doing, &complaint)),
                None => Err(self.failure(call.doing, b"it takes too long")),
            }
        })
    }

    fn command(&self, call: &Call<'_>) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("LC_ALL", "C")
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TEMPLATE_DIR", "")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
            .current_dir(call.work_tree.unwrap_or(Path::new("/")))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if call.reads_files {
            command.env("GIT_ALLOW_PROTOCOL", format!("file:{PROTOCOLS}"));
        } else {
            command.env("GIT_ALLOW_PROTOCOL", PROTOCOLS);
        }
        for (name, path) in [
            ("GIT_DIR", call.git_dir),
            (
                "GIT_WORK_TREE",
                call.work_tree.filter(|_| call.git_dir.is_some()),
            ),
            ("GIT_INDEX_FILE", call.index),
        ] {
            if let Some(path) = path {
                command.env(name, path);
            }
        }
        for (number, (name, value)) in self.config().iter().enumerate() {
            command
                .env(format!("GIT_CONFIG_KEY_{number}"), name)
                .env(format!("GIT_CONFIG_VALUE_{number}"), value)
                .env("GIT_CONFIG_COUNT", (number + 1).to_string());
        }
        command
    }

    fn config(&self) -> Vec<(String, String)> {
        let mut config: Vec<(String, String)> = CONFIG
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        if let (Some(header), Some(host)) = (&self.header, http_host(self.remote)) {
            let scheme = self.remote.split(':').next().unwrap_or_default();
            let name = format!("http.{scheme}://{host}/.extraHeader");
            config.push((name, header.reveal().to_owned()));
            // git sends such a header to whom it is redirected as well.
            config.push(("http.followRedirects".to_owned(), "false".to_owned()));
        }
        config
    }

    /// Waits for the end; `None` if it did not come in time. What git started ends with it.
    fn wait(&self, child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, RemoteError> {
        const SHORTEST: Duration = Duration::from_millis(1);
        const LONGEST: Duration = Duration::from_millis(50);
        let end = Instant::now() + limit;
        let mut pause = SHORTEST;
        loop {
            let status = child
                .try_wait()
                .map_err(RemoteError::file("wait for git"))?;
            if status.is_some() {
                return Ok(status);
            }
            let is_cancelled = (self.cancelled)();
            if is_cancelled || Instant::now() > end {
                end_child(child).map_err(RemoteError::file("wait for git"))?;
                return if is_cancelled {
                    Err(RemoteError::Cancelled)
                } else {
                    Ok(None)
                };
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST);
        }
    }

    fn failure(&self, doing: &'static str, complaint: &[u8]) -> RemoteError {
        const MAX_LINES: usize = 4;
        let text = String::from_utf8_lossy(complaint);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let last = &lines[lines.len().saturating_sub(MAX_LINES)..];
        let mut said = last.join("; ");
        if let Some(header) = &self.header {
            let value = header.reveal();
            said = said.replace(value, "[secret]");
            if let Some(word) = value.rsplit(' ').next().filter(|word| word.len() > 3) {
                said = said.replace(word, "[secret]");
            }
        }
        if said.is_empty() {
            "git said nothing".clone_into(&mut said);
        }
        RemoteError::Git {
            doing,
            remote: self.remote.to_owned(),
            said,
        }
    }
}

/// Asks the process and all that it started to end; then makes them. Git alone would leave the program that waits for
/// the server, which holds its pipes open.
fn end_child(child: &mut Child) -> io::Result<()> {
    const GRACE: Duration = Duration::from_secs(2);
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let tell = |signal| {
        if group.is_some_and(|group| kill_process_group(group, signal).is_err()) {
            // They have ended in the meantime.
        }
    };
    tell(Signal::TERM);
    let end = Instant::now() + GRACE;
    while child.try_wait()?.is_none() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    tell(Signal::KILL);
    child.wait()?;
    Ok(())
}

/// Reads to the end, keeps the beginning.
fn read_up_to(pipe: Option<impl Read>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // A pipe breaks off when the process is killed; what came until then is what there is.
        drop(pipe.by_ref().take(limit).read_to_end(&mut bytes));
        drop(io::copy(&mut pipe, &mut io::sink()));
    }
    bytes
}
