//! The language: what templates print, and what they say when they cannot.

use proptest::prelude::*;
use rbuild_template::{Html, Missing, Shape, Template, TemplateError, Value, to_json};
use serde_json::json;

fn document() -> Value {
    Value::from(json!({
        "Os": "linux",
        "Tags": ["a:1", "b:2"],
        "Labels": {"b": "2", "a": "1"},
        "Size": 1500,
        "None": null,
    }))
}

/// An image as the command knows it: fields have types and an order.
fn typed() -> Value {
    let check = Shape::Struct {
        name: "HealthcheckConfig",
        omit: &["Retries"],
        aliases: &[],
    };
    let image = Shape::Struct {
        name: "image.InspectResponse",
        omit: &["Comment"],
        aliases: &[("Bytes", "Size")],
    };
    Value::object(
        image,
        [
            ("Size", Value::Int(1500)),
            ("Comment", Value::text("")),
            ("Cmd", Value::NilList),
            (
                "Labels",
                Value::object(Shape::Texts, [("b", Value::text("<2>"))]),
            ),
            (
                "Healthcheck",
                Value::object(
                    check,
                    [
                        ("Test", Value::texts(["CMD", "true"])),
                        ("Retries", Value::Int(0)),
                    ],
                ),
            ),
        ],
    )
}

fn fill(template: &str, data: &Value, missing: Missing) -> Result<String, String> {
    Template::parse(template)
        .and_then(|template| template.execute(data, missing))
        .map_err(|error| error.to_string())
}

fn check(data: &Value, cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        let text = fill(template, data, Missing::NoValue);
        assert_eq!(text.as_deref(), Ok(*expected), "{template}");
    }
}

fn check_errors(missing: Missing, cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        let text = fill(template, &document(), missing);
        assert_eq!(text, Err((*expected).to_owned()), "{template}");
    }
}

#[test]
fn actions() {
    check(
        &document(),
        &[
            (
                "{{with $x := .Os}}{{$x}}{{.}}{{else}}no{{end}}",
                "linuxlinux",
            ),
            ("{{with .None}}a{{else with .Os}}{{.}}{{end}}", "linux"),
            ("{{range $k, $v := .Labels}}{{$k}}{{$v}},{{end}}", "a1,b2,"),
            (
                "{{range $i, $t := .Tags}}{{if $i}} {{end}}{{$t}}{{end}}",
                "a:1 b:2",
            ),
            ("{{range .Nope}}x{{else}}none{{end}}", "none"),
            ("{{$n := 0}}{{range .Tags}}{{$n = .}}{{end}}{{$n}}", "b:2"),
            ("a {{- /* gone */ -}} b", "ab"),
            (
                "{{define \"t\"}}[{{.}}|{{$}}]{{end}}{{range .Tags}}{{template \"t\" .}}{{end}}",
                "[a:1|a:1][b:2|b:2]",
            ),
            ("{{(index .Tags 1) | printf \"%s-%s\" .Os}}", "linux-b:2"),
            ("{{.Os\n| upper}}", "LINUX"),
        ],
    );
}

#[test]
fn functions() {
    check(
        &document(),
        &[
            ("{{join .Labels \"-\"}}{{join .None \"-\"}}", "1-2"),
            ("{{split \"abc\" \"\"}}", "[a b c]"),
            ("{{title \"it's a_b c-d\"}}", "It's A_b C-D"),
            (
                "{{truncate \"h\u{e9}llo\" 2}}|{{truncate .Os 99}}",
                "h|linux",
            ),
            ("{{pad \"\" 2 2}}|{{pad .Os 1 0}}", "| linux"),
            ("{{len .Tags}} {{len .Labels}} {{len .Os}}", "2 2 5"),
            ("{{index .Labels \"none\"}}", "<no value>"),
            ("{{slice .Os 1 3}} {{slice .Tags 0 1}}", "in [a:1]"),
            (
                "{{and .Os .None}} {{or .None .Os}} {{not .None}}",
                "<no value> linux true",
            ),
            (
                "{{eq .Os \"x\" \"linux\"}} {{ne .Os \"x\"}} {{le \"a\" \"b\"}}",
                "true true true",
            ),
            ("{{eq .None nil}}", "true"),
            ("{{print 1 2 .Os 3}}{{println}}", "1 2linux3\n"),
        ],
    );
}

