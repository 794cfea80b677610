//! Remarks as `--annotation` takes them.

use std::str::FromStr;

use rbuild_image::platform::Platform;

/// A remark, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Annotation {
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) value: String,
}

/// Where a remark is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the index.
    Index,
    /// Beside what the index names; of one platform alone if there is one.
    Entries(Option<Platform>),
}

impl FromStr for Annotation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (place, rest) = text
            .split_once(':')
            .filter(|(place, _)| !place.contains('='))
            .ok_or("it needs a place: index:KEY=VALUE or manifest-descriptor:KEY=VALUE")?;
        let (key, value) = rest.split_once('=').ok_or("expected KEY=VALUE")?;
        if key.is_empty() {
            return Err("the key is empty".to_owned());
        }
        Ok(Self {
            place: place.parse()?,
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, platform) = match text.split_once('[') {
            Some((name, rest)) => {
                let platform = rest.strip_suffix(']').ok_or("a bracket is not closed")?;
                let platform = Platform::parse(platform).map_err(|error| error.to_string())?;
                (name, Some(platform))
            }
            None => (text, None),
        };
        match (name, platform) {
            ("index", None) => Ok(Self::Index),
            ("index", Some(_)) => Err("an index has no platform".to_owned()),
            ("manifest-descriptor", platform) => Ok(Self::Entries(platform)),
            ("manifest" | "index-descriptor", _) => Err(format!(
                "\"{name}\" annotations are not possible: manifests are taken as they are"
            )),
            _ => Err(format!(
                "unknown place {name}; there are index and manifest-descriptor"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(Place, &str, &str), &str>) {
        let found = text.parse::<Annotation>();
        let found = found.map(|found| (found.place, found.key, found.value));
        let expected =
            expected.map(|(place, key, value)| (place, key.to_owned(), value.to_owned()));
        assert_eq!(found, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn places_and_keys() {
        check("index:a.b=c=d:e", Ok((Place::Index, "a.b", "c=d:e")));
        let arm = Platform::parse("linux/arm64").ok();
        check(
            "manifest-descriptor[linux/arm64]:k=",
            Ok((Place::Entries(arm), "k", "")),
        );
        check(
            "manifest-descriptor:k=v",
            Ok((Place::Entries(None), "k", "v")),
        );
        let placeless = "it needs a place: index:KEY=VALUE or manifest-descriptor:KEY=VALUE";
        check("k=v:w", Err(placeless));
        check("index:k", Err("expected KEY=VALUE"));
        check("index:=v", Err("the key is empty"));
        check("index[linux]:k=v", Err("an index has no platform"));
        check(
            "nope:k=v",
            Err("unknown place nope; there are index and manifest-descriptor"),
        );
        check(
            "manifest:k=v",
            Err("\"manifest\" annotations are not possible: manifests are taken as they are"),
        );
    }
}
