//! Listing a context's folders, in parallel and only as deep as anything there can be wanted.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::os::fd::AsFd as _;

use rayon::prelude::*;
use rbuild_image::layer::entry::LayerPath;
use rbuild_image::layer::path::join;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::list::{self, Child, Listing};
use super::{Context, beneath, cannot, is_gone};
use crate::files::error::{FilesError, shown};
use crate::files::node::Node;
use crate::files::nodes::{Gathering, IntoNodes, Nodes, Walked};
use crate::files::patterns::{Filter, FilterState};

impl Context {
    /// Returns what is below the folder at `path`, in path order, without the folder itself: what
    /// `filter` and the ignore file want, and the folders on the way to it. Files whose digests are
    /// known from an earlier build have them.
    ///
    /// What vanishes meanwhile is left out.
    ///
    /// # Errors
    /// [`FilesError::Io`] for a folder that may not be read, [`FilesError::Changed`] if one became
    /// something else.
    pub(crate) fn walk(&self, path: &[u8], filter: Filter<'_>) -> Result<Nodes, FilesError> {
        let filter = filter.with_ignore(&self.ignore.0);
        let Some(listing) = self.list(path)? else {
            return Err(FilesError::Changed { path: shown(path) });
        };
        let Judged { content, folders } =
            self.judge(path, listing.children, &filter, &filter.start(path));
        let mut contents = vec![content];
        let mut pending = folders;
        while !pending.is_empty() {
            // One level of folders at a time: a chain of a million folders needs no deep stack.
            let first = contents.len();
            let listed: Vec<Judged> = pending
                .into_par_iter()
                .enumerate()
                .map(|(at, folder)| self.descend(&folder, first + at, &filter))
                .collect::<Result<_, _>>()?;
            pending = Vec::new();
            for (at, one) in listed.into_iter().enumerate() {
                if let Some((holder, place)) = one.content.stands_in {
                    contents[holder].folders[place].content = Some(first + at);
                }
                contents.push(one.content);
                pending.extend(one.folders);
            }
        }
        Ok(in_order(path, &mut contents))
    }

    /// Returns the children of the folder at `path` that are not ignored, in name order.
    ///
    /// # Errors
    /// As [`Context::walk`].
    pub(crate) fn read_dir(&self, path: &[u8]) -> Result<Vec<Node>, FilesError> {
        let Some(listing) = self.list(path)? else {
            return Ok(Vec::new());
        };
        let filter = self.filter();
        let start = filter.start(path);
        let mut found = Vec::new();
        for mut child in listing.children {
            let below = join(path, &child.name);
            let (verdict, _) = filter.judge(&below, &start);
            let is_there = verdict.keep
                || (verdict.descend && child.node.is_directory() && self.holds_anything(&below)?);
            if is_there {
                self.look_up(&mut child.node);
                child.node.entry.path = below;
                found.push(child.node);
            }
        }
        Ok(found)
    }

    /// Tells whether the folder at `path` holds anything that is not ignored.
    pub(super) fn holds_anything(&self, path: &[u8]) -> Result<bool, FilesError> {
        Ok(!self.walk(path, Filter::default())?.is_empty())
    }

    /// Lists a folder that may hold something.
    fn descend(
        &self,
        folder: &Pending,
        number: usize,
        filter: &Filter<'_>,
    ) -> Result<Judged, FilesError> {
        let Some(listing) = self.list(&folder.path)? else {
            return Ok(Judged::default());
        };
        let mut judged = self.judge(&folder.path, listing.children, filter, &folder.state);
        judged.content.stands_in = Some(folder.place);
        judged.content.xattrs = listing.xattrs;
        for below in &mut judged.folders {
            below.place.0 = number;
        }
        Ok(judged)
    }

