//! A root file system as one tar.

use std::io::{Read as _, Write};

use rbuild_image::layer::entry::{EntryKind, Mtime};
use rbuild_image::layer::{LayerStore, TarWriter};

use super::{Directories, Links, Part, Stack};
use crate::error::StepError;

/// Writes the files of all `parts` as one tar to `sink`. With an epoch, every time is set to it.
///
/// # Errors
/// Layers that cannot be brought or read, and errors of `sink`.
pub fn export_tar(
    store: &LayerStore,
    parts: &[Part<'_>],
    epoch: Option<i64>,
    sink: &mut dyn Write,
) -> Result<(), StepError> {
    let mut writer = TarWriter::new(sink);
    let mut directories = Directories::default();
    for part in parts {
        write_part(store, part, epoch, &mut directories, &mut writer)?;
    }
    writer.finish()?;
    Ok(())
}

fn write_part(
    store: &LayerStore,
    part: &Part<'_>,
    epoch: Option<i64>,
    directories: &mut Directories,
    writer: &mut TarWriter<&mut dyn Write>,
) -> Result<(), StepError> {
    let stack = Stack::open(store, part.layers)?;
    let mut links = Links::default();
    let mut buffer = vec![0; 256 * 1024];
    for found in stack.rootfs.walk(b"") {
        if found.path().is_empty() && part.prefix.is_empty() {
            continue;
        }
        let mut entry = links.entry(&found, part.prefix);
        if directories.is_repeated(&entry) {
            continue;
        }
        if let Some(epoch) = epoch {
            entry.mtime = Mtime {
                seconds: epoch,
                nanoseconds: 0,
            };
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
    Ok(())
}
