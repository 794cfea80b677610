//! `rbuild history`

use std::path::Path;

use clap::Args;
use rbuild_image::config::ImageConfig;

use super::images::{seconds, shown_id};
use crate::environment::now;
use crate::output;
use crate::progress::clean_text;
use crate::report::Failure;
use crate::table::{human_age, human_size, table};
use crate::workplace::Workplace;

#[derive(Debug, Args)]
pub(crate) struct HistoryArguments {
    /// Do not shorten the instructions
    #[arg(long)]
    no_trunc: bool,
    /// Show only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Name or ID
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Longest instruction shown, in characters.
const WIDTH: usize = 45;

/// Shows how an image came to be, the newest line first.
pub(crate) fn run(root: &Path, options: &HistoryArguments) -> Result<(), Failure> {
    let workplace = Workplace::open(root)?;
    let found = workplace.store.require(&options.image)?;
    let config: ImageConfig = workplace.config(&found.record.id)?;
    let id = shown_id(&found.record.id.to_string(), options.no_trunc);

    let mut layers = config.rootfs.diff_ids.iter();
    let mut rows = Vec::new();
    for line in &config.history {
        let size = match (line.empty_layer, layers.as_slice().first()) {
            (false, Some(layer)) => {
                layers.next();
                workplace.layer_size(layer)?
            }
            _ => 0,
        };
        let created = seconds(line.created.as_deref());
        let by =
            clean_text(line.created_by.as_deref().unwrap_or_default()).replace(['\t', '\n'], " ");
        rows.push(vec![
            "<missing>".to_owned(),
            created.map_or_else(|| "N/A".to_owned(), |time| human_age(now() - time)),
            if options.no_trunc { by } else { shorten(&by) },
            human_size(size),
            clean_text(line.comment.as_deref().unwrap_or_default()),
        ]);
    }
    rows.reverse();
    if let Some(first) = rows.first_mut() {
        first[0] = id;
    }
    if options.quiet {
        let ids: String = rows.iter().map(|row| format!("{}\n", row[0])).collect();
        return output::result(&ids);
    }
    output::result(&table(
        &["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"],
        &rows,
    ))
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    text.chars().take(WIDTH - 1).chain(['…']).collect()
}
