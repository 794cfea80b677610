//! `rbuild build`

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rbuild_agent::Agent;
use rbuild_cache::flight::Flights;
use rbuild_executor::{Build, BuiltImage, Options, Secrets, execute};
use rbuild_image::record::{ImageRecord, Origin, PlatformImage};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_planner::Plan;

use crate::arguments::{BuildArguments, ProgressMode};
use crate::cap::Cap;
use crate::checks::Checks;
use crate::delivery::{self, Delivery};
use crate::destination::{Destination, Destinations};
use crate::export::{Export, Exported};
use crate::fetching::Fetching;
use crate::ground::Ground;
use crate::metadata::Metadata;
use crate::progress::Progress;
use crate::report::{Failure, Source};
use crate::stop::Stop;
use crate::workplace::Workplace;
use crate::{cap, checks, context, environment, output, planning, secrets, ssh};

/// Steps that may run at once unless the user says otherwise. Steps mostly wait, for the network or
/// for each other's output; BuildKit has no limit at all.
const MIN_JOBS: usize = 16;

/// Builds an image.
pub(crate) fn run(root: &Path, options: &BuildArguments) -> Result<(), Failure> {
    if let Some(call) = options.call() {
        return super::call::run(root, options, &call);
    }
    let start = Instant::now();
    let destinations = Destinations::read(options)?;
    if let Some(file) = &options.iidfile {
        // Whoever reads it after a failure must not take an earlier image for this one's.
        match fs_err::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let cap = Cap::read()?;
    let secrets = Arc::new(secrets::parse_all(&options.secret)?);
    // The sandbox is entered while this process has one thread; fetching starts others.
    let mut ground = Ground::enter(&options.sandbox, options.plan.run.privileges()?)?;
    ground.limit(&options.plan.run)?;
    let agents = ssh::open_all(&options.ssh)?;
    let stop = Stop::new()?;
    let job = Job {
        root,
        cap: cap.as_ref(),
        options,
        destinations: &destinations,
        secrets: &secrets,
        agents: &agents,
        ground: &ground,
        stop: &stop,
        start,
    };
    stop.during(options.timeout, start, || job.run())
}

/// A build whose options were understood.
struct Job<'a> {
    root: &'a Path,
    cap: Option<&'a Cap>,
    options: &'a BuildArguments,
    destinations: &'a Destinations,
    secrets: &'a Arc<Secrets>,
    agents: &'a BTreeMap<String, Agent>,
    ground: &'a Ground,
    stop: &'a Arc<Stop>,
    start: Instant,
}

impl Job<'_> {
    fn run(&self) -> Result<(), Failure> {
        let options = self.options;
        let fetching = Fetching::new(self.root, Arc::clone(self.secrets), Arc::clone(self.stop));
        let input = context::open(&options.plan, &fetching)?;
        let mode = if options.quiet {
            ProgressMode::Quiet
        } else {
            options.progress
        };
        let mut progress = Progress::new(mode);

        let start = Instant::now();
        let ignore = input.ignore();
        let mut request = planning::request(&options.plan, input.named, input.times)?;
        request.ignore = ignore;
        let checks = Checks::of(&input.dockerfile, &request)?;
        let parsed = planning::parse(&input.dockerfile, &options.plan)?;
        progress.internal(
            format!(
                "[internal] load build definition from {}",
                input.dockerfile.name
            ),
            start.elapsed(),
        );
        planning::check_epoch(&request)?;
        let workplace = Workplace::open_as(self.root, self.ground.mode())?;
        let origins = Arc::clone(&workplace.origins);
        self.stop.on_stop(move || origins.cancel());
        let plan = planning::plan(
            &workplace,
            &input.dockerfile,
            &parsed.dockerfile,
            &request,
            options.plan.pull,
            &mut progress,
        )?;
        let warnings = checks.wanted(&parsed, &plan.warnings);
        checks.refuse(&input.dockerfile, &warnings)?;

        self.check_annotations(&plan)?;

        let epoch = planning::epoch(&plan, &fetching)?;
        let rewrites_times = self.destinations.forms().any(|form| form.rewrites_times);
        if rewrites_times && epoch.is_none() {
            output::note("warning: rewrite-timestamp has no effect without SOURCE_DATE_EPOCH\n");
        }
        let settings = settings(options, &workplace, epoch)?;
        let build = Build {
            plan: &plan,
            store: &workplace.store,
            layers: &workplace.layers,
            database: &workplace.database()?,
            sandbox: self.ground.sandbox(),
            contexts: &input.directories,
            secrets: self.secrets,
            agents: self.agents,
            remotes: &fetching,
            options: &settings,
            cancel: self.stop.cancel(),
        };
        let work = || Ok(progress.show(&plan, |on_event| execute(&build, on_event)));
        let images = match cap::limit(self.cap, &workplace, self.stop.cancel(), work)? {
            Ok(images) => images,
            Err(error) => return Err(Failure::Build(input.dockerfile, plan, error)),
        };
        if let Ok(sandbox) = build.sandbox {
            // It ends while the image is written.
            sandbox.zygote.dismiss();
        }
        self.stop.check()?;
        let finish = Finish {
            cap: self.cap,
            workplace: &workplace,
            options,
            destinations: self.destinations,
            epoch,
            start: self.start,
        };
        finish.run(&images, self.stop)?;
        show_warnings(options, &input.dockerfile, &warnings);
        Ok(())
    }

    fn check_annotations(&self, plan: &Plan) -> Result<(), Failure> {
        let targets = plan.targets.iter();
        let platforms: Vec<_> = targets.map(|target| target.platform.clone()).collect();
        let mut forms = self.destinations.forms();
        forms.try_for_each(|form| form.annotations.check(&platforms))
    }
}

