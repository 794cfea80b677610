//! `rbuild images --tree`: what each image has for which platform.

use rbuild_image::manifest::{Document, MAX_MANIFEST_BYTES};
use rbuild_image::record::PlatformImage;
use rbuild_image::reference::Reference;

use super::images::shown_id;
use crate::inventory::StoredImage;
use crate::report::Failure;
use crate::table::table;
use crate::units::human_size;
use crate::workplace::Workplace;

/// Lists images by name, each with its platforms below it.
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
    let mut rows = Vec::new();
    for (name, image) in named {
        let variants = &image.record.images;
        let (mut disk, mut content) = (0, 0);
        let mut lines = Vec::new();
        for (place, variant) in variants.iter().enumerate() {
            let (size, blobs) = sizes(workplace, variant)?;
            disk += size;
            content += blobs;
            let branch = if place + 1 == variants.len() {
                "└─"
            } else {
                "├─"
            };
            let id = variant.config.to_string();
            let cells = (format!("{branch} {}", variant.platform), id);
            lines.push(row(cells, size, blobs));
        }
        rows.push(row((name, image.record.id.to_string()), disk, content));
        rows.extend(lines);
    }
    Ok(table(&["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE"], &rows))
}

fn row((name, id): (String, String), disk: u64, content: u64) -> Vec<String> {
    vec![
        name,
        shown_id(&id, false),
        human_size(disk),
        human_size(content),
    ]
}

/// Bytes of an image's files, and of the blobs that the store has of it.
fn sizes(workplace: &Workplace, variant: &PlatformImage) -> Result<(u64, u64), Failure> {
    let store = &workplace.store;
    let mut blobs = vec![variant.config];
    let mut documents = 0;
    if let Some(manifest) = &variant.manifest
        && let Ok(bytes) = store.read_blob(&manifest.digest, MAX_MANIFEST_BYTES)
    {
        documents += bytes.len() as u64;
        if let Document::Manifest(manifest) = Document::parse(&bytes, &manifest.media_type)? {
            blobs.extend(manifest.layers.iter().map(|layer| layer.digest));
        }
    }
    let sizes = blobs.iter().filter_map(|blob| store.blob_size(blob).ok()?);
    let content = documents + sizes.sum::<u64>();
    Ok((workplace.variant_size(variant)?, content))
}
