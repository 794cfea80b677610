//! What is found where. Which commands and instructions the rules find is compared with hadolint in
//! `tests/hadolint` of the workspace.

use super::*;

/// Findings as `RULE:text at the place`, further places after it.
fn found(source: &str) -> Vec<String> {
    check(
        source.as_bytes(),
        &crate::parse(source.as_bytes()).dockerfile,
    )
    .iter()
    .filter(|finding| find(finding.code).unwrap().level != Level::Off)
    .map(|finding| {
        let labels = finding.labels.iter().map(|(span, _)| *span);
        let places: Vec<&str> = std::iter::once(finding.span)
            .chain(labels)
            .map(|span| &source[span.start..span.end])
            .collect();
        format!("{}:{}", finding.code, places.join("|"))
    })
    .collect()
}

#[test]
fn places_in_continued_lines() {
    let source = "FROM a:1\nRUN b && \\\n # c\n  apt-get install -y \\\n \"cu\\\nrl\" --no-install-recommends d=1 e\n";
    assert_eq!(found(source), ["DL3008:\"cu\\\nrl\"|e"]);
    let source = "# escape=`\nFROM a:1\nRUN b && `\n  sudo c\n";
    assert_eq!(found(source), ["DL3004:sudo"]);
}

#[test]
fn places_in_heredocs() {
    assert_eq!(
        found("FROM a:1\nRUN <<-EOF\n\ta\n\tsudo b\nEOF\n"),
        ["DL3004:sudo"]
    );
    assert_eq!(
        found("FROM a:1\nRUN cat <<A && bash -e <<B\nsudo b\nA\ncd c\nB\n"),
        ["DL3003:cd"]
    );
    assert_eq!(found("FROM a:1\nRUN python3 <<A\nsudo b\nA\n"), [""; 0]);
    assert_eq!(
        found("FROM a:1\nRUN <<A\n#!/usr/bin/python3\nsudo b\nA\n"),
        [""; 0]
    );
    assert_eq!(
        found("FROM a:1\nRUN <<A\n#!/usr/bin/env bash\nsudo b\nA\n"),
        ["DL3004:sudo"]
    );
}

#[test]
fn places_in_json_and_triggers() {
    assert_eq!(
        found("FROM a:1\nRUN [\"sudo\", \"b\"]\n"),
        ["DL3004:\"sudo\""]
    );
    assert_eq!(
        found("FROM a:1\nRUN [\"sh\", \"-ec\", \"a; sudo b\"]\n"),
        ["DL3004:\"a; sudo b\""]
    );
    assert_eq!(found("FROM a:1\nONBUILD RUN a; sudo b\n"), ["DL3004:sudo"]);
}

#[test]
fn other_shells_are_not_read() {
    let run = "RUN sudo a; cd b\n";
    for shell in ["cmd", "powershell", "/usr/bin/python3"] {
        let source = format!("FROM a:1 AS b\nSHELL [\"{shell}\"]\n{run}FROM b\n{run}");
        assert_eq!(found(&source), [""; 0], "{shell}");
    }
    let source = format!("FROM a:1\nSHELL [\"/usr/bin/env\", \"bash\", \"-c\"]\n{run}");
    assert_eq!(found(&source), ["DL3004:sudo", "DL3003:cd"]);
}

#[test]
fn ignoring_comments() {
    let left = |source: &str| -> Vec<&'static str> {
        let dockerfile = crate::parse(source.as_bytes()).dockerfile;
        let ignores = Ignores::new(source.as_bytes(), &dockerfile);
        check(source.as_bytes(), &dockerfile)
            .into_iter()
            .filter(|finding| !ignores.ignores(finding) && !finding.code.ends_with("57"))
            .map(|finding| finding.code)
            .collect()
    };
    assert_eq!(
        left("# hadolint ignore=DL3006, DL3029 because\nFROM --platform=x a\nRUN sudo b\n"),
        ["DL1001", "DL3004"]
    );
    assert_eq!(
        left("FROM a\n# hadolint global ignore=DL3006,DL3004\nRUN sudo b\n"),
        [""; 0]
    );
    // Either name of a rule that BuildKit has too.
    assert_eq!(
        left("FROM a:1\n# hadolint ignore=JSONArgsRecommended\nCMD b\n"),
        ["DL1001"]
    );
    assert_eq!(
        left("FROM a\n# hadolint ignore=DL3006\nUSER 1\n"),
        ["DL3006", "DL1001"]
    );
    for comment in [
        "hadolint ignore",
        "hadolintignore=DL3006",
        "x hadolint ignore=DL3006",
    ] {
        assert_eq!(
            left(&format!("# {comment}\nFROM a\n")),
            ["DL3006"],
            "{comment}"
        );
    }
}

#[test]
fn the_table_is_in_order_and_complete() {
    for pair in RULES.windows(2) {
        assert!(pair[0].name < pair[1].name, "{}", pair[1].name);
    }
    for rule in RULES {
        assert_eq!(find(rule.name), Some(&rule));
        assert!(!rule.description.ends_with('.') && !rule.help.ends_with('.'));
        if let Some(twin) = rule.twin() {
            assert!(super::super::rule::find(twin).is_some(), "{twin}");
            assert!(super::twin(twin).any(|name| name == rule.name));
        }
    }
    assert_eq!(twin("DL3025").collect::<Vec<_>>(), ["JSONArgsRecommended"]);
    assert_eq!(twin("DL3006").count(), 0);
}

/// Files that are made to be slow must not be.
#[test]
fn hostile_files() {
    let units = [
        "COPY a.tar /\nRUN tar xf b.tar\n",
        "ENV A=$A B=$B\n",
        "RUN apt-get install a b c\n",
        "FROM a AS b\n",
        "COPY --from=x a b\n",
    ];
    for unit in units {
        let source = format!("FROM a\n{}", unit.repeat(10_000));
        assert!(
            check(
                source.as_bytes(),
                &crate::parse(source.as_bytes()).dockerfile
            )
            .len()
                > 1
        );
    }
    let words = format!("FROM a\nENV {}\n", "A=$A B=$B ".repeat(5_000));
    assert_eq!(found(&words).len(), 2);
    let packages = format!("FROM a:1\nRUN apk add --no-cache {}\n", "b ".repeat(20_000));
    assert_eq!(found(&packages).len(), 1);
}
