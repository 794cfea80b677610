//! The numbers of `df` in Docker's tables and templates.

use std::cmp::Reverse;
use std::collections::HashMap;

use rbuild_cache::record::Kept;
use rbuild_image::digest::DiffId;
use rbuild_image::reference::Reference;
use rbuild_template::{Missing, Shape, Template, Value};

use super::super::images::{created_at, shown_id};
use super::{Called, Kind, Usage, kind};
use crate::environment::now;
use crate::inventory::by_image;
use crate::listing::{JSON, Listing};
use crate::report::Failure;
use crate::table::table;
use crate::units::{human_age, human_size, human_size_4};
use crate::workplace::Workplace;

const KINDS: Listing = Listing {
    name: "*formatter.diskUsageImagesContext",
    titles: &[
        ("Active", "ACTIVE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("TotalCount", "TOTAL"),
        ("Type", "TYPE"),
    ],
};

/// What `table` means.
pub(super) const DEFAULT: &str =
    "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

const IMAGES: Listing = Listing {
    name: "*formatter.imageContext",
    titles: &[
        ("Containers", "CONTAINERS"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedSince", "CREATED"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("SharedSize", "SHARED SIZE"),
        ("Size", "SIZE"),
        ("Tag", "TAG"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
};

const IMAGES_TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t\
    {{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";

const CACHE: Listing = Listing {
    name: "*formatter.buildCacheContext",
    titles: &[
        ("CacheType", "CACHE TYPE"),
        ("CreatedSince", "CREATED"),
        ("Executed", "EXECUTED"),
        ("ID", "CACHE ID"),
        ("LastUsedSince", "LAST USED"),
        ("Shared", "SHARED"),
        ("Size", "SIZE"),
        ("Took", "TOOK"),
        ("UsageCount", "USAGE"),
    ],
};

const NONE: &str = "<none>";

/// Docker's columns; how often a layer was used is how often its step ran.
const DOCKER_CACHE_TABLE: &str = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t\
    {{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";

const CACHE_TABLE: &str = "table {{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t\
    {{.LastUsedSince}}\t{{.Took}}\t{{.Executed}}\t{{.Shared}}";

const DOCUMENT: Shape = Shape::Struct {
    name: "*formatter.diskUsageContext",
    omit: &[],
    aliases: &[],
};

impl Usage {
    /// A line for each kind of thing.
    pub(super) fn listed(&self, format: &str) -> Result<String, Failure> {
        let rows: Vec<_> = self.kinds().iter().map(row).collect();
        KINDS.show(format, &rows)
    }

    /// All there is, in tables.
    pub(super) fn verbose(&self, workplace: &Workplace, called: Called) -> Result<String, Failure> {
        let containers = [
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "LOCAL VOLUMES",
            "SIZE",
            "CREATED",
            "STATUS",
            "NAMES",
        ];
        let images = IMAGES.show(IMAGES_TABLE, &self.images(workplace, false)?)?;
        let cache = CACHE.show(cache_table(called), &self.cache())?;
        Ok(format!(
            "Images space usage:\n\n{images}\nContainers space usage:\n\n{}\n\
             Local Volumes space usage:\n\n{}\nBuild cache usage: {}\n\n{cache}\n\
             Cache mounts usage: {}\n",
            table(&containers, &[]),
            table(&["VOLUME NAME", "LINKS", "SIZE"], &[]),
            human_size_4(self.sums.cache),
            human_size_4(self.sums.mounts),
        ))
    }

    /// All there is, in a template.
    pub(super) fn filled(&self, workplace: &Workplace, format: &str) -> Result<String, Failure> {
        let lists = [
            ("Images", self.images(workplace, true)?),
            ("Containers", Vec::new()),
            ("Volumes", Vec::new()),
            ("BuildCache", self.cache()),
        ];
        let lists = lists.map(|(name, rows)| (name, Value::List(rows.into())));
        let format = if format == JSON { "{{json .}}" } else { format };
        let failed = |error| Failure::message(format!("template parsing error: {error}"));
        let template = Template::parse(format).map_err(failed)?;
        let text = template.execute(&Value::object(DOCUMENT, lists), Missing::NoValue);
        Ok(text.map_err(failed)? + "\n")
    }

    /// An image's own and shared bytes are those of the store, compressed blobs and all.
    fn images(&self, workplace: &Workplace, no_trunc: bool) -> Result<Vec<Value>, Failure> {
        let mut users: HashMap<DiffId, usize> = HashMap::new();
        for layer in self.parts.values().flat_map(|parts| &parts.layers) {
            *users.entry(*layer).or_default() += 1;
        }
        let mut rows = Vec::new();
        for image in by_image(self.listed.clone()) {
            let record = &image.record;
            let Some(parts) = self.parts.get(&record.id) else {
                continue;
            };
            let shared = parts.layers.iter().filter(|layer| users[layer] > 1);
            let shared: u64 = shared.map(|layer| self.layer_bytes(layer)).sum();
            let unique = self.bytes(parts).saturating_sub(shared);
            let size = human_size(workplace.image_size(record)?);
            let created = image.created().map(jiff::Timestamp::as_second);
            // One line for each image, so that they add up.
            let name = image.tags.first().or(image.digests.first());
            let repository = name.map(Reference::familiar_name);
            let tag = name.and_then(Reference::tag);
            let cells = [
                "0",
                &created.map_or_else(String::new, created_at),
                &created.map_or_else(|| "N/A".to_owned(), |time| human_age(now() - time)),
                "",
                &shown_id(&record.id.to_string(), no_trunc),
                repository.as_deref().unwrap_or(NONE),
                &human_size_4(shared),
                &size,
                tag.unwrap_or(NONE),
                &human_size_4(unique),
            ];
            rows.push(IMAGES.row(cells.map(Value::text)));
        }
        Ok(rows)
    }

    fn cache(&self) -> Vec<Value> {
        let mut records: Vec<&Kept> = self.records.iter().collect();
        records.sort_by_key(|record| (Reverse(record.created), record.key));
        let row = |record: &Kept| {
            let used = self.survey.layers.get(&record.diff_id);
            let age = |time: i64| human_age(now() - time);
            let cells = [
                kind(&record.instruction),
                &age(record.created),
                &record.n_executions.to_string(),
                &record.key.hex()[..12],
                &used.map_or_else(String::new, |piece| age(piece.used)),
                &self.active.contains(&record.diff_id).to_string(),
                &human_size(self.layer_bytes(&record.diff_id)),
                &format!("{:.1}s", record.duration.as_secs_f64()),
                &record.n_executions.to_string(),
            ];
            CACHE.row(cells.map(Value::text))
        };
        records.into_iter().map(row).collect()
    }
}

fn cache_table(called: Called) -> &'static str {
    match called {
        Called::Df => CACHE_TABLE,
        Called::SystemDf => DOCKER_CACHE_TABLE,
    }
}

fn row(kind: &Kind) -> Value {
    let share = match (kind.reclaimable * 100).checked_div(kind.size) {
        Some(percent) if kind.name == "Images" => format!(" ({percent}%)"),
        _ => String::new(),
    };
    let cells = [
        &kind.active.to_string(),
        &(human_size_4(kind.reclaimable) + &share),
        &human_size_4(kind.size),
        &kind.total.to_string(),
        kind.name,
    ];
    KINDS.row(cells.map(|cell: &str| Value::text(cell)))
}
