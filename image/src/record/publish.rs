//! Giving names, so that a power failure leaves the old state or the new one.
//!
//! The files of an image and its names are written before the one `syncfs` and renamed after it: a
//! name that is on disk has its bytes there, and all that it leads to. At the end the folders are
//! synced, so that what was reported as named stays named. An image from a registry can be had again:
//! see [`LayerStore::stage_fetched`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::refs::{image_path, read_record, ref_path, to_json};
use crate::digest::{DiffId, Digest};
use crate::error::ImageError;
use crate::layer::LayerStore;
use crate::record::ImageRecord;
use crate::reference::Reference;
use crate::store::{StagedFile, Store};

/// What a name stood for before it was given anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retagged {
    /// Nothing.
    New,
    /// The same image.
    Same,
    /// The image with this ID, which keeps its other names, if any.
    Moved(Digest),
}

/// The files of an image and its names, written but not yet there.
#[derive(Debug)]
struct Staged {
    record: ImageRecord,
    /// What the store knew of the image.
    earlier: Option<ImageRecord>,
    /// `None` if that is all there is to know.
    image: Option<StagedFile>,
    /// Each is taken out when it gets its place.
    names: Vec<(PathBuf, Option<StagedFile>)>,
}

impl LayerStore {
    /// Writes the store to disk, as far as it is not there, then keeps an image in mind and gives it these names.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn publish_image(
        &self,
        record: &ImageRecord,
        names: &[Reference],
    ) -> Result<Vec<Retagged>, ImageError> {
        let staged = self.store().stage_image(record, names)?;
        let has_synced = (staged.image.is_some() || self.has_unsynced()?) && self.sync()?;
        if !has_synced {
            // All else of the image was on disk before.
            staged.sync()?;
        }
        self.store().publish(staged, names)
    }

    /// Gets everything ready to give these names to an image with these layers, all of which have an
    /// [origin](LayerStore::add_origin): writes to disk the image's documents, where its layers are, and
    /// the names themselves. What is here of the layers has marks that it may be lost.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn stage_fetched(
        &self,
        record: &ImageRecord,
        names: &[Reference],
        layers: &[DiffId],
    ) -> Result<Fetched, ImageError> {
        let documents: BTreeSet<Digest> = record.documents().copied().collect();
        let staged = self.store().stage_image(record, names)?;
        staged.sync()?;
        self.store().sync_blobs(&documents)?;
        self.sync_origins(layers)?;
        Ok(Fetched {
            store: self.store().clone(),
            staged,
            names: names.to_vec(),
        })
    }
}

/// An image from a registry that waits for its names.
#[derive(Debug)]
pub struct Fetched {
    store: Store,
    staged: Staged,
    names: Vec<Reference>,
}

impl Fetched {
    /// Keeps the image in mind and gives it its names. A power failure in the next seconds can take them
    /// again, for the image can be had again: nobody waits for the disk here.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn publish(self) -> Result<Vec<Retagged>, ImageError> {
        let (retagged, _) = self.store.rename_all(self.staged, &self.names)?;
        Ok(retagged)
    }
}

impl Store {
    /// Keeps an image in mind whose parts are on disk, without a name.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn keep_image(&self, record: &ImageRecord) -> Result<(), ImageError> {
        let staged = self.stage_image(record, &[])?;
        staged.sync()?;
        self.publish(staged, &[]).map(drop)
    }

    /// Gives an image whose parts are on disk a name: a digest if the reference has one, else its
    /// tag, else `latest`.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn tag(&self, reference: &Reference, record: &ImageRecord) -> Result<Retagged, ImageError> {
        let names = std::slice::from_ref(reference);
        let staged = self.stage_image(record, names)?;
        staged.sync()?;
        let retagged = self.publish(staged, names)?;
        Ok(retagged.first().copied().unwrap_or(Retagged::New))
    }

    fn stage_image(&self, record: &ImageRecord, names: &[Reference]) -> Result<Staged, ImageError> {
        let earlier = self.kept(&image_path(&record.id))?;
        let mut kept = record.clone();
        kept.tagged_at = None;
        if let Some(earlier) = &earlier {
            kept.complete_from(earlier.clone());
        }
        let stage = |record: &ImageRecord| self.stage_file(&to_json(record));
        let is_known = earlier.as_ref() == Some(&kept);
        let image = (!is_known).then(|| stage(&kept)).transpose();
        let names = names
            .iter()
            .map(|reference| Ok((ref_path(reference), Some(stage(record)?))))
            .collect::<std::io::Result<_>>();
        let failed = || ImageError::io(format!("keep image {}", record.id));
        Ok(Staged {
            record: record.clone(),
            earlier,
            image: image.map_err(failed())?,
            names: names.map_err(failed())?,
        })
    }

    fn publish(&self, staged: Staged, names: &[Reference]) -> Result<Vec<Retagged>, ImageError> {
        let (retagged, changed) = self.rename_all(staged, names)?;
        changed
            .into_iter()
            .try_for_each(|folder| fs_err::File::open(folder)?.sync_all())
            .map_err(ImageError::io("write names to disk"))?;
        Ok(retagged)
    }

    /// Gives everything its place; returns the folders that have new entries then.
    fn rename_all(
        &self,
        mut staged: Staged,
        names: &[Reference],
    ) -> Result<(Vec<Retagged>, BTreeSet<PathBuf>), ImageError> {
        let _lock = self.lock_names()?;
        let id = staged.record.id;
        if self.kept(&image_path(&id))? != staged.earlier {
            staged = self.stage_image(&staged.record, names)?;
            staged.sync()?;
        }
        let mut changed = BTreeSet::new();
        if let Some(image) = staged.image {
            image
                .publish(&self.root().join(image_path(&id)))
                .map_err(ImageError::io(format!("keep image {id}")))?;
            changed.insert(self.root().join("images"));
        }
        let mut retagged = Vec::new();
        for (path, file) in &mut staged.names {
            let earlier = match self.kept(path)? {
                None => Retagged::New,
                Some(earlier) if earlier.id == id => Retagged::Same,
                Some(earlier) => Retagged::Moved(earlier.id),
            };
            retagged.push(earlier);
            let folder = self.root().join(path.parent().unwrap_or(Path::new("")));
            if earlier != Retagged::Same {
                changed.insert(folder.clone());
            }
            let Some(file) = file.take() else { continue };
            fs_err::create_dir_all(folder)
                .and_then(|()| file.publish(&self.root().join(&*path)))
                .map_err(ImageError::io(format!("tag image {id}")))?;
        }
        Ok((retagged, changed))
    }

    /// Returns the record in a file; one that cannot be read is as good as none.
    fn kept(&self, path: &Path) -> Result<Option<ImageRecord>, ImageError> {
        match read_record(&self.root().join(path)) {
            Err(ImageError::BadDocument { .. }) => Ok(None),
            other => other,
        }
    }
}

impl Staged {
    fn sync(&self) -> Result<(), ImageError> {
        let names = self.names.iter().filter_map(|(_, file)| file.as_ref());
        self.image
            .iter()
            .chain(names)
            .try_for_each(StagedFile::sync)
            .map_err(ImageError::io("write names to disk"))
    }
}
