//! Build checks that need variables, bases, the state of a stage or the ignore file.

use std::sync::Arc;

use rbuild_parser::ignore::Ignore;

use crate::support::{Case, case};

const BASE: &str = "docker.io/library/base:latest";

#[track_caller]
fn check(text: &str, expected: &[(&str, &str, &str)]) {
    case(text).check_findings(expected);
}

fn shell_form(keyword: &str) -> String {
    format!(
        "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS \
         signals"
    )
}

fn several(keyword: &str) -> String {
    format!(
        "Multiple {keyword} instructions should not be used in the same stage because only the \
         last one will be used"
    )
}

fn secret(what: &str) -> String {
    format!("Do not use ARG or ENV instructions for sensitive data ({what})")
}

fn relative(path: &str) -> String {
    format!("Relative workdir \"{path}\" can have unexpected results if the base image changes")
}

#[test]
fn exec_form_is_recommended_unless_the_shell_is_chosen() {
    let rule = "JSONArgsRecommended";
    check("F\nCMD a", &[(rule, &shell_form("CMD"), "CMD a")]);
    check(
        "F\nentrypoint a",
        &[(rule, &shell_form("entrypoint"), "entrypoint a")],
    );
    check("F\nCMD [\"a\"]\nENTRYPOINT [\"a\"]", &[]);
    check("F\nSHELL [\"s\"]\nCMD a", &[]);
    // A shell that is chosen later, or in the stage below, or by the base.
    check(
        "F\nCMD a\nSHELL [\"s\"]",
        &[(rule, &shell_form("CMD"), "CMD a")],
    );
    check("FROM scratch AS a\nSHELL [\"s\"]\nFROM a\nCMD a", &[]);
    case("FROM base\nCMD a")
        .image(BASE, r#"{"Shell":["s"]}"#)
        .check_findings(&[]);
}

#[test]
fn only_the_last_of_a_kind_counts() {
    let rule = "MultipleInstructionsDisallowed";
    check(
        "F\nCMD [\"a\"]\nENTRYPOINT [\"a\"]\nCmd [\"b\"]\nHEALTHCHECK NONE\nHEALTHCHECK CMD c\n\
         CMD [\"d\"]",
        &[
            (rule, &several("Cmd"), "CMD [\"a\"]"),
            (rule, &several("HEALTHCHECK"), "HEALTHCHECK NONE"),
            (rule, &several("CMD"), "Cmd [\"b\"]"),
        ],
    );
    check("FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]", &[]);
    let plan = case("F\nCMD [\"a\"]\nCMD [\"b\"]").plan();
    let (span, label) = &plan.warnings[0].labels[0];
    assert_eq!((span.start, label.as_str()), (23, "this one replaces it"));
}

#[test]
fn k21_workdirs_start_at_the_root() {
    let rule = "WorkdirRelativePath";
    check("F\nWORKDIR a\nWORKDIR b", &[(rule, &relative("a"), "a")]);
    check("F\nWORKDIR /a\nWORKDIR b", &[]);
    check("F\nENV D=/x\nWORKDIR $D", &[]);
    check("FROM scratch AS a\nWORKDIR /a\nFROM a\nWORKDIR b", &[]);
    check(
        "FROM scratch AS a\nWORKDIR a\nFROM a\nWORKDIR b",
        &[(rule, &relative("a"), "a")],
    );
    // The base's own directory may change.
    case("FROM base\nWORKDIR a")
        .image(BASE, r#"{"WorkingDir":"/w"}"#)
        .check_findings(&[(rule, &relative("a"), "a")]);
    case("F\nWORKDIR C:/a")
        .platforms(&["windows/amd64"])
        .check_findings(&[]);
}

#[test]
fn k22_names_of_secrets() {
    let rule = "SecretsUsedInArgOrEnv";
    check(
        "F\nARG GITHUB_TOKEN\nENV MY_KEY_FILE=x API_KEY=1",
        &[
            (rule, &secret("ARG \"GITHUB_TOKEN\""), "GITHUB_TOKEN"),
            (rule, &secret("ENV \"API_KEY\""), "API_KEY"),
        ],
    );
    for name in [
        "password",
        "DB_PASSWD",
        "x_Auth_y",
        "credential",
        "CREDENTIALS",
        "APIKEY",
        "pword",
        "Secret",
        "_key",
    ] {
        let text = format!("F\nARG {name}");
        check(&text, &[(rule, &secret(&format!("ARG \"{name}\"")), name)]);
    }
    for name in [
        "KEYS",
        "MONKEY",
        "PUBLIC_KEY",
        "TOKEN_version",
        "AUTHOR",
        "A",
    ] {
        check(&format!("F\nARG {name}\nENV {name}=1"), &[]);
    }
    // Global ARGs are in no image.
    check("ARG TOKEN\nFROM scratch", &[]);
}

#[test]
fn legacy_pairs() {
    let message = |name: &str| {
        format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format")
    };
    check(
        "F\nENV a b\nLABEL c d\nENV token x\nENV e=f",
        &[
            ("LegacyKeyValueFormat", &message("ENV"), "ENV a b"),
            ("LegacyKeyValueFormat", &message("LABEL"), "LABEL c d"),
            ("LegacyKeyValueFormat", &message("ENV"), "ENV token x"),
            ("SecretsUsedInArgOrEnv", &secret("ENV \"token\""), "token"),
        ],
    );
}

#[test]
fn undefined_variables_come_before_what_is_wrong_with_the_instruction() {
    let undefined = |text: &str| format!("Usage of undefined variable '${text}");
    check(
        "F\nENV FOO=1\nENV TOKEN=$FO\nARG KEY=$NOTHING\nWORKDIR $X\nRUN $Y",
        &[
            (
                "UndefinedVar",
                &undefined("FO' (did you mean $FOO?)"),
                "$FO",
            ),
            ("SecretsUsedInArgOrEnv", &secret("ENV \"TOKEN\""), "TOKEN"),
            ("SecretsUsedInArgOrEnv", &secret("ARG \"KEY\""), "KEY"),
            ("UndefinedVar", &undefined("NOTHING'"), "$NOTHING"),
            ("UndefinedVar", &undefined("X'"), "$X"),
            ("WorkdirRelativePath", &relative(""), "$X"),
        ],
    );
}

#[test]
fn ports_are_plain() {
    let mapping = |port: &str| {
        format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found \
             '{port}'"
        )
    };
    let casing =
        |port: &str| format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
    check(
        "F\nENV P=1:2/UDP\nEXPOSE 8080/TCP 80/udp 90 $P 127.0.0.1:3:4",
        &[
            ("ExposeProtoCasing", &casing("1:2/UDP"), "$P"),
            ("ExposeInvalidFormat", &mapping("1:2/UDP"), "$P"),
            (
                "ExposeInvalidFormat",
                &mapping("127.0.0.1:3:4"),
                "127.0.0.1:3:4",
            ),
            ("ExposeProtoCasing", &casing("8080/TCP"), "8080/TCP"),
        ],
    );
}

#[test]
fn platforms_of_from() {
    let redundant = |word: &str| {
        format!(
            "Setting platform to predefined {word} in FROM is redundant as this is the default \
             behavior"
        )
    };
    let constant =
        |text: &str| format!("FROM --platform flag should not use constant value \"{text}\"");
    let rule = "RedundantTargetPlatform";
    for word in ["$TARGETPLATFORM", "${TARGETPLATFORM}"] {
        check(
            &format!("FROM --platform={word} scratch"),
            &[(rule, &redundant(word), word)],
        );
    }
    check("FROM --platform=$BUILDPLATFORM scratch", &[]);
    check(
        "FROM --platform=${TARGETPLATFORM:-linux/amd64} scratch",
        &[(
            rule,
            &redundant("${TARGETPLATFORM:-linux/amd64}"),
            "${TARGETPLATFORM:-linux/amd64}",
        )],
    );
    let rule = "FromPlatformFlagConstDisallowed";
    check(
        "FROM --platform=linux/arm64 scratch AS x",
        &[(rule, &constant("linux/arm64"), "linux/arm64")],
    );
    check("FROM --platform=linux/x86_64 scratch AS x-amd64", &[]);
    check("FROM --platform=linux/arm64 scratch AS on-linux", &[]);
    check("ARG P=linux/arm64\nFROM --platform=$P scratch", &[]);
}

#[test]
fn defaults_of_from_are_enough() {
    let message = |word: &str| {
        format!("Default value for ARG {word} results in empty or invalid base image name")
    };
    let rule = "InvalidDefaultArgInFrom";
    let given = |text: &str| case(text).arg("V", "scratch");
    given("ARG V\nFROM $V").check_findings(&[(rule, &message("$V"), "$V")]);
    given("ARG V=a//b\nFROM $V").check_findings(&[(rule, &message("$V"), "$V")]);
    given("ARG V=scratch\nFROM $V").check_findings(&[]);
    given("ARG V\nFROM ${V:-scratch}").check_findings(&[]);
    // All stages, needed or not, and before what is said of single ones.
    let text = "ARG V\nFROM $V AS a\nFROM ${W}$V AS b\nFROM scratch";
    given(text).check_findings(&[
        (rule, &message("$V"), "$V"),
        (rule, &message("${W}$V"), "${W}$V"),
        (
            "UndefinedArgInFrom",
            "FROM argument 'W' is not declared",
            "${W}$V",
        ),
    ]);
}

fn ignoring(text: &str, ignore: &str) -> Case {
    let mut case = case(text);
    case.request.ignore = Some(Arc::new(Ignore::parse(ignore.as_bytes()).unwrap()));
    case
}

#[test]
fn ignored_sources() {
    let rule = "CopyIgnoredFile";
    let message = |verb: &str, path: &str| {
        format!("Attempting to {verb} file \"{path}\" that is excluded by .dockerignore")
    };
    ignoring("F\nCOPY a b/c d.txt /x/\nADD ./b/ /y/", "a\nb\n*.md\n").check_findings(&[
        (rule, &message("Copy", "a"), "a"),
        (rule, &message("Copy", "b/c"), "b/c"),
        (rule, &message("Add", "b"), "./b/"),
    ]);
    // Taken in again, in part perhaps: nobody can tell.
    ignoring("F\nCOPY a /x", "a\n!a/b\n").check_findings(&[]);
    // All of the context, if a pattern excludes it all.
    ignoring("F\nCOPY . /x", "a\n").check_findings(&[]);
    ignoring("F\nCOPY . /x", "**\n").check_findings(&[(rule, &message("Copy", "."), ".")]);
    ignoring("F\nCOPY / /x", "*\n").check_findings(&[(rule, &message("Copy", "/"), "/")]);
    // Other trees have no ignore file, or another.
    ignoring("FROM scratch AS s\nFROM scratch\nCOPY --from=s a /x", "a\n").check_findings(&[]);
    ignoring("F\nCOPY <<a /x/\nhello\na", "a\n").check_findings(&[]);
    case("F\nCOPY a /x").check_findings(&[]);
}

#[test]
fn stages_that_are_not_needed_are_not_looked_at() {
    check("FROM scratch AS a\nCMD x\nFROM scratch", &[]);
}

#[test]
fn platforms_of_bases_come_before_instructions() {
    let text = "FROM scratch AS a\nCMD x\nFROM --platform=$BUILDPLATFORM base AS b\nCOPY --from=a \
                / /";
    let case = case(text).image(BASE, "{}");
    let dockerfile = case.parse();
    let mut bases = rbuild_planner::BaseImages::new();
    let plan = loop {
        match rbuild_planner::plan(&dockerfile, &case.request, &bases) {
            rbuild_planner::Planned::Ready(plan) => break plan,
            rbuild_planner::Planned::Needs(needs) => {
                let mut answer = case.answer(&needs[0].query).unwrap();
                answer.platform = crate::support::platform("linux/arm64");
                bases.insert(needs[0].query.clone(), Ok(answer));
            }
            rbuild_planner::Planned::Failed(faults) => panic!("{faults:?}"),
        }
    };
    let codes: Vec<_> = plan.warnings.iter().map(|found| found.code).collect();
    assert_eq!(codes, ["InvalidBaseImagePlatform", "JSONArgsRecommended"]);
}

#[test]
fn only_the_first_platform_is_told_of() {
    let text = "FROM scratch\nARG TARGETARCH\nENV X=$UNDEF\nWORKDIR $TARGETARCH";
    case(text)
        .platforms(&["linux/amd64", "linux/arm64"])
        .check_findings(&[
            (
                "UndefinedVar",
                "Usage of undefined variable '$UNDEF'",
                "$UNDEF",
            ),
            ("WorkdirRelativePath", &relative("amd64"), "$TARGETARCH"),
        ]);
}

#[test]
fn findings_of_triggers_are_at_the_from() {
    case("FROM base\n")
        .image(BASE, r#"{"OnBuild":["CMD a","CMD b"]}"#)
        .check_findings(&[
            ("JSONArgsRecommended", &shell_form("CMD"), "base"),
            ("MultipleInstructionsDisallowed", &several("CMD"), "base"),
        ]);
}
