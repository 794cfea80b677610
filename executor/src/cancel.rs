//! Stopping a build from outside.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells every thread of a build to stop. Shared by reference; cancelling twice is harmless.
///
/// Besides the flag there is a descriptor that becomes readable (hang-up), so that a thread which
/// waits for a process can wait for both.
#[derive(Debug)]
pub struct Cancel {
    is_cancelled: AtomicBool,
    hangup: OwnedFd,
    trigger: Mutex<Option<OwnedFd>>,
}

impl Cancel {
    /// Returns a token that nobody has cancelled.
    ///
    /// # Errors
    /// If the process has no descriptors left.
    pub fn new() -> std::io::Result<Self> {
        let (hangup, trigger) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok(Self {
            is_cancelled: AtomicBool::new(false),
            hangup,
            trigger: Mutex::new(Some(trigger)),
        })
    }

    /// Stops the build: running steps are killed, nothing new starts.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
        // Closing the writing end is what the waiting threads see.
        drop(
            self.trigger
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .take(),
        );
    }

    /// Tells whether the build was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    /// Returns a descriptor that polls as hung up once the build is cancelled.
    #[must_use]
    pub fn hangup(&self) -> BorrowedFd<'_> {
        self.hangup.as_fd()
    }
}
