//! A layer that is packed before the key of its step is known.
//!
//! The key needs the digests of all files, the layer their bytes. Where a context is new, both are to be had
//! by reading each file once: the layer is packed in the hope that nobody has made it before, and the
//! digests that its index gets are those that the key needs.
//!
//! The two must speak of the same files. So a file has to have the mode, size and time with which it was chosen,
//! and must not change while it is read. One that does, or has extended attributes, ends the attempt; then the
//! files are hashed first, as ever.

use std::collections::HashMap;
use std::io::Write;

use rbuild_image::layer::Packed;
use rbuild_image::layer::entry::{ContentDigest, EntryKind};
use rbuild_planner::{FileSource, Files, Unpack};

use super::error::FilesError;
use super::node::{Home, Node};
use super::nodes::Nodes;
use super::pack::{Learnt, Surroundings, pack_learning};
use super::select::Match;
use super::tree::SourceTree;
use super::{Selection, SourceOf};
use crate::context::now;

/// Fewer bytes than that are quickly read again.
const MIN_BYTES: u64 = 1 << 20;

/// What is chosen is in memory twice meanwhile, some 400 bytes a file.
const MAX_NODES: usize = 1 << 16;

impl Selection {
    /// Tells whether packing `step` early may save work: much of what is chosen was never read, and what the layer has
    /// does not depend on what is in the files.
    pub(crate) fn is_worth_packing_early(&self, step: &Files) -> bool {
        let is_plain = step.unpack == Unpack::Never
            && step.sources.iter().all(|source| {
                matches!(source, FileSource::Path { .. } | FileSource::Inline { .. })
            });
        let matches = || self.sources.iter().flat_map(|source| &source.matches);
        let n_nodes: usize = matches().map(|matched| 1 + matched.below.len()).sum();
        is_plain && n_nodes <= MAX_NODES && matches().any(has_much_unread)
    }

    /// Gives files the digests that were learnt of them.
    fn take_over(&mut self, learnt: &[Learnt]) {
        let known: HashMap<(usize, &[u8]), ContentDigest> = learnt
            .iter()
            .map(|one| ((one.file.0, one.file.1.as_slice()), one.digest))
            .collect();
        for (source, selected) in self.sources.iter_mut().enumerate() {
            let take_over = |node: &mut Node| {
                if let Home::Disk { unhashed } = &mut node.home
                    && unhashed.is_some()
                    && let EntryKind::File { digest, .. } = &mut node.entry.kind
                    && let Some(found) = known.get(&(source, node.entry.path.as_slice()))
                {
                    *unhashed = None;
                    *digest = *found;
                }
            };
            for matched in &mut selected.matches {
                take_over(&mut matched.top);
                if matched.below.n_unhashed() == 0 {
                    continue;
                }
                let mut below = Nodes::default();
                for mut walked in std::mem::take(&mut matched.below).into_nodes() {
                    take_over(&mut walked.node);
                    below.push(&walked);
                }
                below.shrink();
                matched.below = below;
            }
        }
    }
}

/// Tells whether there are [`MIN_BYTES`] in files that have no digest yet.
fn has_much_unread(matched: &Match) -> bool {
    let is_unread = |node: &Node| matches!(node.home, Home::Disk { unhashed: Some(_) });
    let mut unread = 0;
    let mut add = |node: &Node| {
        if let EntryKind::File { size, .. } = node.entry.kind
            && is_unread(node)
        {
            unread += size;
        }
        unread >= MIN_BYTES
    };
    let below = &matched.below;
    add(&matched.top) || (below.n_unhashed() > 0 && below.iter().any(|below| add(&below.node)))
}

/// Packs what `selection`, made by [`super::choose`] for the same `step`, names, and gives the files that were read
/// their digests. Some may have none yet: those that are empty, or not in the layer.
///
/// # Errors
/// As [`super::pack`]; what `selection` knows is unchanged then.
pub(crate) fn pack_early(
    step: &Files,
    selection: &mut Selection,
    around: &Surroundings<'_>,
    blob: &mut (dyn Write + Send),
) -> Result<Packed, FilesError> {
    let read_at = now();
    let mut learnt = Vec::new();
    let packed = pack_learning(step, selection.clone(), around, Some(blob), &mut learnt)?;
    for Learnt {
        file: (source, _),
        state,
        digest,
    } in &learnt
    {
        if let Some(SourceOf::Tree(tree)) = selection.sources.get(*source).map(|of| &of.of)
            && let Some(SourceTree::Context(context)) = (around.trees)(tree)
        {
            context.note_digest(*state, *digest, read_at);
        }
    }
    selection.take_over(&learnt);
    Ok(packed)
}
