//! `rbuild import`

mod changes;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read};
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use rbuild_image::archive::{ImportOptions, import};
use rbuild_image::config::ImageConfig;
use rbuild_image::platform::Platform;
use rbuild_image::reference::Reference;
use rbuild_planner::remote::{HttpSource, mask_logins};

use super::load::open;
use crate::fetching::Fetching;
use crate::report::Failure;
use crate::stop::Stop;
use crate::workplace::Workplace;
use crate::{context, environment, output, planning};

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// Apply an instruction of a Dockerfile to the config
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Set a commit message
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Tar file, which may be compressed, its URL, or `-` for standard input
    #[arg(value_name = "FILE|URL|-")]
    file: OsString,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

/// Makes an image with one layer of the tar of a root file system, and prints its ID.
pub(crate) fn run(root: &Path, options: &ImportArguments) -> Result<(), Failure> {
    let name = options.name.as_deref().map(name_of).transpose()?;
    let platform = match &options.platform {
        Some(platform) => Platform::parse(platform)?.normalized(),
        None => Platform::host(),
    };
    let run_config = changes::apply(&options.change, &platform)?;
    let workplace = Workplace::open(root)?;
    let created =
        planning::environment_epoch()?.map_or_else(environment::timestamp, environment::rfc3339);
    let config = ImageConfig {
        created: Some(created),
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: Some(platform.variant).filter(|variant| !variant.is_empty()),
        config: run_config,
        ..ImageConfig::default()
    };
    let from = url(options).map_or_else(|| "-".to_owned(), mask_logins);
    let message = options.message.clone();
    let message = message.unwrap_or_else(|| format!("Imported from {from}"));
    let settings = ImportOptions { config, message };
    let mut record = import(&workplace.layers, input(root, options)?, settings)?;
    record.tagged_at = Some(environment::timestamp());
    workplace.layers.publish_image(&record, name.as_slice())?;
    output::result(&format!("{}\n", record.id))
}

fn url(options: &ImportArguments) -> Option<&str> {
    let text = options.file.to_str()?;
    let is_url = ["http://", "https://"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    is_url.then_some(text)
}

fn input(root: &Path, options: &ImportArguments) -> Result<Box<dyn Read + Send>, Failure> {
    if let Some(url) = url(options) {
        let invalid =
            |problem| Failure::message(format!("invalid URL {}: {problem}", mask_logins(url)));
        let source = HttpSource::parse(url, None).map_err(invalid)?;
        let fetching = Fetching::new(root, Arc::default(), Stop::new()?);
        let fetched = fetching.open_file(&source);
        let (file, _) = fetched.map_err(|error| context::failure(&error))?;
        return Ok(Box::new(file));
    }
    if options.file == "-" {
        if std::io::stdin().is_terminal() {
            return Err(Failure::message("nothing was piped into standard input"));
        }
        return Ok(Box::new(std::io::stdin()));
    }
    Ok(Box::new(open(Path::new(&options.file))?))
}

/// The name that the image gets.
fn name_of(text: &str) -> Result<Reference, Failure> {
    let name = Reference::parse(text)?;
    if name.digest().is_some() {
        return Err(Failure::message("cannot import digest reference"));
    }
    Ok(name.with_default_tag())
}
