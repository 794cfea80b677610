//! The client: manifests, configurations and blobs of a reference.

use std::io::Read;
use std::sync::Arc;

use rbuild_image::digest::Digest;
use rbuild_image::error::ImageError;
use rbuild_image::manifest::{Descriptor, Document, MAX_MANIFEST_BYTES};
use rbuild_image::media::{ACCEPTED, Kind};
use rbuild_image::reference::Reference;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ureq::http::{HeaderMap, Method};

use crate::access::{Access, Request};
use crate::blob::{BlobReader, Earlier};
use crate::endpoint::{Endpoint, Role, endpoints};
use crate::error::RegistryError;
use crate::redirect::Reply;
use crate::retry::{Failure, Patience};
use crate::settings::Settings;
use crate::transport::read_document;

/// Largest image configuration that is read, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// A blocking client of the distribution protocol.
///
/// Clones share connections, tokens and what was learned of servers. Any number of threads may use
/// one; how many blobs are fetched at a time is the caller's choice.
///
/// Spec: <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md>
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) access: Arc<Access>,
}

/// A manifest or index as a registry stores it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What names it: media type, digest and size of `bytes`.
    pub descriptor: Descriptor,
    /// The stored bytes; never to be written anew, the digest is theirs.
    pub bytes: Vec<u8>,
    /// What they say.
    pub document: Document,
}

impl Client {
    /// Returns a client; reads `registries.conf` and `daemon.json`, asks nobody yet.
    ///
    /// # Errors
    /// [`RegistryError::Config`] for a broken file or proxy URL.
    pub fn new(settings: Settings) -> Result<Self, RegistryError> {
        Ok(Self {
            access: Arc::new(Access::new(settings)?),
        })
    }

