//! What a build fetches: rbuild-remote behind the executor's questions.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rbuild_executor::{Cancel, RemoteFailure, RemoteFile, RemoteTree, Remotes, Secrets};
use rbuild_image::manifest::Descriptor;
use rbuild_image::store::{Store, Verified};
use rbuild_planner::FileSource;
use rbuild_planner::remote::{GitSource, HttpSource, Mtime, UrlLogin};
use rbuild_remote::{
    Body, Checkout, Commit, Login, MAX_BODY, MtimeOf, Remote, RemoteError, Repository, Secret,
    Tree, UrlFile,
};

use crate::environment::{registry_settings, variable};
use crate::size::limit;
use crate::stop::Stop;

/// Variables that git gets under the same name.
const GIT_VARIABLES: &[&str] = &[
    "PATH",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// Variables that git gets under its own name; the first of a name that is set counts.
const RENAMED_VARIABLES: &[(&str, &str)] = &[
    ("http_proxy", "http_proxy"),
    ("HTTP_PROXY", "http_proxy"),
    ("https_proxy", "https_proxy"),
    ("HTTPS_PROXY", "https_proxy"),
    ("all_proxy", "all_proxy"),
    ("ALL_PROXY", "all_proxy"),
    ("no_proxy", "no_proxy"),
    ("NO_PROXY", "no_proxy"),
    ("SSL_CERT_FILE", "GIT_SSL_CAINFO"),
];

/// Fetches for contexts and steps. The store is opened when something is asked for.
pub(crate) struct Fetching {
    root: PathBuf,
    secrets: Arc<Secrets>,
    opened: Arc<OnceLock<Result<(Store, Remote), String>>>,
    stop: Arc<Stop>,
    /// What revisions meant when they were asked for: each is asked once.
    commits: Mutex<HashMap<GitSource, Commit>>,
}

impl std::fmt::Debug for Fetching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetching").finish_non_exhaustive()
    }
}

impl Fetching {
    /// Fetches into the store in `root`, with the build's secrets where servers want them.
    pub(crate) fn new(root: &Path, secrets: Arc<Secrets>, stop: Arc<Stop>) -> Self {
        let opened: Arc<OnceLock<Result<(Store, Remote), String>>> = Arc::default();
        let fetched = Arc::clone(&opened);
        stop.on_stop(move || {
            if let Some(Ok((_, remote))) = fetched.get() {
                remote.cancel();
            }
        });
        Self {
            root: root.to_owned(),
            secrets,
            opened,
            stop,
            commits: Mutex::default(),
        }
    }

