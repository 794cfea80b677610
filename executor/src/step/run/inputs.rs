//! What the mounts of a `RUN` take from contexts, stages and images: which files, what of them
//! counts in the key, and where the sandbox finds them.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_image::error::ImageError;
use rbuild_image::layer::Rootfs;
use rbuild_planner::{FileSource, Files, Run, RunMount, Tree, Unpack};
use rbuild_sandbox::{BindSource, TargetKind};

use crate::context::Context;
use crate::error::StepError;
use crate::files::node::{Home, Node};
use crate::files::{self, Extraction, FilesError, Selection, SourceTree};
use crate::layer_file;
use crate::schedule::Failure;
use crate::snapshot::{Access, Sandbox, Stack};
use crate::step::{Root, StepContext};

/// The trees that a step's mounts take files from, by mount.
#[derive(Debug)]
pub(super) struct Inputs(Vec<Option<Input>>);

/// What one mount takes.
#[derive(Debug)]
pub(super) struct Input {
    tree: InputTree,
    path: String,
    /// What the key says of it.
    pub(super) digest: [u8; 32],
}

#[derive(Debug)]
enum InputTree {
    /// Files of a context.
    Context(Arc<Context>, Selection),
    /// Files of a stage or image.
    Part(Root, Rootfs, Selection),
    /// All of a stage or image. Nothing of it is looked at before it is mounted, so that an image
    /// is not fetched for a step that is cached.
    Whole(Root),
}

impl Inputs {
    /// Finds what the mounts take, and hashes the files of contexts.
    ///
    /// # Errors
    /// [`FilesError::NotFound`] for a source that is not there, and the others of choosing files.
    pub(super) fn find(context: &StepContext<'_>, run: &Run) -> Result<Self, Failure> {
        let find = |(number, mount): (usize, &RunMount)| {
            let (from, path) = match mount {
                RunMount::Bind { from, source, .. } => (from, source),
                RunMount::Cache {
                    seed: Some((from, source)),
                    ..
                } => (from, source),
                _ => return Ok(None),
            };
            Input::find(context, from, path)
                .map(Some)
                .map_err(|source| Failure {
                    argument: Some(number),
                    source: Box::new(source),
                })
        };
        let inputs = run.mounts.iter().enumerate().map(find);
        Ok(Self(inputs.collect::<Result<_, _>>()?))
    }

    /// Returns what mount `number` takes.
    pub(super) fn get(&self, number: usize) -> Option<&Input> {
        self.0.get(number)?.as_ref()
    }
}

impl Input {
    fn find(context: &StepContext<'_>, from: &Tree, path: &str) -> Result<Self, StepError> {
        let tree = match from {
            Tree::Context(name) => {
                let found = context.shared.contexts.open(context.build, name)?;
                let selection = choose(from, path, SourceTree::Context(&found))?;
                InputTree::Context(found, selection)
            }
            Tree::Step(number) => {
                let root = context
                    .sources
                    .get(*number)
                    .ok_or(FilesError::NoTree { number: number + 1 })?;
                if path == "/" {
                    InputTree::Whole(root.clone())
                } else {
                    let rootfs = context.rootfs(root)?;
                    let selection = choose(from, path, SourceTree::Rootfs(&rootfs))?;
                    InputTree::Part(root.clone(), rootfs, selection)
                }
            }
        };
        let digest = match &tree {
            InputTree::Context(_, selection) | InputTree::Part(_, _, selection) => selection
                .source_digests()
                .first()
                .copied()
                .unwrap_or_default(),
            InputTree::Whole(root) => root.content_chain(),
        };
        let path = path.to_owned();
        Ok(Self { tree, path, digest })
    }

