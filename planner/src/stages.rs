//! The stages of a Dockerfile for one platform: what each is built upon, what each takes files
//! from, and which of them the target needs.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use rbuild_image::platform::Platform;
use rbuild_parser::ast::{Dockerfile, Instruction, Stage};
use rbuild_parser::span::Span;

use crate::bases::Bases;
use crate::checks;
use crate::cycles;
use crate::findings::{Budget, Findings};
use crate::global::Global;
use crate::messages;
use crate::plan::ContextName;
use crate::reach;
use crate::request::{BaseImages, BaseQuery, Request};
use crate::sources;

/// What the stages are worked out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To build the target.
    Build,
    /// To look at them: a base that cannot be had keeps nothing else from being found.
    Inspection {
        /// True if all stages are looked at, not only what the target needs.
        all_stages: bool,
    },
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) request: &'a Request,
    pub(crate) bases: &'a BaseImages,
    pub(crate) purpose: Purpose,
}

/// All stages for one target platform. A stage's number is its place in `nodes`.
#[derive(Debug)]
pub(crate) struct Stages<'a> {
    pub(crate) request: &'a Request,
    pub(crate) bases: &'a BaseImages,
    pub(crate) purpose: Purpose,
    pub(crate) escape: char,
    /// The platform that is built for, normalised.
    pub(crate) platform: Platform,
    pub(crate) global: Global<'a>,
    /// The stages of the file in order, then an implicit stage for each image or context that a
    /// `COPY --from` names.
    pub(crate) nodes: Vec<Node<'a>>,
    /// Number of stages of the file.
    pub(crate) n_declared: usize,
    /// True if there is nothing but one stage, whose name progress then leaves out.
    pub(crate) is_single: bool,
    pub(crate) target: usize,
    /// What the target needs, itself included.
    pub(crate) reachable: BTreeSet<usize>,
    /// Numbers of the stages of each name, ascending.
    pub(crate) by_name: HashMap<&'a str, Vec<usize>>,
    /// Implicit stages by what `--from` says.
    pub(crate) implicit: HashMap<String, usize>,
}

/// One stage.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    /// `AS` name or `stage-N`; for an implicit stage, what `--from` says.
    pub(crate) label: String,
    /// The `AS` name.
    pub(crate) name: Option<&'a str>,
    /// The `FROM` instruction, or the `COPY` that made an implicit stage.
    pub(crate) span: Span,
    /// The base in the `FROM`, or the value of `--from`.
    pub(crate) base_span: Span,
    pub(crate) base: Base,
    /// `--platform`, normalised.
    pub(crate) platform: Option<Platform>,
    /// True if a named context of the stage's name stands in for the whole stage.
    pub(crate) is_replaced: bool,
    /// What is done: triggers of the base, then the stage's own instructions.
    pub(crate) commands: Vec<Command<'a>>,
}

/// What a stage is built upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// An earlier stage.
    Stage(usize),
    /// Nothing.
    Scratch,
    /// A directory context.
    Directory(ContextName),
    /// An image.
    Image {
        query: BaseQuery,
        /// As written, after expansion.
        typed: String,
    },
    /// None: the `FROM` is at fault, which has been reported.
    Unknown,
}

/// An instruction to be carried out in a stage.
#[derive(Debug)]
pub(crate) struct Command<'a> {
    pub(crate) instruction: Cow<'a, Instruction>,
    /// The stages that it takes files from: the one that `--from` names, or one a `--mount`.
    pub(crate) sources: Vec<Option<usize>>,
    /// The trigger's text, if it comes from the base's ONBUILD.
    pub(crate) trigger: Option<String>,
}

