//! Images that are in registries: copied from one repository to another, with nothing kept here.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rbuild_image::config::ImageConfig;
use rbuild_image::digest::Digest;
use rbuild_image::manifest::{Descriptor, Document, Manifest};
use rbuild_image::platform::Platform;
use rbuild_image::reference::Reference;
use rbuild_registry::{BlobReader, Bytes, Cause, Client, Content, PushOptions, RegistryError};

use crate::bases::platform_of;
use crate::report::Failure;

/// What registries have, as far as it was looked at.
pub(crate) struct Relay<'a> {
    client: &'a Client,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    documents: BTreeMap<Digest, Vec<u8>>,
    /// Repositories that have a manifest or a blob.
    places: BTreeMap<Digest, Vec<Reference>>,
}

impl<'a> Relay<'a> {
    /// Returns a relay that knows nothing yet.
    pub(crate) fn new(client: &'a Client) -> Self {
        Self {
            client,
            known: Mutex::default(),
        }
    }

    /// Takes a manifest or index that was read from `source`, which has all that it names too.
    pub(crate) fn add(&self, bytes: &[u8], document: &Document, source: &Reference) {
        for named in named_by(document) {
            self.note(&named, source);
        }
        let mut known = self.known();
        known.documents.insert(Digest::of(bytes), bytes.to_vec());
    }

    /// Stores a manifest or index under a tag, after what the repository lacks of what it names: its
    /// parts are in `places`.
    pub(crate) fn name(
        &self,
        tag: &Reference,
        media_type: &str,
        bytes: &[u8],
        places: &[Reference],
    ) -> Result<(), RegistryError> {
        let repository = tag.repository();
        if places.iter().all(|place| *place == repository) {
            return self.client.put_manifest(tag, media_type, bytes).map(drop);
        }
        let root = Descriptor::of(media_type, bytes);
        self.known().documents.insert(root.digest, bytes.to_vec());
        let options = PushOptions::default();
        self.client.push(self, &root, tag, &options, &|_event| {})
    }

    /// Returns what an image runs on, as its config says; `None` for what is no image.
    pub(crate) fn platform(
        &self,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<Option<Platform>, Failure> {
        if !manifest.is_image() {
            return Ok(None);
        }
        let bytes = self.client.config(reference, &manifest.config)?;
        let config: ImageConfig = serde_json::from_slice(&bytes)?;
        let platform = platform_of(&config);
        Ok((!platform.architecture.is_empty()).then_some(platform))
    }

    /// Notes that the repository of `source` has this.
    pub(crate) fn note(&self, digest: &Digest, source: &Reference) {
        let mut known = self.known();
        let places = known.places.entry(*digest).or_default();
        let repository = source.repository();
        if !places.contains(&repository) {
            places.push(repository);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self, digest: &Digest) -> Vec<Reference> {
        self.known().places.get(digest).cloned().unwrap_or_default()
    }

    /// Asks each place until one answers.
    fn ask_any<T>(
        &self,
        digest: &Digest,
        ask: impl Fn(&Reference) -> Result<T, RegistryError>,
    ) -> Result<T, Cause> {
        let mut failure: Cause = format!("no repository is known to have {digest}").into();
        for place in self.places(digest) {
            match ask(&place) {
                Ok(found) => return Ok(found),
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }
}

fn named_by(document: &Document) -> Vec<Digest> {
    match document {
        Document::Index(index) => index.manifests.iter().map(|entry| entry.digest).collect(),
        Document::Manifest(manifest) => manifest.blobs().map(|blob| blob.digest).collect(),
    }
}

impl Content for Relay<'_> {
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Cause> {
        if let Some(bytes) = self.known().documents.get(&descriptor.digest) {
            return Ok(bytes.clone());
        }
        self.ask_any(&descriptor.digest, |place| {
            let found = self.client.child(place, descriptor)?;
            self.add(&found.bytes, &found.document, place);
            Ok(found.bytes)
        })
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Bytes + '_>, Cause> {
        self.ask_any(&descriptor.digest, |place| {
            let blob = RemoteBlob {
                client: self.client,
                source: place.clone(),
                descriptor: descriptor.clone(),
                reader: self.client.blob(place, descriptor)?,
            };
            Ok(Box::new(blob) as Box<dyn Bytes + '_>)
        })
    }

    fn sources(&self, descriptor: &Descriptor) -> Vec<Reference> {
        self.places(&descriptor.digest)
    }
}

/// A blob in a registry. It comes in order; going back means to ask again.
struct RemoteBlob<'a> {
    client: &'a Client,
    source: Reference,
    descriptor: Descriptor,
    reader: BlobReader,
}

impl Read for RemoteBlob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Seek for RemoteBlob<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => self.reader.position().checked_add_signed(offset),
            SeekFrom::End(offset) => self.descriptor.size.checked_add_signed(offset),
        };
        let position = position
            .filter(|position| *position <= self.descriptor.size)
            .ok_or(io::ErrorKind::InvalidInput)?;
        if position < self.reader.position() {
            let again = self.client.blob(&self.source, &self.descriptor);
            self.reader = again.map_err(io::Error::other)?;
        }
        let n_skipped = position - self.reader.position();
        io::copy(&mut (&mut self.reader).take(n_skipped), &mut io::sink())?;
        Ok(position)
    }
}
