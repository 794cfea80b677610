//! Removing images as `docker rmi` does.

use std::collections::BTreeSet;

use crate::digest::{ChainId, DiffId, Digest};
use crate::error::ImageError;
use crate::record::refs::image_path;
use crate::record::resolve::no_such_image;
use crate::record::{Contents, Found, ImageRecord, Listed, NameLock, Origin};
use crate::reference::Reference;
use crate::store::{Pin, Store, ignore_missing};

/// One thing that a removal did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// A name was taken away.
    Untagged(Reference),
    /// An image, or a stack of layers (by its chain ID), is gone.
    Deleted(Digest),
}

/// Whether an image goes although it has names in several repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It stays.
    No,
    /// It goes.
    Yes,
}

impl Store {
    /// Removes a name, and the image itself once it has no name left; by ID, the image with all
    /// its names. Its config and manifests go, and those layer blobs that no other image has and
    /// for which `keep_layer` is false; layer folders stay, they belong to the build cache.
    ///
    /// # Errors
    /// [`ImageError::NoSuchImage`]; [`ImageError::ManyRepositories`] by ID without `force`; those
    /// of [`Store::resolve`].
    pub fn remove_image(
        &self,
        text: &str,
        force: Force,
        keep_layer: &dyn Fn(&DiffId) -> bool,
    ) -> Result<Vec<Removal>, ImageError> {
        let _lock = self.lock_names()?;
        let Some(Found { record, reference }) = self.resolve(text)? else {
            return Err(no_such_image(text));
        };
        let listed = self.list()?;
        let names: Vec<Reference> = names_of(&listed, &record.id).collect();
        let going = match reference {
            Some(reference) => going_with(&reference, &names),
            None => {
                let repositories: BTreeSet<_> = names.iter().map(Reference::name).collect();
                if repositories.len() > 1 && force == Force::No {
                    return Err(ImageError::ManyRepositories {
                        short_id: record.id.hex()[..12].to_owned(),
                    });
                }
                names.clone()
            }
        };
        let mut done = Vec::new();
        for (place, reference) in going.iter().enumerate() {
            let untagged = self.untag_locked(reference)?;
            done.push(Removal::Untagged(reference.clone()));
            // With its last tag a repository forgets what it was pulled by.
            let is_left = |name: &&Reference| {
                name.name() == reference.name() && !going[..=place].contains(name)
            };
            let pulled = untagged.filter(|record| record.origin == Origin::Pulled);
            if let Some(target) = pulled.as_ref().and_then(ImageRecord::target)
                && reference.digest.is_none()
                && !names.iter().any(|name| is_left(&name))
            {
                done.push(Removal::Untagged(reference.at_digest(target.digest)));
            }
        }
        if names.iter().all(|name| going.contains(name)) {
            self.delete_image(&record, &listed, keep_layer, &mut done)?;
        }
        Ok(done)
    }

    /// Returns what goes with images: their names, themselves, and stacks of layers that nothing of
    /// `kept` has. A stack of several images goes with the last one.
    #[must_use]
    pub fn removals(
        &self,
        listed: &[Listed],
        ids: &BTreeSet<Digest>,
        kept: &Contents,
    ) -> Vec<Removal> {
        let mut left: Vec<(Digest, Contents)> = Vec::new();
        for id in ids.iter().rev() {
            let mut contents = Contents::default();
            for same in listed.iter().filter(|same| same.record.id == *id) {
                contents.add(self, &same.record);
            }
            left.push((*id, contents));
        }
        let mut removals = Vec::new();
        while let Some((id, contents)) = left.pop() {
            let (digests, tags): (Vec<_>, Vec<_>) =
                names_of(listed, &id).partition(|name| name.digest.is_some());
            removals.extend(tags.into_iter().chain(digests).map(Removal::Untagged));
            removals.push(Removal::Deleted(id));
            let others: Vec<&Contents> =
                left.iter().map(|(_, other)| other).chain([kept]).collect();
            let is_free =
                |chain: &&ChainId| !others.iter().any(|other| other.chains.contains(*chain));
            let free = contents.chains.iter().filter(is_free);
            removals.extend(free.map(|chain| Removal::Deleted(chain.0)));
        }
        removals
    }

