//! Outputs that are files: a directory or a tar with what the images hold.

use std::path::{Path, PathBuf};

use rbuild_executor::Others;

use crate::image_output::{no_attestations, truth};
use crate::report::Failure;

/// How files are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FilesOutput {
    /// Whether each platform has a directory of its own; by default if there are several.
    pub(crate) is_split: Option<bool>,
    /// What becomes of other files in the directory.
    pub(crate) others: Others,
    /// The time of all files, if it is not the build's.
    pub(crate) epoch: Option<i64>,
}

impl FilesOutput {
    /// Reads a field of `type=local` or `type=tar`, and tells whether it is one.
    pub(crate) fn take_field(&mut self, key: &str, value: &str) -> Result<bool, Failure> {
        match key {
            "platform-split" => self.is_split = Some(truth(key, value)?),
            "source-date-epoch" => self.epoch = Some(seconds(value)?),
            "attestation-prefix" => return Err(no_attestations(key)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Reads `mode` of `type=local`.
    pub(crate) fn take_mode(&mut self, value: &str) -> Result<(), Failure> {
        self.others = match value {
            "copy" => Others::Keep,
            "delete" => Others::Remove,
            _ => {
                return Err(Failure::Usage(format!(
                    "invalid value {value} for mode, expected copy or delete"
                )));
            }
        };
        Ok(())
    }

    /// Refuses to remove what is in a directory that is not below the current one.
    pub(crate) fn check_removal(&self, directory: &Path) -> Result<(), Failure> {
        if self.others == Others::Keep || is_below_current(directory)? {
            return Ok(());
        }
        Err(Failure::with_help(
            format!(
                "mode=delete would remove other files in {}, which is not below the current directory",
                directory.display()
            ),
            "--allow=buildx.local.delete permits it",
        ))
    }
}

/// The directory need not exist; what does is looked at through links.
fn is_below_current(directory: &Path) -> Result<bool, Failure> {
    let current = fs_err::canonicalize(".")?;
    let mut there: PathBuf = current.join(directory);
    let mut rest = Vec::new();
    let real = loop {
        match fs_err::canonicalize(&there) {
            Ok(real) => break real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        // `..` below what does not exist leads anywhere once it does.
        let (Some(name), Some(parent)) = (there.file_name(), there.parent()) else {
            return Ok(false);
        };
        rest.push(name.to_owned());
        there = parent.to_owned();
    };
    let real = rest.iter().rev().fold(real, |path, name| path.join(name));
    Ok(real != current && real.starts_with(current))
}

fn seconds(value: &str) -> Result<i64, Failure> {
    value.parse().map_err(|_not_a_number| {
        Failure::Usage(format!(
            "invalid source-date-epoch: {value}: expected seconds"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_may_be_emptied() {
        let files = FilesOutput {
            others: Others::Remove,
            ..FilesOutput::default()
        };
        for (directory, is_below) in [
            ("out", true),
            ("not/there/yet", true),
            ("src", true),
            (".", false),
            ("..", false),
            ("src/..", false),
            ("not/there/../../..", false),
            ("/", false),
        ] {
            let allowed = files.check_removal(Path::new(directory)).is_ok();
            assert_eq!(allowed, is_below, "{directory}");
        }
        FilesOutput::default()
            .check_removal(Path::new("/"))
            .unwrap();
    }
}
