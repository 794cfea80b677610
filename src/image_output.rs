//! Outputs that are images: how one is written, what it is called, and whether it is pushed.

use rbuild_image::assemble::PulledLayers;
use rbuild_image::manifest::Descriptor;
use rbuild_image::media::Format;
use rbuild_image::reference::Reference;
use rbuild_parser::boolean::parse_bool;

use crate::annotations::AnnotationSet;
use crate::commands::tag::parse_tag;
use crate::manifests::{Compression, Method};
use crate::report::Failure;

/// How an image is written, in an archive or a registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// What layers are compressed with; else what is usual there.
    pub(crate) compression: Option<Compression>,
    /// How hard.
    level: Option<i64>,
    /// Whether layers of bases are compressed so, too.
    is_forced: bool,
    /// Whether documents are to have Docker's media types.
    wants_docker_types: bool,
    /// Whether times of files were asked to be rewritten.
    pub(crate) rewrites_times: bool,
    /// What is said about it.
    pub(crate) annotations: AnnotationSet,
    /// Names for a build without tags.
    pub(crate) names: Vec<String>,
}

impl Form {
    /// Reads a field of an output, and tells whether it is one of a form.
    pub(crate) fn take_field(&mut self, key: &str, value: &str) -> Result<bool, Failure> {
        match key {
            "name" => {
                let names = value.split(',').map(str::trim);
                self.names = names
                    .filter(|name| !name.is_empty())
                    .map(Into::into)
                    .collect();
            }
            "compression" => self.compression = Some(compression(value)?),
            "compression-level" => self.level = Some(level(value)?),
            "force-compression" => self.is_forced = truth(key, value)?,
            "oci-mediatypes" => self.wants_docker_types = !truth(key, value)?,
            // Times are never later than SOURCE_DATE_EPOCH here.
            "rewrite-timestamp" => self.rewrites_times = truth(key, value)?,
            "attestation-inline" | "oci-artifact" if truth(key, value)? => {
                return Err(no_attestations(key));
            }
            "prefer-nondist-layers" if truth(key, value)? => {
                return Err(Failure::with_help(
                    "rbuild does not mark layers as not distributable",
                    "leave out prefer-nondist-layers; `rbuild push` leaves such layers of a pulled image where they are",
                ));
            }
            "attestation-inline" | "oci-artifact" | "prefer-nondist-layers" => {}
            "buildinfo" | "buildinfo-attrs" => {
                return Err(Failure::with_help(
                    format!("{key} is no option of BuildKit's any more, and none of rbuild's"),
                    "--metadata-file says what was built",
                ));
            }
            "source-date-epoch" => {
                return Err(Failure::with_help(
                    "the time of an image is that of its build, not of an output",
                    format!("use --build-arg SOURCE_DATE_EPOCH={value}"),
                ));
            }
            _ => return self.annotations.take_field(key, value),
        }
        Ok(true)
    }

    /// Returns the family of media types. Docker's knows neither zstd nor annotations.
    pub(crate) fn format(&self) -> Format {
        let is_docker_enough =
            self.compression != Some(Compression::Zstd) && self.annotations.is_empty();
        match self.wants_docker_types && is_docker_enough {
            true => Format::Docker,
            false => Format::Oci,
        }
    }

    /// Returns what layers are compressed with; `usual` is what is usual there.
    pub(crate) fn method(&self, usual: Compression) -> Method {
        match (self.compression, self.level) {
            (compression, None) => compression.unwrap_or(usual).into(),
            // Whoever names a level wants some compression.
            (compression, Some(level)) => {
                Method::at_level(compression.unwrap_or(Compression::Gzip), level)
            }
        }
    }

    /// Reports whether Docker's media types were asked for and are not enough.
    pub(crate) fn is_overruled(&self) -> bool {
        self.wants_docker_types && self.format() == Format::Oci
    }

    /// Returns what becomes of layers of bases.
    pub(crate) fn pulled_layers(&self) -> PulledLayers {
        match self.is_forced {
            true => PulledLayers::Recompress,
            false => PulledLayers::Keep,
        }
    }

