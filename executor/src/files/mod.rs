//! `COPY`, `ADD` and `WORKDIR`: which files, what they mean for the key, and the layer they make.
//!
//! Two steps. [`prepare`] chooses the files and learns their digests; the [`Selection`] says what
//! the step's key needs. [`pack`] places them over the parent and writes the layer in one pass,
//! reading each file once more and comparing. No root file system has to exist for that: the
//! parent's index says all that matters. [`workdir`] is the same for `WORKDIR`.
//!
//! Where nothing is known of the files, that would be to read them twice. Then the layer can be packed
//! before the key is known, and gives the digests: [`choose`], [`pack_early`], [`Selection::hash`].

mod archive;
mod chmod;
mod chown;
mod digest;
mod early;
pub(crate) mod error;
mod extract;
mod fetched;
pub(crate) mod node;
pub(crate) mod nodes;
mod overlay;
mod pack;
pub(crate) mod patterns;
mod place;
mod placed;
mod select;
mod stream;
#[cfg(test)]
mod tests;
mod tree;
mod workdir;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_image::layer::entry::{ContentDigest, Entry, EntryKind, Mtime};
use rbuild_planner::{FileSource, Files, Tree};

pub(crate) use chown::{
    Accounts as OwnerAccounts, Owner, needs_accounts, resolve as resolve_owner,
};
pub(crate) use early::pack_early;
pub use error::FilesError;
pub(crate) use extract::Extraction;
pub(crate) use fetched::Fetched;
pub(crate) use pack::{LayerTree, Surroundings, pack};
pub(crate) use place::Times;
pub(crate) use tree::SourceTree;
pub(crate) use workdir::workdir;

use crate::context::{Context, hash_file, hash_files};
use node::{Home, Node};
use place::Origin;
use select::{Match, Rules};

/// Mode of files made from heredocs.
const INLINE_MODE: u32 = 0o644;

/// The files that a step copies, with their digests.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    sources: Vec<Selected>,
}

/// What one source names.
#[derive(Debug, Clone)]
struct Selected {
    of: SourceOf,
    matches: Vec<Match>,
}

/// Where a source's files are.
#[derive(Debug, Clone)]
enum SourceOf {
    Tree(Tree),
    /// The content of a heredoc file.
    Text(Vec<u8>),
    /// A file that was fetched.
    File(PathBuf),
    /// A commit with this id, whose files are not here yet; see [`Selection::check_out`].
    Commit(String),
    /// The files of a commit.
    Checkout(Arc<Context>),
}

impl SourceOf {
    fn origin(&self) -> Origin {
        match self {
            Self::Tree(Tree::Context(_)) => Origin::Context,
            Self::Tree(Tree::Step(_)) | Self::File(_) | Self::Commit(_) | Self::Checkout(_) => {
                Origin::Image
            }
            Self::Text(_) => Origin::Made,
        }
    }
}

/// Chooses the files of a `COPY` or `ADD`, and hashes those of contexts that the context's digest
/// cache does not know. Nothing else is read. `fetched` has what was fetched for each source.
///
/// # Errors
/// [`FilesError::NotFound`] and the others of choosing, [`FilesError::Changed`] for a file that
/// changes all the time, [`FilesError::Io`] for one that may not be read.
pub(crate) fn prepare<'a>(
    step: &Files,
    trees: &dyn Fn(&Tree) -> Option<SourceTree<'a>>,
    fetched: &[Option<Fetched>],
) -> Result<Selection, FilesError> {
    let mut selection = choose(step, trees, fetched)?;
    selection.hash(trees)?;
    Ok(selection)
}