/// Works the stages out as far as the known base images allow.
///
/// Faults and questions go to `findings`. `None` if the faults leave nothing to go on with.
pub(crate) fn analyse<'a>(
    question: &Question<'a>,
    platform: &Platform,
    findings: &mut Findings,
    budget: &mut Budget,
) -> Option<Stages<'a>> {
    let Question {
        dockerfile,
        request,
        bases,
        purpose,
    } = *question;
    checks::check_defaults(dockerfile, request, platform, findings);
    let global = Global::evaluate(dockerfile, request, platform, findings, budget);
    let mut stages = Stages {
        request,
        bases,
        purpose,
        escape: dockerfile.escape,
        platform: platform.clone(),
        global,
        nodes: Vec::with_capacity(dockerfile.stages.len()),
        n_declared: dockerfile.stages.len(),
        is_single: false,
        target: 0,
        reachable: BTreeSet::new(),
        by_name: HashMap::new(),
        implicit: HashMap::new(),
    };
    for stage in &dockerfile.stages {
        stages.declare(stage, findings, budget);
    }
    stages.target = stages.find_target(dockerfile, findings)?;
    for number in 0..stages.n_declared {
        sources::link_stage(&mut stages, number, findings);
    }
    stages.is_single = stages.nodes.len() == 1 && !sources::has_mounts(&stages);
    cycles::check(&stages, findings);
    // What stands in for a stage takes the place of its instructions; BuildKit looks for circles
    // before that.
    for node in &mut stages.nodes {
        if node.is_replaced {
            node.commands.clear();
        }
    }
    if findings.has_errors() {
        return None;
    }
    reach::resolve(&mut stages, findings);
    Some(stages)
}

impl<'a> Stages<'a> {
    fn declare(&mut self, stage: &'a Stage, findings: &mut Findings, budget: &mut Budget) {
        let number = self.nodes.len();
        let name = stage.from.name.as_ref().map(|name| name.value.as_str());
        let found = Bases {
            stages: self,
            findings,
            budget,
        }
        .of_from(&stage.from, number);
        let commands = stage.instructions.iter().map(|instruction| Command {
            instruction: Cow::Borrowed(instruction),
            sources: Vec::new(),
            trigger: None,
        });
        let node = Node {
            label: name.map_or_else(|| format!("stage-{number}"), str::to_owned),
            name,
            span: stage.head.span,
            base_span: stage.from.base.span,
            base: found.base,
            platform: found.platform,
            is_replaced: found.is_replaced,
            commands: commands.collect(),
        };
        self.nodes.push(node);
        if let Some(name) = name {
            self.by_name.entry(name).or_default().push(number);
        }
    }

    fn find_target(&self, dockerfile: &Dockerfile, findings: &mut Findings) -> Option<usize> {
        let Some(last) = self.n_declared.checked_sub(1) else {
            findings.report(messages::no_stages());
            return None;
        };
        let Some(wanted) = &self.request.target else {
            return Some(last);
        };
        let found = self
            .by_name
            .get(wanted.to_lowercase().as_str())
            .and_then(|numbers| numbers.last().copied());
        if found.is_none() {
            let span = dockerfile.stages[last].head.line_span;
            findings.report(messages::unknown_target(wanted, self.labels(), span));
        }
        found
    }

    /// Returns the nearest stage called `name` above stage `number`.
    pub(crate) fn nearest_above(&self, name: &str, number: usize) -> Option<usize> {
        let numbers = self.by_name.get(name)?;
        let n_above = numbers.partition_point(|at| *at < number);
        numbers[..n_above].last().copied()
    }

    /// Returns the names that stages of the file go by.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.nodes[..self.n_declared.min(self.nodes.len())]
            .iter()
            .map(|node| node.label.as_str())
    }

    /// Returns the stages that a stage needs, each with the place that says so.
    pub(crate) fn needs_of(&self, number: usize) -> impl Iterator<Item = (usize, Span)> {
        let node = &self.nodes[number];
        let base = match node.base {
            Base::Stage(base) => Some((base, node.base_span)),
            _ => None,
        };
        let sources = node.commands.iter().flat_map(|command| {
            let span = match &command.trigger {
                Some(_) => node.span,
                None => command.instruction.head.line_span,
            };
            let sources = command.sources.iter().flatten();
            sources.map(move |source| (*source, span))
        });
        base.into_iter().chain(sources)
    }
}
