//! Pushes what is behind a manifest or index: blobs first, then manifests, the name last.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rbuild_image::digest::Digest;
use rbuild_image::manifest::{Descriptor, Document};
use rbuild_image::media::{Kind, is_foreign_layer};
use rbuild_image::reference::Reference;
use ureq::http::Method;
use ureq::http::header::CONTENT_TYPE;
use ureq::http::{HeaderValue, StatusCode};

use crate::access::{Request, Scope};
use crate::client::{Client, Place, blob_subject, told_digest};
use crate::content::{Content, Outgoing};
use crate::endpoint::{Endpoint, endpoints};
use crate::error::RegistryError;
use crate::retry::Failure;
use crate::transport::Payload;
use crate::upload::{Placed, Upload};

/// Repositories that one blob is tried to be mounted from.
const MAX_SOURCES: usize = 3;

/// Indexes inside an index inside an index are not followed.
const MAX_INDEX_DEPTH: usize = 2;

/// How something is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushOptions {
    /// Blobs that are uploaded at a time.
    pub n_parallel: usize,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self { n_parallel: 4 }
    }
}

/// What happens during a push. Events of several blobs come from several threads.
#[derive(Debug)]
#[non_exhaustive]
pub enum PushEvent<'a> {
    /// This blob will be looked for. All of them are announced before anything else happens.
    Announced(&'a Descriptor),
    /// So many bytes of the blob have been sent. Less than before after a failure.
    Sent(&'a Descriptor, u64),
    /// The blob is in the repository.
    Placed(&'a Descriptor, &'a Placed),
    /// Sending the blob failed, and there will be another try.
    Retrying(&'a Descriptor, &'a RegistryError),
    /// The manifest or index is in the repository.
    Stored(&'a Descriptor),
}

/// A manifest or index to push.
struct Item {
    descriptor: Descriptor,
    bytes: Vec<u8>,
    depth: usize,
    /// What it says something about.
    subject: Option<Descriptor>,
    /// The blobs it names, foreign ones left out.
    blobs: Vec<Descriptor>,
}

impl Client {
    /// Pushes everything behind `root` and gives it the name `reference`: its tag, else `latest`; a
    /// reference with a digest only stores it.
    ///
    /// What the registry has is not sent again. Layers that are to be fetched from elsewhere are
    /// left out. An index is pushed after everything it names; the name comes last, so a failed push
    /// leaves the name as it was.
    ///
    /// # Errors
    /// [`RegistryError::Denied`] and [`RegistryError::Unauthorized`];
    /// [`RegistryError::Content`], [`RegistryError::DigestMismatch`] and
    /// [`RegistryError::SizeMismatch`] for what cannot be read or is damaged here;
    /// [`RegistryError::BadAnswer`] for registries that do not keep to the protocol, and those of
    /// any request.
    pub fn push(
        &self,
        content: &dyn Content,
        root: &Descriptor,
        reference: &Reference,
        options: &PushOptions,
        progress: &(dyn Fn(PushEvent<'_>) + Sync),
    ) -> Result<(), RegistryError> {
        let mut push = Push::new(self, content, reference, *options, progress)?;
        let mut items = Vec::new();
        push.collect(root, 0, &mut items)?;
        let blobs = blobs_of(&items);
        push.find_sources(&blobs);
        for blob in &blobs {
            progress(PushEvent::Announced(blob));
        }
        let target = match reference.digest() {
            Some(_) => reference.at_digest(root.digest),
            None => reference.clone().with_default_tag(),
        };
        if push.has(&target, root)? {
            for blob in &blobs {
                progress(PushEvent::Placed(blob, &Placed::Exists));
            }
            progress(PushEvent::Stored(root));
            return Ok(());
        }
        push.push_items(&items, &blobs, &target)
    }

    /// Stores a manifest or index whose blobs the registry has, under the tag or digest of
    /// `reference`. Where the registry keeps no list of what refers to a subject, it is kept here.
    ///
    /// # Errors
    /// As for [`Client::push`].
    pub fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Descriptor, RegistryError> {
        let nothing = |_event: PushEvent<'_>| {};
        let push = Push::new(self, &Nothing, reference, PushOptions::default(), &nothing)?;
        let descriptor = Descriptor::of(media_type, bytes);
        let item = Item::new(&descriptor, bytes.to_vec(), 0, &push.subject)?;
        push.store(&item, &reference.clone().with_default_tag())?;
        Ok(descriptor)
    }
}

/// A push has nothing of its own to read.
struct Nothing;

impl Content for Nothing {
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, crate::Cause> {
        Err(format!("there is no {}", descriptor.digest).into())
    }

    fn blob(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Box<dyn crate::content::Bytes + '_>, crate::Cause> {
        Err(format!("there is no {}", descriptor.digest).into())
    }
}

impl Item {
    fn new(
        descriptor: &Descriptor,
        bytes: Vec<u8>,
        depth: usize,
        subject: &str,
    ) -> Result<Self, RegistryError> {
        let failed = |source: rbuild_image::error::ImageError| RegistryError::Content {
            subject: subject.to_owned(),
            source: source.into(),
        };
        descriptor.verify(&bytes).map_err(failed)?;
        let mut descriptor = descriptor.clone();
        let is_known = Kind::of(&descriptor.media_type).is_some();
        if !is_known && depth > 0 {
            // For other tools; all that is known is that an index can name it.
            return Ok(Self {
                descriptor,
                bytes,
                depth,
                subject: None,
                blobs: Vec::new(),
            });
        }
        let document = Document::parse(&bytes, &descriptor.media_type).map_err(failed)?;
        if !is_known {
            document.media_type().clone_into(&mut descriptor.media_type);
        }
        let (subject, blobs) = match document {
            Document::Index(index) => (index.subject, Vec::new()),
            Document::Manifest(manifest) => {
                let own = manifest.blobs().filter(|blob| !is_foreign(blob)).cloned();
                (manifest.subject.clone(), own.collect())
            }
        };
        Ok(Self {
            descriptor,
            bytes,
            depth,
            subject,
            blobs,
        })
    }

    fn entries(&self) -> Vec<Descriptor> {
        match Document::parse(&self.bytes, &self.descriptor.media_type) {
            Ok(Document::Index(index)) => index.manifests,
            _ => Vec::new(),
        }
    }
}

fn is_foreign(blob: &Descriptor) -> bool {
    is_foreign_layer(&blob.media_type)
}

/// Returns every blob once.
fn blobs_of(items: &[Item]) -> Vec<Descriptor> {
    let mut known = BTreeMap::new();
    let mut blobs = Vec::new();
    for blob in items.iter().flat_map(|item| &item.blobs) {
        if known.insert(blob.digest, ()).is_none() {
            blobs.push(blob.clone());
        }
    }
    blobs
}

/// One push to one repository.
pub(crate) struct Push<'a> {
    client: &'a Client,
    content: &'a dyn Content,
    endpoint: Endpoint,
    repository: Reference,
    options: PushOptions,
    progress: &'a (dyn Fn(PushEvent<'_>) + Sync),
    /// Repositories on the same registry that have a blob.
    sources: BTreeMap<Digest, Vec<String>>,
    /// All of them, once: the token of this push is to open them.
    scope: Vec<String>,
    /// Held while the list of what refers to something is changed.
    referring: Mutex<()>,
    subject: String,
    name: String,
}

impl<'a> Push<'a> {
    pub(crate) fn new(
        client: &'a Client,
        content: &'a dyn Content,
        reference: &Reference,
        options: PushOptions,
        progress: &'a (dyn Fn(PushEvent<'_>) + Sync),
    ) -> Result<Self, RegistryError> {
        let place = Place::of(reference);
        Ok(Self {
            client,
            content,
            endpoint: origin_of(client, reference)?,
            repository: reference.repository(),
            options,
            progress,
            sources: BTreeMap::new(),
            scope: Vec::new(),
            referring: Mutex::default(),
            subject: place.subject,
            name: place.name,
        })
    }

    /// Reads everything behind `descriptor`, children before their parent.
    fn collect(
        &self,
        descriptor: &Descriptor,
        depth: usize,
        items: &mut Vec<Item>,
    ) -> Result<(), RegistryError> {
        let known = |item: &Item| item.descriptor.digest == descriptor.digest;
        if items.iter().any(known) {
            return Ok(());
        }
        let bytes = self.content.document(descriptor).map_err(|source| {
            let subject = blob_subject(&self.repository, &descriptor.digest);
            RegistryError::Content { subject, source }
        })?;
        let item = Item::new(descriptor, bytes, depth, &self.subject)?;
        let entries = item.entries();
        if !entries.is_empty() && depth == MAX_INDEX_DEPTH {
            return Err(RegistryError::Content {
                subject: self.subject.clone(),
                source: format!("{} is an index nested too deeply", descriptor.digest).into(),
            });
        }
        for entry in &entries {
            self.collect(entry, depth + 1, items)?;
        }
        items.push(item);
        Ok(())
    }

    /// Returns whether the registry has `descriptor` under the name `reference`.
    fn has(&self, reference: &Reference, descriptor: &Descriptor) -> Result<bool, RegistryError> {
        let place = Place::of(reference);
        let request = Request {
            scope: Scope::Push(&self.scope),
            ..place.manifest(Method::HEAD)
        };
        let asked = self.client.access.ask(&self.endpoint, &request, |reply| {
            Ok(told_digest(reply.response.headers()))
        });
        match asked {
            Ok(told) => Ok(told == Some(descriptor.digest)),
            Err(RegistryError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn push_items(
        &self,
        items: &[Item],
        blobs: &[Descriptor],
        target: &Reference,
    ) -> Result<(), RegistryError> {
        let Some((root, children)) = items.split_last() else {
            return Ok(());
        };
        let n_parallel = self.options.n_parallel;
        let are_there = Mutex::new(BTreeMap::new());
        each(n_parallel, children, |item, _| {
            let place = self.repository.at_digest(item.descriptor.digest);
            let is_there = self.has(&place, &item.descriptor)?;
            let mut known = are_there.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(item.descriptor.digest, is_there);
            Ok(())
        })?;
        let are_there = are_there
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let is_there = |item: &Item| are_there.get(&item.descriptor.digest) == Some(&true);
        let missing: Vec<&Item> = items.iter().filter(|item| !is_there(item)).collect();

        self.push_blobs(blobs, &missing)?;
        // The deepest first: whatever an index names is there before it is.
        for depth in (1..=MAX_INDEX_DEPTH).rev() {
            let level: Vec<&Item> = missing
                .iter()
                .copied()
                .filter(|item| item.depth == depth)
                .collect();
            each(n_parallel, &level, |item, _| {
                self.store(item, &self.repository.at_digest(item.descriptor.digest))
            })?;
        }
        self.store(root, target)
    }

    /// Uploads the blobs that missing manifests name, the largest first.
    fn push_blobs(&self, blobs: &[Descriptor], missing: &[&Item]) -> Result<(), RegistryError> {
        let is_needed = |blob: &Descriptor| {
            let mut named = missing.iter().flat_map(|item| &item.blobs);
            named.any(|named| named.digest == blob.digest)
        };
        let (mut needed, rest): (Vec<&Descriptor>, Vec<&Descriptor>) =
            blobs.iter().partition(|blob| is_needed(blob));
        for blob in rest {
            (self.progress)(PushEvent::Placed(blob, &Placed::Exists));
        }
        needed.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        each(self.options.n_parallel, &needed, |blob, is_stopped| {
            let placed = self.place(blob, is_stopped)?;
            (self.progress)(PushEvent::Placed(blob, &placed));
            Ok(())
        })
    }

    fn place(&self, blob: &Descriptor, is_stopped: &AtomicBool) -> Result<Placed, RegistryError> {
        let subject = blob_subject(&self.repository, &blob.digest);
        let outgoing = Outgoing {
            content: self.content,
            descriptor: blob,
            subject: &subject,
            is_stopped,
            progress: &|sent| (self.progress)(PushEvent::Sent(blob, sent)),
        };
        let upload = Upload {
            access: &self.client.access,
            endpoint: &self.endpoint,
            scope: &self.scope,
            sources: self.sources.get(&blob.digest).map_or(&[], Vec::as_slice),
            descriptor: blob,
            outgoing: &outgoing,
            subject: &subject,
            name: &self.name,
            retrying: &|error| (self.progress)(PushEvent::Retrying(blob, error)),
        };
        upload.place()
    }

    /// Finds out from where each blob may be mounted.
    fn find_sources(&mut self, blobs: &[Descriptor]) {
        for blob in blobs {
            let mut sources = Vec::new();
            for known in self.content.sources(blob) {
                let Ok(source) = origin_of(self.client, &known) else {
                    continue;
                };
                let is_here = source.authority == self.endpoint.authority
                    && source.base == self.endpoint.base
                    && source.repository != self.endpoint.repository;
                if is_here && !sources.contains(&source.repository) {
                    sources.push(source.repository);
                }
                if sources.len() == MAX_SOURCES {
                    break;
                }
            }
            self.sources.insert(blob.digest, sources);
        }
        self.scope = self.sources.values().flatten().cloned().collect();
        self.scope.sort();
        self.scope.dedup();
    }

    /// Stores a manifest or index under `reference`, and returns whether the registry keeps account of
    /// what refers to what.
    pub(crate) fn store_bytes(
        &self,
        descriptor: &Descriptor,
        bytes: &[u8],
        reference: &Reference,
    ) -> Result<bool, RegistryError> {
        let place = Place::of(reference);
        let media_type = HeaderValue::from_str(&descriptor.media_type).map_err(|_error| {
            RegistryError::BadName {
                subject: place.subject.clone(),
                problem: "its media type does not fit into a header".to_owned(),
            }
        })?;
        let request = Request {
            headers: &[(CONTENT_TYPE, media_type)],
            accept: "",
            body: Some(Payload::Bytes(bytes)),
            scope: Scope::Push(&self.scope),
            ..place.manifest(Method::PUT)
        };
        let access = &self.client.access;
        access.ask(&self.endpoint, &request, |reply| {
            let headers = reply.response.headers();
            let status = reply.response.status();
            if !matches!(
                status,
                StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK
            ) {
                return Err(Failure::Final(RegistryError::BadAnswer {
                    subject: place.subject.clone(),
                    host: self.endpoint.host.clone(),
                    problem: format!("did not confirm the manifest (status {})", status.as_u16()),
                }));
            }
            match told_digest(headers) {
                Some(found) if found != descriptor.digest => {
                    Err(Failure::Final(RegistryError::DigestMismatch {
                        subject: place.subject.clone(),
                        expected: descriptor.digest,
                        found,
                        note: format!(", says {}", self.endpoint.host),
                    }))
                }
                _ => Ok(headers.contains_key("oci-subject")),
            }
        })
    }

    fn store(&self, item: &Item, reference: &Reference) -> Result<(), RegistryError> {
        let knows_referrers = self.store_bytes(&item.descriptor, &item.bytes, reference)?;
        if let Some(subject) = item.subject.as_ref().filter(|_| !knows_referrers) {
            let _guard = self
                .referring
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.refer(subject, &item.descriptor, &item.bytes)?;
        }
        (self.progress)(PushEvent::Stored(&item.descriptor));
        Ok(())
    }

    pub(crate) fn client(&self) -> &Client {
        self.client
    }

    pub(crate) fn repository(&self) -> &Reference {
        &self.repository
    }
}

/// Returns the server that a reference is pushed to.
fn origin_of(client: &Client, reference: &Reference) -> Result<Endpoint, RegistryError> {
    let mut servers = endpoints(&client.access.registries, reference)?;
    servers.pop().ok_or_else(|| RegistryError::BadName {
        subject: reference.to_string(),
        problem: "no server to ask".into(),
    })
}

/// Calls `work` for each of `items`, `n_parallel` at a time. After a failure nothing more is begun,
/// and what is going on is told to stop.
///
/// # Errors
/// The first failure.
fn each<T: Sync>(
    n_parallel: usize,
    items: &[T],
    work: impl Fn(&T, &AtomicBool) -> Result<(), RegistryError> + Sync,
) -> Result<(), RegistryError> {
    let next = AtomicUsize::new(0);
    let is_stopped = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let run = || {
        while !is_stopped.load(Ordering::Relaxed)
            && let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed))
        {
            if let Err(error) = work(item, &is_stopped) {
                is_stopped.store(true, Ordering::Relaxed);
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
            }
        }
    };
    let n_threads = n_parallel.clamp(1, items.len().max(1));
    std::thread::scope(|scope| {
        for _ in 1..n_threads {
            scope.spawn(run);
        }
        run();
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), Err)
}
