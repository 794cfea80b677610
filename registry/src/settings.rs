//! Where the client's configuration lies, as plain values.
//!
//! Only [`Settings::from_env`] knows the usual places, and it sees the environment through a
//! function; nothing in this crate reads the environment by itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::credentials::Login;
use crate::secret::Secret;

/// Everything a [`Client`](crate::Client) is made from.
///
/// The default knows no files, no credentials and no proxies.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Settings {
    /// Credentials given for this run, by host (`--creds`); they win over every file.
    pub logins: BTreeMap<String, Login>,
    /// The one file named for this run (`--authfile`, `REGISTRY_AUTH_FILE`); it must exist.
    pub auth_file: Option<PathBuf>,
    /// Content of `DOCKER_AUTH_CONFIG`.
    pub docker_auth_config: Option<Secret>,
    /// The usual credentials files, in the order in which they are asked; they may be missing.
    pub credential_files: Vec<CredentialFile>,
    /// Folders searched for `docker-credential-*`, in the form of `PATH`.
    pub helper_path: Option<OsString>,
    /// The `registries.conf` in force.
    pub registries_conf: RegistriesConf,
    /// Docker's `daemon.json` files; they may be missing.
    pub daemon_files: Vec<PathBuf>,
    /// `certs.d` folders; each may hold one folder for a host.
    pub certificate_dirs: Vec<PathBuf>,
    /// Registries that may be spoken to without verified TLS: `host`, `host:port` or a network.
    pub insecure_registries: Vec<String>,
    /// Proxies.
    pub proxies: Proxies,
    /// Patience.
    pub limits: Limits,
}

/// A credentials file and its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialFile {
    /// Where it is.
    pub path: PathBuf,
    /// How it is written.
    pub format: CredentialFormat,
}

/// The formats of credentials files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialFormat {
    /// Docker's `config.json` and containers' `auth.json`.
    Config,
    /// The older `.dockercfg`: the `auths` map alone.
    Legacy,
}

/// Which `registries.conf` counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistriesConf {
    /// Exactly this file, without drop-ins; it must exist.
    File(PathBuf),
    /// The first of `files` that exists, then every `*.conf` in `drop_in_dirs`.
    Usual {
        /// Files, the most important first.
        files: Vec<PathBuf>,
        /// Folders, the least important first.
        drop_in_dirs: Vec<PathBuf>,
    },
}

impl Default for RegistriesConf {
    fn default() -> Self {
        Self::Usual {
            files: Vec::new(),
            drop_in_dirs: Vec::new(),
        }
    }
}

/// Proxies by the scheme of the URL that is asked for. Their URLs may hold passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For http.
    pub http: Option<Secret>,
    /// For https.
    pub https: Option<Secret>,
    /// Hosts that are asked directly, comma-separated.
    pub no_proxy: String,
}

/// How long and how often the client tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest time to look up a name, and again to open a connection with TLS.
    pub connect_timeout: Duration,
    /// Longest time without a byte.
    pub idle_timeout: Duration,
    /// Longest time without a byte after all of a blob was sent: registries hash and copy it then.
    pub commit_timeout: Duration,
    /// Longest time for a whole manifest, configuration or token.
    pub document_timeout: Duration,
    /// Tries of one request.
    pub attempts: u32,
    /// Pause after the first failure; it doubles with every further one.
    pub backoff: Duration,
    /// Longest pause that the client chooses.
    pub backoff_cap: Duration,
    /// Longest pause that a registry may ask for.
    pub retry_after_cap: Duration,
    /// Longest run of a credential helper.
    pub helper_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(300),
            document_timeout: Duration::from_secs(120),
            attempts: 5,
            backoff: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(30),
            retry_after_cap: Duration::from_secs(60),
            helper_timeout: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// Returns the settings that docker and the containers tools would use with this environment.
    ///
    /// `variable` returns the value of an environment variable; empty values count as unset.
    #[must_use]
    pub fn from_env(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| get(name).map(PathBuf::from);
        let home = path("HOME");
        let config_home =
            path("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
        Self {
            logins: BTreeMap::new(),
            auth_file: path("REGISTRY_AUTH_FILE"),
            docker_auth_config: get("DOCKER_AUTH_CONFIG").map(Secret::new),
            credential_files: credential_files(
                path("DOCKER_CONFIG"),
                path("XDG_RUNTIME_DIR"),
                config_home.as_deref(),
                home.as_deref(),
            ),
            helper_path: get("PATH").map(OsString::from),
            registries_conf: registries_conf(path("CONTAINERS_REGISTRIES_CONF"), home.as_deref()),
            daemon_files: in_places(
                "docker/daemon.json",
                &[config_home.as_deref(), Some(Path::new("/etc"))],
            ),
            certificate_dirs: certificate_dirs(config_home.as_deref()),
            insecure_registries: Vec::new(),
            proxies: Proxies {
                http: get("HTTP_PROXY")
                    .or_else(|| get("http_proxy"))
                    .map(Secret::new),
                https: get("HTTPS_PROXY")
                    .or_else(|| get("https_proxy"))
                    .map(Secret::new),
                no_proxy: get("NO_PROXY")
                    .or_else(|| get("no_proxy"))
                    .unwrap_or_default(),
            },
            limits: Limits::default(),
        }
    }
}

