//! Reading OCI layouts: folders of blobs with an `index.json`.
//!
//! A layout may come from anywhere, so nothing in it leads out of its folder.
//!
//! Spec: <https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md>

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::image::{ANNOTATION_REF_NAME, OciLayout};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::config::ImageConfig;
use crate::digest::Digest;
use crate::error::ImageError;
use crate::layer::{BlobFetcher, Origin};
use crate::manifest::{Descriptor, Document, Index, MAX_MANIFEST_BYTES};
use crate::media;
use crate::platform::Platform;
use crate::reference::{DEFAULT_TAG, Reference};
use crate::select::{Chosen, choose};
use crate::store::Verified;

/// The annotation that holds an image's full name, by containerd's and BuildKit's habit.
pub const ANNOTATION_IMAGE_NAME: &str = "io.containerd.image.name";

const SCHEME: &str = "oci-layout://";

/// Which image of a layout is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// None was named: the one tagged `latest`, else the only one.
    Default,
    /// The one with this tag.
    Tag(String),
    /// The one with this digest, named in `index.json` or not.
    Digest(Digest),
}

/// Splits `oci-layout://path[:tag|@digest]`; the scheme may be missing.
#[must_use]
pub fn parse_location(text: &str) -> (PathBuf, Selector) {
    let text = text.strip_prefix(SCHEME).unwrap_or(text);
    let (text, digest) = match text.rsplit_once('@').map(|(path, end)| (path, end.parse())) {
        Some((path, Ok(digest))) => (path, Some(digest)),
        _ => (text, None),
    };
    let (path, tag) = match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') && !path.is_empty() => (path, Some(tag)),
        _ => (text, None),
    };
    let selector = match (digest, tag) {
        (Some(digest), _) => Selector::Digest(digest),
        (None, Some(tag)) => Selector::Tag(tag.to_owned()),
        (None, None) => Selector::Default,
    };
    (PathBuf::from(path), selector)
}

/// An OCI layout that is open for reading.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    root: OwnedFd,
    index: Index,
}

