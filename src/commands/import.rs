//! `rbuild import`

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::Path;

use clap::Args;
use rbuild_image::archive::{ImportOptions, import};
use rbuild_image::config::ImageConfig;
use rbuild_image::platform::Platform;

use super::tag::parse_tag;
use crate::report::Failure;
use crate::workplace::Workplace;
use crate::{environment, output, planning};

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// Set a commit message
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Tar file, or `-` for standard input
    #[arg(value_name = "FILE|-")]
    file: OsString,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

/// Makes an image with one layer of the tar of a root file system, and prints its ID.
pub(crate) fn run(root: &Path, options: &ImportArguments) -> Result<(), Failure> {
    let name = options.name.as_deref().map(parse_tag).transpose()?;
    let platform = match &options.platform {
        Some(platform) => Platform::parse(platform)?.normalized(),
        None => Platform::host(),
    };
    let workplace = Workplace::open(root)?;
    let created =
        planning::environment_epoch()?.map_or_else(environment::timestamp, environment::rfc3339);
    let config = ImageConfig {
        created: Some(created),
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: Some(platform.variant).filter(|variant| !variant.is_empty()),
        ..ImageConfig::default()
    };
    let message = options
        .message
        .clone()
        .unwrap_or_else(|| "Imported from -".to_owned());
    let settings = ImportOptions { config, message };
    let mut record = import(&workplace.layers, input(options)?, settings)?;
    record.tagged_at = Some(environment::timestamp());
    workplace.layers.publish_image(&record, name.as_slice())?;
    output::result(&format!("{}\n", record.id))
}

fn input(options: &ImportArguments) -> Result<Box<dyn Read + Send>, Failure> {
    if options.file == "-" {
        if std::io::stdin().is_terminal() {
            return Err(Failure::message("nothing was piped into standard input"));
        }
        return Ok(Box::new(std::io::stdin()));
    }
    let path = Path::new(&options.file);
    let file = File::options()
        .read(true)
        .open(path)
        .map_err(|error| Failure::message(format!("open {}: {error}", path.display())))?;
    Ok(Box::new(file))
}
