//! The command line as typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::analyze::AnalyzeArguments;
use crate::commands::assemble::AssembleArguments;
use crate::commands::df::DfArguments;
use crate::commands::diff::DiffArguments;
use crate::commands::export::ExportArguments;
use crate::commands::fsck::FsckArguments;
use crate::commands::history::HistoryArguments;
use crate::commands::images::ImagesArguments;
use crate::commands::imagetools::ImagetoolsCommand;
use crate::commands::import::ImportArguments;
use crate::commands::inspect::InspectArguments;
use crate::commands::load::LoadArguments;
use crate::commands::login::{LoginArguments, LogoutArguments};
use crate::commands::manifest::ManifestCommand;
use crate::commands::prune::PruneArguments;
use crate::commands::pull::PullArguments;
use crate::commands::push::PushArguments;
use crate::commands::rmi::RmiArguments;
use crate::commands::save::SaveArguments;
use crate::commands::search::SearchArguments;
use crate::commands::tag::TagArguments;
use crate::doctor::DoctorArguments;
use crate::ground::SandboxArguments;
use crate::lint::CheckArguments;
use crate::run_options::RunArguments;
use crate::timeout::Timeout;

/// Builds OCI images from Dockerfiles, without a daemon and without root.
#[derive(Debug, Parser)]
#[command(
    name = "rbuild",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
pub(crate) struct Arguments {
    /// Where images, layers and the build cache are kept
    #[arg(long, global = true, value_name = "DIR", env = "RBUILD_ROOT")]
    pub(crate) root: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    #[command(visible_alias = "b")]
    Build(Box<BuildArguments>),
    /// Print the graph of steps a Dockerfile compiles to
    Plan(Box<PlanArguments>),
    /// Show what is unwise in Dockerfiles
    Check(Box<CheckArguments>),
    /// List images
    Images(ImagesArguments),
    /// Show details of images as JSON
    Inspect(InspectArguments),
    /// Show how an image came to be
    History(HistoryArguments),
    /// Show what an image's layers hold, and what of it is wasted
    Analyze(Box<AnalyzeArguments>),
    /// Show how two images differ
    Diff(Box<DiffArguments>),
    /// Give an image another name
    Tag(TagArguments),
    /// Remove images
    Rmi(RmiArguments),
    /// Bring an image here from a registry
    Pull(PullArguments),
    /// Bring an image to a registry
    Push(PushArguments),
    /// Keep credentials for a registry
    Login(LoginArguments),
    /// Forget the credentials for a registry
    Logout(LogoutArguments),
    /// Look for repositories on Docker Hub or in a registry
    Search(SearchArguments),
    /// Write images to an archive
    Save(SaveArguments),
    /// Read images from an archive
    Load(LoadArguments),
    /// Make an image from the tar of a root file system
    Import(ImportArguments),
    /// Write the root file system of an image as a tar
    Export(ExportArguments),
    /// Tell what builds can do on this machine, and what would make them better
    Doctor(DoctorArguments),
    /// Remove images without a name and unused build cache
    Prune(PruneArguments),
    /// Show what takes the room in the store
    Df(DfArguments),
    /// Check everything in the store
    Fsck(FsckArguments),
    /// Join images for different platforms to one
    Assemble(AssembleArguments),
    /// Join and show images in registries
    #[command(subcommand)]
    Imagetools(ImagetoolsCommand),
    /// Prepare lists of images for registries
    #[command(subcommand)]
    Manifest(ManifestCommand),
    /// Manage images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Manage the build cache
    #[command(subcommand)]
    Builder(BuilderCommand),
    /// Build and manage the build cache, under the names of Docker's plugin
    #[command(subcommand)]
    Buildx(BuildxCommand),
    /// Manage the store
    #[command(subcommand)]
    System(SystemCommand),
}

/// The commands on the build cache under the names Docker groups them by.
#[derive(Debug, Subcommand)]
pub(crate) enum BuilderCommand {
    /// Build an image from a Dockerfile
    Build(Box<BuildArguments>),
    /// Remove unused build cache
    Prune(PruneArguments),
    /// Show what takes the room in the store
    Du(DfArguments),
}

/// The commands under the names that Docker's plugin for builds has.
#[derive(Debug, Subcommand)]
pub(crate) enum BuildxCommand {
    /// Build an image from a Dockerfile
    #[command(visible_alias = "b")]
    Build(Box<BuildArguments>),
    /// Remove unused build cache
    Prune(PruneArguments),
    /// Show what takes the room in the store
    Du(DfArguments),
    /// Join and show images in registries
    #[command(subcommand)]
    Imagetools(ImagetoolsCommand),
}

