//! A live view: what is done, what runs, and the last lines of what runs.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rbuild_executor::Event;
use rbuild_planner::{Plan, StepId};

use super::clean::clean_line;
use super::{Internal, clean_text, seconds};

/// Log lines shown of a running step.
const N_LOG_LINES: usize = 6;

/// The fold: takes events, draws frames over the previous one.
pub(super) struct Tty<'a> {
    plan: &'a Plan,
    start: Instant,
    rows: Vec<Row>,
    n_drawn: usize,
}

struct Row {
    step: Option<StepId>,
    title: String,
    start: Instant,
    state: State,
    partial: Vec<u8>,
    log: VecDeque<String>,
}

enum State {
    Running,
    Done(Duration),
    Cached,
    Failed(Duration),
    Cancelled,
}

impl<'a> Tty<'a> {
    pub(super) fn new(plan: &'a Plan, internals: &[Internal], start: Instant) -> Self {
        let rows = internals
            .iter()
            .map(|internal| Row::new(None, &internal.title, State::Done(internal.duration)))
            .collect();
        Self {
            plan,
            start,
            rows,
            n_drawn: 0,
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Started { step } => {
                let title = &self.plan.step(step).origin.title;
                self.rows.push(Row::new(Some(step), title, State::Running));
            }
            Event::Output { step, bytes, .. } => self.row(step, |row| row.output(&bytes)),
            Event::Notice { step, text } => self.row(step, |row| row.push_line(text.as_bytes())),
            Event::Finished {
                step,
                cached,
                duration,
                ..
            } => self.row(step, |row| {
                row.state = if cached {
                    State::Cached
                } else {
                    State::Done(duration)
                };
            }),
            Event::Failed { step, duration, .. } => {
                self.row(step, |row| row.state = State::Failed(duration));
            }
            Event::Cancelled { step } => self.row(step, |row| row.state = State::Cancelled),
            _ => {}
        }
    }

    /// Returns the text that draws the view as of `now` over the last one.
    pub(super) fn frame(&mut self, now: Instant) -> String {
        let (width, height) = terminal_size();
        let lines = self.lines(now, width);
        // Of a view that is too tall, the end is shown.
        let visible = &lines[lines.len().saturating_sub(height.saturating_sub(2).max(1))..];
        let mut out = self.erase();
        self.n_drawn = visible.len() + 1;
        writeln!(out, "{}", fit(&self.head(now), width)).expect("a String takes everything");
        for line in visible {
            writeln!(out, "{line}").expect("a String takes everything");
        }
        out
    }

    /// Returns the text that draws the whole view for good.
    pub(super) fn last_frame(&mut self, now: Instant) -> String {
        for row in &mut self.rows {
            row.log.clear();
        }
        let (width, _) = terminal_size();
        let mut out = self.erase();
        writeln!(out, "{} FINISHED", fit(&self.head(now), width))
            .expect("a String takes everything");
        for line in self.lines(now, width) {
            writeln!(out, "{line}").expect("a String takes everything");
        }
        self.n_drawn = 0;
        out
    }

    fn row(&mut self, step: StepId, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.step == Some(step)) {
            change(row);
        }
    }

    fn head(&self, now: Instant) -> String {
        let n_done = self
            .rows
            .iter()
            .filter(|row| !matches!(row.state, State::Running))
            .count();
        let n_all = self.plan.len() + self.rows.iter().filter(|row| row.step.is_none()).count();
        format!(
            "[+] Building {} ({n_done}/{n_all})",
            seconds(now - self.start)
        )
    }

    fn lines(&self, now: Instant, width: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for row in &self.rows {
            let (mark, time) = match &row.state {
                State::Running => ("", seconds(now - row.start)),
                State::Done(duration) => ("", seconds(*duration)),
                State::Cached => ("CACHED ", seconds(Duration::ZERO)),
                State::Failed(duration) => ("ERROR ", seconds(*duration)),
                State::Cancelled => ("CANCELED ", String::new()),
            };
            let room = width.saturating_sub(time.len() + 1);
            let text = fit(&format!(" => {mark}{}", row.title), room);
            lines.push(format!("{text:<room$} {time}"));
            if matches!(row.state, State::Running) {
                lines.extend(
                    row.log
                        .iter()
                        .map(|line| fit(&format!(" => => # {line}"), width)),
                );
            }
        }
        lines
    }

    /// Moves to the first line of the last view and clears what is below.
    fn erase(&self) -> String {
        if self.n_drawn == 0 {
            String::new()
        } else {
            format!("\u{1b}[{}A\u{1b}[0J", self.n_drawn)
        }
    }
}

impl Row {
    fn new(step: Option<StepId>, title: &str, state: State) -> Self {
        Self {
            step,
            title: clean_text(title).replace('\n', " "),
            start: Instant::now(),
            state,
            partial: Vec::new(),
            log: VecDeque::new(),
        }
    }

    fn output(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.push_line(&line[..end]);
        }
    }

    fn push_line(&mut self, line: &[u8]) {
        if self.log.len() == N_LOG_LINES {
            self.log.pop_front();
        }
        self.log.push_back(clean_line(line).replace('\t', "    "));
    }
}

/// Cuts a text to a number of columns.
fn fit(text: &str, width: usize) -> String {
    use unicode_width::UnicodeWidthChar as _;
    let mut used = 0;
    text.chars()
        .take_while(|character| {
            used += character.width().unwrap_or(0);
            used <= width
        })
        .collect()
}

/// Columns and rows of the terminal on standard error; 80 and 24 if it does not say.
fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}
