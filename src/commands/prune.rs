//! `rbuild prune`, `rbuild image prune` and `rbuild builder prune`

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, Write as _};
use std::path::Path;

use clap::Args;
use rbuild_cache::collect::{Cache, Collected, Images, LabelFilter, Wish};
use rbuild_image::digest::Digest;
use rbuild_image::record::Removal;
use rbuild_image::reference::Reference;
use rbuild_image::store::Wait;

use crate::cap::free_bytes;
use crate::environment::now;
use crate::filters::{self, Filter, ImageFilters, parse_bool, parse_until, split_label};
use crate::inventory::by_image;
use crate::output;
use crate::progress::clean_text;
use crate::report::Failure;
use crate::size::parse_size;
use crate::units::human_size;
use crate::workplace::Workplace;

#[derive(Debug, Args)]
pub(crate) struct PruneArguments {
    /// Remove all images and the whole build cache, not only what is unused
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only what matches: until=24h or a time, label=KEY[=VALUE], label!=KEY[=VALUE],
    /// reference=PATTERN
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Leave the newest images of each repository, this many
    #[arg(long, value_name = "N", requires = "all")]
    keep: Option<usize>,
    /// Remove the least valuable cache until the store takes at most this much
    #[arg(long, value_name = "BYTES", visible_alias = "max-used-space", value_parser = parse_size)]
    keep_storage: Option<u64>,
    /// Do not go below this much
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    reserved_space: Option<u64>,
    /// Remove the least valuable cache until the disk has this much free space
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    min_free_space: Option<u64>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// What a prune command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Images and the build cache.
    Everything,
    /// Images, and layers that nothing else has.
    Images,
    /// The build cache.
    Cache,
}

/// Removes what is not needed.
pub(crate) fn run(root: &Path, options: &PruneArguments, scope: Scope) -> Result<(), Failure> {
    let filters = filters::parse(&options.filter, "--filter")?;
    let mut wish = wish(options, &filters, scope)?;
    if !options.force && !options.dry_run && !confirmed(options, scope)? {
        return Ok(());
    }
    let workplace = Workplace::enter(root)?;
    wish.max_bytes = max_bytes(options, &workplace)?;
    let patterns = filters.iter().filter(|(name, _)| name == "reference");
    let patterns: Vec<_> = patterns.map(|(_, pattern)| pattern.as_str()).collect();
    if options.keep.is_some() || !patterns.is_empty() {
        wish.only = Some(chosen(&workplace, &patterns, options.keep.unwrap_or(0))?);
    }
    let collected = workplace.collect(&wish)?;
    let collected = collected.unwrap_or_default();
    output::result(&report(&collected, scope, options.dry_run))?;
    if let Some(max) = wish.max_bytes
        && collected.left_bytes > max
    {
        output::note(&format!(
            "The store still takes {}: the rest belongs to images, or is in use.\n",
            human_size(collected.left_bytes)
        ));
    }
    Ok(())
}

/// How many bytes the store may take, as BuildKit reckons: what there is to be at most, less if the disk
/// is too full, but never less than what is reserved.
fn max_bytes(options: &PruneArguments, workplace: &Workplace) -> Result<Option<u64>, Failure> {
    let lacking = match options.min_free_space {
        Some(wanted) => wanted.saturating_sub(free_bytes(workplace.store.root())?),
        None => 0,
    };
    let for_space = if lacking > 0 {
        Some(
            workplace
                .store
                .survey()?
                .total_bytes()
                .saturating_sub(lacking),
        )
    } else {
        None
    };
    let limits = [options.keep_storage, for_space].into_iter().flatten();
    Ok(match (limits.min(), options.reserved_space) {
        (None, None) => options.min_free_space.map(|_enough_is_free| u64::MAX),
        (max, reserved) => max.max(reserved),
    })
}

/// The images that may go: all of their names fit one of the patterns, if there are any, and in no
/// repository they are among the newest `n_kept`.
fn chosen(
    workplace: &Workplace,
    patterns: &[&str],
    n_kept: usize,
) -> Result<BTreeSet<Digest>, Failure> {
    let mut names = ImageFilters::default();
    for pattern in patterns {
        names.add_reference(pattern)?;
    }
    let mut found = BTreeSet::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for image in by_image(workplace.store.list()?) {
        let repositories: BTreeSet<_> = image.tags.iter().map(Reference::name).collect();
        let mut is_kept = false;
        for repository in repositories {
            let n_newer = seen.entry(repository).or_default();
            is_kept |= *n_newer < n_kept;
            *n_newer += 1;
        }
        let (id, n_names) = (image.record.id, image.tags.len() + image.digests.len());
        let fitting = names.apply(workplace, image)?;
        let fits = fitting.is_some_and(|image| image.tags.len() + image.digests.len() == n_names);
        if fits && !is_kept {
            found.insert(id);
        }
    }
    Ok(found)
}

