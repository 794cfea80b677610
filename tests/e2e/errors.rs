//! What goes wrong is said clearly, with the place, and with the exit status that scripts expect.

use crate::support::run::Run;
use crate::support::{TestEnv, bases, need};

const NEEDS: &str = "this needs busybox-static";

/// Builds a Dockerfile that cannot be built.
#[track_caller]
fn refused(dockerfile: &str, args: &[&str]) -> Run {
    let env = TestEnv::new();
    let context = env.context("ctx", &[("Dockerfile", dockerfile), ("file.txt", "text\n")]);
    Run::of(env.command().arg("build").args(args).arg(&context)).fails(1)
}

/// The same on busybox.
#[track_caller]
fn refused_on_busybox(dockerfile: &str, args: &[&str]) -> Option<Run> {
    let env = TestEnv::new();
    env.import(bases::busybox()?, "busybox");
    let context = env.context("ctx", &[("Dockerfile", dockerfile), ("file.txt", "text\n")]);
    Some(Run::of(env.command().arg("build").args(args).arg(&context)).fails(1))
}

#[test]
fn all_syntax_errors_are_reported_with_their_lines() {
    let run = refused(
        "FROM scratch\nCOPYY a b\nRUN --nonsense x\nEXPOSE\nWORKDIR /x\n",
        &[],
    )
    .says("COPYY")
    .says("nonsense")
    .says("EXPOSE");
    for line in [2, 3, 4] {
        assert!(
            run.stderr.contains(&format!("Dockerfile:{line}")),
            "line {line}: {}",
            run.report()
        );
    }
}

#[test]
fn an_unknown_instruction_comes_with_a_suggestion() {
    refused("FROM scratch\nCOPYY a b\n", &[])
        .says("COPYY")
        .says("COPY?");
}

#[test]
fn a_missing_source_names_the_file_and_its_place() {
    let run = refused("FROM scratch\nCOPY file.txt missing.txt /dst/\n", &[]).says("missing.txt");
    assert!(run.stderr.contains("Dockerfile:2"), "{}", run.report());
}

#[test]
fn an_ignored_source_says_so() {
    let env = TestEnv::new();
    let files = [
        ("Dockerfile", "FROM scratch\nCOPY file.txt /\n"),
        ("file.txt", "text"),
        (".dockerignore", "file.txt\n"),
    ];
    let context = env.context("ctx", &files);
    env.rbuild(["build", context.to_str().unwrap()])
        .fails(1)
        .says("file.txt")
        .says(".dockerignore");
}

#[test]
fn a_failed_run_shows_command_code_output_and_source() {
    let dockerfile = "FROM busybox\nRUN echo before\nRUN echo the-last-words >&2; exit 42\n";
    let run = refused_on_busybox(dockerfile, &[]);
    need!(run.is_some(), "{NEEDS}");
    let run = run
        .unwrap()
        .says("exit code: 42")
        .says("the-last-words")
        .says("exit 42");
    assert!(run.stderr.contains("Dockerfile:3"), "{}", run.report());
    // Quiet builds say it too.
    let quiet = refused_on_busybox(dockerfile, &["-q"]).unwrap();
    assert!(
        quiet.stderr.contains("the-last-words") && quiet.stdout.is_empty(),
        "{}",
        quiet.report()
    );
}

#[test]
fn a_run_that_is_killed_names_the_signal_by_its_code() {
    let run = refused_on_busybox("FROM busybox\nRUN kill -9 $$\n", &[]);
    need!(run.is_some(), "{NEEDS}");
    run.unwrap().says("exit code: 137");
}

#[test]
fn a_program_that_is_not_there() {
    let run = refused_on_busybox("FROM busybox\nRUN [\"/no/such/program\"]\n", &[]);
    need!(run.is_some(), "{NEEDS}");
    run.unwrap().says("/no/such/program");
}

#[test]
fn a_missing_stage_or_target() {
    refused(
        "FROM scratch AS a\nFROM scratch\nCOPY --from=nowhere.invalid/b:1 / /\n",
        &[],
    )
    .says("nowhere.invalid/b");
    refused(
        "FROM scratch AS build\nFROM scratch AS test\n",
        &["--target", "biuld"],
    )
    .says("biuld");
}

#[test]
fn a_base_that_nobody_has() {
    let mut env = TestEnv::new();
    env.cut_off();
    let context = env.context("ctx", &[("Dockerfile", "FROM no-such-image:9\n")]);
    let run = env
        .rbuild(["build", context.to_str().unwrap()])
        .fails(1)
        .says("no-such-image:9");
    assert!(run.stderr.contains("Dockerfile:1"), "{}", run.report());
}

#[test]
fn an_unset_variable_that_must_be_set() {
    refused(
        "FROM scratch\nARG X\nLABEL a=\"${X:?must be given}\"\n",
        &[],
    )
    .says("must be given");
}

