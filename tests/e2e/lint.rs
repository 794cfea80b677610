//! `rbuild check`: what is found, how it is shown, what is corrected.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use serde_json::Value;

use crate::support::TestEnv;
use crate::support::run::Run;

/// Has findings of both sets of rules, safe fixes, unsafe ones, and some without.
const DOCKERFILE: &str = "\
# what it is for
FROM debian:12 as Base
run apt-get update && \\

    apt-get install -y curl=1
ENV a b, c
EXPOSE 80/TCP
CMD echo 100%
";

const SAFELY_FIXED: &str = "\
# what it is for
FROM debian:12 AS base
RUN apt-get update && \\
    apt-get install -y curl=1
ENV a=\"b, c\"
EXPOSE 80/tcp
CMD echo 100%
";

fn check(env: &TestEnv, args: &[&str]) -> Run {
    Run::of(env.command().arg("check").args(args))
}

/// Runs with a Dockerfile in a folder.
fn check_text(dockerfile: &str, args: &[&str]) -> Run {
    let env = TestEnv::new();
    let folder = env.context("ctx", &[("Dockerfile", dockerfile)]);
    let mut all = args.to_vec();
    all.push(folder.to_str().unwrap());
    check(&env, &all)
}

fn json(run: &Run) -> Vec<Value> {
    serde_json::from_str(&run.stdout).unwrap()
}

fn codes(run: &Run) -> Vec<String> {
    let found = json(run);
    let codes = found
        .iter()
        .map(|item| item["code"].as_str().unwrap().to_owned());
    codes.collect()
}

#[test]
fn findings_are_shown_with_their_places() {
    let run = check_text(DOCKERFILE, &[]).fails(1);
    for text in [
        "DL3009",
        "FromAsCasing",
        "Dockerfile:2:19",
        "apt-get update",
        "no-install",
    ] {
        assert!(run.stdout.contains(text), "{text}: {}", run.report());
    }
    assert!(run.stderr.contains("Check complete"), "{}", run.report());
    assert!(run.stderr.contains("--fix corrects"), "{}", run.report());
}

#[test]
fn a_clean_file_has_no_findings() {
    let run = check_text("FROM debian:12\nUSER 1000\n", &[]).ok();
    assert_eq!(run.stdout, "");
    assert!(run.stderr.contains("no findings"), "{}", run.report());
}

#[test]
fn json_has_lines_levels_and_fixes() {
    let run = check_text(DOCKERFILE, &["--format", "json"]).fails(1);
    let found = json(&run);
    let of = |code: &str| found.iter().find(|item| item["code"] == code).unwrap();
    assert_eq!(of("LegacyKeyValueFormat")["fix"], "safe");
    assert_eq!(of("LegacyKeyValueFormat")["line"], 6);
    assert_eq!(of("DL3015")["fix"], "unsafe");
    assert_eq!(of("DL3015")["level"], "info");
    assert_eq!(of("DL3015")["line"], 5);
    assert_eq!(of("DL3015")["column"], 5);
    assert_eq!(of("DL3015")["instructionLine"], 3);
    assert_eq!(of("DL3009")["fix"], Value::Null);
    // Of two rules for the same thing only one is there.
    assert!(codes(&run).contains(&"JSONArgsRecommended".to_owned()));
    assert!(!codes(&run).contains(&"DL3025".to_owned()));
    let run = check_text(DOCKERFILE, &["--format", "json", "--rules", "hadolint"]).fails(1);
    assert_eq!(codes(&run), ["DL3009", "DL3015", "DL3025"]);
}

#[test]
fn sarif_is_complete() {
    let run = check_text(DOCKERFILE, &["--format", "sarif"]).fails(1);
    let log: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let rules = log["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert!(results.len() >= rules.len() && rules.len() > 5);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(
            rules[index]["helpUri"]
                .as_str()
                .unwrap()
                .starts_with("https://")
        );
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        assert!(
            place["artifactLocation"]["uri"]
                .as_str()
                .unwrap()
                .ends_with("Dockerfile")
        );
        let region = &place["region"];
        let at = |name: &str| region[name].as_u64().unwrap();
        assert!(at("startLine") >= 1 && at("startColumn") >= 1);
        assert!((at("startLine"), at("startColumn")) <= (at("endLine"), at("endColumn")));
    }
}

#[test]
fn github_commands_are_one_line_each() {
    let run = check_text("FROM a:1\nADD a%0A:,b /c\n", &["--format", "github"]).fails(1);
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.report());
    assert!(run.stdout.starts_with("::error file="), "{}", run.report());
    for text in [
        "line=2,col=5,endColumn=12,title=DL3020::",
        "copies a%250A:,b;",
    ] {
        assert!(run.stdout.contains(text), "{text}: {}", run.report());
    }
}

#[test]
fn rules_can_be_ignored_and_have_other_levels() {
    let file = "FROM debian\nRUN sudo a\n";
    check_text(file, &["--ignore", "DL3006,DL3004"]).ok();
    check_text(
        file,
        &["--ignore", "DL3004", "--failure-threshold", "error"],
    )
    .ok();
    check_text(file, &["--warning", "DL3004", "-t", "error"]).ok();
    check_text(
        file,
        &["--error", "DL3006", "--ignore", "DL3004", "-t", "error"],
    )
    .fails(1);
    check_text(file, &["-t", "none"]).ok();
    check_text("FROM a:1\nLABEL A=b\n", &[])
        .ok()
        .says("matter of style");
    check_text("FROM a:1\nLABEL A=b\n", &["-t", "style"]).fails(1);
    check_text("FROM a:1\n", &["-t", "style", "--info", "DL3057"]).fails(1);
    check_text("FROM a:1\n", &["--ignore", "StageNameCasin"])
        .fails(2)
        .says("StageNameCasing");
    check_text("# hadolint ignore=DL3006\nFROM a\n", &[]).ok();
    check_text("# hadolint global ignore=DL3006\nFROM a\nFROM b\n", &[]).ok();
    check_text("# check=skip=DL3006\nFROM a\n", &[]).ok();
    // Either name of a rule will do.
    check_text("FROM a:1\n# check=skip=JSONArgsRecommended\nCMD b\n", &[]).ok();
    check_text("FROM a:1\n# hadolint ignore=DL3025\nCMD b\n", &[]).ok();
}

