//! Images in files: `docker save` archives, OCI archives and folders, tars of plain files.
//!
//! | in | out |
//! |---|---|
//! | [`load`]: docker's old and new archives, OCI archives, compressed or not | [`save`]: one archive that all of them read |
//! | [`load_folder`]: OCI layouts | [`write_oci`], [`write_oci_folder`]: OCI layouts |
//! | [`import`]: the files of one layer | |
//!
//! What is written depends on the images and nothing else: same images, same bytes.

mod adopt;
mod closure;
mod docker;
mod folder;
mod import;
mod load;
mod loader;
mod output;
mod save;
mod source;
mod stage;
mod tar_out;

use crate::manifest::Descriptor;
use crate::reference::Reference;

pub(crate) use adopt::check_layer;
pub use closure::{export_target, missing_blobs};
pub use folder::write_oci_folder;
pub use import::{ImportOptions, import};
pub use load::{Loaded, load, load_folder};
pub use output::{Durability, Output, write_file};
pub use save::{save, save_without, write_oci};

/// An image to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveImage {
    /// Its manifest or index in the store. Annotations and platform go into `index.json`.
    pub target: Descriptor,
    /// Its names; those without a tag are left out.
    pub names: Vec<Reference>,
}

/// Tells whether bytes are a `manifest.json` of docker's.
#[cfg(any(test, fuzzing))]
pub(crate) fn is_docker_manifest(bytes: &[u8]) -> bool {
    docker::parse_docker(bytes).is_ok()
}
