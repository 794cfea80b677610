//! Which step runs when: a coordinator on the calling thread, workers that do the steps.
//!
//! A step is ready once all its inputs have their results. Workers take ready steps from one
//! queue; they are started as work appears, up to the limit, so that a build of one line of steps
//! has one. The first failure cancels what runs and what waits.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Sender};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rbuild_planner::{Plan, StepId};

use crate::cancel::Cancel;
use crate::error::{BuildError, StepError};
use crate::event::Event;

/// A step's failure and the argument that is to blame.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) argument: Option<usize>,
    pub(crate) source: Box<StepError>,
}

impl<E: Into<StepError>> From<E> for Failure {
    fn from(source: E) -> Self {
        Self {
            argument: None,
            source: Box::new(source.into()),
        }
    }
}

/// What a worker is given to do for a step: the step, the results of its inputs (parent first if
/// there is one, then the sources), and where to send events.
pub(crate) type Work<'a, T> =
    dyn Fn(StepId, &[T], &Sender<Message<T>>) -> Result<T, Failure> + Sync + 'a;

/// From the workers to the coordinator.
pub(crate) enum Message<T> {
    /// Goes to the caller as it is.
    Event(Event),
    /// A step has ended.
    Done(StepId, Result<T, Failure>, Duration),
}

/// Runs `work` for every step of the plan after its inputs; returns the results by step index.
///
/// # Errors
/// The first failure, or [`BuildError::Cancelled`].
pub(crate) fn run_all<T: Clone + Send + Sync>(
    plan: &Plan,
    jobs: usize,
    cancel: &Cancel,
    work: &Work<'_, T>,
    on_event: &mut dyn FnMut(Event),
) -> Result<Vec<Option<T>>, BuildError> {
    let queue = Queue::default();
    let (sender, messages) = mpsc::channel();
    let mut state = State::new(plan);
    let mut failure = None;
    std::thread::scope(|scope| {
        let mut n_workers = 0;
        let mut n_open = 0;
        for step in state.initially_ready() {
            queue.push(state.assignment(step));
            n_open += 1;
        }
        while n_open > 0 {
            while n_workers < jobs.max(1).min(n_open) {
                let (queue, sender) = (&queue, sender.clone());
                scope.spawn(move || worker(queue, cancel, work, &sender));
                n_workers += 1;
            }
            let Ok(message) = messages.recv() else { break };
            let (step, result, duration) = match message {
                Message::Event(event) => {
                    on_event(event);
                    continue;
                }
                Message::Done(step, result, duration) => (step, result, duration),
            };
            n_open -= 1;
            match result {
                Ok(value) => {
                    for ready in state.finish(step, value) {
                        if failure.is_none() && !cancel.is_cancelled() {
                            queue.push(state.assignment(ready));
                            n_open += 1;
                        }
                    }
                }
                Err(Failure { argument, source }) => {
                    let stopped = cancel.is_cancelled() && is_cancellation(&source);
                    if stopped {
                        on_event(Event::Cancelled { step });
                    } else {
                        on_event(Event::Failed {
                            step,
                            message: source.to_string(),
                            duration,
                        });
                        failure.get_or_insert((step, argument, source));
                    }
                    n_open -= queue.clear();
                    cancel.cancel();
                }
            }
        }
        queue.close();
    });
    match failure {
        Some((step, argument, source)) => Err(BuildError::Step {
            step,
            argument,
            source,
        }),
        None if cancel.is_cancelled() => Err(BuildError::Cancelled),
        None => Ok(state.results),
    }
}

fn is_cancellation(error: &StepError) -> bool {
    matches!(
        error,
        StepError::Cancelled | StepError::Cache(rbuild_cache::CacheError::Cancelled)
    )
}

fn worker<T: Clone>(
    queue: &Queue<T>,
    cancel: &Cancel,
    work: &Work<'_, T>,
    sender: &Sender<Message<T>>,
) {
    while let Some((step, inputs)) = queue.take() {
        let start = Instant::now();
        let result = if cancel.is_cancelled() {
            Ok(Err(StepError::Cancelled.into()))
        } else {
            // The coordinator waits for an answer, even from a worker that meets a bug.
            catch_unwind(AssertUnwindSafe(|| work(step, &inputs, sender)))
        };
        let (result, panic) = match result {
            Ok(result) => (result, None),
            Err(panic) => (Err(StepError::Cancelled.into()), Some(panic)),
        };
        // The coordinator outlives the workers.
        drop(sender.send(Message::Done(step, result, start.elapsed())));
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

/// Which inputs each step still waits for. Owned by the coordinator.
struct State<'a, T> {
    plan: &'a Plan,
    n_waiting: Vec<usize>,
    results: Vec<Option<T>>,
}

impl<'a, T: Clone> State<'a, T> {
    fn new(plan: &'a Plan) -> Self {
        let mut n_waiting = vec![0; plan.len()];
        for step in plan.steps() {
            n_waiting[step.index()] = inputs(plan, step).len();
        }
        Self {
            plan,
            n_waiting,
            results: (0..plan.len()).map(|_| None).collect(),
        }
    }

    fn initially_ready(&self) -> Vec<StepId> {
        self.plan
            .steps()
            .filter(|step| self.n_waiting[step.index()] == 0)
            .collect()
    }

    /// Keeps a result and returns the steps that it makes ready.
    fn finish(&mut self, step: StepId, value: T) -> Vec<StepId> {
        self.results[step.index()] = Some(value);
        let mut ready = Vec::new();
        let mut dependents: Vec<_> = self.plan.dependents(step).into_iter().collect();
        dependents.sort_unstable();
        dependents.dedup();
        for dependent in dependents {
            let uses = inputs(self.plan, dependent)
                .iter()
                .filter(|input| **input == step)
                .count();
            let waiting = &mut self.n_waiting[dependent.index()];
            if *waiting > 0 {
                *waiting -= uses.min(*waiting);
                if *waiting == 0 {
                    ready.push(dependent);
                }
            }
        }
        ready
    }

    fn assignment(&self, step: StepId) -> (StepId, Vec<T>) {
        let inputs = inputs(self.plan, step)
            .into_iter()
            .filter_map(|input| self.results[input.index()].clone())
            .collect();
        (step, inputs)
    }
}

/// The parent, if there is one, then the sources; a step may be there several times.
fn inputs(plan: &Plan, step: StepId) -> Vec<StepId> {
    plan.parent(step)
        .into_iter()
        .chain(plan.sources(step))
        .collect()
}

/// What waits in a queue, and whether nothing more will come.
struct QueueState<T> {
    waiting: VecDeque<(StepId, Vec<T>)>,
    is_closed: bool,
}

/// Ready steps with their inputs' results.
struct Queue<T> {
    state: Mutex<QueueState<T>>,
    changed: Condvar,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(QueueState {
                waiting: VecDeque::new(),
                is_closed: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: (StepId, Vec<T>)) {
        self.lock().waiting.push_back(item);
        self.changed.notify_one();
    }

    /// Drops what waits; returns how many there were.
    fn clear(&self) -> usize {
        let mut state = self.lock();
        let n_dropped = state.waiting.len();
        state.waiting.clear();
        n_dropped
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Waits for a step; `None` once the queue is closed.
    fn take(&self) -> Option<(StepId, Vec<T>)> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.waiting.pop_front() {
                return Some(item);
            }
            if state.is_closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
