//! `rbuild prune`, `rbuild image prune` and `rbuild builder prune`

use std::collections::BTreeSet;
use std::io::{BufRead as _, Write as _};
use std::path::Path;

use clap::Args;
use rbuild_cache::collect::{Cache, Collected, Images, LabelFilter, Wish, collect};
use rbuild_image::digest::Digest;
use rbuild_image::record::Removal;
use rbuild_image::store::Wait;

use crate::environment::{self, now};
use crate::filters::{parse_until, split_label};
use crate::output;
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
    /// Only what matches: until=24h or a time, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Remove the least valuable cache until the store takes at most this much
    #[arg(long, value_name = "BYTES", visible_alias = "max-used-space", value_parser = parse_size)]
    keep_storage: Option<u64>,
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
    let wish = wish(options, scope)?;
    if !options.force && !options.dry_run && !confirmed(options, scope)? {
        return Ok(());
    }
    let workplace = Workplace::enter(root)?;
    let collected = collect(
        &workplace.layers,
        &workplace.database()?,
        &workplace.locks()?,
        &wish,
    )?;
    let collected = collected.unwrap_or_default();
    output::result(&report(&collected, options.dry_run))?;
    if let Some(max) = options.keep_storage
        && collected.left_bytes > max
    {
        output::note(&format!(
            "The store still takes {}: the rest belongs to images, or is in use.\n",
            human_size(collected.left_bytes)
        ));
    }
    Ok(())
}

/// Brings the store below `RBUILD_STORAGE_CAP` after a build, if that is set. `keep` are images
/// that stay although they may have no name. A build never waits for another process's prune.
pub(crate) fn after_build(workplace: &Workplace, keep: BTreeSet<Digest>) -> Result<(), Failure> {
    let Some(cap) = environment::variable("RBUILD_STORAGE_CAP") else {
        return Ok(());
    };
    let max_bytes = parse_size(&cap)
        .map_err(|problem| Failure::Usage(format!("RBUILD_STORAGE_CAP: {problem}")))?;
    // The build is over: what it has used counts like everything else.
    workplace.store.release();
    let wish = Wish {
        images: Images::Dangling,
        cache: Cache::Unused,
        before: None,
        labels: Vec::new(),
        max_bytes: Some(max_bytes),
        keep,
        dry_run: false,
        wait: Wait::No,
        now: now(),
    };
    let collected = collect(
        &workplace.layers,
        &workplace.database()?,
        &workplace.locks()?,
        &wish,
    )?;
    if let Some(collected) = collected
        && collected.left_bytes > max_bytes
    {
        output::note(&format!(
            "the store takes {}, more than RBUILD_STORAGE_CAP={cap}: the rest belongs to images, or is in use\n",
            human_size(collected.left_bytes)
        ));
    }
    Ok(())
}

/// Refuses a cap that cannot be read before anything is built.
pub(crate) fn check_cap() -> Result<(), Failure> {
    match environment::variable("RBUILD_STORAGE_CAP") {
        Some(cap) => parse_size(&cap)
            .map(drop)
            .map_err(|problem| Failure::Usage(format!("RBUILD_STORAGE_CAP: {problem}"))),
        None => Ok(()),
    }
}

fn wish(options: &PruneArguments, scope: Scope) -> Result<Wish, Failure> {
    let (mut before, mut labels) = (None, Vec::new());
    for filter in &options.filter {
        let bad = || {
            Failure::Usage(format!(
                "bad format of filter (expected name=value): {filter}"
            ))
        };
        let (name, value) = filter.split_once('=').ok_or_else(bad)?;
        match name {
            "until" => before = Some(parse_until(value)?),
            "label" | "label!" => {
                let (label, expected) = split_label(value);
                labels.push(LabelFilter {
                    name: label,
                    value: expected,
                    is_wanted: name == "label",
                });
            }
            _ => return Err(Failure::Usage(format!("invalid filter '{name}'"))),
        }
    }
    let images = match (scope, options.all) {
        (Scope::Cache, _) => Images::Keep,
        (_, true) => Images::All,
        (_, false) => Images::Dangling,
    };
    // The build cache has no labels.
    let cache = match (scope, options.all) {
        (Scope::Images, _) => Cache::Keep,
        _ if !labels.is_empty() => Cache::Keep,
        (_, true) => Cache::All,
        (_, false) => Cache::Unused,
    };
    Ok(Wish {
        images,
        cache,
        before,
        labels,
        max_bytes: options.keep_storage,
        keep: BTreeSet::new(),
        dry_run: options.dry_run,
        wait: Wait::Yes,
        now: now(),
    })
}

fn confirmed(options: &PruneArguments, scope: Scope) -> Result<bool, Failure> {
    let mut lines = Vec::new();
    if scope != Scope::Cache {
        lines.push(if options.all {
            "all images"
        } else {
            "all dangling images"
        });
    }
    if scope != Scope::Images {
        lines.push(if options.all {
            "all build cache"
        } else {
            "unused build cache"
        });
    }
    let mut question = "WARNING! This will remove:\n".to_owned();
    for line in lines {
        question.push_str("  - ");
        question.push_str(line);
        question.push('\n');
    }
    question.push_str("\nAre you sure you want to continue? [y/N] ");
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(question.as_bytes())?;
    stdout.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}

fn report(collected: &Collected, dry_run: bool) -> String {
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
    if !collected.layers.is_empty() || !collected.folders.is_empty() {
        lines.push(format!("{verb} build cache objects:"));
        lines.extend(collected.layers.iter().map(|layer| layer.0.hex()));
        let folders = collected.folders.iter();
        lines.extend(folders.map(|folder| folder.path().display().to_string()));
        lines.push(String::new());
    }
    lines.push(format!("{total}: {}\n", human_size(collected.freed_bytes)));
    lines.join("\n")
}
