//! `--build-context NAME=VALUE`

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use rbuild_executor::DirectoryContext;
use rbuild_image::reference::Reference;
use rbuild_planner::remote::RemoteKind;

use super::directory::{Local, ignore_file};
use super::remote::{self, Folder};
use crate::arguments::PlanOptions;
use crate::environment::absolute;
use crate::fetching::Fetching;
use crate::report::Failure;

/// What a named context is.
pub(super) enum Named {
    /// An image reference, or `oci-layout://` and an absolute path.
    Image(String),
    /// A directory of this machine, with the `.dockerignore` in its own root.
    Directory(DirectoryContext),
    /// Something that was fetched.
    Fetched(Folder),
}

/// Splits `NAME=VALUE`, and brings what the value names.
pub(super) fn parse(
    option: &str,
    options: &PlanOptions,
    fetching: &Fetching,
) -> Result<(String, Named), Failure> {
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
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    Ok((name.to_owned(), context(value, options, fetching)?))
}

fn context(value: &str, options: &PlanOptions, fetching: &Fetching) -> Result<Named, Failure> {
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok(Named::Image(image.to_owned()));
    }
    if let Some(path) = value.strip_prefix("oci-layout://") {
        let path = absolute(Path::new(path));
        return Ok(Named::Image(format!("oci-layout://{}", path.display())));
    }
    let path = Path::new(OsStr::from_bytes(value.as_bytes()));
    match RemoteKind::of_context(value).filter(|_| !path.is_dir()) {
        Some(RemoteKind::Git) => remote::of_git(value, options, fetching).map(Named::Fetched),
        Some(RemoteKind::Url) => match remote::of_url(value, fetching)? {
            remote::Found::Folder(folder) | remote::Found::File(folder, _) => {
                Ok(Named::Fetched(folder))
            }
        },
        None if value.contains("://") || value.starts_with("target:") => Err(Failure::with_help(
            format!("{value} cannot be a build context"),
            "a directory, an http(s) or git URL, docker-image://IMAGE and oci-layout://DIR are \
             possible",
        )),
        None => {
            let path = Local::open(path)?.0;
            let ignore = Arc::new(ignore_file(&path, None)?);
            Ok(Named::Directory(DirectoryContext { path, ignore }))
        }
    }
}
