//! Whole files: the tree, where its parts stand, checks and corrections.

use crate::ast::{
    CommandLine, Head, Healthcheck, Instruction, InstructionKind, Stage, Transfer, TransferSource,
    Word,
};
use crate::checks::{self, CheckConfig, Filter, buildkit, fix, hadolint};
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::{Parsed, csv, dump, parse, parse_trigger, quote, size};

/// Rounds after which corrections must have come to an end.
const MAX_ROUNDS: usize = 20;

/// Any bytes are a Dockerfile: there is a tree and a list of findings, every place lies in the file
/// and what stands there is what the tree says. Triggers of ONBUILD are text from strangers as well.
/// Checks find what is in the file, and corrections leave a file that can be read, until there are
/// none.
pub fn parser(source: &[u8]) {
    let parsed = parse(source);
    check_findings(&parsed.diagnostics, source);
    assert!(parsed.has_errors() || !parsed.dockerfile.stages.is_empty());
    for stage in &parsed.dockerfile.stages {
        check_stage(stage, source);
    }
    for argument in &parsed.dockerfile.global_args {
        check_instruction(argument, source);
    }
    // The same bytes give the same tree.
    assert_eq!(dump::dump(&parsed), dump::dump(&parse(source)));
    check_checks(&parsed, source);
    check_fixes(&parsed, source);
    if let Ok(text) = std::str::from_utf8(source) {
        let (_instruction, findings) = parse_trigger(text);
        check_findings(&findings, source);
        let _found = (
            csv::fields(text),
            size::parse_bytes(text),
            quote::quote(text),
        );
    }
}

fn check_span(span: Span, source: &[u8]) {
    assert!(
        span.start <= span.end && span.end <= source.len(),
        "{span:?}"
    );
}

fn check_findings(findings: &[Diagnostic], source: &[u8]) {
    for finding in findings {
        check_span(finding.span, source);
        assert!(!finding.message.is_empty());
        for (span, _) in &finding.labels {
            check_span(*span, source);
        }
    }
}

fn check_stage(stage: &Stage, source: &[u8]) {
    check_head(&stage.head, source);
    let from = &stage.from;
    check_words([&from.base], &stage.head, source);
    // A name is in small letters, a flag without its quotes.
    for word in from.name.iter().chain(&from.platform) {
        check_within(word, &stage.head, source);
    }
    let mut end = stage.head.span.end;
    for instruction in &stage.instructions {
        assert!(instruction.head.span.start >= end, "instructions overlap");
        end = instruction.head.span.end;
        check_instruction(instruction, source);
    }
}

fn check_head(head: &Head, source: &[u8]) {
    check_span(head.span, source);
    assert!(head.span.start <= head.line_span.start && head.line_span.end <= head.span.end);
    check_words([&head.keyword], head, source);
    let mut end = head.line_span.end;
    for (place, heredoc) in head.heredocs.iter().enumerate() {
        check_span(heredoc.span, source);
        // A word without a body of its own has that of another word, or none.
        let mut before = head.heredocs[..place].iter();
        if before.any(|other| other.span == heredoc.span) || heredoc.span.end <= head.line_span.end
        {
            continue;
        }
        let outer = Span::new(end, head.span.end);
        let is_within = outer.start <= heredoc.span.start && heredoc.span.end <= outer.end;
        assert!(is_within, "{heredoc:?} in {outer:?}");
        end = heredoc.span.end;
        let body = &source[heredoc.span.start..heredoc.span.end];
        // What is no UTF-8 is replaced, and so are the line ends of DOS.
        if std::str::from_utf8(body).is_ok() && !body.contains(&b'\r') {
            assert_eq!(body, heredoc.body.as_bytes());
        }
        assert!(heredoc.chomp || heredoc.content() == heredoc.body);
    }
}

fn check_within(word: &Word, head: &Head, source: &[u8]) {
    check_span(word.span, source);
    let outer = head.line_span;
    let is_within = outer.start <= word.span.start && word.span.end <= outer.end;
    assert!(is_within, "{word:?} in {outer:?}");
}

/// Words lie in their line, and stand there as the tree has them, if no line ends in between.
fn check_words<'a>(words: impl IntoIterator<Item = &'a Word>, head: &Head, source: &[u8]) {
    for word in words {
        check_within(word, head, source);
        let bytes = &source[word.span.start..word.span.end];
        if !bytes.contains(&b'\n') {
            assert_eq!(String::from_utf8_lossy(bytes), word.value);
        }
    }
}

