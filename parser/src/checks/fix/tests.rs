use super::*;

/// Applies the fixes of one kind until there are none.
fn fixed(source: &str, wants: impl Fn(&Fix) -> bool) -> String {
    let mut text = source.as_bytes().to_vec();
    for _ in 0..10 {
        let all = fixes(&text, &crate::parse(&text));
        let wanted: Vec<&Fix> = all.iter().filter(|fix| wants(fix)).collect();
        if wanted.is_empty() {
            return String::from_utf8(text).unwrap();
        }
        text = apply(&text, wanted);
    }
    panic!("never ends: {source}");
}

#[track_caller]
fn safe(source: &str, expected: &str) {
    assert_eq!(fixed(source, |fix| fix.is_safe), expected);
}

/// Fixes of the rule only.
#[track_caller]
fn by_rule(rule: &str, source: &str, expected: &str) {
    assert_eq!(fixed(source, |fix| fix.rule == rule), expected);
}

#[test]
fn keywords_and_as() {
    safe(
        "FROM a as b\ncopy a b\nENV a=b\n",
        "FROM a AS b\nCOPY a b\nENV a=b\n",
    );
    safe("from a AS b\nrun x\nRun y\n", "from a as b\nrun x\nrun y\n");
    safe(
        "from a AS b\nRUN x\nRUN y\nonbuild run x\nuser a\nENV a=b",
        "FROM a AS b\nRUN x\nRUN y\nONBUILD run x\nUSER a\nENV a=b",
    );
    safe(
        "FR\\\nOM a As b\nrun x\nRUN x\n",
        "FR\\\nOM a AS b\nRUN x\nRUN x\n",
    );
}

#[test]
fn stage_names_with_what_refers_to_them() {
    safe(
        "FROM a AS Ab\nFROM ab AS Cd\nCOPY --from=aB x y\nCOPY --from=\"CD\" x y\n\
         RUN --mount=type=bind,from=Ab,target=/x --mount=from=Other,target=/y z\n",
        "FROM a AS ab\nFROM ab AS cd\nCOPY --from=ab x y\nCOPY --from=\"CD\" x y\n\
         RUN --mount=type=bind,from=ab,target=/x --mount=from=Other,target=/y z\n",
    );
    // Only what comes after the stage means it.
    safe(
        "FROM a\nCOPY --from=B x y\nFROM a AS B\nFROM a AS b\nCOPY --from=B x y\n",
        "FROM a\nCOPY --from=B x y\nFROM a AS b\nFROM a AS b\nCOPY --from=b x y\n",
    );
}

#[test]
fn protocols() {
    safe(
        "FROM a\nEXPOSE 1/TCP 2/Udp 3/$P 4\nEXPOSE \"5/TCP\" 6/T\\\nCP\n",
        "FROM a\nEXPOSE 1/tcp 2/udp 3/$P 4\nEXPOSE \"5/TCP\" 6/T\\\nCP\n",
    );
}

#[test]
fn empty_lines() {
    safe("FROM a\nRUN <<E\n\nx\nE\n", "FROM a\nRUN <<E\n\nx\nE\n");
    safe(
        "FROM a\nRUN b \\\n\n  \\\n \t\r\n # c\n\n d\n\nRUN <<E\nx \\\n\ny\nE\n",
        "FROM a\nRUN b \\\n  \\\n # c\n d\n\nRUN <<E\nx \\\n\ny\nE\n",
    );
    safe(
        "FROM a\r\nRUN b \\\r\n\r\n c\r\n",
        "FROM a\r\nRUN b \\\r\n c\r\n",
    );
    safe("FROM a\nRUN b \\\n\n", "FROM a\nRUN b \\\n");
    safe(
        "\u{feff}FROM a\nRUN b \\\n\nc",
        "\u{feff}FROM a\nRUN b \\\nc",
    );
    safe("ARG a \\\n\n b\nFROM a\n", "ARG a \\\n b\nFROM a\n");
    safe(
        "# escape=`\nFROM a\nRUN b `\n\n c \\\n\n",
        "# escape=`\nFROM a\nRUN b `\n c \\\n\n",
    );
}

