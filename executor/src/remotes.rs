//! What a build asks of others: files of the web, and commits of git repositories.
//!
//! The executor opens no sockets. Whoever starts a build brings an implementation.

use std::any::Any;
use std::fmt::Debug;
use std::path::PathBuf;

use rbuild_image::layer::entry::ContentDigest;
use rbuild_planner::remote::{GitSource, HttpSource};

use crate::cancel::Cancel;

/// Why something could not be fetched.
pub type RemoteFailure = Box<dyn std::error::Error + Send + Sync>;

/// Fetches; shared by all threads of a build, each of which may wait here.
pub trait Remotes: Sync + Debug {
    /// Brings a file.
    ///
    /// # Errors
    /// Why not.
    fn file(&self, source: &HttpSource, cancel: &Cancel) -> Result<RemoteFile, RemoteFailure>;

    /// Removes what [`Remotes::file`] brought: its bytes are damaged.
    ///
    /// # Errors
    /// Why not.
    fn forget(&self, source: &HttpSource) -> Result<(), RemoteFailure>;

    /// Returns the full id of the commit that a revision means now.
    ///
    /// # Errors
    /// Why not.
    fn commit(&self, source: &GitSource, cancel: &Cancel) -> Result<String, RemoteFailure>;

    /// Brings the files of a commit that [`Remotes::commit`] returned for the same source.
    ///
    /// # Errors
    /// Why not.
    fn checkout(
        &self,
        source: &GitSource,
        commit: &str,
        cancel: &Cancel,
    ) -> Result<RemoteTree, RemoteFailure>;
}

/// A file that was brought here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub content: ContentDigest,
    /// Its length in bytes.
    pub size: u64,
    /// When it changed last, in seconds since the Unix epoch, if the server says so.
    pub last_modified: Option<i64>,
}

/// A commit's files.
#[derive(Debug)]
pub struct RemoteTree {
    /// The folder. Its files belong to nobody else.
    pub path: PathBuf,
    /// Keeps the folder.
    pub holder: Box<dyn Any + Send + Sync>,
}
