//! Media types, and what bytes are compressed with.
//!
//! Spec: <https://github.com/opencontainers/image-spec/blob/v1.1.1/media-types.md> and
//! <https://distribution.github.io/distribution/spec/manifest-v2-2/>.

/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, uncompressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The empty JSON object, config of artifacts.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, uncompressed.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, zstd: never specified, but in use.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const DOCKER_SCHEMA_1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// Every manifest type that is understood, the answer to `Accept`. A registry that is asked for
/// fewer may answer with a schema 1 document made on the fly.
pub const ACCEPTED: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// What a manifest document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One image: a config and layers.
    Manifest,
    /// Several images: a list of descriptors.
    Index,
}

impl Kind {
    /// Returns the kind that a media type names; parameters (`; charset=…`) are ignored. `None`
    /// for everything that is neither a manifest nor an index.
    #[must_use]
    pub fn of(media_type: &str) -> Option<Self> {
        match essence(media_type) {
            OCI_MANIFEST | DOCKER_MANIFEST => Some(Self::Manifest),
            OCI_INDEX | DOCKER_INDEX => Some(Self::Index),
            _ => None,
        }
    }
}

/// The family of media types a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// OCI image spec 1.1.
    #[default]
    Oci,
    /// Docker image manifest V2, schema 2.
    Docker,
}

impl Format {
    /// Returns the media type of a manifest.
    #[must_use]
    pub const fn manifest(self) -> &'static str {
        match self {
            Self::Oci => OCI_MANIFEST,
            Self::Docker => DOCKER_MANIFEST,
        }
    }

    /// Returns the media type of an index.
    #[must_use]
    pub const fn index(self) -> &'static str {
        match self {
            Self::Oci => OCI_INDEX,
            Self::Docker => DOCKER_INDEX,
        }
    }

    /// Returns the media type of an image config.
    #[must_use]
    pub const fn config(self) -> &'static str {
        match self {
            Self::Oci => OCI_CONFIG,
            Self::Docker => DOCKER_CONFIG,
        }
    }

    /// Returns the media type of a layer tar; `None` for an encoding that layers cannot have.
    #[must_use]
    pub const fn layer(self, encoding: Encoding) -> Option<&'static str> {
        Some(match (self, encoding) {
            (Self::Oci, Encoding::Plain) => OCI_LAYER,
            (Self::Oci, Encoding::Gzip) => OCI_LAYER_GZIP,
            (Self::Oci, Encoding::Zstd) => OCI_LAYER_ZSTD,
            (Self::Docker, Encoding::Plain) => DOCKER_LAYER,
            (Self::Docker, Encoding::Gzip) => DOCKER_LAYER_GZIP,
            (Self::Docker, Encoding::Zstd) => DOCKER_LAYER_ZSTD,
            (_, Encoding::Xz | Encoding::Bzip2) => return None,
        })
    }
}

/// What a stream is compressed with, judged by its bytes: media types and file names lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// Not compressed, or not known.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The .xz file format.
    Xz,
    /// bzip2.
    Bzip2,
}

impl Encoding {
    /// Number of bytes [`Encoding::sniff`] wants to see.
    pub const SNIFF_BYTES: usize = 10;

    /// Returns what a stream that begins with `start` is compressed with.
    #[must_use]
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // The second form is a skippable frame, which chunked zstd layers begin with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // The block's magic belongs to it: a tar entry may well be named `BZh1…`.
            [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x31,
                0x41,
                0x59,
                0x26,
                0x53,
                0x59,
                ..,
            ]
            | [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x17,
                0x72,
                0x45,
                0x38,
                0x50,
                0x90,
                ..,
            ] => Self::Bzip2,
            _ => Self::Plain,
        }
    }
}

