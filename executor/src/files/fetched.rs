//! Sources that were fetched: a file of the web, the files of a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_image::layer::entry::{Entry, EntryKind, Mtime};
use rbuild_planner::{FileSource, Files};

use super::error::FilesError;
use super::hash;
use super::node::{Home, Node};
use super::patterns;
use super::select::{Match, Rules, select};
use super::tree::SourceTree;
use super::{Selected, Selection, SourceOf};
use crate::context::Context;
use crate::remotes::RemoteFile;

/// Mode of files of the web.
const FILE_MODE: u32 = 0o600;

/// What is known of a source before its step's key is made.
#[derive(Debug, Clone)]
pub(crate) enum Fetched {
    /// The file is here.
    File(RemoteFile),
    /// The revision means the commit with this id.
    Commit(String),
}

/// Returns what a fetched source names. Of a commit nothing but the id is known so far.
pub(super) fn selected(source: &FileSource, fetched: &Fetched) -> Selected {
    let (file, name) = match (fetched, source) {
        (Fetched::File(file), FileSource::Http(http)) => (file, http.name.as_bytes().to_vec()),
        (Fetched::File(file), _) => (file, Vec::new()),
        (Fetched::Commit(id), _) => {
            return Selected {
                of: SourceOf::Commit(id.clone()),
                matches: Vec::new(),
            };
        }
    };
    let entry = Entry {
        path: name.clone(),
        kind: EntryKind::File {
            size: file.size,
            digest: file.content,
        },
        mode: FILE_MODE,
        uid: 0,
        gid: 0,
        mtime: Mtime {
            seconds: file.last_modified.unwrap_or(0),
            nanoseconds: 0,
        },
        xattrs: BTreeMap::new(),
    };
    let top = Node {
        entry,
        home: Home::Fetched,
        link: None,
    };
    Selected {
        of: SourceOf::File(file.path.clone()),
        matches: vec![Match::of(name, top)],
    }
}

impl Selection {
    /// Returns the sources that are commits without files, with their ids.
    pub(crate) fn commits(&self) -> Vec<(usize, String)> {
        let sources = self.sources.iter().enumerate();
        sources
            .filter_map(|(at, source)| match &source.of {
                SourceOf::Commit(id) => Some((at, id.clone())),
                _ => None,
            })
            .collect()
    }

    /// Chooses the files of source `at`, which is a commit that was checked out.
    ///
    /// # Errors
    /// As for [`super::prepare`].
    pub(crate) fn check_out(
        &mut self,
        step: &Files,
        at: usize,
        checkout: Arc<Context>,
    ) -> Result<(), FilesError> {
        let (Some(FileSource::Git(git)), Some(source)) =
            (step.sources.get(at), self.sources.get_mut(at))
        else {
            return Err(FilesError::NoTree { number: at + 1 });
        };
        let exclude = patterns::exclude(&step.exclude)?;
        let rules = Rules {
            is_wildcard: false,
            keeps_parents: false,
            exclude: &exclude,
        };
        let path = format!("/{}", git.subdir);
        let mut matches = select(SourceTree::Context(&checkout), &path, rules)?;
        hash(&checkout, &mut matches)?;
        *source = Selected {
            of: SourceOf::Checkout(checkout),
            matches,
        };
        Ok(())
    }
}
