//! Snapshots: a root file system that a process may change, and what it is compared with.
//!
//! Where the kernel mounts overlays, changes land in an upper directory, which becomes the layer's
//! tree by a rename. Elsewhere the whole root file system is copied.

mod copied;
mod owners;
mod skeleton;
mod stack;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rbuild_image::layer::Rootfs;
use rbuild_image::store::Store;
use rbuild_sandbox::{
    BindSource, Cgroups, Entered, Mode, Overlay, QemuDirs, Remains, Spec, Upper, Zygote,
    mount_points, probe_overlay,
};
use rustix::fs::Stat;

pub(crate) use owners::Recorded;
pub(crate) use skeleton::Drawing;
use skeleton::{Covered, Mends};
use stack::Folding;
pub(crate) use stack::Stack;

use crate::emulation::Emulation;
use crate::error::StepError;
use crate::execute::{Build, Workspace};
use crate::step::Root;

/// Where `RUN` steps run.
#[derive(Debug)]
pub struct Sandbox {
    /// Starts the processes.
    pub zygote: Zygote,
    /// Makes their control groups, if they have any of their own. Behind the helper process: what it made can be
    /// removed once that is gone.
    pub cgroups: Option<Cgroups>,
    /// What this process may do.
    pub entered: Entered,
    /// Where emulators are.
    pub(crate) qemu: QemuDirs,
    /// Found out when the first step for another architecture runs.
    pub(crate) emulation: OnceLock<Emulation>,
    overlay: OnceLock<Overlay>,
    /// Mounts of steps that have ended, on their way out.
    leaving: Mutex<Vec<Remains>>,
}

impl Sandbox {
    /// Returns a sandbox of a helper process, with emulators from `qemu`.
    #[must_use]
    pub fn new(entered: Entered, zygote: Zygote, qemu: QemuDirs) -> Self {
        Self {
            zygote,
            cgroups: None,
            entered,
            qemu,
            emulation: OnceLock::new(),
            overlay: OnceLock::new(),
            leaving: Mutex::default(),
        }
    }

    /// Lets the mounts of a step that has ended go while other things are done.
    pub(crate) fn leave(&self, remains: Remains) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.push(remains);
    }

    /// What was left since this was asked last. It is gone when the last is dropped.
    pub(crate) fn leaving(&self) -> Vec<Remains> {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *leaving)
    }

    /// True if files cannot be given to other users here.
    pub(crate) fn owners_are_fake(&self) -> bool {
        self.entered.mode == Mode::SingleId
    }

    /// The root file system `root`, whose merged view is `lower`, as the source of a mount of `path`
    /// in it, with what is needed for that in the empty folder `staging`, and with what has to live
    /// as long as the mount. `None` where the kernel mounts no overlay.
    ///
    /// # Errors
    /// Anything that keeps the layers' trees from being made.
    pub(crate) fn stack(
        &self,
        (build, workspace): (&Build<'_>, &Workspace),
        root: &Root,
        lower: &Rootfs,
        (access, staging): (Access, &Path),
        path: PathBuf,
    ) -> Result<Option<(BindSource, Stack)>, StepError> {
        let Overlay::Kernel { userxattr } = self.overlay(build.store) else {
            return Ok(None);
        };
        let skeleton = skeleton::Skeleton {
            lower,
            owners_are_fake: self.owners_are_fake(),
        };
        let folding = Folding {
            build,
            sandbox: self,
            workspace,
            userxattr: *userxattr,
        };
        let stack = folding.stack(root)?;
        let mut lowers = stack.lowers();
        let drawing = skeleton.draw(&[], Covered::Nothing, Mends::Implied)?;
        if drawing.has_targets() || lowers.is_empty() {
            let stub = staging.join("stub");
            fs_err::create_dir(&stub)?;
            drawing.make(&stub, *userxattr)?;
            lowers.insert(0, stub);
        }
        let upper = match access {
            Access::ReadOnly => None,
            Access::Writable => {
                let [upper, work] = ["upper", "work"].map(|name| staging.join(name));
                fs_err::create_dir(&upper)?;
                fs_err::create_dir(&work)?;
                skeleton
                    .draw(&[], Covered::Nothing, Mends::Nothing)?
                    .make(&upper, *userxattr)?;
                Some(Upper { upper, work })
            }
        };
        let source = BindSource::Stack {
            lowers,
            upper,
            userxattr: *userxattr,
            path,
        };
        Ok(Some((source, stack)))
    }

    /// What overlays the store's file system carries; found out when it is first asked for.
    fn overlay(&self, store: &Store) -> &Overlay {
        self.overlay.get_or_init(|| probe_overlay(store.root()))
    }
}

/// Whether a mount can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    Writable,
}

/// A root file system for one process.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Where changes are found: the upper directory, or the whole copied tree. It is alone in its folder.
    pub(crate) tree: PathBuf,
    pub(crate) kind: SnapshotKind,
    /// Where files cannot be given to other users, so that owners on disk say nothing: what the
    /// process writes of them.
    journal: Option<PathBuf>,
    /// The process's user and group.
    pub(crate) user: (u32, u32),
    /// What is mounted for it.
    _stack: Stack,
}

