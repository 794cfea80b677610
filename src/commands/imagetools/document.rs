//! What `imagetools inspect --format` knows of a name, in the fields that buildx has.

use rbuild_image::manifest::{Descriptor, Document, Manifest};
use rbuild_image::reference::Reference;
use rbuild_registry::{Client, Resolved};
use rbuild_template::{Missing, Shape, Template, Value};
use serde_json::Value as Json;

use crate::report::Failure;

/// Names of fields in Go and in JSON.
type Names = &'static [(&'static str, &'static str)];

const TOP: Names = &[
    ("Name", "name"),
    ("Manifest", "manifest"),
    ("Image", "image"),
];
/// Those of descriptors, indexes, configs and what is in them: none means two things.
const PARTS: Names = &[
    ("SchemaVersion", "schemaVersion"),
    ("MediaType", "mediaType"),
    ("Digest", "digest"),
    ("Size", "size"),
    ("Manifests", "manifests"),
    ("URLs", "urls"),
    ("Annotations", "annotations"),
    ("Platform", "platform"),
    ("ArtifactType", "artifactType"),
    ("Architecture", "architecture"),
    ("OS", "os"),
    ("OSVersion", "os.version"),
    ("OSFeatures", "os.features"),
    ("Variant", "variant"),
    ("Created", "created"),
    ("Author", "author"),
    ("Config", "config"),
    ("RootFS", "rootfs"),
    ("History", "history"),
    ("Type", "type"),
    ("DiffIDs", "diff_ids"),
    ("CreatedBy", "created_by"),
    ("Comment", "comment"),
    ("EmptyLayer", "empty_layer"),
];
/// Objects whose keys are data.
const MAPS: &[&str] = &["annotations", "Labels", "ExposedPorts", "Volumes"];

/// Fills a template with what a name stands for.
pub(super) fn formatted(
    client: &Client,
    reference: &Reference,
    found: &Resolved,
    format: &str,
) -> Result<String, Failure> {
    let template = Template::parse(format).map_err(|error| Failure::Template(error.to_string()))?;
    let image = if wants_image(format) {
        images(client, reference, found)?
    } else {
        Value::NilPointer
    };
    let fields = [
        ("name", Value::text(&reference.to_string())),
        ("manifest", manifest(found)?),
        ("image", image),
    ];
    let shape = Shape::Struct {
        name: "imagetools.tplInputs",
        omit: &["image"],
        aliases: TOP,
    };
    let text = template
        .execute(&Value::object(shape, fields), Missing::NoValue)
        .map_err(|error| Failure::message(error.to_string()))?;
    if is_one_document(format)
        && let Ok(document) = serde_json::from_str::<Json>(&text)
    {
        return Ok(serde_json::to_string_pretty(&document)? + "\n");
    }
    Ok(text + "\n")
}

/// Configs are not asked for if the template is plainly about something else.
fn wants_image(format: &str) -> bool {
    let is_about_others = format.contains(".Manifest") || format.contains(".Name");
    format.contains("Image") || !is_about_others
}

/// Reports whether a template is nothing but `{{json …}}`, which buildx prints over many lines.
fn is_one_document(format: &str) -> bool {
    let format = format.trim();
    let inner = format
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"));
    inner.is_some_and(|inner| inner.trim_start().starts_with("json ") && !inner.contains("{{"))
}

/// A manifest's descriptor; of an index what is in it as well.
fn manifest(found: &Resolved) -> Result<Value, Failure> {
    let Descriptor {
        media_type,
        digest,
        size,
        ..
    } = &found.descriptor;
    let mut document = serde_json::Map::new();
    if let Document::Index(index) = &found.document {
        document.insert("schemaVersion".to_owned(), index.schema_version.into());
        document.insert(
            "manifests".to_owned(),
            serde_json::to_value(&index.manifests)?,
        );
        if !index.annotations.is_empty() {
            let annotations = serde_json::to_value(&index.annotations)?;
            document.insert("annotations".to_owned(), annotations);
        }
    }
    let place = usize::from(document.contains_key("schemaVersion"));
    document.shift_insert(place, "mediaType".to_owned(), media_type.as_str().into());
    document.shift_insert(place + 1, "digest".to_owned(), digest.to_string().into());
    document.shift_insert(place + 2, "size".to_owned(), (*size).into());
    Ok(typed(Json::Object(document), ""))
}

/// The config of an image; of several a map by platform.
fn images(client: &Client, reference: &Reference, found: &Resolved) -> Result<Value, Failure> {
    let index = match &found.document {
        Document::Manifest(manifest) => return config(client, reference, manifest),
        Document::Index(index) => index,
    };
    let mut configs = Vec::new();
    for entry in index.images() {
        let child = client.child(reference, entry)?;
        let (Document::Manifest(manifest), Some(platform)) = (child.document, &entry.platform)
        else {
            continue;
        };
        configs.push((platform.to_string(), config(client, reference, &manifest)?));
    }
    if configs.len() == 1 {
        return Ok(configs.remove(0).1);
    }
    Ok(Value::object(Shape::Any, configs))
}

fn config(client: &Client, reference: &Reference, manifest: &Manifest) -> Result<Value, Failure> {
    let bytes = client.config(reference, &manifest.config)?;
    Ok(typed(serde_json::from_slice(&bytes)?, ""))
}

/// Gives objects the field names of Go; `name` is what the document is called where it stands.
fn typed(document: Json, name: &str) -> Value {
    match document {
        Json::Object(fields) if !MAPS.contains(&name) => {
            let shape = Shape::Struct {
                name: "v1.Image",
                omit: &[],
                aliases: PARTS,
            };
            let fields = fields.into_iter();
            Value::object(
                shape,
                fields.map(|(name, value)| {
                    let value = typed(value, &name);
                    (name, value)
                }),
            )
        }
        Json::Array(items) => Value::List(items.into_iter().map(|item| typed(item, "")).collect()),
        other => Value::from(other),
    }
}
