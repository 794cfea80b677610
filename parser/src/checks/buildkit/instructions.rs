//! Rules that look at one instruction at a time.

use super::messages;
use crate::{
    ast::{Dockerfile, From, Head, Instruction, InstructionKind, Word},
    checks::CheckConfig,
    diagnostic::Diagnostic,
};

/// Looks at every instruction, in file order.
pub(super) fn check(dockerfile: &Dockerfile, findings: &mut Vec<Diagnostic>) {
    for instruction in &dockerfile.global_args {
        check_instruction(instruction, findings);
    }
    for stage in &dockerfile.stages {
        check_from(&stage.from, &stage.head, findings);
        for instruction in &stage.instructions {
            check_instruction(instruction, findings);
        }
    }
}

fn check_from(from: &From, head: &Head, findings: &mut Vec<Diagnostic>) {
    let (Some(as_keyword), Some(name)) = (&from.as_keyword, &from.name) else {
        return;
    };
    if let Some(typed) = typed_name(name, head)
        && typed.chars().any(char::is_uppercase)
    {
        findings.push(messages::stage_name_casing(typed, name.span));
    }
    let keyword = &head.keyword.value;
    // A keyword of mixed case is another rule's.
    let is_wrong = match casing(keyword) {
        Some(Casing::Lower) => casing(&as_keyword.value) != Some(Casing::Lower),
        Some(Casing::Upper) => casing(&as_keyword.value) != Some(Casing::Upper),
        None => false,
    };
    if is_wrong {
        let finding = messages::from_as_casing(&as_keyword.value, keyword, as_keyword.span);
        findings.push(finding);
    }
    check_description("FROM", &[name.value.as_str()], head, findings);
}

/// Returns the stage's name as typed, which is the line's last word: the tree has it in small
/// letters.
fn typed_name<'a>(name: &Word, head: &'a Head) -> Option<&'a str> {
    let typed = head.text.split_whitespace().next_back()?;
    (typed.to_lowercase() == name.value).then_some(typed)
}

fn check_instruction(instruction: &Instruction, findings: &mut Vec<Diagnostic>) {
    let head = &instruction.head;
    match &instruction.kind {
        InstructionKind::Maintainer(_) => findings.push(messages::maintainer(head.line_span)),
        InstructionKind::Arg(declarations) => {
            let names: Vec<_> = declarations
                .iter()
                .map(|declaration| declaration.name.value.as_str())
                .collect();
            check_description("ARG", &names, head, findings);
        }
        _ => {}
    }
}

/// Checks that the last comment above says what `names` are; one for these checks says nothing.
fn check_description(
    instruction: &str,
    names: &[&str],
    head: &Head,
    findings: &mut Vec<Diagnostic>,
) {
    let (Some(comment), Some(first)) = (head.comments.last(), names.first()) else {
        return;
    };
    let word = comment.value.split(' ').next().unwrap_or_default();
    let is_for_checks = CheckConfig::of_comments(std::slice::from_ref(comment)).is_some();
    if names.contains(&word) || is_for_checks {
        return;
    }
    let name = if names.len() == 1 { first } else { "<arg_key>" };
    let finding = messages::definition_description(instruction, name, head.line_span);
    findings.push(finding.with_label(comment.span, "this comment"));
}

/// A keyword in letters of one case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::checks) enum Casing {
    Lower,
    Upper,
}

/// Returns the case of a keyword, `None` if it is mixed.
pub(in crate::checks) fn casing(keyword: &str) -> Option<Casing> {
    if keyword.bytes().all(|byte| byte.is_ascii_lowercase()) {
        Some(Casing::Lower)
    } else if keyword.bytes().all(|byte| byte.is_ascii_uppercase()) {
        Some(Casing::Upper)
    } else {
        None
    }
}
