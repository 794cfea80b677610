//! A repository and a revision to a commit, and a commit to a folder.

mod checkout;
mod command;
mod mirror;
pub(crate) mod refs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbuild_registry::Secret;

use crate::{Cancelled, Login, Remote, RemoteError};
use command::Git;
use mirror::Mirror;

pub use checkout::Checkout;

/// A repository and a revision of it.
#[derive(Debug, Clone)]
pub struct Repository<'a> {
    /// http, https, git or ssh, or `user@host:path`; without a password.
    pub url: &'a str,
    /// The user that stood in an http or https URL.
    pub login: Option<&'a Login>,
    /// Branch, tag, full reference name or full commit id; empty for the default branch.
    pub reference: &'a str,
    /// The id, or its beginning, that the commit (or the tag) must have.
    pub checksum: Option<&'a str>,
    /// Asks for `checksum` itself; the reference is only a name for it.
    pub by_commit: bool,
}

/// A commit, and the name it was found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Full id.
    pub id: String,
    /// Full name of the reference; empty if the commit was asked for by its id.
    pub name: String,
}

/// What of a commit is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    /// Keeps `.git`.
    pub keep_git_dir: bool,
    /// Brings submodules too.
    pub submodules: bool,
    /// What time files get.
    pub mtime: MtimeOf,
}

/// What time the files of a checkout get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MtimeOf {
    /// Now.
    Checkout,
    /// That of the commit, so that equal commits give equal layers.
    Commit,
}

impl Remote {
    /// Returns the commit that a revision means now.
    ///
    /// # Errors
    /// [`RemoteError::NoRef`], [`RemoteError::CommitMismatch`], [`RemoteError::NoGit`],
    /// [`RemoteError::Git`], [`RemoteError::Refused`], [`RemoteError::Cancelled`].
    pub fn commit(
        &self,
        repository: &Repository<'_>,
        cancelled: Cancelled<'_>,
    ) -> Result<Commit, RemoteError> {
        refs::check_url(repository.url)?;
        refs::check_reference(repository.reference)?;
        let checksum = repository.checksum.unwrap_or_default();
        if repository.by_commit && refs::is_full_id(checksum) {
            return Ok(Commit::by_id(checksum));
        }
        if refs::is_full_id(repository.reference) {
            let commit = Commit::by_id(repository.reference);
            return refs::expect(checksum, &[&commit.id]).map(|()| commit);
        }
        let git = self.git(repository, cancelled)?;
        refs::resolve(&git, repository)
    }

    /// Returns a commit's files in a folder that goes with the result. What was fetched before is
    /// not fetched again.
    ///
    /// # Errors
    /// As for [`Remote::commit`], and those of the store.
    pub fn checkout(
        &self,
        repository: &Repository<'_>,
        commit: &Commit,
        tree: Tree,
        cancelled: Cancelled<'_>,
    ) -> Result<Checkout, RemoteError> {
        refs::check_url(repository.url)?;
        let git = self.git(repository, cancelled)?;
        let mirror = Mirror::lock(&self.folder("git")?, repository.url, &git)?;
        mirror.with(|mirror| {
            mirror.bring(commit)?;
            checkout::check_out(&self.store, mirror, commit, tree)
        })
    }

    fn git<'a>(
        &'a self,
        repository: &Repository<'a>,
        cancelled: Cancelled<'a>,
    ) -> Result<Git<'a>, RemoteError> {
        Ok(Git {
            remote: repository.url,
            environment: &self.git_environment,
            header: self.header(repository)?,
            cancelled,
        })
    }

    /// The `Authorization` header for a repository's server: the URL's user, else a secret.
    fn header(&self, repository: &Repository<'_>) -> Result<Option<Secret>, RemoteError> {
        let Some(host) = refs::http_host(repository.url) else {
            return Ok(None);
        };
        let basic = |user: &str, password: &str| {
            let pair = STANDARD.encode(format!("{user}:{password}"));
            Secret::new(format!("Authorization: basic {pair}"))
        };
        let ids = |kind: &str| {
            [
                format!("GIT_AUTH_{kind}.{host}"),
                format!("GIT_AUTH_{kind}"),
            ]
        };
        let header = if let Some(login) = repository.login {
            Some(basic(login.user.reveal(), login.password.reveal()))
        } else if let Some(header) = self.secret(&ids("HEADER")) {
            Some(Secret::new(format!(
                "Authorization: {}",
                header.reveal().trim()
            )))
        } else {
            self.secret(&ids("TOKEN"))
                .map(|token| basic("x-access-token", token.reveal().trim()))
        };
        let is_bad = |header: &Secret| header.reveal().chars().any(char::is_control);
        if header.as_ref().is_some_and(is_bad) {
            return Err(RemoteError::Refused {
                what: format!("the secret for {host}"),
                problem: "it has control characters in it",
            });
        }
        Ok(header)
    }
}

impl Commit {
    fn by_id(id: &str) -> Self {
        Self {
            id: id.to_ascii_lowercase(),
            name: String::new(),
        }
    }
}
