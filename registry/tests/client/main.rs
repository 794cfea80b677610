//! The client against servers that misbehave, and against a real registry.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail and speak as tests do"
)]

mod accounts;
mod auth;
mod blobs;
mod certificates;
mod fake;
mod image;
mod manifests;
mod mirrors;
mod push;
mod real;
mod redirects;
mod server;
