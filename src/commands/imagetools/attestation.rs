//! What is said about images: how they were made, and what is in them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbuild_image::manifest::Descriptor;
use rbuild_template::{Shape, Value};
use serde_json::Value as Json;

use crate::report::Failure;

/// A larger statement is not read.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// The annotation of a statement's kind.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

const PROVENANCE: Shape = Shape::Struct {
    name: "imagetools.provenanceStub",
    omit: &["SLSA"],
    aliases: &[],
};
const SBOM: Shape = Shape::Struct {
    name: "imagetools.sbomStub",
    omit: &["SPDX", "AdditionalSPDXs"],
    aliases: &[],
};

/// A kind of statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statement {
    /// How an image was made.
    Provenance,
    /// What is in it.
    Sbom,
}

impl Statement {
    /// Its name in templates.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Provenance => "Provenance",
            Self::Sbom => "SBOM",
        }
    }

    /// Reports whether a layer of an attestation is one of this kind.
    pub(super) fn is_in(self, layer: &Descriptor) -> bool {
        let kind = layer.annotations.get(PREDICATE_TYPE);
        let is_kind = kind.is_some_and(|kind| match self {
            Self::Provenance => kind.starts_with("https://slsa.dev/provenance/"),
            Self::Sbom => kind == "https://spdx.dev/Document",
        });
        let is_statement = layer.media_type == "application/vnd.in-toto+json";
        is_kind && (is_statement || is_signed(&layer.media_type))
    }

    /// What a template sees of statements.
    pub(super) fn typed(self, mut predicates: Vec<Value>) -> Value {
        match self {
            Self::Provenance => {
                let last = predicates.pop().unwrap_or(Value::Nil);
                Value::object(PROVENANCE, [("SLSA", last)])
            }
            Self::Sbom => {
                let further = predicates.split_off(predicates.len().min(1));
                let further = match further.is_empty() {
                    true => Value::NilList,
                    false => Value::List(further.into()),
                };
                let first = predicates.pop().unwrap_or(Value::Nil);
                let fields = [("SPDX", first), ("AdditionalSPDXs", further)];
                Value::object(SBOM, fields)
            }
        }
    }
}

fn is_signed(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.in-toto.") && media_type.ends_with("+dsse")
}

/// What a statement says, out of its envelope if there is one.
pub(super) fn predicate(bytes: &[u8], media_type: &str) -> Result<Value, Failure> {
    let mut statement: Json = serde_json::from_slice(bytes)?;
    if is_signed(media_type) {
        let payload = statement["payload"].as_str().unwrap_or_default();
        let inner = STANDARD.decode(payload).map_err(|error| {
            Failure::message(format!(
                "cannot read the envelope of an attestation: {error}"
            ))
        })?;
        statement = serde_json::from_slice(&inner)?;
    }
    Ok(Value::from(statement["predicate"].take()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbuild_template::{Html, to_json};

    #[test]
    fn statements_come_out_of_their_envelopes() {
        let plain = br#"{"predicateType": "x", "predicate": {"b": 1, "a": [true]}}"#;
        let envelope = format!(
            r#"{{"payloadType": "t", "payload": "{}", "signatures": []}}"#,
            STANDARD.encode(plain)
        );
        let signed = "application/vnd.in-toto.provenance+dsse";
        for (bytes, media_type) in [
            (&plain[..], "application/vnd.in-toto+json"),
            (envelope.as_bytes(), signed),
        ] {
            let found = predicate(bytes, media_type).unwrap();
            let typed = Statement::Provenance.typed(vec![found]);
            let expected = r#"{"SLSA":{"a":[true],"b":1}}"#;
            assert_eq!(to_json(&typed, Html::Plain), expected);
        }
        assert!(predicate(br#"{"payload": "?"}"#, signed).is_err());
    }

    #[test]
    fn kinds_are_told_by_annotation_and_type() {
        let layer = |media_type: &str, kind: &str| {
            let digest = rbuild_image::digest::Digest::of(b"");
            let mut layer = Descriptor::new(media_type, digest, 0);
            layer
                .annotations
                .insert(PREDICATE_TYPE.to_owned(), kind.to_owned());
            layer
        };
        let plain = "application/vnd.in-toto+json";
        let slsa = layer(plain, "https://slsa.dev/provenance/v1");
        let spdx = layer(
            "application/vnd.in-toto.spdx+dsse",
            "https://spdx.dev/Document",
        );
        assert!(Statement::Provenance.is_in(&slsa) && !Statement::Sbom.is_in(&slsa));
        assert!(Statement::Sbom.is_in(&spdx) && !Statement::Provenance.is_in(&spdx));
        let other = layer("application/json", "https://spdx.dev/Document");
        assert!(!Statement::Sbom.is_in(&other));
        let none = Statement::Sbom.typed(Vec::new());
        assert_eq!(to_json(&none, Html::Plain), "{}");
        let three = Statement::Sbom.typed([1, 2, 3].map(Value::Int).to_vec());
        assert_eq!(
            to_json(&three, Html::Plain),
            r#"{"SPDX":1,"AdditionalSPDXs":[2,3]}"#
        );
    }
}
