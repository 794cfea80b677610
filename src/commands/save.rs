//! `rbuild save`

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use rbuild_image::archive::{ArchiveImage, Durability, Output, export_target, save, write_file};
use rbuild_image::manifest::Descriptor;
use rbuild_image::record::{Found, ImageRecord, Listed};
use rbuild_image::reference::Reference;

use crate::manifests::{self, Compression};
use crate::report::{Failure, reason};
use crate::workplace::{Workplace, part_for, platforms_of};

#[derive(Debug, Args)]
pub(crate) struct SaveArguments {
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only the images for these platforms
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    platform: Vec<String>,
    /// Names or IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Writes images to an archive that every tool loads.
pub(crate) fn run(root: &Path, options: &SaveArguments) -> Result<(), Failure> {
    if options.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::message(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    if let Some(path) = &options.output {
        check_folder(path)?;
    }
    let platforms = platforms_of(&options.platform)?;
    // Trees may hold files of other users of the namespace that made them.
    let _entered = rbuild_sandbox::enter(rbuild_sandbox::Isolation::default());
    let workplace = Workplace::open(root)?;
    let mut images: Vec<ArchiveImage> = Vec::new();
    for name in &options.images {
        for (names, record) in find(&workplace, name)? {
            let record = part_for(record, &platforms, name)?;
            let target = target(&workplace, &record)?;
            match images
                .iter_mut()
                .find(|image| image.target.digest == target.digest)
            {
                Some(image) => image.names.extend(names),
                None => images.push(ArchiveImage { target, names }),
            }
        }
    }
    match &options.output {
        Some(path) => write_file(path, Durability::Synced, |out| {
            save(&workplace.store, &images, out)
        })?,
        None => {
            let mut stdout = std::io::stdout().lock();
            save(&workplace.store, &images, &mut Output::Stream(&mut stdout))?;
        }
    }
    Ok(())
}

/// What cannot be written is known before anything is read.
fn check_folder(path: &Path) -> Result<(), Failure> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            fs_err::metadata(folder).map(drop).map_err(|error| {
                Failure::message(format!(
                    "failed to save image: invalid output path: stat {}: {}",
                    folder.display(),
                    reason(&error)
                ))
            })
        }
        _ => Ok(()),
    }
}

/// A name without a tag means the whole repository; an ID an image without a name.
fn find(workplace: &Workplace, text: &str) -> Result<Vec<(Vec<Reference>, ImageRecord)>, Failure> {
    let Some(Found { record, reference }) = workplace.store.resolve(text)? else {
        let repository = Reference::parse(text)?;
        let is_bare = repository.tag().is_none() && repository.digest().is_none();
        let listed = if is_bare {
            workplace.store.list_repository(&repository)?
        } else {
            Vec::new()
        };
        if listed.is_empty() {
            return Err(Failure::message(format!("No such image: {text}")));
        }
        return Ok(named(listed));
    };
    let Some(reference) = reference else {
        return Ok(vec![(Vec::new(), record)]);
    };
    let written = Reference::parse(text)?;
    if written.tag().is_some() || written.digest().is_some() {
        return Ok(vec![(vec![reference], record)]);
    }
    let listed = workplace.store.list_repository(&reference)?;
    Ok(named(listed))
}

fn named(listed: Vec<Listed>) -> Vec<(Vec<Reference>, ImageRecord)> {
    listed
        .into_iter()
        .map(|entry| (entry.reference.into_iter().collect(), entry.record))
        .collect()
}

/// The manifest or index of an image, with all of its blobs in the store.
fn target(workplace: &Workplace, record: &ImageRecord) -> Result<Descriptor, Failure> {
    let has_manifests = record.images.iter().all(|image| image.manifest.is_some());
    if has_manifests {
        workplace.bring_blobs(record)?;
        return Ok(export_target(&workplace.store, record, &[])?);
    }
    let configs: Vec<_> = record.images.iter().map(|image| image.config).collect();
    manifests::make(workplace, &configs, Compression::None)
}
