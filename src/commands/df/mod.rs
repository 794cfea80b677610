//! `rbuild df`

mod show;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use clap::Args;
use rbuild_cache::record::Kept;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::record::{Contents, Listed};
use rbuild_image::store::Survey;
use serde_json::{Value, json};

use crate::listing::{JSON, TABLE};
use crate::output;
use crate::report::Failure;
use crate::workplace::Workplace;
use show::DEFAULT;

#[derive(Debug, Args)]
pub(crate) struct DfArguments {
    /// Show every image and every layer of the build cache
    #[arg(short, long)]
    verbose: bool,
    /// How the numbers are printed: table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: String,
}

/// What `json` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Called {
    /// It was `df`: one document with sizes in bytes.
    Df,
    /// It was `system df`: what Docker prints.
    SystemDf,
}

/// Shows what takes the room in the store.
pub(crate) fn run(root: &Path, options: &DfArguments, called: Called) -> Result<(), Failure> {
    let workplace = Workplace::enter(root)?;
    // A store that cannot be written to has no usable database; the rest can be counted.
    let (records, executions) = workplace
        .database()
        .and_then(|database| Ok((database.records()?, database.executions()?)))
        .unwrap_or_default();
    let usage = Usage::of(&workplace, records)?;
    let text = match (options.format.as_str(), called) {
        (JSON, Called::Df) => {
            let mut document = usage.json();
            if options.verbose {
                document["BuildCache"] = usage.cache_json();
                document["Executions"] = executions
                    .into_iter()
                    .map(|(key, n)| (key.hex(), n.into()))
                    .collect::<serde_json::Map<_, _>>()
                    .into();
            }
            format!("{document:#}\n")
        }
        ("" | TABLE, _) if options.verbose => usage.verbose(&workplace, called)?,
        ("" | TABLE, _) => usage.listed(DEFAULT)?,
        (format, _) if options.verbose => usage.filled(&workplace, format)?,
        (format, _) => usage.listed(format)?,
    };
    output::result(&text)
}

/// What is in the store and to what it belongs.
struct Usage {
    survey: Survey,
    listed: Vec<Listed>,
    /// Layers and blobs of each image, by its ID.
    parts: BTreeMap<Digest, Parts>,
    records: Vec<Kept>,
    /// Layers of the images that have a name.
    active: BTreeSet<DiffId>,
    blobs_of: HashMap<DiffId, Vec<Digest>>,
    sums: Sums,
}

/// What an image has of the store.
#[derive(Default)]
struct Parts {
    layers: BTreeSet<DiffId>,
    blobs: BTreeSet<Digest>,
}

/// Bytes, which add up to all of the store.
#[derive(Default)]
struct Sums {
    images: u64,
    dangling: u64,
    cache: u64,
    mounts: u64,
    mirrors: u64,
}

impl Usage {
    fn of(workplace: &Workplace, records: Vec<Kept>) -> Result<Self, Failure> {
        let survey = workplace.store.survey()?;
        let listed = workplace.store.list()?;
        let blobs_of: HashMap<DiffId, Vec<Digest>> = survey
            .layers
            .keys()
            .map(|layer| (*layer, workplace.layers.known_blobs(layer)))
            .collect();
        let mut parts: BTreeMap<Digest, Parts> = BTreeMap::new();
        let mut active = BTreeSet::new();
        let own = workplace.store.images()?;
        let named = listed.iter().filter(|listed| listed.reference.is_some());
        let named: BTreeSet<Digest> = named.map(|listed| listed.record.id).collect();
        for record in listed.iter().map(|listed| &listed.record).chain(&own) {
            let mut contents = Contents::default();
            contents.add(&workplace.store, record);
            if named.contains(&record.id) {
                active.extend(&contents.diff_ids);
            }
            let part = parts.entry(record.id).or_default();
            part.blobs.extend(&contents.documents);
            part.blobs
                .extend(contents.layers.iter().map(|(blob, _)| *blob));
            for layer in &contents.diff_ids {
                part.blobs.extend(blobs_of.get(layer).into_iter().flatten());
            }
            part.layers.extend(contents.diff_ids);
        }
        let mut usage = Self {
            survey,
            listed,
            parts,
            records,
            active,
            blobs_of,
            sums: Sums::default(),
        };
        usage.sums = usage.sums();
        Ok(usage)
    }

