//! gzip on several threads: each MiB becomes a member of its own, in order.
//!
//! A gzip file may have any number of members; readers put their contents together. Since every
//! member is made from the same bytes by the same code, the file does not depend on the threads.
//! Spec: RFC 1952, section 2.2.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};

use libdeflater::{CompressionLvl, Compressor};

use crate::error::ImageError;

/// Bytes that go into one member. Changing this changes every compressed layer's digest.
const MEMBER: usize = 1 << 20;

/// libdeflate's own default. Changing this changes every compressed layer's digest.
pub(super) const DEFAULT_LEVEL: i32 = 6;

/// Each thread needs some 4 MB.
const MAX_THREADS: usize = 12;

/// Bytes to compress, and where the member goes.
struct Job {
    input: Vec<u8>,
    done: SyncSender<Member>,
}

/// A compressed member, and the buffer that its input was in.
struct Member {
    bytes: io::Result<Vec<u8>>,
    buffer: Vec<u8>,
}

/// See [`super::compression::compress`].
pub(super) fn compress<T, E: From<ImageError>>(
    out: &mut dyn Write,
    level: i32,
    n_threads: usize,
    produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let n_threads = n_threads.clamp(1, MAX_THREADS);
    let (sender, receiver) = channel::<Job>();
    let jobs = Mutex::new(receiver);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| work(&jobs, level));
        }
        // When the sink goes, so does the sender, and the threads end.
        let mut sink = Sink {
            out,
            jobs: sender,
            n_threads,
            filled: Vec::with_capacity(MEMBER),
            running: VecDeque::new(),
            spare: Vec::new(),
            is_empty: true,
        };
        let value = produce(&mut sink)?;
        sink.finish()
            .map_err(ImageError::io("write a compressed layer"))?;
        Ok(value)
    })
}

fn work(jobs: &Mutex<Receiver<Job>>, level: i32) {
    let mut compressor = CompressionLvl::new(level).map(Compressor::new);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { input, done }) = job else {
            return;
        };
        let bytes = match &mut compressor {
            Ok(compressor) => compress_member(compressor, &input),
            Err(_level) => Err(io::Error::other("libdeflate lacks a level")),
        };
        let member = Member {
            bytes,
            buffer: input,
        };
        if done.send(member).is_err() {
            return; // The sink is gone, after an error.
        }
    }
}

fn compress_member(compressor: &mut Compressor, input: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; compressor.gzip_compress_bound(input.len())];
    let length = compressor
        .gzip_compress(input, &mut bytes)
        .map_err(io::Error::other)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Cuts the stream into members and writes them in order.
struct Sink<'a> {
    out: &'a mut dyn Write,
    jobs: Sender<Job>,
    n_threads: usize,
    filled: Vec<u8>,
    running: VecDeque<Receiver<Member>>,
    spare: Vec<Vec<u8>>,
    is_empty: bool,
}

impl Sink<'_> {
    fn submit(&mut self) -> io::Result<()> {
        // So many that no thread waits while this one writes.
        if self.running.len() > self.n_threads {
            self.write_oldest()?;
        }
        let next = self
            .spare
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(MEMBER));
        let input = std::mem::replace(&mut self.filled, next);
        let (done, member) = sync_channel(1);
        self.jobs
            .send(Job { input, done })
            .map_err(|_closed| gone())?;
        self.running.push_back(member);
        self.is_empty = false;
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(member) = self.running.pop_front() else {
            return Ok(());
        };
        let Member { bytes, mut buffer } = member.recv().map_err(|_closed| gone())?;
        self.out.write_all(&bytes?)?;
        buffer.clear();
        self.spare.push(buffer);
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        // Nothing at all is one empty member: no members is no gzip file.
        if self.is_empty || !self.filled.is_empty() {
            self.submit()?;
        }
        while !self.running.is_empty() {
            self.write_oldest()?;
        }
        Ok(())
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filled.len() == MEMBER {
            self.submit()?;
        }
        let n_bytes = bytes.len().min(MEMBER - self.filled.len());
        self.filled.extend_from_slice(&bytes[..n_bytes]);
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses is gone")
}
