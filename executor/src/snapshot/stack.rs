//! The lower layers of overlays, however many a root file system has.
//!
//! The kernel takes 500, and each costs time in every mount and every look-up of a name. So runs of layers are folded into
//! one, once in a build. Where there is little in them it is a copy, else a read-only overlay that is one lower layer of
//! the others. The kernel allows that once, so a larger fold is made of layers again, not of folds.
//!
//! A fold shows the merged view of its layers, in which whiteouts are gone: it would not hide what they hide of the layers
//! below it. A folder of whiteouts made for that does, as the next lower layer.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_image::digest::DiffId;
use rbuild_image::layer::entry::EntryKind;
use rbuild_image::layer::{LayerIndex, Rootfs, path as layer_path};
use rbuild_sandbox::View;
use rustix::fs::{CWD, FileType, Mode};

use super::copied::copy_tree;
use crate::error::{StepError, failed};
use crate::execute::{Build, Workspace};
use crate::snapshot::Sandbox;
use crate::step::Root;

/// How many layers are folded into one.
const SMALL: usize = 32;

/// How many such folds are made into one large fold.
const SMALL_IN_LARGE: usize = 4;

/// More are folded even where a step could do without.
const MAX_FLAT: usize = 480;

/// The layers of a root file system as an overlay takes them. Those without entries are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stack {
    /// Base first, the large ones before the small.
    folds: Vec<Arc<Fold>>,
    /// Layers above the folds, base first.
    single: Vec<Member>,
}

/// A layer.
#[derive(Debug, Clone)]
struct Member {
    diff_id: DiffId,
    tree: PathBuf,
    index: Arc<LayerIndex>,
}

/// A run of layers.
#[derive(Debug)]
struct Fold {
    /// Base first.
    members: Vec<Member>,
    /// `None` where the kernel does not mount it, or one layer is all.
    merged: Option<Merged>,
}

/// The directories that stand for a run of layers.
#[derive(Debug)]
struct Merged {
    tree: Tree,
    /// What of the layers below is hidden.
    whiteouts: Option<PathBuf>,
}

/// A merged view.
#[derive(Debug)]
enum Tree {
    Mounted(View),
    Copied(PathBuf),
}

impl Tree {
    fn path(&self) -> &Path {
        match self {
            Self::Mounted(view) => view.path(),
            Self::Copied(path) => path,
        }
    }
}

/// What folds are made with.
#[derive(Clone, Copy)]
pub(super) struct Folding<'a> {
    pub(super) build: &'a Build<'a>,
    pub(super) sandbox: &'a Sandbox,
    pub(super) workspace: &'a Workspace,
    /// Which marks of overlayfs count.
    pub(super) userxattr: bool,
}

impl Folding<'_> {
    /// The stack of a root file system. Trees are made where they are missing.
    pub(super) fn stack(self, root: &Root) -> Result<Stack, StepError> {
        let layers = self.build.layers;
        self.workspace.stacks.of(root, |stack: &mut Stack, layer| {
            let index = layers.index(&layer.diff_id)?;
            if !index.entries().is_empty() {
                stack.single.push(Member {
                    diff_id: layer.diff_id,
                    tree: layers.tree(&layer.diff_id)?,
                    index,
                });
                stack.fold(self)?;
            }
            Ok(())
        })
    }

    fn fold(self, members: Vec<Member>, is_base: bool) -> Result<Arc<Fold>, StepError> {
        let merged = match self.merge(&members, is_base) {
            // Whatever the kernel has against it: without folds stages can have as many layers as overlays.
            Err(StepError::Sandbox(_)) => None,
            other => other?,
        };
        Ok(Arc::new(Fold { members, merged }))
    }

    fn merge(self, members: &[Member], is_base: bool) -> Result<Option<Merged>, StepError> {
        let lowers: Vec<_> = distinct(members.iter().rev(), &mut HashSet::new()).collect();
        if lowers.len() == 1 {
            return Ok(None);
        }
        let folder = self.workspace.folder(self.build.store)?;
        let merged = Rootfs::new(
            members
                .iter()
                .map(|member| Arc::clone(&member.index))
                .collect(),
        );
        let whiteouts = match is_base {
            true => None,
            false => whiteouts(&merged, &folder.join("whiteouts"))?,
        };
        // Nobody must change them any more.
        drop(self.sandbox.leaving());
        let trees: Vec<_> = members.iter().map(|member| member.tree.clone()).collect();
        let to = folder.join("tree");
        let owners_are_fake = self.sandbox.owners_are_fake();
        let tree = if is_little(members) && copy_tree(&trees, &merged, &to, owners_are_fake).is_ok()
        {
            Tree::Copied(to)
        } else {
            Tree::Mounted(View::mount(&lowers, self.userxattr, &folder, "view")?)
        };
        Ok(Some(Merged { tree, whiteouts }))
    }
}

