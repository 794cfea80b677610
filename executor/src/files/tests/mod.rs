//! Whole copies: real folders in, tar streams out.

mod archives;
mod contexts;
mod copies;
mod early;
mod flags;
mod keys;
mod races;

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rbuild_cache::Database;
use rbuild_cache::files::FileDigests;
use rbuild_image::layer::entry::{ContentDigest, Entry, EntryKind, LayerPath, Mtime};
use rbuild_image::layer::{LayerIndex, Packed, Rootfs, TarItem, TarReader, Whiteouts};
use rbuild_parser::ignore::Ignore;
use rbuild_planner::{ContextName, FileSource, Files, Tree, Unpack};
use rustix::fs::{CWD, RenameFlags};
use tempfile::TempDir;

use super::error::FilesError;
use super::patterns::has_meta;
use super::{
    LayerTree, Selection, SourceTree, Surroundings, Times, choose, pack, pack_early, prepare,
};
use crate::context::Context;

const NOW: Mtime = Mtime {
    seconds: 1_700_000_000,
    nanoseconds: 0,
};

/// A build context, a parent and a step to copy from.
struct World {
    dir: TempDir,
    database: TempDir,
    ignore: &'static str,
    parent: Stage,
    stage: Stage,
    epoch: Option<i64>,
}

/// A root file system of one layer, with its files' bytes.
#[derive(Default)]
struct Stage {
    rootfs: Rootfs,
    bytes: BTreeMap<LayerPath, Vec<u8>>,
}

impl Stage {
    /// Reads lines: `d750 path`, `f644 path=text`, `l path->target`, `h path=>target`, `p600 path`;
    /// an owner may follow the mode: `f644@1:2 path=text`.
    fn new(lines: &[&str]) -> Self {
        let mut bytes = BTreeMap::new();
        let mut entries = Vec::new();
        for line in lines {
            let (head, rest) = line.split_once(' ').unwrap();
            let (mode, owner) = head[1..].split_once('@').unwrap_or((&head[1..], "0:0"));
            let (uid, gid) = owner.split_once(':').unwrap();
            let (path, kind) = match &head[..1] {
                "d" => (rest, EntryKind::Directory { opaque: false }),
                "p" => (rest, EntryKind::Fifo),
                "f" => {
                    let (path, text) = rest.split_once('=').unwrap();
                    bytes.insert(path.as_bytes().to_vec(), text.as_bytes().to_vec());
                    let digest = ContentDigest(*blake3::hash(text.as_bytes()).as_bytes());
                    let size = text.len() as u64;
                    (path, EntryKind::File { size, digest })
                }
                "l" => {
                    let (path, target) = rest.split_once("->").unwrap();
                    let target = target.as_bytes().to_vec();
                    (path, EntryKind::Symlink { target })
                }
                "h" => {
                    let (path, target) = rest.split_once("=>").unwrap();
                    let target = target.as_bytes().to_vec();
                    (path, EntryKind::Hardlink { target })
                }
                other => panic!("{other}"),
            };
            entries.push(Entry {
                path: path.as_bytes().to_vec(),
                kind,
                mode: u32::from_str_radix(if mode.is_empty() { "777" } else { mode }, 8).unwrap(),
                uid: uid.parse().unwrap(),
                gid: gid.parse().unwrap(),
                mtime: Mtime {
                    seconds: 5,
                    nanoseconds: 0,
                },
                xattrs: BTreeMap::new(),
            });
        }
        let index = LayerIndex::from_entries(entries).unwrap();
        Self {
            rootfs: Rootfs::new(vec![Arc::new(index)]),
            bytes,
        }
    }
}

