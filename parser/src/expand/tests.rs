//! Tables of inputs and results; the results are BuildKit's.

use super::*;

fn env() -> BTreeMap<String, String> {
    [
        ("A", "aXbXc"),
        ("E", ""),
        ("P", "/tmp/foo"),
        ("D", "/dd"),
        ("S", "3 4/udp"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// Returns the text, or the error's.
fn word(text: &str) -> String {
    match expand_word(text, '\\', &env()) {
        Ok(found) => found.text,
        Err(error) => format!("error: {error}"),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(word(text), *expected, "{text}");
    }
}

/// Rows of the reference's table of expansions that need no Dockerfile.
#[test]
fn rows() {
    let unsupported = |what: &str| format!("error: unsupported modifier ({what}) in substitution");
    for (row, text, expected) in [
        (
            "E13",
            r#"\$HOME '$A' "\$x" a\ b "a\nb""#,
            r"$HOME $A $x a b a\nb",
        ),
        ("E16", "${A#aX} ${A##*X} ${A%Xc} ${A%%X*}", "bXc c aXb a"),
        ("E17", "${A/X/-} ${A//X/-} ${A//X/}", "a-bXc a-b-c abc"),
        ("E18", "${A/X}", "error: syntax error: missing '/' in ${}"),
        ("E19", "${P//\\//_}", "_tmp_foo"),
        ("E20", "${#A}", &unsupported("A")),
        ("E20", "${A:1:2}", &unsupported(":1")),
        ("E20", "${A^^}", &unsupported("^")),
        ("E20", "${A:=x}", &unsupported(":=")),
        ("E20", "${!A}", &unsupported("A")),
        ("E21", "$$|$.|a$|$1|$10", "|$.|a$||"),
        ("E22", "$A_b ${A}_b", " aXbXc_b"),
        ("E23", "${U:-a}b} ${U:-\\}}", "ab} }"),
        ("E24", "${A#[a]}", "aXbXc"),
    ] {
        assert_eq!(word(text), expected, "{row}: {text}");
    }
    let backtick = expand_word("c:\\path\\$A", '`', &env()).unwrap().text;
    assert_eq!(backtick, "c:\\path\\aXbXc", "E25");
}

#[test]
fn operators() {
    check(&[
        ("$A ${A} ${E} $U", "aXbXc aXbXc  "),
        ("${A:-w} ${E:-w} ${U:-w}", "aXbXc w w"),
        ("${A-w} ${E-w} ${U-w}", "aXbXc  w"),
        ("${A:+w} ${E:+w} ${U:+w}", "w  "),
        ("${A+w} ${E+w} ${U+w}", "w w "),
        ("${A:?m} ${E?m}", "aXbXc "),
        ("${E:?m}", "error: E: m"),
        ("${U:?m}", "error: U: m"),
        ("${U?m}", "error: U: m"),
        ("${E:?}", "error: E: is not allowed to be empty"),
        ("${U:?}", "error: U: is not allowed to be unset"),
        ("${U?}", "error: U: is not allowed to be unset"),
        ("${P//\\//_} ${P##*/} ${P%/*}", "_tmp_foo foo /tmp"),
        ("${U#x} ${U%x} ${U/x/y}", "  "),
        ("${U:-${A}} ${U:-${V:-w}}", "aXbXc w"),
        ("${U:-\"a } b\"} ${U:-'}'}", "a } b }"),
        ("${A#\\\\}", "aXbXc"),
    ]);
}

#[test]
fn bad_forms() {
    let missing = "error: syntax error: missing '}'";
    let bad = "error: syntax error: bad substitution";
    check(&[
        ("${A//X}", "error: syntax error: missing '/' in ${}"),
        ("${A=x}", "error: unsupported modifier (=) in substitution"),
        ("${A:#}", "error: unsupported modifier (:#) in substitution"),
        ("${}", bad),
        ("${{A}", bad),
        ("${:-x}", bad),
        ("${A", missing),
        ("${", missing),
        ("${U:-x", missing),
        ("${U:?need", missing),
        ("${U:-\"x}", missing),
        ("${U:-${V:?m}", missing),
        ("${U:-${V:?m}}", "error: V: m"),
        ("${A/x/y", missing),
        (
            "\"a",
            "error: unexpected end of statement while looking for matching double-quote",
        ),
        (
            "'a",
            "error: unexpected end of statement while looking for matching single-quote",
        ),
        (
            "${A#\\x}",
            "error: invalid pattern (\\x) in substitution: invalid escape '\\x'",
        ),
    ]);
}

#[test]
fn names() {
    check(&[
        ("$1 $10x", " x"),
        ("$@@", "@"),
        (
            "$(x) `x` ~ * {a,b}",
            "$(x) x` ~ * {a,b}".replace("x`", "`x`").as_str(),
        ),
        ("$é$A", "aXbXc"),
    ]);
    let found = expand_word("$U $A $U ${V:-$W} $A ${A:-$X}", '\\', &env()).unwrap();
    assert_eq!(found.used, ["A"]);
    assert_eq!(found.undefined, ["U", "W", "V", "X"]);
}

#[test]
fn quoting() {
    check(&[
        ("\\$HOME '$A' \"\\$x\"", "$HOME $A $x"),
        ("a\\ b \"a\\nb\" a\\nb", "a b a\\nb anb"),
        ("'a\\'b", "a\\b"),
        ("\\\\$A", "\\aXbXc"),
        ("a\\", "a"),
        ("\"a'b\"", "a'b"),
        ("\"$A\"'$A'", "aXbXc$A"),
        ("\"a\\\"b\\\\\"", "a\"b\\"),
    ]);
    let backtick = |text: &str| expand_word(text, '`', &env()).unwrap().text;
    assert_eq!(backtick("`$A \"`$A\""), "$A $A");
}

#[test]
fn splitting() {
    let words = |text: &str| expand_words(text, '\\', &env()).unwrap().words;
    assert_eq!(words("$S"), ["3", "4/udp"]);
    assert_eq!(words("1$S\"$S\""), ["13", "4/udp3 4/udp"]);
    assert_eq!(words("\"$S\""), ["3 4/udp"]);
    assert!(words("$NOPE \"\" ''").is_empty());
    assert_eq!(words("a\\ b"), ["a b"]);
    let found = expand_words("$NOPE", '\\', &env()).unwrap();
    assert_eq!(found.undefined, ["NOPE"]);
}

#[test]
fn heredoc_bodies() {
    let body = |text: &str| match expand_heredoc(text, &env()) {
        Ok(found) => found.text,
        Err(error) => format!("error: {error}"),
    };
    assert_eq!(
        body("$D \\$D \"$D\" '$D' \\n \\\\\n"),
        "/dd $D \"/dd\" '/dd' n \\\n"
    );
    assert_eq!(body("[$NOPE] ${NOPE:-def}\n"), "[] def\n");
    assert_eq!(body("${NOPE:?boom}\n"), "error: NOPE: boom");
    assert_eq!(body("it's \"open\nb\\\nc"), "it's \"open\nb\nc");
}

#[test]
fn lists_of_pairs_are_environments() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let env = vec![pair("A", "1"), pair("A", "2")];
    assert_eq!(expand_word("$A", '\\', &env).unwrap().text, "2");
    assert_eq!(expand_word("$A", '\\', &NoVariables).unwrap().text, "");
}

#[test]
fn sizes_are_bounded() {
    let env = BTreeMap::from([("B".to_owned(), "x".repeat(1 << 20))]);
    let expand = |text: &str| expand_word(text, '\\', &env);
    assert_eq!(expand(&"$B".repeat(16)).unwrap().text.len(), MAX_EXPANSION);
    assert_eq!(expand(&"$B".repeat(17)), Err(ExpandError::TooLarge));
    let nested = format!("{}$B$B$B{}", "${U:-y".repeat(900), "}".repeat(900));
    assert_eq!(expand(&nested), Err(ExpandError::TooExpensive));
}

#[test]
fn depth_is_bounded() {
    for open in ["${X:-", "${X#", "\"${X:-", "${X/", "${X:-\""] {
        let deep = open.repeat(50_000);
        assert_eq!(
            expand_word(&deep, '\\', &NoVariables),
            Err(ExpandError::TooDeep),
            "{open}"
        );
        let closed = deep + &"}".repeat(50_000);
        assert_eq!(
            expand_word(&closed, '\\', &NoVariables),
            Err(ExpandError::TooDeep),
            "{open}"
        );
    }
    let fine = format!("{}x{}", "${X:-".repeat(1_000), "}".repeat(1_000));
    assert_eq!(expand_word(&fine, '\\', &NoVariables).unwrap().text, "x");
    assert_eq!(word(&"$".repeat(200_000)), "");
}
