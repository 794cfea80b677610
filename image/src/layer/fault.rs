//! Short constructors for the errors of this module.

use crate::error::ImageError;

use super::path::display;

impl ImageError {
    /// Returns an error about the archive entry whose path, as written, is `raw`.
    pub(crate) fn archive(raw: &[u8], problem: impl Into<String>) -> Self {
        Self::Archive {
            entry: display(raw),
            problem: problem.into(),
        }
    }

    /// Returns an error about the archive as a whole.
    pub(crate) fn bad_archive(problem: impl Into<String>) -> Self {
        Self::BadArchive {
            problem: problem.into(),
        }
    }

    /// Returns an error about the layer entry at `path`.
    pub(crate) fn bad_entry(path: &[u8], problem: impl Into<String>) -> Self {
        Self::BadEntry {
            path: display(path),
            problem: problem.into(),
        }
    }

    /// Returns an error about a layer index file.
    pub(crate) fn bad_index(problem: impl Into<String>) -> Self {
        Self::BadIndex {
            problem: problem.into(),
        }
    }
}
