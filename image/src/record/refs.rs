//! Looking up names, and taking them away.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::ImageError;
use crate::record::ImageRecord;
use crate::reference::Reference;
use crate::store::{Store, ignore_missing};

const TAGS: &str = "_tags";
const DIGESTS: &str = "_digests";

/// A name and what it stands for, or an image without a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name; `None` for an image that has none.
    pub reference: Option<Reference>,
    /// The image.
    pub record: ImageRecord,
}

/// A file that should hold an [`ImageRecord`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordFile {
    /// From the store's folder on.
    pub(crate) path: PathBuf,
    /// False: it is an image's own.
    pub(crate) is_name: bool,
}

/// While it lives, nobody else gives or takes names.
#[derive(Debug)]
pub struct NameLock {
    _file: fs_err::File,
}

impl Store {
    /// Takes a name away and returns the image it stood for. The image stays.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn untag(&self, reference: &Reference) -> Result<Option<ImageRecord>, ImageError> {
        let _lock = self.lock_names()?;
        self.untag_locked(reference)
    }

    /// Returns what a name stands for: its digest if it has one, else its tag, else `latest`.
    ///
    /// # Errors
    /// [`ImageError::Io`], [`ImageError::BadDocument`]
    pub fn image_by_reference(
        &self,
        reference: &Reference,
    ) -> Result<Option<ImageRecord>, ImageError> {
        if let Some(found) = read_record(&self.root().join(ref_path(reference)))? {
            return Ok(Some(found));
        }
        let Some(digest) = reference.digest() else {
            return Ok(None);
        };
        // Loaded and built images have names, but nobody has asked for their digests yet.
        Ok(self
            .list_repository(reference)?
            .into_iter()
            .map(|listed| listed.record)
            .find(|record| {
                let manifests = record.images.iter().flat_map(|image| &image.manifest);
                record
                    .index
                    .iter()
                    .chain(manifests)
                    .any(|found| found.digest == digest)
            }))
    }

    /// Returns the tags of one repository, sorted.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn list_repository(&self, repository: &Reference) -> Result<Vec<Listed>, ImageError> {
        let tags = repo_path(repository).join(TAGS);
        let mut found = Vec::new();
        for (stem, path) in json_files(&self.root().join(tags))? {
            let mut reference = repository.repository();
            reference.tag = Some(stem);
            push_listed(&mut found, reference, &path);
        }
        Ok(found)
    }

    /// Returns all names, sorted, each with its image; then the images that have none.
    ///
    /// Files that cannot be read are left out: one of them must not hide all the others.
    ///
    /// # Errors
    /// [`ImageError::Io`] if a folder cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        let refs = self.root().join("refs");
        let mut found = Vec::new();
        for domain in sub_folders(&refs)? {
            let mut pending = vec![(PathBuf::new(), refs.join(&domain))];
            while let Some((path, folder)) = pending.pop() {
                let repository = Reference {
                    domain: domain.clone(),
                    path: path.to_string_lossy().into_owned(),
                    tag: None,
                    digest: None,
                };
                list_folder(&mut found, &repository, &folder)?;
                for name in sub_folders(&folder)? {
                    if !name.starts_with('_') {
                        pending.push((path.join(&name), folder.join(&name)));
                    }
                }
            }
        }
        found.sort_by(|a, b| a.reference.cmp(&b.reference));
        let named: BTreeSet<Digest> = found.iter().map(|listed| listed.record.id).collect();
        let unnamed: Vec<Listed> = self
            .images()?
            .into_iter()
            .filter(|record| !named.contains(&record.id))
            .map(|record| Listed {
                reference: None,
                record,
            })
            .collect();
        found.extend(unnamed);
        Ok(found)
    }

    /// Returns the files of all names and images, readable or not: names first, sorted.
    pub(crate) fn record_files(&self) -> Result<Vec<RecordFile>, ImageError> {
        let (refs, mut found) = (self.root().join("refs"), Vec::new());
        let mut pending = vec![PathBuf::from("refs")];
        while let Some(folder) = pending.pop() {
            let full_path = self.root().join(&folder);
            let is_of_names = folder.ends_with(TAGS) || folder.ends_with(DIGESTS);
            if is_of_names && full_path.parent() != Some(&refs) {
                for (_, path) in json_files(&full_path)? {
                    let name = path.file_name().unwrap_or_default();
                    found.push(RecordFile {
                        path: folder.join(name),
                        is_name: true,
                    });
                }
                continue;
            }
            for name in sub_folders(&full_path)? {
                pending.push(folder.join(name));
            }
        }
        found.sort();
        for (stem, _) in json_files(&self.root().join("images"))? {
            found.push(RecordFile {
                path: Path::new("images").join(format!("{stem}.json")),
                is_name: false,
            });
        }
        Ok(found)
    }

    /// Returns all images, named or not, sorted by ID. What cannot be read is left out.
    ///
    /// # Errors
    /// [`ImageError::Io`] if the folder cannot be read.
    pub fn images(&self) -> Result<Vec<ImageRecord>, ImageError> {
        let files = json_files(&self.root().join("images"))?;
        Ok(files
            .into_iter()
            .filter_map(|(_, path)| read_record(&path).ok().flatten())
            .collect())
    }

    /// Returns the names of an image, sorted: tags and digests.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn references_of(&self, id: &Digest) -> Result<Vec<Reference>, ImageError> {
        let listed = self.list()?.into_iter();
        Ok(listed
            .filter(|listed| listed.record.id == *id)
            .filter_map(|listed| listed.reference)
            .collect())
    }

    /// Waits until nobody else changes names. Who wants a [`Collector`](crate::store::Collector) as
    /// well takes it after this.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn lock_names(&self) -> Result<NameLock, ImageError> {
        let lock = || {
            let folder = fs_err::File::open(self.root().join("refs"))?;
            folder.lock()?;
            Ok(NameLock { _file: folder })
        };
        lock().map_err(ImageError::io("lock the store's names"))
    }

    pub(super) fn untag_locked(
        &self,
        reference: &Reference,
    ) -> Result<Option<ImageRecord>, ImageError> {
        let path = self.root().join(ref_path(reference));
        let record = read_record(&path)?;
        ignore_missing(fs_err::remove_file(&path))
            .map_err(ImageError::io(format!("untag {}", reference.familiar())))?;
        // Empty folders go, up to the first that is not.
        let refs = self.root().join("refs");
        let parents = path
            .ancestors()
            .skip(1)
            .take_while(|folder| *folder != refs);
        for folder in parents {
            if fs_err::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(record)
    }
}

