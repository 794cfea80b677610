//! Several layers, mounted as one directory for as long as a build takes.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mount::{UnmountFlags, unmount};

use crate::error::SandboxError;
use crate::files::open_directory;
use crate::overlay::Layers;
use crate::status::{Failure, ignore};

/// How many views were mounted by now.
static MOUNTED: AtomicU64 = AtomicU64::new(0);

/// A process whose mount namespace was made after this has all views that were mounted before, and one that was made
/// before this is not known to have those that were mounted since.
pub(crate) fn n_mounted() -> u64 {
    MOUNTED.load(Ordering::SeqCst)
}

/// A read-only overlay. Dropping it unmounts it; the kernel does if this process dies. Steps that were spawned before
/// keep it.
#[derive(Debug)]
pub struct View {
    path: PathBuf,
}

impl View {
    /// Mounts `lowers`, topmost first, on the new directory `name` in `parent`. To be called after [`crate::enter`].
    /// Steps that are spawned from then on can have it as a lower layer: there it hides nothing of the layers below,
    /// whatever whiteouts and opaque directories `lowers` have.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Start`] if the kernel mounts no such overlay.
    pub fn mount(
        lowers: &[PathBuf],
        userxattr: bool,
        parent: &Path,
        name: &str,
    ) -> Result<Self, SandboxError> {
        let failed = |Failure { step, errno }| SandboxError::Start {
            step,
            source: io::Error::from_raw_os_error(errno),
        };
        let path = parent.join(name);
        fs_err::create_dir(&path).map_err(|source| SandboxError::Start {
            step: String::from("make a mount point"),
            source,
        })?;
        let layers = Layers::open(lowers, None, userxattr).map_err(failed)?;
        let parent = open_directory(parent).map_err(failed)?;
        layers.mount_at(parent.as_fd(), name).map_err(failed)?;
        MOUNTED.fetch_add(1, Ordering::SeqCst);
        Ok(Self { path })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // If it cannot be, it goes with this process.
        ignore(unmount(&self.path, UnmountFlags::DETACH));
    }
}
