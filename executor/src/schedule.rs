//! Which step runs when: workers that do the steps, and the calling thread, which passes their events on.
//!
//! A step is ready once all its inputs have their results. Who finishes a step goes on with one that it made ready, and
//! leaves the others to workers that have nothing to do or are started for them, up to the limit: a build of one line
//! of steps has one worker, which never waits for anybody. The first failure cancels what runs and what waits.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, Sender};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
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
    dyn Fn(StepId, &[T], &Sender<Event>) -> Result<T, Failure> + Sync + 'a;

/// Runs `work` for every step of the plan after its inputs; returns the results by step index. `on_event` is called on
/// this thread.
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
    let (sender, events) = mpsc::channel();
    let board = Board {
        state: Mutex::new(State::new(plan)),
        changed: Condvar::new(),
        max_workers: jobs.max(1),
        cancel,
        work,
    };
    std::thread::scope(|scope| {
        board.start(scope, &sender);
        drop(sender);
        // Until the last worker is gone.
        for event in events {
            on_event(event);
        }
    });
    let state = board.state.into_inner();
    let state = state.unwrap_or_else(PoisonError::into_inner);
    match state.failure {
        Some((step, Failure { argument, source })) => Err(BuildError::Step {
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

/// A step with the results of its inputs.
type Assignment<T> = (StepId, Vec<T>);

/// What the workers share.
struct Board<'a, T> {
    state: Mutex<State<'a, T>>,
    /// There is something to take, or nothing will come any more.
    changed: Condvar,
    max_workers: usize,
    cancel: &'a Cancel,
    work: &'a Work<'a, T>,
}

impl<'a, T: Clone + Send + Sync> Board<'a, T> {
    fn lock(&self) -> MutexGuard<'_, State<'a, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the steps that need nothing, and starts the first worker.
    fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, events: &Sender<Event>) {
        let mut state = self.lock();
        for step in state.initially_ready() {
            state.open(step);
        }
        self.man(scope, &mut state, events);
    }

    /// Starts workers for what waits, if there may be more of them.
    fn man<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        state: &mut State<'_, T>,
        events: &Sender<Event>,
    ) {
        while state.n_workers < self.max_workers.min(state.n_open) {
            state.n_workers += 1;
            let events = events.clone();
            scope.spawn(move || self.live(scope, &events));
        }
    }

    /// A worker's life.
    fn live<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, events: &Sender<Event>) {
        let mut next = self.take();
        while let Some((step, inputs)) = next {
            let start = Instant::now();
            let result = if self.cancel.is_cancelled() {
                Ok(Err(StepError::Cancelled.into()))
            } else {
                // The others wait for this step's end, even if the worker meets a bug.
                catch_unwind(AssertUnwindSafe(|| (self.work)(step, &inputs, events)))
            };
            next = match result {
                Ok(Ok(value)) => self.finish(scope, step, value, events),
                Ok(Err(failure)) => {
                    self.fail(step, failure, start.elapsed(), events);
                    self.take()
                }
                Err(panic) => {
                    self.fail(step, StepError::Cancelled.into(), start.elapsed(), events);
                    resume_unwind(panic);
                }
            };
        }
    }

    /// Waits for a step; `None` once all have ended.
    fn take(&self) -> Option<Assignment<T>> {
        let mut state = self.lock();
        loop {
            if state.n_open == 0 {
                return None;
            }
            if let Some(item) = state.waiting.pop_front() {
                return Some(item);
            }
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Keeps a result. Returns what this worker goes on with, at once if there is something.
    fn finish<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        step: StepId,
        value: T,
        events: &Sender<Event>,
    ) -> Option<Assignment<T>> {
        let mut state = self.lock();
        let n_before = state.waiting.len();
        for ready in state.finish(step, value) {
            if !self.cancel.is_cancelled() {
                state.open(ready);
            }
        }
        let next = state.waiting.pop_front();
        self.man(scope, &mut state, events);
        let is_over = state.end_one();
        let n_more = state.waiting.len().saturating_sub(n_before);
        drop(state);
        if is_over {
            self.changed.notify_all();
        }
        for _ in 0..n_more {
            self.changed.notify_one();
        }
        next.or_else(|| self.take())
    }

    /// Keeps the first failure, and lets nothing more begin.
    fn fail(&self, step: StepId, failure: Failure, duration: Duration, events: &Sender<Event>) {
        let mut state = self.lock();
        let is_consequence = self.cancel.is_cancelled() && is_cancellation(&failure.source);
        let event = if is_consequence {
            Event::Cancelled { step }
        } else {
            Event::Failed {
                step,
                message: failure.source.to_string(),
                duration,
            }
        };
        if !is_consequence {
            state.failure.get_or_insert((step, failure));
        }
        state.n_open -= state.waiting.len();
        state.waiting.clear();
        state.end_one();
        drop(state);
        drop(events.send(event)); // somebody listens as long as there are workers
        self.cancel.cancel();
        self.changed.notify_all();
    }
}

/// Which inputs each step still waits for, and what was found.
struct State<'a, T> {
    plan: &'a Plan,
    n_waiting: Vec<usize>,
    results: Vec<Option<T>>,
    /// Ready steps that nobody has taken.
    waiting: VecDeque<Assignment<T>>,
    /// How many steps wait or are under way.
    n_open: usize,
    n_workers: usize,
    failure: Option<(StepId, Failure)>,
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
            waiting: VecDeque::new(),
            n_open: 0,
            n_workers: 0,
            failure: None,
        }
    }

    /// Puts a ready step where workers find it.
    fn open(&mut self, step: StepId) {
        let assignment = self.assignment(step);
        self.waiting.push_back(assignment);
        self.n_open += 1;
    }

    /// Says that a step under way has ended. True: it was the last.
    fn end_one(&mut self) -> bool {
        self.n_open -= 1;
        self.n_open == 0
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
