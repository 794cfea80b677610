//! rbuild-image: what images are made of.
//!
//! References, platforms, configs, manifests and indexes; layers, their index, and tar in and out;
//! the content store; archives. No network, and no knowledge of Dockerfiles.

pub mod analysis;
pub mod archive;
pub mod assemble;
pub mod audit;
pub mod config;
pub mod digest;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod layer;
pub mod layout;
mod lenient;
pub mod manifest;
pub mod media;
pub mod platform;
pub mod record;
pub mod reference;
pub mod select;
pub mod store;
pub mod validate;
