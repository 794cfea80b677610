//! Leases: what a running process relies on, so that nobody removes it meanwhile.
//!
//! A process that relies on a blob or a layer *pins* it, then looks whether it is there. Its pins
//! are lines of a file in `leases/` that it holds locked as long as it lives; a kill needs no
//! cleaning up, for the kernel drops the lock. A [`Collector`] removes only what no living lease
//! pins. The folder's own lock keeps the two apart: pinning holds it shared for a moment, collecting
//! holds it alone from reading the pins until what goes has lost its name.

use std::collections::HashSet;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FlockOperation, flock};

use super::staging::{open_entry, with_new_name};
use super::{Store, ignore_missing};
use crate::digest::{DiffId, Digest};
use crate::error::ImageError;

/// What can be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pin {
    /// A blob.
    Blob(Digest),
    /// A layer in all its forms, and the blobs that its record names.
    Layer(DiffId),
}

impl Pin {
    fn line(self) -> String {
        match self {
            Self::Blob(digest) => format!("blob {}\n", digest.hex()),
            Self::Layer(diff_id) => format!("layer {}\n", diff_id.0.hex()),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let (kind, hex) = line.split_once(' ')?;
        let digest: Digest = format!("sha256:{hex}").parse().ok()?;
        match kind {
            "blob" => Some(Self::Blob(digest)),
            "layer" => Some(Self::Layer(DiffId(digest))),
            _ => None,
        }
    }
}

/// The pins of this process on one store. The file is made with the first of them.
#[derive(Debug, Default)]
pub(super) struct Lease {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pins: HashSet<Pin>,
    /// The folder of leases, open to be locked.
    folder: Option<fs_err::File>,
    file: Option<(fs_err::File, PathBuf)>,
}

impl Lease {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pins several things at once.
    fn pin(&self, folder: &Path, pins: &[Pin]) -> io::Result<()> {
        let mut state = self.state();
        // A line that a full disk has cut must not spoil the next.
        let mut lines = "\n".to_owned();
        for pin in pins.iter().filter(|pin| !state.pins.contains(pin)) {
            lines.push_str(&pin.line());
        }
        if lines.len() == 1 {
            return Ok(());
        }
        let open = match state.folder.take() {
            Some(open) => open,
            None => open_folder(folder)?,
        };
        lock(&open, FlockOperation::LockShared)?;
        let written = state.write(folder, &lines);
        // No collector comes before this.
        lock(&open, FlockOperation::Unlock)?;
        state.folder = Some(open);
        written?;
        state.pins.extend(pins);
        Ok(())
    }
}

impl State {
    fn write(&mut self, folder: &Path, lines: &str) -> io::Result<()> {
        let file = match &mut self.file {
            Some((file, _)) => file,
            none => &mut none.insert(new_lease(folder)?).0,
        };
        file.write_all(lines.as_bytes())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.state().file {
            // A file that stays is taken for that of a dead process, which is right.
            drop(fs_err::remove_file(path));
        }
    }
}

/// Makes a locked lease. The caller holds the folder's lock, so no collector sees it unlocked.
fn new_lease(folder: &Path) -> io::Result<(fs_err::File, PathBuf)> {
    let made = with_new_name(folder, "", |path| {
        fs_err::OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
    })?;
    if flock(made.0.file(), FlockOperation::NonBlockingLockExclusive).is_err() {
        // The file system knows no locks. Then collectors cannot lock it either, and honour it.
    }
    Ok(made)
}

/// Opens the folder of leases, which is made if a store of an earlier program has none.
fn open_folder(folder: &Path) -> io::Result<fs_err::File> {
    match open_entry(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs_err::create_dir_all(folder)?;
            open_entry(folder)
        }
        other => other,
    }
}

fn lock(folder: &fs_err::File, operation: FlockOperation) -> io::Result<()> {
    loop {
        match flock(folder.file(), operation) {
            Err(rustix::io::Errno::INTR) => {}
            // A file system without locks is used by one process at a time.
            Err(rustix::io::Errno::NOLCK | rustix::io::Errno::OPNOTSUPP) => return Ok(()),
            other => return other.map_err(io::Error::from),
        }
    }
}

/// The right to remove what nobody has pinned. As long as it lives, nobody can pin anything: it is
/// held only while names are taken away.
#[derive(Debug)]
pub struct Collector {
    pins: HashSet<Pin>,
    _lock: fs_err::File,
}

