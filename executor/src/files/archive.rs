//! Archives of `ADD`: told by their content, unpacked over the destination.
//!
//! The archive is read once: its entries go to memory, its files' bytes, one after the other, to a
//! temporary file without a name, since a layer lists entries in another order than an archive.
//! Nothing in an archive is trusted; no path of it, and no link in it or in the image, leads out of
//! the destination.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rbuild_image::error::ImageError;
use rbuild_image::layer::entry::{ContentDigest, Entry, EntryKind, LayerPath};
use rbuild_image::layer::index::MAX_ENTRIES;
use rbuild_image::layer::path::{display, join, split_last};
use rbuild_image::layer::{TarItem, TarReader, Whiteouts, decompress};

use super::chown::Owner;
use super::error::{FilesError, shown};
use super::node::is_private;
use super::overlay::{Data, Model, Placed};
use super::place::{DIRECTORY_MODE, Destination, Origin, Placer};

const BUFFER_SIZE: usize = 128 * 1024;

/// An archive that was read.
#[derive(Debug)]
pub(super) struct Unpacked {
    members: Vec<Member>,
    spool: Spool,
    /// Where it is, quoted.
    path: String,
}

/// An entry of an archive, and where in the spool its bytes begin.
#[derive(Debug)]
struct Member {
    entry: Entry,
    offset: u64,
}

/// The bytes of an archive's files.
#[derive(Debug, Clone)]
pub(super) struct Spool(Arc<File>);

impl Spool {
    /// Returns a reader of `size` bytes from `offset` on.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "opens like every other source of bytes"
    )]
    pub(super) fn open(&self, offset: u64, size: u64) -> Result<Box<dyn Read>, FilesError> {
        Ok(Box::new(SpoolPart {
            file: Arc::clone(&self.0),
            offset,
            rest: size,
        }))
    }
}

/// Part of a spool.
struct SpoolPart {
    file: Arc<File>,
    offset: u64,
    rest: u64,
}

impl Read for SpoolPart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let n_bytes = self.file.read_at(&mut buffer[..want], self.offset)?;
        self.offset += n_bytes as u64;
        self.rest -= n_bytes as u64;
        Ok(n_bytes)
    }
}

/// Reads `file`, which is found at `path`, if it is an archive; `None` if it is not.
///
/// # Errors
/// [`FilesError::Changed`] if its bytes are not those of `digest`, [`FilesError::Archive`] if it is
/// damaged, [`FilesError::Io`] if it cannot be read or there is no room in `staging`.
pub(super) fn unpack(
    file: File,
    path: &[u8],
    digest: ContentDigest,
    staging: &Path,
) -> Result<Option<Unpacked>, FilesError> {
    let cannot_read = |source| FilesError::Io {
        doing: "read",
        path: shown(path),
        source,
    };
    let broken = |source| FilesError::Archive {
        path: shown(path),
        source,
    };
    let mut input = Hashing {
        file,
        hasher: blake3::Hasher::new(),
    };
    // A bomb ends before the disk is full.
    let disk = rustix::fs::statvfs(staging);
    let free = disk.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let Ok((_, decoder)) = decompress(Box::new(&mut input), Some(free)) else {
        return Ok(None);
    };
    let buffered = BufReader::with_capacity(BUFFER_SIZE, decoder);
    let mut reader = TarReader::new(buffered, Whiteouts::Refuse);
    let first = match reader.next_item() {
        Ok(Some(first)) => first,
        // Not a header, or no bytes that decompress: some other file.
        Ok(None) | Err(ImageError::BadArchive { .. } | ImageError::Io { .. }) => return Ok(None),
        Err(error) => return Err(broken(error)),
    };
    let file = tempfile::tempfile_in(staging).map_err(|source| FilesError::Io {
        doing: "make a temporary file in",
        path: shown(staging.as_os_str().as_encoded_bytes()),
        source,
    })?;
    let mut spooler = Spooler {
        file,
        end: 0,
        buffer: vec![0; BUFFER_SIZE],
        members: Vec::new(),
    };
    let mut item = Some(first);
    while let Some(TarItem::Entry(entry)) = item {
        spooler.take(entry, &mut reader).map_err(broken)?;
        item = reader.next_item().map_err(broken)?;
    }
    reader.drain().map_err(broken)?;
    drop(reader);
    io::copy(&mut input, &mut io::sink()).map_err(cannot_read)?;
    if ContentDigest(*input.hasher.finalize().as_bytes()) != digest {
        return Err(FilesError::Changed { path: shown(path) });
    }
    Ok(Some(Unpacked {
        spool: Spool(Arc::new(spooler.finish().map_err(broken)?)),
        members: spooler.members,
        path: shown(path),
    }))
}

