//! The trees that files are copied from, seen alike: build contexts and root file systems.

use rbuild_image::layer::entry::{EntryKind, LayerPath};
use rbuild_image::layer::path::{is_below, join, split_last};
use rbuild_image::layer::rootfs::{Found, Rootfs};

use crate::context::Context;
use crate::files::error::{FilesError, shown};
use crate::files::node::{Home, Node};
use crate::files::nodes::{Gathering, Nodes, Walked};
use crate::files::patterns::{Filter, FilterState};

/// Most symbolic links that one look-up follows.
const MAX_LINKS: usize = 255;

/// A tree that files are copied from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SourceTree<'a> {
    /// A directory build context.
    Context(&'a Context),
    /// The root file system of a step or an image.
    Rootfs(&'a Rootfs),
}

impl SourceTree<'_> {
    /// Returns what stands at `path`, a clean path; follows no link.
    pub(super) fn lookup(self, path: &[u8]) -> Result<Option<Node>, FilesError> {
        match self {
            Self::Context(context) => context.lookup(path),
            Self::Rootfs(rootfs) => Ok(rootfs.lookup(path).map(node_of)),
        }
    }

    /// Returns what stands directly in the directory at `path`, in name order.
    pub(super) fn read_dir(self, path: &[u8]) -> Result<Vec<Node>, FilesError> {
        match self {
            Self::Context(context) => context.read_dir(path),
            Self::Rootfs(rootfs) => Ok(rootfs.read_dir(path).map(node_of).collect()),
        }
    }

    /// Returns what is wanted below the directory at `path`, in path order.
    pub(super) fn walk(self, path: &[u8], filter: Filter<'_>) -> Result<Nodes, FilesError> {
        match self {
            Self::Context(context) => context.walk(path, filter),
            Self::Rootfs(rootfs) => Ok(walk_rootfs(rootfs, path, filter)),
        }
    }

    /// Resolves `path` as a process whose root is this tree would, following a link in the last
    /// place too. `None` if nothing is there.
    ///
    /// # Errors
    /// [`FilesError::TooManyLinks`], and those of a context's look-ups.
    pub(super) fn resolve(self, path: &[u8]) -> Result<Option<Node>, FilesError> {
        let mut pending: Vec<Vec<u8>> = components_reversed(path);
        let mut at = self.lookup(b"")?;
        let mut n_links = 0;
        while let Some(name) = pending.pop() {
            let Some(directory) = at.filter(Node::is_directory) else {
                return Ok(None);
            };
            let here = directory.entry.path;
            if name == b".." {
                at = self.lookup(parent(&here))?;
                continue;
            }
            let next = self.lookup(&join(&here, &name))?;
            let Some(target) = next.as_ref().and_then(Node::symlink_target) else {
                at = next;
                continue;
            };
            n_links += 1;
            if n_links > MAX_LINKS {
                return Err(FilesError::TooManyLinks { path: shown(path) });
            }
            let is_absolute = target.starts_with(b"/");
            pending.extend(components_reversed(target));
            at = self.lookup(if is_absolute { b"" } else { &here })?;
        }
        Ok(at)
    }
}

/// Splits a path as written into its components, the last first, without empty ones and `.`.
pub(super) fn components_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.rsplit(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .map(<[u8]>::to_vec)
        .collect()
}

fn parent(path: &[u8]) -> &[u8] {
    split_last(path).map_or(&[], |(parent, _)| parent)
}

fn walk_rootfs(rootfs: &Rootfs, path: &[u8], filter: Filter<'_>) -> Nodes {
    let mut gathering = Gathering::default();
    // The directories on the way to the current path; without a state if nothing in them is wanted.
    let mut way: Vec<(LayerPath, Option<FilterState>)> = Vec::new();
    let start = filter.start(path);
    for found in rootfs.walk(path).filter(|found| found.path() != path) {
        while way
            .last()
            .is_some_and(|(above, _)| !is_below(found.path(), above))
        {
            way.pop();
        }
        let Some(state) = way.last().map_or(Some(&start), |(_, state)| state.as_ref()) else {
            continue;
        };
        let (verdict, state) = filter.judge(found.path(), state);
        let is_directory = found.is_directory();
        if is_directory {
            way.push((found.path().to_vec(), verdict.descend.then_some(state)));
        }
        if verdict.keep || (verdict.descend && is_directory) {
            gathering.push(Walked {
                node: node_of(found),
                is_implied: !verdict.keep,
            });
        }
    }
    gathering.finish()
}

/// Returns the node that a root file system has at a path.
fn node_of(found: Found) -> Node {
    let is_file = matches!(found.entry.kind, EntryKind::File { .. });
    let home = if is_file {
        Home::Layer(found.layer)
    } else {
        Home::Nowhere
    };
    let group = |group: usize| (found.layer as u64, group as u64);
    let link = found.group().map(group);
    let mut entry = found.into_entry();
    if let EntryKind::Directory { opaque } = &mut entry.kind {
        *opaque = false;
    }
    Node { entry, home, link }
}