fn wish(options: &PruneArguments, filters: &[Filter], scope: Scope) -> Result<Wish, Failure> {
    let (mut before, mut labels) = (None, Vec::new());
    let mut all = options.all;
    for (name, value) in filters {
        match name.as_str() {
            "dangling" if scope == Scope::Images => all = !parse_bool(name, value)?,
            "reference" if scope != Scope::Cache => {}
            "until" => before = Some(parse_until(value)?),
            "label" | "label!" => {
                let (label, expected) = split_label(value);
                labels.push(LabelFilter {
                    name: label,
                    value: expected,
                    is_wanted: name == "label",
                });
            }
            _ => return Err(Failure::message(format!("invalid filter '{name}'"))),
        }
    }
    let images = match (scope, all) {
        (Scope::Cache, _) => Images::Keep,
        (_, true) => Images::All,
        (_, false) => Images::Dangling,
    };
    // The build cache has no labels and no names.
    let is_of_images = |(name, _): &Filter| name.starts_with("label") || name == "reference";
    let cache = match (scope, options.all) {
        (Scope::Images, _) => Cache::Keep,
        _ if options.keep.is_some() || filters.iter().any(is_of_images) => Cache::Keep,
        (_, true) => Cache::All,
        (_, false) => Cache::Unused,
    };
    Ok(Wish {
        images,
        cache,
        before,
        labels,
        max_bytes: None,
        keep: BTreeSet::new(),
        only: None,
        dry_run: options.dry_run,
        wait: Wait::Yes,
        now: now(),
    })
}

/// What Docker says before it removes something.
fn warning(options: &PruneArguments, scope: Scope) -> &'static str {
    match (scope, options.all) {
        (Scope::Images, false) => "WARNING! This will remove all dangling images.\n",
        (Scope::Images, true) => {
            "WARNING! This will remove all images without at least one container associated to them.\n"
        }
        (Scope::Cache, false) => "WARNING! This will remove all dangling build cache. ",
        (Scope::Cache, true) => "WARNING! This will remove all build cache. ",
        (Scope::Everything, false) => {
            "WARNING! This will remove:\n  - all dangling images\n  - unused build cache\n\n"
        }
        (Scope::Everything, true) => {
            "WARNING! This will remove:\n  - all images\n  - all build cache\n\n"
        }
    }
}

fn confirmed(options: &PruneArguments, scope: Scope) -> Result<bool, Failure> {
    let mut question = warning(options, scope).to_owned();
    if scope == Scope::Everything && !options.filter.is_empty() {
        question.push_str("  Items to be pruned will be filtered with:\n");
        for filter in &options.filter {
            question.extend(["  - ", &clean_text(filter), "\n"]);
        }
        question.push('\n');
    }
    question.push_str("Are you sure you want to continue? [y/N] ");
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(question.as_bytes())?;
    stdout.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}

fn report(collected: &Collected, scope: Scope, dry_run: bool) -> String {
    let (verb, total) = if dry_run {
        ("Would delete", "Total reclaimable space")
    } else {
        ("Deleted", "Total reclaimed space")
    };
    let mut lines = Vec::new();
    if !collected.removals.is_empty() {
        lines.push(format!("{verb} Images:"));
        lines.extend(collected.removals.iter().map(|removal| match removal {
            Removal::Untagged(reference) => format!("untagged: {}", reference.familiar()),
            Removal::Deleted(digest) => format!("deleted: {digest}"),
        }));
        lines.push(String::new());
    }
    let has_cache = !collected.layers.is_empty() || !collected.folders.is_empty();
    if scope != Scope::Images && has_cache {
        lines.push(format!("{verb} build cache objects:"));
        lines.extend(collected.layers.iter().map(|layer| layer.0.hex()));
        let folders = collected.folders.iter();
        lines.extend(folders.map(|folder| folder.path().display().to_string()));
        lines.push(String::new());
    }
    lines.push(format!("{total}: {}\n", human_size(collected.freed_bytes)));
    lines.join("\n")
}
