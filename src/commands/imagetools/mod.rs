//! `rbuild imagetools`: what is in registries, without bringing it here.

mod attestation;
mod create;
mod document;
mod inspect;
mod types;

use clap::Subcommand;
use rbuild_registry::Client;

use crate::bases::Origins;
use crate::output;
use crate::report::Failure;

use create::CreateArguments;
use inspect::InspectArguments;

#[derive(Debug, Subcommand)]
pub(crate) enum ImagetoolsCommand {
    /// Join images of registries under a name, or give one another name
    Create(CreateArguments),
    /// Show what a name in a registry stands for
    Inspect(InspectArguments),
}

/// Runs one of the commands; the store is not touched.
pub(crate) fn run(command: &ImagetoolsCommand) -> Result<(), Failure> {
    let origins = Origins::new();
    let client = origins.client().map_err(Failure::message)?;
    let outcome = dispatch(client, command);
    for warning in origins.take_warnings() {
        output::note(&format!("warning: {warning}\n"));
    }
    outcome
}

fn dispatch(client: &Client, command: &ImagetoolsCommand) -> Result<(), Failure> {
    match command {
        ImagetoolsCommand::Create(options) => create::run(client, options),
        ImagetoolsCommand::Inspect(options) => inspect::run(client, options),
    }
}
