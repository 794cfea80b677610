//! File data in a given order, read ahead by a few threads.
//!
//! Files are cut into batches of about 1 MiB: many small files, or one large one in pieces. Threads
//! take the batches in order; at most [`WINDOW`] of them are under way, so memory is bounded
//! whatever the sizes. The threads hash what they read. Knows nothing of layers: it asks for bytes and hands them on.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use rbuild_image::layer::HashedRead;
use rbuild_image::layer::entry::ContentDigest;

use super::error::FilesError;

/// Bytes of a batch, and of a piece of a large file.
const BATCH_SIZE: usize = 1 << 20;

/// Batches that are being read or wait to be taken.
const WINDOW: usize = 8;

/// Threads that read: more than a machine with few cores has, since they mostly wait for disks.
const MIN_READERS: usize = 4;
const MAX_READERS: usize = 8;

/// Opens file `n` of the list. The reader yields as many bytes as the list says, or fails.
pub(super) type Open<'a> = dyn Fn(usize) -> Result<Box<dyn Read>, FilesError> + Sync + 'a;

/// What a reading thread hands over: bytes of one or several files.
type Piece = Result<Buffer, FilesError>;

/// Room for [`BATCH_SIZE`] bytes that goes round, so that it is cleared only once.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
    /// Of the files that end in it, in order.
    digests: VecDeque<ContentDigest>,
}

/// The files' data, in order; see [`Ahead::next_file`].
pub(super) struct Ahead<'s, 'a> {
    shared: &'s Shared<'a>,
    batches: VecDeque<Receiver<Piece>>,
    /// Sizes of the files to come.
    sizes: VecDeque<u64>,
    /// Files that the current batch still has.
    n_left_in_batch: usize,
    ends: VecDeque<usize>,
    current: Buffer,
    at: usize,
    rest: u64,
    failure: Option<FilesError>,
}

/// What reading threads and the taker share.
pub(super) struct Shared<'a> {
    open: &'a Open<'a>,
    sizes: &'a [u64],
    batches: Vec<Range<usize>>,
    state: Mutex<State>,
    moved: Condvar,
    spare: Mutex<Vec<Buffer>>,
}

struct State {
    /// Where the next batch goes to; taken by the thread that reads it.
    senders: VecDeque<SyncSender<Piece>>,
    next: usize,
    n_done: usize,
    is_over: bool,
}

