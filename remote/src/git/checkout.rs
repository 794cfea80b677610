//! A commit's files in a folder.

use std::fs::Permissions;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rbuild_image::store::{StagingDir, Store, remove_tree};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps};

use super::command::{Call, Git};
use super::mirror::Mirror;
use super::{Commit, MtimeOf, Tree};
use crate::RemoteError;

const GIT_DIR: &str = ".git";

/// A commit's files; the folder is removed with this.
#[derive(Debug)]
pub struct Checkout {
    staging: StagingDir,
    /// When the commit was made, in seconds since the Unix epoch.
    pub committed: i64,
}

impl Checkout {
    /// Returns the folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.staging.path().join("tree")
    }

    /// Returns a folder of the checkout; links are followed within it.
    ///
    /// # Errors
    /// [`RemoteError::Subdir`] if there is no such folder.
    pub fn subdirectory(&self, subdir: &str) -> Result<PathBuf, RemoteError> {
        let bad = |problem: String| RemoteError::Subdir {
            subdir: subdir.to_owned(),
            problem,
        };
        let relative = format!("./{}", subdir.trim_matches('/'));
        let open = |path: &Path, resolve| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::openat(CWD, self.path(), flags, Mode::empty())?;
            rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let folder = open(Path::new(&relative), resolve)
            .map_err(|errno| bad(std::io::Error::from(errno).to_string()))?;
        let real = fs_err::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))
            .map_err(|error| bad(error.to_string()))?;
        let root = fs_err::canonicalize(self.path()).map_err(|error| bad(error.to_string()))?;
        if real.starts_with(&root) {
            Ok(real)
        } else {
            Err(bad("it is not in the repository".to_owned()))
        }
    }
}

/// Checks a commit out of its mirror into the staging of `store`.
pub(super) fn check_out(
    store: &Store,
    mirror: &Mirror<'_>,
    commit: &Commit,
    tree: Tree,
) -> Result<Checkout, RemoteError> {
    let committed = committed(mirror, commit)?;
    let checkout = Checkout {
        staging: store.staging_dir()?,
        committed,
    };
    let dest = checkout.path();
    fs_err::create_dir(&dest).map_err(RemoteError::file("check out a commit"))?;
    let wants_submodules =
        tree.submodules && mirror.is_there(&format!("{}:.gitmodules", commit.id));
    if wants_submodules || tree.keep_git_dir {
        with_repository(mirror, commit, &dest, wants_submodules)?;
    } else {
        let index = checkout.staging.path().join("index");
        let call = Call {
            work_tree: Some(&dest),
            index: Some(&index),
            ..mirror.call("check out a commit of")
        };
        let args = ["read-tree", "--reset", "-u", commit.id.as_str()];
        mirror.git.run(&call, &args)?;
    }
    let finish = Finish {
        keep_git_dir: tree.keep_git_dir,
        mtime: (tree.mtime == MtimeOf::Commit).then_some(committed),
    };
    finish
        .folder(&dest, true)
        .map_err(RemoteError::file("check out a commit"))?;
    Ok(checkout)
}

fn committed(mirror: &Mirror<'_>, commit: &Commit) -> Result<i64, RemoteError> {
    let args = [
        "log",
        "-1",
        "--no-show-signature",
        "--format=%ct",
        commit.id.as_str(),
        "--",
    ];
    let text = mirror.git.run(&mirror.call("look into"), &args)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.trim().parse().unwrap_or(0))
}

/// Makes a repository of its own in `dest`, which has this commit alone.
fn with_repository(
    mirror: &Mirror<'_>,
    commit: &Commit,
    dest: &Path,
    wants_submodules: bool,
) -> Result<(), RemoteError> {
    let git: &Git<'_> = mirror.git;
    let call = Call {
        doing: "check out a commit of",
        work_tree: Some(dest),
        ..Call::default()
    };
    let local = Call {
        reads_files: true,
        ..call
    };
    git.run(&call, &["init", "--quiet", "."])?;
    git.run(&call, &["remote", "add", "--", "origin", git.remote])?;
    let is_named = commit.name.starts_with("refs/heads/") || commit.name.starts_with("refs/tags/");
    let name = if is_named {
        commit.name.as_str()
    } else {
        "refs/rbuild/commit"
    };
    let spec = format!("+{}:{name}", Mirror::kept(commit));
    let from = mirror.path.as_os_str();
    let options = [
        "fetch",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "--no-write-fetch-head",
        "--update-head-ok",
        "--",
    ];
    let options = options.map(AsRef::as_ref);
    git.run(&local, &[&options[..], &[from, spec.as_ref()]].concat())?;
    match commit.name.strip_prefix("refs/heads/") {
        Some(branch) => git.run(&call, &["checkout", "--quiet", "--force", branch, "--"])?,
        None => git.run(
            &call,
            &[
                "checkout",
                "--quiet",
                "--force",
                "--detach",
                commit.id.as_str(),
                "--",
            ],
        )?,
    };
    if wants_submodules {
        let call = Call {
            doing: "fetch submodules of",
            ..call
        };
        let args = [
            "submodule",
            "--quiet",
            "update",
            "--init",
            "--recursive",
            "--depth=1",
        ];
        git.run(&call, &args)?;
    }
    Ok(())
}

/// Gives files the modes and times that they have wherever they are checked out.
struct Finish {
    keep_git_dir: bool,
    mtime: Option<i64>,
}

impl Finish {
    fn folder(&self, folder: &Path, is_top: bool) -> std::io::Result<()> {
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if entry.file_name() == GIT_DIR {
                // git allows no file of that name: it belongs to this repository or a submodule.
                if !self.keep_git_dir {
                    remove_tree(&path)?;
                } else if !is_top {
                    continue;
                }
            } else if kind.is_dir() {
                self.folder(&path, false)?;
            } else {
                if kind.is_file() {
                    let is_executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
                    let mode = if is_executable { 0o755 } else { 0o644 };
                    fs_err::set_permissions(&path, Permissions::from_mode(mode))?;
                }
                self.touch(&path)?;
            }
        }
        fs_err::set_permissions(folder, Permissions::from_mode(0o755))?;
        self.touch(folder)
    }

    fn touch(&self, path: &Path) -> std::io::Result<()> {
        let Some(seconds) = self.mtime else {
            return Ok(());
        };
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(rustix::fs::utimensat(
            CWD,
            path,
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}
