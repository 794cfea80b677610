//! Several platforms in one plan.

use rbuild_planner::StepKind;

use crate::support::case;

const BASE: &str = "docker.io/library/base:latest";

#[test]
fn stages_for_the_build_platform_appear_once() {
    let text = "FROM --platform=$BUILDPLATFORM base AS build\nRUN make\n\
                FROM base\nCOPY --from=build /x /x";
    let case = case(text)
        .image(BASE, "{}")
        .platforms(&["linux/amd64", "linux/arm64"]);
    assert_eq!(
        case.titles(),
        [
            "[linux/amd64 build 1/2] FROM docker.io/library/base:latest",
            "[linux/amd64 build 2/2] RUN make",
            "[linux/amd64 stage-1 2/2] COPY --from=build /x /x",
            "[linux/arm64 stage-1 1/2] FROM docker.io/library/base:latest",
            "[linux/arm64 stage-1 2/2] COPY --from=build /x /x",
        ]
    );
    let plan = case.plan();
    let platforms: Vec<_> = plan
        .targets
        .iter()
        .map(|target| {
            (
                target.platform.to_string(),
                target.config.architecture.clone(),
            )
        })
        .collect();
    assert_eq!(
        platforms,
        [
            ("linux/amd64".into(), "amd64".into()),
            ("linux/arm64".into(), "arm64".into())
        ]
    );
    assert!(
        plan.targets
            .iter()
            .all(|target| target.platform_is_explicit)
    );
}

#[test]
fn a_declared_target_splits_from_there_on() {
    let text = "FROM --platform=$BUILDPLATFORM base AS build\nRUN one\nARG TARGETARCH\nRUN two\n\
                FROM scratch\nCOPY --from=build /x /x";
    let case = case(text)
        .image(BASE, "{}")
        .platforms(&["linux/amd64", "linux/arm64"]);
    let titles = case.titles();
    let count = |end: &str| titles.iter().filter(|title| title.ends_with(end)).count();
    assert_eq!((count("RUN one"), count("RUN two")), (1, 2), "{titles:?}");
    assert!(
        titles.contains(&"[linux/amd64->arm64 build 3/3] RUN two".to_owned()),
        "{titles:?}"
    );
}

#[test]
fn an_asked_for_platform_is_in_the_config_whatever_the_base_says() {
    let base = r#"{"architecture":"amd64","os":"linux","variant":"v2"}"#;
    let text = "FROM --platform=linux/amd64 base";
    let config = case(text)
        .image_of(BASE, base)
        .platforms(&["linux/arm/v7"])
        .config();
    assert_eq!(
        (config.architecture.as_str(), config.variant.as_deref()),
        ("arm", Some("v7"))
    );
    let config = case(text)
        .image_of(BASE, base)
        .platforms(&["linux/amd64"])
        .config();
    assert_eq!(
        (config.architecture.as_str(), config.variant.as_deref()),
        ("amd64", Some("v2"))
    );
    let config = case(text)
        .image_of(BASE, base)
        .platforms(&["linux/arm64"])
        .config();
    assert_eq!(
        (config.architecture.as_str(), config.variant),
        ("arm64", None)
    );
}

#[test]
fn without_a_wish_the_base_decides() {
    let base = r#"{"architecture":"arm64","os":"linux","variant":"v8"}"#;
    let plan = case("FROM base\nRUN x").image_of(BASE, base).plan();
    let target = &plan.targets[0];
    assert!(!target.platform_is_explicit);
    assert_eq!(target.platform.to_string(), "linux/arm64");
    assert_eq!(plan.step(target.rootfs).platform.to_string(), "linux/arm64");
    assert!(plan.warnings.is_empty());
}

#[test]
fn platform_faults_are_reported_once() {
    let case = case("F\nSTOPSIGNAL nope").platforms(&["linux/amd64", "linux/arm64"]);
    case.check_error("invalid signal: nope", "nope");
}

#[test]
fn equal_platforms_are_one() {
    let plan = case("FROM scratch")
        .platforms(&["linux/arm64", "linux/arm64/v8"])
        .plan();
    assert_eq!(plan.targets.len(), 1);
}

#[test]
fn stages_keep_the_platform_of_their_base() {
    let text =
        "FROM --platform=linux/arm64 scratch AS a\nRUN x\nFROM --platform=linux/386 a\nRUN y";
    let steps = case(text).steps();
    let runs: Vec<_> = steps
        .iter()
        .filter(|step| matches!(step.kind, StepKind::Run(_)))
        .map(|step| step.platform.to_string())
        .collect();
    assert_eq!(runs, ["linux/arm64", "linux/arm64"]);
}

#[test]
fn an_unfit_answer_is_warned_of() {
    let case = case("FROM --platform=linux/s390x base AS for-s390x").image(BASE, "{}");
    case.check_warnings(&[]);
    let dockerfile = case.parse();
    let mut bases = rbuild_planner::BaseImages::new();
    let rbuild_planner::Planned::Needs(needs) =
        rbuild_planner::plan(&dockerfile, &case.request, &bases)
    else {
        panic!("no question");
    };
    let mut answer = case.answer(&needs[0].query).unwrap();
    answer.platform = crate::support::platform("linux/amd64");
    bases.insert(needs[0].query.clone(), Ok(answer));
    let rbuild_planner::Planned::Ready(plan) =
        rbuild_planner::plan(&dockerfile, &case.request, &bases)
    else {
        panic!("no plan");
    };
    assert_eq!(
        plan.warnings[0].message,
        "Base image base was pulled with platform \"linux/amd64\", expected \"linux/s390x\" for \
         current build"
    );
}

#[test]
fn windows_has_other_defaults() {
    let text = "FROM scratch\nWORKDIR C:/app\nWORKDIR bin\nRUN x";
    let case = case(text).platforms(&["windows/amd64"]);
    let config = case.config().config;
    assert_eq!(config.env, None);
    assert_eq!(config.working_dir.as_deref(), Some("\\app\\bin"));
    let run = case.only_run();
    assert_eq!(run.argv, ["cmd", "/S", "/C", "x"]);
    assert_eq!(run.cwd, "/app/bin");
}
