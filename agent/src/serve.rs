//! The socket that a step connects to.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{CWD, Mode, OFlags};

use crate::Agent;
use crate::protocol;
use crate::stream::{Stream, wait};

/// More clients at once are turned away: each has a thread.
const MOST_CLIENTS: usize = 32;

/// How long clients wait while there are no descriptors for them.
const PAUSE: Duration = Duration::from_millis(20);

/// A socket for the clients of one step.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
}

impl Server {
    /// Makes a socket called `name` in the folder `dir`, however long the folder's name is.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(dir: &Path, name: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, dir, flags, Mode::empty())?;
        // The address of a socket has room for 107 bytes.
        let short = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
        let listener = UnixListener::bind(short)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// Serves clients until `stop` becomes readable or is hung up.
    pub fn serve(&self, agent: &Agent, stop: BorrowedFd<'_>) {
        let n_clients = AtomicUsize::new(0);
        let n_clients = &n_clients;
        std::thread::scope(|scope| {
            while wait(self.listener.as_fd(), PollFlags::IN, stop).is_ok() {
                let Ok((client, _)) = self.listener.accept() else {
                    // Nobody any more, or no descriptor is left for them.
                    std::thread::sleep(PAUSE);
                    continue;
                };
                if n_clients.fetch_add(1, Ordering::Relaxed) >= MOST_CLIENTS {
                    n_clients.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                scope.spawn(move || {
                    if let Ok(client) = Stream::new(client, stop) {
                        protocol::serve(client, agent);
                    }
                    n_clients.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
    }
}