    /// Returns the names of the image: its tags, else those given here.
    pub(crate) fn names(&self, tags: &[String]) -> Result<Vec<Reference>, Failure> {
        let names = self.chosen(tags).iter();
        names.map(|name| parse_tag(name)).collect()
    }

    fn chosen<'a>(&'a self, tags: &'a [String]) -> &'a [String] {
        match tags {
            [] => &self.names,
            _ => tags,
        }
    }
}

/// An image in the store, and in registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageOutput {
    pub(crate) form: Form,
    /// Whether it is pushed.
    pub(crate) is_pushed: bool,
    /// Whether it gets no tags where it is pushed to.
    is_by_digest: bool,
    /// Whether the registry may be spoken to without verified TLS.
    pub(crate) is_insecure: bool,
    /// Whether it gets its names in the store.
    is_named: bool,
    /// Whether it gets a name with its digest for each name.
    is_canonical: bool,
    /// The repository in which it is named by its digest if it has no name.
    dangling_prefix: Option<Reference>,
}

impl Default for ImageOutput {
    fn default() -> Self {
        Self {
            form: Form::default(),
            is_pushed: false,
            is_by_digest: false,
            is_insecure: false,
            is_named: true,
            is_canonical: false,
            dangling_prefix: None,
        }
    }
}

impl ImageOutput {
    /// An image that is pushed.
    pub(crate) fn pushed() -> Self {
        Self {
            is_pushed: true,
            ..Self::default()
        }
    }

    /// Reads a field of `type=image`, and tells whether it is one.
    pub(crate) fn take_field(&mut self, key: &str, value: &str) -> Result<bool, Failure> {
        match key {
            "push" => self.is_pushed = truth(key, value)?,
            "push-by-digest" => self.is_by_digest = truth(key, value)?,
            "registry.insecure" => self.is_insecure = truth(key, value)?,
            "store" => self.is_named = truth(key, value)?,
            "name-canonical" => self.is_canonical = truth(key, value)?,
            // It is never named so beside another name.
            "danging-name-empty-only" | "dangling-name-empty-only" => drop(truth(key, value)?),
            // Layers of a build are unpacked anyway.
            "unpack" => drop(truth(key, value)?),
            "dangling-name-prefix" => {
                let prefix = Reference::parse(value).map_err(|error| {
                    Failure::Usage(format!("invalid dangling-name-prefix \"{value}\": {error}"))
                })?;
                self.dangling_prefix = Some(prefix.repository());
            }
            _ => return self.form.take_field(key, value),
        }
        Ok(true)
    }

    /// Reports whether manifests have to be made for it.
    pub(crate) fn needs_manifests(&self) -> bool {
        self.is_pushed
            || self.is_canonical
            || self.dangling_prefix.is_some()
            || self.form
                != Form {
                    names: self.form.names.clone(),
                    ..Form::default()
                }
    }

    /// Returns the names it is known by outside; repositories if it gets no tags there.
    pub(crate) fn targets(&self, tags: &[String]) -> Result<Vec<Reference>, Failure> {
        if !self.is_by_digest {
            return self.form.names(tags);
        }
        let repository = |text: &String| {
            let tagged = parse_tag(text)?;
            let reference = Reference::parse(text)?;
            if reference.tag().is_some() {
                return Err(Failure::message(format!(
                    "can't push tagged ref {tagged} by digest"
                )));
            }
            Ok(reference)
        };
        self.form.chosen(tags).iter().map(repository).collect()
    }

    /// Returns the names that it gets in the store in any case.
    pub(crate) fn local_names(&self, tags: &[String]) -> Result<Vec<Reference>, Failure> {
        match self.is_named && !self.is_by_digest {
            true => self.form.names(tags),
            false => Ok(Vec::new()),
        }
    }

    /// Returns its names with the digest that it got.
    pub(crate) fn digest_names(
        &self,
        tags: &[String],
        target: &Descriptor,
    ) -> Result<Vec<Reference>, Failure> {
        let names = self.targets(tags)?;
        let of_digest = |name: &Reference| name.at_digest(target.digest);
        Ok(match &self.dangling_prefix {
            Some(prefix) if names.is_empty() => vec![of_digest(prefix)],
            _ if self.is_canonical => names.iter().map(of_digest).collect(),
            _ => Vec::new(),
        })
    }

