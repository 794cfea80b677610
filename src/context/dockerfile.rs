//! The Dockerfile: in a context, beside it, on standard input, or somewhere in the web.

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use rbuild_parser::ignore::Ignore;
use rbuild_planner::remote::RemoteKind;
use rustix::io::Errno;

use super::directory::{ignore_file, inside_error, open_inside};
use super::remote::{self, Folder};
use crate::arguments::PlanOptions;
use crate::environment::absolute;
use crate::fetching::Fetching;
use crate::report::{Failure, Source};
use crate::stop::Input;

/// A Dockerfile that is larger than this is refused, in bytes.
const MAX_DOCKERFILE: u64 = 64 << 20;

/// The names that are looked for.
const NAMES: [&str; 2] = ["Dockerfile", "dockerfile"];

/// Returns the Dockerfile that goes with a context directory, and what is ignored in it.
pub(super) fn of_directory(
    options: &PlanOptions,
    root: &Path,
    fetching: &Fetching,
) -> Result<(Source, Ignore), Failure> {
    let Some(file) = &options.file else {
        let (name, file) = default_in(root, root)?;
        let source = read(file, name)?;
        return Ok((source, ignore_file(root, Some(&root.join(name)))?));
    };
    if let Some(source) = from_elsewhere(file, fetching)? {
        return Ok((source, ignore_file(root, None)?));
    }
    let path = absolute(file);
    let source = match inside(root, &path) {
        Some(relative) => {
            let opened = open_inside(root, &relative).map_err(|error| inside_error(file, error))?;
            read(opened, &file.display().to_string())?
        }
        None => local(file)?,
    };
    Ok((source, ignore_file(root, Some(&path))?))
}

/// Returns where a file is in the context, if it is there. A link in a context may come from
/// anybody, and is not followed out of it.
fn inside(root: &Path, path: &Path) -> Option<PathBuf> {
    let folder = fs_err::canonicalize(path.parent()?).ok()?;
    let relative = folder.strip_prefix(root).ok()?.join(path.file_name()?);
    // What is missing is told in the words for files that are named.
    fs_err::symlink_metadata(path).is_ok().then_some(relative)
}

/// Returns the Dockerfile that goes with a context that was fetched: a file in it, unless an
/// absolute path names one of this machine.
pub(super) fn of_fetched(
    options: &PlanOptions,
    folder: &Folder,
    fetching: &Fetching,
) -> Result<Source, Failure> {
    if let Some(source) = &folder.dockerfile {
        return Ok(source.clone());
    }
    let root = folder.path.as_path();
    let Some(file) = &options.file else {
        let (name, file) = default_in(root, Path::new(""))?;
        return read(file, name);
    };
    if let Some(source) = from_elsewhere(file, fetching)? {
        return Ok(source);
    }
    if file.is_absolute() && file.is_file() {
        return local(file);
    }
    let relative: PathBuf = file.strip_prefix("/").unwrap_or(file).to_owned();
    match open_inside(root, &relative) {
        Ok(opened) => read(opened, &file.display().to_string()),
        Err(Errno::NOENT) => Err(missing(
            file,
            "--file is relative to the top of a context that is fetched",
        )),
        Err(error) => Err(inside_error(file, error)),
    }
}

/// Standard input, or a URL.
fn from_elsewhere(file: &Path, fetching: &Fetching) -> Result<Option<Source>, Failure> {
    if file == Path::new("-") {
        return from_stdin(&mut Input::new(fetching.stop())).map(Some);
    }
    let shown = file.to_string_lossy();
    if RemoteKind::of(&shown) == Some(RemoteKind::Url) {
        return remote::dockerfile(&shown, fetching).map(Some);
    }
    Ok(None)
}

fn local(file: &Path) -> Result<Source, Failure> {
    let shown = file.display().to_string();
    let opened = File::options()
        .read(true)
        .open(absolute(file))
        .map_err(|error| {
            Failure::with_help(
                format!("failed to read dockerfile: open {shown}: {error}"),
                "--file is relative to the current directory, not to the build context",
            )
        })?;
    read(opened, &shown)
}

/// Reads a Dockerfile: `-` is standard input, a folder means the Dockerfile in it. The path is given
/// back if there is one.
pub(crate) fn dockerfile_at(path: &Path) -> Result<(Source, Option<PathBuf>), Failure> {
    if path == Path::new("-") {
        return Ok((from_stdin(&mut std::io::stdin())?, None));
    }
    let mut path = path.to_owned();
    if path.is_dir() {
        let (name, _) = default_in(&path, &path)?;
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

/// Reads the Dockerfile from standard input.
fn from_stdin(reader: &mut dyn Read) -> Result<Source, Failure> {
    refuse_terminal(&std::io::stdin())?;
    from_reader(reader, "-")
}

/// Refuses to wait for somebody to type a context.
pub(super) fn refuse_terminal(stdin: &std::io::Stdin) -> Result<(), Failure> {
    if stdin.is_terminal() {
        return Err(Failure::message("nothing was piped into standard input"));
    }
    Ok(())
}

/// `Dockerfile`, or `dockerfile`, in a folder that people know as `shown`.
fn default_in(root: &Path, shown: &Path) -> Result<(&'static str, File), Failure> {
    for name in NAMES {
        match open_inside(root, Path::new(name)) {
            Ok(file) => return Ok((name, file)),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(inside_error(&shown.join(name), error)),
        }
    }
    Err(missing(
        &shown.join(NAMES[0]),
        "name another file with --file",
    ))
}

fn missing(path: &Path, help: &str) -> Failure {
    Failure::with_help(
        format!(
            "failed to read dockerfile: open {}: no such file or directory",
            path.display()
        ),
        help,
    )
}

/// Reads an open file, which must be a regular one.
pub(super) fn read(file: File, name: &str) -> Result<Source, Failure> {
    if !file.metadata()?.is_file() {
        return Err(Failure::message(format!(
            "failed to read dockerfile: {name} is not a regular file"
        )));
    }
    from_reader(&mut { file }, name)
}

/// Reads a Dockerfile to its end.
pub(super) fn from_reader(reader: &mut dyn Read, name: &str) -> Result<Source, Failure> {
    let mut text = Vec::new();
    reader.take(MAX_DOCKERFILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_DOCKERFILE {
        return Err(Failure::message(format!(
            "{name} is larger than {MAX_DOCKERFILE} bytes"
        )));
    }
    Ok(Source {
        name: name.to_owned(),
        text,
    })
}
