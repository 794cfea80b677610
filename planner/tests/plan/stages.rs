//! Stages, bases and `--from`: rows S1 to S24 of the reference's tables, and more.

use rbuild_planner::{ContextName, FileSource, NamedContext, StepKind, Tree};

use crate::support::case;

const BUSYBOX: &str = "docker.io/library/busybox:latest";

#[test]
fn s1_to_s3_stages_as_bases() {
    case("FROM scratch AS Base\nFROM Base").check_error(
        "failed to parse stage name \"Base\": invalid reference format: repository name \
         (library/Base) must be lowercase",
        "Base",
    );
    case("FROM scratch AS Base\nENV A=1\nFROM base").check_env(&["A=1"]);
    case("ARG B=base\nFROM scratch AS base\nENV A=1\nFROM $B").check_env(&["A=1"]);
}

#[test]
fn s4_s5_numbers_and_tags_are_images() {
    for (text, reference) in [
        ("FROM scratch\nFROM 0", "docker.io/library/0:latest"),
        ("FROM scratch:latest", "docker.io/library/scratch:latest"),
    ] {
        let steps = case(text).image(reference, "{}").steps();
        assert_eq!(steps[0].origin.display, format!("FROM {reference}"));
    }
}

#[test]
fn s6_blank_bases() {
    case("FROM ${X}").check_error("base name (${X}) should not be blank", "${X}");
    case("FROM ${X} AS a\nFROM scratch")
        .check_error("base name (${X}) should not be blank", "${X}");
}

#[test]
fn s7_s8_names_are_found_upwards() {
    let text = "FROM scratch AS a\nENV A=1\nFROM scratch AS a\nENV A=2\nFROM a";
    case(text).check_env(&["A=2"]);
    case("FROM scratch AS scratch\nENV A=1\nFROM scratch").check_env(&["A=1"]);
}

#[test]
fn s9_to_s11_targets() {
    let text = "FROM scratch AS foo\nENV A=1\nFROM scratch";
    case(text).target("FOO").check_env(&["A=1"]);
    let last = "FROM scratch";
    case(text)
        .target("0")
        .check_error("target stage \"0\" could not be found", last);
    case(text).target("fo").check_error(
        "target stage \"fo\" could not be found (did you mean foo?)",
        last,
    );
}

#[test]
fn s13_from_by_name_in_any_case_and_by_number() {
    for from in ["\"a\"", "A", "0"] {
        let text = format!("FROM scratch AS a\nWORKDIR /x\nFROM scratch\nCOPY --from={from} a b");
        let case = case(&text);
        let plan = case.plan();
        let copy = plan.targets[0].rootfs;
        let source = plan.sources(copy)[0];
        assert_eq!(plan.step(source).origin.title, "[a 1/1] WORKDIR /x");
    }
}

#[test]
fn s14_stage_numbers_out_of_range() {
    case("F\nCOPY --from=5 a b").check_error("invalid stage index 5", "5");
    case("F\nCOPY --from=-1 a b").check_error("invalid stage index -1", "-1");
}

#[test]
fn s15_s18_circles() {
    let message = "circular dependency detected on stage: stage-0";
    case("F\nCOPY --from=0 a b").check_error(message, "COPY --from=0 a b");
    let text = "FROM scratch AS a\nCOPY --from=b x x\nFROM scratch AS b\nCOPY --from=a y y";
    case(text).check_error(
        "circular dependency detected on stage: a",
        "COPY --from=b x x",
    );
    let found = case(text).run().unwrap_err();
    let label = found[0].labels[0].0;
    assert_eq!(&text[label.start..label.end], "COPY --from=a y y");
    case("FROM scratch AS a\nCOPY --from=b x x\nFROM a AS b\nFROM scratch").check_error(
        "circular dependency detected on stage: a",
        "COPY --from=b x x",
    );
}

#[test]
fn s16_s17_the_order_matters_once_the_stage_is_needed() {
    let text = "FROM scratch AS a\nCOPY --from=b x x\nFROM scratch AS b\nWORKDIR /x";
    case(text).target("a").check_error(
        "cannot copy from stage \"b\", it needs to be defined before current stage \"a\"",
        "b",
    );
    assert_eq!(case(text).titles(), ["FROM scratch", "[b 1/1] WORKDIR /x"]);
}

