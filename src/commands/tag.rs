//! `rbuild tag`

use std::path::Path;

use clap::Args;
use rbuild_image::reference::Reference;

use crate::environment::timestamp;
use crate::report::Failure;
use crate::workplace::Workplace;

#[derive(Debug, Args)]
pub(crate) struct TagArguments {
    /// Name or ID
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    /// The new name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

/// Gives an image another name.
pub(crate) fn run(root: &Path, options: &TagArguments) -> Result<(), Failure> {
    let workplace = Workplace::open(root)?;
    let target = parse_target(&options.target)?;
    let mut record = workplace.store.require(&options.source)?.record;
    record.tagged_at = Some(timestamp());
    workplace.store.tag(&target, &record)?;
    Ok(())
}

/// Reads the name to give, with the errors that `docker tag` has.
fn parse_target(text: &str) -> Result<Reference, Failure> {
    let invalid = |reason: String| {
        let head = format!("Error parsing reference: \"{text}\" is not a valid repository/tag");
        Failure::message(format!("{head}: {reason}"))
    };
    let reference = Reference::parse(text).map_err(|error| invalid(error.to_string()))?;
    if reference.digest().is_some() {
        return Err(Failure::message(
            "refusing to create a tag with a digest reference",
        ));
    }
    Ok(reference.with_default_tag())
}

/// Reads a name that an image is to have.
pub(crate) fn parse_tag(text: &str) -> Result<Reference, Failure> {
    let invalid = |reason: String| Failure::Usage(format!("invalid tag \"{text}\": {reason}"));
    let reference = Reference::parse(text).map_err(|error| invalid(error.to_string()))?;
    if reference.digest().is_some() {
        return Err(invalid("a tag cannot have a digest".to_owned()));
    }
    Ok(reference.with_default_tag())
}
