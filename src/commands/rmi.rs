//! `rbuild rmi`

use std::path::Path;

use clap::Args;
use rbuild_image::error::ImageError;
use rbuild_image::record::{Force, Removal};

use crate::output;
use crate::report::Failure;
use crate::workplace::{Workplace, part_for, platforms_of};

#[derive(Debug, Args)]
pub(crate) struct RmiArguments {
    /// Remove an ID with several names, and do not fail for missing images
    #[arg(short, long)]
    force: bool,
    /// Parents of images are never there to be removed
    #[arg(long, hide = true)]
    no_prune: bool,
    /// Remove only what the images have for these platforms
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',')]
    platform: Vec<String>,
    /// Names or IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Removes images; goes on after one that cannot be removed.
pub(crate) fn run(root: &Path, options: &RmiArguments) -> Result<(), Failure> {
    let platforms = platforms_of(&options.platform)?;
    let workplace = Workplace::open(root)?;
    let force = if options.force { Force::Yes } else { Force::No };
    let mut failures = Vec::new();
    for image in &options.images {
        // Layers belong to the build cache as well: a record may lead to each of them.
        let removed = if platforms.is_empty() {
            workplace.store.remove_image(image, force, &|_| true)
        } else {
            let store = &workplace.store;
            let found = store.require(image);
            if let Ok(found) = &found
                && let Err(failure) = part_for(found.record.clone(), &platforms, image)
            {
                failures.push(failure);
                continue;
            }
            found.and_then(|_| store.remove_platforms(image, &platforms, &|_| true))
        };
        match removed {
            Ok(removals) => output::result(&lines(&removals))?,
            Err(error @ ImageError::NoSuchImage { .. }) if options.force => {
                output::note(&Failure::from(error).render());
            }
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
