//! What a target takes: build arguments, secrets, agents, caches; and what the comments say of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use rbuild_parser::ast::{ArgDeclaration, Dockerfile, InstructionKind, Stage, Word};
use rbuild_parser::checks::buildkit::description;
use rbuild_parser::expand::{self, Expansion};
use rbuild_parser::span::Span;

use crate::plan::{RunMount, StepKind};
use crate::stages::{Base, Command, Stages};
use crate::state::StageState;
use crate::table::StepTable;

/// What a target takes. Every list is in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The target's name.
    pub name: Option<String>,
    /// What the comment above it says.
    pub description: Option<String>,
    /// The build arguments that have an effect.
    pub args: Vec<OutlineArg>,
    /// The secrets.
    pub secrets: Vec<OutlineMount>,
    /// The SSH agents.
    pub ssh: Vec<OutlineMount>,
    /// The cache mounts.
    pub caches: Vec<OutlineMount>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What the comment above its `ARG` says.
    pub description: Option<String>,
    /// Its value as of now; empty if it has none.
    pub value: String,
    /// The instruction that declares it.
    pub span: Span,
}

/// A secret, an agent or a cache, by what a `RUN` calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its name.
    pub name: String,
    /// True if the step fails without it.
    pub is_required: bool,
    /// The instruction that mounts it.
    pub span: Span,
}

/// Collects what the target takes.
pub(crate) fn outline(
    dockerfile: &Dockerfile,
    stages: &Stages<'_>,
    states: &[Option<StageState>],
    steps: &StepTable,
) -> Outline {
    let mut collector = Collector {
        dockerfile,
        stages,
        states,
        steps,
        global: global_args(dockerfile, stages),
        seen: BTreeSet::new(),
        known_from: BTreeSet::new(),
        outline: Outline::default(),
    };
    if let Some(stage) = dockerfile.stages.get(stages.target) {
        let name = stage.from.name.as_ref().map(|name| name.value.clone());
        collector.outline.description = name
            .as_deref()
            .and_then(|name| description(&stage.head.comments, name))
            .map(str::to_owned);
        collector.outline.name = name;
    }
    collector.walk(stages.target);
    collector.outline.args.sort_by_key(|found| found.span.start);
    for list in [
        &mut collector.outline.secrets,
        &mut collector.outline.ssh,
        &mut collector.outline.caches,
    ] {
        list.sort_by_key(|found| found.span.start);
    }
    collector.outline
}

struct Collector<'o, 'a> {
    dockerfile: &'o Dockerfile,
    stages: &'o Stages<'a>,
    states: &'o [Option<StageState>],
    steps: &'o StepTable,
    global: BTreeMap<&'o str, OutlineArg>,
    /// Names of arguments that are in the outline.
    seen: BTreeSet<String>,
    /// Stages whose `FROM` was looked at.
    known_from: BTreeSet<usize>,
    outline: Outline,
}

impl Collector<'_, '_> {
    /// Goes through a stage, then its base, then what it takes files from. What a nearer stage says
    /// counts.
    fn walk(&mut self, target: usize) {
        let mut known = BTreeSet::new();
        let mut pending = vec![target];
        while let Some(number) = pending.pop() {
            if !known.insert(number) {
                continue;
            }
            self.args(number);
            self.mounts(number);
            let needs: Vec<_> = self.stages.needs_of(number).map(|(need, _)| need).collect();
            pending.extend(needs.into_iter().rev());
        }
    }

    fn args(&mut self, number: usize) {
        let mut local = HashMap::new();
        let mut used = self.used_by_from(number);
        for command in &self.stages.nodes[number].commands {
            let InstructionKind::Arg(declarations) = &command.instruction.kind else {
                continue;
            };
            for declaration in declarations {
                used.push(declaration.name.value.clone());
                if let Some(found) = self.declared(number, declaration, command) {
                    local.insert(found.name.clone(), found);
                }
            }
        }
        let mut used = VecDeque::from(used);
        while let Some(name) = used.pop_front() {
            if self.seen.contains(&name) {
                continue;
            }
            if let Some(found) = local.remove(&name) {
                self.outline.args.push(found);
            } else if let Some(found) = self.global.get(name.as_str()) {
                self.outline.args.push(found.clone());
                let uses = self.stages.global.uses.get(name.as_str());
                used.extend(uses.into_iter().flatten().cloned());
            } else {
                // One that the build knows by itself; a stage below may declare it.
                continue;
            }
            self.seen.insert(name);
        }
    }

