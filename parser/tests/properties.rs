//! What must hold for any input.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rbuild_parser::{
    Parsed,
    ast::{Heredoc, Word},
    checks::{self, CheckConfig, Filter, buildkit},
    dump, expand, glob,
    ignore::{Ignore, ParentState},
    parse, parse_trigger,
    span::Span,
    syntax::{self, Arguments, Statement},
};

/// Pieces that Dockerfiles are made of, so that random files get somewhere.
const PIECES: &[&str] = &[
    "FROM ",
    "scratch",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "ONBUILD ",
    "CMD ",
    "HEALTHCHECK ",
    "SHELL ",
    "VOLUME ",
    "EXPOSE ",
    "USER ",
    "NONE",
    "AS ",
    "x",
    "/a",
    "a=b",
    "=",
    "\n",
    "\r\n",
    "\\\n",
    "\\",
    "`\n",
    "\n\n",
    "# c\n",
    "# escape=`\n",
    "# check=skip=all\n",
    "#",
    " ",
    "\t",
    "<<EOF",
    "<<-E ",
    "\nEOF\n",
    "\nE\n",
    "--from=x ",
    "--mount=type=cache,target=/a ",
    "--",
    "'",
    "\"",
    "[\"a\", \"b\"]",
    "[",
    "]",
    "${",
    "}",
    "$A",
    ":-",
    "\u{feff}",
    "\u{a0}",
    "é",
    "\u{2028}",
];

fn file() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn check_span(span: Span, source: &[u8]) {
    assert!(
        span.start <= span.end && span.end <= source.len(),
        "{span:?}"
    );
}

fn check_words<'a>(words: impl IntoIterator<Item = &'a Word>, outer: Span, source: &[u8]) {
    for word in words {
        check_span(word.span, source);
        assert!(
            outer.start <= word.span.start && word.span.end <= outer.end,
            "{word:?}"
        );
    }
}

fn check_heredocs(heredocs: &[Heredoc], source: &[u8]) {
    for heredoc in heredocs {
        check_span(heredoc.span, source);
    }
}

fn arguments_words(arguments: &Arguments) -> Vec<&Word> {
    match arguments {
        Arguments::Words(words) | Arguments::Json(words) => words.iter().collect(),
        Arguments::Declarations(found) => found
            .iter()
            .flat_map(|found| [Some(&found.name), found.default.as_ref()])
            .flatten()
            .collect(),
        Arguments::Text(word) => word.iter().collect(),
        Arguments::Pairs(Some(found)) => found
            .pairs
            .iter()
            .flat_map(|(key, value)| [key, value])
            .collect(),
        Arguments::Typed(kind, rest) => [vec![kind], arguments_words(rest)].concat(),
        Arguments::Pairs(None) | Arguments::Trigger | Arguments::Nothing | Arguments::Invalid => {
            Vec::new()
        }
    }
}

fn check_statement(statement: &Statement, source: &[u8]) {
    let head = &statement.head;
    check_span(head.span, source);
    assert!(head.span.start <= head.line_span.start && head.line_span.end <= head.span.end);
    check_words([&head.keyword], head.line_span, source);
    check_words(&head.comments, Span::new(0, source.len()), source);
    check_heredocs(&head.heredocs, source);
    for command in &statement.commands {
        check_words([&command.keyword, &command.text], head.line_span, source);
        for flag in &command.flags {
            let parts = [Some(&flag.name), flag.value.as_ref()];
            check_words(parts.into_iter().flatten(), head.line_span, source);
        }
        let words = arguments_words(&command.arguments);
        if !matches!(
            &command.arguments,
            Arguments::Json(_) | Arguments::Typed(..)
        ) {
            words.iter().for_each(|word| check_text(word, source));
        }
        check_text(&command.keyword, source);
        check_text(&command.text, source);
        check_words(words, head.line_span, source);
    }
}

/// What is not decoded stands so at its place, if no line ends in between.
fn check_text(word: &Word, source: &[u8]) {
    let bytes = &source[word.span.start..word.span.end];
    if !bytes.contains(&b'\n') {
        assert_eq!(String::from_utf8_lossy(bytes), word.value);
    }
}

