//! How the settings of two images differ.

use std::collections::BTreeMap;

use rbuild_image::config::ImageConfig;
use serde_json::{Map, Value};

/// A setting that differs: `Cmd`, or one of several such as the variable `PATH` of `Env`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub(super) field: String,
    pub(super) name: Option<String>,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

type Settings = BTreeMap<(String, Option<String>), Value>;

/// Returns the settings that differ, by name. Times and history are none.
pub(super) fn differences(before: &ImageConfig, after: &ImageConfig) -> Vec<Setting> {
    let (mut before, mut after) = (settings(before), settings(after));
    let mut keys: Vec<_> = before.keys().chain(after.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    let mut found = Vec::new();
    for key in keys {
        let (before, after) = (before.remove(&key), after.remove(&key));
        if before != after {
            let (field, name) = key;
            found.push(Setting {
                field,
                name,
                before,
                after,
            });
        }
    }
    found
}

fn settings(config: &ImageConfig) -> Settings {
    let mut settings = Settings::new();
    let mut add = |field: &str, name: Option<&str>, value: Value| {
        if !is_empty(&value) || name.is_some() {
            settings.insert((field.to_owned(), name.map(str::to_owned)), value);
        }
    };
    add("Architecture", None, config.architecture.as_str().into());
    add("Os", None, config.os.as_str().into());
    add("Variant", None, config.variant.clone().into());
    add("OsVersion", None, config.os_version.clone().into());
    add("Author", None, config.author.clone().into());
    let run = serde_json::to_value(&config.config).unwrap_or_default();
    let fields: Map<String, Value> = match run {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    for (field, value) in fields {
        match (&*field, value) {
            ("Env", Value::Array(variables)) => {
                for variable in variables {
                    let text = variable.as_str().unwrap_or_default();
                    let (name, value) = text.split_once('=').unwrap_or((text, ""));
                    add("Env", Some(name), value.into());
                }
            }
            ("Labels" | "ExposedPorts" | "Volumes" | "Healthcheck", Value::Object(entries)) => {
                for (name, value) in entries {
                    add(&field, Some(&name), value);
                }
            }
            (_, value) => add(&field, None, value),
        }
    }
    settings
}

/// A setting that is written but says nothing is as good as none.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(config: &Value) -> ImageConfig {
        let document = json!({
            "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
            "config": config, "rootfs": {"type": "layers", "diff_ids": []},
        });
        serde_json::from_value(document).unwrap_or_default()
    }

    #[test]
    fn settings_are_compared_one_by_one() {
        let before = config(&json!({
            "Env": ["PATH=/bin", "A=1", "B="], "Cmd": ["a"], "User": "", "Volumes": {"/v": {}},
            "Labels": {"x": "1"},
        }));
        let after = config(&json!({
            "Env": ["A=2", "PATH=/bin", "B="], "Cmd": ["a", "b"], "Labels": {"x": "1", "y": "2"},
            "ArgsEscaped": false,
        }));
        let found: Vec<_> = differences(&before, &after)
            .into_iter()
            .map(|setting| {
                let name = setting.name.unwrap_or_default();
                (setting.field, name, setting.before, setting.after)
            })
            .collect();
        let row = |field: &str, name: &str, before: Option<Value>, after: Option<Value>| {
            (field.to_owned(), name.to_owned(), before, after)
        };
        assert_eq!(
            found,
            [
                row("Cmd", "", Some(json!(["a"])), Some(json!(["a", "b"]))),
                row("Env", "A", Some(json!("1")), Some(json!("2"))),
                row("Labels", "y", None, Some(json!("2"))),
                row("Volumes", "/v", Some(json!({})), None),
            ]
        );
        assert_eq!(differences(&before, &before), []);
    }
}
