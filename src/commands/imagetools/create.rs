//! `rbuild imagetools create`

use std::path::PathBuf;

use clap::{ArgAction, Args};
use rbuild_image::manifest::{Descriptor, Document, Index};
use rbuild_image::media::{Format, Kind};
use rbuild_image::reference::Reference;
use rbuild_registry::{Client, Resolved};

use crate::annotations::{AnnotationSet, Level};
use crate::manifests;
use crate::output;
use crate::relay::Relay;
use crate::report::Failure;

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// Name that the result gets
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Vec<String>,
    /// Add to what the name stands for now
    #[arg(long)]
    append: bool,
    /// Print the result and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Add a remark: to the index with `index:`, to what it names with `manifest-descriptor:` or
    /// `manifest-descriptor[OS/ARCH]:`
    #[arg(long, value_name = "TYPE:KEY=VALUE")]
    annotation: Vec<String>,
    /// Read a source from a file: a name, or a descriptor as JSON
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Make an index even of a single image; with `=false` the image itself gets the name
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        hide_default_value = true
    )]
    prefer_index: bool,
    /// Names in registries, digests, or descriptors as JSON
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
}

/// What is to be part of the result.
struct Source {
    reference: Reference,
    /// What is said of it besides its name.
    given: Option<Descriptor>,
}

/// What will be named.
struct Made {
    media_type: String,
    bytes: Vec<u8>,
    /// Repositories that its parts are in.
    places: Vec<Reference>,
}

/// Joins images of registries to one index and gives it names; what the registry lacks is copied.
pub(crate) fn run(client: &Client, options: &CreateArguments) -> Result<(), Failure> {
    let tags = tags_of(options)?;
    let sources = sources_of(options, &tags)?;
    let annotations = AnnotationSet::parse_options(&options.annotation)?;
    let relay = Relay::new(client);
    let made = combine(client, &relay, &sources, options.prefer_index, &annotations)?;
    if options.dry_run {
        return output::result(&(String::from_utf8_lossy(&made.bytes).into_owned() + "\n"));
    }
    let root = Descriptor::of(&made.media_type, &made.bytes);
    for tag in &tags {
        output::note(&format!("pushing {} to {tag}\n", root.digest));
        relay.name(tag, &made.media_type, &made.bytes, &made.places)?;
    }
    Ok(())
}

fn tags_of(options: &CreateArguments) -> Result<Vec<Reference>, Failure> {
    if options.tag.is_empty() && !options.dry_run {
        return Err(Failure::with_help(
            "can't push with no tags specified, please set --tag or --dry-run",
            "-t NAME names the result, --dry-run prints it",
        ));
    }
    let tags = options.tag.iter().map(|tag| {
        let tag = Reference::parse(tag)?;
        if tag.digest().is_some() {
            return Err(Failure::message(format!(
                "invalid tag \"{}\": a digest cannot be chosen",
                tag.familiar()
            )));
        }
        Ok(tag.with_default_tag())
    });
    tags.collect()
}

fn sources_of(options: &CreateArguments, tags: &[Reference]) -> Result<Vec<Source>, Failure> {
    let mut written = options.sources.clone();
    for file in &options.file {
        let text = fs_err::read_to_string(file)?;
        written.push(text.trim().to_owned());
    }
    if written.is_empty() && !options.append {
        return Err(Failure::message("no sources specified"));
    }
    let mut sources = Vec::new();
    if options.append {
        let Some(tag) = tags.first() else {
            return Err(Failure::message(
                "--append needs the name of what is added to: -t NAME",
            ));
        };
        sources.push(Source {
            reference: tag.clone(),
            given: None,
        });
    }
    let named: Vec<Reference> = written
        .iter()
        .filter(|text| !is_digest(text) && !text.starts_with('{'))
        .map(|text| Reference::parse(text))
        .collect::<Result<_, _>>()?;
    let mut repositories: Vec<Reference> = tags
        .iter()
        .chain(&named)
        .map(Reference::repository)
        .collect();
    repositories.sort();
    repositories.dedup();
    for text in &written {
        sources.push(source_of(text, &repositories)?);
    }
    Ok(sources)
}

