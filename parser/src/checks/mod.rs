//! Build checks: rules that warn of what is allowed and yet unwise, and which of them are wanted.
//!
//! A finding is a [`Diagnostic`](crate::diagnostic::Diagnostic) whose `code` is the rule's name
//! ([`rule`] has the table). Rules that need nothing but the file are here; those that need
//! variables, images or other stages are the planner's. All of them are reported as they are found,
//! and a [`Filter`] then leaves out what the file does not want to hear.

pub mod buildkit;
pub mod config;
mod filter;
pub mod fix;
pub mod hadolint;
pub mod rule;
mod shell;

pub use config::CheckConfig;
pub use filter::{Filter, is_rule};
