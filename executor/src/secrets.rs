//! Secrets that the user lends to a build.
//!
//! A value is read when something first needs it, once a build; it is in no key and never on disk.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A larger secret is refused, in bytes.
pub const MAX_SECRET: u64 = 500 * 1024;

/// Where a secret's value is.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The content of a file.
    File(PathBuf),
    /// Here.
    Value(Vec<u8>),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(****)"),
        }
    }
}

/// The secrets of a build by their ids.
#[derive(Debug, Default)]
pub struct Secrets(BTreeMap<String, Secret>);

struct Secret {
    source: SecretSource,
    read: Mutex<Option<Arc<[u8]>>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// Why a secret cannot be used. Never holds its value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// It is larger than [`MAX_SECRET`].
    #[error("secret {id} too big. max size 500KB")]
    TooLarge {
        /// Its id.
        id: String,
    },
    /// Its file could not be read.
    #[error("cannot read {} for secret {id}", path.display())]
    Unreadable {
        /// Its id.
        id: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FromIterator<(String, SecretSource)> for Secrets {
    /// Of several with the same id the last one counts.
    fn from_iter<T: IntoIterator<Item = (String, SecretSource)>>(secrets: T) -> Self {
        let secret = |(id, source)| {
            let read = Mutex::default();
            (id, Secret { source, read })
        };
        Self(secrets.into_iter().map(secret).collect())
    }
}

impl Secrets {
    /// Returns a secret's value; `None` if there is no secret of that id.
    ///
    /// # Errors
    /// [`SecretError`] if its file cannot be read, or it is too large.
    pub fn get(&self, id: &str) -> Result<Option<Arc<[u8]>>, SecretError> {
        let Some(secret) = self.0.get(id) else {
            return Ok(None);
        };
        // Held while the file is read: a pipe can be read only once.
        let mut read = secret.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = &*read {
            return Ok(Some(Arc::clone(value)));
        }
        let value: Arc<[u8]> = match &secret.source {
            SecretSource::Value(value) => value.clone().into(),
            SecretSource::File(path) => read_file(path)
                .map_err(|source| SecretError::Unreadable {
                    id: id.to_owned(),
                    path: path.clone(),
                    source,
                })?
                .into(),
        };
        if value.len() as u64 > MAX_SECRET {
            return Err(SecretError::TooLarge { id: id.to_owned() });
        }
        *read = Some(Arc::clone(&value));
        Ok(Some(value))
    }

    /// Returns the values that were read so far: what must not be shown.
    #[must_use]
    pub fn known(&self) -> Vec<Arc<[u8]>> {
        let read = |secret: &Secret| {
            let value = secret.read.lock().unwrap_or_else(PoisonError::into_inner);
            value.clone()
        };
        self.0.values().filter_map(read).collect()
    }
}

/// Reads at most one byte more than a secret may have.
fn read_file(path: &std::path::Path) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    let file = fs_err::File::open(path)?.into_file();
    file.take(MAX_SECRET + 1).read_to_end(&mut value)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(path: &std::path::Path) -> Secrets {
        [
            ("f".to_owned(), SecretSource::File(path.to_owned())),
            ("v".to_owned(), SecretSource::Value(b"hunter2".to_vec())),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn values_are_read_once_and_late() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let secrets = secrets(&path);
        assert!(matches!(
            secrets.get("f"),
            Err(SecretError::Unreadable { .. })
        ));
        assert!(secrets.known().is_empty());
        fs_err::write(&path, "one").unwrap();
        assert_eq!(&*secrets.get("f").unwrap().unwrap(), b"one");
        fs_err::write(&path, "two").unwrap();
        assert_eq!(&*secrets.get("f").unwrap().unwrap(), b"one");
        assert_eq!(&*secrets.get("v").unwrap().unwrap(), b"hunter2");
        assert_eq!(secrets.known().len(), 2);
        assert!(secrets.get("x").unwrap().is_none());
    }

    #[test]
    fn secrets_have_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let largest = usize::try_from(MAX_SECRET).unwrap();
        fs_err::write(&path, vec![b'x'; largest]).unwrap();
        assert!(secrets(&path).get("f").is_ok());
        fs_err::write(&path, vec![b'x'; largest + 1]).unwrap();
        let error = secrets(&path).get("f").unwrap_err().to_string();
        assert_eq!(error, "secret f too big. max size 500KB");
    }

    #[test]
    fn values_are_not_printed() {
        let text = format!("{:?}", secrets("/f".as_ref()));
        assert!(text.contains("/f") && !text.contains("hunter2"), "{text}");
    }
}
