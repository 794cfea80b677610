//! rbuild-remote: URLs and git repositories to local files, with what identifies them.
//!
//! A file of the web is identified by its digest, a checkout by its commit. Both are kept in the
//! store, so that what has not changed costs one question. Knows nothing of Dockerfiles; sockets
//! are opened by the registry crate and by `git`.
//!
//! ```text
//! http       a URL to a blob: revalidation, credentials, limits
//! git        a repository and a revision to a commit, a commit to a folder
//!  ├─ refs        which commit a name means
//!  ├─ mirror      what was fetched before, one bare repository a URL
//!  ├─ checkout    a commit's files, with or without .git and submodules
//!  └─ command     how git is run: no prompts, no hooks, no configuration but ours
//! ```
//!
//! In the store: `remote/http/<hash of the URL>.json` says which blob a URL was and how to ask
//! whether it still is; `remote/git/<hash of the URL>/` is a bare repository. Neither holds a user
//! name or a password, and all of it can be deleted at any time.

mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod git;
mod http;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rbuild_image::digest::Digest;
use rbuild_image::store::Store;
use rbuild_registry::{RegistryError, Settings, Web};

pub use error::RemoteError;
pub use git::{Checkout, Commit, MtimeOf, Repository, Tree};
pub use http::{Body, MAX_BODY, UrlFile};
pub use rbuild_registry::Secret;

/// Returns the value of a secret by its id.
pub type SecretLookup = dyn Fn(&str) -> Option<Secret> + Send + Sync;

/// Tells whether the work is to be given up.
pub type Cancelled<'a> = &'a (dyn Fn() -> bool + Sync);

/// A user and a password that stood in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// User; sometimes this is the token.
    pub user: Secret,
    /// Password; may be empty.
    pub password: Secret,
}

/// Fetches, and remembers what it fetched. Shared by all threads of a build.
pub struct Remote {
    store: Store,
    settings: Settings,
    secrets: Box<SecretLookup>,
    git_environment: Vec<(String, String)>,
    web: OnceLock<Result<Web, Arc<RegistryError>>>,
    asked: http::Asked,
    max_body: u64,
}

impl Remote {
    /// Nothing is asked yet. `settings` say how servers are reached, `git_environment` holds the
    /// variables that git gets besides our own: search path, proxies, certificates, ssh agent.
    #[must_use]
    pub fn new(
        store: Store,
        settings: Settings,
        secrets: Box<SecretLookup>,
        git_environment: Vec<(String, String)>,
    ) -> Self {
        Self {
            store,
            settings,
            secrets,
            git_environment,
            web: OnceLock::new(),
            asked: http::Asked::default(),
            max_body: MAX_BODY,
        }
    }

    /// Has files of the web that are larger refused, in bytes.
    #[must_use]
    pub fn with_max_body(mut self, max_body: u64) -> Self {
        self.max_body = max_body;
        self
    }

    /// Breaks off what servers are asked, in every thread. Programs that run are told by who had them run.
    pub fn cancel(&self) {
        if let Some(Ok(web)) = self.web.get() {
            web.cancel();
        }
    }

    /// The folder in which a kind of remote files is remembered; made if it is not there.
    fn folder(&self, kind: &str) -> Result<PathBuf, RemoteError> {
        let folder = self.store.root().join("remote").join(kind);
        fs_err::create_dir_all(&folder).map_err(|source| RemoteError::File {
            doing: "remember what was fetched",
            source,
        })?;
        Ok(folder)
    }

    /// The value of the first of these secrets that there is.
    fn secret(&self, ids: &[String]) -> Option<Secret> {
        ids.iter().find_map(|id| (self.secrets)(id))
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// The name under which a URL is remembered.
fn name_of(url: &str) -> String {
    Digest::of(url.as_bytes()).hex()
}
