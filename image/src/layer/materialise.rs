//! Making what of a layer is not here: from its blobs, or from where it came from.
//!
//! Every function here is called with the layer's lock held.

use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::digest::DiffId;
use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::media::{Encoding, Format, is_layer};
use crate::store::{StagingDir, Verified};

use super::chunks::{Chunks, Size};
use super::compression::{Compression, Method, decompress};
use super::convert::{Hashing, Source, Tee, convert, unwrap_io};
use super::download::Download;
use super::folder::{LayerFolder, Origin};
use super::index::LayerIndex;
use super::store::LayerStore;
use super::tar_read::Whiteouts;
use super::tree::TreeOptions;
use super::unpack::{Unpacked, unpack};

/// Name of the unpacked layer in a staging folder.
const TREE: &str = "tree";

/// Most bytes that are read only to tell what is wrong with a blob.
const MAX_DRAINED: u64 = 16 << 20;

/// What of a blob is read ahead of its decompression.
const FETCHED: Size = Size {
    n_chunks: 6,
    chunk: 256 << 10,
};

/// A blob that came whole.
struct Received {
    unpacked: Unpacked,
    compression: Compression,
}

/// What there is of a blob that did not come whole.
enum Rest {
    /// The next download can go on from here.
    Good,
    /// Nothing that helps.
    Worthless,
}

/// What is to be made of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Its index.
    Index,
    /// Its index and its tree.
    Tree,
}