    /// Returns the manifest or index that `reference` names: by its digest if it has one, else by
    /// its tag, else by `latest`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] and [`RegistryError::Denied`] in docker's words;
    /// [`RegistryError::DigestMismatch`] if the bytes are not what their digest says;
    /// [`RegistryError::SchemaOne`] and [`RegistryError::Manifest`] for unusable documents.
    pub fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        let place = Place::of(reference);
        self.anywhere(reference, &place, |endpoint| {
            let request = place.manifest(Method::GET);
            self.access.ask(endpoint, &request, |reply| {
                self.read_manifest(endpoint, &place, reply, reference.digest)
            })
        })
    }

    /// Returns what `reference` names without fetching it, or `None` if the registry tells no
    /// digest that way. Docker Hub does not count this as a pull.
    ///
    /// # Errors
    /// As for [`Client::resolve`].
    pub fn peek(&self, reference: &Reference) -> Result<Option<Descriptor>, RegistryError> {
        let place = Place::of(reference);
        self.anywhere(reference, &place, |endpoint| {
            let request = place.manifest(Method::HEAD);
            let reply = self.access.ask(endpoint, &request, Ok)?;
            let headers = reply.response.headers();
            let media_type = content_type(headers);
            let size = headers
                .get(CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok()?.parse().ok());
            let known = told_digest(headers).zip(size).zip(Kind::of(&media_type));
            let descriptor =
                known.map(|((digest, size), _)| Descriptor::new(&media_type, digest, size));
            Ok(descriptor
                .filter(|found| reference.digest.is_none_or(|wanted| wanted == found.digest)))
        })
    }

    /// Returns the bytes of the manifest or index `digest` in the repository of `reference`.
    ///
    /// # Errors
    /// As for [`Client::resolve`].
    pub fn manifest(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<Vec<u8>, RegistryError> {
        let resolved = self.resolve(&reference.at_digest(*digest))?;
        Ok(resolved.bytes)
    }

    /// Returns the manifest that an index names, checked against its entry in the index.
    ///
    /// # Errors
    /// As for [`Client::resolve`]; [`RegistryError::SizeMismatch`] and [`RegistryError::Manifest`]
    /// if size or kind differ from the entry.
    pub fn child(
        &self,
        reference: &Reference,
        entry: &Descriptor,
    ) -> Result<Resolved, RegistryError> {
        let reference = reference.at_digest(entry.digest);
        let resolved = self.resolve(&reference)?;
        let subject = reference.to_string();
        if resolved.descriptor.size != entry.size {
            return Err(RegistryError::SizeMismatch {
                subject,
                expected: entry.size,
                found: resolved.descriptor.size,
            });
        }
        // The entry is covered by the index's digest, the Content-Type by nothing.
        let document = parse(
            &resolved.bytes,
            &entry.media_type,
            &subject,
            &reference.domain,
        )?;
        let mut descriptor = entry.clone();
        if Kind::of(&descriptor.media_type).is_none() {
            descriptor.media_type = resolved.descriptor.media_type;
        }
        Ok(Resolved {
            descriptor,
            bytes: resolved.bytes,
            document,
        })
    }

    /// Returns the image configuration `descriptor`, at most [`MAX_CONFIG_BYTES`].
    ///
    /// # Errors
    /// [`RegistryError::TooLarge`], and those of [`Client::blob`] and its reader.
    pub fn config(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, RegistryError> {
        let subject = blob_subject(reference, &descriptor.digest);
        if descriptor.size > MAX_CONFIG_BYTES {
            return Err(RegistryError::TooLarge {
                subject,
                limit: MAX_CONFIG_BYTES,
            });
        }
        let mut bytes = Vec::new();
        self.blob(reference, descriptor)?
            .read_to_end(&mut bytes)
            .map_err(|error| {
                RegistryError::from_io(error).unwrap_or_else(|error| RegistryError::Interrupted {
                    subject,
                    received: 0,
                    expected: descriptor.size,
                    source: error.into(),
                })
            })?;
        Ok(bytes)
    }

    /// Returns a reader of the blob `descriptor`.
    ///
    /// The reader resumes after broken connections and never gives more bytes than the descriptor
    /// promises; a server that sends more is refused after one byte. With the last piece it checks the digest: an error then means that everything read
    /// before is worth nothing. Foreign layers that the registry lacks come from their own URLs,
    /// without credentials.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::SizeMismatch`] if the registry announces
    /// another size, and those of any request.
    pub fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<BlobReader, RegistryError> {
        self.resume_blob(reference, descriptor, &mut std::io::empty())
    }

    /// Returns a reader of what follows `have`, the bytes of an earlier, unfinished download.
    ///
    /// `have` is read to its end and counts towards the digest. If it is longer than the blob, or
    /// has all of it but with another digest, the error says so and the caller starts anew.
    ///
    /// # Errors
    /// As for [`Client::blob`]; [`RegistryError::Interrupted`] if `have` cannot be read.
    pub fn resume_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        have: &mut dyn Read,
    ) -> Result<BlobReader, RegistryError> {
        self.open_blob(reference, descriptor, Earlier::Bytes(have))
    }

    /// Returns a reader of what follows the first `n_have` bytes of a blob, for somebody who checks the
    /// digest himself: here only the size is checked.
    ///
    /// # Errors
    /// As for [`Client::blob`].
    pub fn rest_of_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        n_have: u64,
    ) -> Result<BlobReader, RegistryError> {
        self.open_blob(reference, descriptor, Earlier::Checked(n_have))
    }

    fn open_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        have: Earlier<'_>,
    ) -> Result<BlobReader, RegistryError> {
        let servers = endpoints(&self.access.registries, reference)?;
        let subject = blob_subject(reference, &descriptor.digest);
        let name = reference.familiar_name();
        BlobReader::open(
            Arc::clone(&self.access),
            servers,
            descriptor,
            (subject, name),
            have,
        )
    }

    /// Returns what registries wanted users to know, and mirrors that failed, since the last call.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        self.access.take_warnings()
    }

    /// Breaks off everything that this client and its clones are doing, in every thread; they give
    /// errors from then on.
    pub fn cancel(&self) {
        self.access.shut_down();
    }

    /// Asks the mirrors and then the registry itself; its error is the one to report.
    fn anywhere<T>(
        &self,
        reference: &Reference,
        place: &Place,
        ask: impl Fn(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        for endpoint in endpoints(&self.access.registries, reference)? {
            match ask(&endpoint) {
                Err(error) if endpoint.role == Role::Mirror => {
                    self.access.cancel.check(&place.subject)?;
                    self.access.warn_mirror(&endpoint, &error);
                }
                outcome => return outcome,
            }
        }
        Err(RegistryError::BadName {
            subject: place.subject.clone(),
            problem: "no server to ask".into(),
        })
    }

    fn read_manifest(
        &self,
        endpoint: &Endpoint,
        place: &Place,
        reply: Reply,
        wanted: Option<Digest>,
    ) -> Result<Resolved, Failure> {
        let told = told_digest(reply.response.headers());
        let media_type = content_type(reply.response.headers());
        let longest = self.access.limits.document_timeout;
        let body = reply.response.into_body();
        let bytes = read_document(body, MAX_MANIFEST_BYTES, longest)
            .map_err(|error| place.unreadable(endpoint, error))?;
        let found = Digest::of(&bytes);
        let expected = wanted.or(told).unwrap_or(found);
        if expected != found {
            return Err(Failure::Final(RegistryError::DigestMismatch {
                subject: place.subject.clone(),
                expected,
                found,
                note: String::new(),
            }));
        }
        let document = parse(&bytes, &media_type, &place.subject, &endpoint.host)?;
        let media_type = match Kind::of(&media_type) {
            Some(_) => media_type.as_str(),
            None => document.media_type(),
        };
        Ok(Resolved {
            descriptor: Descriptor::of(media_type, &bytes),
            bytes,
            document,
        })
    }
}

