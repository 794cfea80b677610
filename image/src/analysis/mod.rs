//! What is inside images, told from the indexes of their layers alone: what each layer did, which of
//! its bytes nobody will ever see, which contents are there twice, and how two images differ.
//!
//! Everything is one pass in the order of paths over all layers at once ([`stack`]), so time and
//! memory grow with the number of entries, not with what the files hold.

mod ancestors;
mod changes;
mod compare;
mod duplicates;
mod hints;
mod links;
mod listing;
mod score;
mod stack;

use crate::layer::entry::{Entry, EntryKind};

pub use changes::{Cause, LayerChanges, ListedEntry, Mark, Repeats, Tally, Waste};
pub use compare::{Difference, Differences, Times, What, differences};
pub use duplicates::Duplicates;
pub use hints::{Hint, HintKind};
pub use listing::Listing;
pub use score::{Copies, Score};

use changes::ChangePass;
use duplicates::DuplicatePass;
use hints::HintPass;
use score::ScorePass;
use stack::Stack;

/// What there is to say about a stack of layers. Paths are those of the indexes.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis<'a> {
    /// Bytes of all files of all layers; further names of a file do not count.
    pub size_bytes: u64,
    /// The same without the lowest layer.
    pub user_size_bytes: u64,
    /// One for each layer, base first.
    pub layers: Vec<LayerChanges>,
    /// What the layers hold and the image does not show, the most bytes first.
    pub waste: Vec<Waste<'a>>,
    /// The score that dive gives.
    pub score: Score<'a>,
    /// Contents that several visible files have, the most bytes first.
    pub duplicates: Vec<Duplicates<'a>>,
    /// Visible files that an image can do without or that deserve a look.
    pub hints: Vec<Hint<'a>>,
    /// The entries of the layer that was asked for.
    pub listing: Vec<ListedEntry<'a>>,
}

impl Analysis<'_> {
    /// Returns the bytes that the layers hold and the image does not show.
    #[must_use]
    pub fn hidden_bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.hidden_bytes).sum()
    }

    /// Returns dive's wasted bytes as a part of what was put on the base: from 0 up, 1 being all.
    /// Where nothing was put there it is 1 if something is wasted, else 0.
    #[must_use]
    pub fn user_wasted_ratio(&self) -> f64 {
        match (self.score.wasted_bytes, self.user_size_bytes) {
            (0, _) => 0.0,
            (_, 0) => 1.0,
            (wasted, size) => ratio(wasted, size),
        }
    }
}

/// Looks at a stack of layers, base first. `listed` is the layer whose entries are listed one by one.
#[must_use]
pub fn analyze(layers: &[Listing], listed: Option<usize>) -> Analysis<'_> {
    let mut stack = Stack::new(layers);
    let mut score = ScorePass::default();
    let mut changes = ChangePass::new(layers, listed);
    let mut duplicates = DuplicatePass::new(layers);
    let mut hints = HintPass::default();
    while let Some((path, found)) = stack.next() {
        score.visit(path, found);
        if let Some(visible) = changes.visit(path, found) {
            duplicates.visit(visible);
            hints.visit(layers[visible.layer].file_of(visible.entry), path);
        }
    }
    let sizes = || layers.iter().map(Listing::unpacked_size);
    let changes = changes.finish();
    Analysis {
        size_bytes: sizes().sum(),
        user_size_bytes: sizes().skip(1).sum(),
        layers: changes.layers,
        waste: changes.waste,
        score: score.finish(),
        duplicates: duplicates.finish(),
        hints: hints.finish(),
        listing: changes.listing,
    }
}

/// Returns the largest files of a layer, the largest first.
#[must_use]
pub fn largest_files(layer: &Listing, count: usize) -> Vec<&Entry> {
    let mut files: Vec<&Entry> = layer
        .entries()
        .iter()
        .filter(|entry| size_of(entry) > 0)
        .collect();
    files.sort_by_key(|entry| std::cmp::Reverse(size_of(entry)));
    files.truncate(count);
    files
}

/// Returns the bytes that an entry adds to its layer: those of a file; further names add none.
#[must_use]
pub fn size_of(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File { size, .. } => size,
        _ => 0,
    }
}

fn is_directory(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::Directory { .. })
}

#[expect(clippy::cast_precision_loss, reason = "a ratio is read to some digits")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
