//! What Docker's own `config.json` says about how lists look, and which engine is used.

use std::path::PathBuf;

use serde::Deserialize;

use crate::environment::{home, variable};

/// The settings of `config.json` that concern lists and engines.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DockerConfig {
    /// How `images` looks.
    pub(crate) images_format: String,
    /// The Docker context whose engine is used.
    pub(crate) current_context: String,
}

/// Returns the folder of Docker's client.
pub(crate) fn folder() -> PathBuf {
    variable("DOCKER_CONFIG").map_or_else(|| home().join(".docker"), PathBuf::from)
}

impl DockerConfig {
    /// Reads the file. Without one, or if it cannot be read, nothing is set: lists must work, and
    /// whoever needs the file for more complains.
    pub(crate) fn read() -> Self {
        let text = fs_err::read(folder().join("config.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}
