//! Checking a whole store, and taking out of it what is wrong.
//!
//! Content first: bytes against the digests that name them ([`check_blobs`]), folders of layers
//! against their indexes ([`check_layers`]). Then what refers to it ([`check_names`]). All of it is
//! safe beside running builds: what has no name yet is not looked at, and builds give names last.

mod names;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::digest::{DiffId, Digest};
use crate::error::ImageError;
use crate::layer::{LayerPart, LayerStore};
use crate::store::{Pin, Store};

pub use names::{Checked, check_names};

/// Bytes of a blob that are hashed at a time.
const BUFFER: usize = 256 << 10;

/// How long to wait before something that looks wrong is looked at again.
const SECOND_LOOK: Duration = Duration::from_millis(20);

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, from the store's folder on.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
    /// What takes it out of the store.
    pub remedy: Remedy,
}

/// What takes something wrong out of the store, so that it is made or fetched again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Removing a blob.
    Blob(Digest),
    /// Removing a part of a layer's folder.
    LayerPart(DiffId, LayerPart),
    /// Removing a file that is no record of an image.
    File,
    /// Forgetting an image and all its names.
    Image(Digest),
    /// Writing down again an image that a name stands for.
    Record(Box<crate::record::ImageRecord>),
    /// Writing a file anew that is always the same.
    Layout,
    /// Whoever put it there must take it away.
    Nothing,
}

/// Checks the bytes of every blob against its digest; returns how many blobs and bytes there were.
///
/// # Errors
/// [`ImageError::Io`] if the blobs cannot be listed.
pub fn check_blobs(store: &Store, faults: &mut Vec<Fault>) -> Result<(usize, u64), ImageError> {
    let mut blobs = store.blob_ids()?;
    blobs.sort_unstable();
    let checked: Vec<_> = blobs
        .par_iter()
        .map(|digest| {
            let checked = check_blob(store, digest);
            match checked {
                Err(_) => {
                    std::thread::sleep(SECOND_LOOK);
                    check_blob(store, digest)
                }
                sound => sound,
            }
        })
        .collect();
    let mut n_bytes = 0;
    for (digest, checked) in blobs.iter().zip(checked) {
        match checked {
            Ok(size) => n_bytes += size,
            Err(reason) => faults.push(Fault {
                path: Path::new("blobs/sha256").join(digest.hex()),
                reason,
                remedy: if store.blob_path(digest).is_dir() {
                    Remedy::Nothing
                } else {
                    Remedy::Blob(*digest)
                },
            }),
        }
    }
    Ok((blobs.len(), n_bytes))
}

/// Returns a blob's length, 0 if it is gone.
pub(crate) fn check_blob(store: &Store, digest: &Digest) -> Result<u64, String> {
    let hash = || -> io::Result<Option<(Digest, u64)>> {
        let path = store.blob_path(digest);
        match fs_err::symlink_metadata(&path) {
            Ok(found) if found.is_file() => {}
            Ok(_) => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut file = fs_err::File::open(path)?;
        let (mut hasher, mut size) = (Sha256::new(), 0);
        let mut buffer = vec![0; BUFFER];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n_bytes) => {
                    hasher.update(&buffer[..n_bytes]);
                    size += n_bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some((Digest::from_bytes(hasher.finalize().into()), size)))
    };
    match hash() {
        Ok(Some((found, size))) if found == *digest => Ok(size),
        Ok(Some((found, 0))) => Err(format!("is empty (digest {found})")),
        Ok(Some((found, _))) => Err(format!("has digest {found}")),
        Ok(None) => Err("is no file".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks the folder of every layer; returns how many there were.
///
/// # Errors
/// [`ImageError::Io`] if the layers cannot be listed.
pub fn check_layers(layers: &LayerStore, faults: &mut Vec<Fault>) -> Result<usize, ImageError> {
    let mut ids = layers.store().layer_ids()?;
    ids.sort_unstable();
    let checked: Vec<_> = ids
        .par_iter()
        .map(|diff_id| {
            let found = layers.check(diff_id);
            if found.is_empty() {
                return found;
            }
            std::thread::sleep(SECOND_LOOK);
            layers.check(diff_id)
        })
        .collect();
    for (diff_id, found) in ids.iter().zip(checked) {
        let folder = Path::new("layers").join(diff_id.0.hex());
        faults.extend(found.into_iter().map(|fault| Fault {
            path: folder.join(fault.part.name()),
            reason: fault.reason,
            remedy: Remedy::LayerPart(*diff_id, fault.part),
        }));
    }
    Ok(ids.len())
}

/// Takes out of the store what is wrong. False: it is in use, or nobody can.
///
/// # Errors
/// [`ImageError::Io`]
pub fn repair(layers: &LayerStore, fault: &Fault) -> Result<bool, ImageError> {
    let store = layers.store();
    match &fault.remedy {
        Remedy::Blob(digest) => store.remove_blob(digest)?,
        Remedy::LayerPart(diff_id, part) => {
            // Nobody waits for the lock of a layer that is not pinned, and nobody can pin it now.
            let collector = store.collector()?;
            if *part != LayerPart::Record && collector.is_pinned(Pin::Layer(*diff_id)) {
                return Ok(false);
            }
            layers.drop_parts(diff_id, &[*part])?;
        }
        Remedy::File => {
            let _lock = store.lock_names()?;
            let removed = fs_err::remove_file(store.root().join(&fault.path));
            crate::store::ignore_missing(removed)
                .map_err(ImageError::io("remove a damaged file"))?;
        }
        Remedy::Image(id) => {
            let lock = store.lock_names()?;
            let listed = store.list()?;
            store.forget_images(&lock, &listed, &[*id].into())?;
        }
        Remedy::Record(record) => store.keep_image(record)?,
        Remedy::Layout => store.write_layout()?,
        Remedy::Nothing => return Ok(false),
    }
    Ok(true)
}
