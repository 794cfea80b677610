//! Build checks in builds, and instead of them.

use crate::support::TestEnv;
use crate::support::run::Run;

/// Runs `build` in a context with this Dockerfile and a `file`.
fn build(dockerfile: &str, args: &[&str]) -> (TestEnv, Run) {
    let env = TestEnv::new();
    let files = [("Dockerfile", dockerfile), ("file", "text\n")];
    let context = env.context("ctx", &files);
    let run = Run::of(env.command().arg("build").args(args).arg(&context));
    (env, run)
}

#[test]
fn k16_error_true_fails_before_anything_is_done() {
    let dockerfile = "# check=error=true\nFROM scratch as a\nCOPY nosuch /\n";
    let (env, run) = build(dockerfile, &["-t", "strict"]);
    let run = run
        .fails(1)
        .says("lint violation found for rules: FromAsCasing")
        .says("'as' and 'FROM' keywords' casing do not match");
    // The copy would fail.
    assert!(!run.stderr.contains("nosuch\":"), "{}", run.report());
    assert_eq!(env.rbuild(["images", "-q"]).ok().out(), "");
}

#[test]
fn error_true_needs_a_finding() {
    let dockerfile = "# check=error=true\nFROM scratch AS a\nCOPY file /\n";
    build(dockerfile, &[]).1.ok();
    let dockerfile = "# check=error=true;skip=FromAsCasing\nFROM scratch as a\nCOPY file /\n";
    let run = build(dockerfile, &[]).1.ok();
    assert!(!run.stderr.contains("FromAsCasing"), "{}", run.report());
}

#[test]
fn the_build_argument_replaces_the_directive() {
    let dockerfile = "# check=error=true\nFROM scratch as a\nCOPY file /\n";
    let argument = "--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all";
    let run = build(dockerfile, &[argument]).1.ok();
    assert!(!run.stderr.contains("warning"), "{}", run.report());
    let dockerfile = "FROM scratch as a\nENV x y\nCOPY file /\n";
    let argument = "--build-arg=BUILDKIT_DOCKERFILE_CHECK=error=true";
    build(dockerfile, &[argument])
        .1
        .fails(1)
        .says("lint violation found for rules: FromAsCasing, LegacyKeyValueFormat");
}

#[test]
fn k18_unknown_options_are_refused() {
    build("# check=foo=1\nFROM scratch\n", &[])
        .1
        .fails(1)
        .says("failed to parse check options: invalid check option \"foo\"");
    let argument = "--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip";
    build("FROM scratch\n", &[argument])
        .1
        .fails(1)
        .says("failed to parse check options: invalid check option \"skip\"");
}

#[test]
fn warnings_are_shown_once_and_counted() {
    let dockerfile = "FROM scratch as a\nCOPY file /\nWORKDIR x\n";
    let run = build(dockerfile, &[])
        .1
        .ok()
        .says("2 warnings found (use --check to expand):");
    let line = " - FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)";
    assert!(
        run.stderr.lines().any(|found| found == line),
        "{}",
        run.report()
    );
    for rule in ["FromAsCasing", "WorkdirRelativePath"] {
        let n_times = run.stderr.matches(rule).count();
        assert_eq!(n_times, 1, "{rule}: {}", run.report());
    }
    let run = build(dockerfile, &["-q"]).1.ok();
    assert_eq!(run.stderr, "", "{}", run.report());
}

#[test]
fn many_warnings_are_not_all_shown() {
    let dockerfile = format!("FROM scratch\n{}", "ENV A b\n".repeat(60));
    let run = build(&dockerfile, &[]).1.ok();
    let run = run.says("60 warnings found").says("10 more");
    assert_eq!(
        run.stderr.matches(" - Legacy").count(),
        50,
        "{}",
        run.report()
    );
}

