//! ARG, ENV and expansion: rows E1 to E15 and E26 to E30 of the reference's tables, and more.

use crate::support::case;
use rbuild_planner::{FileSource, NamedContext};

#[test]
fn e1_env_sees_what_was_before() {
    case("F\nENV abc=hello\nENV abc=bye def=$abc").check_env(&["abc=bye", "def=hello"]);
}

#[test]
fn e2_arg_sees_what_is_left_of_it() {
    case("F\nARG A=1 B=$A\nENV X=$B").check_env(&["X=1"]);
}

#[test]
fn e3_to_e5_the_later_of_arg_and_env_wins() {
    case("F\nENV V=env\nARG V=arg\nENV W=$V").check_env(&["V=env", "W=arg"]);
    case("F\nENV V=env\nARG V\nENV W=$V").check_env(&["V=env", "W=env"]);
    let case = case("F\nARG V=arg\nENV V=env\nENV W=$V");
    case.arg("V", "cli").check_env(&["V=env", "W=env"]);
}

#[test]
fn e6_global_args_are_taken_by_declaring_them() {
    let case = case("ARG V=g\nFROM scratch\nENV W=$V\nARG V\nENV X=$V");
    case.check_env(&["W=", "X=g"]);
    case.check_warnings(&["Usage of undefined variable '$V'"]);
}

#[test]
fn e7_global_args_are_evaluated_in_order() {
    let text = "ARG A=$B\nARG B=1\nARG C=$B\nFROM scratch\nARG A\nARG C\nENV X=[$A] Y=[$C]";
    case(text).check_env(&["X=[]", "Y=[1]"]);
    case(text).arg("B", "2").check_env(&["X=[]", "Y=[2]"]);
}

#[test]
fn e8_stages_hand_on_their_args() {
    let case = case("FROM scratch AS a\nARG V=1\nFROM a\nRUN y");
    case.check_history(&["-ARG V=1", "+RUN |1 V=1 /bin/sh -c y # buildkit"]);
    assert!(case.only_run().env.contains(&"V=1".to_owned()));
}

#[test]
fn an_env_of_the_stage_below_shows_again_in_the_stage_above() {
    let text = "FROM scratch AS a\nENV V=env\nARG V=arg\nENV X=$V\nFROM a\nENV Y=$V";
    case(text).check_env(&["V=env", "X=arg", "Y=env"]);
}

#[test]
fn e9_an_empty_build_arg_counts() {
    let case = case("F\nARG V=def\nENV X=[$V] Y=[${V:-d}]");
    case.arg("V", "").check_env(&["X=[]", "Y=[d]"]);
}

