//! The base images that the cases stand on. They exist only here: planning looks at configs.

use rbuild_image::config::ImageConfig;
use rbuild_image::digest::{DiffId, Digest};
use rbuild_planner::{BaseImage, BaseQuery};
use serde_json::{Value, json};

/// Answers a question for a base image; `None` if no case should ask for it.
pub(crate) fn find(query: &BaseQuery) -> Option<Result<BaseImage, String>> {
    let settings = match query.reference.as_str() {
        "docker.io/library/busybox:latest" => json!({"Env": [PATH], "Cmd": ["sh"]}),
        "docker.io/library/debian:12" => json!({"Env": [PATH], "Cmd": ["bash"]}),
        "docker.io/library/full:1" => full(),
        "docker.io/library/triggers:1" => json!({
            "Env": [PATH],
            "OnBuild": ["ARG SOURCE=.", "COPY ${SOURCE} /src/", "RUN make", "USER app"],
        }),
        "docker.io/library/missing:1" => return Some(Err("it is nowhere to be found".to_owned())),
        _ => return None,
    };
    let diff_id = DiffId(Digest::of(query.reference.as_bytes()));
    let config = json!({
        "created": "2025-01-01T00:00:00Z",
        "architecture": query.platform.architecture,
        "os": query.platform.os,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": "2025-01-01T00:00:00Z", "created_by": "rootfs"}],
    });
    let config = ImageConfig::parse(&serde_json::to_vec(&config).unwrap()).unwrap();
    Some(Ok(BaseImage {
        digest: Digest::of(&config.to_bytes()),
        diff_ids: vec![diff_id],
        platform: query.platform.clone(),
        config,
    }))
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything a config can say, to see what is inherited.
fn full() -> Value {
    json!({
        "User": "app",
        "ExposedPorts": {"80/tcp": {}},
        "Env": [PATH, "A=from-base", "B=two words"],
        "Entrypoint": ["/entry"],
        "Cmd": ["default"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/srv",
        "Labels": {"inherited": "yes", "changed": "no"},
        "StopSignal": "SIGQUIT",
        "Healthcheck": {"Test": ["CMD", "check"], "Interval": 1_000_000_000, "Retries": 2},
        "Shell": ["/bin/bash", "-c"],
    })
}