#[test]
fn a_cycle_of_stages() {
    refused(
        "FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /\n",
        &["--target=a"],
    );
}

/// `RUN` needs its user; the owner of copied files that nobody has is root, as it is for BuildKit.
#[test]
fn users_that_do_not_exist() {
    let run = refused_on_busybox("FROM busybox\nUSER nobody-at-all\nRUN true\n", &[]);
    need!(run.is_some(), "{NEEDS}");
    run.unwrap().says("nobody-at-all");
    let env = TestEnv::new();
    env.import(bases::busybox().unwrap(), "busybox");
    let dockerfile = "FROM busybox\nCOPY --chown=nobody-at-all file.txt /\n";
    let context = env.context("ctx", &[("Dockerfile", dockerfile), ("file.txt", "text\n")]);
    assert_eq!(env.build_image(&context, &[]).node("file.txt").uid, 0);
}

/// The last line is BuildKit's: scripts look for its words.
#[test]
fn the_last_line_says_it_in_buildkits_words() {
    for (dockerfile, message) in [
        (
            "FROM scratch\nCOPYY a b\nFOO\n",
            "dockerfile parse error on line 2: unknown instruction: COPYY (did you mean COPY?)",
        ),
        ("FROM scratch\nSTOPSIGNAL nope\n", "invalid signal: nope"),
        (
            "FROM scratch\nCOPY missing /\n",
            "failed to compute cache key: failed to calculate checksum of ref source: \
             \"/missing\": not found",
        ),
        (
            "FROM scratch AS a\nCOPY --from=0 x y\n",
            "circular dependency detected on stage: a",
        ),
    ] {
        let run = refused(dockerfile, &[]);
        let expected = format!("ERROR: failed to build: failed to solve: {message}");
        assert_eq!(
            run.stderr.lines().last(),
            Some(expected.as_str()),
            "{}",
            run.report()
        );
    }
    let dockerfile = "FROM busybox\nRUN echo a \\\n && false\n";
    let run = refused_on_busybox(dockerfile, &["--progress=plain"]);
    need!(run.is_some(), "{NEEDS}");
    let run = run.unwrap();
    let message =
        "process \"/bin/sh -c echo a  && false\" did not complete successfully: exit code: 1";
    let lines: Vec<&str> = run.stderr.lines().collect();
    let last = format!("ERROR: failed to build: failed to solve: {message}");
    assert_eq!(lines.last(), Some(&last.as_str()), "{}", run.report());
    let of_step = format!(" ERROR: {message}");
    let is_step = |line: &&str| line.starts_with('#') && line.ends_with(&of_step);
    assert!(lines.iter().any(is_step), "{}", run.report());
}

/// However long a Dockerfile and its lines are, there is a report soon, and it is not long.
#[test]
fn reports_about_large_files() {
    let many = format!("FROM scratch\n{}", "FOO bar\n".repeat(1_000_000));
    let run = refused(&many, &[])
        .says("Dockerfile:1001")
        .says("more than 1000 errors");
    assert!(run.stderr.len() < 1_000_000, "{} bytes", run.stderr.len());
    for (what, dockerfile) in [
        (
            "one line",
            format!("FROM scratch\nENV A=\"{}\n", "a \\\n".repeat(1_000_000)),
        ),
        (
            "nesting",
            format!("FROM scratch\nENV A={}\n", "${a:-\\\n".repeat(1_000_000)),
        ),
        (
            "a heredoc",
            format!("FROM scratch\nCOPY <<E /x\n{}", "text\n".repeat(1_000_000)),
        ),
        (
            "a word",
            format!("FROM scratch\nSTOPSIGNAL {}\n", "x".repeat(60_000)),
        ),
    ] {
        let run = refused(&dockerfile, &[]);
        assert!(
            run.stderr.len() < 20_000,
            "{what}: {} bytes",
            run.stderr.len()
        );
        let last = run.stderr.lines().last().unwrap();
        assert!(
            last.starts_with("ERROR: failed to build: "),
            "{what}: {last}"
        );
    }
}

/// What this version does not do is refused by name, never left out in silence.
#[test]
fn unsupported_features_are_refused() {
    for (dockerfile, word) in [
        (
            "FROM scratch\nADD https://example.invalid/file /\n",
            "https://example.invalid/file",
        ),
        (
            "FROM scratch\nADD https://example.invalid/repo.git /\n",
            "https://example.invalid/repo.git",
        ),
    ] {
        refused(dockerfile, &[]).says(word);
    }
}

