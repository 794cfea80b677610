//! From a selection to a layer: places the files, then streams them into the packer once.

use std::io::{self, Read, Write};
use std::path::Path;

use rbuild_cache::files::FileState;
use rbuild_image::error::ImageError;
use rbuild_image::layer::entry::{ContentDigest, Entry, EntryKind, LayerPath, Mtime};
use rbuild_image::layer::{Follow, LayerPacker, Packed, Rootfs};
use rbuild_planner::{Files, Unpack};

use super::archive::{self, Unpacked};
use super::chmod::ModeChange;
use super::chown::{self, Accounts, Owner};
use super::error::{FilesError, shown};
use super::node::Home;
use super::overlay::{Data, Overlay, Placed, Unread};
use super::place::{Change, Destination, Origin, Placer, Times};
use super::placed::PlacedList;
use super::select::Match;
use super::stream::{Ahead, Shared};
use super::tree::SourceTree;
use super::{Selected, Selection, SourceOf};
use crate::context::{Context, read_xattrs, state_of};

/// Largest `/etc/passwd` or `/etc/group` that is read, in bytes.
const LARGEST_ACCOUNTS: u64 = 16 << 20;

/// Which root file system a layer file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerTree {
    /// The parent's.
    Parent,
    /// That of source step `n`, as in [`rbuild_planner::Tree::Step`].
    Step(usize),
}

/// Opens a regular file of a layer: the tree, the layer's position in its stack, the file's entry.
pub(crate) type OpenLayerFile<'a> =
    dyn Fn(LayerTree, usize, &Entry) -> Result<Box<dyn Read>, ImageError> + Sync + 'a;

/// What packing needs besides the step and its selection.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The parent's root file system. Not looked at by a `--link` copy.
    pub(crate) parent: &'a Rootfs,
    /// The trees that the selection was made from.
    pub(crate) trees: &'a (dyn Fn(&rbuild_planner::Tree) -> Option<SourceTree<'a>> + Sync),
    /// Where the bytes of other steps' files come from.
    pub(crate) open_layer_file: &'a OpenLayerFile<'a>,
    /// What times new entries get.
    pub(crate) times: Times,
    /// A directory for a temporary file, in which archives are unpacked.
    pub(crate) staging: &'a Path,
}

/// Packs what `selection`, made by [`super::prepare`] for the same `step`, names. The uncompressed
/// tar goes to `blob` if there is one.
///
/// # Errors
/// [`FilesError::Changed`] if a context file no longer has the content that it was selected with:
/// prepare the step again. Otherwise the errors of placing, of reading and of the blob.
pub(crate) fn pack(
    step: &Files,
    selection: Selection,
    around: &Surroundings<'_>,
    blob: Option<&mut (dyn Write + Send)>,
) -> Result<Packed, FilesError> {
    pack_learning(step, selection, around, blob, &mut Vec::new())
}

/// What a file of a context was when it was read, and the digest of what was read.
#[derive(Debug)]
pub(super) struct Learnt {
    /// The number of the source, and the path in its tree.
    pub(super) file: (usize, LayerPath),
    pub(super) state: FileState,
    pub(super) digest: ContentDigest,
}

/// Packs as [`pack`] does. Of the files that were chosen and not hashed, the digests go to `learnt`. Each has the
/// metadata with which it was chosen, stays what it is while it is read, and has no extended attributes.
pub(super) fn pack_learning(
    step: &Files,
    selection: Selection,
    around: &Surroundings<'_>,
    blob: Option<&mut (dyn Write + Send)>,
    learnt: &mut Vec<Learnt>,
) -> Result<Packed, FilesError> {
    let change = Change {
        owner: owner(step, around)?,
        mode: step.chmod.as_ref().map(ModeChange::parse).transpose()?,
        times: around.times,
    };
    let mut overlay = Overlay::new((!step.link).then_some(around.parent));
    let mut archives = Vec::new();
    let mut n_links = 0;
    let mut sources = Vec::with_capacity(selection.sources.len());
    for (source, selected) in selection.sources.into_iter().enumerate() {
        let Selected { of, matches } = selected;
        for matched in matches {
            let dest = Destination {
                path: step.dest.as_bytes(),
                is_directory: step.dest_is_dir,
            };
            let mut placer = Placer {
                overlay: &mut overlay,
                change: &change,
                source,
                origin: of.origin(),
                n_links: &mut n_links,
            };
            let unpacked = unpack(step.unpack, &of, &matched, around)?;
            match unpacked {
                None => placer.place(matched, dest)?,
                Some(unpacked) => {
                    archives.push(placer.place_archive(unpacked, archives.len(), dest)?);
                }
            }
        }
        sources.push(of);
    }
    let packing = Packing {
        placed: overlay.finish(around.times),
        sources,
        archives,
        around,
    };
    packing.run(blob, learnt)
}

