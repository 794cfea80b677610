//! Many nodes, close together in memory.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_cache::files::FileState;
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
    /// Those of the files without a digest, in order.
    states: Vec<FileState>,
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
    /// Adds a node, if its path comes after those of all that are here. It does, unless a folder changed while it was
    /// read and had a name twice.
    pub(crate) fn push(&mut self, walked: &Walked) {
        let node = &walked.node;
        let home = match node.home {
            Home::Nowhere => NOWHERE,
            Home::Disk { unhashed: Some(_) } => UNHASHED,
            Home::Disk { unhashed: None } => HASHED,
            Home::Fetched => FETCHED,
            // A stack has some hundreds of layers at most.
            Home::Layer(number) => u16::try_from(number)
                .ok()
                .and_then(|number| number.checked_add(LAYER))
                .unwrap_or(u16::MAX / 2),
        };
        let at = self.entries.len();
        if !self.entries.push(&node.entry) {
            return;
        }
        if let Home::Disk {
            unhashed: Some(state),
        } = node.home
        {
            self.states.push(state);
        }
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
        self.states.len()
    }

    /// Returns the numbers of the layers that files are in.
    pub(crate) fn layers(&self) -> BTreeSet<usize> {
        let homes = self.marks.iter().map(|mark| mark >> 1);
        homes
            .filter_map(|home| home.checked_sub(LAYER).map(usize::from))
            .collect()
    }

    /// Returns the nodes in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Walked> {
        let entries = self.entries.iter().zip(&self.marks).enumerate();
        let mut states = self.states.iter().copied();
        entries
            .map(move |(at, (entry, mark))| walked(entry, *mark, self.links.get(&at), &mut states))
    }

    /// Returns the nodes in order.
    pub(crate) fn into_nodes(self) -> IntoNodes {
        IntoNodes {
            entries: self.entries.into_iter(),
            marks: self.marks,
            links: self.links,
            states: self.states.into_iter(),
            at: 0,
        }
    }

    /// Gives back the room that is kept for more.
    pub(crate) fn shrink(&mut self) {
        self.entries.shrink();
        self.marks.shrink_to_fit();
        self.states.shrink_to_fit();
    }
}

/// Nodes that go with the list they were in.
#[derive(Debug)]
pub(crate) struct IntoNodes {
    entries: IntoEntries,
    marks: Vec<Mark>,
    links: BTreeMap<usize, LinkGroup>,
    states: std::vec::IntoIter<FileState>,
    at: usize,
}

impl IntoNodes {
    /// Returns the path of the next node.
    pub(crate) fn path(&self) -> Option<&[u8]> {
        self.entries.path()
    }

    /// Moves the next node to another list, under this path.
    fn move_next(&mut self, path: &[u8], to: &mut Nodes) {
        let Some(mark) = self.marks.get(self.at).copied() else {
            return;
        };
        let state = (mark >> 1 == UNHASHED)
            .then(|| self.states.next())
            .flatten();
        if to.entries.push_next(path, &self.entries) {
            if let Some(link) = self.links.get(&self.at) {
                to.links.insert(to.marks.len(), *link);
            }
            to.marks.push(mark);
            to.states.extend(state);
        }
        self.entries.advance();
        self.at += 1;
    }
}

impl Iterator for IntoNodes {
    type Item = Walked;

    fn next(&mut self) -> Option<Walked> {
        let entry = self.entries.next()?;
        let mark = *self.marks.get(self.at)?;
        let link = self.links.get(&self.at);
        self.at += 1;
        Some(walked(entry, mark, link, &mut self.states))
    }
}

