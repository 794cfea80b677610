//! `rbuild push`

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use rbuild_image::digest::Digest;
use rbuild_image::platform::Platform;
use rbuild_image::record::{ImageRecord, Listed};
use rbuild_image::reference::Reference;
use rbuild_registry::{Placed, PushEvent};

use crate::manifests::{Compression, Method};
use crate::output;
use crate::pushing::{self, Parcel, Wish};
use crate::report::Failure;
use crate::stop::Stop;
use crate::transfers::Transfers;
use crate::workplace::{Workplace, part_for};

#[derive(Debug, Args)]
pub(crate) struct PushArguments {
    /// Push all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Print nothing but the name
    #[arg(short, long)]
    quiet: bool,
    /// Push only the image for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Compression of layers that were made here
    #[arg(long, value_name = "KIND", default_value = "gzip")]
    compression: Kind,
    /// How hard to compress them: gzip has levels 0 to 9, zstd 0 to 22
    #[arg(long, value_name = "LEVEL")]
    compression_level: Option<u8>,
    /// Compress all layers anew, also those that came from a registry
    #[arg(long)]
    force_compression: bool,
    /// Docker's; nothing is signed here
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    disable_content_trust: Option<bool>,
    /// Name of the image in the registry
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

/// What layers can be compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Every tool reads it
    Gzip,
    /// Smaller and faster; Docker reads it since version 23
    Zstd,
    /// Not at all
    Uncompressed,
}

/// Pushes an image, or all of a repository.
pub(crate) fn run(root: &Path, options: &PushArguments) -> Result<(), Failure> {
    let written = Reference::parse(&options.name)?;
    let compression = match options.compression {
        Kind::Gzip => Compression::Gzip,
        Kind::Zstd => Compression::Zstd,
        Kind::Uncompressed => Compression::None,
    };
    let wish = Wish {
        compression: match options.compression_level {
            Some(level) => Method::at_level(compression, level.into()),
            None => compression.into(),
        },
        is_forced: options.force_compression,
    };
    let platform = options
        .platform
        .as_deref()
        .map(Platform::parse)
        .transpose()?;
    if written.digest().is_some() {
        return Err(Failure::message("cannot push a digest reference"));
    }
    if options.all_tags && written.tag().is_some() {
        return Err(Failure::message("tag can't be used with --all-tags/-a"));
    }
    // Layers may have to be packed from trees, which can hold files of other users.
    let workplace = Workplace::enter(root)?;
    let stop = Stop::new()?;
    let origins = Arc::clone(&workplace.origins);
    stop.on_stop(move || origins.cancel());
    stop.during(None, Instant::now(), || {
        let platform = platform.as_slice();
        push_all(&workplace, &written, &wish, platform, options)
    })
}

fn push_all(
    workplace: &Workplace,
    written: &Reference,
    wish: &Wish,
    platform: &[Platform],
    options: &PushArguments,
) -> Result<(), Failure> {
    let images = find(workplace, written, options)?;
    let transfers = Transfers::new(options.quiet);
    if !options.all_tags && written.tag().is_none() {
        transfers.line("Using default tag: latest");
    }
    transfers.line(&format!(
        "The push refers to repository [{}]",
        written.name()
    ));
    for (name, record) in images {
        let record = part_for(record, platform, &name.familiar())?;
        let parcel = pushing::prepare(workplace, &record, wish)?;
        push(&parcel, &name, &transfers)?;
    }
    drop(transfers);
    if options.quiet {
        let name = if options.all_tags {
            written.familiar()
        } else {
            written.clone().with_default_tag().familiar()
        };
        return output::result(&format!("{name}\n"));
    }
    Ok(())
}

fn find(
    workplace: &Workplace,
    written: &Reference,
    options: &PushArguments,
) -> Result<Vec<(Reference, ImageRecord)>, Failure> {
    let missing = || {
        let name = written.familiar_name();
        Failure::message(format!(
            "An image does not exist locally with the tag: {name}"
        ))
    };
    if !options.all_tags {
        let name = written.clone().with_default_tag();
        let record = workplace.store.image_by_reference(&name)?;
        return Ok(vec![(name, record.ok_or_else(missing)?)]);
    }
    let listed = workplace.store.list_repository(written)?;
    let named = |Listed { reference, record }: Listed| Some((reference?, record));
    let images: Vec<_> = listed.into_iter().filter_map(named).collect();
    if images.is_empty() {
        return Err(missing());
    }
    Ok(images)
}

fn push(parcel: &Parcel<'_>, name: &Reference, transfers: &Transfers) -> Result<(), Failure> {
    let ids: BTreeMap<Digest, String> = parcel
        .order
        .iter()
        .map(|(digest, diff_id)| (*digest, diff_id.0.hex()[..12].to_owned()))
        .collect();
    for (digest, _) in &parcel.order {
        transfers.set(&ids[digest], "Preparing");
    }
    parcel.push(name, &|event| show(&event, &ids, transfers))?;
    transfers.line(&format!(
        "{}: digest: {} size: {}",
        name.tag().unwrap_or_default(),
        parcel.root.digest,
        parcel.root.size
    ));
    if parcel.is_partial {
        output::note(
            "note: not all platforms of the image are here; only those that are were pushed\n",
        );
    }
    Ok(())
}

/// Configurations and attestations have no line.
fn show(event: &PushEvent<'_>, ids: &BTreeMap<Digest, String>, transfers: &Transfers) {
    match event {
        PushEvent::Sent(blob, n_sent) => {
            if let Some(id) = ids.get(&blob.digest) {
                transfers.moved(id, "Pushing", *n_sent, blob.size);
            }
        }
        PushEvent::Placed(blob, placed) => {
            let status = match placed {
                Placed::Exists => "Layer already exists".to_owned(),
                Placed::Mounted(source) => format!("Mounted from {source}"),
                Placed::Uploaded => "Pushed".to_owned(),
            };
            if let Some(id) = ids.get(&blob.digest) {
                transfers.set(id, &status);
            }
        }
        PushEvent::Retrying(blob, _) => {
            if let Some(id) = ids.get(&blob.digest) {
                transfers.set(id, "Retrying");
            }
        }
        _ => {}
    }
}
