//! Mounts overlays, by whatever interface the kernel has.
//!
//! Directories are opened first and named by descriptor from then on: the mount API takes descriptors since Linux
//! 6.13, and before that `/proc/self/fd` gives each a name of a few bytes, where the store's own paths would not fit
//! into the 256 bytes of an option or the page of all options.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    move_mount, open_tree,
};

use crate::spec::Upper;
use crate::status::{Doing as _, Failure};
use crate::sys;

/// The most lower layers that the kernel takes.
const MAX_LOWERS: usize = 500;

/// An overlay's directories, opened.
#[derive(Debug)]
pub(crate) struct Layers {
    lowers: Vec<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd)>,
    userxattr: bool,
    /// Some of the layers are overlays, so on file systems of their own.
    is_mixed: bool,
}

/// How directories are named to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    /// `fsconfig` with descriptors, Linux 6.13.
    Descriptors,
    /// `fsconfig` with one string a layer, Linux 6.8.
    Strings,
    /// `mount(2)`.
    Classic,
}

/// From the newest to the oldest.
const INTERFACES: [Interface; 3] = [
    Interface::Descriptors,
    Interface::Strings,
    Interface::Classic,
];

impl Layers {
    /// Opens the directories. `lowers` are topmost first; without `upper` the overlay is read-only.
    pub(crate) fn open(
        lowers: &[PathBuf],
        upper: Option<&Upper>,
        userxattr: bool,
    ) -> Result<Self, Failure> {
        if lowers.is_empty() || lowers.len() > MAX_LOWERS {
            let step = format!(
                "mount an overlay of {} layers: 1 to {MAX_LOWERS}",
                lowers.len()
            );
            return Err(Failure {
                step,
                errno: libc::EINVAL,
            });
        }
        let directory = |path: &Path| {
            // Descriptors with O_PATH are taken from Linux 6.15 on only.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, path, flags, Mode::empty())
                .doing(|| format!("open the layer {}", path.display()))
        };
        let lowers = lowers
            .iter()
            .map(|path| directory(path))
            .collect::<Result<Vec<_>, _>>()?;
        let upper = match upper {
            Some(Upper { upper, work }) => Some((directory(upper)?, directory(work)?)),
            None => None,
        };
        let is_mixed = is_mixed(&lowers)?;
        Ok(Self {
            lowers,
            upper,
            userxattr,
            is_mixed,
        })
    }

