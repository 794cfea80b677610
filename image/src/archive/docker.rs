//! Archives as docker wrote them before it knew OCI, and as it still does beside it.
//!
//! Spec: <https://github.com/moby/docker-image-spec/blob/v1.3.1/v1.2.md>

use serde::{Deserialize, Serialize};

use super::Loaded;
use super::loader::Loader;
use super::stage::Staged;
use crate::config::ImageConfig;
use crate::error::ImageError;
use crate::lenient::null_as_default;
use crate::manifest::{Descriptor, Manifest};
use crate::media::{self, Format};
use crate::record::{ImageRecord, Origin, PlatformImage};
use crate::reference::Reference;

/// An image of docker's `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    /// Path of the config in the archive.
    pub(super) config: String,
    /// Names; `null` if there are none.
    pub(super) repo_tags: Option<Vec<String>>,
    /// Paths of the layers in the archive, base first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) layers: Vec<String>,
}

impl DockerImage {
    fn names(&self) -> impl Iterator<Item = Reference> {
        self.repo_tags
            .iter()
            .flatten()
            .filter_map(|name| Reference::parse(name).ok())
            .map(Reference::with_default_tag)
    }
}
impl Loader<'_> {
    pub(super) fn load_docker(
        &self,
        staged: &Staged,
        images: &[DockerImage],
    ) -> Result<Vec<Loaded>, ImageError> {
        let mut loaded = Vec::new();
        for image in images {
            loaded.push(Loaded {
                record: self.load_docker_image(staged, image)?,
                names: image.names().collect(),
            });
        }
        if loaded.is_empty() {
            return Err(ImageError::UnknownArchive);
        }
        Ok(loaded)
    }

    /// Such an image has no manifest that it could be known by elsewhere.
    fn load_docker_image(
        &self,
        staged: &Staged,
        image: &DockerImage,
    ) -> Result<ImageRecord, ImageError> {
        let config_file = staged.file_at(&image.config)?;
        let config_blob =
            Descriptor::new(media::DOCKER_CONFIG, config_file.digest, config_file.size);
        let config = ImageConfig::parse(&self.read(&config_blob, ImageConfig::MAX_BYTES)?)?;
        let platform = config.platform();
        self.check_wanted(&platform)?;
        let layers = image.layers.iter().map(|path| {
            let file = staged.file_at(path)?;
            Ok(Descriptor::new(media::DOCKER_LAYER, file.digest, file.size))
        });
        let layers = layers.collect::<Result<Vec<_>, ImageError>>()?;
        let manifest = Manifest::new(Format::Docker, config_blob.clone(), layers);
        self.load_layers(&manifest, &config)?;
        self.source.deliver(&config_blob, self.layers.store())?;
        let image = PlatformImage {
            platform,
            config: config_blob.digest,
            manifest: None,
            size_bytes: None,
        };
        ImageRecord::new(vec![image], None, Origin::Loaded)
            .ok_or(ImageError::UnknownArchive)
            .and_then(|record| self.with_created(record))
    }
}

/// Gives images the names that only docker's part of the archive has.
pub(super) fn add_docker_names(staged: &Staged, loaded: &mut [Loaded], docker: &[DockerImage]) {
    for image in docker {
        let Ok(config) = staged.file_at(&image.config) else {
            continue;
        };
        let is_meant = |loaded: &&mut Loaded| {
            loaded
                .record
                .images
                .iter()
                .any(|i| i.config == config.digest)
        };
        if let Some(loaded) = loaded.iter_mut().find(is_meant)
            && loaded.names.is_empty()
        {
            loaded.names.extend(image.names());
        }
    }
}

pub(super) fn parse_docker(bytes: &[u8]) -> Result<Vec<DockerImage>, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::BadDocument {
        what: "manifest.json of the archive",
        source,
    })
}
