//! Walking a plan: steps, inputs, dependents.
//!
//! Knows nothing of Dockerfiles. petgraph does not show outside of this crate.

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use petgraph::stable_graph::StableDiGraph;
use petgraph::visit::EdgeRef as _;

use crate::plan::{Input, Plan, Step, StepId};

/// The graph inside of a [`Plan`].
pub(crate) type Graph = StableDiGraph<Step, Input>;

impl Plan {
    /// Returns the number of steps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Reports whether there are no steps.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns all steps, every one after its inputs.
    pub fn steps(&self) -> impl Iterator<Item = StepId> + '_ {
        // Steps are added after their inputs and never removed, so indices are a topological order.
        self.graph.node_indices().map(StepId)
    }

    /// Returns the step called `id`.
    ///
    /// # Panics
    /// If `id` is of another plan and too large for this one.
    #[must_use]
    pub fn step(&self, id: StepId) -> &Step {
        &self.graph[id.0]
    }

    /// Returns the step whose root file system `id` builds upon.
    #[must_use]
    pub fn parent(&self, id: StepId) -> Option<StepId> {
        self.inputs(id)
            .into_iter()
            .find_map(|(input, step)| (input == Input::Parent).then_some(step))
    }

    /// Returns the steps that `id` takes files from: place `n` is [`Input::Source`]`(n)`.
    #[must_use]
    pub fn sources(&self, id: StepId) -> Vec<StepId> {
        self.inputs(id)
            .into_iter()
            .filter(|(input, _)| *input != Input::Parent)
            .map(|(_, step)| step)
            .collect()
    }

    /// Returns the inputs of `id`: the parent first, then the sources in order.
    #[must_use]
    pub fn inputs(&self, id: StepId) -> Vec<(Input, StepId)> {
        let mut inputs: Vec<_> = self
            .graph
            .edges_directed(id.0, Direction::Incoming)
            .map(|edge| (*edge.weight(), StepId(edge.source())))
            .collect();
        inputs.sort_unstable();
        inputs
    }

    /// Returns the steps that `id` is an input of, in ascending order, each once.
    #[must_use]
    pub fn dependents(&self, id: StepId) -> Vec<StepId> {
        let mut dependents: Vec<_> = self
            .graph
            .neighbors_directed(id.0, Direction::Outgoing)
            .map(StepId)
            .collect();
        dependents.sort_unstable();
        dependents.dedup();
        dependents
    }

    /// Returns the steps that the root file system of `id` is stacked of: the one without a parent
    /// first, `id` last.
    #[must_use]
    pub fn layers_of(&self, id: StepId) -> Vec<StepId> {
        let mut chain = vec![id];
        let mut last = id;
        while let Some(parent) = self.parent(last) {
            chain.push(parent);
            last = parent;
        }
        chain.reverse();
        chain
    }
}

/// Builds the graph of `steps`, given each with the places of its inputs; an input's place is
/// below that of its step.
pub(crate) fn build(steps: Vec<(Step, Vec<(Input, usize)>)>) -> Graph {
    let n_inputs = steps.iter().map(|(_, inputs)| inputs.len()).sum();
    let mut graph = Graph::with_capacity(steps.len(), n_inputs);
    for (step, inputs) in steps {
        let node = graph.add_node(step);
        for (input, place) in inputs {
            graph.add_edge(NodeIndex::new(place), node, input);
        }
    }
    graph
}