fn check_instruction(instruction: &Instruction, source: &[u8]) {
    let head = &instruction.head;
    check_head(head, source);
    match &instruction.kind {
        InstructionKind::Arg(found) => {
            for argument in found {
                check_within(&argument.name, head, source);
            }
        }
        InstructionKind::Env(found) | InstructionKind::Label(found) => {
            for (key, value) in &found.pairs {
                check_words([key, value], head, source);
            }
        }
        InstructionKind::Run(run) => {
            check_command(&run.command, head, source);
            let flags = run.mounts.iter().chain(&run.network).chain(&run.security);
            flags.for_each(|word| check_within(word, head, source));
            assert!(!run.heredoc_only || head.heredocs.len() == 1);
        }
        InstructionKind::Copy(copy) => check_transfer(&copy.transfer, head, source),
        InstructionKind::Add(add) => check_transfer(&add.transfer, head, source),
        InstructionKind::Workdir(word)
        | InstructionKind::User(word)
        | InstructionKind::StopSignal(word)
        | InstructionKind::Maintainer(word) => check_words([word], head, source),
        InstructionKind::Expose(words)
        | InstructionKind::Volume(words)
        | InstructionKind::Shell(words) => {
            words
                .iter()
                .for_each(|word| check_within(word, head, source));
        }
        InstructionKind::Healthcheck(Healthcheck::None) => {}
        InstructionKind::Healthcheck(Healthcheck::Cmd { command, .. })
        | InstructionKind::Cmd(command)
        | InstructionKind::Entrypoint(command) => check_command(command, head, source),
        InstructionKind::Onbuild(onbuild) => {
            check_span(onbuild.trigger.span, source);
            // It was looked at where it stands, so it is no news to whoever reads the config.
            let (_instruction, _findings) = parse_trigger(&onbuild.trigger.value);
        }
    }
}

fn check_command(command: &CommandLine, head: &Head, source: &[u8]) {
    match command {
        CommandLine::Shell(word) => check_words([word], head, source),
        CommandLine::Exec(words) => words
            .iter()
            .for_each(|word| check_within(word, head, source)),
    }
}

fn check_transfer(transfer: &Transfer, head: &Head, source: &[u8]) {
    assert!(!transfer.sources.is_empty());
    check_within(&transfer.dest, head, source);
    for found in &transfer.sources {
        match found {
            TransferSource::Path(word) => check_within(word, head, source),
            TransferSource::Heredoc(place) => assert!(*place < head.heredocs.len()),
        }
    }
}

/// Findings of checks are of known rules and lie in the file; what is filtered is a part of them.
fn check_checks(parsed: &Parsed, source: &[u8]) {
    let mut findings = buildkit::check(parsed);
    if !parsed.has_errors() {
        let others = hadolint::check(source, &parsed.dockerfile);
        assert!(others.iter().all(|f| hadolint::find(f.code).is_some()));
        findings.extend(others);
    }
    check_findings(&findings, source);
    for finding in &findings {
        assert!(!finding.is_error());
        assert!(checks::is_rule(finding.code) || hadolint::find(finding.code).is_some());
    }
    if let Ok(config) = CheckConfig::of_file(source, None) {
        let n_findings = findings.len();
        let left = Filter::new(&parsed.dockerfile, config).apply(findings);
        assert!(left.len() <= n_findings);
    }
}

/// Safe corrections, and all of them, lead to a file that is read without faults and has nothing
/// more to be corrected.
fn check_fixes(parsed: &Parsed, source: &[u8]) {
    let fixes = fix::fixes(source, parsed);
    for found in &fixes {
        check_span(found.instruction, source);
        assert!(!found.edits.is_empty());
        found
            .edits
            .iter()
            .for_each(|edit| check_span(edit.span, source));
    }
    if fixes.is_empty() {
        return;
    }
    let numbers_before = numbers(parsed);
    for with_unsafe in [false, true] {
        let mut text = source.to_vec();
        let mut n_rounds = 0;
        loop {
            let parsed = parse(&text);
            assert!(!parsed.has_errors(), "a correction broke the file");
            assert_eq!(
                numbers(&parsed),
                numbers_before,
                "instructions came or went"
            );
            let fixes = fix::fixes(&text, &parsed);
            let wanted = fixes.iter().filter(|fix| fix.is_safe || with_unsafe);
            let next = fix::apply(&text, wanted);
            if next == text {
                break;
            }
            text = next;
            n_rounds += 1;
            assert!(n_rounds < MAX_ROUNDS, "corrections go round in circles");
        }
    }
}

/// How many instructions each stage has.
fn numbers(parsed: &Parsed) -> Vec<usize> {
    let stages = parsed.dockerfile.stages.iter();
    stages.map(|stage| stage.instructions.len()).collect()
}
