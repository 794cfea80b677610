//! Keeps credentials where docker and the containers tools look for them.
//!
//! Everything else in the file stays as it is: the file belongs to those tools as well.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use serde::Serialize as _;
use serde_json::{Map, Value, json};

use crate::credential_helper::{self, HelperSearch};
use crate::credentials::{CredentialStore, Login, key_of, names_host};
use crate::error::RegistryError;
use crate::settings::Settings;

/// Where credentials were put or taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// This file, not encrypted.
    File(PathBuf),
    /// A `docker-credential-*` program.
    Helper(String),
}

/// Returns the credentials for the whole of `host` that are kept, or given in `settings`.
///
/// # Errors
/// [`RegistryError::Config`] for a broken file, [`RegistryError::CredentialHelper`] for a helper
/// that fails.
pub fn find_login(settings: &Settings, host: &str) -> Result<Option<Login>, RegistryError> {
    let store = CredentialStore::new(settings.clone());
    Ok(store.find(host, "")?.map(|found| found.login))
}

/// Keeps `login` for `host` (as references name it), in the helper that the file names for it, else
/// in the file.
///
/// # Errors
/// As for [`find_login`]; [`RegistryError::Config`] also if the file cannot be written.
pub fn store_login(
    settings: &Settings,
    host: &str,
    login: &Login,
) -> Result<Keeper, RegistryError> {
    let mut file = ConfigFile::open(settings)?;
    let key = key_of(host);
    if let Some((helper, server)) = file.helper(host) {
        credential_helper::store(&helper, &server, login, &search(settings))?;
        // Docker leaves a mark that there is something.
        file.auths().insert(key.to_owned(), json!({}));
        file.write()?;
        return Ok(Keeper::Helper(helper));
    }
    file.forget(host);
    file.auths().insert(key.to_owned(), entry(login));
    file.write()?;
    Ok(Keeper::File(file.path))
}

/// Forgets what is kept for `host`, in the helper and in the file.
///
/// # Errors
/// As for [`store_login`].
pub fn erase_login(settings: &Settings, host: &str) -> Result<(), RegistryError> {
    let mut file = ConfigFile::open(settings)?;
    let helper = file.helper(host);
    if file.forget(host) {
        file.write()?;
    }
    match helper {
        Some((helper, server)) => credential_helper::erase(&helper, &server, &search(settings)),
        None => Ok(()),
    }
}

fn search(settings: &Settings) -> HelperSearch<'_> {
    HelperSearch {
        path: settings.helper_path.as_deref(),
        timeout: settings.limits.helper_timeout,
    }
}

fn entry(login: &Login) -> Value {
    match login {
        Login::Basic { user, password } => {
            json!({ "auth": STANDARD.encode(format!("{user}:{}", password.reveal())) })
        }
        Login::Identity { user, token } => json!({
            "auth": STANDARD.encode(format!("{user}:")),
            "identitytoken": token.reveal(),
        }),
        Login::Registry { token } => json!({ "registrytoken": token.reveal() }),
    }
}

/// The file that credentials are written to, locked as long as this lives.
struct ConfigFile {
    path: PathBuf,
    json: Map<String, Value>,
    _lock: fs_err::File,
}

