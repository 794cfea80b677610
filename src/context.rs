//! The Dockerfile and the build contexts: where they are and what they leave out.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{IsTerminal as _, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_executor::{Contexts, DirectoryContext};
use rbuild_image::reference::Reference;
use rbuild_parser::ignore::Ignore;
use rbuild_planner::{ContextName, NamedContext};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::arguments::PlanOptions;
use crate::environment::absolute;
use crate::report::{Failure, Source};

/// A Dockerfile that is larger than this is refused, in bytes.
const MAX_DOCKERFILE: u64 = 64 << 20;

/// What a build starts from.
#[derive(Debug)]
pub(crate) struct Input {
    /// The Dockerfile.
    pub(crate) dockerfile: Source,
    /// The directories that files are copied from.
    pub(crate) directories: Contexts,
    /// The named contexts as the planner knows them.
    pub(crate) named: BTreeMap<String, NamedContext>,
}

impl Input {
    /// Returns what is left out of the build context.
    pub(crate) fn ignore(&self) -> Option<Arc<Ignore>> {
        let main = self.directories.0.get(&ContextName::default())?;
        Some(Arc::clone(&main.ignore))
    }
}

/// Reads the Dockerfile and opens the contexts that the options name.
pub(crate) fn open(options: &PlanOptions) -> Result<Input, Failure> {
    let mut directories = Contexts::default();
    let dockerfile = if options.context == "-" {
        dockerfile_alone(options)?
    } else {
        let root = context_directory(&options.context)?;
        let (dockerfile, ignore) = dockerfile_with_context(options, &root)?;
        let main = DirectoryContext {
            path: root,
            ignore: Arc::new(ignore),
        };
        directories.0.insert(ContextName::default(), main);
        dockerfile
    };
    let mut named = BTreeMap::new();
    for option in &options.build_context {
        let (name, context) = named_context(option)?;
        if let (NamedContext::Directory, Some((_, path))) = (&context, option.split_once('=')) {
            directories
                .0
                .insert(ContextName(name.clone()), named_directory(path)?);
        }
        named.insert(name, context);
    }
    Ok(Input {
        dockerfile,
        directories,
        named,
    })
}

/// `-`: standard input is the Dockerfile, and there is nothing to copy.
fn dockerfile_alone(options: &PlanOptions) -> Result<Source, Failure> {
    match options.file.as_deref() {
        None => {}
        Some(file) if file == Path::new("-") => {
            return Err(Failure::message(
                "invalid argument: can't use stdin for both build context and dockerfile",
            ));
        }
        Some(_) => {
            return Err(Failure::message(
                "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
            ));
        }
    }
    let source = read_stdin()?;
    if looks_like_archive(&source.text) {
        return Err(Failure::with_help(
            "this version of rbuild does not read a build context from standard input",
            "unpack the archive and give its directory as PATH",
        ));
    }
    Ok(source)
}

/// Reads a Dockerfile: `-` is standard input, a folder means the Dockerfile in it. The path is given
/// back if there is one.
pub(crate) fn dockerfile_at(path: &Path) -> Result<(Source, Option<PathBuf>), Failure> {
    if path == Path::new("-") {
        return Ok((read_stdin()?, None));
    }
    let mut path = path.to_owned();
    if path.is_dir() {
        let (name, _) = default_dockerfile(&path)?;
        path = match path == Path::new(".") {
            true => PathBuf::from(name),
            false => path.join(name),
        };
    }
    let shown = path.display().to_string();
    let opened = File::options().read(true).open(&path).map_err(|error| {
        Failure::message(format!("failed to read dockerfile: open {shown}: {error}"))
    })?;
    Ok((read(opened, &shown)?, Some(path)))
}

fn read_stdin() -> Result<Source, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::message("nothing was piped into standard input"));
    }
    let mut text = Vec::new();
    stdin
        .lock()
        .take(MAX_DOCKERFILE + 1)
        .read_to_end(&mut text)?;
    bounded(Source {
        name: "-".into(),
        text,
    })
}

/// True for what starts as a tar, gzip, bzip2 or xz file does.
fn looks_like_archive(bytes: &[u8]) -> bool {
    let is_tar = bytes.get(257..262) == Some(b"ustar".as_slice());
    is_tar
        || [&b"\x1f\x8b\x08"[..], b"BZh", b"\xfd7zXZ\0"]
            .iter()
            .any(|magic| bytes.starts_with(magic))
}

fn context_directory(typed: &OsStr) -> Result<PathBuf, Failure> {
    let shown = typed.to_string_lossy();
    if ["http://", "https://", "git://", "ssh://", "git@"]
        .iter()
        .any(|scheme| shown.starts_with(scheme))
    {
        return Err(Failure::with_help(
            format!("this version of rbuild does not fetch a build context: {shown}"),
            "fetch it first and give its directory as PATH",
        ));
    }
    directory(Path::new(typed))
}

