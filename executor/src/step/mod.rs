//! One step: its key, the look-up, and what is done on a miss.

mod blob_file;
mod fetched;
mod files;
mod root;
mod run;
mod workdir;

use std::io::{Read as _, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rbuild_cache::key::{CacheKey, KeyBuilder, Leaf};
use rbuild_cache::record::Record;
use rbuild_image::digest::DiffId;
use rbuild_image::layer::entry::{EntryKind, Mtime};
use rbuild_image::layer::{Follow, LayerIndex, Packed, Rootfs};
use rbuild_image::store::Store;
use rbuild_planner::{StepId, StepKind};
use rbuild_sandbox::give_back_memory;

use blob_file::BlobFile;

use crate::error::StepError;
use crate::event::Event;
use crate::execute::{Build, Shared};
use crate::files::Times;
use crate::layer_file;
use crate::owner::Accounts;
use crate::schedule::Failure;

pub(crate) use root::{Grown, Root};

/// From so many files on, what a step leaves behind in the allocator counts.
const MANY_FILES: usize = 20_000;

/// Everything a step has to do with while it is resolved.
pub(crate) struct StepContext<'a> {
    pub(crate) build: &'a Build<'a>,
    pub(crate) shared: &'a Shared,
    pub(crate) step: StepId,
    /// The root file system it builds upon; empty if it has no parent.
    pub(crate) parent: &'a Root,
    /// The root file systems its file sources come from.
    pub(crate) sources: &'a [Root],
    events: &'a Sender<Event>,
    is_started: AtomicBool,
}

/// Finds or makes the result of a step. `inputs` are the results of the parent, if there is one,
/// and of the sources.
pub(crate) fn resolve(
    build: &Build<'_>,
    shared: &Shared,
    step: StepId,
    inputs: &[Root],
    events: &Sender<Event>,
) -> Result<Root, Failure> {
    let start = Instant::now();
    let scratch = Root::default();
    let (parent, sources) = match (build.plan.parent(step), inputs.split_first()) {
        (Some(_), Some((parent, sources))) => (parent, sources),
        _ => (&scratch, inputs),
    };
    let context = StepContext {
        build,
        shared,
        step,
        parent,
        sources,
        events,
        is_started: AtomicBool::new(false),
    };
    let resolved = find(&context);
    context.start();
    let (root, cached, layer) = resolved?;
    context.send(Event::Finished {
        step,
        cached,
        layer,
        duration: start.elapsed(),
    });
    Ok(root)
}

/// The root file system after the step, whether it was known, and the layer that the step adds.
fn find(context: &StepContext<'_>) -> Result<(Root, bool, Option<DiffId>), Failure> {
    let (record, cached) = match &context.build.plan.step(context.step).kind {
        StepKind::Scratch => return Ok((Root::default(), false, None)),
        StepKind::Image(image) => return Ok((Root::of_image(&image.diff_ids), false, None)),
        StepKind::Files(files) => {
            context.start(); // files may have to be read
            files::resolve(context, files)?
        }
        StepKind::Local { context: name } => {
            context.start();
            files::resolve_local(context, name)?
        }
        StepKind::Workdir(workdir) => workdir::resolve(context, workdir)?,
        StepKind::Run(run) => {
            if !run.mounts.is_empty() {
                context.start(); // as above
            }
            let resolved = run::resolve(context, run)?;
            context.shared.runs.count();
            resolved
        }
    };
    Ok((context.parent.with(&record), cached, Some(record.diff_id)))
}

