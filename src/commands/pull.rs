//! `rbuild pull`

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::manifest::Descriptor;
use rbuild_image::platform::Platform;
use rbuild_image::record::ImageRecord;
use rbuild_image::reference::{DEFAULT_DOMAIN, Reference};
use rbuild_image::store::Pin;

use crate::bases::{Pulled, from_registry};
use crate::output;
use crate::report::Failure;
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
    /// Platform of the image
    #[arg(
        long,
        value_name = "OS/ARCH[/VARIANT]",
        env = "DOCKER_DEFAULT_PLATFORM"
    )]
    platform: Option<String>,
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
    let platform = match &options.platform {
        Some(text) => Platform::parse(text)?,
        None => Platform::host(),
    };
    if written.domain == DEFAULT_DOMAIN && written.path == "library/scratch" {
        return Err(Failure::message("'scratch' is a reserved name"));
    }
    let has_tag = written.tag().is_some() || written.digest().is_some();
    if options.all_tags && has_tag {
        return Err(Failure::message("tag can't be used with --all-tags/-a"));
    }
    let workplace = Workplace::open(root)?;
    let pull = Pull {
        workplace: &workplace,
        platform,
        transfers: Arc::new(Transfers::new(options.quiet)),
    };
    pull.watch();
    let mut news = News::UpToDate;
    let name = if options.all_tags {
        for tag in pull.tags(&written)? {
            let reference = Reference {
                tag: Some(tag),
                ..written.clone()
            };
            if pull.pull(&reference)? == News::Downloaded {
                news = News::Downloaded;
            }
        }
        written
    } else {
        if !has_tag {
            pull.transfers.line("Using default tag: latest");
        }
        let reference = written.with_default_tag();
        news = pull.pull(&reference)?;
        reference
    };
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
    platform: Platform,
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
        let found = from_registry(self.workplace, reference, &self.platform)?;
        self.transfers.line(&heading);
        let is_known = known
            .as_ref()
            .and_then(ImageRecord::target)
            .is_some_and(|target| target.digest == found.root.digest);
        let n_fetched = self.fetch_layers(&found, is_known)?;
        let by_digest = reference.at_digest(found.root.digest);
        found.remember(self.workplace, &[reference.clone(), by_digest])?;
        self.warn_of_platform(reference, &found);
        self.transfers
            .line(&format!("Digest: {}", found.root.digest));
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
        let (Some(target), Some(image)) = (known.target(), known.for_platform(&self.platform))
        else {
            return Ok(None);
        };
        let config = self.workplace.config(&image.config)?;
        let layers = &config.rootfs.diff_ids;
        for diff_id in layers {
            self.workplace.layers.hold(diff_id)?;
        }
        if !layers
            .iter()
            .all(|layer| self.workplace.layers.has_bytes_here(layer))
        {
            return Ok(None);
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

    /// Fetches the layers that are not here; returns how many. Of an image that is known and complete
    /// nothing is shown.
    fn fetch_layers(&self, found: &Pulled, is_known: bool) -> Result<usize, Failure> {
        let layers: Vec<(&DiffId, &Descriptor)> =
            found.base.diff_ids.iter().zip(&found.layers).collect();
        let mut missing = Vec::new();
        for (diff_id, layer) in &layers {
            let store = &self.workplace.store;
            store.pin(&[Pin::Layer(**diff_id), Pin::Blob(layer.digest)])?;
            let is_repeated = missing
                .iter()
                .any(|(_, known): &(&DiffId, &Descriptor)| known.digest == layer.digest);
            if !self.workplace.layers.has_bytes_here(diff_id) && !is_repeated {
                missing.push((*diff_id, *layer));
            }
        }
        if missing.is_empty() && is_known {
            return Ok(0);
        }
        for (_, layer) in &layers {
            let is_missing = missing
                .iter()
                .any(|(_, known)| known.digest == layer.digest);
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
                        match self.workplace.layers.bring_blob(diff_id, layer) {
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

    /// A name that stands for one image alone gets that image, whatever it runs on.
    fn warn_of_platform(&self, reference: &Reference, found: &Pulled) {
        let has = &found.base.platform;
        if !self.platform.accepts(has) {
            output::note(&format!(
                "warning: {} is for {has}, not for {}\n",
                reference.familiar(),
                self.platform
            ));
        }
    }
}

fn short(blob: &Descriptor) -> String {
    blob.digest.hex()[..12].to_owned()
}
