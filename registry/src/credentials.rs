//! Which credentials belong to a registry, from the files that docker and containers tools keep.
//!
//! Reads only; `credential_file` writes. Files are read when a registry first asks for credentials, so a broken one does not
//! stop a build that needs none.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::credential_helper::{self, HelperSearch};
use crate::error::RegistryError;
use crate::secret::Secret;
use crate::settings::{CredentialFormat, Settings};

/// Docker Hub's key in credentials files.
const HUB_KEY: &str = "https://index.docker.io/v1/";
const HUB_HOSTS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What a user proves to be somebody with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// User name and password.
    Basic {
        /// User name.
        user: String,
        /// Password or personal access token.
        password: Secret,
    },
    /// A refresh token for the token server (`identitytoken`).
    Identity {
        /// User name, often empty.
        user: String,
        /// The token.
        token: Secret,
    },
    /// A token for the registry itself (`registrytoken`).
    Registry {
        /// The token.
        token: Secret,
    },
}

/// Credentials and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The credentials.
    pub(crate) login: Login,
    /// Fit for a message: `user me of /root/.docker/config.json`.
    pub(crate) source: String,
}

/// Finds credentials; remembers the files it has read.
#[derive(Debug)]
pub(crate) struct CredentialStore {
    settings: Settings,
    files: Mutex<Option<Vec<AuthFile>>>,
}

impl CredentialStore {
    pub(crate) const fn new(settings: Settings) -> Self {
        Self {
            settings,
            files: Mutex::new(None),
        }
    }

