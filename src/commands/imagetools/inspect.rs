//! `rbuild imagetools inspect`

use clap::Args;
use rbuild_image::manifest::{Descriptor, Document};
use rbuild_image::reference::Reference;
use rbuild_registry::{Client, Resolved};

use super::document::{LISTING, formatted};
use crate::output;
use crate::progress::clean_text;
use crate::report::Failure;

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// How it looks: a Go template with .Name, .Manifest, .Image, .Provenance and .SBOM
    #[arg(long, value_name = "FORMAT", conflicts_with = "raw")]
    format: Option<String>,
    /// Print the manifest or index as the registry has it
    #[arg(long)]
    raw: bool,
    /// Name in the registry
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

/// Shows what a name in a registry stands for.
pub(crate) fn run(client: &Client, options: &InspectArguments) -> Result<(), Failure> {
    let reference = Reference::parse(&options.name)?.with_default_tag();
    let found = client.resolve(&reference)?;
    if options.raw {
        return output::result(&String::from_utf8_lossy(&found.bytes));
    }
    match options.format.as_deref() {
        None | Some("" | LISTING) => {}
        Some(format) => {
            let name = &options.name;
            return output::result(&formatted(client, name, &reference, &found, format)?);
        }
    }
    output::result(&described(&reference, &found))
}

fn described(reference: &Reference, found: &Resolved) -> String {
    let head = rows_of(&reference.to_string(), &found.descriptor, "");
    let mut text = lined_up(&head);
    let Document::Index(index) = &found.document else {
        return text;
    };
    text.push_str(&lined_up(&[
        Row::cells("", ""),
        Row::cells("Manifests:", ""),
    ]));
    let mut rows = Vec::new();
    for (place, entry) in index.manifests.iter().enumerate() {
        if place > 0 {
            rows.push(Row::cells("", ""));
        }
        let name = Reference {
            digest: Some(entry.digest),
            ..reference.clone()
        };
        rows.extend(rows_of_entry(&name.to_string(), entry));
    }
    text.push_str(&lined_up(&rows));
    text
}

fn rows_of(name: &str, descriptor: &Descriptor, indent: &str) -> Vec<Row> {
    let mut rows = vec![
        Row::cells(&format!("{indent}Name:"), name),
        Row::cells(&format!("{indent}MediaType:"), &descriptor.media_type),
    ];
    if indent.is_empty() {
        rows.push(Row::cells("Digest:", &descriptor.digest.to_string()));
    }
    rows
}

fn rows_of_entry(name: &str, entry: &Descriptor) -> Vec<Row> {
    let mut rows = rows_of(name, entry, "  ");
    if let Some(platform) = &entry.platform {
        rows.push(Row::cells("  Platform:", &platform.to_string()));
        if !platform.os_version.is_empty() {
            rows.push(Row::cells("  OSVersion:", &platform.os_version));
        }
        if !platform.os_features.is_empty() {
            let features = platform.os_features.join(", ");
            rows.push(Row::cells("  OSFeatures:", &features));
        }
    }
    if !entry.urls.is_empty() {
        rows.push(Row::cells("  URLs:", &entry.urls.join(", ")));
    }
    if !entry.annotations.is_empty() {
        rows.push(Row::cells("  Annotations:", ""));
        let annotations = entry.annotations.iter();
        let inner: Vec<Row> = annotations
            .map(|(key, value)| Row::cells(&format!("    {key}:"), value))
            .collect();
        let lines = lined_up(&inner);
        rows.extend(lines.lines().map(|line| Row::Line(line.to_owned())));
    }
    rows
}

/// A line of the listing.
enum Row {
    /// A label, padded, and what is behind it.
    Cells(String, String),
    /// A line that stands between others and ends their columns.
    Line(String),
}

impl Row {
    /// What a registry says has no control sequences and no line ends here.
    fn cells(label: &str, value: &str) -> Self {
        let clean = |text: &str| clean_text(text).replace(['\t', '\n'], " ");
        Self::Cells(clean(label), clean(value))
    }
}

/// Pads labels to the longest of those that stand together, and a blank.
fn lined_up(rows: &[Row]) -> String {
    let mut text = String::new();
    for block in rows.chunk_by(|a, b| matches!((a, b), (Row::Cells(..), Row::Cells(..)))) {
        let label_width = |row: &Row| match row {
            Row::Cells(label, _) => label.chars().count(),
            Row::Line(_) => 0,
        };
        let width = block.iter().map(label_width).max().unwrap_or(0);
        for row in block {
            let line = match row {
                Row::Cells(label, value) => format!("{label:width$} {value}\n"),
                Row::Line(line) => format!("{line}\n"),
            };
            text.push_str(&line);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_end_a_column() {
        let rows = [
            Row::cells("  Name:", "a"),
            Row::cells("  Annotations:", ""),
            Row::Line("    k: v".to_owned()),
            Row::cells("", ""),
            Row::cells("  Name:", "b\u{1b}[2J\nc"),
        ];
        let expected = "  Name:        a\n  Annotations: \n    k: v\n        \n  Name: b c\n";
        assert_eq!(lined_up(&rows), expected);
    }
}
