//! Plans of small Dockerfiles, compared with what BuildKit makes of them.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod checks;
mod config;
mod files;
mod limits;
mod mounts;
mod needs;
mod onbuild;
mod outline;
mod platforms;
mod render;
mod scopes;
mod stages;
mod support;
