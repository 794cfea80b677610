//! What can go wrong in a build.

use std::path::{Path, PathBuf};

use rbuild_cache::CacheError;
use rbuild_image::error::ImageError;
use rbuild_planner::StepId;
use rbuild_sandbox::{CgroupError, Exceeded, SandboxError};

/// Why a build ended without images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A step failed. Its origin in the plan tells the place in the Dockerfile.
    #[error("step failed")]
    Step {
        /// Which step.
        step: StepId,
        /// Which of its arguments, if one is to blame.
        argument: Option<usize>,
        /// What happened.
        source: Box<StepError>,
    },
    /// The build was cancelled from outside.
    #[error("the build was cancelled")]
    Cancelled,
    /// Something that belongs to no step.
    #[error("cannot finish the build")]
    Finish(#[source] Box<StepError>),
}

/// What happened to a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The command of a `RUN` ended with another code than 0, or by a signal (128 + its number).
    #[error(
        "process \"{}\" did not complete successfully: exit code: {code}{}",
        argv.join(" "),
        exceeded.map(|exceeded| format!(": {exceeded}")).unwrap_or_default()
    )]
    ExitCode {
        /// The command.
        argv: Vec<String>,
        /// Exit code.
        code: i32,
        /// The limit that it ran into, if that is known.
        exceeded: Option<Exceeded>,
        /// The last lines it wrote, raw.
        last_output: Vec<u8>,
    },
    /// Two images that are exported into one place have the same file.
    #[error("cannot overwrite {path} from {first} with {second} when split option is disabled")]
    Overlap {
        /// The path.
        path: String,
        /// Whose file it is.
        first: String,
        /// Who has it as well.
        second: String,
    },
    /// `RUN []`.
    #[error("RUN has no command to run")]
    EmptyCommand,
    /// The user of a `RUN` or `WORKDIR` does not exist in the root file system.
    #[error("unable to find user {user}: no matching entries in passwd file")]
    UnknownUser {
        /// As written.
        user: String,
    },
    /// The group of a `RUN` does not exist in the root file system.
    #[error("unable to find group {group}: no matching entries in group file")]
    UnknownGroup {
        /// As written.
        group: String,
    },
    /// A `RUN` made a file whose name would be taken for a whiteout.
    #[error("the step made `{path}`: names that begin with `.wh.` mark deletions in a layer")]
    WhiteoutName {
        /// Path in the root file system.
        path: String,
    },
    /// A secret that a mount requires was not given.
    #[error("secret {id}: not found")]
    SecretNotFound {
        /// Its id.
        id: String,
    },
    /// A secret that was given cannot be used.
    #[error(transparent)]
    Secret(#[from] crate::secrets::SecretError),
    /// A secret cannot be a variable.
    #[error(
        "secret {id} cannot be the variable {name:?}: one of them has a character that no variable can hold"
    )]
    SecretVariable {
        /// Its id.
        id: String,
        /// The variable's name.
        name: String,
    },
    /// An SSH agent that a mount requires was not given.
    #[error("no SSH key {id:?} forwarded from the client")]
    NoSshKey {
        /// Its id.
        id: String,
    },
    /// What a cache mount is to begin with is no directory.
    #[error("the source of the cache mount {id} is not a directory")]
    CacheSeed {
        /// The id of the cache.
        id: String,
    },
    /// The name of a limit is none that the kernel has.
    #[error("invalid ulimit type: {name}")]
    UnknownLimit {
        /// As given.
        name: String,
    },
    /// `COPY` and `ADD`.
    #[error(transparent)]
    Files(#[from] crate::files::FilesError),
    /// A source could not be fetched.
    #[error("failed to load cache key")]
    Remote {
        /// Which argument of the step.
        argument: usize,
        /// Why.
        source: crate::remotes::RemoteFailure,
    },
    /// An image, layer or blob.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The sandbox could not be set up, or the program could not be started.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The step has no control group.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The program is for a processor that this machine neither has nor emulates.
    #[error("exec {program}: exec format error: nothing here runs programs for {platform}")]
    NoEmulator {
        /// The program.
        program: String,
        /// The step's platform.
        platform: String,
        /// Why, and what to do about it, in full sentences.
        reason: String,
    },
    /// There is no sandbox: why, and what would help.
    #[error("RUN needs a sandbox: {reason}")]
    NoSandbox {
        /// Why.
        reason: String,
    },
    /// A context that the plan names was not given.
    #[error("there is no build context `{name}`")]
    NoContext {
        /// Its name; empty for the main one.
        name: String,
    },
    /// A file could not be used.
    #[error("cannot {doing} {path}")]
    File {
        /// What was being done, e.g. `read`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A file could not be used (the path stands in the source).
    #[error("cannot use a file of the store")]
    Io(#[from] std::io::Error),
    /// The build is being cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Returns what makes a [`StepError::File`] of what the kernel says.
pub(crate) fn failed(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(rustix::io::Errno) -> StepError {
    let path = path.to_owned();
    move |error| StepError::File {
        doing,
        path,
        source: error.into(),
    }
}