#[test]
fn several_files_folders_and_standard_input() {
    let env = TestEnv::new();
    let folder = env.context(
        "ctx",
        &[("Dockerfile", "FROM a\n"), ("b.Dockerfile", "FROM b\n")],
    );
    let file = folder.join("b.Dockerfile");
    let args = [
        "--format",
        "json",
        "-f",
        file.to_str().unwrap(),
        folder.to_str().unwrap(),
    ];
    let found = json(&check(&env, &args).fails(1));
    let files: Vec<&str> = found
        .iter()
        .map(|item| item["file"].as_str().unwrap())
        .collect();
    assert_eq!(
        files,
        [
            file.to_str().unwrap(),
            folder.join("Dockerfile").to_str().unwrap()
        ]
    );
    let input = std::fs::File::from(fs_err::File::open(&file).unwrap());
    let run = Run::of(
        env.command()
            .args(["check", "--format", "json", "-"])
            .stdin(input),
    );
    assert_eq!(json(&run.fails(1))[0]["file"], "-");
    check(&env, &["--fix", "-"]).fails(2).says("--diff");
    check(&env, &["nowhere"]).fails(1).says("nowhere");
    check(&env, &["--unsafe-fixes"]).fails(2).says("--fix");
}

#[test]
fn faults_of_the_file_are_findings() {
    let run = check_text("FROM a:1\nRUNN b\n", &["--format", "json", "--fix"]).fails(1);
    assert_eq!(json(&run)[0]["level"], "error");
    check_text("# check=foo=bar\nFROM a:1\n", &[]).fails(1);
    // Base images are not looked for, nor is what only they know.
    let file = "FROM nowhere.invalid/a:1\nENV b=$JAVA_HOME/b\n";
    check_text(file, &[]).ok();
    check_text("FROM scratch\nENV b=$c\n", &[]).fails(1);
}

#[test]
fn files_are_corrected_in_place() {
    let env = TestEnv::new();
    let folder = env.context("ctx", &[("real", DOCKERFILE)]);
    let (file, link) = (folder.join("real"), folder.join("Dockerfile"));
    symlink("real", &link).unwrap();
    fs_err::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let path = folder.to_str().unwrap();
    let run = check(&env, &["--diff", path]).fails(1);
    assert!(
        run.stdout.contains("\n+RUN apt-get update"),
        "{}",
        run.report()
    );
    assert_eq!(fs_err::read_to_string(&file).unwrap(), DOCKERFILE);

    check(&env, &["--fix", "-t", "none", path])
        .ok()
        .says("1 file was corrected");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), SAFELY_FIXED);
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs_err::metadata(&file).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(
        fs_err::read_dir(&folder).unwrap().count(),
        2,
        "something was left behind"
    );

    // Nothing is left to be done, and the file is not touched then.
    let before = fs_err::metadata(&file).unwrap().ino();
    let run = check(&env, &["--fix", "--format", "json", "-t", "none", path]).ok();
    assert!(json(&run).iter().all(|item| item["fix"] != "safe"));
    assert_eq!(fs_err::metadata(&file).unwrap().ino(), before);
    check(&env, &["--diff", path]).ok();

    let run = check(
        &env,
        &[
            "--fix",
            "--unsafe-fixes",
            "--format",
            "json",
            "-t",
            "none",
            path,
        ],
    );
    assert!(
        json(&run.ok())
            .iter()
            .all(|item| item["fix"] == Value::Null)
    );
    let text = fs_err::read_to_string(&file).unwrap();
    assert!(
        text.contains("install --no-install-recommends -y curl=1\n"),
        "{text}"
    );
    assert!(
        text.ends_with("CMD [\"/bin/sh\", \"-c\", \"echo 100%\"]\n"),
        "{text}"
    );
}

#[test]
fn ignored_rules_are_not_corrected() {
    let env = TestEnv::new();
    let text = "FROM a:1 as b\n# hadolint ignore=DL4000\nMAINTAINER c\nENV d e\n";
    let folder = env.context("ctx", &[("Dockerfile", text)]);
    let args = [
        "--fix",
        "--unsafe-fixes",
        "--ignore",
        "FromAsCasing",
        folder.to_str().unwrap(),
    ];
    check(&env, &args).ok();
    let after = fs_err::read_to_string(folder.join("Dockerfile")).unwrap();
    assert_eq!(after, text.replace("d e", "d=e"));
}

/// Comments, line ends, the byte order mark and what is in heredocs stay.
#[test]
fn the_layout_is_kept() {
    let env = TestEnv::new();
    let text = "\u{feff}# escape=`\r\n\r\n# one\r\nFROM a:1 as b\r\n  Run <<E `\r\n # two\r\n cat\r\n\
                as \\\n\n  b\nE\r\nENV c d # e\r\n\r\n# three";
    let folder = env.context("ctx", &[("Dockerfile", text)]);
    check(&env, &["--fix", "-t", "none", folder.to_str().unwrap()]).ok();
    let after = fs_err::read_to_string(folder.join("Dockerfile")).unwrap();
    let expected = text
        .replace("1 as b", "1 AS b")
        .replace("Run", "RUN")
        .replace("c d # e", "c=\"d # e\"");
    assert_eq!(after, expected);
}
