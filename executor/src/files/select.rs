//! Which files a source argument names.
//!
//! The same selection serves the cache key and the packing, so both speak of the same files. Knows
//! nothing of destinations.

use rbuild_image::layer::entry::LayerPath;
use rbuild_image::layer::path::{join, split_last};
use rbuild_parser::ignore::Ignore;

use super::error::{FilesError, shown};
use super::node::Node;
use super::nodes::{Nodes, Walked};
use super::patterns::{Filter, Picker, glob, has_meta};
use super::tree::SourceTree;

/// One thing that a source argument names: a file, or a directory whose contents are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Match {
    /// The name it has when it is put into a directory: that of the link, if it is reached by one.
    pub(crate) name: Vec<u8>,
    /// What it is. Never a link.
    pub(crate) top: Node,
    /// What is below it, in path order, if it is a directory.
    pub(crate) below: Nodes,
    /// Length of the prefix, slash included, that all paths below share.
    pub(crate) prefix: usize,
    /// True if directories on the way to something wanted are copied for its sake only, and keep
    /// what they are where they exist (`--parents`).
    pub(crate) is_sparse: bool,
}

impl Match {
    /// Returns a match of `top`, under this name, with nothing below it.
    pub(crate) fn of(name: Vec<u8>, top: Node) -> Self {
        let path = &top.entry.path;
        Self {
            prefix: if path.is_empty() { 0 } else { path.len() + 1 },
            name,
            top,
            below: Nodes::default(),
            is_sparse: false,
        }
    }

    /// Returns the path of a node below the matched directory, from there.
    pub(crate) fn relative<'a>(&self, below: &'a Walked) -> &'a [u8] {
        below.node.entry.path.get(self.prefix..).unwrap_or_default()
    }
}

/// How a source argument is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// True if the argument is a pattern.
    pub(crate) is_wildcard: bool,
    /// `--parents`
    pub(crate) keeps_parents: bool,
    /// `--exclude`
    pub(crate) exclude: &'a Ignore,
}

/// Returns what `pattern`, an absolute path or pattern, names in `tree`: for a pattern in name
/// order, and possibly nothing.
///
/// # Errors
/// [`FilesError::NotFound`] if something that is named without wildcards is not there, and the
/// errors of reading the tree.
pub(crate) fn select(
    tree: SourceTree<'_>,
    pattern: &str,
    rules: Rules<'_>,
) -> Result<Vec<Match>, FilesError> {
    if rules.keeps_parents {
        return select_with_parents(tree, pattern, rules);
    }
    let mut matches = Vec::new();
    for path in roots(tree, pattern.as_bytes(), rules.is_wildcard)? {
        let mut matched = Match::of(last_name(&path), existing(tree, &path)?);
        if matched.top.is_directory() {
            let root = &matched.top.entry.path;
            matched.below = tree.walk(root, Filter::new(root, None, rules.exclude))?;
        }
        matches.push(matched);
    }
    Ok(matches)
}

/// `--parents`: what stands before `/./`, or the root, is the directory whose contents are copied,
/// and what comes after it picks from them.
fn select_with_parents(
    tree: SourceTree<'_>,
    pattern: &str,
    rules: Rules<'_>,
) -> Result<Vec<Match>, FilesError> {
    let (pivot, inner) = pattern.split_once("/./").unwrap_or(("", pattern));
    let inner = clean(inner.as_bytes());
    let pick = Picker::new(&inner)?;
    let is_wildcard = rules.is_wildcard && has_meta(pivot.as_bytes());
    let mut matches = Vec::new();
    for path in roots(tree, pivot.as_bytes(), is_wildcard)? {
        let mut matched = Match::of(last_name(&path), existing(tree, &path)?);
        matched.is_sparse = true;
        let root = &matched.top.entry.path;
        if matched.top.is_directory() {
            matched.below = tree.walk(root, Filter::new(root, pick.as_ref(), rules.exclude))?;
        }
        let is_missing = matched.below.is_empty() && !inner.is_empty() && !has_meta(&inner);
        if is_missing && !is_there(tree, root, &inner)? {
            return Err(FilesError::NotFound {
                path: shown(&[&path, &b"/"[..], &inner].concat()),
            });
        }
        matches.push(matched);
    }
    Ok(matches)
}

/// Returns the paths that a pattern matches, or the path itself if it is none. Links in what comes
/// before the first wildcard are followed, those behind it are not.
fn roots(
    tree: SourceTree<'_>,
    pattern: &[u8],
    is_wildcard: bool,
) -> Result<Vec<LayerPath>, FilesError> {
    let pattern = clean(pattern);
    if !is_wildcard {
        return Ok(vec![pattern]);
    }
    let components: Vec<&[u8]> = pattern
        .split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty())
        .collect();
    let n_literal = components
        .iter()
        .take_while(|component| !has_meta(component))
        .count();
    let start = components[..n_literal].join(&b'/');
    let Some(start) = tree.resolve(&start)?.filter(Node::is_directory) else {
        return Ok(Vec::new());
    };
    let mut found = vec![start];
    for (at, component) in components.iter().enumerate().skip(n_literal) {
        let glob = glob(component)?;
        let is_last = at + 1 == components.len();
        let mut next = Vec::new();
        for directory in &found {
            let children = tree.read_dir(&directory.entry.path)?.into_iter();
            next.extend(children.filter(|child| {
                (is_last || child.is_directory()) && glob.matches(&last_name(&child.entry.path))
            }));
        }
        found = next;
    }
    Ok(found.into_iter().map(|node| node.entry.path).collect())
}

/// Returns what `path` leads to.
fn existing(tree: SourceTree<'_>, path: &[u8]) -> Result<Node, FilesError> {
    tree.resolve(path)?
        .ok_or_else(|| FilesError::NotFound { path: shown(path) })
}

fn last_name(path: &[u8]) -> Vec<u8> {
    split_last(path).map_or(&[][..], |(_, name)| name).to_vec()
}

/// Tells whether `inner` is there below `root`, links not followed.
fn is_there(tree: SourceTree<'_>, root: &[u8], inner: &[u8]) -> Result<bool, FilesError> {
    let mut path = root.to_vec();
    let mut node = None;
    for component in inner.split(|byte| *byte == b'/') {
        path = join(&path, component);
        node = tree.lookup(&path)?;
        if node.is_none() {
            return Ok(false);
        }
    }
    Ok(node.is_some())
}

/// Returns a path without empty and `.` components; `..` takes back the one before it, at most up
/// to the root.
fn clean(path: &[u8]) -> LayerPath {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    parts.join(&b'/')
}
