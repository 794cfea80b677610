//! Many nodes, close together in memory.

use std::collections::BTreeMap;

use rbuild_image::layer::entry::Entry;
use rbuild_image::layer::path::is_below;
use rbuild_image::layer::{EntryList, IntoEntries};

use super::node::{Home, LinkGroup, Node};

/// A node below a walk's start. Its path in the tree is in its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) node: Node,
    /// True for a folder that is not wanted itself, but holds something that is.
    pub(crate) is_implied: bool,
}

/// What a walk found, in path order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Nodes {
    entries: EntryList,
    /// Of each node where its bytes are, and whether it is implied.
    marks: Vec<Mark>,
    /// Those of the nodes that have one, by position.
    links: BTreeMap<usize, LinkGroup>,
    n_unhashed: usize,
}

/// What an entry does not say of a node: the number of a [`Home`], doubled, and one more if it is
/// implied.
type Mark = u16;

const NOWHERE: u16 = 0;
const UNHASHED: u16 = 1;
const HASHED: u16 = 2;
const FETCHED: u16 = 3;
/// The first of those in layers.
const LAYER: u16 = 4;

impl Nodes {
    /// Adds a node. Its path comes after those of all that are here.
    pub(crate) fn push(&mut self, walked: &Walked) {
        let node = &walked.node;
        let home = match node.home {
            Home::Nowhere => NOWHERE,
            Home::Disk { is_hashed: false } => UNHASHED,
            Home::Disk { is_hashed: true } => HASHED,
            Home::Fetched => FETCHED,
            // A stack has some hundreds of layers at most.
            Home::Layer(number) => u16::try_from(number)
                .ok()
                .and_then(|number| number.checked_add(LAYER))
                .unwrap_or(u16::MAX / 2),
        };
        let at = self.entries.len();
        if !self.entries.push(&node.entry) {
            debug_assert!(false, "a walk is in order");
            return;
        }
        self.n_unhashed += usize::from(home == UNHASHED);
        self.marks.push(home << 1 | u16::from(walked.is_implied));
        if let Some(link) = node.link {
            self.links.insert(at, link);
        }
    }

    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }

    /// Returns true if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Returns how many files have no digest yet.
    pub(crate) fn n_unhashed(&self) -> usize {
        self.n_unhashed
    }

    /// Returns the nodes in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Walked> {
        let entries = self.entries.iter().zip(&self.marks).enumerate();
        entries.map(|(at, (entry, mark))| walked(entry, *mark, self.links.get(&at)))
    }

    /// Returns the nodes in order.
    pub(crate) fn into_nodes(self) -> IntoNodes {
        IntoNodes {
            entries: self.entries.into_iter(),
            marks: self.marks,
            links: self.links,
            at: 0,
        }
    }

    /// Gives back the room that is kept for more.
    pub(crate) fn shrink(&mut self) {
        self.entries.shrink();
        self.marks.shrink_to_fit();
    }
}

/// Nodes that go with the list they were in.
#[derive(Debug)]
pub(crate) struct IntoNodes {
    entries: IntoEntries,
    marks: Vec<Mark>,
    links: BTreeMap<usize, LinkGroup>,
    at: usize,
}

impl Iterator for IntoNodes {
    type Item = Walked;

    fn next(&mut self) -> Option<Walked> {
        let entry = self.entries.next()?;
        let mark = *self.marks.get(self.at)?;
        let link = self.links.get(&self.at);
        self.at += 1;
        Some(walked(entry, mark, link))
    }
}

fn walked(entry: Entry, mark: Mark, link: Option<&LinkGroup>) -> Walked {
    Walked {
        node: Node {
            entry,
            home: match mark >> 1 {
                NOWHERE => Home::Nowhere,
                UNHASHED => Home::Disk { is_hashed: false },
                HASHED => Home::Disk { is_hashed: true },
                FETCHED => Home::Fetched,
                number => Home::Layer(usize::from(number - LAYER)),
            },
            link: link.copied(),
        },
        is_implied: mark & 1 == 1,
    }
}

/// Takes nodes in path order, and drops the implied folders that turn out to hold nothing wanted.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    nodes: Nodes,
    /// Implied folders, one in the other, in which nothing wanted was found so far.
    hollow: Vec<Walked>,
}

impl Gathering {
    pub(crate) fn push(&mut self, walked: Walked) {
        let path = &walked.node.entry.path;
        while let Some(folder) = self.hollow.last()
            && !is_below(path, &folder.node.entry.path)
        {
            self.hollow.pop();
        }
        if walked.is_implied {
            self.hollow.push(walked);
            return;
        }
        for folder in self.hollow.drain(..) {
            self.nodes.push(&folder);
        }
        self.nodes.push(&walked);
    }

    pub(crate) fn finish(mut self) -> Nodes {
        self.nodes.shrink();
        self.nodes
    }
}