/// Reads a file and hashes what it reads.
struct Hashing {
    file: File,
    hasher: blake3::Hasher,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.file.read(buffer)?;
        self.hasher.update(&buffer[..n_bytes]);
        Ok(n_bytes)
    }
}

/// Collects entries, and their bytes in a file.
struct Spooler {
    file: File,
    /// Where the next file's bytes go.
    end: u64,
    buffer: Vec<u8>,
    members: Vec<Member>,
}

impl Spooler {
    fn take(&mut self, entry: Entry, content: &mut dyn Read) -> Result<(), ImageError> {
        if self.members.len() >= MAX_ENTRIES {
            return Err(ImageError::BadArchive {
                problem: "it has too many entries".to_owned(),
            });
        }
        let offset = self.end;
        if let EntryKind::File { size, .. } = entry.kind {
            self.spool(size, content).map_err(as_image_error)?;
        }
        self.members.push(Member { entry, offset });
        Ok(())
    }

    /// Appends `size` bytes. Runs of zeros become holes, so that a sparse file stays small.
    fn spool(&mut self, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut rest = size;
        while rest > 0 {
            let room = self.buffer.len();
            let want = usize::try_from(rest).map_or(room, |rest| rest.min(room));
            let n_bytes = match content.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n_bytes) => n_bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = &self.buffer[..n_bytes];
            self.end += n_bytes as u64;
            rest -= n_bytes as u64;
            if bytes.iter().all(|byte| *byte == 0) {
                self.file.seek(SeekFrom::Start(self.end))?;
            } else {
                self.file.write_all(bytes)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<File, ImageError> {
        // A hole at the end needs the length to be said.
        self.file
            .set_len(self.end)
            .and_then(|()| self.file.try_clone())
            .map_err(ImageError::io("unpack an archive"))
    }
}

/// Takes an error of the archive's reader out of its wrapping.
fn as_image_error(error: io::Error) -> ImageError {
    match error.downcast::<ImageError>() {
        Ok(error) => error,
        Err(error) => ImageError::io("unpack an archive")(error),
    }
}

impl Placer<'_, '_> {
    /// Places an archive's entries over the directory `dest`, which is made if it is missing.
    /// Returns the bytes of `archive`, its number, for the files that were placed.
    ///
    /// # Errors
    /// [`FilesError::NotDirectory`] if something else is in the way, [`FilesError::Archive`] for a
    /// hard link to nothing, [`FilesError::TooManyLinks`].
    pub(super) fn place_archive(
        &mut self,
        unpacked: Unpacked,
        archive: usize,
        dest: Destination<'_>,
    ) -> Result<Spool, FilesError> {
        let root = self.overlay.resolve(b"", dest.path)?;
        let model = Model {
            mode: DIRECTORY_MODE,
            ..self.change.model()
        };
        self.overlay.make_directories(&root, &model)?;
        let mut last = None;
        for member in unpacked.members {
            // The destination is there already, and keeps what it is.
            let Some((parent, name)) = split_last(&member.entry.path) else {
                continue;
            };
            let holder = self.holder(&root, parent, &mut last)?;
            let path = join(&holder, name);
            if self.overlay.lookup(&path).is_some() {
                last = None;
            }
            let placed = match &member.entry.kind {
                EntryKind::Hardlink { target } => {
                    let failure = |problem: &str| FilesError::Archive {
                        path: unpacked.path.clone(),
                        source: ImageError::Archive {
                            entry: display(&member.entry.path),
                            problem: problem.to_owned(),
                        },
                    };
                    self.linked(&root, target, &path)
                        .map_err(|problem| match problem {
                            NoLink::Because(problem) => failure(problem),
                            NoLink::Other(error) => error,
                        })?
                }
                _ => self.unpacked(member, archive),
            };
            let entry = Entry {
                path,
                ..placed.entry
            };
            self.overlay.put(Placed { entry, ..placed });
        }
        Ok(unpacked.spool)
    }

    /// Returns the directory that stands for `parent` below `root`, and makes it if it is missing.
    fn holder(
        &mut self,
        root: &[u8],
        parent: &[u8],
        last: &mut Option<(LayerPath, LayerPath)>,
    ) -> Result<LayerPath, FilesError> {
        if let Some((_, holder)) = last.as_ref().filter(|(of, _)| of == parent) {
            return Ok(holder.clone());
        }
        let holder = self.overlay.resolve(root, parent)?;
        let model = Model {
            mode: DIRECTORY_MODE,
            owner: Owner::default(),
            ..self.change.model()
        };
        self.overlay.make_directories(&holder, &model)?;
        *last = Some((parent.to_vec(), holder.clone()));
        Ok(holder)
    }

    /// Returns what an archive's entry becomes; its path is still that in the archive.
    fn unpacked(&self, member: Member, archive: usize) -> Placed {
        let Member { mut entry, offset } = member;
        if let Some(owner) = self.change.owner {
            entry.uid = owner.uid;
            entry.gid = owner.gid;
        }
        entry.mtime = self.change.times.of(entry.mtime, Origin::Image);
        entry.xattrs.retain(|name, _| !is_private(name));
        let data = match entry.kind {
            EntryKind::File { .. } => Data::Archive { archive, offset },
            _ => Data::None,
        };
        Placed {
            entry,
            data,
            link: None,
        }
    }

    /// Returns what a hard link to `target` at `path` becomes.
    fn linked(&mut self, root: &[u8], target: &[u8], path: &[u8]) -> Result<Placed, NoLink> {
        let (parent, name) =
            split_last(target).ok_or(NoLink::Because("a hard link to a directory"))?;
        let holder = self.overlay.resolve(root, parent).map_err(NoLink::Other)?;
        let target = join(&holder, name);
        if target == path {
            return Err(NoLink::Because("a hard link to itself"));
        }
        if let Some(placed) = self.overlay.placed_mut(&target) {
            if matches!(placed.entry.kind, EntryKind::Directory { .. }) {
                return Err(NoLink::Because("a hard link to a directory"));
            }
            if matches!(placed.entry.kind, EntryKind::File { .. }) && placed.link.is_none() {
                *self.n_links += 1;
                placed.link = Some(*self.n_links);
            }
            return Ok(placed.clone());
        }
        match self.overlay.lookup(&target) {
            None => Err(NoLink::Because("a hard link to a file that does not exist")),
            Some(entry) if matches!(entry.kind, EntryKind::Directory { .. }) => {
                Err(NoLink::Because("a hard link to a directory"))
            }
            // The file itself is in a lower layer, so this layer gets a copy.
            Some(entry) => Ok(Placed {
                data: match entry.kind {
                    EntryKind::File { .. } => Data::Parent { path: target },
                    _ => Data::None,
                },
                entry: Entry {
                    mtime: self.change.times.of(entry.mtime, Origin::Image),
                    ..entry.clone()
                },
                link: None,
            }),
        }
    }
}

/// Why a hard link cannot be placed.
enum NoLink {
    Because(&'static str),
    Other(FilesError),
}
