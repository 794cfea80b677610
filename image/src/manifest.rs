//! Manifests, indexes and descriptors: reading what others wrote, writing ours.
//!
//! Reading is lenient where the spec lets others extend it and strict where leniency is dangerous.
//! Documents are never written again once read: their bytes carry their digest.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::error::ImageError;
use crate::lenient::null_as_default;
use crate::media::{self, Format, Kind};
use crate::platform::Platform;

/// Largest manifest or index that is read, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The annotation that marks an attestation in BuildKit's indexes.
const ATTESTATION_ANNOTATION: &str = "vnd.docker.reference.type";

/// The annotation with the digest of the manifest that an attestation is about, and what it was called earlier.
const ATTESTED_ANNOTATION: &str = "vnd.docker.reference.digest";
const EARLIER_ATTESTED_ANNOTATION: &str = "com.docker.reference.digest";

/// Annotations: sorted, so that equal documents have equal bytes.
pub type Annotations = BTreeMap<String, String>;

/// Names content: what it is, how long it is, what its digest is.
///
/// Spec: <https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    #[serde(default, deserialize_with = "null_as_default")]
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content in bytes.
    pub size: u64,
    /// Where else the content can be had.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Vec<String>,
    /// Remarks.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: Annotations,
    /// What the image runs on; in indexes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Returns a descriptor with nothing but the necessary.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Returns the descriptor of `bytes`.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// Checks that `bytes` are what this names.
    ///
    /// # Errors
    /// [`ImageError::SizeMismatch`] before [`ImageError::DigestMismatch`].
    pub fn verify(&self, bytes: &[u8]) -> Result<(), ImageError> {
        check_content(self, Digest::of(bytes), bytes.len() as u64)
    }

    /// Reports whether this is an attestation: part of an index, but not an image.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.platform.as_ref().is_some_and(Platform::is_unknown)
            || self.annotations.contains_key(ATTESTATION_ANNOTATION)
    }

    /// Returns the digest of the manifest that this attestation is about.
    #[must_use]
    pub fn attests(&self) -> Option<Digest> {
        let mut names = [ATTESTED_ANNOTATION, EARLIER_ATTESTED_ANNOTATION].into_iter();
        names.find_map(|name| self.annotations.get(name)?.parse().ok())
    }
}

impl Index {
    /// Returns the entries that are attestations of `manifest`.
    pub fn attestations_of<'a>(
        &'a self,
        manifest: &'a Digest,
    ) -> impl Iterator<Item = &'a Descriptor> {
        self.manifests.iter().filter(|entry| {
            let about = entry.annotations.get(ATTESTED_ANNOTATION);
            entry.is_attestation() && about.and_then(|about| about.parse().ok()) == Some(*manifest)
        })
    }
}

/// Compares what was expected with what came.
pub(crate) fn check_content(
    expected: &Descriptor,
    digest: Digest,
    size: u64,
) -> Result<(), ImageError> {
    check_size(expected, size)?;
    if digest != expected.digest {
        return Err(ImageError::DigestMismatch {
            expected: expected.digest,
            found: digest,
        });
    }
    Ok(())
}

/// Compares the length that was expected with what came.
pub(crate) const fn check_size(expected: &Descriptor, size: u64) -> Result<(), ImageError> {
    if size == expected.size {
        return Ok(());
    }
    Err(ImageError::SizeMismatch {
        digest: expected.digest,
        expected_bytes: expected.size,
        found_bytes: size,
    })
}

/// One image: its config and its layers, base first.
///
/// Spec: <https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    #[serde(default = "schema_version")]
    pub schema_version: u64,
    /// Its own media type; empty if it does not say.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub media_type: String,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers, base first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest this one says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Remarks.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: Annotations,
}

