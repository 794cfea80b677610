//! Findings about the flags and arguments of instructions.

use crate::{diagnostic::Diagnostic, quote::quote, span::Span, suggest};

pub(crate) fn unknown_flag(name: &str, known: &[&str], span: Span) -> Diagnostic {
    let hint = match suggest::nearest(name, known) {
        Some(flag) => format!(" (did you mean {flag}?)"),
        None => String::new(),
    };
    let error = Diagnostic::error(
        "parse::unknown-flag",
        format!("unknown flag: --{name}{hint}"),
        span,
    );
    if known.is_empty() {
        error.with_help("this instruction has no flags")
    } else {
        error.with_help(format!("the flags here are --{}", known.join(", --")))
    }
}

pub(crate) fn duplicate_flag(name: &str, span: Span, earlier: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::duplicate-flag",
        format!("duplicate flag specified: --{name}"),
        span,
    )
    .with_label(earlier, "first given here")
    .with_help("remove one of them")
}

pub(crate) fn missing_flag_value(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::missing-flag-value",
        format!("missing a value on flag: --{name}"),
        span,
    )
    .with_help(format!("write --{name}=value"))
}

pub(crate) fn not_boolean(name: &str, value: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::flag-not-boolean",
        format!("expecting boolean value for flag --{name}, not: {value}"),
        span,
    )
    .with_help("write true or false")
}

pub(crate) fn at_least_one(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::missing-argument",
        format!("{name} requires at least one argument"),
        span,
    )
}

pub(crate) fn exactly_one(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::missing-argument",
        format!("{name} requires exactly one argument"),
        span,
    )
}

pub(crate) fn blank_name(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::blank-name",
        format!("{name} names can not be blank"),
        span,
    )
    .with_help("write a name before the =")
}

pub(crate) fn from_arity(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::from-arity",
        "FROM requires either one or three arguments",
        span,
    )
    .with_help("write FROM image or FROM image AS name; comments need a line of their own")
}

pub(crate) fn stage_name(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::stage-name",
        format!(
            "invalid name for build stage: {}, name can't start with a number or contain symbols",
            quote(name)
        ),
        span,
    )
    .with_help("names start with a letter; digits, `-`, `_` and `.` may follow")
}

pub(crate) fn no_destination(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::missing-destination",
        format!(
            "{name} requires at least two arguments, but only one was provided. Destination could \
             not be determined"
        ),
        span,
    )
    .with_help(format!("write {name} source destination"))
}

pub(crate) fn heredoc_destination(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::heredoc-destination",
        format!("{name} cannot accept a heredoc as a destination"),
        span,
    )
    .with_help("put the heredoc first and the destination last")
}

pub(crate) fn from_variable(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::from-variable",
        "variable expansion is not supported for --from, define a new stage with FROM using ARG \
         from global scope as a workaround",
        span,
    )
    .with_help("add a stage `FROM image:$TAG AS name` and use --from=name")
}

pub(crate) fn mount_from_variable(key: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::mount-from-variable",
        format!("'{key}' doesn't support variable expansion, define alias stage instead"),
        span,
    )
    .with_help("add a stage `FROM image:$TAG AS name` and use from=name")
}

pub(crate) fn mount_csv(problem: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::mount-csv",
        format!("failed to parse csv mounts: {problem}"),
        span,
    )
    .with_help(
        "write --mount=type=TYPE,key=value; to have a comma in a value, quote the whole field",
    )
}

pub(crate) fn network(value: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::invalid-network",
        format!("invalid network mode {}", quote(value)),
        span,
    )
    .with_help("write default, none or host")
}

pub(crate) fn security(value: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::invalid-security",
        format!("security {} is not valid", quote(value)),
        span,
    )
    .with_help("write sandbox or insecure")
}

pub(crate) fn blank_volume(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::blank-volume",
        "VOLUME specified can not be an empty string",
        span,
    )
    .with_help("write a path")
}

pub(crate) fn shell_not_json(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::shell-not-json",
        "SHELL requires the arguments to be in JSON form",
        span,
    )
    .with_help("write e.g. SHELL [\"/bin/bash\", \"-c\"], with double quotes")
}

pub(crate) fn onbuild_chain(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::onbuild-chain",
        "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        span,
    )
    .with_help("remove one ONBUILD")
}

pub(crate) fn onbuild_trigger(keyword: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::onbuild-trigger",
        format!("{keyword} isn't allowed as an ONBUILD trigger"),
        span,
    )
}

pub(crate) fn trigger_count(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::trigger-count",
        "onbuild trigger should be a single expression",
        span,
    )
    .with_help("write exactly one instruction")
}

pub(crate) fn healthcheck_none(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::healthcheck-none",
        "HEALTHCHECK NONE takes no arguments",
        span,
    )
    .with_help("write HEALTHCHECK NONE alone")
}

pub(crate) fn healthcheck_command(span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::healthcheck-command",
        "Missing command after HEALTHCHECK CMD",
        span,
    )
    .with_help("write the command that checks, e.g. HEALTHCHECK CMD curl -f http://localhost/")
}

pub(crate) fn healthcheck_type(kind: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::healthcheck-type",
        format!("Unknown type {} in HEALTHCHECK (try CMD)", quote(kind)),
        span,
    )
    .with_help("write HEALTHCHECK CMD command or HEALTHCHECK NONE")
}

pub(crate) fn duration(problem: String, span: Span) -> Diagnostic {
    Diagnostic::error("parse::invalid-duration", problem, span)
        .with_help("write a number and a unit, e.g. 30s, 5m or 1h30m")
}

pub(crate) fn short_interval(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error(
        "parse::short-interval",
        format!("Interval {} cannot be less than 1ms", quote(name)),
        span,
    )
    .with_help("write 1ms or more, or 0 for the default")
}

pub(crate) fn retries(problem: String, span: Span) -> Diagnostic {
    Diagnostic::error("parse::invalid-retries", problem, span)
        .with_help("write a whole number, 0 for the default")
}