/// The commands on the whole store under the names Docker groups them by.
#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Remove images without a name and unused build cache
    Prune(PruneArguments),
    /// Show what takes the room in the store
    Df(DfArguments),
}

/// The image commands under the names Docker groups them by.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image from a Dockerfile
    Build(Box<BuildArguments>),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImagesArguments),
    /// Show details of images as JSON
    Inspect(InspectArguments),
    /// Show how an image came to be
    History(HistoryArguments),
    /// Give an image another name
    Tag(TagArguments),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(RmiArguments),
    /// Bring an image here from a registry
    Pull(PullArguments),
    /// Bring an image to a registry
    Push(PushArguments),
    /// Write images to an archive
    Save(SaveArguments),
    /// Read images from an archive
    Load(LoadArguments),
    /// Make an image from the tar of a root file system
    Import(ImportArguments),
    /// Remove images without a name
    Prune(PruneArguments),
}

/// What decides the plan; shared by `build` and `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanOptions {
    /// Path or URL of the Dockerfile, `-` for standard input (default: PATH/Dockerfile)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Set a build argument; without a value, the environment's is taken
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// Platforms to build for
    #[arg(
        long,
        value_name = "OS/ARCH[/VARIANT]",
        value_delimiter = ',',
        env = "DOCKER_DEFAULT_PLATFORM"
    )]
    pub(crate) platform: Vec<String>,
    /// Set a label of the image
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    /// Run every step, whatever earlier builds produced
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Run every step of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// Ask the registry for base images even if they are here
    #[arg(long)]
    pub(crate) pull: bool,
    /// Add a named build context: a directory, an http(s) or git URL, docker-image://IMAGE or
    /// oci-layout://DIR
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_context: Vec<String>,
    /// Network of RUN steps
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub(crate) network: NetworkMode,
    #[command(flatten)]
    pub(crate) run: RunArguments,
    /// Build context: a directory, an archive or a git repository by its URL, or `-` to read an
    /// archive or a Dockerfile from standard input
    #[arg(value_name = "PATH|URL|-")]
    pub(crate) context: OsString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkMode {
    /// What the invoker has
    Default,
    /// Only an own loopback
    None,
    /// The host's
    Host,
}

/// Options that `docker build` takes and that do nothing there either.
#[derive(Debug, Args)]
pub(crate) struct LegacyArguments {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    compress: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    rm: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    force_rm: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true)]
    squash: Option<Option<String>>,
    #[arg(long, hide = true)]
    security_opt: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArguments {
    #[command(flatten)]
    pub(crate) plan: PlanOptions,
    /// Name of the image
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub(crate) tag: Vec<String>,
    /// Where the result goes: DIR, type=local|tar|oci|docker,dest=PATH, or type=image|registry|cacheonly
    #[arg(short, long, value_name = "DEST")]
    pub(crate) output: Vec<String>,
    /// Push the image under its names: short for --output=type=registry
    #[arg(long)]
    pub(crate) push: bool,
    /// Give the image to the Docker engine or Podman too, if one runs here
    #[arg(long)]
    pub(crate) load: bool,
    /// Annotate what is written; TYPE is manifest, index, manifest-descriptor or index-descriptor
    #[arg(long, value_name = "[TYPE[[PLATFORM]]:]KEY=VALUE")]
    pub(crate) annotation: Vec<String>,
    /// Lend a secret to RUN --mount=type=secret: a file, or a variable of the environment
    #[arg(long, value_name = "id=ID[,src=FILE|,env=NAME]")]
    pub(crate) secret: Vec<String>,
    /// Lend SSH keys to RUN --mount=type=ssh: the agent at SSH_AUTH_SOCK, another socket, or keys
    #[arg(long, value_name = "ID[=SOCKET|=KEY[,KEY]]")]
    pub(crate) ssh: Vec<String>,
    #[command(flatten)]
    pub(crate) legacy: LegacyArguments,
    /// How many steps may run at once
    #[arg(long, value_name = "N", value_parser = parse_jobs)]
    pub(crate) jobs: Option<usize>,
    #[command(flatten)]
    pub(crate) sandbox: SandboxArguments,
    /// Stop the build if it takes longer, e.g. 90s or 1h30m
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<Timeout>,
    /// How progress is shown
    #[arg(
        long,
        value_name = "MODE",
        default_value = "auto",
        env = "BUILDKIT_PROGRESS"
    )]
    pub(crate) progress: ProgressMode,
    /// Show nothing but the image ID
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Check the file instead of building it: short for --call=check
    #[arg(long, overrides_with = "call")]
    check: bool,
    /// What is done: build, check, outline, targets or subrequests.describe, with
    /// format=json and ignorestatus behind it if need be
    #[arg(
        long,
        alias = "print",
        value_name = "METHOD[,format=FORMAT][,ignorestatus]",
        default_value = "build",
        hide_default_value = true,
        value_parser = parse_call
    )]
    call: Call,
    /// Write the image ID to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write digests and names to a JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
}

