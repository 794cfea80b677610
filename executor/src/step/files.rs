//! `COPY` and `ADD`: chosen files over the parent, straight into a layer.

use std::io::{Read, Write};
use std::sync::{Arc, MutexGuard, PoisonError};

use rbuild_cache::key::{CacheKey, KeyBuilder, Leaf};
use rbuild_cache::record::Record;
use rbuild_image::error::ImageError;
use rbuild_image::layer::Rootfs;
use rbuild_image::layer::entry::Entry;
use rbuild_planner::{Chmod, ContextName, FileSource, Files, Tree, Unpack};
use rbuild_sandbox::give_back_memory;

use super::{MANY_FILES, MadeLayer, PackedLayer, StepContext, fetched};
use crate::context::Context;
use crate::error::StepError;
use crate::files::{self, Fetched, FilesError, LayerTree, Selection, SourceTree, Surroundings};
use crate::layer_file;
use crate::schedule::Failure;

/// How often a step is keyed anew when files change while they are copied.
const MAX_TRIES: usize = 3;

/// Finds or makes the layer of a `COPY` or `ADD`.
pub(super) fn resolve(context: &StepContext<'_>, files: &Files) -> Result<(Record, bool), Failure> {
    let mut n_tries = 1;
    loop {
        match try_once(context, files) {
            Err(StepError::Files(FilesError::Changed { .. })) if n_tries < MAX_TRIES => {
                n_tries += 1;
                fetched::forget(context, files)?;
            }
            // A single source is the one to blame for whatever happens.
            Err(error) => {
                let argument = match &error {
                    StepError::Remote { argument, .. } => Some(*argument),
                    _ => (files.sources.len() == 1).then_some(0),
                };
                return Err(Failure {
                    argument,
                    source: Box::new(error),
                });
            }
            Ok(found) => return Ok(found),
        }
    }
}

/// Finds or makes the layer of a directory that is a whole root file system.
pub(super) fn resolve_local(
    context: &StepContext<'_>,
    name: &ContextName,
) -> Result<(Record, bool), Failure> {
    let everything = Files {
        sources: vec![FileSource::Path {
            from: Tree::Context(name.clone()),
            pattern: "/".to_owned(),
            wildcard: false,
        }],
        dest: "/".to_owned(),
        dest_is_dir: true,
        chown: None,
        chmod: None,
        link: false,
        parents: false,
        exclude: Vec::new(),
        unpack: Unpack::Never,
    };
    resolve(context, &everything)
}

fn try_once(context: &StepContext<'_>, files: &Files) -> Result<(Record, bool), StepError> {
    let fetched = fetched::fetch(context, files)?;
    let trees = SourceTrees::open(context, files)?;
    let mut selection = files::choose(files, &|tree| trees.get(tree), &fetched)?;
    let early = early(context, files, &trees, &mut selection)?;
    selection.hash(&|tree| trees.get(tree))?;
    if selection.n_files() >= MANY_FILES {
        give_back_memory();
    }
    let key = key(context, files, &selection, &fetched);
    context.find_or_make(key, || match early {
        Some(Early { layer, .. }) => layer.publish(context),
        None => make(context, files, &trees, selection),
    })
}

/// A layer that was packed before its key was known.
struct Early<'a> {
    layer: PackedLayer,
    /// While one such step is under way, others wait: what it makes may be what they want.
    _turn: MutexGuard<'a, ()>,
}

/// Packs the layer if that gives digests that the key needs, and nobody is likely to have made it before.
fn early<'a>(
    context: &StepContext<'a>,
    files: &Files,
    trees: &SourceTrees<'_>,
    selection: &mut Selection,
) -> Result<Option<Early<'a>>, StepError> {
    if !selection.is_worth_packing_early(files) {
        return Ok(None);
    }
    let turn = context.shared.early.lock();
    let turn = turn.unwrap_or_else(PoisonError::into_inner);
    if !context.is_new()? {
        return Ok(None);
    }
    let packed = with_surroundings(context, files, trees, |around| {
        context.pack_layer(|blob| files::pack_early(files, selection, around, blob))
    });
    // Whatever it is, it comes again where it is in the way.
    Ok(packed.ok().map(|layer| Early { layer, _turn: turn }))
}

