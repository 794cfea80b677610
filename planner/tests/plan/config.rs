//! Image configs and history: rows K1 to K15 and A6 to A8 of the reference's tables, and more.

use rbuild_planner::{Network, Security, StepKind};
use serde_json::json;

use crate::support::{Case, case};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const BASE: &str = "docker.io/library/base:latest";

/// Checks the whole `config` object but for `Env` and `WorkingDir`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers write the value in place"
)]
fn check(case: &Case, expected: serde_json::Value) {
    let mut found = serde_json::to_value(case.config().config).unwrap();
    found
        .as_object_mut()
        .unwrap()
        .retain(|key, _| key != "Env" && key != "WorkingDir");
    assert_eq!(found, expected);
}

#[test]
fn k1_scratch() {
    let config = serde_json::to_value(case("FROM scratch").config()).unwrap();
    assert_eq!(
        config,
        json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Env": [PATH], "WorkingDir": "/" },
            "rootfs": { "type": "layers", "diff_ids": [] },
            "history": [],
        })
    );
}

#[test]
fn k2_to_k4_entrypoints_clear_inherited_commands() {
    let with_cmd = |text: &str| case(text).image(BASE, r#"{"Cmd":["c"],"ArgsEscaped":true}"#);
    check(
        &with_cmd("FROM base\nENTRYPOINT [\"e\"]"),
        json!({"Entrypoint": ["e"], "ArgsEscaped": true}),
    );
    check(
        &with_cmd("FROM base\nCMD [\"x\"]\nENTRYPOINT [\"e\"]"),
        json!({"Cmd": ["x"], "Entrypoint": ["e"], "ArgsEscaped": true}),
    );
    check(
        &case("FROM scratch AS a\nCMD [\"x\"]\nFROM a\nENTRYPOINT [\"e\"]"),
        json!({"Entrypoint": ["e"], "ArgsEscaped": true}),
    );
    check(
        &with_cmd("FROM base"),
        json!({"Cmd": ["c"], "ArgsEscaped": true}),
    );
}

#[test]
fn k5_a_missing_path_is_appended() {
    let config = case("FROM base\nENV B=2")
        .image(BASE, r#"{"Env":["FOO=1"]}"#)
        .config();
    assert_eq!(config.config.env.unwrap(), ["FOO=1", PATH, "B=2"]);
    let config = case("FROM base")
        .image(BASE, r#"{"Env":["PATH=/x"]}"#)
        .config();
    assert_eq!(config.config.env.unwrap(), ["PATH=/x"]);
}

#[test]
fn a6_to_a8_empty_commands() {
    let empty = case("F\nCMD []");
    empty.check_history(&["-CMD []"]);
    check(&empty, json!({"ArgsEscaped": true}));
    check(
        &case("F\nCMD"),
        json!({"Cmd": ["/bin/sh", "-c", ""], "ArgsEscaped": true}),
    );
    let cleared = case("FROM base\nENTRYPOINT []").image(BASE, r#"{"Entrypoint":["e"]}"#);
    cleared.check_history(&["-ENTRYPOINT []"]);
    check(&cleared, json!({}));
}

#[test]
fn k8_workdirs() {
    let root = case("F\nWORKDIR /");
    root.check_history(&["-WORKDIR /"]);
    assert_eq!(root.titles(), ["FROM scratch"]);
    let below = case("F\nWORKDIR a\nWORKDIR b/../c/\nWORKDIR ../../../d\nWORKDIR $NOPE");
    below.check_history(&["+WORKDIR /a", "+WORKDIR /a/c", "+WORKDIR /d", "+WORKDIR /d"]);
    assert_eq!(below.config().config.working_dir.as_deref(), Some("/d"));
    let base = case("FROM base\nWORKDIR x").image(BASE, r#"{"WorkingDir":"/a/"}"#);
    base.check_history(&["+WORKDIR /a/x"]);
    let unset = case("FROM base").image(BASE, "{}");
    assert_eq!(unset.config().config.working_dir, None);
}

#[test]
fn k9_volumes() {
    let volumes = case("F\nVOLUME a /b\nVOLUME [\"/c d\"]");
    volumes.check_history(&["-VOLUME [a /b]", "-VOLUME [/c d]"]);
    check(
        &volumes,
        json!({"Volumes": {"a": {}, "/b": {}, "/c d": {}}}),
    );
    case("F\nVOLUME $NOPE").check_error("VOLUME specified can not be an empty string", "$NOPE");
}

#[test]
fn k10_ports() {
    let ports = case("FROM base\nENV P=\"3 4/udp\"\nEXPOSE 80 $P 8080/TCP 90-92/udp")
        .image(BASE, r#"{"ExposedPorts":{"1/tcp":{}}}"#);
    ports.check_history(&[
        "-ENV P=3 4/udp",
        "-EXPOSE [3/tcp 4/udp 80/tcp 8080/tcp 90/udp 91/udp 92/udp]",
    ]);
    let exposed = ports.config().config.exposed_ports.unwrap();
    assert_eq!(exposed.len(), 8);
    assert!(exposed.contains_key("1/tcp") && exposed.contains_key("8080/tcp"));
    case("F\nEXPOSE 80 443 22").check_history(&["-EXPOSE [22/tcp 443/tcp 80/tcp]"]);
}

#[test]
fn port_faults() {
    for (port, message) in [
        ("foo", "invalid containerPort: foo"),
        ("9-8", "invalid containerPort: 9-8"),
        ("65536", "invalid containerPort: 65536"),
        ("80/foo", "invalid port: \"80/foo\": invalid proto: foo"),
        ("/tcp", "no port specified: /tcp<empty>"),
    ] {
        case(&format!("F\nEXPOSE 1 {port}")).check_error(message, port);
    }
}

#[test]
fn k11_health_checks() {
    let exec = case("F\nHEALTHCHECK --interval=5s --retries=2 CMD [\"a\",\"b c\"]");
    exec.check_history(&[
        "-HEALTHCHECK {Test:[CMD a b c] Interval:5s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}",
    ]);
    check(
        &exec,
        json!({"Healthcheck": {"Test": ["CMD", "a", "b c"], "Interval": 5_000_000_000_i64, "Retries": 2}}),
    );
    let shell = case("F\nSHELL [\"x\"]\nHEALTHCHECK CMD curl -f x");
    check(
        &shell,
        json!({"Healthcheck": {"Test": ["CMD-SHELL", "curl -f x"]}, "Shell": ["x"]}),
    );
    check(
        &case("F\nHEALTHCHECK NONE"),
        json!({"Healthcheck": {"Test": ["NONE"]}}),
    );
}

#[test]
fn k12_shells() {
    let own = case("F\nSHELL [\"/bin/bash\",\"-ec\"]\nCMD foo\nRUN bar\nRUN [\"baz\"]");
    own.check_history(&[
        "-SHELL [/bin/bash -ec]",
        "-CMD [\"/bin/bash\" \"-ec\" \"foo\"]",
        "+RUN /bin/bash -ec bar # buildkit",
        "+RUN baz # buildkit",
    ]);
    check(
        &own,
        json!({"Shell": ["/bin/bash", "-ec"], "Cmd": ["/bin/bash", "-ec", "foo"], "ArgsEscaped": true}),
    );
    let inherited = case("FROM base\nRUN x").image(BASE, r#"{"Shell":["/bin/zsh","-c"]}"#);
    assert_eq!(inherited.only_run().argv, ["/bin/zsh", "-c", "x"]);
}

#[test]
fn k13_labels() {
    let mut labels = case("FROM base\nLABEL a=1 a=2\nLABEL \"l 2\"='v 2' c=3")
        .image(BASE, r#"{"Labels":{"base":"b"}}"#);
    labels.request.labels = vec![("b".into(), "cli".into()), ("c".into(), "cli".into())];
    labels.check_history(&["-LABEL a=1 a=2", "-LABEL l 2=v 2 c=3"]);
    check(
        &labels,
        json!({"Labels": {"a": "2", "b": "cli", "base": "b", "c": "cli", "l 2": "v 2"}}),
    );
}

#[test]
fn k15_workdir_belongs_to_the_user() {
    let case = case("F\nUSER bob:grp\nWORKDIR /zz\nRUN x");
    let steps = case.steps();
    let StepKind::Workdir(workdir) = &steps[1].kind else {
        panic!("{steps:?}");
    };
    assert_eq!(
        (workdir.path.as_str(), workdir.user.as_deref()),
        ("/zz", Some("bob:grp"))
    );
    let run = case.only_run();
    assert_eq!((run.user.as_str(), run.cwd.as_str()), ("bob:grp", "/zz"));
    case.check_history(&[
        "-USER bob:grp",
        "+WORKDIR /zz",
        "+RUN /bin/sh -c x # buildkit",
    ]);
}

#[test]
fn signals() {
    check(
        &case("F\nSTOPSIGNAL sigRTmin+3"),
        json!({"StopSignal": "sigRTmin+3"}),
    );
    case("F\nARG S=9\nSTOPSIGNAL $S").check_history(&["-ARG S=9", "-STOPSIGNAL 9"]);
    case("F\nSTOPSIGNAL 0").check_error("invalid signal: 0", "0");
    case("F\nSTOPSIGNAL nope").check_error("invalid signal: nope", "nope");
}

#[test]
fn maintainers() {
    let case = case("FROM base\nMAINTAINER a $B b").image(BASE, "{}");
    case.check_history(&["-MAINTAINER a $B b"]);
    assert_eq!(case.config().author.as_deref(), Some("a $B b"));
}

#[test]
fn quoted_history() {
    case("F\nENTRYPOINT [\"e\", \"f\\\"g\"]\nCMD echo hi").check_history(&[
        r#"-ENTRYPOINT ["e" "f\"g"]"#,
        r#"-CMD ["/bin/sh" "-c" "echo hi"]"#,
    ]);
}

#[test]
fn run_forms() {
    let run = case("F\nRUN echo  a   b \\\n  c").only_run();
    assert_eq!(run.argv, ["/bin/sh", "-c", "echo  a   b   c"]);
    assert_eq!(
        case("F\nRUN [\"a\", \"b c\"]").only_run().argv,
        ["a", "b c"]
    );
    assert_eq!(case("F\nRUN []").only_run().argv, [""; 0]);
    assert_eq!(case("F\nRUN").only_run().argv, ["/bin/sh", "-c", ""]);
    assert_eq!(run.env, [PATH]);
    assert_eq!((run.cwd.as_str(), run.user.as_str()), ("/", ""));
}

#[test]
fn network_modes() {
    let mode = |flag: &str, default: Network| {
        let mut case = case(&format!("F\nRUN {flag}x"));
        case.request.network = default;
        case.request.extra_hosts = vec![("a".into(), "1".into())];
        let run = case.only_run();
        assert_eq!(run.extra_hosts.len(), 1);
        run.network
    };
    assert_eq!(mode("", Network::Default), Network::Default);
    assert_eq!(mode("", Network::None), Network::None);
    assert_eq!(mode("--network=default ", Network::Host), Network::Host);
    assert_eq!(mode("--network=none ", Network::Host), Network::None);
    assert_eq!(mode("--network=host ", Network::Default), Network::Host);
}

#[test]
fn privileges_are_asked_for() {
    case("F\nRUN --security=insecure x")
        .check_error("security.insecure is not allowed", "insecure");
    let mut insecure = case("F\nRUN --security=insecure x");
    insecure.request.allow_insecure = true;
    assert_eq!(insecure.only_run().security, Security::Insecure);
    case("F\nRUN --device=vendor/class=name x").check_error(
        "device feature is only supported in Dockerfile frontend 1.14.0-labs or later",
        "vendor/class=name",
    );
    assert_eq!(case("F\nRUN --security=sandbox x").only_run().argv[2], "x");
}

#[test]
fn titles_show_what_variables_stand_for() {
    let case = case("F\nENV A=1\nARG U\nrun echo $A ${A} '$A' $U");
    assert_eq!(case.titles()[1], "[1/1] RUN echo 1 1 '$A' $U");
}

#[test]
fn unknown_fields_of_bases_are_lost() {
    let base = r#"{"architecture":"amd64","os":"linux","created":"2020-01-01T00:00:00Z",
        "author":"me","docker_version":"1","config":{"Hostname":"h","User":"","Labels":{}},
        "history":[{"created_by":"old","empty_layer":true},{"created_by":"older"}]}"#;
    let config = case("FROM base\nENV A=1").image_of(BASE, base).config();
    assert_eq!(
        serde_json::to_value(config).unwrap(),
        json!({
            "author": "me",
            "architecture": "amd64",
            "os": "linux",
            "config": { "Env": [PATH, "A=1"] },
            "rootfs": { "type": "layers", "diff_ids": [] },
            "history": [
                { "created_by": "old", "empty_layer": true },
                { "created_by": "older" },
                { "created_by": "ENV A=1", "comment": "buildkit.dockerfile.v0", "empty_layer": true },
            ],
        })
    );
}
