//! Base images: from the store, from a registry, from OCI layouts; and their layers when they are
//! needed.

use std::io::{Read, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rbuild_image::config::ImageConfig;
use rbuild_image::digest::DiffId;
use rbuild_image::error::ImageError;
use rbuild_image::layer::{BlobFetcher, Origin as LayerOrigin};
use rbuild_image::layout::{self, Layout};
use rbuild_image::manifest::{Descriptor, Document};
use rbuild_image::platform::Platform;
use rbuild_image::record::{Fetched, ImageRecord, Origin, PlatformImage};
use rbuild_image::reference::Reference;
use rbuild_image::select::{Chosen, choose};
use rbuild_image::store::Pin;
use rbuild_planner::{BaseImage, BaseImages, BaseQuery};
use rbuild_registry::{BlobReader, Client, RegistryError, Resolved};

use crate::environment;
use crate::progress::Progress;
use crate::report::{Failure, chain};
use crate::workplace::{MAX_CONFIG, Workplace};

/// Largest part of an attestation that is pulled, in bytes.
const MAX_STATEMENT: u64 = 128 << 20;

/// Kinds of places that layers come from.
const LAYOUT: &str = "oci-layout";
pub(crate) const REGISTRY: &str = "registry";

/// Brings layers from where their images came from. The registry client is made when it is first
/// needed: most builds need none.
pub(crate) struct Origins {
    client: OnceLock<Result<Client, String>>,
    is_cancelled: AtomicBool,
    observer: Arc<OnceLock<Observer>>,
}

/// Is told how many bytes of a blob have come.
type Observer = Box<dyn Fn(&Descriptor, u64) + Send + Sync>;

impl std::fmt::Debug for Origins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origins").finish_non_exhaustive()
    }
}

impl Origins {
    /// Returns origins that nothing was asked of yet.
    pub(crate) fn new() -> Self {
        Self {
            client: OnceLock::new(),
            is_cancelled: AtomicBool::new(false),
            observer: Arc::default(),
        }
    }

    /// Returns what registries wanted to be known since the last call.
    pub(crate) fn take_warnings(&self) -> Vec<String> {
        match self.client.get() {
            Some(Ok(client)) => client.take_warnings(),
            _ => Vec::new(),
        }
    }

    /// From now on `observer` is told of every piece that a registry sends; the first one stays.
    pub(crate) fn observe(&self, observer: impl Fn(&Descriptor, u64) + Send + Sync + 'static) {
        drop(self.observer.set(Box::new(observer)));
    }

    /// Breaks off what registries are asked, in every thread.
    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
        if let Some(Ok(client)) = self.client.get() {
            client.cancel();
        }
    }

    /// Returns the registry client.
    pub(crate) fn client(&self) -> Result<&Client, String> {
        let make = || {
            let settings = environment::registry_settings().map_err(|error| error.to_string())?;
            Client::new(settings).map_err(|error| chain(&error))
        };
        let client = self.client.get_or_init(make).as_ref();
        if let Ok(client) = client
            && self.is_cancelled.load(Ordering::SeqCst)
        {
            client.cancel();
        }
        client.map_err(Clone::clone)
    }
}

impl BlobFetcher for Origins {
    fn fetch(&self, origin: &LayerOrigin) -> Result<Box<dyn Read + Send>, ImageError> {
        self.resume(origin, 0)
    }

    fn resume(
        &self,
        origin: &LayerOrigin,
        n_have: u64,
    ) -> Result<Box<dyn Read + Send>, ImageError> {
        let failed = |source| ImageError::Fetch {
            digest: origin.descriptor.digest,
            origin: origin.location.clone(),
            source,
        };
        if origin.kind == LAYOUT {
            let layout = Layout::open(Path::new(&origin.location))?;
            let mut blob = layout.open_blob(&origin.descriptor.digest)?;
            blob.seek(SeekFrom::Start(n_have))
                .map_err(|error| failed(error.into()))?;
            return Ok(Box::new(blob));
        }
        let reference = Reference::parse(&origin.location)?;
        let client = self.client().map_err(|problem| failed(problem.into()))?;
        let blob = client
            .rest_of_blob(&reference, &origin.descriptor, n_have)
            .map_err(|error| failed(error.into()))?;
        Ok(Box::new(Watched {
            blob,
            descriptor: origin.descriptor.clone(),
            observer: Arc::clone(&self.observer),
        }))
    }
}

