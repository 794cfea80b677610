//! `rbuild images`

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use rbuild_image::reference::Reference;
use rbuild_template::Value;

use super::image_tree;
use crate::docker_config::DockerConfig;
use crate::environment::{local_time, now};
use crate::filters::{self, ImageFilters};
use crate::inventory::{StoredImage, by_image};
use crate::listing::{Listing, RAW, TABLE};
use crate::output;
use crate::report::Failure;
use crate::units::{human_age, human_size};
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
    /// Only what matches: dangling=true, reference=PATTERN, before=IMAGE, since=IMAGE, until=TIME,
    /// label=KEY[=VALUE]
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// How a line looks: table, json, raw, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show the platforms of each image, and what of them is here; A marks those with attestations
    #[arg(long)]
    tree: bool,
    /// Only images with a name like this; patterns are possible
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

/// Whether somebody who typed `images NAME` may have meant `image NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Called {
    /// It was `images`.
    Images,
    /// It was `image ls`.
    ImageLs,
}

const LISTING: Listing = Listing {
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

const CREATED: &str = "{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}";
const NONE: &str = "<none>";

/// Lists images, the newest first.
pub(crate) fn run(root: &Path, options: &ImagesArguments, called: Called) -> Result<(), Failure> {
    let typed = filters::parse(&options.filter, filters::SHORT_AND_LONG)?;
    if options.tree {
        check_tree(options)?;
    }
    let workplace = Workplace::open(root)?;
    let mut filters = ImageFilters::new(&workplace, &typed)?;
    if let Some(pattern) = &options.repository {
        filters.add_reference(pattern)?;
    }
    let mut images = Vec::new();
    for image in by_image(workplace.store.list()?) {
        images.extend(filters.apply(&workplace, image)?);
    }
    if options.tree {
        output::result(&image_tree::show(&workplace, &images)?)?;
    } else {
        let format = format(options);
        let shows_digests = options.digests || format.contains("{{.Digest}}");
        let mut rows = Vec::new();
        for image in &images {
            rows.extend(rows_of(&workplace, image, options, shows_digests)?);
        }
        output::result(&LISTING.show(&format, &rows)?)?;
    }
    match &options.repository {
        Some(name) if images.is_empty() && called == Called::Images => hint(name),
        _ => {}
    }
    Ok(())
}

/// The tree has one look.
fn check_tree(options: &ImagesArguments) -> Result<(), Failure> {
    let has_format = options.format.as_ref().is_some_and(|text| !text.is_empty());
    let unfit = [
        (options.quiet, "quiet"),
        (options.no_trunc, "no-trunc"),
        (options.digests, "show-digest"),
        (has_format, "format"),
    ];
    match unfit.iter().find(|(is_set, _)| *is_set) {
        Some((_, name)) => Err(Failure::message(format!(
            "--{name} is not yet supported with --tree"
        ))),
        None => Ok(()),
    }
}

/// Words that are commands after `image`.
const COMMANDS: &[&str] = &[
    "build", "history", "import", "inspect", "list", "load", "ls", "prune", "pull", "push", "rm",
    "save", "tag",
];

fn hint(name: &str) {
    if COMMANDS.contains(&name) {
        output::note(&format!(
            "\nNo images found matching \"{name}\": did you mean \"rbuild image {name}\"?\n"
        ));
    }
}

/// What is asked for in the language of templates.
fn format(options: &ImagesArguments) -> String {
    let mut wanted = options.format.clone().unwrap_or_default();
    if wanted.is_empty() && !options.quiet {
        wanted = DockerConfig::read().images_format;
    }
    if wanted.is_empty() {
        TABLE.clone_into(&mut wanted);
    }
    match wanted.as_str() {
        TABLE if options.quiet => "{{.ID}}".to_owned(),
        TABLE if options.digests => format!(
            "table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{{{{.Digest}}}}\t{{{{.ID}}}}\t{CREATED}\t{{{{.Size}}}}"
        ),
        TABLE => format!(
            "table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{{{{.ID}}}}\t{CREATED}\t{{{{.Size}}}}"
        ),
        RAW if options.quiet => "image_id: {{.ID}}".to_owned(),
        RAW => {
            let digest = if options.digests {
                "digest: {{.Digest}}\n"
            } else {
                ""
            };
            format!(
                "repository: {{{{.Repository}}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\n\
                 created_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
            )
        }
        _ if wanted.starts_with(TABLE) && options.digests && !wanted.contains("{{.Digest}}") => {
            wanted + "\t{{.Digest}}"
        }
        _ => wanted,
    }
}

/// A line for each tag, or for each tag and digest of its repository; then one for each repository
/// that knows the image by digests only.
fn rows_of(
    workplace: &Workplace,
    image: &StoredImage,
    options: &ImagesArguments,
    shows_digests: bool,
) -> Result<Vec<Value>, Failure> {
    let record = &image.record;
    let created = image.created().map(Timestamp::as_second);
    let id = shown_id(&record.id.to_string(), options.no_trunc);
    let size = human_size(workplace.image_size(record)?);
    let row = |repository: &str, tag: &str, digest: &str| {
        let since = created.map(|time| human_age(now() - time));
        let cells = [
            "N/A",
            &created.map_or_else(String::new, created_at),
            &since.unwrap_or_default(),
            digest,
            &id,
            repository,
            "N/A",
            &size,
            tag,
            "N/A",
        ];
        LISTING.row(cells.map(Value::text))
    };
    if image.is_dangling() {
        return Ok(vec![row(NONE, NONE, NONE)]);
    }
    let digest_of = |name: &Reference| name.digest().map(|digest| digest.to_string());
    let mut rows = Vec::new();
    for tag in &image.tags {
        let (repository, tag_text) = (tag.familiar_name(), tag.tag().unwrap_or(NONE));
        let in_repository = image
            .digests
            .iter()
            .filter(|name| name.name() == tag.name());
        let digests: Vec<_> = in_repository.filter_map(digest_of).collect();
        if digests.is_empty() || !shows_digests {
            rows.push(row(&repository, tag_text, NONE));
            continue;
        }
        rows.extend(
            digests
                .iter()
                .map(|digest| row(&repository, tag_text, digest)),
        );
    }
    let mut shown = Vec::new();
    for name in &image.digests {
        let is_tagged = image.tags.iter().any(|tag| tag.name() == name.name());
        if is_tagged || (!options.digests && shown.contains(&name.name())) {
            continue;
        }
        shown.push(name.name());
        let digest = digest_of(name).filter(|_| options.digests);
        rows.push(row(
            &name.familiar_name(),
            NONE,
            &digest.unwrap_or_default(),
        ));
    }
    Ok(rows)
}

/// An ID as lists show it: 12 digits, or all with the algorithm.
pub(crate) fn shown_id(id: &str, no_trunc: bool) -> String {
    if no_trunc {
        return id.to_owned();
    }
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

/// A time as Go writes it.
pub(super) fn created_at(time: i64) -> String {
    local_time(time, "%Y-%m-%d %H:%M:%S %z %Z")
}

/// Seconds since the Unix epoch of an RFC 3339 time.
pub(crate) fn seconds(time: Option<&str>) -> Option<i64> {
    Some(time?.parse::<Timestamp>().ok()?.as_second())
}
