//! `rbuild manifest`: lists of images that are prepared here and then pushed, as Docker has them.

mod edit;
mod inspect;
mod lists;

use std::path::Path;

use clap::Subcommand;
use rbuild_image::reference::Reference;
use rbuild_registry::{Client, RegistryError, Resolved};

use crate::output;
use crate::report::Failure;
use crate::workplace::Workplace;

use edit::{AnnotateArguments, CreateArguments, PushArguments, RmArguments};
use inspect::InspectArguments;

#[derive(Debug, Subcommand)]
pub(crate) enum ManifestCommand {
    /// Say what an image of a list runs on
    Annotate(AnnotateArguments),
    /// Begin a list of images that are in registries
    Create(CreateArguments),
    /// Print a manifest, an index, or a list
    Inspect(InspectArguments),
    /// Bring a list to its registry
    Push(PushArguments),
    /// Forget lists
    Rm(RmArguments),
}

/// Runs one of the commands.
pub(crate) fn run(root: &Path, command: &ManifestCommand) -> Result<(), Failure> {
    let workplace = Workplace::open(root)?;
    let outcome = match command {
        ManifestCommand::Annotate(options) => edit::annotate(&workplace, options),
        ManifestCommand::Create(options) => edit::create(&workplace, options),
        ManifestCommand::Inspect(options) => inspect::run(&workplace, options),
        ManifestCommand::Push(options) => edit::push(&workplace, options),
        ManifestCommand::Rm(options) => edit::remove(&workplace, options),
    };
    for warning in workplace.origins.take_warnings() {
        output::note(&format!("warning: {warning}\n"));
    }
    outcome
}

fn name_of(text: &str) -> Result<Reference, Failure> {
    Ok(Reference::parse(text)?.with_default_tag())
}

/// Asks the registry, with Docker's words for what is not there.
fn resolve(client: &Client, reference: &Reference) -> Result<Resolved, Failure> {
    client.resolve(reference).map_err(|error| match error {
        RegistryError::NotFound { .. } => {
            Failure::message(format!("no such manifest: {reference}"))
        }
        error => error.into(),
    })
}