fn settings(
    options: &BuildArguments,
    workplace: &Workplace,
    epoch: Option<i64>,
) -> Result<Options, Failure> {
    Ok(Options {
        jobs: options.jobs.unwrap_or_else(default_jobs).max(1),
        epoch,
        now: environment::now,
        flights: Flights::new(workplace.locks()?),
        resolv_conf: resolv_conf(),
    })
}

fn default_jobs() -> usize {
    let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (4 * n_cores).max(MIN_JOBS)
}

/// `/etc/resolv.conf` of this machine. A stub resolver on the loopback works as well: steps share
/// the network.
fn resolv_conf() -> Vec<u8> {
    fs_err::read("/etc/resolv.conf").unwrap_or_default()
}

fn show_warnings(options: &BuildArguments, source: &Source, warnings: &[Diagnostic]) {
    if !options.quiet && options.progress != ProgressMode::Rawjson {
        output::note(&checks::report(source, warnings));
    }
}

/// What is done with the images once they are built.
struct Finish<'a> {
    cap: Option<&'a Cap>,
    workplace: &'a Workplace,
    options: &'a BuildArguments,
    destinations: &'a Destinations,
    epoch: Option<i64>,
    start: Instant,
}

impl Finish<'_> {
    fn run(&self, images: &[BuiltImage], stop: &Stop) -> Result<(), Failure> {
        let mut record = self.record(images)?;
        let tags = &self.options.tag;
        let export = Export {
            workplace: self.workplace,
            images,
            tags,
            stop,
            is_shown: self.is_shown(),
            epoch: self.epoch,
        };
        let mut exported = Exported::default();
        let mut deliveries = Vec::new();
        for destination in &self.destinations.all {
            let done = export.write(destination)?;
            if let Destination::Image(image) = destination
                && done.target.is_some()
            {
                delivery::adopt(&mut record, &done);
                deliveries.push(Delivery::new(image, record.clone()));
            }
            exported.target = done.target.or(exported.target);
            stop.check()?;
        }
        let names = &self.destinations.local_names;
        if self.destinations.keeps_image() {
            self.workplace.layers.publish_image(&record, names)?;
        } else {
            self.workplace.layers.sync()?;
        }
        for delivery in &deliveries {
            delivery.name(self.workplace, tags)?;
        }
        // What killed builds left. Now, because making files is slow on some file systems while
        // many are being removed.
        self.workplace.store.sweep_tmp()?;
        // The image is there, whatever comes of this.
        let keep = [record.id].into();
        if let Some(Err(failure)) = self.cap.map(|cap| cap.after(self.workplace, keep)) {
            output::note(&failure.render());
        }
        let is_shown = self.is_shown();
        if is_shown && self.destinations.keeps_image() {
            self.say_named(&record);
        }
        for delivery in &deliveries {
            delivery.push(self.workplace, tags, stop, is_shown)?;
        }
        self.write_files(&record, &exported)?;
        self.say(&record)
    }

    fn record(&self, images: &[BuiltImage]) -> Result<ImageRecord, Failure> {
        let mut found = Vec::new();
        for image in images {
            let summaries = image
                .layers
                .iter()
                .map(|layer| self.workplace.layers.summary(layer));
            let size_bytes = summaries.map(|layer| Some(layer?.unpacked_size)).sum();
            found.push(PlatformImage {
                platform: image.platform.clone(),
                config: image.config_digest,
                manifest: None,
                size_bytes,
            });
        }
        let mut record = ImageRecord::new(found, None, Origin::Built)
            .ok_or_else(|| Failure::message("the plan has no image"))?;
        let primary = images.iter().find(|image| image.config_digest == record.id);
        record.created = primary.and_then(|image| image.config.created.clone());
        record.tagged_at = Some(
            self.epoch
                .map_or_else(environment::timestamp, environment::rfc3339),
        );
        Ok(record)
    }

    fn write_files(&self, record: &ImageRecord, exported: &Exported) -> Result<(), Failure> {
        let is_kept = self.destinations.keeps_image();
        let id = is_kept.then_some(record.id);
        if let Some(file) = &self.options.iidfile {
            let id = id.map(|id| id.to_string()).unwrap_or_default();
            fs_err::write(file, id)?;
        }
        if let Some(file) = &self.options.metadata_file {
            let metadata = Metadata {
                id,
                n_platforms: record.images.len(),
                target: exported.target.as_ref(),
                names: &self.destinations.names,
            };
            fs_err::write(file, metadata.to_json()?)?;
        }
        Ok(())
    }

    fn is_shown(&self) -> bool {
        let progress = self.options.progress;
        !self.options.quiet && !matches!(progress, ProgressMode::Quiet | ProgressMode::Rawjson)
    }

    fn say_named(&self, record: &ImageRecord) {
        let mut lines = vec![format!("writing image {} done\n", record.id)];
        let names = self.destinations.local_names.iter();
        lines.extend(names.map(|name| format!("naming to {name} done\n")));
        output::note(&lines.concat());
    }

    fn say(&self, record: &ImageRecord) -> Result<(), Failure> {
        let mut destinations = self.destinations.all.iter();
        if self.options.quiet && !destinations.any(Destination::is_stdout) {
            return match self.destinations.keeps_image() {
                true => output::result(&format!("{}\n", record.id)),
                false => Ok(()),
            };
        }
        if self.is_shown() {
            let seconds = self.start.elapsed().as_secs_f64();
            output::note(&format!("built in {seconds:.1}s\n"));
        }
        Ok(())
    }
}
