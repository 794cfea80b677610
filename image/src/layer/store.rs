//! The layers in the store: index, tree and blob of each, every one made when it is asked for.
//!
//! It knows how one comes from another, and where bytes that are not here came from; how they are
//! fetched is a [`BlobFetcher`]'s business. Any number of threads and processes may use the same
//! store: what one makes, the others wait for.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::DiffId;
use crate::error::ImageError;
use crate::manifest::Descriptor;
use crate::media::Format;
use crate::store::{Pin, Store};

use super::cached::Cached;
use super::compression::{Compression, Method};
use super::folder::{LayerFolder, Marker, Unsynced};
use super::index::LayerIndex;
use super::index_file::IndexSummary;
use super::materialise::{Wanted, compression_named_by};
use super::pack::{LayerPacker, Packed, pack};
use super::tree::TreeOptions;

pub use super::folder::Origin;

/// Fetches blobs from where layers came from.
pub trait BlobFetcher: Send + Sync {
    /// Returns the bytes of the blob that `origin` names. They need not be checked.
    ///
    /// # Errors
    /// [`ImageError::Fetch`] if the origin does not have it or cannot be asked.
    fn fetch(&self, origin: &Origin) -> Result<Box<dyn Read + Send>, ImageError>;

    /// Returns what follows the first `n_have` bytes of the blob, which an earlier download brought.
    ///
    /// # Errors
    /// As for [`BlobFetcher::fetch`].
    fn resume(&self, origin: &Origin, n_have: u64) -> Result<Box<dyn Read + Send>, ImageError> {
        let mut input = self.fetch(origin)?;
        io::copy(&mut (&mut input).take(n_have), &mut io::sink())
            .map_err(ImageError::io("resume a download"))?;
        Ok(input)
    }
}

/// Fetches nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoFetcher;

impl BlobFetcher for NoFetcher {
    fn fetch(&self, origin: &Origin) -> Result<Box<dyn Read + Send>, ImageError> {
        Err(ImageError::Fetch {
            digest: origin.descriptor.digest,
            origin: format!("{} {}", origin.kind, origin.location),
            source: "nothing is fetched here".into(),
        })
    }
}

/// Whether packing writes a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepBlob {
    /// It does: nothing else will have the bytes.
    Yes,
    /// It does not; the blob can be made from a tree.
    No,
}

/// The layers of a store.
pub struct LayerStore {
    store: Store,
    tree_options: TreeOptions,
    n_threads: usize,
    fetcher: Arc<dyn BlobFetcher>,
    /// Indexes in memory.
    cached: Mutex<Cached>,
    /// Those of indexes that are not in memory.
    summaries: Mutex<HashMap<DiffId, IndexSummary>>,
    pub(super) unsynced: Mutex<HashMap<DiffId, Unsynced>>,
    /// Marks what is written before the next sync.
    marker: Mutex<Option<Arc<Marker>>>,
    /// Layers that are used, whoever made them.
    pub(super) relied_on: Mutex<BTreeSet<DiffId>>,
}

impl LayerStore {
    /// Returns the layers of `store`. Trees are written as `tree_options` say; `n_threads` compress.
    #[must_use]
    pub fn new(
        store: Store,
        tree_options: TreeOptions,
        n_threads: usize,
        fetcher: Arc<dyn BlobFetcher>,
    ) -> Self {
        Self {
            store,
            tree_options,
            n_threads,
            fetcher,
            cached: Mutex::default(),
            summaries: Mutex::default(),
            unsynced: Mutex::default(),
            marker: Mutex::default(),
            relied_on: Mutex::default(),
        }
    }

    /// Returns the store that the layers are in.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns the index of a layer. If it is not here, it is made from a blob, which is fetched if
    /// need be.
    ///
    /// # Errors
    /// [`ImageError::LayerUnavailable`], or why the last way to get it failed.
    pub fn index(&self, diff_id: &DiffId) -> Result<Arc<LayerIndex>, ImageError> {
        self.pin(diff_id)?;
        if let Some(index) = self.local_index(diff_id) {
            return Ok(index);
        }
        let folder = self.folder(diff_id);
        let _lock = folder.lock()?;
        if let Some(index) = self.local_index(diff_id) {
            return Ok(index);
        }
        self.materialise(&folder, *diff_id, Wanted::Index)
    }

    /// Returns the index of a layer if it is here.
    #[must_use]
    pub fn local_index(&self, diff_id: &DiffId) -> Option<Arc<LayerIndex>> {
        if let Some(index) = self.cached(diff_id) {
            return Some(index);
        }
        let index = Arc::new(self.folder(diff_id).read_index()?);
        self.cache(*diff_id, &index);
        Some(index)
    }

