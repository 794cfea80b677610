//! Mirrors, insecure registries and blocked ones, from `registries.conf` and `daemon.json`.
//!
//! Format: <https://github.com/containers/image/blob/main/docs/containers-registries.conf.5.md>.
//! Short-name search and aliases are ignored: names without a host belong to docker.io.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use ureq::http::Uri;

use crate::address::{Network, literal, split_port};
use crate::error::RegistryError;
use crate::settings::{RegistriesConf, Settings};
use crate::url::Origin;

/// What the files say, ready to be asked.
#[derive(Debug, Default)]
pub(crate) struct Registries {
    /// One for each prefix; a later file replaces an earlier entry of the same prefix.
    entries: Vec<Entry>,
    /// Mirrors of docker.io from `daemon.json`.
    pub(crate) docker_mirrors: Vec<DockerMirror>,
    insecure_hosts: Vec<String>,
    insecure_networks: Vec<Network>,
}

/// One `[[registry]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `host[:port][/path]` or `*.domain[/path]`.
    pub(crate) prefix: String,
    /// What replaces the prefix; `None` keeps the name.
    pub(crate) location: Option<String>,
    /// No verified TLS is needed.
    pub(crate) is_insecure: bool,
    /// Must not be pulled from.
    pub(crate) is_blocked: bool,
    /// Asked before the location, in order.
    pub(crate) mirrors: Vec<Mirror>,
    /// The file that says so.
    pub(crate) path: PathBuf,
}

/// One `[[registry.mirror]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// What replaces the prefix.
    pub(crate) location: String,
    /// No verified TLS is needed.
    pub(crate) is_insecure: bool,
    /// When it is asked.
    pub(crate) serves: Serves,
}

/// A URL of `registry-mirrors`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DockerMirror {
    /// Where it is, with the scheme that is to be used.
    pub(crate) origin: Origin,
    /// Path before `/v2/`, without a slash at its end.
    pub(crate) base: String,
}

/// What a mirror is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serves {
    /// Everything.
    All,
    /// References by digest.
    Digests,
    /// References by tag.
    Tags,
}

impl Registries {
    /// Reads the files that `settings` names.
    ///
    /// # Errors
    /// [`RegistryError::Config`] for a file that cannot be read or understood.
    pub(crate) fn read(settings: &Settings) -> Result<Self, RegistryError> {
        let mut registries = Self::default();
        match &settings.registries_conf {
            RegistriesConf::File(path) => match read_file(path)? {
                Some(text) => registries.add_toml(path, &text)?,
                None => return Err(RegistryError::config(path, "no such file")),
            },
            RegistriesConf::Usual {
                files,
                drop_in_dirs,
            } => {
                for path in files {
                    if let Some(text) = read_file(path)? {
                        registries.add_toml(path, &text)?;
                        break;
                    }
                }
                for folder in drop_in_dirs {
                    for path in drop_ins(folder)? {
                        if let Some(text) = read_file(&path)? {
                            registries.add_toml(&path, &text)?;
                        }
                    }
                }
            }
        }
        for path in &settings.daemon_files {
            match fs_err::read_to_string(path) {
                Ok(text) => registries.add_daemon_json(path, &text)?,
                // The daemon's own file; one that is closed to us is not meant for us.
                Err(error) if is_missing(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(RegistryError::config(path, error)),
            }
        }
        for name in &settings.insecure_registries {
            registries.add_insecure(name);
        }
        Ok(registries)
    }

    /// Returns the entry with the longest prefix of `name` (`host/path[:tag][@digest]`), and how
    /// many bytes of `name` the prefix covers.
    pub(crate) fn entry(&self, name: &str) -> Option<(&Entry, usize)> {
        let matching = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry, covered(&entry.prefix, name)?)));
        matching.max_by_key(|(_, covered)| *covered)
    }

    /// True if `daemon.json` or a flag lists `authority` as insecure.
    pub(crate) fn is_insecure(&self, authority: &str) -> bool {
        let (host, _) = split_port(authority);
        let listed = |name: &str| {
            self.insecure_hosts
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(name))
        };
        listed(authority)
            || listed(host)
            || literal(host).is_some_and(|address| {
                self.insecure_networks
                    .iter()
                    .any(|network| network.contains(address))
            })
    }

    pub(crate) fn add_toml(&mut self, path: &Path, text: &str) -> Result<(), RegistryError> {
        let file: TomlFile = toml::from_str(text)
            .map_err(|error| RegistryError::config(path, first_line(&error.to_string())))?;
        for written in file.registry {
            let entry = written.into_entry(path)?;
            match self
                .entries
                .iter_mut()
                .find(|old| old.prefix == entry.prefix)
            {
                Some(old) => *old = entry,
                None => self.entries.push(entry),
            }
        }
        Ok(())
    }

    pub(crate) fn add_daemon_json(&mut self, path: &Path, text: &str) -> Result<(), RegistryError> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let file: DaemonFile =
            serde_json::from_str(text).map_err(|error| RegistryError::config(path, error))?;
        for text in file.registry_mirrors.unwrap_or_default() {
            let mirror = parse_mirror(&text).ok_or_else(|| {
                let problem = "an entry of registry-mirrors is not an http or https URL";
                RegistryError::config(path, problem)
            })?;
            self.docker_mirrors.push(mirror);
        }
        for name in file.insecure_registries.unwrap_or_default() {
            self.add_insecure(&name);
        }
        Ok(())
    }

    fn add_insecure(&mut self, name: &str) {
        match Network::parse(name) {
            Some(network) => self.insecure_networks.push(network),
            // Docker accepts the host with a scheme in front and a slash behind.
            None => self.insecure_hosts.push(
                name.trim_start_matches("https://")
                    .trim_start_matches("http://")
                    .trim_end_matches('/')
                    .to_owned(),
            ),
        }
    }
}

