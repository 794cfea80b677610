//! Letters that should be small or capital.

use std::collections::HashMap;

use super::{Context, Edit};
use crate::{
    ast::{InstructionKind, Word},
    checks::buildkit::{Casing, casing, majority_casing},
    span::Span,
};

fn in_case(text: &str, casing: Casing) -> String {
    match casing {
        Casing::Lower => text.to_ascii_lowercase(),
        Casing::Upper => text.to_ascii_uppercase(),
    }
}

/// Keywords, and the `AS` of `FROM`.
pub(super) fn keywords(context: &mut Context<'_>) {
    let dockerfile = &context.parsed.dockerfile;
    let majority = majority_casing(dockerfile);
    for stage in &dockerfile.stages {
        let keyword = &stage.head.keyword;
        if let (Some(wanted), Some(as_keyword)) = (casing(&keyword.value), &stage.from.as_keyword) {
            change(context, "FromAsCasing", stage.head.span, as_keyword, wanted);
        }
        let heads = stage.instructions.iter().map(|found| &found.head);
        for head in std::iter::once(&stage.head).chain(heads) {
            let rule = "ConsistentInstructionCasing";
            change(context, rule, head.span, &head.keyword, majority);
        }
    }
}

fn change(
    context: &mut Context<'_>,
    rule: &'static str,
    instruction: Span,
    word: &Word,
    wanted: Casing,
) {
    let text = in_case(&word.value, wanted);
    if text != word.value && context.is_written(word.span, &word.value) {
        context.safe(rule, instruction, vec![Edit::new(word.span, text)]);
    }
}

/// Names of stages, and what refers to them; not as a base, where capitals are an error.
pub(super) fn stage_names(context: &mut Context<'_>) {
    let mut names: HashMap<&str, (Span, Vec<Edit>)> = HashMap::new();
    let parsed = context.parsed;
    for stage in &parsed.dockerfile.stages {
        if let Some(name) = &stage.from.name
            && let Some((edit, _)) = lowered(context, name.span)
        {
            let earlier = names.insert(&name.value, (stage.head.span, vec![edit]));
            let (place, edits) = earlier.unwrap_or_default();
            context.safe("StageNameCasing", place, edits);
        }
        for instruction in &stage.instructions {
            match &instruction.kind {
                InstructionKind::Copy(copy) => {
                    if let Some(from) = &copy.from {
                        refer(context, from.span, &mut names);
                    }
                }
                InstructionKind::Run(run) => {
                    for mount in &run.mounts {
                        if let Some(span) = source_of(context, mount) {
                            refer(context, span, &mut names);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    let mut names: Vec<_> = names.into_values().collect();
    names.sort_by_key(|(place, _)| *place);
    for (place, edits) in names {
        context.safe("StageNameCasing", place, edits);
    }
}

/// Notes what stands at `span` if it is a stage's name.
fn refer(context: &Context<'_>, span: Span, names: &mut HashMap<&str, (Span, Vec<Edit>)>) {
    if let Some((edit, name)) = lowered(context, span)
        && let Some((_, edits)) = names.get_mut(name.as_str())
    {
        edits.push(edit);
    }
}

/// Returns what stands at `span` in small letters, if it does not yet, and the edit for that.
fn lowered(context: &Context<'_>, span: Span) -> Option<(Edit, String)> {
    let written = std::str::from_utf8(context.source.get(span.start..span.end)?).ok()?;
    let lower = written.to_lowercase();
    (lower != written).then(|| (Edit::new(span, lower.as_str()), lower.clone()))
}

/// Returns where the value of a mount's `from=` is.
fn source_of(context: &Context<'_>, mount: &Word) -> Option<Span> {
    let written = context.source.get(mount.span.start..mount.span.end)?;
    let mut start = mount.span.start;
    for field in std::str::from_utf8(written).ok()?.split(',') {
        let end = start + field.len();
        if let Some(from) = field.strip_prefix("from=") {
            return Some(Span::new(end - from.len(), end));
        }
        start = end + 1;
    }
    None
}

/// Protocols of `EXPOSE`.
pub(super) fn protocols(context: &mut Context<'_>) {
    let parsed = context.parsed;
    for stage in &parsed.dockerfile.stages {
        for instruction in &stage.instructions {
            let InstructionKind::Expose(words) = &instruction.kind else {
                continue;
            };
            let edits = words.iter().filter_map(|word| {
                let (_, protocol) = word.value.rsplit_once('/')?;
                let is_plain = protocol.bytes().all(|byte| byte.is_ascii_alphabetic());
                let lower = protocol.to_ascii_lowercase();
                let start = word.span.end.checked_sub(protocol.len())?;
                let span = Span::new(start, word.span.end);
                let is_wrong = is_plain && lower != protocol;
                (is_wrong && context.is_written(span, protocol)).then(|| Edit::new(span, lower))
            });
            let edits = edits.collect();
            context.safe("ExposeProtoCasing", instruction.head.span, edits);
        }
    }
}
