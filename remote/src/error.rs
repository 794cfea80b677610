//! What can go wrong when something is fetched.

use std::io;
use std::sync::Arc;

use rbuild_image::error::ImageError;
use rbuild_registry::RegistryError;

/// An error of fetching. No message and no field holds a secret or a URL's query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// A web server did not give the file.
    #[error(transparent)]
    Web(#[from] RegistryError),
    /// As [`RemoteError::Web`], told to several threads.
    #[error(transparent)]
    Settings(#[from] Arc<RegistryError>),
    /// The store.
    #[error(transparent)]
    Store(#[from] ImageError),
    /// A file of the store or the staging could not be used.
    #[error("cannot {doing}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// The system's own words.
        source: io::Error,
    },
    /// A file is larger than is read.
    #[error(
        "{subject} is larger than the {limit_bytes} bytes that are allowed or free on the disk"
    )]
    TooLarge {
        /// The URL, without its query.
        subject: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// A file is not the one that was wanted.
    #[error("digest mismatch {found}: {expected}")]
    DigestMismatch {
        /// What came.
        found: String,
        /// What was wanted.
        expected: String,
    },
    /// There is no program `git`.
    #[error("git is needed to fetch {remote}, and it is not installed")]
    NoGit {
        /// The repository.
        remote: String,
    },
    /// `git` failed.
    #[error("failed to {doing} {remote}: {said}")]
    Git {
        /// What was being done, e.g. `fetch`.
        doing: &'static str,
        /// The repository.
        remote: String,
        /// What git wrote last.
        said: String,
    },
    /// A URL or a revision that is not handed to git.
    #[error("{what} cannot be used: {problem}")]
    Refused {
        /// What, quoted.
        what: String,
        /// Why not.
        problem: &'static str,
    },
    /// The repository has no such branch, tag or commit.
    #[error("repository does not contain ref {reference}")]
    NoRef {
        /// As asked for.
        reference: String,
    },
    /// The revision is not the one that was wanted.
    #[error("expected checksum to match {expected}, got {found}")]
    CommitMismatch {
        /// What was wanted.
        expected: String,
        /// What the repository has.
        found: String,
    },
    /// The checkout has no such folder.
    #[error("invalid subdir {subdir}: {problem}")]
    Subdir {
        /// As asked for.
        subdir: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The build is being cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl RemoteError {
    pub(crate) fn file(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, source }
    }
}
