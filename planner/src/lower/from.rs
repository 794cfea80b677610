//! The start of a stage: what its base gives it.

use rbuild_image::platform::Platform;
use rbuild_parser::ast::InstructionKind;

use super::{Lowering, Shared};
use crate::display::Counter;
use crate::messages;
use crate::plan::{ContextName, ImageSource, Origin, StepKind};
use crate::request::{BaseImage, BaseQuery};
use crate::stages::{Base, Node, Purpose, Stages};
use crate::state::{StageState, WINDOWS};
use crate::table::{self, Definition, Place};

impl<'s, 'a> Lowering<'s, 'a> {
    /// Begins a stage; `None` if its base is at fault, which has been reported.
    pub(super) fn begin(
        stages: &'s Stages<'a>,
        shared: &'s mut Shared,
        done: &'s [Option<StageState>],
        number: usize,
    ) -> Option<Self> {
        let node = &stages.nodes[number];
        let platform = node.platform.as_ref().unwrap_or(&stages.platform).clone();
        let mut start = Start {
            stages,
            shared,
            number,
            counter: count(stages, number),
        };
        let state = match &node.base {
            Base::Unknown => return None,
            Base::Stage(base) => start.upon_stage(*base, done.get(*base)?.as_ref()?)?,
            Base::Scratch => start.upon_scratch(platform),
            Base::Directory(context) => start.upon_directory(context, &platform),
            Base::Image { query, .. } => start.upon_image(query, platform)?,
        };
        let counter = start.counter;
        let mut lowering = Self {
            stages,
            shared,
            done,
            number,
            state,
            counter,
            trigger: None,
        };
        lowering.prepare(node);
        Some(lowering)
    }

    fn prepare(&mut self, node: &Node<'_>) {
        if node.is_replaced || self.number >= self.stages.n_declared {
            return;
        }
        self.state.start_environment();
        if let Some(path) = &self.state.config.config.working_dir {
            self.state.config.config.working_dir = Some(self.state.resolve("/", path));
        }
    }

    /// Returns `->arm64` if the stage's arguments say that it builds for another platform.
    pub(super) fn cross_target(&self) -> String {
        let env = &self.state.env;
        let own = &self.state.platform;
        let whole = env
            .get("TARGETPLATFORM")
            .and_then(|text| Platform::parse(text).ok());
        let part = |name: &str| env.get(name).map(str::to_owned);
        let (os, architecture) = (part("TARGETOS"), part("TARGETARCH"));
        let variant = part("TARGETVARIANT");
        let target = match whole {
            Some(platform) => platform,
            None if os.is_none() && architecture.is_none() && variant.is_none() => {
                return String::new();
            }
            None => Platform {
                os: os.unwrap_or_else(|| own.os.clone()),
                architecture: architecture.unwrap_or_else(|| own.architecture.clone()),
                variant: variant.unwrap_or_default(),
                ..Platform::default()
            },
        };
        let target = target.normalized();
        if target.is_same(own) {
            String::new()
        } else if target.os != own.os {
            format!("->{target}")
        } else if target.variant.is_empty() {
            format!("->{}", target.architecture)
        } else {
            format!("->{}/{}", target.architecture, target.variant)
        }
    }
}

/// Counts a stage's steps as progress does: the image, and every RUN, COPY, ADD and WORKDIR.
fn count(stages: &Stages<'_>, number: usize) -> Counter {
    let node = &stages.nodes[number];
    let mut total = 0;
    if number < stages.n_declared && !node.is_replaced {
        total += usize::from(matches!(node.base, Base::Image { .. } | Base::Directory(_)));
        total += node
            .commands
            .iter()
            .filter(|command| {
                matches!(
                    command.instruction.kind,
                    InstructionKind::Run(_)
                        | InstructionKind::Copy(_)
                        | InstructionKind::Add(_)
                        | InstructionKind::Workdir(_)
                )
            })
            .count();
    }
    Counter { done: 0, total }
}

struct Start<'s, 'a> {
    stages: &'s Stages<'a>,
    shared: &'s mut Shared,
    number: usize,
    counter: Counter,
}

impl Start<'_, '_> {
    fn upon_stage(&mut self, number: usize, base: &StageState) -> Option<StageState> {
        if !self.shared.budget.spend(base.weight()) {
            let span = self.stages.nodes[self.number].base_span;
            self.shared.findings.report(messages::plan_too_large(span));
            return None;
        }
        Some(base.continued(number))
    }

