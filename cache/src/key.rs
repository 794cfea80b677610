//! Cache keys: names of a step's result, made from typed leaves.
//!
//! `docs/cache-keys.md` lists every leaf of every step kind, and what is left out and why. A change
//! to a leaf's meaning bumps [`FORMAT_VERSION`].

use std::fmt;

use rbuild_image::digest::DiffId;
use serde::{Deserialize, Serialize};

/// Version of the recipe; the first thing that enters every key.
pub const FORMAT_VERSION: u32 = 1;

/// Longest text kept in a leaf, in bytes; longer ones are kept as a digest and a length.
const LONGEST_TEXT: usize = 4096;

/// Name of a step's result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey(pub [u8; 32]);

impl CacheKey {
    /// Returns the 64 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

/// One named part of a key. Stored with the record, so that a miss can be explained by comparing
/// the leaves of two builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// What it is, e.g. `env`, `parent`, `source:src/main.rs`.
    pub name: String,
    /// Its value.
    #[serde(flatten)]
    pub value: LeafValue,
}

/// A leaf's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeafValue {
    /// A text as it is.
    Text(String),
    /// The BLAKE3 of something large, in hexadecimal.
    Digest(String),
}

/// Collects leaves and hashes them.
#[derive(Debug, Default)]
pub struct KeyBuilder {
    leaves: Vec<Leaf>,
}

impl KeyBuilder {
    /// Starts the key of a step of this kind, e.g. `run`.
    #[must_use]
    pub fn new(step_kind: &str) -> Self {
        let mut builder = Self::default();
        builder.text("kind", step_kind);
        builder
    }

    /// Adds a text. A long one is kept by its digest.
    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        if value.len() > LONGEST_TEXT {
            return self.digest(name, blake3::hash(value.as_bytes()).as_bytes());
        }
        self.push(name, LeafValue::Text(value.to_owned()))
    }

    /// Adds the digest of something large.
    pub fn digest(&mut self, name: &str, value: &[u8; 32]) -> &mut Self {
        self.push(
            name,
            LeafValue::Digest(blake3::Hash::from_bytes(*value).to_hex().to_string()),
        )
    }

    /// Returns the key and the leaves it was made of.
    #[must_use]
    pub fn finish(self) -> (CacheKey, Vec<Leaf>) {
        let mut hasher = blake3::Hasher::new_derive_key("rbuild 2026 step key");
        hasher.update(&FORMAT_VERSION.to_le_bytes());
        for leaf in &self.leaves {
            let (tag, value) = match &leaf.value {
                LeafValue::Text(text) => (0_u8, text),
                LeafValue::Digest(digest) => (1, digest),
            };
            update_prefixed(&mut hasher, leaf.name.as_bytes());
            hasher.update(&[tag]);
            update_prefixed(&mut hasher, value.as_bytes());
        }
        (CacheKey(*hasher.finalize().as_bytes()), self.leaves)
    }

    fn push(&mut self, name: &str, value: LeafValue) -> &mut Self {
        self.leaves.push(Leaf {
            name: name.to_owned(),
            value,
        });
        self
    }
}

/// Feeds `bytes` after its length, so that no two sequences of parts look alike.
fn update_prefixed(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// What a layer counts as when a key names the root file system it is part of.
///
/// Layers that a step made here count by content, so that a step that reruns with the same result
/// stops the cascade. Layers of images count by diff ID, so that a key never needs their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainElement {
    /// A layer of an image.
    Image(DiffId),
    /// The content digest of a layer made by a step.
    Content([u8; 32]),
}

/// The content chain of a root file system, which grows with each of its layers.
#[derive(Debug, Clone)]
pub struct ContentChain(blake3::Hasher);

impl Default for ContentChain {
    /// The chain of a root file system without layers.
    fn default() -> Self {
        Self(blake3::Hasher::new_derive_key("rbuild 2026 content chain"))
    }
}

impl ContentChain {
    /// Adds a layer on top.
    pub fn push(&mut self, element: &ChainElement) {
        let (kind, digest) = match element {
            ChainElement::Image(diff_id) => (0, diff_id.0.as_bytes()),
            ChainElement::Content(digest) => (1, digest),
        };
        self.0.update(&[kind]).update(digest);
    }

    /// Returns what keys of steps upon it name it by.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(leaves: &[(&str, &str)]) -> CacheKey {
        let mut builder = KeyBuilder::new("run");
        for (name, value) in leaves {
            builder.text(name, value);
        }
        builder.finish().0
    }

    #[test]
    fn a_key_changes_with_every_part_and_with_nothing_else() {
        let base = key(&[("a", "b"), ("c", "d")]);
        assert_eq!(base, key(&[("a", "b"), ("c", "d")]));
        assert_ne!(base, key(&[("a", "bc"), ("", "d")]));
        assert_ne!(base, key(&[("c", "d"), ("a", "b")]));
        assert_ne!(base, key(&[("a", "b"), ("c", "e")]));
        assert_ne!(base, key(&[("a", "b"), ("c", "d"), ("", "")]));
        assert_ne!(base, KeyBuilder::new("files").finish().0);
    }

    #[test]
    fn a_text_and_a_digest_of_the_same_digits_differ() {
        let digits = blake3::Hash::from_bytes([7; 32]).to_hex().to_string();
        let mut by_text = KeyBuilder::new("run");
        by_text.text("x", &digits);
        let mut by_digest = KeyBuilder::new("run");
        by_digest.digest("x", &[7; 32]);
        assert_ne!(by_text.finish().0, by_digest.finish().0);
    }

    #[test]
    fn long_texts_are_kept_by_digest() {
        let mut builder = KeyBuilder::new("run");
        builder.text("script", &"x".repeat(LONGEST_TEXT + 1));
        let (_, leaves) = builder.finish();
        assert!(matches!(&leaves[1].value, LeafValue::Digest(hex) if hex.len() == 64));
    }

    #[test]
    fn a_chain_tells_image_layers_from_made_ones() {
        let digest = rbuild_image::digest::Digest::from_bytes([3; 32]);
        let chain = |elements: &[ChainElement]| {
            let mut chain = ContentChain::default();
            elements.iter().for_each(|element| chain.push(element));
            chain.digest()
        };
        let image = chain(&[ChainElement::Image(DiffId(digest))]);
        let made = chain(&[ChainElement::Content([3; 32])]);
        assert_ne!(image, made);
        assert_ne!(chain(&[]), made);
    }
}