#[test]
fn platform_flags() {
    let rule = "RedundantTargetPlatform";
    by_rule(rule, "FROM --platform=$TARGETPLATFORM a\n", "FROM a\n");
    by_rule(
        rule,
        "FROM  --platform=${TARGETPLATFORM}   a AS b\n",
        "FROM a AS b\n",
    );
    for kept in [
        "FROM --platform=$BUILDPLATFORM a\n",
        "FROM --platform=$TARGETPLATFORM \\\n # why\n a\n",
        "ARG TARGETPLATFORM=linux/arm64\nFROM --platform=$TARGETPLATFORM a\n",
    ] {
        by_rule(rule, kept, kept);
    }
}

#[test]
fn pairs() {
    let cases = [
        ("a b", "a=b"),
        ("a   b", "a=b"),
        ("a b c", "a=\"b c\""),
        ("a $b  ${c:-d e}", "a=\"$b  ${c:-d e}\""),
        ("a 'b c'", "a='b c'"),
        ("a \"b c\" d", "a=\"b c\"\\ d"),
        ("a it\\'s so", "a=it\\'s\\ so"),
        ("a b\\ c", "a=b\\ c"),
        ("a =b", "a==b"),
        ("a b=c", "a=b=c"),
        ("a C:\\\\x y", "a=\"C:\\\\x y\""),
        ("a b \\\n  c", "a=\"b \\\n  c\""),
        ("a b \\\n # d\n c", "a=\"b \\\n # d\n c\""),
    ];
    for (old, new) in cases {
        safe(
            &format!("FROM a\nENV {old}\n"),
            &format!("FROM a\nENV {new}\n"),
        );
        safe(
            &format!("FROM a\nLABEL {old}"),
            &format!("FROM a\nLABEL {new}"),
        );
    }
    for kept in ["a \\\n b", "a 'b \\\n c' d", "a=b"] {
        let source = format!("FROM a\nENV {kept}\n");
        safe(&source, &source);
    }
    let escape = "# escape=`\nFROM a\nENV ";
    safe(
        &format!("{escape}a c:\\x \"y\"\n"),
        &format!("{escape}a=c:\\x` \"y\"\n"),
    );
}

#[test]
fn shell_form() {
    safe(
        "FROM a\nSHELL [\"bash\", \"-c\"]\nCMD a \"b\\n\" 'c'\n",
        "FROM a\nSHELL [\"bash\", \"-c\"]\nCMD [\"bash\", \"-c\", \"a \\\"b\\\\n\\\" 'c'\"]\n",
    );
    // The base may have a shell of its own.
    safe("FROM a\nCMD b\n", "FROM a\nCMD b\n");
    by_rule(
        "JSONArgsRecommended",
        "FROM a\nENTRYPOINT b c\nCMD d \\\n e\n",
        "FROM a\nENTRYPOINT [\"/bin/sh\", \"-c\", \"b c\"]\nCMD d \\\n e\n",
    );
}

#[test]
fn commands() {
    let check = |rule: &str, old: &str, new: &str| {
        by_rule(
            rule,
            &format!("FROM a\nRUN {old}\n"),
            &format!("FROM a\nRUN {new}\n"),
        );
    };
    check(
        "DL3014",
        "apt-get \\\n install b",
        "apt-get \\\n install -y b",
    );
    check(
        "DL3015",
        "apt-get install b",
        "apt-get install --no-install-recommends b",
    );
    check("DL3019", "a && apk add b", "a && apk add --no-cache b");
    check("DL3030", "yum install b", "yum -y install b");
    check("DL3034", "zypper in b", "zypper --non-interactive in b");
    check(
        "DL3042",
        "python -m pip install b",
        "python -m pip install --no-cache-dir b",
    );
    check("DL3046", "useradd -u 1234567 b", "useradd -l -u 1234567 b");
    check(
        "DL3047",
        "<<E\nwget b\nE",
        "<<E\nwget --progress=dot:giga b\nE",
    );
    check(
        "DL3027",
        "apt update && apt list",
        "apt-get update && apt list",
    );
    check("DL3004", "sudo  b && sudo -u c d", "b && sudo -u c d");
    check("DL3004", "[\"sudo\", \"b\"]", "[\"sudo\", \"b\"]");
    by_rule(
        "DL3020",
        "FROM a\nADD --chown=1 b /\n",
        "FROM a\nCOPY --chown=1 b /\n",
    );
    by_rule(
        "DL3020",
        "FROM a\nadd b https://c /\n",
        "FROM a\nadd b https://c /\n",
    );
    by_rule("DL3021", "FROM a\nCOPY b c /d\n", "FROM a\nCOPY b c /d/\n");
    by_rule(
        "DL4000",
        "FROM a\nMAINTAINER A <a@b>\n",
        "FROM a\nLABEL org.opencontainers.image.authors=\"A <a@b>\"\n",
    );
}

