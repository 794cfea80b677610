//! `rbuild analyze`

mod json;
mod limits;
mod listing;
mod text;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use rbuild_image::analysis::{Analysis, Listing, analyze};
use rbuild_image::platform::Platform;

use crate::opened::{OpenedImage, open};
use crate::output;
use crate::report::Failure;
use crate::workplace::Workplace;
use limits::{LimitArguments, Verdict};

pub(crate) use listing::mode;

#[derive(Debug, Args)]
pub(crate) struct AnalyzeArguments {
    /// Platform of the image
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// How the findings are printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: AnalyzeFormat,
    /// Write the findings to a file as JSON, with dive's fields and more
    #[arg(short, long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show what is in one layer, the base being 0
    #[arg(long, value_name = "N")]
    layer: Option<usize>,
    /// How many lines a list has at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    #[command(flatten)]
    limits: LimitArguments,
    /// Name or ID, or a file: docker-archive://FILE, oci-archive:FILE, oci:FOLDER or a path
    #[arg(value_name = "IMAGE")]
    image: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AnalyzeFormat {
    /// For people
    Text,
    /// One document with dive's fields and more
    Json,
}

/// An image and what was found in it.
struct Report<'a> {
    image: &'a OpenedImage,
    analysis: Analysis<'a>,
    /// For each layer.
    instructions: Vec<String>,
    /// The entries of its layers.
    listings: &'a [Listing],
    /// The layer that was asked for.
    layer: Option<usize>,
    /// Lines a list has at most.
    top: usize,
    verdict: Option<Verdict>,
}

/// Shows what an image's layers hold, what of it is wasted and why.
pub(crate) fn run(root: &Path, options: &AnalyzeArguments) -> Result<(), Failure> {
    let limits = options.limits.read()?;
    let platform = options
        .platform
        .as_deref()
        .map(Platform::parse)
        .transpose()?;
    let workplace = Workplace::open(root)?;
    let images = open(&workplace, &[(&options.image, platform.as_ref())])?;
    let Some(image) = images.first() else {
        return Ok(());
    };
    check_layer(image, options.layer)?;
    let listings: Vec<Listing> = image.layers.iter().map(|layer| (&**layer).into()).collect();
    let analysis = analyze(&listings, options.layer);
    let report = Report {
        image,
        listings: &listings,
        verdict: limits.map(|limits| limits.judge(&analysis)),
        analysis,
        instructions: image.instructions(),
        layer: options.layer,
        top: options.top,
    };
    if let Some(file) = &options.json {
        fs_err::write(file, json::document(&report)?)?;
    }
    match (options.format, report.layer) {
        (AnalyzeFormat::Json, _) => output::result(&json::document(&report)?)?,
        (AnalyzeFormat::Text, Some(layer)) => output::result(&listing::render(&report, layer))?,
        (AnalyzeFormat::Text, None) => output::result(&text::render(&report))?,
    }
    let Some(verdict) = &report.verdict else {
        return Ok(());
    };
    match options.format {
        AnalyzeFormat::Json => output::note(&verdict.render()),
        AnalyzeFormat::Text => output::result(&format!("\n{}", verdict.render()))?,
    }
    if verdict.is_pass() {
        Ok(())
    } else {
        Err(Failure::Silent)
    }
}

fn check_layer(image: &OpenedImage, layer: Option<usize>) -> Result<(), Failure> {
    let n_layers = image.layers.len();
    match layer {
        Some(layer) if layer >= n_layers => Err(Failure::with_help(
            format!("{}: there is no layer {layer}", image.name),
            match n_layers {
                0 => "the image has no layers".to_owned(),
                _ => format!("the layers are 0 (the base) to {}", n_layers - 1),
            },
        )),
        _ => Ok(()),
    }
}
