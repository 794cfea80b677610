//! Running a whole plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rbuild_agent::Agent;
use rbuild_cache::Database;
use rbuild_cache::files::FileDigests;
use rbuild_cache::flight::Flights;
use rbuild_image::layer::{LayerStore, Rootfs};
use rbuild_image::store::{StagingDir, Store};
use rbuild_parser::ignore::Ignore;
use rbuild_planner::{ContextName, Plan, StepId, StepKind};

use crate::assemble::{BuiltImage, assemble};
use crate::cancel::Cancel;
use crate::context::Context;
use crate::error::{BuildError, StepError};
use crate::event::Event;
use crate::files::patterns::Patterns;
use crate::remotes::Remotes;
use crate::schedule::run_all;
use crate::secrets::Secrets;
use crate::snapshot::{Drawing, Sandbox, Stack};
use crate::step::{self, Grown};

/// What a build works with. Everything is shared by the threads of the build.
#[derive(Debug)]
pub struct Build<'a> {
    /// What is to be done.
    pub plan: &'a Plan,
    /// The content store.
    pub store: &'a Store,
    /// The layers in it.
    pub layers: &'a LayerStore,
    /// Records and file digests.
    pub database: &'a Database,
    /// Where `RUN` steps run; an error says why they cannot.
    pub sandbox: Result<&'a Sandbox, String>,
    /// The build contexts.
    pub contexts: &'a Contexts,
    /// What `RUN --mount=type=secret` may ask for.
    pub secrets: &'a Secrets,
    /// What `RUN --mount=type=ssh` may ask for, by id.
    pub agents: &'a BTreeMap<String, Agent>,
    /// Brings what is not here.
    pub remotes: &'a dyn Remotes,
    /// Settings.
    pub options: &'a Options,
    /// Stops the build.
    pub cancel: &'a Cancel,
}

/// Settings of a build.
#[derive(Debug)]
pub struct Options {
    /// How many steps run at once; at least 1.
    pub jobs: usize,
    /// `SOURCE_DATE_EPOCH` in seconds: no file of a layer made here, and no time in a config, is
    /// later.
    pub epoch: Option<i64>,
    /// The clock, in seconds since the Unix epoch.
    pub now: fn() -> i64,
    /// By which processes that share the store do no step twice.
    pub flights: Flights,
    /// `/etc/resolv.conf` of `RUN` steps.
    pub resolv_conf: Vec<u8>,
}

/// The directories that files are copied from, by the plan's names.
#[derive(Debug, Default)]
pub struct Contexts(pub BTreeMap<ContextName, DirectoryContext>);

/// A directory that files are copied from.
#[derive(Debug, Clone)]
pub struct DirectoryContext {
    /// The directory.
    pub path: PathBuf,
    /// What is left out of it.
    pub ignore: Arc<Ignore>,
}

/// The contexts that a step has copied from so far.
#[derive(Debug, Default)]
pub(crate) struct OpenContexts(Mutex<BTreeMap<ContextName, Arc<Context>>>);

impl OpenContexts {
    /// Opens a context, once a build.
    pub(crate) fn open(
        &self,
        build: &Build<'_>,
        name: &ContextName,
    ) -> Result<Arc<Context>, StepError> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = open.get(name) {
            return Ok(Arc::clone(context));
        }
        let directory = build
            .contexts
            .0
            .get(name)
            .ok_or_else(|| StepError::NoContext {
                name: name.0.clone(),
            })?;
        let digests = FileDigests::load(
            build.database,
            directory.path.as_os_str().as_encoded_bytes(),
        )?;
        let ignore = Patterns::from(Arc::clone(&directory.ignore));
        let context = Arc::new(Context::open(&directory.path, ignore, digests)?);
        open.insert(name.clone(), Arc::clone(&context));
        Ok(context)
    }

    /// Keeps the digests of the files that were read. Losing them costs reading them again.
    fn save(self, build: &Build<'_>) {
        let open = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        for context in open.into_values().filter_map(Arc::into_inner) {
            let now = (build.options.now)();
            drop(context.into_digests().save(build.database, now));
        }
    }
}

/// Space for what steps have under way. It goes at the end of the build, all at once: on ext4,
/// making files is slow while others have just been removed.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// The layers of overlays. What is mounted for them is below `staging`, so it comes first.
    pub(crate) stacks: Grown<Stack>,
    staging: OnceLock<StagingDir>,
    n_folders: AtomicUsize,
    /// For the next overlay, see [`Workspace::overlay_folder`].
    ahead: Mutex<Option<PathBuf>>,
    /// Most steps of a build miss the same mount points.
    stubs: Mutex<Vec<(Drawing, PathBuf)>>,
}