impl Layout {
    /// Opens the layout in `path`.
    ///
    /// # Errors
    /// [`ImageError::NoLayout`] if `path` is none, or of another version;
    /// [`ImageError::BadDocument`] if its index cannot be read.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let no_layout = |reason: &str| ImageError::NoLayout {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| no_layout(&io::Error::from(errno).to_string()))?;
        let mut layout = Self {
            path: path.to_owned(),
            root,
            index: Index::new(media::Format::Oci, Vec::new()),
        };
        let marker = layout
            .read_file("oci-layout")
            .map_err(|error| no_layout(&format!("oci-layout: {error}")))?;
        let version = OciLayout::from_reader(&marker[..])
            .map_err(|error| no_layout(&format!("oci-layout: {error}")))?;
        if !version.image_layout_version().starts_with("1.") {
            return Err(no_layout(&format!(
                "unknown layout version {}",
                version.image_layout_version()
            )));
        }
        let bytes = layout
            .read_file("index.json")
            .map_err(|error| no_layout(&format!("index.json: {error}")))?;
        layout.index = match Document::parse(&bytes, media::OCI_INDEX)? {
            Document::Index(index) => index,
            Document::Manifest(_) => return Err(no_layout("index.json is not an index")),
        };
        Ok(layout)
    }

    /// Returns the folder of the layout.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what `index.json` holds.
    #[must_use]
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// Returns the descriptor of the image that `selector` means.
    ///
    /// # Errors
    /// [`ImageError::NotInLayout`], with what there is; [`ImageError::Io`].
    pub fn resolve(&self, selector: &Selector) -> Result<Descriptor, ImageError> {
        let entries: Vec<&Descriptor> = self.index.images().collect();
        let tagged = |tag: &str| {
            let mut entries = entries.iter();
            entries
                .find(|entry| has_tag(entry, tag))
                .map(|entry| (*entry).clone())
        };
        let found = match (selector, &entries[..]) {
            (Selector::Tag(tag), _) => tagged(tag),
            (Selector::Digest(digest), _) => self.by_digest(digest)?,
            (Selector::Default, [only]) => Some((*only).clone()),
            (Selector::Default, _) => tagged(DEFAULT_TAG),
        };
        found.ok_or_else(|| ImageError::NotInLayout {
            path: self.path.clone(),
            wanted: match selector {
                Selector::Tag(tag) => format!("tag {tag}"),
                Selector::Digest(digest) => format!("manifest {digest}"),
                Selector::Default => format!("tag {DEFAULT_TAG}"),
            },
            available: entries
                .iter()
                .map(|entry| name_of(entry).map_or_else(|| entry.digest.to_string(), str::to_owned))
                .collect(),
        })
    }

    /// Returns the manifest of the image that `selector` means for `platform`.
    ///
    /// # Errors
    /// Those of [`Layout::resolve`] and [`choose`].
    pub fn choose(&self, selector: &Selector, platform: &Platform) -> Result<Chosen, ImageError> {
        let target = self.resolve(selector)?;
        choose(&target, platform, &mut |blob| {
            self.read_blob(blob, ImageConfig::MAX_BYTES)
        })
    }

    /// Returns where the layer of `descriptor` can be had later on.
    #[must_use]
    pub fn origin(&self, descriptor: &Descriptor) -> Origin {
        Origin {
            kind: ORIGIN_KIND.to_owned(),
            location: fs_err::canonicalize(&self.path)
                .unwrap_or_else(|_gone| self.path.clone())
                .to_string_lossy()
                .into_owned(),
            descriptor: descriptor.clone(),
        }
    }

    /// Opens a blob. Its bytes are not checked.
    ///
    /// # Errors
    /// [`ImageError::NoSuchBlob`], [`ImageError::Io`]
    pub fn open_blob(&self, digest: &Digest) -> Result<fs_err::File, ImageError> {
        let name = format!("blobs/sha256/{}", digest.hex());
        self.open_file(&name).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                ImageError::NoSuchBlob { digest: *digest }
            } else {
                ImageError::io(format!("open blob {digest}"))(error)
            }
        })
    }

    /// Returns the content of `descriptor`, checked; for manifests and configs.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] above `limit_bytes`; [`ImageError::SizeMismatch`],
    /// [`ImageError::DigestMismatch`]; those of [`Layout::open_blob`].
    pub fn read_blob(
        &self,
        descriptor: &Descriptor,
        limit_bytes: u64,
    ) -> Result<Vec<u8>, ImageError> {
        if descriptor.size > limit_bytes {
            return Err(ImageError::TooLarge {
                what: format!("blob {}", descriptor.digest),
                limit_bytes,
            });
        }
        let mut bytes = Vec::new();
        self.open_blob(&descriptor.digest)?
            .take(descriptor.size + 1)
            .read_to_end(&mut bytes)
            .map_err(ImageError::io(format!("read blob {}", descriptor.digest)))?;
        descriptor.verify(&bytes)?;
        Ok(bytes)
    }

    /// Returns a reader of a blob that checks it.
    ///
    /// # Errors
    /// Those of [`Layout::open_blob`].
    pub fn verified_blob(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Verified<fs_err::File>, ImageError> {
        let file = self.open_blob(&descriptor.digest)?;
        Ok(Verified::new(file, descriptor.clone()))
    }

    fn by_digest(&self, digest: &Digest) -> Result<Option<Descriptor>, ImageError> {
        let mut entries = self.index.manifests.iter();
        if let Some(entry) = entries.find(|entry| entry.digest == *digest) {
            return Ok(Some(entry.clone()));
        }
        // A manifest inside an index is not in `index.json`.
        let file = match self.open_blob(digest) {
            Err(ImageError::NoSuchBlob { .. }) => return Ok(None),
            other => other?,
        };
        let size = file
            .metadata()
            .map_err(ImageError::io(format!("read blob {digest}")))?
            .len();
        let mut descriptor = Descriptor::new("", *digest, size);
        let bytes = self.read_blob(&descriptor, MAX_MANIFEST_BYTES)?;
        let document = Document::parse(&bytes, "")?;
        document.media_type().clone_into(&mut descriptor.media_type);
        Ok(Some(descriptor))
    }

    fn read_file(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(name)?
            .take(MAX_MANIFEST_BYTES + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Opens a regular file; links are followed, but not out of the layout.
    fn open_file(&self, name: &str) -> io::Result<fs_err::File> {
        // A pipe must not make us wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(&self.root, name, flags, Mode::empty(), resolve);
        let fd = match opened {
            // Old kernels, and sandboxes that know only old kernels.
            Err(Errno::NOSYS | Errno::PERM) => open_by_component(&self.root, name, flags),
            other => other,
        }
        .map_err(io::Error::from)?;
        let file = fs_err::File::from_parts(std::fs::File::from(fd), self.path.join(name));
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{}` is not a file", file.path().display()),
            ))
        }
    }
}

/// The kind of [`Origin`] of layers that are in a layout; its location is the layout's folder.
pub const ORIGIN_KIND: &str = "oci-layout";

/// Fetches layers from the layouts they are in.
#[derive(Debug, Clone, Copy)]
pub struct LayoutFetcher;

impl BlobFetcher for LayoutFetcher {
    fn fetch(&self, origin: &Origin) -> Result<Box<dyn Read + Send>, ImageError> {
        let fail = |source| ImageError::Fetch {
            digest: origin.descriptor.digest,
            origin: format!("{} {}", origin.kind, origin.location),
            source,
        };
        if origin.kind != ORIGIN_KIND {
            return Err(fail("not an OCI layout".into()));
        }
        Layout::open(Path::new(&origin.location))
            .and_then(|layout| layout.open_blob(&origin.descriptor.digest))
            .map(|file| Box::new(file) as Box<dyn Read + Send>)
            .map_err(|error| fail(error.into()))
    }
}

/// Returns the name an entry of `index.json` has: its full name, else what stands for the tag.
#[must_use]
pub fn name_of(entry: &Descriptor) -> Option<&str> {
    let annotations = &entry.annotations;
    annotations
        .get(ANNOTATION_IMAGE_NAME)
        .or_else(|| annotations.get(ANNOTATION_REF_NAME))
        .map(String::as_str)
}

/// Returns the full name of an entry, if it has one that can be given to an image. A mere tag
/// (`1.0`) names no repository.
#[must_use]
pub fn reference_of(entry: &Descriptor) -> Option<Reference> {
    let full = entry.annotations.get(ANNOTATION_IMAGE_NAME);
    let habit = entry.annotations.get(ANNOTATION_REF_NAME);
    full.or(habit.filter(|name| name.contains(['/', ':'])))
        .and_then(|name| Reference::parse(name).ok())
        .map(Reference::with_default_tag)
}

/// Returns an entry with a name that has a tag: containerd and BuildKit read one annotation, skopeo
/// and buildah the other.
#[must_use]
pub fn with_name(entry: &Descriptor, name: &Reference) -> Descriptor {
    let mut entry = without_name(entry);
    let full = Reference {
        digest: None,
        ..name.clone()
    };
    let mut annotate = |key: &str, value: String| entry.annotations.insert(key.to_owned(), value);
    annotate(ANNOTATION_IMAGE_NAME, full.to_string());
    if let Some(tag) = full.tag {
        annotate(ANNOTATION_REF_NAME, tag);
    }
    entry
}

/// Returns an entry without its name: a name belongs to one `index.json`, not to the image.
#[must_use]
pub fn without_name(entry: &Descriptor) -> Descriptor {
    let mut entry = entry.clone();
    entry.annotations.remove(ANNOTATION_IMAGE_NAME);
    entry.annotations.remove(ANNOTATION_REF_NAME);
    entry
}

fn has_tag(entry: &Descriptor, tag: &str) -> bool {
    let is_ref_name = entry
        .annotations
        .get(ANNOTATION_REF_NAME)
        .is_some_and(|name| name == tag);
    is_ref_name || reference_of(entry).is_some_and(|reference| reference.tag() == Some(tag))
}

/// Opens a file without following any link.
fn open_by_component(root: &OwnedFd, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW;
    let mut fd: Option<OwnedFd> = None;
    for component in name.split('/') {
        let folder = fd.as_ref().unwrap_or(root);
        fd = Some(rustix::fs::openat(folder, component, flags, Mode::empty())?);
    }
    fd.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Format;

    #[test]
    fn locations_are_split() {
        let digest = Digest::of(b"x");
        let check = |text: &str, path: &str, selector: Selector| {
            assert_eq!(
                parse_location(text),
                (PathBuf::from(path), selector),
                "{text}"
            );
        };
        let tag = |tag: &str| Selector::Tag(tag.to_owned());
        check("oci-layout://a/b", "a/b", Selector::Default);
        check("oci-layout:///a/b:1.0", "/a/b", tag("1.0"));
        check(&format!("a/b@{digest}"), "a/b", Selector::Digest(digest));
        check(&format!("a/b:1@{digest}"), "a/b", Selector::Digest(digest));
        check("a:b/c", "a:b/c", Selector::Default);
        check("a@b", "a@b", Selector::Default);
    }

    /// Makes a layout whose entries have the given annotations.
    fn layout(names: &[(&str, &str)]) -> (tempfile::TempDir, Vec<Digest>) {
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("blobs/sha256");
        fs_err::create_dir_all(&blobs).unwrap();
        let entries: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(n, (key, name))| {
                let config = Descriptor::of(media::OCI_CONFIG, n.to_string().as_bytes());
                let bytes = crate::manifest::Manifest::new(Format::Oci, config, vec![]).to_bytes();
                let mut entry = Descriptor::of(media::OCI_MANIFEST, &bytes);
                fs_err::write(blobs.join(entry.digest.hex()), bytes).unwrap();
                if !key.is_empty() {
                    entry
                        .annotations
                        .insert((*key).to_owned(), (*name).to_owned());
                }
                entry
            })
            .collect();
        let digests = entries.iter().map(|entry| entry.digest).collect();
        let index = Index::new(Format::Oci, entries).to_bytes();
        fs_err::write(folder.path().join("index.json"), index).unwrap();
        fs_err::write(folder.path().join("oci-layout"), crate::store::oci_layout()).unwrap();
        (folder, digests)
    }

    #[test]
    fn images_are_found_by_tag_digest_or_alone() {
        let (folder, digests) = layout(&[
            (ANNOTATION_REF_NAME, "1"),
            (ANNOTATION_IMAGE_NAME, "docker.io/library/app:latest"),
            ("", ""),
        ]);
        let layout = Layout::open(folder.path()).unwrap();
        let found = |selector| layout.resolve(&selector).map(|found| found.digest);
        assert_eq!(found(Selector::Tag("1".into())).unwrap(), digests[0]);
        assert_eq!(found(Selector::Default).unwrap(), digests[1]);
        assert_eq!(found(Selector::Digest(digests[2])).unwrap(), digests[2]);
        let error = found(Selector::Tag("2".into())).unwrap_err().to_string();
        let expected = format!(
            "has no tag 2 (it has 1, docker.io/library/app:latest, {})",
            digests[2]
        );
        assert!(error.ends_with(&expected), "{error}");
        found(Selector::Digest(Digest::of(b"none"))).unwrap_err();
        let entry = reference_of(&layout.index().manifests[1]).unwrap();
        assert_eq!(entry.familiar(), "app:latest");
        assert_eq!(reference_of(&layout.index().manifests[0]), None);
    }

    #[test]
    fn the_only_image_needs_no_name() {
        let (folder, digests) = layout(&[(ANNOTATION_REF_NAME, "odd")]);
        let layout = Layout::open(folder.path()).unwrap();
        assert_eq!(
            layout.resolve(&Selector::Default).unwrap().digest,
            digests[0]
        );
    }

    #[test]
    fn a_manifest_need_not_be_in_the_index() {
        let (folder, digests) = layout(&[("", "")]);
        let empty = Index::new(Format::Oci, Vec::new()).to_bytes();
        fs_err::write(folder.path().join("index.json"), empty).unwrap();
        let layout = Layout::open(folder.path()).unwrap();
        let found = layout.resolve(&Selector::Digest(digests[0])).unwrap();
        assert_eq!(found.media_type, media::OCI_MANIFEST);
        layout.read_blob(&found, MAX_MANIFEST_BYTES).unwrap();
    }

    #[test]
    fn nothing_leads_out() {
        let (folder, digests) = layout(&[("", "")]);
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(outside.path(), "secret").unwrap();
        let blob = folder.path().join("blobs/sha256").join(digests[0].hex());
        fs_err::remove_file(&blob).unwrap();
        std::os::unix::fs::symlink(outside.path(), &blob).unwrap();
        let layout = Layout::open(folder.path()).unwrap();
        layout.open_blob(&digests[0]).unwrap_err();
        let name = format!("blobs/sha256/{}", digests[0].hex());
        open_by_component(&layout.root, &name, OFlags::RDONLY).unwrap_err();
        fs_err::remove_file(&blob).unwrap();
        fs_err::create_dir(&blob).unwrap();
        layout.open_blob(&digests[0]).unwrap_err();
    }

    #[test]
    fn a_folder_that_is_no_layout_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = || Layout::open(folder.path()).unwrap_err().to_string();
        assert!(error().contains("is not an OCI layout"), "{}", error());
        fs_err::write(
            folder.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"2.0.0"}"#,
        )
        .unwrap();
        assert!(
            error().ends_with("unknown layout version 2.0.0"),
            "{}",
            error()
        );
    }
}
