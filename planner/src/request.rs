//! What a plan is asked for, and the base images that are known so far.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_image::config::ImageConfig;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_image::platform::Platform;
use rbuild_parser::ignore::Ignore;
use rbuild_parser::span::Span;
use serde::Serialize;

use crate::plan::{Limits, Network};

/// Everything besides the Dockerfile that decides what is built.
#[derive(Debug, Clone)]
pub struct Request {
    /// `--target`; the last stage if `None`.
    pub target: Option<String>,
    /// `--build-arg` in order; the last of a name wins.
    pub build_args: Vec<(String, String)>,
    /// `--platform`; empty: `build_platform`, chosen by default.
    pub platforms: Vec<Platform>,
    /// The platform of this machine.
    pub build_platform: Platform,
    /// `--label` in order.
    pub labels: Vec<(String, String)>,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`: stage names, any case.
    pub no_cache_filter: Vec<String>,
    /// `--build-context`: normalised name to its type.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--network`: the mode of `RUN`s without a flag of their own.
    pub network: Network,
    /// `--add-host`.
    pub extra_hosts: Vec<(String, String)>,
    /// Limits of every `RUN`.
    pub limits: Limits,
    /// True if `RUN --security=insecure` is allowed (`--allow security.insecure`).
    pub allow_insecure: bool,
    /// The times that contexts bring with them, in seconds since the Unix epoch: that of a commit, of
    /// a file of the web, of the newest file of an archive. The empty name is the main context.
    pub context_times: BTreeMap<String, i64>,
    /// What is left out of the build context; only build checks look at it.
    pub ignore: Option<Arc<Ignore>>,
}

impl Request {
    /// Returns the request of a build without options.
    #[must_use]
    pub fn new(build_platform: Platform) -> Self {
        Self {
            target: None,
            build_args: Vec::new(),
            platforms: Vec::new(),
            build_platform,
            labels: Vec::new(),
            no_cache: false,
            no_cache_filter: Vec::new(),
            contexts: BTreeMap::new(),
            network: Network::Default,
            extra_hosts: Vec::new(),
            limits: Limits::default(),
            allow_insecure: false,
            context_times: BTreeMap::new(),
            ignore: None,
        }
    }
}

/// Type of a named context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A directory: files are read by the executor under the context's name.
    Directory,
    /// `docker-image://reference` or `oci-layout://path`: an image, asked for as a base with this
    /// text.
    Image(String),
}

/// A question for a base image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct BaseQuery {
    /// Normalised reference (`docker.io/library/debian:12`), or `oci-layout://…` as given.
    pub reference: String,
    /// The platform wanted.
    pub platform: Platform,
    /// True if the platform may differ: none was asked for by name.
    pub any_platform: bool,
}

/// A base image that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseImage {
    /// Its config.
    pub config: ImageConfig,
    /// Digest of its manifest if it has one, else of its config.
    pub digest: Digest,
    /// Its layers, base first; the same as in its config.
    pub diff_ids: Vec<DiffId>,
    /// The platform it is for.
    pub platform: Platform,
}

/// Answers so far: the image, or why there is none (the resolver's own words).
pub type BaseImages = BTreeMap<BaseQuery, Result<BaseImage, String>>;

/// A question and the place in the Dockerfile that raised it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What is asked for.
    pub query: BaseQuery,
    /// `FROM`'s base or `COPY --from`'s value.
    pub span: Span,
}
