//! Corrects files: fixes until there are none, and the result on disk or as a difference.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rbuild_parser::checks::fix::{self, Fix};
use similar::TextDiff;

use super::{Checked, Levels, check};
use crate::report::{Failure, Source};

/// Fixes may make way for others, or for what another rule wants; more rounds than this mean that
/// two of them go round in circles.
const MAX_ROUNDS: usize = 20;

/// A file before and after.
#[derive(Debug)]
pub(crate) struct Corrected {
    /// As it was.
    pub(crate) before: Vec<u8>,
    /// As it is now, and what is left to be found.
    pub(crate) after: Checked,
}

/// Applies safe fixes, or all, until there are none.
pub(crate) fn correct(source: Source, levels: &Levels, with_unsafe: bool) -> Corrected {
    let before = source.text.clone();
    let mut checked = check(source, levels);
    for _ in 0..MAX_ROUNDS {
        let wanted = |fix: &&Fix| fix.is_safe || with_unsafe;
        let text = fix::apply(&checked.source.text, checked.fixes.iter().filter(wanted));
        // A fix that breaks the file would be our fault: better none than that.
        if text == checked.source.text || rbuild_parser::parse(&text).has_errors() {
            break;
        }
        let name = checked.source.name;
        checked = check(Source { name, text }, levels);
    }
    Corrected {
        before,
        after: checked,
    }
}

/// Returns the difference in unified form; empty if there is none.
pub(crate) fn diff(corrected: &Corrected) -> String {
    let source = &corrected.after.source;
    let before = String::from_utf8_lossy(&corrected.before);
    let after = String::from_utf8_lossy(&source.text);
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .header(&source.name, &source.name)
        .to_string()
}

/// Writes a corrected file: the new one takes the place of the old one at once, with its mode and,
/// if that is allowed, its owner.
pub(crate) fn write(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let path = fs_err::canonicalize(path)?;
    let old = fs_err::metadata(&path)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let failed = |error: std::io::Error| {
        Failure::message(format!("cannot write {}: {error}", path.display()))
    };
    let mut new = tempfile::Builder::new()
        .prefix(".Dockerfile.")
        .tempfile_in(folder)
        .map_err(failed)?;
    new.write_all(text).map_err(failed)?;
    let file = new.as_file();
    if file.metadata().map_err(failed)?.uid() != old.uid() {
        std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid())).map_err(failed)?;
    }
    file.set_permissions(old.permissions()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    new.persist(&path).map_err(|error| failed(error.error))?;
    Ok(())
}
