//! What `inspect` knows of an image, in the types and the order that Docker has.

use rbuild_image::config::{Healthcheck, ImageConfig, RunConfig};
use rbuild_image::manifest::Descriptor;
use rbuild_image::record::{ImageRecord, Listed};
use rbuild_image::reference::Reference;
use rbuild_template::{Shape, Value};

use crate::inventory::by_image;
use crate::report::Failure;
use crate::workplace::{Workplace, variant_for};

const NEVER: &str = "0001-01-01T00:00:00Z";

const IMAGE: Shape = Shape::Struct {
    name: "image.InspectResponse",
    omit: &["Variant", "OsVersion", "Descriptor"],
    aliases: &[("ID", "Id")],
};
const CONFIG: Shape = Shape::Struct {
    name: "*v1.DockerOCIImageConfig",
    omit: &[
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "ArgsEscaped",
        "Healthcheck",
        "OnBuild",
        "Shell",
        "Hostname",
        "Domainname",
        "AttachStdin",
        "AttachStdout",
        "AttachStderr",
        "Tty",
        "OpenStdin",
        "StdinOnce",
        "Image",
    ],
    aliases: &[],
};
const HEALTHCHECK: Shape = Shape::Struct {
    name: "*v1.HealthcheckConfig",
    omit: &[
        "Test",
        "Interval",
        "Timeout",
        "StartPeriod",
        "StartInterval",
        "Retries",
    ],
    aliases: &[],
};
const ROOTFS: Shape = Shape::Struct {
    name: "image.RootFS",
    omit: &["Layers"],
    aliases: &[],
};
const METADATA: Shape = Shape::Struct {
    name: "image.Metadata",
    omit: &[],
    aliases: &[],
};
const DESCRIPTOR: Shape = Shape::Struct {
    name: "*v1.Descriptor",
    omit: &[],
    aliases: &[
        ("MediaType", "mediaType"),
        ("Digest", "digest"),
        ("Size", "size"),
    ],
};
const NOTHING: Shape = Shape::Struct {
    name: "struct {}",
    omit: &[],
    aliases: &[],
};

/// Describes an image, or what it has for a platform.
pub(super) fn of(
    workplace: &Workplace,
    listed: &[Listed],
    record: &ImageRecord,
    platform: Option<&str>,
    name: &str,
) -> Result<Value, Failure> {
    let variant = variant_for(record, platform, name)?;
    let config = workplace.config(variant)?;
    let same = listed.iter().filter(|listed| listed.record.id == record.id);
    let stored = by_image(same.cloned().collect()).pop();
    let (tags, digests) = stored.map_or_else(Default::default, |image| (image.tags, image.digests));
    let chosen = record.images.iter().find(|image| image.config == *variant);
    let size = match chosen {
        Some(chosen) => workplace.variant_size(chosen)?,
        None => workplace.image_size(record)?,
    };
    let target = match platform {
        Some(_) => chosen.and_then(|image| image.manifest.as_ref()),
        None => record.target(),
    };
    let last = config.history.last();
    let names = |names: &[Reference]| Value::texts(names.iter().map(Reference::familiar));
    Ok(Value::object(
        IMAGE,
        [
            ("Id", text(&variant.to_string())),
            ("RepoTags", names(&tags)),
            ("RepoDigests", names(&digests)),
            ("Parent", text("")),
            (
                "Comment",
                optional(last.and_then(|line| line.comment.as_ref())),
            ),
            ("Created", optional(config.created.as_ref())),
            ("DockerVersion", extra_text(&config, "docker_version")),
            ("Author", optional(config.author.as_ref())),
            ("Config", run_config(&config.config)),
            ("Architecture", text(&config.architecture)),
            ("Variant", optional(config.variant.as_ref())),
            ("Os", text(&config.os)),
            ("OsVersion", optional(config.os_version.as_ref())),
            ("Size", Value::Int(i64::try_from(size).unwrap_or(i64::MAX))),
            ("RootFS", rootfs(&config)),
            ("Metadata", metadata(record)),
            ("Descriptor", target.map_or(Value::NilPointer, descriptor)),
        ],
    ))
}