    /// Drops the children of a folder that nobody wants.
    fn judge(
        &self,
        parent: &[u8],
        children: Vec<Child>,
        filter: &Filter<'_>,
        state: &FilterState,
    ) -> Judged {
        let mut judged = Judged::default();
        let mut path = parent.to_vec();
        for mut child in children {
            path.truncate(parent.len());
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&child.name);
            let (verdict, state) = filter.judge(&path, state);
            child.node.entry.path = child.name;
            if verdict.descend && child.node.is_directory() {
                judged.folders.push(Pending {
                    path: path.clone(),
                    place: (0, judged.content.folders.len()),
                    state,
                });
                judged.content.folders.push(Folder {
                    node: child.node,
                    is_wanted: verdict.keep,
                    content: None,
                });
            } else if verdict.keep {
                self.look_up(&mut child.node);
                judged.content.leaves.push(&Walked {
                    node: child.node,
                    is_implied: false,
                });
            }
        }
        judged.content.leaves.shrink();
        judged
    }

    /// Lists the folder at `path`; `None` if there is nothing any more.
    fn list(&self, path: &[u8]) -> Result<Option<Listing>, FilesError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        match beneath::open(self.root.as_fd(), path, flags)
            .and_then(|dir| list::read_directory(&dir))
        {
            Ok(listing) => Ok(Some(listing)),
            Err(Errno::NOENT) => Ok(None),
            // Something else took the folder's place since it was seen.
            Err(errno) if is_gone(errno) => Err(FilesError::Changed { path: shown(path) }),
            Err(errno) => Err(cannot("read the directory", path, errno)),
        }
    }
}

/// A folder whose entries are to be looked at.
#[derive(Debug)]
struct Pending {
    path: LayerPath,
    /// The number of the content that it is in, and its position among the folders there.
    place: (usize, usize),
    /// What is known of the patterns for its entries.
    state: FilterState,
}

/// What one folder adds to a walk.
#[derive(Debug, Default)]
struct Judged {
    content: Content,
    folders: Vec<Pending>,
}

/// What is wanted of a folder's entries, in name order; paths are names.
#[derive(Debug, Default)]
struct Content {
    /// The place of the folder in another's content; not known of the first one, and of one that
    /// has vanished.
    stands_in: Option<(usize, usize)>,
    /// The folder's own attributes.
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    leaves: Nodes,
    folders: Vec<Folder>,
}

/// A folder that may hold something.
#[derive(Debug)]
struct Folder {
    node: Node,
    is_wanted: bool,
    /// The number of its content; `None` if it has vanished.
    content: Option<usize>,
}

/// Puts the contents of folders, the first being that of the folder at `path`, into one list.
fn in_order(path: &[u8], contents: &mut [Content]) -> Nodes {
    let mut gathering = Gathering::default();
    let mut way = vec![Step::into(path.to_vec(), &mut contents[0])];
    while let Some(step) = way.last_mut() {
        let leaf_is_next = match (step.leaves.path(), step.folders.peek()) {
            (Some(leaf), Some(folder)) => leaf < folder.node.entry.path.as_slice(),
            (leaf, _) => leaf.is_some(),
        };
        if leaf_is_next {
            let path = join(&step.path, step.leaves.path().unwrap_or_default());
            gathering.push_next(&path, &mut step.leaves);
            continue;
        }
        let Some(folder) = step.folders.next() else {
            way.pop();
            continue;
        };
        let Some(content) = folder.content.map(|number| &mut contents[number]) else {
            continue;
        };
        let mut node = folder.node;
        node.entry.path = join(&step.path, &node.entry.path);
        node.entry.xattrs = std::mem::take(&mut content.xattrs);
        way.push(Step::into(node.entry.path.clone(), content));
        gathering.push(Walked {
            node,
            is_implied: !folder.is_wanted,
        });
    }
    gathering.finish()
}

/// What is left of a folder's content while it is put in order.
struct Step {
    path: LayerPath,
    leaves: IntoNodes,
    folders: Peekable<std::vec::IntoIter<Folder>>,
}

impl Step {
    fn into(path: LayerPath, content: &mut Content) -> Self {
        Self {
            path,
            leaves: std::mem::take(&mut content.leaves).into_nodes(),
            folders: std::mem::take(&mut content.folders).into_iter().peekable(),
        }
    }
}
