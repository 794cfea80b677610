//! Go's types of what registries hold: which fields there are, in which order, and what those that a
//! document lacks are worth.

use rbuild_template::{Shape, Value};
use serde_json::{Map, Value as Json};

/// A struct.
pub(super) struct Type {
    shape: Shape,
    /// Names in JSON, in order.
    fields: &'static [(&'static str, Kind)],
}

/// What a field is.
enum Kind {
    Text,
    Number,
    Truth,
    Texts,
    /// `map[string]string`
    Map,
    /// `map[string]struct{}`
    Set,
    Struct(&'static Type),
    Pointer(&'static Type),
    List(&'static Type),
}

/// What a manifest is named by.
pub(super) const DESCRIPTOR: Type = Type {
    shape: Shape::Struct {
        name: "v1.Descriptor",
        omit: &["urls", "annotations", "data", "platform", "artifactType"],
        aliases: &[
            ("MediaType", "mediaType"),
            ("Digest", "digest"),
            ("Size", "size"),
            ("URLs", "urls"),
            ("Annotations", "annotations"),
            ("Data", "data"),
            ("Platform", "platform"),
            ("ArtifactType", "artifactType"),
        ],
    },
    fields: &[
        ("mediaType", Kind::Text),
        ("digest", Kind::Text),
        ("size", Kind::Number),
        ("urls", Kind::Texts),
        ("annotations", Kind::Map),
        ("data", Kind::Text),
        ("platform", Kind::Pointer(&PLATFORM)),
        ("artifactType", Kind::Text),
    ],
};

const PLATFORM: Type = Type {
    shape: Shape::Struct {
        name: "*v1.Platform",
        omit: &["os.version", "os.features", "variant"],
        aliases: &[
            ("Architecture", "architecture"),
            ("OS", "os"),
            ("OSVersion", "os.version"),
            ("OSFeatures", "os.features"),
            ("Variant", "variant"),
        ],
    },
    fields: &[
        ("architecture", Kind::Text),
        ("os", Kind::Text),
        ("os.version", Kind::Text),
        ("os.features", Kind::Texts),
        ("variant", Kind::Text),
    ],
};

/// An index with its own digest and size.
pub(super) const INDEX: Type = Type {
    shape: Shape::Struct {
        name: "struct { SchemaVersion int; MediaType string; Digest digest.Digest; Size int64; \
               Manifests []v1.Descriptor; Annotations map[string]string }",
        omit: &["mediaType", "annotations"],
        aliases: &[
            ("SchemaVersion", "schemaVersion"),
            ("MediaType", "mediaType"),
            ("Digest", "digest"),
            ("Size", "size"),
            ("Manifests", "manifests"),
            ("Annotations", "annotations"),
        ],
    },
    fields: &[
        ("schemaVersion", Kind::Number),
        ("mediaType", Kind::Text),
        ("digest", Kind::Text),
        ("size", Kind::Number),
        ("manifests", Kind::List(&DESCRIPTOR)),
        ("annotations", Kind::Map),
    ],
};

/// A config.
pub(super) const IMAGE: Type = Type {
    shape: Shape::Struct {
        name: "*v1.Image",
        omit: &["created", "author", "os.version", "os.features", "variant"],
        aliases: &[
            ("Created", "created"),
            ("Author", "author"),
            ("Architecture", "architecture"),
            ("OS", "os"),
            ("OSVersion", "os.version"),
            ("OSFeatures", "os.features"),
            ("Variant", "variant"),
            ("Config", "config"),
            ("RootFS", "rootfs"),
            ("History", "history"),
        ],
    },
    fields: &[
        ("created", Kind::Text),
        ("author", Kind::Text),
        ("architecture", Kind::Text),
        ("os", Kind::Text),
        ("os.version", Kind::Text),
        ("os.features", Kind::Texts),
        ("variant", Kind::Text),
        ("config", Kind::Struct(&CONFIG)),
        ("rootfs", Kind::Struct(&ROOTFS)),
        ("history", Kind::List(&HISTORY)),
    ],
};

const CONFIG: Type = Type {
    shape: Shape::Struct {
        name: "v1.ImageConfig",
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
        ],
        aliases: &[],
    },
    fields: &[
        ("User", Kind::Text),
        ("ExposedPorts", Kind::Set),
        ("Env", Kind::Texts),
        ("Entrypoint", Kind::Texts),
        ("Cmd", Kind::Texts),
        ("Volumes", Kind::Set),
        ("WorkingDir", Kind::Text),
        ("Labels", Kind::Map),
        ("StopSignal", Kind::Text),
        ("ArgsEscaped", Kind::Truth),
    ],
};

const ROOTFS: Type = Type {
    shape: Shape::Struct {
        name: "v1.RootFS",
        omit: &[],
        aliases: &[("Type", "type"), ("DiffIDs", "diff_ids")],
    },
    fields: &[("type", Kind::Text), ("diff_ids", Kind::Texts)],
};

const HISTORY: Type = Type {
    shape: Shape::Struct {
        name: "v1.History",
        omit: &["created", "created_by", "author", "comment", "empty_layer"],
        aliases: &[
            ("Created", "created"),
            ("CreatedBy", "created_by"),
            ("Author", "author"),
            ("Comment", "comment"),
            ("EmptyLayer", "empty_layer"),
        ],
    },
    fields: &[
        ("created", Kind::Text),
        ("created_by", Kind::Text),
        ("author", Kind::Text),
        ("comment", Kind::Text),
        ("empty_layer", Kind::Truth),
    ],
};

/// Reads a document as Go does. What Go's type does not have stands at the end: a registry may hold
/// more than buildx knows of.
pub(super) fn typed(as_type: &Type, mut document: Map<String, Json>) -> Value {
    let mut fields = Vec::new();
    for (name, kind) in as_type.fields {
        let value = document.remove(*name).unwrap_or(Json::Null);
        fields.push(((*name).to_owned(), of_kind(kind, value)));
    }
    let rest = document.into_iter();
    fields.extend(rest.map(|(name, value)| (name, Value::from(value))));
    Value::object(as_type.shape, fields)
}

fn of_kind(kind: &Kind, value: Json) -> Value {
    let texts = |items: Vec<Json>| {
        let items = items.into_iter().map(|item| of_kind(&Kind::Text, item));
        Value::List(items.collect())
    };
    match (kind, value) {
        (Kind::Text, Json::String(text)) => Value::text(&text),
        (Kind::Text, _) => Value::text(""),
        (Kind::Number, value) => Value::Int(value.as_i64().unwrap_or(0)),
        (Kind::Truth, value) => Value::Bool(value.as_bool().unwrap_or(false)),
        (Kind::Texts, Json::Array(items)) => texts(items),
        (Kind::List(inner), Json::Array(items)) => {
            let items = items.into_iter().map(|item| object(inner, item));
            Value::List(items.collect())
        }
        (Kind::Texts | Kind::List(_), _) => Value::NilList,
        (Kind::Map, Json::Object(fields)) => {
            let fields = fields.into_iter();
            let fields = fields.map(|(name, value)| (name, of_kind(&Kind::Text, value)));
            Value::object(Shape::Texts, fields)
        }
        (Kind::Set, Json::Object(fields)) => {
            let nothing = Shape::Struct {
                name: "struct {}",
                omit: &[],
                aliases: &[],
            };
            let empty = || Value::object(nothing, [] as [(&str, Value); 0]);
            Value::object(
                Shape::Set,
                fields.into_iter().map(|(name, _)| (name, empty())),
            )
        }
        (Kind::Map | Kind::Set, _) => Value::NilMap,
        (Kind::Pointer(inner), value @ Json::Object(_)) => object(inner, value),
        (Kind::Pointer(_), _) => Value::NilPointer,
        (Kind::Struct(inner), value) => object(inner, value),
    }
}

fn object(as_type: &Type, value: Json) -> Value {
    match value {
        Json::Object(fields) => typed(as_type, fields),
        _ => typed(as_type, Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbuild_template::{Html, Missing, Template, to_json};
    use serde_json::json;

    fn image(document: Json) -> Value {
        object(&IMAGE, document)
    }

    #[test]
    fn fields_have_an_order_and_are_all_there() {
        let value = image(json!({
            "os": "linux", "architecture": "arm64", "config": {"Labels": {"b": "2", "a": "1"},
            "Healthcheck": {"Test": ["NONE"]}}, "rootfs": {"type": "layers", "diff_ids": ["x"]},
        }));
        assert_eq!(
            to_json(&value, Html::Plain),
            "{\"architecture\":\"arm64\",\"os\":\"linux\",\"config\":{\"Labels\":{\"a\":\"1\",\
             \"b\":\"2\"},\"Healthcheck\":{\"Test\":[\"NONE\"]}},\"rootfs\":{\"type\":\"layers\",\
             \"diff_ids\":[\"x\"]},\"history\":null}"
        );
        let shown = |format: &str| {
            let template = Template::parse(format).unwrap();
            let text = template.execute(&value, Missing::NoValue);
            text.unwrap_or_else(|error| error.to_string())
        };
        for (format, expected) in [
            ("{{.Variant}}|{{.OSVersion}}|{{.Author}}", "||"),
            ("{{len .Config.Env}}{{len .History}}", "00"),
            ("{{.Config.ArgsEscaped}}", "false"),
            ("{{range .RootFS.DiffIDs}}{{.}}{{end}}", "x"),
            (
                "{{.Nope}}",
                "template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type \
                 *v1.Image",
            ),
        ] {
            assert_eq!(shown(format), expected, "{format}");
        }
    }

    #[test]
    fn documents_of_other_shapes_are_read_as_empty() {
        let value = image(json!({"config": [], "history": {}, "os": 1, "rootfs": null}));
        assert_eq!(
            to_json(&value, Html::Plain),
            "{\"architecture\":\"\",\"os\":\"\",\"config\":{},\"rootfs\":{\"type\":\"\",\
             \"diff_ids\":null},\"history\":null}"
        );
    }
}
