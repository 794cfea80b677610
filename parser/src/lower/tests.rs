//! Tables of inputs and outcomes; the outcomes are BuildKit's.

use super::*;
use crate::ast::{CommandLine, Healthcheck, TransferSource, Word};

/// Returns the messages of all errors.
fn errors(source: &str) -> Vec<String> {
    let parsed = parse(source.as_bytes());
    parsed
        .diagnostics
        .into_iter()
        .filter(Diagnostic::is_error)
        .map(|found| found.message)
        .collect()
}

/// Checks that `FROM scratch` and these lines have exactly this error.
fn fails(lines: &str, message: &str) {
    assert_eq!(
        errors(&format!("FROM scratch\n{lines}")),
        [message],
        "{lines}"
    );
}

/// Returns the instructions after `FROM scratch`, which must be fine.
fn instructions(lines: &str) -> Vec<Instruction> {
    let parsed = parse(format!("FROM scratch\n{lines}").as_bytes());
    assert!(!parsed.has_errors(), "{lines:?}: {:?}", parsed.diagnostics);
    parsed
        .dockerfile
        .stages
        .into_iter()
        .flat_map(|stage| stage.instructions)
        .collect()
}

fn only(lines: &str) -> InstructionKind {
    let mut found = instructions(lines);
    assert_eq!(found.len(), 1, "{lines}");
    found.remove(0).kind
}

fn values(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.value.as_str()).collect()
}

/// Returns the text of a shell-form command, or exec form as `[a|b]`.
fn command_text(command: &CommandLine) -> String {
    match command {
        CommandLine::Shell(text) => text.value.clone(),
        CommandLine::Exec(words) => format!("[{}]", values(words).join("|")),
    }
}

