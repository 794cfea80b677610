//! Layers on disk: what was written, and may be lost when the machine crashes, until it is synced.

use std::sync::PoisonError;

use crate::digest::DiffId;
use crate::error::ImageError;

use super::store::LayerStore;

impl LayerStore {
    /// Writes the whole store to disk and notes that the layers published and held so far are there. To be
    /// called before anything names them that must survive a crash of the machine; layers that are
    /// not synced are dropped after one. False if nothing was written since it was called last: then nothing
    /// is done.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn sync(&self) -> Result<bool, ImageError> {
        self.take_over_marks()?;
        if self.is_synced() {
            return Ok(false);
        }
        drop(self.marker().take());
        let marks =
            std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        self.store().sync()?;
        for mark in marks.into_values() {
            self.folder(&mark.diff_id).mark_synced(&mark)?;
        }
        Ok(true)
    }

    fn is_synced(&self) -> bool {
        let unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        unsynced.is_empty() && self.store().is_synced()
    }

    /// Whether this process has written or held anything that may not be on disk.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn has_unsynced(&self) -> Result<bool, ImageError> {
        self.take_over_marks()?;
        let unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(!unsynced.is_empty() || self.store().has_written_any())
    }

    /// Writes to disk where layers can be had.
    pub(crate) fn sync_origins(&self, layers: &[DiffId]) -> Result<(), ImageError> {
        let folders = layers
            .iter()
            .map(|layer| self.folder(layer).path().to_owned());
        let paths = folders.flat_map(|folder| [folder.join("blobs.json"), folder]);
        self.store()
            .sync_paths(paths.chain([self.store().root().join("layers")]))
            .map_err(ImageError::io("write to disk where layers come from"))
    }

    /// Takes over the marks of others. The lock says that what they mark is all there.
    fn take_over_marks(&self) -> Result<(), ImageError> {
        let relied_on = std::mem::take(
            &mut *self
                .relied_on
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for diff_id in relied_on {
            let folder = self.folder(&diff_id);
            if folder.mark().is_none() {
                continue;
            }
            let _lock = folder.lock()?;
            if let Some(mark) = folder.mark() {
                self.note_mark(mark);
            }
        }
        Ok(())
    }
}
