//! Every message of the planner: one function each, with its code, place and help.
//!
//! Where BuildKit has a message for the same fault its wording is kept, since scripts look for it.

use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::expand::ExpandError;
use rbuild_parser::quote::quote;
use rbuild_parser::span::Span;

use crate::expose::PortFault;
use crate::findings::{MAX_ENV_BYTES, MAX_PLAN_BYTES};
use crate::suggest;

/// Longer words are cut where a message quotes them.
const MAX_QUOTED_CHARS: usize = 1000;
/// Names that are often misspelt.
const COMMON_IMAGES: &[&str] = &[
    "alpine", "busybox", "debian", "fedora", "golang", "nginx", "node", "postgres", "python",
    "redis", "rust", "ubuntu",
];
/// Faults of `--checksum`.
pub(crate) const CHECKSUM_CODE: &str = "plan::checksum";

pub(crate) fn expansion(word: &str, error: &ExpandError, span: Span) -> Diagnostic {
    let word: String = word.chars().take(MAX_QUOTED_CHARS).collect();
    let reason: String = error.to_string().chars().take(MAX_QUOTED_CHARS).collect();
    let message = format!("failed to process {}: {reason}", quote(&word));
    Diagnostic::error("plan::expansion", message, span)
}

pub(crate) fn environment_too_large(span: Span) -> Diagnostic {
    Diagnostic::error(
        "plan::environment-too-large",
        format!("the environment is larger than {MAX_ENV_BYTES} bytes"),
        span,
    )
    .with_help("no process can be started with it; shorten the values of ENV and ARG")
}

pub(crate) fn plan_too_large(span: Span) -> Diagnostic {
    Diagnostic::error(
        "plan::too-large",
        format!("the expanded Dockerfile is larger than {MAX_PLAN_BYTES} bytes"),
        span,
    )
    .with_help("variables that repeat each other grow very fast; shorten their values")
}

pub(crate) fn bad_epoch(value: &str, span: Span) -> Diagnostic {
    let value: String = value.chars().take(MAX_QUOTED_CHARS).collect();
    let message = format!("invalid SOURCE_DATE_EPOCH: {value}");
    Diagnostic::error("plan::epoch", message, span).with_help("write seconds since 1970")
}

pub(crate) fn epoch_stage(name: &str, span: Span) -> Diagnostic {
    let message = format!(
        "invalid SOURCE_DATE_EPOCH: stage {} has no time",
        quote(name)
    );
    Diagnostic::error("plan::epoch", message, span).with_help(
        "the target must need the stage, which must be FROM scratch with a single ADD of a URL or \
         a git repository",
    )
}

pub(crate) fn no_stages() -> Diagnostic {
    Diagnostic::error(
        "plan::no-stages",
        "dockerfile contains no stages to build",
        Span::default(),
    )
    .with_help("add a FROM instruction")
}

pub(crate) fn unknown_target<'a>(
    target: &str,
    names: impl IntoIterator<Item = &'a str>,
    span: Span,
) -> Diagnostic {
    let hint = suggest::hint(target, names);
    let message = format!("target stage {} could not be found{hint}", quote(target));
    Diagnostic::error("plan::unknown-target", message, span)
        .with_help("--target takes the name of a stage; numbers are not names")
}

pub(crate) fn blank_base(word: &str, span: Span) -> Diagnostic {
    let message = format!("base name ({word}) should not be blank");
    Diagnostic::error("plan::blank-base", message, span)
        .with_help("only ARGs before the first FROM are known here; give them a default")
}

pub(crate) fn bad_base(name: &str, reason: &str, span: Span) -> Diagnostic {
    let message = format!("failed to parse stage name {}: {reason}", quote(name));
    let diagnostic = Diagnostic::error("plan::bad-reference", message, span);
    if name.chars().any(char::is_uppercase) {
        return diagnostic.with_help("names of stages are lower case when FROM refers to them");
    }
    diagnostic
}

pub(crate) fn empty_platform(word: &str, hint: &str, span: Span) -> Diagnostic {
    let message = format!("empty platform value from expression {word}{hint}");
    Diagnostic::error("plan::empty-platform", message, span)
}