/// Findings of checks lie in the file, and what is filtered is a part of them.
fn check_findings(parsed: &Parsed, source: &[u8]) {
    let findings = buildkit::check(parsed);
    for finding in &findings {
        assert!(!finding.is_error() && checks::is_rule(finding.code));
        check_span(finding.span, source);
        for (span, _) in &finding.labels {
            check_span(*span, source);
        }
    }
    if let Ok(config) = CheckConfig::of_file(source, None) {
        let n_findings = findings.len();
        let left = Filter::new(&parsed.dockerfile, config).apply(findings);
        assert!(left.len() <= n_findings);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_file_parses(source in file()) {
        let parsed = parse(&source);
        for found in &parsed.diagnostics {
            check_span(found.span, &source);
            for (span, _) in &found.labels {
                check_span(*span, &source);
            }
        }
        prop_assert!(parsed.has_errors() || !parsed.dockerfile.stages.is_empty());
        for statement in &syntax::parse_syntax(&source).statements {
            check_statement(statement, &source);
        }
        prop_assert!(!dump::dump(&parsed).is_empty());
        check_findings(&parsed, &source);
    }

    #[test]
    fn any_trigger_parses(text in ".{0,60}", source in file()) {
        drop(parse_trigger(&text));
        drop(parse_trigger(&String::from_utf8_lossy(&source)));
        drop(syntax::directive::detect_syntax(&source));
    }

    #[test]
    fn any_word_expands(text in "[$\\{\\}:/#%?+'\"\\\\<>a-cA-C *`é-]{0,40}", a in ".{0,9}") {
        let env = BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), String::new())]);
        for escape in ['\\', '`'] {
            drop(expand::expand_word(&text, escape, &env));
            if let Ok(found) = expand::expand_words(&text, escape, &env) {
                prop_assert!(found.words.iter().all(|word| !word.is_empty()));
            }
        }
        drop(expand::expand_heredoc(&text, &env));
    }

    #[test]
    fn plain_words_stay(text in "[a-zA-Z0-9_./:=,@é-]{0,40}") {
        let found = expand::expand_word(&text, '\\', &expand::NoVariables).unwrap();
        prop_assert_eq!(&found.text, &text);
        let quoted = format!("'{text}'");
        let found = expand::expand_word(&quoted, '\\', &expand::NoVariables).unwrap();
        prop_assert_eq!(&found.text, &text);
    }

    #[test]
    fn globs_and_ignore_files_agree_on_plain_patterns(
        pattern in "\\*?([ab?]\\*?){1,5}",
        name in "[ab]{0,6}",
    ) {
        let by_glob = glob::matches(pattern.as_bytes(), name.as_bytes()).unwrap();
        let by_ignore = Ignore::from_patterns([&pattern]).unwrap().is_excluded(&name);
        prop_assert_eq!(by_glob, by_ignore);
    }

    #[test]
    fn any_pattern_is_tried(
        file in prop::collection::vec("[!ab*?/\\[\\]^\\\\d-]{0,6}", 0..5),
        path in "[ab]{1,2}(/[ab]{1,2}){0,4}",
    ) {
        let Ok(ignore) = Ignore::parse(file.join("\n").as_bytes()) else { return Ok(()) };
        // Going down step by step is the same as asking at once, and pruning loses nothing.
        let mut state = ParentState::default();
        let mut is_pruned = false;
        let mut is_excluded = false;
        let mut end = 0;
        for component in path.split('/') {
            end += component.len();
            (is_excluded, state) = ignore.matches_with_parent(&path[..end], &state);
            prop_assert!(is_excluded || !is_pruned);
            is_pruned |= is_excluded && !ignore.may_include_below(&path[..end]);
            end += 1;
        }
        prop_assert_eq!(ignore.is_excluded(&path), is_excluded);
    }

    #[test]
    fn any_glob_is_tried(pattern in prop::collection::vec(any::<u8>(), 0..12), name in ".{0,12}") {
        let compiled = glob::Pattern::new(&pattern);
        if let Ok(compiled) = &compiled
            && let Some(literal) = compiled.literal()
        {
            prop_assert!(compiled.matches(&literal));
        }
        prop_assert_eq!(glob::matches(&pattern, name.as_bytes()).is_ok(), compiled.is_ok());
    }
}
