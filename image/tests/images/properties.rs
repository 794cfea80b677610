//! Whatever is read, nothing panics, and what is written is read back.

use proptest::prelude::*;
use rbuild_image::config::ImageConfig;
use rbuild_image::layout::parse_location;
use rbuild_image::manifest::{Descriptor, Document, Manifest};
use rbuild_image::media::{self, Format};
use rbuild_image::platform::Platform;
use rbuild_image::reference::Reference;

use crate::fixture::{Fixture, tar_of};

proptest! {
    #[test]
    fn references_are_total(text in "[a-zA-Z0-9:/@._\\[\\]% -]{0,40}") {
        if let Ok(reference) = Reference::parse(&text) {
            let again = Reference::parse(&reference.to_string()).unwrap();
            prop_assert_eq!(&again, &reference);
            prop_assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference);
        }
        let (path, _) = parse_location(&text);
        prop_assert!(text.contains(path.to_str().unwrap()));
    }

    #[test]
    fn platforms_are_total(text in "[a-zA-Z0-9/().+_*-]{0,24}") {
        if let Ok(platform) = Platform::parse(&text) {
            prop_assert!(platform.accepts(&platform), "{}", platform);
            prop_assert_eq!(Platform::parse(&platform.describe()).unwrap(), platform);
        }
    }

    #[test]
    fn documents_are_total(text in r#"[{}\[\]":,a-z0-9]{0,60}"#) {
        drop(Document::parse(text.as_bytes(), ""));
        drop(Document::parse(text.as_bytes(), media::OCI_INDEX));
        drop(ImageConfig::parse(text.as_bytes()));
    }

    #[test]
    fn manifests_are_read_back(
        sizes in prop::collection::vec(any::<u64>(), 0..5),
        annotations in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..4),
    ) {
        let layer = |size: &u64| {
            let digest = rbuild_image::digest::Digest::of(&size.to_le_bytes());
            Descriptor::new(media::OCI_LAYER, digest, *size)
        };
        let config = Descriptor::of(media::OCI_CONFIG, b"{}");
        let mut manifest = Manifest::new(Format::Oci, config, sizes.iter().map(layer).collect());
        manifest.annotations = annotations;
        let read = Document::parse(&manifest.to_bytes(), media::OCI_MANIFEST).unwrap();
        prop_assert_eq!(read, Document::Manifest(manifest));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A byte of an archive is changed: it is refused, or what is loaded is what it says it is.
    #[test]
    fn damaged_archives_are_refused_or_sound(place in any::<prop::sample::Index>(), byte: u8) {
        let layer = crate::fixture::layer_tar("content");
        let config = crate::fixture::config("linux/amd64", &[&layer]).to_bytes();
        let manifest = br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l/layer.tar"]}]"#;
        let mut archive = tar_of(&[
            ("c.json", crate::fixture::Member::File(&config)),
            ("l/layer.tar", crate::fixture::Member::File(&layer)),
            ("manifest.json", crate::fixture::Member::File(manifest)),
        ]);
        let place = place.index(archive.len());
        archive[place] = byte;
        let fixture = Fixture::new();
        let layers = fixture.layers();
        if let Ok(loaded) = rbuild_image::archive::load(&layers, &archive[..], &[]) {
            let bytes = fixture.store.read_blob(&loaded[0].record.id, 1 << 20).unwrap();
            for diff_id in ImageConfig::parse(&bytes).unwrap().rootfs.diff_ids {
                prop_assert_eq!(fixture.store.read_blob(&diff_id.0, 1 << 20).unwrap(), layer.clone());
            }
        }
    }
}
