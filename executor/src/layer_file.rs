//! The bytes of files in layers.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;

use rbuild_image::digest::DiffId;
use rbuild_image::error::ImageError;
use rbuild_image::layer::LayerStore;
use rbuild_image::layer::entry::Entry;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// Opens a regular file of a layer in the layer's tree, which is made if it is not there.
///
/// # Errors
/// As for [`LayerStore::tree`], and [`ImageError::Io`] if the tree lacks the file.
pub(crate) fn open(
    layers: &LayerStore,
    diff_id: &DiffId,
    entry: &Entry,
) -> Result<File, ImageError> {
    let tree = layers.tree(diff_id)?;
    let failed = |error: rustix::io::Errno| {
        let path = rbuild_image::layer::path::display(&entry.path);
        ImageError::io(format!("read `{path}` of layer {diff_id}"))(error.into())
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let root =
        rustix::fs::openat(CWD, &tree, flags | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = OsStr::from_bytes(&entry.path);
    let file = rustix::fs::openat2(root, path, flags | OFlags::NONBLOCK, Mode::empty(), resolve)
        .map_err(failed)?;
    Ok(file.into())
}
