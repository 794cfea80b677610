//! Files made to hurt: they must be read, or refused, without deep recursion or quadratic work.
//! Nothing here is timed; with quadratic work the test would not end in a lifetime.

use rbuild_parser::{
    ast::{InstructionKind, TransferSource},
    checks::{CheckConfig, Filter, buildkit},
    expand, parse,
};

fn messages(source: &str) -> Vec<String> {
    let parsed = parse(source.as_bytes());
    parsed
        .diagnostics
        .into_iter()
        .map(|found| found.message)
        .collect()
}

#[test]
fn many_lines() {
    let source = "# c\n".repeat(300_000) + "FROM scratch\n";
    let parsed = parse(source.as_bytes());
    assert!(!parsed.has_errors());
    assert_eq!(parsed.dockerfile.stages[0].head.comments.len(), 300_000);
    let labels: String = (0..20_000).map(|i| format!("LABEL l{i}={i}\n")).collect();
    let parsed = parse(format!("FROM scratch\n{labels}").as_bytes());
    assert_eq!(parsed.dockerfile.stages[0].instructions.len(), 20_000);
    let stages: String = (0..3_000)
        .map(|i| format!("FROM scratch AS s{i}\n"))
        .collect();
    assert_eq!(parse(stages.as_bytes()).dockerfile.stages.len(), 3_000);
}

#[test]
fn many_continuations() {
    let source = format!("FROM scratch\nENV {}z=1\n", "k=v \\\n".repeat(300_000));
    let parsed = parse(source.as_bytes());
    let InstructionKind::Env(pairs) = &parsed.dockerfile.stages[0].instructions[0].kind else {
        panic!()
    };
    assert_eq!(pairs.pairs.len(), 300_001);
    let (key, _) = pairs.pairs.last().unwrap();
    assert_eq!(&source[key.span.start..key.span.end], "z");
    assert_eq!(
        messages(&("FROM scratch\nRUN x \\\n".to_owned() + &"\n".repeat(300_000))).len(),
        1
    );
}

#[test]
fn many_heredocs() {
    let names: Vec<String> = (0..5_000).map(|i| format!("<<E{i}")).collect();
    let bodies: String = (0..5_000).map(|i| format!("{i}\nE{i}\n")).collect();
    // One physical line holds no more than 64 KiB.
    let line = names
        .chunks(1_000)
        .map(|part| part.join(" "))
        .collect::<Vec<_>>()
        .join(" \\\n");
    let source = format!("FROM scratch\nCOPY {line} /x/\n{bodies}");
    let parsed = parse(source.as_bytes());
    assert!(!parsed.has_errors());
    let copy = &parsed.dockerfile.stages[0].instructions[0];
    assert_eq!(copy.head.heredocs.len(), 5_000);
    let InstructionKind::Copy(transfer) = &copy.kind else {
        panic!()
    };
    assert_eq!(
        transfer.transfer.sources[4_999],
        TransferSource::Heredoc(4_999)
    );

    let unterminated = format!("FROM scratch\nCOPY {line} /x/\n");
    assert_eq!(messages(&unterminated), ["unterminated heredoc"]);
}

#[test]
fn same_heredoc_many_times() {
    let line = "<<A <<-A ".repeat(2_000);
    let body = "x\n".repeat(1 << 20);
    let source = format!(
        "FROM scratch\nCOPY {line}/x/\n{}{body}A\n",
        "A\n".repeat(3_999)
    );
    let parsed = parse(source.as_bytes());
    assert!(!parsed.has_errors());
    let copy = &parsed.dockerfile.stages[0].instructions[0];
    // The large body is there once for each of the two forms.
    let n_large = copy
        .head
        .heredocs
        .iter()
        .filter(|found| !found.body.is_empty())
        .count();
    assert_eq!(n_large, 2);
}

#[test]
fn large_heredocs() {
    let body = "y".repeat(79) + "\n";
    let unterminated = format!("FROM scratch\nCOPY <<EOF /x\n{}", body.repeat(100_000));
    assert_eq!(messages(&unterminated), ["unterminated heredoc"]);
    let name = "D".repeat(65_000);
    let source = format!(
        "FROM scratch\nRUN <<{name}\n{}{name}\n",
        format!("{name}D\n").repeat(50)
    );
    assert!(messages(&source).is_empty());
    let name = "D".repeat(65_536);
    let found = messages(&format!("FROM scratch\nCOPY <<{name} /x\na\n{name}\n"));
    assert_eq!(
        found,
        [
            "dockerfile line greater than max allowed size of 65535",
            "unterminated heredoc"
        ]
    );
}

#[test]
fn deep_nesting() {
    let onbuild = "ONBUILD ".repeat(8_000);
    let found = messages(&format!("FROM scratch\n{onbuild}RUN x"));
    assert_eq!(
        found,
        ["Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"]
    );
    let json = format!("FROM scratch\nRUN {}", "[".repeat(60_000));
    assert!(messages(&json).is_empty());
    let deep = "${X:-".repeat(10_000);
    assert!(messages(&format!("FROM scratch\nRUN <<{deep} x\n")).is_empty());
    assert!(messages(&format!("FROM scratch\nENV A={deep}\n")).is_empty());
}

#[test]
fn long_words() {
    let quotes = format!("FROM scratch\nENV A={}\n", "\"".repeat(60_001));
    assert!(messages(&quotes).is_empty());
    let escapes = format!("FROM scratch\nENV A={}\n", "\\".repeat(60_001));
    assert!(messages(&escapes).is_empty());
    let keyword = "X".repeat(60_000);
    assert_eq!(messages(&format!("FROM scratch\n{keyword}")).len(), 1);
    let flags = "--mount=target=/a ".repeat(3_000);
    assert!(messages(&format!("FROM scratch\nRUN {flags} x")).is_empty());
    let flags = "--from=a ".repeat(6_000);
    assert!(messages(&format!("FROM scratch\nCOPY {flags} a b")).len() > 1_000);
}

#[test]
fn expansion_bombs() {
    let mut value = "x".repeat(10);
    let mut refused = false;
    for _ in 0..12 {
        let env = vec![("A".to_owned(), value)];
        match expand::expand_word(&"${A}".repeat(10), '\\', &env) {
            Ok(found) => value = found.text,
            Err(error) => {
                assert_eq!(error, expand::ExpandError::TooLarge);
                refused = true;
                break;
            }
        }
    }
    assert!(refused);
}

#[test]
fn many_findings() {
    let file = "FROM scratch\n".to_owned() + &"# check=skip=X\nrun x\n".repeat(30_000);
    let stages = "FROM scratch as a\n".repeat(20_000);
    for (source, n_findings) in [(&file, 1), (&stages, 39_999)] {
        let parsed = parse(source.as_bytes());
        let findings = buildkit::check(&parsed);
        assert_eq!(findings.len(), n_findings);
        let config = CheckConfig::parse("skip=ConsistentInstructionCasing").unwrap();
        let left = Filter::new(&parsed.dockerfile, config).apply(findings);
        assert_eq!(left.len(), n_findings - usize::from(n_findings == 1));
    }
}