    /// Returns the content digest and sizes of a layer if its index is here; reads only the
    /// beginning of it.
    #[must_use]
    pub fn summary(&self, diff_id: &DiffId) -> Option<IndexSummary> {
        match self.cached(diff_id) {
            Some(index) => Some(IndexSummary {
                content_digest: index.content_digest(),
                unpacked_size: index.unpacked_size(),
                entries: index.entries().len() as u64,
            }),
            None => self.read_summary(diff_id),
        }
    }

    /// Reads it once: layers never change.
    fn read_summary(&self, diff_id: &DiffId) -> Option<IndexSummary> {
        let known = || {
            self.summaries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let found = known().get(diff_id).copied();
        found.or_else(|| {
            let summary = self.folder(diff_id).read_summary()?;
            known().insert(*diff_id, summary);
            Some(summary)
        })
    }

    /// Returns the bytes of all files of a layer, which is fetched if need be.
    ///
    /// # Errors
    /// As [`LayerStore::index`].
    pub fn layer_size(&self, diff_id: &DiffId) -> Result<u64, ImageError> {
        match self.summary(diff_id) {
            Some(summary) => Ok(summary.unpacked_size),
            None => self.index(diff_id).map(|index| index.unpacked_size()),
        }
    }

    /// Returns the folder with the unpacked layer, which is not to be changed. If it is not here,
    /// it is unpacked from a blob, which is fetched if need be.
    ///
    /// # Errors
    /// [`ImageError::LayerUnavailable`], or why the last way to get it failed.
    pub fn tree(&self, diff_id: &DiffId) -> Result<PathBuf, ImageError> {
        self.pin(diff_id)?;
        let folder = self.folder(diff_id);
        if !folder.has_tree() {
            let _lock = folder.lock()?;
            if !folder.has_tree() {
                self.materialise(&folder, *diff_id, Wanted::Tree)?;
            }
        }
        Ok(folder.tree_path())
    }

    /// Reports whether the layer is unpacked here.
    #[must_use]
    pub fn has_tree(&self, diff_id: &DiffId) -> bool {
        self.folder(diff_id).has_tree()
    }

    /// Returns the blob of a layer in that compression; it is in the store then. If no level is
    /// asked for, one that is known already (a pulled one) is preferred to making one. The media type
    /// is OCI's.
    ///
    /// # Errors
    /// [`ImageError::LayerUnavailable`], or why the last way to get it failed.
    pub fn blob(
        &self,
        diff_id: &DiffId,
        method: impl Into<Method>,
    ) -> Result<Descriptor, ImageError> {
        let method = method.into();
        self.pin(diff_id)?;
        let folder = self.folder(diff_id);
        if let Some(blob) = self.local_blob(&folder, method) {
            return Ok(blob);
        }
        let _lock = folder.lock()?;
        if let Some(blob) = self.local_blob(&folder, method) {
            return Ok(blob);
        }
        let mut failure = ImageError::LayerUnavailable { diff_id: *diff_id };
        let known = folder.read_record().variant(method).cloned();
        // The very blob that was pulled may still be had where it came from.
        let is_known = |origin: &&Origin| {
            known
                .as_ref()
                .is_some_and(|known| known.digest == origin.descriptor.digest)
        };
        let origins = folder.read_record().origins().to_vec();
        for origin in origins.iter().filter(is_known) {
            match self.fetch(&folder, *diff_id, origin, Wanted::Index) {
                Ok(_) => {}
                Err(error) => failure = error,
            }
        }
        if let Some(blob) = self.local_blob(&folder, method) {
            return Ok(blob);
        }
        match self.convert_local(&folder, *diff_id, method) {
            Ok(Some(blob)) => return Ok(blob),
            Ok(None) => {}
            Err(error) => failure = error,
        }
        for origin in &origins {
            let fetched = self.fetch(&folder, *diff_id, origin, Wanted::Index);
            match fetched.and_then(|_| self.convert_local(&folder, *diff_id, method)) {
                Ok(Some(blob)) => return Ok(blob),
                Ok(None) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Packs a layer (see [`pack`]); with [`KeepBlob::Yes`] its tar is stored as a blob. The layer
    /// is not published yet.
    ///
    /// # Errors
    /// What `fill` returns, and [`ImageError::Io`].
    pub fn pack<E: From<ImageError>>(
        &self,
        keep: KeepBlob,
        fill: impl FnOnce(&mut LayerPacker<'_>) -> Result<(), E>,
    ) -> Result<Packed, E> {
        if keep == KeepBlob::No {
            return pack(None, fill);
        }
        let staging = self.store.staging_dir()?;
        let path = staging.path().join("blob");
        let mut file = fs_err::File::create(&path).map_err(ImageError::io("store a layer"))?;
        let packed = pack(Some(&mut file), fill)?;
        self.store.publish_file(&path, &packed.diff_id.0)?;
        Ok(packed)
    }

    /// Makes a packed layer known, with the tree at `tree` if there is one: it is moved into the
    /// store, or stays where it is if the layer is there already.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn publish_packed(
        &self,
        packed: Packed,
        tree: Option<&Path>,
    ) -> Result<Arc<LayerIndex>, ImageError> {
        let Packed {
            diff_id,
            index,
            blob,
            ..
        } = packed;
        self.pin(&diff_id)?;
        let folder = self.folder(&diff_id);
        let _lock = folder.lock()?;
        let index = Arc::new(index);
        // What is there and on disk must not come into doubt again: images rely on it.
        let is_there = folder.read_index().is_some_and(|found| found == *index);
        if !is_there || tree.is_some() && !folder.has_tree() {
            self.mark(&folder)?;
            folder.write_index(&index)?;
            if let Some(tree) = tree {
                folder.adopt_tree(tree)?;
            }
        }
        self.rely_on(&diff_id);
        if let Some((digest, size)) = blob {
            let mut record = folder.read_record();
            let media_type = Compression::None.media_type(Format::Oci);
            let blob = Descriptor::new(media_type, digest, size);
            record.set_variant(Compression::None, blob);
            folder.write_record(&record)?;
        }
        self.cache(diff_id, &index);
        Ok(index)
    }

    /// Makes the files in the empty `folder` that [`LayerStore::publish_folder`] needs, the empty `tree` among them.
    ///
    /// # Errors
    /// Of the file system.
    pub fn begin_folder(folder: &Path) -> io::Result<()> {
        fs_err::create_dir(folder.join("tree"))?;
        fs_err::File::create(folder.join("index")).map(drop)
    }

    /// [`LayerStore::publish_packed`] of a layer without a blob whose tree is `folder/tree`; nothing else is in
    /// `folder` but what [`LayerStore::begin_folder`] made. It is in the store's staging. Mostly it becomes the layer's folder as it is.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn publish_folder(
        &self,
        packed: Packed,
        staged: &Path,
    ) -> Result<Arc<LayerIndex>, ImageError> {
        self.pin(&packed.diff_id)?;
        let folder = self.folder(&packed.diff_id);
        let adopted = match self.current_marker() {
            Some(marker) => folder.adopt(staged, &packed.index, &marker)?,
            None => None,
        };
        let Some(mark) = adopted else {
            return self.publish_packed(packed, Some(&staged.join("tree")));
        };
        self.note_mark(mark);
        self.rely_on(&packed.diff_id);
        let index = Arc::new(packed.index);
        self.cache(packed.diff_id, &index);
        Ok(index)
    }

    /// Notes that a blob in the store is this layer. Whoever calls has seen to that; if it is wrong,
    /// that is noticed when it is unpacked.
    ///
    /// # Errors
    /// [`ImageError::NoSuchBlob`] if it is not in the store, [`ImageError::BadArchive`] if it is
    /// compressed as no layer is, [`ImageError::Io`].
    pub fn adopt_blob(&self, diff_id: &DiffId, blob: &Descriptor) -> Result<(), ImageError> {
        self.store
            .pin(&[Pin::Layer(*diff_id), Pin::Blob(blob.digest)])?;
        let compression = self.sniff(blob)?;
        let folder = self.folder(diff_id);
        let _lock = folder.lock()?;
        self.note_blob(&folder, compression, blob)
    }

    /// Notes where a layer can be had. Its blob is the preferred one of its compression from now on,
    /// unless one is here.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn add_origin(&self, diff_id: &DiffId, origin: Origin) -> Result<(), ImageError> {
        self.hold(diff_id)?;
        let folder = self.folder(diff_id);
        if folder.read_record().origins().last() == Some(&origin) {
            return Ok(());
        }
        let _lock = folder.lock()?;
        let mut record = folder.read_record();
        let compression = compression_named_by(&origin.descriptor.media_type);
        if let Some(compression) = compression
            && record.variant(compression.into()).is_none()
        {
            record.set_variant(compression, origin.descriptor.clone());
        }
        record.add_origin(origin);
        folder.write_record(&record)
    }

    /// Returns where a layer can be had, as far as is known.
    #[must_use]
    pub fn origins(&self, diff_id: &DiffId) -> Vec<Origin> {
        self.folder(diff_id).read_record().origins().to_vec()
    }

    /// Notes a place where the layer is as well, because it was brought there from here.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn add_copy(&self, diff_id: &DiffId, copy: Origin) -> Result<(), ImageError> {
        self.pin(diff_id)?;
        let folder = self.folder(diff_id);
        if folder.read_record().copies().contains(&copy) {
            return Ok(());
        }
        let _lock = folder.lock()?;
        let mut record = folder.read_record();
        record.add_copy(copy);
        folder.write_record(&record)
    }

    /// Returns where a layer was brought to, the latest last.
    #[must_use]
    pub fn copies(&self, diff_id: &DiffId) -> Vec<Origin> {
        self.folder(diff_id).read_record().copies().to_vec()
    }

    /// Returns the name of what [`LayerStore::blob`] returns, without fetching anything: a blob that
    /// can be had where the layer came from need not be here. One that cannot is made.
    ///
    /// # Errors
    /// As for [`LayerStore::blob`].
    pub fn blob_name(
        &self,
        diff_id: &DiffId,
        method: impl Into<Method>,
    ) -> Result<Descriptor, ImageError> {
        let method = method.into();
        self.pin(diff_id)?;
        let folder = self.folder(diff_id);
        if let Some(blob) = self.local_blob(&folder, method) {
            return Ok(blob);
        }
        let record = folder.read_record();
        let known = record.variant(method).filter(|known| {
            let mut origins = record.origins().iter();
            origins.any(|origin| origin.descriptor.digest == known.digest)
        });
        match known {
            Some(known) => {
                let media_type = method.compression.media_type(Format::Oci);
                Ok(Descriptor::new(media_type, known.digest, known.size))
            }
            None => self.blob(diff_id, method),
        }
    }

    /// Brings the blob of a layer that a manifest names into the store, as [`LayerStore::blob`] does;
    /// one that was made here is made in the same way again.
    ///
    /// # Errors
    /// As for [`LayerStore::blob`].
    pub fn bring_blob(&self, diff_id: &DiffId, blob: &Descriptor) -> Result<(), ImageError> {
        let known = self.folder(diff_id).read_record().method_of(&blob.digest);
        let named = || Compression::of_layer(&blob.media_type).unwrap_or(Compression::Gzip);
        let method = known.unwrap_or_else(|| named().into());
        self.blob(diff_id, method).map(drop)
    }

    pub(super) fn folder(&self, diff_id: &DiffId) -> LayerFolder<'_> {
        LayerFolder::new(&self.store, *diff_id)
    }