pub(super) fn image_path(id: &Digest) -> PathBuf {
    Path::new("images").join(format!("{}.json", id.hex()))
}

/// Reads a record; `None` if there is no such file.
pub(super) fn read_record(path: &Path) -> Result<Option<ImageRecord>, ImageError> {
    let bytes = match fs_err::read(path) {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(ImageError::io("read an image record")(error)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| ImageError::BadDocument {
            what: "image record",
            source,
        })
}

/// Returns the `.json` files of a folder by name: stem and path. No folder is an empty one.
pub(super) fn json_files(folder: &Path) -> Result<Vec<(String, PathBuf)>, ImageError> {
    let mut files: Vec<_> = names(folder)?
        .into_iter()
        .filter_map(|name| {
            let stem = name.strip_suffix(".json")?.to_owned();
            Some((stem, folder.join(&name)))
        })
        .collect();
    files.sort();
    Ok(files)
}

pub(super) fn ref_path(reference: &Reference) -> PathBuf {
    let name = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => format!("{DIGESTS}/{}.json", digest.hex()),
        (None, Some(tag)) => format!("{TAGS}/{tag}.json"),
        (None, None) => format!("{TAGS}/{}.json", crate::reference::DEFAULT_TAG),
    };
    repo_path(reference).join(name)
}

fn repo_path(reference: &Reference) -> PathBuf {
    Path::new("refs")
        .join(&reference.domain)
        .join(&reference.path)
}

fn list_folder(
    found: &mut Vec<Listed>,
    repository: &Reference,
    folder: &Path,
) -> Result<(), ImageError> {
    for (stem, path) in json_files(&folder.join(TAGS))? {
        let mut reference = repository.clone();
        reference.tag = Some(stem);
        push_listed(found, reference, &path);
    }
    for (stem, path) in json_files(&folder.join(DIGESTS))? {
        if let Ok(digest) = format!("sha256:{stem}").parse() {
            push_listed(found, repository.at_digest(digest), &path);
        }
    }
    Ok(())
}

fn push_listed(found: &mut Vec<Listed>, reference: Reference, path: &Path) {
    if let Ok(Some(record)) = read_record(path) {
        found.push(Listed {
            reference: Some(reference),
            record,
        });
    }
}

fn sub_folders(folder: &Path) -> Result<Vec<String>, ImageError> {
    let mut found = names(folder)?;
    found.retain(|name| {
        fs_err::symlink_metadata(folder.join(name)).is_ok_and(|metadata| metadata.is_dir())
    });
    Ok(found)
}

fn names(folder: &Path) -> Result<Vec<String>, ImageError> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(folder)? {
            // Names of ours are text; anything else was put there by somebody else.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    };
    match read() {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        other => other.map_err(ImageError::io("list the store's names")),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub(super) fn to_json(record: &ImageRecord) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(record).expect("a record has only string keys");
    bytes.push(b'\n');
    bytes
}
