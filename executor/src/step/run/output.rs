//! What a process writes, on its way to the events.

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};

use super::mask::{Mask, Masker};
use crate::error::StepError;
use crate::event::{Event, Stream};
use crate::step::StepContext;

/// How much of the output is kept for an error, in bytes.
const LAST_OUTPUT: usize = 8 * 1024;

/// Carries a process's output to the events.
pub(super) struct Output<'a> {
    context: &'a StepContext<'a>,
    mask: &'a Mask,
    /// The end of it, for an error.
    pub(super) last: Vec<u8>,
}

/// One of the two pipes.
struct Source<'a> {
    stream: Stream,
    /// `None` at its end.
    file: Option<std::fs::File>,
    masker: Masker<'a>,
}

impl<'a> Output<'a> {
    pub(super) fn new(context: &'a StepContext<'a>, mask: &'a Mask) -> Self {
        Self {
            context,
            mask,
            last: Vec::new(),
        }
    }

    /// Reads both pipes until they end. False: the build was cancelled before.
    ///
    /// A process that leaves its output open to a daemon ends with its pid namespace, so the pipes
    /// end with it.
    pub(super) fn forward(&mut self, stdout: OwnedFd, stderr: OwnedFd) -> Result<bool, StepError> {
        let source = |stream, pipe| Source {
            stream,
            file: Some(std::fs::File::from(pipe)),
            masker: Masker::new(self.mask),
        };
        let mut sources = [
            source(Stream::Stdout, stdout),
            source(Stream::Stderr, stderr),
        ];
        let mut buffer = vec![0; 64 * 1024];
        while sources.iter().any(|source| source.file.is_some()) {
            let ready = self.wait(&sources)?;
            if self.context.build.cancel.is_cancelled() {
                return Ok(false);
            }
            for (source, is_ready) in sources.iter_mut().zip(ready) {
                let Some(open) = source.file.as_mut().filter(|_| is_ready) else {
                    continue;
                };
                let n_read = open.read(&mut buffer)?;
                let shown = if n_read == 0 {
                    source.file = None;
                    source.masker.finish()
                } else {
                    source.masker.push(&buffer[..n_read])
                };
                self.take(source.stream, shown);
            }
        }
        Ok(true)
    }

    /// Waits until a stream has something, or the build is cancelled.
    fn wait(&self, sources: &[Source<'_>; 2]) -> Result<[bool; 2], StepError> {
        let hangup = self.context.build.cancel.hangup();
        let mut fds = vec![PollFd::from_borrowed_fd(hangup, PollFlags::IN)];
        let mut places = Vec::new();
        for (place, source) in sources.iter().enumerate() {
            if let Some(file) = &source.file {
                fds.push(PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN));
                places.push(place);
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        let mut ready = [false; 2];
        for (fd, place) in fds[1..].iter().zip(places) {
            ready[place] = !fd.revents().is_empty();
        }
        Ok(ready)
    }

    fn take(&mut self, stream: Stream, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        self.last.extend_from_slice(&bytes);
        let surplus = self.last.len().saturating_sub(LAST_OUTPUT);
        self.last.drain(..surplus);
        self.context.send(Event::Output {
            step: self.context.step,
            stream,
            bytes,
        });
    }
}
