//! What `imagetools inspect --format` knows of a name, in the types that buildx has.

use std::io::Read as _;

use rbuild_image::config::ImageConfig;
use rbuild_image::manifest::{Descriptor, Document, Index, Manifest};
use rbuild_image::media::Kind;
use rbuild_image::platform::Platform;
use rbuild_image::reference::Reference;
use rbuild_registry::{Client, Resolved};
use rbuild_template::{Missing, Shape, Template, Value};
use serde_json::{Map, Value as Json};

use super::attestation::{self, Statement};
use super::types::{DESCRIPTOR, IMAGE, INDEX, typed};
use crate::report::Failure;

/// What a template is filled with: of one platform, or of several.
const INPUTS: [Shape; 2] = [
    inputs("imagetools.tplInput"),
    inputs("imagetools.tplInputs"),
];

const fn inputs(name: &'static str) -> Shape {
    Shape::Struct {
        name,
        omit: &["name", "manifest", "image"],
        aliases: &[
            ("Name", "name"),
            ("Manifest", "manifest"),
            ("Image", "image"),
        ],
    }
}

/// The template that means the listing there is without one.
pub(super) const LISTING: &str = "{{.Manifest}}";

/// Fills a template with what a name stands for.
pub(super) fn formatted(
    client: &Client,
    name: &str,
    reference: &Reference,
    found: &Resolved,
    format: &str,
) -> Result<String, Failure> {
    let template = Template::parse(format).map_err(|error| Failure::message(error.to_string()))?;
    let remote = Remote {
        client,
        reference,
        found,
    };
    let platforms = remote.platforms()?;
    let is_several = platforms.len() > 1;
    let image = if wants_image(format) {
        remote.images(&platforms)?
    } else {
        Value::NilPointer
    };
    let fields = [
        ("name", Value::text(name)),
        ("manifest", remote.manifest()?),
        ("image", image),
    ];
    let mut methods = Vec::new();
    for statement in [Statement::Sbom, Statement::Provenance] {
        let is_wanted = format.contains(statement.method());
        let value = if is_wanted {
            remote.statements(&platforms, statement)?
        } else {
            Value::Nil
        };
        methods.push((statement.method(), value));
    }
    let input = Value::object(INPUTS[usize::from(is_several)], fields).with_methods(methods);
    template
        .execute_documents(&input, Missing::NoValue)
        .map_err(|error| Failure::message(error.to_string()))
}

/// Configs are not asked for if the template is plainly about something else.
fn wants_image(format: &str) -> bool {
    let others = [".Manifest", ".Name", ".SBOM", ".Provenance"];
    format.contains("Image") || !others.iter().any(|other| format.contains(other))
}

/// An image for a platform, and what says something about it.
struct Variant {
    platform: String,
    /// `None` if the name stands for it alone.
    entry: Option<Descriptor>,
    attestations: Vec<Descriptor>,
}

/// A name in a registry, and what it stands for.
struct Remote<'a> {
    client: &'a Client,
    reference: &'a Reference,
    found: &'a Resolved,
}