fn rootfs(config: &ImageConfig) -> Value {
    let layers = config.rootfs.diff_ids.iter().map(ToString::to_string);
    let fields = [("Type", text("layers")), ("Layers", Value::texts(layers))];
    Value::object(ROOTFS, fields)
}

fn metadata(record: &ImageRecord) -> Value {
    let tagged = record.tagged_at.as_deref().unwrap_or(NEVER);
    Value::object(METADATA, [("LastTagTime", text(tagged))])
}

fn descriptor(target: &Descriptor) -> Value {
    let size = i64::try_from(target.size).unwrap_or(i64::MAX);
    let fields = [
        ("mediaType", text(&target.media_type)),
        ("digest", text(&target.digest.to_string())),
        ("size", Value::Int(size)),
    ];
    Value::object(DESCRIPTOR, fields)
}

/// The fields of today in their order, then those that older versions had as well.
fn run_config(config: &RunConfig) -> Value {
    let labels = config.labels.as_ref().map_or(Value::NilMap, |labels| {
        let labels = labels.iter().map(|(name, value)| (name, text(value)));
        Value::object(Shape::Texts, labels)
    });
    let flag = |name| config.extra.get(name) == Some(&serde_json::Value::Bool(true));
    let extra = |name| {
        config
            .extra
            .get(name)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
    };
    let fields = [
        ("User", optional(config.user.as_ref())),
        (
            "ExposedPorts",
            set(config.exposed_ports.as_ref().map(|ports| ports.keys())),
        ),
        ("Env", list(config.env.as_deref())),
        ("Entrypoint", list(config.entrypoint.as_deref())),
        ("Cmd", list(config.cmd.as_deref())),
        (
            "Volumes",
            set(config.volumes.as_ref().map(|volumes| volumes.keys())),
        ),
        ("WorkingDir", optional(config.working_dir.as_ref())),
        ("Labels", labels),
        ("StopSignal", optional(config.stop_signal.as_ref())),
        (
            "ArgsEscaped",
            Value::Bool(config.args_escaped == Some(true)),
        ),
        (
            "Healthcheck",
            config
                .healthcheck
                .as_ref()
                .map_or(Value::NilPointer, healthcheck),
        ),
        ("OnBuild", list(config.on_build.as_deref())),
        ("Shell", list(config.shell.as_deref())),
        ("Hostname", text(extra("Hostname"))),
        ("Domainname", text(extra("Domainname"))),
        ("AttachStdin", Value::Bool(flag("AttachStdin"))),
        ("AttachStdout", Value::Bool(flag("AttachStdout"))),
        ("AttachStderr", Value::Bool(flag("AttachStderr"))),
        ("Tty", Value::Bool(flag("Tty"))),
        ("OpenStdin", Value::Bool(flag("OpenStdin"))),
        ("StdinOnce", Value::Bool(flag("StdinOnce"))),
        ("Image", text(extra("Image"))),
    ];
    Value::object(CONFIG, fields)
}

fn healthcheck(check: &Healthcheck) -> Value {
    let fields = [
        ("Test", list(check.test.as_deref())),
        ("Interval", Value::Int(check.interval)),
        ("Timeout", Value::Int(check.timeout)),
        ("StartPeriod", Value::Int(check.start_period)),
        ("StartInterval", Value::Int(check.start_interval)),
        ("Retries", Value::Int(check.retries)),
    ];
    Value::object(HEALTHCHECK, fields)
}

fn text(text: &str) -> Value {
    Value::text(text)
}

fn optional(found: Option<&String>) -> Value {
    text(found.map_or("", String::as_str))
}

fn extra_text(config: &ImageConfig, name: &str) -> Value {
    text(
        config
            .extra
            .get(name)
            .and_then(|value| value.as_str())
            .unwrap_or_default(),
    )
}

fn list(items: Option<&[String]>) -> Value {
    items.map_or(Value::NilList, Value::texts)
}

fn set<'a>(names: Option<impl Iterator<Item = &'a String>>) -> Value {
    let nothing = || Value::object(NOTHING, [] as [(&str, Value); 0]);
    names.map_or(Value::NilMap, |names| {
        Value::object(Shape::Set, names.map(|name| (name, nothing())))
    })
}