impl Manifest {
    /// Returns the manifest of an image, written in `format`. `layers` are taken as they are.
    #[must_use]
    pub fn new(format: Format, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: format.manifest().to_owned(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Returns the bytes of the document: the same for equal manifests.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Returns every blob the manifest names: config, then layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// Reports whether this is an image, and not some other artifact.
    #[must_use]
    pub fn is_image(&self) -> bool {
        // Old tools wrote configs of docker's type as plain octets; those have rootfs layers.
        media::is_config(&self.config.media_type)
            || (self.artifact_type.is_none()
                && self.config.media_type == "application/octet-stream")
    }
}

/// Several images under one name.
///
/// Spec: <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    #[serde(default = "schema_version")]
    pub schema_version: u64,
    /// Its own media type; empty if it does not say.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub media_type: String,
    /// The type of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The images, in order. Entries that cannot be read (an unknown digest algorithm) are left
    /// out: they may be meant for other tools.
    #[serde(default, deserialize_with = "readable_descriptors")]
    pub manifests: Vec<Descriptor>,
    /// The manifest this one says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Remarks.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: Annotations,
}

impl Index {
    /// Returns an index written in `format`. `manifests` are taken as they are, in order.
    #[must_use]
    pub fn new(format: Format, manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: format.index().to_owned(),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Returns the bytes of the document: the same for equal indexes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Returns the entries that are images or indexes, without attestations.
    pub fn images(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests
            .iter()
            .filter(|entry| !entry.is_attestation() && Kind::of(&entry.media_type).is_some())
    }
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a few of them exist at a time")]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several images.
    Index(Index),
}

impl Document {
    /// Parses a document that was reached as `media_type`: a descriptor's type, or a registry's
    /// `Content-Type`. Empty, or a type that names no manifest, leaves it to the document itself.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] above [`MAX_MANIFEST_BYTES`]; [`ImageError::SchemaOne`];
    /// [`ImageError::AmbiguousDocument`] for a document that contradicts `media_type`, or could be
    /// read both ways; [`ImageError::BadDocument`] if it is not of the right shape.
    pub fn parse(bytes: &[u8], media_type: &str) -> Result<Self, ImageError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ImageError::TooLarge {
                what: "manifest".to_owned(),
                limit_bytes: MAX_MANIFEST_BYTES,
            });
        }
        match detect(bytes, media_type)? {
            Kind::Manifest => parse_json(bytes, "image manifest").map(Self::Manifest),
            Kind::Index => parse_json(bytes, "image index").map(Self::Index),
        }
    }

    /// Returns the media type to name the document by: what it says, else OCI's.
    #[must_use]
    pub fn media_type(&self) -> &str {
        match self {
            Self::Manifest(Manifest { media_type, .. }) if media_type.is_empty() => {
                media::OCI_MANIFEST
            }
            Self::Index(Index { media_type, .. }) if media_type.is_empty() => media::OCI_INDEX,
            Self::Manifest(Manifest { media_type, .. }) | Self::Index(Index { media_type, .. }) => {
                media_type
            }
        }
    }
}

/// The fields that tell documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    #[serde(default, deserialize_with = "null_as_default")]
    schema_version: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    media_type: String,
    manifests: Option<IgnoredAny>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

fn detect(bytes: &[u8], media_type: &str) -> Result<Kind, ImageError> {
    let outline: Outline = parse_json(bytes, "manifest")?;
    let own_type = outline.media_type.as_str();
    let is_schema_1 = media::is_schema_1(media_type)
        || media::is_schema_1(own_type)
        || outline.schema_version == 1
        || outline.fs_layers.is_some();
    if is_schema_1 {
        return Err(ImageError::SchemaOne);
    }
    let ambiguous = |reason: &str| ImageError::AmbiguousDocument {
        reason: reason.to_owned(),
    };
    // Two readers of such a document may see two different images under one digest
    // (CVE-2021-41190).
    let has_both =
        outline.manifests.is_some() && (outline.layers.is_some() || outline.config.is_some());
    if has_both {
        return Err(ambiguous(
            "it has both `manifests` and `layers` or `config`",
        ));
    }
    let given = media::essence(media_type);
    let given_kind = Kind::of(given);
    if given_kind.is_some() && !own_type.is_empty() && own_type != given {
        return Err(ambiguous(&format!(
            "it came as {given} and calls itself {own_type}"
        )));
    }
    let shape = if outline.manifests.is_some() {
        Some(Kind::Index)
    } else if outline.config.is_some() {
        Some(Kind::Manifest)
    } else {
        None
    };
    let kind = given_kind.or(Kind::of(own_type)).or(shape);
    match (kind, shape) {
        (Some(kind), Some(shape)) if kind != shape => {
            Err(ambiguous("its fields do not fit its media type"))
        }
        (Some(kind), _) => Ok(kind),
        (None, _) => Err(ambiguous("it is neither a manifest nor an index")),
    }
}

fn parse_json<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::BadDocument { what, source })
}

fn to_bytes(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("a document has only string keys")
}

fn readable_descriptors<'de, D>(deserializer: D) -> Result<Vec<Descriptor>, D::Error>
where
    D: Deserializer<'de>,
{
    let entries = Option::<Vec<Value>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(entries
        .into_iter()
        .filter_map(|entry| serde_json::from_value(entry).ok())
        .collect())
}

