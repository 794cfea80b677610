//! The walk over a file: directives, comments, logical lines, heredoc bodies.

use super::{
    Arguments, Command, Statement, SyntaxFile, command, directive,
    heredoc::{self, Body},
    line::{Lines, LogicalLine, PhysicalLine},
};
use crate::{
    ast::{Directive, Head, Heredoc, Word},
    diagnostic::Diagnostic,
    messages,
    span::{Span, Spanned},
};

/// More errors than this are not collected: reading stops.
const MAX_ERRORS: usize = 1000;

/// More instructions than this are refused: they would only be there to use up memory.
const MAX_INSTRUCTIONS: usize = 100_000;

/// Reads a file without looking into the instructions' meaning. Never fails: what is broken is in
/// the diagnostics, and reading goes on after it.
#[must_use]
pub fn parse_syntax(source: &[u8]) -> SyntaxFile {
    let mut statements = Vec::new();
    let outline = walk(source, |statement, _| statements.push(statement));
    SyntaxFile {
        directives: outline.directives,
        escape: outline.escape,
        statements,
        diagnostics: outline.diagnostics,
    }
}

/// What a walk finds besides the statements.
pub(crate) struct Outline {
    pub(crate) directives: Vec<Directive>,
    pub(crate) escape: char,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Reads a file and gives each statement away as soon as it is read, with the place for further
/// diagnostics, so that only one statement is held at a time.
pub(crate) fn walk(
    source: &[u8],
    mut visit: impl FnMut(Statement, &mut Vec<Diagnostic>),
) -> Outline {
    let mut walk = Walk {
        source,
        lines: Lines::new(source),
        in_directives: true,
        comments: Vec::new(),
        outline: Outline {
            directives: Vec::new(),
            escape: '\\',
            diagnostics: Vec::new(),
        },
    };
    let mut n_statements = 0;
    let mut n_errors = 0;
    let mut n_counted = 0;
    while let Some(line) = walk.lines.next() {
        walk.check_length(&line);
        if let Some(statement) = walk.line(line) {
            n_statements += 1;
            let span = statement.head.span;
            if n_statements > MAX_INSTRUCTIONS {
                let error = messages::too_many_instructions(MAX_INSTRUCTIONS, span);
                walk.outline.diagnostics.push(error);
                break;
            }
            visit(statement, &mut walk.outline.diagnostics);
        }
        let new = &walk.outline.diagnostics[n_counted..];
        n_errors += new.iter().filter(|found| found.is_error()).count();
        n_counted = walk.outline.diagnostics.len();
        if n_errors >= MAX_ERRORS {
            let end = walk.lines.offset();
            let error = messages::too_many_errors(MAX_ERRORS, Span::new(end, end));
            walk.outline.diagnostics.push(error);
            break;
        }
    }
    walk.outline
}

struct Walk<'a> {
    source: &'a [u8],
    lines: Lines<'a>,
    /// True while every line so far was a directive.
    in_directives: bool,
    /// Comments that will belong to the next instruction.
    comments: Vec<Word>,
    outline: Outline,
}

impl<'a> Walk<'a> {
    fn check_length(&mut self, line: &PhysicalLine<'_>) {
        if line.is_too_long() {
            self.outline
                .diagnostics
                .push(messages::line_too_long(line.span()));
        }
    }

    /// Takes a line that starts something.
    fn line(&mut self, line: PhysicalLine<'a>) -> Option<Statement> {
        if self.in_directives {
            if let Some(found) = directive::read(&line) {
                self.directive(found);
                return None;
            }
            self.in_directives = false;
        }
        match line.trimmed_start() {
            ([], _) => None,
            ([b'#', text @ ..], blanks) => {
                self.comment(text, line.start + blanks + 1);
                None
            }
            _ => self.statement(line),
        }
    }

