//! Checks and corrections of any file: they end well, and safe ones keep what instructions say.

use proptest::prelude::*;
use rbuild_parser::{
    Parsed,
    ast::{Instruction, InstructionKind, KeyValues, TransferSource},
    checks::{
        fix::{self, Fix},
        hadolint,
    },
    expand::{NoVariables, expand_word},
    parse,
};

/// Pieces of files that checks have much to say about.
const PIECES: &[&str] = &[
    "FROM a AS B\n",
    "from b as C\n",
    "FROM ",
    "a:1",
    " AS ",
    "as ",
    "run ",
    "RUN ",
    "COPY ",
    "copy --from=B ",
    "ADD ",
    "ENV ",
    "ENV a b c\n",
    "ENV a ",
    "LABEL ",
    "EXPOSE 80/TCP",
    "USER ",
    "CMD ",
    "SHELL [\"sh\", \"-c\"]\n",
    "CMD a \"b\" c\n",
    "MAINTAINER x\n",
    "ONBUILD ",
    "\n",
    "\r\n",
    "\\\n",
    "\\\n\n",
    "\\\n # c\n",
    "`\n",
    "\n\n",
    "# escape=`\n",
    "\u{feff}",
    " ",
    "\t",
    "<<E",
    "\nE\n",
    "\n\nE\n",
    "'",
    "\"",
    "\\",
    "`",
    "$a",
    "${a:-b c}",
    "$(",
    ")",
    "(",
    "|",
    "&&",
    ";",
    "=",
    "apt-get install ",
    "apt-get update",
    "pip install b",
    "sudo ",
    "cd x",
    "wget y",
    "é",
    "x",
    "/",
    "if ",
    "then ",
    "fi",
    "case ",
    "in ",
    "esac",
    "--mount=type=bind,from=B,target=/x ",
    "# hadolint ignore=DL3006\n",
];

fn file() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        16 => prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ];
    let start = prop::sample::select(&["", "FROM a:1\n", "# escape=`\nFROM a\n"][..]);
    (start, prop::collection::vec(piece, 0..30))
        .prop_map(|(start, pieces)| [start.as_bytes().to_vec(), pieces.concat()].concat())
}

/// Files that mostly have no errors, with much to correct.
fn likely_file() -> impl Strategy<Value = Vec<u8>> {
    let text = "[a-c $'\"\\\\{}:=#-]{0,10}(\\\\\n {0,2})?(\n)?[a-c '\"]{1,4}";
    let line = prop_oneof![
        text.prop_map(|text| format!("ENV k {text}")),
        text.prop_map(|text| format!("label \"l\" {text}")),
        text.prop_map(|text| format!("CMD {text}")),
        text.prop_map(|text| format!("Run <<E cat \\\n\n -\n{text}\n\nE")),
        "(\n){0,2}[a-c\n]{0,6}".prop_map(|text| format!("RUN <<-E\n{text}\nE")),
        "[ \t\n]{0,4}".prop_map(|blanks| format!("RUN a \\\n{blanks}\n # c\n b")),
        prop::sample::select(
            &[
                "COPY --from=B x y",
                "from B as C",
                "FROM b AS Cd",
                "EXPOSE 1/TCP $p/UDP",
                "user x",
                "COPY --from=cd x y z/",
                "SHELL [\"a\"]",
                "# c",
                "",
                "RUN --mount=from=B,target=/x y",
            ][..]
        )
        .prop_map(str::to_owned),
    ];
    let lines = prop::collection::vec(line, 0..8);
    (any::<bool>(), lines).prop_map(|(has_crlf, lines)| {
        let text = format!("FROM a:1 as B\n{}\n", lines.join("\n"));
        match has_crlf {
            true => text.replace('\n', "\r\n").into_bytes(),
            false => text.into_bytes(),
        }
    })
}

