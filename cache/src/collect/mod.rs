//! Making room: images that nobody names, and what earlier builds made and no image has.
//!
//! The order is what keeps a crash from leaving a name of something that is gone: names, then image
//! records, then cache records, then layers, then blobs. What a living process has pinned stays
//! (`docs/store.md`).

pub(crate) mod folders;
pub(crate) mod notes;
mod state;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use rbuild_image::config::ImageConfig;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::layer::LayerStore;
use rbuild_image::record::{Contents, ImageRecord, Listed, Removal};
use rbuild_image::store::{Collector, Pin, Store, Survey, Wait, disk_usage};

use crate::database::Database;
use crate::error::CacheError;
use crate::flight::sweep_locks;
use crate::key::CacheKey;
use crate::record::Kept;

pub use folders::Folder;
use folders::Taken;
use state::State;

/// The value of something halves in this time without use, in seconds.
const HALF_LIFE: f64 = 7.0 * 86400.0;

/// What fetching a byte again costs, in milliseconds: 20 MB/s.
const FETCH_MS_PER_BYTE: f64 = 1.0 / 20_000.0;

/// What the database knows of keys without a record, and of files, is kept so long without use, in
/// seconds.
const MEMORY: i64 = 30 * 86_400;

/// Which images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// None.
    Keep,
    /// Those without a name.
    Dangling,
    /// All of them.
    All,
}

/// Which results of steps go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// None but those of images that go, if no step leads to them.
    Keep,
    /// Those that no image has.
    Unused,
    /// Those, and what is known of how the others were made.
    All,
}

/// A condition on an image's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFilter {
    /// The label.
    pub name: String,
    /// Its value, if that counts.
    pub value: Option<String>,
    /// False: the image must not have it.
    pub is_wanted: bool,
}

/// What is to be removed.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Images.
    pub images: Images,
    /// Results of steps.
    pub cache: Cache,
    /// Only what was made or used last before this time, in seconds since the Unix epoch.
    pub before: Option<i64>,
    /// Only images with these labels.
    pub labels: Vec<LabelFilter>,
    /// Nothing more than needed for the store to take at most this many bytes, the least valuable
    /// first: seconds of building saved for each byte, less with every week without use.
    pub max_bytes: Option<u64>,
    /// Images that stay whatever else is said.
    pub keep: BTreeSet<Digest>,
    /// No image but these, if they are named.
    pub only: Option<BTreeSet<Digest>>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Whether to wait for another process that cleans.
    pub wait: Wait,
    /// The clock, in seconds since the Unix epoch.
    pub now: i64,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Collected {
    /// Names and images.
    pub removals: Vec<Removal>,
    /// Layers.
    pub layers: Vec<DiffId>,
    /// Cache mounts and mirrors.
    pub folders: Vec<Folder>,
    /// Records of steps.
    pub n_records: usize,
    /// Bytes of the blocks that are free now.
    pub freed_bytes: u64,
    /// Bytes of the blocks that the store takes now.
    pub left_bytes: u64,
}

/// Removes what is wished for; `None` if another process is at it and was not to be waited for.
/// `locks` is the folder of the key locks.
///
/// # Errors
/// [`CacheError`]; what was removed until then stays so, and nothing refers to it.
pub fn collect(
    layers: &LayerStore,
    database: &Database,
    locks: &Path,
    wish: &Wish,
) -> Result<Option<Collected>, CacheError> {
    let store = layers.store();
    let Some(_maintenance) = store.maintain(wish.wait)? else {
        return Ok(None);
    };
    let mut done = Collected::default();
    if !wish.dry_run {
        let staging = || -> Result<u64, CacheError> {
            let folders = ["tmp", "ingest"].map(|name| disk_usage(&store.root().join(name)));
            let [tmp, downloads] = folders;
            Ok(tmp? + downloads?)
        };
        let before = staging()?;
        store.sweep_tmp()?;
        if wish.cache != Cache::Keep {
            store.sweep_downloads()?;
        }
        sweep_locks(locks)?;
        forget(database, wish)?;
        done.freed_bytes = before.saturating_sub(staging()?);
    }
    let mut collection = Collection {
        layers,
        database,
        survey: store.survey()?,
        wish,
    };
    // To come below a size, results of steps go first, images only if that is not enough.
    let first = match wish.max_bytes {
        Some(_) if wish.images != Images::Keep => Images::Keep,
        _ => wish.images,
    };
    collection.run(first, &mut done)?;
    if first != wish.images && wish.max_bytes.is_some_and(|max| done.left_bytes > max) {
        collection.run(wish.images, &mut done)?;
    }
    Ok(Some(done))
}

