//! The opened store and what goes with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_cache::Database;
use rbuild_cache::collect::{Collected, Wish, collect};
use rbuild_image::config::ImageConfig;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::layer::{LayerStore, OpaqueMark, Ownership, TreeOptions};
use rbuild_image::manifest::{Document, MAX_MANIFEST_BYTES};
use rbuild_image::platform::Platform;
use rbuild_image::record::{ImageRecord, PlatformImage};
use rbuild_image::store::{Pin, Store};
use rbuild_sandbox::Mode;

use crate::bases::Origins;
use crate::report::Failure;

/// A config that is larger than this is refused, in bytes.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;

/// Everything a command works with.
#[derive(Debug)]
pub(crate) struct Workplace {
    /// Blobs, names, images.
    pub(crate) store: Store,
    /// Layers; what is missing is fetched from where it came from.
    pub(crate) layers: LayerStore,
    /// Where layers come from.
    pub(crate) origins: Arc<Origins>,
    root: PathBuf,
}

impl Workplace {
    /// Opens the store in `root`, or makes it.
    pub(crate) fn open(root: &Path) -> Result<Self, Failure> {
        Self::open_as(root, Mode::Root)
    }

    /// Opens the store for a process that reads or removes trees: they may hold files of other users
    /// of the namespace that made them. To be called while there is one thread.
    pub(crate) fn enter(root: &Path) -> Result<Self, Failure> {
        let entered = rbuild_sandbox::enter(rbuild_sandbox::Isolation::default());
        let mode = match entered {
            Ok(entered) => entered.mode,
            Err(_) if rustix::process::geteuid().is_root() => Mode::Root,
            Err(_) => Mode::SingleId,
        };
        Self::open_as(root, mode)
    }

    /// Opens the store for a process that writes trees in this mode.
    pub(crate) fn open_as(root: &Path, mode: Mode) -> Result<Self, Failure> {
        let store = Store::open(root)?;
        let origins = Arc::new(Origins::new());
        let options = TreeOptions {
            ownership: if mode == Mode::SingleId {
                Ownership::Recorded
            } else {
                Ownership::Kernel
            },
            opaque: if mode == Mode::Root {
                OpaqueMark::Trusted
            } else {
                OpaqueMark::User
            },
        };
        let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let layers = LayerStore::new(store.clone(), options, n_threads, Arc::clone(&origins) as _);
        rbuild_cache::recover(&layers, &root.join("db"))?;
        Ok(Self {
            store,
            layers,
            origins,
            root: root.to_owned(),
        })
    }

    /// Opens the cache database.
    pub(crate) fn database(&self) -> Result<Database, Failure> {
        Ok(Database::open(&self.root.join("db"))?)
    }

    /// Folder of the key locks; made if it is not there.
    pub(crate) fn locks(&self) -> Result<PathBuf, Failure> {
        let locks = self.root.join("locks");
        fs_err::create_dir_all(&locks)?;
        Ok(locks)
    }

    /// Removes what `wish` says; `None` if another process is removing and was not to be waited for.
    pub(crate) fn collect(&self, wish: &Wish) -> Result<Option<Collected>, Failure> {
        let (database, locks) = (self.database()?, self.locks()?);
        Ok(collect(&self.layers, &database, &locks, wish)?)
    }

    /// Reads an image's config.
    pub(crate) fn config(&self, id: &Digest) -> Result<ImageConfig, Failure> {
        let bytes = self.store.read_blob(id, MAX_CONFIG)?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Brings every blob that an image's manifests name into the store.
    pub(crate) fn bring_blobs(&self, record: &ImageRecord) -> Result<(), Failure> {
        for image in &record.images {
            let Some(descriptor) = &image.manifest else {
                continue;
            };
            let bytes = self
                .store
                .read_blob(&descriptor.digest, MAX_MANIFEST_BYTES)?;
            let Document::Manifest(manifest) = Document::parse(&bytes, &descriptor.media_type)?
            else {
                continue;
            };
            let diff_ids = self.config(&image.config)?.rootfs.diff_ids;
            for (diff_id, layer) in diff_ids.iter().zip(&manifest.layers) {
                self.store
                    .pin(&[Pin::Layer(*diff_id), Pin::Blob(layer.digest)])?;
                if !self.store.has_blob(&layer.digest) {
                    self.layers.bring_blob(diff_id, layer)?;
                }
            }
        }
        Ok(())
    }

    /// Sum of the sizes of an image's files in bytes, of all layers.
    pub(crate) fn image_size(&self, record: &ImageRecord) -> Result<u64, Failure> {
        match record.primary() {
            Some(primary) => self.variant_size(primary),
            None => Ok(0),
        }
    }

    /// The same for one platform.
    pub(crate) fn variant_size(&self, image: &PlatformImage) -> Result<u64, Failure> {
        if let Some(size) = image.size_bytes {
            return Ok(size);
        }
        let config = self.config(&image.config)?;
        config
            .rootfs
            .diff_ids
            .iter()
            .map(|layer| self.layer_size(layer))
            .sum()
    }

    /// Sum of the sizes of a layer's files in bytes; 0 as long as the layer was not fetched.
    pub(crate) fn layer_size(&self, diff_id: &DiffId) -> Result<u64, Failure> {
        Ok(self
            .layers
            .summary(diff_id)
            .map_or(0, |summary| summary.unpacked_size))
    }
}

/// Returns the config of an image for a platform as typed; without one, of the image for this
/// machine.
pub(crate) fn variant_for<'a>(
    record: &'a ImageRecord,
    platform: Option<&str>,
    name: &str,
) -> Result<&'a Digest, Failure> {
    let Some(text) = platform else {
        return Ok(&record.id);
    };
    let platform = Platform::parse(text)?.normalized();
    let found = record.for_platform(&platform);
    Ok(&found
        .ok_or_else(|| not_provided(record, &platform, name))?
        .config)
}

/// Returns what an image has for exactly these platforms as one image; all of it if there are none.
pub(crate) fn part_for(
    record: ImageRecord,
    platforms: &[Platform],
    name: &str,
) -> Result<ImageRecord, Failure> {
    let Some(first) = platforms.first() else {
        return Ok(record);
    };
    let has = |wanted: &Platform| {
        let mut images = record.images.iter();
        images.any(|image| wanted.is_same(&image.platform))
    };
    if let Some(missing) = platforms.iter().find(|wanted| !has(wanted)) {
        return Err(not_provided(&record, missing, name));
    }
    let is_wanted = |of: &Platform| platforms.iter().any(|wanted| wanted.is_same(of));
    record
        .part(is_wanted)
        .ok_or_else(|| not_provided(&record, first, name))
}

fn not_provided(record: &ImageRecord, platform: &Platform, name: &str) -> Failure {
    Failure::with_help(
        format!(
            "image with reference {name} was found but does not provide the specified platform \
             ({platform})"
        ),
        format!("it has {}", record.platform_names().join(", ")),
    )
}

/// Reads platforms as typed.
pub(crate) fn platforms_of(typed: &[String]) -> Result<Vec<Platform>, Failure> {
    let parse = |text: &String| Ok(Platform::parse(text)?);
    typed.iter().map(parse).collect()
}
