//! `--output`: where a build's result goes besides the store.

use std::path::PathBuf;

use rbuild_image::reference::Reference;

use crate::annotations::AnnotationSet;
use crate::arguments::BuildArguments;
use crate::files_output::FilesOutput;
use crate::image_output::{Form, ImageOutput};
use crate::output;
use crate::report::Failure;

/// One destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Nowhere: only the cache has it.
    Nothing,
    /// The files of the result in a directory.
    Local(PathBuf, FilesOutput),
    /// The files of the result as a tar.
    Tar(Place, FilesOutput),
    /// An OCI layout as a tar.
    OciArchive(Place, Form),
    /// An OCI layout as a directory.
    OciDirectory(PathBuf, Form),
    /// An archive that `docker load` reads.
    DockerArchive(Place, Form),
    /// A Docker engine or Podman: that of a Docker context, or the usual one.
    Engine(Option<String>, Form),
    /// An image in the store, and maybe in registries.
    Image(Box<ImageOutput>),
}

/// A file or standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// Where a build's image goes, and how it is called there.
#[derive(Debug)]
pub(crate) struct Destinations {
    pub(crate) all: Vec<Destination>,
    /// The names that it gets in the store.
    pub(crate) local_names: Vec<Reference>,
    /// The names that it has outside.
    pub(crate) names: Vec<Reference>,
}

impl Destinations {
    /// Reads `--output`, `--push`, `--load`, `--annotation` and `--tag`.
    pub(crate) fn read(options: &BuildArguments) -> Result<Self, Failure> {
        let mut all = parse_all(&options.output)?;
        if options.push {
            push(&mut all);
        }
        if options.load {
            all.push(Destination::Engine(None, Form::default()));
        }
        annotate(
            &mut all,
            &AnnotationSet::parse_options(&options.annotation)?,
        );
        if all
            .iter()
            .filter_map(Destination::form)
            .any(Form::is_overruled)
        {
            output::note("note: zstd and annotations need OCI media types, so these are used\n");
        }
        let (mut local_names, mut names) = (Vec::new(), Vec::new());
        let mut has_image = false;
        for destination in &all {
            let (local, outside) = match destination {
                Destination::Image(image) => {
                    has_image = true;
                    let outside = image.targets(&options.tag)?;
                    if image.is_pushed && outside.is_empty() {
                        return Err(Failure::with_help(
                            "tag is needed when pushing to registry",
                            "--tag REGISTRY/NAME:TAG says where it goes",
                        ));
                    }
                    (image.local_names(&options.tag)?, outside)
                }
                other => match other.form() {
                    Some(form) => (Vec::new(), form.names(&options.tag)?),
                    None => continue,
                },
            };
            add(&mut local_names, local);
            add(&mut names, outside);
        }
        for destination in &all {
            if let Destination::Local(directory, files) = destination
                && !options.plan.run.allows_local_delete()
            {
                files.check_removal(directory)?;
            }
        }
        let tags = Form::default().names(&options.tag);
        if !has_image {
            add(&mut local_names, tags?);
        }
        if names.is_empty() {
            names.clone_from(&local_names);
        }
        Ok(Self {
            all,
            local_names,
            names,
        })
    }

    /// Reports whether the image is to be in the store.
    pub(crate) fn keeps_image(&self) -> bool {
        let mut all = self.all.iter();
        self.all.is_empty() || all.any(|destination| *destination != Destination::Nothing)
    }

    /// Returns how images are written.
    pub(crate) fn forms(&self) -> impl Iterator<Item = &Form> {
        self.all.iter().filter_map(Destination::form)
    }
}

fn add(names: &mut Vec<Reference>, more: Vec<Reference>) {
    for name in more {
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

/// Has all images pushed, or the build's if there is none.
fn push(destinations: &mut Vec<Destination>) {
    let mut has_image = false;
    for destination in &mut *destinations {
        if let Destination::Image(image) = destination {
            image.is_pushed = true;
            has_image = true;
        }
    }
    if !has_image {
        destinations.push(Destination::Image(Box::new(ImageOutput::pushed())));
    }
}

/// Annotates what is written, or the image in the store if there is none.
fn annotate(destinations: &mut Vec<Destination>, annotations: &AnnotationSet) {
    if annotations.is_empty() {
        return;
    }
    if destinations.iter().all(|place| place.form().is_none()) {
        destinations.push(Destination::Image(Box::default()));
    }
    for form in destinations.iter_mut().filter_map(Destination::form_mut) {
        form.annotations.extend(annotations);
    }
}

fn parse_all(options: &[String]) -> Result<Vec<Destination>, Failure> {
    let destinations = options
        .iter()
        .map(|option| parse(option))
        .collect::<Result<Vec<_>, _>>()?;
    let n_stdout = destinations
        .iter()
        .filter(|destination| destination.is_stdout())
        .count();
    if n_stdout > 1 {
        return Err(Failure::Usage(
            "multiple outputs configured to write to stdout".into(),
        ));
    }
    Ok(destinations)
}

impl Destination {
    /// True if it writes to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(
            self,
            Self::Tar(Place::Stdout, _)
                | Self::OciArchive(Place::Stdout, _)
                | Self::DockerArchive(Place::Stdout, _)
        )
    }

    fn form(&self) -> Option<&Form> {
        match self {
            Self::Nothing | Self::Local(..) | Self::Tar(..) => None,
            Self::OciArchive(_, form)
            | Self::OciDirectory(_, form)
            | Self::DockerArchive(_, form)
            | Self::Engine(_, form) => Some(form),
            Self::Image(image) => Some(&image.form),
        }
    }

    fn form_mut(&mut self) -> Option<&mut Form> {
        match self {
            Self::Nothing | Self::Local(..) | Self::Tar(..) => None,
            Self::OciArchive(_, form)
            | Self::OciDirectory(_, form)
            | Self::DockerArchive(_, form)
            | Self::Engine(_, form) => Some(form),
            Self::Image(image) => Some(&mut image.form),
        }
    }
}

