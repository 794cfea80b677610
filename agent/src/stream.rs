//! Connections that end when they are told to, whatever the other side does.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The other side went away, or does not keep to the protocol.
    Closed,
    /// It was told to stop.
    Stopped,
}

/// A connection and what stops it.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    stream: UnixStream,
    stop: BorrowedFd<'a>,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(stream: UnixStream, stop: BorrowedFd<'a>) -> Result<Self, Ended> {
        stream
            .set_nonblocking(true)
            .map_err(|_broken| Ended::Closed)?;
        Ok(Self { stream, stop })
    }

    /// Connects to another socket, with the same stop.
    pub(crate) fn connect(&self, path: &Path) -> Result<Self, Ended> {
        let stream = UnixStream::connect(path).map_err(|_gone| Ended::Closed)?;
        Self::new(stream, self.stop)
    }

    pub(crate) fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<(), Ended> {
        while !buffer.is_empty() {
            match self.stream.read(buffer) {
                Ok(0) => return Err(Ended::Closed),
                Ok(length) => buffer = &mut buffer[length..],
                Err(error) => self.wait(&error, PollFlags::IN)?,
            }
        }
        Ok(())
    }

    pub(crate) fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Ended> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(Ended::Closed),
                Ok(length) => bytes = &bytes[length..],
                Err(error) => self.wait(&error, PollFlags::OUT)?,
            }
        }
        Ok(())
    }

    fn wait(&self, error: &std::io::Error, wanted: PollFlags) -> Result<(), Ended> {
        match error.kind() {
            std::io::ErrorKind::Interrupted => Ok(()),
            std::io::ErrorKind::WouldBlock => wait(self.stream.as_fd(), wanted, self.stop),
            _ => Err(Ended::Closed),
        }
    }
}

/// Waits for a descriptor, or to be stopped: `stop` becomes readable or is hung up.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    wanted: PollFlags,
    stop: BorrowedFd<'_>,
) -> Result<(), Ended> {
    let mut fds = [
        PollFd::from_borrowed_fd(fd, wanted),
        PollFd::from_borrowed_fd(stop, PollFlags::IN),
    ];
    match poll(&mut fds, None) {
        Ok(_) if !fds[1].revents().is_empty() => Err(Ended::Stopped),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(_) => Err(Ended::Closed),
    }
}
