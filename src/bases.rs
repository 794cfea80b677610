//! Base images: from the store, from a registry, from OCI layouts; and their layers when they are
//! needed.

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rbuild_image::config::ImageConfig;
use rbuild_image::error::ImageError;
use rbuild_image::layer::{BlobFetcher, Origin as LayerOrigin};
use rbuild_image::layout::{self, Layout};
use rbuild_image::manifest::{Descriptor, Document};
use rbuild_image::platform::Platform;
use rbuild_image::record::{ImageRecord, Origin, PlatformImage};
use rbuild_image::reference::Reference;
use rbuild_image::select::{Chosen, choose};
use rbuild_planner::{BaseImage, BaseImages, BaseQuery};
use rbuild_registry::{BlobReader, Client, RegistryError};

use crate::environment;
use crate::progress::Progress;
use crate::report::{Failure, chain};
use crate::workplace::{MAX_CONFIG, Workplace};

/// Kinds of places that layers come from.
const LAYOUT: &str = "oci-layout";
pub(crate) const REGISTRY: &str = "registry";

/// Brings layers from where their images came from. The registry client is made when it is first
/// needed: most builds need none.
pub(crate) struct Origins {
    client: OnceLock<Result<Client, String>>,
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
        self.client.get_or_init(make).as_ref().map_err(Clone::clone)
    }
}

impl BlobFetcher for Origins {
    fn fetch(&self, origin: &LayerOrigin) -> Result<Box<dyn Read + Send>, ImageError> {
        self.resume(origin, &mut std::io::empty())
    }

    fn resume(
        &self,
        origin: &LayerOrigin,
        have: &mut dyn Read,
    ) -> Result<Box<dyn Read + Send>, ImageError> {
        let failed = |source| ImageError::Fetch {
            digest: origin.descriptor.digest,
            origin: origin.location.clone(),
            source,
        };
        if origin.kind == LAYOUT {
            let layout = Layout::open(Path::new(&origin.location))?;
            let mut blob = layout.verified_blob(&origin.descriptor)?;
            let mut skip = || {
                let n_bytes = std::io::copy(have, &mut std::io::sink())?;
                std::io::copy(&mut (&mut blob).take(n_bytes), &mut std::io::sink())
            };
            skip().map_err(|error| failed(error.into()))?;
            return Ok(Box::new(blob));
        }
        let reference = Reference::parse(&origin.location)?;
        let client = self.client().map_err(|problem| failed(problem.into()))?;
        let blob = client
            .resume_blob(&reference, &origin.descriptor, have)
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
    found.remember(workplace, std::slice::from_ref(&reference))?;
    Ok(found.base)
}

/// An image that a registry has. The store has its documents, and knows where its layers are.
pub(crate) struct Pulled {
    /// What `reference` names.
    pub(crate) root: Descriptor,
    /// The image as a base.
    pub(crate) base: BaseImage,
    /// Its layers, base first.
    pub(crate) layers: Vec<Descriptor>,
    reference: Reference,
    image: PlatformImage,
    index: Option<Descriptor>,
}

/// Asks the registry for an image, but for none of its layers.
pub(crate) fn from_registry(
    workplace: &Workplace,
    reference: &Reference,
    platform: &Platform,
) -> Result<Pulled, Failure> {
    let client = workplace.origins.client().map_err(Failure::message)?;
    let resolved = client.resolve(reference)?;
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
    let index = match resolved.document {
        Document::Index(_) => {
            workplace.store.put_blob(&resolved.bytes)?;
            Some(resolved.descriptor.clone())
        }
        Document::Manifest(_) => None,
    };
    Ok(Pulled {
        root: resolved.descriptor,
        base,
        layers,
        reference: reference.clone(),
        image,
        index,
    })
}

fn registry_error(error: &RegistryError) -> ImageError {
    let text = chain(error);
    ImageError::io("ask the registry")(std::io::Error::other(text))
}

impl Pulled {
    /// Names the image in the store, so that the next build asks nobody. What is known of its other
    /// platforms stays, as long as the name still means the same index.
    pub(crate) fn remember(
        &self,
        workplace: &Workplace,
        names: &[Reference],
    ) -> Result<(), Failure> {
        let mut images = vec![self.image.clone()];
        let known = workplace.store.image_by_reference(&self.reference)?;
        if let (Some(index), Some(known)) = (&self.index, known)
            && known
                .index
                .as_ref()
                .is_some_and(|known| known.digest == index.digest)
        {
            let others = known
                .images
                .into_iter()
                .filter(|other| other.platform != images[0].platform);
            images.extend(others.collect::<Vec<_>>());
        }
        let Some(mut record) = ImageRecord::new(images, self.index.clone(), Origin::Pulled) else {
            return Ok(());
        };
        record.created.clone_from(&self.base.config.created);
        record.tagged_at = Some(environment::timestamp());
        workplace.layers.publish_image(&record, names)?;
        Ok(())
    }
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
