//! An image to serve.

use rbuild_image::digest::Digest;
use rbuild_image::manifest::Descriptor;
use rbuild_image::media::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};

use crate::server::{Answer, Seen};

/// One layer, one config, one manifest. The layer is not a real tar: nobody looks into it here.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) layer: Vec<u8>,
    pub(crate) layer_descriptor: Descriptor,
    pub(crate) config: Vec<u8>,
    pub(crate) config_descriptor: Descriptor,
    pub(crate) manifest: Vec<u8>,
    pub(crate) manifest_descriptor: Descriptor,
}

impl Image {
    pub(crate) fn new(layer_bytes: usize) -> Self {
        let layer = noise(layer_bytes);
        let layer_descriptor = Descriptor::of(OCI_LAYER, &layer);
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            layer_descriptor.digest
        )
        .into_bytes();
        let config_descriptor = Descriptor::of(OCI_CONFIG, &config);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor_json(&config_descriptor),
            descriptor_json(&layer_descriptor),
        )
        .into_bytes();
        let manifest_descriptor = Descriptor::of(OCI_MANIFEST, &manifest);
        Self {
            layer,
            layer_descriptor,
            config,
            config_descriptor,
            manifest,
            manifest_descriptor,
        }
    }

    /// What a well-behaved registry answers.
    pub(crate) fn serve(&self, seen: &Seen) -> Answer {
        let target = seen.target.as_str();
        let is = |digest: &Digest| target.ends_with(&digest.to_string());
        if target.contains("/manifests/")
            && (target.ends_with("/1") || is(&self.manifest_descriptor.digest))
        {
            Answer::new(200, self.manifest.clone())
                .header("Content-Type", OCI_MANIFEST)
                .header(
                    "Docker-Content-Digest",
                    &self.manifest_descriptor.digest.to_string(),
                )
        } else if target.contains("/blobs/") && is(&self.layer_descriptor.digest) {
            Answer::part(seen, &self.layer)
        } else if target.contains("/blobs/") && is(&self.config_descriptor.digest) {
            Answer::part(seen, &self.config)
        } else {
            Answer::new(
                404,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
            )
        }
    }
}

fn descriptor_json(descriptor: &Descriptor) -> String {
    let Descriptor {
        media_type,
        digest,
        size,
        ..
    } = descriptor;
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

/// Bytes without a pattern, the same every time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state: u32 = 0x9e37_79b9;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..length).map(|_| next()).collect()
}
