//! Directories of this machine as contexts, and files in them.

use std::fs::File;
use std::path::{Path, PathBuf};

use rbuild_parser::ignore::Ignore;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::dockerfile::read;
use crate::report::Failure;

/// A directory of this machine, by its real path.
pub(super) struct Local(pub(super) PathBuf);

impl Local {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        match fs_err::canonicalize(path) {
            Ok(found) if found.is_dir() => Ok(Self(found)),
            Ok(_) => Err(Failure::message(format!(
                "unable to prepare context: path \"{shown}\" is not a directory"
            ))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::message(
                format!("unable to prepare context: path \"{shown}\" not found"),
            )),
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a file in a folder. Links that lead out of it are not followed.
pub(super) fn open_inside(root: &Path, name: &Path) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(root, name, flags | OFlags::NONBLOCK, Mode::empty(), resolve)?;
    Ok(file.into())
}

/// Says why a file in a folder could not be opened. `shown` is its path for people.
pub(super) fn inside_error(shown: &Path, error: Errno) -> Failure {
    let shown = shown.display();
    if error == Errno::XDEV {
        return Failure::message(format!(
            "{shown} is a link that leads out of the build context"
        ));
    }
    Failure::message(format!(
        "cannot read {shown}: {}",
        std::io::Error::from(error)
    ))
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile replaces `.dockerignore` in the context.
pub(super) fn ignore_file(root: &Path, dockerfile: Option<&Path>) -> Result<Ignore, Failure> {
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
    match open_inside(root, Path::new(".dockerignore")) {
        Ok(file) => parse_ignore(file, ".dockerignore"),
        // A link that leads out of the context is not followed; as for BuildKit there is no file.
        Err(Errno::NOENT | Errno::XDEV) => Ok(Ignore::default()),
        Err(error) => Err(inside_error(&root.join(".dockerignore"), error)),
    }
}

fn parse_ignore(file: File, name: &str) -> Result<Ignore, Failure> {
    let source = read(file, name)?;
    Ignore::parse(&source.text)
        .map_err(|error| Failure::message(format!("error reading {name}: {error}")))
}