pub(crate) fn bad_platform(word: &str, reason: &str, span: Span) -> Diagnostic {
    let message = format!("failed to parse platform {word}: {reason}");
    Diagnostic::error("plan::bad-platform", message, span)
        .with_help("a platform is os/architecture or os/architecture/variant, e.g. linux/arm64")
}

pub(crate) fn unresolved_base<'a>(
    reference: &str,
    reason: &str,
    typed: &str,
    stages: impl IntoIterator<Item = &'a str>,
    span: Span,
) -> Diagnostic {
    let name = typed.split([':', '@']).next().unwrap_or_default();
    let names = stages.into_iter().chain(COMMON_IMAGES.iter().copied());
    let hint = suggest::hint(name, names);
    let message = format!("{reference}: {reason}{hint}");
    Diagnostic::error("plan::unresolved-base", message, span)
}

pub(crate) fn bad_stage_index(index: i64, span: Span) -> Diagnostic {
    let message = format!("invalid stage index {index}");
    Diagnostic::error("plan::bad-stage-index", message, span)
        .with_help("stages are counted from 0 in the order of their FROM instructions")
}

pub(crate) fn circular(stage: &str, places: &[Span]) -> Diagnostic {
    let message = format!("circular dependency detected on stage: {stage}");
    let (first, others) = places
        .split_first()
        .map_or((Span::default(), &[][..]), |(first, rest)| (*first, rest));
    let diagnostic = Diagnostic::error("plan::circular-dependency", message, first);
    others.iter().fold(diagnostic, |diagnostic, place| {
        diagnostic.with_label(*place, "and this needs it in turn")
    })
}

pub(crate) fn copy_from_later(from: &str, stage: &str, span: Span) -> Diagnostic {
    let message = format!(
        "cannot copy from stage {}, it needs to be defined before current stage {}",
        quote(from),
        quote(stage)
    );
    Diagnostic::error("plan::stage-order", message, span)
}

pub(crate) fn mount_from_later(from: &str, target: &str, span: Span) -> Diagnostic {
    let message = format!(
        "cannot mount from stage {} to {}, stage needs to be defined before current command",
        quote(from),
        quote(target)
    );
    Diagnostic::error("plan::stage-order", message, span)
}

pub(crate) fn mount(problem: &str, span: Span) -> Diagnostic {
    Diagnostic::error("plan::mount", problem, span)
}

pub(crate) fn device(span: Span) -> Diagnostic {
    let message = "device feature is only supported in Dockerfile frontend 1.14.0-labs or later";
    Diagnostic::error("plan::device", message, span)
        .with_help("remove the flag; the command finds the usual devices in /dev")
}

pub(crate) fn insecure(span: Span) -> Diagnostic {
    let message = "security.insecure is not allowed";
    Diagnostic::error("plan::entitlement", message, span)
        .with_help("allow it with --allow security.insecure, or remove the flag")
}

pub(crate) fn bad_trigger(trigger: &str, span: Span) -> Diagnostic {
    let trigger: String = trigger.chars().take(200).collect();
    let message = format!("onbuild trigger should be a single expression: {trigger}");
    Diagnostic::error("plan::bad-trigger", message, span)
}

/// Moves a fault inside of an ONBUILD trigger to the `FROM` that runs the trigger.
pub(crate) fn in_trigger(mut diagnostic: Diagnostic, trigger: &str, span: Span) -> Diagnostic {
    diagnostic.span = span;
    diagnostic.labels.clear();
    let line = trigger.lines().next().unwrap_or_default();
    let line: String = line.chars().take(200).collect();
    let origin = format!("it comes from the base's trigger `ONBUILD {line}`");
    diagnostic.help = Some(match diagnostic.help {
        Some(help) => format!("{help}; {origin}"),
        None => origin,
    });
    diagnostic
}

pub(crate) fn climbing_pattern(pattern: &str, span: Span) -> Diagnostic {
    let message = format!("forbidden path outside the build context: {pattern}");
    Diagnostic::error("plan::copy-source", message, span)
        .with_help("a pattern only finds what is below the context; leave out the `..` in front")
}

pub(crate) fn url_in_copy(span: Span) -> Diagnostic {
    Diagnostic::error("plan::copy-source", "source can't be a URL for COPY", span)
}

pub(crate) fn git_in_copy(span: Span) -> Diagnostic {
    Diagnostic::error(
        "plan::copy-source",
        "source can't be a git ref for COPY",
        span,
    )
}

