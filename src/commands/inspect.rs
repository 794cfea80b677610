//! `rbuild inspect`

mod document;

use std::path::Path;

use clap::Args;
use rbuild_template::{Html, Missing, Template, Value, to_json};
use serde::Serialize as _;

use crate::output;
use crate::report::Failure;
use crate::workplace::Workplace;

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// How an image looks: json or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Which platform's image
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// What the names are of; there are only images
    #[arg(long = "type", value_name = "TYPE", hide = true)]
    kind: Option<String>,
    /// Sizes are always there
    #[arg(short, long, hide = true)]
    size: bool,
    /// Names or IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// What Docker has; here are images alone.
const KINDS: [&str; 10] = [
    "config",
    "container",
    "image",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "task",
    "volume",
];

/// Prints the images that are found as one array, or each by a template; then an error for each that
/// is not.
pub(crate) fn run(root: &Path, options: &InspectArguments) -> Result<(), Failure> {
    let kind = options.kind.as_deref().unwrap_or_default();
    let is_other = !["", "image"].contains(&kind);
    if is_other && !KINDS.contains(&kind) {
        let kinds = KINDS.map(|kind| format!("\"{kind}\"")).join(", ");
        return Err(Failure::message(format!(
            "unknown type: \"{kind}\": must be one of {kinds}"
        )));
    }
    if options.size {
        output::note("WARNING: --size ignored for image\n");
    }
    let mut shown = Shown::new(options.format.as_deref().unwrap_or_default())?;
    let workplace = Workplace::open(root)?;
    let listed = workplace.store.list()?;
    let mut failures = Vec::new();
    for name in &options.images {
        if is_other {
            failures.push(Failure::message(format!("No such {kind}: {name}")));
            continue;
        }
        let image = workplace.store.require(name).map_err(Failure::from);
        let image = image.and_then(|found| {
            let platform = options.platform.as_deref();
            document::of(&workplace, &listed, &found.record, platform, name)
        });
        if let Err(failure) = image.and_then(|image| shown.add(&image)) {
            failures.push(failure);
        }
    }
    output::result(&shown.finish()?)?;
    let Some(last) = failures.pop() else {
        return Ok(());
    };
    for failure in &failures {
        output::note(&failure.render());
    }
    Err(last)
}

/// What is printed.
enum Shown {
    /// One array over many lines.
    Pretty(Vec<Value>),
    /// One array in a line.
    Compact(Vec<Value>),
    /// A line for each.
    Lines(Template, String),
}

impl Shown {
    fn new(format: &str) -> Result<Self, Failure> {
        match format {
            "" => Ok(Self::Pretty(Vec::new())),
            "json" => Ok(Self::Compact(Vec::new())),
            _ => match Template::parse(format) {
                Ok(template) => Ok(Self::Lines(template, String::new())),
                Err(error) => Err(Failure::Template(format!(
                    "template parsing error: {error}"
                ))),
            },
        }
    }

    fn add(&mut self, image: &Value) -> Result<(), Failure> {
        match self {
            Self::Pretty(images) | Self::Compact(images) => images.push(image.clone()),
            Self::Lines(template, lines) => {
                // What fields of Go's types do not allow may be possible with the JSON alone.
                let line = template
                    .execute(image, Missing::NoValue)
                    .or_else(|_| template.execute(&image.untyped(), Missing::Error));
                let line = line.map_err(|error| {
                    Failure::message(format!("template parsing error: {error}"))
                })?;
                lines.push_str(&line);
                lines.push('\n');
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<String, Failure> {
        match self {
            Self::Pretty(images) => pretty(&images),
            Self::Compact(images) => {
                let images = Value::List(images.into());
                Ok(format!("{}\n", to_json(&images, Html::Plain)))
            }
            Self::Lines(_, lines) if lines.is_empty() => Ok("\n".to_owned()),
            Self::Lines(_, lines) => Ok(lines),
        }
    }
}

/// JSON as Docker prints it: four blanks a level.
fn pretty(images: &[Value]) -> Result<String, Failure> {
    let compact = to_json(&Value::List(images.into()), Html::Plain);
    let document: serde_json::Value = serde_json::from_str(&compact)?;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    document.serialize(&mut serde_json::Serializer::with_formatter(
        &mut out, formatter,
    ))?;
    Ok(String::from_utf8_lossy(&out).into_owned() + "\n")
}