    /// Takes all their names, and what is known of them, away from images. Their blobs stay: what
    /// else is in the store decides about them.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn forget_images(
        &self,
        _lock: &NameLock,
        listed: &[Listed],
        ids: &BTreeSet<Digest>,
    ) -> Result<(), ImageError> {
        for id in ids {
            for reference in names_of(listed, id) {
                self.untag_locked(&reference)?;
            }
            let removed = fs_err::remove_file(self.root().join(image_path(id)));
            ignore_missing(removed).map_err(ImageError::io("remove an image"))?;
        }
        Ok(())
    }

    fn delete_image(
        &self,
        record: &ImageRecord,
        listed: &[Listed],
        keep_layer: &dyn Fn(&DiffId) -> bool,
        done: &mut Vec<Removal>,
    ) -> Result<(), ImageError> {
        let others: Vec<&ImageRecord> = listed
            .iter()
            .map(|listed| &listed.record)
            .filter(|other| other.id != record.id)
            .collect();
        let mut kept = Contents::default();
        for other in others {
            kept.add(self, other);
        }
        let mut gone = Contents::default();
        // Several records may speak of one image: the tag's, and the image's own.
        gone.add(self, record);
        for same in listed.iter().filter(|same| same.record.id == record.id) {
            gone.add(self, &same.record);
        }
        let removed = fs_err::remove_file(self.root().join(image_path(&record.id)));
        ignore_missing(removed).map_err(ImageError::io("remove an image"))?;
        done.push(Removal::Deleted(record.id));
        for chain in gone
            .chains
            .iter()
            .filter(|chain| !kept.chains.contains(chain))
        {
            done.push(Removal::Deleted(chain.0));
        }
        self.remove_blobs(&gone, &kept, keep_layer)
    }

    /// Removes the documents that are gone, and the layer blobs that may go with them.
    pub(super) fn remove_blobs(
        &self,
        gone: &Contents,
        kept: &Contents,
        keep_layer: &dyn Fn(&DiffId) -> bool,
    ) -> Result<(), ImageError> {
        // Another process may be about to give the same image a name.
        let collector = self.collector()?;
        for digest in gone.documents.difference(&kept.documents) {
            if !collector.is_pinned(Pin::Blob(*digest)) {
                self.remove_blob(digest)?;
            }
        }
        for (digest, diff_id) in &gone.layers {
            let is_used = collector.is_pinned(Pin::Blob(*digest))
                || kept.layers.iter().any(|(blob, _)| blob == digest)
                || diff_id
                    .is_some_and(|layer| kept.diff_ids.contains(&layer) || keep_layer(&layer));
            if !is_used {
                self.remove_blob(digest)?;
            }
        }
        Ok(())
    }
}

/// Returns the names that go when `reference` is removed: with the last tag of a repository, the
/// digests of that repository.
fn going_with(reference: &Reference, names: &[Reference]) -> Vec<Reference> {
    // A tag may have been found through a digest that only its record knows.
    let mut going = vec![
        names
            .iter()
            .find(|name| *name == reference)
            .or_else(|| names.iter().find(|name| name.name() == reference.name()))
            .unwrap_or(reference)
            .clone(),
    ];
    let (digests, tags): (Vec<_>, Vec<_>) = names
        .iter()
        .filter(|name| name.name() == reference.name() && !going.contains(name))
        .cloned()
        .partition(|name| name.digest.is_some());
    if tags.is_empty() && going[0].digest.is_none() {
        going.extend(digests);
    }
    going
}

fn names_of(listed: &[Listed], id: &Digest) -> impl Iterator<Item = Reference> {
    listed
        .iter()
        .filter(move |listed| listed.record.id == *id)
        .filter_map(|listed| listed.reference.clone())
}
