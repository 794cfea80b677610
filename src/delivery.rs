//! What becomes of an image that was built: its names in the store, and its way to registries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rbuild_image::record::ImageRecord;
use rbuild_image::reference::Reference;
use rbuild_registry::{Client, PushEvent};

use crate::environment;
use crate::export::Exported;
use crate::image_output::ImageOutput;
use crate::manifests::Compression;
use crate::output;
use crate::pushing::{self, Wish};
use crate::report::{Failure, chain};
use crate::stop::Stop;
use crate::workplace::Workplace;

/// An image as one output wants it.
pub(crate) struct Delivery<'a> {
    output: &'a ImageOutput,
    record: ImageRecord,
}

/// Gives the record the manifests that were made.
pub(crate) fn adopt(record: &mut ImageRecord, exported: &Exported) {
    for (image, manifest) in record.images.iter_mut().zip(&exported.manifests) {
        image.manifest = Some(manifest.clone());
    }
    record.index = match exported.manifests.len() {
        0 | 1 => None,
        _ => exported.target.clone(),
    };
}

impl<'a> Delivery<'a> {
    /// Of a record that has its manifests.
    pub(crate) fn new(output: &'a ImageOutput, record: ImageRecord) -> Self {
        Self { output, record }
    }

    /// Gives the image its names with digests.
    pub(crate) fn name(&self, workplace: &Workplace, tags: &[String]) -> Result<(), Failure> {
        let Some(target) = self.record.target() else {
            return Ok(());
        };
        let names = self.output.digest_names(tags, target)?;
        if !names.is_empty() {
            workplace.layers.publish_image(&self.record, &names)?;
        }
        Ok(())
    }

    /// Pushes the image if it is to be pushed; says so if `is_shown`.
    pub(crate) fn push(
        &self,
        workplace: &Workplace,
        tags: &[String],
        stop: &Stop,
        is_shown: bool,
    ) -> Result<(), Failure> {
        if !self.output.is_pushed {
            return Ok(());
        }
        let wish = Wish {
            compression: Compression::Gzip.into(),
            is_forced: false,
        };
        let parcel = pushing::prepare(workplace, &self.record, &wish)?;
        for target in self.output.targets(tags)? {
            stop.check()?;
            let name = self.output.pushed_name(&target, &parcel.root);
            let said = Lines::new(is_shown, &name);
            let show = |event: PushEvent<'_>| said.take(&event);
            let pushed = if self.output.is_insecure {
                let client = Arc::new(insecure_client(&name)?);
                let stopped = Arc::clone(&client);
                stop.on_stop(move || stopped.cancel());
                parcel.push_by(&client, &name, &show)
            } else {
                parcel.push(&name, &show)
            };
            pushed.map_err(|failure| failed(&name, failure))?;
            said.done();
        }
        Ok(())
    }
}

/// A client that lets the registry of `name` speak without verified TLS.
fn insecure_client(name: &Reference) -> Result<Client, Failure> {
    let mut settings = environment::registry_settings()?;
    settings.insecure_registries.push(name.domain.clone());
    Ok(Client::new(settings)?)
}

fn failed(name: &Reference, failure: Failure) -> Failure {
    let Failure::Error(error) = &failure else {
        return failure;
    };
    // Most errors of registries begin with the name.
    let problem = chain(error.as_ref());
    let problem = problem
        .strip_prefix(&format!("{name}: "))
        .unwrap_or(&problem);
    Failure::with_help(
        format!("failed to push {name}: {problem}"),
        "the build succeeded and the image is in the local store: `rbuild push`, or the same build again, goes on there",
    )
}

/// The progress of one push.
struct Lines {
    is_shown: bool,
    name: String,
    start: Instant,
    /// Set once manifests are what is missing.
    has_layers: AtomicBool,
}

impl Lines {
    fn new(is_shown: bool, name: &Reference) -> Self {
        let lines = Self {
            is_shown,
            name: name.to_string(),
            start: Instant::now(),
            has_layers: AtomicBool::new(false),
        };
        lines.say("pushing layers\n");
        lines
    }

    fn take(&self, event: &PushEvent<'_>) {
        match event {
            PushEvent::Retrying(blob, error) => {
                self.say(&format!("pushing {} again: {error}\n", blob.digest));
            }
            PushEvent::Stored(_) => self.layers_done(),
            _ => {}
        }
    }

    fn layers_done(&self) {
        if !self.has_layers.swap(true, Ordering::Relaxed) {
            let seconds = self.start.elapsed().as_secs_f64();
            self.say(&format!("pushing layers {seconds:.1}s done\n"));
            self.say(&format!("pushing manifest for {}\n", self.name));
        }
    }

    fn done(&self) {
        self.layers_done();
        let seconds = self.start.elapsed().as_secs_f64();
        self.say(&format!(
            "pushing manifest for {} {seconds:.1}s done\n",
            self.name
        ));
    }

    fn say(&self, text: &str) {
        if self.is_shown {
            output::note(text);
        }
    }
}