/// Chooses the files as [`prepare`] does, and reads none of them: those that the context's digest cache does
/// not know have no digest.
///
/// # Errors
/// [`FilesError::NotFound`] and the others of choosing.
pub(crate) fn choose<'a>(
    step: &Files,
    trees: &dyn Fn(&Tree) -> Option<SourceTree<'a>>,
    fetched: &[Option<Fetched>],
) -> Result<Selection, FilesError> {
    let exclude = patterns::exclude(&step.exclude)?;
    let mut sources = Vec::with_capacity(step.sources.len());
    for (at, source) in step.sources.iter().enumerate() {
        let (tree, pattern, is_wildcard) = match source {
            FileSource::Path {
                from,
                pattern,
                wildcard,
            } => (from, pattern, *wildcard),
            FileSource::Inline { name, content } => {
                sources.push(inline(name, content));
                continue;
            }
            FileSource::Http(_) | FileSource::Git(_) => {
                let found = fetched.get(at).and_then(Option::as_ref);
                let found = found.ok_or(FilesError::NoTree { number: at + 1 })?;
                sources.push(fetched::selected(source, found));
                continue;
            }
        };
        let found = trees(tree).ok_or(FilesError::NoTree { number: at + 1 })?;
        let rules = Rules {
            is_wildcard,
            keeps_parents: step.parents,
            exclude: &exclude,
        };
        let matches = select::select(found, pattern, rules)?;
        sources.push(Selected {
            of: SourceOf::Tree(tree.clone()),
            matches,
        });
    }
    Ok(Selection { sources })
}

/// Gives all matched files their digests.
fn hash(context: &Context, matches: &mut [Match]) -> Result<(), FilesError> {
    for matched in matches {
        hash_file(context, &mut matched.top)?;
        matched.below = hash_files(context, std::mem::take(&mut matched.below))?;
    }
    Ok(())
}

impl Selection {
    /// Reads and hashes the files of contexts that have no digest yet.
    ///
    /// # Errors
    /// As [`prepare`].
    pub(crate) fn hash<'a>(
        &mut self,
        trees: &dyn Fn(&Tree) -> Option<SourceTree<'a>>,
    ) -> Result<(), FilesError> {
        for Selected { of, matches } in &mut self.sources {
            if let SourceOf::Tree(tree) = of
                && let Some(SourceTree::Context(context)) = trees(tree)
            {
                hash(context, matches)?;
            }
        }
        Ok(())
    }

    /// Returns how many files and folders were chosen.
    pub(crate) fn n_files(&self) -> usize {
        let matches = self.sources.iter().flat_map(|source| &source.matches);
        matches.map(|matched| 1 + matched.below.len()).sum()
    }

    /// Returns the steps and the numbers of their layers that chosen files are in.
    pub(crate) fn layers(&self) -> BTreeSet<(usize, usize)> {
        let mut found = BTreeSet::new();
        for source in &self.sources {
            if let SourceOf::Tree(Tree::Step(step)) = source.of {
                let layers = source.matches.iter().flat_map(|of| of.below.layers());
                found.extend(layers.map(|layer| (step, layer)));
            }
        }
        found
    }

    /// Returns the digest of each source, in order: what the step's key says of its inputs.
    #[must_use]
    pub(crate) fn source_digests(&self) -> Vec<[u8; 32]> {
        let sources = self.sources.iter();
        sources
            .map(|source| match &source.of {
                SourceOf::Commit(id) => *blake3::hash(id.as_bytes()).as_bytes(),
                _ => digest::digest_matches(&source.matches),
            })
            .collect()
    }
}

#[cfg(test)]
impl Selection {
    /// Returns the files of source `n` with their content digests, by path in their tree.
    fn files(&self, n: usize) -> impl Iterator<Item = (Vec<u8>, ContentDigest)> {
        let matches = self.sources.get(n).into_iter().flat_map(|of| &of.matches);
        let nodes = matches.flat_map(|matched| {
            let below = matched.below.iter().map(|below| below.node);
            std::iter::once(matched.top.clone()).chain(below)
        });
        nodes.filter_map(|node| match node.entry.kind {
            EntryKind::File { digest, .. } => Some((node.entry.path, digest)),
            _ => None,
        })
    }
}

/// Returns the file that a heredoc makes.
fn inline(name: &str, content: &str) -> Selected {
    let entry = Entry {
        path: name.as_bytes().to_vec(),
        kind: EntryKind::File {
            size: content.len() as u64,
            digest: ContentDigest(*blake3::hash(content.as_bytes()).as_bytes()),
        },
        mode: INLINE_MODE,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: BTreeMap::new(),
    };
    let top = Node {
        entry,
        home: Home::Nowhere,
        link: None,
    };
    Selected {
        of: SourceOf::Text(content.as_bytes().to_vec()),
        matches: vec![Match::of(name.as_bytes().to_vec(), top)],
    }
}