/// Takes out of the database what is no record and has not been used for long.
fn forget(database: &Database, wish: &Wish) -> Result<(), CacheError> {
    let old = wish.now.saturating_sub(MEMORY);
    let contexts = match wish.cache {
        Cache::Keep => return Ok(()),
        Cache::Unused => old,
        Cache::All => wish.before.unwrap_or(i64::MAX),
    };
    database.forget_executions(old)?;
    database.forget_contexts(contexts)?;
    database.shrink()
}

struct Collection<'a> {
    layers: &'a LayerStore,
    database: &'a Database,
    /// From before anything was locked: what is not in it is too new to go.
    survey: Survey,
    wish: &'a Wish,
}

/// Something that may go.
struct Candidate {
    item: Item,
    /// With the blobs that go with it.
    bytes: u64,
    value: f64,
}

enum Item {
    Layer(DiffId),
    Folder(Folder),
    /// What a URL was; nothing but a later build may want it.
    Fetched(Digest),
}

/// What is decided.
#[derive(Default)]
struct Decision {
    layers: BTreeSet<DiffId>,
    folders: BTreeSet<Folder>,
    blobs: BTreeSet<Digest>,
    records: Vec<CacheKey>,
    /// Notes about URLs.
    notes: Vec<PathBuf>,
}