impl Remote<'_> {
    /// A manifest's descriptor; of an index what is in it as well.
    fn manifest(&self) -> Result<Value, Failure> {
        let Descriptor {
            media_type,
            digest,
            size,
            ..
        } = &self.found.descriptor;
        let mut document = Map::new();
        document.insert("mediaType".to_owned(), media_type.as_str().into());
        document.insert("digest".to_owned(), digest.to_string().into());
        document.insert("size".to_owned(), (*size).into());
        let Document::Index(index) = &self.found.document else {
            return Ok(typed(&DESCRIPTOR, document));
        };
        document.insert("mediaType".to_owned(), index.media_type.as_str().into());
        document.insert("schemaVersion".to_owned(), index.schema_version.into());
        let entries = serde_json::to_value(&index.manifests)?;
        document.insert("manifests".to_owned(), entries);
        let annotations = serde_json::to_value(&index.annotations)?;
        document.insert("annotations".to_owned(), annotations);
        Ok(typed(&INDEX, document))
    }

    /// The images behind the name, sorted by platform.
    fn platforms(&self) -> Result<Vec<Variant>, Failure> {
        let index: &Index = match &self.found.document {
            Document::Index(index) => index,
            Document::Manifest(_) => {
                return Ok(vec![Variant {
                    platform: String::new(),
                    entry: None,
                    attestations: Vec::new(),
                }]);
            }
        };
        let is_image = |entry: &&Descriptor| Kind::of(&entry.media_type) == Some(Kind::Manifest);
        let mut variants: Vec<Variant> = Vec::new();
        for entry in index.images().filter(is_image) {
            let platform = self.platform_of(entry)?.normalized().to_string();
            // Of equal ones buildx knows the last.
            variants.retain(|known| known.platform != platform);
            let about_it = |other: &&Descriptor| other.attests() == Some(entry.digest);
            variants.push(Variant {
                platform,
                entry: Some(entry.clone()),
                attestations: index.manifests.iter().filter(about_it).cloned().collect(),
            });
        }
        variants.sort_by(|a, b| a.platform.cmp(&b.platform));
        Ok(variants)
    }

    /// What an index says, else the config.
    fn platform_of(&self, entry: &Descriptor) -> Result<Platform, Failure> {
        if let Some(platform) = &entry.platform {
            return Ok(platform.clone());
        }
        let manifest = self.manifest_of(Some(entry))?;
        let bytes = self.client.config(self.reference, &manifest.config)?;
        Ok(ImageConfig::parse(&bytes)?.platform())
    }

    fn manifest_of(&self, entry: Option<&Descriptor>) -> Result<Manifest, Failure> {
        let document = match entry {
            Some(entry) => self.client.child(self.reference, entry)?.document,
            None => self.found.document.clone(),
        };
        match document {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(Failure::message("an index stands where a manifest should")),
        }
    }

    /// The config of an image; of several a map by platform.
    fn images(&self, variants: &[Variant]) -> Result<Value, Failure> {
        self.by_platform(variants, Value::NilPointer, |variant| {
            let config = self.manifest_of(variant.entry.as_ref())?.config;
            let bytes = self.client.config(self.reference, &config)?;
            let config: Map<String, Json> = serde_json::from_slice(&bytes)?;
            Ok(Some(typed(&IMAGE, config)))
        })
    }

    /// What is said about an image; of several a map by platform.
    fn statements(&self, variants: &[Variant], which: Statement) -> Result<Value, Failure> {
        let nothing = which.typed(Vec::new());
        self.by_platform(variants, nothing, |variant| {
            let mut predicates = Vec::new();
            for descriptor in &variant.attestations {
                let manifest = self.manifest_of(Some(descriptor))?;
                for layer in manifest.layers.iter().filter(|layer| which.is_in(layer)) {
                    let bytes = self.read(layer)?;
                    predicates.push(attestation::predicate(&bytes, &layer.media_type)?);
                }
            }
            Ok((!predicates.is_empty()).then(|| which.typed(predicates)))
        })
    }

    fn by_platform(
        &self,
        variants: &[Variant],
        nothing: Value,
        of: impl Fn(&Variant) -> Result<Option<Value>, Failure>,
    ) -> Result<Value, Failure> {
        if let [only] = variants {
            return Ok(of(only)?.unwrap_or(nothing));
        }
        let mut found = Vec::new();
        for variant in variants {
            if let Some(value) = of(variant)? {
                found.push((variant.platform.clone(), value));
            }
        }
        Ok(Value::object(Shape::Any, found))
    }

    fn read(&self, blob: &Descriptor) -> Result<Vec<u8>, Failure> {
        if blob.size > attestation::MAX_BYTES {
            return Err(Failure::message(format!(
                "the attestation {} is too large: {} bytes",
                blob.digest, blob.size
            )));
        }
        let mut bytes = Vec::new();
        self.client
            .blob(self.reference, blob)?
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
