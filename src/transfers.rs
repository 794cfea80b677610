//! Layers on their way to or from a registry, as Docker shows them: one line each on a terminal, one
//! line for every change of state elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::units::human_size;

/// How often lines of a terminal are drawn at most.
const FRAME: Duration = Duration::from_millis(100);
/// Width of a bar, and of a terminal that has room for one.
const BAR: u64 = 50;
const ROOM_FOR_BAR: usize = 110;

/// The lines. Any number of threads may change them.
#[derive(Debug)]
pub(crate) struct Transfers {
    mode: Mode,
    rows: Mutex<Rows>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Quiet,
    Plain,
    Tty,
}

#[derive(Debug, Default)]
struct Rows {
    rows: Vec<Row>,
    n_drawn: usize,
    drawn: Option<Instant>,
}

#[derive(Debug)]
struct Row {
    id: String,
    status: String,
    bar: String,
}

impl Transfers {
    /// Starts to show transfers on standard output.
    pub(crate) fn new(is_quiet: bool) -> Self {
        let mode = match is_quiet {
            true => Mode::Quiet,
            false if std::io::stdout().is_terminal() => Mode::Tty,
            false => Mode::Plain,
        };
        Self {
            mode,
            rows: Mutex::default(),
        }
    }

    /// Writes a line that is not about a layer. Lines of layers after it stand below it.
    pub(crate) fn line(&self, text: &str) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if self.mode == Mode::Tty {
            write_out(&rows.draw(usize::MAX, usize::MAX));
            *rows = Rows::default();
        }
        if self.mode != Mode::Quiet {
            write_out(&format!("{text}\n"));
        }
    }

    /// Gives the layer `id` another state.
    pub(crate) fn set(&self, id: &str, status: &str) {
        self.change(id, status, String::new(), true);
    }

    /// Notes how many bytes of the layer `id` have gone the way. Shown on terminals only.
    pub(crate) fn moved(&self, id: &str, status: &str, n_done: u64, n_total: u64) {
        if self.mode == Mode::Tty {
            let (width, _) = terminal_size();
            let bar = bar(n_done, n_total, width > ROOM_FOR_BAR);
            self.change(id, status, bar, n_done >= n_total);
        }
    }

    fn change(&self, id: &str, status: &str, bar: String, is_now: bool) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = match rows.rows.iter_mut().position(|row| row.id == id) {
            Some(place) => &mut rows.rows[place],
            None => {
                rows.rows.push(Row {
                    id: id.to_owned(),
                    status: String::new(),
                    bar: String::new(),
                });
                rows.rows.last_mut().expect("it was just pushed")
            }
        };
        let is_new = row.status != status;
        status.clone_into(&mut row.status);
        row.bar = bar;
        match self.mode {
            Mode::Plain if is_new => write_out(&format!("{id}: {status}\n")),
            Mode::Tty => {
                let is_due = rows.drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME);
                if is_due || (is_now && is_new) {
                    let (width, height) = terminal_size();
                    write_out(&rows.draw(width, height));
                    rows.drawn = Some(Instant::now());
                }
            }
            Mode::Plain | Mode::Quiet => {}
        }
    }
}

impl Rows {
    /// Returns the text that draws the lines over what was drawn before.
    fn draw(&mut self, width: usize, height: usize) -> String {
        let mut out = String::new();
        if self.n_drawn > 0 {
            write!(out, "\x1b[{}A", self.n_drawn).expect("a String takes everything");
        }
        // Of what is too tall, the end is shown.
        let first = self
            .rows
            .len()
            .saturating_sub(height.saturating_sub(2).max(1));
        let visible = &self.rows[first..];
        self.n_drawn = visible.len();
        for Row { id, status, bar } in visible {
            let line = format!("{id}: {status} {bar}");
            let line: String = line.trim_end().chars().take(width).collect();
            writeln!(out, "\x1b[2K{line}").expect("a String takes everything");
        }
        out
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if self.mode == Mode::Tty && !rows.rows.is_empty() {
            let (width, _) = terminal_size();
            write_out(&rows.draw(width, usize::MAX));
        }
    }
}

/// `[=====>     ]  1.5MB/3MB`, or the numbers alone.
fn bar(n_done: u64, n_total: u64, has_room: bool) -> String {
    let n_done = n_done.min(n_total);
    if !has_room {
        return format!("{}/{}", human_size(n_done), human_size(n_total));
    }
    let filled = match n_total {
        0 => BAR,
        total => {
            u64::try_from(u128::from(n_done) * u128::from(BAR) / u128::from(total)).unwrap_or(BAR)
        }
    };
    let filled = usize::try_from(filled).unwrap_or_default();
    let rest = usize::try_from(BAR).unwrap_or_default() - filled;
    format!(
        "[{}>{}] {:>8}/{}",
        "=".repeat(filled),
        " ".repeat(rest),
        human_size(n_done),
        human_size(n_total)
    )
}

fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// Whoever reads this may go away; the transfer goes on.
fn write_out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    drop(
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        assert_eq!(bar(7, 5, false), "5B/5B");
        assert_eq!(
            bar(0, 10, true),
            format!("[>{}]       0B/10B", " ".repeat(50))
        );
        assert_eq!(
            bar(1_500_000, 3_000_000, true),
            format!("[{}>{}]    1.5MB/3MB", "=".repeat(25), " ".repeat(25))
        );
        assert_eq!(
            bar(7, 5, true),
            format!("[{}>]       5B/5B", "=".repeat(50))
        );
        assert_eq!(
            bar(0, 0, true),
            format!("[{}>]       0B/0B", "=".repeat(50))
        );
    }

    #[test]
    fn lines_are_drawn_over_the_last_ones() {
        let mut rows = Rows::default();
        for id in ["a", "b", "c"] {
            rows.rows.push(Row {
                id: id.to_owned(),
                status: "Waiting".to_owned(),
                bar: String::new(),
            });
        }
        let first = rows.draw(80, 24);
        assert_eq!(
            first,
            "\x1b[2Ka: Waiting\n\x1b[2Kb: Waiting\n\x1b[2Kc: Waiting\n"
        );
        rows.rows[1].status = "Pushed".to_owned();
        assert_eq!(rows.draw(5, 4), "\x1b[3A\x1b[2Kb: Pu\n\x1b[2Kc: Wa\n");
        assert_eq!(rows.n_drawn, 2);
    }
}
