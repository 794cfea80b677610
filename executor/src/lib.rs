//! rbuild-executor: runs a plan.
//!
//! Schedules the steps, looks each up by its cache key, runs those that miss, turns what they
//! changed into layers, and assembles image configs. Prints nothing, reads no environment, knows
//! neither spans nor registries: it reports events, and errors that name the step.

mod assemble;
mod cancel;
mod changes;
mod context;
mod diff;
mod dress;
mod emulation;
mod error;
mod event;
mod execute;
mod export;
mod files;
mod layer_file;
mod owner;
mod remotes;
mod schedule;
mod secrets;
mod snapshot;
mod step;

pub use assemble::BuiltImage;
pub use cancel::Cancel;
pub use error::{BuildError, StepError};
pub use event::{Event, Stream};
pub use execute::{Build, Contexts, DirectoryContext, Options, execute};
pub use export::{Others, Part, check_apart, export_directory, export_tar};
pub use files::FilesError;
pub use remotes::{RemoteFailure, RemoteFile, RemoteTree, Remotes};
pub use secrets::{MAX_SECRET, SecretError, SecretSource, Secrets};
pub use snapshot::Sandbox;
