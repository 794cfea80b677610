//! What an image has for some platforms: alone, or taken away.

use super::refs::{image_path, read_record, ref_path, to_json};
use super::{Contents, Force, ImageRecord, Removal};
use crate::digest::DiffId;
use crate::error::ImageError;
use crate::platform::Platform;
use crate::store::{Store, ignore_missing};

impl ImageRecord {
    /// Returns a record of the images for which `is_wanted` holds, without the index, which names
    /// all of them; `None` if there are none.
    #[must_use]
    pub fn part(&self, is_wanted: impl Fn(&Platform) -> bool) -> Option<Self> {
        let images = self.images.iter();
        let wanted = images.filter(|image| is_wanted(&image.platform));
        let part = Self::new(wanted.cloned().collect(), None, self.origin)?;
        Some(Self {
            created: self.created.clone(),
            tagged_at: self.tagged_at.clone(),
            ..part
        })
    }
}

impl Store {
    /// Removes what an image has for these platforms; its names stand for the rest. If nothing is
    /// left, the image goes with all of its names. Layers go as with [`Store::remove_image`].
    ///
    /// # Errors
    /// [`ImageError::NoSuchImage`]; [`ImageError::NoMatchingPlatform`] if it has nothing for them;
    /// those of [`Store::resolve`].
    pub fn remove_platforms(
        &self,
        text: &str,
        platforms: &[Platform],
        keep_layer: &dyn Fn(&DiffId) -> bool,
    ) -> Result<Vec<Removal>, ImageError> {
        let lock = self.lock_names()?;
        let record = self.require(text)?.record;
        let is_going = |of: &Platform| platforms.iter().any(|wanted| wanted.is_same(of));
        let Some(going) = record.part(is_going) else {
            let names: Vec<_> = platforms.iter().map(ToString::to_string).collect();
            return Err(ImageError::NoMatchingPlatform {
                wanted: names.join(", "),
                available: record.platform_names(),
            });
        };
        let left = |record: &ImageRecord| {
            let part = record.part(|of| !is_going(of))?;
            let index = record.index.clone();
            Some(ImageRecord { index, ..part })
        };
        let Some(mut rest) = left(&record) else {
            drop(lock);
            return self.remove_image(&record.id.to_string(), Force::Yes, keep_layer);
        };
        let listed = self.list()?;
        if let Ok(Some(known)) = read_record(&self.root().join(image_path(&rest.id))) {
            rest.complete_from(left(&known).unwrap_or(known));
        }
        let replace = |path, record: &ImageRecord| {
            let written = self.write_file_synced(path, &to_json(record));
            written.map_err(ImageError::io("remove a platform of an image"))
        };
        replace(image_path(&rest.id), &rest)?;
        let (mut gone, mut kept) = (Contents::default(), Contents::default());
        let without_index = |record: ImageRecord| ImageRecord {
            index: None,
            ..record
        };
        gone.add(self, &going);
        kept.add(self, &without_index(rest.clone()));
        for other in listed {
            if other.record.id != record.id {
                kept.add(self, &other.record);
                continue;
            }
            let Some(name) = &other.reference else {
                continue;
            };
            let named = left(&other.record).unwrap_or_else(|| rest.clone());
            replace(ref_path(name), &named)?;
            gone.documents.extend(other.record.documents());
            kept.documents.extend(named.documents());
            kept.add(self, &without_index(named));
        }
        if rest.id != record.id {
            let removed = fs_err::remove_file(self.root().join(image_path(&record.id)));
            ignore_missing(removed).map_err(ImageError::io("remove a platform of an image"))?;
        }
        self.remove_blobs(&gone, &kept, keep_layer)?;
        let removed = going.images.iter().map(|image| {
            let manifest = image.manifest.as_ref().map(|manifest| manifest.digest);
            Removal::Deleted(manifest.unwrap_or(image.config))
        });
        Ok(removed.collect())
    }
}
