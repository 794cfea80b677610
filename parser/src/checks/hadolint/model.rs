//! The file as the rules look at it: stages with what they stand on, and the commands of each
//! `RUN`.

use super::super::shell::{self, Command, Script, ShellText, Word};
use crate::{
    ast::{CommandLine, Dockerfile, Head, Instruction, InstructionKind, Run, Stage},
    csv,
    span::Span,
};

/// A file and what is needed more than once.
pub(super) struct Model<'a> {
    pub(super) dockerfile: &'a Dockerfile,
    pub(super) stages: Vec<StageModel<'a>>,
}

/// A stage.
pub(super) struct StageModel<'a> {
    pub(super) stage: &'a Stage,
    /// The earlier stage that it stands on.
    pub(super) parent: Option<usize>,
    /// Its `RUN` instructions, those behind `ONBUILD` too.
    pub(super) runs: Vec<RunModel>,
}

/// A `RUN`.
pub(super) struct RunModel {
    /// The whole instruction.
    pub(super) instruction: Span,
    /// Which instruction of the stage it is.
    pub(super) index: usize,
    pub(super) is_trigger: bool,
    /// Types and targets of its mounts.
    pub(super) mounts: Vec<(String, String)>,
    /// Its flags, to compare.
    pub(super) flags: Vec<String>,
    /// What its shell runs; several if heredocs are scripts too.
    pub(super) scripts: Vec<Source>,
}

/// A script with its commands.
pub(super) struct Source {
    pub(super) text: ShellText,
    pub(super) script: Script,
}

/// Shells whose grammar the splitter knows.
const SHELLS: [&str; 8] = ["sh", "bash", "ash", "dash", "zsh", "ksh", "mksh", "busybox"];

impl<'a> Model<'a> {
    pub(super) fn new(source: &'a [u8], dockerfile: &'a Dockerfile) -> Self {
        let mut stages: Vec<StageModel<'a>> = Vec::with_capacity(dockerfile.stages.len());
        // The shell is not the system's after `SHELL`; stages inherit it.
        let mut has_posix_shell: Vec<bool> = Vec::with_capacity(dockerfile.stages.len());
        let mut names = std::collections::HashMap::new();
        for (index, stage) in dockerfile.stages.iter().enumerate() {
            let base = stage.from.base.value.to_lowercase();
            let parent = names.get(&base).copied();
            let mut is_posix = parent.is_none_or(|parent: usize| has_posix_shell[parent]);
            let mut runs = Vec::new();
            for (place, instruction) in stage.instructions.iter().enumerate() {
                if let InstructionKind::Shell(words) = &instruction.kind {
                    is_posix = is_posix_shell(words.iter().map(|word| word.value.as_str()));
                }
                if let Some(run) = RunModel::new(source, dockerfile.escape, instruction, is_posix) {
                    runs.push(RunModel {
                        index: place,
                        ..run
                    });
                }
            }
            stages.push(StageModel {
                stage,
                parent,
                runs,
            });
            has_posix_shell.push(is_posix);
            if let Some(name) = &stage.from.name {
                names.insert(name.value.clone(), index);
            }
        }
        Self { dockerfile, stages }
    }

    /// Returns the stages that others stand on.
    pub(super) fn is_base(&self) -> Vec<bool> {
        let mut is_base = vec![false; self.stages.len()];
        for parent in self.stages.iter().filter_map(|stage| stage.parent) {
            is_base[parent] = true;
        }
        is_base
    }
}

impl StageModel<'_> {
    /// Returns the stage's instructions.
    pub(super) fn instructions(&self) -> &[Instruction] {
        &self.stage.instructions
    }
}

