//! The image that a stage leads to: its config and history put together.

use petgraph::graph::NodeIndex;
use rbuild_image::config::{History, ImageConfig};
use rbuild_image::platform::Platform;

use crate::plan::{StepId, Target};
use crate::stages::Stages;
use crate::state::{StageState, WINDOWS};
use crate::table::Place;

/// A [`Target`] whose steps are places of the table.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) rootfs: Place,
    platform: Platform,
    platform_is_explicit: bool,
    config: ImageConfig,
    history: Vec<(History, Option<Place>)>,
}

/// Returns the image of the target stage, if it could be lowered.
pub(crate) fn image(stages: &Stages<'_>, states: &[Option<StageState>]) -> Option<Image> {
    let state = states.get(stages.target)?.as_ref()?;
    let request = stages.request;
    let platform_is_explicit = !request.platforms.is_empty();
    let mut config = state.config.clone();
    let environment = state.image_env.entries().to_vec();
    config.config.env = Some(environment).filter(|entries| !entries.is_empty());
    if !request.labels.is_empty() {
        let labels = config.config.labels.get_or_insert_default();
        labels.extend(request.labels.iter().cloned());
    }
    let (base, history) = history(states, stages.target);
    config.history = base;
    config
        .history
        .extend(history.iter().map(|(line, _)| line.clone()));
    set_platform(&mut config, &stages.platform, platform_is_explicit);
    if config.os == WINDOWS {
        let working_dir = config.config.working_dir.as_mut();
        working_dir
            .into_iter()
            .for_each(|path| *path = path.replace('/', "\\"));
    }
    Some(Image {
        rootfs: state.rootfs,
        platform: if platform_is_explicit {
            stages.platform.clone()
        } else {
            platform_of(&config)
        },
        platform_is_explicit,
        config,
        history,
    })
}

impl Image {
    /// Returns the target, given each step's index in the graph.
    pub(crate) fn into_target(self, indices: &[Option<usize>]) -> Target {
        let id = |place: Place| {
            let index = indices[place].expect("a target's steps are needed");
            StepId(NodeIndex::new(index))
        };
        Target {
            platform: self.platform,
            platform_is_explicit: self.platform_is_explicit,
            rootfs: id(self.rootfs),
            config: self.config,
            history: self
                .history
                .into_iter()
                .map(|(line, step)| (line, step.map(id)))
                .collect(),
        }
    }
}

/// Lines of this build with the steps that make their layers.
type Lines = Vec<(History, Option<Place>)>;

/// Returns the base image's lines and those of this build, the lowest stage first.
fn history(states: &[Option<StageState>], target: usize) -> (Vec<History>, Lines) {
    let mut chain = Vec::new();
    let mut below = Some(target);
    while let Some(state) = below.and_then(|number| states[number].as_ref()) {
        chain.push(state);
        below = state.below;
    }
    chain.reverse();
    let base = chain.first().map(|state| state.base_history.clone());
    let lines = chain.iter().flat_map(|state| state.history.iter().cloned());
    (base.unwrap_or_default(), lines.collect())
}

/// Sets the platform as BuildKit does: the one that was asked for, whatever the base says; else
/// the base's.
fn set_platform(config: &mut ImageConfig, wanted: &Platform, is_explicit: bool) {
    let is_unknown = config.os.is_empty() || config.architecture.is_empty();
    if is_explicit || is_unknown {
        let is_same = config.os == wanted.os && config.architecture == wanted.architecture;
        config.os.clone_from(&wanted.os);
        config.architecture.clone_from(&wanted.architecture);
        if !wanted.variant.is_empty() || !is_same {
            config.variant = Some(wanted.variant.clone());
        }
        if !wanted.os_version.is_empty() || !is_same {
            config.os_version = Some(wanted.os_version.clone());
        }
        if !wanted.os_features.is_empty() {
            config.os_features = Some(wanted.os_features.clone());
        }
    }
    let platform = platform_of(config);
    config.architecture = platform.architecture;
    config.os = platform.os;
    config.variant = Some(platform.variant).filter(|text| !text.is_empty());
    config.os_version = Some(platform.os_version).filter(|text| !text.is_empty());
    config.os_features = Some(platform.os_features).filter(|list| !list.is_empty());
}

fn platform_of(config: &ImageConfig) -> Platform {
    Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone().unwrap_or_default(),
        os_version: config.os_version.clone().unwrap_or_default(),
        os_features: config.os_features.clone().unwrap_or_default(),
    }
    .normalized()
}