#[test]
fn lexing_errors() {
    let cases: &[(&str, &[&str])] = &[
        (
            "RUN x\nCMD y\nFROM scratch",
            &["no build stage in current context"],
        ),
        ("# escape=`\n", &["file with no instructions"]),
        ("FROM", &["FROM requires either one or three arguments"]),
        (
            "FROM AS x",
            &["FROM requires either one or three arguments"],
        ),
        ("\\\n", &["unknown instruction: "]),
        (
            "FROM scratch\nINCLUDE\nENV A\nRUN ok\nCOPY --bad a\n",
            &[
                "unknown instruction: INCLUDE",
                "ENV must have two arguments",
                "COPY requires at least two arguments, but only one was provided. Destination \
                 could not be determined",
                "unknown flag: --bad",
            ],
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(errors(source), *expected, "{source:?}");
    }
}

#[test]
fn lines_of_a_continuation_have_the_same_limit() {
    let too_long = "dockerfile line greater than max allowed size of 65535";
    fails(&format!("RUN a \\\n{}\\\nb", "x".repeat(65_536)), too_long);
}

#[test]
fn empty_continuation_lines() {
    let source = "FROM scratch\nRUN a \\\n\n \n  b\nRUN c";
    let parsed = parse(source.as_bytes());
    let [warning] = parsed.diagnostics.as_slice() else {
        panic!("{:?}", parsed.diagnostics)
    };
    assert_eq!(warning.code, "NoEmptyContinuation");
    assert_eq!(warning.message, "Empty continuation line");
    assert_eq!(&source[warning.span.start..warning.span.end], "  b");
    assert_eq!(warning.labels[0].0, Span::new(21, 21));
}

const STRINGS_ONLY: &str = "when using JSON array syntax, arrays must be comprised of strings only";

/// Lines after `FROM scratch`, and the one error that they have.
const ARGUMENT_ERRORS: &[(&str, &str)] = &[
    ("RUN [\"a\",1]", STRINGS_ONLY),
    ("RUN [null]", STRINGS_ONLY),
    ("RUN [[\"a\"]]", STRINGS_ONLY),
    ("HEALTHCHECK CMD [1]", STRINGS_ONLY),
    (
        "ENV A=b C",
        "Syntax error - can't find = in \"C\". Must be of the form: name=value",
    ),
    ("ENV A", "ENV must have two arguments"),
    ("LABEL A", "LABEL must have two arguments"),
    ("ENV =b", "ENV names can not be blank"),
    ("ENV", "ENV requires at least one argument"),
    ("LABEL", "LABEL requires at least one argument"),
    ("ARG =x", "ARG names can not be blank"),
    ("ARG", "ARG requires at least one argument"),
    (
        "COPY --form=x a b",
        "unknown flag: --form (did you mean from?)",
    ),
    (
        "COPY --from=x --from=y a b",
        "duplicate flag specified: --from",
    ),
    (
        "COPY --link=1 a b",
        "expecting boolean value for flag --link, not: 1",
    ),
    ("COPY --link= a b", "missing a value on flag: --link"),
    ("COPY --from a b", "missing a value on flag: --from"),
    (
        "COPY --from=$X a b",
        "variable expansion is not supported for --from, define a new stage with FROM using \
             ARG from global scope as a workaround",
    ),
    (
        "COPY [\"a\"]",
        "COPY requires at least two arguments, but only one was provided. Destination could \
             not be determined",
    ),
    (
        "ADD a",
        "ADD requires at least two arguments, but only one was provided. Destination could \
             not be determined",
    ),
    ("ENV --foo=1 A=b", "unknown flag: --foo"),
    ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
    ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
    ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
    (
        "HEALTHCHECK CMD []",
        "Missing command after HEALTHCHECK CMD",
    ),
    (
        "HEALTHCHECK foo a",
        "Unknown type \"FOO\" in HEALTHCHECK (try CMD)",
    ),
    (
        "HEALTHCHECK --interval=1us CMD x",
        "Interval \"interval\" cannot be less than 1ms",
    ),
    (
        "HEALTHCHECK --interval=5 CMD x",
        "time: missing unit in duration \"5\"",
    ),
    (
        "HEALTHCHECK --retries=-1 CMD x",
        "--retries cannot be negative (-1)",
    ),
    (
        "HEALTHCHECK --retries=a CMD x",
        "strconv.ParseInt: parsing \"a\": invalid syntax",
    ),
    (
        "HEALTHCHECK --retries=9999999999 CMD x",
        "strconv.ParseInt: parsing \"9999999999\": value out of range",
    ),
    ("RUN --network=foo x", "invalid network mode \"foo\""),
    ("RUN --security=foo x", "security \"foo\" is not valid"),
    ("RUN --mount= x", "failed to parse csv mounts: EOF"),
    (
        "RUN --mount=from=$X,target=/a x",
        "'from' doesn't support variable expansion, define alias stage instead",
    ),
    ("SHELL []", "SHELL requires at least one argument"),
    (
        "SHELL bash -c",
        "SHELL requires the arguments to be in JSON form",
    ),
    ("VOLUME", "VOLUME requires at least one argument"),
    ("VOLUME []", "VOLUME requires at least one argument"),
    (
        "VOLUME [\" \"]",
        "VOLUME specified can not be an empty string",
    ),
    ("EXPOSE", "EXPOSE requires at least one argument"),
    ("USER", "USER requires exactly one argument"),
    ("WORKDIR", "WORKDIR requires exactly one argument"),
    ("MAINTAINER", "MAINTAINER requires exactly one argument"),
    ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
    ("ONBUILD", "ONBUILD requires at least one argument"),
    (
        "ONBUILD ONBUILD RUN x",
        "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
    ),
    ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
    (
        "onbuild maintainer x",
        "MAINTAINER isn't allowed as an ONBUILD trigger",
    ),
    ("ONBUILD ENV X", "ENV must have two arguments"),
    (
        "FROM a as 1b",
        "invalid name for build stage: \"1b\", name can't start with a number or contain \
             symbols",
    ),
    (
        "FROM a as B/c",
        "invalid name for build stage: \"B/c\", name can't start with a number or contain \
             symbols",
    ),
    (
        "FROM --platform scratch",
        "missing a value on flag: --platform",
    ),
    (
        "COPY a <<EOF\nEOF",
        "COPY cannot accept a heredoc as a destination",
    ),
];

#[test]
fn argument_errors() {
    for (lines, message) in ARGUMENT_ERRORS {
        fails(lines, message);
    }
}

#[test]
fn accepted_flags() {
    let InstructionKind::Copy(copy) = only("COPY --link=TRUE --chown= --parents=false a b") else {
        panic!()
    };
    assert!(copy.transfer.link && !copy.parents);
    assert_eq!(copy.transfer.chown, None);
    only("ARG --foo=1 A=b");
    only("STOPSIGNAL --foo 9");
    assert_eq!(
        only("HEALTHCHECK --interval=1s none"),
        InstructionKind::Healthcheck(Healthcheck::None)
    );
    let InstructionKind::Run(run) =
        only("RUN --mount=type=cache,target=\"/a b\" --mount=target=/a\\ b --network=none x")
    else {
        panic!()
    };
    assert_eq!(
        values(&run.mounts),
        ["type=cache,target=/a b", "target=/a b"]
    );
    assert_eq!(run.network.unwrap().value, "none");
    let InstructionKind::Healthcheck(Healthcheck::Cmd {
        command,
        interval,
        timeout,
        retries,
        ..
    }) = only("HEALTHCHECK --interval=5m --timeout=1.5s --retries=3 cmd [\"a\"]")
    else {
        panic!()
    };
    assert_eq!(command_text(&command), "[a]");
    assert_eq!(
        (interval, timeout, retries),
        (300_000_000_000, 1_500_000_000, 3)
    );
}

fn sources(line: &str) -> Vec<String> {
    let InstructionKind::Copy(copy) = only(line) else {
        panic!("{line}")
    };
    let sources = copy.transfer.sources.iter().map(|source| match source {
        TransferSource::Path(word) => word.value.clone(),
        TransferSource::Heredoc(index) => format!("heredoc {index}"),
    });
    sources.chain([copy.transfer.dest.value.clone()]).collect()
}

#[test]
fn words() {
    assert_eq!(sources("COPY -- --from=x b"), ["--from=x", "b"]);
    assert_eq!(sources("COPY \"a b\" /x"), ["\"a", "b\"", "/x"]);
    assert_eq!(sources("COPY a\\ b /x"), ["a\\", "b", "/x"]);
    assert_eq!(sources("COPY [\"a b\", \"/x\"]"), ["a b", "/x"]);
    let pairs = |line: &str| {
        let (InstructionKind::Env(found) | InstructionKind::Label(found)) = only(line) else {
            panic!("{line}")
        };
        let pairs = found.pairs.iter();
        let pairs: Vec<(String, String)> = pairs
            .map(|(key, value)| (key.value.clone(), value.value.clone()))
            .collect();
        (pairs, found.legacy)
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        pairs("ENV A b c=d  e "),
        (vec![pair("A", "b c=d  e")], true)
    );
    assert_eq!(
        pairs("LABEL \"a b\"=\"c d\" e=f"),
        (vec![pair("\"a b\"", "\"c d\""), pair("e", "f")], false)
    );
    assert_eq!(instructions("LABEL a=\"b c\nRUN x").len(), 2);
    for line in ["VOLUME [\"/a\",\"/c\"]", "VOLUME /a /c"] {
        let InstructionKind::Volume(words) = only(line) else {
            panic!()
        };
        assert_eq!(values(&words), ["/a", "/c"]);
    }
    let InstructionKind::Workdir(path) = only("WORKDIR /a b  c ") else {
        panic!()
    };
    assert_eq!(path.value, "/a b  c");
    let InstructionKind::Expose(ports) = only("EXPOSE 80 443 22") else {
        panic!()
    };
    assert_eq!(values(&ports), ["80", "443", "22"]);
    let InstructionKind::Arg(found) = only("ARG 'a'=x b c=") else {
        panic!()
    };
    let names: Vec<&str> = found
        .iter()
        .map(|found| found.name.value.as_str())
        .collect();
    assert_eq!(names, ["'a'", "b", "c"]);
    let defaults: Vec<Option<&str>> = found
        .iter()
        .map(|found| found.default.as_ref().map(|word| word.value.as_str()))
        .collect();
    assert_eq!(defaults, [Some("x"), None, Some("")]);
}

#[test]
fn stages() {
    let parsed = parse(b"ARG V=1\nfrom --platform=$P a:$V as Base\nRUN x\nFROM base\n");
    assert!(!parsed.has_errors());
    let file = parsed.dockerfile;
    assert_eq!(file.global_args.len(), 1);
    assert_eq!(file.stages.len(), 2);
    let from = &file.stages[0].from;
    assert_eq!(from.platform.as_ref().unwrap().value, "$P");
    assert_eq!(
        from.name,
        Some(Word::new("base".to_owned(), Span::new(35, 39)))
    );
    assert_eq!(from.as_keyword.as_ref().unwrap().value, "as");
    assert_eq!(file.stages[0].instructions.len(), 1);
    // What follows a broken FROM belongs to it and is not reported.
    assert_eq!(
        errors("FROM a b\nRUN x\n"),
        ["FROM requires either one or three arguments"]
    );
}

fn bodies(lines: &str) -> Vec<(String, String)> {
    let found = instructions(lines);
    let heredocs = found[0].head.heredocs.iter();
    heredocs
        .map(|heredoc| (heredoc.name.clone(), heredoc.body.clone()))
        .collect()
}

#[test]
fn heredocs() {
    let body = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(
        bodies("RUN cat <<A \\\n<<B\nA\nB"),
        [body("A", ""), body("B", "")]
    );
    assert!(bodies("RUN [\"<<EOF\"]").is_empty());
}

#[test]
fn heredoc_errors() {
    fails(
        &format!("RUN <<EOF\n{}\nEOF", "x".repeat(65_536)),
        "unterminated heredoc",
    );
}

#[test]
fn heredoc_uses() {
    let heredoc_only = |lines: &str| {
        let InstructionKind::Run(run) = instructions(lines).remove(0).kind else {
            panic!("{lines}")
        };
        run.heredoc_only
    };
    assert!(heredoc_only("RUN <<F\n#!/bin/sh\nF"));
    assert!(heredoc_only("RUN --network=none << 'F'\nx\nF"));
    assert!(!heredoc_only("RUN <<F bash\nx\nF"));
    assert!(!heredoc_only("RUN cat <<-F | tr a b\n\tx\nF"));
    assert!(!heredoc_only("RUN <<A <<B\nA\nB"));

    let copy = instructions("COPY <<E'O'F /x\n$a\nEOF").remove(0);
    assert!(!copy.head.heredocs[0].expand);
    // Of two bodies with one name both words mean the last.
    assert_eq!(
        sources("COPY <<A <<A /d/\n1\nA\n2\nA"),
        ["heredoc 1", "heredoc 1", "/d/"]
    );
    assert_eq!(
        sources("COPY <<A <<-A x /d/\n\t1\nA\n\t2\nA"),
        ["heredoc 2", "heredoc 1", "x", "/d/"]
    );
    // In exec form there is no body.
    assert_eq!(sources("COPY [\"<<EOF\", \"/x\"]"), ["heredoc 0", "/x"]);
    assert_eq!(
        bodies("COPY [\"<<EOF\", \"/x\"]"),
        [("EOF".to_owned(), String::new())]
    );
}

#[test]
fn onbuild_triggers() {
    let trigger = |lines: &str| {
        let InstructionKind::Onbuild(found) = instructions(lines).remove(0).kind else {
            panic!("{lines}")
        };
        found.trigger.value
    };
    assert_eq!(trigger("ONBUILD  COPY --from=x a  b"), "COPY --from=x a  b");
    assert_eq!(
        trigger("ONBUILD COPY <<-E /a\n\tx\nE"),
        "COPY <<-E /a\n\tx\nE"
    );
    assert_eq!(trigger("onbuild FOO a"), "FOO a");
    assert_eq!(trigger("ONBUILD RUN a \\\n b  \n\n"), "RUN a  b  ");
    // Flags of a trigger are checked when it is used.
    assert_eq!(trigger("ONBUILD RUN --nope x"), "RUN --nope x");
}

#[test]
fn triggers() {
    let (instruction, found) = parse_trigger("COPY <<-E /a\n\tx\nE");
    assert!(found.is_empty());
    assert_eq!(instruction.unwrap().head.heredocs[0].content(), "x\n");
    let fails = |text: &str, message: &str| {
        let (instruction, found) = parse_trigger(text);
        assert_eq!(instruction, None);
        assert_eq!(found[0].message, message);
    };
    fails("FOO a", "unknown instruction: FOO (did you mean FROM?)");
    fails("", "onbuild trigger should be a single expression");
    fails(
        "RUN a\nRUN b",
        "onbuild trigger should be a single expression",
    );
    fails("FROM x", "FROM isn't allowed as an ONBUILD trigger");
}

#[test]
fn comments_and_places() {
    let source =
        "# one\n\n  # two \nFROM scratch\n#\n# three\nENV A=b \\\n  # not me\n  C=\"d e\"\n";
    let parsed = parse(source.as_bytes());
    let at = |span: Span| &source[span.start..span.end];
    let stage = &parsed.dockerfile.stages[0];
    assert_eq!(values(&stage.head.comments), ["one", "two"]);
    assert_eq!(at(stage.head.comments[1].span), "two");
    let env = &stage.instructions[0];
    assert_eq!(values(&env.head.comments), ["three"]);
    assert_eq!(env.head.text, "ENV A=b   C=\"d e\"");
    assert_eq!(at(env.head.span), "ENV A=b \\\n  # not me\n  C=\"d e\"");
    assert_eq!(env.head.span, env.head.line_span);
    let InstructionKind::Env(pairs) = &env.kind else {
        panic!()
    };
    assert_eq!(at(pairs.pairs[1].0.span), "C");
    assert_eq!(at(pairs.pairs[1].1.span), "\"d e\"");
}

#[test]
fn error_places() {
    let place = |source: &str| {
        let parsed = parse(source.as_bytes());
        let span = parsed.diagnostics[0].span;
        source[span.start..span.end].to_owned()
    };
    assert_eq!(place("FROM scratch\nCOPY \\\n --form=x a b"), "--form");
    assert_eq!(place("FROM scratch\nENV A=b \\\n C"), "C");
    assert_eq!(place("FROM scratch\nRUN [\"a\", 1]"), "1");
    assert_eq!(place("FROM scratch AS 1b"), "1b");
    assert_eq!(place("FROM scratch\nRUN --network=foo x"), "foo");
    assert_eq!(place("FROM scratch\nHEALTHCHECK --interval=5 CMD x"), "5");
    assert_eq!(place("FROM scratch\nCOPY a <<E\nE"), "<<E");
    assert_eq!(place("# escape=xy\nFROM scratch"), "xy");
    assert_eq!(place("FROM a b"), "FROM a b");
}

#[test]
fn invalid_text() {
    let parsed = parse(b"FROM scratch\nRUN a\xff\xfeb\nCOPY <<E /\xc3\n\xff\nE\n");
    assert!(!parsed.has_errors());
    let stage = &parsed.dockerfile.stages[0];
    assert_eq!(stage.instructions[0].head.text, "RUN a\u{fffd}\u{fffd}b");
    assert_eq!(stage.instructions[0].head.span, Span::new(13, 21));
    assert_eq!(
        stage.instructions[1].head.heredocs[0].span,
        Span::new(34, 36)
    );
}

#[test]
fn limits() {
    let garbage = "x\n".repeat(5_000);
    let found = errors(&format!("FROM scratch\n{garbage}"));
    assert_eq!(found.len(), 1_001);
    assert_eq!(
        found[1_000],
        "more than 1000 errors, the rest of the file was not read"
    );
    let many = "RUN\n".repeat(100_001);
    assert_eq!(
        errors(&format!("FROM scratch\n{many}")),
        ["more than 100000 instructions"]
    );
}
