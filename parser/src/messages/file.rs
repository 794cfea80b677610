//! Findings about the file, its lines, directives, heredocs and keywords.

use crate::{diagnostic::Diagnostic, quote::quote, span::Span, suggest, syntax::KEYWORDS};

pub(crate) fn empty_file() -> Diagnostic {
    Diagnostic::error(
        "parse::empty-file",
        "the Dockerfile cannot be empty",
        Span::default(),
    )
    .with_help("start with FROM and a base image, e.g. `FROM scratch`")
}

pub(crate) fn no_instructions(span: Span) -> Diagnostic {
    Diagnostic::error("parse::no-instructions", "file with no instructions", span)
        .with_help("start with FROM and a base image, e.g. `FROM scratch`")
}

pub(crate) fn no_stages(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::no-stages",
        "dockerfile contains no stages to build",
        span,
    )
    .with_help("add FROM and a base image after the ARGs")
}

pub(crate) fn outside_stage(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::outside-stage",
        "no build stage in current context",
        span,
    )
    .with_help("only ARG may come before the first FROM")
}

pub(crate) fn line_too_long(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::line-too-long",
        "dockerfile line greater than max allowed size of 65535",
        span,
    )
    .with_help("break the line with the escape character, or COPY the data from a file")
}

pub(crate) fn too_many_errors(limit: usize, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::too-many-errors",
        format!("more than {limit} errors, the rest of the file was not read"),
        span,
    )
    .with_help("is this a Dockerfile?")
}

pub(crate) fn too_many_instructions(limit: usize, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::too-many-instructions",
        format!("more than {limit} instructions"),
        span,
    )
    .with_help("join ENV and LABEL instructions, or generate smaller files")
}

pub(crate) fn duplicate_directive(name: &str, span: Span, earlier: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::duplicate-directive",
        format!("only one {name} parser directive can be used"),
        span,
    )
    .with_label(earlier, "first used here")
    .with_help("remove one of them")
}

pub(crate) fn invalid_escape(value: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::invalid-escape",
        format!("invalid escape token '{value}' does not match ` or \\"),
        span,
    )
    .with_help("write # escape=` or # escape=\\")
}

pub(crate) fn empty_continuation(last_line: Span, empty_line: Span) -> Diagnostic {
    Diagnostic::warning("NoEmptyContinuation", "Empty continuation line", last_line)
        .with_label(empty_line, "this line is empty")
        .with_help("remove the empty line, or put a # on it")
}

pub(crate) fn unterminated_heredoc(name: &str, line: Span, too_long: Option<Span>) -> Diagnostic {
    let error = Diagnostic::error("parse::unterminated-heredoc", "unterminated heredoc", line);
    if let Some(too_long) = too_long {
        return error
            .with_label(too_long, "this line has more than 65535 bytes")
            .with_help("break the line, or COPY the data from a file");
    }
    let looks_like_a_name = name
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' '));
    if looks_like_a_name {
        error.with_help(format!(
            "end the body with a line that holds only `{name}`, without blanks around it"
        ))
    } else {
        error.with_help(format!(
            "`<<` and `{name}` announce a heredoc; for a shift write `<<` without blanks around it"
        ))
    }
}

pub(crate) fn json_not_strings(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::json-not-strings",
        "when using JSON array syntax, arrays must be comprised of strings only",
        span,
    )
    .with_help("put the value in double quotes")
}

pub(crate) fn two_arguments(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::missing-value",
        format!("{name} must have two arguments"),
        span,
    )
    .with_help(format!("write {name} key=value"))
}

pub(crate) fn missing_equals(word: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::missing-equals",
        format!(
            "Syntax error - can't find = in {}. Must be of the form: name=value",
            quote(word)
        ),
        span,
    )
    .with_help("quote values with blanks, e.g. name=\"two words\"")
}

pub(crate) fn unknown_instruction(keyword: &str, span: Span) -> Diagnostic {
    let hint = match suggest::nearest_in_any_case(keyword, &KEYWORDS) {
        Some(known) => format!(" (did you mean {known}?)"),
        None => String::new(),
    };
    Diagnostic::error(
        "parse::unknown-instruction",
        format!("unknown instruction: {keyword}{hint}"),
        span,
    )
    .with_help(format!(
        "the instructions are {}; a command that goes on needs the escape character at the end of \
         the line before",
        KEYWORDS.join(", ").to_uppercase()
    ))
}
