//! A stream that one thread reads ahead of another, in buffers that go round.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

/// How many buffers go round, and how long they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) n_chunks: usize,
    pub(super) chunk: usize,
}

/// A buffer and how much of it is filled.
#[derive(Debug, Default)]
pub(super) struct Filled {
    buffer: Vec<u8>,
    length: usize,
}

impl Filled {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// The chunks of the stream as one [`BufRead`]; each goes on when it was read.
#[derive(Debug)]
pub(super) struct Chunks {
    full: Receiver<io::Result<Filled>>,
    used: SyncSender<Filled>,
    current: Filled,
    position: usize,
}

impl Chunks {
    pub(super) fn new(full: Receiver<io::Result<Filled>>, used: SyncSender<Filled>) -> Self {
        Self {
            full,
            used,
            current: Filled::default(),
            position: 0,
        }
    }

    /// Has a thread of `scope` read `input`, to its end or until what is returned goes.
    pub(super) fn read_ahead<'scope>(
        scope: &'scope Scope<'scope, '_>,
        input: &'scope mut (dyn Read + Send),
        size: Size,
    ) -> Self {
        let (full_in, full_out) = sync_channel(size.n_chunks);
        let (used_in, used_out) = sync_channel(size.n_chunks);
        scope.spawn(move || read_chunks(input, size, &full_in, &used_out));
        Self::new(full_out, used_in)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.length {
            let used = std::mem::take(&mut self.current);
            self.position = 0;
            if !used.buffer.is_empty() {
                drop(self.used.send(used)); // whoever reads may be done
            }
            // A closed channel is the end of the stream: an error would have come before it.
            if let Ok(next) = self.full.recv() {
                self.current = next?;
            }
        }
        Ok(&self.current.bytes()[self.position..])
    }

    fn consume(&mut self, n_bytes: usize) {
        self.position = (self.position + n_bytes).min(self.current.length);
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let n_bytes = available.len().min(buffer.len());
        buffer[..n_bytes].copy_from_slice(&available[..n_bytes]);
        self.consume(n_bytes);
        Ok(n_bytes)
    }
}

/// Reads until the end, an error, or until nobody wants more.
pub(super) fn read_chunks(
    input: &mut (dyn Read + Send),
    size: Size,
    full: &SyncSender<io::Result<Filled>>,
    empty: &Receiver<Filled>,
) {
    for n_chunk in 0.. {
        // Short streams never need all of the buffers.
        let mut buffer = if n_chunk < size.n_chunks {
            vec![0; size.chunk]
        } else {
            match empty.recv() {
                Ok(used) => used.buffer,
                Err(_closed) => return,
            }
        };
        let result = fill_chunk(input, &mut buffer).map(|length| Filled { buffer, length });
        let is_last = result.as_ref().map_or(true, |filled| filled.length == 0);
        if full.send(result).is_err() || is_last {
            return;
        }
    }
}

fn fill_chunk(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n_bytes) => filled += n_bytes.min(buffer.len() - filled),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