#[test]
fn s19_s20_what_is_not_needed_may_be_wrong() {
    let text =
        "FROM scratch AS bad\nRUN --mount=type=foo x\nSTOPSIGNAL nope\nEXPOSE x\nFROM scratch";
    case(text).check_history(&[]);
    case("FROM nosuch:img AS a\nFROM scratch").check_history(&[]);
    case("FROM NOSUCH AS a\nFROM scratch").check_error(
        "failed to parse stage name \"NOSUCH\": invalid reference format: repository name \
         (library/NOSUCH) must be lowercase",
        "NOSUCH",
    );
}

#[test]
fn s22_platform_words() {
    case("FROM --platform=$FOO scratch")
        .check_error("empty platform value from expression $FOO", "$FOO");
    case("FROM --platform=$TARGETPLATFROM scratch").check_error(
        "empty platform value from expression $TARGETPLATFROM (did you mean TARGETPLATFORM?)",
        "$TARGETPLATFROM",
    );
    case("FROM --platform=nope scratch").check_error(
        "failed to parse platform nope: \"nope\": unknown operating system or architecture: \
         invalid argument",
        "nope",
    );
}

#[test]
fn images_that_are_not_there() {
    case("FROM scratch AS build\nFROM biuld").check_error(
        "docker.io/library/biuld:latest: not found (did you mean build?)",
        "biuld",
    );
    case("FROM debain:12").check_error(
        "docker.io/library/debain:12: not found (did you mean debian?)",
        "debain:12",
    );
    case("F\nCOPY --from=nosuch a b")
        .check_error("docker.io/library/nosuch:latest: not found", "nosuch");
}

#[test]
fn from_arguments_that_nothing_declares() {
    let case = case("ARG TAG=1\nFROM busybox:${TGA:-1}").image("docker.io/library/busybox:1", "{}");
    case.check_warnings(&["FROM argument 'TGA' is not declared (did you mean TAG?)"]);
}

#[test]
fn only_what_is_needed_is_planned() {
    let text = "FROM scratch AS a\nWORKDIR /a\nFROM scratch AS b\nWORKDIR /b\n\
                FROM scratch AS c\nCOPY --from=a /a /\nFROM a AS d\nWORKDIR /d";
    assert_eq!(
        case(text).target("c").titles(),
        [
            "FROM scratch",
            "[a 1/1] WORKDIR /a",
            "[c 1/1] COPY --from=a /a /"
        ]
    );
    assert_eq!(
        case(text).titles(),
        ["FROM scratch", "[a 1/1] WORKDIR /a", "[d 1/1] WORKDIR /d"]
    );
}

#[test]
fn images_as_sources() {
    let case = case("F\nCOPY --from=busybox /bin/sh /sh\nCOPY --from=busybox /bin/ls /ls")
        .image(BUSYBOX, "{}");
    assert_eq!(
        case.titles(),
        [
            "FROM docker.io/library/busybox:latest",
            "FROM scratch",
            "[stage-0 1/2] COPY --from=busybox /bin/sh /sh",
            "[stage-0 2/2] COPY --from=busybox /bin/ls /ls",
        ]
    );
    let plan = case.plan();
    assert_eq!(plan.targets[0].rootfs.index(), 3);
    let copy = plan.targets[0].rootfs;
    assert_eq!(plan.sources(copy).len(), 1);
}

#[test]
fn of_equal_names_the_nearest_above_is_meant() {
    let text = "FROM scratch AS a\nWORKDIR /1\nFROM scratch AS b\nCOPY --from=a x x\n\
                FROM scratch AS a\nWORKDIR /2\nFROM b";
    let titles = case(text).titles();
    assert!(
        titles.contains(&"[a 1/1] WORKDIR /1".to_owned()),
        "{titles:?}"
    );
    assert!(
        !titles.contains(&"[a 1/1] WORKDIR /2".to_owned()),
        "{titles:?}"
    );
}

#[test]
fn a_context_replaces_a_stage() {
    let text = "FROM nosuch AS a\nRUN make\nENV LOST=1\nFROM scratch\nCOPY --from=a x y";
    let case = case(text).context("a", NamedContext::Directory);
    let files = case.only_files();
    assert_eq!(
        files.sources,
        [FileSource::Path {
            from: Tree::Context(ContextName("a".into())),
            pattern: "/x".into(),
            wildcard: false,
        }]
    );
    assert_eq!(
        case.titles(),
        ["FROM scratch", "[stage-1 1/1] COPY --from=a x y"]
    );
}

