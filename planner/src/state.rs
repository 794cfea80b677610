//! What a stage has become so far: its root file system, its environment, its config.

use std::collections::{BTreeMap, HashMap};

use rbuild_image::config::{History, ImageConfig, RootFs, RunConfig};
use rbuild_image::platform::Platform;
use rbuild_parser::span::Span;
use serde_json::Value;

use crate::env::Env;
use crate::paths;
use crate::table::Place;

/// What a process finds when nobody sets `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The system whose paths, shell and `PATH` are others.
pub(crate) const WINDOWS: &str = "windows";

/// One stage while its instructions are carried out, and afterwards.
#[derive(Debug)]
pub(crate) struct StageState {
    /// The step that makes the root file system.
    pub(crate) rootfs: Place,
    /// The platform that the stage's steps run on.
    pub(crate) platform: Platform,
    /// The image's config, but for environment and history.
    pub(crate) config: ImageConfig,
    /// The image's environment: the base's and `ENV`.
    pub(crate) image_env: Env,
    /// The environment of processes and expansion: the image's and valued `ARG`s.
    pub(crate) env: Env,
    /// The `ARG`s declared so far, here and in the stages below.
    pub(crate) args: Args,
    /// What has been set in this very stage.
    pub(crate) seen: Seen,
    /// True once a `WORKDIR` of the file has been set, here or in the stages below.
    pub(crate) workdir_is_set: bool,
    /// True if nothing is known of the base image.
    pub(crate) base_is_unknown: bool,
    /// The stage that this one continues.
    pub(crate) below: Option<usize>,
    /// History of the base image.
    pub(crate) base_history: Vec<History>,
    /// This stage's own lines, and the steps that make the layers of those that are not empty.
    pub(crate) history: Vec<(History, Option<Place>)>,
}

/// Where the instructions are of which only the last in a stage counts.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) cmd: Option<Span>,
    pub(crate) entrypoint: Option<Span>,
    pub(crate) healthcheck: Option<Span>,
}

/// Declared arguments, each once, in the order in which they were first seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Args {
    declared: Vec<(String, Option<String>)>,
    places: HashMap<String, usize>,
}

impl Args {
    /// Declares an argument.
    pub(crate) fn declare(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(str::to_owned);
        if let Some(place) = self.places.get(name) {
            self.declared[*place].1 = value;
        } else {
            self.places.insert(name.to_owned(), self.declared.len());
            self.declared.push((name.to_owned(), value));
        }
    }

    /// Reports whether an argument has been declared.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Returns the value that an argument was declared with.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.declared[*self.places.get(name)?].1.as_deref()
    }

    /// Returns all arguments with their values as a `RUN` sees them: what the environment says,
    /// else what was declared, else nothing.
    pub(crate) fn values<'a>(
        &'a self,
        env: &'a Env,
    ) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> {
        self.declared.iter().map(|(name, value)| {
            let value = env.get(name).or(value.as_deref()).unwrap_or_default();
            (name.as_str(), value)
        })
    }
}

impl StageState {
    /// Returns a stage upon nothing, whose config names the platform `image`.
    pub(crate) fn scratch(rootfs: Place, platform: Platform, image: &Platform) -> Self {
        let mut config = ImageConfig {
            architecture: image.architecture.clone(),
            os: image.os.clone(),
            variant: Some(image.variant.clone()),
            os_version: Some(image.os_version.clone()),
            os_features: Some(image.os_features.clone()),
            ..ImageConfig::default()
        };
        config.config.working_dir = Some("/".to_owned());
        if image.os != WINDOWS {
            config.config.env = Some(vec![format!("PATH={DEFAULT_PATH}")]);
        }
        Self::of_config(rootfs, platform, &config)
    }

