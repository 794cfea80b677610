//! rbuild-cache: what a step's key is made of, and what earlier steps produced.
//!
//! Keys are computed from typed leaves ([`key`]), records say which layer a key led to
//! ([`record`]), the file-digest cache saves reading context files again ([`files`]), and
//! [`flight`] keeps two processes from doing one step twice. The database may be thrown away at
//! any time: images do not live in it. [`collect`] makes room in the store, [`audit`] checks it,
//! [`recover`] looks after it when the machine has failed. This crate runs nothing and knows no
//! Dockerfile.

pub mod audit;
pub mod collect;
mod database;
mod error;
pub mod files;
pub mod flight;
pub mod key;
pub mod record;
mod recovery;

pub use database::Database;
pub use error::CacheError;
pub use recovery::recover;
