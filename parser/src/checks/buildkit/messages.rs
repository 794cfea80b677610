//! What the rules say, in BuildKit's words.

use crate::{diagnostic::Diagnostic, quote::quote, span::Span};

pub(super) fn stage_name_casing(name: &str, span: Span) -> Diagnostic {
    let message = format!("Stage name '{name}' should be lowercase");
    Diagnostic::warning("StageNameCasing", message, span)
        .with_help("stages are known by their names in small letters; write it so")
}

pub(super) fn from_as_casing(as_keyword: &str, from: &str, span: Span) -> Diagnostic {
    let message = format!("'{as_keyword}' and '{from}' keywords' casing do not match");
    Diagnostic::warning("FromAsCasing", message, span)
}

pub(super) fn definition_description(instruction: &str, name: &str, span: Span) -> Diagnostic {
    let message =
        format!("Comment for {instruction} should follow the format: `# {name} <description>`");
    Diagnostic::warning("InvalidDefinitionDescription", message, span)
        .with_help("if it is no description, put an empty comment line below it")
}

pub(super) fn maintainer(span: Span) -> Diagnostic {
    let message = "Maintainer instruction is deprecated in favor of using label";
    Diagnostic::warning("MaintainerDeprecated", message, span)
        .with_help("write LABEL org.opencontainers.image.authors=\"…\"")
}

pub(super) fn reserved_stage_name(name: &str, span: Span) -> Diagnostic {
    let message = format!(
        "Stage name should not use the same name as reserved stage {}",
        quote(name)
    );
    Diagnostic::warning("ReservedStageName", message, span)
}

pub(super) fn duplicate_stage_name(name: &str, span: Span, earlier: Span) -> Diagnostic {
    let message = format!(
        "Duplicate stage name {}, stage names should be unique",
        quote(name)
    );
    Diagnostic::warning("DuplicateStageName", message, span).with_label(earlier, "first used here")
}

pub(super) fn casing(keyword: &str, majority: &str, span: Span) -> Diagnostic {
    let message =
        format!("Command '{keyword}' should match the case of the command majority ({majority})");
    Diagnostic::warning("ConsistentInstructionCasing", message, span)
}
