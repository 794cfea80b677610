//! The reference's tables of the language, one row a test case: lexing (L), arguments (A), heredocs
//! (H). Rows whose outcome is an image are the planner's, rows about files the executor's.
//!
//! `F` as a first line stands for `FROM scratch`.

use rbuild_parser::ast::{CommandLine, Healthcheck, Heredoc, Instruction, InstructionKind};
use rbuild_parser::ast::{KeyValues, Transfer, TransferSource, Word};
use rbuild_parser::diagnostic::Diagnostic;
use rbuild_parser::parse;

/// Row, Dockerfile, what comes of it (see [`outcome`]).
type Row<'a> = (&'a str, &'a str, &'a [&'a str]);

fn check(rows: &[Row<'_>]) {
    for (row, text, expected) in rows {
        assert_eq!(outcome(text), *expected, "{row}: {text:?}");
    }
}

/// Returns the errors with their lines if there are any; else the stages' names, the instructions
/// and the warnings.
fn outcome(text: &str) -> Vec<String> {
    let text = match text.strip_prefix("F\n") {
        Some(rest) => format!("FROM scratch\n{rest}"),
        None => text.to_owned(),
    };
    let parsed = parse(text.as_bytes());
    let line = |found: &Diagnostic| 1 + text[..found.span.start].matches('\n').count();
    if parsed.has_errors() {
        let errors = parsed.diagnostics.iter().filter(|found| found.is_error());
        return errors
            .map(|found| format!("line {}: {}", line(found), found.message))
            .collect();
    }
    let mut lines = Vec::new();
    for stage in &parsed.dockerfile.stages {
        lines.extend(
            stage
                .from
                .name
                .iter()
                .map(|name| format!("AS {}", name.value)),
        );
        lines.extend(stage.instructions.iter().map(shown));
    }
    let warnings = parsed.diagnostics.iter();
    lines.extend(warnings.map(|found| format!("{} on line {}", found.code, line(found))));
    lines
}

fn shown(instruction: &Instruction) -> String {
    let keyword = instruction.head.keyword.value.to_uppercase();
    let mut line = format!("{keyword} {}", arguments(&instruction.kind));
    for heredoc in &instruction.head.heredocs {
        line = format!("{line} {}", body(heredoc));
    }
    line.trim_end_matches(' ').to_owned()
}

/// `<<NAME:body`; `-` for `<<-`, quotes if nothing is expanded in it, the descriptor in front.
fn body(heredoc: &Heredoc) -> String {
    let descriptor = match heredoc.file_descriptor {
        0 => String::new(),
        other => other.to_string(),
    };
    let dash = if heredoc.chomp { "-" } else { "" };
    let quote = if heredoc.expand { "" } else { "'" };
    let content = heredoc.content();
    format!(
        "{descriptor}<<{dash}{quote}{}{quote}:{content:?}",
        heredoc.name
    )
}

fn arguments(kind: &InstructionKind) -> String {
    match kind {
        InstructionKind::Run(run) => command(&run.command),
        InstructionKind::Cmd(found) | InstructionKind::Entrypoint(found) => command(found),
        InstructionKind::Env(found) | InstructionKind::Label(found) => pairs(found),
        InstructionKind::Copy(copy) => {
            let from = copy
                .from
                .as_ref()
                .map(|from| format!("from {}: ", from.value));
            from.unwrap_or_default() + &transfer(&copy.transfer)
        }
        InstructionKind::Add(add) => transfer(&add.transfer),
        InstructionKind::Volume(words) | InstructionKind::Expose(words) => joined(words),
        InstructionKind::Shell(words) => joined(words),
        InstructionKind::Workdir(word)
        | InstructionKind::User(word)
        | InstructionKind::StopSignal(word)
        | InstructionKind::Maintainer(word) => word.value.clone(),
        InstructionKind::Arg(found) => {
            let names = found.iter().map(|found| match &found.default {
                Some(default) => format!("{}={}", found.name.value, default.value),
                None => found.name.value.clone(),
            });
            names.collect::<Vec<_>>().join("|")
        }
        InstructionKind::Healthcheck(Healthcheck::None) => "NONE".to_owned(),
        InstructionKind::Healthcheck(Healthcheck::Cmd { command: found, .. }) => command(found),
        InstructionKind::Onbuild(found) => found.trigger.value.clone(),
    }
}

fn joined(words: &[Word]) -> String {
    let words: Vec<&str> = words.iter().map(|word| word.value.as_str()).collect();
    words.join("|")
}

fn command(found: &CommandLine) -> String {
    match found {
        CommandLine::Shell(text) => text.value.clone(),
        CommandLine::Exec(words) => format!("exec:{}", joined(words)),
    }
}

fn pairs(found: &KeyValues) -> String {
    let pairs = found.pairs.iter();
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{}={}", key.value, value.value))
        .collect();
    pairs.join("|")
}

fn transfer(found: &Transfer) -> String {
    let sources = found.sources.iter().map(|source| match source {
        TransferSource::Path(word) => word.value.clone(),
        TransferSource::Heredoc(number) => format!("body {number}"),
    });
    let sources: Vec<String> = sources.collect();
    let link = if found.link { " linked" } else { "" };
    format!("{} to {}{link}", sources.join("|"), found.dest.value)
}

const ARITY: &str = "line 1: FROM requires either one or three arguments";

const LEXING: &[Row<'_>] = &[
    ("L1", "\u{feff}FROM scratch", &[]),
    (
        "L2",
        "\u{feff}#escape=`\nFROM scratch\nRUN a `\nb",
        &["RUN a b"],
    ),
    ("L3", "FROM scratch\r\nRUN a \\\r\n  b\r\n", &["RUN a   b"]),
    ("L4", "FROM scratch\rRUN a\r", &[ARITY]),
    (
        "L5",
        "# escape=`\n# escape=`\nFROM scratch",
        &["line 2: only one escape parser directive can be used"],
    ),
    (
        "L6",
        "# escape=x\nFROM scratch",
        &["line 1: invalid escape token 'x' does not match ` or \\"],
    ),
    (
        "L7",
        "\n# escape=`\nFROM scratch\nRUN a `\nRUN b",
        &["RUN a `", "RUN b"],
    ),
    (
        "L8",
        "# foo=bar\n# escape=`\nFROM scratch\nRUN a `\nRUN b",
        &["RUN a `", "RUN b"],
    ),
    (
        "L9",
        "#!/bin/x\n# escape=`\nFROM scratch\nRUN a `\nRUN b",
        &["RUN a `", "RUN b"],
    ),
    (
        "L10",
        "   # escape=`\nFROM scratch\nRUN a `\nb",
        &["RUN a b"],
    ),
    ("L11", "# escape=\nFROM scratch\nRUN a \\\nb", &["RUN a b"]),
    ("L12", "F\nRUN a \\\n# c\n  b", &["RUN a   b"]),
    ("L13", "F\n# c \\\nRUN a", &["RUN a"]),
    (
        "L14",
        "F\nRUN a \\\n\n  b\nRUN c",
        &["RUN a   b", "RUN c", "NoEmptyContinuation on line 4"],
    ),
    ("L15", "F\nRUN a \\", &["RUN a"]),
    ("L16", "F\nRUN a \\\\\nRUN b", &["RUN a \\\\", "RUN b"]),
    ("L17", "F\nRUN a \\\\\\\nRUN b", &["RUN a \\\\\\", "RUN b"]),
    ("L18", "F\nRUN a \\  \n b", &["RUN a  b"]),
    ("L19", "\\\nFROM scratch", &[]),
    ("L20", "F\nRUN a\\\n\\\nb", &["RUN ab"]),
    ("L21", "from scratch as X", &["AS x"]),
    (
        "L22",
        "F\nFOO",
        &["line 2: unknown instruction: FOO (did you mean FROM?)"],
    ),
    (
        "L23",
        "F\nrunn x",
        &["line 2: unknown instruction: runn (did you mean run?)"],
    ),
    (
        "L24",
        "RUN x\nFROM scratch",
        &["line 1: no build stage in current context"],
    ),
    ("L25 empty", "", &["line 1: the Dockerfile cannot be empty"]),
    (
        "L25 blank",
        "\n \n\t\n",
        &["line 1: file with no instructions"],
    ),
    (
        "L25 comment",
        "# a\n",
        &["line 1: file with no instructions"],
    ),
    (
        "L26",
        "ARG a",
        &["line 1: dockerfile contains no stages to build"],
    ),
    (
        "L27",
        "FROM\u{a0}scratch",
        &["line 1: unknown instruction: FROM\u{a0}scratch"],
    ),
    ("L28", "FROM scratch # hi", &[ARITY]),
    (
        "blanks",
        "F\n\tRUN\u{b}echo  a   b \\\n  c",
        &["RUN echo  a   b   c"],
    ),
];

#[test]
fn lexing() {
    check(LEXING);
}

#[test]
fn line_lengths() {
    let line = |length: usize| format!("RUN {}", "x".repeat(length - 4));
    let too_long = "dockerfile line greater than max allowed size of 65535";
    for (row, lines, is_fine) in [
        ("L29", line(65_535), true),
        ("L29", line(65_536), false),
        ("L29", format!("{}\r", line(65_535)), false),
        ("L30", format!("{0}\\\n{0}\\\n{0}", line(60_000)), true),
    ] {
        let parsed = parse(format!("FROM scratch\n{lines}\n").as_bytes());
        let errors: Vec<_> = parsed
            .diagnostics
            .iter()
            .map(|found| found.message.as_str())
            .collect();
        let expected: &[&str] = if is_fine { &[] } else { &[too_long] };
        assert_eq!(errors, expected, "{row}, {} bytes", lines.len());
    }
}

const STRINGS_ONLY: &str =
    "line 2: when using JSON array syntax, arrays must be comprised of strings only";

#[test]
fn commands_and_pairs() {
    check(&[
        ("A1", "F\nRUN [\"a\",\"b\"]", &["RUN exec:a|b"]),
        ("A2", "F\nRUN ['a','b']", &["RUN ['a','b']"]),
        ("A3", "F\nRUN [\"a\"] foo", &["RUN [\"a\"] foo"]),
        ("A4", "F\nRUN [\"a\",1]", &[STRINGS_ONLY]),
        ("A4", "F\nRUN [null]", &[STRINGS_ONLY]),
        ("A4", "F\nRUN [[\"a\"]]", &[STRINGS_ONLY]),
        ("A5", "F\nRUN [\"c:\\windows\"]", &["RUN [\"c:\\windows\"]"]),
        ("A6", "F\nCMD []", &["CMD exec:"]),
        ("A7", "F\nCMD", &["CMD"]),
        (
            "no command",
            "F\nRUN\nENTRYPOINT a  b",
            &["RUN", "ENTRYPOINT a  b"],
        ),
        ("A8", "F\nENTRYPOINT []", &["ENTRYPOINT exec:"]),
        ("A9", "F\nRUN [\"a\", \\\n\"b\"]", &["RUN exec:a|b"]),
        ("A10", "F\nENV A b c=d  e", &["ENV A=b c=d  e"]),
        (
            "A11",
            "F\nENV A=b C",
            &["line 2: Syntax error - can't find = in \"C\". Must be of the form: name=value"],
        ),
        ("A12", "F\nENV A", &["line 2: ENV must have two arguments"]),
        ("A13", "F\nENV =b", &["line 2: ENV names can not be blank"]),
        (
            "A14",
            "F\nLABEL \"a b\"=\"c d\" e=f",
            &["LABEL \"a b\"=\"c d\"|e=f"],
        ),
        (
            "A15",
            "F\nLABEL a=\"b c\nRUN x",
            &["LABEL a=\"b c", "RUN x"],
        ),
        ("A16", "F\nARG =x", &["line 2: ARG names can not be blank"]),
    ]);
}

#[test]
fn flags() {
    check(&[
        (
            "A17",
            "F\nCOPY --form=x a b",
            &["line 2: unknown flag: --form (did you mean from?)"],
        ),
        (
            "A18",
            "F\nCOPY --from=x --from=y a b",
            &["line 2: duplicate flag specified: --from"],
        ),
        (
            "A19",
            "F\nCOPY --link=1 a b",
            &["line 2: expecting boolean value for flag --link, not: 1"],
        ),
        ("A20", "F\nCOPY --link=TRUE a b", &["COPY a to b linked"]),
        ("A21", "F\nCOPY -- --from=x b", &["COPY --from=x to b"]),
        ("A22", "F\nRUN -- --foo x", &["RUN --foo x"]),
        (
            "A23",
            "F\nENV --foo=1 A=b",
            &["line 2: unknown flag: --foo"],
        ),
        ("A24", "F\nARG --foo=1 A=b", &["ARG A=b"]),
        ("A24", "F\nSTOPSIGNAL --foo 9", &["STOPSIGNAL 9"]),
        (
            "A25",
            "F\nHEALTHCHECK --interval=1s NONE",
            &["HEALTHCHECK NONE"],
        ),
        (
            "A26",
            "F\nHEALTHCHECK NONE x",
            &["line 2: HEALTHCHECK NONE takes no arguments"],
        ),
        (
            "A27",
            "F\nHEALTHCHECK --interval=1us CMD x",
            &["line 2: Interval \"interval\" cannot be less than 1ms"],
        ),
        (
            "A28",
            "F\nHEALTHCHECK --interval=5 CMD x",
            &["line 2: time: missing unit in duration \"5\""],
        ),
        (
            "A29",
            "F\nRUN --network=foo x",
            &["line 2: invalid network mode \"foo\""],
        ),
        (
            "S12",
            "F\nCOPY --from=$X a b",
            &[
                "line 2: variable expansion is not supported for --from, define a new stage with \
               FROM using ARG from global scope as a workaround",
            ],
        ),
    ]);
}

#[test]
fn words() {
    let invalid_name = |name: &str| {
        format!(
            "line 2: invalid name for build stage: \"{name}\", name can't start with a number or \
             contain symbols"
        )
    };
    check(&[
        ("A30", "F\nCOPY \"a b\" /x", &["COPY \"a|b\" to /x"]),
        ("A31", "F\nCOPY a\\ b /x", &["COPY a\\|b to /x"]),
        ("A32", "F\nVOLUME [\"/a b\",\"/c\"]", &["VOLUME /a b|/c"]),
        ("A32", "F\nVOLUME /a /b", &["VOLUME /a|/b"]),
        ("A33", "F\nWORKDIR /a b  c", &["WORKDIR /a b  c"]),
        ("A34", "F\nEXPOSE 80 443 22", &["EXPOSE 80|443|22"]),
        (
            "A35",
            "F\nONBUILD ONBUILD RUN x",
            &["line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"],
        ),
        (
            "A35",
            "F\nONBUILD FROM x",
            &["line 2: FROM isn't allowed as an ONBUILD trigger"],
        ),
        ("A36", "F\nONBUILD FOO a", &["ONBUILD FOO a"]),
        ("S24", "F\nFROM a as 1b", &[invalid_name("1b").as_str()]),
        ("S24", "F\nFROM a as b/c", &[invalid_name("b/c").as_str()]),
    ]);
}

const HEREDOCS: &[Row<'_>] = &[
    ("H1", "F\nRUN <<EOF\na\nEOF", &["RUN <<EOF <<EOF:\"a\\n\""]),
    ("H2", "F\nRUN <<EOF\na", &["line 2: unterminated heredoc"]),
    (
        "H3",
        "F\nRUN <<EOF\na\nEOF \nEOF",
        &["RUN <<EOF <<EOF:\"a\\nEOF \\n\""],
    ),
    (
        "H4",
        "F\nRUN <<-EOF\n\techo\n\tEOF",
        &["RUN <<-EOF <<-EOF:\"echo\\n\""],
    ),
    (
        "H5",
        "F\nRUN <<-EOF\na\n  EOF\nEOF",
        &["RUN <<-EOF <<-EOF:\"a\\n  EOF\\n\""],
    ),
    (
        "H6",
        "F\nCOPY <<A <<B /d/\n1\nA\n2\nB",
        &["COPY body 0|body 1 to /d/ <<A:\"1\\n\" <<B:\"2\\n\""],
    ),
    (
        "H7",
        "F\nCOPY <<A <<A /d/\n1\nA\n2\nA",
        &["COPY body 1|body 1 to /d/ <<A:\"1\\n\" <<A:\"2\\n\""],
    ),
    ("H8", "F\nRUN echo $((1<<2))", &["RUN echo $((1<<2))"]),
    (
        "H9",
        "F\nRUN echo $((1 << 2))",
        &["line 2: unterminated heredoc"],
    ),
    ("H10", "F\nRUN cat <<<foo", &["RUN cat <<<foo"]),
    (
        "H11",
        "F\nRUN cat<<EOF\nx\nEOF",
        &[
            "line 3: unknown instruction: x",
            "line 4: unknown instruction: EOF (did you mean ENV?)",
        ],
    ),
    (
        "H12",
        "F\nRUN 3<<EOF cat\nx\nEOF",
        &["RUN 3<<EOF cat 3<<EOF:\"x\\n\""],
    ),
    (
        "H13",
        "F\nRUN cat << EOF\nhi\nEOF",
        &["RUN cat << EOF <<EOF:\"hi\\n\""],
    ),
    (
        "H14",
        "F\nRUN echo it's <<EOF\nEOF",
        &["line 3: unknown instruction: EOF (did you mean ENV?)"],
    ),
    ("H15", "F\nRUN echo \"<<EOF\"", &["RUN echo \"<<EOF\""]),
    (
        "H16",
        "F\nENV A=<<EOF\nCMD <<EOF",
        &["ENV A=<<EOF", "CMD <<EOF"],
    ),
    (
        "H17",
        "F\nRUN <<EOF\n# c\n\\\nx \\\nEOF",
        &["RUN <<EOF <<EOF:\"# c\\n\\\\\\nx \\\\\\n\""],
    ),
    (
        "H18",
        "F\nCOPY <<E'O'F /x\n$a\nEOF",
        &["COPY body 0 to /x <<'EOF':\"$a\\n\""],
    ),
    (
        "H22",
        "F\nRUN <<F\n#!/usr/bin/env python\nprint(1)\nF",
        &["RUN <<F <<F:\"#!/usr/bin/env python\\nprint(1)\\n\""],
    ),
    (
        "H23",
        "F\nRUN cat <<-F | tr a b\n\tx\nF",
        &["RUN cat <<-F | tr a b <<-F:\"x\\n\""],
    ),
    (
        "H24",
        "F\nRUN <<F bash\nx\nF",
        &["RUN <<F bash <<F:\"x\\n\""],
    ),
    (
        "H25",
        "F\nCOPY a <<EOF\nEOF",
        &["line 2: COPY cannot accept a heredoc as a destination"],
    ),
    (
        "H26",
        "F\nONBUILD COPY <<-E /a\n\tx\nE",
        &["ONBUILD COPY <<-E /a\n\tx\nE <<-E:\"x\\n\""],
    ),
    (
        "H27",
        "FROM scratch\r\nRUN <<EOF\r\nx\r\nEOF\r\n",
        &["RUN <<EOF <<EOF:\"x\\r\\n\""],
    ),
];

#[test]
fn heredocs() {
    check(HEREDOCS);
}
