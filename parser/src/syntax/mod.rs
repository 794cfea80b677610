//! The first of two passes: lines, directives, comments, heredocs, flags and the shape of each
//! instruction's arguments. Knows what BuildKit's own parser knows; what the arguments mean is the
//! second pass's.

use crate::{
    ast::{ArgDeclaration, Directive, Head, KeyValues, Word},
    diagnostic::Diagnostic,
};

mod command;
pub mod directive;
mod file;
mod flag;
pub(crate) mod heredoc;
mod json;
pub(crate) mod line;
mod word;

pub use file::parse_syntax;
pub(crate) use file::walk;
pub use flag::Flag;
pub(crate) use line::leading_blanks;

/// A file after the first pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxFile {
    /// Parser directives, in order.
    pub directives: Vec<Directive>,
    /// The escape character: `\` or `` ` ``.
    pub escape: char,
    /// The instructions, in order, broken ones too.
    pub statements: Vec<Statement>,
    /// What is wrong so far, in file order.
    pub diagnostics: Vec<Diagnostic>,
}

/// One instruction of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Text, places, comments, heredocs.
    pub head: Head,
    /// The instruction, and after it, for `ONBUILD`, the trigger, the trigger's trigger and so on.
    /// Never empty.
    pub commands: Vec<Command>,
    /// Blanks at the end of the logical line: an `ONBUILD` keeps them.
    pub trailing_blanks: String,
}

/// A keyword with what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The keyword as typed.
    pub keyword: Word,
    /// Everything after the keyword.
    pub text: Word,
    /// Flags before the arguments.
    pub flags: Vec<Flag>,
    /// The arguments by the keyword's shape.
    pub arguments: Arguments,
}

/// Arguments by shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arguments {
    /// Words; perhaps none.
    Words(Vec<Word>),
    /// A JSON array of strings, decoded; perhaps empty.
    Json(Vec<Word>),
    /// `ARG`: names with their defaults; perhaps none.
    Declarations(Vec<ArgDeclaration>),
    /// The rest of the line; `None` if nothing was written.
    Text(Option<Word>),
    /// `ENV` and `LABEL`; `None` if nothing was written.
    Pairs(Option<KeyValues>),
    /// `HEALTHCHECK`: the type, then [`Arguments::Text`] or [`Arguments::Json`].
    Typed(Word, Box<Self>),
    /// `ONBUILD`: the next command is the argument.
    Trigger,
    /// `ONBUILD` with nothing after it, and keywords that are not known.
    Nothing,
    /// Broken; a diagnostic says why.
    Invalid,
}

/// Keywords in lower case, sorted.
pub(crate) const KEYWORDS: [&str; 18] = [
    "add",
    "arg",
    "cmd",
    "copy",
    "entrypoint",
    "env",
    "expose",
    "from",
    "healthcheck",
    "label",
    "maintainer",
    "onbuild",
    "run",
    "shell",
    "stopsignal",
    "user",
    "volume",
    "workdir",
];