impl LayerStore {
    /// Makes what is wanted from a blob that is here, else from one that is fetched.
    pub(super) fn materialise(
        &self,
        folder: &LayerFolder<'_>,
        diff_id: DiffId,
        wanted: Wanted,
    ) -> Result<Arc<LayerIndex>, ImageError> {
        let mut failure = ImageError::LayerUnavailable { diff_id };
        let record = folder.read_record();
        for (compression, blob) in record.variants() {
            if !self.is_here(blob, compression) {
                continue;
            }
            match self.unpack_blob(folder, diff_id, blob, wanted) {
                Ok(index) => return Ok(index),
                Err(error) => {
                    failure = error;
                    self.drop_if_damaged(folder, blob)?;
                }
            }
        }
        for origin in record.origins() {
            match self.fetch(folder, diff_id, origin, wanted) {
                Ok(index) => return Ok(index),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Makes a blob of that compression from what is here; `None` if nothing is.
    pub(super) fn convert_local(
        &self,
        folder: &LayerFolder<'_>,
        diff_id: DiffId,
        method: Method,
    ) -> Result<Option<Descriptor>, ImageError> {
        let mut failure = None;
        for (from, blob) in folder.read_record().variants() {
            if !self.is_here(blob, from) {
                continue;
            }
            let source = Source::Blob(self.store().open_blob(&blob.digest)?);
            match self.convert_from(folder, diff_id, method, source) {
                Ok(made) => return Ok(Some(made)),
                Err(error) => {
                    failure = Some(error);
                    self.drop_if_damaged(folder, blob)?;
                }
            }
        }
        if folder.has_tree()
            && let Some(index) = self.local_index(&diff_id)
        {
            let tree = folder.tree_path();
            let source = Source::Tree(&tree, &index);
            match self.convert_from(folder, diff_id, method, source) {
                Ok(made) => return Ok(Some(made)),
                // A tree of somebody else's tar; its bytes cannot be made again.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    fn convert_from(
        &self,
        folder: &LayerFolder<'_>,
        diff_id: DiffId,
        method: Method,
        source: Source<'_>,
    ) -> Result<Descriptor, ImageError> {
        let staging = self.store().staging_dir()?;
        let path = staging.path().join("blob");
        let out = fs_err::File::create(&path).map_err(ImageError::io("store a layer"))?;
        let (digest, size) = convert(source, diff_id, method, self.n_threads(), out)?;
        self.store().publish_file(&path, &digest)?;
        let media_type = method.compression.media_type(Format::Oci);
        let blob = Descriptor::new(media_type, digest, size);
        let mut record = folder.read_record();
        record.set_made(method, blob.clone());
        folder.write_record(&record)?;
        Ok(blob)
    }

    /// Returns the blob of that compression and level if it is in the store.
    pub(super) fn local_blob(
        &self,
        folder: &LayerFolder<'_>,
        method: Method,
    ) -> Option<Descriptor> {
        let record = folder.read_record();
        let mut blobs = record.of_method(method);
        let blob = blobs.find(|blob| self.is_here(blob, method.compression))?;
        let media_type = method.compression.media_type(Format::Oci);
        Some(Descriptor::new(media_type, blob.digest, blob.size))
    }

    /// Reports whether a blob is in the store and so compressed: media types lie sometimes, and what
    /// is known of it may come from one.
    fn is_here(&self, blob: &Descriptor, compression: Compression) -> bool {
        let size = self.store().blob_size(&blob.digest);
        matches!(size, Ok(Some(size)) if size == blob.size)
            && self.sniff(blob).is_ok_and(|found| found == compression)
    }

    pub(super) fn note_blob(
        &self,
        folder: &LayerFolder<'_>,
        compression: Compression,
        blob: &Descriptor,
    ) -> Result<(), ImageError> {
        let mut record = folder.read_record();
        if record.variant(compression.into()) == Some(blob) {
            return Ok(());
        }
        record.set_variant(compression, blob.clone());
        folder.write_record(&record)
    }

    /// Returns what a blob in the store is compressed with.
    pub(super) fn sniff(&self, blob: &Descriptor) -> Result<Compression, ImageError> {
        let mut start = Vec::new();
        self.store()
            .open_blob(&blob.digest)?
            .take(Encoding::SNIFF_BYTES as u64)
            .read_to_end(&mut start)
            .map_err(ImageError::io("read a layer"))?;
        compression_of(Encoding::sniff(&start))
    }

    /// Forgets and removes a blob of whose digest the bytes are not any more. A sound one stays:
    /// then it was something else that went wrong.
    fn drop_if_damaged(
        &self,
        folder: &LayerFolder<'_>,
        blob: &Descriptor,
    ) -> Result<(), ImageError> {
        let mut hashing = Hashing::new(io::sink());
        let mut file = self.store().open_blob(&blob.digest)?;
        let is_read = io::copy(&mut file, &mut hashing).is_ok();
        if is_read && hashing.finish() == (blob.digest, blob.size) {
            return Ok(());
        }
        self.store().remove_blob(&blob.digest)?;
        let mut record = folder.read_record();
        let is_fetchable = |origin: &Origin| origin.descriptor.digest == blob.digest;
        if !record.origins().iter().any(is_fetchable) {
            record.forget_blob(&blob.digest);
            folder.write_record(&record)?;
        }
        Ok(())
    }

    /// Unpacks a blob of the store.
    fn unpack_blob(
        &self,
        folder: &LayerFolder<'_>,
        diff_id: DiffId,
        blob: &Descriptor,
        wanted: Wanted,
    ) -> Result<Arc<LayerIndex>, ImageError> {
        let staging = self.store().staging_dir()?;
        let file = self.store().open_blob(&blob.digest)?;
        let (_, mut input) = decompress(Box::new(file), None)?;
        let unpacked = unpack_into(&mut input, staging.path(), self.tree_for(wanted))?;
        self.publish_unpacked(folder, diff_id, unpacked, staging.path())
    }

    /// Fetches the blob of an origin, stores it and makes what is wanted of it, all in one pass.
    /// If anything is wrong with it, nothing stays; if the connection breaks, the next one goes on.
    pub(super) fn fetch(
        &self,
        folder: &LayerFolder<'_>,
        diff_id: DiffId,
        origin: &Origin,
        wanted: Wanted,
    ) -> Result<Arc<LayerIndex>, ImageError> {
        let mut download = Download::open(self.store(), &origin.descriptor.digest)?;
        let n_there = download.size()?;
        let mut outcome = self.receive(&mut download, origin, wanted);
        if n_there > 0 && matches!(outcome, Err((_, Rest::Worthless))) {
            // What was there of an earlier download may be to blame.
            download.restart()?;
            outcome = self.receive(&mut download, origin, wanted);
        }
        let (received, staging) = match outcome {
            Ok(received) => received,
            Err((error, Rest::Good)) => {
                download.keep();
                return Err(error);
            }
            Err((error, Rest::Worthless)) => return Err(error),
        };
        let Received {
            unpacked,
            compression,
        } = received;
        check_diff_id(&unpacked, diff_id)?;
        download.publish(self.store(), &origin.descriptor.digest)?;
        self.note_blob(folder, compression, &origin.descriptor)?;
        self.publish_unpacked(folder, diff_id, unpacked, staging.path())
    }

    /// Reads a blob to its end, into the download and unpacked into a new staging folder.
    fn receive(
        &self,
        download: &mut Download,
        origin: &Origin,
        wanted: Wanted,
    ) -> Result<(Received, StagingDir), (ImageError, Rest)> {
        let worthless = |error| (error, Rest::Worthless);
        let blob = &origin.descriptor;
        let staging = self.store().staging_dir().map_err(worthless)?;
        let n_there = download.size().map_err(worthless)?;
        // Who is not heard now may be the next time; what is there is as good as before.
        let rest = if n_there < blob.size {
            Rest::Good
        } else {
            Rest::Worthless
        };
        let input = self.input(download, n_there, origin);
        let input = input.map_err(|error| (error, rest))?;
        let copy = download.writer().map_err(worthless)?;
        let mut input = Tee::new(Verified::new(input, blob.clone()), copy, n_there);
        let received = self.unpack_all(&mut input, staging.path(), wanted);
        let has_more = input.n_bytes() > n_there && input.n_bytes() < blob.size;
        match received {
            Ok(received) => Ok((received, staging)),
            Err(error) if input.is_broken() && has_more => Err((error, Rest::Good)),
            Err(error) => Err((error, Rest::Worthless)),
        }
    }

    /// What is there, then what the origin has after it.
    fn input(
        &self,
        download: &Download,
        n_there: u64,
        origin: &Origin,
    ) -> Result<Box<dyn Read + Send>, ImageError> {
        if n_there == 0 {
            return self.fetcher().fetch(origin);
        }
        let rest = self.fetcher().resume(origin, n_there)?;
        Ok(Box::new(download.reader()?.take(n_there).chain(rest)))
    }

    fn unpack_all(
        &self,
        input: &mut Tee<Verified<Box<dyn Read + Send>>>,
        staging: &Path,
        wanted: Wanted,
    ) -> Result<Received, ImageError> {
        let failed = || ImageError::io("fetch a layer");
        std::thread::scope(|scope| {
            let mut chunks = Chunks::read_ahead(scope, input, FETCHED);
            let (encoding, mut decoded) =
                decompress(Box::new(&mut chunks), None).map_err(unwrap_io)?;
            let unpacked = unpack_into(&mut decoded, staging, self.tree_for(wanted));
            drop(decoded);
            // What is behind the end counts for the digest too. A wrong digest explains whatever else
            // is wrong with the bytes, so it is told first, unless finding out takes long.
            let most = if unpacked.is_ok() {
                u64::MAX
            } else {
                MAX_DRAINED
            };
            io::copy(&mut (&mut chunks).take(most), &mut io::sink())
                .map_err(|error| unwrap_io(failed()(error)))?;
            Ok(Received {
                unpacked: unpacked.map_err(unwrap_io)?,
                compression: compression_of(encoding)?,
            })
        })
    }

    fn publish_unpacked(
        &self,
        folder: &LayerFolder<'_>,
        diff_id: DiffId,
        unpacked: Unpacked,
        staging: &Path,
    ) -> Result<Arc<LayerIndex>, ImageError> {
        check_diff_id(&unpacked, diff_id)?;
        let index = Arc::new(unpacked.index);
        self.mark(folder)?;
        folder.write_index(&index)?;
        let tree = staging.join(TREE);
        if tree.is_dir() {
            folder.adopt_tree(&tree)?;
        }
        self.cache(diff_id, &index);
        Ok(index)
    }

    fn tree_for(&self, wanted: Wanted) -> Option<TreeOptions> {
        (wanted == Wanted::Tree).then(|| self.tree_options())
    }
}

/// Unpacks into a new folder in `staging`, or reads only.
fn unpack_into(
    input: &mut (dyn Read + Send),
    staging: &Path,
    tree: Option<TreeOptions>,
) -> Result<Unpacked, ImageError> {
    let Some(options) = tree else {
        return unpack(input, Whiteouts::Decode, None);
    };
    let path = staging.join(TREE);
    fs_err::create_dir(&path).map_err(ImageError::io("unpack a layer"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|errno| ImageError::io("unpack a layer")(errno.into()))?;
    unpack(input, Whiteouts::Decode, Some((root.as_fd(), options)))
}

fn check_diff_id(unpacked: &Unpacked, expected: DiffId) -> Result<(), ImageError> {
    if unpacked.diff_id == expected {
        return Ok(());
    }
    Err(ImageError::DiffIdMismatch {
        expected,
        found: unpacked.diff_id,
    })
}

fn compression_of(encoding: Encoding) -> Result<Compression, ImageError> {
    Compression::from_encoding(encoding)
        .ok_or_else(|| ImageError::bad_archive("no layer is compressed like this"))
}

/// Returns what a media type says that a layer is compressed with; the bytes may say otherwise.
pub(super) fn compression_named_by(media_type: &str) -> Option<Compression> {
    if !is_layer(media_type) {
        return None;
    }
    let name = media_type.split(';').next().unwrap_or_default().trim();
    if name.ends_with("gzip") {
        Some(Compression::Gzip)
    } else if name.ends_with("zstd") {
        Some(Compression::Zstd)
    } else if name.ends_with("tar") {
        Some(Compression::None)
    } else {
        None
    }
}