/// Reports whether a media type is a layer tar of some kind, foreign ones included.
#[must_use]
pub fn is_layer(media_type: &str) -> bool {
    let media_type = essence(media_type);
    [
        "application/vnd.oci.image.layer.",
        "application/vnd.docker.image.rootfs.",
    ]
    .iter()
    .any(|prefix| media_type.starts_with(prefix))
}

/// Returns what a media type says that a layer is compressed with; its bytes may say otherwise.
/// `None` for what is no layer, or compressed in a way that is not known.
#[must_use]
pub fn layer_encoding(media_type: &str) -> Option<Encoding> {
    let name = essence(media_type);
    match name.rsplit(['.', '+']).next() {
        _ if !is_layer(name) => None,
        Some("gzip") => Some(Encoding::Gzip),
        Some("zstd") => Some(Encoding::Zstd),
        Some("tar") => Some(Encoding::Plain),
        _ => None,
    }
}

/// Reports whether a layer is fetched from its `urls` and not pushed without being asked for.
#[must_use]
pub fn is_foreign_layer(media_type: &str) -> bool {
    let media_type = essence(media_type);
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

/// Reports whether a media type is an image config (and not an artifact's).
#[must_use]
pub fn is_config(media_type: &str) -> bool {
    matches!(essence(media_type), OCI_CONFIG | DOCKER_CONFIG)
}

/// Reports whether a media type is docker's schema 1, which nothing reads any more.
#[must_use]
pub fn is_schema_1(media_type: &str) -> bool {
    matches!(
        essence(media_type),
        DOCKER_SCHEMA_1 | DOCKER_SCHEMA_1_SIGNED
    )
}

/// Strips parameters and blanks.
pub(crate) fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use oci_spec::image::MediaType;

    use super::*;

    #[test]
    fn names_are_the_specs() {
        for (ours, theirs) in [
            (OCI_INDEX, MediaType::ImageIndex),
            (OCI_MANIFEST, MediaType::ImageManifest),
            (OCI_CONFIG, MediaType::ImageConfig),
            (OCI_LAYER, MediaType::ImageLayer),
            (OCI_LAYER_GZIP, MediaType::ImageLayerGzip),
            (OCI_LAYER_ZSTD, MediaType::ImageLayerZstd),
            (OCI_EMPTY, MediaType::EmptyJSON),
        ] {
            assert_eq!(MediaType::from(ours), theirs);
        }
    }

    #[test]
    fn encodings_are_seen_in_the_bytes() {
        let check = |start: &[u8], expected| assert_eq!(Encoding::sniff(start), expected);
        check(b"", Encoding::Plain);
        check(b"\x1f\x8b\x08", Encoding::Gzip);
        check(b"\x28\xb5\x2f\xfd", Encoding::Zstd);
        check(b"\x5e\x2a\x4d\x18", Encoding::Zstd);
        check(b"\xfd7zXZ\0\0", Encoding::Xz);
        check(b"BZh91AY&SY", Encoding::Bzip2);
        check(b"BZh9.txt\0\0", Encoding::Plain);
    }

    #[test]
    fn layers_are_told_from_the_rest() {
        assert!(is_layer(DOCKER_LAYER_ZSTD) && is_layer(OCI_LAYER));
        assert!(!is_layer(OCI_CONFIG) && !is_layer("application/vnd.in-toto+json"));
        for format in [Format::Oci, Format::Docker] {
            for encoding in [Encoding::Plain, Encoding::Gzip, Encoding::Zstd] {
                let media_type = format.layer(encoding).unwrap();
                assert_eq!(layer_encoding(media_type), Some(encoding), "{media_type}");
            }
        }
        assert_eq!(layer_encoding("application/gzip"), None);
        assert!(is_foreign_layer(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        ));
        assert!(is_schema_1(
            "application/vnd.docker.distribution.manifest.v1+prettyjws; charset=utf-8"
        ));
        assert_eq!(Kind::of("application/json"), None);
        assert_eq!(Kind::of(DOCKER_INDEX), Some(Kind::Index));
    }
}