/// A blob whose bytes are counted as they come.
struct Watched {
    blob: BlobReader,
    descriptor: Descriptor,
    observer: Arc<OnceLock<Observer>>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n_bytes = self.blob.read(buffer)?;
        if let Some(observer) = self.observer.get() {
            observer(&self.descriptor, self.blob.position());
        }
        Ok(n_bytes)
    }
}

/// Answers the planner's questions, all at a time.
pub(crate) fn resolve_all(
    workplace: &Workplace,
    queries: Vec<BaseQuery>,
    pull: bool,
    progress: &mut Progress,
) -> BaseImages {
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = queries
            .into_iter()
            .map(|query| {
                scope.spawn(move || {
                    let start = Instant::now();
                    let answer = resolve(workplace, &query, pull);
                    (query, answer, start.elapsed())
                })
            })
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    });
    let mut found = BaseImages::new();
    for (query, answer, duration) in answers {
        progress.internal(
            format!("[internal] load metadata for {}", query.reference),
            duration,
        );
        found.insert(query, answer);
    }
    found
}

fn resolve(workplace: &Workplace, query: &BaseQuery, pull: bool) -> Result<BaseImage, String> {
    let found = if query.reference.starts_with("oci-layout://") {
        from_layout(workplace, query)
    } else {
        from_store_or_registry(workplace, query, pull)
    };
    found.map_err(|failure| {
        let text = match failure {
            Failure::Error(error) => chain(error.as_ref()),
            Failure::Message { text, .. } => text,
            other => other.render(),
        };
        // The planner says which image it is about.
        let about = format!("{}: ", query.reference);
        text.strip_prefix(&about)
            .map_or_else(|| text.clone(), str::to_owned)
    })
}

fn from_layout(workplace: &Workplace, query: &BaseQuery) -> Result<BaseImage, Failure> {
    let (path, selector) = layout::parse_location(&query.reference);
    let layout = Layout::open(&path)?;
    let target = layout.resolve(&selector)?;
    let chosen = choose(&target, &query.platform, &mut |entry| {
        layout.read_blob(entry, rbuild_image::manifest::MAX_MANIFEST_BYTES)
    })?;
    let config = layout.read_blob(&chosen.manifest.config, MAX_CONFIG)?;
    let location = path.display().to_string();
    let image = Found {
        chosen,
        config,
        kind: LAYOUT,
        location,
    };
    Ok(image.adopt(workplace)?.0)
}

fn from_store_or_registry(
    workplace: &Workplace,
    query: &BaseQuery,
    pull: bool,
) -> Result<BaseImage, Failure> {
    let reference = Reference::parse(&query.reference)?.with_default_tag();
    if !pull && let Some(image) = from_store(workplace, query, &reference)? {
        return Ok(image);
    }
    let found = from_registry(workplace, &reference, &query.platform)?;
    let found = [found];
    if let Some(staged) = stage(workplace, &found, std::slice::from_ref(&reference))? {
        staged.publish()?;
    }
    let [found] = found;
    Ok(found.base)
}

/// An image that a registry has. The store has its documents, and knows where its layers are.
pub(crate) struct Pulled {
    /// The image as a base.
    pub(crate) base: BaseImage,
    /// Its layers, base first.
    pub(crate) layers: Vec<Descriptor>,
    reference: Reference,
    image: PlatformImage,
    index: Option<Descriptor>,
    /// What its index has about it.
    attestations: Vec<Descriptor>,
}

/// Asks the registry for an image, but for none of its layers.
fn from_registry(
    workplace: &Workplace,
    reference: &Reference,
    platform: &Platform,
) -> Result<Pulled, Failure> {
    let client = workplace.origins.client().map_err(Failure::message)?;
    let resolved = client.resolve(reference)?;
    of_resolved(workplace, &resolved, reference, platform)
}

