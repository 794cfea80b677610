//! A step that runs, and how it ends.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};

use crate::error::SandboxError;
use crate::status::{Status, ignore};

/// How a step's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code (0 to 255).
    Code(i32),
    /// By this signal; 9 also stands for [`Running::kill`] and for the kernel out of memory.
    Signal(i32),
}

impl Exit {
    /// Returns the code that a shell reports: the code itself, or 128 plus the signal.
    #[must_use]
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// A running step: its pid 1, whose end is the end of all of its processes and mounts.
///
/// Dropping it kills the step and waits for its end.
#[derive(Debug)]
pub struct Running {
    pidfd: Arc<OwnedFd>,
    pid: i32,
    /// Read end; `None` once the end of the step was learned.
    status: Option<OwnedFd>,
    program: String,
}

/// The means to end a step from elsewhere, for example from a signal handler's thread while another one waits.
#[derive(Debug, Clone)]
pub struct Killer(Arc<OwnedFd>);

impl Running {
    pub(crate) fn new(pidfd: OwnedFd, pid: i32, status: OwnedFd, program: String) -> Self {
        Self {
            pidfd: Arc::new(pidfd),
            pid,
            status: Some(status),
            program,
        }
    }

    /// Returns the step's pid 1 as this process numbers it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns a descriptor that becomes readable when the step has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Returns a handle that can end the step while [`Running::wait`] holds this one.
    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer(Arc::clone(&self.pidfd))
    }

    /// Kills every process of the step at once. What has ended already is left as it is.
    pub fn kill(&self) {
        self.killer().kill();
    }

    /// Waits until the step has ended, with all of its processes and mounts.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Setup`] if the sandbox could not be set up, [`SandboxError::Exec`] if the program could not
    /// be executed, [`SandboxError::Wait`] if the kernel does not tell.
    pub fn wait(self) -> Result<Exit, SandboxError> {
        let (exit, remains) = self.wait_for_program()?;
        remains.wait()?;
        Ok(exit)
    }

    /// Waits until all processes of the step have ended but for its pid 1, which takes the mounts down: nothing of the
    /// step writes to its root any more. What remains goes by itself.
    ///
    /// # Errors
    ///
    /// Those of [`Running::wait`].
    pub fn wait_for_program(mut self) -> Result<(Exit, Remains), SandboxError> {
        let mut remains = Remains(Some(Arc::clone(&self.pidfd)));
        let Some(pipe) = self.status.take() else {
            return Ok((KILLED, remains));
        };
        // The program has no writer of it, so it ends when pid 1 has said all or is dead.
        let messages = read_all(&pipe).map_err(|source| SandboxError::Wait { source })?;
        let exit = match self.said(Status::parse(&messages))? {
            Some(exit) => exit,
            None => remains.end()?.unwrap_or(KILLED),
        };
        Ok((exit, remains))
    }

    /// The first failure counts; without one the program's own end. `None` if pid 1 was killed before it could tell.
    fn said(&self, messages: Vec<Status>) -> Result<Option<Exit>, SandboxError> {
        let mut exit = None;
        for message in messages {
            match message {
                Status::Setup(failure) => {
                    let source = io::Error::from_raw_os_error(failure.errno);
                    return Err(SandboxError::Setup {
                        step: failure.step,
                        source,
                    });
                }
                Status::Exec(errno) => {
                    let source = io::Error::from_raw_os_error(errno);
                    return Err(SandboxError::Exec {
                        program: self.program.clone(),
                        source,
                    });
                }
                Status::Code(code) => exit = Some(Exit::Code(code)),
                Status::Signal(signal) => exit = Some(Exit::Signal(signal)),
            }
        }
        Ok(exit)
    }
}

/// The pid 1 of a step whose program has ended, and its mounts. Dropping this waits until they are gone.
#[derive(Debug)]
pub struct Remains(Option<Arc<OwnedFd>>);

const KILLED: Exit = Exit::Signal(Signal::KILL.as_raw());

impl Remains {
    /// Waits until they are gone.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Wait`] if the kernel does not tell.
    pub fn wait(mut self) -> Result<(), SandboxError> {
        self.end().map(drop)
    }

    /// What becomes readable when they are gone.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|pidfd| pidfd.as_fd())
    }

    /// Waits for the end of pid 1, once.
    fn end(&mut self) -> Result<Option<Exit>, SandboxError> {
        let Some(pidfd) = self.0.take() else {
            return Ok(None);
        };
        let ended = wait_for(&pidfd).map_err(|source| SandboxError::Wait { source })?;
        let exit = match ended.terminating_signal() {
            Some(signal) => Exit::Signal(signal),
            None => Exit::Code(ended.exit_status().unwrap_or(255)),
        };
        Ok(Some(exit))
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        drop(self.end()); // nobody is left to be told
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_some() {
            self.kill();
            drop(wait_for(&self.pidfd)); // nobody is left to be told
        }
    }
}

impl Killer {
    /// Kills every process of the step at once. What has ended already is left as it is.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Asks the step's program, and the programs that it started in its process group, to end (`SIGTERM`).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        // The one error there can be is that the step has ended, which is what was wanted.
        ignore(rustix::process::pidfd_send_signal(&*self.0, signal));
    }
}

fn wait_for(pidfd: &OwnedFd) -> io::Result<WaitIdStatus> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn read_all(pipe: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        match rustix::io::read(pipe, &mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(length) => bytes.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