impl<'a> Shared<'a> {
    /// Prepares to read files of these sizes in bytes, none of them empty.
    pub(super) fn new(sizes: &'a [u64], open: &'a Open<'a>) -> Self {
        Self {
            open,
            sizes,
            batches: cut(sizes),
            state: Mutex::new(State {
                senders: VecDeque::new(),
                next: 0,
                n_done: 0,
                is_over: false,
            }),
            moved: Condvar::new(),
            spare: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buffer(&self) -> Buffer {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_else(|| Buffer {
            bytes: vec![0; BATCH_SIZE],
            ..Buffer::default()
        })
    }

    fn give_back(&self, mut buffer: Buffer) {
        if !buffer.bytes.is_empty() {
            buffer.filled = 0;
            buffer.digests.clear();
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            spare.push(buffer);
        }
    }

    /// Reads batches until there are none left or nobody wants them.
    fn read_batches(&self) {
        loop {
            let mut state = self.state();
            while !state.is_over
                && state.next < self.batches.len()
                && state.next >= state.n_done + WINDOW
            {
                state = self
                    .moved
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let Some(batch) = self.batches.get(state.next).filter(|_| !state.is_over) else {
                return;
            };
            let Some(sender) = state.senders.pop_front() else {
                return;
            };
            state.next += 1;
            drop(state);
            if let Err(error) = self.read_batch(batch.clone(), &sender) {
                drop(sender.send(Err(error))); // The taker may have given up already.
            }
        }
    }

    fn read_batch(
        &self,
        files: Range<usize>,
        sender: &SyncSender<Piece>,
    ) -> Result<(), FilesError> {
        let mut buffer = self.buffer();
        for file in files {
            let mut data = (self.open)(file)?;
            let mut rest = self.sizes[file];
            let mut hasher = None;
            while rest > 0 {
                let spare = &mut buffer.bytes[buffer.filled..];
                if spare.is_empty() {
                    if sender.send(Ok(buffer)).is_err() {
                        return Ok(());
                    }
                    buffer = self.buffer();
                    continue;
                }
                let room = spare.len();
                let want = usize::try_from(rest).map_or(room, |rest| rest.min(room));
                read_exact(&mut *data, &mut spare[..want])?;
                // Most files come whole, and those are hashed faster in one go.
                if want as u64 == self.sizes[file] {
                    buffer
                        .digests
                        .push_back(digest(blake3::hash(&spare[..want])));
                } else {
                    let hasher = hasher.get_or_insert_with(blake3::Hasher::new);
                    hasher.update(&spare[..want]);
                }
                buffer.filled += want;
                rest -= want as u64;
            }
            let pieces = hasher.map(|hasher| digest(hasher.finalize()));
            buffer.digests.extend(pieces);
        }
        drop(sender.send(Ok(buffer))); // As above.
        Ok(())
    }
}

fn digest(hash: blake3::Hash) -> ContentDigest {
    ContentDigest(*hash.as_bytes())
}

/// Cuts the list into batches.
fn cut(sizes: &[u64]) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut start = 0;
    let mut total = 0_u64;
    for (at, size) in sizes.iter().enumerate() {
        if at > start && total.saturating_add(*size) > BATCH_SIZE as u64 {
            batches.push(start..at);
            start = at;
            total = 0;
        }
        total = total.saturating_add(*size);
    }
    if start < sizes.len() {
        batches.push(start..sizes.len());
    }
    batches
}

/// Fills `buffer`. Errors of files already name them; an early end cannot happen with a reader that
/// keeps its promise.
fn read_exact(data: &mut dyn Read, buffer: &mut [u8]) -> Result<(), FilesError> {
    data.read_exact(buffer)
        .map_err(|error| match error.downcast::<FilesError>() {
            Ok(named) => named,
            Err(source) => FilesError::Io {
                doing: "read",
                path: "a file of a layer".to_owned(),
                source,
            },
        })
}

impl<'s, 'a> Ahead<'s, 'a> {
    /// Starts the threads. They end with the value that is returned.
    pub(super) fn start<'env>(scope: &'s Scope<'s, 'env>, shared: &'s Shared<'a>) -> Self {
        let mut batches = VecDeque::new();
        for _ in &shared.batches {
            let (sender, receiver) = sync_channel(1);
            shared.state().senders.push_back(sender);
            batches.push_back(receiver);
        }
        let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
        let n_readers = n_cores.clamp(MIN_READERS, MAX_READERS).min(batches.len());
        for _ in 0..n_readers {
            scope.spawn(|| shared.read_batches());
        }
        Self {
            shared,
            batches,
            sizes: shared.sizes.iter().copied().collect(),
            n_left_in_batch: 0,
            ends: shared.batches.iter().map(ExactSizeIterator::len).collect(),
            current: Buffer::default(),
            at: 0,
            rest: 0,
            failure: None,
        }
    }

    /// Goes on to the next file of the list: [`Read`] yields its bytes then.
    pub(super) fn next_file(&mut self) {
        if self.n_left_in_batch == 0 {
            if self.ends.len() < self.shared.batches.len() {
                self.finish_batch();
            }
            self.n_left_in_batch = self.ends.pop_front().unwrap_or(0);
        }
        self.n_left_in_batch = self.n_left_in_batch.saturating_sub(1);
        self.rest = self.sizes.pop_front().unwrap_or(0);
    }

    /// Returns why reading failed, if it did.
    pub(super) fn failure(&mut self) -> Option<FilesError> {
        self.failure.take()
    }

    /// Lets the threads go on behind a batch that has been used up.
    fn finish_batch(&mut self) {
        self.batches.pop_front();
        self.shared.give_back(std::mem::take(&mut self.current));
        self.at = 0;
        self.shared.state().n_done += 1;
        self.shared.moved.notify_all();
    }
}

impl Read for Ahead<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.rest == 0 || out.is_empty() {
            return Ok(0);
        }
        if self.at == self.current.filled {
            self.shared.give_back(std::mem::take(&mut self.current));
            self.at = 0;
            match self.batches.front().map(Receiver::recv) {
                Some(Ok(Ok(piece))) => self.current = piece,
                Some(Ok(Err(error))) => {
                    self.failure = Some(error);
                    return Err(io::Error::other("a file could not be read"));
                }
                Some(Err(_)) | None => {
                    return Err(io::Error::other("the threads that read files are gone"));
                }
            }
        }
        let left = &self.current.bytes[self.at..self.current.filled];
        let rest = usize::try_from(self.rest).unwrap_or(usize::MAX);
        let n_bytes = left.len().min(out.len()).min(rest);
        out[..n_bytes].copy_from_slice(&left[..n_bytes]);
        self.at += n_bytes;
        self.rest -= n_bytes as u64;
        Ok(n_bytes)
    }
}

