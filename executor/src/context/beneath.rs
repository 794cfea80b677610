//! Opening paths below a directory that other processes may change at the same time.
//!
//! No symbolic link is ever followed here and nothing above the directory is ever reached, however
//! fast folders are swapped for links meanwhile: the kernel resolves the whole path under these
//! rules (`openat2`), or, where that call is missing, one component at a time.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Longest path given to the kernel at once; the limit is 4096 with the final NUL.
const LONGEST_PATH: usize = 4000;

/// How often a lookup is repeated that the kernel could not do safely because of a rename.
const RETRIES: u32 = 64;

/// Opens `path` below `root` without following any symbolic link.
///
/// `path` is relative, its components are separated by single slashes; the empty path is `root`
/// itself. A link on the way, or at the end, is `ELOOP` (or `ENOTDIR`).
pub(crate) fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut held: Option<OwnedFd> = None;
    let mut rest = path;
    while rest.len() > LONGEST_PATH {
        let cut = rest[..LONGEST_PATH]
            .iter()
            .rposition(|byte| *byte == b'/')
            .ok_or(Errno::NAMETOOLONG)?;
        let at = held.as_ref().map_or(root, AsFd::as_fd);
        let next = open_short(at, &rest[..cut], OFlags::PATH | OFlags::DIRECTORY)?;
        held = Some(next);
        rest = &rest[cut + 1..];
    }
    open_short(held.as_ref().map_or(root, AsFd::as_fd), rest, flags)
}

fn open_short(at: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let name: &[u8] = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RETRIES {
        match rustix::fs::openat2(at, OsStr::from_bytes(name), flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Kernels before 5.6 lack the call, old container filters deny it.
            Err(Errno::NOSYS | Errno::PERM) => return open_stepwise(at, path, flags),
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Does with single steps what `openat2` does in one.
fn open_stepwise(at: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut held: Option<OwnedFd> = None;
    let mut rest = path;
    while let Some(slash) = rest.iter().position(|byte| *byte == b'/') {
        let at = held.as_ref().map_or(at, AsFd::as_fd);
        let next = open_component(at, &rest[..slash], step)?;
        held = Some(next);
        rest = &rest[slash + 1..];
    }
    let last: &[u8] = if rest.is_empty() { b"." } else { rest };
    open_component(held.as_ref().map_or(at, AsFd::as_fd), last, flags)
}

fn open_component(at: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if name == b".." || name.is_empty() {
        return Err(Errno::XDEV);
    }
    rustix::fs::openat(at, OsStr::from_bytes(name), flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    type Open = fn(BorrowedFd<'_>, &[u8], OFlags) -> Result<OwnedFd, Errno>;

    #[test]
    fn links_and_climbing_are_refused_both_ways() {
        let outside = tempfile::tempdir().unwrap();
        fs_err::write(outside.path().join("secret"), "s").unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("a/b")).unwrap();
        fs_err::write(dir.path().join("a/b/f"), "x").unwrap();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        symlink("a", dir.path().join("inner")).unwrap();
        symlink("f", dir.path().join("a/b/lf")).unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        let stepwise: Open =
            |at, path, flags| open_stepwise(at, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW);
        for opener in [open as Open, stepwise] {
            let read = |path: &[u8]| opener(root.as_fd(), path, OFlags::RDONLY);
            assert!(read(b"a/b/f").is_ok());
            assert!(read(b"a").is_ok());
            assert!(read(b"").is_ok());
            for path in [
                &b"link/secret"[..],
                b"inner/b/f",
                b"a/b/lf",
                b"../x",
                b"a/../../x",
                b"link",
            ] {
                assert!(read(path).is_err(), "{}", path.escape_ascii());
            }
        }
    }

    #[test]
    fn paths_longer_than_the_kernel_takes_are_opened_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let root = rustix::fs::open(dir.path(), OFlags::RDONLY, Mode::empty()).unwrap();
        let name = [b'd'; 200];
        let mut path = Vec::new();
        let mut at = root.try_clone().unwrap();
        for _ in 0..30 {
            rustix::fs::mkdirat(&at, OsStr::from_bytes(&name), Mode::RWXU).unwrap();
            at = open(at.as_fd(), &name, OFlags::RDONLY).unwrap();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
        }
        assert!(path.len() > 4096);
        let found = open(root.as_fd(), &path, OFlags::RDONLY | OFlags::DIRECTORY).unwrap();
        let (a, b) = (
            rustix::fs::fstat(&found).unwrap(),
            rustix::fs::fstat(&at).unwrap(),
        );
        assert_eq!(a.st_ino, b.st_ino);
    }
}
