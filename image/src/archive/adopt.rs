//! Taking layer blobs over into the store, with a check of what they unpack to.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::output::copy;
use crate::digest::{DiffId, Digest};
use crate::error::ImageError;
use crate::layer::{LayerStore, Packed, Whiteouts, decompress, unpack};
use crate::manifest::Descriptor;
use crate::media::Encoding;
use crate::store::Store;

/// Makes a blob of the store known as the layer `diff_id`, having checked that it is. A layer that
/// is new here gets its index on the way.
///
/// # Errors
/// [`ImageError::DiffIdMismatch`]; what [`unpack`] says of a layer that must not be unpacked;
/// [`ImageError::Io`].
pub(super) fn adopt_layer(
    layers: &LayerStore,
    layer: &Descriptor,
    diff_id: &DiffId,
) -> Result<(), ImageError> {
    let store = layers.store();
    if layers.summary(diff_id).is_some() {
        check_layer(store, layer, diff_id)?;
    } else {
        let blob = Box::new(store.open_blob(&layer.digest)?);
        let (_, mut decoded) = decompress(blob, None)?;
        let unpacked = unpack(&mut decoded, Whiteouts::Decode, None)?;
        check_diff_id(diff_id, unpacked.diff_id)?;
        let packed = Packed {
            diff_id: unpacked.diff_id,
            index: unpacked.index,
            size: unpacked.size,
            blob: None,
        };
        layers.publish_packed(packed, None)?;
    }
    layers.adopt_blob(diff_id, layer)
}

/// Checks that a blob of the store unpacks to `diff_id`.
///
/// # Errors
/// [`ImageError::DiffIdMismatch`]; [`ImageError::Io`].
pub(crate) fn check_layer(
    store: &Store,
    layer: &Descriptor,
    diff_id: &DiffId,
) -> Result<(), ImageError> {
    let (encoding, mut decoder) = decompress(Box::new(store.open_blob(&layer.digest)?), None)?;
    // The bytes were hashed on their way in.
    if encoding == Encoding::Plain {
        return check_diff_id(diff_id, DiffId(layer.digest));
    }
    let mut hasher = HashSink(Sha256::new());
    copy(&mut decoder, &mut hasher)
        .map_err(|error| ImageError::unwrap_io(&format!("read layer {diff_id}"), error))?;
    let found = DiffId(Digest::from_bytes(hasher.0.finalize().into()));
    check_diff_id(diff_id, found)
}

fn check_diff_id(expected: &DiffId, found: DiffId) -> Result<(), ImageError> {
    if found == *expected {
        Ok(())
    } else {
        Err(ImageError::DiffIdMismatch {
            expected: *expected,
            found,
        })
    }
}

/// Hashes what is written to it.
pub(super) struct HashSink(pub(super) Sha256);

impl io::Write for HashSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes on what it reads, and hands every byte to a writer as well.
pub(super) struct Tee<R, W> {
    pub(super) inner: R,
    pub(super) sink: W,
}

impl<R: Read, W: io::Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.inner.read(buffer)?;
        self.sink.write_all(&buffer[..n_bytes])?;
        Ok(n_bytes)
    }
}