    /// Returns the credentials for `repository` on `host` (as references name it).
    ///
    /// # Errors
    /// [`RegistryError::Config`] for a broken file, [`RegistryError::CredentialHelper`] for a
    /// helper that fails.
    pub(crate) fn find(
        &self,
        host: &str,
        repository: &str,
    ) -> Result<Option<Found>, RegistryError> {
        if let Some(login) = self.settings.logins.get(host) {
            return Ok(Some(found(login.clone(), "the command line")));
        }
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = match &mut *files {
            Some(files) => files,
            none => none.insert(read_all(&self.settings)?),
        };
        let search = HelperSearch {
            path: self.settings.helper_path.as_deref(),
            timeout: self.settings.limits.helper_timeout,
        };
        for file in files {
            if let Some(found) = file.find(host, repository, &search)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn read_all(settings: &Settings) -> Result<Vec<AuthFile>, RegistryError> {
    let mut files = Vec::new();
    if let Some(path) = &settings.auth_file {
        let file = AuthFile::read(path, CredentialFormat::Config)?
            .ok_or_else(|| RegistryError::config(path, "no such file"))?;
        files.push(file);
    }
    if let Some(text) = &settings.docker_auth_config {
        let path = Path::new("DOCKER_AUTH_CONFIG");
        files.push(AuthFile::parse(
            path,
            text.reveal(),
            CredentialFormat::Config,
        )?);
    }
    for place in &settings.credential_files {
        files.extend(AuthFile::read(&place.path, place.format)?);
    }
    Ok(files)
}

#[derive(Debug, Default)]
struct AuthFile {
    path: PathBuf,
    auths: BTreeMap<String, Entry>,
    store: Option<String>,
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonConfig {
    auths: Option<BTreeMap<String, Option<JsonEntry>>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
struct JsonEntry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

/// An entry of `auths`; decoded when it is asked for, so that only a used one can be broken.
#[derive(Debug, Clone, Default)]
struct Entry {
    auth: Option<Secret>,
    user: String,
    password: Option<Secret>,
    identity: Option<Secret>,
    registry: Option<Secret>,
}

impl From<JsonEntry> for Entry {
    fn from(json: JsonEntry) -> Self {
        let secret = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Secret::new);
        Self {
            auth: secret(json.auth),
            user: json.username.unwrap_or_default(),
            password: secret(json.password),
            identity: secret(json.identitytoken),
            registry: secret(json.registrytoken),
        }
    }
}

impl AuthFile {
    fn read(path: &Path, format: CredentialFormat) -> Result<Option<Self>, RegistryError> {
        match fs_err::read_to_string(path) {
            Ok(text) => Self::parse(path, &text, format).map(Some),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(RegistryError::config(path, error)),
        }
    }

    fn parse(path: &Path, text: &str, format: CredentialFormat) -> Result<Self, RegistryError> {
        // serde_json quotes the value that it did not expect, which may be a password.
        let broken = |error: serde_json::Error| {
            let place = format!("line {} column {}", error.line(), error.column());
            RegistryError::config(path, format!("not valid JSON of this format at {place}"))
        };
        if text.trim().is_empty() {
            return Ok(Self {
                path: path.to_owned(),
                ..Self::default()
            });
        }
        let config: JsonConfig = match format {
            CredentialFormat::Config => serde_json::from_str(text).map_err(broken)?,
            CredentialFormat::Legacy => JsonConfig {
                auths: serde_json::from_str(text).map_err(broken)?,
                creds_store: None,
                cred_helpers: None,
            },
        };
        let auths = config.auths.unwrap_or_default().into_iter();
        Ok(Self {
            path: path.to_owned(),
            auths: auths
                .map(|(key, entry)| (key, entry.unwrap_or_default().into()))
                .collect(),
            store: config.creds_store.filter(|name| !name.is_empty()),
            helpers: config.cred_helpers.unwrap_or_default(),
        })
    }

    fn find(
        &self,
        host: &str,
        repository: &str,
        search: &HelperSearch<'_>,
    ) -> Result<Option<Found>, RegistryError> {
        let helper = self
            .helpers
            .iter()
            .find(|(key, _)| names_host(key, host))
            .map(|(key, helper)| (helper.as_str(), key.as_str()));
        let store = self.store.as_deref().map(|store| (store, key_of(host)));
        // Docker leaves an empty `auths` entry beside a helper; it does not count.
        if let Some((helper, server)) = helper.or(store) {
            let login = credential_helper::get(helper, server, search)?;
            return Ok(login.map(|login| found(login, &format!("docker-credential-{helper}"))));
        }
        let Some(entry) = self.entry(host, repository) else {
            return Ok(None);
        };
        let login = entry.login().map_err(|problem| {
            RegistryError::config(&self.path, format!("auths entry of {host}: {problem}"))
        })?;
        let place = self.path.display().to_string();
        Ok(login.map(|login| found(login, &place)))
    }

    /// The entry of the repository, of the nearest namespace above it, or of the host.
    fn entry(&self, host: &str, repository: &str) -> Option<&Entry> {
        let mut name = format!("{host}/{repository}");
        while name.len() > host.len() {
            if let Some(entry) = self.auths.get(&name) {
                return Some(entry);
            }
            name.truncate(name.rfind('/').unwrap_or(0));
        }
        self.auths.get(host).or_else(|| {
            let other = self.auths.iter().find(|(key, _)| names_host(key, host));
            other.map(|(_, entry)| entry)
        })
    }
}

impl Entry {
    /// Returns the login, `None` for an entry without one.
    fn login(&self) -> Result<Option<Login>, &'static str> {
        if let Some(token) = &self.registry {
            let token = token.clone();
            return Ok(Some(Login::Registry { token }));
        }
        let (user, password) = match &self.auth {
            Some(auth) => decode_auth(auth.reveal())?,
            None => (self.user.clone(), self.password.clone()),
        };
        if let Some(token) = &self.identity {
            let token = token.clone();
            return Ok(Some(Login::Identity { user, token }));
        }
        Ok(match password {
            Some(password) => Some(Login::Basic { user, password }),
            None if user.is_empty() => None,
            None => Some(Login::Basic {
                user,
                password: Secret::new(""),
            }),
        })
    }
}

/// Decodes `auth`: base64 of `user:password`, with or without padding, NULs at the end.
fn decode_auth(text: &str) -> Result<(String, Option<Secret>), &'static str> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let bytes = LENIENT
        .decode(text.trim())
        .map_err(|_error| "its auth is not base64")?; // the error would quote the secret
    let plain = String::from_utf8(bytes).map_err(|_error| "its auth is not text")?;
    let (user, password) = plain
        .split_once(':')
        .ok_or("its auth is not user:password")?;
    let password = password.trim_end_matches('\0');
    Ok((user.to_owned(), Some(Secret::new(password))))
}

fn found(login: Login, place: &str) -> Found {
    let source = match &login {
        Login::Basic { user, .. } => format!("user {user} of {place}"),
        Login::Identity { .. } => format!("identity token of {place}"),
        Login::Registry { .. } => format!("registry token of {place}"),
    };
    Found { login, source }
}

/// Returns what credentials for the whole of `host` are kept under.
pub(crate) fn key_of(host: &str) -> &str {
    if is_hub(host) { HUB_KEY } else { host }
}

fn is_hub(host: &str) -> bool {
    HUB_HOSTS.contains(&host)
}

/// True if a key of a file stands for the whole of `host`.
pub(crate) fn names_host(key: &str, host: &str) -> bool {
    let stripped = ["https://", "http://"]
        .iter()
        .find_map(|scheme| key.strip_prefix(scheme));
    let name = match stripped {
        // A path behind a scheme says nothing (`https://index.docker.io/v1/`) ...
        Some(rest) => rest.split('/').next().unwrap_or_default(),
        // ... but without a scheme it is a namespace, except for the protocol's own.
        None => key
            .trim_end_matches('/')
            .trim_end_matches("/v1")
            .trim_end_matches("/v2"),
    };
    name.eq_ignore_ascii_case(host) || (is_hub(host) && is_hub(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, host: &str, repository: &str, expected: &str) {
        let settings = Settings {
            docker_auth_config: Some(Secret::new(json)),
            ..Settings::default()
        };
        let found = CredentialStore::new(settings).find(host, repository);
        let shown = match found.unwrap() {
            None => "-".into(),
            Some(Found { login, .. }) => match login {
                Login::Basic { user, password } => format!("{user}:{}", password.reveal()),
                Login::Identity { user, token } => format!("{user} identity {}", token.reveal()),
                Login::Registry { token } => format!("registry {}", token.reveal()),
            },
        };
        assert_eq!(shown, expected, "{json} {host}/{repository}");
    }

    #[test]
    fn forms_of_an_entry() {
        check(r#"{"auths":{"h":{"auth":"bWU6YTpi"}}}"#, "h", "r", "me:a:b");
        check(r#"{"auths":{"h":{"auth":"bWU6YQ"}}}"#, "h", "r", "me:a");
        check(r#"{"auths":{"h":{"auth":"bWU6YQAA"}}}"#, "h", "r", "me:a");
        check(
            r#"{"auths":{"h":{"username":"u","password":"p"}}}"#,
            "h",
            "r",
            "u:p",
        );
        check(
            r#"{"auths":{"h":{"auth":"dTo=","identitytoken":"it"}}}"#,
            "h",
            "r",
            "u identity it",
        );
        check(
            r#"{"auths":{"h":{"registrytoken":"rt","auth":"bWU6YQ"}}}"#,
            "h",
            "r",
            "registry rt",
        );
        check(r#"{"auths":{"h":{}},"x":[1]}"#, "h", "r", "-");
        check(r#"{"auths":{"h":null}}"#, "h", "r", "-");
        check("{}", "h", "r", "-");
        check("", "h", "r", "-");
    }

    #[test]
    fn keys() {
        let entry = r#"{"auth":"bWU6YQ"}"#;
        let with = |key: &str| format!(r#"{{"auths":{{"{key}":{entry}}}}}"#);
        check(
            &with("https://index.docker.io/v1/"),
            "docker.io",
            "library/x",
            "me:a",
        );
        check(
            &with("registry-1.docker.io"),
            "docker.io",
            "library/x",
            "me:a",
        );
        check(&with("https://h:5000/v2/"), "h:5000", "r", "me:a");
        check(&with("http://h"), "h", "r", "me:a");
        check(&with("h/v1/"), "h", "r", "me:a");
        check(&with("h"), "h:5000", "r", "-");
        check(&with("h/team"), "h", "team/app", "me:a");
        check(&with("h/team"), "h", "team", "me:a");
        check(&with("h/team"), "h", "teams/app", "-");
        check(&with("h/team"), "h", "other/app", "-");
    }

    #[test]
    fn the_nearest_namespace_wins() {
        let json = r#"{"auths":{
            "h":{"auth":"aDpo"}, "h/a":{"auth":"YTph"}, "h/a/b":{"auth":"Yjpi"}}}"#;
        check(json, "h", "a/b", "b:b");
        check(json, "h", "a/b/c", "b:b");
        check(json, "h", "a/c", "a:a");
        check(json, "h", "c", "h:h");
    }

    #[test]
    fn a_broken_file_is_named_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        for text in [
            r#"{"auths":{"h":{"auth":"hunter2!"}}}"#,
            r#"{"auths":{"h":{"auth":"hunter2"}}}"#,
            r#"{"auths":{"h":"hunter2"}}"#,
            r#"{"auths":"hunter2"#,
        ] {
            let path = folder.path().join("config.json");
            fs_err::write(&path, text).unwrap();
            let settings = Settings {
                auth_file: Some(path),
                ..Settings::default()
            };
            let error = CredentialStore::new(settings).find("h", "r").unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("config.json"), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn files_are_asked_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs_err::write(place("a.json"), r#"{"auths":{"h":{"auth":"YTph"}}}"#).unwrap();
        fs_err::write(
            place("legacy"),
            r#"{"h":{"auth":"bDps"},"g":{"auth":"bDps"}}"#,
        )
        .unwrap();
        let file = |name: &str, format| crate::settings::CredentialFile {
            path: place(name),
            format,
        };
        let settings = Settings {
            credential_files: vec![
                file("none.json", CredentialFormat::Config),
                file("a.json", CredentialFormat::Config),
                file("legacy", CredentialFormat::Legacy),
            ],
            ..Settings::default()
        };
        let store = CredentialStore::new(settings);
        let source = |host: &str| store.find(host, "r").unwrap().map(|found| found.source);
        assert!(
            source("h")
                .is_some_and(|text| text.starts_with("user a of ") && text.ends_with("a.json"))
        );
        assert!(source("g").is_some_and(|text| text.ends_with("legacy")));
        assert_eq!(source("x"), None);
        let missing = Settings {
            auth_file: Some(place("none.json")),
            ..Settings::default()
        };
        assert!(CredentialStore::new(missing).find("h", "r").is_err());
    }
}