#[test]
fn a_stage_that_is_replaced_may_not_need_itself() {
    let text = "FROM alpine AS some\nCOPY --from=some hello .\nFROM some";
    case(text)
        .context("some", NamedContext::Directory)
        .check_error(
            "circular dependency detected on stage: some",
            "COPY --from=some hello .",
        );
}

#[test]
fn a_context_replaces_an_image() {
    let image = NamedContext::Image("docker-image://busybox".into());
    let case = case("FROM alpine:latest\nFROM team/app:1\nENV B=2")
        .context("alpine", NamedContext::Directory)
        .context("team/app:1", image)
        .image(BUSYBOX, r#"{"Env":["A=1"]}"#);
    case.check_env(&["A=1", "B=2"]);
    let below = case.clone().target("nothing").run();
    assert!(below.is_err());
    let layout = NamedContext::Image("oci-layout://dir:tag".into());
    let steps = case
        .context("team/app:1", layout)
        .image("oci-layout://dir:tag", "{}")
        .steps();
    assert_eq!(steps[0].origin.display, "FROM oci-layout://dir:tag");
}

#[test]
fn a_directory_as_a_base() {
    let case = case("FROM dir\nWORKDIR /x").context("dir", NamedContext::Directory);
    let steps = case.steps();
    let context = ContextName("dir".into());
    assert_eq!(steps[0].kind, StepKind::Local { context });
    assert_eq!(case.titles(), ["[1/2] FROM dir", "[2/2] WORKDIR /x"]);
    assert_eq!(case.config().config.working_dir.as_deref(), Some("/x"));
}

#[test]
fn contexts_for_one_platform_come_first_and_scratch_stays() {
    let special = NamedContext::Image("docker-image://special".into());
    let case = case("FROM scratch\nFROM alpine")
        .context("alpine", NamedContext::Directory)
        .context("scratch", NamedContext::Directory)
        .context("alpine::linux/amd64", special)
        .image("docker.io/library/special:latest", "{}");
    assert_eq!(
        case.titles(),
        ["[stage-1 1/1] FROM docker.io/library/special:latest"]
    );
    assert_eq!(
        case.target("stage-0").run().unwrap_err().len(),
        1,
        "no name, no target"
    );
}

#[test]
fn an_earlier_stage_beats_a_context() {
    let case = case("FROM scratch AS a\nENV A=1\nFROM a").context("b", NamedContext::Directory);
    case.check_env(&["A=1"]);
}

#[test]
fn no_cache_by_stage() {
    let text = "FROM scratch AS a\nWORKDIR /a\nRUN x\nCOPY f f\nFROM a AS b\nRUN y";
    let forced = |case: &crate::support::Case| -> Vec<bool> {
        case.steps().iter().map(|step| step.ignore_cache).collect()
    };
    let mut filtered = case(text);
    filtered.request.no_cache_filter = vec!["A".into()];
    assert_eq!(forced(&filtered), [false, false, true, true, false]);
    let mut all = case(text);
    all.request.no_cache = true;
    assert_eq!(forced(&all), [false, false, true, true, true]);
}

#[test]
fn titles_count_the_steps_of_the_stage() {
    let lines: String = (0..9).map(|n| format!("RUN echo {n}\n")).collect();
    let case = case(&format!("FROM busybox\n{lines}")).image(BUSYBOX, "{}");
    let titles = case.titles();
    assert_eq!(titles[0], "[ 1/10] FROM docker.io/library/busybox:latest");
    assert_eq!(titles[9], "[10/10] RUN echo 8");
    let steps = case.steps();
    assert_eq!(steps[9].origin.stage, "stage-0");
    assert_eq!(steps[9].origin.display, "RUN echo 8");
}

#[test]
fn all_faults_are_reported_at_once() {
    let found = case("F\nSTOPSIGNAL nope\nEXPOSE x\nRUN --mount=a=1 x").run();
    let messages: Vec<_> = found
        .unwrap_err()
        .into_iter()
        .map(|found| found.message)
        .collect();
    assert_eq!(
        messages,
        [
            "invalid signal: nope",
            "invalid containerPort: x",
            "unexpected key 'a' in 'a=1'",
        ]
    );
}

#[test]
fn a_context_can_be_empty() {
    let scratch = NamedContext::Image("docker-image://scratch".into());
    let case = case("FROM busybox\nENV A=1").context("busybox", scratch);
    assert_eq!(case.titles(), ["FROM scratch"]);
}