impl StepContext<'_> {
    /// Reports an event. Somebody listens as long as there are steps.
    pub(crate) fn send(&self, event: Event) {
        drop(self.events.send(event));
    }

    /// Reports that there is something to do, once: nobody need wake up for a step that is known before its end.
    fn start(&self) {
        if !self.is_started.swap(true, Ordering::Relaxed) {
            self.send(Event::Started { step: self.step });
        }
    }

    /// Starts a key with the leaves that every made layer has.
    fn key(&self, kind: &str) -> KeyBuilder {
        let mut key = KeyBuilder::new(kind);
        if let Some(epoch) = self.build.options.epoch {
            key.text("source-date-epoch", &epoch.to_string());
        }
        key
    }

    /// The merged view of the parent. Brings indexes of image layers that are not here yet.
    fn parent_rootfs(&self) -> Result<Rootfs, StepError> {
        self.rootfs(self.parent)
    }

    /// The merged view of a root file system.
    fn rootfs(&self, root: &Root) -> Result<Rootfs, StepError> {
        self.shared.rootfs.of(root, |rootfs: &mut Rootfs, layer| {
            let index = self.build.layers.index(&layer.diff_id)?;
            if index.entries().len() >= MANY_FILES {
                give_back_memory();
            }
            rootfs.push(index);
            Ok(())
        })
    }

    /// What times new entries get.
    fn times(&self) -> Times {
        let now = Mtime {
            seconds: (self.build.options.now)(),
            nanoseconds: 0,
        };
        Times {
            now,
            epoch: self.build.options.epoch,
        }
    }

    /// The files by which users are resolved.
    fn accounts(&self, rootfs: &Rootfs) -> Result<Accounts, StepError> {
        let read = |path| self.read_small(self.parent, rootfs, path);
        Ok(Accounts {
            passwd: read(b"etc/passwd")?,
            group: read(b"etc/group")?,
        })
    }

    /// Reads a file of a root file system; empty if it is missing, no regular file, or larger than
    /// any such file has a reason to be.
    fn read_small(&self, root: &Root, rootfs: &Rootfs, path: &[u8]) -> Result<Vec<u8>, StepError> {
        const LARGEST: u64 = 10 << 20;
        let Some(found) = rootfs.resolve(path, Follow::Last)?.found else {
            return Ok(Vec::new());
        };
        let is_small = matches!(found.entry.kind, EntryKind::File { size, .. } if size <= LARGEST);
        let Some(layer) = root.layer(found.layer).filter(|_| is_small) else {
            return Ok(Vec::new());
        };
        let mut content = Vec::new();
        layer_file::open(self.build.layers, &layer.diff_id, &found.entry)?
            .read_to_end(&mut content)?;
        Ok(content)
    }

    /// Runs `make` with a file for the tar that it packs, and stores that as the layer's blob.
    fn pack_with_blob<E: Into<StepError>>(
        &self,
        make: impl FnOnce(&mut (dyn Write + Send)) -> Result<Packed, E>,
    ) -> Result<Packed, StepError> {
        self.pack_layer(make)?.store(self.build.store)
    }

    /// Runs `make` with a file for the tar that it packs.
    fn pack_layer<E: Into<StepError>>(
        &self,
        make: impl FnOnce(&mut (dyn Write + Send)) -> Result<Packed, E>,
    ) -> Result<PackedLayer, StepError> {
        let start = Instant::now();
        let path = self.shared.workspace.folder(self.build.store)?.join("blob");
        let mut blob = BlobFile::create(path)?;
        let packed = make(&mut blob).map_err(Into::into)?;
        Ok(PackedLayer {
            packed,
            blob,
            start,
        })
    }

    /// Tells whether nothing is known of a step like this one.
    fn is_new(&self) -> Result<bool, StepError> {
        let step = self.build.plan.step(self.step);
        Ok(step.ignore_cache || !self.build.database.knows(&step.origin.display)?)
    }

    /// Makes a packed layer a part of the store, with the tree in `folder` if there is one.
    fn publish(&self, packed: Packed, folder: Option<&Path>) -> Result<MadeLayer, StepError> {
        let (diff_id, layers) = (packed.diff_id, self.build.layers);
        let index = match folder {
            Some(folder) => layers.publish_folder(packed, folder)?,
            None => layers.publish_packed(packed, None)?,
        };
        Ok(MadeLayer {
            diff_id,
            index,
            start: None,
        })
    }

    /// Looks the key up; on a miss runs `make` and keeps what it made. True: it was known.
    ///
    /// While one process makes a layer, others that want the same wait for it.
    fn find_or_make(
        &self,
        (key, leaves): (CacheKey, Vec<Leaf>),
        make: impl FnOnce() -> Result<MadeLayer, StepError>,
    ) -> Result<(Record, bool), StepError> {
        if let Some(record) = self.look_up(&key)? {
            return Ok((record, true));
        }
        self.start();
        let cancel = self.build.cancel;
        let _flight = self
            .build
            .options
            .flights
            .take(&key, &|| cancel.is_cancelled())?;
        if let Some(record) = self.look_up(&key)? {
            return Ok((record, true));
        }
        let start = Instant::now();
        let layer = make()?;
        let record = self.record(&layer, layer.start.unwrap_or(start).elapsed());
        let instruction = &self.build.plan.step(self.step).origin.display;
        let now = (self.build.options.now)();
        self.build
            .database
            .keep_record(&key, &record, instruction, &leaves, now)?;
        Ok((record, false))
    }

    fn look_up(&self, key: &CacheKey) -> Result<Option<Record>, StepError> {
        if self.build.plan.step(self.step).ignore_cache {
            return Ok(None);
        }
        let Some(record) = self.build.database.record(key)? else {
            return Ok(None);
        };
        let layers = self.build.layers;
        layers.hold(&record.diff_id)?;
        if layers.summary(&record.diff_id).is_some() && layers.has_bytes(&record.diff_id) {
            return Ok(Some(record));
        }
        self.build.database.drop_record(key)?;
        Ok(None)
    }

    fn record(&self, layer: &MadeLayer, duration: Duration) -> Record {
        let options = &self.build.options;
        Record {
            diff_id: layer.diff_id,
            content: layer.index.content_digest(),
            size: layer.index.unpacked_size(),
            created: options.epoch.unwrap_or_else(|| (options.now)()),
            duration,
        }
    }
}

/// A layer that a step made and published.
pub(crate) struct MadeLayer {
    pub(crate) diff_id: DiffId,
    pub(crate) index: Arc<LayerIndex>,
    /// When that began, if it was before the key was looked up.
    start: Option<Instant>,
}

/// A layer that was packed and is not in the store yet; dropped, it is gone.
struct PackedLayer {
    packed: Packed,
    blob: BlobFile,
    start: Instant,
}

impl PackedLayer {
    /// Puts the blob into the store.
    fn store(self, store: &Store) -> Result<Packed, StepError> {
        self.blob.publish(store, &self.packed.diff_id.0)?;
        Ok(self.packed)
    }

    fn publish(self, context: &StepContext<'_>) -> Result<MadeLayer, StepError> {
        let start = Some(self.start);
        let packed = self.store(context.build.store)?;
        let made = context.publish(packed, None)?;
        Ok(MadeLayer { start, ..made })
    }
}