fn is_digest(text: &str) -> bool {
    text.starts_with("sha256:")
}

fn source_of(text: &str, repositories: &[Reference]) -> Result<Source, Failure> {
    let given: Option<Descriptor> = if text.starts_with('{') {
        let parsed = serde_json::from_str(text);
        Some(parsed.map_err(|error| {
            Failure::message(format!("cannot read the descriptor {text}: {error}"))
        })?)
    } else if is_digest(text) {
        Some(Descriptor::new("", text.parse()?, 0))
    } else {
        None
    };
    let Some(given) = given else {
        return Ok(Source {
            reference: Reference::parse(text)?.with_default_tag(),
            given: None,
        });
    };
    let [repository] = repositories else {
        return Err(Failure::with_help(
            format!("it is not clear in which repository {} is", given.digest),
            "write NAME@DIGEST",
        ));
    };
    Ok(Source {
        reference: repository.at_digest(given.digest),
        given: Some(given).filter(|_| !is_digest(text)),
    })
}

/// Returns what the sources are together: a lone index as it is.
fn combine(
    client: &Client,
    relay: &Relay<'_>,
    sources: &[Source],
    prefer_index: bool,
    annotations: &AnnotationSet,
) -> Result<Made, Failure> {
    let mut entries: Vec<Descriptor> = Vec::new();
    let places = sources.iter().map(|source| source.reference.repository());
    let places: Vec<Reference> = places.collect();
    for source in sources {
        let found = client.resolve(&source.reference)?;
        relay.note(&found.descriptor.digest, &source.reference);
        relay.add(&found.bytes, &found.document, &source.reference);
        let is_index = matches!(found.document, Document::Index(_));
        let is_kept = is_index || !prefer_index;
        if sources.len() == 1 && annotations.is_empty() && is_kept {
            return Ok(Made {
                media_type: found.descriptor.media_type,
                bytes: found.bytes,
                places,
            });
        }
        for entry in entries_of(relay, source, found)? {
            if !entries.iter().any(|known| known.digest == entry.digest) {
                entries.push(entry);
            }
        }
    }
    let index = annotated(entries, annotations)?;
    Ok(Made {
        media_type: index.media_type.clone(),
        // As buildx writes it, so that the same sources give the same digest.
        bytes: serde_json::to_vec_pretty(&index)?,
        places,
    })
}

/// Returns what an index names, or the image itself with its platform.
fn entries_of(
    relay: &Relay<'_>,
    source: &Source,
    found: Resolved,
) -> Result<Vec<Descriptor>, Failure> {
    let manifest = match found.document {
        Document::Index(index) => return Ok(index.manifests),
        Document::Manifest(manifest) => manifest,
    };
    let mut entry = source
        .given
        .clone()
        .unwrap_or_else(|| found.descriptor.clone());
    let is_same = entry.size == found.descriptor.size;
    if !is_same || Kind::of(&entry.media_type) != Some(Kind::Manifest) {
        return Err(Failure::message(format!(
            "the descriptor of {} does not fit: it has {} bytes of type {}",
            entry.digest, found.descriptor.size, found.descriptor.media_type
        )));
    }
    if entry.platform.is_none() {
        entry.platform = relay.platform(&source.reference, &manifest)?;
    }
    Ok(vec![entry])
}

/// Docker's lists have no annotations.
fn annotated(mut entries: Vec<Descriptor>, annotations: &AnnotationSet) -> Result<Index, Failure> {
    let platforms = entries.iter().filter_map(|entry| entry.platform.clone());
    annotations.check_index(&platforms.collect::<Vec<_>>())?;
    for entry in &mut entries {
        let of_entry = annotations.of_image(Level::ManifestDescriptor, entry.platform.as_ref());
        entry.annotations.extend(of_entry);
    }
    let mut index = manifests::index_of(entries);
    if !annotations.is_empty() {
        Format::Oci.index().clone_into(&mut index.media_type);
    }
    index.annotations = annotations.of_index(Level::Index);
    Ok(index)
}
