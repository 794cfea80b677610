//! The steps of a plan while it is made: equal steps are one.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use rbuild_image::platform::Platform;

use crate::graph::{self, Graph};
use crate::plan::{FileSource, Input, Origin, Run, Step, StepKind};

/// Place of a step in a [`StepTable`]; those of its inputs are smaller.
pub(crate) type Place = usize;

/// All steps so far.
#[derive(Debug, Default)]
pub(crate) struct StepTable {
    steps: Vec<(Step, Vec<(Input, Place)>)>,
    // Only finds candidates, which are then compared: the random state is never seen.
    by_hash: HashMap<u64, Vec<Place>>,
    hasher: RandomState,
}

/// What makes a step the one it is.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) kind: StepKind,
    pub(crate) platform: Platform,
    pub(crate) inputs: Vec<(Input, Place)>,
    pub(crate) ignore_cache: bool,
}

impl StepTable {
    /// Returns the step so defined; a new one gets `origin`, one that is there keeps its own.
    pub(crate) fn insert(&mut self, definition: Definition, origin: Origin) -> Place {
        let Definition {
            kind,
            platform,
            inputs,
            ignore_cache,
        } = definition;
        let hash = self
            .hasher
            .hash_one((&kind, &platform, &inputs, ignore_cache));
        let candidates = self.by_hash.entry(hash).or_default();
        let found = candidates.iter().copied().find(|place| {
            let (step, step_inputs) = &self.steps[*place];
            step.kind == kind
                && step.platform == platform
                && step.ignore_cache == ignore_cache
                && *step_inputs == inputs
        });
        if let Some(place) = found {
            return place;
        }
        let place = self.steps.len();
        candidates.push(place);
        let step = Step {
            kind,
            platform,
            ignore_cache,
            origin,
        };
        self.steps.push((step, inputs));
        place
    }

    /// Returns what the step does.
    pub(crate) fn kind(&self, place: Place) -> &StepKind {
        &self.steps[place].0.kind
    }

    /// Returns the step that the step builds upon.
    pub(crate) fn parent(&self, place: Place) -> Option<Place> {
        let mut inputs = self.steps[place].1.iter();
        let (_, parent) = inputs.find(|(input, _)| *input == Input::Parent)?;
        Some(*parent)
    }

    /// Returns where the step comes from.
    pub(crate) fn origin(&self, place: Place) -> &Origin {
        &self.steps[place].0.origin
    }

    /// Returns the graph of what `targets` need, and for each old place the new index.
    pub(crate) fn finish(self, targets: &[Place]) -> (Graph, Vec<Option<usize>>) {
        let mut needed = vec![false; self.steps.len()];
        for target in targets {
            needed[*target] = true;
        }
        for place in (0..self.steps.len()).rev() {
            if needed[place] {
                for (_, input) in &self.steps[place].1 {
                    needed[*input] = true;
                }
            }
        }
        let mut indices = vec![None; self.steps.len()];
        let mut kept = Vec::new();
        for (place, (step, mut inputs)) in self.steps.into_iter().enumerate() {
            if !needed[place] {
                continue;
            }
            for (_, input) in &mut inputs {
                *input = indices[*input].expect("an input comes before its step and is needed");
            }
            indices[place] = Some(kept.len());
            kept.push((step, inputs));
        }
        (graph::build(kept), indices)
    }
}

/// Returns roughly how many bytes a step of this kind keeps.
pub(crate) fn weight(kind: &StepKind) -> usize {
    let sum = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let sum_pairs = |pairs: &[(String, String)]| {
        pairs
            .iter()
            .map(|(left, right)| left.len() + right.len())
            .sum::<usize>()
    };
    let own = match kind {
        StepKind::Scratch | StepKind::Local { .. } => 0,
        StepKind::Image(image) => image.diff_ids.len() * 32,
        StepKind::Workdir(workdir) => workdir.path.len(),
        StepKind::Files(files) => {
            let sources: usize = files
                .sources
                .iter()
                .map(|source| match source {
                    FileSource::Path { pattern, .. } => pattern.len(),
                    FileSource::Inline { content, .. } => content.len(),
                    FileSource::Http(source) => source.url.len(),
                    FileSource::Git(source) => source.remote.len() + source.subdir.len(),
                })
                .sum();
            sources + sum(&files.exclude)
        }
        StepKind::Run(Run {
            argv,
            env,
            proxy_env,
            extra_hosts,
            pipe_scripts,
            mounts,
            ..
        }) => {
            let pairs = sum_pairs(extra_hosts) + sum_pairs(pipe_scripts);
            sum(argv) + sum(env) + sum(proxy_env) + pairs + 512 * mounts.len()
        }
    };
    // A node with its edges, origin and the heads of its strings.
    own + 512
}

#[cfg(test)]
mod tests {
    use rbuild_parser::span::Span;

    use super::*;
    use crate::plan::Workdir;

    fn origin(title: &str) -> Origin {
        Origin {
            span: Span::default(),
            arguments: Vec::new(),
            display: title.to_owned(),
            title: title.to_owned(),
            stage: String::new(),
        }
    }

    fn workdir(path: &str, parent: Place) -> Definition {
        Definition {
            kind: StepKind::Workdir(Workdir {
                path: path.to_owned(),
                user: None,
            }),
            platform: Platform::new("linux", "amd64"),
            inputs: vec![(Input::Parent, parent)],
            ignore_cache: false,
        }
    }

    fn scratch(architecture: &str) -> Definition {
        Definition {
            kind: StepKind::Scratch,
            platform: Platform::new("linux", architecture),
            inputs: Vec::new(),
            ignore_cache: false,
        }
    }

    #[test]
    fn equal_steps_are_one_and_unneeded_ones_go() {
        let mut table = StepTable::default();
        let base = table.insert(scratch("amd64"), origin("base"));
        let unused = table.insert(workdir("/unused", base), origin("unused"));
        let used = table.insert(workdir("/used", base), origin("used"));
        assert_eq!(table.insert(scratch("amd64"), origin("again")), base);
        assert_eq!(table.insert(workdir("/used", base), origin("again")), used);
        let other = table.insert(scratch("arm64"), origin("other"));
        assert_ne!(other, base);
        let forced = Definition {
            ignore_cache: true,
            ..workdir("/used", base)
        };
        assert_ne!(table.insert(forced, origin("forced")), used);
        let (graph, indices) = table.finish(&[used]);
        assert_eq!(graph.node_count(), 2);
        assert_eq!(
            (indices[base], indices[unused], indices[used]),
            (Some(0), None, Some(1))
        );
        let titles: Vec<_> = graph
            .node_weights()
            .map(|step| step.origin.title.as_str())
            .collect();
        assert_eq!(titles, ["base", "used"]);
    }
}
