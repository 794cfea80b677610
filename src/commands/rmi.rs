//! `rbuild rmi`

use std::path::Path;

use clap::Args;
use rbuild_image::error::ImageError;
use rbuild_image::record::{Force, Removal};

use crate::output;
use crate::report::Failure;
use crate::workplace::Workplace;

#[derive(Debug, Args)]
pub(crate) struct RmiArguments {
    /// Remove an ID with several names, and do not fail for missing images
    #[arg(short, long)]
    force: bool,
    /// Parents of images are never there to be removed
    #[arg(long, hide = true)]
    no_prune: bool,
    /// Names or IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Removes images; goes on after one that cannot be removed.
pub(crate) fn run(root: &Path, options: &RmiArguments) -> Result<(), Failure> {
    let workplace = Workplace::open(root)?;
    let force = if options.force { Force::Yes } else { Force::No };
    let mut failures = Vec::new();
    for image in &options.images {
        // Layers belong to the build cache as well: a record may lead to each of them.
        match workplace.store.remove_image(image, force, &|_| true) {
            Ok(removals) => output::result(&lines(&removals))?,
            Err(ImageError::NoSuchImage { .. }) if options.force => {}
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    let Some(last) = failures.pop() else {
        return Ok(());
    };
    for failure in &failures {
        output::note(&failure.render());
    }
    Err(last)
}

fn lines(removals: &[Removal]) -> String {
    let line = |removal: &Removal| match removal {
        Removal::Untagged(reference) => format!("Untagged: {}\n", reference.familiar()),
        Removal::Deleted(digest) => format!("Deleted: {digest}\n"),
    };
    removals.iter().map(line).collect()
}