impl Collection<'_> {
    fn run(&mut self, images: Images, done: &mut Collected) -> Result<(), CacheError> {
        let store = self.layers.store();
        let names = store.lock_names()?;
        let collector = store.collector()?;
        let listed = store.list()?;
        let going = self.images(images, &listed, &collector);
        let (mut kept, mut gone) = (Contents::default(), Contents::default());
        // An image's own record may know of a manifest that its names do not.
        let own = store.images()?;
        for record in listed.iter().map(|listed| &listed.record).chain(&own) {
            let is_going = going.contains(&record.id);
            let contents = if is_going { &mut gone } else { &mut kept };
            contents.add(store, record);
        }
        let records = self.database.records()?;
        let mut decision = self.decide(&State::new(
            self.layers,
            &kept,
            &gone,
            &records,
            &collector,
        )?)?;

        done.removals.extend(store.removals(&listed, &going, &kept));
        if !self.wish.dry_run {
            store.forget_images(&names, &listed, &going)?;
            self.database.drop_records(&decision.records)?;
            let trash = store.staging_dir()?;
            let taken = self.carry_out(&mut decision, trash.path())?;
            // Removing takes long, and nothing of it has a name any more.
            drop(collector);
            drop(names);
            drop(trash);
            drop(taken);
        }
        self.account(decision, done);
        Ok(())
    }

    /// Adds what was done to the report, and takes it out of the survey.
    fn account(&mut self, decision: Decision, done: &mut Collected) {
        done.freed_bytes += self.bytes_of(&decision);
        for layer in &decision.layers {
            self.survey.layers.remove(layer);
        }
        for blob in &decision.blobs {
            self.survey.blobs.remove(blob);
        }
        for folder in &decision.folders {
            match folder {
                Folder::Mount(name) => self.survey.mounts.remove(name),
                Folder::Mirror(name) => self.survey.mirrors.remove(name),
            };
        }
        done.left_bytes = self.survey.total_bytes();
        done.n_records += decision.records.len();
        done.layers.extend(decision.layers);
        done.folders.extend(decision.folders);
    }

    /// IDs of the images that go.
    fn images(&self, images: Images, listed: &[Listed], collector: &Collector) -> BTreeSet<Digest> {
        let is_going = |listed: &&Listed| {
            let record = &listed.record;
            let is_meant = match images {
                Images::Keep => false,
                Images::Dangling => listed.reference.is_none(),
                Images::All => true,
            };
            is_meant
                && !self.wish.keep.contains(&record.id)
                && self
                    .wish
                    .only
                    .as_ref()
                    .is_none_or(|only| only.contains(&record.id))
                && !collector.is_pinned(Pin::Blob(record.id))
                && self.is_old(self.made(record))
                && self.has_labels(record)
        };
        listed
            .iter()
            .filter(is_going)
            .map(|listed| listed.record.id)
            .collect()
    }

    /// When an image was made, or came here if that was later.
    fn made(&self, record: &ImageRecord) -> i64 {
        let came = self.survey.blobs.get(&record.id).map(|piece| piece.used);
        let seconds = |time: &String| {
            let time = time.parse::<jiff::Timestamp>().ok()?;
            Some(time.as_second())
        };
        let made = record.created.as_ref().and_then(seconds);
        came.max(made).unwrap_or(0)
    }

    fn has_labels(&self, record: &ImageRecord) -> bool {
        if self.wish.labels.is_empty() {
            return true;
        }
        let store = self.layers.store();
        let config = store.read_blob(&record.id, ImageConfig::MAX_BYTES).ok();
        let config = config.and_then(|bytes| ImageConfig::parse(&bytes).ok());
        let labels = config.and_then(|config| config.config.labels);
        self.wish.labels.iter().all(|filter| {
            let value = labels.as_ref().and_then(|labels| labels.get(&filter.name));
            let is_there = match (&filter.value, value) {
                (Some(wanted), Some(value)) => wanted == value,
                (None, value) => value.is_some(),
                (Some(_), None) => false,
            };
            is_there == filter.is_wanted
        })
    }

    fn decide(&self, state: &State<'_>) -> Result<Decision, CacheError> {
        let fetched = fetched(self.layers.store())?;
        let mut decision = Decision {
            blobs: self.loose_blobs(state, &fetched),
            ..Decision::default()
        };
        let mut candidates = self.candidates(state);
        if self.wish.cache != Cache::Keep {
            candidates.extend(self.further_candidates(state, &fetched));
        }
        self.choose(candidates, &mut decision);
        let notes = fetched
            .iter()
            .filter(|(blob, _)| decision.blobs.contains(*blob));
        decision.notes = notes.flat_map(|(_, notes)| notes.clone()).collect();
        decision.blobs.extend(state.blobs_with(&decision.layers));
        let is_pointless = |record: &&Kept| {
            decision.layers.contains(&record.diff_id)
                || !state.blobs_of.contains_key(&record.diff_id)
                || self.wish.cache == Cache::All
                    && self.wish.max_bytes.is_none()
                    && !state.pinned.contains(&record.diff_id)
                    && self.is_old(record.created)
        };
        let records = state.records.iter().filter(is_pointless);
        decision.records = records.map(|record| record.key).collect();
        Ok(decision)
    }

    /// Layers that are meant and that nobody needs.
    fn candidates(&self, state: &State<'_>) -> Vec<Candidate> {
        let mut saved: HashMap<DiffId, f64> = HashMap::new();
        for record in state.records {
            *saved.entry(record.diff_id).or_default() += record.duration.as_secs_f64() * 1000.0;
        }
        let mut candidates = Vec::new();
        for (layer, piece) in &self.survey.layers {
            // What belonged to an image that goes, and no step leads to it.
            let is_left_over = state.gone.diff_ids.contains(layer) && !saved.contains_key(layer);
            let is_meant =
                is_left_over || self.wish.cache != Cache::Keep && self.is_old(piece.used);
            let Some(blobs) = state.blobs_of.get(layer).filter(|_| is_meant) else {
                continue;
            };
            if !state.is_free(layer) {
                continue;
            }
            let blob_bytes: u64 = blobs
                .iter()
                .filter(|blob| state.is_loose(blob))
                .filter_map(|blob| self.survey.blobs.get(blob))
                .map(|piece| piece.bytes)
                .sum();
            let bytes = piece.bytes + blob_bytes;
            candidates.push(Candidate {
                item: Item::Layer(*layer),
                bytes,
                value: self.value(saved.get(layer).copied(), bytes, piece.used),
            });
        }
        candidates
    }

    /// Cache mounts, mirrors, and what was fetched from URLs.
    fn further_candidates(
        &self,
        state: &State<'_>,
        fetched: &BTreeMap<Digest, Vec<PathBuf>>,
    ) -> Vec<Candidate> {
        let mounts = self.survey.mounts.iter();
        let mounts = mounts.map(|(name, piece)| (Folder::Mount(name.clone()), piece));
        let mirrors = self.survey.mirrors.iter();
        let mirrors = mirrors.map(|(name, piece)| (Folder::Mirror(name.clone()), piece));
        let folders = mounts
            .chain(mirrors)
            .map(|(folder, piece)| (Item::Folder(folder), piece));
        let files = fetched.keys().filter(|blob| state.is_loose(blob));
        let files = files.filter_map(|blob| {
            let piece = self.survey.blobs.get(blob)?;
            Some((Item::Fetched(*blob), piece))
        });
        folders
            .chain(files)
            .filter(|(_, piece)| self.is_old(piece.used))
            .map(|(item, piece)| Candidate {
                item,
                bytes: piece.bytes,
                value: self.value(None, piece.bytes, piece.used),
            })
            .collect()
    }

    /// Blobs that belong to no layer, to no URL, and to no image that stays.
    fn loose_blobs(
        &self,
        state: &State<'_>,
        fetched: &BTreeMap<Digest, Vec<PathBuf>>,
    ) -> BTreeSet<Digest> {
        let of_layers: BTreeSet<&Digest> = state.blobs_of.values().flatten().collect();
        let of_gone: BTreeSet<&Digest> = state.gone.layers.iter().map(|(blob, _)| blob).collect();
        let is_going = |blob: &Digest, used: i64| {
            !of_layers.contains(blob)
                && !fetched.contains_key(blob)
                && state.is_loose(blob)
                && (of_gone.contains(blob)
                    || state.gone.documents.contains(blob)
                    || self.wish.cache != Cache::Keep && self.is_old(used))
        };
        let blobs = self.survey.blobs.iter();
        blobs
            .filter(|(blob, piece)| is_going(blob, piece.used))
            .map(|(blob, _)| *blob)
            .collect()
    }

    fn is_old(&self, used: i64) -> bool {
        self.wish.before.is_none_or(|before| used < before)
    }

    /// Takes all candidates, or the least valuable until the store is small enough.
    fn choose(&self, mut candidates: Vec<Candidate>, decision: &mut Decision) {
        let mut left = self
            .survey
            .total_bytes()
            .saturating_sub(self.bytes_of(decision));
        candidates.sort_by(|a, b| a.value.total_cmp(&b.value));
        for candidate in candidates {
            if self.wish.max_bytes.is_some_and(|max| left <= max) {
                break;
            }
            left = left.saturating_sub(candidate.bytes);
            match candidate.item {
                Item::Layer(layer) => drop(decision.layers.insert(layer)),
                Item::Folder(folder) => drop(decision.folders.insert(folder)),
                Item::Fetched(blob) => drop(decision.blobs.insert(blob)),
            }
        }
    }

    /// Milliseconds of work that each byte saves, less the longer nobody has used it.
    fn value(&self, saved_ms: Option<f64>, bytes: u64, used: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rough measure")]
        let (bytes, age) = (
            bytes as f64,
            self.wish.now.saturating_sub(used).max(0) as f64,
        );
        // Without a record, what can be fetched again saves the fetching.
        let saved_ms = saved_ms.unwrap_or(bytes * FETCH_MS_PER_BYTE);
        saved_ms / (bytes + 1.0) * 0.5_f64.powf(age / HALF_LIFE)
    }

    fn bytes_of(&self, decision: &Decision) -> u64 {
        let layers = decision
            .layers
            .iter()
            .filter_map(|layer| self.survey.layers.get(layer));
        let blobs = decision
            .blobs
            .iter()
            .filter_map(|blob| self.survey.blobs.get(blob));
        let folders = decision.folders.iter().filter_map(|folder| match folder {
            Folder::Mount(name) => self.survey.mounts.get(name),
            Folder::Mirror(name) => self.survey.mirrors.get(name),
        });
        let pieces = layers.chain(blobs).chain(folders);
        pieces.map(|piece| piece.bytes).sum()
    }

    /// Takes the names of what goes away; what had them lies in `trash` then. Folders in use stay
    /// and are taken out of the decision; the locks of the others are returned.
    fn carry_out(&self, decision: &mut Decision, trash: &Path) -> Result<Vec<Taken>, CacheError> {
        let store = self.layers.store();
        for layer in &decision.layers {
            let folder = layer_folder(store, layer);
            move_away(&folder, &trash.join(layer.0.hex()))?;
        }
        for note in &decision.notes {
            ignore_missing(fs_err::remove_file(note))?;
        }
        for blob in &decision.blobs {
            store.remove_blob(blob)?;
        }
        let mut taken = Vec::new();
        let mut in_use = Vec::new();
        for folder in &decision.folders {
            match folder.take(store, trash)? {
                Some(locks) => taken.push(locks),
                None => in_use.push(folder.clone()),
            }
        }
        for folder in in_use {
            decision.folders.remove(&folder);
        }
        Ok(taken)
    }
}

fn layer_folder(store: &Store, layer: &DiffId) -> PathBuf {
    store.root().join("layers").join(layer.0.hex())
}

fn move_away(from: &Path, to: &Path) -> Result<(), CacheError> {
    ignore_missing(fs_err::rename(from, to))
}

pub(crate) fn ignore_missing(result: io::Result<()>) -> Result<(), CacheError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// The blobs that URLs were when they were asked for last, with the notes that say so.
fn fetched(store: &Store) -> Result<BTreeMap<Digest, Vec<PathBuf>>, CacheError> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for note in notes::notes(store)? {
        if let Ok(Some(digest)) = note.digest(store) {
            found
                .entry(digest)
                .or_default()
                .push(store.root().join(note.path));
        }
    }
    Ok(found)
}
