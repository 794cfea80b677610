//! Layers: their entries and index, and tar in and out.

mod assemble;
mod cached;
mod chunks;
pub mod compression;
mod convert;
mod download;
pub mod entry;
mod entry_list;
mod fault;
mod folder;
mod gzip;
pub mod index;
mod index_codec;
mod index_file;
mod marks;
mod materialise;
mod merge;
pub mod pack;
pub mod path;
pub mod pax;
mod places;
pub mod rootfs;
mod sparse;
pub mod store;
mod tar_content;
mod tar_header;
pub mod tar_read;
pub mod tar_write;
pub mod tree;
pub mod unpack;
pub(crate) mod upkeep;

pub use compression::{Compression, Method, compress, decompress};
pub use entry_list::{Entries, EntryList, IntoEntries};
pub use index::LayerIndex;
pub use index_file::IndexSummary;
#[cfg(any(test, fuzzing))]
pub(crate) use index_file::index_file_of;
pub use merge::Walk;
pub use pack::{LayerPacker, Packed, pack};
pub use rootfs::{Follow, Found, Resolved, Rootfs};
pub use store::{BlobFetcher, KeepBlob, LayerStore, NoFetcher, Origin};
pub use tar_read::{TarItem, TarReader, Whiteouts};
pub use tar_write::TarWriter;
pub use tree::{OWNER_ATTRIBUTE, OpaqueMark, Ownership, TreeNotes, TreeOptions, owner_record};
pub use unpack::{Unpacked, unpack};
pub use upkeep::{LayerFault, LayerPart};
