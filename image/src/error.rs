//! What can go wrong with images.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::digest::{DiffId, Digest};

/// An error about an image, a layer, a blob, a reference or an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Not a SHA-256 digest.
    #[error("`{text}` is not a sha256 digest")]
    BadDigest {
        /// What was given.
        text: String,
    },
    /// Not a reference; the message is docker's.
    #[error("{fault}")]
    BadReference {
        /// What was given.
        text: String,
        /// What is wrong with it.
        fault: ReferenceFault,
    },
    /// Not a platform; the message is containerd's.
    #[error("{reason}: invalid argument")]
    BadPlatform {
        /// What is wrong.
        reason: String,
    },
    /// Content that is not what its digest says.
    #[error("blob {expected} has digest {found}")]
    DigestMismatch {
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A blob of the store that is not what it was when it was stored.
    #[error("blob {digest} of the local store was damaged; it has been removed, try again")]
    DamagedBlob {
        /// What it should be.
        digest: Digest,
    },
    /// Content that is not as long as its descriptor says.
    #[error("blob {digest} has {found_bytes} bytes instead of {expected_bytes}")]
    SizeMismatch {
        /// The content.
        digest: Digest,
        /// Its length by its descriptor.
        expected_bytes: u64,
        /// Its length.
        found_bytes: u64,
    },
    /// A blob that should be there is not.
    #[error("blob {digest} is not in the local store")]
    NoSuchBlob {
        /// The blob.
        digest: Digest,
    },
    /// A store whose version cannot be read.
    #[error("{} does not say which format the store has; if it is a store of rbuild, write {} into it", root.join("VERSION").display(), crate::store::FORMAT_VERSION)]
    BadVersion {
        /// The store.
        root: PathBuf,
    },
    /// A store of a later version.
    #[error("the store in {} has format {found}, this program knows up to {supported}", root.display())]
    NewerStore {
        /// The store.
        root: PathBuf,
        /// Its format.
        found: String,
        /// The newest format that is understood.
        supported: u32,
    },
    /// An argument that names no image.
    #[error("No such image: {name}")]
    NoSuchImage {
        /// The name as it was looked for.
        name: String,
    },
    /// An argument with which the IDs of several images begin.
    #[error("`{prefix}` is the beginning of more than one image ID")]
    AmbiguousId {
        /// The argument.
        prefix: String,
    },
    /// An ID that is to be removed, of an image that has names in several repositories.
    #[error(
        "conflict: unable to delete {short_id} (must be forced) - image is referenced in multiple repositories"
    )]
    ManyRepositories {
        /// The first twelve digits.
        short_id: String,
    },
    /// An image that cannot be written out because the store has not all of it.
    #[error("blob {digest} of {image} is not in the local store; run rbuild pull {image}")]
    MissingBlob {
        /// The blob.
        digest: Digest,
        /// The image's name, else the digest of its manifest.
        image: String,
    },
    /// An image that has no manifest yet.
    #[error("image {id} has no manifest yet")]
    NoManifest {
        /// Digest of its config.
        id: Digest,
    },
    /// A stream that is no archive of images.
    #[error("unrecognized image format")]
    UnknownArchive,
    /// A stream without a byte.
    #[error("unexpected EOF")]
    EmptyArchive,
    /// A file that an archive of images should have.
    #[error("the archive has no {name}")]
    NotInArchive {
        /// Its path, or the digest of its content.
        name: String,
    },
    /// A manifest and a config that disagree.
    #[error("invalid manifest, layers length mismatch: expected {n_layers}, got {n_diff_ids}")]
    LayerCount {
        /// Layers by the manifest.
        n_layers: usize,
        /// Layers by the config.
        n_diff_ids: usize,
    },
    /// An image whose parts disagree.
    #[error("image {manifest} is inconsistent: {problem}")]
    Inconsistent {
        /// Digest of its manifest.
        manifest: Digest,
        /// What does not fit.
        problem: String,
    },
    /// A folder that is not an OCI layout.
    #[error("{} is not an OCI layout: {reason}", path.display())]
    NoLayout {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// An image that an OCI layout does not have.
    #[error("{} has no {wanted} (it has {})", path.display(), available.join(", "))]
    NotInLayout {
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// A manifest of docker's first format.
    #[error("the registry returned a schema 1 manifest, which is obsolete")]
    SchemaOne,
    /// A document that could be read as two different things.
    #[error("refused an ambiguous manifest: {reason}")]
    AmbiguousDocument {
        /// Why.
        reason: String,
    },
    /// Indexes inside indexes inside indexes.
    #[error("the image index {digest} is nested too deeply")]
    NestedTooDeeply {
        /// The index that is too much.
        digest: Digest,
    },
    /// An index without an image for the platform.
    #[error(
        "no matching manifest for {wanted} in the manifest list entries (it has {})",
        available.join(", ")
    )]
    NoMatchingPlatform {
        /// What was wanted.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// A document that is longer than anything sensible.
    #[error("{what} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The document.
        what: String,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// More of something than anything sensible has.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// What is allowed.
        limit: usize,
    },
    /// JSON that is not what it should be.
    #[error("cannot read the {what}")]
    BadDocument {
        /// The kind of document.
        what: &'static str,
        /// Where it fails.
        source: serde_json::Error,
    },
    /// The operating system refused.
    #[error("cannot {action}")]
    Io {
        /// What was being done, e.g. `store a blob`.
        action: String,
        /// The system's answer; it names the path.
        source: io::Error,
    },
    /// An archive as a whole that cannot be read: a bad header, an early end.
    #[error("the archive is damaged: {problem}")]
    BadArchive {
        /// What is wrong.
        problem: String,
    },
    /// An archive entry that cannot be, or must not be, unpacked.
    #[error("archive entry `{entry}`: {problem}")]
    Archive {
        /// Its path, made printable.
        entry: String,
        /// What is wrong.
        problem: String,
    },
    /// A layer entry that no layer can have.
    #[error("layer entry `{path}`: {problem}")]
    BadEntry {
        /// Its path, made printable.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A layer index file that is not what was once written.
    #[error("the layer index is damaged: {problem}")]
    BadIndex {
        /// What is wrong.
        problem: String,
    },
    /// A file had more or fewer bytes than its entry says; it probably changed meanwhile.
    #[error("`{path}` does not have the {expected_bytes} bytes that it had at first")]
    ContentSize {
        /// Its path, made printable.
        path: String,
        /// The size in its entry.
        expected_bytes: u64,
    },
    /// Symbolic links that lead to one another (or more than 255 of them).
    #[error("too many levels of symbolic links in `{path}`")]
    LinkLoop {
        /// The path that was being resolved, made printable.
        path: String,
    },
    /// A layer whose bytes are not the ones its diff ID names.
    #[error("layer {expected} has diff ID {found}")]
    DiffIdMismatch {
        /// What it should be.
        expected: DiffId,
        /// What it is.
        found: DiffId,
    },
    /// A layer of which nothing is stored here and no origin is known.
    #[error("layer {diff_id} is not in the store, and where it came from is not known")]
    LayerUnavailable {
        /// Its diff ID.
        diff_id: DiffId,
    },
    /// A blob that its origin did not give.
    #[error("cannot fetch blob {digest} from {origin}")]
    Fetch {
        /// The blob.
        digest: Digest,
        /// Where it should be.
        origin: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ImageError {
    /// Returns a function that wraps an I/O error with what was being done (`store a blob`).
    pub fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Returns the error of this crate that came through a reader or writer, else what
    /// [`ImageError::io`] makes of it.
    pub(crate) fn unwrap_io(action: &str, error: io::Error) -> Self {
        error
            .downcast::<Self>()
            .unwrap_or_else(|error| Self::io(action)(error))
    }
}

/// What is wrong with a reference, in docker's words.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReferenceFault {
    /// It does not follow the grammar.
    Format,
    /// The repository has upper-case letters.
    UpperCase {
        /// The repository, normalised.
        path: String,
    },
    /// The repository is longer than 255 bytes.
    TooLong,
    /// 64 hexadecimal digits name an image ID, never a repository.
    LooksLikeId {
        /// The digits.
        name: String,
    },
    /// The host has an underscore. Docker takes such a name and then has no registry for it.
    OddDomain {
        /// The host.
        domain: String,
    },
    /// The digest has the wrong number of digits for its algorithm.
    DigestLength,
    /// The digest has upper-case letters.
    DigestFormat,
    /// The digest is of an algorithm other than SHA-256.
    DigestAlgorithm,
}

impl fmt::Display for ReferenceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => f.write_str("invalid reference format"),
            Self::UpperCase { path } => write!(
                f,
                "invalid reference format: repository name ({path}) must be lowercase"
            ),
            Self::TooLong => f.write_str("repository name must not be more than 255 characters"),
            Self::LooksLikeId { name } => write!(
                f,
                "invalid repository name ({name}), cannot specify 64-byte hexadecimal strings"
            ),
            Self::OddDomain { domain } => write!(
                f,
                "invalid reference format: registry host name ({domain}) must not contain an underscore"
            ),
            Self::DigestLength => f.write_str("invalid checksum digest length"),
            Self::DigestFormat => f.write_str("invalid checksum digest format"),
            Self::DigestAlgorithm => f.write_str("unsupported digest algorithm"),
        }
    }
}