/// What the instructions say, but for what safe fixes may change: letters' cases, how pairs and
/// commands are quoted.
fn meaning(parsed: &Parsed) -> Vec<String> {
    let escape = parsed.dockerfile.escape;
    let stages = parsed.dockerfile.stages.iter().flat_map(|stage| {
        let from = &stage.from;
        let name = from.name.as_ref().map(|name| &name.value);
        let platform = from.platform.as_ref().map(|word| &word.value);
        let head = format!("{} {name:?} {platform:?}", from.base.value);
        let instructions = stage
            .instructions
            .iter()
            .map(move |found| said(found, escape));
        std::iter::once(head).chain(instructions)
    });
    stages.collect()
}

fn said(instruction: &Instruction, escape: char) -> String {
    let bodies: Vec<&str> = instruction
        .head
        .heredocs
        .iter()
        .map(|found| found.body.as_str())
        .collect();
    let pairs = |pairs: &KeyValues| -> Vec<_> {
        let expanded = pairs.pairs.iter().map(|(key, value)| {
            (
                key.value.clone(),
                expand_word(&value.value, escape, &NoVariables),
            )
        });
        expanded.collect()
    };
    match &instruction.kind {
        InstructionKind::Env(found) | InstructionKind::Label(found) => {
            format!("{:?}", pairs(found))
        }
        InstructionKind::Run(run) => {
            let command = format!("{:?}", run.command);
            let words = command.split("span").next().map(str::to_lowercase);
            format!("{words:?} {} {bodies:?}", run.heredoc_only)
        }
        InstructionKind::Copy(copy) => {
            let sources = copy.transfer.sources.iter().map(|source| match source {
                TransferSource::Path(path) => path.value.clone(),
                TransferSource::Heredoc(index) => index.to_string(),
            });
            let from = copy.from.as_ref().map(|from| from.value.to_lowercase());
            format!(
                "{:?} {} {from:?} {bodies:?}",
                sources.collect::<Vec<_>>(),
                copy.transfer.dest.value
            )
        }
        InstructionKind::Workdir(word) | InstructionKind::User(word) => word.value.clone(),
        kind => format!("{:?}", std::mem::discriminant(kind)),
    }
}

/// Applies the wanted fixes until there are none.
fn corrected(source: &[u8], wants: impl Fn(&Fix) -> bool) -> Vec<u8> {
    let mut text = source.to_vec();
    for _ in 0..30 {
        let all = fix::fixes(&text, &parse(&text));
        let mut wanted = all.iter().filter(|fix| wants(fix)).peekable();
        if wanted.peek().is_none() {
            return text;
        }
        text = fix::apply(&text, wanted);
    }
    panic!("fixes without end: {:?}", String::from_utf8_lossy(source));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_file_is_checked(source in file()) {
        let parsed = parse(&source);
        let ignores = hadolint::Ignores::new(&source, &parsed.dockerfile);
        for finding in hadolint::check(&source, &parsed.dockerfile) {
            let labels = finding.labels.iter().map(|(span, _)| *span);
            for span in std::iter::once(finding.span).chain(labels) {
                prop_assert!(span.start <= span.end && span.end <= source.len());
            }
            prop_assert!(hadolint::find(finding.code).is_some());
            let _is_ignored = ignores.ignores(&finding);
        }
        for fix in fix::fixes(&source, &parsed) {
            for edit in &fix.edits {
                prop_assert!(edit.span.start <= edit.span.end && edit.span.end <= source.len());
            }
        }
    }

    #[test]
    fn safe_corrections_keep_the_meaning(source in prop_oneof![file(), likely_file()]) {
        let before = parse(&source);
        let after = parse(&corrected(&source, |fix| fix.is_safe));
        prop_assert_eq!(before.has_errors(), after.has_errors());
        if !before.has_errors() {
            prop_assert_eq!(meaning(&before), meaning(&after));
        }
    }

    #[test]
    fn all_corrections_come_to_an_end(source in prop_oneof![file(), likely_file()]) {
        let text = corrected(&source, |_| true);
        prop_assert_eq!(parse(&source).has_errors(), parse(&text).has_errors());
    }
}