/// Unpacks a matched file if it is an archive: one of a context, or one that was fetched if that was
/// asked for.
fn unpack(
    wish: Unpack,
    of: &SourceOf,
    matched: &Match,
    around: &Surroundings<'_>,
) -> Result<Option<Unpacked>, FilesError> {
    let entry = &matched.top.entry;
    let EntryKind::File { digest, size } = entry.kind else {
        return Ok(None);
    };
    let file = match (of, wish, matched.top.home) {
        (SourceOf::Tree(tree), Unpack::Local | Unpack::Always, Home::Disk { .. }) => {
            let Some(SourceTree::Context(context)) = (around.trees)(tree) else {
                return Ok(None);
            };
            context.open_file(&entry.path)?.0
        }
        (SourceOf::File(path), Unpack::Always, _) => open_fetched(path, &entry.path, size)?,
        _ => return Ok(None),
    };
    archive::unpack(file, &entry.path, digest, around.staging)
}

/// Opens a file that was fetched under the name `name`. It is in the store, so if it is not there
/// it was removed since.
fn open_fetched(path: &Path, name: &[u8], size: u64) -> Result<std::fs::File, FilesError> {
    let file = fs_err::File::open(path).ok();
    file.filter(|file| file.metadata().is_ok_and(|found| found.len() == size))
        .map(|file| file.into_parts().0)
        .ok_or_else(|| FilesError::Changed { path: shown(name) })
}

/// Resolves `--chown`.
fn owner(step: &Files, around: &Surroundings<'_>) -> Result<Option<Owner>, FilesError> {
    let Some(value) = &step.chown else {
        return Ok(None);
    };
    if step.link {
        return chown::resolve(value, Accounts::Nowhere).map(Some);
    }
    let (mut passwd, mut group) = (Vec::new(), Vec::new());
    if chown::needs_accounts(value) {
        passwd = read_parent_file(b"etc/passwd", around)?;
        group = read_parent_file(b"etc/group", around)?;
    }
    let accounts = Accounts::Files {
        passwd: &passwd,
        group: &group,
    };
    chown::resolve(value, accounts).map(Some)
}