impl Workspace {
    /// Makes a new folder in the store's file system.
    pub(crate) fn folder(&self, store: &Store) -> Result<PathBuf, StepError> {
        let staging = match self.staging.get() {
            Some(staging) => staging,
            None => {
                let fresh = store.staging_dir()?;
                self.staging.get_or_init(|| fresh)
            }
        };
        let number = self.n_folders.fetch_add(1, Ordering::Relaxed);
        let folder = staging.path().join(number.to_string());
        fs_err::create_dir(&folder)?;
        Ok(folder)
    }

    /// A folder for the changes of an overlay and what else is known of that layer, with an empty `tree` in it and an
    /// empty `*.work` beside it.
    pub(crate) fn overlay_folder(&self, store: &Store) -> Result<PathBuf, StepError> {
        let ahead = self
            .ahead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        ahead.map_or_else(|| self.new_overlay_folder(store), Ok)
    }

    /// Makes the folder that is asked for next. Making files can take most of a step's time, and while a step runs
    /// there is time for it.
    pub(crate) fn prepare(&self, store: &Store) -> Result<(), StepError> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if ahead.is_none() {
            *ahead = Some(self.new_overlay_folder(store)?);
        }
        Ok(())
    }

    fn new_overlay_folder(&self, store: &Store) -> Result<PathBuf, StepError> {
        let folder = self.folder(store)?;
        LayerStore::begin_folder(&folder)?;
        fs_err::create_dir(folder.with_extension("work"))?;
        Ok(folder)
    }

    /// A folder that looks as `drawing`, to be a layer of overlays with marks of the kind that `userxattr` says.
    pub(crate) fn stub(
        &self,
        store: &Store,
        drawing: Drawing,
        userxattr: bool,
    ) -> Result<PathBuf, StepError> {
        let mut stubs = self.stubs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, stub)) = stubs.iter().find(|(made, _)| *made == drawing) {
            return Ok(stub.clone());
        }
        let stub = self.folder(store)?;
        drawing.make(&stub, userxattr)?;
        stubs.push((drawing, stub.clone()));
        Ok(stub)
    }
}

/// What the steps of one build share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) contexts: OpenContexts,
    pub(crate) workspace: Workspace,
    /// Merged views of root file systems.
    pub(crate) rootfs: Grown<Rootfs>,
    /// Held by the step whose layer is packed before its key is known.
    pub(crate) early: Mutex<()>,
    pub(crate) reset_caches: Once,
    pub(crate) runs: Countdown,
}

impl Shared {
    fn new(plan: &Plan) -> Self {
        let is_run = |step: &StepId| matches!(plan.step(*step).kind, StepKind::Run(_));
        Self {
            contexts: OpenContexts::default(),
            workspace: Workspace::default(),
            rootfs: Grown::default(),
            early: Mutex::default(),
            reset_caches: Once::default(),
            runs: Countdown(AtomicUsize::new(plan.steps().filter(is_run).count())),
        }
    }
}

/// How many `RUN` steps are not resolved yet, those under way among them.
#[derive(Debug)]
pub(crate) struct Countdown(AtomicUsize);

impl Countdown {
    /// Says that one is resolved.
    pub(crate) fn count(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is one beside that which asks. It may turn out to be known.
    pub(crate) fn is_another_to_come(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }
}

/// What was done once in this build, by name.
#[derive(Debug, Default)]
pub(crate) struct Once(Mutex<BTreeSet<String>>);

impl Once {
    /// True if nobody has asked for this name before.
    pub(crate) fn is_new(&self, name: &str) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned())
    }
}

/// Runs the plan and returns its images in the order of its targets. `on_event` is called on this
/// thread.
///
/// # Errors
/// The first step that failed, or [`BuildError::Cancelled`].
pub fn execute(
    build: &Build<'_>,
    on_event: &mut dyn FnMut(Event),
) -> Result<Vec<BuiltImage>, BuildError> {
    let shared = Shared::new(build.plan);
    let result = run_all(
        build.plan,
        build.options.jobs,
        build.cancel,
        &|step, inputs, events| step::resolve(build, &shared, step, inputs, events),
        on_event,
    );
    if let Ok(sandbox) = build.sandbox {
        drop(sandbox.leaving()); // what they are made of goes with the workspace
    }
    shared.contexts.save(build);
    build.database.settle();
    let roots = result?;
    let targets = build.plan.targets.iter();
    let images: Vec<_> = targets
        .map(|target| assemble(target, &roots, build.options.epoch))
        .collect();
    for image in &images {
        build
            .store
            .put_blob(&image.config_bytes)
            .map_err(|error| BuildError::Finish(Box::new(StepError::Image(error))))?;
    }
    Ok(images)
}
