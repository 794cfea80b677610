//! The step's own mounts: binds, memory, files with given content.

use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FsWord, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::root::{Staging, refuse_root};
use crate::files::{Reach, attach, clone_of, mount_id, new_mount, open_directory, open_inside};
use crate::overlay::Layers;
use crate::spec::{BindSource, Mount, MountKind, Spec, TargetKind, in_mount_order};
use crate::status::{Doing as _, Failure};

/// What every mount of a step has, whatever it is.
const ALWAYS: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// A mount with what it takes from the host, opened.
#[derive(Debug)]
pub(super) struct Sourced {
    mount: Mount,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Nothing but the specification.
    None,
    /// A file or directory.
    Opened(OwnedFd),
    /// A path in an overlay that is yet to be mounted.
    Stack(Layers, PathBuf),
}

/// Opens what the mounts take from the host, in the order in which they are to be attached.
pub(super) fn open_sources(spec: &Spec) -> Result<Vec<Sourced>, Failure> {
    in_mount_order(spec)
        .into_iter()
        .map(|mount| {
            let source = match &mount.kind {
                MountKind::Bind { source, .. } => open_source(source)?,
                MountKind::Tmpfs { .. } | MountKind::File { .. } => Source::None,
            };
            Ok(Sourced { mount, source })
        })
        .collect()
}

fn open_source(source: &BindSource) -> Result<Source, Failure> {
    Ok(match source {
        BindSource::Path(path) => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
                .doing(|| format!("open the mount source {}", path.display()))?;
            Source::Opened(fd)
        }
        BindSource::Inside { root, path } => {
            let root = open_directory(root)?;
            let fd = open_inside(&root, path, OFlags::empty())
                .doing(|| format!("open the mount source {}", path.display()))?;
            Source::Opened(fd)
        }
        BindSource::Stack {
            lowers,
            upper,
            userxattr,
            path,
        } => Source::Stack(
            Layers::open(lowers, upper.as_ref(), *userxattr)?,
            path.clone(),
        ),
    })
}

/// Attaches the mounts to their targets in the root.
pub(super) fn attach_all(
    staging: &Staging,
    root: BorrowedFd<'_>,
    mounts: Vec<Sourced>,
    fake_ownership: bool,
) -> Result<(), Failure> {
    for (number, Sourced { mount, source }) in mounts.into_iter().enumerate() {
        let name = format!("mount{number}");
        let made = match &mount.kind {
            MountKind::Bind { read_only, .. } => bind(staging, &name, &source, *read_only)?,
            MountKind::Tmpfs { size, mode } => tmpfs(*size, *mode)?,
            MountKind::File {
                content,
                mode,
                uid,
                gid,
            } => {
                let owner = (!fake_ownership).then_some((*uid, *gid));
                file(staging, &name, content, *mode, owner)?
            }
        };
        let target = open_or_make_target(root, &mount)?;
        attach(made.as_fd(), target.as_fd())
            .doing(|| format!("mount on {}", mount.target.display()))?;
    }
    Ok(())
}

