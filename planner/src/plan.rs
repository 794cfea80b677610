//! The plan: a graph of fully expanded steps and the images they lead to.

use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use rbuild_image::config::{History, ImageConfig};
use rbuild_image::digest::DiffId;
use rbuild_image::platform::Platform;
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::span::Span;
use serde::Serialize;

use crate::remote::{GitSource, HttpSource};

/// Names a step of one plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub(crate) NodeIndex);

impl StepId {
    /// Returns a dense index: below [`Plan::len`], unique in its plan.
    #[must_use]
    pub fn index(self) -> usize {
        self.0.index()
    }
}

/// One node of the graph: makes a root file system from its inputs.
///
/// `kind`, `platform` and the inputs say what is done, and enter keys; `origin` says for whom, and
/// never does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// What is done.
    pub kind: StepKind,
    /// The platform of the stage.
    pub platform: Platform,
    /// True if an earlier result must not be used (`--no-cache`, `--no-cache-filter`).
    pub ignore_cache: bool,
    /// Where it comes from.
    #[serde(skip)]
    pub origin: Origin,
}

/// What a step does. Every string is fully expanded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "op")]
pub enum StepKind {
    /// The empty root file system. No inputs.
    Scratch,
    /// The root file system of a resolved image. No inputs.
    Image(ImageSource),
    /// A directory context used as a root file system (`FROM name`). No inputs.
    Local {
        /// The build context.
        context: ContextName,
    },
    /// `COPY` and `ADD`: parent plus the source steps.
    Files(Files),
    /// `WORKDIR`: makes a directory on the parent.
    Workdir(Workdir),
    /// `RUN`: a process on the parent.
    Run(Run),
}

/// An image that was resolved for the plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ImageSource {
    /// The query that brought it; key into [`crate::BaseImages`].
    pub query: crate::BaseQuery,
    /// Its layers, base first.
    pub diff_ids: Vec<DiffId>,
}

/// A build context: the empty name is the main one, others come from `--build-context`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct ContextName(pub String);

/// `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Files {
    /// Sources in order.
    pub sources: Vec<FileSource>,
    /// Absolute, cleaned destination, without a trailing slash (except `/` itself).
    pub dest: String,
    /// True if the destination was written as a directory (`/` or `/.` at its end, `.` or empty).
    pub dest_is_dir: bool,
    /// `--chown`, e.g. `1000:1000`, `app`; names are looked up in the parent's own files.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// `--link`: independent of the parent's content.
    pub link: bool,
    /// `--parents`: keeps the source's directories.
    pub parents: bool,
    /// `--exclude` patterns, ignore-file syntax.
    pub exclude: Vec<String>,
    /// What is done with archives.
    pub unpack: Unpack,
}

/// What is done with a source that is an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unpack {
    /// Copied as it is (`COPY`, `ADD --unpack=false`).
    Never,
    /// Local archives are extracted (`ADD`).
    Local,
    /// All archives are extracted (`ADD --unpack`).
    Always,
}

/// A checked `--chmod` value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chmod {
    /// Permission bits, 0 to 0o7777.
    Octal(u32),
    /// Symbolic clauses, e.g. `u=rwX,go=rX`.
    Symbolic(String),
}

/// One source of [`Files`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSource {
    /// Paths in a tree.
    Path {
        /// Which tree.
        from: Tree,
        /// Absolute path or pattern in it, cleaned: no `..`, no trailing slash. With `--parents`
        /// a `/./` marker is kept.
        pattern: String,
        /// True if the pattern holds `*`, `?` or `[` (or an escape).
        wildcard: bool,
    },
    /// A file made from a heredoc.
    Inline {
        /// File name.
        name: String,
        /// Expanded content.
        content: String,
    },
    /// A file of the web (`ADD`).
    Http(HttpSource),
    /// A folder of a git repository: what is in it (`ADD`).
    Git(GitSource),
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tree {
    /// A build context.
    Context(ContextName),
    /// The root file system that source step `n` of this step makes (see [`Plan::sources`]).
    Step(usize),
}

/// `WORKDIR`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Workdir {
    /// Absolute, cleaned path; never `/`.
    pub path: String,
    /// The current `USER`, if one is set: owner of directories that are made.
    pub user: Option<String>,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Run {
    /// The arguments, shell included. Empty for `RUN []`.
    pub argv: Vec<String>,
    /// The environment in order, `NAME=value`: image and `ENV`, valued `ARG`s, default `PATH`.
    pub env: Vec<String>,
    /// Proxy variables, `NAME=value`: in the process's environment, never in a key.
    pub proxy_env: Vec<String>,
    /// Absolute working directory.
    pub cwd: String,
    /// `USER` as written; empty for root.
    pub user: String,
    /// Host name.
    pub hostname: String,
    /// Network mode.
    pub network: Network,
    /// `--add-host`: names and addresses; only the names enter a key.
    pub extra_hosts: Vec<(String, String)>,
    /// A script that must stand read-only, mode 0755, at `/dev/pipes/<name>`: name and content.
    pub pipe_scripts: Vec<(String, String)>,
    /// `--mount`, in order.
    pub mounts: Vec<RunMount>,
    /// `--security`.
    pub security: Security,
    /// Limits of the process.
    pub limits: Limits,
}

