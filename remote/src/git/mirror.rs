//! What was fetched of a repository before: a bare repository in the store.
//!
//! It is named by the URL's hash and knows no URL and no credentials. One process works on it at a
//! time. Commits are kept under `refs/rbuild/<id>`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rbuild_image::store::remove_tree;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Commit;
use super::command::{Call, Git};
use crate::{RemoteError, name_of};

/// Where mirrors keep a commit, or the tag that leads to it.
const KEPT: &str = "refs/rbuild/";

pub(super) struct Mirror<'g> {
    pub(super) path: PathBuf,
    pub(super) git: &'g Git<'g>,
    /// Keeps other processes away.
    _lock: fs_err::File,
}

impl<'g> Mirror<'g> {
    /// Waits until nobody else uses the mirror of `url` in `folder`.
    pub(super) fn lock(folder: &Path, url: &str, git: &'g Git<'g>) -> Result<Self, RemoteError> {
        const PAUSE: Duration = Duration::from_millis(20);
        let doing = "lock the mirror of a repository";
        let name = name_of(url);
        let lock = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(format!("{name}.lock")))
            .map_err(RemoteError::file(doing))?;
        loop {
            match flock(lock.file(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if (git.cancelled)() => return Err(RemoteError::Cancelled),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
                // A file system without locks: git has its own.
                Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK) => break,
                Err(errno) => return Err(RemoteError::file(doing)(errno.into())),
            }
        }
        Ok(Self {
            path: folder.join(name),
            git,
            _lock: lock,
        })
    }

    /// Works with the mirror. One that turns out to be damaged is made anew, once.
    pub(super) fn with<T>(
        &self,
        work: impl Fn(&Self) -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let is_old = fs_err::symlink_metadata(self.path.join("HEAD")).is_ok();
        self.make()?;
        match work(self) {
            Err(RemoteError::Git { .. }) if is_old && self.is_damaged() => {
                remove_tree(&self.path).map_err(RemoteError::file("remove a damaged mirror"))?;
                self.make()?;
                work(self)
            }
            other => other,
        }
    }

    fn is_damaged(&self) -> bool {
        let args = [
            "fsck",
            "--connectivity-only",
            "--no-dangling",
            "--no-progress",
        ];
        self.git.run(&self.call("look into"), &args).is_err()
    }

    fn make(&self) -> Result<(), RemoteError> {
        if fs_err::symlink_metadata(self.path.join("HEAD")).is_ok() {
            return Ok(());
        }
        let call = Call {
            doing: "make a mirror of",
            is_quick: true,
            ..Call::default()
        };
        let path = self.path.as_os_str();
        let args = ["init", "--quiet", "--bare", "--"].map(AsRef::as_ref);
        self.git.run(&call, &[&args[..], &[path]].concat())?;
        Ok(())
    }

    /// Fetches a commit unless it is here.
    pub(super) fn bring(&self, commit: &Commit) -> Result<(), RemoteError> {
        if self.has(commit) {
            return Ok(());
        }
        let keep = format!("{KEPT}{}", commit.id);
        let by_name = format!("+{}:{keep}", commit.name);
        let by_id = format!("+{}:{keep}", commit.id);
        let mut last = None;
        let attempts = [
            // By its name first: every server can do that.
            (!commit.name.is_empty()).then(|| vec!["--depth=1", "--no-tags", by_name.as_str()]),
            Some(vec!["--depth=1", "--no-tags", by_id.as_str()]),
            // Servers that know neither shallow fetches nor commits by their id.
            Some(vec!["--tags", "+refs/heads/*:refs/heads/*"]),
        ];
        for options in attempts.iter().flatten() {
            match self.fetch(options) {
                Ok(()) if self.has_commit(commit) => return self.keep(commit),
                Ok(()) => {}
                Err(RemoteError::Cancelled) => return Err(RemoteError::Cancelled),
                Err(error) => {
                    last.get_or_insert(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| RemoteError::NoRef {
            reference: commit.id.clone(),
        }))
    }

    fn fetch(&self, options: &[&str]) -> Result<(), RemoteError> {
        let (refs, options): (Vec<&str>, Vec<&str>) =
            options.iter().partition(|word| word.starts_with('+'));
        let mut args = vec!["fetch", "--quiet", "--force", "--no-write-fetch-head"];
        args.extend(options);
        args.extend(["--", self.git.remote]);
        args.extend(refs);
        self.git.run(&self.call("fetch"), &args)?;
        Ok(())
    }

    /// Names what a fetch of everything brought.
    fn keep(&self, commit: &Commit) -> Result<(), RemoteError> {
        let keep = format!("{KEPT}{}", commit.id);
        if self.is_there(&format!("{keep}^{{commit}}")) {
            return Ok(());
        }
        let args = ["update-ref", keep.as_str(), commit.id.as_str()];
        self.git.run(&self.call("keep a commit of"), &args)?;
        Ok(())
    }

    fn has(&self, commit: &Commit) -> bool {
        self.is_there(&format!("{KEPT}{}^{{commit}}", commit.id)) && self.has_commit(commit)
    }

    fn has_commit(&self, commit: &Commit) -> bool {
        self.is_there(&format!("{}^{{tree}}", commit.id))
    }

    /// Tells whether an object is here.
    pub(super) fn is_there(&self, object: &str) -> bool {
        let call = Call {
            is_quick: true,
            ..self.call("look into")
        };
        self.git.run(&call, &["cat-file", "-e", object]).is_ok()
    }

    /// The name under which a commit is kept.
    pub(super) fn kept(commit: &Commit) -> String {
        format!("{KEPT}{}", commit.id)
    }

    pub(super) fn call(&self, doing: &'static str) -> Call<'_> {
        Call {
            doing,
            git_dir: Some(&self.path),
            ..Call::default()
        }
    }
}
