//! Tries again what may succeed the next time, and stops when told to.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::RegistryError;
use crate::settings::Limits;

/// A failed try.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Trying again would not help.
    Final(RegistryError),
    /// It may pass.
    Passing {
        /// What to report if it does not.
        error: Box<RegistryError>,
        /// How long the server wants us to wait.
        after: Option<Duration>,
        /// How long to believe that it passes.
        patience: Patience,
    },
}

/// How many tries a failure is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// All that the settings allow.
    Full,
    /// Three: nobody listens, or the name is not known right now. Mostly a typing error.
    Short,
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::Final(error)
    }
}

/// Runs `attempt` until it succeeds, fails for good, or has failed `attempts` times.
pub(crate) fn with_retries<T>(
    limits: &Limits,
    attempts: u32,
    cancel: &Cancel,
    subject: &str,
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<T, RegistryError> {
    const SHORT: u32 = 3;
    let mut n_failures = 0;
    loop {
        cancel.check(subject)?;
        let (error, after, patience) = match attempt() {
            Ok(value) => return Ok(value),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing {
                error,
                after,
                patience,
            }) => (error, after, patience),
        };
        n_failures += 1;
        let most = match patience {
            Patience::Full => attempts,
            Patience::Short => attempts.min(SHORT),
        };
        let pause = after.unwrap_or_else(|| backoff(limits, n_failures));
        if n_failures >= most || after.is_some_and(|wish| wish > limits.retry_after_cap) {
            return Err(*error);
        }
        cancel.sleep(pause);
    }
}

/// Returns the pause after the `n_failures`th failure in a row: it doubles, with 20 % of chance so
/// that many clients do not come back at the same moment.
pub(crate) fn backoff(limits: &Limits, n_failures: u32) -> Duration {
    let doublings = n_failures.saturating_sub(1).min(16);
    let pause = limits
        .backoff
        .saturating_mul(1 << doublings)
        .min(limits.backoff_cap);
    let chance = RandomState::new().build_hasher().finish() % 401;
    let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX / 2000);
    Duration::from_millis(millis.saturating_mul(800 + chance) / 1000)
}

/// Tells every thread of a client to stop.
#[derive(Debug, Default)]
pub(crate) struct Cancel {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Cancel {
    pub(crate) fn set(&self) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// [`RegistryError::Cancelled`] once [`Cancel::set`] was called.
    pub(crate) fn check(&self, subject: &str) -> Result<(), RegistryError> {
        if self.is_set() {
            return Err(RegistryError::Cancelled {
                subject: subject.to_owned(),
            });
        }
        Ok(())
    }

    /// Sleeps for `pause`, or until [`Cancel::set`] is called.
    pub(crate) fn sleep(&self, pause: Duration) {
        let end = Instant::now() + pause;
        let mut is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_set {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(is_set, left);
            is_set = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            backoff: Duration::from_millis(1),
            ..Limits::default()
        }
    }

    fn passing(after: Option<u64>, patience: Patience) -> Failure {
        Failure::Passing {
            error: Box::new(RegistryError::Cancelled {
                subject: "passing".into(),
            }),
            after: after.map(Duration::from_secs),
            patience,
        }
    }

    fn tries(failure: impl Fn() -> Failure) -> u32 {
        let mut n_tries = 0;
        let result = with_retries(&limits(), 5, &Cancel::default(), "x", || {
            n_tries += 1;
            Err::<(), _>(failure())
        });
        assert!(result.is_err());
        n_tries
    }

    #[test]
    fn how_often() {
        assert_eq!(tries(|| passing(None, Patience::Full)), 5);
        assert_eq!(tries(|| passing(None, Patience::Short)), 3);
        assert_eq!(tries(|| passing(Some(0), Patience::Full)), 5);
        assert_eq!(tries(|| passing(Some(3600), Patience::Full)), 1);
        let last = || RegistryError::Cancelled {
            subject: "y".into(),
        };
        assert_eq!(tries(|| Failure::Final(last())), 1);
    }

    #[test]
    fn success_ends_it() {
        let mut n_tries = 0;
        let result = with_retries(&limits(), 5, &Cancel::default(), "x", || {
            n_tries += 1;
            if n_tries < 3 {
                Err(passing(None, Patience::Full))
            } else {
                Ok(n_tries)
            }
        });
        assert_eq!(result.unwrap(), 3);
    }

    #[test]
    fn cancelled_between_tries() {
        let cancel = Cancel::default();
        let result = with_retries(&Limits::default(), 5, &cancel, "x", || {
            cancel.set();
            Err::<(), _>(passing(None, Patience::Full))
        });
        assert!(matches!(result, Err(RegistryError::Cancelled { subject }) if subject == "x"));
    }

    #[test]
    fn pauses_grow_and_are_capped() {
        let limits = Limits::default();
        for (n_failures, seconds) in [(1, 1.0), (2, 2.0), (4, 8.0), (9, 30.0), (u32::MAX, 30.0)] {
            let pause = backoff(&limits, n_failures).as_secs_f64();
            assert!(
                pause >= seconds * 0.79 && pause <= seconds * 1.21,
                "{n_failures}: {pause}"
            );
        }
    }
}
