//! The differences as JSON.

use rbuild_image::analysis::{Difference, What, size_of};
use rbuild_image::layer::entry::{Entry, EntryKind};
use serde::Serialize;
use serde_json::Value;

use super::Comparison;
use crate::opened::OpenedImage;
use crate::report::Failure;

#[derive(Serialize)]
struct Document<'a> {
    before: Image<'a>,
    after: Image<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Vec<Setting<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<File>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Image<'a> {
    name: &'a str,
    id: String,
    platform: String,
    size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Layer>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    diff_id: String,
    size_bytes: u64,
    instruction: String,
}

#[derive(Serialize)]
struct Setting<'a> {
    field: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    before: Option<&'a Value>,
    after: Option<&'a Value>,
}

#[derive(Serialize)]
struct File {
    path: String,
    change: &'static str,
    /// What changed; empty if it is there only once.
    what: Vec<&'static str>,
    before: Option<State>,
    after: Option<State>,
}

/// What there is at a path.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State {
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size_bytes: u64,
    seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// Returns the document.
pub(super) fn document(found: &Comparison<'_>) -> Result<String, Failure> {
    let document = Document {
        before: image(found.before, found.layers),
        after: image(found.after, found.layers),
        config: found.settings.as_ref().map(|settings| {
            let settings = settings.iter();
            settings
                .map(|setting| Setting {
                    field: &setting.field,
                    name: setting.name.as_deref(),
                    before: setting.before.as_ref(),
                    after: setting.after.as_ref(),
                })
                .collect()
        }),
        files: found
            .files
            .as_ref()
            .map(|files| files.iter().map(file).collect()),
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn image(image: &OpenedImage, with_layers: bool) -> Image<'_> {
    let sizes = image.layers.iter().map(|layer| layer.unpacked_size());
    let diff_ids = image.config.rootfs.diff_ids.iter();
    let layers = diff_ids.zip(sizes.clone()).zip(image.instructions());
    Image {
        name: &image.name,
        id: image.id.to_string(),
        platform: image.platform.to_string(),
        size_bytes: sizes.sum(),
        layers: with_layers.then(|| {
            layers
                .map(|((diff_id, size_bytes), instruction)| Layer {
                    diff_id: diff_id.to_string(),
                    size_bytes,
                    instruction,
                })
                .collect()
        }),
    }
}

fn file(file: &Difference) -> File {
    let (change, what, before, after) = match file {
        Difference::Added(found) => ("added", Vec::new(), None, Some(&found.entry)),
        Difference::Removed(found) => ("removed", Vec::new(), Some(&found.entry), None),
        Difference::Changed(before, after, what) => {
            let names = names(*what);
            ("changed", names, Some(&before.entry), Some(&after.entry))
        }
    };
    File {
        path: format!("/{}", String::from_utf8_lossy(file.path())),
        change,
        what,
        before: before.map(state),
        after: after.map(state),
    }
}

fn names(what: What) -> Vec<&'static str> {
    [
        (what.kind, "kind"),
        (what.content, "content"),
        (what.mode, "mode"),
        (what.owner, "owner"),
        (what.xattrs, "xattrs"),
        (what.time, "time"),
    ]
    .into_iter()
    .filter_map(|(is_so, name)| is_so.then_some(name))
    .collect()
}

fn state(entry: &Entry) -> State {
    let (kind, target) = match &entry.kind {
        EntryKind::File { .. } | EntryKind::Hardlink { .. } => ("file", None),
        EntryKind::Directory { .. } => ("directory", None),
        EntryKind::Symlink { target } => ("symlink", Some(target)),
        EntryKind::Fifo => ("fifo", None),
        EntryKind::CharDevice { .. } => ("character device", None),
        EntryKind::BlockDevice { .. } => ("block device", None),
        EntryKind::Whiteout => ("removed", None),
    };
    State {
        kind,
        mode: format!("{:04o}", entry.mode),
        uid: entry.uid,
        gid: entry.gid,
        size_bytes: size_of(entry),
        seconds: entry.mtime.seconds,
        target: target.map(|target| String::from_utf8_lossy(target).into_owned()),
    }
}
