//! `rbuild doctor` tells what builds find here.

use serde_json::Value;

use crate::support::container::Container;
use crate::support::env::user_namespaces;
use crate::support::run::Run;
use crate::support::{TestEnv, is_root, need, users};

const NEEDS: &str = "this needs root, unshare, setpriv and the users of scripts/test-users.sh";

/// Runs it and returns the report; the exit code says what the report says.
#[track_caller]
fn examine(env: &TestEnv, arguments: &[&str]) -> Value {
    let mut command = env.command();
    let run = Run::of(command.args(["doctor", "--format=json"]).args(arguments));
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        run.code,
        Some(i32::from(report["canBuild"] != true)),
        "{}",
        run.report()
    );
    report
}

/// State, text and fix of the first finding about something.
fn finding<'a>(report: &'a Value, topic: &str) -> (&'a str, &'a str, &'a str) {
    let all = report["findings"].as_array().unwrap();
    let found = all.iter().find(|finding| finding["topic"] == topic);
    let found = found.unwrap_or_else(|| panic!("nothing about {topic}: {report:#}"));
    let text = |key: &str| found[key].as_str().unwrap_or_default();
    (text("state"), text("text"), text("fix"))
}

#[test]
fn of_this_user() {
    let env = TestEnv::new();
    let report = examine(&env, &[]);
    need!(
        report["canBuild"] == true,
        "this machine runs no builds: {report:#}"
    );
    assert_eq!(finding(&report, "steps").0, "ok");
    let (_, text, _) = finding(&report, "store");
    assert!(text.contains(env.store().to_str().unwrap()), "{text}");
    if is_root() {
        assert_eq!(report["isolation"], "root");
    }
    let empty = env.context("empty", &[]);
    let report = examine(&env, &["--qemu", empty.to_str().unwrap()]);
    let (state, text, fix) = finding(&report, "platforms");
    assert_eq!(state, "lacks");
    assert!(text.contains(": native") && text.contains("none for") && text.contains("s390x"));
    assert!(fix.contains("apt-get install qemu-user-static"), "{fix}");
    let said = env.rbuild(["doctor"]).ok();
    assert!(
        said.stdout.contains("Builds can run, with isolation "),
        "{}",
        said.report()
    );
    // Looking changes nothing.
    assert_eq!(fs_err::read_dir(env.store()).unwrap().count(), 0);
}

#[test]
fn of_ordinary_users() {
    let user = |subordinate_ids| users::ordinary(subordinate_ids).filter(user_namespaces);
    let (with, without) = (user(true), user(false));
    need!(with.is_some() && without.is_some(), "{NEEDS}");
    let (with, without) = (TestEnv::of(with.unwrap()), TestEnv::of(without.unwrap()));
    let report = examine(&with, &[]);
    assert_eq!(report["isolation"], "subordinate-ids");
    assert_eq!(finding(&report, "isolation").0, "ok");
    assert_eq!(
        examine(&with, &["--isolation=single-id"])["isolation"],
        "single-id"
    );
    let report = examine(&without, &[]);
    assert_eq!(report["isolation"], "single-id");
    let (state, _, fix) = finding(&report, "isolation");
    assert_eq!(state, "lacks");
    assert!(
        fix.contains("sudo usermod --add-subuids 100000-165535"),
        "{fix}"
    );
    let report = examine(&without, &["--isolation=rootless"]);
    assert_eq!(
        (&report["isolation"], finding(&report, "isolation").0),
        (&Value::Null, "bad")
    );
}

#[test]
fn in_containers() {
    need!(Container::is_possible(), "{NEEDS}");
    let container = Container {
        covers_proc: true,
        few_capabilities: true,
        no_namespaces: false,
    };
    let report = examine(&TestEnv::new().inside(container), &[]);
    assert_eq!(report["isolation"], "identity");
    let (state, _, fix) = finding(&report, "proc");
    assert_eq!(state, "lacks");
    assert!(fix.contains("systempaths=unconfined"), "{fix}");
    let (state, text, fix) = finding(&report, "overlay");
    assert_eq!(state, "lacks", "{text}");
    assert!(fix.contains("on a volume"), "{fix}");

    let nothing = Container {
        covers_proc: false,
        no_namespaces: true,
        ..container
    };
    let report = examine(&TestEnv::new().inside(nothing), &[]);
    assert_eq!(report["canBuild"], false);
    let (state, _, fix) = finding(&report, "isolation");
    assert_eq!(state, "bad");
    assert!(fix.contains("sysctl -w user.max_user_namespaces"), "{fix}");
}
