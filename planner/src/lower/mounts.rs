//! `RUN --mount`.

use rbuild_parser::ast::Word;
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::span::Span;

use super::Lowering;
use crate::messages;
use crate::mount_options::{MountOptions, MountType};
use crate::paths;
use crate::plan::{ContextName, RunMount, StepKind, Tree};
use crate::table::Place;

/// The build argument that separates the caches of several projects.
const CACHE_NAMESPACE_ARG: &str = "BUILDKIT_CACHE_MOUNT_NS";
const SECRETS: &str = "/run/secrets/";
const AGENT: &str = "/run/buildkit/ssh_agent.";
const SECRET_MODE: u32 = 0o400;
const AGENT_MODE: u32 = 0o600;

/// The mounts of an instruction and the steps that their trees come from.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    pub(super) mounts: Vec<RunMount>,
    /// [`Tree::Step`] counts these.
    pub(super) sources: Vec<Place>,
    n_agents: usize,
}

/// A fault's message, or a fault that has its place already.
enum Fault {
    Text(String),
    Placed(Diagnostic),
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Lowering<'_, '_> {
    /// Reads the mounts of a `RUN`; `stages` are those that their `from` name.
    pub(super) fn mounts(
        &mut self,
        words: &[Word],
        stages: &[Option<usize>],
    ) -> Result<Mounts, Diagnostic> {
        let mut mounts = Mounts::default();
        for (number, word) in words.iter().enumerate() {
            let stage = stages.get(number).copied().flatten();
            let options = self.mount_options(word)?;
            self.mount(options, stage, word.span, &mut mounts)?;
        }
        Ok(mounts)
    }

    fn mount_options(&mut self, word: &Word) -> Result<MountOptions, Diagnostic> {
        let mut expand = |value: &str| {
            self.expand(&Word::new(value.to_owned(), word.span))
                .map_err(Fault::Placed)
        };
        MountOptions::parse(&word.value, &mut expand).map_err(|fault| match fault {
            Fault::Text(text) => messages::mount(&text, word.span),
            Fault::Placed(fault) => fault,
        })
    }

    fn mount(
        &mut self,
        options: MountOptions,
        stage: Option<usize>,
        span: Span,
        mounts: &mut Mounts,
    ) -> Result<(), Diagnostic> {
        let mount = match options.kind {
            MountType::Secret => secret(options),
            MountType::Ssh => {
                let mount = ssh(options, mounts.n_agents);
                mounts.n_agents += 1;
                mount
            }
            MountType::Bind => {
                let target = self.mount_target(&options.target, span)?;
                let from = match stage {
                    Some(number) => self.mounted_tree(number, &options, span, mounts)?,
                    None => Tree::Context(ContextName::default()),
                };
                RunMount::Bind {
                    target,
                    from,
                    source: paths::resolve("/", &options.source),
                    writable: !options.read_only,
                }
            }
            MountType::Cache => self.cache(options, stage, span, mounts)?,
            MountType::Tmpfs => RunMount::Tmpfs {
                target: self.mount_target(&options.target, span)?,
                size: options.size,
            },
        };
        mounts.mounts.push(mount);
        Ok(())
    }

    fn cache(
        &mut self,
        options: MountOptions,
        stage: Option<usize>,
        span: Span,
        mounts: &mut Mounts,
    ) -> Result<RunMount, Diagnostic> {
        let target = self.mount_target(&options.target, span)?;
        let seed = match stage {
            Some(number) => {
                let tree = self.mounted_tree(number, &options, span, mounts)?;
                Some((tree, paths::resolve("/", &options.source)))
            }
            None => None,
        };
        let namespace = self.stages.global.build_args.get(CACHE_NAMESPACE_ARG);
        let name = if options.id.is_empty() {
            paths::clean(&options.target)
        } else {
            options.id
        };
        // Owner and mode are those of a directory made for the purpose.
        let has_own_root = options.source.is_empty();
        Ok(RunMount::Cache {
            target,
            id: format!("{}/{name}", namespace.copied().unwrap_or_default()),
            seed,
            sharing: options.sharing.unwrap_or_default(),
            read_only: options.read_only,
            mode: options.mode.filter(|_| has_own_root),
            uid: options.uid.filter(|_| has_own_root),
            gid: options.gid.filter(|_| has_own_root),
        })
    }

    fn mount_target(&self, target: &str, span: Span) -> Result<String, Diagnostic> {
        let resolved = self.state.resolve(self.state.working_dir(), target);
        if resolved == "/" {
            return Err(messages::mount("invalid mount target \"/\"", span)
                .with_help("the root is the step's own; mount on a directory below it"));
        }
        Ok(resolved)
    }

    /// Returns the tree of the stage that a mount's `from` names.
    fn mounted_tree(
        &self,
        number: usize,
        options: &MountOptions,
        span: Span,
        mounts: &mut Mounts,
    ) -> Result<Tree, Diagnostic> {
        let Some(state) = &self.done[number] else {
            if number < self.stages.n_declared && number > self.number {
                let (from, target) = (&options.from, &options.target);
                return Err(messages::mount_from_later(from, target, span));
            }
            // The stage is at fault itself, which has been reported: go on to find more.
            return Ok(Tree::Context(ContextName::default()));
        };
        if let StepKind::Local { context } = self.shared.steps.kind(state.rootfs) {
            return Ok(Tree::Context(context.clone()));
        }
        let known = mounts
            .sources
            .iter()
            .position(|place| *place == state.rootfs);
        let place = known.unwrap_or_else(|| {
            mounts.sources.push(state.rootfs);
            mounts.sources.len() - 1
        });
        Ok(Tree::Step(place))
    }
}

fn secret(options: MountOptions) -> RunMount {
    let id = [&options.source, &options.id]
        .into_iter()
        .find(|id| !id.is_empty())
        .cloned()
        .unwrap_or_else(|| base_name(&options.target).to_owned());
    let target = if !options.target.is_empty() {
        Some(options.target)
    } else if options.env.is_none() {
        Some(format!("{SECRETS}{}", base_name(&id)))
    } else {
        None
    };
    RunMount::Secret {
        id,
        target,
        env: options.env,
        required: options.required,
        mode: options.mode.unwrap_or(SECRET_MODE),
        uid: options.uid.unwrap_or(0),
        gid: options.gid.unwrap_or(0),
    }
}

fn ssh(options: MountOptions, number: usize) -> RunMount {
    let default = |text: String, other: String| if text.is_empty() { other } else { text };
    RunMount::Ssh {
        id: default(options.id, "default".to_owned()),
        target: default(options.target, format!("{AGENT}{number}")),
        required: options.required,
        mode: options.mode.unwrap_or(AGENT_MODE),
        uid: options.uid.unwrap_or(0),
        gid: options.gid.unwrap_or(0),
    }
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path)
}
