//! What the build checks say, in BuildKit's words.

use rbuild_image::platform::Platform;
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::quote::quote;
use rbuild_parser::span::Span;

use crate::suggest;

pub(crate) fn undefined_variable<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    span: Span,
) -> Diagnostic {
    let hint = suggest::nearest(name, known)
        .map_or_else(String::new, |near| format!(" (did you mean ${near}?)"));
    let message = format!("Usage of undefined variable '${name}'{hint}");
    Diagnostic::warning("UndefinedVar", message, span)
}

pub(crate) fn undefined_from_argument<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    span: Span,
) -> Diagnostic {
    let hint = suggest::hint(name, known);
    let message = format!("FROM argument '{name}' is not declared{hint}");
    Diagnostic::warning("UndefinedArgInFrom", message, span)
}

pub(crate) fn base_platform(
    name: &str,
    found: &Platform,
    expected: &Platform,
    span: Span,
) -> Diagnostic {
    let message = format!(
        "Base image {name} was pulled with platform \"{found}\", expected \"{expected}\" for \
         current build"
    );
    Diagnostic::warning("InvalidBaseImagePlatform", message, span)
}

pub(crate) fn default_of_base(word: &str, span: Span) -> Diagnostic {
    let message =
        format!("Default value for ARG {word} results in empty or invalid base image name");
    Diagnostic::warning("InvalidDefaultArgInFrom", message, span)
        .with_help("give the ARG a default with which the file builds without build arguments")
}

pub(crate) fn redundant_platform(word: &str, span: Span) -> Diagnostic {
    let message = format!(
        "Setting platform to predefined {word} in FROM is redundant as this is the default \
         behavior"
    );
    Diagnostic::warning("RedundantTargetPlatform", message, span).with_help("remove the flag")
}

pub(crate) fn constant_platform(text: &str, span: Span) -> Diagnostic {
    let message = format!(
        "FROM --platform flag should not use constant value {}",
        quote(text)
    );
    Diagnostic::warning("FromPlatformFlagConstDisallowed", message, span)
}

pub(crate) fn several(keyword: &str, earlier: Span, later: Span) -> Diagnostic {
    let message = format!(
        "Multiple {keyword} instructions should not be used in the same stage because only the \
         last one will be used"
    );
    Diagnostic::warning("MultipleInstructionsDisallowed", message, earlier)
        .with_label(later, "this one replaces it")
}

pub(crate) fn shell_form(keyword: &str, span: Span) -> Diagnostic {
    let message = format!(
        "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS \
         signals"
    );
    Diagnostic::warning("JSONArgsRecommended", message, span)
}

pub(crate) fn legacy_pair(keyword: &str, span: Span) -> Diagnostic {
    let message = format!(
        "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
    );
    Diagnostic::warning("LegacyKeyValueFormat", message, span)
}

pub(crate) fn secret(instruction: &str, name: &str, span: Span) -> Diagnostic {
    let message = format!(
        "Do not use ARG or ENV instructions for sensitive data ({instruction} {})",
        quote(name)
    );
    Diagnostic::warning("SecretsUsedInArgOrEnv", message, span)
        .with_help("values stay in the image's config or history; use RUN --mount=type=secret")
}

pub(crate) fn relative_workdir(path: &str, span: Span) -> Diagnostic {
    let message = format!(
        "Relative workdir {} can have unexpected results if the base image changes",
        quote(path)
    );
    Diagnostic::warning("WorkdirRelativePath", message, span)
}

pub(crate) fn protocol_casing(port: &str, span: Span) -> Diagnostic {
    let message = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
    Diagnostic::warning("ExposeProtoCasing", message, span)
}

pub(crate) fn port_mapping(port: &str, span: Span) -> Diagnostic {
    let message = format!(
        "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
    );
    Diagnostic::warning("ExposeInvalidFormat", message, span)
        .with_help("where a port is published is said when a container is run")
}

pub(crate) fn ignored_source(verb: &str, path: &str, span: Span) -> Diagnostic {
    let message = format!(
        "Attempting to {verb} file {} that is excluded by .dockerignore",
        quote(path)
    );
    Diagnostic::warning("CopyIgnoredFile", message, span)
}
