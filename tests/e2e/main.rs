//! End-to-end tests: the program is run as its users run it, and what it leaves is read by other
//! programs or by readers of the tests' own.
//!
//! What a test needs and this machine lacks makes it skip with a notice; `scripts/test.sh` installs
//! everything and makes the ordinary users.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read the environment and the host's files"
)]

mod assemble;
mod build_load;
mod build_push;
mod cache;
mod checks;
mod config;
mod contents;
mod contexts;
mod control_groups;
mod crash;
mod deep;
mod doctor;
mod engines;
mod errors;
mod examples;
mod examples_content;
mod export;
mod exporters;
mod foreign;
mod full;
mod git;
mod hostile;
mod imagetools;
mod instructions;
mod isolation;
mod keys;
mod layer_listings;
mod limits;
mod lint;
mod listings;
mod login;
mod manifest;
mod matrix;
mod memory;
mod mounts;
mod outputs;
mod platforms;
mod power;
mod pull;
mod push;
mod registries;
mod rootless;
mod rungs;
mod secrets;
mod stop;
mod store;
mod support;
mod tools;
mod transcripts;
mod transfers;
mod upkeep;
mod urls;
