//! A root file system as one tar.

use std::io::{Read as _, Write};

use rbuild_image::digest::DiffId;
use rbuild_image::layer::entry::{EntryKind, Mtime};
use rbuild_image::layer::{LayerStore, TarWriter};

use super::{Links, Stack};
use crate::error::StepError;

/// Writes the files that `layers`, base first, make together as one tar to `sink`; below the
/// directory `prefix` if it is not empty. With an epoch, every time is set to it.
///
/// # Errors
/// Layers that cannot be brought or read, and errors of `sink`.
pub fn export_tar(
    store: &LayerStore,
    layers: &[DiffId],
    prefix: &str,
    epoch: Option<i64>,
    sink: &mut dyn Write,
) -> Result<(), StepError> {
    let stack = Stack::open(store, layers)?;
    let mut links = Links::default();
    let mut writer = TarWriter::new(sink);
    let mut buffer = vec![0; 256 * 1024];
    for found in stack.rootfs.walk(b"") {
        if found.path().is_empty() && prefix.is_empty() {
            continue;
        }
        let mut entry = links.entry(&found);
        if let Some(epoch) = epoch {
            entry.mtime = Mtime {
                seconds: epoch,
                nanoseconds: 0,
            };
        }
        if !prefix.is_empty() {
            entry.path = rbuild_image::layer::path::join(prefix.as_bytes(), &entry.path);
            if let EntryKind::Hardlink { target } = &mut entry.kind {
                *target = rbuild_image::layer::path::join(prefix.as_bytes(), target);
            }
        }
        writer.entry(&entry)?;
        if matches!(entry.kind, EntryKind::File { .. }) {
            let mut file = stack.open_file(&found)?;
            loop {
                let n_read = file.read(&mut buffer)?;
                if n_read == 0 {
                    break;
                }
                writer.data(&buffer[..n_read])?;
            }
        }
    }
    writer.finish()?;
    Ok(())
}
