//! `rbuild export`

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use rbuild_executor::{Part, export_tar};

use crate::destination::Place;
use crate::export::to_place;
use crate::report::Failure;
use crate::workplace::{Workplace, variant_for};

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Which platform's image
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Name or ID
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Writes the files of an image, as a step on it would find them, as one tar.
pub(crate) fn run(root: &Path, options: &ExportArguments) -> Result<(), Failure> {
    let place = match &options.output {
        Some(path) => Place::File(path.clone()),
        None => Place::Stdout,
    };
    if place == Place::Stdout && std::io::stdout().is_terminal() {
        return Err(Failure::message(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    // Trees may hold files of other users of the namespace that made them.
    let workplace = Workplace::enter(root)?;
    let found = workplace.store.require(&options.image)?;
    let platform = options.platform.as_deref();
    let config = workplace.config(variant_for(&found.record, platform, &options.image)?)?;
    let layers = &config.rootfs.diff_ids;
    for layer in layers {
        workplace.layers.hold(layer)?;
    }
    let part = Part {
        layers,
        prefix: "",
        name: &options.image,
    };
    to_place(&place, "tar", |sink| {
        Ok(export_tar(&workplace.layers, &[part], None, sink)?)
    })
}
