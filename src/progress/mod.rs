//! Showing a build as it goes, on standard error. Every renderer is a fold over events.

mod clean;
mod json;
mod plain;
mod tty;

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rbuild_executor::Event;
use rbuild_planner::Plan;

pub(crate) use clean::clean_text;

use crate::arguments::ProgressMode;

/// How often a live view is drawn at most.
const FRAME: Duration = Duration::from_millis(100);

/// Something done besides the steps, e.g. reading the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Internal {
    /// BuildKit's text, e.g. `[internal] load .dockerignore`.
    pub(crate) title: String,
    /// How long it took.
    pub(crate) duration: Duration,
}

/// A build on its way to the terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    mode: Mode,
    start: Instant,
    internals: Vec<Internal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Quiet,
    Plain,
    Tty,
    Json,
}

impl Progress {
    /// Starts to show a build. `auto` means a live view if standard error is a terminal.
    pub(crate) fn new(wish: ProgressMode) -> Self {
        let mode = match wish {
            ProgressMode::Quiet => Mode::Quiet,
            ProgressMode::Rawjson => Mode::Json,
            ProgressMode::Tty => Mode::Tty,
            ProgressMode::Auto if std::io::stderr().is_terminal() => Mode::Tty,
            ProgressMode::Auto | ProgressMode::Plain => Mode::Plain,
        };
        Self {
            mode,
            start: Instant::now(),
            internals: Vec::new(),
        }
    }

    /// Notes something that was done before there was a plan.
    pub(crate) fn internal(&mut self, title: impl Into<String>, duration: Duration) {
        self.internals.push(Internal {
            title: title.into(),
            duration,
        });
    }

    /// Shows the events of `work` until it returns.
    pub(crate) fn show<R>(&self, plan: &Plan, work: impl FnOnce(&mut dyn FnMut(Event)) -> R) -> R {
        match self.mode {
            Mode::Quiet => work(&mut |_| {}),
            Mode::Plain => {
                let mut view = plain::Plain::new(plan, &self.internals);
                write_out(&view.take());
                let result = work(&mut |event| {
                    view.event(event);
                    write_out(&view.take());
                });
                view.finish();
                write_out(&view.take());
                result
            }
            Mode::Json => {
                let mut view = json::Json::new(plan, &self.internals);
                write_out(&view.take());
                work(&mut |event| {
                    view.event(event);
                    write_out(&view.take());
                })
            }
            Mode::Tty => self.show_live(plan, work),
        }
    }

    /// A live view is drawn by a thread of its own, so that its clock moves while nothing happens.
    fn show_live<R>(&self, plan: &Plan, work: impl FnOnce(&mut dyn FnMut(Event)) -> R) -> R {
        let (sender, events) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut view = tty::Tty::new(plan, &self.internals, self.start);
                let mut drawn = Instant::now();
                loop {
                    match events.recv_timeout(FRAME) {
                        Ok(event) => view.event(event),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                    if drawn.elapsed() >= FRAME {
                        write_out(&view.frame(Instant::now()));
                        drawn = Instant::now();
                    }
                }
                write_out(&view.last_frame(Instant::now()));
            });
            work(&mut move |event| drop(sender.send(event)))
        })
    }
}

/// Writes to standard error; a reader that went away must not end the build.
fn write_out(text: &str) {
    if !text.is_empty() {
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
    }
}

/// Seconds with one decimal, as BuildKit shows them.
fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}
