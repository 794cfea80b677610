//! `rbuild images --tree`: what each image has for which platform.

use rbuild_image::digest::Digest;
use rbuild_image::manifest::{Descriptor, Document, Index, MAX_MANIFEST_BYTES};
use rbuild_image::media::Kind;
use rbuild_image::record::{ImageRecord, PlatformImage};
use rbuild_image::reference::Reference;
use unicode_width::UnicodeWidthStr as _;

use super::images::shown_id;
use crate::inventory::StoredImage;
use crate::progress::clean_text;
use crate::report::Failure;
use crate::units::human_size;
use crate::workplace::Workplace;

const TITLES: [&str; 5] = ["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"];
/// Columns have their titles' widths but for the names and the IDs.
const ID_WIDTH: usize = 12;
/// What stands before the platform of a part, and before the last one.
const BRANCHES: [&str; 2] = ["├─", "└─"];
/// The letter for a platform whose image somebody vouches for.
const ATTESTED: &str = "A";

/// A line: name, ID, two sizes, letters.
type Row = [String; 5];

/// Lists images by name, each with its platforms below it, in Docker's columns.
pub(crate) fn show(workplace: &Workplace, images: &[StoredImage]) -> Result<String, Failure> {
    let mut named: Vec<(String, &StoredImage)> = Vec::new();
    for image in images {
        let names = image.tags.iter().map(Reference::familiar);
        named.extend(names.map(|name| (name, image)));
        if image.tags.is_empty() {
            named.push(("<untagged>".to_owned(), image));
        }
    }
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let mut blocks = Vec::new();
    for (name, image) in named {
        blocks.push(block(workplace, &name, &image.record)?);
    }
    Ok(lined_up(&blocks))
}

/// An image and its platforms.
fn block(workplace: &Workplace, name: &str, record: &ImageRecord) -> Result<Vec<Row>, Failure> {
    let parts = parts(workplace, record)?;
    let disk = parts.iter().map(|part| part.disk).sum();
    let content = parts.iter().map(|part| part.content).sum();
    let line = |name: String, id: &Digest, disk, content, extra: &str| {
        let id = shown_id(&id.to_string(), false);
        [
            name,
            id,
            human_size(disk),
            human_size(content),
            extra.to_owned(),
        ]
    };
    let mut rows = vec![line(clean_text(name), &record.id, disk, content, "")];
    for (place, part) in parts.iter().enumerate() {
        let branch = BRANCHES[usize::from(place + 1 == parts.len())];
        let name = format!("{branch} {}", clean_text(&part.platform));
        let extra = if part.is_attested { ATTESTED } else { "" };
        rows.push(line(name, &part.id, part.disk, part.content, extra));
    }
    Ok(rows)
}

/// What an image has for a platform.
struct Part {
    platform: String,
    id: Digest,
    disk: u64,
    content: u64,
    is_attested: bool,
}

/// The platforms of an index in its order, those that are not here with nothing; else those that
/// were built.
fn parts(workplace: &Workplace, record: &ImageRecord) -> Result<Vec<Part>, Failure> {
    let index = match &record.index {
        Some(index) => document(workplace, index)?,
        None => None,
    };
    let index = match index {
        Some(Document::Index(index)) => Some(index),
        _ => None,
    };
    let mut parts = Vec::new();
    let has = |digest: &Digest| {
        let mut images = record.images.iter();
        images.any(|image| {
            image
                .manifest
                .as_ref()
                .is_some_and(|found| found.digest == *digest)
        })
    };
    let is_manifest = |entry: &&Descriptor| Kind::of(&entry.media_type) == Some(Kind::Manifest);
    for entry in index.iter().flat_map(Index::images).filter(is_manifest) {
        if let (false, Some(platform)) = (has(&entry.digest), &entry.platform) {
            parts.push((
                entry.digest,
                Part {
                    platform: platform.to_string(),
                    id: entry.digest,
                    disk: 0,
                    content: 0,
                    is_attested: false,
                },
            ));
        }
    }
    for image in &record.images {
        let (disk, content) = sizes(workplace, image)?;
        let manifest = image.manifest.as_ref().map(|manifest| manifest.digest);
        let id = manifest.unwrap_or(image.config);
        parts.push((
            id,
            Part {
                platform: image.platform.to_string(),
                id,
                disk,
                content,
                is_attested: false,
            },
        ));
    }
    if let Some(index) = &index {
        let place = |digest: &Digest| index.manifests.iter().position(|e| e.digest == *digest);
        parts.sort_by_key(|(digest, _)| place(digest));
        for (digest, part) in &mut parts {
            part.is_attested = index
                .manifests
                .iter()
                .any(|entry| entry.attests() == Some(*digest));
        }
    }
    Ok(parts.into_iter().map(|(_, part)| part).collect())
}