pub(crate) fn checksum_of_several(span: Span) -> Diagnostic {
    let message = "checksum can't be specified for multiple sources";
    Diagnostic::error(CHECKSUM_CODE, message, span)
}

pub(crate) fn checksum_of_local(span: Span) -> Diagnostic {
    let message = "checksum requires HTTP(S) or Git sources";
    Diagnostic::error(CHECKSUM_CODE, message, span)
        .with_help("files of the build context are hashed anyway")
}

pub(crate) fn checksum_format(span: Span) -> Diagnostic {
    Diagnostic::error(CHECKSUM_CODE, "invalid checksum digest format", span)
        .with_help("write sha256: and 64 hexadecimal digits in small letters")
}

pub(crate) fn checksum_algorithm(span: Span) -> Diagnostic {
    Diagnostic::error(CHECKSUM_CODE, "unsupported digest algorithm", span)
        .with_help("write sha256: and 64 hexadecimal digits")
}

pub(crate) fn bad_url(problem: &str, span: Span) -> Diagnostic {
    Diagnostic::error("plan::url", format!("invalid URL: {problem}"), span)
}

pub(crate) fn bad_git(problem: &str, span: Span) -> Diagnostic {
    Diagnostic::error("plan::git", problem, span)
}

pub(crate) fn chmod_not_octal(value: &str, span: Span) -> Diagnostic {
    let message = format!(
        "invalid chmod parameter: '{value}'. it should be octal string and between 0 and 07777"
    );
    Diagnostic::error("plan::chmod", message, span)
}

pub(crate) fn chmod_syntax(value: &str, span: Span) -> Diagnostic {
    let message = format!("invalid chmod parameter: '{value}'. invalid syntax");
    Diagnostic::error("plan::chmod", message, span)
        .with_help("write octal bits (0644) or clauses such as u=rwX,go=rX")
}

pub(crate) fn chown_name_with_link(value: &str, span: Span) -> Diagnostic {
    let message = format!("--chown={value} with --link needs numeric IDs");
    Diagnostic::error("plan::chown", message, span)
        .with_help("a linked layer does not see the passwd file below it; use numbers or root")
}

pub(crate) fn heredoc_name(name: &str, span: Span) -> Diagnostic {
    let message = format!(
        "{} cannot be the name of a file made from a heredoc",
        quote(name)
    );
    Diagnostic::error("plan::heredoc-name", message, span)
}

pub(crate) fn missing_heredoc(span: Span) -> Diagnostic {
    let message = "the heredoc has no body";
    Diagnostic::error("plan::heredoc", message, span)
}

pub(crate) fn blank_name(instruction: &str, span: Span) -> Diagnostic {
    let message = format!("{instruction} names can not be blank");
    Diagnostic::error("plan::blank-name", message, span)
        .with_help("the name is made of variables, and they are empty here")
}

pub(crate) fn blank_volume(span: Span) -> Diagnostic {
    let message = "VOLUME specified can not be an empty string";
    Diagnostic::error("plan::blank-volume", message, span)
}

pub(crate) fn bad_port(fault: &PortFault, span: Span) -> Diagnostic {
    Diagnostic::error("plan::expose", fault.to_string(), span)
        .with_help("a port is a number or a range, with /tcp, /udp or /sctp behind it if need be")
}

pub(crate) fn bad_signal(signal: &str, span: Span) -> Diagnostic {
    let message = format!("invalid signal: {signal}");
    Diagnostic::error("plan::stop-signal", message, span)
        .with_help("write a signal's name, e.g. SIGTERM, or its number")
}

pub(crate) fn signal_on_windows(span: Span) -> Diagnostic {
    let message = "STOPSIGNAL is not supported for windows images";
    Diagnostic::error("plan::stop-signal", message, span)
}

pub(crate) fn unused_build_arg<'a>(
    name: &str,
    declared: impl IntoIterator<Item = &'a str>,
    span: Span,
) -> Diagnostic {
    let hint = suggest::hint(name, declared);
    let message = format!(
        "build argument {} is declared by no ARG of what is built{hint}",
        quote(name)
    );
    Diagnostic::warning("plan::unused-build-arg", message, span)
        .with_help("it has no effect; declare it with ARG in the stage that uses it")
}
