//! Manifests, indexes, configs, and the choice among them.

use crate::archive::is_docker_manifest;
use crate::config::ImageConfig;
use crate::error::ImageError;
use crate::layout::{name_of, reference_of, with_name, without_name};
use crate::manifest::{Descriptor, Document, Index};
use crate::media::{self, Kind};
use crate::platform::Platform;
use crate::select::{choose, leaves};

use super::names::matching;

/// Most documents that one choice may look at here.
const MAX_FETCHES: usize = 10_000;

const TYPES: [&str; 5] = [
    "",
    media::OCI_MANIFEST,
    media::OCI_INDEX,
    media::DOCKER_MANIFEST,
    media::DOCKER_INDEX,
];

/// Any bytes are a document or are refused; what is taken is written so that it is read as the same,
/// and no document is two things at once. NUL separates documents: the first is where a choice
/// begins, a descriptor's size says which of them it names.
pub fn manifests(input: &[u8]) {
    let documents: Vec<&[u8]> = input.split(|byte| *byte == 0).take(16).collect();
    for document in &documents {
        parse(document);
        config(document);
        let _is_docker = is_docker_manifest(document);
    }
    for media_type in TYPES {
        choice(&documents, media_type);
    }
}

fn parse(bytes: &[u8]) {
    let mut kinds = Vec::new();
    for media_type in TYPES {
        let Ok(document) = Document::parse(bytes, media_type) else {
            continue;
        };
        let written = match &document {
            Document::Manifest(manifest) => {
                kinds.push(Kind::Manifest);
                assert!(manifest.blobs().count() > manifest.layers.len());
                manifest.to_bytes()
            }
            Document::Index(index) => {
                kinds.push(Kind::Index);
                entries(index);
                index.to_bytes()
            }
        };
        let again = Document::parse(&written, media_type).expect("what was written is read");
        assert_eq!(again, document);
    }
    // Two readers of one digest must not see two images.
    assert!(kinds.windows(2).all(|pair| pair[0] == pair[1]), "{kinds:?}");
}

fn entries(index: &Index) {
    for entry in index.images() {
        assert!(!entry.is_attestation() && Kind::of(&entry.media_type).is_some());
    }
    for entry in &index.manifests {
        let _name = name_of(entry);
        if let Some(name) = reference_of(entry) {
            assert_eq!(reference_of(&with_name(entry, &name)), Some(name));
        }
        assert_eq!(name_of(&without_name(entry)), None);
    }
    let platforms = index.manifests.iter().filter_map(|e| e.platform.clone());
    let platforms: Vec<Platform> = platforms
        .filter(|platform| !platform.is_unknown())
        .take(8)
        .collect();
    for platform in &platforms {
        let _texts = (platform.describe(), platform.fallbacks());
    }
    let _plain: Vec<_> = platforms.iter().map(Platform::normalized).collect();
    if platforms.iter().all(|p| p.os_features.is_empty()) {
        matching(&platforms);
    }
}

fn config(bytes: &[u8]) {
    let Ok(config) = ImageConfig::parse(bytes) else {
        return;
    };
    let written = config.to_bytes();
    let again = ImageConfig::parse(&written).expect("what was written is read");
    assert_eq!(again.to_bytes(), written, "writing is stable");
    let _platform = config.platform();
}

fn choice(documents: &[&[u8]], media_type: &str) {
    let root = Descriptor::of(media_type, documents[0]);
    let mut n_fetches = 0;
    let mut fetch = |wanted: &Descriptor| -> Result<Vec<u8>, ImageError> {
        n_fetches += 1;
        assert!(n_fetches <= MAX_FETCHES, "it goes on and on");
        if wanted == &root {
            return Ok(documents[0].to_vec());
        }
        let place = usize::try_from(wanted.size).unwrap_or(0);
        let found = documents.get(place);
        found
            .map(|bytes| bytes.to_vec())
            .ok_or(ImageError::NoSuchBlob {
                digest: wanted.digest,
            })
    };
    let all = leaves(&root, &mut fetch);
    let platform = Platform::new("linux", "arm64");
    let Ok(chosen) = choose(&root, &platform, &mut fetch) else {
        return;
    };
    assert!(!chosen.descriptor.is_attestation() || chosen.descriptor == root);
    let all = all.expect("what can be chosen from can be listed");
    let place = all.iter().find(|leaf| leaf.descriptor == chosen.descriptor);
    let leaf = place.expect("what is chosen is among all");
    if leaf.descriptor != root
        && let Some(found) = &leaf.platform
    {
        assert!(platform.accepts(found), "{found:?}");
    }
}