/// Takes the image for a platform out of what a registry has under a name.
pub(crate) fn of_resolved(
    workplace: &Workplace,
    resolved: &Resolved,
    reference: &Reference,
    platform: &Platform,
) -> Result<Pulled, Failure> {
    let client = workplace.origins.client().map_err(Failure::message)?;
    let mut bytes = Some(resolved.bytes.clone());
    let chosen = choose(
        &resolved.descriptor,
        platform,
        &mut |entry| match bytes.take() {
            Some(bytes) => Ok(bytes),
            None => client
                .child(reference, entry)
                .map(|child| child.bytes)
                .map_err(|error| registry_error(&error)),
        },
    )?;
    let config = client.config(reference, &chosen.manifest.config)?;
    let layers = chosen.manifest.layers.clone();
    let location = reference.repository().to_string();
    let found = Found {
        chosen,
        config,
        kind: REGISTRY,
        location,
    };
    let (base, image) = found.adopt(workplace)?;
    let mut attestations = Vec::new();
    let index = match &resolved.document {
        Document::Index(index) => {
            workplace.store.put_blob(&resolved.bytes)?;
            let manifest = image.manifest.as_ref().map(|manifest| manifest.digest);
            let known = manifest
                .iter()
                .flat_map(|found| index.attestations_of(found));
            attestations.extend(known.cloned());
            Some(resolved.descriptor.clone())
        }
        Document::Manifest(_) => None,
    };
    Ok(Pulled {
        base,
        layers,
        reference: reference.clone(),
        image,
        index,
        attestations,
    })
}

fn registry_error(error: &RegistryError) -> ImageError {
    let text = chain(error);
    ImageError::io("ask the registry")(std::io::Error::other(text))
}

impl Pulled {
    /// Fetches what the index has about the image: with it, the index can go on as it is.
    pub(crate) fn fetch_attestations(&self, workplace: &Workplace) -> Result<(), Failure> {
        let client = workplace.origins.client().map_err(Failure::message)?;
        for entry in &self.attestations {
            let attestation = match client.child(&self.reference, entry) {
                // Whoever copied the image here left it behind.
                Err(RegistryError::NotFound { .. }) => continue,
                other => other?,
            };
            workplace.store.put_blob(&attestation.bytes)?;
            let Document::Manifest(manifest) = &attestation.document else {
                continue;
            };
            for blob in manifest.blobs() {
                workplace.store.pin(&[Pin::Blob(blob.digest)])?;
                if blob.size > MAX_STATEMENT || workplace.store.has_blob(&blob.digest) {
                    continue;
                }
                let mut writer = workplace.store.blob_writer()?;
                std::io::copy(&mut client.blob(&self.reference, blob)?, &mut writer)?;
                writer.commit(Some((blob.digest, blob.size)))?;
            }
        }
        Ok(())
    }
}

/// Gets images that one name stands for ready to be named in the store, so that the next build asks
/// nobody. What is known of other platforms stays, as long as the name still means the same index.
/// `None` if there are no images.
pub(crate) fn stage(
    workplace: &Workplace,
    found: &[Pulled],
    names: &[Reference],
) -> Result<Option<Fetched>, Failure> {
    let Some(first) = found.first() else {
        return Ok(None);
    };
    let mut images: Vec<PlatformImage> = Vec::new();
    let mut add = |image: &PlatformImage| {
        if !images.iter().any(|known| known.platform == image.platform) {
            images.push(image.clone());
        }
    };
    found.iter().for_each(|pulled| add(&pulled.image));
    let known = workplace.store.image_by_reference(&first.reference)?;
    if let (Some(index), Some(known)) = (&first.index, known)
        && known
            .index
            .as_ref()
            .is_some_and(|known| known.digest == index.digest)
    {
        known.images.iter().for_each(add);
    }
    let Some(mut record) = ImageRecord::new(images, first.index.clone(), Origin::Pulled) else {
        return Ok(None);
    };
    record.created.clone_from(&first.base.config.created);
    record.tagged_at = Some(environment::timestamp());
    let layers: Vec<DiffId> = found
        .iter()
        .flat_map(|pulled| pulled.base.diff_ids.iter().copied())
        .collect();
    let staged = workplace.layers.stage_fetched(&record, names, &layers)?;
    Ok(Some(staged))
}

