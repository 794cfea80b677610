//! Listing a context's folders, in parallel and only as deep as anything there can be wanted.

use std::os::fd::AsFd as _;

use rayon::prelude::*;
use rbuild_image::layer::path::{compare_paths, is_below, join};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::list::{self, Listing};
use super::{Context, beneath, cannot, is_gone};
use crate::files::error::{FilesError, shown};
use crate::files::node::Node;
use crate::files::patterns::{Filter, FilterState};

/// A node below a walk's start. Its path in the tree is in its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) node: Node,
    /// True for a folder that is not wanted itself, but holds something that is.
    pub(crate) is_implied: bool,
}

impl Context {
    /// Returns what is below the folder at `path`, in path order, without the folder itself: what
    /// `filter` and the ignore file want, and the folders on the way to it.
    ///
    /// What vanishes meanwhile is left out.
    ///
    /// # Errors
    /// [`FilesError::Io`] for a folder that may not be read, [`FilesError::Changed`] if one became
    /// something else.
    pub(crate) fn walk(&self, path: &[u8], filter: Filter<'_>) -> Result<Vec<Walked>, FilesError> {
        let filter = filter.with_ignore(&self.ignore.0);
        let Some(listing) = self.list(path)? else {
            return Err(FilesError::Changed { path: shown(path) });
        };
        let Judged {
            mut walked,
            mut folders,
        } = judge(path, listing.children, &filter, &filter.start(path));
        while !folders.is_empty() {
            // One level of folders at a time: a chain of a million folders needs no deep stack.
            let listed: Vec<Judged> = folders
                .into_par_iter()
                .map(|folder| self.descend(folder, &filter))
                .collect::<Result<_, _>>()?;
            folders = Vec::new();
            for mut one in listed {
                walked.append(&mut one.walked);
                folders.append(&mut one.folders);
            }
        }
        walked.sort_unstable_by(|left, right| {
            compare_paths(&left.node.entry.path, &right.node.entry.path)
        });
        drop_hollow(&mut walked);
        Ok(walked)
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
        let judged = judge(path, listing.children, &filter, &filter.start(path));
        let mut found: Vec<Node> = judged.walked.into_iter().map(|leaf| leaf.node).collect();
        for folder in judged.folders {
            if folder.is_wanted || self.holds_anything(&folder.node.entry.path)? {
                found.push(folder.node);
            }
        }
        found.sort_unstable_by(|left, right| compare_paths(&left.entry.path, &right.entry.path));
        Ok(found)
    }

    /// Tells whether the folder at `path` holds anything that is not ignored.
    pub(super) fn holds_anything(&self, path: &[u8]) -> Result<bool, FilesError> {
        Ok(!self.walk(path, Filter::default())?.is_empty())
    }

    /// Lists a folder that may hold something.
    fn descend(&self, mut folder: Folder, filter: &Filter<'_>) -> Result<Judged, FilesError> {
        let Some(listing) = self.list(&folder.node.entry.path)? else {
            return Ok(Judged::default());
        };
        folder.node.entry.xattrs = listing.xattrs;
        let path = &folder.node.entry.path;
        let mut judged = judge(path, listing.children, filter, &folder.state);
        judged.walked.push(Walked {
            is_implied: !folder.is_wanted,
            node: folder.node,
        });
        Ok(judged)
    }

    /// Lists the folder at `path`, unsorted; `None` if there is nothing any more.
    fn list(&self, path: &[u8]) -> Result<Option<Listing>, FilesError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        match beneath::open(self.root.as_fd(), path, flags).and_then(list::read_directory) {
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
struct Folder {
    node: Node,
    is_wanted: bool,
    /// What is known of the patterns for its entries.
    state: FilterState,
}

/// What one folder adds to a walk.
#[derive(Debug, Default)]
struct Judged {
    /// Done with, unsorted.
    walked: Vec<Walked>,
    folders: Vec<Folder>,
}

/// Gives the children of a folder their paths, and drops those that nobody wants.
fn judge(
    parent: &[u8],
    children: Vec<(Vec<u8>, Node)>,
    filter: &Filter<'_>,
    state: &FilterState,
) -> Judged {
    let mut judged = Judged::default();
    for (name, mut node) in children {
        node.entry.path = join(parent, &name);
        let (verdict, state) = filter.judge(&node.entry.path, state);
        if verdict.descend && node.is_directory() {
            judged.folders.push(Folder {
                node,
                is_wanted: verdict.keep,
                state,
            });
        } else if verdict.keep {
            judged.walked.push(Walked {
                node,
                is_implied: false,
            });
        }
    }
    judged
}

/// Drops the unwanted folders that turned out to hold nothing wanted. `walked` is in path order.
pub(crate) fn drop_hollow(walked: &mut Vec<Walked>) {
    // A subtree is one run, so a folder holds something wanted if the next wanted node lies in it.
    let mut next: Option<usize> = None;
    let mut hollow = vec![false; walked.len()];
    for (at, item) in walked.iter().enumerate().rev() {
        let holds_next = next.is_some_and(|next| {
            let next: &Walked = &walked[next];
            is_below(&next.node.entry.path, &item.node.entry.path)
        });
        hollow[at] = item.is_implied && !holds_next;
        if !hollow[at] {
            next = Some(at);
        }
    }
    let mut is_hollow = hollow.into_iter();
    walked.retain(|_| !is_hollow.next().unwrap_or(false));
}
