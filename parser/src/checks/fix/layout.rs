//! What can be left out.

use super::{Context, Edit, Fix};
use crate::{
    ast::{Head, InstructionKind},
    span::Span,
    syntax::line::Lines,
};

/// Empty lines between continued lines.
pub(super) fn empty_lines(context: &mut Context<'_>) {
    let dockerfile = &context.parsed.dockerfile;
    for instruction in &dockerfile.global_args {
        empty_lines_of(context, &instruction.head);
    }
    for stage in &dockerfile.stages {
        empty_lines_of(context, &stage.head);
        for instruction in &stage.instructions {
            empty_lines_of(context, &instruction.head);
        }
    }
}

fn empty_lines_of(context: &mut Context<'_>, head: &Head) {
    // Lines of a heredoc are its own, even the first.
    let bodies = head.heredocs.iter().map(|heredoc| heredoc.span.start);
    let end = bodies.min().unwrap_or(head.span.end + 1);
    let edits = Lines::starting_at(context.source, head.line_span.start)
        .skip(1)
        .take_while(|line| line.start < end)
        .filter(|line| line.trimmed_start().0.is_empty())
        .map(|line| Edit::new(Span::new(line.start, line.next), ""))
        .collect();
    context.safe("NoEmptyContinuation", head.span, edits);
}

/// `--platform=$TARGETPLATFORM`, unless the file sets that variable itself.
pub(super) fn platform_flags(context: &mut Context<'_>) {
    let parsed = context.parsed;
    let is_set = parsed.dockerfile.global_args.iter().any(|instruction| {
        matches!(&instruction.kind, InstructionKind::Arg(declarations)
            if declarations.iter().any(|found| found.name.value == "TARGETPLATFORM" && found.default.is_some()))
    });
    if is_set {
        return;
    }
    for stage in &parsed.dockerfile.stages {
        let Some(platform) = &stage.from.platform else {
            continue;
        };
        let gap = Span::new(stage.head.keyword.span.end, stage.from.base.span.start);
        let Some(written) = context.source.get(gap.start..gap.end) else {
            continue;
        };
        let flag = format!("--platform={}", platform.value);
        let is_redundant = matches!(
            platform.value.as_str(),
            "$TARGETPLATFORM" | "${TARGETPLATFORM}"
        );
        if is_redundant && written.trim_ascii() == flag.as_bytes() {
            let edits = vec![Edit::new(gap, " ")];
            // Without the flag, an image that is only there for another platform will do.
            context.fixes.push(Fix {
                rule: "RedundantTargetPlatform",
                instruction: stage.head.span,
                is_safe: false,
                edits,
            });
        }
    }
}
