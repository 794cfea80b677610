//! `rbuild diff`

mod config;
mod json;
mod text;

use std::path::Path;

use clap::{Args, ValueEnum};
use rbuild_image::analysis::{Difference, Times, differences};
use rbuild_image::layer::Rootfs;
use rbuild_image::platform::Platform;

use crate::opened::{OpenedImage, open};
use crate::output;
use crate::report::Failure;
use crate::shown_path::shown_path;
use crate::workplace::Workplace;
use config::Setting;

#[derive(Debug, Args)]
pub(crate) struct DiffArguments {
    /// Platform of the images; given twice, that of the first and that of the second
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    platform: Vec<String>,
    /// How the differences are printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: DiffFormat,
    /// Compare files; without --files, --config and --layers everything is compared
    #[arg(long)]
    files: bool,
    /// Compare the settings of containers
    #[arg(long)]
    config: bool,
    /// Compare layers and their sizes
    #[arg(long)]
    layers: bool,
    /// Print only the paths of files that differ
    #[arg(long, conflicts_with_all = ["config", "layers", "format"])]
    name_only: bool,
    /// Compare modification times of files too
    #[arg(long)]
    times: bool,
    /// End with 1 if files or settings differ
    #[arg(long)]
    exit_code: bool,
    /// Name or ID
    #[arg(value_name = "IMAGE")]
    before: String,
    /// Name or ID of the image to compare with
    #[arg(value_name = "IMAGE")]
    after: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DiffFormat {
    /// For people
    Text,
    /// One document
    Json,
}

/// Two images and how they differ. What was not asked for is `None`.
struct Comparison<'a> {
    before: &'a OpenedImage,
    after: &'a OpenedImage,
    settings: Option<Vec<Setting>>,
    files: Option<Vec<Difference>>,
    layers: bool,
}

/// Shows how two images differ.
pub(crate) fn run(root: &Path, options: &DiffArguments) -> Result<(), Failure> {
    let (of_before, of_after) = platforms(&options.platform)?;
    let workplace = Workplace::open(root)?;
    let images = open(
        &workplace,
        &[
            (&options.before, of_before.as_ref()),
            (&options.after, of_after.as_ref()),
        ],
    )?;
    let [before, after] = &images[..] else {
        return Ok(());
    };
    let all = !(options.files || options.config || options.layers);
    let trees = [before, after].map(|image| Rootfs::new(image.layers.clone()));
    let times = if options.times {
        Times::Compare
    } else {
        Times::Ignore
    };
    let with_files = all || options.files || options.name_only;
    let with_settings = (all || options.config) && !options.name_only;
    let found = Comparison {
        before,
        after,
        settings: with_settings.then(|| config::differences(&before.config, &after.config)),
        files: with_files.then(|| differences(&trees[0], &trees[1], times).collect()),
        layers: all || options.layers,
    };
    output::result(&match options.format {
        _ if options.name_only => names(&found),
        DiffFormat::Json => json::document(&found)?,
        DiffFormat::Text => text::render(&found),
    })?;
    if options.exit_code && !found.is_equal() {
        return Err(Failure::Silent);
    }
    Ok(())
}

impl Comparison<'_> {
    /// Reports whether neither files nor settings differ, as far as they were compared.
    fn is_equal(&self) -> bool {
        let files = self.files.as_ref().is_none_or(Vec::is_empty);
        files && self.settings.as_ref().is_none_or(Vec::is_empty)
    }
}

fn names(found: &Comparison<'_>) -> String {
    let files = found.files.iter().flatten();
    files
        .map(|file| format!("{}\n", shown_path(file.path())))
        .collect()
}

/// The platforms of the first and of the second image.
fn platforms(texts: &[String]) -> Result<(Option<Platform>, Option<Platform>), Failure> {
    match texts {
        [] => Ok((None, None)),
        [both] => {
            let platform = Platform::parse(both)?;
            Ok((Some(platform.clone()), Some(platform)))
        }
        [before, after] => Ok((
            Some(Platform::parse(before)?),
            Some(Platform::parse(after)?),
        )),
        _ => Err(Failure::Usage(
            "there are two images, so --platform may be given twice at most".to_owned(),
        )),
    }
}
