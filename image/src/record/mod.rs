//! Which images there are, and what they are called: small JSON files, readable with `cat`.
//!
//! | file | content |
//! |---|---|
//! | `images/<id>.json` | an image, whether or not it has a name; `<id>` is its config's digest |
//! | `refs/<domain>/<path>/_tags/<tag>.json` | the image a tag stands for |
//! | `refs/<domain>/<path>/_digests/<hex>.json` | the image that was pulled or pushed by a digest |
//!
//! A file holds one [`ImageRecord`] and is replaced in one step. Whoever changes names holds a lock
//! on `refs/`; readers need none. No part of a repository begins with an underscore, so `_tags`
//! cannot be one.

mod contents;
mod parts;
mod publish;
mod refs;
mod remove;
mod resolve;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::platform::Platform;

pub use contents::Contents;
pub use publish::{Fetched, Retagged};
pub(crate) use refs::RecordFile;
pub use refs::{Listed, NameLock};
pub use remove::{Force, Removal};
pub use resolve::Found;

/// The version of the record files that this program writes.
pub const RECORD_VERSION: u32 = 1;

/// What is known about an image: one for each platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// [`RECORD_VERSION`]
    pub version: u32,
    /// Docker's IMAGE ID: the digest of the config of the image for this machine, else of the
    /// first.
    pub id: Digest,
    /// One for each platform, in the order they were asked for; never empty.
    pub images: Vec<PlatformImage>,
    /// The index that was pulled or loaded. A local build has none until it is exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Descriptor>,
    /// When the image was made, RFC 3339; the config's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When the name was given, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tagged_at: Option<String>,
    /// How it came here.
    pub origin: Origin,
}

/// The image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformImage {
    /// What it runs on.
    pub platform: Platform,
    /// Digest of its config.
    pub config: Digest,
    /// The manifest that was pulled or loaded. A local build has none until it is exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Descriptor>,
    /// Bytes in the files of all its layers, if somebody has counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// How an image came into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Built here.
    Built,
    /// Pulled from a registry.
    Pulled,
    /// Loaded from an archive or layout.
    Loaded,
    /// Made of a tar of files.
    Imported,
}

impl ImageRecord {
    /// Returns a record of `images`; `None` if there are none.
    #[must_use]
    pub fn new(
        images: Vec<PlatformImage>,
        index: Option<Descriptor>,
        origin: Origin,
    ) -> Option<Self> {
        let host = Platform::host();
        let chosen = host.select(images.iter().map(|image| Some(&image.platform)));
        Some(Self {
            version: RECORD_VERSION,
            id: images.get(chosen.unwrap_or(0))?.config,
            images,
            index,
            created: None,
            tagged_at: None,
            origin,
        })
    }

    /// Returns the image that `id` belongs to.
    #[must_use]
    pub fn primary(&self) -> Option<&PlatformImage> {
        self.images.iter().find(|image| image.config == self.id)
    }

    /// Returns the image that suits `platform` best.
    #[must_use]
    pub fn for_platform(&self, platform: &Platform) -> Option<&PlatformImage> {
        let platforms = self.images.iter().map(|image| Some(&image.platform));
        self.images.get(platform.select(platforms)?)
    }

    /// Returns the platforms that there are images for, as text.
    #[must_use]
    pub fn platform_names(&self) -> Vec<String> {
        let platforms = self.images.iter().map(|image| image.platform.to_string());
        platforms.collect()
    }

    /// Returns what a registry would name the image by: the index, or the only manifest.
    #[must_use]
    pub fn target(&self) -> Option<&Descriptor> {
        match (&self.index, &self.images[..]) {
            (Some(index), _) => Some(index),
            (None, [only]) => only.manifest.as_ref(),
            _ => None,
        }
    }

    /// Reports whether a digest names this image: a config, a manifest or the index.
    #[must_use]
    pub fn is_named(&self, matches: impl FnMut(&Digest) -> bool) -> bool {
        self.documents().any(matches)
    }

    /// Returns the digests of the documents: index, configs, manifests.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Digest> {
        let of_images = self.images.iter().flat_map(|image| {
            let manifest = image.manifest.as_ref().map(|manifest| &manifest.digest);
            std::iter::once(&image.config).chain(manifest)
        });
        self.index
            .iter()
            .map(|index| &index.digest)
            .chain(of_images)
    }

    /// Takes over what an earlier record of the same image knows and this one does not.
    fn complete_from(&mut self, earlier: Self) {
        if self.target().is_none() && earlier.target().is_some() {
            self.index = earlier.index;
            self.images = earlier.images;
        }
        self.created = self.created.take().or(earlier.created);
    }
}