#[test]
fn usage_errors_end_with_2() {
    let env = TestEnv::new();
    let context = env.context("ctx", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")]);
    let context = context.to_str().unwrap();
    for args in [
        &["build"][..],
        &["build", "--no-such-option", context],
        &["build", "--progress=loud", context],
        &["build", "--network=bridge", context],
        &["build", "--jobs=many", context],
        &["build", "-o", "type=teleport", context],
        &["build", "-o", "type=oci,nonsense=1,dest=x.tar", context],
        &["build", "--platform=linux/amd64/v2/x/y", context],
        &["build", "--build-context=nothing", context],
        &["build", "--add-host=nothing", context],
        &["build", "-t", "Not A Name", context],
        &["build", "--secret", "type=teleport,id=x", context],
        &["build", "--cache-to", "type=local", context],
        &["plan", "--format=poem", context],
    ] {
        let run = env.rbuild(args);
        assert_eq!(run.code, Some(2), "{}", run.report());
        assert!(
            !run.stderr.trim().is_empty() && !run.stderr.contains("panicked"),
            "{}",
            run.report()
        );
    }
    // Commands of Docker's that manage images end as they do there.
    env.rbuild(["inspect"]).fails(1).says("IMAGE");
    env.rbuild(["inspect", "--no-such-option", "a"])
        .fails(125)
        .says("--no-such-option");
    assert_eq!(env.rbuild(["--help"]).ok().code, Some(0));
    assert!(env.rbuild(["--version"]).ok().stdout.contains("rbuild"));
}

#[test]
fn contexts_and_dockerfiles_that_are_not_there() {
    let env = TestEnv::new();
    let empty = env.context("empty", &[]);
    env.rbuild(["build", "/no/such/folder"])
        .fails(1)
        .says("/no/such/folder");
    env.rbuild(["build", empty.to_str().unwrap()])
        .fails(1)
        .says("Dockerfile");
    let file = env
        .context("ctx", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")])
        .join("Dockerfile");
    env.rbuild(["build", file.to_str().unwrap()]).fails(1);
    env.rbuild(["build", "-f", "/no/such/file", empty.to_str().unwrap()])
        .fails(1)
        .says("/no/such/file");
    for url in [
        "https://example.invalid/ctx.tar",
        "https://example.invalid/repo.git",
    ] {
        let run = env.rbuild(["build", url]);
        assert!(matches!(run.code, Some(1 | 2)), "{}", run.report());
        assert!(run.stderr.contains(url), "{}", run.report());
    }
}

#[test]
fn an_empty_dockerfile() {
    refused("", &[]);
    refused("# only a comment\n", &[]);
    refused("LABEL a=b\nFROM scratch\n", &[]);
}

/// A Dockerfile's terminal sequences never reach the terminal.
#[test]
fn control_sequences_are_neutralised() {
    let dockerfile = "FROM busybox\nRUN printf '\\033]0;owned\\007\\033[2J'; exit 1\n";
    let run = refused_on_busybox(dockerfile, &["--progress=plain"]);
    need!(run.is_some(), "{NEEDS}");
    let run = run.unwrap();
    assert!(
        !run.stderr.contains('\u{1b}') && !run.stderr.contains('\u{7}'),
        "{}",
        run.report()
    );
    let label = refused("FROM scratch\nCOPYY \u{1b}[2J x\n", &[]);
    assert!(!label.stderr.contains('\u{1b}'), "{}", label.report());
}

/// Nothing of a failed build is named or left in staging.
#[test]
fn a_failed_build_changes_no_tag() {
    let busybox = bases::busybox();
    need!(busybox.is_some(), "{NEEDS}");
    let env = TestEnv::new();
    env.import(busybox.unwrap(), "busybox");
    let context = env.context("ctx", &[("Dockerfile", "FROM busybox\nRUN true\n")]);
    let id = env.build(&context, &["-t", "app:1"]);
    env.context(
        "ctx",
        &[("Dockerfile", "FROM busybox\nRUN touch /x\nRUN false\n")],
    );
    let iid = env.out("iid");
    env.rbuild([
        "build",
        "-t",
        "app:1",
        "--iidfile",
        iid.to_str().unwrap(),
        "-o",
        "type=oci,dest=out.tar",
        context.to_str().unwrap(),
    ])
    .fails(1);
    assert_eq!(env.image("app:1").id, id);
    assert!(!env.out("out.tar").try_exists().unwrap() && !iid.try_exists().unwrap());
    crate::support::processes::assert_nothing_left(&env.path(""), &env.store());
}

#[test]
fn dockerfiles_that_are_links_out_of_the_context() {
    let env = TestEnv::new();
    let context = env.context("ctx", &[("file", "x")]);
    let secret = env.path("secret");
    fs_err::write(&secret, "words that nobody should see").unwrap();
    let dockerfile = context.join("Dockerfile");
    std::os::unix::fs::symlink(&secret, &dockerfile).unwrap();
    let context = context.to_str().unwrap();
    for args in [
        &["build", context][..],
        &["build", "-f", dockerfile.to_str().unwrap(), context],
    ] {
        let run = env
            .rbuild(args)
            .fails(1)
            .says("leads out of the build context");
        assert!(
            !run.stderr.contains("nobody should see"),
            "{}",
            run.report()
        );
    }
}