#[test]
fn e10_to_e12_unused_defaults_are_not_expanded() {
    let text = "F\nARG X=${Y:?need}\nENV Z=$X";
    case(text).arg("X", "1").check_env(&["Z=1"]);
    case(text).check_error(r#"failed to process "${Y:?need}": Y: need"#, "${Y:?need}");
    case("F\nARG X=${Y:?need Y}").check_error(
        r#"failed to process "${Y:?need": syntax error: missing '}'"#,
        "${Y:?need",
    );
}

#[test]
fn e13_quotes_and_escapes() {
    case(
        r#"F
ENV A=\$HOME B='$A' C="\$x" D=a\ b E="a\nb""#,
    )
    .check_env(&["A=$HOME", "B=$A", "C=$x", "D=a b", r"E=a\nb"]);
}

#[test]
fn e14_e15_platform_args_need_a_declaration() {
    case("F\nENV X=[$TARGETOS]").check_env(&["X=[]"]);
    case("F\nARG TARGETOS\nENV X=[$TARGETOS]").check_env(&["X=[linux]"]);
    let overridden = case("F\nARG TARGETOS\nENV X=$TARGETOS").arg("TARGETOS", "plan9");
    overridden.check_env(&["X=plan9"]);
    overridden.check_warnings(&[]);
}

#[test]
fn all_platform_args() {
    let text = "F\nARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT TARGETPLATFORM TARGETARCH \
                TARGETVARIANT TARGETSTAGE\n\
                ENV X=$BUILDPLATFORM,$BUILDOS,$BUILDARCH,$BUILDVARIANT \
                Y=$TARGETPLATFORM,$TARGETARCH,$TARGETVARIANT,$TARGETSTAGE";
    case(text).platforms(&["linux/arm/v7"]).check_env(&[
        "X=linux/amd64,linux,amd64,",
        "Y=linux/arm/v7,arm,v7,default",
    ]);
}

#[test]
fn targetstage_is_the_target_or_the_last_stage() {
    let text = "FROM scratch AS a\nARG TARGETSTAGE\nENV X=$TARGETSTAGE\nFROM a AS last";
    case(text).check_env(&["X=last"]);
    case(text).target("A").check_env(&["X=A"]);
}

#[test]
fn e26_e27_expose_splits_words() {
    case("F\nENV S='3 4/udp'\nEXPOSE $S")
        .check_history(&["-ENV S=3 4/udp", "-EXPOSE [3/tcp 4/udp]"]);
    case("F\nEXPOSE $NOPE 80").check_history(&["-EXPOSE [80/tcp]"]);
}

#[test]
fn e28_to_e30_what_is_expanded() {
    let config = case("F\nENV D=/dd\nLABEL $D=x\nCMD [\"$D\"]\nHEALTHCHECK CMD echo $D").config();
    assert_eq!(config.config.labels.unwrap()["/dd"], "x");
    assert_eq!(config.config.cmd.unwrap(), ["$D"]);
    assert_eq!(
        config.config.healthcheck.unwrap().test.unwrap(),
        ["CMD-SHELL", "echo $D"]
    );
    let user = case("F\nUSER $NOPE");
    user.check_history(&["-USER "]);
    assert_eq!(user.config().config.user, None);
}

#[test]
fn backtick_escape() {
    case("# escape=`\nFROM scratch\nENV A=x\nENV X=c:\\path\\$A Y=`$A").check_env(&[
        "A=x",
        r"X=c:\path\x",
        "Y=$A",
    ]);
}

#[test]
fn env_keeps_its_order_and_place() {
    let case = case("FROM base\nENV C=3 A=9\nENV B=8");
    case.image("docker.io/library/base:latest", r#"{"Env":["A=1","B=2"]}"#)
        .check_env(&["A=9", "B=8", "C=3"]);
}

#[test]
fn names_may_not_come_out_blank() {
    case("F\nENV $U=1").check_error("ENV names can not be blank", "$U");
    case("F\nLABEL $U=1").check_error("LABEL names can not be blank", "$U");
}

#[test]
fn history_of_args() {
    case("F\nARG X=1\nARG Y\nARG Z=3 W")
        .arg("Y", "yy")
        .check_history(&["-ARG X=1", "-ARG Y=yy", "-ARG Z=3 W"]);
}

#[test]
fn k6_run_names_declared_args() {
    let case = case("F\nARG Q\nARG B=2\nENV B=3\nRUN x");
    case.check_history(&[
        "-ARG Q",
        "-ARG B=2",
        "-ENV B=3",
        "+RUN |2 Q= B=3 /bin/sh -c x # buildkit",
    ]);
    let env = case.only_run().env;
    assert_eq!(env[1..], ["B=3"]);
}

#[test]
fn k14_proxies_stay_out_of_the_environment() {
    let text = "F\nRUN x";
    let proxied = case(text)
        .arg("http_proxy", "p")
        .arg("NO_PROXY", "")
        .arg("Https_Proxy", "q");
    let run = proxied.only_run();
    assert_eq!(run.env, case(text).only_run().env);
    assert_eq!(
        run.proxy_env,
        [
            "HTTP_PROXY=p",
            "http_proxy=p",
            "HTTPS_PROXY=q",
            "https_proxy=q"
        ]
    );
    proxied.check_history(&["+RUN /bin/sh -c x # buildkit"]);
    proxied.check_warnings(&[]);

    let declared = case("F\nARG HTTP_PROXY\nRUN x").arg("HTTP_PROXY", "p");
    let run = declared.only_run();
    assert_eq!(run.env[1..], ["HTTP_PROXY=p"]);
    assert_eq!(run.proxy_env, ["http_proxy=p"]);

    let both = case(text)
        .arg("http_proxy", "low")
        .arg("HTTP_PROXY", "high");
    assert_eq!(
        both.only_run().proxy_env,
        ["HTTP_PROXY=low", "http_proxy=low"]
    );
}

#[test]
fn k23_misspelt_variables_are_named() {
    case("F\nENV FOO=1\nENV X=$FO")
        .check_warnings(&["Usage of undefined variable '$FO' (did you mean $FOO?)"]);
    case("F\nARG FOO\nENV X=$FOO").check_warnings(&[]);
    case("F\nENV X=${FOO:-d}").check_warnings(&["Usage of undefined variable '$FOO'"]);
}

#[test]
fn build_args_that_nothing_declares() {
    case("F\nARG VERSION\nRUN x").arg("VERSON", "1").check_warnings(&[
        "build argument \"VERSON\" is declared by no ARG of what is built (did you mean VERSION?)",
    ]);
    case("ARG A\nF\n".replace("F\n", "FROM scratch\n").as_str())
        .arg("A", "1")
        .arg("BUILDKIT_INLINE_CACHE", "1")
        .arg("SOURCE_DATE_EPOCH", "0")
        .check_warnings(&[]);
}

#[test]
fn the_last_build_arg_of_a_name_counts() {
    case("F\nARG A\nENV X=$A")
        .arg("A", "1")
        .arg("A", "2")
        .check_env(&["X=2"]);
}

#[test]
fn steering_args_do_not_reach_processes() {
    let run = case("F\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN x").only_run();
    assert_eq!(run.env.len(), 1, "{:?}", run.env);
}

#[test]
fn the_host_name_can_be_chosen() {
    assert_eq!(case("F\nRUN x").only_run().hostname, "buildkitsandbox");
    let named = case("F\nRUN x").arg("BUILDKIT_SANDBOX_HOSTNAME", "h");
    assert_eq!(named.only_run().hostname, "h");
}

#[test]
fn epochs() {
    let global = "ARG SOURCE_DATE_EPOCH=12\nFROM scratch";
    assert_eq!(case(global).plan().epoch, Some(12));
    assert_eq!(
        case(global).arg("SOURCE_DATE_EPOCH", "0").plan().epoch,
        Some(0)
    );
    assert_eq!(case(global).arg("SOURCE_DATE_EPOCH", "").plan().epoch, None);
    assert_eq!(case("F\nARG SOURCE_DATE_EPOCH=12").plan().epoch, None);
    assert_eq!(
        case("ARG SOURCE_DATE_EPOCH=context\nFROM scratch")
            .plan()
            .epoch,
        None
    );
    case("ARG SOURCE_DATE_EPOCH=noon\nFROM scratch")
        .check_error("invalid SOURCE_DATE_EPOCH: noon", "noon");
}

#[test]
fn epochs_of_contexts() {
    let context = |name: &str| format!("ARG SOURCE_DATE_EPOCH={name}\nFROM scratch");
    let with_times = |text: &str| {
        let mut case = case(text).context("named", NamedContext::Directory);
        case.request.context_times = [(String::new(), 5), ("named".to_owned(), 7)].into();
        case
    };
    assert_eq!(with_times(&context("context")).plan().epoch, Some(5));
    assert_eq!(with_times(&context("named")).plan().epoch, Some(7));
    let untimed = case(&context("named")).context("named", NamedContext::Directory);
    assert_eq!(untimed.plan().epoch, None);
}

#[test]
fn epochs_of_stages() {
    let text = "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nARG V=1\nADD https://x.y/$V /\n\
                FROM scratch\nCOPY --from=src / /";
    let plan = case(text).plan();
    assert_eq!(plan.epoch, None);
    match plan.epoch_source {
        Some(FileSource::Http(source)) => assert_eq!(source.url, "https://x.y/1"),
        other => panic!("{other:?}"),
    }
    for stage in [
        "ADD f /",
        "ADD https://x.y/a https://x.y/b /",
        "ADD https://x.y/a /\nCOPY f /",
    ] {
        let text = format!("ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\n{stage}");
        case(&text).check_error(
            "invalid SOURCE_DATE_EPOCH: stage \"src\" has no time",
            "src",
        );
    }
}
