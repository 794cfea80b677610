//! A case's folder and what is asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rbuild_image::platform::Platform;
use rbuild_planner::{Network, Request};
use serde_json::Value;

/// A folder of `cases/`.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) request: Request,
    /// The same as command line options.
    pub(crate) arguments: Vec<String>,
}

impl Case {
    /// Reads `request.json`: `target`, `build_args` and `labels` (name to value), `platforms`.
    pub(crate) fn read(folder: &Path, name: &str) -> Self {
        let dir = folder.join(name);
        let asked: Value = match fs_err::read(dir.join("request.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
            Err(_) => Value::Null,
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let target = asked["target"].as_str().map(str::to_owned);
        let platforms: Vec<String> = asked["platforms"]
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect();
        let pairs = |field: &str| -> Vec<(String, String)> {
            let map = asked[field].as_object().into_iter().flatten();
            map.map(|(name, value)| (name.clone(), text(value)))
                .collect()
        };
        let mut arguments = Vec::new();
        arguments.extend(target.iter().map(|target| format!("--target={target}")));
        arguments.extend(
            platforms
                .iter()
                .map(|platform| format!("--platform={platform}")),
        );
        for (field, option) in [("build_args", "--build-arg"), ("labels", "--label")] {
            let set = pairs(field);
            arguments.extend(
                set.iter()
                    .map(|(name, value)| format!("{option}={name}={value}")),
            );
        }
        Self {
            name: name.to_owned(),
            dir,
            request: Request {
                target,
                build_args: pairs("build_args"),
                platforms: platforms
                    .iter()
                    .map(|text| Platform::parse(text).unwrap())
                    .collect(),
                build_platform: Platform::parse("linux/amd64").unwrap(),
                labels: pairs("labels"),
                no_cache: false,
                no_cache_filter: Vec::new(),
                contexts: BTreeMap::new(),
                network: Network::Default,
                extra_hosts: Vec::new(),
                limits: rbuild_planner::Limits::default(),
                allow_insecure: false,
                context_times: BTreeMap::new(),
                ignore: None,
            },
            arguments,
        }
    }
}