    fn upon_scratch(&mut self, platform: Platform) -> StageState {
        // The config's platform is the build's, whatever the FROM says, as in BuildKit.
        let rootfs = self.root(StepKind::Scratch, platform.clone(), "FROM scratch");
        StageState::scratch(rootfs, platform, &self.stages.platform)
    }

    fn upon_directory(&mut self, context: &ContextName, platform: &Platform) -> StageState {
        let kind = StepKind::Local {
            context: context.clone(),
        };
        let display = format!("FROM {}", context.0);
        let rootfs = self.root(kind, platform.clone(), &display);
        StageState::scratch(rootfs, platform.clone(), platform)
    }

    fn upon_image(&mut self, query: &BaseQuery, platform: Platform) -> Option<StageState> {
        // What is not there or at fault has been asked for or reported.
        let image = match self.stages.bases.get(query)? {
            Ok(image) => image,
            Err(_) if self.stages.purpose == Purpose::Build => return None,
            Err(_) => return Some(self.upon_unknown(platform)),
        };
        let node = &self.stages.nodes[self.number];
        let platform = actual_platform(node, query, image, platform);
        let rootfs = if is_empty(image) {
            self.root(StepKind::Scratch, platform.clone(), "FROM scratch")
        } else {
            let kind = StepKind::Image(ImageSource {
                query: query.clone(),
                diff_ids: image.diff_ids.clone(),
            });
            let display = format!("FROM {}", query.reference);
            self.root(kind, platform.clone(), &display)
        };
        let mut state = StageState::of_config(rootfs, platform, &image.config);
        if node.is_replaced {
            state.config.config.on_build = image.config.config.on_build.clone();
        }
        Some(state)
    }

    /// Returns a stage upon an image that could not be had, which has been reported: what is upon
    /// it can still be looked at.
    fn upon_unknown(&mut self, platform: Platform) -> StageState {
        let rootfs = self.root(StepKind::Scratch, platform.clone(), "FROM scratch");
        let mut state = StageState::scratch(rootfs, platform, &self.stages.platform);
        state.base_is_unknown = true;
        state
    }

    fn root(&mut self, kind: StepKind, platform: Platform, display: &str) -> Place {
        let node = &self.stages.nodes[self.number];
        // An empty root is no step of progress.
        let prefix = if kind == StepKind::Scratch {
            String::new()
        } else {
            let is_multi_platform = self.stages.request.platforms.len() > 1;
            let platform = if is_multi_platform {
                platform.to_string()
            } else {
                String::new()
            };
            let stage = if self.stages.is_single {
                ""
            } else {
                &node.label
            };
            self.counter.next_prefix(&platform, stage)
        };
        let origin = Origin {
            span: node.span,
            arguments: vec![node.base_span],
            display: display.to_owned(),
            title: format!("{prefix}{display}"),
            stage: node.label.clone(),
        };
        // A base is small next to what is built upon it; should it not fit, the next step says so.
        let _fits = self.shared.budget.spend(table::weight(&kind));
        let definition = Definition {
            kind,
            platform,
            inputs: Vec::new(),
            ignore_cache: false,
        };
        self.shared.steps.insert(definition, origin)
    }
}

/// Returns the platform of a stage upon an image, given the one wanted.
pub(super) fn actual_platform(
    node: &Node<'_>,
    query: &BaseQuery,
    image: &BaseImage,
    wanted: Platform,
) -> Platform {
    if query.any_platform || node.is_replaced {
        platform_of(image, wanted)
    } else {
        wanted
    }
}

/// Returns the platform of an image that could be any: the build's if it fits, else the image's.
fn platform_of(image: &BaseImage, build: Platform) -> Platform {
    let found = &image.platform;
    let is_known = !found.os.is_empty() && !found.architecture.is_empty();
    let fits = found.os == build.os && found.architecture == build.architecture;
    if !is_known || fits {
        build
    } else {
        found.normalized()
    }
}

/// Reports whether the image has no layer, by its list and by its history.
pub(super) fn is_empty(image: &BaseImage) -> bool {
    image.diff_ids.is_empty() && image.config.history.iter().all(|line| line.empty_layer)
}

/// Returns the shell of the shell form: what the config says, else the system's.
pub(super) fn shell(state: &StageState) -> Vec<String> {
    let shell: &[&str] = match &state.config.config.shell {
        Some(shell) if !shell.is_empty() => return shell.clone(),
        _ if state.config.os == WINDOWS => &["cmd", "/S", "/C"],
        _ => &["/bin/sh", "-c"],
    };
    shell.iter().map(|word| (*word).to_owned()).collect()
}
