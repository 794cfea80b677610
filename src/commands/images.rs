//! `rbuild images`

use std::path::Path;

use clap::Args;
use rbuild_image::reference::Reference;

use crate::environment::now;
use crate::output;
use crate::report::Failure;
use crate::table::{human_age, human_size, table};
use crate::workplace::Workplace;

#[derive(Debug, Args)]
pub(crate) struct ImagesArguments {
    /// Show only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Show all images (there are no hidden ones)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Do not shorten IDs
    #[arg(long)]
    no_trunc: bool,
    /// Only images of this repository, or this one
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

/// A line of the list.
struct Row {
    repository: String,
    tag: String,
    digest: String,
    id: String,
    created: Option<i64>,
    size: u64,
}

/// Lists images, the newest first.
pub(crate) fn run(root: &Path, options: &ImagesArguments) -> Result<(), Failure> {
    let workplace = Workplace::open(root)?;
    let mut rows = rows(&workplace, options)?;
    rows.sort_by(|a, b| {
        b.created
            .cmp(&a.created)
            .then_with(|| (&a.repository, &a.tag).cmp(&(&b.repository, &b.tag)))
    });
    if options.quiet {
        let ids: String = rows.iter().map(|row| format!("{}\n", row.id)).collect();
        return output::result(&ids);
    }
    let mut header = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    if options.digests {
        header.insert(2, "DIGEST");
    }
    let lines: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let created = row
                .created
                .map_or_else(|| "N/A".to_owned(), |time| human_age(now() - time));
            let mut cells = vec![
                row.repository,
                row.tag,
                row.id,
                created,
                human_size(row.size),
            ];
            if options.digests {
                cells.insert(2, row.digest);
            }
            cells
        })
        .collect();
    output::result(&table(&header, &lines))
}

fn rows(workplace: &Workplace, options: &ImagesArguments) -> Result<Vec<Row>, Failure> {
    let wanted = options
        .repository
        .as_deref()
        .map(Reference::parse)
        .transpose()?;
    let mut rows = Vec::new();
    for entry in workplace.store.list()? {
        let reference = entry.reference.as_ref();
        if !wanted
            .as_ref()
            .is_none_or(|wanted| is_match(wanted, reference))
        {
            continue;
        }
        let record = &entry.record;
        let none = || "<none>".to_owned();
        rows.push(Row {
            repository: reference.map_or_else(none, Reference::familiar_name),
            tag: reference
                .and_then(Reference::tag)
                .map_or_else(none, str::to_owned),
            digest: record
                .target()
                .map_or_else(none, |target| target.digest.to_string()),
            id: shown_id(&record.id.to_string(), options.no_trunc),
            created: seconds(record.created.as_deref()),
            size: workplace.image_size(record)?,
        });
    }
    Ok(rows)
}

fn is_match(wanted: &Reference, reference: Option<&Reference>) -> bool {
    reference.is_some_and(|reference| {
        wanted.name() == reference.name()
            && (wanted.tag().is_none() || wanted.tag() == reference.tag())
    })
}

/// An ID as lists show it: 12 digits, or all with the algorithm.
pub(crate) fn shown_id(id: &str, no_trunc: bool) -> String {
    if no_trunc {
        return id.to_owned();
    }
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

/// Seconds since the Unix epoch of an RFC 3339 time.
pub(crate) fn seconds(time: Option<&str>) -> Option<i64> {
    Some(time?.parse::<jiff::Timestamp>().ok()?.as_second())
}
