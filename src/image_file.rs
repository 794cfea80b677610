//! Images in files, named as other tools name them: `docker-archive://FILE`, `oci-archive:FILE`,
//! `oci:FOLDER`, or by a path.

use std::path::{Path, PathBuf};

use rbuild_image::archive::{self, Loaded};
use rbuild_image::platform::Platform;
use rbuild_image::record::ImageRecord;
use rbuild_image::reference::Reference;
use rbuild_image::store::StagingDir;

use crate::report::Failure;
use crate::workplace::Workplace;

const PREFIXES: [&str; 3] = ["docker-archive:", "oci-archive:", "oci:"];

/// A file or folder, and which of its images is meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ImageFile<'a> {
    path: PathBuf,
    name: Option<&'a str>,
}

/// An image of a file in a store of its own, which goes with this.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Where its layers and config are.
    pub(crate) workplace: Workplace,
    /// The image.
    pub(crate) record: ImageRecord,
    _folder: StagingDir,
}

impl<'a> ImageFile<'a> {
    /// Returns the file that a text names; `None` if it is the name of an image in the store.
    pub(crate) fn named_by(text: &'a str) -> Option<Self> {
        let prefixed = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix));
        let Some(place) = prefixed else {
            let is_path = ["/", "./", "../"]
                .iter()
                .any(|start| text.starts_with(start));
            return is_path.then(|| Self {
                path: text.into(),
                name: None,
            });
        };
        let place = place.strip_prefix("//").unwrap_or(place);
        let whole = Self {
            path: place.into(),
            name: None,
        };
        if is_there(&whole.path) {
            return Some(whole);
        }
        let mut colons = place.match_indices(':');
        let cut = colons.find(|(at, _)| is_there(Path::new(&place[..*at])));
        Some(cut.map_or(whole, |(at, _)| Self {
            path: place[..at].into(),
            name: Some(&place[at + 1..]),
        }))
    }

    /// Reads the image that is meant, or what it has for a platform.
    pub(crate) fn unpack(
        &self,
        workplace: &Workplace,
        platform: Option<&Platform>,
    ) -> Result<Unpacked, Failure> {
        let folder = workplace.store.staging_dir()?;
        let own = Workplace::open(folder.path())?;
        let platforms = platform.map(std::slice::from_ref).unwrap_or_default();
        let loaded = if self.path.is_dir() {
            archive::load_folder(&own.layers, &self.path, platforms)?
        } else {
            let file = fs_err::File::open(&self.path)?;
            archive::load(&own.layers, file, platforms)?
        };
        Ok(Unpacked {
            record: self.choose(loaded)?,
            workplace: own,
            _folder: folder,
        })
    }

    fn choose(&self, mut loaded: Vec<Loaded>) -> Result<ImageRecord, Failure> {
        let shown = self.path.display();
        let names: Vec<String> = loaded
            .iter()
            .flat_map(|image| image.names.iter().map(Reference::familiar))
            .collect();
        let help = format!("it has {}", names.join(", "));
        let Some(name) = self.name else {
            return match (loaded.pop(), loaded.is_empty()) {
                (Some(only), true) => Ok(only.record),
                _ => Err(Failure::with_help(
                    format!("{shown} holds several images"),
                    format!("write docker-archive:{shown}:NAME; {help}"),
                )),
            };
        };
        let wanted = Reference::parse(name)?.with_default_tag();
        let found = loaded
            .into_iter()
            .find(|image| image.names.contains(&wanted));
        let found = found.map(|image| image.record);
        found.ok_or_else(|| Failure::with_help(format!("{shown} does not hold {name}"), help))
    }
}

/// What cannot be looked at is reported when it is opened.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a:b.tar");
        fs_err::write(&file, "").unwrap();
        let file = file.to_str().unwrap();
        let parsed = |text: &str| {
            let found = ImageFile::named_by(text)?;
            Some((
                found.path.display().to_string(),
                found.name.map(str::to_owned),
            ))
        };
        let named = |name: Option<&str>| Some((file.to_owned(), name.map(str::to_owned)));
        assert_eq!(parsed(&format!("docker-archive://{file}")), named(None));
        assert_eq!(parsed(&format!("oci-archive:{file}")), named(None));
        let with_name = format!("docker-archive:{file}:app:1");
        assert_eq!(parsed(&with_name), named(Some("app:1")));
        assert_eq!(parsed(file), named(None));
        let other = Some(("./nothing".to_owned(), None));
        assert_eq!(parsed("./nothing"), other);
        assert_eq!(parsed("oci:./nothing"), other);
        for image in ["app", "app:1", "oci/app", "oci", "127.0.0.1:5000/app"] {
            assert_eq!(parsed(image), None, "{image}");
        }
    }
}