fn from_store(
    workplace: &Workplace,
    query: &BaseQuery,
    reference: &Reference,
) -> Result<Option<BaseImage>, Failure> {
    let record = match workplace.store.image_by_reference(reference)? {
        Some(record) => record,
        // `FROM <image ID>`: what a build printed can be built upon.
        None => match local_id(workplace, &query.reference)? {
            Some(record) => record,
            None => return Ok(None),
        },
    };
    let image = match record.for_platform(&query.platform) {
        Some(image) => image,
        None if query.any_platform && record.index.is_none() => match record.primary() {
            Some(image) => image,
            None => return Ok(None),
        },
        None => return Ok(None),
    };
    let config = workplace.config(&image.config)?;
    for layer in &config.rootfs.diff_ids {
        workplace.layers.hold(layer)?;
    }
    // If it went before its layers were held, some of them may be gone as well.
    if workplace.store.resolve(&record.id.to_string())?.is_none() {
        return Ok(None);
    }
    Ok(Some(BaseImage {
        diff_ids: config.rootfs.diff_ids.clone(),
        digest: image
            .manifest
            .as_ref()
            .map_or(image.config, |manifest| manifest.digest),
        platform: image.platform.clone(),
        config,
    }))
}

/// Looks an ID up, or the beginning of one that has at least the 12 digits that lists show.
fn local_id(workplace: &Workplace, text: &str) -> Result<Option<ImageRecord>, Failure> {
    let familiar = Reference::parse(text).map(|reference| reference.familiar_name());
    let hex = familiar.as_deref().unwrap_or(text);
    let is_id = hex.len() >= 12 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        return Ok(None);
    }
    Ok(workplace.store.resolve(hex)?.map(|found| found.record))
}

/// An image outside the store: its manifest and config, and where its layers are.
struct Found {
    chosen: Chosen,
    config: Vec<u8>,
    kind: &'static str,
    location: String,
}

impl Found {
    /// Keeps the documents in the store, and where the layers can be had.
    fn adopt(self, workplace: &Workplace) -> Result<(BaseImage, PlatformImage), Failure> {
        let Self {
            chosen,
            config: bytes,
            kind,
            location,
        } = self;
        chosen.manifest.config.verify(&bytes)?;
        let config: ImageConfig = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::message(format!("cannot read the image's config: {error}"))
        })?;
        let diff_ids = config.rootfs.diff_ids.clone();
        let layers = &chosen.manifest.layers;
        if layers.len() != diff_ids.len() {
            return Err(Failure::message(format!(
                "invalid manifest, layers length mismatch: expected {}, got {}",
                diff_ids.len(),
                layers.len()
            )));
        }
        workplace.store.put_blob(&bytes)?;
        workplace.store.put_blob(&chosen.bytes)?;
        for (diff_id, descriptor) in diff_ids.iter().zip(layers) {
            let origin = LayerOrigin {
                kind: kind.to_owned(),
                location: location.clone(),
                descriptor: descriptor.clone(),
            };
            workplace.layers.add_origin(diff_id, origin)?;
        }
        let platform = platform_of(&config);
        let image = PlatformImage {
            platform: platform.clone(),
            config: chosen.manifest.config.digest,
            manifest: Some(chosen.descriptor.clone()),
            size_bytes: None,
        };
        let base = BaseImage {
            config,
            digest: chosen.descriptor.digest,
            diff_ids,
            platform,
        };
        Ok((base, image))
    }
}

/// The platform a config says.
pub(crate) fn platform_of(config: &ImageConfig) -> Platform {
    let mut platform = Platform::new(&config.os, &config.architecture);
    platform.variant = config.variant.clone().unwrap_or_default();
    platform.os_version = config.os_version.clone().unwrap_or_default();
    platform.os_features = config.os_features.clone().unwrap_or_default();
    platform.normalized()
}
