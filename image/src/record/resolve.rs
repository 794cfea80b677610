//! What an IMAGE argument means.

use crate::digest::Digest;
use crate::error::ImageError;
use crate::record::ImageRecord;
use crate::record::refs::{image_path, json_files, read_record};
use crate::reference::Reference;
use crate::store::Store;

/// An image that an argument names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The image.
    pub record: ImageRecord,
    /// The name it was found by; `None` if by its ID.
    pub reference: Option<Reference>,
}

impl Store {
    /// Returns the image that a user means by `text`: a full ID, a name, or the beginning of an
    /// ID, in this order. `None` if there is none.
    ///
    /// # Errors
    /// [`ImageError::AmbiguousId`] if several IDs begin so; [`ImageError::BadReference`] if `text`
    /// can be neither a name nor an ID; [`ImageError::Io`].
    pub fn resolve(&self, text: &str) -> Result<Option<Found>, ImageError> {
        let (has_algorithm, hex) = match text.strip_prefix("sha256:") {
            Some(hex) => (true, hex),
            None => (false, text),
        };
        if let Ok(id) = format!("sha256:{hex}").parse() {
            return self.by_id(&id);
        }
        let is_prefix = !hex.is_empty()
            && hex.len() < 64
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        // `sha256:abc` is a name as well, of a repository called `sha256`.
        let named = match Reference::parse(text) {
            Ok(reference) => self.by_reference(reference)?,
            Err(error) if !has_algorithm && !is_prefix => return Err(error),
            Err(_) => None,
        };
        match named {
            Some(found) => Ok(Some(found)),
            None if is_prefix => self.by_prefix(text, hex),
            None => Ok(None),
        }
    }

    /// Returns the image that a user means by `text`, as [`Store::resolve`] does.
    ///
    /// # Errors
    /// [`ImageError::NoSuchImage`] if there is none, and those of [`Store::resolve`].
    pub fn require(&self, text: &str) -> Result<Found, ImageError> {
        self.resolve(text)?.ok_or_else(|| no_such_image(text))
    }

    fn by_reference(&self, reference: Reference) -> Result<Option<Found>, ImageError> {
        let record = self.image_by_reference(&reference)?;
        Ok(record.map(|record| Found {
            record,
            reference: Some(reference.with_default_tag()),
        }))
    }

    fn by_id(&self, id: &Digest) -> Result<Option<Found>, ImageError> {
        if let Some(record) = read_record(&self.root().join(image_path(id)))? {
            return Ok(Some(Found {
                record,
                reference: None,
            }));
        }
        let mut images = self.images()?.into_iter();
        Ok(images
            .find(|record| record.is_named(|digest| digest == id))
            .map(|record| Found {
                record,
                reference: None,
            }))
    }

    fn by_prefix(&self, text: &str, hex: &str) -> Result<Option<Found>, ImageError> {
        // File names are IDs; the files are read only if none of them fits.
        let ids = json_files(&self.root().join("images"))?;
        let mut matching: Vec<_> = ids.iter().filter(|(id, _)| id.starts_with(hex)).collect();
        let record = match (matching.pop(), matching.is_empty()) {
            (Some((_, path)), true) => read_record(path)?,
            (Some(_), false) => return Err(ambiguous(text)),
            (None, _) => {
                let mut images = self.images()?;
                images.retain(|record| record.is_named(|digest| digest.hex().starts_with(hex)));
                let found = images.pop();
                if !images.is_empty() {
                    return Err(ambiguous(text));
                }
                found
            }
        };
        Ok(record.map(|record| Found {
            record,
            reference: None,
        }))
    }
}

/// Returns the error for an argument that names nothing, with the tag that was looked for.
pub(super) fn no_such_image(text: &str) -> ImageError {
    let name = Reference::parse(text).map_or_else(
        |_not_a_name| text.to_owned(),
        |reference| reference.with_default_tag().familiar(),
    );
    ImageError::NoSuchImage { name }
}

fn ambiguous(text: &str) -> ImageError {
    ImageError::AmbiguousId {
        prefix: text.to_owned(),
    }
}