fn directory(path: &Path) -> Result<PathBuf, Failure> {
    let shown = path.display();
    match fs_err::canonicalize(path) {
        Ok(found) if found.is_dir() => Ok(found),
        Ok(_) => Err(Failure::message(format!(
            "unable to prepare context: path \"{shown}\" is not a directory"
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::message(
            format!("unable to prepare context: path \"{shown}\" not found"),
        )),
        Err(error) => Err(error.into()),
    }
}

/// The Dockerfile that goes with a context directory, and what is ignored in it.
fn dockerfile_with_context(
    options: &PlanOptions,
    root: &Path,
) -> Result<(Source, Ignore), Failure> {
    let Some(file) = &options.file else {
        let (name, file) = default_dockerfile(root)?;
        let source = read(file, name)?;
        return Ok((source, ignore_file(root, Some(&root.join(name)))?));
    };
    if file == Path::new("-") {
        return Ok((read_stdin()?, ignore_file(root, None)?));
    }
    let path = absolute(file);
    let shown = file.display().to_string();
    let opened = File::options().read(true).open(&path).map_err(|error| {
        Failure::with_help(
            format!("failed to read dockerfile: open {shown}: {error}"),
            "--file is relative to the current directory, not to the build context",
        )
    })?;
    Ok((read(opened, &shown)?, ignore_file(root, Some(&path))?))
}

/// `Dockerfile`, or `dockerfile`, in the context; links that lead out of it are not followed.
fn default_dockerfile(root: &Path) -> Result<(&'static str, File), Failure> {
    for name in ["Dockerfile", "dockerfile"] {
        match open_inside(root, name) {
            Ok(file) => return Ok((name, file)),
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(inside_error(root, name, error)),
        }
    }
    Err(Failure::with_help(
        format!(
            "failed to read dockerfile: open {}: no such file or directory",
            root.join("Dockerfile").display()
        ),
        "name another file with --file",
    ))
}

fn open_inside(root: &Path, name: &str) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(root, name, flags | OFlags::NONBLOCK, Mode::empty(), resolve)?;
    Ok(file.into())
}

fn inside_error(root: &Path, name: &str, error: rustix::io::Errno) -> Failure {
    let path = root.join(name);
    if error == rustix::io::Errno::XDEV {
        return Failure::message(format!(
            "{} is a link that leads out of the build context",
            path.display()
        ));
    }
    Failure::message(format!(
        "cannot read {}: {}",
        path.display(),
        std::io::Error::from(error)
    ))
}

fn read(file: File, name: &str) -> Result<Source, Failure> {
    if !file.metadata()?.is_file() {
        return Err(Failure::message(format!(
            "failed to read dockerfile: {name} is not a regular file"
        )));
    }
    let mut text = Vec::new();
    file.take(MAX_DOCKERFILE + 1).read_to_end(&mut text)?;
    bounded(Source {
        name: name.to_owned(),
        text,
    })
}

fn bounded(source: Source) -> Result<Source, Failure> {
    if source.text.len() as u64 > MAX_DOCKERFILE {
        return Err(Failure::message(format!(
            "{} is larger than {MAX_DOCKERFILE} bytes",
            source.name
        )));
    }
    Ok(source)
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile replaces `.dockerignore` in the context.
fn ignore_file(root: &Path, dockerfile: Option<&Path>) -> Result<Ignore, Failure> {
    if let Some(dockerfile) = dockerfile {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        match File::options().read(true).open(&own) {
            Ok(file) => return parse_ignore(file, &own.to_string_lossy()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failure::message(format!(
                    "cannot read {}: {error}",
                    own.display()
                )));
            }
        }
    }
    match open_inside(root, ".dockerignore") {
        Ok(file) => parse_ignore(file, ".dockerignore"),
        // A link that leads out of the context is not followed; as for BuildKit there is no file.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::XDEV) => Ok(Ignore::default()),
        Err(error) => Err(inside_error(root, ".dockerignore", error)),
    }
}

fn parse_ignore(file: File, name: &str) -> Result<Ignore, Failure> {
    let source = read(file, name)?;
    Ignore::parse(&source.text)
        .map_err(|error| Failure::message(format!("error reading {name}: {error}")))
}

/// Splits `name=value` and tells what the value is.
fn named_context(option: &str) -> Result<(String, NamedContext), Failure> {
    let Some((name, value)) = option
        .split_once('=')
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
    else {
        return Err(Failure::Usage(format!(
            "invalid context value: {option}, expected key=value"
        )));
    };
    let reference = Reference::parse(name)
        .map_err(|error| Failure::Usage(format!("invalid context name {name}: {error}")))?;
    let familiar = reference.familiar();
    let name = familiar
        .strip_suffix(":latest")
        .unwrap_or(&familiar)
        .to_owned();
    let context = if let Some(image) = value.strip_prefix("docker-image://") {
        NamedContext::Image(image.to_owned())
    } else if let Some(path) = value.strip_prefix("oci-layout://") {
        let path = absolute(Path::new(path));
        NamedContext::Image(format!("oci-layout://{}", path.display()))
    } else if value.contains("://") || value.starts_with("target:") || value.starts_with("git@") {
        return Err(Failure::with_help(
            format!("this version of rbuild cannot use {value} as a build context"),
            "a directory, docker-image://IMAGE and oci-layout://DIR are possible",
        ));
    } else {
        NamedContext::Directory
    };
    Ok((name, context))
}

/// A named directory has the `.dockerignore` in its own root.
fn named_directory(path: &str) -> Result<DirectoryContext, Failure> {
    let path = directory(Path::new(OsStr::from_bytes(path.as_bytes())))?;
    let ignore = Arc::new(ignore_file(&path, None)?);
    Ok(DirectoryContext { path, ignore })
}
