//! `rbuild inspect`

use std::path::Path;

use clap::Args;
use rbuild_image::config::{ImageConfig, RunConfig};
use rbuild_image::record::ImageRecord;
use rbuild_image::reference::Reference;
use serde::Serialize as _;
use serde_json::{Map, Value, json};

use crate::output;
use crate::report::Failure;
use crate::workplace::Workplace;

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// Names or IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Prints the images that are found as one array, then an error for each that is not.
pub(crate) fn run(root: &Path, options: &InspectArguments) -> Result<(), Failure> {
    let workplace = Workplace::open(root)?;
    let mut images = Vec::new();
    let mut failures = Vec::new();
    for name in &options.images {
        match workplace.store.require(name) {
            Ok(found) => images.push(describe(&workplace, &found.record)?),
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    output::result(&format!("{}\n", pretty(&Value::Array(images))?))?;
    let Some(last) = failures.pop() else {
        return Ok(());
    };
    for failure in &failures {
        output::note(&failure.render());
    }
    Err(last)
}

fn describe(workplace: &Workplace, record: &ImageRecord) -> Result<Value, Failure> {
    let config: ImageConfig = workplace.config(&record.id)?;
    let names = workplace.store.references_of(&record.id)?;
    let tags: Vec<_> = names
        .iter()
        .filter(|name| name.tag().is_some())
        .map(Reference::familiar)
        .collect();
    let target = record.target();
    let digests: Vec<_> = names
        .iter()
        .filter_map(|name| Some(name.repository().at_digest(target?.digest).familiar()))
        .collect();
    let last = config.history.last();
    let mut image = json!({
        "Id": record.id,
        "RepoTags": tags,
        "RepoDigests": if record.origin == rbuild_image::record::Origin::Pulled { digests } else { Vec::new() },
        "Parent": "",
        "Comment": last.and_then(|line| line.comment.clone()).unwrap_or_default(),
        "Created": config.created,
        "DockerVersion": "",
        "Author": config.author.clone().unwrap_or_default(),
        "Config": run_config(&config.config),
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": workplace.image_size(record)?,
        "RootFS": {"Type": "layers", "Layers": config.rootfs.diff_ids},
        "Metadata": {"LastTagTime": record.tagged_at.clone().unwrap_or_else(|| "0001-01-01T00:00:00Z".into())},
    });
    let fields = image.as_object_mut();
    if let (Some(fields), Some(variant)) = (fields, &config.variant) {
        fields.insert("Variant".into(), variant.clone().into());
    }
    if let (Some(fields), Some(target)) = (image.as_object_mut(), target) {
        fields.insert(
            "Descriptor".into(),
            json!({"mediaType": target.media_type, "digest": target.digest, "size": target.size}),
        );
    }
    Ok(image)
}

/// The configuration with the fields that scripts expect to be there, even if empty.
fn run_config(config: &RunConfig) -> Value {
    let known = serde_json::to_value(config).unwrap_or_default();
    let mut fields = Map::new();
    for (name, default) in [
        ("Hostname", json!("")),
        ("Domainname", json!("")),
        ("User", json!("")),
        ("AttachStdin", json!(false)),
        ("AttachStdout", json!(false)),
        ("AttachStderr", json!(false)),
        ("ExposedPorts", Value::Null),
        ("Tty", json!(false)),
        ("OpenStdin", json!(false)),
        ("StdinOnce", json!(false)),
        ("Env", Value::Null),
        ("Cmd", Value::Null),
        ("Healthcheck", Value::Null),
        ("ArgsEscaped", Value::Null),
        ("Image", json!("")),
        ("Volumes", Value::Null),
        ("WorkingDir", json!("")),
        ("Entrypoint", Value::Null),
        ("OnBuild", Value::Null),
        ("Labels", Value::Null),
    ] {
        let value = known.get(name).cloned();
        let is_optional = matches!(name, "ExposedPorts" | "Healthcheck" | "ArgsEscaped");
        match value {
            Some(value) => drop(fields.insert(name.into(), value)),
            None if is_optional => {}
            None => drop(fields.insert(name.into(), default)),
        }
    }
    for (name, value) in known.as_object().into_iter().flatten() {
        fields.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Value::Object(fields)
}

/// JSON as Docker prints it: four blanks a level.
fn pretty(value: &Value) -> Result<String, Failure> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut out, formatter,
    ))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}
