//! Carries out the instructions of the stages that the target needs: each becomes steps, config
//! and history.
//!
//! Faults are reported and the next instruction is tried, so that one run shows them all.

mod checks;
mod config;
mod files;
mod from;
mod mounts;
mod run;
pub(crate) use run::PROXIES;
mod scope;

use rbuild_image::config::History;
use rbuild_parser::ast::{Instruction, InstructionKind, Word};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::span::Span;

use crate::display::{self, Counter};
use crate::findings::{Budget, Findings};
use crate::messages;
use crate::plan::{Input, Origin, StepKind};
use crate::stages::{Node, Stages};
use crate::state::StageState;
use crate::table::{self, Definition, Place, StepTable};
use crate::words::Expander;

/// What the lowering of all platforms shares.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) steps: StepTable,
    pub(crate) findings: Findings,
    pub(crate) budget: Budget,
}

/// Lowers all reachable stages; the state of each is at its number.
pub(crate) fn lower(stages: &Stages<'_>, shared: &mut Shared) -> Vec<Option<StageState>> {
    let mut done: Vec<Option<StageState>> = Vec::new();
    done.resize_with(stages.nodes.len(), || None);
    checks::check_base_platforms(stages, &mut shared.findings);
    // Implicit stages stand on nothing of the file, and everything may take files from them.
    let (declared, implicit): (Vec<usize>, Vec<usize>) = stages
        .reachable
        .iter()
        .partition(|number| **number < stages.n_declared);
    for number in implicit.into_iter().chain(declared) {
        let state = Lowering::begin(stages, shared, &done, number).map(Lowering::finish);
        if shared.budget.is_exhausted() {
            break;
        }
        done[number] = state;
    }
    done
}

/// One stage at work.
pub(super) struct Lowering<'s, 'a> {
    stages: &'s Stages<'a>,
    shared: &'s mut Shared,
    done: &'s [Option<StageState>],
    number: usize,
    state: StageState,
    counter: Counter,
    /// The text of the trigger that is carried out, if it is one.
    trigger: Option<&'s str>,
}

impl<'s, 'a> Lowering<'s, 'a> {
    fn finish(mut self) -> StageState {
        let node = &self.stages.nodes[self.number];
        for command in &node.commands {
            self.trigger = command.trigger.as_deref();
            let instruction = command.instruction.as_ref();
            if let Err(fault) = self.carry_out(instruction, &command.sources) {
                let fault = match self.trigger {
                    Some(trigger) => messages::in_trigger(fault, trigger, node.base_span),
                    None => fault,
                };
                self.shared.findings.report(fault);
            }
            if self.shared.budget.is_exhausted() {
                break;
            }
        }
        self.state
    }

    fn carry_out(
        &mut self,
        instruction: &'s Instruction,
        sources: &[Option<usize>],
    ) -> Result<(), Diagnostic> {
        let head = &instruction.head;
        match &instruction.kind {
            InstructionKind::Arg(declarations) => self.arg(declarations),
            InstructionKind::Env(pairs) => self.env(pairs, head),
            InstructionKind::Label(pairs) => self.label(pairs, head),
            InstructionKind::Run(run) => self.run(run, head, sources),
            InstructionKind::Copy(copy) => {
                self.copy(copy, head, sources.first().copied().flatten())
            }
            InstructionKind::Add(add) => self.add(add, head),
            InstructionKind::Workdir(path) => self.workdir(path, head),
            InstructionKind::User(user) => self.user(user, head),
            InstructionKind::Expose(ports) => self.expose(ports, head),
            InstructionKind::Volume(paths) => self.volume(paths, head),
            InstructionKind::StopSignal(signal) => self.stop_signal(signal, head),
            InstructionKind::Healthcheck(check) => self.healthcheck(check, head),
            InstructionKind::Shell(words) => self.shell(words, head),
            InstructionKind::Cmd(command) => self.cmd(command, head),
            InstructionKind::Entrypoint(command) => self.entrypoint(command, head),
            InstructionKind::Maintainer(name) => self.maintainer(name, head),
            InstructionKind::Onbuild(onbuild) => {
                let triggers = self.state.config.config.on_build.get_or_insert_default();
                triggers.push(onbuild.trigger.value.clone());
                Ok(())
            }
        }
    }