    /// Mounts the overlay on the directory `name` in `parent` and returns its root.
    ///
    /// The mount is `nodev`, and writable if there is an upper directory: that is checked, since the kernel turns
    /// an overlay read-only without a word where it cannot use the work directory.
    pub(crate) fn mount_at(&self, parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Failure> {
        self.mount_with(&INTERFACES, parent, name)
    }

    /// [`Layers::mount_at`] with the first of these interfaces that the kernel knows.
    pub(crate) fn mount_with(
        &self,
        interfaces: &[Interface],
        parent: BorrowedFd<'_>,
        name: &str,
    ) -> Result<OwnedFd, Failure> {
        // A single layer that cannot change needs no overlay, and the kernel refuses to make one.
        if let (None, [only]) = (&self.upper, self.lowers.as_slice()) {
            let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_RDONLY;
            return bind_at(only.as_fd(), attributes, parent, name);
        }
        let mut refusals = String::new();
        let mut outcome = Err(Failure {
            step: String::from("mount an overlay: the kernel has none"),
            errno: libc::ENODEV,
        });
        for interface in interfaces {
            let attempt = match interface {
                Interface::Classic => Attempt::Known(self.mount_classic(parent, name)),
                _ => self.mount_new(*interface, parent, name),
            };
            match attempt {
                Attempt::NotKnown(refusal) => refusals += &refusal,
                Attempt::Known(result) => {
                    outcome = result;
                    break;
                }
            }
        }
        let root = outcome.map_err(|failure| Failure {
            step: failure.step + &refusals,
            errno: failure.errno,
        })?;
        let flags = rustix::fs::fstatvfs(&root).doing(|| String::from("look at the overlay"))?;
        if self.upper.is_some() && flags.f_flag.contains(StatVfsMountFlags::RDONLY) {
            let step = String::from("mount a writable overlay: the kernel made it read-only");
            return Err(Failure {
                step,
                errno: libc::EROFS,
            });
        }
        Ok(root)
    }

    fn mount_new(&self, interface: Interface, parent: BorrowedFd<'_>, name: &str) -> Attempt {
        let context = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(context) => context,
            Err(Errno::NOSYS) => return Attempt::NotKnown(String::new()),
            Err(errno) => {
                let step = String::from("mount an overlay");
                return Attempt::Known(Err(Failure {
                    step,
                    errno: errno.raw_os_error(),
                }));
            }
        };
        if self.configure(interface, context.as_fd()).is_err() {
            return Attempt::NotKnown(kernel_log(&context));
        }
        let result = fsconfig_create(&context)
            .and_then(|()| {
                let attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
                fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            })
            .map_err(|errno| Failure {
                step: format!("mount an overlay{}", kernel_log(&context)),
                errno: errno.raw_os_error(),
            });
        Attempt::Known(result.and_then(|mount| {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&mount, c"", parent, name, flags)
                .doing(|| String::from("attach an overlay"))?;
            Ok(mount)
        }))
    }

    /// Sets everything; any error means that the kernel does not know this interface.
    fn configure(&self, interface: Interface, context: BorrowedFd<'_>) -> rustix::io::Result<()> {
        let directory = |key: &str, fd: &OwnedFd| match interface {
            Interface::Descriptors => fsconfig_set_fd(context, key, fd),
            _ => fsconfig_set_string(context, key, format!("/proc/self/fd/{}", fd.as_raw_fd())),
        };
        for lower in &self.lowers {
            directory("lowerdir+", lower)?;
        }
        // What overlays of another making could bring along, redirects above all, is not followed.
        for (key, value) in [
            ("index", "off"),
            ("redirect_dir", "nofollow"),
            ("metacopy", "off"),
        ] {
            fsconfig_set_string(context, key, value)?;
        }
        if self.is_mixed {
            // Else files would seem to be on other file systems than the directories that they are in.
            fsconfig_set_string(context, "xino", "on")?;
        }
        if let Some((upper, work)) = &self.upper {
            directory("upperdir", upper)?;
            directory("workdir", work)?;
            fsconfig_set_flag(context, "volatile")?;
            fsconfig_set_string(context, "uuid", "null")?;
        }
        if self.userxattr {
            fsconfig_set_flag(context, "userxattr")?;
        }
        Ok(())
    }

    fn mount_classic(&self, parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Failure> {
        const PAGE_BUT_A_BIT: usize = 3500;
        let target = open_directory(parent, name)?;
        let long = self.options("/proc/self/fd/");
        if long.len() < PAGE_BUT_A_BIT {
            self.mount_by_options(&long, &target)
                .doing(|| String::from("mount an overlay"))?;
            return open_directory(parent, name);
        }
        // One page holds all options. Relative to this directory a layer's name is a few bytes long.
        let back = open_directory(CWD, ".")?;
        rustix::process::chdir("/proc/self/fd").doing(|| String::from("enter /proc/self/fd"))?;
        let mounted = self.mount_by_options(&self.options(""), &target);
        rustix::process::fchdir(&back).doing(|| String::from("leave /proc/self/fd"))?;
        mounted.doing(|| String::from("mount an overlay"))?;
        open_directory(parent, name)
    }

    fn options(&self, prefix: &str) -> String {
        let name = |fd: &OwnedFd| format!("{prefix}{}", fd.as_raw_fd());
        let lowers: Vec<String> = self.lowers.iter().map(name).collect();
        let mut options = format!("lowerdir={}", lowers.join(":"));
        options += ",index=off,redirect_dir=nofollow,metacopy=off";
        if self.is_mixed {
            options += ",xino=on";
        }
        if let Some((upper, work)) = &self.upper {
            options += ",upperdir=";
            options += &name(upper);
            options += ",workdir=";
            options += &name(work);
        }
        if self.userxattr {
            options += ",userxattr";
        }
        options
    }

    fn mount_by_options(&self, options: &str, target: &OwnedFd) -> io::Result<()> {
        // uuid=null came with Linux 6.6, volatile with 5.10.
        let extras: &[&str] = match self.upper {
            Some(_) => &[",volatile,uuid=null", ",volatile", ""],
            None => &[""],
        };
        let mut result = Err(Errno::INVAL);
        for extra in extras {
            let options = CString::new(format!("{options}{extra}"))?;
            let target = format!("/proc/self/fd/{}", target.as_raw_fd());
            let flags = MountFlags::NODEV;
            result = rustix::mount::mount("overlay", &target, "overlay", flags, options.as_c_str());
            if result != Err(Errno::INVAL) {
                break;
            }
        }
        result.map_err(io::Error::from)
    }
}

/// What came of one interface.
enum Attempt {
    /// The kernel does not know it, and this is what it says.
    NotKnown(String),
    /// It does, and this is the overlay or the error.
    Known(Result<OwnedFd, Failure>),
}

