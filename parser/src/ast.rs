//! The syntax tree of a Dockerfile: every node as written, with the bytes it came from.
//!
//! Words are kept raw (quotes, escapes and variables untouched): expansion needs an environment,
//! which only the planner has.

use crate::span::{Span, Spanned};

/// A parsed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// Parser directives at the top of the file, in order.
    pub directives: Vec<Directive>,
    /// The escape character: `\` or `` ` ``.
    pub escape: char,
    /// `ARG` instructions before the first `FROM`.
    pub global_args: Vec<Instruction>,
    /// The build stages, in order.
    pub stages: Vec<Stage>,
}

/// `# name=value` at the top of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// Lower-case name: `syntax`, `escape` or `check`.
    pub name: String,
    /// Value as written, trimmed.
    pub value: Spanned<String>,
    /// The whole line.
    pub span: Span,
}

/// A `FROM` and what follows it up to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The `FROM` line.
    pub from: From,
    /// The `FROM` line as an instruction: keyword, comments, text.
    pub head: Head,
    /// The instructions after it.
    pub instructions: Vec<Instruction>,
}

/// What every instruction has besides its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// From the keyword's first byte to the last byte of the last line, heredoc bodies included.
    pub span: Span,
    /// From the keyword's first byte to the end of the logical line, heredoc bodies excluded.
    pub line_span: Span,
    /// The keyword as typed.
    pub keyword: Spanned<String>,
    /// The logical line: continuations joined, comments dropped, trimmed.
    pub text: String,
    /// Comment lines directly above, without `#`, trimmed.
    pub comments: Vec<Spanned<String>>,
    /// Bodies of the heredocs that the line names, in order.
    pub heredocs: Vec<Heredoc>,
}

/// A heredoc and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter without quotes.
    pub name: String,
    /// False if any part of the delimiter was quoted: the body is literal.
    pub expand: bool,
    /// True for `<<-`: leading tabs are stripped when the body is used.
    pub chomp: bool,
    /// The file descriptor before `<<`; 0 if none.
    pub file_descriptor: u32,
    /// The body's raw bytes as text, tabs kept, including the last line's end.
    pub body: String,
    /// The body in the file, terminator line excluded.
    pub span: Span,
}

impl Heredoc {
    /// Returns the body as it is used: without leading tabs for `<<-`.
    #[must_use]
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        self.body
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Keyword, text, comments, places.
    pub head: Head,
    /// Its arguments.
    pub kind: InstructionKind,
}

/// An instruction's arguments by keyword (`FROM` stands in [`Stage::from`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `ARG name[=default] …`
    Arg(Vec<ArgDeclaration>),
    /// `ENV key=value …`
    Env(KeyValues),
    /// `LABEL key=value …`
    Label(KeyValues),
    /// `RUN …`
    Run(Run),
    /// `COPY …`
    Copy(Copy),
    /// `ADD …`
    Add(Add),
    /// `WORKDIR path`, the whole rest of the line.
    Workdir(Word),
    /// `USER name`, the whole rest of the line.
    User(Word),
    /// `EXPOSE port …`
    Expose(Vec<Word>),
    /// `VOLUME path …`
    Volume(Vec<Word>),
    /// `STOPSIGNAL signal`, the whole rest of the line.
    StopSignal(Word),
    /// `HEALTHCHECK …`
    Healthcheck(Healthcheck),
    /// `SHELL ["…"]`
    Shell(Vec<Word>),
    /// `CMD …`
    Cmd(CommandLine),
    /// `ENTRYPOINT …`
    Entrypoint(CommandLine),
    /// `ONBUILD instruction`
    Onbuild(Onbuild),
    /// `MAINTAINER name`, the whole rest of the line.
    Maintainer(Word),
}

/// One argument as written: quotes, escapes and variables untouched.
pub type Word = Spanned<String>;

/// `FROM [--platform=P] base [AS name]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// `--platform`, unexpanded.
    pub platform: Option<Word>,
    /// The image or stage, unexpanded.
    pub base: Word,
    /// The stage's name: lower-cased in `value`; the span covers it as typed.
    pub name: Option<Word>,
    /// The word `AS` as typed.
    pub as_keyword: Option<Word>,
}

/// One `name` or `name=default` of `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// The name, taken literally.
    pub name: Word,
    /// The default, unexpanded; `Some("")` for `name=`.
    pub default: Option<Word>,
}

/// The pairs of `ENV` and `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValues {
    /// Keys and values, unexpanded.
    pub pairs: Vec<(Word, Word)>,
    /// True for the form without `=`.
    pub legacy: bool,
}

/// Shell form or exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// The text given to the shell; empty if nothing was written.
    Shell(Word),
    /// `["a", "b"]`, decoded; may be empty.
    Exec(Vec<Word>),
}

/// `RUN [flags] command`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `--mount` values, flag quoting removed, unexpanded.
    pub mounts: Vec<Word>,
    /// `--network`, checked: `default`, `none` or `host`.
    pub network: Option<Word>,
    /// `--security`, checked: `sandbox` or `insecure`.
    pub security: Option<Word>,
    /// `--device` values.
    pub devices: Vec<Word>,
    /// The command without flags. With heredocs this is still the line as written; see
    /// [`Head::heredocs`].
    pub command: CommandLine,
    /// True if the command is exactly one heredoc word, so that the body is the script.
    pub heredoc_only: bool,
}

/// `COPY [flags] source… dest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// `--from`, never expanded.
    pub from: Option<Word>,
    /// `--parents`.
    pub parents: bool,
    /// What it shares with `ADD`.
    pub transfer: Transfer,
}

/// `ADD [flags] source… dest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// `--keep-git-dir`, if given.
    pub keep_git_dir: Option<bool>,
    /// `--checksum`, unexpanded.
    pub checksum: Option<Word>,
    /// `--unpack`, if given.
    pub unpack: Option<bool>,
    /// What it shares with `COPY`.
    pub transfer: Transfer,
}

/// What `COPY` and `ADD` share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Sources in order; at least one.
    pub sources: Vec<TransferSource>,
    /// The destination, unexpanded.
    pub dest: Word,
    /// `--chown`, unexpanded.
    pub chown: Option<Word>,
    /// `--chmod`, unexpanded.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--exclude` patterns, never expanded.
    pub exclude: Vec<Word>,
}

/// One source of `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferSource {
    /// A path or pattern (or URL, for `ADD`), unexpanded.
    Path(Word),
    /// A heredoc: index into [`Head::heredocs`].
    Heredoc(usize),
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`
    None,
    /// `HEALTHCHECK [flags] CMD …`; times in nanoseconds, 0 if not given.
    Cmd {
        /// The command.
        command: CommandLine,
        /// `--interval`
        interval: i64,
        /// `--timeout`
        timeout: i64,
        /// `--start-period`
        start_period: i64,
        /// `--start-interval`
        start_interval: i64,
        /// `--retries`
        retries: i64,
    },
}

/// `ONBUILD instruction`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The trigger as an image config keeps it: the text after `ONBUILD`, heredoc bodies and
    /// terminators appended.
    pub trigger: Spanned<String>,
}