/// Reads a file of the parent; a missing one is empty.
fn read_parent_file(path: &[u8], around: &Surroundings<'_>) -> Result<Vec<u8>, FilesError> {
    let resolved = around.parent.resolve(path, Follow::Last);
    let resolved = resolved.map_err(|_loop| FilesError::TooManyLinks { path: shown(path) })?;
    let Some(found) = resolved.found else {
        return Ok(Vec::new());
    };
    if !matches!(found.entry.kind, EntryKind::File { .. }) {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    (around.open_layer_file)(LayerTree::Parent, found.layer, &found.entry)?
        .take(LARGEST_ACCOUNTS)
        .read_to_end(&mut bytes)
        .map_err(|source| FilesError::Io {
            doing: "read",
            path: shown(path),
            source,
        })?;
    Ok(bytes)
}

/// Where the files of a layer about to be written come from.
struct Packing<'p, 'a> {
    placed: PlacedList,
    sources: Vec<SourceOf>,
    archives: Vec<archive::Spool>,
    around: &'p Surroundings<'a>,
}

/// A file whose bytes are to be read.
struct Waiting {
    data: Data,
    size: u64,
    /// What it must have; `None` if it was never hashed.
    digest: Option<ContentDigest>,
}

impl Waiting {
    /// Returns what is known of a file now that was not hashed before, and was read.
    fn learnt(&self, found: Option<ContentDigest>) -> Option<Learnt> {
        let Data::Source {
            source,
            path,
            unread: Some(unread),
        } = &self.data
        else {
            return None;
        };
        Some(Learnt {
            file: (*source, path.clone()),
            state: *unread.state.get()?,
            digest: found?,
        })
    }

    /// Returns what has to be read for what was placed: nothing unless it is a file, or if that is
    /// empty.
    fn of(placed: &Placed) -> Option<Self> {
        let EntryKind::File { size, digest } = placed.entry.kind else {
            return None;
        };
        let is_hashed = !matches!(
            placed.data,
            Data::Archive { .. }
                | Data::Source {
                    unread: Some(_),
                    ..
                }
        );
        (size > 0).then(|| Self {
            digest: is_hashed.then_some(digest),
            data: placed.data.clone(),
            size,
        })
    }
}

impl Packing<'_, '_> {
    fn run(
        &self,
        blob: Option<&mut (dyn Write + Send)>,
        learnt: &mut Vec<Learnt>,
    ) -> Result<Packed, FilesError> {
        let mut sizes = Vec::new();
        // Positions of those files.
        let mut positions: Vec<u32> = Vec::new();
        for (at, placed) in (0_u32..).zip(self.placed.iter()) {
            if let Some(file) = Waiting::of(&placed) {
                sizes.push(file.size);
                positions.push(at);
            }
        }
        let open = |n: usize| {
            let at = usize::try_from(positions[n]).unwrap_or(usize::MAX);
            match self.placed.nth(at).as_ref().and_then(Waiting::of) {
                Some(file) => self.open(&file),
                None => Ok(Box::new(io::empty()) as Box<dyn Read>),
            }
        };
        let shared = Shared::new(&sizes, &open);
        std::thread::scope(|scope| {
            let mut ahead = Ahead::start(scope, &shared);
            rbuild_image::layer::pack(blob, |packer| self.fill(packer, &mut ahead, learnt))
        })
    }

    fn fill(
        &self,
        packer: &mut LayerPacker<'_>,
        ahead: &mut Ahead<'_, '_>,
        learnt: &mut Vec<Learnt>,
    ) -> Result<(), FilesError> {
        for placed in self.placed.iter() {
            let Some(file) = Waiting::of(&placed) else {
                packer.add(placed.entry, None)?;
                continue;
            };
            ahead.next_file();
            match packer.add_hashed(placed.entry, ahead) {
                Ok(found) if file.digest.is_none() || found == file.digest => {
                    learnt.extend(file.learnt(found));
                }
                Ok(_) => return Err(self.changed(&file)),
                Err(error) => return Err(ahead.failure().unwrap_or_else(|| error.into())),
            }
        }
        Ok(())
    }

    /// Opens the bytes of a file.
    fn open(&self, file: &Waiting) -> Result<Box<dyn Read>, FilesError> {
        let size = file.size;
        match &file.data {
            Data::None => Ok(Box::new(io::empty())),
            Data::Inline { source } => match &self.sources[*source] {
                SourceOf::Text(text) => Ok(Box::new(io::Cursor::new(text.clone()))),
                _ => Ok(Box::new(io::empty())),
            },
            Data::Archive { archive, offset } => self.archives[*archive].open(*offset, size),
            Data::Parent { path } => self.open_layer_file(LayerTree::Parent, path),
            Data::Source {
                source,
                path,
                unread,
            } => self.open_source(*source, path, size, unread.as_deref()),
        }
    }

    fn open_source(
        &self,
        source: usize,
        path: &LayerPath,
        size: u64,
        unread: Option<&Unread>,
    ) -> Result<Box<dyn Read>, FilesError> {
        let tree = match &self.sources[source] {
            SourceOf::Tree(tree) => tree,
            SourceOf::Checkout(context) => return open_context_file(context, path, size, None),
            SourceOf::File(fetched) => {
                return Ok(Box::new(Watched {
                    file: open_fetched(fetched, path, size)?,
                    path: path.clone(),
                    end: None,
                }));
            }
            SourceOf::Text(_) | SourceOf::Commit(_) => return Ok(Box::new(io::empty())),
        };
        match (tree, (self.around.trees)(tree)) {
            (_, Some(SourceTree::Context(context))) => {
                open_context_file(context, path, size, unread)
            }
            (rbuild_planner::Tree::Step(step), Some(SourceTree::Rootfs(_))) => {
                self.open_layer_file(LayerTree::Step(*step), path)
            }
            _ => Err(FilesError::NoTree { number: source + 1 }),
        }
    }

    fn open_layer_file(&self, tree: LayerTree, path: &[u8]) -> Result<Box<dyn Read>, FilesError> {
        let rootfs = match tree {
            LayerTree::Parent => Some(self.around.parent),
            LayerTree::Step(step) => match (self.around.trees)(&rbuild_planner::Tree::Step(step)) {
                Some(SourceTree::Rootfs(rootfs)) => Some(rootfs),
                _ => None,
            },
        };
        let found = rootfs
            .and_then(|rootfs| rootfs.lookup(path))
            .ok_or_else(|| FilesError::NotFound { path: shown(path) })?;
        Ok((self.around.open_layer_file)(
            tree,
            found.layer,
            &found.entry,
        )?)
    }

    /// Returns the error for a file whose bytes are not those that were selected.
    fn changed(&self, file: &Waiting) -> FilesError {
        let path = match &file.data {
            Data::Source { source, path, .. } if self.may_change(*source) => {
                return FilesError::Changed { path: shown(path) };
            }
            Data::Source { path, .. } | Data::Parent { path } => shown(path),
            Data::None | Data::Inline { .. } | Data::Archive { .. } => "a file".to_owned(),
        };
        FilesError::from(ImageError::BadEntry {
            path,
            problem: "the stored bytes are not those that the index names".to_owned(),
        })
    }

    /// Tells whether a source's files are looked for anew when they are not what they were.
    fn may_change(&self, source: usize) -> bool {
        match &self.sources[source] {
            SourceOf::File(_) | SourceOf::Checkout(_) => true,
            of => of.origin() == Origin::Context,
        }
    }
}

/// Opens a file of a context. One that was never read has to be what it was when it was chosen, and to stay what it
/// is until its end.
fn open_context_file(
    context: &Context,
    path: &LayerPath,
    size: u64,
    unread: Option<&Unread>,
) -> Result<Box<dyn Read>, FilesError> {
    let changed = || FilesError::Changed { path: shown(path) };
    let (file, stat) = context.open_file(path)?;
    if u64::try_from(stat.st_size) != Ok(size) {
        return Err(changed());
    }
    let state = state_of(&stat);
    if let Some(unread) = unread {
        // All of that is in the header, and in the key.
        let is_plain = read_xattrs(&file).is_ok_and(|xattrs| xattrs.is_empty());
        let mtime = Mtime {
            seconds: state.mtime.0,
            nanoseconds: u32::try_from(state.mtime.1).unwrap_or(0),
        };
        if !is_plain || (stat.st_mode & 0o7777, mtime) != (unread.mode, unread.mtime) {
            return Err(changed());
        }
        if unread.state.set(state).is_err() {
            return Err(changed()); // nobody reads a file twice
        }
    }
    Ok(Box::new(Watched {
        file,
        path: path.clone(),
        end: unread.map(|_| (state, size)),
    }))
}

/// A context file whose errors name it.
struct Watched {
    file: std::fs::File,
    path: LayerPath,
    /// The state that it must have at its end, and how many bytes away that is.
    end: Option<(FileState, u64)>,
}

impl Watched {
    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.file.read(buffer)?;
        if let Some((state, left)) = &mut self.end {
            *left = left.saturating_sub(n_bytes as u64);
            if *left == 0 && state_of(&rustix::fs::fstat(&self.file)?) != *state {
                return Ok(0);
            }
        }
        Ok(n_bytes)
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.read_some(buffer) {
            // All sizes were checked, so whoever reads on expects more than there is.
            Ok(0) if !buffer.is_empty() => Err(io::Error::other(FilesError::Changed {
                path: shown(&self.path),
            })),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            other => other.map_err(|source| {
                io::Error::other(FilesError::Io {
                    doing: "read",
                    path: shown(&self.path),
                    source,
                })
            }),
        }
    }
}