/// `-`, `DIR`, or `type=…,dest=…`.
fn parse(option: &str) -> Result<Destination, Failure> {
    if option == "-" {
        return Ok(Destination::Tar(Place::Stdout, FilesOutput::default()));
    }
    if !option.contains('=') {
        return Ok(Destination::Local(option.into(), FilesOutput::default()));
    }
    let fields = fields(option)?;
    let get = |name: &str| {
        fields
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let kind = get("type").ok_or_else(|| Failure::Usage("type is required for output".into()))?;
    let mut image = match kind {
        "registry" => ImageOutput::pushed(),
        "local" | "tar" | "oci" | "docker" | "image" | "cacheonly" => ImageOutput::default(),
        _ => return Err(Failure::Usage(format!("unknown output type \"{kind}\""))),
    };
    let mut files = FilesOutput::default();
    for (key, value) in &fields {
        let is_known = match (kind, key.as_str()) {
            (_, "type")
            | ("local" | "tar" | "oci" | "docker", "dest")
            | ("oci", "tar")
            | ("docker", "context") => true,
            ("local", "mode") => {
                files.take_mode(value)?;
                true
            }
            ("local" | "tar", key) => files.take_field(key, value)?,
            ("oci" | "docker", key) => image.form.take_field(key, value)?,
            ("image" | "registry", key) => image.take_field(key, value)?,
            _ => false,
        };
        if !is_known {
            return Err(Failure::Usage(format!(
                "output type={kind} has no option \"{key}\" in this version of rbuild"
            )));
        }
    }
    let place = || match get("dest") {
        Some("-") | None => Place::Stdout,
        Some(path) => Place::File(path.into()),
    };
    let needed = || {
        get("dest")
            .filter(|dest| *dest != "-")
            .map(PathBuf::from)
            .ok_or_else(|| Failure::Usage(format!("dest is required for output type={kind}")))
    };
    Ok(match kind {
        "cacheonly" => Destination::Nothing,
        "local" => Destination::Local(needed()?, files),
        "tar" => Destination::Tar(place(), files),
        "docker" => match (get("dest"), get("context")) {
            (None, context) => Destination::Engine(context.map(Into::into), image.form),
            (Some(_), None) => Destination::DockerArchive(place(), image.form),
            (Some(_), Some(_)) => {
                return Err(Failure::Usage(
                    "output type=docker goes to a dest or to the engine of a context, not both"
                        .into(),
                ));
            }
        },
        "oci" => match get("tar") {
            None | Some("true") => Destination::OciArchive(place(), image.form),
            Some("false") => Destination::OciDirectory(needed()?, image.form),
            Some(value) => {
                return Err(Failure::Usage(format!(
                    "invalid value {value} for tar, expected true or false"
                )));
            }
        },
        _ => Destination::Image(Box::new(image)),
    })
}

/// `key=value` fields between commas; a field may be quoted as a whole.
fn fields(option: &str) -> Result<Vec<(String, String)>, Failure> {
    let invalid =
        |field: &str| Failure::Usage(format!("invalid value {field}: must be a key=value pair"));
    let mut fields = Vec::new();
    for field in rbuild_parser::csv::fields(option).map_err(|_unterminated| invalid(option))? {
        let (key, value) = field.split_once('=').ok_or_else(|| invalid(&field))?;
        let key = key.trim();
        // Keys of annotations are not ours.
        let key = match key.starts_with("annotation") {
            true => key.to_owned(),
            false => key.to_lowercase(),
        };
        fields.push((key, value.to_owned()));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "a table reads better so")]
    fn check(option: &str, expected: Option<Destination>) {
        assert_eq!(parse(option).ok(), expected, "{option}");
    }

    #[test]
    fn output_forms() {
        let local = || Destination::Local("out".into(), FilesOutput::default());
        let tar = |place| Destination::Tar(place, FilesOutput::default());
        check("-", Some(tar(Place::Stdout)));
        check("out", Some(local()));
        check("type=local,dest=out", Some(local()));
        check("type=cacheonly", Some(Destination::Nothing));
        check(
            "type=docker,context=there",
            Some(Destination::Engine(Some("there".into()), Form::default())),
        );
        check(
            "type=oci,dest=a.tar",
            Some(Destination::OciArchive(
                Place::File("a.tar".into()),
                Form::default(),
            )),
        );
        check(
            "type=oci,dest=d,tar=false",
            Some(Destination::OciDirectory("d".into(), Form::default())),
        );
        check(
            "TYPE=docker,dest=-",
            Some(Destination::DockerArchive(Place::Stdout, Form::default())),
        );
        check("type=image", Some(Destination::Image(Box::default())));
        check(
            "type=registry",
            Some(Destination::Image(Box::new(ImageOutput::pushed()))),
        );
        check(
            "type=tar,\"dest=a,b\"",
            Some(tar(Place::File("a,b".into()))),
        );
        for bad in [
            "type=local",
            "dest=x",
            "type=image,dest=x",
            "type=cacheonly,dest=x",
            "type=docker,dest=x,context=y",
            "type=tar,dest=x,mode=delete",
            "type=oci,push=true",
            "type=local,dest=a,compression=zstd",
            "type=oci,dest=a,x=y",
            "type=oci,y",
        ] {
            check(bad, None);
        }
    }
}
