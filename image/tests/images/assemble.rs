//! From a config and layers to manifests that everybody reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fixture::{self, Fixture, Packed, reference, tree_options};
use rbuild_image::archive::{ArchiveImage, load, save, write_oci_folder};
use rbuild_image::assemble::{
    AssembleOptions, LayerBlobs, PulledLayers, assemble, assemble_index, with_manifests,
};
use rbuild_image::config::{ImageConfig, RootFs};
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::layer::{Compression, LayerStore};
use rbuild_image::layout::{Layout, LayoutFetcher, Selector};
use rbuild_image::media::{self, Format};
use rbuild_image::platform::Platform;
use rbuild_image::record::{ImageRecord, Origin, PlatformImage};
use rbuild_image::validate::validate;

fn options(format: Format, compression: Compression) -> AssembleOptions {
    AssembleOptions {
        format,
        compression: compression.into(),
        pulled_layers: PulledLayers::Keep,
        layer_blobs: LayerBlobs::Here,
        annotations: BTreeMap::new(),
    }
}

/// Stores a config with layers that are known by tars in the store.
fn built(fixture: &Fixture, texts: &[&str]) -> Digest {
    let layers = fixture.layers();
    let tars: Vec<_> = texts.iter().map(|text| fixture::layer_tar(text)).collect();
    for tar in &tars {
        fixture.store.put_blob(tar).unwrap();
        let blob = rbuild_image::manifest::Descriptor::of(media::OCI_LAYER, tar);
        layers.adopt_blob(&DiffId(blob.digest), &blob).unwrap();
    }
    let tars: Vec<&[u8]> = tars.iter().map(Vec::as_slice).collect();
    let config = fixture::config("linux/arm64", &tars);
    fixture.store.put_blob(&config.to_bytes()).unwrap()
}

#[test]
fn a_built_image_gets_a_manifest() {
    let cases = [
        (Format::Oci, Compression::None, media::OCI_LAYER),
        (Format::Oci, Compression::Gzip, media::OCI_LAYER_GZIP),
        (Format::Oci, Compression::Zstd, media::OCI_LAYER_ZSTD),
        (Format::Docker, Compression::Gzip, media::DOCKER_LAYER_GZIP),
    ];
    for (format, compression, media_type) in cases {
        let fixture = Fixture::new();
        let config = built(&fixture, &["one", "two"]);
        let mut options = options(format, compression);
        options.annotations.insert("key".into(), "value".into());
        let target = assemble(&fixture.layers(), &config, &options).unwrap();
        assert_eq!(target.media_type, format.manifest());
        assert_eq!(target.platform, Some(Platform::new("linux", "arm64")));
        let manifest = fixture.manifest(&target);
        assert_eq!(manifest.config.media_type, format.config());
        assert_eq!(manifest.layers[1].media_type, media_type);
        assert_eq!(manifest.annotations["key"], "value");
        validate(&fixture.store, &target).unwrap();
        // Somewhere else, the same comes out.
        let other = Fixture::new();
        let config = built(&other, &["one", "two"]);
        let again = assemble(&other.layers(), &config, &options).unwrap();
        assert_eq!(again.digest, target.digest);
    }
}

#[test]
fn a_record_is_completed_and_saved() {
    let fixture = Fixture::new();
    let images = vec![PlatformImage {
        platform: Platform::new("linux", "arm64"),
        config: built(&fixture, &["one"]),
        manifest: None,
        size_bytes: None,
    }];
    let record = ImageRecord::new(images, None, Origin::Built).unwrap();
    assert_eq!(record.target(), None);
    let options = options(Format::Oci, Compression::Gzip);
    let record = with_manifests(&fixture.layers(), &record, &options).unwrap();
    let target = record.target().unwrap().clone();
    let index = assemble_index(
        &fixture.store,
        Format::Oci,
        vec![target.clone()],
        &BTreeMap::new(),
    )
    .unwrap();
    validate(&fixture.store, &index).unwrap();
    let image = ArchiveImage {
        target: index,
        names: vec![reference("app:1")],
    };
    let mut archive = Vec::new();
    let out = &mut rbuild_image::archive::Output::Stream(&mut archive);
    save(&fixture.store, &[image], out).unwrap();
    let other = Fixture::new();
    let loaded = load(&other.layers(), &archive[..], &[]).unwrap();
    assert_eq!(loaded[0].record.id, record.id);
    assert_eq!(
        loaded[0].record.images[0].manifest.as_ref().unwrap().digest,
        target.digest
    );
}

#[test]
fn layers_of_a_layout_are_fetched_when_they_are_needed() {
    let fixture = Fixture::new();
    let target = fixture.image("linux/amd64", &["base"], Packed::Zstd);
    let folder = tempfile::tempdir().unwrap();
    let image = ArchiveImage {
        target: target.clone(),
        names: vec![reference("base:1")],
    };
    write_oci_folder(&fixture.store, &[image], folder.path()).unwrap();

    let other = Fixture::new();
    let fetcher = Arc::new(LayoutFetcher);
    let layers = LayerStore::new(other.store.clone(), tree_options(), 1, fetcher);
    let layout = Layout::open(folder.path()).unwrap();
    let platform = Platform::new("linux", "amd64");
    let chosen = layout
        .choose(&Selector::Tag("1".into()), &platform)
        .unwrap();
    assert_eq!(chosen.descriptor.digest, target.digest);
    let config = layout.read_blob(&chosen.manifest.config, 1 << 20).unwrap();
    let base = ImageConfig::parse(&config).unwrap();
    for (layer, diff_id) in chosen.manifest.layers.iter().zip(&base.rootfs.diff_ids) {
        layers.add_origin(diff_id, layout.origin(layer)).unwrap();
    }
    let blobs = other.store.root().join("blobs/sha256");
    assert_eq!(fs_err::read_dir(blobs).unwrap().count(), 0);

    // An image on top of it keeps the base's blob as it was.
    let own = built(&other, &["own"]);
    let own = other.store.read_blob(&own, 1 << 20).unwrap();
    let own = ImageConfig::parse(&own).unwrap().rootfs.diff_ids;
    let config = ImageConfig {
        rootfs: RootFs {
            diff_ids: [base.rootfs.diff_ids, own].concat(),
            ..RootFs::default()
        },
        ..base
    };
    let config = other.store.put_blob(&config.to_bytes()).unwrap();
    let mut options = options(Format::Oci, Compression::Gzip);
    let target = assemble(&layers, &config, &options).unwrap();
    let manifest = other.manifest(&target);
    assert_eq!(manifest.layers[0], chosen.manifest.layers[0]);
    assert_eq!(manifest.layers[1].media_type, media::OCI_LAYER_GZIP);
    options.pulled_layers = PulledLayers::Recompress;
    let target = assemble(&layers, &config, &options).unwrap();
    let manifest = other.manifest(&target);
    assert_eq!(manifest.layers[0].media_type, media::OCI_LAYER_GZIP);
    validate(&other.store, &target).unwrap();
}
