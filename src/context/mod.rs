//! The Dockerfile and the build contexts: where they are and what they leave out.

mod archive;
mod directory;
mod dockerfile;
mod named;
mod remote;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rbuild_executor::{Contexts, DirectoryContext};
use rbuild_parser::ignore::Ignore;
use rbuild_planner::remote::RemoteKind;
use rbuild_planner::{ContextName, NamedContext};

pub(crate) use dockerfile::dockerfile_at;
pub(crate) use remote::failure;

use crate::arguments::PlanOptions;
use crate::fetching::Fetching;
use crate::report::{Failure, Source};

/// What a build starts from.
#[derive(Debug)]
pub(crate) struct Input {
    /// The Dockerfile.
    pub(crate) dockerfile: Source,
    /// The directories that files are copied from.
    pub(crate) directories: Contexts,
    /// The named contexts as the planner knows them.
    pub(crate) named: BTreeMap<String, NamedContext>,
    /// The times of contexts that have one.
    pub(crate) times: BTreeMap<String, i64>,
    /// Keeps the folders of contexts that were fetched.
    _fetched: Vec<Box<dyn Any>>,
}

impl Input {
    /// Returns what is left out of the build context.
    pub(crate) fn ignore(&self) -> Option<Arc<Ignore>> {
        let main = self.directories.0.get(&ContextName::default())?;
        Some(Arc::clone(&main.ignore))
    }
}

/// Where the main context comes from.
enum Main {
    /// A directory of this machine.
    Directory(directory::Local),
    /// A folder of ours that what was fetched or piped in was unpacked to.
    Fetched(remote::Folder),
    /// There is none; this is the Dockerfile.
    Dockerfile(Source),
}

/// Reads the Dockerfile and opens the contexts that the options name.
pub(crate) fn open(options: &PlanOptions, fetching: &Fetching) -> Result<Input, Failure> {
    let mut directories = Contexts::default();
    let mut fetched: Vec<Box<dyn Any>> = Vec::new();
    let mut times = BTreeMap::new();
    let mut add = |name: String, folder: remote::Folder| {
        times.extend(folder.time.map(|time| (name.clone(), time)));
        let context = DirectoryContext {
            path: folder.path,
            ignore: Arc::default(),
        };
        directories.0.insert(ContextName(name), context);
        fetched.push(folder.holder);
    };
    let mut locals = Vec::new();
    let dockerfile = match main(options, fetching)? {
        Main::Dockerfile(source) => source,
        Main::Directory(local) => {
            let (source, ignore) = dockerfile::of_directory(options, &local.0, fetching)?;
            let context = DirectoryContext {
                path: local.0,
                ignore: Arc::new(ignore),
            };
            locals.push((String::new(), context));
            source
        }
        Main::Fetched(folder) => {
            let source = dockerfile::of_fetched(options, &folder, fetching)?;
            add(String::new(), folder);
            source
        }
    };
    let mut named = BTreeMap::new();
    for option in &options.build_context {
        let (name, context) = named::parse(option, options, fetching)?;
        let planned = match context {
            named::Named::Image(image) => NamedContext::Image(image),
            named::Named::Directory(context) => {
                locals.push((name.clone(), context));
                NamedContext::Directory
            }
            named::Named::Fetched(folder) => {
                add(name.clone(), folder);
                NamedContext::Directory
            }
        };
        named.insert(name, planned);
    }
    for (name, context) in locals {
        directories.0.insert(ContextName(name), context);
    }
    Ok(Input {
        dockerfile,
        directories,
        named,
        times,
        _fetched: fetched,
    })
}

/// Finds out what the main context is, and brings it. A directory of that name wins over a URL.
fn main(options: &PlanOptions, fetching: &Fetching) -> Result<Main, Failure> {
    if options.context == "-" {
        return remote::from_stdin(options, fetching);
    }
    let shown = options.context.to_string_lossy();
    let kind = RemoteKind::of_context(&shown);
    match kind.filter(|_| !Path::new(&options.context).is_dir()) {
        None => directory::Local::open(Path::new(&options.context)).map(Main::Directory),
        Some(RemoteKind::Git) => remote::of_git(&shown, options, fetching).map(Main::Fetched),
        Some(RemoteKind::Url) => match remote::of_url(&shown, fetching)? {
            remote::Found::Folder(folder) => Ok(Main::Fetched(folder)),
            remote::Found::File(folder, source) if options.file.is_none() => {
                // The file is the Dockerfile, and the whole context as well.
                Ok(Main::Fetched(folder.with_dockerfile(source)))
            }
            remote::Found::File(folder, _) => Ok(Main::Fetched(folder)),
        },
    }
}
