//! Marks of removed files: names in archives that mean something else than themselves.
//!
//! Spec: <https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts>

use std::collections::BTreeMap;

use crate::error::ImageError;

use super::entry::{Entry, EntryKind, LayerPath, Mtime};
use super::path::{self, split_last};
use super::tar_write::{OPAQUE_MARK, WHITEOUT_PREFIX};

/// What names that start with `.wh.` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// Marks of removed files, as in layers.
    Decode,
    /// Not allowed: in any other archive they would become such marks later on.
    Refuse,
}

/// What a name stands for.
pub(super) enum Name {
    /// Itself.
    Plain,
    /// The path is removed.
    Removed(LayerPath),
    /// The directory hides what lower layers have in it.
    Opaque(LayerPath),
}

/// Looks for the marks of removed files. `None`: a file of aufs' own, to be left out.
pub(super) fn decode_name(
    path: &[u8],
    raw: &[u8],
    whiteouts: Whiteouts,
) -> Result<Option<Name>, ImageError> {
    let Some((parent, last)) = split_last(path) else {
        return Ok(Some(Name::Plain));
    };
    let is_mark = |name: &[u8]| name.starts_with(WHITEOUT_PREFIX);
    let is_nested = parent.split(|byte| *byte == b'/').any(is_mark);
    if !is_nested && !is_mark(last) {
        return Ok(Some(Name::Plain));
    }
    if whiteouts == Whiteouts::Refuse {
        return Err(ImageError::archive(
            raw,
            "names that start with `.wh.` mean removed files in images",
        ));
    }
    if last == OPAQUE_MARK && !is_nested {
        return Ok(Some(Name::Opaque(parent.to_vec())));
    }
    let mut names = path.split(|byte| *byte == b'/');
    if names
        .find(|name| is_mark(name))
        .is_some_and(|name| name.starts_with(b".wh..wh."))
    {
        return Ok(None);
    }
    let bad = || ImageError::archive(raw, "not the mark of a removed file");
    let removed = last.strip_prefix(WHITEOUT_PREFIX).ok_or_else(bad)?;
    if is_nested || matches!(removed, b"" | b"." | b"..") {
        return Err(bad());
    }
    Ok(Some(Name::Removed(path::join(parent, removed))))
}

/// Returns the entry that removes a path.
pub(super) fn whiteout(path: LayerPath) -> Entry {
    Entry {
        path,
        kind: EntryKind::Whiteout,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: BTreeMap::new(),
    }
}