    /// Returns what an `ARG` of a stage declares, unless it only takes over what is global.
    fn declared(
        &self,
        number: usize,
        declaration: &ArgDeclaration,
        command: &Command<'_>,
    ) -> Option<OutlineArg> {
        let name = declaration.name.value.as_str();
        let global = &self.stages.global;
        let is_own = declaration.default.is_some() || global.build_args.contains_key(name);
        if !is_own && global.env.get(name).is_some() {
            return None;
        }
        let state = self.states[number].as_ref();
        let value = state.and_then(|state| state.args.get(name));
        let head = &command.instruction.head;
        Some(OutlineArg {
            name: name.to_owned(),
            description: description(&head.comments, name).map(str::to_owned),
            value: value.unwrap_or_default().to_owned(),
            span: match &command.trigger {
                Some(_) => self.stages.nodes[number].span,
                None => head.line_span,
            },
        })
    }

    /// Returns the names that the stage's `FROM` uses, and those of the stages it stands on, but
    /// for stages that were asked about already.
    fn used_by_from(&mut self, number: usize) -> Vec<String> {
        let mut used = Vec::new();
        let mut next = Some(number);
        while let Some(number) = next.filter(|number| self.known_from.insert(*number)) {
            if let Some(Stage { from, .. }) = self.dockerfile.stages.get(number) {
                used.extend(self.uses(&from.base));
                used.extend(from.platform.iter().flat_map(|word| self.uses(word)));
            }
            next = match self.stages.nodes[number].base {
                Base::Stage(base) => Some(base),
                _ => None,
            };
        }
        used
    }

    fn uses(&self, word: &Word) -> Vec<String> {
        let global = &self.stages.global;
        expand::expand_word(&word.value, self.stages.escape, &global.env)
            .map_or_else(|_| Vec::new(), |Expansion { used, .. }| used)
    }

    fn mounts(&mut self, number: usize) {
        let Some(state) = &self.states[number] else {
            return;
        };
        for place in state.history.iter().filter_map(|(_, place)| *place) {
            let StepKind::Run(run) = self.steps.kind(place) else {
                continue;
            };
            let span = self.steps.origin(place).span;
            for mount in &run.mounts {
                let (list, name, is_required) = match mount {
                    RunMount::Secret { id, required, .. } => {
                        (&mut self.outline.secrets, id.as_str(), *required)
                    }
                    RunMount::Ssh { id, required, .. } => {
                        (&mut self.outline.ssh, id.as_str(), *required)
                    }
                    RunMount::Cache { id, .. } => {
                        // Without the namespace, which is the build's.
                        let name = id.split_once('/').map_or(id.as_str(), |(_, name)| name);
                        (&mut self.outline.caches, name, false)
                    }
                    RunMount::Bind { .. } | RunMount::Tmpfs { .. } => continue,
                };
                if !list.iter().any(|known| known.name == name) {
                    list.push(OutlineMount {
                        name: name.to_owned(),
                        is_required,
                        span,
                    });
                }
            }
        }
    }
}

/// The `ARG`s before the first `FROM`; of several with one name the last.
fn global_args<'a>(
    dockerfile: &'a Dockerfile,
    stages: &Stages<'_>,
) -> BTreeMap<&'a str, OutlineArg> {
    let mut found = BTreeMap::new();
    for instruction in &dockerfile.global_args {
        let InstructionKind::Arg(declarations) = &instruction.kind else {
            continue;
        };
        for declaration in declarations {
            let name = declaration.name.value.as_str();
            let value = stages.global.env.get(name).unwrap_or_default();
            let arg = OutlineArg {
                name: name.to_owned(),
                description: description(&instruction.head.comments, name).map(str::to_owned),
                value: value.to_owned(),
                span: instruction.head.line_span,
            };
            found.insert(name, arg);
        }
    }
    found
}