/// What the tree of a snapshot holds.
#[derive(Debug)]
pub(crate) enum SnapshotKind {
    /// Only changes, as overlayfs keeps them.
    Upper {
        /// Its marks are in `user.overlay.*`.
        userxattr: bool,
    },
    /// Everything, and what was put there.
    Copied(Known),
}

/// What was put into a copied tree, by path.
pub(crate) type Known = HashMap<Vec<u8>, Fingerprint>;

/// What changes with every change of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    inode: u64,
    /// Change time in seconds and nanoseconds.
    changed: (i64, u64),
}

impl Fingerprint {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl Snapshot {
    /// Makes a root file system like `parent`, whose merged view is `lower`, and puts it into `spec`. What the process
    /// needs to be there, mount points and its working directory, is there.
    ///
    /// # Errors
    /// Anything that keeps the layers' trees from being made or copied.
    pub(crate) fn prepare(
        build: &Build<'_>,
        sandbox: &Sandbox,
        workspace: &Workspace,
        parent: &Root,
        lower: &Rootfs,
        spec: &mut Spec,
    ) -> Result<Self, StepError> {
        let overlay_kind = sandbox.overlay(build.store);
        let staging = match overlay_kind {
            Overlay::Kernel { .. } => workspace.overlay_folder(build.store)?,
            Overlay::None(_) => workspace.folder(build.store)?,
        };
        let owners_are_fake = sandbox.owners_are_fake();
        spec.fake_ownership = owners_are_fake;
        let journal = if owners_are_fake {
            let journal = staging.with_extension("owners");
            owners::begin(&journal, lower)?;
            Some(journal)
        } else {
            None
        };
        spec.owner_journal.clone_from(&journal);
        let tree = staging.join("tree");
        let mut stack = Stack::default();
        let kind = match overlay_kind {
            Overlay::Kernel { userxattr } => {
                let skeleton = skeleton::Skeleton {
                    lower,
                    owners_are_fake,
                };
                let folding = Folding {
                    build,
                    sandbox,
                    workspace,
                    userxattr: *userxattr,
                };
                stack = folding.stack(parent)?;
                let (mut lowers, covered) = if spec.privileged {
                    (stack.flat_lowers(), Covered::Nothing)
                } else {
                    (stack.lowers(), Covered::ByKernel)
                };
                let stub = skeleton.draw(&mount_points(spec), covered, Mends::Implied)?;
                if stub.has_targets() || lowers.is_empty() {
                    lowers.insert(0, workspace.stub(build.store, stub, *userxattr)?);
                }
                spec.root = overlay(&staging, &tree, lowers, &skeleton, *userxattr, spec)?;
                SnapshotKind::Upper {
                    userxattr: *userxattr,
                }
            }
            Overlay::None(_) => {
                spec.root = rbuild_sandbox::Root::Directory(tree.clone());
                let diff_ids = parent.diff_ids();
                let trees: Result<Vec<_>, _> = diff_ids
                    .iter()
                    .map(|layer| build.layers.tree(layer))
                    .collect();
                let known = copied::copy(&trees?, lower, &tree, spec, owners_are_fake)?;
                SnapshotKind::Copied(known)
            }
        };
        Ok(Self {
            tree,
            kind,
            journal,
            user: (spec.uid, spec.gid),
            _stack: stack,
        })
    }

    /// What the process recorded of owners; `None` where the kernel has them.
    ///
    /// # Errors
    /// A journal that cannot be read.
    pub(crate) fn recorded(&self) -> Result<Option<Recorded>, StepError> {
        self.journal.as_deref().map(Recorded::read).transpose()
    }

    /// True if overlayfs keeps its marks in `user.overlay.*`, false for `trusted.overlay.*`.
    pub(crate) fn uses_user_xattrs(&self) -> bool {
        matches!(self.kind, SnapshotKind::Upper { userxattr: true })
    }

    /// The folder with nothing but the directory that can become the layer's tree, if there is one.
    pub(crate) fn layer_folder(&self) -> Option<&Path> {
        let has_tree = matches!(self.kind, SnapshotKind::Upper { .. });
        self.tree.parent().filter(|_| has_tree)
    }
}

/// Lays out upper and work directories.
///
/// Mount points that are missing stand in a stub layer of their own, the topmost lower: nothing of
/// them ever gets into the upper directory, and nothing has to be removed afterwards.
fn overlay(
    staging: &Path,
    upper: &Path,
    lowers: Vec<PathBuf>,
    skeleton: &skeleton::Skeleton<'_>,
    userxattr: bool,
    spec: &Spec,
) -> Result<rbuild_sandbox::Root, StepError> {
    let work = staging.with_extension("work");
    // The merged root directory has the upper's metadata.
    let cwd = [(spec.cwd.clone(), rbuild_sandbox::TargetKind::Directory)];
    skeleton
        .draw(&cwd, Covered::Nothing, Mends::Nothing)?
        .make(upper, userxattr)?;
    Ok(rbuild_sandbox::Root::Overlay {
        lowers,
        upper: upper.to_owned(),
        work,
        userxattr,
    })
}