impl Stack {
    /// Folds what is on top, if it is enough.
    fn fold(&mut self, folding: Folding<'_>) -> Result<(), StepError> {
        if self.single.len() < SMALL {
            return Ok(());
        }
        let members = std::mem::take(&mut self.single);
        let is_base = self.folds.is_empty();
        self.folds.push(folding.fold(members, is_base)?);

        let is_small = |fold: &&Arc<Fold>| fold.members.len() == SMALL;
        let n_small = self.folds.iter().rev().take_while(is_small).count();
        if n_small == SMALL_IN_LARGE {
            let small = self.folds.split_off(self.folds.len() - n_small);
            let members = small.iter().flat_map(|fold| fold.members.iter().cloned());
            let is_base = self.folds.is_empty();
            self.folds.push(folding.fold(members.collect(), is_base)?);
        }
        Ok(())
    }

    /// The directories that an overlay needs, topmost first.
    pub(super) fn lowers(&self) -> Vec<PathBuf> {
        let mut seen = HashSet::new();
        let mut lowers: Vec<_> = distinct(self.single.iter().rev(), &mut seen).collect();
        for fold in self.folds.iter().rev() {
            match &fold.merged {
                Some(Merged { tree, whiteouts }) => {
                    lowers.push(tree.path().to_owned());
                    lowers.extend(whiteouts.clone());
                }
                None => lowers.extend(distinct(fold.members.iter().rev(), &mut seen)),
            }
        }
        lowers
    }

    /// The same without folds if the kernel can do without: in a step that mounts overlays itself, the one that it
    /// stands on may not stand on others.
    pub(super) fn flat_lowers(&self) -> Vec<PathBuf> {
        let in_folds = self
            .folds
            .iter()
            .rev()
            .flat_map(|fold| fold.members.iter().rev());
        let all = self.single.iter().rev().chain(in_folds);
        let flat: Vec<_> = distinct(all, &mut HashSet::new()).collect();
        if flat.len() > MAX_FLAT {
            return self.lowers();
        }
        flat
    }
}

/// The trees of layers that are not among those `seen`.
///
/// The kernel refuses a directory that is there twice. Of a layer that is in the stack twice the
/// upper one decides all that the lower one does, so only that stays.
fn distinct<'a>(
    top_down: impl Iterator<Item = &'a Member>,
    seen: &mut HashSet<DiffId>,
) -> impl Iterator<Item = PathBuf> {
    top_down
        .filter(|member| seen.insert(member.diff_id))
        .map(|member| member.tree.clone())
}

/// Whether copying is cheaper than having names looked up in each layer from now on.
fn is_little(members: &[Member]) -> bool {
    const ENTRIES: usize = 8;
    const BYTES: u64 = 64 << 10;
    let n_entries: usize = members
        .iter()
        .map(|member| member.index.entries().len())
        .sum();
    let n_bytes: u64 = members
        .iter()
        .map(|member| member.index.unpacked_size())
        .sum();
    n_entries <= ENTRIES * members.len() && n_bytes <= BYTES * members.len() as u64
}

/// Makes whiteouts in the new folder `into` of all that the layers of `merged` hide of what is below them. `None` if that is
/// nothing, or what hides it can be seen in the merged view.
fn whiteouts(merged: &Rootfs, into: &Path) -> Result<Option<PathBuf>, StepError> {
    let hidden = hidden(merged);
    if hidden.is_empty() {
        return Ok(None);
    }
    fs_err::create_dir(into)?;
    for path in hidden {
        let path = into.join(OsStr::from_bytes(&path));
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0)
            .map_err(failed("make a whiteout at", &path))?;
    }
    Ok(Some(into.to_owned()))
}

/// The topmost paths of which the layers hide what is below them, although their merged view has nothing there, or just a
/// directory.
fn hidden(merged: &Rootfs) -> Vec<Vec<u8>> {
    let mut paths = BTreeSet::new();
    for entry in merged.layers().iter().flat_map(|layer| layer.entries()) {
        // The kernel does not look for marks of whole layers.
        let is_root = entry.path.is_empty();
        let hides = !is_root && entry.kind != EntryKind::Directory { opaque: false };
        let is_seen_to = || {
            let found = merged.lookup(&entry.path);
            found.is_some_and(|found| !found.is_directory())
        };
        if hides && !is_seen_to() {
            paths.insert(entry.path);
        }
    }
    let is_below_another =
        |path: &[u8]| layer_path::ancestors(path).any(|ancestor| paths.contains(ancestor));
    let topmost = paths.iter().filter(|path| !is_below_another(path));
    topmost.cloned().collect()
}
