//! Equal contents under different paths.

use super::Listing;
use crate::layer::entry::{ContentDigest, EntryKind};
use crate::layer::path::compare_paths;

use super::links::file_path;
use super::stack::At;

/// Most paths that are kept of one content.
const MAX_PATHS: usize = 100;

/// Visible files with the same bytes that are not names of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicates<'a> {
    /// Size of each.
    pub size_bytes: u64,
    /// How many there are.
    pub count: u64,
    /// Where, in order; the first hundred.
    pub paths: Vec<&'a [u8]>,
}

impl Duplicates<'_> {
    /// Returns the bytes of all of them but one.
    #[must_use]
    pub fn extra_bytes(&self) -> u64 {
        self.size_bytes.saturating_mul(self.count.saturating_sub(1))
    }
}

/// A visible name of a file with bytes in it.
struct Name<'a> {
    digest: ContentDigest,
    size: u64,
    layer: usize,
    file: &'a [u8],
    path: &'a [u8],
}

pub(super) struct DuplicatePass<'a> {
    layers: &'a [Listing],
    names: Vec<Name<'a>>,
}

impl<'a> DuplicatePass<'a> {
    pub(super) fn new(layers: &'a [Listing]) -> Self {
        Self {
            layers,
            names: Vec::new(),
        }
    }

    pub(super) fn visit(&mut self, visible: At<'a>) {
        let file = self.layers[visible.layer].file_of(visible.entry);
        if let EntryKind::File { size, digest } = file.kind
            && size > 0
        {
            self.names.push(Name {
                digest,
                size,
                layer: visible.layer,
                file: file_path(visible.entry),
                path: &visible.entry.path,
            });
        }
    }

    pub(super) fn finish(mut self) -> Vec<Duplicates<'a>> {
        // Names came in order of their paths; the sorts keep it among equals.
        self.names
            .sort_by(|a, b| (a.digest, a.layer, a.file).cmp(&(b.digest, b.layer, b.file)));
        self.names
            .dedup_by(|b, a| (a.digest, a.layer, a.file) == (b.digest, b.layer, b.file));
        let same = self.names.chunk_by(|a, b| a.digest == b.digest);
        let mut found: Vec<_> = same
            .filter(|names| names.len() > 1)
            .map(|names| {
                let mut paths: Vec<_> = names.iter().map(|name| name.path).collect();
                paths.sort_by(|a, b| compare_paths(a, b));
                paths.truncate(MAX_PATHS);
                Duplicates {
                    size_bytes: names[0].size,
                    count: names.len() as u64,
                    paths,
                }
            })
            .collect();
        found.sort_by(|a, b| {
            (b.extra_bytes().cmp(&a.extra_bytes()))
                .then_with(|| compare_paths(a.paths[0], b.paths[0]))
        });
        found
    }
}
