//! A tar stream in chunks: hashed by one thread, written to the blob by another.
//!
//! The caller's thread fills buffers of 1 MiB. Each goes to the thread that computes the SHA-256, from there to
//! the one that writes, and comes back; there are only so many, so memory does not grow with sizes. What fits
//! into the first, small buffer needs no threads.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::ImageError;

/// Size of a buffer in bytes.
pub(super) const CHUNK: usize = 1 << 20;

/// Size of the first one: most layers of a `RUN` are a few small files.
const FIRST_CHUNK: usize = 32 << 10;

/// Buffers that go round.
const N_CHUNKS: usize = 6;

/// Where a blob is written to.
pub(super) type Blob<'s> = &'s mut (dyn Write + Send);

/// A buffer, and how much of it is filled.
type Chunk = (Vec<u8>, usize);

/// Gathers the stream in buffers, and sends each full one on.
pub(super) struct ChunkSink<'s> {
    /// There until the threads are started.
    blob: Option<Blob<'s>>,
    start: Box<dyn Fn(Option<Blob<'s>>) -> io::Result<Threads<'s>> + 's>,
    buffer: Vec<u8>,
    pub(super) filled: usize,
    n_buffers: usize,
    /// Started with the first full buffer.
    threads: Option<Threads<'s>>,
    /// A thread has failed.
    is_broken: bool,
}

/// The threads, and the buffers that go there and come back.
struct Threads<'s> {
    full: SyncSender<Chunk>,
    empty: Receiver<Vec<u8>>,
    hasher: ScopedJoinHandle<'s, Digest>,
    writer: Option<ScopedJoinHandle<'s, io::Result<()>>>,
}

impl<'s> Threads<'s> {
    fn start<'env>(scope: &'s Scope<'s, 'env>, blob: Option<Blob<'s>>) -> io::Result<Self> {
        let (full, to_hash) = sync_channel::<Chunk>(N_CHUNKS);
        let (give_back, empty) = sync_channel(N_CHUNKS);
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let (hashed, writer) = match blob {
            None => (None, None),
            Some(blob) => {
                let (hashed, to_write) = sync_channel(N_CHUNKS);
                let give_back = give_back.clone();
                let writer = named("write-layer")
                    .spawn_scoped(scope, move || write_chunks(blob, &to_write, &give_back))?;
                (Some(hashed), Some(writer))
            }
        };
        let hasher = named("hash-layer").spawn_scoped(scope, move || {
            let mut hasher = Sha256::new();
            while let Ok((buffer, filled)) = to_hash.recv() {
                hasher.update(&buffer[..filled]);
                let is_wanted = match &hashed {
                    Some(hashed) => hashed.send((buffer, filled)).is_ok(),
                    None => give_back.send(buffer).is_ok(),
                };
                if !is_wanted && hashed.is_some() {
                    break; // the writer failed
                }
            }
            Digest::from_bytes(hasher.finalize().into())
        })?;
        Ok(Self {
            full,
            empty,
            hasher,
            writer,
        })
    }

    /// Waits for the threads, which have all there is; returns the digest.
    fn finish(self) -> io::Result<Digest> {
        drop(self.full);
        drop(self.empty);
        let hashed = self.hasher.join();
        if let Some(writer) = self.writer {
            writer.join().unwrap_or_else(|_panic| Err(gone()))?;
        }
        hashed.map_err(|_panic| gone())
    }
}

fn write_chunks(
    blob: Blob<'_>,
    chunks: &Receiver<Chunk>,
    give_back: &SyncSender<Vec<u8>>,
) -> io::Result<()> {
    while let Ok((buffer, filled)) = chunks.recv() {
        blob.write_all(&buffer[..filled])?;
        if give_back.send(buffer).is_err() {
            continue; // the sender is done; what it sent still counts
        }
    }
    Ok(())
}

impl<'s> ChunkSink<'s> {
    /// Returns a sink whose threads run in `scope`.
    pub(super) fn new<'env>(scope: &'s Scope<'s, 'env>, blob: Option<Blob<'s>>) -> Self {
        Self {
            blob,
            start: Box::new(move |blob| Threads::start(scope, blob)),
            buffer: Vec::new(),
            filled: 0,
            n_buffers: 0,
            threads: None,
            is_broken: false,
        }
    }

    /// Returns the room that is left in the buffer, at least one byte of it. What is put there counts when it is
    /// added to `filled`.
    pub(super) fn spare(&mut self) -> io::Result<&mut [u8]> {
        if self.filled == self.buffer.len() {
            self.hand_over()?;
            self.buffer = self.next_buffer()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    fn next_buffer(&mut self) -> io::Result<Vec<u8>> {
        if self.n_buffers < N_CHUNKS {
            self.n_buffers += 1;
            let length = if self.n_buffers == 1 {
                FIRST_CHUNK
            } else {
                CHUNK
            };
            return Ok(vec![0; length]);
        }
        let next = self.threads()?.empty.recv();
        next.or_else(|_closed| self.fail())
    }

    /// Sends on what is in the buffer, which is empty then.
    fn hand_over(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let filled = std::mem::take(&mut self.filled);
        if buffer.is_empty() {
            return Ok(());
        }
        let sent = self.threads()?.full.send((buffer, filled));
        sent.or_else(|_closed| self.fail())
    }

    fn threads(&mut self) -> io::Result<&Threads<'s>> {
        let threads = match self.threads.take() {
            Some(threads) => threads,
            None if self.is_broken => return Err(gone()),
            None => (self.start)(self.blob.take())?,
        };
        Ok(self.threads.insert(threads))
    }

    /// Returns why the threads ended.
    fn fail<T>(&mut self) -> io::Result<T> {
        self.is_broken = true;
        let ended = self.threads.take().map(Threads::finish);
        Err(ended.and_then(Result::err).unwrap_or_else(gone))
    }

    /// Sends on the last of it, and returns the digest of all.
    pub(super) fn finish(mut self) -> Result<Digest, ImageError> {
        let writing = ImageError::io("write a layer");
        if self.threads.is_none() && !self.is_broken {
            let bytes = &self.buffer[..self.filled];
            let written = self
                .blob
                .as_mut()
                .map_or(Ok(()), |blob| blob.write_all(bytes));
            written.map_err(writing)?;
            return Ok(Digest::of(bytes));
        }
        let handed_over = self.hand_over();
        handed_over
            .and_then(|()| {
                self.threads
                    .take()
                    .map_or_else(|| Err(gone()), Threads::finish)
            })
            .map_err(writing)
    }
}

impl Write for ChunkSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let spare = self.spare()?;
        let n_bytes = spare.len().min(bytes.len());
        spare[..n_bytes].copy_from_slice(&bytes[..n_bytes]);
        self.filled += n_bytes;
        Ok(n_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that packs the layer is gone")
}
