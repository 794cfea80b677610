//! Images made for tests.

use std::sync::Arc;

use rbuild_image::archive::Loaded;
use rbuild_image::config::{ImageConfig, RootFs};
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::layer::{LayerStore, NoFetcher, OpaqueMark, Ownership, TreeOptions};
use rbuild_image::manifest::{Descriptor, Document, Index, Manifest};
use rbuild_image::media::{self, Encoding, Format};
use rbuild_image::platform::Platform;
use rbuild_image::reference::Reference;
use rbuild_image::store::Store;

/// A store that goes away.
pub(crate) struct Fixture {
    _folder: tempfile::TempDir,
    pub(crate) store: Store,
}

/// What layers are compressed with.
#[derive(Clone, Copy)]
pub(crate) enum Packed {
    Plain,
    Gzip,
    Zstd,
}

/// Something in an archive.
pub(crate) enum Member<'a> {
    File(&'a [u8]),
    Symlink(&'a str),
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        Self {
            _folder: folder,
            store,
        }
    }

    pub(crate) fn layers(&self) -> LayerStore {
        LayerStore::new(self.store.clone(), tree_options(), 1, Arc::new(NoFetcher))
    }

    /// Stores an image with a layer for each of `layers`, which holds one file of that name.
    pub(crate) fn image(&self, platform: &str, layers: &[&str], packed: Packed) -> Descriptor {
        let tars: Vec<_> = layers.iter().map(|layer| layer_tar(layer)).collect();
        let tars_of_config: Vec<&[u8]> = tars.iter().map(Vec::as_slice).collect();
        let config = config(platform, &tars_of_config).to_bytes();
        self.store.put_blob(&config).unwrap();
        let layers = tars.iter().map(|tar| {
            let (bytes, encoding) = match packed {
                Packed::Plain => (tar.clone(), Encoding::Plain),
                Packed::Gzip => (gzip(tar), Encoding::Gzip),
                Packed::Zstd => (zstd::encode_all(&tar[..], 3).unwrap(), Encoding::Zstd),
            };
            self.store.put_blob(&bytes).unwrap();
            Descriptor::of(Format::Oci.layer(encoding).unwrap(), &bytes)
        });
        let config = Descriptor::of(media::OCI_CONFIG, &config);
        let manifest = Manifest::new(Format::Oci, config, layers.collect()).to_bytes();
        self.store.put_blob(&manifest).unwrap();
        Descriptor::of(media::OCI_MANIFEST, &manifest)
    }

    pub(crate) fn index(&self, images: &[(&str, &Descriptor)]) -> Descriptor {
        let entries = images.iter().map(|(platform, image)| {
            let mut entry = (*image).clone();
            entry.platform = Some(Platform::parse(platform).unwrap());
            entry
        });
        let bytes = Index::new(Format::Oci, entries.collect()).to_bytes();
        self.store.put_blob(&bytes).unwrap();
        Descriptor::of(media::OCI_INDEX, &bytes)
    }

    pub(crate) fn manifest(&self, target: &Descriptor) -> Manifest {
        let bytes = self.store.read_blob(&target.digest, 1 << 20).unwrap();
        match Document::parse(&bytes, &target.media_type).unwrap() {
            Document::Manifest(manifest) => manifest,
            Document::Index(_) => panic!("an index"),
        }
    }
}

pub(crate) const fn tree_options() -> TreeOptions {
    TreeOptions {
        ownership: Ownership::Recorded,
        opaque: OpaqueMark::User,
    }
}

/// Returns the config of an image with the given uncompressed layers.
pub(crate) fn config(platform: &str, layers: &[&[u8]]) -> ImageConfig {
    let platform = Platform::parse(platform).unwrap();
    ImageConfig {
        os: platform.os,
        architecture: platform.architecture,
        rootfs: RootFs {
            diff_ids: layers.iter().map(|tar| DiffId(Digest::of(tar))).collect(),
            ..RootFs::default()
        },
        ..ImageConfig::default()
    }
}

/// Returns a layer with one file whose name and content are `text`.
pub(crate) fn layer_tar(text: &str) -> Vec<u8> {
    tar_of(&[(text, Member::File(text.as_bytes()))])
}

pub(crate) fn tar_of(members: &[(&str, Member<'_>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, member) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        match member {
            Member::File(bytes) => {
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, path, *bytes).unwrap();
            }
            Member::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                builder.append_link(&mut header, path, target).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn reference(name: &str) -> Reference {
    Reference::parse(name).unwrap()
}

/// Returns the names of each image, one line an image.
pub(crate) fn names(loaded: &[Loaded]) -> Vec<String> {
    loaded
        .iter()
        .map(|loaded| {
            let names: Vec<_> = loaded.names.iter().map(Reference::familiar).collect();
            names.join(" ")
        })
        .collect()
}