    fn sums(&self) -> Sums {
        let named: BTreeSet<Digest> = self
            .listed
            .iter()
            .filter(|listed| listed.reference.is_some())
            .map(|listed| listed.record.id)
            .collect();
        let (mut all, mut active) = (Parts::default(), Parts::default());
        for (id, parts) in &self.parts {
            all.layers.extend(&parts.layers);
            all.blobs.extend(&parts.blobs);
            if named.contains(id) {
                active.layers.extend(&parts.layers);
                active.blobs.extend(&parts.blobs);
            }
        }
        let images = self.bytes(&all);
        let pieces = self
            .survey
            .blobs
            .values()
            .chain(self.survey.layers.values());
        Sums {
            images,
            dangling: images - self.bytes(&active),
            cache: pieces.map(|piece| piece.bytes).sum::<u64>() - images,
            mounts: self.survey.mounts.values().map(|piece| piece.bytes).sum(),
            mirrors: self.survey.mirrors.values().map(|piece| piece.bytes).sum(),
        }
    }

    fn bytes(&self, parts: &Parts) -> u64 {
        let layers = parts
            .layers
            .iter()
            .filter_map(|id| self.survey.layers.get(id));
        let blobs = parts
            .blobs
            .iter()
            .filter_map(|id| self.survey.blobs.get(id));
        layers.chain(blobs).map(|piece| piece.bytes).sum()
    }

    fn n_active_images(&self) -> usize {
        let named = self
            .listed
            .iter()
            .filter(|listed| listed.reference.is_some());
        let ids: BTreeSet<Digest> = named.map(|listed| listed.record.id).collect();
        ids.len()
    }

    fn n_active_records(&self) -> usize {
        let records = self.records.iter();
        records
            .filter(|record| self.active.contains(&record.diff_id))
            .count()
    }

    fn kinds(&self) -> Vec<Kind> {
        let Sums {
            images,
            dangling,
            cache,
            mounts,
            mirrors,
        } = self.sums;
        let kind = |name, total, active, size, reclaimable| Kind {
            name,
            total,
            active,
            size,
            reclaimable,
        };
        let survey = &self.survey;
        let (n_images, n_records) = (self.n_active_images(), self.n_active_records());
        vec![
            kind("Images", self.parts.len(), n_images, images, dangling),
            kind("Containers", 0, 0, 0, 0),
            kind("Local Volumes", 0, 0, 0, 0),
            kind("Build Cache", self.records.len(), n_records, cache, cache),
            kind("Cache Mounts", survey.mounts.len(), 0, mounts, mounts),
            kind("Git Mirrors", survey.mirrors.len(), 0, mirrors, mirrors),
            kind("Staging", 0, 0, survey.staging_bytes, 0),
            kind("Names and Records", 0, 0, survey.other_bytes, 0),
        ]
    }

    fn json(&self) -> Value {
        let rows = self.kinds().into_iter().map(|kind| {
            json!({
                "Type": kind.name,
                "TotalCount": kind.total,
                "Active": kind.active,
                "Size": kind.size,
                "Reclaimable": kind.reclaimable,
            })
        });
        json!({
            "Total": self.survey.total_bytes(),
            "Usage": rows.collect::<Vec<_>>(),
        })
    }

    fn layer_bytes(&self, layer: &DiffId) -> u64 {
        let folder = self.survey.layers.get(layer).map_or(0, |piece| piece.bytes);
        let blobs = self.blobs_of.get(layer).into_iter().flatten();
        let blobs = blobs.filter_map(|blob| self.survey.blobs.get(blob));
        folder + blobs.map(|piece| piece.bytes).sum::<u64>()
    }

    fn cache_json(&self) -> Value {
        let records = self.records.iter().map(|record| {
            let used = self.survey.layers.get(&record.diff_id);
            json!({
                "ID": record.key.hex(),
                "Type": kind(&record.instruction),
                "Instruction": record.instruction,
                "Layer": record.diff_id.to_string(),
                "Size": self.layer_bytes(&record.diff_id),
                "Created": record.created,
                "LastUsed": used.map(|piece| piece.used),
                "Milliseconds": u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
                "Executed": record.n_executions,
                "Shared": self.active.contains(&record.diff_id),
            })
        });
        records.collect()
    }
}

/// One of the things that the store consists of.
struct Kind {
    name: &'static str,
    total: usize,
    active: usize,
    size: u64,
    reclaimable: u64,
}

/// The instruction's name.
fn kind(instruction: &str) -> &str {
    instruction.split_whitespace().next().unwrap_or("-")
}