fn walked(
    entry: Entry,
    mark: Mark,
    link: Option<&LinkGroup>,
    states: &mut impl Iterator<Item = FileState>,
) -> Walked {
    Walked {
        node: Node {
            entry,
            home: match mark >> 1 {
                NOWHERE => Home::Nowhere,
                UNHASHED => Home::Disk {
                    unhashed: states.next(),
                },
                HASHED => Home::Disk { unhashed: None },
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
        if walked.is_implied {
            self.leave(path);
            self.hollow.push(walked);
        } else {
            self.keep_way_to(path);
            self.nodes.push(&walked);
        }
    }

    /// Takes the next one of `leaves`, which is wanted, under this path.
    pub(crate) fn push_next(&mut self, path: &[u8], leaves: &mut IntoNodes) {
        self.keep_way_to(path);
        leaves.move_next(path, &mut self.nodes);
    }

    /// Drops the implied folders behind which this path comes, and keeps those that it is in.
    fn keep_way_to(&mut self, path: &[u8]) {
        self.leave(path);
        for folder in self.hollow.drain(..) {
            self.nodes.push(&folder);
        }
    }

    fn leave(&mut self, path: &[u8]) {
        while let Some(folder) = self.hollow.last()
            && !is_below(path, &folder.node.entry.path)
        {
            self.hollow.pop();
        }
    }

    pub(crate) fn finish(mut self) -> Nodes {
        self.nodes.shrink();
        self.nodes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rbuild_image::layer::entry::{ContentDigest, EntryKind, Mtime};

    use super::*;

    fn walked(path: &str, home: Home, is_implied: bool) -> Walked {
        let kind = match home {
            Home::Nowhere => EntryKind::Directory { opaque: false },
            _ => EntryKind::File {
                size: 1,
                digest: ContentDigest([7; 32]),
            },
        };
        let link = path.ends_with("linked").then_some((1, 2));
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: BTreeMap::new(),
        };
        Walked {
            node: Node { entry, home, link },
            is_implied,
        }
    }

    fn unhashed(ino: u64) -> Home {
        let state = FileState {
            dev: 1,
            ino,
            size: 1,
            mtime: (1, 2),
            ctime: (3, 4),
        };
        Home::Disk {
            unhashed: Some(state),
        }
    }

    #[test]
    fn nodes_come_out_as_they_went_in() {
        let all = [
            walked("a", Home::Nowhere, true),
            walked("a/f", unhashed(1), false),
            walked("a/linked", Home::Disk { unhashed: None }, false),
            walked("b", Home::Fetched, false),
            walked("c", Home::Layer(300), false),
            walked("d", unhashed(2), false),
        ];
        let mut nodes = Nodes::default();
        all.iter().for_each(|walked| nodes.push(walked));
        assert_eq!((nodes.len(), nodes.n_unhashed()), (6, 2));
        assert_eq!(nodes.layers().into_iter().collect::<Vec<_>>(), [300]);
        assert!(nodes.iter().eq(all.iter().cloned()));
        assert!(nodes.into_nodes().eq(all));
    }

    #[test]
    fn a_name_that_was_seen_twice_counts_once() {
        let mut nodes = Nodes::default();
        for ino in 1..4 {
            nodes.push(&walked("a", unhashed(ino), false));
        }
        let mut gathering = Gathering::default();
        let mut leaves = nodes.clone().into_nodes();
        gathering.push_next(b"x/a", &mut leaves);
        let mut again = nodes.into_nodes();
        gathering.push_next(b"x/a", &mut again);
        let found = gathering.finish();
        assert_eq!((found.len(), found.n_unhashed()), (1, 1));
        assert!(found.iter().eq([walked("x/a", unhashed(1), false)]));
    }

    #[test]
    fn implied_folders_stay_if_they_hold_something() {
        let mut gathering = Gathering::default();
        for (path, home, is_implied) in [
            ("a", Home::Nowhere, true),
            ("a/b", Home::Nowhere, true),
            ("c", Home::Nowhere, true),
            ("c/d", Home::Nowhere, true),
            ("c/e", Home::Nowhere, true),
            ("c/e/f", Home::Fetched, false),
            ("g", Home::Nowhere, true),
        ] {
            gathering.push(walked(path, home, is_implied));
        }
        let paths: Vec<_> = gathering
            .finish()
            .iter()
            .map(|of| of.node.entry.path)
            .collect();
        assert_eq!(paths, [&b"c"[..], b"c/e", b"c/e/f"]);
    }
}
