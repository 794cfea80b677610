//! `rbuild pull`

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::error::ImageError;
use rbuild_image::manifest::Descriptor;
use rbuild_image::platform::Platform;
use rbuild_image::record::ImageRecord;
use rbuild_image::reference::{DEFAULT_DOMAIN, Reference};
use rbuild_image::store::Pin;

use crate::bases::{Pulled, of_resolved, stage};
use crate::output;
use crate::report::Failure;
use crate::stop::Stop;
use crate::transfers::Transfers;
use crate::workplace::Workplace;

/// Layers that are fetched at a time.
const N_PARALLEL: usize = 4;

#[derive(Debug, Args)]
pub(crate) struct PullArguments {
    /// Pull all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Print nothing but the name
    #[arg(short, long)]
    quiet: bool,
    /// Unpack the layers as well; a build does so when a step needs them
    #[arg(long)]
    unpack: bool,
    /// Platform of the image, or several of them
    #[arg(
        long,
        value_name = "OS/ARCH[/VARIANT],…",
        env = "DOCKER_DEFAULT_PLATFORM",
        value_delimiter = ','
    )]
    platform: Vec<String>,
    /// Docker's; nothing is signed here
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    disable_content_trust: Option<bool>,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

/// Whether the store has more than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Downloaded,
    UpToDate,
}

/// Brings an image, or all of a repository, into the store.
pub(crate) fn run(root: &Path, options: &PullArguments) -> Result<(), Failure> {
    let written = Reference::parse(&options.name)?;
    if written.domain == DEFAULT_DOMAIN && written.path == "library/scratch" {
        return Err(Failure::message("'scratch' is a reserved name"));
    }
    let mut platforms = Vec::new();
    for text in &options.platform {
        platforms.push(Platform::parse(text)?);
    }
    if platforms.is_empty() {
        platforms.push(Platform::host());
    }
    let has_tag = written.tag().is_some() || written.digest().is_some();
    if options.all_tags && has_tag {
        return Err(Failure::message("tag can't be used with --all-tags/-a"));
    }
    // Unpacked files belong to the users of the namespace that builds run in.
    let workplace = match options.unpack {
        true => Workplace::enter(root)?,
        false => Workplace::open(root)?,
    };
    let pull = Pull {
        workplace: &workplace,
        platforms,
        is_unpacked: options.unpack,
        transfers: Arc::new(Transfers::new(options.quiet)),
    };
    pull.watch();
    let stop = Stop::new()?;
    let origins = Arc::clone(&workplace.origins);
    stop.on_stop(move || origins.cancel());
    let (name, news) = stop.during(None, Instant::now(), || pull.all(written, options.all_tags))?;
    let status = match news {
        News::Downloaded => "Downloaded newer image for",
        News::UpToDate => "Image is up to date for",
    };
    let familiar = name.familiar();
    pull.transfers.line(&format!("Status: {status} {familiar}"));
    for warning in workplace.origins.take_warnings() {
        output::note(&format!("warning: {warning}\n"));
    }
    output::result(&format!("{name}\n"))
}

struct Pull<'a> {
    workplace: &'a Workplace,
    platforms: Vec<Platform>,
    /// Whether layers are unpacked as well.
    is_unpacked: bool,
    transfers: Arc<Transfers>,
}