impl ConfigFile {
    fn open(settings: &Settings) -> Result<Self, RegistryError> {
        let usual = settings.credential_files.first().map(|file| &file.path);
        let named = settings.auth_file.as_ref().or(usual).ok_or_else(|| {
            RegistryError::config("config.json", "there is no place for credentials: set HOME")
        })?;
        let failed = |error: io::Error| RegistryError::config(named, error);
        // A file that is a link stays one.
        let path = match fs_err::canonicalize(named) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => named.clone(),
            Err(error) => return Err(failed(error)),
        };
        let lock = lock_folder(&path).map_err(failed)?;
        let text = match fs_err::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let json = match text.trim() {
            "" => Map::new(),
            // serde_json's error could quote a password.
            text => serde_json::from_str(text)
                .map_err(|_error| RegistryError::config(named, "not a JSON object"))?,
        };
        Ok(Self {
            path,
            json,
            _lock: lock,
        })
    }

    /// Returns the helper in charge of `host`, and the name it knows the host by.
    fn helper(&self, host: &str) -> Option<(String, String)> {
        let own = self.json.get("credHelpers").and_then(Value::as_object);
        let own = own.into_iter().flatten().find_map(|(key, helper)| {
            let helper = helper.as_str().filter(|_| names_host(key, host))?;
            Some((helper.to_owned(), key.clone()))
        });
        let store = self.json.get("credsStore").and_then(Value::as_str);
        let store = store.filter(|name| !name.is_empty());
        own.or_else(|| Some((store?.to_owned(), key_of(host).to_owned())))
    }

    fn auths(&mut self) -> &mut Map<String, Value> {
        let auths = self.json.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        match auths {
            Value::Object(auths) => auths,
            _ => unreachable!("it was just made one"),
        }
    }

    /// Removes every entry for the whole of `host`; false if there was none.
    fn forget(&mut self, host: &str) -> bool {
        let auths = self.auths();
        let before = auths.len();
        auths.retain(|key, _| !names_host(key, host));
        auths.len() < before
    }

    fn write(&self) -> Result<(), RegistryError> {
        let failed = |error: io::Error| RegistryError::config(&self.path, error);
        let mut text = Vec::new();
        let tabs = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, tabs);
        self.json
            .serialize(&mut serializer)
            .map_err(|error| failed(error.into()))?;
        replace(&self.path, &text).map_err(failed)
    }
}

/// Replaces a file in one step by one that only its owner can read.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let staged = path.with_file_name(name);
    let write = || {
        let mut file = fs_err::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs_err::rename(&staged, path)
    };
    let written = write();
    if written.is_err() {
        drop(fs_err::remove_file(&staged));
    }
    written
}

/// Makes the folder if it is not there, and waits until no other process changes a file in it.
fn lock_folder(path: &Path) -> io::Result<fs_err::File> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    let file = fs_err::File::open(folder)?;
    match file.lock() {
        // A file system without locks is used by one process at a time.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        locked => locked.map(|()| file),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::secret::Secret;
    use crate::settings::{CredentialFile, CredentialFormat};

    fn settings(path: &Path) -> Settings {
        Settings {
            credential_files: vec![CredentialFile {
                path: path.to_owned(),
                format: CredentialFormat::Config,
            }],
            ..Settings::default()
        }
    }

    fn login() -> Login {
        Login::Basic {
            user: "me".into(),
            password: Secret::new("a:b"),
        }
    }

    #[test]
    fn what_is_stored_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/config.json");
        let settings = settings(&path);
        for host in ["reg.example:5000", "docker.io"] {
            assert_eq!(find_login(&settings, host).unwrap(), None);
            let keeper = store_login(&settings, host, &login()).unwrap();
            assert_eq!(keeper, Keeper::File(path.clone()));
            assert_eq!(find_login(&settings, host).unwrap(), Some(login()));
        }
        let text = fs_err::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\n\t\"auths\": {\n\t\t\"reg.example:5000\": {\n\t\t\t\"auth\": \"bWU6YTpi\"\n\t\t},\n\t\t\
             \"https://index.docker.io/v1/\": {\n\t\t\t\"auth\": \"bWU6YTpi\"\n\t\t}\n\t}\n}"
        );
        let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        erase_login(&settings, "docker.io").unwrap();
        assert_eq!(find_login(&settings, "docker.io").unwrap(), None);
        assert!(find_login(&settings, "reg.example:5000").unwrap().is_some());
        erase_login(&settings, "nobody.example").unwrap();
    }

    #[test]
    fn the_rest_of_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("real.json"), folder.path().join("link"));
        let before = r#"{"z":1,"auths":{"h":{"auth":"eDp5"},"http://h/v2/":{},"g":{"x":[]}},"HttpHeaders":{"A":"b"}}"#;
        fs_err::write(&path, before).unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        fs_err::os::unix::fs::symlink("real.json", &link).unwrap();
        store_login(&settings(&link), "h", &login()).unwrap();
        assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
        let after: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        let expected =
            r#"{"z":1,"auths":{"g":{"x":[]},"h":{"auth":"bWU6YTpi"}},"HttpHeaders":{"A":"b"}}"#;
        assert_eq!(after.to_string(), expected);
        let mode = fs_err::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for text in ["hunter2", "[\"hunter2\"]"] {
            fs_err::write(&path, text).unwrap();
            let error = store_login(&settings(&path), "h", &login()).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(fs_err::read_to_string(&path).unwrap(), text);
        }
        assert!(store_login(&Settings::default(), "h", &login()).is_err());
    }
}
