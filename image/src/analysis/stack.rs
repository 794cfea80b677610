//! All layers side by side: one pass in order over every path that any layer has.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Listing;
use crate::layer::entry::Entry;
use crate::layer::path::{compare_paths, is_below};

/// What one layer has at a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    /// Position of the layer, the base being 0.
    pub(super) layer: usize,
    /// The entry, or the directory that is there because of what is below it.
    pub(super) entry: &'a Entry,
    /// True if the layer only implies it.
    pub(super) is_implied: bool,
    /// True if the layer has nothing below it.
    pub(super) is_leaf: bool,
}

/// The next path of one sorted list.
struct Head<'a> {
    path: &'a [u8],
    layer: usize,
    is_implied: bool,
    rest: &'a [Entry],
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_paths(self.path, other.path).then_with(|| self.layer.cmp(&other.layer))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

/// The pass. No entry is cloned; each layer is a sorted list, and the smallest path comes next.
pub(super) struct Stack<'a> {
    heads: BinaryHeap<Reverse<Head<'a>>>,
    found: Vec<At<'a>>,
}

impl<'a> Stack<'a> {
    pub(super) fn new(layers: &'a [Listing]) -> Self {
        let mut stack = Self {
            heads: BinaryHeap::with_capacity(layers.len() * 2),
            found: Vec::new(),
        };
        for (at, layer) in layers.iter().enumerate() {
            stack.push(at, false, layer.entries());
            stack.push(at, true, layer.implied());
        }
        stack
    }

    fn push(&mut self, layer: usize, is_implied: bool, rest: &'a [Entry]) {
        if let Some(first) = rest.first() {
            self.heads.push(Reverse(Head {
                path: &first.path,
                layer,
                is_implied,
                rest,
            }));
        }
    }

    /// Returns the next path and what the layers have there, the lowest first.
    pub(super) fn next(&mut self) -> Option<(&'a [u8], &[At<'a>])> {
        self.found.clear();
        let path = self.heads.peek()?.0.path;
        while let Some(Reverse(head)) = self.heads.peek()
            && head.path == path
        {
            let Some(Reverse(head)) = self.heads.pop() else {
                break;
            };
            let (entry, rest) = head.rest.split_first()?;
            let next = rest.first();
            self.found.push(At {
                layer: head.layer,
                entry,
                is_implied: head.is_implied,
                is_leaf: !head.is_implied && !next.is_some_and(|next| is_below(&next.path, path)),
            });
            self.push(head.layer, head.is_implied, rest);
        }
        Some((path, &self.found))
    }
}
