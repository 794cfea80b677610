//! `WORKDIR`: the directories that are missing.

use std::io::Write;

use rbuild_image::layer::{Packed, Rootfs};
use rbuild_planner::Workdir;

use super::chown::Owner;
use super::error::FilesError;
use super::overlay::{Model, Overlay};
use super::place::{DIRECTORY_MODE, Origin, Times};

/// Packs the layer of a `WORKDIR`: its directory and those above it that `parent` lacks, mode 755,
/// owned by `owner`. If none is missing the layer has no entries. Links on the way are followed
/// inside the root file system.
///
/// # Errors
/// [`FilesError::NotDirectory`] if something else is in the way, and those of the blob.
pub(crate) fn workdir(
    step: &Workdir,
    parent: &Rootfs,
    owner: Owner,
    times: Times,
    blob: Option<&mut (dyn Write + Send)>,
) -> Result<Packed, FilesError> {
    let mut overlay = Overlay::new(Some(parent));
    let path = overlay.resolve(b"", step.path.as_bytes())?;
    let model = Model {
        mode: DIRECTORY_MODE,
        owner,
        mtime: times.of(rbuild_image::layer::entry::Mtime::default(), Origin::Made),
    };
    overlay.make_directories(&path, &model)?;
    rbuild_image::layer::pack(blob, |packer| {
        for placed in overlay.finish(times).iter() {
            packer.add(placed.entry, None)?;
        }
        Ok(())
    })
}