#[test]
fn printf() {
    check(
        &document(),
        &[
            (
                "{{printf \"%05d|%-5d|%+d|%x|%#o\" 42 42 42 255 8}}",
                "00042|42   |+42|ff|010",
            ),
            (
                "{{printf \"%.2f|%8.3f|%e|%g\" 1.5 1.5 1500.0 1e21}}",
                "1.50|   1.500|1.500000e+03|1e+21",
            ),
            (
                "{{printf \"%q %v %T\" .Tags .Tags .Tags}}",
                "[\"a:1\" \"b:2\"] [a:1 b:2] []interface {}",
            ),
            ("{{printf \"%s %d\" 5 .Os}}", "%!s(int=5) %!d(string=linux)"),
            ("{{printf \"%d\" 1 2}}", "1%!(EXTRA int=2)"),
            ("{{printf \"%[2]s %[1]s\" \"a\" \"b\"}}", "b a"),
            ("{{printf \"%*d|%.*s\" 4 7 2 \"abc\"}}", "   7|ab"),
            (
                "{{printf \"%t %v %c %U\" true false 65 65}}",
                "true false A U+0041",
            ),
            (
                "{{printf \"%z\" 1}} {{printf \"%\"}}",
                "%!z(int=1) %!(NOVERB)",
            ),
        ],
    );
}

#[test]
fn values_with_types() {
    check(
        &typed(),
        &[
            ("{{gt .Size 1000}} {{printf \"%d\" .Bytes}}", "true 1500"),
            ("{{.Comment}}|{{.Cmd}}|{{json .Cmd}}", "|[]|null"),
            ("{{.Healthcheck}}", "{[CMD true] 0}"),
            ("{{json .Healthcheck}}", "{\"Test\":[\"CMD\",\"true\"]}"),
            ("{{index .Labels \"none\"}}|{{.Labels.none}}", "|<no value>"),
            ("{{json .Labels}}", "{\"b\":\"<2>\"}"),
            (
                "{{json .}}",
                "{\"Size\":1500,\"Cmd\":null,\"Labels\":{\"b\":\"<2>\"},\
                 \"Healthcheck\":{\"Test\":[\"CMD\",\"true\"]}}",
            ),
        ],
    );
    let untyped = typed().untyped();
    assert_eq!(
        fill("{{.Comment}}", &untyped, Missing::Error),
        Err(
            "template: :1:2: executing \"\" at <.Comment>: map has no entry for key \"Comment\""
                .to_owned()
        )
    );
    assert_eq!(
        fill(
            "{{range $k, $v := .Healthcheck}}{{$k}}{{end}}{{.Size}}",
            &untyped,
            Missing::Error
        ),
        Ok("Test1500".to_owned())
    );
}

#[test]
fn rows_are_sorted_and_escaped() {
    let row = Value::object(
        Shape::Row {
            name: "*formatter.imageContext",
        },
        [("Tag", Value::text("<none>")), ("ID", Value::text("1"))],
    );
    check(
        &row,
        &[(
            "{{json .}} {{json .Tag}}",
            "{\"ID\":\"1\",\"Tag\":\"\\u003cnone\\u003e\"} \"<none>\"",
        )],
    );
    assert_eq!(
        fill("{{.Nope}}", &row, Missing::NoValue).unwrap_err(),
        "template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.imageContext"
    );
    assert_eq!(
        to_json(&Value::text("\u{1}\u{2028}&"), Html::Escaped),
        "\"\\u0001\\u2028\\u0026\""
    );
}

#[test]
fn titles_keep_their_looks() {
    let titles = Value::object(Shape::Texts, [("ID", Value::text("IMAGE ID"))]);
    let header = |text| {
        Template::parse(text)
            .unwrap()
            .execute_header(&titles)
            .unwrap()
    };
    assert_eq!(
        header("{{truncate .ID 4}}|{{lower .ID}}|{{json .ID}}"),
        "IMAGE ID|IMAGE ID|IMAGE ID"
    );
    assert_eq!(header("{{pad .ID 1 1}}|"), " IMAGE ID |");
}

#[test]
fn templates_that_are_none() {
    check_errors(
        Missing::NoValue,
        &[
            ("a\n{{.x", "template: :2: unclosed action"),
            ("{{.x\n", "template: :2: unclosed action started at :1"),
            ("{{nope}}", "template: :1: function \"nope\" not defined"),
            ("{{$x}}", "template: :1: undefined variable \"$x\""),
            ("{{if .x}}a", "template: :1: unexpected EOF"),
            ("{{else}}", "template: :1: unexpected {{else}}"),
            (
                "{{if .x}}{{else}}{{else}}{{end}}",
                "template: :1: expected end; found {{else}}",
            ),
            ("{{break}}", "template: :1: {{break}} outside {{range}}"),
            (
                "{{.x | 5}}",
                "template: :1: non executable command in pipeline stage 2",
            ),
            ("{{}}", "template: :1: missing value for command"),
            ("{{(.x}}", "template: :1: unclosed left paren"),
            ("{{.x)}}", "template: :1: unexpected right paren"),
            ("{{\"x}}", "template: :1: unterminated quoted string"),
            ("{{1x}}", "template: :1: bad number syntax: \"1x\""),
            ("{{.x,}}", "template: :1: unexpected \",\" in operand"),
            ("{{.x.1}}", "template: :1: unexpected \".1\" in operand"),
            ("{{/* x}}", "template: :1: unclosed comment"),
            ("{{1.y}}", "template: :1: bad number syntax: \"1.y\""),
            (
                "{{true.y}}",
                "template: :1: unexpected . after term \"true\"",
            ),
            ("{{end}}", "template: :1: unexpected {{end}}"),
        ],
    );
}

