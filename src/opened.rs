//! Images opened to be looked into: their config and the indexes of their layers.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rbuild_image::config::{History, ImageConfig};
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::error::ImageError;
use rbuild_image::layer::LayerIndex;
use rbuild_image::platform::Platform;
use rbuild_image::record::{ImageRecord, PlatformImage};
use rbuild_image::store::Pin;

use crate::image_file::ImageFile;
use crate::progress::clean_text;
use crate::report::Failure;
use crate::workplace::Workplace;

/// The image for one platform.
#[derive(Debug)]
pub(crate) struct OpenedImage {
    /// As the user names it.
    pub(crate) name: String,
    /// Digest of the config.
    pub(crate) id: Digest,
    /// What it runs on.
    pub(crate) platform: Platform,
    pub(crate) config: ImageConfig,
    /// Base first.
    pub(crate) layers: Vec<Arc<LayerIndex>>,
}

impl OpenedImage {
    /// Returns for each layer the line of the history that made it, if there is one.
    pub(crate) fn histories(&self) -> Vec<Option<&History>> {
        let mut lines = self.config.history.iter().filter(|line| !line.empty_layer);
        self.layers.iter().map(|_| lines.next()).collect()
    }

    /// Returns for each layer the instruction that made it, as it stood in a Dockerfile.
    pub(crate) fn instructions(&self) -> Vec<String> {
        let histories = self.histories().into_iter();
        histories
            .map(|line| {
                line.map_or_else(String::new, |line| {
                    let text = line.created_by.as_deref().unwrap_or_default();
                    let text = if text.trim().is_empty() {
                        line.comment.as_deref().unwrap_or_default()
                    } else {
                        text
                    };
                    clean_text(&as_written(text)).replace(['\t', '\n'], " ")
                })
            })
            .collect()
    }
}

/// Opens the images that users mean by these names, in the store or in files, each for its platform
/// if one is given. Layers whose index is not here are read once, several at a time.
pub(crate) fn open(
    workplace: &Workplace,
    wanted: &[(&str, Option<&Platform>)],
) -> Result<Vec<OpenedImage>, Failure> {
    let mut images = Vec::new();
    let mut of_store = Vec::new();
    for (name, platform) in wanted {
        if let Some(file) = ImageFile::named_by(name) {
            let unpacked = file.unpack(workplace, *platform)?;
            let mut image = [without_layers(
                &unpacked.workplace,
                name,
                &unpacked.record,
                *platform,
            )?];
            add_layers(&unpacked.workplace, image.iter_mut().collect())?;
            images.extend(image);
            continue;
        }
        let record = workplace.store.require(name)?.record;
        of_store.push(images.len());
        images.push(without_layers(workplace, name, &record, *platform)?);
    }
    let of_store = images.iter_mut().enumerate().filter_map(|(place, image)| {
        let is_of_store = of_store.contains(&place);
        is_of_store.then_some(image)
    });
    add_layers(workplace, of_store.collect())?;
    Ok(images)
}

fn without_layers(
    workplace: &Workplace,
    name: &str,
    record: &ImageRecord,
    platform: Option<&Platform>,
) -> Result<OpenedImage, Failure> {
    let image = choose(name, record, platform)?;
    Ok(OpenedImage {
        name: name.to_owned(),
        id: image.config,
        platform: image.platform.clone(),
        config: workplace.config(&image.config)?,
        layers: Vec::new(),
    })
}

fn add_layers(workplace: &Workplace, images: Vec<&mut OpenedImage>) -> Result<(), Failure> {
    let of_all = images
        .iter()
        .flat_map(|image| &image.config.rootfs.diff_ids);
    let diff_ids: Vec<DiffId> = of_all
        .copied()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let indexes = indexes(workplace, &diff_ids)?;
    for image in images {
        let diff_ids = image.config.rootfs.diff_ids.iter();
        image.layers = diff_ids
            .filter_map(|diff_id| indexes.get(diff_id).cloned())
            .collect();
    }
    Ok(())
}

