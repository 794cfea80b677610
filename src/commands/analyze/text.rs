//! The findings for people.

use rbuild_image::analysis::{
    Cause, HintKind, LayerChanges, Repeats, Tally, largest_files, size_of,
};

use super::Report;
use crate::commands::images::shown_id;
use crate::progress::clean_text;
use crate::shown_path::shown_path;
use crate::table::table;
use crate::units::human_size;

/// How many files are shown of each layer, at most.
const FILES_OF_A_LAYER: usize = 3;
/// Longest instruction shown, in characters.
const WIDTH: usize = 100;
/// Fewest repeated bytes that are worth a remark.
const WORTH_A_REMARK: u64 = 4096;

pub(super) fn render(report: &Report<'_>) -> String {
    let image = report.image;
    let name = clean_text(&image.name);
    let id = shown_id(&image.id.to_string(), false);
    let head = format!("{name}  {}  {id}\n\n", image.platform);
    let layers: String = (0..report.analysis.layers.len())
        .map(|at| layer(report, at))
        .collect();
    [
        head,
        layers,
        totals(report),
        waste(report),
        repeats(report),
        copies(report),
        duplicates(report),
        hints(report),
    ]
    .concat()
}

/// The line above what is said of a layer, and its instruction.
pub(super) fn layer_head(report: &Report<'_>, at: usize) -> String {
    let diff_ids = &report.image.config.rootfs.diff_ids;
    let id = diff_ids
        .get(at)
        .map(|diff_id| shown_id(&diff_id.to_string(), false))
        .unwrap_or_default();
    let size = human_size(report.analysis.layers[at].size_bytes);
    let instruction = match &*report.instructions[at] {
        "" => String::new(),
        text => format!("  {}\n", shortened(text)),
    };
    format!("Layer {at}  {size}  {id}\n{instruction}")
}

fn layer(report: &Report<'_>, at: usize) -> String {
    let changes = &report.analysis.layers[at];
    let mut out = layer_head(report, at);
    out.extend(did(changes).map(|done| format!("  {done}\n")));
    if changes.hidden_bytes > 0 {
        let hidden = human_size(changes.hidden_bytes);
        out.extend([format!("  {hidden} of it are not in the image\n")]);
    }
    let shown = report.top.min(FILES_OF_A_LAYER);
    let largest = largest_files(&report.listings[at], shown).into_iter();
    out.extend(largest.map(|entry| {
        let size = human_size(size_of(entry));
        format!("  {size:>9}  {}\n", shown_path(&entry.path))
    }));
    out.push('\n');
    out
}

/// What a layer does to those below it, in words.
fn did(changes: &LayerChanges) -> Option<String> {
    let parts: Vec<_> = [
        ("adds", changes.added),
        ("changes", changes.changed),
        ("repeats", changes.repeated.all),
        ("removes", changes.removed),
    ]
    .into_iter()
    .filter(|(_, tally)| tally.files > 0)
    .map(|(verb, tally)| format!("{verb} {}", files(tally)))
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn files(tally: Tally) -> String {
    let noun = counted(tally.files, "file");
    format!("{noun} ({})", human_size(tally.bytes))
}

/// `1 layer`, `2 layers`.
fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

fn totals(report: &Report<'_>) -> String {
    let found = &report.analysis;
    let layers = counted(found.layers.len() as u64, "layer");
    let paths = counted(found.score.copies.len() as u64, "path");
    let lines = [
        (
            "size",
            format!(
                "{} in {layers}, {} without the base layer",
                human_size(found.size_bytes),
                human_size(found.user_size_bytes)
            ),
        ),
        (
            "not shown",
            format!(
                "{} are in layers, but not in the image",
                human_size(found.hidden_bytes())
            ),
        ),
        (
            "efficiency",
            format!("{:.2} %", found.score.efficiency * 100.0),
        ),
        (
            "wasted",
            format!(
                "{} (all copies of {paths}), {:.2} % of what is not in the base layer",
                human_size(found.score.wasted_bytes),
                found.user_wasted_ratio() * 100.0
            ),
        ),
    ];
    let lines = lines.map(|(name, text)| format!("  {name:<12} {text}\n"));
    format!("Image\n{}", lines.concat())
}

fn waste(report: &Report<'_>) -> String {
    let rows = report.analysis.waste.iter().map(|waste| {
        let how = match waste.cause {
            Cause::Removed => "removed by",
            Cause::Replaced => "replaced by",
            Cause::Repeated => "repeated by",
        };
        let instruction = shortened(&report.instructions[waste.layer]);
        vec![
            human_size(waste.bytes),
            waste.files.to_string(),
            shown_path(waste.path),
            format!("{how} layer {}: {instruction}", waste.layer),
        ]
    });
    section(
        "Bytes that the image does not show",
        &["SIZE", "FILES", "PATH", "WHY"],
        rows,
        report.top,
    )
}

/// Layers that hold files again only because their owner or mode changed.
fn repeats(report: &Report<'_>) -> String {
    let layers = report.analysis.layers.iter().enumerate();
    let rows: String = layers
        .filter_map(|(at, changes)| {
            let what = reason(&changes.repeated)?;
            let instruction = match &*report.instructions[at] {
                "" => String::new(),
                text => format!("    {}\n", shortened(text)),
            };
            let files = files(changes.repeated.all);
            Some(format!("  layer {at}: {files}, {what}\n{instruction}"))
        })
        .collect();
    if rows.is_empty() {
        return rows;
    }
    format!(
        "\nFiles written again for what is known about them\n{rows}\
         \x20 help: a layer holds a file whole if anything about it changed; set owner and mode where the\n\
         \x20 files are made: COPY --chown=… --chmod=…, or chown and chmod in the same RUN\n"
    )
}

fn reason(repeats: &Repeats) -> Option<&'static str> {
    let has = |tally: Tally| tally.bytes > 0;
    (repeats.all.bytes >= WORTH_A_REMARK).then(|| match (has(repeats.owner), has(repeats.mode)) {
        (true, true) => "with another owner or mode",
        (true, false) => "with another owner",
        (false, true) => "with another mode",
        (false, false) => "with the same owner and mode",
    })
}