    fn node(&self) -> &'s Node<'a> {
        &self.stages.nodes[self.number]
    }

    /// Returns the escape character; that of triggers is always a backslash.
    fn escape(&self) -> char {
        if self.trigger.is_some() {
            '\\'
        } else {
            self.stages.escape
        }
    }

    /// Returns `span`, or the `FROM`'s base if a trigger is carried out.
    fn place(&self, span: Span) -> Span {
        if self.trigger.is_some() {
            self.node().base_span
        } else {
            span
        }
    }

    fn expander(&mut self) -> Expander<'_> {
        Expander {
            escape: self.escape(),
            env: &self.state.env,
            budget: &mut self.shared.budget,
        }
    }

    /// Expands a word to one word.
    fn expand(&mut self, word: &Word) -> Result<String, Diagnostic> {
        let expansion = self.expander().one(word)?;
        self.warn_of_undefined(&expansion.undefined, word.span);
        Ok(expansion.text)
    }

    /// Expands a flag's value; empty is as if the flag were not there.
    fn expand_flag(&mut self, word: Option<&Word>) -> Result<Option<String>, Diagnostic> {
        let text = word.map(|word| self.expand(word)).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// Takes room in the plan for `n_bytes` of text.
    fn spend(&mut self, n_bytes: usize, span: Span) -> Result<(), Diagnostic> {
        if self.shared.budget.spend(n_bytes) {
            Ok(())
        } else {
            Err(messages::plan_too_large(span))
        }
    }

    /// Adds a history line.
    fn commit(&mut self, line: History, step: Option<Place>, span: Span) -> Result<(), Diagnostic> {
        self.spend(line.created_by.as_deref().map_or(0, str::len) + 128, span)?;
        self.state.history.push((line, step));
        Ok(())
    }

    /// Adds a step upon the root file system so far.
    fn push(&mut self, step: NewStep, sources: &[Place]) -> Result<Place, Diagnostic> {
        let mut inputs = vec![(Input::Parent, self.state.rootfs)];
        inputs.extend(
            sources
                .iter()
                .enumerate()
                .map(|(n, place)| (Input::Source(n), *place)),
        );
        let prefix = self.title_prefix();
        let trigger = if self.trigger.is_some() {
            "ONBUILD "
        } else {
            ""
        };
        let title = format!("{prefix}{trigger}{}", step.display);
        let n_bytes = table::weight(&step.kind) + 2 * title.len();
        self.spend(n_bytes, step.span)?;
        let arguments = step
            .arguments
            .iter()
            .map(|span| self.place(*span))
            .collect();
        let origin = Origin {
            span: if self.trigger.is_some() {
                self.node().span
            } else {
                step.span
            },
            arguments,
            display: step.display,
            title,
            stage: self.node().label.clone(),
        };
        let is_forced = matches!(step.kind, StepKind::Run(_) | StepKind::Files(_));
        let definition = Definition {
            kind: step.kind,
            platform: self.state.platform.clone(),
            inputs,
            ignore_cache: is_forced && self.ignores_cache(),
        };
        self.state.rootfs = self.shared.steps.insert(definition, origin);
        Ok(self.state.rootfs)
    }

    fn ignores_cache(&self) -> bool {
        let request = self.stages.request;
        let is_filtered = |name: &str| {
            let filter = &request.no_cache_filter;
            filter
                .iter()
                .any(|filtered| filtered.to_lowercase() == name)
        };
        request.no_cache || self.node().name.is_some_and(is_filtered)
    }

    fn title_prefix(&mut self) -> String {
        let is_multi_platform = self.stages.request.platforms.len() > 1;
        let platform = if is_multi_platform {
            format!("{}{}", self.state.platform, self.cross_target())
        } else {
            String::new()
        };
        let stage = if self.stages.is_single {
            ""
        } else {
            &self.node().label
        };
        self.counter.next_prefix(&platform, stage)
    }

    /// Returns the line as progress shows it.
    fn display(&self, text: &str) -> String {
        display::line(text, &self.state.env, self.escape())
    }
}

/// A step to be added.
pub(super) struct NewStep {
    kind: StepKind,
    span: Span,
    arguments: Vec<Span>,
    display: String,
}
