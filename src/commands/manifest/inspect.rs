//! `rbuild manifest inspect`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use rbuild_image::manifest::{Descriptor, Document};
use rbuild_image::media::DOCKER_MANIFEST;
use rbuild_image::reference::Reference;
use rbuild_registry::{Client, Resolved};
use serde::Serialize as _;
use serde_json::{Value, json};

use super::{lists, name_of, resolve};
use crate::output;
use crate::relay::Relay;
use crate::report::Failure;
use crate::workplace::Workplace;

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// Print the bytes as the registry has them, or would get them
    #[arg(long, conflicts_with = "verbose")]
    raw: bool,
    /// Print what names each manifest too, and the images of an index
    #[arg(short, long)]
    verbose: bool,
    /// Names of a list and of an image in it, or of anything in a registry
    #[arg(required = true, num_args = 1..=2, value_name = "[MANIFEST_LIST] MANIFEST")]
    names: Vec<String>,
}

/// Prints a list that was prepared here, else what the registry has.
pub(super) fn run(workplace: &Workplace, options: &InspectArguments) -> Result<(), Failure> {
    let client = workplace.origins.client().map_err(Failure::message)?;
    let reference = match &options.names[..] {
        [list, image] => in_list(workplace, list, image)?,
        names => name_of(names.first().map_or("", String::as_str))?,
    };
    if options.names.len() == 1
        && let Some(list) = lists::read(&workplace.store, &reference)?
    {
        let index = list.index();
        if options.verbose {
            let sources = list.entries.iter();
            let shown = sources.map(|entry| {
                let source = Reference::parse(&entry.source)?;
                let found = client.child(&source, &entry.descriptor)?;
                detailed(&source, &entry.descriptor, &found)
            });
            return print(&Value::Array(shown.collect::<Result<_, Failure>>()?), b"\t");
        }
        let text = pretty(&serde_json::to_value(&index)?, b"   ")?;
        let end = if options.raw { "" } else { "\n" };
        return output::result(&(text + end));
    }
    let found = resolve(client, &reference)?;
    if options.raw {
        return output::result(&String::from_utf8_lossy(&found.bytes));
    }
    if options.verbose {
        return print(&verbose(client, &reference, &found)?, b"\t");
    }
    let indent: &[u8] = match found.document {
        Document::Index(_) => b"   ",
        Document::Manifest(_) => b"\t",
    };
    print(&serde_json::from_slice(&found.bytes)?, indent)
}

/// Returns the name of an image in a list, by its digest there.
fn in_list(workplace: &Workplace, list: &str, image: &str) -> Result<Reference, Failure> {
    let (name, image) = (name_of(list)?, name_of(image)?);
    let list = lists::read(&workplace.store, &name)?;
    let mut list = list.ok_or_else(|| Failure::message(format!("no such manifest: {name}")))?;
    let entry = list.entry(&image).ok_or_else(|| {
        Failure::message(format!(
            "manifest for image {image} does not exist in {name}"
        ))
    })?;
    Ok(image.at_digest(entry.descriptor.digest))
}

fn verbose(client: &Client, reference: &Reference, found: &Resolved) -> Result<Value, Failure> {
    match &found.document {
        Document::Manifest(manifest) => {
            let mut descriptor = found.descriptor.clone();
            descriptor.platform = Relay::new(client).platform(reference, manifest)?;
            detailed(reference, &descriptor, found)
        }
        Document::Index(index) => {
            let shown = index.manifests.iter().map(|entry| {
                let name = Reference {
                    digest: Some(entry.digest),
                    ..reference.clone()
                };
                detailed(&name, entry, &client.child(reference, entry)?)
            });
            Ok(Value::Array(shown.collect::<Result<_, Failure>>()?))
        }
    }
}

fn detailed(name: &Reference, descriptor: &Descriptor, found: &Resolved) -> Result<Value, Failure> {
    let field = if found.descriptor.media_type == DOCKER_MANIFEST {
        "SchemaV2Manifest"
    } else {
        "OCIManifest"
    };
    Ok(json!({
        "Ref": name.to_string(),
        "Descriptor": serde_json::to_value(descriptor)?,
        "Raw": STANDARD.encode(&found.bytes),
        field: serde_json::from_slice::<Value>(&found.bytes)?,
    }))
}

fn print(document: &Value, indent: &[u8]) -> Result<(), Failure> {
    output::result(&(pretty(document, indent)? + "\n"))
}

/// Returns JSON over many lines.
pub(super) fn pretty(document: &Value, indent: &[u8]) -> Result<String, Failure> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    document.serialize(&mut serde_json::Serializer::with_formatter(
        &mut out, formatter,
    ))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}
