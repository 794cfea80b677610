//! Annotations that `--annotation` and outputs ask for: of manifests, of the index, and of the
//! descriptors that name them.

use rbuild_image::manifest::Annotations;
use rbuild_image::platform::Platform;

use crate::report::Failure;

/// What is annotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// The manifest of an image.
    Manifest,
    /// The index of several.
    Index,
    /// What names the manifest: its entry in the index, or in a layout.
    ManifestDescriptor,
    /// What names the index in a layout.
    IndexDescriptor,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Annotation {
    level: Level,
    /// The only platform whose image gets it.
    platform: Option<Platform>,
    key: String,
    value: String,
}

/// All annotations of an output; of equal ones the last counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AnnotationSet(Vec<Annotation>);

impl AnnotationSet {
    /// Reads all `--annotation` options: `[LEVEL[[PLATFORM]][,…]:]KEY=VALUE`.
    pub(crate) fn parse_options(options: &[String]) -> Result<Self, Failure> {
        let mut set = Self::default();
        for option in options.iter().filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').ok_or_else(|| {
                Failure::Usage(format!(
                    "invalid annotation \"{option}\", expected key=value"
                ))
            })?;
            match name.split_once(':') {
                None => set.add("manifest", name, value)?,
                Some((levels, key)) => {
                    for level in levels.split(',') {
                        set.add(level, key, value)?;
                    }
                }
            }
        }
        Ok(set)
    }

    /// Reads a field of an output, `annotation[-LEVEL][[PLATFORM]].KEY`, and tells whether it is
    /// one.
    pub(crate) fn take_field(&mut self, name: &str, value: &str) -> Result<bool, Failure> {
        let Some(rest) = name.strip_prefix("annotation") else {
            return Ok(false);
        };
        let Some((place, key)) = split_key(rest) else {
            return Ok(false);
        };
        let level = match place.strip_prefix('-') {
            Some(level) => level.to_owned(),
            None => format!("manifest{place}"),
        };
        self.add(&level, key, value)?;
        Ok(true)
    }

    fn add(&mut self, level: &str, key: &str, value: &str) -> Result<(), Failure> {
        let (name, platform) = match level.strip_suffix(']').and_then(|l| l.split_once('[')) {
            Some((name, platform)) => (name, Some(platform)),
            None => (level, None),
        };
        let level = match name {
            "manifest" => Level::Manifest,
            "index" => Level::Index,
            "manifest-descriptor" => Level::ManifestDescriptor,
            "index-descriptor" => Level::IndexDescriptor,
            _ => {
                return Err(Failure::Usage(format!(
                    "unknown annotation type \"{name}\": the types are manifest, index, \
                     manifest-descriptor and index-descriptor"
                )));
            }
        };
        if key.is_empty() {
            return Err(Failure::Usage("an annotation needs a key".into()));
        }
        let is_of_index = matches!(level, Level::Index | Level::IndexDescriptor);
        if let Some(platform) = platform.filter(|_| is_of_index) {
            return Err(Failure::Usage(format!(
                "the index is for all platforms: {name}[{platform}] is not possible"
            )));
        }
        let platform = platform
            .map(Platform::parse)
            .transpose()
            .map_err(|error| Failure::Usage(error.to_string()))?;
        self.0.push(Annotation {
            level,
            platform,
            key: key.to_owned(),
            value: value.to_owned(),
        });
        Ok(())
    }

    /// Adds those of another set, which count more.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// Reports whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses annotations of what is not built.
    pub(crate) fn check(&self, platforms: &[Platform]) -> Result<(), Failure> {
        for annotation in &self.0 {
            let is_of_index = matches!(annotation.level, Level::Index | Level::IndexDescriptor);
            if is_of_index && platforms.len() == 1 {
                return Err(Failure::message(
                    "index annotations not supported for single platform export",
                ));
            }
        }
        self.check_platforms(platforms)
    }

    /// Refuses annotations that an index of images that are there already cannot have.
    pub(crate) fn check_index(&self, platforms: &[Platform]) -> Result<(), Failure> {
        for annotation in &self.0 {
            match annotation.level {
                Level::Index | Level::ManifestDescriptor => {}
                Level::Manifest => {
                    return Err(Failure::with_help(
                        "\"manifest\" annotations are not supported yet",
                        "manifests are taken as they are: annotate the index with index:KEY=VALUE, \
                         or what it names with manifest-descriptor:KEY=VALUE",
                    ));
                }
                Level::IndexDescriptor => {
                    return Err(Failure::message(
                        "\"index-descriptor\" annotations are invalid while creating an image",
                    ));
                }
            }
        }
        self.check_platforms(platforms)
    }

    fn check_platforms(&self, platforms: &[Platform]) -> Result<(), Failure> {
        let mut named = self
            .0
            .iter()
            .filter_map(|annotation| annotation.platform.as_ref());
        let is_there = |named: &Platform| platforms.iter().any(|there| named.is_same(there));
        match named.find(|named| !is_there(named)) {
            Some(platform) => Err(Failure::message(format!(
                "invalid annotation: no platform {platform} found in source"
            ))),
            None => Ok(()),
        }
    }

    /// Returns those of the image for a platform. One that names the platform counts more.
    pub(crate) fn of_image<'a>(
        &self,
        level: Level,
        platform: impl Into<Option<&'a Platform>>,
    ) -> Annotations {
        let platform = platform.into();
        let matching = |is_named: bool| {
            self.0.iter().filter(move |annotation| {
                annotation.level == level
                    && annotation.platform.is_some() == is_named
                    && annotation
                        .platform
                        .as_ref()
                        .is_none_or(|named| platform.is_some_and(|of| named.is_same(of)))
            })
        };
        let both = matching(false).chain(matching(true));
        both.map(|annotation| (annotation.key.clone(), annotation.value.clone()))
            .collect()
    }

    /// Returns those of the index.
    pub(crate) fn of_index(&self, level: Level) -> Annotations {
        let matching = self.0.iter().filter(|annotation| annotation.level == level);
        matching
            .map(|annotation| (annotation.key.clone(), annotation.value.clone()))
            .collect()
    }
}

