//! Where something is, in whole lines: an instruction has all of its lines.

use rbuild_parser::ast::Dockerfile;
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::span::Span;
use serde_json::{Value, json};

/// The lines of a file and its instructions.
#[derive(Debug)]
pub(super) struct Lines {
    /// Where each line begins.
    starts: Vec<usize>,
    /// Instructions in file order.
    instructions: Vec<Span>,
}

impl Lines {
    pub(super) fn new(text: &[u8], dockerfile: &Dockerfile) -> Self {
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(place, _)| place + 1));
        let global = dockerfile.global_args.iter().map(|found| found.head.span);
        let stages = dockerfile.stages.iter().flat_map(|stage| {
            let own = stage.instructions.iter().map(|found| found.head.span);
            std::iter::once(stage.head.span).chain(own)
        });
        Self {
            starts: starts.collect(),
            instructions: global.chain(stages).collect(),
        }
    }

    /// Returns the first and the last line, from 1, of what a finding is about: an instruction, if
    /// it is in one; `None` if it has no place.
    pub(super) fn of(&self, finding: &Diagnostic) -> Option<(usize, usize)> {
        // This one is about a line.
        if finding.code == "NoEmptyContinuation" {
            return Some(self.of_span(finding.span));
        }
        // And those about the checks themselves are about nothing else.
        if finding.span == Span::default() || finding.code.starts_with("check::") {
            return None;
        }
        Some(self.of_instruction(finding.span))
    }

    /// Returns the lines of the instruction that holds `span`, else those of `span`.
    pub(super) fn of_instruction(&self, span: Span) -> (usize, usize) {
        let after = self
            .instructions
            .partition_point(|instruction| instruction.start <= span.start);
        let instruction = after
            .checked_sub(1)
            .map(|place| self.instructions[place])
            .filter(|instruction| span.start < instruction.end);
        self.of_span(instruction.unwrap_or(span))
    }

    fn of_span(&self, span: Span) -> (usize, usize) {
        let line = |place: usize| self.starts.partition_point(|start| *start <= place);
        let last = span.end.saturating_sub(1).max(span.start);
        (line(span.start), line(last))
    }
}

/// An instruction with more lines than this has one range in JSON.
const MAX_RANGES: usize = 1000;

/// Lines as BuildKit's JSON has them: a range for each.
pub(super) fn location(lines: Option<(usize, usize)>) -> Value {
    let Some((first, last)) = lines else {
        return json!({});
    };
    if last - first >= MAX_RANGES {
        return json!({"ranges": [{"start": {"line": first}, "end": {"line": last}}]});
    }
    let ranges: Vec<_> = (first..=last)
        .map(|line| json!({"start": {"line": line}, "end": {"line": line}}))
        .collect();
    json!({ "ranges": ranges })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_have_the_lines_of_their_instruction() {
        let text = "ARG A\nFROM scratch\nRUN a \\\n  $b\nCOPY <<E /x\nhi $z\nE\nUSER u";
        let parsed = rbuild_parser::parse(text.as_bytes());
        let lines = Lines::new(text.as_bytes(), &parsed.dockerfile);
        let place = |what: &str| {
            let start = text.find(what).unwrap();
            let finding = Diagnostic::warning("A", "", Span::new(start, start + what.len()));
            lines.of(&finding)
        };
        assert_eq!(place("ARG"), Some((1, 1)));
        assert_eq!(place("scratch"), Some((2, 2)));
        assert_eq!(place("$b"), Some((3, 4)));
        assert_eq!(place("$z"), Some((5, 7)));
        assert_eq!(place("u"), Some((8, 8)));
        let line = Diagnostic::warning("NoEmptyContinuation", "", Span::new(27, 31));
        assert_eq!(lines.of(&line), Some((4, 4)));
        let nowhere = Diagnostic::error("A", "", Span::default());
        assert_eq!(lines.of(&nowhere), None);
        assert_eq!(
            location(Some((3, 4))).to_string(),
            r#"{"ranges":[{"start":{"line":3},"end":{"line":3}},{"start":{"line":4},"end":{"line":4}}]}"#
        );
        assert_eq!(location(None).to_string(), "{}");
        assert_eq!(
            location(Some((3, 1003))).to_string(),
            r#"{"ranges":[{"start":{"line":3},"end":{"line":1003}}]}"#
        );
    }
}
