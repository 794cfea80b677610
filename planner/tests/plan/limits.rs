//! Files that are made to grow.

use crate::support::{Case, case};

/// Checks that planning fails cleanly with one of the faults for size.
fn check(case: &Case) {
    let found = case.run().unwrap_err();
    let is_size = |code: &str| {
        matches!(
            code,
            "plan::too-large" | "plan::environment-too-large" | "plan::expansion"
        )
    };
    assert!(
        found.iter().any(|found| is_size(found.code)),
        "{:?}",
        found[0].message
    );
}

fn doubling(instruction: &str) -> String {
    let lines: String = (0..60)
        .map(|n| format!("{instruction} X{}=${{X{n}}}${{X{n}}}\n", n + 1))
        .collect();
    format!("FROM scratch\nARG X0=0123456789\n{lines}")
}

#[test]
fn variables_that_double() {
    check(&case(&doubling("ENV")));
    check(&case(&doubling("ARG")));
    let global = doubling("ARG").replace("FROM scratch\n", "");
    check(&case(&format!("{global}FROM scratch")));
}

/// One variable of a megabyte.
fn megabyte() -> String {
    let lines: String = (0..10).map(|_| "ENV A=$A$A$A$A\n").collect();
    format!("FROM scratch AS s\nENV A=1\n{lines}")
}

#[test]
fn large_values_used_often() {
    let big = megabyte();
    check(&case(&format!("{big}{}", "RUN x\n".repeat(200))));
    check(&case(&format!("{big}LABEL {}", "$A=$A ".repeat(200))));
    check(&case(&format!("{big}{}FROM t199", chain())));
}

/// Makes each stage take files from the one before.
fn chain() -> String {
    (0..200)
        .map(|n| {
            let from = if n == 0 {
                "s".to_owned()
            } else {
                format!("t{}", n - 1)
            };
            format!("FROM s AS t{n}\nCOPY --from={from} / /\n")
        })
        .collect()
}

#[test]
fn many_ports() {
    check(&case(&format!("F\nEXPOSE {}", "0-65535 ".repeat(200))));
}

#[test]
fn many_stages_need_no_deep_stack() {
    let stages: String = (1..5000)
        .map(|n| format!("FROM s{} AS s{n}\n", n - 1))
        .collect();
    let text = format!("FROM scratch AS s0\nENV A=1\n{stages}");
    case(&text).check_env(&["A=1"]);
}