/// The image of a record that is meant: the one that the name is a digest of, the one for the
/// platform, or the one for this machine.
fn choose<'a>(
    name: &str,
    record: &'a ImageRecord,
    platform: Option<&Platform>,
) -> Result<&'a PlatformImage, Failure> {
    if let Some(platform) = platform {
        return record.for_platform(platform).ok_or_else(|| {
            Failure::with_help(
                format!("{name}: there is no image for {platform}"),
                format!("there is one for {}", record.platform_names().join(", ")),
            )
        });
    }
    let digest = name.rsplit('@').next().unwrap_or(name);
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    let is_named = |image: &&PlatformImage| {
        let manifest = image.manifest.as_ref().map(|manifest| manifest.digest);
        [Some(image.config), manifest]
            .iter()
            .flatten()
            .any(|digest| digest.hex().starts_with(hex))
    };
    let named = (hex.len() >= 6).then(|| record.images.iter().find(is_named));
    named
        .flatten()
        .or_else(|| record.primary())
        .ok_or_else(|| Failure::message(format!("{name}: the image has no platform")))
}

/// Returns the indexes of layers; those that must be made are made at the same time.
fn indexes(
    workplace: &Workplace,
    diff_ids: &[DiffId],
) -> Result<HashMap<DiffId, Arc<LayerIndex>>, Failure> {
    type Slot = OnceLock<Result<Arc<LayerIndex>, ImageError>>;
    let pins: Vec<_> = diff_ids.iter().map(|layer| Pin::Layer(*layer)).collect();
    workplace.store.pin(&pins)?;
    let slots: Vec<Slot> = diff_ids.iter().map(|_| Slot::new()).collect();
    let next = AtomicUsize::new(0);
    let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..n_threads.min(diff_ids.len()) {
            scope.spawn(|| {
                while let Some((diff_id, slot)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    diff_ids.get(at).zip(slots.get(at))
                } {
                    slot.get_or_init(|| workplace.layers.index(diff_id));
                }
            });
        }
    });
    let mut indexes = HashMap::new();
    for (diff_id, slot) in diff_ids.iter().zip(slots) {
        if let Some(index) = slot.into_inner() {
            indexes.insert(*diff_id, index?);
        }
    }
    Ok(indexes)
}

/// Returns the instruction behind the text that builders write into the history:
/// `RUN |1 A=b /bin/sh -c make # buildkit` was `RUN make`, `/bin/sh -c #(nop)  CMD ["a"]` was
/// `CMD ["a"]`.
fn as_written(created_by: &str) -> String {
    const SHELL: &str = "/bin/sh -c ";
    let text = created_by
        .trim()
        .strip_suffix("# buildkit")
        .unwrap_or(created_by)
        .trim();
    if let Some(instruction) = text
        .strip_prefix(SHELL)
        .and_then(|text| text.strip_prefix("#(nop)"))
    {
        return instruction.trim().to_owned();
    }
    let command = text.strip_prefix("RUN ").unwrap_or(text);
    let command = match command.strip_prefix('|') {
        Some(_) => command.find(SHELL).map_or(command, |at| &command[at..]),
        None => command,
    };
    match command.strip_prefix(SHELL) {
        Some(command) => format!("RUN {}", command.trim()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_are_instructions_again() {
        for (text, expected) in [
            ("RUN /bin/sh -c make all # buildkit", "RUN make all"),
            ("RUN |2 A=b C=/bin/x /bin/sh -c make # buildkit", "RUN make"),
            ("COPY f /f # buildkit", "COPY f /f"),
            ("/bin/sh -c #(nop)  CMD [\"a\"]", "CMD [\"a\"]"),
            ("/bin/sh -c apk add x", "RUN apk add x"),
            ("|1 A=b /bin/sh -c apk add x", "RUN apk add x"),
            ("RUN /bin/bash -c x # buildkit", "RUN /bin/bash -c x"),
            ("", ""),
        ] {
            assert_eq!(as_written(text), expected, "{text}");
        }
    }
}
