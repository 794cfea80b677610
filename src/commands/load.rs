//! `rbuild load`

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::Args;
use rbuild_image::archive::{self, Loaded};
use rbuild_image::record::Retagged;

use crate::environment;
use crate::output;
use crate::report::{Failure, reason};
use crate::workplace::{Workplace, platforms_of};

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// Read from a file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Load only the images for these platforms
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    platform: Vec<String>,
    /// Do not print progress
    #[arg(short, long)]
    quiet: bool,
}

/// Reads images from an archive or an OCI layout.
pub(crate) fn run(root: &Path, options: &LoadArguments) -> Result<(), Failure> {
    let platforms = platforms_of(&options.platform)?;
    let workplace = Workplace::open(root)?;
    let loaded = match &options.input {
        Some(path) if path.is_dir() => archive::load_folder(&workplace.layers, path, &platforms)?,
        Some(path) => {
            let mut file = open(path)?;
            archive::load(&workplace.layers, &mut file, &platforms)?
        }
        None => {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                return Err(Failure::message(
                    "requested load from stdin, but stdin is empty",
                ));
            }
            archive::load(&workplace.layers, stdin, &platforms)?
        }
    };
    for image in &loaded {
        keep(&workplace, image)?;
    }
    Ok(())
}

/// Opens a file that the user names.
pub(super) fn open(path: &Path) -> Result<File, Failure> {
    File::options()
        .read(true)
        .open(path)
        .map_err(|error| Failure::message(format!("open {}: {}", path.display(), reason(&error))))
}

/// Names a loaded image and says so.
fn keep(workplace: &Workplace, image: &Loaded) -> Result<(), Failure> {
    let mut record = image.record.clone();
    record.tagged_at = Some(environment::timestamp());
    let retagged = workplace.layers.publish_image(&record, &image.names)?;
    let mut lines = Vec::new();
    for (name, earlier) in image.names.iter().zip(retagged) {
        let name = name.familiar();
        if let Retagged::Moved(id) = earlier {
            lines.push(format!(
                "The image {name} already exists, renaming the old one with ID {id} to empty string\n"
            ));
        }
        lines.push(format!("Loaded image: {name}\n"));
    }
    if lines.is_empty() {
        lines.push(format!("Loaded image ID: {}\n", record.id));
    }
    output::result(&lines.concat())
}
