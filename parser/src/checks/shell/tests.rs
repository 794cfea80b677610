use super::*;

/// The commands as `name|argument|…`, assignments before them as `{NAME=value}`.
fn commands(text: &str) -> Vec<String> {
    split(text).commands.iter().map(shown).collect()
}

fn shown(command: &Command) -> String {
    let assignments: String = command
        .assignments
        .iter()
        .map(|word| format!("{{{}}}", word.text))
        .collect();
    let words: Vec<&str> = command
        .words
        .iter()
        .map(|word| word.text.as_str())
        .collect();
    assignments + &words.join("|")
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(commands(text), expected, "{text}");
}

#[test]
fn lists() {
    check("a b && c; d & e || f", &["a|b", "c", "d", "e", "f"]);
    check("a\nb\n\nc", &["a", "b", "c"]);
    check("a \\\n b", &["a|b"]);
    check("a # b && c\nd", &["a", "d"]);
    check("a b#c", &["a|b#c"]);
    check("", &[]);
    check(" ; && ", &[]);
}

#[test]
fn pipes() {
    let n_pipes = |text: &str| split(text).pipes.len();
    assert_eq!(n_pipes("a | b |& c"), 2);
    assert_eq!(n_pipes("a || b"), 0);
    assert_eq!(n_pipes("(a | b)"), 1);
    assert_eq!(n_pipes("{ a; } | b"), 1);
    assert_eq!(n_pipes("x=$(a | b)"), 1);
    assert_eq!(n_pipes("echo 'a|b' \"c|d\" e\\|f"), 0);
    assert_eq!(n_pipes("case $x in a|b) c;; esac"), 0);
    assert_eq!(n_pipes("a >| b"), 0);
    assert_eq!(n_pipes("[[ a =~ b|c ]]"), 0);
}

#[test]
fn quotes() {
    check("'a b' \"c d\" e\\ f", &["a b|c d|e f"]);
    check(r#"a "b\"c\n" 'd\'"#, &[r#"a|b"c\n|d\"#]);
    check("a 'b'\"c\"d ''", &["a|bcd|"]);
    check("su'do' x", &["sudo|x"]);
    check("a \"b", &["a|b"]);
    check("a 'b", &["a|b"]);
    check("a $'b\\'c' d", &["a|b'c|d"]);
    check("a \"b\\\nc\"", &["a|bc"]);
}

#[test]
fn expansions() {
    check("a $x ${y:-z w} $1$@ $", &["a|$x|${y:-z w}|$1$@|$"]);
    check("a=$(b c) d", &["{a=$()}d", "b|c"]);
    check("a \"$(b \"c d\")\" e", &["a|$()|e", "b|c d"]);
    check("a `b \"c\"` d", &["a|$()|d", "b|c"]);
    check("a `b", &["a|$()", "b"]);
    check("a $((1 + (2))) b", &["a|$()|b"]);
    check("a <(b) >(c)", &["a|<()|<()", "b", "c"]);
    check("a ${x:-$(b)} c", &["a|${x:-$()}|c", "b"]);
    check("$(a) b", &["$()|b", "a"]);
    let script = split("a b$x 'c$x' \"$x\"");
    let expands: Vec<bool> = script.commands[0].words.iter().map(|w| w.expands).collect();
    assert_eq!(expands, [false, true, false, true]);
}

#[test]
fn assignments() {
    check("A=b C+=d e F=g", &["{A=b}{C+=d}e|F=g"]);
    check("A=b", &["{A=b}"]);
    check("a=(b c) d", &["{a=()}d"]);
    check("=a", &["=a"]);
}

#[test]
fn redirections() {
    check("a > b 2>&1 c < d >> e &> f", &["a|c"]);
    check("a >b 2>c 3", &["a|3"]);
    check("a 22 > b", &["a|22"]);
    check("a <<< b c", &["a|c"]);
    check("> a b", &["b"]);
}

#[test]
fn heredocs() {
    check("cat <<EOF > x\nsudo y\nEOF\nb", &["cat", "b"]);
    check("cat <<-'A' && c <<B\n1\n\tA\n2\nB\nd", &["cat", "c", "d"]);
    check("cat <<EOF\nsudo y", &["cat"]);
    assert_eq!(split("a <<X | b <<Y").commands[1].n_heredocs, 1);
}

#[test]
fn reserved_words() {
    check(
        "if a; then b; elif c; then d; else e; fi",
        &["a", "b", "c", "d", "e"],
    );
    check("for x in a b; do c $x; done", &["c|$x"]);
    check("for x in a\ndo b; done", &["b"]);
    check("for ((i=0; i<3; i++)); do b; done", &["b"]);
    check("while ! a; do { b; }; done", &["a", "b"]);
    check("until a; do b; done | c", &["a", "b", "c"]);
    check("f() { a; }; f", &["a", "f"]);
    check("function f { a; }", &["a"]);
    check("f () (a)", &["a"]);
    check("(a; b) && c", &["a", "b", "c"]);
    check(
        "case $x in a|b) c;; (d) e ;& *) f; esac; g",
        &["c", "e", "f", "g"],
    );
    check(
        "case $x in a) case y in z) b;; esac;; c) d;; esac",
        &["b", "d"],
    );
    check("$(case x in a) b;; esac) c", &["$()|c", "b"]);
    check("[[ a && b || ( c ) ]] && d", &["d"]);
    check("[ a ] && b", &["[|a|]", "b"]);
    check("(( x > 1 )) && a", &["a"]);
    check("\"if\" a", &["if|a"]);
    check("time a", &["a"]);
    check("a if then", &["a|if|then"]);
    check("a )", &["a"]);
}

#[test]
fn places() {
    let text = "a 'b c' \"$(d e)\"f";
    let script = split(text);
    let place = |command: usize, word: usize| {
        let range = script.commands[command].words[word].range.clone();
        &text[range]
    };
    assert_eq!(place(0, 0), "a");
    assert_eq!(place(0, 1), "'b c'");
    assert_eq!(place(0, 2), "\"$(d e)\"f");
    assert_eq!(place(1, 1), "e");
}

#[test]
fn options() {
    let script = split("apt-get -qqy --no-x --t=1 -o a b -t=c d -");
    let command = &script.commands[0];
    assert_eq!(command.name(), "apt-get");
    assert_eq!(command.count_short('q'), 2);
    assert!(command.has_short('y') && !command.has_short('n'));
    assert!(command.has_long("no-x") && command.has_long("t") && !command.has_long("no"));
    assert_eq!(command.option_value(&["--t"]), Some("1"));
    assert_eq!(command.option_value(&["-o"]), Some("a"));
    let operands: Vec<&str> = command.operands(&["-o"]).map(|w| w.text.as_str()).collect();
    assert_eq!(operands, ["b", "d", "-"]);
}

/// Deep nesting must cost neither the stack nor quadratic time.
#[test]
fn hostile_scripts() {
    for unit in [
        "$(",
        "${",
        "\"${",
        "(",
        "`\"",
        "$((",
        "\"$(",
        "case x in (",
        "a=(",
        "{ ",
        "[[ ",
        "<<A ",
    ] {
        let script = split(&unit.repeat(100_000));
        assert!(script.commands.len() <= 100_000, "{unit}");
    }
    let bodies = "cat <<A\n".repeat(20_000);
    assert_eq!(split(&bodies).commands.len(), 1);
}