impl World {
    /// Makes a context from lines as for [`Stage::new`], without owners.
    fn new(context: &[&str]) -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            database: tempfile::tempdir().unwrap(),
            ignore: "",
            parent: Stage::new(&[]),
            stage: Stage::new(&[]),
            epoch: None,
        };
        for line in context {
            world.add(line);
        }
        world
    }

    fn with_parent(mut self, lines: &[&str]) -> Self {
        self.parent = Stage::new(lines);
        self
    }

    fn with_stage(mut self, lines: &[&str]) -> Self {
        self.stage = Stage::new(lines);
        self
    }

    fn with_ignore(mut self, ignore: &'static str) -> Self {
        self.ignore = ignore;
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn add(&self, line: &str) {
        let (head, rest) = line.split_once(' ').unwrap();
        let mode = u32::from_str_radix(&head[1..], 8).unwrap_or(0o755);
        let path = |path: &str| {
            let path = self.path(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        match &head[..1] {
            "d" => {
                fs_err::create_dir_all(path(rest)).unwrap();
                set_mode(&path(rest), mode);
            }
            "f" => {
                let (name, text) = rest.split_once('=').unwrap();
                fs_err::write(path(name), text).unwrap();
                set_mode(&path(name), mode);
                self.touch(name, 1_000_000_000);
            }
            "l" => {
                let (name, target) = rest.split_once("->").unwrap();
                symlink(target, path(name)).unwrap();
            }
            "h" => {
                let (name, target) = rest.split_once("=>").unwrap();
                fs_err::hard_link(self.path(target), path(name)).unwrap();
            }
            other => panic!("{other}"),
        }
    }

    fn touch(&self, path: &str, seconds: i64) {
        let time = std::time::SystemTime::UNIX_EPOCH
            + std::time::Duration::from_secs(seconds.unsigned_abs());
        let file = fs_err::File::open(self.path(path)).unwrap();
        file.set_modified(time).unwrap();
    }

    fn open(&self) -> Result<Context, FilesError> {
        let database = Database::open(&self.database.path().join("db")).unwrap();
        let digests = FileDigests::load(&database, b"test").unwrap();
        let ignore = Arc::new(Ignore::parse(self.ignore.as_bytes()).unwrap());
        Context::open(self.dir.path(), ignore.into(), digests)
    }

    fn select(&self, step: &Files) -> Result<Selection, FilesError> {
        let context = self.open()?;
        prepare(step, &|tree| self.tree(&context, tree), &[])
    }

    fn tree<'a>(&'a self, context: &'a Context, tree: &Tree) -> Option<SourceTree<'a>> {
        Some(match tree {
            Tree::Context(_) => SourceTree::Context(context),
            Tree::Step(_) => SourceTree::Rootfs(&self.stage.rootfs),
        })
    }

    /// Runs a step; `between` runs when the files have been chosen and not yet been read.
    fn run_with(&self, step: &Files, between: &dyn Fn()) -> Result<Layer, FilesError> {
        let context = self.open()?;
        let trees = |tree: &Tree| self.tree(&context, tree);
        let selection = prepare(step, &trees, &[])?;
        between();
        let mut blob = Vec::new();
        let packed = self.with_surroundings(&context, |around| {
            pack(step, selection, around, Some(&mut blob))
        })?;
        Ok(Layer::read(&blob, &packed))
    }

    /// Runs a step whose layer is packed before its files are hashed; returns also what its key says of them.
    fn run_early(
        &self,
        step: &Files,
        between: &dyn Fn(),
    ) -> Result<(Layer, Vec<[u8; 32]>), FilesError> {
        let context = self.open()?;
        let trees = |tree: &Tree| self.tree(&context, tree);
        let mut selection = choose(step, &trees, &[])?;
        between();
        let mut blob = Vec::new();
        let packed = self.with_surroundings(&context, |around| {
            pack_early(step, &mut selection, around, &mut blob)
        })?;
        selection.hash(&trees)?;
        Ok((Layer::read(&blob, &packed), selection.source_digests()))
    }

    fn with_surroundings<T>(
        &self,
        context: &Context,
        pack: impl FnOnce(&Surroundings<'_>) -> T,
    ) -> T {
        let trees = |tree: &Tree| self.tree(context, tree);
        let open = |tree: LayerTree, _layer: usize, entry: &Entry| {
            let stage = match tree {
                LayerTree::Parent => &self.parent,
                LayerTree::Step(_) => &self.stage,
            };
            Ok(Box::new(Cursor::new(stage.bytes[&entry.path].clone())) as Box<dyn Read>)
        };
        let staging = tempfile::tempdir().unwrap();
        let around = Surroundings {
            parent: &self.parent.rootfs,
            trees: &trees,
            open_layer_file: &open,
            times: Times {
                now: NOW,
                epoch: self.epoch,
            },
            staging: staging.path(),
        };
        pack(&around)
    }

    fn run(&self, step: &Files) -> Result<Layer, FilesError> {
        self.run_with(step, &|| {})
    }

    /// Runs a step and returns its layer's lines.
    fn lines(&self, step: &Files) -> Vec<String> {
        self.run(step).unwrap().lines()
    }

    #[track_caller]
    fn check(&self, step: &Files, expected: &[&str]) {
        assert_eq!(self.lines(step), expected);
    }

    /// Runs a step that must fail, and checks the message.
    #[track_caller]
    fn check_error(&self, step: &Files, expected: &str) {
        match self.run(step) {
            Ok(layer) => panic!("it went well: {:?}", layer.lines()),
            Err(error) => assert_eq!(error.to_string(), expected),
        }
    }
}

/// A layer as its tar stream shows it.
struct Layer {
    entries: Vec<Entry>,
    bytes: BTreeMap<LayerPath, Vec<u8>>,
}

impl Layer {
    /// Reads the stream back, and compares it with the index.
    fn read(blob: &[u8], packed: &Packed) -> Self {
        let mut reader = TarReader::new(blob, Whiteouts::Decode);
        let mut entries = Vec::new();
        let mut bytes = BTreeMap::new();
        while let Some(item) = reader.next_item().unwrap() {
            let mut entry = match item {
                TarItem::Entry(entry) => entry,
                TarItem::Opaque(path) => {
                    let last: &mut Entry = entries.last_mut().unwrap();
                    assert_eq!(last.path, path);
                    last.kind = EntryKind::Directory { opaque: true };
                    continue;
                }
            };
            if let EntryKind::File { digest, .. } = &mut entry.kind {
                let mut content = Vec::new();
                reader.read_to_end(&mut content).unwrap();
                *digest = ContentDigest(*blake3::hash(&content).as_bytes());
                bytes.insert(entry.path.clone(), content);
            }
            entries.push(entry);
        }
        let paths = |entries: &[Entry]| -> Vec<LayerPath> {
            entries.iter().map(|entry| entry.path.clone()).collect()
        };
        assert_eq!(paths(&entries), paths(&packed.index.entries().to_vec()));
        for (entry, indexed) in entries.iter().zip(packed.index.entries()) {
            assert_eq!(entry.kind, indexed.kind);
        }
        Self { entries, bytes }
    }

    /// Returns the entries as [`Stage::new`] takes them; owner 0:0 is left out.
    fn lines(&self) -> Vec<String> {
        self.entries.iter().map(|entry| self.line(entry)).collect()
    }

    fn line(&self, entry: &Entry) -> String {
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let path = show(&entry.path);
        let owner = match (entry.uid, entry.gid) {
            (0, 0) => String::new(),
            (uid, gid) => format!("@{uid}:{gid}"),
        };
        let mode = format!("{:o}{owner}", entry.mode);
        match &entry.kind {
            EntryKind::Directory { opaque: false } => format!("d{mode} {path}"),
            EntryKind::Directory { opaque: true } => format!("o{mode} {path}"),
            EntryKind::File { .. } => format!("f{mode} {path}={}", show(&self.bytes[&entry.path])),
            EntryKind::Symlink { target } => format!("l{owner} {path}->{}", show(target)),
            EntryKind::Hardlink { target } => format!("h {path}=>{}", show(target)),
            EntryKind::Fifo => format!("p{mode} {path}"),
            EntryKind::CharDevice { major, minor } => format!("c{mode} {path} {major}:{minor}"),
            EntryKind::BlockDevice { major, minor } => format!("b{mode} {path} {major}:{minor}"),
            EntryKind::Whiteout => format!("w {path}"),
        }
    }

    fn get(&self, path: &str) -> &Entry {
        let found = self
            .entries
            .iter()
            .find(|entry| entry.path == path.as_bytes());
        found.unwrap_or_else(|| panic!("{path} is not in {:?}", self.lines()))
    }
}

/// Returns the step of `COPY words`: sources and a destination, as written, from `/`.
fn copy(words: &str) -> Files {
    let mut words: Vec<&str> = words.split(' ').collect();
    let dest = words.pop().unwrap();
    let sources = words.into_iter().map(|word| FileSource::Path {
        from: Tree::Context(ContextName::default()),
        pattern: format!("/{}", word.trim_matches('/')),
        wildcard: has_meta(word.as_bytes()),
    });
    Files {
        sources: sources.collect(),
        dest: match dest.trim_end_matches('/') {
            "" => "/".to_owned(),
            dest => dest.to_owned(),
        },
        dest_is_dir: dest.ends_with('/'),
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: Vec::new(),
        unpack: Unpack::Never,
    }
}

/// Returns the step of `COPY --from=stage words`.
fn copy_from(words: &str) -> Files {
    let mut step = copy(words);
    for source in &mut step.sources {
        if let FileSource::Path { from, .. } = source {
            *from = Tree::Step(0);
        }
    }
    step
}

/// Returns the step of `ADD words`.
fn add(words: &str) -> Files {
    Files {
        unpack: Unpack::Local,
        ..copy(words)
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs `check` while two names of the context are swapped as fast as possible.
fn while_swapping(world: &World, names: [&str; 2], check: &dyn Fn()) -> usize {
    let (one, two) = (world.path(names[0]), world.path(names[1]));
    let is_over = AtomicBool::new(false);
    let n_swaps = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
                n_swaps.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        check();
        is_over.store(true, Ordering::Relaxed);
    });
    n_swaps.into_inner()
}

/// Checks that a step ended because the file at `path` changed.
#[track_caller]
fn assert_changed<T>(result: Result<T, FilesError>, path: &str) {
    match result.err() {
        Some(FilesError::Changed { path: changed }) => assert_eq!(changed, path),
        other => panic!("{other:?}"),
    }
}
