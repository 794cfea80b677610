//! What happens during a build, as data. Renderers and the recorder are folds over these.

use std::time::Duration;

use rbuild_image::digest::DiffId;
use rbuild_planner::StepId;

/// One thing that happened. Events of one step come in order; steps interleave.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The step's inputs are there; it is looked up or run.
    Started {
        /// Which step.
        step: StepId,
    },
    /// The step wrote something.
    Output {
        /// Which step.
        step: StepId,
        /// Where to.
        stream: Stream,
        /// Raw, untrusted bytes, not cut at line ends.
        bytes: Vec<u8>,
    },
    /// Something about the step that is worth a word, e.g. that a socket was left out.
    Notice {
        /// Which step.
        step: StepId,
        /// One line, no full stop.
        text: String,
    },
    /// The step has its result.
    Finished {
        /// Which step.
        step: StepId,
        /// True if an earlier build had made it.
        cached: bool,
        /// The layer it made; `None` for sources.
        layer: Option<DiffId>,
        /// How long it took in this build.
        duration: Duration,
    },
    /// The step failed; the build ends.
    Failed {
        /// Which step.
        step: StepId,
        /// What went wrong, without its causes.
        message: String,
        /// How long it took.
        duration: Duration,
    },
    /// The step was stopped because another failed or the build was cancelled.
    Cancelled {
        /// Which step.
        step: StepId,
    },
}

/// An output stream of a `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
