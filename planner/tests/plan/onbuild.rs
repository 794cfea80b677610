//! ONBUILD: defining triggers and running them.

use crate::support::case;

const BASE: &str = "docker.io/library/base:latest";
const BUSYBOX: &str = "docker.io/library/busybox:latest";

#[test]
fn triggers_are_kept_as_written() {
    let case = case("FROM base\nONBUILD RUN x\nONBUILD copy <<-E /a\n\tx\nE")
        .image(BASE, r#"{"OnBuild":["ENV A=1"]}"#);
    let config = case.config().config;
    assert_eq!(config.on_build.unwrap(), ["RUN x", "copy <<-E /a\n\tx\nE"]);
    case.check_history(&["-ENV A=1"]);
}

#[test]
fn triggers_of_images_come_before_the_stage() {
    let case = case("FROM base\nRUN own").image(
        BASE,
        r#"{"OnBuild":["ENV A=1","RUN trigger $A","COPY . /src"]}"#,
    );
    case.check_history(&[
        "-ENV A=1",
        "+RUN /bin/sh -c trigger $A # buildkit",
        "+COPY . /src # buildkit",
        "+RUN /bin/sh -c own # buildkit",
    ]);
    assert_eq!(
        case.titles(),
        [
            "[1/4] FROM docker.io/library/base:latest",
            "[2/4] ONBUILD RUN trigger 1",
            "[3/4] ONBUILD COPY . /src",
            "[4/4] RUN own",
        ]
    );
    assert_eq!(case.config().config.on_build, None);
    let steps = case.steps();
    let span = steps[1].origin.span;
    assert_eq!((span.start, span.end), (0, "FROM base".len()));
}

#[test]
fn s23_triggers_of_stages_run_once() {
    let text = "FROM scratch AS a\nENV Z=9\nONBUILD ENV A=$Z\nFROM a AS b\nENV Z=1\nFROM b\n\
                ENV Q=[$A]";
    case(text).check_env(&["Z=1", "A=9", "Q=[9]"]);
}

#[test]
fn a36_faults_in_triggers_are_at_the_from() {
    let bad = |trigger: &str| {
        let config = serde_json::json!({ "OnBuild": [trigger] }).to_string();
        case("FROM base").image(BASE, &config)
    };
    bad("FOO a").check_error("unknown instruction: FOO (did you mean FROM?)", "base");
    bad("STOPSIGNAL nope").check_error("invalid signal: nope", "base");
    bad("ENV A=\"").check_error(
        r#"failed to process "\"": unexpected end of statement while looking for matching double-quote"#,
        "base",
    );
    bad("RUN --mount=a=1 x").check_error("unexpected key 'a' in 'a=1'", "base");
    bad("COPY --from=7 a b").check_error("invalid stage index 7", "base");
    bad("COPY --from=0 a b").check_error("circular dependency detected on stage: stage-0", "base");
    let found = bad("STOPSIGNAL nope").run().unwrap_err();
    let help = found[0].help.clone().unwrap();
    assert!(
        help.ends_with("it comes from the base's trigger `ONBUILD STOPSIGNAL nope`"),
        "{help}"
    );
}

#[test]
fn triggers_can_need_stages_and_images() {
    let text = "FROM scratch AS tools\nWORKDIR /t\nFROM base\nWORKDIR /own";
    let case = case(text)
        .image(
            BASE,
            r#"{"OnBuild":["COPY --from=tools /t /t","COPY --from=busybox /bin /bin"]}"#,
        )
        .image(BUSYBOX, r#"{"OnBuild":["RUN never"]}"#);
    let titles = case.titles();
    assert!(
        titles.contains(&"[tools 1/1] WORKDIR /t".to_owned()),
        "{titles:?}"
    );
    assert!(
        titles.contains(&"FROM docker.io/library/busybox:latest".to_owned()),
        "{titles:?}"
    );
    assert!(
        titles.iter().all(|title| !title.contains("never")),
        "{titles:?}"
    );
}

#[test]
fn triggers_can_need_a_stage_whose_base_has_triggers() {
    let text = "FROM scratch AS p\nONBUILD WORKDIR /p\nFROM p AS q\nFROM base";
    let case = case(text).image(BASE, r#"{"OnBuild":["COPY --from=q /p /p"]}"#);
    let titles = case.titles();
    assert!(
        titles.contains(&"[q 1/1] ONBUILD WORKDIR /p".to_owned()),
        "{titles:?}"
    );
}

#[test]
fn triggers_with_backslashes_in_a_file_with_backticks() {
    let case =
        case("# escape=`\nFROM base\nENV B=c:\\x").image(BASE, r#"{"OnBuild":["ENV A=a\\ b"]}"#);
    case.check_env(&["A=a b", "B=c:\\x"]);
}
