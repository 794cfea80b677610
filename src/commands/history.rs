//! `rbuild history`

use std::path::Path;

use clap::{ArgAction, Args};
use rbuild_image::config::History;
use rbuild_template::Value;

use super::images::{seconds, shown_id};
use crate::environment::{local_time, now};
use crate::listing::{Listing, TABLE};
use crate::output;
use crate::progress::clean_text;
use crate::report::Failure;
use crate::table::ellipsis;
use crate::units::{human_age, human_size};
use crate::workplace::{Workplace, variant_for};

/// What was made before 2000 was not made then.
const FIRST_TIME: i64 = 946_684_800;

#[derive(Debug, Args)]
pub(crate) struct HistoryArguments {
    /// Do not shorten the instructions
    #[arg(long)]
    no_trunc: bool,
    /// Show only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Show sizes and times for people
    #[arg(
        short = 'H', long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1,
        require_equals = true, default_value = "true", default_missing_value = "true",
        hide_possible_values = true
    )]
    human: bool,
    /// How a line looks: table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Which platform's image
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Name or ID
    #[arg(value_name = "IMAGE")]
    image: String,
}

const LISTING: Listing = Listing {
    name: "*formatter.historyContext",
    titles: &[
        ("Comment", "COMMENT"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("CreatedSince", "CREATED"),
        ("ID", "IMAGE"),
        ("Size", "SIZE"),
    ],
};

/// Shows how an image came to be, the newest line first.
pub(crate) fn run(root: &Path, options: &HistoryArguments) -> Result<(), Failure> {
    let workplace = Workplace::open(root)?;
    let record = workplace.store.require(&options.image)?.record;
    let image = variant_for(&record, options.platform.as_deref(), &options.image)?;
    let config = workplace.config(image)?;

    let mut layers = config.rootfs.diff_ids.iter();
    let mut sized = Vec::new();
    for line in &config.history {
        let size = match (line.empty_layer, layers.as_slice().first()) {
            (false, Some(layer)) => {
                layers.next();
                workplace.layer_size(layer)?
            }
            _ => 0,
        };
        sized.push((line.clone(), size));
    }
    // Layers that the history does not tell of.
    for layer in layers {
        sized.push((History::default(), workplace.layer_size(layer)?));
    }
    let mut id = shown_id(&image.to_string(), options.no_trunc);
    let mut rows = Vec::new();
    for (line, size) in sized.iter().rev() {
        let shown = std::mem::replace(&mut id, "<missing>".to_owned());
        rows.push(row(line, *size, &shown, options));
    }
    let format = match options.format.as_deref() {
        None | Some("" | TABLE) if options.quiet => "{{.ID}}",
        None | Some("" | TABLE) if options.human => {
            "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
        }
        None | Some("" | TABLE) => {
            "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
        }
        Some(format) => format,
    };
    output::result(&LISTING.show(format, &rows)?)
}

fn row(line: &History, size: u64, id: &str, options: &HistoryArguments) -> Value {
    let created = seconds(line.created.as_deref());
    let at = created.map_or_else(|| "N/A".to_owned(), rfc3339_local);
    let since = match created {
        Some(time) if time > FIRST_TIME => human_age(now() - time),
        _ => "N/A".to_owned(),
    };
    let text = |text: &Option<String>| {
        clean_text(text.as_deref().unwrap_or_default()).replace(['\t', '\n'], " ")
    };
    let by = text(&line.created_by);
    let size = if options.human {
        human_size(size)
    } else {
        size.to_string()
    };
    let cells = [
        &text(&line.comment),
        &at,
        &if options.no_trunc { by } else { ellipsis(&by) },
        if options.human { &since } else { &at },
        id,
        &size,
    ];
    LISTING.row(cells.map(|cell: &str| Value::text(cell)))
}

/// RFC 3339 in the zone of this machine; Greenwich is `Z`.
fn rfc3339_local(time: i64) -> String {
    let text = local_time(time, "%Y-%m-%dT%H:%M:%S%:z");
    text.strip_suffix("+00:00")
        .map_or(text.clone(), |time| format!("{time}Z"))
}