impl BuildArguments {
    /// Returns what is to be answered instead of a build.
    pub(crate) fn call(&self) -> Option<Call> {
        if self.check {
            return Some(Call {
                method: CallMethod::Check,
                ..self.call
            });
        }
        (self.call.method != CallMethod::Build).then_some(self.call)
    }
}

/// What is asked of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: CallMethod,
    pub(crate) format: CallFormat,
    /// True if findings are no failure.
    pub(crate) ignores_status: bool,
}

/// Methods of `--call`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallMethod {
    /// Build it.
    Build,
    /// Look for what is wrong or unwise.
    Check,
    /// Say what the target takes.
    Outline,
    /// List the stages.
    Targets,
    /// List these methods.
    Describe,
}

/// Forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// `tty` on a terminal, else `plain`
    Auto,
    /// A live view
    Tty,
    /// One line an event
    Plain,
    /// Nothing
    #[value(alias = "none")]
    Quiet,
    /// One JSON object a line
    Rawjson,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) plan: PlanOptions,
    /// How the graph is printed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: PlanFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// One line a step
    Text,
    /// Everything
    Json,
    /// Graphviz
    Dot,
}

/// Reads `METHOD[,format=json|text][,ignorestatus[=true|false]]`, in any order.
fn parse_call(text: &str) -> Result<Call, String> {
    let mut method = None;
    let mut call = Call {
        method: CallMethod::Build,
        format: CallFormat::Text,
        ignores_status: false,
    };
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("format", "json")) => call.format = CallFormat::Json,
            Some(("format", "text")) => call.format = CallFormat::Text,
            Some(("format", _)) => return Err("the formats are text and json".to_owned()),
            Some(("ignorestatus", "true" | "1")) => call.ignores_status = true,
            Some(("ignorestatus", "false" | "0")) => call.ignores_status = false,
            Some(_) => return Err(format!("unknown option {field}")),
            None if field == "ignorestatus" => call.ignores_status = true,
            None if method.is_some() => return Err("only one method is possible".to_owned()),
            None => method = Some(field),
        }
    }
    call.method = match method {
        None | Some("" | "build") => CallMethod::Build,
        Some("check" | "lint") => CallMethod::Check,
        Some("outline") => CallMethod::Outline,
        Some("targets") => CallMethod::Targets,
        Some("subrequests.describe") => CallMethod::Describe,
        Some(_) => {
            return Err(
                "the methods are build, check, outline, targets and subrequests.describe"
                    .to_owned(),
            );
        }
    };
    Ok(call)
}

fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one step must run".to_owned()),
        Ok(jobs) => Ok(jobs),
        Err(_) => Err("not a number of steps".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        let call = |text: &str| {
            parse_call(text).map(|call| (call.method, call.format, call.ignores_status))
        };
        use CallFormat::{Json, Text};
        assert_eq!(call("build"), Ok((CallMethod::Build, Text, false)));
        assert_eq!(call("lint"), Ok((CallMethod::Check, Text, false)));
        assert_eq!(
            call("check,format=json,ignorestatus"),
            Ok((CallMethod::Check, Json, true))
        );
        assert_eq!(
            call("format=text,outline,ignorestatus=true"),
            Ok((CallMethod::Outline, Text, true))
        );
        for bad in ["nope", "check,outline", "check,format=xml", "check,a=b"] {
            assert!(call(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn check_and_call_replace_each_other() {
        let method = |words: &[&str]| {
            let words = [&["rbuild", "build"], words, &["."]].concat();
            match Arguments::try_parse_from(words).unwrap().command {
                Command::Build(options) => options.call().map(|call| call.method),
                _ => None,
            }
        };
        assert_eq!(method(&[]), None);
        assert_eq!(method(&["--check"]), Some(CallMethod::Check));
        assert_eq!(method(&["--call=outline"]), Some(CallMethod::Outline));
        assert_eq!(method(&["--check", "--call=build"]), None);
        assert_eq!(
            method(&["--call=outline", "--check"]),
            Some(CallMethod::Check)
        );
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }
}
