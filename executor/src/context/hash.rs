//! Digests of a context's files.

use std::fs::File;
use std::io::Read as _;

use rayon::prelude::*;
use rbuild_cache::files::FileState;
use rbuild_image::layer::entry::{ContentDigest, EntryKind};
use rustix::time::ClockId;

use super::{Context, list};
use crate::files::error::{FilesError, shown};
use crate::files::node::{Home, Node};
use crate::files::nodes::{Nodes, Walked};

/// Bytes read at once; each hashing thread has one buffer.
const BUFFER_SIZE: usize = 128 * 1024;

/// Files that are in memory with all that is known of them.
const AT_ONCE: usize = 8192;

/// How often a file is read again that changes while it is read.
const ATTEMPTS: u32 = 4;

/// Gives every file of `nodes` that has none its digest, by reading it. Files are read in parallel.
///
/// # Errors
/// [`FilesError::Changed`] for a file that is gone, or changes whenever it is read;
/// [`FilesError::Io`] for one that cannot be read.
pub(crate) fn hash_files(context: &Context, nodes: Nodes) -> Result<Nodes, FilesError> {
    if nodes.n_unhashed() == 0 {
        return Ok(nodes);
    }
    let mut hashed = Nodes::default();
    let mut waiting = Vec::new();
    let mut rest = nodes.iter();
    loop {
        waiting.extend(rest.by_ref().take(AT_ONCE));
        if waiting.is_empty() {
            break;
        }
        waiting
            .par_iter_mut()
            .try_for_each_init(Vec::new, |buffer, walked: &mut Walked| {
                hash_with(context, &mut walked.node, buffer)
            })?;
        for walked in waiting.drain(..) {
            hashed.push(&walked);
        }
    }
    hashed.shrink();
    Ok(hashed)
}

/// As [`hash_files`], for one node.
pub(crate) fn hash_file(context: &Context, node: &mut Node) -> Result<(), FilesError> {
    hash_with(context, node, &mut Vec::new())
}

fn hash_with(context: &Context, node: &mut Node, buffer: &mut Vec<u8>) -> Result<(), FilesError> {
    if matches!(node.home, Home::Disk { unhashed: Some(_) }) {
        buffer.resize(BUFFER_SIZE, 0);
        read(context, node, buffer)?;
    }
    Ok(())
}

fn read(context: &Context, node: &mut Node, buffer: &mut [u8]) -> Result<(), FilesError> {
    let path = &node.entry.path;
    let cannot = |source| FilesError::Io {
        doing: "read",
        path: shown(path),
        source,
    };
    for _ in 0..ATTEMPTS {
        let started = now();
        let (mut file, stat) = context.open_file(path)?;
        let state = list::state_of(&stat);
        let digest = read_and_hash(&mut file, state.size, buffer).map_err(cannot)?;
        let xattrs = list::read_xattrs(&file).map_err(|errno| cannot(errno.into()))?;
        let after = rustix::fs::fstat(&file).map_err(|errno| cannot(errno.into()))?;
        if list::state_of(&after) != state {
            continue;
        }
        // A file with attributes is read by every build, so that a hit always means: none.
        if xattrs.is_empty() {
            context.digests.note(state, digest.0, started);
        }
        *node = hashed(node, &stat, state, digest);
        node.entry.xattrs = xattrs;
        return Ok(());
    }
    Err(FilesError::Changed { path: shown(path) })
}

/// Returns the node of the file that was read: it may be another one than was found at its path
/// before.
fn hashed(
    node: &mut Node,
    stat: &rustix::fs::Stat,
    state: FileState,
    digest: ContentDigest,
) -> Node {
    let mut read = list::node_of(stat);
    read.entry.path = std::mem::take(&mut node.entry.path);
    read.entry.kind = EntryKind::File {
        size: state.size,
        digest,
    };
    read.home = Home::Disk { unhashed: None };
    read
}

/// Hashes up to `size` bytes: what comes behind them shows in the file's state.
fn read_and_hash(file: &mut File, size: u64, buffer: &mut [u8]) -> std::io::Result<ContentDigest> {
    let mut hasher = blake3::Hasher::new();
    let mut rest = size;
    while rest > 0 {
        let want = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let length = match file.read(&mut buffer[..want]) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..length]);
        rest -= length as u64;
    }
    Ok(ContentDigest(*hasher.finalize().as_bytes()))
}

/// Nanoseconds since the epoch, by the clock that the kernel stamps files with. Only decides
/// whether a digest may be kept.
pub(crate) fn now() -> i128 {
    let time = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}
