//! `RUN --mount`: the rows M1 to M20 of the reference's tables, and S21.

use crate::support::{Case, case};

/// A step with these mount options, in `/w`, with two variables.
fn with(options: &str) -> Case {
    case(&format!(
        "F\nWORKDIR /w\nENV E=cache T=/tt\nRUN --mount={options} x"
    ))
}

/// The mount as the plan's JSON has it.
fn planned(options: &str) -> String {
    let run = with(options).only_run();
    assert_eq!(run.mounts.len(), 1, "{options}");
    serde_json::to_string(&run.mounts[0]).unwrap()
}

#[test]
fn m1_to_m5_binds() {
    for (row, options, expected) in [
        (
            "M1",
            "target=a",
            r#""target":"/w/a","from":{"context":""},"source":"/","writable":false"#,
        ),
        (
            "M2",
            "type=bind",
            r#""target":"/w","from":{"context":""},"source":"/","writable":false"#,
        ),
        (
            "M4",
            "target=/a,rw=false",
            r#""target":"/a","from":{"context":""},"source":"/","writable":false"#,
        ),
        (
            "M5",
            "source=../x,target=/a",
            r#""target":"/a","from":{"context":""},"source":"/x","writable":false"#,
        ),
        (
            "rw",
            "source=x,target=/a,rw",
            r#""target":"/a","from":{"context":""},"source":"/x","writable":true"#,
        ),
    ] {
        assert_eq!(
            planned(options),
            format!(r#"{{"type":"bind",{expected}}}"#),
            "{row}"
        );
    }
}

#[test]
fn m7_to_m11_and_m20_caches() {
    let cache = |target: &str, id: &str, sharing: &str, owner: &str| {
        format!(
            r#"{{"type":"cache","target":"{target}","id":"{id}","seed":null,"sharing":"{sharing}","read_only":false,{owner}}}"#
        )
    };
    let nobody = r#""mode":null,"uid":null,"gid":null"#;
    for (row, options, expected) in [
        (
            "M7",
            "type=cache,target=/a",
            cache("/a", "//a", "shared", nobody),
        ),
        (
            "M8",
            "type=cache,target=a/../b/",
            cache("/w/b", "/b", "shared", nobody),
        ),
        (
            "M9",
            "type=cache,target=/a,id=foo,sharing=locked",
            cache("/a", "/foo", "locked", nobody),
        ),
        (
            "M10",
            "type=cache,target=/a,mode=0700,uid=1",
            cache("/a", "//a", "shared", r#""mode":448,"uid":1,"gid":null"#),
        ),
        (
            "M11",
            "type=$E,target=$T/x",
            cache("/tt/x", "//tt/x", "shared", nobody),
        ),
        (
            "M20",
            "TYPE=Cache,Target=/a",
            cache("/a", "//a", "shared", nobody),
        ),
    ] {
        assert_eq!(planned(options), expected, "{row}");
    }
    let namespaced = with("type=cache,target=/a").arg("BUILDKIT_CACHE_MOUNT_NS", "ci");
    let mount = serde_json::to_string(&namespaced.only_run().mounts[0]).unwrap();
    assert!(mount.contains(r#""id":"ci//a""#), "{mount}");
}

#[test]
fn m13_to_m18_the_other_kinds() {
    let secret = |id: &str, target: &str, env: &str| {
        format!(
            r#"{{"type":"secret","id":"{id}","target":{target},"env":{env},"required":false,"mode":256,"uid":0,"gid":0}}"#
        )
    };
    for (row, options, expected) in [
        (
            "M13",
            "type=tmpfs,target=/a,size=10m",
            r#"{"type":"tmpfs","target":"/a","size":10485760}"#.to_owned(),
        ),
        (
            "M14",
            "type=secret,id=foo",
            secret("foo", r#""/run/secrets/foo""#, "null"),
        ),
        (
            "M15",
            "type=secret,target=/x/foo",
            secret("foo", r#""/x/foo""#, "null"),
        ),
        (
            "M16",
            "type=secret,id=foo,env=BAR",
            secret("foo", "null", r#""BAR""#),
        ),
        (
            "M18",
            "type=ssh,id=foo,target=/s,mode=0666,required",
            r#"{"type":"ssh","id":"foo","target":"/s","required":true,"mode":438,"uid":0,"gid":0}"#
                .to_owned(),
        ),
    ] {
        assert_eq!(planned(options), expected, "{row}");
    }
}

#[test]
fn m3_m6_m12_m17_m19_faults() {
    for (row, options, message) in [
        ("M3", "target=/", r#"invalid mount target "/""#),
        (
            "M6",
            "target=/a,mode=0755",
            r#"mode not allowed for "bind" type mounts"#,
        ),
        (
            "M12",
            "size=10m,type=tmpfs,target=/a",
            "unexpected key 'size' for mount type 'bind'",
        ),
        (
            "M17",
            "type=secret",
            "invalid secret mount. one of source, target required",
        ),
        (
            "M17",
            "type=secret,id=a,src=b",
            "both source and id can't be set",
        ),
        (
            "M19",
            "type=cache,target=/a,foo",
            "invalid field 'foo' must be a key=value pair",
        ),
        (
            "M19",
            "type=cache,target=/a,foo=1",
            "unexpected key 'foo' in 'foo=1' (did you mean from?)",
        ),
    ] {
        with(options).check_error(message, options);
        // Nobody minds in a stage that nothing needs.
        let text = format!("FROM scratch AS a\nRUN --mount={options} x\nFROM scratch");
        assert_eq!(case(&text).titles(), ["FROM scratch"], "{row}: {options}");
    }
}

#[test]
fn s21_a_number_is_no_stage_for_a_mount() {
    let text = "FROM scratch AS a\nWORKDIR /a\nFROM scratch\nRUN --mount=from=0,target=/a x";
    let case = case(text).image("docker.io/library/0:latest", "{}");
    let titles = case.titles();
    let image = "FROM docker.io/library/0:latest".to_owned();
    assert!(titles.contains(&image), "{titles:?}");
    assert!(
        !titles.contains(&"[a 1/1] WORKDIR /a".to_owned()),
        "{titles:?}"
    );
}
