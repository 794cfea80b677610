//! What a target takes, and what is found although a base cannot be had.

use rbuild_planner::{BaseImages, Inspected, Inspection, Outline, inspect};

use crate::support::{Case, case};

const BASE: &str = "docker.io/library/base:latest";

/// Looks at a file; what is not in the case's table cannot be had.
fn look(case: &Case, all_stages: bool) -> Inspection {
    let dockerfile = case.parse();
    let mut bases = BaseImages::new();
    loop {
        match inspect(&dockerfile, &case.request, &bases, all_stages) {
            Inspected::Done(found) => return *found,
            Inspected::Needs(needs) => {
                for need in needs {
                    let answer = case.answer(&need.query);
                    assert!(bases.insert(need.query, answer).is_none());
                }
            }
        }
    }
}

fn outline(case: &Case) -> Outline {
    let found = look(case, false);
    assert!(found.errors.is_empty(), "{:?}", found.errors);
    found.outline.unwrap()
}

/// Checks the arguments: `name=value`, and a description if there is one.
#[track_caller]
fn check_args(case: &Case, expected: &[&str]) {
    let args: Vec<_> = outline(case)
        .args
        .into_iter()
        .map(|arg| {
            let text = arg.description.map(|text| format!(" # {text}"));
            format!("{}={}{}", arg.name, arg.value, text.unwrap_or_default())
        })
        .collect();
    assert_eq!(args, expected);
}

#[track_caller]
fn check_codes(found: &Inspection, errors: &[&str], warnings: &[&str]) {
    let codes = |list: &[rbuild_parser::diagnostic::Diagnostic]| -> Vec<_> {
        list.iter().map(|found| found.code).collect()
    };
    assert_eq!(codes(&found.errors), errors);
    assert_eq!(codes(&found.warnings), warnings);
}

#[test]
fn arguments_are_those_that_have_an_effect() {
    let text = "# A one\nARG A=1\nARG B=$A C=c D\n# base is it\nFROM scratch AS base\nARG B\n\
                FROM base AS next\n# E five\nARG E=$B F\nFROM scratch";
    // The last stage takes none.
    check_args(&case(text), &[]);
    check_args(&case(text).target("base"), &["A=1 # one", "B=1"]);
    check_args(
        &case(text).target("next").arg("F", "f"),
        &["A=1 # one", "B=1", "E=1 # five", "F=f"],
    );
    // A given argument has no default that could use another.
    check_args(&case(text).target("base").arg("B", "b"), &["B=b"]);
}

#[test]
fn from_takes_arguments_for_all_stages_upon_it() {
    let text = "ARG V=base\nARG P=linux/amd64\nARG X=1\nFROM --platform=$P $V AS a\nFROM a AS b\n\
                FROM scratch AS c\nCOPY --from=b / /";
    let case = case(text).image(BASE, "{}");
    check_args(&case, &["V=base", "P=linux/amd64"]);
}

#[test]
fn the_stage_s_own_default_beats_the_global_one() {
    let text = "# A global\nARG A=1\nFROM scratch\n# A own\nARG A=2\nARG TARGETARCH";
    check_args(&case(text), &["A=2 # own"]);
    // Without one it is the global one that is described.
    let text = "# A global\nARG A=1\nFROM scratch\n# A own\nARG A";
    check_args(&case(text), &["A=1 # global"]);
}

#[test]
fn a_default_that_uses_its_own_name_goes_on_from_the_one_before() {
    let text = "ARG A=1\nARG B=$A\nARG B=${B}2\nFROM scratch\nARG B";
    check_args(&case(text), &["A=1", "B=12"]);
}

#[test]
fn mounts_are_named_once_and_the_target_comes_first() {
    let text = "FROM base AS a\nRUN --mount=type=secret,id=s --mount=type=ssh x\nFROM a AS b\n\
                RUN --mount=type=secret,id=s,required --mount=type=secret,target=/x/t x\n\
                RUN --mount=type=cache,target=/c --mount=type=cache,target=/d,id=i x";
    let found = outline(&case(text).image(BASE, "{}"));
    let names = |list: &[rbuild_planner::OutlineMount]| -> Vec<_> {
        list.iter()
            .map(|mount| format!("{} {}", mount.name, mount.is_required))
            .collect()
    };
    assert_eq!(names(&found.secrets), ["s true", "t false"]);
    assert_eq!(names(&found.ssh), ["default false"]);
    assert_eq!(names(&found.caches), ["/c false", "i false"]);
    assert_eq!(found.name.as_deref(), Some("b"));
    assert_eq!(found.description, None);
}

#[test]
fn triggers_take_arguments_too() {
    let case = case("FROM base\n").image(BASE, r#"{"OnBuild":["ARG T=t"]}"#);
    let found = outline(&case);
    assert_eq!(found.args[0].name, "T");
    assert_eq!(found.args[0].span.start, 0);
}

#[test]
fn a_base_that_cannot_be_had_hides_nothing_else() {
    let case = case("FROM nosuch AS a\nWORKDIR x\nENV Y=$HOME\nFROM a\nCMD y\nUSER $Z");
    let found = look(&case, false);
    check_codes(
        &found,
        &["plan::unresolved-base"],
        &["WorkdirRelativePath", "JSONArgsRecommended"],
    );
    assert!(found.outline.is_some());
}

#[test]
fn all_stages_are_looked_at_if_that_is_wanted() {
    let text = "FROM scratch AS a\nCMD x\nFROM base AS b\nWORKDIR x\nFROM scratch";
    let case = case(text).image(BASE, "{}");
    check_codes(&look(&case, false), &[], &[]);
    check_codes(
        &look(&case, true),
        &[],
        &["JSONArgsRecommended", "WorkdirRelativePath"],
    );
}

#[test]
fn faults_of_a_stage_leave_the_others() {
    let text = "FROM scratch AS a\nSTOPSIGNAL nope\nCMD x\nFROM scratch";
    check_codes(
        &look(&case(text), true),
        &["plan::stop-signal"],
        &["JSONArgsRecommended"],
    );
    let circle = "FROM scratch AS a\nCOPY --from=b / /\nFROM a AS b";
    let found = look(&case(circle), true);
    check_codes(&found, &["plan::circular-dependency"], &[]);
    assert!(found.outline.is_none());
}

#[test]
fn only_the_first_platform_is_looked_at() {
    let text = "FROM scratch\nARG TARGETARCH\nWORKDIR $TARGETARCH";
    let found = look(&case(text).platforms(&["linux/arm64", "linux/amd64"]), true);
    check_codes(&found, &[], &["WorkdirRelativePath"]);
    assert!(found.warnings[0].message.contains("arm64"));
}