    /// Returns a stage upon an image.
    ///
    /// Only what is known of configs is carried over, as in BuildKit; triggers have been unfolded.
    pub(crate) fn of_config(rootfs: Place, platform: Platform, base: &ImageConfig) -> Self {
        let run = &base.config;
        let config = ImageConfig {
            author: text(base.author.as_ref()),
            architecture: base.architecture.clone(),
            os: base.os.clone(),
            variant: text(base.variant.as_ref()),
            os_version: text(base.os_version.as_ref()),
            os_features: list(base.os_features.as_ref()),
            config: RunConfig {
                user: text(run.user.as_ref()),
                exposed_ports: run.exposed_ports.clone().filter(|map| !map.is_empty()),
                entrypoint: list(run.entrypoint.as_ref()),
                cmd: list(run.cmd.as_ref()),
                volumes: run.volumes.clone().filter(|map| !map.is_empty()),
                working_dir: text(run.working_dir.as_ref()),
                labels: run.labels.clone().filter(|map| !map.is_empty()),
                stop_signal: text(run.stop_signal.as_ref()),
                args_escaped: run.args_escaped.filter(|set| *set),
                healthcheck: run.healthcheck.clone(),
                shell: list(run.shell.as_ref()),
                ..RunConfig::default()
            },
            rootfs: RootFs::default(),
            ..ImageConfig::default()
        };
        Self {
            rootfs,
            platform,
            config,
            image_env: Env::from_entries(run.env.clone().unwrap_or_default()),
            env: Env::default(),
            args: Args::default(),
            seen: Seen::default(),
            workdir_is_set: false,
            base_is_unknown: false,
            below: None,
            base_history: base.history.clone(),
            history: Vec::new(),
        }
    }

    /// Returns a stage that continues stage `number`, which is `self`.
    pub(crate) fn continued(&self, number: usize) -> Self {
        let mut config = self.config.clone();
        config.config.on_build = None;
        Self {
            rootfs: self.rootfs,
            platform: self.platform.clone(),
            config,
            image_env: self.image_env.clone(),
            env: self.env.clone(),
            args: self.args.clone(),
            seen: Seen::default(),
            workdir_is_set: self.workdir_is_set,
            base_is_unknown: self.base_is_unknown,
            below: Some(number),
            base_history: Vec::new(),
            history: Vec::new(),
        }
    }

    /// Makes the environment ready for instructions.
    ///
    /// The image's variables are set anew, also over `ARG`s of the stage below that hid them there.
    pub(crate) fn start_environment(&mut self) {
        if self.image_env.get("PATH").is_none() && self.platform.os != WINDOWS {
            self.image_env.set("PATH", DEFAULT_PATH);
        }
        for (name, value) in self.image_env.pairs() {
            self.env.set(name, value);
        }
    }

    /// Returns the working directory: absolute and clean once [`crate::lower`] has begun.
    pub(crate) fn working_dir(&self) -> &str {
        self.config.config.working_dir.as_deref().unwrap_or("/")
    }

    /// Returns `path` taken from `base`, clean and with slashes, whatever the system.
    pub(crate) fn resolve(&self, base: &str, path: &str) -> String {
        if self.platform.os == WINDOWS {
            paths::resolve(base, &paths::from_windows(path))
        } else {
            paths::resolve(base, path)
        }
    }

    /// Returns roughly how many bytes a stage that continues this one keeps.
    pub(crate) fn weight(&self) -> usize {
        let labels = self.config.config.labels.iter().flatten();
        let labels: usize = labels.map(|(key, value)| key.len() + value.len()).sum();
        let n_listed =
            |map: &Option<BTreeMap<String, Value>>| map.as_ref().map_or(0, BTreeMap::len);
        let n_entries =
            n_listed(&self.config.config.exposed_ports) + n_listed(&self.config.config.volumes);
        self.image_env.n_bytes() + self.env.n_bytes() + labels + 64 * n_entries + 1024
    }
}

/// Empty is as absent as absent is: Go leaves both out.
fn text(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

fn list(list: Option<&Vec<String>>) -> Option<Vec<String>> {
    list.filter(|list| !list.is_empty()).cloned()
}