/// Mounts a directory itself on the directory `name` in `parent`, with these attributes.
pub(crate) fn bind_at(
    directory: BorrowedFd<'_>,
    attributes: MountAttrFlags,
    parent: BorrowedFd<'_>,
    name: &str,
) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(directory, c"", flags)
        .doing(|| String::from("make a mount of the root directory"))?;
    sys::mount_set(mount.as_fd(), attributes, true)
        .doing(|| String::from("set the attributes of the root directory"))?;
    move_mount(
        &mount,
        c"",
        parent,
        name,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .doing(|| String::from("attach the root directory"))?;
    Ok(mount)
}

/// Whether directories are on several file systems.
fn is_mixed(directories: &[OwnedFd]) -> Result<bool, Failure> {
    let mut first = None;
    for directory in directories {
        let found = rustix::fs::fstat(directory).doing(|| String::from("look at a layer"))?;
        if *first.get_or_insert(found.st_dev) != found.st_dev {
            return Ok(true);
        }
    }
    Ok(false)
}

fn open_directory(parent: impl AsFd, name: &str) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).doing(|| format!("open {name}"))
}

/// What the kernel says about a failed `fsconfig`, as a suffix for a message.
fn kernel_log(context: &OwnedFd) -> String {
    let mut log = String::new();
    let mut buffer = [0_u8; 1024];
    while let Ok(length @ 1..) = rustix::io::read(context, &mut buffer) {
        let line = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        // Lines begin with their level: "e overlay: …".
        log += ": ";
        log += line.get(2..).unwrap_or(&line).trim();
    }
    log
}

#[cfg(test)]
mod tests {
    use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
    use rustix::thread::UnshareFlags;

    use super::*;
    use crate::sys::SingleThread;

    /// Makes overlays of many layers by one interface, in a mount namespace of its own.
    fn check(interface: Interface, n_lowers: u32) {
        sys::unshare(SingleThread::assumed(), UnshareFlags::NEWNS).unwrap();
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        let base = tempfile::tempdir().unwrap();
        let path = |name: &str| base.path().join(name);
        let mut lowers = Vec::new();
        for number in 0..n_lowers {
            let lower = path(&format!("a-name-that-takes-some-room-{number}"));
            fs_err::create_dir(&lower).unwrap();
            fs_err::write(lower.join(number.to_string()), "x").unwrap();
            fs_err::write(lower.join("top"), number.to_string()).unwrap();
            lowers.push(lower);
        }
        for name in ["upper", "work", "merged", "view"] {
            fs_err::create_dir(path(name)).unwrap();
        }
        let upper = Upper {
            upper: path("upper"),
            work: path("work"),
        };
        let parent = open_directory(CWD, base.path().to_str().unwrap()).unwrap();

        let layers = Layers::open(&lowers, Some(&upper), false).unwrap();
        layers
            .mount_with(&[interface], parent.as_fd(), "merged")
            .unwrap();
        fs_err::write(path("merged/new"), "x").unwrap();
        let count = fs_err::read_dir(path("merged")).unwrap().count();
        assert_eq!(count, n_lowers as usize + 2, "{interface:?}");
        assert_eq!(
            fs_err::read_to_string(path("merged/top")).unwrap(),
            "0",
            "{interface:?}"
        );
        assert!(fs_err::symlink_metadata(path("upper/new")).is_ok());

        let layers = Layers::open(&lowers, None, false).unwrap();
        layers
            .mount_with(&[interface], parent.as_fd(), "view")
            .unwrap();
        assert_eq!(
            fs_err::read_to_string(path("view/top")).unwrap(),
            "0",
            "{interface:?}"
        );
        assert!(
            fs_err::write(path("view/new"), "x").is_err(),
            "{interface:?}"
        );
        for name in ["merged", "view"] {
            unmount(path(name), UnmountFlags::DETACH).unwrap();
        }
    }

    #[test]
    fn every_interface_makes_the_same_overlay() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for interface in INTERFACES {
            for n_lowers in [1, 2, 300] {
                let result =
                    std::thread::scope(|scope| scope.spawn(|| check(interface, n_lowers)).join());
                assert!(result.is_ok(), "{interface:?} with {n_lowers} layers");
            }
        }
    }

    #[test]
    fn the_number_of_layers_is_limited() {
        for count in [0, 501] {
            let lowers = vec![PathBuf::from("/"); count];
            assert_eq!(
                Layers::open(&lowers, None, false).unwrap_err().errno,
                libc::EINVAL
            );
        }
    }
}