/// Bytes that an image takes, blobs and unpacked layers, and those of the blobs alone.
fn sizes(workplace: &Workplace, image: &PlatformImage) -> Result<(u64, u64), Failure> {
    let mut blobs = vec![image.config];
    if let Some(descriptor) = &image.manifest {
        blobs.push(descriptor.digest);
        if let Some(Document::Manifest(manifest)) = document(workplace, descriptor)? {
            blobs.extend(manifest.layers.iter().map(|layer| layer.digest));
        }
    }
    let mut unpacked = 0;
    for layer in &workplace.config(&image.config)?.rootfs.diff_ids {
        if image.manifest.is_none() {
            blobs.extend(workplace.layers.known_blobs(layer));
        }
        if workplace.layers.has_tree(layer) {
            unpacked += workplace.layer_size(layer)?;
        }
    }
    blobs.sort_unstable();
    blobs.dedup();
    let sizes = blobs
        .iter()
        .filter_map(|blob| workplace.store.blob_size(blob).ok()?);
    let content = sizes.sum::<u64>();
    Ok((content + unpacked, content))
}

/// Reads a manifest or index; `None` if it is not here.
fn document(workplace: &Workplace, found: &Descriptor) -> Result<Option<Document>, Failure> {
    match workplace.store.read_blob(&found.digest, MAX_MANIFEST_BYTES) {
        Ok(bytes) => Ok(Some(Document::parse(&bytes, &found.media_type)?)),
        Err(_) => Ok(None),
    }
}

/// Sizes stand at the right of their columns. Where images have platforms, a line parts them.
fn lined_up(blocks: &[Vec<Row>]) -> String {
    let names = blocks.iter().flatten().map(|row| row[0].width());
    let mut widths = TITLES.map(str::len);
    widths[0] = names.max().unwrap_or(0).max(widths[0]);
    widths[1] = ID_WIDTH;
    let line = |cells: [&str; 5]| {
        let mut text = String::new();
        for (place, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            let is_right = place == 2 || place == 3;
            if place > 0 {
                text.push_str("   ");
            }
            text.push_str(if is_right { &blanks } else { cell });
            text.push_str(if is_right { cell } else { &blanks });
        }
        text.push('\n');
        text
    };
    let lines = blocks.iter().map(|rows| {
        let rows = rows
            .iter()
            .map(|row| line(row.each_ref().map(String::as_str)));
        rows.collect::<String>()
    });
    line(TITLES) + &lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_docker_s() {
        let row = |cells: [&str; 5]| cells.map(str::to_owned);
        let blocks = [
            vec![
                row([
                    "127.0.0.1:5701/team/app:1.0",
                    "630ed7aa7afb",
                    "3.54MB",
                    "6.73kB",
                    "",
                ]),
                row(["└─ linux/amd64", "630ed7aa7afb", "3.54MB", "6.73kB", "A"]),
            ],
            vec![row(["base:1", "d37522b4daf5", "3.08MB", "1.08MB", ""])],
        ];
        let expected = [
            "IMAGE                         ID             DISK USAGE   CONTENT SIZE   EXTRA",
            "127.0.0.1:5701/team/app:1.0   630ed7aa7afb       3.54MB         6.73kB        ",
            "└─ linux/amd64                630ed7aa7afb       3.54MB         6.73kB   A    ",
            "",
            "base:1                        d37522b4daf5       3.08MB         1.08MB        ",
            "",
        ];
        assert_eq!(lined_up(&blocks), expected.join("\n"));
        assert_eq!(
            lined_up(&[]),
            format!(
                "{}\n",
                TITLES
                    .map(|t| if t == "ID" { "ID          " } else { t })
                    .join("   ")
            )
        );
    }
}