fn copies(report: &Report<'_>) -> String {
    let copies = report.analysis.score.copies.iter();
    let rows = copies.filter(|copies| copies.size_bytes > 0).map(|copies| {
        vec![
            copies.count.to_string(),
            human_size(copies.size_bytes),
            shown_path(copies.path),
        ]
    });
    section(
        "Paths that several layers have",
        &["COUNT", "SIZE", "PATH"],
        rows,
        report.top,
    )
}

fn duplicates(report: &Report<'_>) -> String {
    let rows = report.analysis.duplicates.iter().map(|same| {
        let first = same.paths.iter().take(2).map(|path| shown_path(path));
        let more = (same.count > 2).then(|| format!("{} more", same.count - 2));
        let paths = first.chain(more).collect::<Vec<_>>().join(", ");
        vec![
            human_size(same.extra_bytes()),
            same.count.to_string(),
            paths,
        ]
    });
    section(
        "Equal files under several paths",
        &["EXTRA", "COUNT", "PATHS"],
        rows,
        report.top,
    )
}

fn hints(report: &Report<'_>) -> String {
    let rows = report.analysis.hints.iter().map(|hint| {
        vec![
            human_size(hint.files.bytes),
            shown_path(hint.path),
            advice(hint.kind).to_owned(),
        ]
    });
    section("Worth a look", &["SIZE", "PATH", "WHAT"], rows, report.top)
}

fn advice(kind: HintKind) -> &'static str {
    match kind {
        HintKind::Apt => {
            "lists and packages of apt: a cache mount, or remove them in the RUN that got them"
        }
        HintKind::Apk => "packages of apk: apk add --no-cache, or a cache mount",
        HintKind::Dnf => "packages of dnf: a cache mount, or dnf clean all in the same RUN",
        HintKind::Pip => "downloads of pip: --no-cache-dir, or a cache mount",
        HintKind::Npm => {
            "downloads of npm: a cache mount, or npm cache clean --force in the same RUN"
        }
        HintKind::Yarn => "downloads of Yarn: a cache mount, or yarn cache clean in the same RUN",
        HintKind::Composer => "downloads of Composer: a cache mount, or --no-cache",
        HintKind::GoBuild => "what go build keeps: a cache mount",
        HintKind::Cargo => "downloads of cargo: a cache mount",
        HintKind::Git => "the history of a git repository: leave it out by .dockerignore",
        HintKind::SetId => "runs as its owner or group, whoever starts it",
    }
}

/// A table below a title, at most `top` rows of it; nothing if there are none.
fn section(
    title: &str,
    header: &[&str],
    mut rows: impl Iterator<Item = Vec<String>>,
    top: usize,
) -> String {
    let shown: Vec<_> = rows.by_ref().take(top).collect();
    let n_more = rows.count();
    if shown.is_empty() {
        return String::new();
    }
    let lines = table(header, &shown);
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    let more = match n_more {
        0 => String::new(),
        _ => format!("  … and {n_more} more (--top)\n"),
    };
    format!("\n{title}\n{lines}{more}")
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}
