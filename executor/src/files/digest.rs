//! The content digest of a selection: what a step's key says of its sources.
//!
//! | field | in the digest | why |
//! |---|---|---|
//! | number and order of sources and matches | yes | later ones overwrite earlier ones |
//! | a matched file's name | yes | it is the name in a destination directory |
//! | a matched directory's own name, mode and owner | no | only its contents are copied |
//! | paths below a matched directory | yes | |
//! | kind, mode, owner, size, content, link target, device, extended attributes | yes | |
//! | which names are one file | yes | hard links stay hard links |
//! | modification times | no | a touched file is the same file |
//! | where the source is | no | a moved file is the same file |
//!
//! Every part is preceded by its length, every list by the number of its members. A change to
//! this table changes the context string below.

use std::collections::HashMap;

use rbuild_image::layer::index::put_hashed;

use super::node::{LinkGroup, Node};
use super::select::Match;

/// Domain of the hash; its year and number change with its meaning.
const CONTEXT: &str = "rbuild 2026 source selection 1";

/// Bytes that are hashed at once: many small pieces cost more.
const BATCH: usize = 64 << 10;

/// Returns the digest of what one source names.
pub(crate) fn digest_matches(matches: &[Match]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    let mut bytes = Vec::with_capacity(BATCH + 4096);
    bytes.extend_from_slice(&(matches.len() as u64).to_le_bytes());
    for matched in matches {
        if !matched.top.is_directory() {
            bytes.push(0);
            put_hashed(&mut bytes, &matched.name, &matched.top.entry);
            continue;
        }
        bytes.extend_from_slice(&[1, u8::from(matched.is_sparse)]);
        bytes.extend_from_slice(&(matched.below.len() as u64).to_le_bytes());
        let mut names = LinkNames::default();
        for below in matched.below.iter() {
            bytes.push(u8::from(below.is_implied));
            put_hashed(&mut bytes, matched.relative(&below), &below.node.entry);
            bytes.extend_from_slice(&names.first_name(&below.node).to_le_bytes());
            if bytes.len() >= BATCH {
                hasher.update(&bytes);
                bytes.clear();
            }
        }
    }
    hasher.update(&bytes);
    *hasher.finalize().as_bytes()
}

/// Numbers the files that have several names.
#[derive(Debug, Default)]
struct LinkNames {
    seen: HashMap<LinkGroup, u64>,
    n_nodes: u64,
}

impl LinkNames {
    /// Returns the position of the first name of this node's file among all nodes, from 1, or 0 if
    /// it comes for the first time.
    fn first_name(&mut self, node: &Node) -> u64 {
        self.n_nodes += 1;
        let Some(group) = node.link else { return 0 };
        match self.seen.entry(group) {
            std::collections::hash_map::Entry::Occupied(first) => *first.get(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(self.n_nodes);
                0
            }
        }
    }
}
