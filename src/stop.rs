//! Ending a command early: by a signal, or because its time is over.
//!
//! The first signal, and the end of the time, stop what is going on in the tidy way; a second signal ends the process.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rbuild_executor::Cancel;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::report::Failure;
use crate::timeout::Timeout;

/// How long a command may take to end after its time. What takes longer waits for somebody else, such as the reader of
/// a pipe.
const GRACE: Duration = Duration::from_secs(10);

/// Tells everything that takes long to stop. Shared by all threads of a command.
pub(crate) struct Stop {
    cancel: Cancel,
    is_interrupted: AtomicBool,
    is_late: AtomicBool,
    hooks: Mutex<Vec<Box<dyn Fn() + Send>>>,
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stop").finish_non_exhaustive()
    }
}

impl Stop {
    /// Nobody stops it yet, and without [`Stop::during`] nobody will.
    pub(crate) fn new() -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            cancel: Cancel::new()?,
            is_interrupted: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
            hooks: Mutex::default(),
        }))
    }

    /// What stops a build. A build that fails stops itself by it.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Whether to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Gives an error if it is time to stop.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.is_stopped() {
            true => Err(Failure::Interrupted),
            false => Ok(()),
        }
    }

    /// Has `hook` called when a signal comes or the time is over: it breaks off what waits for others.
    pub(crate) fn on_stop(&self, hook: impl Fn() + Send + 'static) {
        let mut hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped() {
            hook();
        }
        hooks.push(Box::new(hook));
    }

    fn stop(&self, why: &AtomicBool) {
        why.store(true, Ordering::SeqCst);
        self.cancel.cancel();
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        for hook in hooks.iter() {
            hook();
        }
    }

    /// Does `work`, which a signal stops, and the end of `timeout` since `start`.
    pub(crate) fn during<R>(
        &self,
        timeout: Option<Timeout>,
        start: Instant,
        work: impl FnOnce() -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let handle = signals.handle();
        let (done, wait) = channel::<()>();
        let result = std::thread::scope(|scope| {
            scope.spawn(move || {
                for signal in &mut signals {
                    if self.is_interrupted.load(Ordering::SeqCst) {
                        // The user insists; nothing that is left behind survives this process.
                        drop(signal_hook::low_level::emulate_default_handler(signal));
                    }
                    self.stop(&self.is_interrupted);
                }
            });
            if let Some(timeout) = timeout {
                scope.spawn(move || {
                    let over = |left| wait.recv_timeout(left) == Err(RecvTimeoutError::Timeout);
                    if over(timeout.left(start)) {
                        self.stop(&self.is_late);
                        if over(GRACE) {
                            exit(&late(timeout));
                        }
                    }
                });
            }
            let result = work();
            drop(done);
            handle.close();
            result
        });
        // Whatever it was that did not come to its end: this is why.
        result.map_err(|failure| match timeout {
            _ if self.is_interrupted.load(Ordering::SeqCst) => Failure::Interrupted,
            Some(timeout) if self.is_late.load(Ordering::SeqCst) => late(timeout),
            _ => failure,
        })
    }
}

fn late(timeout: Timeout) -> Failure {
    Failure::message(format!(
        "the build was stopped: it took longer than {timeout} (--timeout)"
    ))
}

/// Ends the process while something in it hangs; as after a kill, the next build tidies up.
#[expect(clippy::exit, reason = "what hangs would not return")]
fn exit(failure: &Failure) -> ! {
    crate::output::note(&failure.render());
    std::process::exit(failure.exit_code().into())
}

/// A reader that gives an error once it is time to stop.
pub(crate) struct Stoppable<R> {
    inner: R,
    stop: Arc<Stop>,
}

impl<R> Stoppable<R> {
    pub(crate) fn new(inner: R, stop: &Arc<Stop>) -> Self {
        Self {
            inner,
            stop: Arc::clone(stop),
        }
    }
}

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.stop.is_stopped() {
            return Err(interrupted());
        }
        self.inner.read(buffer)
    }
}

/// Standard input, without a buffer: who waits for it can be stopped.
pub(crate) struct Input(Arc<Stop>);

impl Input {
    pub(crate) fn new(stop: &Arc<Stop>) -> Self {
        Self(Arc::clone(stop))
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let input = rustix::stdio::stdin();
        let hangup = self.0.cancel.hangup();
        loop {
            let mut both = [
                PollFd::from_borrowed_fd(input, PollFlags::IN),
                PollFd::from_borrowed_fd(hangup, PollFlags::empty()),
            ];
            match poll(&mut both, None) {
                Ok(_) | Err(Errno::INTR) if self.0.is_stopped() => return Err(interrupted()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) => match rustix::io::read(input, &mut *buffer) {
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    other => return Ok(other?),
                },
            }
        }
    }
}

fn interrupted() -> std::io::Error {
    // Not `Interrupted`, at which readers try again.
    std::io::Error::other("interrupted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_in_time_is_left_alone() {
        let stop = Stop::new().unwrap();
        let timeout: Timeout = "1h".parse().unwrap();
        let done = stop.during(Some(timeout), Instant::now(), || Ok(7));
        assert_eq!(done.unwrap(), 7);
        assert!(!stop.is_stopped() && stop.check().is_ok());
    }

    #[test]
    fn late_work_is_stopped_wherever_it_waits() {
        let stop = Stop::new().unwrap();
        let (told, tell) = channel::<()>();
        let told = Mutex::new(Some(told));
        stop.on_stop(move || drop(told.lock().unwrap().take()));
        let timeout: Timeout = "10ms".parse().unwrap();
        let result: Result<(), Failure> = stop.during(Some(timeout), Instant::now(), || {
            assert!(tell.recv().is_err());
            assert!(Stoppable::new(&b"x"[..], &stop).read(&mut [0]).is_err());
            assert!(Input::new(&stop).read(&mut [0]).is_err());
            stop.check()
        });
        let text = result.unwrap_err().render();
        assert!(text.contains("it took longer than 10ms"), "{text}");
        // What comes too late is broken off at once.
        let (hook, called) = channel::<()>();
        stop.on_stop(move || hook.send(()).unwrap());
        called.recv().unwrap();
    }
}