#[test]
fn templates_that_do_not_fit() {
    check_errors(
        Missing::Error,
        &[
            (
                "{{.Nope}}",
                "template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\"",
            ),
            (
                "x\n {{.Labels.none}}",
                "template: :2:10: executing \"\" at <.Labels.none>: map has no entry for key \"none\"",
            ),
            (
                "{{.None.x}}",
                "template: :1:7: executing \"\" at <.None.x>: nil pointer evaluating interface {}.x",
            ),
            (
                "{{upper .Size}}",
                "template: :1:8: executing \"\" at <.Size>: wrong type for value; expected string; got json.Number",
            ),
            (
                "{{upper 5}}",
                "template: :1:8: executing \"\" at <5>: expected string; found 5",
            ),
            (
                "{{upper}}",
                "template: :1:2: executing \"\" at <upper>: wrong number of args for upper: want 1 got 0",
            ),
            (
                "{{truncate .Os \"x\"}}",
                "template: :1:15: executing \"\" at <\"x\">: expected integer; found \"x\"",
            ),
            (
                "{{range .Os}}{{end}}",
                "template: :1:8: executing \"\" at <.Os>: range can't iterate over linux",
            ),
            (
                "{{.Os .Os}}",
                "template: :1:2: executing \"\" at <.Os>: Os is not a method but has arguments",
            ),
            (
                "{{\"a\" 1}}",
                "template: :1:2: executing \"\" at <\"a\">: can't give argument to non-function \"a\"",
            ),
            (
                "{{nil}}",
                "template: :1:2: executing \"\" at <nil>: nil is not a command",
            ),
            (
                "{{template \"t\"}}",
                "template: :1:2: executing \"\" at <{{template \"t\"}}>: template \"t\" not defined",
            ),
            (
                "{{index .Tags 2}}",
                "template: :1:2: executing \"\" at <index .Tags 2>: error calling index: reflect: slice index out of range",
            ),
            (
                "{{slice .Os 3 1}}",
                "template: :1:2: executing \"\" at <slice .Os 3 1>: error calling slice: invalid slice index: 3 > 1",
            ),
            (
                "{{lt .Os 1}}",
                "template: :1:2: executing \"\" at <lt .Os 1>: error calling lt: incompatible types for comparison: string and int",
            ),
            (
                "{{join .Os \",\"}}",
                "template: :1:2: executing \"\" at <join .Os \",\">: error calling join: expected slice, got string",
            ),
        ],
    );
}

/// Nothing that a template says makes the program run out of stack.
#[test]
fn depth_has_a_limit() {
    let recursive = "{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}";
    let error = fill(recursive, &Value::Nil, Missing::Error).unwrap_err();
    assert!(error.contains("exceeded maximum template depth"), "{error}");
    for (open, close) in [("{{if 1}}", "{{end}}"), ("{{with 1}}", "{{end}}")] {
        let deep = format!("{}{}", open.repeat(10_000), close.repeat(10_000));
        assert!(matches!(
            Template::parse(&deep),
            Err(TemplateError::Parse(_))
        ));
    }
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(matches!(
        Template::parse(&deep),
        Err(TemplateError::Parse(_))
    ));
    let chain = format!("{{{{if 1}}}}{}{{{{end}}}}", "{{else if 1}}".repeat(10_000));
    assert!(matches!(
        Template::parse(&chain),
        Err(TemplateError::Parse(_))
    ));
}

proptest! {
    /// Whatever is typed, there is a text or an error.
    #[test]
    fn nothing_panics(text in "(\\{\\{-? ?|-?\\}\\}|[.$a-z\"'`|(),:=0-9%\\\\\n é-]|\\.Os|\\.Tags|\\.Size|if |range |end|else|with |template |define |printf |index |slice |len |eq |lt |json |pad |split ){0,24}") {
        let outcome = fill(&text, &document(), Missing::NoValue);
        prop_assert!(outcome.is_ok() || outcome.is_err_and(|error| error.starts_with("template: ")));
    }

    /// Formats and values of all kinds.
    #[test]
    fn printf_never_panics(format in "(%[-+# 0]{0,2}[0-9*]{0,2}(\\.[0-9*]?)?(\\[[0-9]\\])?[a-zA-Z%]|é){0,4}") {
        let values = "1 -5 1.5 1e300 \"h\u{e9}\" true .Tags .Labels .None .Size";
        let text = format!("{{{{printf `{format}` {values}}}}}");
        prop_assert!(fill(&text, &document(), Missing::NoValue).is_ok());
    }
}
