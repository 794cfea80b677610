//! How long a build may take.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

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

impl Timeout {
    /// What is left of it since `start`.
    pub(crate) fn left(self, start: Instant) -> Duration {
        self.0.saturating_sub(start.elapsed())
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
}
