//! The findings as JSON: dive's fields with dive's meaning, and beside them rbuild's own.

use rbuild_image::analysis::{
    Cause, HintKind, LayerChanges, Listing, Tally, largest_files, size_of,
};
use rbuild_image::layer::entry::{Entry, EntryKind};
use serde::ser::SerializeSeq as _;
use serde::{Serialize, Serializer};

use super::Report;
use crate::report::Failure;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    layer: Vec<Layer<'a>>,
    image: Image<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ci: Option<Ci<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Layer<'a> {
    index: usize,
    id: String,
    digest_id: String,
    size_bytes: u64,
    command: &'a str,
    instruction: &'a str,
    added: Count,
    changed: Count,
    removed: Count,
    repeated: Count,
    repeated_with_other_owner: Count,
    repeated_with_other_mode: Count,
    hidden_bytes: u64,
    largest: Vec<File>,
    file_list: FileList<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    files: u64,
    size_bytes: u64,
}

impl From<Tally> for Count {
    fn from(tally: Tally) -> Self {
        Self {
            files: tally.files,
            size_bytes: tally.bytes,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    file: String,
    size_bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Image<'a> {
    size_bytes: u64,
    inefficient_bytes: u64,
    efficiency_score: f64,
    file_reference: Vec<FileReference>,
    name: &'a str,
    id: String,
    platform: String,
    user_size_bytes: u64,
    user_wasted_ratio: f64,
    hidden_bytes: u64,
    hidden: Vec<Hidden>,
    duplicates: Vec<Duplicate>,
    hints: Vec<Hint>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileReference {
    count: u64,
    size_bytes: u64,
    file: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hidden {
    file: String,
    layer: usize,
    cause: &'static str,
    files: u64,
    size_bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Duplicate {
    count: u64,
    size_bytes: u64,
    extra_bytes: u64,
    files: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hint {
    kind: &'static str,
    file: String,
    files: u64,
    size_bytes: u64,
}

#[derive(Serialize)]
struct Ci<'a> {
    pass: bool,
    rules: Vec<CiRule<'a>>,
}

#[derive(Serialize)]
struct CiRule<'a> {
    name: &'a str,
    status: &'a str,
    message: Option<&'a str>,
}

/// Returns the document, indented as dive's is.
pub(super) fn document(report: &Report<'_>) -> Result<String, Failure> {
    let histories = report.image.histories();
    let diff_ids = &report.image.config.rootfs.diff_ids;
    let changes = report.analysis.layers.iter();
    let layers = changes.zip(diff_ids).zip(report.listings).zip(histories);
    let mut document = Document {
        layer: Vec::new(),
        image: image(report),
        ci: report.verdict.as_ref().map(|verdict| Ci {
            pass: verdict.is_pass(),
            rules: verdict
                .rules
                .iter()
                .map(|rule| CiRule {
                    name: rule.name,
                    status: rule.status.name(),
                    message: rule.message.as_deref(),
                })
                .collect(),
        }),
    };
    for (at, (((changes, diff_id), index), history)) in layers.enumerate() {
        if report.layer.is_some_and(|layer| layer != at) {
            continue;
        }
        let command = history.map_or("(missing)", |line| {
            let text = line.created_by.as_deref().unwrap_or_default();
            text.strip_prefix("/bin/sh -c ").unwrap_or(text)
        });
        document.layer.push(Layer {
            index: at,
            id: diff_id.0.hex(),
            digest_id: diff_id.to_string(),
            command,
            instruction: &report.instructions[at],
            ..layer(report, changes, index)
        });
    }
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn layer<'a>(report: &Report<'_>, changes: &LayerChanges, index: &'a Listing) -> Layer<'a> {
    Layer {
        index: 0,
        id: String::new(),
        digest_id: String::new(),
        size_bytes: changes.size_bytes,
        command: "",
        instruction: "",
        added: changes.added.into(),
        changed: changes.changed.into(),
        removed: changes.removed.into(),
        repeated: changes.repeated.all.into(),
        repeated_with_other_owner: changes.repeated.owner.into(),
        repeated_with_other_mode: changes.repeated.mode.into(),
        hidden_bytes: changes.hidden_bytes,
        largest: largest_files(index, report.top)
            .into_iter()
            .map(|entry| File {
                file: absolute(&entry.path),
                size_bytes: size_of(entry),
            })
            .collect(),
        file_list: FileList(index),
    }
}

fn image<'a>(report: &'a Report<'_>) -> Image<'a> {
    let found = &report.analysis;
    Image {
        size_bytes: found.size_bytes,
        inefficient_bytes: found.score.wasted_bytes,
        efficiency_score: found.score.efficiency,
        file_reference: found
            .score
            .copies
            .iter()
            .map(|copies| FileReference {
                count: copies.count,
                size_bytes: copies.size_bytes,
                file: absolute(copies.path),
            })
            .collect(),
        name: &report.image.name,
        id: report.image.id.to_string(),
        platform: report.image.platform.to_string(),
        user_size_bytes: found.user_size_bytes,
        user_wasted_ratio: found.user_wasted_ratio(),
        hidden_bytes: found.hidden_bytes(),
        hidden: found
            .waste
            .iter()
            .map(|waste| Hidden {
                file: absolute(waste.path),
                layer: waste.layer,
                cause: match waste.cause {
                    Cause::Removed => "removed",
                    Cause::Replaced => "replaced",
                    Cause::Repeated => "repeated",
                },
                files: waste.files,
                size_bytes: waste.bytes,
            })
            .collect(),
        duplicates: found
            .duplicates
            .iter()
            .take(report.top)
            .map(|same| Duplicate {
                count: same.count,
                size_bytes: same.size_bytes,
                extra_bytes: same.extra_bytes(),
                files: same.paths.iter().map(|path| absolute(path)).collect(),
            })
            .collect(),
        hints: found
            .hints
            .iter()
            .map(|hint| Hint {
                kind: hint_name(hint.kind),
                file: absolute(hint.path),
                files: hint.files.files,
                size_bytes: hint.files.bytes,
            })
            .collect(),
    }
}

fn hint_name(kind: HintKind) -> &'static str {
    match kind {
        HintKind::Apt => "apt",
        HintKind::Apk => "apk",
        HintKind::Dnf => "dnf",
        HintKind::Pip => "pip",
        HintKind::Npm => "npm",
        HintKind::Yarn => "yarn",
        HintKind::Composer => "composer",
        HintKind::GoBuild => "go-build",
        HintKind::Cargo => "cargo",
        HintKind::Git => "git",
        HintKind::SetId => "set-id",
    }
}

fn absolute(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// The entries of a layer as dive lists them, written one by one: there may be many.
struct FileList<'a>(&'a Listing);

impl Serialize for FileList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for entry in self.0.entries() {
            // dive has no root.
            if !entry.path.is_empty() {
                list.serialize_element(&FileInfo::of(entry))?;
            }
        }
        list.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileInfo {
    path: String,
    type_flag: u8,
    link_name: String,
    size: u64,
    file_mode: u32,
    uid: u32,
    gid: u32,
    is_dir: bool,
}

impl FileInfo {
    fn of(entry: &Entry) -> Self {
        let (type_flag, kind_bits, link_name) = match &entry.kind {
            EntryKind::File { .. } | EntryKind::Whiteout => (b'0', 0, &b""[..]),
            EntryKind::Hardlink { target } => (b'1', 0, &target[..]),
            EntryKind::Symlink { target } => (b'2', 1 << 27, &target[..]),
            EntryKind::CharDevice { .. } => (b'3', (1 << 26) | (1 << 21), &b""[..]),
            EntryKind::BlockDevice { .. } => (b'4', 1 << 26, &b""[..]),
            EntryKind::Directory { .. } => (b'5', 1 << 31, &b""[..]),
            EntryKind::Fifo => (b'6', 1 << 25, &b""[..]),
        };
        Self {
            path: mark_path(entry),
            type_flag,
            link_name: String::from_utf8_lossy(link_name).into_owned(),
            size: size_of(entry),
            file_mode: kind_bits | go_permissions(entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            is_dir: matches!(entry.kind, EntryKind::Directory { .. }),
        }
    }
}

/// The path as the layer's archive has it: marks of removed files have their prefix.
fn mark_path(entry: &Entry) -> String {
    let path = String::from_utf8_lossy(&entry.path);
    if entry.kind != EntryKind::Whiteout {
        return path.into_owned();
    }
    match path.rsplit_once('/') {
        Some((parent, name)) => format!("{parent}/.wh.{name}"),
        None => format!(".wh.{path}"),
    }
}

/// Permission bits as Go numbers them.
fn go_permissions(mode: u32) -> u32 {
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let bits = special.iter().filter(|(bit, _)| mode & bit != 0);
    (mode & 0o777) | bits.map(|(_, bit)| bit).sum::<u32>()
}