    /// What ends fetching early.
    pub(crate) fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }

    /// The store that is fetched into.
    pub(crate) fn store(&self) -> Result<&Store, RemoteFailure> {
        Ok(&self.open()?.0)
    }

    /// Brings a file of the web and opens it; reading checks it. With it comes its time.
    pub(crate) fn open_file(
        &self,
        source: &HttpSource,
    ) -> Result<(Verified<fs_err::File>, Option<i64>), RemoteFailure> {
        let body = self.body(source)?;
        let file = self.store()?.open_blob(&body.digest)?;
        let expected = Descriptor::new("", body.digest, body.size);
        Ok((Verified::new(file, expected), body.last_modified))
    }

    /// Returns the time of a source in seconds since the Unix epoch: when the file changed last, or
    /// when the commit was made.
    pub(crate) fn time_of(&self, source: &FileSource) -> Result<Option<i64>, RemoteFailure> {
        match source {
            FileSource::Http(http) => Ok(self.body(http)?.last_modified),
            FileSource::Git(git) => Ok(Some(self.check_out(git)?.committed)),
            FileSource::Path { .. } | FileSource::Inline { .. } => Ok(None),
        }
    }

    /// Brings a commit's files.
    pub(crate) fn check_out(&self, source: &GitSource) -> Result<Checkout, RemoteFailure> {
        let commit = self.find_commit(source)?;
        let tree = Tree {
            keep_git_dir: source.keep_git_dir.unwrap_or(false),
            submodules: source.submodules,
            mtime: match source.mtime {
                Some(Mtime::Checkout) => MtimeOf::Checkout,
                Some(Mtime::Commit) | None => MtimeOf::Commit,
            },
        };
        let login = source.login.as_ref().map(login);
        let repository = repository(source, login.as_ref());
        let checkout = self
            .remote()?
            .checkout(&repository, &commit, tree, &|| self.stop.is_stopped());
        Ok(checkout?)
    }

    fn find_commit(&self, source: &GitSource) -> Result<Commit, RemoteFailure> {
        let known = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(commit) = known.get(source) {
            return Ok(commit.clone());
        }
        drop(known);
        let login = source.login.as_ref().map(login);
        let repository = repository(source, login.as_ref());
        let commit = self
            .remote()?
            .commit(&repository, &|| self.stop.is_stopped())?;
        let mut known = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever asked first is right: the build has one idea of a revision.
        Ok(known.entry(source.clone()).or_insert(commit).clone())
    }

    fn body(&self, source: &HttpSource) -> Result<Body, RemoteFailure> {
        let login = source.login.as_ref().map(login);
        let wanted = UrlFile {
            url: &source.url,
            login: login.as_ref(),
            checksum: source.checksum.as_ref(),
        };
        Ok(self.remote()?.fetch(&wanted, &|| self.stop.is_stopped())?)
    }

    fn remote(&self) -> Result<&Remote, RemoteFailure> {
        Ok(&self.open()?.1)
    }

    fn open(&self) -> Result<&(Store, Remote), RemoteFailure> {
        let opened = self.opened.get_or_init(|| {
            let store = Store::open(&self.root).map_err(|error| crate::report::chain(&error))?;
            let settings = registry_settings().map_err(|error| error.to_string())?;
            let secrets = Arc::clone(&self.secrets);
            let secret = move |id: &str| {
                let value = secrets.get(id).ok().flatten()?;
                String::from_utf8(value.to_vec()).ok().map(Secret::new)
            };
            let environment = git_environment();
            let max_body = limit("RBUILD_MAX_DOWNLOAD", MAX_BODY)?;
            let remote = Remote::new(store.clone(), settings, Box::new(secret), environment)
                .with_max_body(max_body);
            Ok((store, remote))
        });
        opened.as_ref().map_err(|problem| problem.clone().into())
    }
}

impl Remotes for Fetching {
    fn file(&self, source: &HttpSource, _cancel: &Cancel) -> Result<RemoteFile, RemoteFailure> {
        let body = self.body(source)?;
        Ok(RemoteFile {
            path: self.store()?.blob_path(&body.digest),
            content: body.content,
            size: body.size,
            last_modified: body.last_modified,
        })
    }

    fn forget(&self, source: &HttpSource) -> Result<(), RemoteFailure> {
        Ok(self.remote()?.forget(&source.url)?)
    }

    fn commit(&self, source: &GitSource, _cancel: &Cancel) -> Result<String, RemoteFailure> {
        Ok(self.find_commit(source)?.id)
    }

    fn checkout(
        &self,
        source: &GitSource,
        _commit: &str,
        _cancel: &Cancel,
    ) -> Result<RemoteTree, RemoteFailure> {
        let checkout = self.check_out(source)?;
        Ok(RemoteTree {
            path: checkout.path(),
            holder: Box::new(checkout),
        })
    }
}

/// What to do about an error of fetching.
pub(crate) fn help(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    match error.downcast_ref::<RemoteError>()? {
        RemoteError::NoGit { .. } => {
            Some("install git: the package is called `git` everywhere".to_owned())
        }
        RemoteError::NoRef { .. } => {
            Some("name a branch, a tag or a whole commit id behind `#`".to_owned())
        }
        _ => None,
    }
}

fn login(login: &UrlLogin) -> Login {
    Login {
        user: Secret::new(login.user.clone()),
        password: Secret::new(login.password.clone()),
    }
}

fn repository<'a>(source: &'a GitSource, login: Option<&'a Login>) -> Repository<'a> {
    Repository {
        url: &source.remote,
        login,
        reference: &source.reference,
        checksum: source.checksum.as_deref(),
        by_commit: source.fetch_by_commit,
    }
}

fn git_environment() -> Vec<(String, String)> {
    let same = GIT_VARIABLES.iter().map(|name| (*name, *name));
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, new_name) in same.chain(RENAMED_VARIABLES.iter().copied()) {
        let is_known = found.iter().any(|(known, _)| known == new_name);
        if let (Some(value), false) = (variable(name), is_known) {
            found.push((new_name.to_owned(), value));
        }
    }
    found
}
