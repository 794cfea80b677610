//! Everything that can go wrong in this crate.

use std::io;

use thiserror::Error;

/// Failure to enter the namespaces, to start a step or to learn how it ended.
///
/// That a step's program ends with a code other than 0 is not an error, but an [`crate::Exit`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// Threads were started before [`crate::enter`] or [`crate::Zygote::start`]: a mistake of the program.
    #[error("namespaces can only be entered while one thread runs, not {count}")]
    Threads {
        /// How many threads the process has.
        count: usize,
    },
    /// The machine refuses what isolation needs. `help` says what to change, and how.
    #[error("cannot {step}")]
    Refused {
        /// What was being done.
        step: String,
        /// What to do about it, in full sentences; may span lines.
        help: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kind of isolation that was asked for by name does not suit this process.
    #[error("isolation {wish} is not possible: {reason}")]
    Unavailable {
        /// The wish, as in [`crate::Isolation`]'s `Display`.
        wish: String,
        /// Why not.
        reason: String,
    },
    /// A process of ours could not be prepared, outside of any step.
    #[error("cannot {step}")]
    Start {
        /// What was being done.
        step: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The specification of a step cannot be run as it is, for example a NUL byte in an argument.
    #[error("the step cannot be run: {reason}")]
    Spec {
        /// What is wrong, naming the field.
        reason: String,
    },
    /// The step's root, mounts or limits could not be set up. Its program was not started.
    #[error("cannot {step}")]
    Setup {
        /// What was being done, naming the path or option.
        step: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The step's program could not be executed: not there, not executable, or of a wrong format.
    #[error("cannot run {program}")]
    Exec {
        /// The program as given, `argv[0]`.
        program: String,
        /// `NotFound` where a shell would answer 127, anything else where it would answer 126.
        #[source]
        source: io::Error,
    },
    /// The helper process that starts steps is gone, or answers nonsense. Nothing more can be run.
    #[error("the helper process that starts build steps is gone")]
    Zygote {
        /// What the socket said.
        #[source]
        source: io::Error,
    },
    /// The end of a step could not be learned.
    #[error("cannot wait for the build step's process")]
    Wait {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl SandboxError {
    /// Returns what the user can do about it, if that is known.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Refused { help, .. } => Some(help),
            _ => None,
        }
    }

    /// Returns the exit code that a shell reports where `argv[0]` is not found (127) or cannot be executed (126).
    #[must_use]
    pub fn shell_exit_code(&self) -> Option<i32> {
        match self {
            Self::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound => Some(127),
            Self::Exec { .. } => Some(126),
            _ => None,
        }
    }
}
