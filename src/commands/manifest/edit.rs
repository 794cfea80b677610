//! `rbuild manifest create`, `annotate`, `push` and `rm`

use clap::Args;
use rbuild_image::digest::Digest;
use rbuild_image::manifest::Document;
use rbuild_image::platform::Platform;
use rbuild_image::reference::Reference;
use rbuild_registry::Client;

use super::inspect::pretty;
use super::lists::{self, Entry, List};
use super::{name_of, resolve};
use crate::output;
use crate::relay::Relay;
use crate::report::Failure;
use crate::workplace::Workplace;

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// Add to a list that is there already
    #[arg(short, long)]
    amend: bool,
    /// Name of the list
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    /// Names of images in registries
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AnnotateArguments {
    /// Set the architecture
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Set the operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// Set what the operating system must have
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    os_features: Vec<String>,
    /// Set the version of the operating system
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,
    /// Set the variant of the architecture
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
    /// Name of the list
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    /// Name of an image in it
    #[arg(value_name = "MANIFEST")]
    manifest: String,
}

#[derive(Debug, Args)]
pub(crate) struct PushArguments {
    /// Forget the list when it is there
    #[arg(short, long)]
    purge: bool,
    /// Name of the list
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
}

#[derive(Debug, Args)]
pub(crate) struct RmArguments {
    /// Names of lists
    #[arg(required = true, value_name = "MANIFEST_LIST")]
    lists: Vec<String>,
}

/// Begins a list, or adds to one.
pub(super) fn create(workplace: &Workplace, options: &CreateArguments) -> Result<(), Failure> {
    let name = name_of(&options.list)?;
    let client = workplace.origins.client().map_err(Failure::message)?;
    let check = |known: &Option<List>| match known {
        Some(_) if !options.amend => Err(Failure::message(
            "refusing to amend an existing manifest list with no --amend flag",
        )),
        _ => Ok(()),
    };
    check(&lists::read(&workplace.store, &name)?)?;
    let entries = options.manifests.iter().map(|text| entry_of(client, text));
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    lists::change(&workplace.store, &name, |known| {
        check(&known)?;
        let mut list = known.unwrap_or_else(|| List::new(&name));
        for entry in entries {
            list.add(entry);
        }
        Ok(list)
    })?;
    output::result(&format!("Created manifest list {name}\n"))
}

fn entry_of(client: &Client, text: &str) -> Result<Entry, Failure> {
    let source = name_of(text)?;
    let found = resolve(client, &source)?;
    let Document::Manifest(manifest) = found.document else {
        return Err(Failure::with_help(
            format!("{source} is a manifest list"),
            "`rbuild imagetools create` joins those too",
        ));
    };
    let mut descriptor = found.descriptor;
    descriptor.platform = Relay::new(client).platform(&source, &manifest)?;
    Ok(Entry {
        source: source.to_string(),
        descriptor,
    })
}

/// Says what an image of a list runs on.
pub(super) fn annotate(workplace: &Workplace, options: &AnnotateArguments) -> Result<(), Failure> {
    let name = name_of(&options.list)?;
    let source = name_of(&options.manifest)?;
    lists::change(&workplace.store, &name, |known| {
        let mut list = known.ok_or_else(|| missing(&name))?;
        let entry = list.entry(&source).ok_or_else(|| {
            Failure::message(format!(
                "manifest for image {source} does not exist in {name}"
            ))
        })?;
        let platform = entry
            .descriptor
            .platform
            .get_or_insert_with(Platform::default);
        let set = |field: &mut String, value: &Option<String>| {
            if let Some(value) = value {
                field.clone_from(value);
            }
        };
        set(&mut platform.architecture, &options.arch);
        set(&mut platform.os, &options.os);
        set(&mut platform.os_version, &options.os_version);
        set(&mut platform.variant, &options.variant);
        if !options.os_features.is_empty() {
            platform.os_features.clone_from(&options.os_features);
        }
        Ok(list)
    })
}

/// Pushes a list, and what its registry lacks of the images in it; prints its digest.
pub(super) fn push(workplace: &Workplace, options: &PushArguments) -> Result<(), Failure> {
    let name = name_of(&options.list)?;
    let list = lists::read(&workplace.store, &name)?.ok_or_else(|| missing(&name))?;
    let client = workplace.origins.client().map_err(Failure::message)?;
    let relay = Relay::new(client);
    let mut places = Vec::new();
    for Entry { source, descriptor } in &list.entries {
        let platform = descriptor.platform.as_ref();
        let is_complete = platform
            .is_some_and(|platform| !platform.os.is_empty() && !platform.architecture.is_empty());
        if !is_complete {
            return Err(Failure::with_help(
                format!(
                    "manifest {source} must have an OS and Architecture to be pushed to a registry"
                ),
                "`rbuild manifest annotate --os OS --arch ARCH` sets them",
            ));
        }
        let source = Reference::parse(source)?;
        relay.note(&descriptor.digest, &source);
        places.push(source.repository());
    }
    let index = list.index();
    let bytes = pretty(&serde_json::to_value(&index)?, b"   ")?;
    relay.name(&name, &index.media_type, bytes.as_bytes(), &places)?;
    if options.purge {
        lists::remove(&workplace.store, &name)?;
    }
    output::result(&format!("{}\n", Digest::of(bytes.as_bytes())))
}

/// Forgets lists; those that are there, even if others are not.
pub(super) fn remove(workplace: &Workplace, options: &RmArguments) -> Result<(), Failure> {
    let mut failure = None;
    for text in &options.lists {
        let name = name_of(text)?;
        if !lists::remove(&workplace.store, &name)? {
            failure.get_or_insert_with(|| missing(&name));
        }
    }
    failure.map_or(Ok(()), Err)
}

fn missing(name: &Reference) -> Failure {
    Failure::message(format!("no such manifest: {name}"))
}