fn credential_files(
    docker_config: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    config_home: Option<&Path>,
    home: Option<&Path>,
) -> Vec<CredentialFile> {
    let docker = docker_config.or_else(|| home.map(|home| home.join(".docker")));
    let runtime = match runtime_dir {
        Some(folder) => folder.join("containers/auth.json"),
        None => {
            let uid = rustix::process::getuid().as_raw();
            PathBuf::from(format!("/run/containers/{uid}/auth.json"))
        }
    };
    let config = |path| CredentialFile {
        path,
        format: CredentialFormat::Config,
    };
    let mut files: Vec<CredentialFile> = docker
        .map(|folder| config(folder.join("config.json")))
        .into_iter()
        .collect();
    files.push(config(runtime));
    files.extend(config_home.map(|folder| config(folder.join("containers/auth.json"))));
    files.extend(home.map(|home| CredentialFile {
        path: home.join(".dockercfg"),
        format: CredentialFormat::Legacy,
    }));
    files
}

fn registries_conf(named: Option<PathBuf>, home: Option<&Path>) -> RegistriesConf {
    if let Some(file) = named {
        return RegistriesConf::File(file);
    }
    let own = home.map(|home| home.join(".config"));
    let mut drop_in_dirs = in_places(
        "containers/registries.conf.d",
        &[own.as_deref(), Some(Path::new("/etc"))],
    );
    drop_in_dirs.reverse();
    RegistriesConf::Usual {
        files: in_places(
            "containers/registries.conf",
            &[own.as_deref(), Some(Path::new("/etc"))],
        ),
        drop_in_dirs,
    }
}

fn certificate_dirs(config_home: Option<&Path>) -> Vec<PathBuf> {
    let places = [config_home, Some(Path::new("/etc"))];
    let mut dirs = in_places("containers/certs.d", &places);
    dirs.extend(in_places("docker/certs.d", &places));
    dirs
}

fn in_places(relative: &str, folders: &[Option<&Path>]) -> Vec<PathBuf> {
    let known = folders.iter().flatten();
    known.map(|folder| folder.join(relative)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Settings {
        Settings::from_env(&|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn usual_places() {
        let settings = from(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/run/user/7")]);
        let files: Vec<&str> = settings
            .credential_files
            .iter()
            .filter_map(|file| file.path.to_str())
            .collect();
        assert_eq!(
            files,
            [
                "/h/.docker/config.json",
                "/run/user/7/containers/auth.json",
                "/h/.config/containers/auth.json",
                "/h/.dockercfg"
            ]
        );
        assert_eq!(
            settings.daemon_files,
            [
                Path::new("/h/.config/docker/daemon.json"),
                Path::new("/etc/docker/daemon.json")
            ]
        );
        assert_eq!(
            settings.registries_conf,
            RegistriesConf::Usual {
                files: vec![
                    "/h/.config/containers/registries.conf".into(),
                    "/etc/containers/registries.conf".into()
                ],
                drop_in_dirs: vec![
                    "/etc/containers/registries.conf.d".into(),
                    "/h/.config/containers/registries.conf.d".into()
                ],
            }
        );
    }

    #[test]
    fn named_places_and_proxies() {
        let settings = from(&[
            ("DOCKER_CONFIG", "/d"),
            ("CONTAINERS_REGISTRIES_CONF", "/r.conf"),
            ("REGISTRY_AUTH_FILE", ""),
            ("https_proxy", "http://u:pw@proxy:1"),
            ("NO_PROXY", "a,b"),
        ]);
        assert_eq!(
            settings.credential_files[0].path,
            Path::new("/d/config.json")
        );
        assert_eq!(
            settings.registries_conf,
            RegistriesConf::File("/r.conf".into())
        );
        assert_eq!(settings.auth_file, None);
        assert_eq!(settings.proxies.no_proxy, "a,b");
        assert_eq!(settings.proxies.http, None);
        assert!(!format!("{settings:?}").contains("pw"));
    }
}