fn parse_mirror(text: &str) -> Option<DockerMirror> {
    let uri: Uri = text.parse().ok()?;
    let has_user = uri.authority()?.as_str().contains('@');
    (!has_user && uri.query().is_none()).then_some(DockerMirror {
        origin: Origin::of(&uri)?,
        base: uri.path().trim_end_matches('/').to_owned(),
    })
}

/// Returns how many bytes of `name` belong to `prefix`, if it is a prefix of whole components.
fn covered(prefix: &str, name: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        None => name.starts_with(prefix).then_some(prefix.len())?,
        Some(domain) => {
            let at = name.find(domain)?;
            if at == 0 || name[..at].contains('/') {
                return None;
            }
            at + domain.len()
        }
    };
    let rest = &name[end..];
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(end)
}

fn read_file(path: &Path) -> Result<Option<String>, RegistryError> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(RegistryError::config(path, error)),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, RegistryError> {
    let listing = match fs_err::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(RegistryError::config(folder, error)),
    };
    let mut paths = Vec::new();
    for entry in listing {
        let path = entry
            .map_err(|error| RegistryError::config(folder, error))?
            .path();
        if path
            .extension()
            .is_some_and(|extension| extension == "conf")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[derive(Deserialize)]
struct TomlFile {
    #[serde(default)]
    registry: Vec<TomlEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TomlEntry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<TomlMirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TomlMirror {
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: String,
}

impl TomlEntry {
    fn into_entry(self, path: &Path) -> Result<Entry, RegistryError> {
        let location = checked_location(&self.location, path)?;
        let prefix = checked_location(&self.prefix, path)?
            .or_else(|| location.clone())
            .ok_or_else(|| {
                RegistryError::config(path, "a [[registry]] has neither prefix nor location")
            })?;
        if prefix.contains('*') && (!prefix.starts_with("*.") || prefix.matches('*').count() > 1) {
            let problem =
                format!("prefix {prefix:?}: a wildcard must be of the form *.example.com");
            return Err(RegistryError::config(path, problem));
        }
        let mut mirrors = Vec::new();
        for mirror in self.mirror {
            mirrors.push(mirror.into_mirror(self.mirror_by_digest_only, path)?);
        }
        Ok(Entry {
            prefix,
            location,
            is_insecure: self.insecure,
            is_blocked: self.blocked,
            mirrors,
            path: path.to_owned(),
        })
    }
}

impl TomlMirror {
    fn into_mirror(self, digests_only: bool, path: &Path) -> Result<Mirror, RegistryError> {
        let location = checked_location(&self.location, path)?
            .ok_or_else(|| RegistryError::config(path, "a [[registry.mirror]] has no location"))?;
        let serves = match self.pull_from_mirror.as_str() {
            "" if digests_only => Serves::Digests,
            "" | "all" => Serves::All,
            "digest-only" => Serves::Digests,
            "tag-only" => Serves::Tags,
            other => {
                let problem = format!("mirror {location}: unknown pull-from-mirror {other:?}");
                return Err(RegistryError::config(path, problem));
            }
        };
        Ok(Mirror {
            location,
            is_insecure: self.insecure,
            serves,
        })
    }
}

fn checked_location(text: &str, path: &Path) -> Result<Option<String>, RegistryError> {
    let text = text.trim_end_matches('/');
    if text.contains("://") {
        let problem = format!("{text:?}: a location or prefix has no scheme");
        return Err(RegistryError::config(path, problem));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DaemonFile {
    registry_mirrors: Option<Vec<String>>,
    insecure_registries: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
unqualified-search-registries = ["quay.io"]
short-name-mode = "enforcing"
[[registry]]
prefix = "docker.io/library"
location = "mirror.example/hub"
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "localhost:5000/cache/"
insecure = true
[[registry.mirror]]
location = "other.example"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "*.corp.example"
insecure = true
unknown-key = { a = 1 }
[[registry]]
location = "evil.example/sub"
blocked = true
[aliases]
x = "y"
"#;

    fn read(text: &str) -> Result<Registries, RegistryError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registries.conf");
        fs_err::write(&path, text).unwrap();
        let settings = Settings {
            registries_conf: RegistriesConf::File(path),
            ..Settings::default()
        };
        Registries::read(&settings)
    }

    fn check(name: &str, prefix: &str) {
        let registries = read(CONF).unwrap();
        let found = registries
            .entry(name)
            .map(|(entry, _)| entry.prefix.clone());
        assert_eq!(found.as_deref().unwrap_or("-"), prefix, "{name}");
    }

    #[test]
    fn the_longest_prefix_wins() {
        check("docker.io/library/ubuntu:1", "docker.io/library");
        check("docker.io/libraryx/ubuntu:1", "docker.io");
        check("docker.io/bitnami/redis@sha256:00", "docker.io");
        check("a.b.corp.example/x", "*.corp.example");
        check("a.corp.example:5000/x", "*.corp.example");
        check("corp.example/x", "-");
        check("other.example/a.corp.example/x", "-");
        check("evil.example/sub:1", "evil.example/sub");
        check("evil.example/subway", "-");
    }

    #[test]
    fn mirrors_and_flags() {
        let registries = read(CONF).unwrap();
        let (hub, covered) = registries.entry("docker.io/x/y").unwrap();
        assert_eq!(covered, "docker.io".len());
        assert_eq!(hub.mirrors[0].location, "localhost:5000/cache");
        assert!(hub.mirrors[0].is_insecure && !hub.is_insecure);
        assert_eq!(hub.mirrors[1].serves, Serves::Digests);
        assert!(registries.entry("evil.example/sub/x").unwrap().0.is_blocked);
    }

    #[test]
    fn broken_files_are_named() {
        for (text, word) in [
            ("[[registry", "registries.conf"),
            ("[[registry]]\n", "neither prefix nor location"),
            ("[[registry]]\nlocation = \"https://x\"\n", "no scheme"),
            ("[[registry]]\nprefix = \"a.*.b\"\n", "wildcard"),
            (
                "[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\n",
                "has no location",
            ),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(
                message.contains(word) && message.contains("registries.conf"),
                "{message}"
            );
        }
        let missing = Settings {
            registries_conf: RegistriesConf::File("/nonexistent/r.conf".into()),
            ..Settings::default()
        };
        let message = Registries::read(&missing).unwrap_err().to_string();
        assert!(message.contains("/nonexistent/r.conf"), "{message}");
    }

    #[test]
    fn drop_ins_replace_and_daemon_json_adds() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs_err::write(
            place("main.conf"),
            "[[registry]]\nlocation = \"a.example\"\n",
        )
        .unwrap();
        fs_err::create_dir(place("d")).unwrap();
        fs_err::write(
            place("d/2.conf"),
            "[[registry]]\nlocation = \"a.example\"\nblocked = true\n",
        )
        .unwrap();
        fs_err::write(
            place("d/1.conf"),
            "[[registry]]\nlocation = \"a.example\"\ninsecure = true\n",
        )
        .unwrap();
        fs_err::write(place("d/ignored.txt"), "[[").unwrap();
        fs_err::write(
            place("daemon.json"),
            r#"{"registry-mirrors": ["https://m.example/hub/"], "insecure-registries": ["10.0.0.0/8", "http://plain.example:5000/"], "debug": true}"#,
        )
        .unwrap();
        let settings = Settings {
            registries_conf: RegistriesConf::Usual {
                files: vec![place("missing.conf"), place("main.conf")],
                drop_in_dirs: vec![place("d"), place("no-such-folder")],
            },
            daemon_files: vec![place("daemon.json"), place("none.json")],
            ..Settings::default()
        };
        let registries = Registries::read(&settings).unwrap();
        let (entry, _) = registries.entry("a.example/x").unwrap();
        assert!(entry.is_blocked && !entry.is_insecure);
        let mirrors: Vec<String> = registries
            .docker_mirrors
            .iter()
            .map(|mirror| mirror.origin.show() + &mirror.base)
            .collect();
        assert_eq!(mirrors, ["https://m.example/hub"]);
        assert!(registries.is_insecure("10.2.3.4:5000"));
        assert!(registries.is_insecure("plain.example:5000"));
        assert!(!registries.is_insecure("plain.example"));
        assert!(!registries.is_insecure("11.2.3.4"));
    }
}