impl RunModel {
    /// Returns the model of a `RUN`, also behind `ONBUILD`; `None` for other instructions.
    fn new(source: &[u8], escape: char, instruction: &Instruction, is_posix: bool) -> Option<Self> {
        let head = &instruction.head;
        let new = |run: &Run, is_trigger: bool, inner: &Head| Self {
            instruction: head.span,
            index: 0,
            is_trigger,
            mounts: run
                .mounts
                .iter()
                .filter_map(|word| mount(&word.value))
                .collect(),
            flags: flags(run),
            scripts: Scripts {
                source,
                escape,
                head,
                inner,
                is_posix,
                is_trigger,
            }
            .of(run),
        };
        match &instruction.kind {
            InstructionKind::Run(run) => Some(new(run, false, head)),
            InstructionKind::Onbuild(onbuild) => {
                let (trigger, _) = crate::parse_trigger(&onbuild.trigger.value);
                let trigger = trigger?;
                match &trigger.kind {
                    InstructionKind::Run(run) => Some(new(run, true, &trigger.head)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Returns the commands with what gives their places.
    pub(super) fn commands(&self) -> impl Iterator<Item = (&ShellText, &Command)> {
        self.scripts.iter().flat_map(|source| {
            source
                .script
                .commands
                .iter()
                .map(move |found| (&source.text, found))
        })
    }

    /// Returns the commands called `name`.
    pub(super) fn called(&self, name: &str) -> impl Iterator<Item = (&ShellText, &Command)> {
        self.commands()
            .filter(move |(_, command)| command.name() == name)
    }

    /// Tells whether what is written below `path` does not get into the layer, because it is in a
    /// cache or temporary mount.
    pub(super) fn keeps_out(&self, path: &str) -> bool {
        self.mounts.iter().any(|(kind, target)| {
            let target = target.trim_end_matches('/');
            let rest = path.strip_prefix(target);
            matches!(kind.as_str(), "cache" | "tmpfs")
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Tells whether a cache or temporary mount is at a path that `is_wanted` says yes to.
    pub(super) fn has_mount(&self, is_wanted: impl Fn(&str) -> bool) -> bool {
        self.mounts.iter().any(|(kind, target)| {
            matches!(kind.as_str(), "cache" | "tmpfs") && is_wanted(target.trim_end_matches('/'))
        })
    }
}

/// What the scripts of a `RUN` are made from.
struct Scripts<'a> {
    source: &'a [u8],
    escape: char,
    /// The instruction as it stands in the file.
    head: &'a Head,
    /// The `RUN`: not the same behind `ONBUILD`.
    inner: &'a Head,
    is_posix: bool,
    is_trigger: bool,
}

impl Scripts<'_> {
    fn of(&self, run: &Run) -> Vec<Source> {
        match &run.command {
            CommandLine::Exec(words) => self.exec(words),
            CommandLine::Shell(_) if !self.is_posix => Vec::new(),
            CommandLine::Shell(_) if run.heredoc_only => match self.inner.heredocs.first() {
                Some(heredoc) if has_posix_shebang(&heredoc.body) => vec![self.body(0)],
                _ => Vec::new(),
            },
            CommandLine::Shell(text) => {
                let line =
                    ShellText::of_line(self.source, self.head.line_span, self.escape, &text.value);
                let mut sources = vec![Source::new(line)];
                self.fed(&mut sources);
                sources
            }
        }
    }

    /// Adds the heredocs that the line gives to a shell.
    fn fed(&self, sources: &mut Vec<Source>) {
        let mut n_heredocs = 0;
        let mut fed = Vec::new();
        for command in sources.iter().flat_map(|source| &source.script.commands) {
            let first = n_heredocs;
            n_heredocs += command.n_heredocs;
            let is_shell = is_posix_shell(std::iter::once(command.name()))
                && command
                    .arguments()
                    .iter()
                    .all(|word| word.text.starts_with('-'));
            if is_shell && n_heredocs > first {
                fed.push(n_heredocs - 1);
            }
        }
        for index in fed
            .into_iter()
            .filter(|index| *index < self.inner.heredocs.len())
        {
            sources.push(self.body(index));
        }
    }

    fn body(&self, index: usize) -> Source {
        let heredoc = &self.inner.heredocs[index];
        if self.is_trigger {
            return Source::new(ShellText::somewhere(
                heredoc.body.clone(),
                self.head.line_span,
            ));
        }
        Source::new(ShellText::of_body(&heredoc.body, heredoc.span))
    }

    /// One command, and if it is `sh -c`, its script.
    fn exec(&self, words: &[crate::ast::Word]) -> Vec<Source> {
        let place = |span: Span| match self.is_trigger {
            true => self.head.line_span,
            false => span,
        };
        let spans: Vec<Span> = words.iter().map(|word| place(word.span)).collect();
        let command = Command {
            words: words
                .iter()
                .enumerate()
                .map(|(index, word)| Word {
                    text: word.value.clone(),
                    range: index..index + 1,
                    expands: false,
                })
                .collect(),
            ..Command::default()
        };
        let script_word = is_posix_shell(std::iter::once(command.name()))
            .then(|| words.iter().position(|word| word.value.ends_with('c')))
            .flatten()
            .filter(|index| words[*index].value.starts_with('-'))
            .and_then(|index| words.get(index + 1));
        let mut sources = vec![Source {
            text: ShellText::of_words(spans, self.head.line_span),
            script: Script {
                commands: vec![command],
                pipes: Vec::new(),
            },
        }];
        if let Some(word) = script_word {
            let text = ShellText::somewhere(word.value.clone(), place(word.span));
            sources.push(Source::new(text));
        }
        sources
    }
}

impl Source {
    fn new(text: ShellText) -> Self {
        let script = shell::split(&text.text);
        Self { text, script }
    }
}

/// Tells whether the first of these words that is no `env` is a shell whose grammar is known.
fn is_posix_shell<'w>(words: impl Iterator<Item = &'w str>) -> bool {
    words
        .map(|word| word.rsplit('/').next().unwrap_or_default())
        .find(|name| *name != "env")
        .is_some_and(|name| SHELLS.contains(&name))
}

/// Tells whether a script without `#!` line, or with a shell in it.
fn has_posix_shebang(script: &str) -> bool {
    match script
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("#!"))
    {
        None => true,
        Some(interpreter) => is_posix_shell(interpreter.split_whitespace()),
    }
}

/// Returns type and target of a mount.
fn mount(value: &str) -> Option<(String, String)> {
    let fields = csv::fields(value).ok()?;
    let get = |names: &[&str]| {
        fields.iter().find_map(|field| {
            let (name, value) = field.split_once('=')?;
            names
                .contains(&name.to_ascii_lowercase().as_str())
                .then(|| value.to_owned())
        })
    };
    let kind = get(&["type"]).unwrap_or_else(|| "bind".to_owned());
    Some((
        kind,
        get(&["target", "dst", "destination"]).unwrap_or_default(),
    ))
}

fn flags(run: &Run) -> Vec<String> {
    let words = run.mounts.iter().chain(&run.devices);
    let mut flags: Vec<String> = words
        .chain(&run.network)
        .chain(&run.security)
        .map(|word| word.value.clone())
        .collect();
    flags.sort_unstable();
    flags
}