    fn directive(&mut self, found: Directive) {
        let earlier = self
            .outline
            .directives
            .iter()
            .find(|known| known.name == found.name);
        if let Some(earlier) = earlier {
            let error = messages::duplicate_directive(&found.name, found.span, earlier.span);
            self.outline.diagnostics.push(error);
            return;
        }
        if found.name == "escape" {
            match found.value.value.as_str() {
                "\\" => self.outline.escape = '\\',
                "`" => self.outline.escape = '`',
                other => {
                    let error = messages::invalid_escape(other, found.value.span);
                    self.outline.diagnostics.push(error);
                }
            }
        }
        self.outline.directives.push(found);
    }

    /// Keeps a comment for the next instruction; an empty one drops those before it.
    fn comment(&mut self, text: &[u8], start: usize) {
        let lossy = String::from_utf8_lossy(text);
        let trimmed = lossy.trim();
        if trimmed.is_empty() {
            self.comments.clear();
            return;
        }
        // Blanks are never invalid bytes, so their lengths are those in the file.
        let before = lossy.len() - lossy.trim_start().len();
        let after = lossy.len() - lossy.trim_end().len();
        let span = Span::new(start + before, start + text.len() - after);
        self.comments.push(Spanned::new(trimmed.to_owned(), span));
    }

    fn statement(&mut self, first: PhysicalLine<'a>) -> Option<Statement> {
        let mut too_long = Vec::new();
        let mut logical = LogicalLine::read(first, &mut self.lines, self.outline.escape, |line| {
            if line.is_too_long() {
                too_long.push(messages::line_too_long(line.span()));
            }
        });
        self.outline.diagnostics.append(&mut too_long);
        let last_line = logical.last;
        let empty_line = logical.empty_line;
        let text = logical.trimmed();
        let line_span = text.span();
        let original = text.text().to_owned();
        let content_length = logical.text.trim_end().len();
        let trailing_blanks = logical.text[content_length..].to_owned();
        let commands = command::read(text, self.outline.escape, &mut self.outline.diagnostics);
        if let Some(empty_line) = empty_line {
            let warning = messages::empty_continuation(last_line, empty_line);
            self.outline.diagnostics.push(warning);
        }
        let keyword = commands.first()?.keyword.clone();
        let heredocs = if may_announce_heredocs(&commands) {
            self.heredocs(&original, line_span, &mut logical)
        } else {
            Vec::new()
        };
        let end = logical.last.end.max(line_span.end);
        let head = Head {
            span: Span::new(line_span.start, end),
            line_span,
            keyword,
            text: original,
            comments: std::mem::take(&mut self.comments),
            heredocs,
        };
        Some(Statement {
            head,
            commands,
            trailing_blanks,
        })
    }

    /// Reads the bodies that a line announces.
    fn heredocs(&mut self, text: &str, line: Span, logical: &mut LogicalLine) -> Vec<Heredoc> {
        let mut heredocs = Vec::new();
        for announced in heredoc::announced(text) {
            let name = announced.name.clone();
            match heredoc::read_body(self.source, announced, &mut self.lines, logical) {
                Body::Complete(heredoc) => heredocs.push(heredoc),
                Body::Unterminated { too_long } => {
                    let error = messages::unterminated_heredoc(&name, line, too_long);
                    self.outline.diagnostics.push(error);
                    break;
                }
            }
        }
        heredocs
    }
}

/// Tells whether the instruction, or the trigger of an `ONBUILD`, is one that takes heredocs and
/// is not in exec form.
fn may_announce_heredocs(commands: &[Command]) -> bool {
    let command = match commands {
        [outer, trigger, ..] if outer.arguments == Arguments::Trigger => trigger,
        [command, ..] => command,
        [] => return false,
    };
    let keyword = command.keyword.value.to_ascii_lowercase();
    matches!(keyword.as_str(), "run" | "copy" | "add")
        && !matches!(command.arguments, Arguments::Json(_) | Arguments::Invalid)
}
