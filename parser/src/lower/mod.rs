//! The second pass: statements to typed instructions, grouped in stages. Everything that can be
//! wrong with an instruction without knowing variables, images or other stages is found here.

use crate::{
    ast::{Directive, Dockerfile, From, Head, Instruction, InstructionKind, Stage},
    diagnostic::Diagnostic,
    messages,
    span::Span,
    syntax::{self, Arguments, Command, Statement},
};

mod duration;
mod flags;
mod health;
mod run;
mod simple;
mod transfer;

/// A parsed file and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The tree. Broken instructions are missing from it, so it must not be built if
    /// [`Parsed::has_errors`].
    pub dockerfile: Dockerfile,
    /// Errors and warnings in file order.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// Tells whether any finding is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Parses a Dockerfile. Total: whatever the bytes, there is a tree and a list of findings; reading
/// goes on after each broken instruction. Bytes that are not UTF-8 become U+FFFD, places stay
/// those of the file.
#[must_use]
pub fn parse(source: &[u8]) -> Parsed {
    let mut grouping = Grouping::default();
    let outline = syntax::walk(source, |statement, diagnostics| {
        grouping.add(statement, diagnostics);
    });
    let mut diagnostics = outline.diagnostics;
    if grouping.stages.is_empty() && !diagnostics.iter().any(Diagnostic::is_error) {
        diagnostics.push(match grouping.last {
            _ if source.is_empty() => messages::empty_file(),
            None => messages::no_instructions(Span::default()),
            Some(last) => messages::no_stages(last),
        });
    }
    Parsed {
        dockerfile: grouping.finish(outline.directives, outline.escape),
        diagnostics,
    }
}

/// Parses the text of an `ONBUILD` trigger as an image config keeps it, or an instruction from the
/// command line: one instruction, no `FROM`, heredoc bodies after it. Places are offsets in `text`.
#[must_use]
pub fn parse_trigger(text: &str) -> (Option<Instruction>, Vec<Diagnostic>) {
    let mut found = Vec::new();
    let mut n_statements = 0;
    let outline = syntax::walk(text.as_bytes(), |statement, diagnostics| {
        n_statements += 1;
        if n_statements == 1 {
            found.push(lower(statement, diagnostics));
        }
    });
    let mut diagnostics = outline.diagnostics;
    let mut instruction = None;
    match found.pop() {
        None => diagnostics.push(messages::trigger_count(Span::default())),
        Some(_) if n_statements > 1 => {
            diagnostics.push(messages::trigger_count(Span::new(0, text.len())));
        }
        Some(Lowered::From(_, head)) => {
            diagnostics.push(messages::onbuild_trigger("FROM", head.keyword.span));
        }
        Some(Lowered::Instruction(found)) => instruction = Some(found),
        Some(Lowered::Broken) => {}
    }
    if diagnostics.iter().any(Diagnostic::is_error) {
        instruction = None;
    }
    (instruction, diagnostics)
}

/// Collects instructions into stages.
#[derive(Debug, Default)]
struct Grouping {
    global_args: Vec<Instruction>,
    stages: Vec<Stage>,
    /// Where the last statement is.
    last: Option<Span>,
    /// True once an instruction outside a stage was reported: the others follow from it.
    reported: bool,
}

impl Grouping {
    fn add(&mut self, statement: Statement, diagnostics: &mut Vec<Diagnostic>) {
        self.last = Some(statement.head.span);
        match lower(statement, diagnostics) {
            Lowered::From(from, head) => self.stages.push(Stage {
                from,
                head,
                instructions: Vec::new(),
            }),
            Lowered::Instruction(instruction) => match self.stages.last_mut() {
                Some(stage) => stage.instructions.push(instruction),
                None if matches!(instruction.kind, InstructionKind::Arg(_)) => {
                    self.global_args.push(instruction);
                }
                None if self.reported => {}
                None => {
                    self.reported = true;
                    diagnostics.push(messages::outside_stage(instruction.head.line_span));
                }
            },
            Lowered::Broken => {}
        }
    }

    fn finish(self, directives: Vec<Directive>, escape: char) -> Dockerfile {
        Dockerfile {
            directives,
            escape,
            global_args: self.global_args,
            stages: self.stages,
        }
    }
}

/// What a statement turns out to be.
enum Lowered {
    /// A `FROM`: also one with errors, so that what follows has its stage.
    From(From, Head),
    Instruction(Instruction),
    Broken,
}

/// An instruction's parts as the functions for each keyword get them.
struct Input<'a> {
    /// The keyword in upper case, for messages.
    name: &'static str,
    command: Command,
    /// The trigger's command for `ONBUILD`.
    trigger: Option<Command>,
    trailing_blanks: String,
    head: &'a mut Head,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Input<'_> {
    /// Notes an error; returns what a function for a keyword returns then.
    fn fail<T>(&mut self, error: Diagnostic) -> Option<T> {
        self.diagnostics.push(error);
        None
    }

    /// Returns the words of the arguments, `None` if they have another shape.
    fn take_words(&mut self) -> Option<Vec<crate::ast::Word>> {
        match std::mem::replace(&mut self.command.arguments, Arguments::Nothing) {
            Arguments::Words(words) | Arguments::Json(words) => Some(words),
            _ => None,
        }
    }
}

fn lower(statement: Statement, diagnostics: &mut Vec<Diagnostic>) -> Lowered {
    let Statement {
        mut head,
        commands,
        trailing_blanks,
    } = statement;
    let mut commands = commands.into_iter();
    let Some(command) = commands.next() else {
        return Lowered::Broken; // there is always a first command
    };
    let keyword = command.keyword.value.to_ascii_uppercase();
    let Some((name, lower_kind)) = KINDS.iter().find(|(name, _)| *name == keyword) else {
        if keyword == "FROM" {
            let from = simple::from(command, diagnostics);
            return Lowered::From(from, head);
        }
        let keyword = &command.keyword;
        diagnostics.push(messages::unknown_instruction(&keyword.value, keyword.span));
        return Lowered::Broken;
    };
    if command.arguments == Arguments::Invalid {
        return Lowered::Broken;
    }
    let n_before = diagnostics.len();
    let kind = lower_kind(&mut Input {
        name,
        command,
        trigger: commands.next(),
        trailing_blanks,
        head: &mut head,
        diagnostics,
    });
    let is_broken = diagnostics[n_before..].iter().any(Diagnostic::is_error);
    match kind {
        Some(kind) if !is_broken => Lowered::Instruction(Instruction { head, kind }),
        _ => Lowered::Broken,
    }
}

type LowerKind = fn(&mut Input<'_>) -> Option<InstructionKind>;

/// All instructions but `FROM`.
const KINDS: [(&str, LowerKind); 17] = [
    ("ADD", transfer::add),
    ("ARG", simple::arg),
    ("CMD", simple::cmd),
    ("COPY", transfer::copy),
    ("ENTRYPOINT", simple::entrypoint),
    ("ENV", simple::env),
    ("EXPOSE", simple::expose),
    ("HEALTHCHECK", health::healthcheck),
    ("LABEL", simple::label),
    ("MAINTAINER", simple::maintainer),
    ("ONBUILD", simple::onbuild),
    ("RUN", run::run),
    ("SHELL", simple::shell),
    ("STOPSIGNAL", simple::stop_signal),
    ("USER", simple::user),
    ("VOLUME", simple::volume),
    ("WORKDIR", simple::workdir),
];

#[cfg(test)]
mod tests;
