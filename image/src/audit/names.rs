//! What names and image records refer to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest};
use crate::error::ImageError;
use crate::layer::LayerStore;
use crate::manifest::{Descriptor, Document, MAX_MANIFEST_BYTES};
use crate::record::{ImageRecord, RECORD_VERSION, RecordFile};
use crate::store::Store;

use super::{Fault, Remedy};

/// How many things were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checked {
    /// Images.
    pub n_images: usize,
    /// Names of images.
    pub n_names: usize,
}

/// Checks that every name and image record can be read, and that what they refer to is there:
/// documents, and layers or where to get them. Nobody gives or takes names meanwhile.
///
/// # Errors
/// [`ImageError::Io`] if folders cannot be read.
pub fn check_names(layers: &LayerStore, faults: &mut Vec<Fault>) -> Result<Checked, ImageError> {
    let store = layers.store();
    let _lock = store.lock_names()?;
    check_layout(store, faults);
    let files = store.record_files()?;
    let mut checked = Checked::default();
    let mut audit = Audit {
        layers,
        available: BTreeMap::new(),
    };
    let mut images: BTreeMap<Digest, Vec<PathBuf>> = BTreeMap::new();
    let mut kept: BTreeSet<Digest> = BTreeSet::new();
    let mut found: Vec<(RecordFile, ImageRecord)> = Vec::new();
    for file in files {
        checked.n_names += usize::from(file.is_name);
        checked.n_images += usize::from(!file.is_name);
        match read(store, &file) {
            Ok(record) => {
                if !file.is_name {
                    kept.insert(record.id);
                }
                images.entry(record.id).or_default().push(file.path.clone());
                found.push((file, record));
            }
            Err(reason) => faults.push(Fault {
                path: file.path,
                reason,
                remedy: Remedy::File,
            }),
        }
    }
    let mut lost = BTreeSet::new();
    for (file, record) in found {
        if lost.contains(&record.id) {
            continue;
        }
        if let Err(reason) = audit.record(&record) {
            lost.insert(record.id);
            faults.push(Fault {
                path: file.path,
                reason,
                remedy: Remedy::Image(record.id),
            });
        } else if kept.insert(record.id) {
            faults.push(Fault {
                path: Path::new("images").join(format!("{}.json", record.id.hex())),
                reason: format!("is missing; {} stands for it", file.path.display()),
                remedy: Remedy::Record(Box::new(record)),
            });
        }
    }
    Ok(checked)
}

fn check_layout(store: &Store, faults: &mut Vec<Fault>) {
    for name in ["oci-layout", "index.json"] {
        let is_sound = fs_err::read(store.root().join(name))
            .is_ok_and(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        if !is_sound {
            faults.push(Fault {
                path: name.into(),
                reason: "is missing or no JSON".to_owned(),
                remedy: Remedy::Layout,
            });
        }
    }
}

fn read(store: &Store, file: &RecordFile) -> Result<ImageRecord, String> {
    let bytes = fs_err::read(store.root().join(&file.path)).map_err(|error| error.to_string())?;
    let record: ImageRecord =
        serde_json::from_slice(&bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if record.version != RECORD_VERSION {
        return Err(format!("version {} is not known", record.version));
    }
    if record.images.is_empty() {
        return Err("has no image".to_owned());
    }
    let stem = file.path.file_stem().and_then(|stem| stem.to_str());
    if !file.is_name && stem != Some(record.id.hex().as_str()) {
        return Err(format!("is the record of {}", record.id));
    }
    Ok(record)
}

struct Audit<'a> {
    layers: &'a LayerStore,
    available: BTreeMap<DiffId, bool>,
}

impl Audit<'_> {
    fn record(&mut self, record: &ImageRecord) -> Result<(), String> {
        if let Some(index) = &record.index {
            self.document(index, "index")?;
        }
        for image in &record.images {
            if let Some(manifest) = &image.manifest {
                self.document(manifest, "manifest")?;
            }
            let bytes = self
                .layers
                .store()
                .read_blob(&image.config, ImageConfig::MAX_BYTES)
                .map_err(|error| format!("its config: {error}"))?;
            let config =
                ImageConfig::parse(&bytes).map_err(|error| format!("its config: {error}"))?;
            for layer in &config.rootfs.diff_ids {
                if !self.is_available(layer) {
                    return Err(format!(
                        "its layer {layer} is gone, and where it came from is not known"
                    ));
                }
            }
        }
        Ok(())
    }

    fn document(&self, descriptor: &Descriptor, what: &str) -> Result<(), String> {
        let bytes = self
            .layers
            .store()
            .read_blob(&descriptor.digest, MAX_MANIFEST_BYTES)
            .map_err(|error| format!("its {what}: {error}"))?;
        Document::parse(&bytes, &descriptor.media_type)
            .map(drop)
            .map_err(|error| format!("its {what}: {error}"))
    }

    fn is_available(&mut self, layer: &DiffId) -> bool {
        let layers = self.layers;
        *self
            .available
            .entry(*layer)
            .or_insert_with(|| layers.is_available(layer))
    }
}
