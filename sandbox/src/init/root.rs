//! The root file system: assembling it, and moving into it for good.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};

use super::{kernel, mounts};
use crate::files::{
    Reach, attach, clone_of, is_root_of, new_mount, open_beneath, open_directory, open_inside,
    staging_point,
};
use crate::overlay::{Layers, bind_at};
use crate::spec::{Root, Spec, Upper};
use crate::status::{Doing as _, Failure};

/// The new root and the mounts in it that are still needed.
#[derive(Debug)]
pub(super) struct NewRoot {
    /// The root itself.
    pub root: OwnedFd,
    /// Its `/proc`, `/sys` and `/dev`.
    pub kernel: kernel::Mounts,
    /// Where an overlay's changes land, for [`super::owners`].
    pub upper: Option<OwnedFd>,
    /// What [`Spec::owner_journal`] names.
    pub journal: Option<OwnedFd>,
}

/// A file system in memory that only this pid 1 sees: the root is attached in it, files that are mounted into the
/// root are kept in it. It goes with the old root; the mounts stay.
#[derive(Debug)]
pub(super) struct Staging {
    /// Its root.
    pub fd: OwnedFd,
    /// The directory that it covers.
    point: &'static str,
}

/// Puts the root together: the file system, the kernel's file systems, the step's own mounts.
///
/// What is needed from the host is opened first, because the staging area covers some of it.
///
/// The processes `after` have ended before anything of the step's own is mounted.
pub(super) fn assemble(
    spec: &Spec,
    kernel: kernel::Mounts,
    after: &[OwnedFd],
) -> Result<NewRoot, Failure> {
    let sources = mounts::open_sources(spec)?;
    let system = open_root(&spec.root)?;
    let (upper, journal) = open_records(spec)?;
    let staging = Staging::new()?;
    wait_for(after)?;
    let root = system.mount(&staging)?;
    kernel.attach(root.as_fd(), spec.privileged)?;
    mounts::attach_all(&staging, root.as_fd(), sources, spec.fake_ownership)?;
    Ok(NewRoot {
        root,
        kernel,
        upper,
        journal,
    })
}

fn wait_for(pidfds: &[OwnedFd]) -> Result<(), Failure> {
    for pidfd in pidfds {
        let mut poll = [PollFd::new(pidfd, PollFlags::IN)];
        while let Err(errno) = rustix::event::poll(&mut poll, None) {
            if errno != Errno::INTR {
                return Err(errno).doing(|| String::from("wait for the mounts of an earlier step"));
            }
        }
    }
    Ok(())
}

/// Opens where owners are recorded that the kernel does not have.
fn open_records(spec: &Spec) -> Result<(Option<OwnedFd>, Option<OwnedFd>), Failure> {
    let Some(path) = spec.owner_journal.as_ref().filter(|_| spec.fake_ownership) else {
        return Ok((None, None));
    };
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let journal = rustix::fs::open(path, flags, Mode::empty())
        .doing(|| format!("open the journal of owners {}", path.display()))?;
    let upper = match &spec.root {
        Root::Overlay { upper, .. } => Some(open_directory(upper)?),
        Root::Directory(_) => None,
    };
    Ok((upper, Some(journal)))
}

/// Makes the assembled root the root of this process, and forgets the old one.
pub(super) fn enter(new: &NewRoot) -> Result<(), Failure> {
    let entering = |what: &str| {
        let step = format!("enter the new root ({what})");
        move || step
    };
    rustix::process::fchdir(&new.root).doing(entering("fchdir"))?;
    // With "." for both the old root ends up on top of the new one, from where it is taken off.
    rustix::process::pivot_root(".", ".").doing(entering("pivot_root"))?;
    unmount(".", UnmountFlags::DETACH).doing(entering("detach the old one"))?;
    rustix::process::chdir("/").doing(entering("chdir"))
}

/// The root's directories, opened.
enum System {
    Overlay(Layers),
    Directory(OwnedFd),
}

fn open_root(root: &Root) -> Result<System, Failure> {
    Ok(match root {
        Root::Overlay {
            lowers,
            upper,
            work,
            userxattr,
        } => {
            let upper = Upper {
                upper: upper.clone(),
                work: work.clone(),
            };
            System::Overlay(Layers::open(lowers, Some(&upper), *userxattr)?)
        }
        Root::Directory(path) => System::Directory(open_directory(path)?),
    })
}

impl System {
    fn mount(&self, staging: &Staging) -> Result<OwnedFd, Failure> {
        staging.directory("root")?;
        let root = match self {
            Self::Overlay(layers) => layers.mount_at(staging.fd.as_fd(), "root")?,
            Self::Directory(fd) => {
                let nodev = MountAttrFlags::MOUNT_ATTR_NODEV;
                bind_at(fd.as_fd(), nodev, staging.fd.as_fd(), "root")?
            }
        };
        let state = rustix::fs::fstatvfs(&root).doing(|| String::from("look at the root"))?;
        if state.f_flag.contains(StatVfsMountFlags::RDONLY) {
            let step = String::from("use the root: its file system is read-only");
            return Err(Failure {
                step,
                errno: libc::EROFS,
            });
        }
        Ok(root)
    }
}

impl Staging {
    pub(super) fn new() -> Result<Self, Failure> {
        let making = || String::from("mount a staging area in memory");
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let fd = new_mount("tmpfs", &[("mode", "0700")], attributes).doing(making)?;
        let (point, covered) = staging_point()?;
        attach(fd.as_fd(), covered.as_fd()).doing(making)?;
        let staging = Self { fd, point };
        staging.directory("empty")?;
        Ok(staging)
    }

    /// Attaches a mount to a new directory in here.
    pub(super) fn attach(&self, mount: BorrowedFd<'_>, name: &str) -> Result<(), Failure> {
        self.directory(name)?;
        let attaching = || format!("attach /{name} in the staging area");
        let target = open_beneath(&self.fd, name).doing(attaching)?;
        attach(mount, target.as_fd()).doing(attaching)
    }

    /// Takes the area away, and with it what is attached in it; the directory that it covered is there again.
    pub(super) fn remove(self) -> Result<(), Failure> {
        unmount(self.point, UnmountFlags::DETACH)
            .doing(|| String::from("take the staging area away"))
    }

    /// Makes a directory.
    pub(super) fn directory(&self, name: &str) -> Result<(), Failure> {
        rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755))
            .doing(|| format!("make {name} in the staging area"))
    }

    /// Returns a mount of something in here.
    pub(super) fn mount_of(
        &self,
        name: &str,
        attributes: MountAttrFlags,
    ) -> Result<OwnedFd, Failure> {
        let fd =
            open_beneath(&self.fd, name).doing(|| format!("open {name} in the staging area"))?;
        clone_of(fd.as_fd(), attributes, Reach::ThisOnly)
    }
}

/// Opens a mount target inside the root, which must be there and must not be the root itself.
pub(super) fn open_target(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
) -> Result<OwnedFd, Failure> {
    let target = open_inside(root, &PathBuf::from(path), flags)
        .doing(|| format!("find the mount point {path} in the root"))?;
    refuse_root(root, target.as_fd(), path)?;
    Ok(target)
}

/// A mount over the root itself would be out of reach for the program, and yet be there.
pub(super) fn refuse_root(
    root: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    path: &str,
) -> Result<(), Failure> {
    let looking = || format!("look at the mount point {path}");
    if is_root_of(root, target).doing(looking)? {
        let step = format!("mount on {path}: it is the root itself");
        return Err(Failure {
            step,
            errno: libc::EINVAL,
        });
    }
    Ok(())
}