fn bind(
    staging: &Staging,
    name: &str,
    source: &Source,
    read_only: bool,
) -> Result<OwnedFd, Failure> {
    let mut attributes = ALWAYS;
    if read_only {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    match source {
        Source::Opened(fd) => clone_of(fd.as_fd(), attributes, Reach::WithMountsBelow),
        Source::Stack(layers, path) => {
            staging.directory(name)?;
            let stack = layers.mount_at(staging.fd.as_fd(), name)?;
            let fd = open_inside(&stack, path, OFlags::empty())
                .doing(|| format!("open the mount source {}", path.display()))?;
            clone_of(fd.as_fd(), attributes, Reach::ThisOnly)
        }
        Source::None => Err(Failure {
            step: String::from("mount nothing"),
            errno: libc::EINVAL,
        }),
    }
}

fn tmpfs(size: Option<u64>, mode: u32) -> Result<OwnedFd, Failure> {
    let mode = format!("{:o}", mode & 0o7777);
    let size = size.map(|size| size.to_string());
    let mut options = vec![("mode", mode.as_str())];
    options.extend(size.as_deref().map(|size| ("size", size)));
    new_mount("tmpfs", &options, ALWAYS).doing(|| String::from("mount a file system in memory"))
}

fn file(
    staging: &Staging,
    name: &str,
    content: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> Result<OwnedFd, Failure> {
    let making = || String::from("make a file in memory");
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&staging.fd, name, flags, Mode::RUSR).doing(making)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(content).doing(making)?;
    if let Some((uid, gid)) = owner {
        let owners = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::fchown(&file, owners.0, owners.1)
            .doing(|| format!("give a file in memory to {uid}:{gid}"))?;
    }
    // After the owner, because changing that takes set-user-id bits away.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777)).doing(making)?;
    drop(file);
    staging.mount_of(name, ALWAYS | MountAttrFlags::MOUNT_ATTR_RDONLY)
}

/// Opens the target, and makes what is missing of it where that leaves no trace in the root: below another mount.
fn open_or_make_target(root: BorrowedFd<'_>, mount: &Mount) -> Result<OwnedFd, Failure> {
    let path = &mount.target;
    let shown = path.display().to_string();
    let flags = match mount.kind.target_kind() {
        TargetKind::Directory => OFlags::DIRECTORY,
        TargetKind::File => OFlags::empty(),
    };
    let target = match open_inside(root, path, flags) {
        Err(Errno::NOENT) => make_target(root, mount, flags)?,
        result => result.doing(|| format!("find the mount point {shown} in the root"))?,
    };
    refuse_root(root, target.as_fd(), &shown)?;
    refuse_kernel(target.as_fd(), &shown)?;
    Ok(target)
}

/// A mount in there would stand in the way of what protects them.
fn refuse_kernel(target: BorrowedFd<'_>, path: &str) -> Result<(), Failure> {
    const PROC: FsWord = 0x9fa0;
    const SYSFS: FsWord = 0x6265_6572;
    let found = rustix::fs::fstatfs(target).doing(|| format!("look at the mount point {path}"))?;
    if found.f_type == PROC || found.f_type == SYSFS {
        let step = format!("mount on {path}: it is in /proc or /sys");
        return Err(Failure {
            step,
            errno: libc::EINVAL,
        });
    }
    Ok(())
}

fn make_target(root: BorrowedFd<'_>, mount: &Mount, flags: OFlags) -> Result<OwnedFd, Failure> {
    let path = &mount.target;
    let making = || format!("make the mount point {}", path.display());
    let own_mount = mount_id(root).doing(making)?;
    let parts: Vec<Component<'_>> = path.components().collect();
    let mut so_far = PathBuf::new();
    for (number, part) in parts.iter().enumerate() {
        let parent = open_inside(root, &so_far, OFlags::DIRECTORY).doing(making)?;
        so_far.push(part);
        match open_inside(root, &so_far, OFlags::empty()) {
            Err(Errno::NOENT) => {}
            result => {
                drop(result.doing(making)?);
                continue;
            }
        }
        let Component::Normal(name) = part else {
            return Err(Failure {
                step: making(),
                errno: libc::ENOENT,
            });
        };
        // In the root itself it would stay after the step; whoever prepares the root puts it there.
        if mount_id(parent.as_fd()).doing(making)? == own_mount {
            let step = format!("find the mount point {} in the root", path.display());
            return Err(Failure {
                step,
                errno: libc::ENOENT,
            });
        }
        let last = number + 1 == parts.len();
        let made = if last && mount.kind.target_kind() == TargetKind::File {
            make_file(parent.as_fd(), Path::new(name))
        } else {
            rustix::fs::mkdirat(&parent, name.as_bytes(), Mode::from_raw_mode(0o755))
        };
        match made {
            // Another step that shares the mount has made it meanwhile.
            Err(Errno::EXIST) => {}
            result => result.doing(making)?,
        }
    }
    open_inside(root, path, flags).doing(making)
}

fn make_file(parent: BorrowedFd<'_>, name: &Path) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
}