/// What a `RUN --mount` puts into the file system for the time of the step.
///
/// Targets are absolute and clean, except those of secrets and agents, which stand as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum RunMount {
    /// Files of a context, stage or image.
    Bind {
        /// Where they appear.
        target: String,
        /// Which tree they come from.
        from: Tree,
        /// Absolute, clean path in it.
        source: String,
        /// True if the process may write; what it writes is thrown away.
        writable: bool,
    },
    /// A directory that stays from build to build and is in no layer.
    Cache {
        /// Where it appears.
        target: String,
        /// Its name, `<namespace>/<id>`: e.g. `//root/.cache` for a target without an `id`.
        id: String,
        /// What a new cache begins with: a tree and an absolute, clean path in it.
        seed: Option<(Tree, String)>,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// True if the process may not write.
        read_only: bool,
        /// Permission bits of a new cache's directory.
        mode: Option<u32>,
        /// Its owner.
        uid: Option<u32>,
        /// Its group.
        gid: Option<u32>,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Where it appears.
        target: String,
        /// Limit in bytes.
        size: Option<u64>,
    },
    /// A secret as a file, a variable, or both.
    Secret {
        /// Its name.
        id: String,
        /// Where the file appears (relative: below the working directory); `None` if there is
        /// none.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// True if the step fails without it.
        required: bool,
        /// Permission bits of the file.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// The agent's name.
        id: String,
        /// Where the socket appears (relative: below the working directory).
        target: String,
        /// True if the step fails without it.
        required: bool,
        /// Permission bits of the socket.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One step; others get a directory of their own.
    Private,
    /// One step; others wait.
    Locked,
}

/// `RUN --security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// Docker's default capabilities and system calls.
    #[default]
    Sandbox,
    /// All that the builder itself may do.
    Insecure,
}

/// Limits of a `RUN`'s process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Limits {
    /// `--ulimit`: name (e.g. `nofile`), soft and hard limit; `u64::MAX` for none.
    pub ulimits: Vec<(String, u64, u64)>,
    /// `--shm-size` in bytes; in no key.
    pub shm_size: Option<u64>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
}

/// Network mode of a `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// What the invoker has.
    #[default]
    Default,
    /// Only an own loopback.
    None,
    /// The host's, asked for by name.
    Host,
}

/// Where a step comes from. Equal steps of several stages or platforms keep the first origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The instruction in the Dockerfile (the `FROM` for ONBUILD triggers and base images).
    pub span: Span,
    /// Places of the arguments: for [`Files`], one a source, then the destination; for [`Run`], one
    /// a mount, then the command's words.
    pub arguments: Vec<Span>,
    /// The instruction as progress shows it, variables that are set substituted, e.g.
    /// `RUN apt-get update`; for images `FROM docker.io/library/debian:12`.
    pub display: String,
    /// The instruction's name with BuildKit's prefix, e.g. `[build 2/3] RUN make`.
    pub title: String,
    /// Name of the stage (`AS` name or `stage-N`).
    pub stage: String,
}

/// The graph. Nodes are [`Step`]s in an order in which every step follows its inputs.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) graph: StableDiGraph<Step, Input>,
    /// The images to be made, one a platform, in the order asked for.
    pub targets: Vec<Target>,
    /// `SOURCE_DATE_EPOCH`, in seconds: the build argument, else the global `ARG`'s default.
    pub epoch: Option<i64>,
    /// A source whose time is the epoch (`ARG SOURCE_DATE_EPOCH=stage`). `epoch` is empty then, and
    /// whoever can ask for the source fills it.
    pub epoch_source: Option<FileSource>,
    /// Warnings, e.g. build arguments that nothing declares. Those whose code is a build check's
    /// name are subject to the file's `check` directive, which is not looked at here.
    pub warnings: Vec<Diagnostic>,
}

/// What an input is for the step it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// The root file system that the step builds upon.
    Parent,
    /// Source `n` of its file sources.
    Source(usize),
}

/// One image to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The platform it is made for.
    pub platform: Platform,
    /// True if the platform was asked for by name.
    pub platform_is_explicit: bool,
    /// The step whose root file system it has.
    pub rootfs: StepId,
    /// Its config. `created` and `rootfs.diff_ids` are empty, `history` holds the base's entries
    /// and then those of `history` below without times: the executor fills both.
    pub config: ImageConfig,
    /// This build's history lines in order, and the step that makes the layer of each that is not
    /// empty. `config.history` ends with the same lines.
    pub history: Vec<(History, Option<StepId>)>,
}
