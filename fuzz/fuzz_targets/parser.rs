//! Any bytes are a Dockerfile: there is a tree and a list of findings, every place lies in the file,
//! and the tree can be dumped. Triggers of ONBUILD are text from strangers as well.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild_parser::{dump, parse, parse_trigger};

fuzz_target!(|source: &[u8]| {
    let parsed = parse(source);
    for finding in &parsed.diagnostics {
        assert!(finding.span.start <= finding.span.end && finding.span.end <= source.len());
        for (span, _) in &finding.labels {
            assert!(span.start <= span.end && span.end <= source.len());
        }
    }
    for stage in &parsed.dockerfile.stages {
        for instruction in &stage.instructions {
            let head = &instruction.head;
            assert!(head.span.end <= source.len() && head.line_span.end <= head.span.end);
            for heredoc in &head.heredocs {
                assert!(heredoc.span.start >= head.line_span.start);
                assert!(heredoc.span.end <= source.len());
            }
        }
    }
    // The same bytes give the same tree.
    assert_eq!(dump::dump(&parsed), dump::dump(&parse(source)));
    if let Ok(text) = std::str::from_utf8(source) {
        let (_instruction, _findings) = parse_trigger(text);
    }
});
