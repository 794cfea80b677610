//! Leaves out the findings that a file does not want to hear.

use super::CheckConfig;
use crate::{
    ast::{Dockerfile, Head},
    diagnostic::Diagnostic,
    span::Span,
};

/// The file's configuration, and that of single instructions by the comments above them.
#[derive(Debug, Clone)]
pub struct Filter {
    config: CheckConfig,
    /// Instructions with a `check` comment, in file order, and the file's configuration merged
    /// with theirs.
    instructions: Vec<(Span, CheckConfig)>,
}

impl Filter {
    /// Returns the filter for a file.
    #[must_use]
    pub fn new(dockerfile: &Dockerfile, config: CheckConfig) -> Self {
        let heads = dockerfile.global_args.iter().map(|found| &found.head);
        let stages = dockerfile.stages.iter().flat_map(|stage| {
            let heads = stage.instructions.iter().map(|found| &found.head);
            std::iter::once(&stage.head).chain(heads)
        });
        let own = |head: &Head| {
            let own = CheckConfig::of_comments(&head.comments)?;
            Some((head.span, config.clone().merged(&own)))
        };
        let instructions = heads.chain(stages).filter_map(own).collect();
        Self {
            config,
            instructions,
        }
    }

    /// Tells whether a finding is wanted. Errors are, and warnings that are no build check's.
    #[must_use]
    pub fn wants(&self, finding: &Diagnostic) -> bool {
        if finding.is_error() || !is_rule(finding.code) {
            return true;
        }
        let labels = finding.labels.iter().map(|(span, _)| *span);
        let mut configs = std::iter::once(finding.span)
            .chain(labels)
            .filter_map(|span| self.at(span))
            .peekable();
        if configs.peek().is_none() {
            return self.config.wants(finding.code);
        }
        configs.all(|config| config.wants(finding.code))
    }

    /// Returns the findings that are wanted, in their order.
    #[must_use]
    pub fn apply(&self, mut findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
        findings.retain(|finding| self.wants(finding));
        findings
    }

    /// Returns the configuration of the instruction at `place`, if it has one of its own.
    fn at(&self, place: Span) -> Option<&CheckConfig> {
        let after = self
            .instructions
            .partition_point(|(span, _)| span.start <= place.start);
        let (span, config) = self.instructions.get(after.checked_sub(1)?)?;
        (place.start < span.end).then_some(config)
    }
}

/// Tells build checks from other findings, whose codes have an area in front.
#[must_use]
pub fn is_rule(code: &str) -> bool {
    !code.contains("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, findings: &[(&'static str, &str)], wanted: &[&str]) {
        let config = CheckConfig::of_file(source.as_bytes(), None).unwrap();
        let filter = Filter::new(&crate::parse(source.as_bytes()).dockerfile, config);
        let found = findings.iter().map(|(code, place)| {
            let start = source.find(place).unwrap();
            Diagnostic::warning(code, *place, Span::new(start, start + place.len()))
        });
        let left = filter.apply(found.collect());
        let places: Vec<_> = left.iter().map(|found| found.message.as_str()).collect();
        assert_eq!(places, wanted, "{source}");
    }

    #[test]
    fn a_comment_silences_the_instruction_below_it() {
        let source = "FROM scratch\n# check=skip=A because\nUSER a\nUSER b\n";
        let findings = [("A", "USER a"), ("A", "b"), ("B", "USER a")];
        check(source, &findings, &["b", "USER a"]);
    }

    #[test]
    fn comments_add_to_the_directive() {
        let source = "# check=skip=A;error=true\nARG x\n# check=skip=B\nFROM scratch\nUSER b\n";
        let findings = [
            ("A", "FROM"),
            ("B", "scratch"),
            ("A", "USER b"),
            ("B", "b\n"),
            ("plan::unused-build-arg", "USER b"),
        ];
        check(source, &findings, &["b\n", "USER b"]);
    }

    #[test]
    fn the_comment_at_a_further_place_counts_too() {
        let source = "FROM scratch\nCMD a\n# check=skip=A\nCMD b\n";
        let filter = Filter::new(
            &crate::parse(source.as_bytes()).dockerfile,
            CheckConfig::default(),
        );
        let first = Diagnostic::warning("A", "", Span::new(13, 18));
        assert!(filter.wants(&first));
        assert!(!filter.wants(&first.with_label(Span::new(34, 39), "this one is used")));
    }
}