#[test]
fn answers_are_kept_in_the_metadata_file() {
    let env = TestEnv::new();
    let context = env.context("ctx", &[("Dockerfile", "FROM scratch as a\n")]);
    let file = env.path("metadata.json");
    let option = format!("--metadata-file={}", file.display());
    let run = Run::of(
        env.command()
            .args(["build", "--check", &option])
            .arg(&context),
    );
    assert_eq!(run.code, Some(1), "{}", run.report());
    let metadata: serde_json::Value = serde_json::from_slice(&fs_err::read(file).unwrap()).unwrap();
    let warnings = &metadata["result.json"]["warnings"];
    assert_eq!(warnings[0]["ruleName"], "FromAsCasing");
}

#[test]
fn checking_ends_with_a_status_and_makes_nothing() {
    let clean = "FROM scratch\nCOPY file /\n";
    let odd = "FROM scratch as a\nCOPY file /\n";
    let status = |dockerfile: &str, args: &[&str]| {
        let (env, run) = build(dockerfile, args);
        let is_empty = fs_err::read_dir(env.store()).unwrap().next().is_none();
        assert!(is_empty, "{}", run.report());
        (run.code, run.stdout.lines().next().map(str::to_owned))
    };
    let line = |text: &str| Some(text.to_owned());
    let none = line("Check complete, no warnings found.");
    let one = line("Check complete, 1 warning has been found!");
    assert_eq!(status(clean, &["--check"]), (Some(0), none));
    assert_eq!(status(odd, &["--check"]), (Some(1), one.clone()));
    assert_eq!(status(odd, &["--call=check"]), (Some(1), one.clone()));
    assert_eq!(
        status(odd, &["--call=check,ignorestatus=true"]),
        (Some(0), one)
    );
    let (code, _) = status(odd, &["--call=check,format=json"]);
    assert_eq!(code, Some(1));
    let broken = "FROM scratch AS a\nNOPE\n";
    assert_eq!(status(broken, &["--check"]), (Some(1), None));
    assert_eq!(status(broken, &["--call=outline"]), (Some(1), None));
    assert_eq!(status(clean, &["--call=nope"]), (Some(2), None));
}

#[test]
fn checking_runs_nothing_and_needs_no_target() {
    // Both stages are looked at; the first is not needed by the last.
    let dockerfile = "FROM scratch AS a\nWORKDIR x\nFROM scratch\nRUN false\nCOPY nosuch /\n";
    let (_, run) = build(dockerfile, &["--check"]);
    assert_eq!(run.code, Some(1), "{}", run.report());
    assert!(run.stdout.contains("WorkdirRelativePath"));
    build(dockerfile, &["--check", "--target=stage-1"])
        .1
        .fails(1)
        .says("target stage \"stage-1\" could not be found");
    let named = dockerfile.replace("FROM scratch\n", "FROM scratch AS b\n");
    let run = build(&named, &["--check", "--target=b"]).1.ok();
    assert_eq!(run.out(), "Check complete, no warnings found.");
}

#[test]
fn calls_list_themselves() {
    let env = TestEnv::new();
    let run = env
        .rbuild(["build", "--call=subrequests.describe", "."])
        .ok();
    let names: Vec<_> = run
        .stdout
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(
        names,
        ["NAME", "outline", "targets", "lint", "subrequests.describe"]
    );
    let run = env
        .rbuild(["build", "--call=subrequests.describe,format=json", "."])
        .ok();
    let list: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(list[2]["Name"], "frontend.lint");
}

#[test]
fn a_base_that_cannot_be_had_hides_no_finding() {
    let mut env = TestEnv::new();
    env.cut_off();
    let dockerfile = "# BASE is below\nARG BASE=docker.io/library/nosuch\nFROM $BASE\nWORKDIR x\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let context = context.to_str().unwrap();
    let run = env
        .rbuild(["build", "--check", context])
        .fails(1)
        .says("docker.io/library/nosuch:latest");
    assert!(run.stdout.contains("WorkdirRelativePath"));
    let run = env.rbuild(["build", "--call=outline", context]).ok();
    assert!(run.stdout.contains("BASE"), "{}", run.report());
    // The list of targets asks nobody.
    let run = env.rbuild(["build", "--call=targets", context]).ok();
    assert_eq!(run.stderr, "", "{}", run.report());
}