const fn schema_version() -> u64 {
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn manifest(fields: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"sha256:{HEX}","size":2}}{fields}}}"#
        )
    }

    fn check(bytes: &str, media_type: &str, expected: Result<Kind, &str>) {
        let found = match Document::parse(bytes.as_bytes(), media_type) {
            Ok(Document::Manifest(_)) => Ok(Kind::Manifest),
            Ok(Document::Index(_)) => Ok(Kind::Index),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(
            found,
            expected.map_err(str::to_owned),
            "{bytes} as {media_type}"
        );
    }

    #[test]
    fn kinds_are_told_apart() {
        let layers = manifest(r#","layers":null,"annotations":null"#);
        check(&layers, "", Ok(Kind::Manifest));
        check(&layers, "application/octet-stream", Ok(Kind::Manifest));
        check(
            &layers,
            "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
            Ok(Kind::Manifest),
        );
        check(r#"{"schemaVersion":2,"manifests":[]}"#, "", Ok(Kind::Index));
        check(
            r#"{"schemaVersion":2,"manifests":null}"#,
            media::DOCKER_INDEX,
            Ok(Kind::Index),
        );
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        check(
            &manifest(r#","layers":[],"manifests":[]"#),
            "",
            Err("refused an ambiguous manifest: it has both `manifests` and `layers` or `config`"),
        );
        check(
            &manifest(""),
            media::OCI_INDEX,
            Err("refused an ambiguous manifest: its fields do not fit its media type"),
        );
        check(
            &manifest(r#","mediaType":"application/vnd.oci.image.index.v1+json""#),
            "",
            Err("refused an ambiguous manifest: its fields do not fit its media type"),
        );
        check(
            &manifest(r#","mediaType":"application/vnd.oci.image.manifest.v1+json""#),
            media::DOCKER_MANIFEST,
            Err("refused an ambiguous manifest: it came as \
                 application/vnd.docker.distribution.manifest.v2+json and calls itself \
                 application/vnd.oci.image.manifest.v1+json"),
        );
        check(
            "{}",
            "",
            Err("refused an ambiguous manifest: it is neither a manifest nor an index"),
        );
        check(
            &manifest(r#","config":{}"#),
            "",
            Err("cannot read the manifest"),
        );
    }

    #[test]
    fn schema_1_is_named() {
        let text = "the registry returned a schema 1 manifest, which is obsolete";
        check(r#"{"schemaVersion":1}"#, "", Err(text));
        check(r#"{"fsLayers":[]}"#, "", Err(text));
        let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        check(&manifest(""), signed, Err(text));
    }

    #[test]
    fn an_entry_that_cannot_be_read_costs_only_itself() {
        let text = format!(
            r#"{{"manifests":[{{"digest":"sha512:00","size":1}},{{"mediaType":"new/type","digest":"sha256:{HEX}","size":2,"platform":{{"os":"linux","architecture":"arm","variant":null}}}}]}}"#
        );
        let Document::Index(index) = Document::parse(text.as_bytes(), "").unwrap() else {
            panic!("not an index");
        };
        assert_eq!(index.manifests.len(), 1);
        assert_eq!(index.manifests[0].media_type, "new/type");
        assert_eq!(index.images().count(), 0);
    }

    #[test]
    fn content_is_checked() {
        let descriptor = Descriptor::of(media::OCI_EMPTY, b"{}");
        assert_eq!(descriptor.digest.hex(), HEX);
        descriptor.verify(b"{}").unwrap();
        let error = |bytes| descriptor.verify(bytes).unwrap_err().to_string();
        assert!(
            error(b"{ }").contains("has 3 bytes instead of 2"),
            "{}",
            error(b"{ }")
        );
        assert!(error(b"[]").contains("has digest"), "{}", error(b"[]"));
    }

    #[test]
    fn what_is_written_is_what_others_read() {
        let config = Descriptor::of(media::OCI_CONFIG, b"{}");
        let mut layer = Descriptor::new(media::OCI_LAYER_GZIP, Digest::of(b"x"), 7);
        layer.annotations.insert("b".into(), "2".into());
        layer.annotations.insert("a".into(), "1".into());
        let manifest = Manifest::new(Format::Oci, config, vec![layer.clone()]);
        let bytes = manifest.to_bytes();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            format!(
                concat!(
                    r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","#,
                    r#""config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{hex}","size":2}},"#,
                    r#""layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{layer}","size":7,"annotations":{{"a":"1","b":"2"}}}}]}}"#
                ),
                hex = HEX,
                layer = layer.digest
            )
        );
        let theirs = oci_spec::image::ImageManifest::from_reader(&bytes[..]).unwrap();
        assert_eq!(theirs.layers()[0].size(), 7);
        let mut entry = Descriptor::of(media::OCI_MANIFEST, &bytes);
        entry.platform = Some(Platform::new("linux", "amd64"));
        let index = Index::new(Format::Oci, vec![entry]).to_bytes();
        let theirs = oci_spec::image::ImageIndex::from_reader(&index[..]).unwrap();
        assert_eq!(theirs.manifests().len(), 1);
        let Document::Manifest(again) = Document::parse(&bytes, "").unwrap() else {
            panic!("not a manifest");
        };
        assert_eq!(again, manifest);
    }
}
