//! `rbuild df`

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use clap::{Args, ValueEnum};
use rbuild_cache::record::Kept;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::record::{Contents, Listed};
use rbuild_image::reference::Reference;
use rbuild_image::store::Survey;
use serde_json::{Value, json};

use super::images::{seconds, shown_id};
use crate::environment::now;
use crate::output;
use crate::report::Failure;
use crate::table::table;
use crate::units::{human_age, human_size};
use crate::workplace::Workplace;

#[derive(Debug, Args)]
pub(crate) struct DfArguments {
    /// Show every image and every layer of the build cache
    #[arg(short, long)]
    verbose: bool,
    /// How the numbers are printed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: DfFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DfFormat {
    /// Columns as Docker has them
    Table,
    /// One document with sizes in bytes
    Json,
}

/// Shows what takes the room in the store.
pub(crate) fn run(root: &Path, options: &DfArguments) -> Result<(), Failure> {
    let workplace = Workplace::enter(root)?;
    // A store that cannot be written to has no usable database; the rest can be counted.
    let (records, executions) = workplace
        .database()
        .and_then(|database| Ok((database.records()?, database.executions()?)))
        .unwrap_or_default();
    let usage = Usage::of(&workplace, records)?;
    match options.format {
        DfFormat::Json => {
            let mut document = usage.json();
            if options.verbose {
                document["BuildCache"] = usage.cache_json();
                document["Executions"] = executions
                    .into_iter()
                    .map(|(key, n)| (key.hex(), n.into()))
                    .collect::<serde_json::Map<_, _>>()
                    .into();
            }
            output::result(&format!("{document:#}\n"))
        }
        DfFormat::Table if options.verbose => output::result(&usage.verbose(&workplace)?),
        DfFormat::Table => output::result(&usage.table()),
    }
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

    fn table(&self) -> String {
        let Survey {
            mounts,
            mirrors,
            staging_bytes,
            other_bytes,
            ..
        } = &self.survey;
        let percent = |part: u64, whole: u64| match (part * 100).checked_div(whole) {
            Some(percent) => format!("{} ({percent}%)", human_size(part)),
            None => human_size(part),
        };
        let row = |kind: &str, total: usize, active: usize, size: u64, free: String| {
            vec![
                kind.to_owned(),
                total.to_string(),
                active.to_string(),
                human_size(size),
                free,
            ]
        };
        let sums = &self.sums;
        let zero = || human_size(0);
        let rows = [
            row(
                "Images",
                self.parts.len(),
                self.n_active_images(),
                sums.images,
                percent(sums.dangling, sums.images),
            ),
            row("Containers", 0, 0, 0, zero()),
            row("Local Volumes", 0, 0, 0, zero()),
            row(
                "Build Cache",
                self.records.len(),
                self.n_active_records(),
                sums.cache,
                human_size(sums.cache),
            ),
            row(
                "Cache Mounts",
                mounts.len(),
                0,
                sums.mounts,
                human_size(sums.mounts),
            ),
            row(
                "Git Mirrors",
                mirrors.len(),
                0,
                sums.mirrors,
                human_size(sums.mirrors),
            ),
            row("Staging", 0, 0, *staging_bytes, zero()),
            row("Names and Records", 0, 0, *other_bytes, zero()),
        ];
        let header = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"];
        table(&header, &rows)
    }

    fn json(&self) -> Value {
        let sums = &self.sums;
        let row = |kind: &str, total: usize, active: usize, size: u64, reclaimable: u64| {
            json!({
                "Type": kind,
                "TotalCount": total,
                "Active": active,
                "Size": size,
                "Reclaimable": reclaimable,
            })
        };
        json!({
            "Total": self.survey.total_bytes(),
            "Usage": [
                row("Images", self.parts.len(), self.n_active_images(), sums.images, sums.dangling),
                row("Containers", 0, 0, 0, 0),
                row("Local Volumes", 0, 0, 0, 0),
                row("Build Cache", self.records.len(), self.n_active_records(), sums.cache, sums.cache),
                row("Cache Mounts", self.survey.mounts.len(), 0, sums.mounts, sums.mounts),
                row("Git Mirrors", self.survey.mirrors.len(), 0, sums.mirrors, sums.mirrors),
                row("Staging", 0, 0, self.survey.staging_bytes, 0),
                row("Names and Records", 0, 0, self.survey.other_bytes, 0),
            ],
        })
    }

    fn verbose(&self, workplace: &Workplace) -> Result<String, Failure> {
        Ok(format!(
            "Images space usage:\n\n{}\nBuild cache usage: {}\n\n{}\nCache mounts usage: {}\n",
            self.images_table(workplace)?,
            human_size(self.sums.cache),
            self.cache_table(),
            human_size(self.sums.mounts),
        ))
    }

    /// An image's own and shared bytes are those of the store, compressed blobs and all.
    fn images_table(&self, workplace: &Workplace) -> Result<String, Failure> {
        let mut users: HashMap<DiffId, usize> = HashMap::new();
        for layer in self.parts.values().flat_map(|parts| &parts.layers) {
            *users.entry(*layer).or_default() += 1;
        }
        let mut rows = Vec::new();
        for listed in &self.listed {
            let record = &listed.record;
            let Some(parts) = self.parts.get(&record.id) else {
                continue;
            };
            let shared = parts.layers.iter().filter(|layer| users[layer] > 1);
            let shared: u64 = shared.map(|layer| self.layer_bytes(layer)).sum();
            let all = self.bytes(parts);
            let none = || "<none>".to_owned();
            let reference = listed.reference.as_ref();
            let created = seconds(record.created.as_deref());
            rows.push(vec![
                reference.map_or_else(none, Reference::familiar_name),
                reference
                    .and_then(Reference::tag)
                    .map_or_else(none, str::to_owned),
                shown_id(&record.id.to_string(), false),
                created.map_or_else(|| "N/A".to_owned(), |time| human_age(now() - time)),
                human_size(workplace.image_size(record)?),
                human_size(shared),
                human_size(all.saturating_sub(shared)),
                "0".to_owned(),
            ]);
        }
        let header = [
            "REPOSITORY",
            "TAG",
            "IMAGE ID",
            "CREATED",
            "SIZE",
            "SHARED SIZE",
            "UNIQUE SIZE",
            "CONTAINERS",
        ];
        Ok(table(&header, &rows))
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

    fn cache_table(&self) -> String {
        let mut records: Vec<&Kept> = self.records.iter().collect();
        records.sort_by_key(|record| (std::cmp::Reverse(record.created), record.key));
        let rows: Vec<_> = records
            .into_iter()
            .map(|record| {
                let used = self.survey.layers.get(&record.diff_id);
                let age = |time: i64| human_age(now() - time);
                vec![
                    record.key.hex()[..12].to_owned(),
                    kind(&record.instruction).to_owned(),
                    human_size(self.layer_bytes(&record.diff_id)),
                    age(record.created),
                    used.map_or_else(String::new, |piece| age(piece.used)),
                    format!("{:.1}s", record.duration.as_secs_f64()),
                    record.n_executions.to_string(),
                    self.active.contains(&record.diff_id).to_string(),
                ]
            })
            .collect();
        let header = [
            "CACHE ID",
            "CACHE TYPE",
            "SIZE",
            "CREATED",
            "LAST USED",
            "TOOK",
            "EXECUTED",
            "SHARED",
        ];
        table(&header, &rows)
    }
}

/// The instruction's name.
fn kind(instruction: &str) -> &str {
    instruction.split_whitespace().next().unwrap_or("-")
}
