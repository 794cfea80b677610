//! Writing images as an OCI layout in a folder.

use std::io::{self, Write as _};
use std::path::Path;

use super::output::copy_blob;
use super::save::{ArchiveContents, entries_to_keep};
use super::{ArchiveImage, Output};
use crate::error::ImageError;
use crate::layout::Layout;
use crate::manifest::Descriptor;
use crate::store::{Store, oci_layout};

/// Writes an OCI layout into a folder, which is made if it is not there. Images that are in it
/// already stay, unless one of the new ones has the same name.
///
/// # Errors
/// [`ImageError::MissingBlob`] before anything is written, if the store has not all of it;
/// [`ImageError::DigestMismatch`] or [`ImageError::SizeMismatch`] for a damaged blob;
/// [`ImageError::Io`].
pub fn write_oci_folder(
    store: &Store,
    images: &[ArchiveImage],
    folder: &Path,
) -> Result<(), ImageError> {
    let contents = ArchiveContents::gather(store, images)?;
    let mut index = contents.index();
    if let Ok(earlier) = Layout::open(folder) {
        let mut entries = entries_to_keep(earlier.index(), &index);
        entries.append(&mut index.manifests);
        index.manifests = entries;
    }
    let fail = |error| ImageError::io(format!("write `{}`", folder.display()))(error);
    let blobs = folder.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).map_err(fail)?;
    for (digest, size) in &contents.closure.blobs {
        let blob = Descriptor::new("", *digest, *size);
        write_blob(store, &blob, &blobs)?;
    }
    replace(folder, "oci-layout", |file| {
        file.write_all(oci_layout().as_bytes())
    })
    .and_then(|()| {
        replace(folder, "index.json", |file| {
            file.write_all(&index.to_bytes())
        })
    })
    .map_err(fail)
}

fn write_blob(store: &Store, blob: &Descriptor, folder: &Path) -> Result<(), ImageError> {
    let name = blob.digest.hex();
    let is_there = fs_err::symlink_metadata(folder.join(&name))
        .is_ok_and(|found| found.is_file() && found.len() == blob.size);
    if is_there {
        return Ok(());
    }
    replace(folder, &name, |file| {
        copy_blob(store, blob, &mut Output::File(file), "write the layout")
            .map_err(io::Error::other)
    })
    .map_err(|error| ImageError::unwrap_io("write the layout", error))
}

/// Writes a file that appears when it is whole.
fn replace(
    folder: &Path,
    name: &str,
    write: impl FnOnce(&mut fs_err::File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = tempfile::Builder::new()
        .prefix(".rbuild-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)?;
    let (file, temporary) = temporary.into_parts();
    let mut file = fs_err::File::from_parts(file, folder.join(name));
    write(&mut file)?;
    temporary
        .persist(folder.join(name))
        .map_err(|error| error.error)
}
