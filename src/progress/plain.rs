//! One line an event, as BuildKit's plain progress: for logs and pipes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rbuild_executor::{Event, Stream};
use rbuild_planner::{Plan, StepId};

use super::clean::clean_line;
use super::{Internal, clean_text, seconds};

/// The fold: takes events, gives text.
pub(super) struct Plain<'a> {
    plan: &'a Plan,
    out: String,
    steps: HashMap<StepId, View>,
    n_numbers: usize,
    current: Option<StepId>,
}

struct View {
    number: usize,
    start: Instant,
    partial: [Vec<u8>; 2],
    is_done: bool,
}

impl<'a> Plain<'a> {
    pub(super) fn new(plan: &'a Plan, internals: &[Internal]) -> Self {
        let mut view = Self {
            plan,
            out: String::new(),
            steps: HashMap::new(),
            n_numbers: 0,
            current: None,
        };
        for internal in internals {
            view.n_numbers += 1;
            let number = view.n_numbers;
            view.line(format_args!("#{number} {}", clean_text(&internal.title)));
            view.line(format_args!(
                "#{number} DONE {}\n",
                seconds(internal.duration)
            ));
        }
        view
    }

    /// Returns what was written since the last call.
    pub(super) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Output {
                step,
                stream,
                bytes,
            } => self.output(step, stream, &bytes),
            Event::Notice { step, text } => {
                let number = self.switch_to(step);
                self.line(format_args!("#{number} {}", clean_text(&text)));
            }
            Event::Finished {
                step,
                cached,
                duration,
                ..
            } => self.end(
                step,
                &if cached {
                    "CACHED".to_owned()
                } else {
                    format!("DONE {}", seconds(duration))
                },
            ),
            Event::Failed { step, message, .. } => {
                let message = clean_text(&message).replace('\n', " ");
                self.end(step, &format!("ERROR: {message}"));
            }
            Event::Cancelled { step } => self.end(step, "CANCELED"),
            _ => {}
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self) {
        self.current = None;
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        writeln!(self.out, "{text}").expect("a String takes everything");
    }

    /// Makes `step` the one whose lines are written; returns its number.
    fn switch_to(&mut self, step: StepId) -> usize {
        let number = match self.steps.get(&step) {
            Some(view) => view.number,
            None => {
                self.n_numbers += 1;
                let view = View {
                    number: self.n_numbers,
                    start: Instant::now(),
                    partial: Default::default(),
                    is_done: false,
                };
                self.steps.insert(step, view);
                self.n_numbers
            }
        };
        if self.current != Some(step) {
            let left = self.current.and_then(|step| self.steps.get(&step));
            if let Some(left) = left.filter(|view| !view.is_done) {
                let left = left.number;
                self.line(format_args!("#{left} ...\n"));
            }
            self.current = Some(step);
            let title = clean_text(&self.plan.step(step).origin.title).replace('\n', " ");
            self.line(format_args!("#{number} {title}"));
        }
        number
    }

    fn output(&mut self, step: StepId, stream: Stream, bytes: &[u8]) {
        self.switch_to(step);
        let Some(view) = self.steps.get_mut(&step) else {
            return;
        };
        let partial = &mut view.partial[usize::from(stream == Stream::Stderr)];
        partial.extend_from_slice(bytes);
        let Some(end) = partial.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let rest = partial.split_off(end + 1);
        let lines = std::mem::replace(partial, rest);
        let (number, age) = (view.number, view.start.elapsed());
        for line in lines[..end].split(|byte| *byte == b'\n') {
            self.log(number, age, line);
        }
    }

    fn log(&mut self, number: usize, age: Duration, line: &[u8]) {
        let text = clean_line(line);
        self.line(format_args!("#{number} {:.3} {text}", age.as_secs_f64()));
    }

    fn end(&mut self, step: StepId, verdict: &str) {
        let number = self.switch_to(step);
        let Some(view) = self.steps.get_mut(&step) else {
            return;
        };
        let (age, partial) = (view.start.elapsed(), std::mem::take(&mut view.partial));
        view.is_done = true;
        for line in partial.iter().filter(|line| !line.is_empty()) {
            self.log(number, age, line);
        }
        self.line(format_args!("#{number} {verdict}\n"));
        self.current = None;
    }
}
