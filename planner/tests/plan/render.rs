//! Plans as text, JSON and dot.
#![expect(
    clippy::disallowed_methods,
    reason = "snapbox looks for its source file"
)]

use snapbox::{assert_data_eq, str};

use crate::support::{Case, case};

fn example() -> Case {
    case(
        "FROM base AS build\nRUN <<E\nmake\nmake install\nE\nFROM scratch\n\
         COPY --from=build /out /\nUSER app\nEXPOSE 80\nLABEL a=b\nENTRYPOINT [\"/app\"]\nCMD x",
    )
    .image("docker.io/library/base:latest", "{}")
}

#[test]
fn text() {
    assert_data_eq!(
        example().plan().to_text(),
        str![[r#"
0  [build 1/2] FROM docker.io/library/base:latest
1  <- 0  [build 2/2] RUN <<E (make...)
2  FROM scratch
3  <- 2, source 0: 1  [stage-1 1/1] COPY --from=build /out /

target linux/amd64 <- 3
  env: PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  user: app
  workdir: /
  entrypoint: ["/app"]
  cmd: ["/bin/sh","-c","x"]
  ports: 80/tcp
  label: a=b

"#]]
    );
}

#[test]
fn json() {
    let json = example().plan().to_json();
    let copy = &json["steps"][3];
    assert_eq!(copy["parent"], 2);
    assert_eq!(copy["sources"], serde_json::json!([1]));
    assert_eq!(copy["operation"]["op"], "files");
    assert_eq!(json["targets"][0]["history"][0]["step"], 3);
    assert_eq!(json["targets"][0]["config"]["config"]["User"], "app");
    assert_eq!(json, example().plan().to_json());
}

#[test]
fn dot() {
    assert_data_eq!(
        example().plan().to_dot(),
        str![[r#"
digraph plan {
  node [shape=box];
  s0 [label="[build 1/2] FROM docker.io/library/base:latest"];
  s1 [label="[build 2/2] RUN <<E (make...)"];
  s2 [label="FROM scratch"];
  s3 [label="[stage-1 1/1] COPY --from=build /out /"];
  s0 -> s1;
  s2 -> s3;
  s1 -> s3 [style=dashed];
  t0 [label="linux/amd64", shape=ellipse];
  s3 -> t0;
}

"#]]
    );
}
