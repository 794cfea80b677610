//! Contexts that are fetched or piped in: archives, single files, git repositories.
//!
//! They become folders of the store's staging, which go with the build. Ignore files in them do not
//! count: what was sent was chosen.

use std::any::Any;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use rbuild_executor::RemoteFailure;
use rbuild_parser::boolean::parse_bool;
use rbuild_planner::remote::{GitSource, HttpSource, mask_logins};

use super::{Main, archive, dockerfile};
use crate::arguments::PlanOptions;
use crate::environment::variable;
use crate::fetching::{self, Fetching};
use crate::report::{Failure, Source, chain};
use crate::stop::{Input, Stoppable};

/// Name of a single file that is a context.
const FILE: &str = "context";

/// Keeps `.git` in the main context.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// A folder of ours.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Removes the folder when it is dropped.
    pub(super) holder: Box<dyn Any>,
    /// The Dockerfile, if it is known already.
    pub(super) dockerfile: Option<Source>,
    /// The time of what is in it, in seconds since the Unix epoch.
    pub(super) time: Option<i64>,
}

/// What a URL was.
pub(super) enum Found {
    /// An archive.
    Folder(Folder),
    /// A file, and a folder that holds nothing else.
    File(Folder, Source),
}

impl Folder {
    /// Makes an empty folder in the store's staging.
    fn new(fetching: &Fetching) -> Result<Self, Failure> {
        let staging = fetching
            .store()
            .map_err(|error| failure(&error))?
            .staging_dir()?;
        let path = staging.path().join("context");
        fs_err::create_dir(&path)?;
        Ok(Self {
            path,
            holder: Box::new(staging),
            dockerfile: None,
            time: None,
        })
    }

    pub(super) fn with_dockerfile(mut self, source: Source) -> Self {
        self.dockerfile = Some(source);
        self
    }
}

/// `-`: standard input is an archive, or else the Dockerfile, and there is nothing to copy.
pub(super) fn from_stdin(options: &PlanOptions, fetching: &Fetching) -> Result<Main, Failure> {
    let file = options.file.as_deref();
    if file == Some(Path::new("-")) {
        return Err(Failure::message(
            "invalid argument: can't use stdin for both build context and dockerfile",
        ));
    }
    dockerfile::refuse_terminal(&std::io::stdin())?;
    let (start, rest) = peek(Input::new(fetching.stop()))?;
    let whole = Cursor::new(start.clone()).chain(rest);
    if archive::is_archive(&start) {
        let mut folder = Folder::new(fetching)?;
        folder.time = archive::unpack_into(Box::new(whole), &folder.path)?;
        return Ok(Main::Fetched(folder));
    }
    if file.is_some() {
        return Err(Failure::message(
            "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
        ));
    }
    dockerfile::from_reader(&mut { whole }, "-").map(Main::Dockerfile)
}

/// Fetches a URL: an archive is unpacked, any other file stands alone.
pub(super) fn of_url(url: &str, fetching: &Fetching) -> Result<Found, Failure> {
    let source = url_source(url)?;
    let (file, time) = fetching
        .open_file(&source)
        .map_err(|error| context_failure(url, &error))?;
    let (start, rest) = peek(Stoppable::new(file, fetching.stop()))?;
    let mut whole = Cursor::new(start.clone()).chain(rest);
    let mut folder = Folder::new(fetching)?;
    folder.time = time;
    if archive::is_archive(&start) {
        let newest = archive::unpack_into(Box::new(whole), &folder.path)?;
        folder.time = time.or(newest);
        return Ok(Found::Folder(folder));
    }
    let dockerfile = dockerfile::from_reader(&mut whole, &mask_logins(url))?;
    fs_err::write(folder.path.join(FILE), &dockerfile.text)?;
    Ok(Found::File(folder, dockerfile))
}

/// Fetches a Dockerfile.
pub(super) fn dockerfile(url: &str, fetching: &Fetching) -> Result<Source, Failure> {
    let source = url_source(url)?;
    let (mut file, _) = fetching
        .open_file(&source)
        .map_err(|error| failure(&error))?;
    dockerfile::from_reader(&mut file, &mask_logins(url))
}

/// Checks a git repository out.
pub(super) fn of_git(
    reference: &str,
    options: &PlanOptions,
    fetching: &Fetching,
) -> Result<Folder, Failure> {
    let mut source = GitSource::parse(reference)
        .map_err(|fault| Failure::message(mask_logins(&fault.to_string())))?;
    if source.keep_git_dir.is_none() {
        source.keep_git_dir = Some(keeps_git_dir(options));
    }
    let checkout = fetching
        .check_out(&source)
        .map_err(|error| context_failure(reference, &error))?;
    let path = checkout.subdirectory(&source.subdir)?;
    Ok(Folder {
        path,
        time: Some(checkout.committed),
        holder: Box::new(checkout),
        dockerfile: None,
    })
}

/// The build argument, or else the environment.
fn keeps_git_dir(options: &PlanOptions) -> bool {
    let arguments = options.build_arg.iter().rev();
    let argument = arguments
        .filter_map(|argument| argument.split_once('='))
        .find(|(name, _)| *name == KEEP_GIT_DIR)
        .map(|(_, value)| value.to_owned());
    let value = argument.or_else(|| variable(KEEP_GIT_DIR));
    value.as_deref().and_then(parse_bool).unwrap_or(false)
}

fn url_source(url: &str) -> Result<HttpSource, Failure> {
    HttpSource::parse(url, None)
        .map_err(|problem| Failure::message(format!("invalid URL {}: {problem}", mask_logins(url))))
}

/// Reads as much as tells what something is.
fn peek<R: Read>(mut reader: R) -> Result<(Vec<u8>, R), Failure> {
    let mut start = Vec::new();
    reader
        .by_ref()
        .take(archive::START as u64)
        .read_to_end(&mut start)?;
    Ok((start, reader))
}

fn context_failure(what: &str, error: &RemoteFailure) -> Failure {
    let what = mask_logins(what);
    with_prefix(
        &format!("unable to prepare context: cannot load {what}: "),
        error,
    )
}

pub(crate) fn failure(error: &RemoteFailure) -> Failure {
    with_prefix("", error)
}

fn with_prefix(prefix: &str, error: &RemoteFailure) -> Failure {
    let text = format!("{prefix}{}", chain(error.as_ref()));
    match fetching::help(error.as_ref()) {
        Some(help) => Failure::with_help(text, help),
        None => Failure::message(text),
    }
}