impl Pull<'_> {
    /// Shows what comes from the registry.
    fn watch(&self) {
        let transfers = Arc::clone(&self.transfers);
        self.workplace.origins.observe(move |blob, n_bytes| {
            let id = &short(blob);
            if n_bytes < blob.size {
                transfers.moved(id, "Downloading", n_bytes, blob.size);
            } else {
                transfers.set(id, "Download complete");
            }
        });
    }

    /// Pulls what the name stands for; returns the name in full.
    fn all(&self, written: Reference, has_all_tags: bool) -> Result<(Reference, News), Failure> {
        if !has_all_tags {
            if written.tag().is_none() && written.digest().is_none() {
                self.transfers.line("Using default tag: latest");
            }
            let reference = written.with_default_tag();
            let news = self.pull(&reference)?;
            return Ok((reference, news));
        }
        let mut news = News::UpToDate;
        for tag in self.tags(&written)? {
            let reference = Reference {
                tag: Some(tag),
                ..written.clone()
            };
            if self.pull(&reference)? == News::Downloaded {
                news = News::Downloaded;
            }
        }
        Ok((written, news))
    }

    fn tags(&self, repository: &Reference) -> Result<Vec<String>, Failure> {
        let client = self.workplace.origins.client().map_err(Failure::message)?;
        Ok(client.tags(repository)?)
    }

    fn pull(&self, reference: &Reference) -> Result<News, Failure> {
        let what = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or_default().to_owned(),
        };
        let heading = format!("{what}: Pulling from {}", reference.path);
        let known = self.workplace.store.image_by_reference(reference)?;
        if let Some(known) = &known
            && let Some(digest) = self.is_current(reference, known)?
        {
            self.transfers.line(&heading);
            self.transfers.line(&format!("Digest: {digest}"));
            return Ok(News::UpToDate);
        }
        let client = self.workplace.origins.client().map_err(Failure::message)?;
        let resolved = client.resolve(reference)?;
        let mut found = Vec::new();
        for platform in &self.platforms {
            found.push(of_resolved(self.workplace, &resolved, reference, platform)?);
        }
        self.transfers.line(&heading);
        let root = resolved.descriptor.digest;
        let is_known = known
            .as_ref()
            .and_then(ImageRecord::target)
            .is_some_and(|target| target.digest == root);
        for image in &found {
            image.fetch_attestations(self.workplace)?;
        }
        // The disk is waited for while there is little to write.
        let names = [reference.clone(), reference.at_digest(root)];
        let staged = stage(self.workplace, &found, &names)?;
        let n_fetched = self.fetch_layers(&found, is_known)?;
        if let Some(staged) = staged {
            staged.publish()?;
        }
        for (image, platform) in found.iter().zip(&self.platforms) {
            warn_of_platform(reference, image, platform);
        }
        self.transfers.line(&format!("Digest: {root}"));
        Ok(if is_known && n_fetched == 0 {
            News::UpToDate
        } else {
            News::Downloaded
        })
    }

    /// Returns the digest of what the name stands for if nothing of it is missing here: one question
    /// to the registry, which costs none of what it counts.
    fn is_current(
        &self,
        reference: &Reference,
        known: &ImageRecord,
    ) -> Result<Option<Digest>, Failure> {
        let Some(target) = known.target() else {
            return Ok(None);
        };
        for platform in &self.platforms {
            let Some(image) = known.for_platform(platform) else {
                return Ok(None);
            };
            let layers = self.workplace.config(&image.config)?.rootfs.diff_ids;
            for diff_id in &layers {
                self.workplace.layers.hold(diff_id)?;
            }
            if !layers.iter().all(|layer| self.is_here(layer)) {
                return Ok(None);
            }
        }
        let by_digest = reference.at_digest(target.digest);
        let is_named = self.workplace.store.image_by_reference(&by_digest)?;
        if is_named.is_none() {
            return Ok(None);
        }
        let client = self.workplace.origins.client().map_err(Failure::message)?;
        let there = client.peek(reference)?;
        let is_same = there.is_some_and(|there| there.digest == target.digest);
        Ok(is_same.then_some(target.digest))
    }

    /// Whether there is nothing to do for a layer.
    fn is_here(&self, diff_id: &DiffId) -> bool {
        let layers = &self.workplace.layers;
        match self.is_unpacked {
            true => layers.has_tree(diff_id),
            false => layers.has_bytes_here(diff_id),
        }
    }

    /// Fetches the layers that are not here; returns how many. Of an image that is known and complete
    /// nothing is shown.
    fn fetch_layers(&self, found: &[Pulled], is_known: bool) -> Result<usize, Failure> {
        let mut layers: Vec<(&DiffId, &Descriptor)> = Vec::new();
        for image in found {
            for (diff_id, layer) in image.base.diff_ids.iter().zip(&image.layers) {
                if !layers.iter().any(|(_, known)| known.digest == layer.digest) {
                    layers.push((diff_id, layer));
                }
            }
        }
        let mut missing = Vec::new();
        for (diff_id, layer) in &layers {
            let store = &self.workplace.store;
            store.pin(&[Pin::Layer(**diff_id), Pin::Blob(layer.digest)])?;
            if !self.is_here(diff_id) {
                missing.push((*diff_id, *layer));
            }
        }
        if missing.is_empty() && is_known {
            return Ok(0);
        }
        for (_, layer) in &layers {
            let is_missing = missing
                .iter()
                .any(|(_, known): &(_, &Descriptor)| known.digest == layer.digest);
            let status = if is_missing {
                "Pulling fs layer"
            } else {
                "Already exists"
            };
            self.transfers.set(&short(layer), status);
        }
        self.fetch_all(&missing)?;
        Ok(missing.len())
    }

    /// After a failure nothing more is begun.
    fn fetch_all(&self, missing: &[(&DiffId, &Descriptor)]) -> Result<(), Failure> {
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let has_failed = || {
            let failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
            Option::is_some(&failure)
        };
        std::thread::scope(|scope| {
            for _ in 0..N_PARALLEL.min(missing.len()) {
                scope.spawn(|| {
                    while !has_failed()
                        && let Some((diff_id, layer)) =
                            missing.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        match self.fetch(diff_id, layer) {
                            Ok(()) => self.transfers.set(&short(layer), "Pull complete"),
                            Err(error) => {
                                let failure = failure.lock();
                                let mut failure = failure.unwrap_or_else(PoisonError::into_inner);
                                failure.get_or_insert(error);
                            }
                        }
                    }
                });
            }
        });
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    fn fetch(&self, diff_id: &DiffId, layer: &Descriptor) -> Result<(), ImageError> {
        let layers = &self.workplace.layers;
        if self.is_unpacked {
            return layers.tree(diff_id).map(drop);
        }
        layers.bring_blob(diff_id, layer)
    }
}

/// A name that stands for one image alone gets that image, whatever it runs on.
fn warn_of_platform(reference: &Reference, found: &Pulled, wanted: &Platform) {
    let has = &found.base.platform;
    if !wanted.accepts(has) {
        output::note(&format!(
            "warning: {} is for {has}, not for {wanted}\n",
            reference.familiar(),
        ));
    }
}

fn short(blob: &Descriptor) -> String {
    blob.digest.hex()[..12].to_owned()
}
