//! The images of the store with their names, as lists show them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rbuild_image::digest::Digest;
use rbuild_image::record::{ImageRecord, Listed, Origin};
use rbuild_image::reference::Reference;

/// An image and all that it is called.
#[derive(Debug, Clone)]
pub(crate) struct StoredImage {
    /// What is known of it.
    pub(crate) record: ImageRecord,
    /// Its tags, sorted.
    pub(crate) tags: Vec<Reference>,
    /// Repositories that know it by a digest, sorted.
    pub(crate) digests: Vec<Reference>,
}

impl StoredImage {
    /// When it was made.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        self.record.created.as_deref()?.parse().ok()
    }

    /// Reports whether nothing refers to it.
    pub(crate) fn is_dangling(&self) -> bool {
        self.tags.is_empty() && self.digests.is_empty()
    }
}

/// Puts together what belongs to one image; the newest image comes first.
pub(crate) fn by_image(listed: Vec<Listed>) -> Vec<StoredImage> {
    let mut images: BTreeMap<Digest, StoredImage> = BTreeMap::new();
    for Listed { reference, record } in listed {
        let image = images.entry(record.id).or_insert_with(|| StoredImage {
            record: record.clone(),
            tags: Vec::new(),
            digests: Vec::new(),
        });
        if let Some(reference) = reference {
            image.digests.extend(repository_digest(&reference, &record));
            if reference.tag().is_some() {
                image.tags.push(reference);
            }
        }
        if image.record.target().is_none() && record.target().is_some()
            || image.record.tagged_at < record.tagged_at
        {
            image.record = record;
        }
    }
    let mut images: Vec<StoredImage> = images.into_values().collect();
    for image in &mut images {
        image.tags.sort_by_key(Reference::familiar);
        image.digests.sort_by_key(Reference::familiar);
        image.digests.dedup();
    }
    let name = |image: &StoredImage| image.tags.first().map(Reference::familiar);
    images.sort_by_cached_key(|image| (std::cmp::Reverse(image.created()), name(image)));
    images
}

/// The name of an image by its digest in the repository that a name belongs to: a registry knows it
/// there if it was pulled from it.
pub(crate) fn repository_digest(reference: &Reference, record: &ImageRecord) -> Option<Reference> {
    let digest = match reference.digest() {
        Some(digest) => digest,
        None if record.origin == Origin::Pulled => record.target()?.digest,
        None => return None,
    };
    Some(reference.at_digest(digest))
}