/// What a word becomes may be more than a word to the file.
#[test]
fn fixes_that_would_change_what_follows_are_left_out() {
    let kept = |rule: &str, instruction: &str| {
        let source = format!("FROM a\n{instruction}\nRUN b");
        assert!(!crate::parse(source.as_bytes()).has_errors(), "{source}");
        by_rule(rule, &source, &source);
    };
    // A heredoc is called `/`.
    kept("DL3021", "COPY b c <<");
    kept("DL3021", "COPY b c 3<<");
    // The body ends with the line, and the rest of it are instructions.
    kept("DL3004", "RUN <<E\nsudo E\nb\nE");
    kept("DL3004", "RUN <<-E\n\tsudo E\nb\nE");
    kept(
        "DL3027",
        "RUN <<\"apt-get update\"\napt update\nb\napt-get update",
    );
    // The body stays without its heredoc; a redirection would be lost.
    kept("DL3004", "RUN sudo <<E cat\nb\nE");
    kept("DL3004", "RUN sudo > c cat");
    // What is left has another form.
    kept("DL3004", "RUN sudo [\"b\"]");
    // COPY has no such flag.
    kept("DL3020", "ADD --keep-git-dir=true b /c");
}

#[test]
fn fixes_of_lines_that_are_open_to_the_end() {
    safe("FROM a\nrun b \\\n", "FROM a\nRUN b \\\n");
    safe(
        "FROM a\nRUN x\nrun b \\\n\n # c\n",
        "FROM a\nRUN x\nRUN b \\\n # c\n",
    );
}

#[test]
fn broken_files_are_left_alone() {
    assert_eq!(
        fixes(
            b"FROM a as b\nRUNN x\n",
            &crate::parse(b"FROM a as b\nRUNN x\n")
        ),
        []
    );
}

#[test]
fn edits_that_touch_are_left_for_the_next_time() {
    let fix = |start, end, text: &str| Fix {
        rule: "A",
        instruction: Span::new(0, 1),
        is_safe: true,
        edits: vec![Edit::new(Span::new(start, end), text)],
    };
    let result = |fixes: &[Fix]| String::from_utf8(apply(b"abcdef", fixes)).unwrap();
    assert_eq!(result(&[fix(4, 5, "X"), fix(1, 2, "Y")]), "aYcdXf");
    assert_eq!(
        result(&[fix(1, 3, "X"), fix(2, 4, "Y"), fix(3, 3, "Z")]),
        "aXdef"
    );
    assert_eq!(
        result(&[fix(2, 2, "X"), fix(2, 2, "Y"), fix(0, 1, "")]),
        "bXcdef"
    );
    let twice = Fix {
        edits: vec![Edit::insert(1, "X"), Edit::insert(5, "Y")],
        ..fix(0, 0, "")
    };
    assert_eq!(result(&[fix(5, 6, "Z"), twice]), "abcdeZ");
}

/// Many stages and references must not take long.
#[test]
fn hostile_files() {
    let source = "FROM a AS B\nCOPY --from=B x y\nENV a b c\nENV a  'b\n".repeat(5_000);
    let all = fixes(source.as_bytes(), &crate::parse(source.as_bytes()));
    assert!(all.len() > 5_000);
    assert!(apply(source.as_bytes(), &all).len() > source.len());
}