impl HashedRead for Ahead<'_, '_> {
    fn digest(&mut self) -> io::Result<ContentDigest> {
        let found = self.current.digests.pop_front();
        found.ok_or_else(|| io::Error::other("nobody has hashed the file"))
    }
}

impl Drop for Ahead<'_, '_> {
    fn drop(&mut self) {
        // Threads that wait for room, or to hand over, end.
        self.shared.state().is_over = true;
        self.shared.moved.notify_all();
        self.batches.clear();
    }
}

impl std::fmt::Debug for Ahead<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ahead")
            .field("n_batches", &self.batches.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Shared<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("n_files", &self.sizes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Reads files of these sizes, each filled with a byte of its own.
    fn read_all(sizes: &[u64], broken: Option<usize>) -> Result<usize, FilesError> {
        let byte = |n: usize| u8::try_from(n % 251).unwrap();
        let open = |n: usize| -> Result<Box<dyn Read>, FilesError> {
            if broken == Some(n) {
                return Err(FilesError::NoTree { number: n });
            }
            let length = usize::try_from(sizes[n]).unwrap();
            Ok(Box::new(Cursor::new(vec![byte(n); length])))
        };
        let shared = Shared::new(sizes, &open);
        std::thread::scope(|scope| {
            let mut ahead = Ahead::start(scope, &shared);
            let mut buffer = Vec::new();
            for (n, size) in sizes.iter().enumerate() {
                buffer.clear();
                ahead.next_file();
                if ahead.read_to_end(&mut buffer).is_err() {
                    return Err(ahead.failure().unwrap());
                }
                assert_eq!(buffer.len() as u64, *size);
                assert_eq!(ahead.digest().unwrap(), digest(blake3::hash(&buffer)));
                assert!(buffer.iter().all(|found| *found == byte(n)));
            }
            Ok(sizes.len())
        })
    }

    #[test]
    fn files_come_whole_and_in_order() {
        let mib = BATCH_SIZE as u64;
        assert_eq!(read_all(&[], None).unwrap(), 0);
        assert_eq!(read_all(&[1], None).unwrap(), 1);
        assert_eq!(
            read_all(&[mib, mib - 1, 1, 1, mib + 1, 5 * mib], None).unwrap(),
            6
        );
        let many: Vec<u64> = (0..3000).map(|n| 1 + n * 7 % 9000).collect();
        assert_eq!(read_all(&many, None).unwrap(), 3000);
        let large = [20 * mib + 3; 3];
        assert_eq!(read_all(&large, None).unwrap(), 3);
    }

    #[test]
    fn a_file_that_fails_ends_it_all_without_waiting() {
        let mib = BATCH_SIZE as u64;
        let sizes = [3 * mib; 40];
        for broken in [0, 1, 17, 39] {
            match read_all(&sizes, Some(broken)) {
                Err(FilesError::NoTree { number }) => assert_eq!(number, broken),
                other => panic!("{other:?}"),
            }
        }
    }
}
