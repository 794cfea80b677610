//! One Dockerfile with all 18 instructions: the image's config and history are BuildKit's, field by
//! field and text by text.

use serde_json::{Value, json};

use crate::support::{TestEnv, bases, image, need};

const DOCKERFILE: &str = r#"ARG TAG=latest
FROM busybox:${TAG} AS final
MAINTAINER The Team <team@example.org>
ARG VERSION=1 UNSET
ARG GIVEN=default
ENV ONE=1 TWO="a b" PATH=/opt/bin:$PATH
ENV legacy  two words
ENV ONE=${VERSION}.${GIVEN}
LABEL version=$VERSION "a key"='a value'
LABEL version="${VERSION}-x"
SHELL ["/bin/sh", "-ec"]
WORKDIR /srv
WORKDIR app/../data
COPY --chown=7:8 --chmod=0640 a.txt b.txt ./copied/
COPY --from=busybox --link /bin/busybox /opt/bin/tool
COPY <<EOF <<'RAW' /etc/conf/
one=$ONE
EOF
raw=$ONE
RAW
ADD --chown=5 b.txt added
RUN echo "$ONE" \
    # a comment
    "$TWO" > out
RUN ["/bin/sh", "-c", "echo exec"]
RUN <<EOF
echo first
echo second
EOF
EXPOSE 8080 53/udp 90-91/TCP 22
VOLUME /data /var/lib/x
VOLUME ["/with blank"]
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5m --timeout=1.5s --start-period=1m --start-interval=2s --retries=3 \
  CMD ["check", "a b"]
ONBUILD COPY . /src
ONBUILD RUN make \
  all
CMD shell $ONE
ENTRYPOINT ["/opt/bin/tool", "say \"hi\""]
CMD ["exec", "form"]
USER app:staff
"#;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `created_by` of every line, and whether the line is a layer's.
const HISTORY: &[(&str, bool)] = &[
    ("MAINTAINER The Team <team@example.org>", false),
    ("ARG VERSION=1 UNSET", false),
    ("ARG GIVEN=cli", false),
    (
        "ENV ONE=1 TWO=a b PATH=/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        false,
    ),
    ("ENV legacy=two words", false),
    ("ENV ONE=1.cli", false),
    ("LABEL version=1 a key=a value", false),
    ("LABEL version=1-x", false),
    ("SHELL [/bin/sh -ec]", false),
    ("WORKDIR /srv", true),
    ("WORKDIR /srv/data", true),
    (
        "COPY --chown=7:8 --chmod=0640 a.txt b.txt ./copied/ # buildkit",
        true,
    ),
    ("COPY /bin/busybox /opt/bin/tool # buildkit", true),
    ("COPY <<EOF <<RAW /etc/conf/ # buildkit", true),
    ("ADD --chown=5 b.txt added # buildkit", true),
    (
        "RUN |3 VERSION=1 UNSET= GIVEN=cli /bin/sh -ec echo \"$ONE\"     \"$TWO\" > out # buildkit",
        true,
    ),
    (
        "RUN |3 VERSION=1 UNSET= GIVEN=cli /bin/sh -c echo exec # buildkit",
        true,
    ),
    (
        "RUN |3 VERSION=1 UNSET= GIVEN=cli /bin/sh -ec echo first\necho second\n # buildkit",
        true,
    ),
    ("EXPOSE [22/tcp 53/udp 8080/tcp 90/tcp 91/tcp]", false),
    ("VOLUME [/data /var/lib/x]", false),
    ("VOLUME [/with blank]", false),
    ("STOPSIGNAL SIGUSR1", false),
    (
        "HEALTHCHECK {Test:[CMD check a b] Interval:5m0s Timeout:1.5s StartPeriod:1m0s \
         StartInterval:2s Retries:3}",
        false,
    ),
    ("CMD [\"/bin/sh\" \"-ec\" \"shell $ONE\"]", false),
    ("ENTRYPOINT [\"/opt/bin/tool\" \"say \\\"hi\\\"\"]", false),
    ("CMD [\"exec\" \"form\"]", false),
    ("USER app:staff", false),
];

fn config() -> Value {
    json!({
        "User": "app:staff",
        "ExposedPorts": {"22/tcp": {}, "53/udp": {}, "8080/tcp": {}, "90/tcp": {}, "91/tcp": {}},
        "Env": [
            format!("PATH=/opt/bin:{PATH}"),
            "ONE=1.cli",
            "TWO=a b",
            "legacy=two words",
        ],
        "Entrypoint": ["/opt/bin/tool", "say \"hi\""],
        "Cmd": ["exec", "form"],
        "ArgsEscaped": true,
        "Healthcheck": {
            "Test": ["CMD", "check", "a b"],
            "Interval": 300_000_000_000_u64,
            "Timeout": 1_500_000_000,
            "StartPeriod": 60_000_000_000_u64,
            "StartInterval": 2_000_000_000,
            "Retries": 3,
        },
        "Volumes": {"/data": {}, "/var/lib/x": {}, "/with blank": {}},
        "WorkingDir": "/srv/data",
        "OnBuild": ["COPY . /src", "RUN make   all"],
        "Labels": {"version": "1-x", "a key": "a value", "from": "cli"},
        "StopSignal": "SIGUSR1",
        "Shell": ["/bin/sh", "-ec"],
    })
}

#[test]
fn all_instructions_make_buildkits_config_and_history() {
    let busybox = bases::busybox();
    need!(busybox.is_some(), "this needs busybox-static");
    let env = TestEnv::new();
    env.import(busybox.unwrap(), "busybox");
    let files = [
        ("Dockerfile", DOCKERFILE),
        ("a.txt", "a\n"),
        ("b.txt", "b\n"),
    ];
    let context = env.context("ctx", &files);
    let args = [
        "--build-arg=GIVEN=cli",
        "--label=from=cli",
        "--build-arg=SOURCE_DATE_EPOCH=86400",
    ];
    let built = env.build_image(&context, &args);

    let epoch = "1970-01-02T00:00:00Z";
    assert_eq!(built.config["config"], config());
    assert_eq!(built.config["author"], "The Team <team@example.org>");
    assert_eq!(built.config["architecture"], image::architecture());
    assert_eq!(built.config["os"], "linux");
    assert_eq!(built.config["created"], epoch);

    let lines = built.config["history"].as_array().unwrap();
    let own = &lines[lines.len() - HISTORY.len()..];
    for (line, (created_by, is_layer)) in own.iter().zip(HISTORY) {
        let mut expected = json!({
            "created": epoch,
            "created_by": created_by,
            "comment": "buildkit.dockerfile.v0",
        });
        if !is_layer {
            expected["empty_layer"] = json!(true);
        }
        assert_eq!(*line, expected);
    }
    let n_layers = HISTORY.iter().filter(|(_, is_layer)| *is_layer).count();
    assert_eq!(built.layers.len(), n_layers + 1, "one layer of the base");

    // What the instructions did, for good measure.
    assert_eq!(built.text("srv/data/out"), "1.cli a b\n");
    assert_eq!(built.text("etc/conf/EOF"), "one=1.cli\n");
    assert_eq!(built.text("etc/conf/RAW"), "raw=$ONE\n");
    let copied = built.node("srv/data/copied/a.txt");
    assert_eq!((copied.uid, copied.gid, copied.mode), (7, 8, 0o640));
    assert_eq!(built.node("srv/data/added").gid, 5);
}