/// The leaves: `docs/cache-keys.md`.
fn key(
    context: &StepContext<'_>,
    files: &Files,
    selection: &Selection,
    fetched: &[Option<Fetched>],
) -> (CacheKey, Vec<Leaf>) {
    let Files {
        sources,
        dest,
        dest_is_dir,
        chown,
        chmod,
        link,
        parents,
        exclude,
        unpack,
    } = files;
    let mut key = context.key("files");
    if !link {
        key.digest("parent", &context.parent.content_chain());
    }
    key.text("dest", dest)
        .text("dest is directory", &dest_is_dir.to_string());
    if let Some(chown) = chown {
        key.text("chown", chown);
    }
    match chmod {
        Some(Chmod::Octal(mode)) => drop(key.text("chmod", &format!("{mode:o}"))),
        Some(Chmod::Symbolic(clauses)) => drop(key.text("chmod", clauses)),
        None => {}
    }
    key.text("link", &link.to_string())
        .text("parents", &parents.to_string());
    for pattern in exclude {
        key.text("exclude", pattern);
    }
    key.text(
        "unpack",
        match unpack {
            Unpack::Never => "never",
            Unpack::Local => "local",
            Unpack::Always => "always",
        },
    );
    for (place, (source, digest)) in sources.iter().zip(selection.source_digests()).enumerate() {
        add_source(&mut key, place, source, &digest);
        fetched::add_to_key(&mut key, place, source, fetched);
    }
    key.finish()
}

/// What a source contains counts, not where it comes from.
fn add_source(key: &mut KeyBuilder, place: usize, source: &FileSource, digest: &[u8; 32]) {
    let is_from_context = matches!(
        source,
        FileSource::Path {
            from: Tree::Context(_),
            ..
        }
    );
    // Only archives of contexts are unpacked, so it makes a difference.
    key.text(
        &format!("source {place} is local"),
        &is_from_context.to_string(),
    );
    key.digest(&format!("source {place}"), digest);
}

fn make(
    context: &StepContext<'_>,
    files: &Files,
    trees: &SourceTrees<'_>,
    mut selection: Selection,
) -> Result<MadeLayer, StepError> {
    let _checkouts = fetched::check_out(context, files, &mut selection)?;
    if selection.n_files() >= MANY_FILES {
        unpack_layers(context, &selection)?;
    }
    with_surroundings(context, files, trees, |around| {
        let pack =
            |blob: &mut (dyn Write + Send)| files::pack(files, selection, around, Some(blob));
        context.pack_layer(pack)?.publish(context)
    })
}

fn with_surroundings<T>(
    context: &StepContext<'_>,
    files: &Files,
    trees: &SourceTrees<'_>,
    pack: impl FnOnce(&Surroundings<'_>) -> Result<T, StepError>,
) -> Result<T, StepError> {
    let build = context.build;
    let staging = context.shared.workspace.folder(build.store)?;
    let parent = if files.link {
        Rootfs::default()
    } else {
        context.parent_rootfs()?
    };
    let open = |tree: LayerTree, layer: usize, entry: &Entry| {
        let root = match tree {
            LayerTree::Parent => Some(context.parent),
            LayerTree::Step(step) => context.sources.get(step),
        };
        let layer =
            root.and_then(|root| root.layer(layer))
                .ok_or_else(|| ImageError::BadEntry {
                    path: rbuild_image::layer::path::display(&entry.path),
                    problem: "it belongs to no layer of its stage".to_owned(),
                })?;
        let file = layer_file::open(build.layers, &layer.diff_id, entry)?;
        Ok(Box::new(file) as Box<dyn Read>)
    };
    let around = Surroundings {
        parent: &parent,
        trees: &|tree| trees.get(tree),
        open_layer_file: &open,
        times: context.times(),
        staging: &staging,
    };
    pack(&around)
}

/// Unpacks the layers that files are copied from: that takes memory, and later there is less.
fn unpack_layers(context: &StepContext<'_>, selection: &Selection) -> Result<(), StepError> {
    for (step, layer) in selection.layers() {
        let root = context.sources.get(step);
        if let Some(diff_id) = root.and_then(|root| root.diff_ids().get(layer).copied()) {
            context.build.layers.tree(&diff_id)?;
        }
    }
    give_back_memory();
    Ok(())
}

/// The trees that a step copies from.
struct SourceTrees<'a> {
    contexts: Vec<(ContextName, Arc<Context>)>,
    rootfs: Vec<Rootfs>,
    _step: std::marker::PhantomData<&'a ()>,
}

impl SourceTrees<'_> {
    fn open(context: &StepContext<'_>, files: &Files) -> Result<Self, StepError> {
        let mut contexts: Vec<(ContextName, Arc<Context>)> = Vec::new();
        for source in &files.sources {
            let FileSource::Path {
                from: Tree::Context(name),
                ..
            } = source
            else {
                continue;
            };
            if !contexts.iter().any(|(known, _)| known == name) {
                contexts.push((
                    name.clone(),
                    context.shared.contexts.open(context.build, name)?,
                ));
            }
        }
        let rootfs = context
            .sources
            .iter()
            .map(|root| context.rootfs(root))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            contexts,
            rootfs,
            _step: std::marker::PhantomData,
        })
    }

    fn get(&self, tree: &Tree) -> Option<SourceTree<'_>> {
        match tree {
            Tree::Context(name) => {
                let (_, context) = self.contexts.iter().find(|(known, _)| known == name)?;
                Some(SourceTree::Context(context))
            }
            Tree::Step(step) => self.rootfs.get(*step).map(SourceTree::Rootfs),
        }
    }
}
