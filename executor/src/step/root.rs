//! The result of a step: a root file system as its layers.
//!
//! Each step of a stage has one, with a layer more than the one before. They share what they have in common, and so does
//! what is made of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rbuild_cache::key::{ChainElement, ContentChain};
use rbuild_cache::record::Record;
use rbuild_image::digest::DiffId;

/// A root file system as its layers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Root(Option<Arc<Node>>);

/// A layer and those below it.
#[derive(Debug)]
struct Node {
    below: Root,
    /// One further below, so that any is a few jumps away.
    far_below: Root,
    layer: RootLayer,
    /// How many layers are below it.
    position: usize,
    chain: ContentChain,
}

/// One layer of a root file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RootLayer {
    /// The layer.
    pub(crate) diff_id: DiffId,
    /// What it counts as in keys.
    element: ChainElement,
    /// When a step made it, in seconds since the Unix epoch; `None` for layers of images.
    pub(crate) created: Option<i64>,
}

impl Root {
    pub(super) fn of_image(diff_ids: &[DiffId]) -> Self {
        let add = |root: Self, diff_id: &DiffId| {
            root.with_layer(RootLayer {
                diff_id: *diff_id,
                element: ChainElement::Image(*diff_id),
                created: None,
            })
        };
        diff_ids.iter().fold(Self::default(), add)
    }

    pub(super) fn with(&self, record: &Record) -> Self {
        self.clone().with_layer(RootLayer {
            diff_id: record.diff_id,
            element: ChainElement::Content(record.content),
            created: Some(record.created),
        })
    }

    fn with_layer(self, layer: RootLayer) -> Self {
        let below = self.0.as_ref();
        let mut chain = below.map_or_else(ContentChain::default, |node| node.chain.clone());
        chain.push(&layer.element);
        let position = self.len();
        // A jump over two jumps of equal lengths, else to the next.
        let far = below.map_or(&self, |node| &node.far_below);
        let farther = far.0.as_ref().map_or(far, |node| &node.far_below);
        let is_even = position - far.len() == far.len() - farther.len();
        let far_below = if is_even {
            farther.clone()
        } else {
            self.clone()
        };
        Self(Some(Arc::new(Node {
            below: self,
            far_below,
            layer,
            position,
            chain,
        })))
    }

    /// What keys of steps upon it name it by.
    pub(super) fn content_chain(&self) -> [u8; 32] {
        match &self.0 {
            Some(node) => node.chain.digest(),
            None => ContentChain::default().digest(),
        }
    }

    /// How many layers there are.
    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |node| node.position + 1)
    }

    /// The topmost layer.
    pub(crate) fn top(&self) -> Option<&RootLayer> {
        self.top_down().next()
    }

    /// The layer that has so many below it.
    pub(crate) fn layer(&self, position: usize) -> Option<&RootLayer> {
        let mut node = self.0.as_ref()?;
        while node.position > position {
            let is_above = |root: &&Self| root.len() > position;
            let next = Some(&node.far_below).filter(is_above);
            node = next.unwrap_or(&node.below).0.as_ref()?;
        }
        (node.position == position).then_some(&node.layer)
    }

    /// The layers, topmost first.
    pub(crate) fn top_down(&self) -> impl Iterator<Item = &RootLayer> {
        self.ends().filter_map(|root| Some(&root.0.as_ref()?.layer))
    }

    /// The layers' diff IDs, base first.
    pub(crate) fn diff_ids(&self) -> Vec<DiffId> {
        let mut diff_ids: Vec<_> = self.top_down().map(|layer| layer.diff_id).collect();
        diff_ids.reverse();
        diff_ids
    }

    /// This, without its topmost layer, without the next, and so on to the one that has none.
    fn ends(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |root| Some(&root.0.as_ref()?.below))
    }

    /// True if they are one; others may have the same layers.
    fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(this), Some(other)) => Arc::ptr_eq(this, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Drop for Node {
    /// One after the other: of thousands, each in its turn would be more than the call stack holds.
    fn drop(&mut self) {
        let mut next = self.below.0.take();
        // What is farther below stays as long as what is between.
        self.far_below.0.take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = node.below.0.take();
        }
    }
}

