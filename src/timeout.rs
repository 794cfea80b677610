//! A limit to how long a build may take.

use std::fmt;
use std::str::FromStr;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rbuild_executor::{BuildError, Cancel};

use crate::report::Failure;

/// A span of time as Go and jiff write it: `90s`, `1h30m`, `1.5m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeout(Duration);

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "not a duration such as 90s, 10m or 1h30m".to_owned();
        let found: jiff::SignedDuration = text.parse().map_err(|_bad: jiff::Error| wrong())?;
        Duration::try_from(found)
            .ok()
            .filter(|limit| !limit.is_zero())
            .map(Self)
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = jiff::SignedDuration::try_from(self.0).unwrap_or(jiff::SignedDuration::MAX);
        write!(f, "{limit:#}")
    }
}

/// Runs a build, and cancels it when its time is over.
pub(crate) fn limit<R>(
    timeout: Option<Timeout>,
    start: Instant,
    cancel: &Cancel,
    work: impl FnOnce() -> Result<R, BuildError>,
) -> Result<Result<R, BuildError>, Failure> {
    let Some(timeout) = timeout else {
        return Ok(work());
    };
    match timeout.during(start, cancel, work) {
        (Err(BuildError::Cancelled), true) => Err(Failure::message(format!(
            "the build was stopped: it took longer than {timeout} (--timeout)"
        ))),
        (result, _) => Ok(result),
    }
}

impl Timeout {
    /// Runs `work`, and cancels it when this has passed since `start`. The second value tells
    /// whether that happened.
    fn during<R>(self, start: Instant, cancel: &Cancel, work: impl FnOnce() -> R) -> (R, bool) {
        let (done, wait) = channel::<()>();
        std::thread::scope(|scope| {
            let watch = scope.spawn(move || {
                let left = self.0.saturating_sub(start.elapsed());
                let is_late = wait.recv_timeout(left) == Err(RecvTimeoutError::Timeout);
                if is_late {
                    cancel.cancel();
                }
                is_late
            });
            let result = work();
            drop(done);
            (result, watch.join().unwrap_or(false))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let seconds = |text: &str| text.parse::<Timeout>().map(|found| found.0.as_secs_f64());
        for (text, expected) in [
            ("90s", 90.0),
            ("1h30m", 5400.0),
            ("1.5m", 90.0),
            ("250ms", 0.25),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for bad in ["", "90", "-5s", "0s", "1y", "soon"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!("90m".parse::<Timeout>().unwrap().to_string(), "1h 30m");
    }

    #[test]
    fn work_in_time_is_left_alone() {
        let cancel = Cancel::new().unwrap();
        let timeout: Timeout = "1h".parse().unwrap();
        assert_eq!(timeout.during(Instant::now(), &cancel, || 7), (7, false));
        assert!(!cancel.is_cancelled());
        let timeout: Timeout = "1ms".parse().unwrap();
        let slow = || {
            while !cancel.is_cancelled() {
                std::thread::yield_now();
            }
        };
        assert_eq!(timeout.during(Instant::now(), &cancel, slow), ((), true));
    }
}