/// A manifest's place in a repository.
pub(crate) struct Place {
    pub(crate) subject: String,
    pub(crate) name: String,
    pub(crate) path: String,
    accept: String,
}

impl Place {
    pub(crate) fn of(reference: &Reference) -> Self {
        let form = reference.pull_form();
        let path = match (&form.digest, &form.tag) {
            (Some(digest), _) => format!("manifests/{digest}"),
            (None, Some(tag)) => format!("manifests/{tag}"),
            (None, None) => "manifests/latest".to_owned(),
        };
        Self {
            subject: form.to_string(),
            name: reference.familiar_name(),
            path,
            accept: ACCEPTED.join(", "),
        }
    }

    pub(crate) fn manifest(&self, method: Method) -> Request<'_> {
        Request {
            method,
            accept: &self.accept,
            ..Request::get(&self.path, &self.subject, &self.name)
        }
    }

    pub(crate) fn unreadable(&self, endpoint: &Endpoint, error: std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::FileTooLarge {
            return Failure::Final(RegistryError::TooLarge {
                subject: self.subject.clone(),
                limit: MAX_MANIFEST_BYTES,
            });
        }
        // A server that is merely slow stays slow.
        let patience = match error.kind() {
            std::io::ErrorKind::TimedOut => Patience::Short,
            _ => Patience::Full,
        };
        Failure::Passing {
            error: Box::new(RegistryError::Unreachable {
                subject: self.subject.clone(),
                host: endpoint.authority.clone(),
                source: error.into(),
            }),
            after: None,
            patience,
        }
    }
}

fn parse(
    bytes: &[u8],
    media_type: &str,
    subject: &str,
    host: &str,
) -> Result<Document, RegistryError> {
    Document::parse(bytes, media_type).map_err(|source| match source {
        ImageError::SchemaOne => RegistryError::SchemaOne {
            subject: subject.to_owned(),
        },
        source => RegistryError::Manifest {
            subject: subject.to_owned(),
            host: host.to_owned(),
            source: Box::new(source),
        },
    })
}

fn content_type(headers: &HeaderMap) -> String {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = text.unwrap_or_default().split(';').next();
    essence.unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns `Docker-Content-Digest`, if it is there and of a kind that is understood.
pub(crate) fn told_digest(headers: &HeaderMap) -> Option<Digest> {
    let text = headers.get("docker-content-digest")?.to_str().ok()?;
    text.parse().ok()
}

pub(crate) fn blob_subject(reference: &Reference, digest: &Digest) -> String {
    format!("blob {digest} of {}", reference.familiar())
}