    /// Returns what the registry is to call the image.
    pub(crate) fn pushed_name(&self, target: &Reference, image: &Descriptor) -> Reference {
        match self.is_by_digest {
            true => target.at_digest(image.digest),
            false => target.clone(),
        }
    }
}

fn compression(value: &str) -> Result<Compression, Failure> {
    Ok(match value {
        "uncompressed" => Compression::None,
        "gzip" => Compression::Gzip,
        "zstd" => Compression::Zstd,
        "estargz" => {
            return Err(Failure::with_help(
                "rbuild does not write eStargz layers",
                "use compression=gzip, zstd or uncompressed",
            ));
        }
        _ => {
            return Err(Failure::Usage(format!(
                "unsupported compression type {value}: expected gzip, zstd or uncompressed"
            )));
        }
    })
}

fn level(value: &str) -> Result<i64, Failure> {
    value.parse().map_err(|_not_a_number| {
        Failure::Usage(format!(
            "non-integer value {value} specified for compression-level"
        ))
    })
}

/// The refusal of a field that is about attestations.
pub(crate) fn no_attestations(key: &str) -> Failure {
    Failure::with_help(
        format!("rbuild writes no attestations, so {key} means nothing to it"),
        format!("leave out {key}"),
    )
}

/// True or false as Go reads them; a field without a value is true.
pub(crate) fn truth(key: &str, value: &str) -> Result<bool, Failure> {
    if value.is_empty() {
        return Ok(true);
    }
    parse_bool(value).ok_or_else(|| {
        Failure::Usage(format!(
            "invalid value {value} for {key}, expected true or false"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(fields: &[(&str, &str)]) -> ImageOutput {
        let mut output = ImageOutput::default();
        for (key, value) in fields {
            assert!(output.take_field(key, value).unwrap(), "{key}");
        }
        output
    }

    fn shown(names: &[Reference]) -> String {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        names.join(" ")
    }

    #[test]
    fn tags_go_before_names() {
        let image = output(&[("name", "a.example/x, b.example/y:2")]);
        let names = |tags: &[String]| shown(&image.targets(tags).unwrap());
        assert_eq!(names(&[]), "a.example/x:latest b.example/y:2");
        assert_eq!(names(&["z:1".to_owned()]), "docker.io/library/z:1");
        assert!(!image.needs_manifests());
    }

    #[test]
    fn names_with_digests() {
        let image = output(&[("name", "a.example/x"), ("push-by-digest", "true")]);
        assert_eq!(shown(&image.targets(&[]).unwrap()), "a.example/x");
        assert_eq!(shown(&image.local_names(&[]).unwrap()), "");
        assert!(image.targets(&["a.example/x:1".to_owned()]).is_err());

        let target = Descriptor::of("", b"");
        let at_digest = format!("a.example/x@{}", target.digest);
        let by_digest = |image: &ImageOutput| shown(&image.digest_names(&[], &target).unwrap());
        let canonical = output(&[("name", "a.example/x"), ("name-canonical", "true")]);
        assert_eq!(by_digest(&canonical), at_digest);
        let dangling = output(&[("dangling-name-prefix", "a.example/x")]);
        assert_eq!(by_digest(&dangling), at_digest);
        assert!(canonical.needs_manifests() && dangling.needs_manifests());
    }

    #[test]
    fn zstd_and_annotations_need_oci() {
        let docker = output(&[("oci-mediatypes", "false")]);
        assert_eq!(docker.form.format(), Format::Docker);
        for field in [("compression", "zstd"), ("annotation.a", "b")] {
            let image = output(&[("oci-mediatypes", "false"), field]);
            assert_eq!(image.form.format(), Format::Oci, "{field:?}");
            assert!(image.form.is_overruled());
        }
        for (key, value) in [("compression", "lzma"), ("push", "yes")] {
            assert!(ImageOutput::default().take_field(key, value).is_err());
        }
    }
}
