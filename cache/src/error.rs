//! What can go wrong with the cache.

use std::path::PathBuf;

/// An error of the cache database or of a key's lock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The database refused a statement.
    #[error("cannot {doing} in the cache database {path}")]
    Database {
        /// What was being done, e.g. `look up a record`.
        doing: &'static str,
        /// The database file.
        path: PathBuf,
        /// The database's own words.
        source: rusqlite::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Image(#[from] rbuild_image::error::ImageError),
    /// A file of the cache could not be used.
    #[error("cannot use the cache")]
    Io(#[from] std::io::Error),
    /// The wait for another process was cancelled.
    #[error("cancelled while waiting for another build that runs the same step")]
    Cancelled,
}
