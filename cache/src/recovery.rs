//! Bringing a store in order after the machine has failed.

use std::path::Path;

use rbuild_image::layer::LayerStore;

use crate::database::Database;
use crate::error::CacheError;

/// Drops what a failure of the machine may have torn: blobs, and records that have reached the disk
/// when their layers had not. To be called whenever a store is opened; it does nothing if the machine
/// was not started since the last time. `database` is the path of the cache database.
///
/// # Errors
/// [`CacheError`]
pub fn recover(layers: &LayerStore, database: &Path) -> Result<(), CacheError> {
    let Some(recovery) = layers.store().recover()? else {
        return Ok(());
    };
    if database.try_exists()? {
        let database = Database::open(database)?;
        let recent = database.layers_since(recovery.since())?.into_iter();
        let lost = recent
            .filter(|(_, layer)| layers.summary(layer).is_none() || !layers.has_bytes(layer))
            .map(|(key, _)| key);
        database.drop_records(&lost.collect::<Vec<_>>())?;
    }
    Ok(recovery.finish()?)
}
