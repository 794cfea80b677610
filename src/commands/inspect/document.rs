//! What `inspect` knows of an image, in the types and the order that Docker has.

use std::collections::BTreeSet;

use rbuild_image::config::{Healthcheck, ImageConfig, RunConfig};
use rbuild_image::manifest::Descriptor;
use rbuild_image::platform::Platform;
use rbuild_image::record::{ImageRecord, Listed, Origin};
use rbuild_image::reference::Reference;
use rbuild_template::{Shape, Value};

use crate::inventory::by_image;
use crate::report::Failure;
use crate::workplace::{Workplace, variant_for};

const NEVER: &str = "0001-01-01T00:00:00Z";

const IMAGE: Shape = Shape::Struct {
    name: "image.InspectResponse",
    omit: &[
        "Comment",
        "DockerVersion",
        "Author",
        "Variant",
        "OsVersion",
        "GraphDriver",
        "Descriptor",
        "Identity",
    ],
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
    omit: &["platform"],
    aliases: &[
        ("MediaType", "mediaType"),
        ("Digest", "digest"),
        ("Size", "size"),
        ("Platform", "platform"),
    ],
};
const PLATFORM: Shape = Shape::Struct {
    name: "*v1.Platform",
    omit: &["variant", "os.version", "os.features"],
    aliases: &[
        ("Architecture", "architecture"),
        ("OS", "os"),
        ("Variant", "variant"),
        ("OSVersion", "os.version"),
        ("OSFeatures", "os.features"),
    ],
};
const GRAPH_DRIVER: Shape = Shape::Struct {
    name: "*storage.DriverData",
    omit: &[],
    aliases: &[],
};
const IDENTITY: Shape = Shape::Struct {
    name: "*image.Identity",
    omit: &["Pull"],
    aliases: &[],
};
const PULL_IDENTITY: Shape = Shape::Struct {
    name: "image.PullIdentity",
    omit: &["Repository"],
    aliases: &[],
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
    let same: Vec<Listed> = same.cloned().collect();
    let pulled_from = repositories(&same);
    let stored = by_image(same).pop();
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
            ("GraphDriver", graph_driver(workplace, &config)?),
            ("RootFS", rootfs(&config)),
            ("Metadata", metadata(record)),
            ("Descriptor", target.map_or(Value::NilPointer, descriptor)),
            ("Identity", identity(&pulled_from)),
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
        (
            "platform",
            target
                .platform
                .as_ref()
                .map_or(Value::NilPointer, shown_platform),
        ),
    ];
    Value::object(DESCRIPTOR, fields)
}

fn shown_platform(platform: &Platform) -> Value {
    let fields = [
        ("architecture", text(&platform.architecture)),
        ("os", text(&platform.os)),
        ("os.version", text(&platform.os_version)),
        ("os.features", Value::texts(&platform.os_features)),
        ("variant", text(&platform.variant)),
    ];
    Value::object(PLATFORM, fields)
}

/// Where the files of the layers are, if all are unpacked: the topmost layer, and those below it.
fn graph_driver(workplace: &Workplace, config: &ImageConfig) -> Result<Value, Failure> {
    let layers = &config.rootfs.diff_ids;
    let is_unpacked = layers.iter().all(|layer| workplace.layers.has_tree(layer));
    if layers.is_empty() || !is_unpacked {
        return Ok(Value::NilPointer);
    }
    let mut folders = Vec::new();
    for layer in layers.iter().rev() {
        folders.push(workplace.layers.tree(layer)?.display().to_string());
    }
    let top = folders.remove(0);
    let mut data = vec![("UpperDir", text(&top))];
    if !folders.is_empty() {
        data.push(("LowerDir", text(&folders.join(":"))));
    }
    let data = Value::object(Shape::Texts, data);
    let fields = [("Data", data), ("Name", text("rbuild"))];
    Ok(Value::object(GRAPH_DRIVER, fields))
}

/// The repositories that an image was pulled from, without the ports of their registries: so Docker
/// has them.
fn repositories(listed: &[Listed]) -> BTreeSet<String> {
    let pulled = listed
        .iter()
        .filter(|listed| listed.record.origin == Origin::Pulled);
    let names = pulled.filter_map(|listed| listed.reference.as_ref());
    names
        .map(|name| {
            let host = match name.domain.rsplit_once(':') {
                Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
                _ => &name.domain,
            };
            format!("{host}/{}", name.path)
        })
        .collect()
}

fn identity(repositories: &BTreeSet<String>) -> Value {
    if repositories.is_empty() {
        return Value::NilPointer;
    }
    let pulls = repositories
        .iter()
        .map(|name| Value::object(PULL_IDENTITY, [("Repository", text(name))]));
    Value::object(IDENTITY, [("Pull", Value::List(pulls.collect()))])
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
