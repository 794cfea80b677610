//! What a step's processes tell the building process through the status pipe: failures, and the payload's end.
//!
//! Messages are smaller than `PIPE_BUF`, so writers need no lock, and few, so they never block.

use std::io;
use std::os::fd::BorrowedFd;

/// A step of the set-up that failed, inside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What was being done, as in "cannot {step}".
    pub step: String,
    /// What the kernel said.
    pub errno: i32,
}

/// Adds to an error what was being done.
pub(crate) trait Doing<T> {
    /// Turns an error into a [`Failure`] of that step.
    fn doing(self, step: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Doing<T> for rustix::io::Result<T> {
    fn doing(self, step: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|errno| Failure {
            step: step(),
            errno: errno.raw_os_error(),
        })
    }
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, step: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            step: step(),
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        })
    }
}

/// Ignores an error on purpose; the caller says why.
pub(crate) fn ignore<T, E>(_: Result<T, E>) {}

/// A message on the status pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    /// The set-up failed; the program was not started.
    Setup(Failure),
    /// `execve` failed with this error number.
    Exec(i32),
    /// The program ended by itself with this code.
    Code(i32),
    /// The program was killed by this signal.
    Signal(i32),
}

/// Longer descriptions are cut, so that a message stays below `PIPE_BUF` (4096 bytes).
const MAX_STEP: usize = 3000;

impl Status {
    /// Writes the message. A reader that is gone makes it pointless, which is no error of the writer's.
    pub(crate) fn send(&self, pipe: BorrowedFd<'_>) {
        let (tag, number, text) = match self {
            Self::Setup(failure) => (1_u8, failure.errno, failure.step.as_bytes()),
            Self::Exec(errno) => (2, *errno, &b""[..]),
            Self::Code(code) => (3, *code, &b""[..]),
            Self::Signal(signal) => (4, *signal, &b""[..]),
        };
        let text = text.get(..MAX_STEP).unwrap_or(text);
        let mut message = vec![tag];
        message.extend_from_slice(&number.to_le_bytes());
        message.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        message.extend_from_slice(text);
        ignore(rustix::io::write(pipe, &message)); // the building process is gone: nobody to tell
    }

    /// Returns the messages in what was read from the pipe; a broken tail is dropped.
    pub(crate) fn parse(mut bytes: &[u8]) -> Vec<Self> {
        let mut messages = Vec::new();
        while let Some((message, rest)) = Self::parse_one(bytes) {
            messages.push(message);
            bytes = rest;
        }
        messages
    }

    fn parse_one(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (tag, rest) = bytes.split_first()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let number = i32::from_le_bytes(*number);
        let message = match tag {
            1 => {
                let step = String::from_utf8_lossy(text).into_owned();
                Self::Setup(Failure {
                    step,
                    errno: number,
                })
            }
            2 => Self::Exec(number),
            3 => Self::Code(number),
            4 => Self::Signal(number),
            _ => return None,
        };
        Some((message, rest))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn messages_survive_the_pipe() {
        let long = Failure {
            step: "x".repeat(9000),
            errno: 13,
        };
        let sent = [
            Status::Setup(Failure {
                step: String::from("mount /proc"),
                errno: 1,
            }),
            Status::Exec(2),
            Status::Code(42),
            Status::Signal(9),
            Status::Setup(long),
        ];
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        for message in &sent {
            message.send(writer.as_fd());
        }
        drop(writer);
        let mut bytes = Vec::new();
        std::fs::File::from(reader).read_to_end(&mut bytes).unwrap();
        let mut read = Status::parse(&bytes);
        assert_eq!(
            read.pop(),
            Some(Status::Setup(Failure {
                step: "x".repeat(3000),
                errno: 13
            }))
        );
        assert_eq!(read, sent[..4]);
        for end in 0..bytes.len() {
            drop(Status::parse(&bytes[..end])); // cut anywhere, it must not panic
        }
    }
}