/// Cuts `-LEVEL[PLATFORM].KEY` at the first point outside of brackets.
fn split_key(text: &str) -> Option<(&str, &str)> {
    let after = text.find(']').filter(|_| {
        let (bracket, point) = (text.find('['), text.find('.'));
        bracket.is_some() && (point.is_none() || bracket < point)
    });
    let point = after.unwrap_or(0) + text[after.unwrap_or(0)..].find('.')?;
    Some((&text[..point], &text[point + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(found: &Annotations) -> String {
        let pairs = found.iter().map(|(key, value)| format!("{key}={value}"));
        pairs.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn options_and_fields_say_the_same() {
        let options = [
            "a=1".to_owned(),
            "index,manifest-descriptor:b.c=2=3".to_owned(),
            "manifest[linux/arm64]:a=4".to_owned(),
        ];
        let from_options = AnnotationSet::parse_options(&options).unwrap();
        let mut from_fields = AnnotationSet::default();
        for (name, value) in [
            ("annotation.a", "1"),
            ("annotation-index.b.c", "2=3"),
            ("annotation-manifest-descriptor.b.c", "2=3"),
            ("annotation-manifest[linux/arm64].a", "4"),
        ] {
            assert!(from_fields.take_field(name, value).unwrap(), "{name}");
        }
        let (amd64, arm64) = (
            Platform::parse("linux/amd64").unwrap(),
            Platform::parse("linux/arm64/v8").unwrap(),
        );
        for set in [&from_options, &from_fields] {
            assert_eq!(pairs(&set.of_image(Level::Manifest, &amd64)), "a=1");
            assert_eq!(pairs(&set.of_image(Level::Manifest, &arm64)), "a=4");
            let entry = set.of_image(Level::ManifestDescriptor, &amd64);
            assert_eq!(pairs(&entry), "b.c=2=3");
            assert_eq!(pairs(&set.of_index(Level::Index)), "b.c=2=3");
            assert!(set.of_index(Level::IndexDescriptor).is_empty());
            assert!(set.check(std::slice::from_ref(&amd64)).is_err(), "an index");
            assert!(set.check(&[amd64.clone(), arm64.clone()]).is_ok());
            let refusal = set
                .check_index(&[amd64.clone(), arm64.clone()])
                .unwrap_err();
            assert!(
                refusal
                    .render()
                    .contains("\"manifest\" annotations are not supported")
            );
            let entry = set.of_image(Level::ManifestDescriptor, None);
            assert_eq!(pairs(&entry), "b.c=2=3", "of an entry without a platform");
            let other = Platform::parse("linux/s390x").unwrap();
            assert!(set.check(&[amd64.clone(), other]).is_err(), "no arm64");
        }
        let mut short = AnnotationSet::default();
        assert!(
            short
                .take_field("annotation[linux/arm64].x.y", "1")
                .unwrap()
        );
        assert_eq!(pairs(&short.of_image(Level::Manifest, &arm64)), "x.y=1");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for bad in [
            "a",
            "layer:a=1",
            "=1",
            "index[linux/amd64]:a=1",
            "manifest[]:a=1",
        ] {
            assert!(
                AnnotationSet::parse_options(&[bad.to_owned()]).is_err(),
                "{bad}"
            );
        }
        for other in ["annotation", "annotations", "dest"] {
            let mut set = AnnotationSet::default();
            assert!(!set.take_field(other, "1").unwrap(), "{other}");
        }
    }
}