/// How many values [`Grown`] keeps. More stages are hardly under way at once.
const MAX_KEPT: usize = 64;

/// Values that are made of root file systems layer by layer, each from that of the nearest one that it stands upon.
#[derive(Debug)]
pub(crate) struct Grown<T>(Mutex<Vec<(Root, T)>>);

impl<T> Default for Grown<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Default> Grown<T> {
    /// The value of `root`; `add` adds a layer to that of those below it.
    pub(crate) fn of<E>(
        &self,
        root: &Root,
        mut add: impl FnMut(&mut T, &RootLayer) -> Result<(), E>,
    ) -> Result<T, E> {
        let (mut value, n_known) = self.nearest(root);
        if n_known == root.len() {
            return Ok(value);
        }
        // Not under the lock: layers may be fetched.
        let mut missing: Vec<_> = root.top_down().take(root.len() - n_known).collect();
        while let Some(layer) = missing.pop() {
            add(&mut value, layer)?;
        }
        let mut kept = self.kept();
        kept.push((root.clone(), value.clone()));
        if kept.len() > MAX_KEPT {
            kept.remove(0);
        }
        Ok(value)
    }

    /// The value of the highest known part of `root`, and of how many layers it is.
    fn nearest(&self, root: &Root) -> (T, usize) {
        let kept = self.kept();
        let known = |part: &Root| {
            let (_, value) = kept.iter().rfind(|(known, _)| known.is(part))?;
            Some((value.clone(), part.len()))
        };
        root.ends().find_map(known).unwrap_or_default()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Root, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use rbuild_image::digest::Digest;

    use super::*;

    fn diff_id(number: usize) -> DiffId {
        DiffId(Digest::of(&number.to_le_bytes()))
    }

    #[test]
    fn layers_are_in_order() {
        let diff_ids: Vec<_> = (0..300).map(diff_id).collect();
        let root = Root::of_image(&diff_ids);
        assert_eq!(root.diff_ids(), diff_ids);
        for (position, diff_id) in diff_ids.iter().enumerate() {
            assert_eq!(root.layer(position).unwrap().diff_id, *diff_id);
        }
        assert_eq!(root.top().map(|layer| layer.diff_id), Some(diff_ids[299]));
        assert!(root.layer(300).is_none() && Root::default().layer(0).is_none());
    }

    #[test]
    fn many_layers_are_dropped_without_recursion() {
        let mut root = Root::default();
        let layer = *Root::of_image(&[diff_id(0)]).top().unwrap();
        for _ in 0..200_000 {
            root = root.with_layer(layer);
        }
        drop(root);
    }

    #[test]
    fn values_grow_from_the_nearest() {
        let grown = Grown::<Vec<DiffId>>::default();
        let mut n_added = 0;
        let mut value_of = |root: &Root| {
            let add = |value: &mut Vec<DiffId>, layer: &RootLayer| {
                n_added += 1;
                value.push(layer.diff_id);
                Ok::<_, Infallible>(())
            };
            let value = grown.of(root, add).unwrap();
            assert_eq!(value, root.diff_ids());
        };
        let base = Root::of_image(&[diff_id(0), diff_id(1)]);
        let layer = |number| *Root::of_image(&[diff_id(number)]).top().unwrap();
        let one = base.clone().with_layer(layer(2));
        let other = base.clone().with_layer(layer(3));
        value_of(&Root::default());
        value_of(&base);
        value_of(&one);
        value_of(&other);
        value_of(&one);
        // The same layers, but another value.
        value_of(&Root::of_image(&[diff_id(0)]));
        assert_eq!(n_added, 5);
    }
}
