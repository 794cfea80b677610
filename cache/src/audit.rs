//! Checking the whole store: images, layers, blobs, and the records that lead to them.

use std::path::{Path, PathBuf};

use rbuild_image::audit::{self, Checked, Fault};
use rbuild_image::layer::LayerStore;
use rbuild_image::store::Wait;

use crate::collect::folders;
use crate::collect::ignore_missing;
use crate::collect::notes::notes;
use crate::database::{self, Database};
use crate::error::CacheError;
use crate::flight::sweep_locks;
use crate::record::Kept;

/// Whether what is wrong is taken out of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// It stays.
    No,
    /// It goes, with all that cannot be used without it.
    Yes,
}

/// Something that is wrong, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where, from the store's folder on.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
    /// True if it is wrong no more.
    pub is_repaired: bool,
}

/// What was looked at and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Blobs.
    pub n_blobs: usize,
    /// Bytes of the blobs.
    pub blob_bytes: u64,
    /// Layers.
    pub n_layers: usize,
    /// Images and names.
    pub names: Checked,
    /// Cache mounts.
    pub n_mounts: usize,
    /// Records of steps.
    pub n_records: usize,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Checks everything in the store; waits until no other process cleans it. `database` is the path
/// of the cache database, `locks` the folder of the key locks.
///
/// # Errors
/// [`CacheError`] if the store cannot be read or a repair fails.
pub fn audit(
    layers: &LayerStore,
    database: &Path,
    locks: &Path,
    repair: Repair,
) -> Result<Report, CacheError> {
    let _maintenance = layers.store().maintain(Wait::Yes)?;
    let mut audit = Audit {
        layers,
        repair,
        report: Report::default(),
    };
    if repair == Repair::Yes {
        layers.store().sweep_tmp()?;
        sweep_locks(locks)?;
    }
    let mut faults = Vec::new();
    let (n_blobs, blob_bytes) = audit::check_blobs(layers.store(), &mut faults)?;
    audit.report.n_blobs = n_blobs;
    audit.report.blob_bytes = blob_bytes;
    audit.settle(faults)?;

    let mut faults = Vec::new();
    audit.report.n_layers = audit::check_layers(layers, &mut faults)?;
    audit.settle(faults)?;

    let mut faults = Vec::new();
    audit.report.names = audit::check_names(layers, &mut faults)?;
    audit.settle(faults)?;
    audit.notes()?;
    audit.mounts()?;
    audit.database(database)?;
    Ok(audit.report)
}

struct Audit<'a> {
    layers: &'a LayerStore,
    repair: Repair,
    report: Report,
}

impl Audit<'_> {
    fn settle(&mut self, faults: Vec<Fault>) -> Result<(), CacheError> {
        for fault in faults {
            let is_repaired = self.repair == Repair::Yes && audit::repair(self.layers, &fault)?;
            self.find(fault.path, fault.reason, is_repaired);
        }
        Ok(())
    }

    fn find(&mut self, path: PathBuf, reason: String, is_repaired: bool) {
        self.report.findings.push(Finding {
            path,
            reason,
            is_repaired,
        });
    }

    /// What URLs were. An empty note never reached the disk, and is none.
    fn notes(&mut self) -> Result<(), CacheError> {
        let store = self.layers.store();
        for note in notes(store)? {
            let reason = match note.digest(store) {
                Ok(None) => continue,
                Ok(Some(digest)) if store.has_blob(&digest) => continue,
                Ok(Some(digest)) => format!("leads to blob {digest}, which is not here"),
                Err(reason) => reason,
            };
            let is_repaired = self.repair == Repair::Yes;
            if is_repaired {
                ignore_missing(fs_err::remove_file(store.root().join(&note.path)))?;
            }
            self.find(note.path, reason, is_repaired);
        }
        Ok(())
    }

    fn mounts(&mut self) -> Result<(), CacheError> {
        let store = self.layers.store();
        for folder in folders::mounts(store)? {
            self.report.n_mounts += 1;
            if let Some(reason) = folder.fault(store)? {
                let is_repaired = self.repair == Repair::Yes && folder.remove(store)?;
                self.find(folder.path(), reason, is_repaired);
            }
        }
        Ok(())
    }

    fn database(&mut self, path: &Path) -> Result<(), CacheError> {
        if !path.try_exists()? {
            return Ok(());
        }
        let name = PathBuf::from(path.file_name().unwrap_or_default());
        let can_repair = self.repair == Repair::Yes;
        if let Some(reason) = database::fault(path) {
            if can_repair {
                database::move_aside(path)?;
                Database::open(path)?;
            }
            self.find(name, reason, can_repair);
            return Ok(());
        }
        let database = Database::open(path)?;
        let n_misshapen = database.drop_misshapen(!can_repair)?;
        if n_misshapen > 0 {
            let reason = format!("has {n_misshapen} records that cannot be read");
            self.find(name.clone(), reason, can_repair);
        }
        let records = database.records()?;
        self.report.n_records = records.len();
        let mut lost = Vec::new();
        for record in &records {
            let Some(reason) = self.fault(record) else {
                continue;
            };
            // A build may have dropped it, or made its layer, meanwhile.
            if database.record(&record.key)?.is_none() || self.fault(record).is_none() {
                continue;
            }
            lost.push(record.key);
            let path = name.join(record.key.hex());
            self.find(path, reason, can_repair);
        }
        if can_repair {
            database.drop_records(&lost)?;
        }
        Ok(())
    }

    /// What is wrong with where a record leads.
    fn fault(&self, record: &Kept) -> Option<String> {
        let Kept {
            diff_id, content, ..
        } = record;
        match self.layers.summary(diff_id) {
            None if self.layers.is_doubtful(diff_id) && self.layers.has_bytes(diff_id) => None,
            None => Some(format!("leads to layer {diff_id}, which has no index")),
            Some(summary) if summary.content_digest != *content => Some(format!(
                "leads to layer {diff_id}, which has other content than the step made"
            )),
            Some(_) if !self.layers.is_available(diff_id) => Some(format!(
                "leads to layer {diff_id}, of which nothing is stored"
            )),
            Some(_) => None,
        }
    }
}
