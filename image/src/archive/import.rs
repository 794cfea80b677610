//! Making an image of a tar of files.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::adopt::{HashSink, Tee};
use super::output::{MAX_HEADERS, Notes, Watched, copy};
use crate::config::{History, ImageConfig, RootFs};
use crate::digest::{DiffId, Digest};
use crate::error::ImageError;
use crate::layer::{LayerStore, decompress};
use crate::manifest::Descriptor;
use crate::media::{Encoding, Format};
use crate::record::{ImageRecord, Origin, PlatformImage};
use crate::store::{BlobWriter, Store};

/// What an imported image says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImportOptions {
    /// The config with platform, time and changes; its layers and history are replaced.
    pub config: ImageConfig,
    /// `--message`: the comment in the history.
    pub message: String,
}

/// Makes an image with one layer: the files of a tar, which may be compressed. The blob of the layer
/// is stored as it came, if layers can be compressed so; else uncompressed.
///
/// # Errors
/// [`ImageError::EmptyArchive`], [`ImageError::UnknownArchive`] for what is no tar,
/// [`ImageError::BadArchive`], [`ImageError::Io`].
pub fn import(
    layers: &LayerStore,
    input: impl Read + Send,
    options: ImportOptions,
) -> Result<ImageRecord, ImageError> {
    let store = layers.store();
    let (layer, diff_id) = store_layer(store, input)?;
    layers.adopt_blob(&diff_id, &layer)?;
    let mut config = options.config;
    config.rootfs = RootFs {
        diff_ids: vec![diff_id],
        ..RootFs::default()
    };
    config.history = vec![History {
        created: config.created.clone(),
        comment: (!options.message.is_empty()).then_some(options.message),
        ..History::default()
    }];
    let image = PlatformImage {
        platform: config.platform(),
        config: store.put_blob(&config.to_bytes())?,
        manifest: None,
        size_bytes: None,
    };
    let record = ImageRecord::new(vec![image], None, Origin::Imported);
    let mut record = record.ok_or(ImageError::UnknownArchive)?;
    record.created = config.created;
    Ok(record)
}

/// Stores the tar and returns its blob and its diff ID.
fn store_layer(store: &Store, input: impl Read + Send) -> Result<(Descriptor, DiffId), ImageError> {
    let as_it_came = store.blob_writer()?;
    let uncompressed = store.blob_writer()?;
    let fail = |error| ImageError::unwrap_io("read the archive", error);
    let mut raw = Tee {
        inner: input,
        sink: as_it_came,
    };
    let (encoding, diff_id, uncompressed) = {
        let (encoding, decoder) = decompress(Box::new(&mut raw), None)?;
        let mut plain = PlainSink {
            hasher: HashSink(Sha256::new()),
            blob: Format::Oci
                .layer(encoding)
                .is_none()
                .then_some(uncompressed),
        };
        read_tar(Tee {
            inner: decoder,
            sink: &mut plain,
        })?;
        let diff_id = DiffId(Digest::from_bytes(plain.hasher.0.finalize().into()));
        (encoding, diff_id, plain.blob)
    };
    // What follows the compressed stream belongs to the blob, or the digest would not be that of
    // the file.
    copy(&mut raw, &mut io::sink()).map_err(fail)?;
    let (encoding, blob) = match uncompressed {
        Some(plain) => (Encoding::Plain, plain),
        None => (encoding, raw.sink),
    };
    let (digest, size) = blob.commit(None)?;
    let media_type = Format::Oci.layer(encoding).unwrap_or_default();
    Ok((Descriptor::new(media_type, digest, size), diff_id))
}

/// Reads a tar to the end of its stream.
fn read_tar(input: impl Read) -> Result<(), ImageError> {
    let notes = Notes::default();
    let mut archive = tar::Archive::new(Watched {
        inner: input,
        notes: &notes,
    });
    let mut entries = archive.entries().map_err(damaged)?;
    let mut left_out = 0;
    for n in 0.. {
        notes
            .allowance
            .set(Some(MAX_HEADERS.saturating_add(left_out)));
        left_out = 0;
        let Some(entry) = entries.next() else { break };
        notes.allowance.set(None);
        match entry {
            // Holes need not be read: what is stored is skipped.
            Ok(entry) if entry.header().entry_type().is_gnu_sparse() => {
                let stored = entry.header().entry_size().map_err(damaged)?;
                left_out = usize::try_from(stored).unwrap_or(usize::MAX);
            }
            Ok(mut entry) => drop(io::copy(&mut entry, &mut io::sink()).map_err(damaged)?),
            Err(_) if n == 0 && !notes.has_failed.get() => return Err(ImageError::UnknownArchive),
            Err(error) => return Err(damaged(error)),
        }
    }
    notes.allowance.set(None);
    let mut input = archive.into_inner();
    copy(&mut input, &mut io::sink()).map_err(damaged)?;
    if !notes.has_bytes.get() {
        return Err(ImageError::EmptyArchive);
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
fn damaged(error: io::Error) -> ImageError {
    ImageError::bad_archive(error.to_string())
}

/// Takes the uncompressed tar: hashes it, and stores it if nothing else does.
struct PlainSink {
    hasher: HashSink,
    blob: Option<BlobWriter>,
}

impl io::Write for PlainSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(blob) = &mut self.blob {
            blob.write_all(bytes)?;
        }
        self.hasher.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