    pub(super) fn n_threads(&self) -> usize {
        self.n_threads
    }

    pub(super) fn tree_options(&self) -> TreeOptions {
        self.tree_options
    }

    pub(super) fn fetcher(&self) -> &dyn BlobFetcher {
        &*self.fetcher
    }

    pub(super) fn mark(&self, folder: &LayerFolder<'_>) -> Result<(), ImageError> {
        let marker = self.current_marker();
        self.note_mark(folder.mark_unsynced(marker.as_deref())?);
        Ok(())
    }

    fn current_marker(&self) -> Option<Arc<Marker>> {
        let mut current = self.marker();
        if current.is_none() {
            *current = Marker::new(&self.store).map(Arc::new);
        }
        current.clone()
    }

    pub(super) fn marker(&self) -> MutexGuard<'_, Option<Arc<Marker>>> {
        self.marker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever relies on a layer that another process made, and may not live to sync, syncs it.
    pub(super) fn rely_on(&self, diff_id: &DiffId) {
        let mut relied_on = self
            .relied_on
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        relied_on.insert(*diff_id);
    }

    pub(super) fn note_mark(&self, mark: Unsynced) {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        unsynced.insert(mark.diff_id, mark);
    }

    /// Drops a layer's index from memory.
    pub(super) fn forget(&self, diff_id: &DiffId) {
        self.in_memory().remove(diff_id);
    }

    fn cached(&self, diff_id: &DiffId) -> Option<Arc<LayerIndex>> {
        self.in_memory().get(diff_id)
    }

    pub(super) fn cache(&self, diff_id: DiffId, index: &Arc<LayerIndex>) {
        self.in_memory().insert(diff_id, Arc::clone(index));
    }

    fn in_memory(&self) -> MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LayerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerStore")
            .field("store", &self.store)
            .field("tree_options", &self.tree_options)
            .finish_non_exhaustive()
    }
}