impl Collector {
    /// Reports whether a living process has pinned this.
    #[must_use]
    pub fn is_pinned(&self, pin: Pin) -> bool {
        self.pins.contains(&pin)
    }

    /// Returns the pinned layers, in no order.
    pub fn layers(&self) -> impl Iterator<Item = DiffId> {
        self.pins.iter().filter_map(|pin| match pin {
            Pin::Layer(diff_id) => Some(*diff_id),
            Pin::Blob(_) => None,
        })
    }
}

impl Store {
    /// Keeps collectors away from these things until this process ends, whether or not they are in
    /// the store (yet). To be called before looking whether they are.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn pin(&self, pins: &[Pin]) -> Result<(), ImageError> {
        self.lease
            .pin(&self.leases_dir(), pins)
            .map_err(ImageError::io("note what is in use in the store"))
    }

    /// Waits until nobody is about to pin something, and returns what is pinned. Leases of dead
    /// processes are removed.
    ///
    /// # Errors
    /// [`ImageError::Io`]
    pub fn collector(&self) -> Result<Collector, ImageError> {
        let collect = || {
            let folder = self.leases_dir();
            let open = open_folder(&folder)?;
            lock(&open, FlockOperation::LockExclusive)?;
            let mut pins = HashSet::new();
            for entry in fs_err::read_dir(&folder)? {
                read_lease(&entry?.path(), &mut pins)?;
            }
            Ok(Collector { pins, _lock: open })
        };
        collect().map_err(ImageError::io("see what is in use in the store"))
    }

    /// Ends the lease of this process: what it has used may be removed. What it pins from now on is
    /// under a new one.
    pub fn release(&self) {
        let mut state = self.lease.state();
        if let Some((_, path)) = state.file.take() {
            drop(fs_err::remove_file(path));
        }
        state.pins.clear();
    }

    fn leases_dir(&self) -> PathBuf {
        self.root().join("leases")
    }
}

/// Adds the pins of a living process; removes the lease of a dead one.
fn read_lease(path: &Path, pins: &mut HashSet<Pin>) -> io::Result<()> {
    let mut file = match open_entry(path) {
        // It ended meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Nothing of ours: a link, a socket.
        Err(_) => return Ok(()),
        Ok(file) => file,
    };
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    if flock(file.file(), FlockOperation::NonBlockingLockExclusive).is_ok() {
        return ignore_missing(fs_err::remove_file(path));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    pins.extend(
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(Pin::parse),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leases(store: &Store) -> usize {
        fs_err::read_dir(store.leases_dir()).map_or(0, Iterator::count)
    }

    #[test]
    fn what_is_pinned_is_seen_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (
            Store::open(folder.path()).unwrap(),
            Store::open(folder.path()).unwrap(),
        );
        let layer = Pin::Layer(DiffId(Digest::of(b"layer")));
        let blob = Pin::Blob(Digest::of(b"blob"));
        one.pin(&[layer, blob]).unwrap();
        one.clone().pin(&[blob]).unwrap();
        assert_eq!(leases(&two), 1);
        let collector = two.collector().unwrap();
        assert!(collector.is_pinned(layer) && collector.is_pinned(blob));
        assert!(!collector.is_pinned(Pin::Blob(Digest::of(b"layer"))));
        drop((collector, one));
        assert_eq!(leases(&two), 0);
        assert!(!two.collector().unwrap().is_pinned(layer));
    }

    #[test]
    fn the_dead_hold_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let pin = Pin::Blob(Digest::of(b"x"));
        fs_err::create_dir_all(store.leases_dir()).unwrap();
        fs_err::write(store.leases_dir().join("1-1"), pin.line()).unwrap();
        assert!(!store.collector().unwrap().is_pinned(pin));
        assert_eq!(leases(&store), 0);
    }

    #[test]
    fn pinning_waits_for_the_collector() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (
            Store::open(folder.path()).unwrap(),
            Store::open(folder.path()).unwrap(),
        );
        let collector = one.collector().unwrap();
        std::thread::scope(|scope| {
            let pinning = scope.spawn(|| two.pin(&[Pin::Blob(Digest::of(b"x"))]).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!pinning.is_finished());
            drop(collector);
            pinning.join().unwrap();
        });
        assert!(
            one.collector()
                .unwrap()
                .is_pinned(Pin::Blob(Digest::of(b"x")))
        );
    }
}
