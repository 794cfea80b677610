//! Directory build contexts: what is in them, and the bytes of their files.
//!
//! A context is a folder that anybody may change while it is read. Every access goes by descriptor
//! below the folder and follows no symbolic link; links in the argument of a `COPY` are resolved by
//! the selection, which knows no path above the root. Knows nothing of Dockerfiles or layers.

mod beneath;
mod hash;
mod list;
mod walk;

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rbuild_cache::files::{FileDigests, FileState};
use rbuild_image::layer::entry::{ContentDigest, EntryKind};
use rbuild_image::layer::path::split_last;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::files::error::{FilesError, shown};
use crate::files::node::{Home, Node};
use crate::files::patterns::{Filter, FilterState, Patterns, Verdict};

pub(crate) use hash::{hash_file, hash_files, now};
pub(crate) use list::{read_xattrs, state_of};

/// A directory build context, as its ignore file lets it be seen.
#[derive(Debug)]
pub(crate) struct Context {
    root: OwnedFd,
    ignore: Patterns,
    digests: FileDigests,
}

impl Context {
    /// Opens the folder `dir`, which may be reached through symbolic links. What `ignore` excludes
    /// does not exist for any other function here. `digests` are what is known of its files.
    ///
    /// # Errors
    /// [`FilesError::Io`] if it is no folder or may not be read.
    pub(crate) fn open(
        dir: &Path,
        ignore: Patterns,
        digests: FileDigests,
    ) -> Result<Self, FilesError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir, flags, Mode::empty()).map_err(|errno| FilesError::Io {
            doing: "open the build context",
            path: crate::files::error::quoted(dir.as_os_str().as_encoded_bytes()),
            source: errno.into(),
        })?;
        Ok(Self {
            root,
            ignore,
            digests,
        })
    }

    /// Notes the digest of a file that was in this state when it was read, which began at `read_at`, in
    /// nanoseconds since the Unix epoch.
    pub(crate) fn note_digest(&self, state: FileState, digest: ContentDigest, read_at: i128) {
        self.digests.note(state, digest.0, read_at);
    }

    /// Returns what is known of the files' digests now, to be saved.
    pub(crate) fn into_digests(self) -> FileDigests {
        self.digests
    }

    /// Returns what stands at `path`, a clean path; links are not followed, neither in the last
    /// place nor on the way. Extended attributes are not read.
    ///
    /// # Errors
    /// [`FilesError::Io`] if a folder on the way may not be searched.
    pub(crate) fn lookup(&self, path: &[u8]) -> Result<Option<Node>, FilesError> {
        let filter = self.filter();
        let parent = split_last(path).map_or(&[][..], |(parent, _)| parent);
        let (verdict, _) = match path {
            b"" => (Verdict::WANTED, FilterState::default()),
            _ => filter.judge(path, &filter.start(parent)),
        };
        if !verdict.keep && !verdict.descend {
            return Ok(None);
        }
        let Some(mut node) = self.stat(path)? else {
            return Ok(None);
        };
        // An ignored folder is there as long as something in it is not ignored.
        let is_there = verdict.keep || (node.is_directory() && self.holds_anything(path)?);
        if !is_there {
            return Ok(None);
        }
        node.entry.path = path.to_vec();
        Ok(Some(node))
    }

    /// Opens the regular file at `path`, and returns it with its state.
    ///
    /// # Errors
    /// [`FilesError::Changed`] if there is no regular file any more, [`FilesError::Io`] if it
    /// cannot be read.
    pub(crate) fn open_file(&self, path: &[u8]) -> Result<(File, Stat), FilesError> {
        // Without O_NONBLOCK, opening a pipe that took the file's place would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = beneath::open(self.root.as_fd(), path, flags)
            .and_then(|fd| rustix::fs::fstat(&fd).map(|stat| (fd, stat)));
        match opened {
            Ok((fd, stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok((File::from(fd), stat))
            }
            Ok(_) => Err(FilesError::Changed { path: shown(path) }),
            Err(errno) if is_gone(errno) || matches!(errno, Errno::NXIO | Errno::NODEV) => {
                Err(FilesError::Changed { path: shown(path) })
            }
            Err(errno) => Err(cannot("read", path, errno)),
        }
    }

    /// Gives a file its digest if that is known from an earlier build.
    fn look_up(&self, node: &mut Node) {
        if let Home::Disk {
            unhashed: Some(state),
        } = &node.home
            && let Some(found) = self.digests.lookup(state)
            && let EntryKind::File { digest, .. } = &mut node.entry.kind
        {
            *digest = ContentDigest(found);
            node.home = Home::Disk { unhashed: None };
        }
    }

    /// Returns the filter that only the ignore file is part of.
    fn filter(&self) -> Filter<'_> {
        Filter::default().with_ignore(&self.ignore.0)
    }

    /// Returns the state of the file at `path`.
    #[cfg(test)]
    pub(crate) fn state(&self, path: &[u8]) -> FileState {
        state_of(&self.open_file(path).unwrap().1)
    }

    fn stat(&self, path: &[u8]) -> Result<Option<Node>, FilesError> {
        let found = match split_last(path) {
            None => rustix::fs::fstat(&self.root).map(|stat| list::node_of(&stat)),
            Some((parent, name)) => {
                CString::new(name)
                    .map_err(|_nul| Errno::NOENT)
                    .and_then(|name| {
                        let flags = OFlags::PATH | OFlags::DIRECTORY;
                        let dir = beneath::open(self.root.as_fd(), parent, flags)?;
                        let mut node = list::node_at(dir.as_fd(), &name)?;
                        self.look_up(&mut node);
                        Ok(node)
                    })
            }
        };
        match found {
            Ok(node) => Ok(Some(node)),
            Err(errno) if is_gone(errno) || errno == Errno::NAMETOOLONG => Ok(None),
            Err(errno) => Err(cannot("look at", path, errno)),
        }
    }
}

/// Tells whether `errno` says that a path is not, or no longer, there as a path without links.
fn is_gone(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::AGAIN
    )
}

fn cannot(doing: &'static str, path: &[u8], errno: Errno) -> FilesError {
    FilesError::Io {
        doing,
        path: shown(path),
        source: errno.into(),
    }
}