    /// Returns what a mount of it is: the source, laid out in the empty folder `staging` as far as
    /// need be, what the mount point has to be, and what has to live as long as the mount. Nothing
    /// that is written there stays.
    pub(super) fn mount(
        &self,
        context: &StepContext<'_>,
        sandbox: &Sandbox,
        access: Access,
        staging: &Path,
    ) -> Result<(BindSource, TargetKind, Option<Stack>), StepError> {
        let (root, rootfs, selection) = match &self.tree {
            InputTree::Context(from, selection) => {
                let copy = staging.join("copy");
                extract_context(from, selection, &copy, sandbox)?;
                return Ok((BindSource::Path(copy), kind_of(selection), None));
            }
            InputTree::Part(root, rootfs, selection) => (root, rootfs.clone(), Some(selection)),
            InputTree::Whole(root) => (root, context.rootfs(root)?, None),
        };
        let kind = selection.map_or(TargetKind::Directory, kind_of);
        let path = selection.map_or_else(PathBuf::new, |selection| {
            PathBuf::from(OsStr::from_bytes(selection.path()))
        });
        let place = (context.build, &context.shared.workspace);
        let stack = sandbox.stack(place, root, &rootfs, (access, staging), path)?;
        let (source, held) = match stack {
            Some((source, stack)) => (source, Some(stack)),
            None => {
                let copy = staging.join("copy");
                self.copy(context, sandbox, &copy)?;
                (BindSource::Path(copy), None)
            }
        };
        Ok((source, kind, held))
    }

    /// Copies it to `to`, which does not exist yet.
    pub(super) fn copy(
        &self,
        context: &StepContext<'_>,
        sandbox: &Sandbox,
        to: &Path,
    ) -> Result<(), StepError> {
        let whole;
        let (root, selection) = match &self.tree {
            InputTree::Context(from, selection) => {
                return extract_context(from, selection, to, sandbox);
            }
            InputTree::Part(root, _, selection) => (root, selection),
            InputTree::Whole(root) => {
                let rootfs = context.rootfs(root)?;
                whole = choose(&Tree::Step(0), &self.path, SourceTree::Rootfs(&rootfs))?;
                (root, &whole)
            }
        };
        let open = |node: &Node| {
            let Home::Layer(number) = node.home else {
                return Err(no_layer(node).into());
            };
            let layer = root.layer(number).ok_or_else(|| no_layer(node))?;
            let file = layer_file::open(context.build.layers, &layer.diff_id, &node.entry)?;
            Ok(Box::new(file) as Box<dyn Read>)
        };
        let extraction = Extraction {
            open: &open,
            owners_are_fake: sandbox.owners_are_fake(),
        };
        Ok(selection.extract(to, &extraction)?)
    }

    /// True if it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        match &self.tree {
            InputTree::Context(_, selection) | InputTree::Part(_, _, selection) => {
                selection.is_directory()
            }
            InputTree::Whole(_) => true,
        }
    }
}

fn no_layer(node: &Node) -> ImageError {
    ImageError::BadEntry {
        path: rbuild_image::layer::path::display(&node.entry.path),
        problem: "it belongs to no layer of its stage".to_owned(),
    }
}

fn kind_of(selection: &Selection) -> TargetKind {
    if selection.is_directory() {
        TargetKind::Directory
    } else {
        TargetKind::File
    }
}

fn extract_context(
    context: &Context,
    selection: &Selection,
    to: &Path,
    sandbox: &Sandbox,
) -> Result<(), StepError> {
    let open = |node: &Node| {
        let (file, _) = context.open_file(&node.entry.path)?;
        Ok(Box::new(file) as Box<dyn Read>)
    };
    let extraction = Extraction {
        open: &open,
        owners_are_fake: sandbox.owners_are_fake(),
    };
    Ok(selection.extract(to, &extraction)?)
}

/// Chooses the files at `path`, as `COPY` would.
fn choose(from: &Tree, path: &str, tree: SourceTree<'_>) -> Result<Selection, FilesError> {
    let files = Files {
        sources: vec![FileSource::Path {
            from: from.clone(),
            pattern: path.to_owned(),
            wildcard: false,
        }],
        dest: "/".to_owned(),
        dest_is_dir: false,
        chown: None,
        chmod: None,
        link: true,
        parents: false,
        exclude: Vec::new(),
        unpack: Unpack::Never,
    };
    files::prepare(&files, &|_tree| Some(tree), &[None])
}
