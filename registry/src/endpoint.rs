//! Which servers to ask for a reference, in which order, and how they may be spoken to.

use rbuild_image::reference::Reference;
use ureq::http::Uri;

use crate::address::{is_loopback, split_port};
use crate::error::RegistryError;
use crate::registries_conf::{DockerMirror, Entry, Registries, Serves};
use crate::transport::Trust;
use crate::url::Origin;

const HUB: &str = "docker.io";
const HUB_AUTHORITY: &str = "registry-1.docker.io";

/// One server that may have what a reference names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The host as references and credentials files name it: `docker.io`.
    pub(crate) host: String,
    /// Where it is: `registry-1.docker.io`, `localhost:5000`.
    pub(crate) authority: String,
    /// Path before `/v2/`; empty except for some mirrors.
    pub(crate) base: String,
    /// The repository on that server.
    pub(crate) repository: String,
    /// Which schemes it may be asked with.
    pub(crate) schemes: Schemes,
    /// Whose certificate is accepted.
    pub(crate) trust: Trust,
    /// What it is to the reference.
    pub(crate) role: Role,
}

/// How a server may be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schemes {
    /// https.
    Tls,
    /// https, and http if the server does not speak TLS.
    TlsThenPlain,
    /// http: a mirror was configured so.
    Plain,
}

/// What a server is to a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The registry that the reference names.
    Origin,
    /// A mirror of it; any failure leads on to the next server.
    Mirror,
}

impl Endpoint {
    /// Returns the URL of `path` (starting behind the repository) with `https` or `http`.
    ///
    /// # Errors
    /// [`RegistryError::BadName`] if the names in it do not make a URL.
    pub(crate) fn uri(
        &self,
        is_tls: bool,
        path: &str,
        subject: &str,
    ) -> Result<Uri, RegistryError> {
        let scheme = if is_tls { "https" } else { "http" };
        let Self {
            authority,
            base,
            repository,
            ..
        } = self;
        let bad = || RegistryError::BadName {
            subject: subject.to_owned(),
            problem: format!("{authority}/{repository} does not make a URL"),
        };
        let uri: Uri = format!("{scheme}://{authority}{base}/v2/{repository}/{path}")
            .parse()
            .map_err(|_error| bad())?;
        // A name like "user@host" would have moved the host.
        let is_sound = Origin::of(&uri).is_some() && !authority.contains('@');
        is_sound.then_some(uri).ok_or_else(bad)
    }

    /// Returns the URL of the protocol's root with `https` or `http`.
    ///
    /// # Errors
    /// As for [`Endpoint::uri`].
    pub(crate) fn root(&self, is_tls: bool, subject: &str) -> Result<Uri, RegistryError> {
        let any = Self {
            repository: "-".to_owned(),
            ..self.clone()
        };
        let below = any.uri(is_tls, "-", subject)?;
        crate::url::join(&below, "../").ok_or_else(|| RegistryError::BadName {
            subject: subject.to_owned(),
            problem: format!("{} does not make a URL", self.authority),
        })
    }

    /// Returns a URL below the protocol's root with `https` or `http`.
    ///
    /// # Errors
    /// As for [`Endpoint::uri`].
    pub(crate) fn at_root(
        &self,
        is_tls: bool,
        path: &str,
        subject: &str,
    ) -> Result<Uri, RegistryError> {
        let root = self.root(is_tls, subject)?;
        crate::url::join(&root, path).ok_or_else(|| RegistryError::BadName {
            subject: subject.to_owned(),
            problem: format!("{} does not make a URL", self.authority),
        })
    }

    /// True if the server is asked on its scheme's usual port.
    pub(crate) fn has_usual_port(&self) -> bool {
        split_port(&self.authority).1.is_none()
    }
}

/// Returns the servers for `reference`, mirrors first.
///
/// # Errors
/// [`RegistryError::Blocked`], and [`RegistryError::Config`] for a rewriting that leaves no
/// repository.
pub(crate) fn endpoints(
    registries: &Registries,
    reference: &Reference,
) -> Result<Vec<Endpoint>, RegistryError> {
    let name = reference.name();
    let full = reference.pull_form().to_string();
    let mut found = Vec::new();
    let mut origin = (name.clone(), false);
    if let Some((entry, covered)) = registries.entry(&full) {
        if entry.is_blocked {
            return Err(RegistryError::Blocked {
                subject: full,
                prefix: entry.prefix.clone(),
                path: entry.path.clone(),
            });
        }
        let rest = name.get(covered..).unwrap_or_default();
        for mirror in &entry.mirrors {
            let serves = match mirror.serves {
                Serves::All => true,
                Serves::Digests => reference.digest.is_some(),
                Serves::Tags => reference.digest.is_none(),
            };
            if serves {
                let place = rewrite(&mirror.location, rest);
                let endpoint = named(registries, &place, mirror.is_insecure, Role::Mirror);
                found.push(endpoint.ok_or_else(|| no_repository(entry, &place))?);
            }
        }
        if let Some(location) = &entry.location {
            origin.0 = rewrite(location, rest);
        }
        origin.1 = entry.is_insecure;
        if split(&origin.0).is_none() {
            return Err(no_repository(entry, &origin.0));
        }
    }
    if reference.domain == HUB {
        let mirrors = registries.docker_mirrors.iter();
        found.extend(mirrors.map(|mirror| docker_mirror(registries, mirror, &reference.path)));
    }
    let endpoint = named(registries, &origin.0, origin.1, Role::Origin);
    found.push(endpoint.ok_or_else(|| RegistryError::BadName {
        subject: full,
        problem: "it has no repository".into(),
    })?);
    Ok(found)
}

/// Returns whether `authority` may be trusted without verification.
pub(crate) fn trust(registries: &Registries, authority: &str) -> Trust {
    if registries.is_insecure(authority) {
        Trust::Anyone
    } else {
        Trust::Verified
    }
}

fn named(registries: &Registries, place: &str, is_insecure: bool, role: Role) -> Option<Endpoint> {
    let (host, repository) = split(place)?;
    let authority = if host == HUB { HUB_AUTHORITY } else { host };
    let is_insecure = is_insecure || trust(registries, host) == Trust::Anyone;
    let (bare, _) = split_port(authority);
    Some(Endpoint {
        host: host.to_owned(),
        authority: authority.to_ascii_lowercase(),
        base: String::new(),
        repository: repository.to_owned(),
        schemes: if is_insecure || is_loopback(bare) {
            Schemes::TlsThenPlain
        } else {
            Schemes::Tls
        },
        trust: if is_insecure {
            Trust::Anyone
        } else {
            Trust::Verified
        },
        role,
    })
}

fn docker_mirror(registries: &Registries, mirror: &DockerMirror, repository: &str) -> Endpoint {
    let shown = mirror.origin.show();
    let authority = shown
        .split_once("://")
        .map_or("", |(_, authority)| authority);
    Endpoint {
        host: authority.to_owned(),
        authority: authority.to_owned(),
        base: mirror.base.clone(),
        repository: repository.to_owned(),
        schemes: if mirror.origin.is_tls {
            Schemes::Tls
        } else {
            Schemes::Plain
        },
        trust: trust(registries, authority),
        role: Role::Mirror,
    }
}

/// Puts `location` before what the prefix left of a name.
fn rewrite(location: &str, rest: &str) -> String {
    if !rest.is_empty() {
        return format!("{location}{rest}");
    }
    // A prefix may cover the tag as well; the location may then have one, which is not ours to ask.
    let untagged = location.split('@').next().unwrap_or(location);
    match untagged.rfind([':', '/']) {
        Some(at) if untagged[at..].starts_with(':') && untagged.contains('/') => {
            untagged[..at].to_owned()
        }
        _ => untagged.to_owned(),
    }
}

fn split(place: &str) -> Option<(&str, &str)> {
    place
        .split_once('/')
        .filter(|(host, repository)| !host.is_empty() && !repository.is_empty())
}

fn no_repository(entry: &Entry, place: &str) -> RegistryError {
    let problem = format!("registry {}: {place} names no repository", entry.prefix);
    RegistryError::config(&entry.path, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{RegistriesConf, Settings};

    fn check(conf: &str, daemon: &str, reference: &str, expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let conf_path = folder.path().join("registries.conf");
        let daemon_path = folder.path().join("daemon.json");
        fs_err::write(&conf_path, conf).unwrap();
        fs_err::write(&daemon_path, daemon).unwrap();
        let settings = Settings {
            registries_conf: RegistriesConf::File(conf_path),
            daemon_files: vec![daemon_path],
            ..Settings::default()
        };
        let registries = Registries::read(&settings).unwrap();
        let shown: Vec<String> = match endpoints(&registries, &reference.parse().unwrap()) {
            Err(error) => vec![error.to_string()],
            Ok(found) => found.iter().map(show).collect(),
        };
        assert_eq!(shown.len(), expected.len(), "{reference}: {shown:?}");
        for (shown, expected) in shown.iter().zip(expected) {
            assert!(shown.starts_with(expected), "{reference}: {shown:?}");
        }
    }

    fn show(endpoint: &Endpoint) -> String {
        let schemes = match endpoint.schemes {
            Schemes::Tls => "https",
            Schemes::TlsThenPlain => "https|http",
            Schemes::Plain => "http",
        };
        let trust = match endpoint.trust {
            Trust::Verified => "",
            Trust::Anyone => " unverified",
        };
        let uri = endpoint.uri(true, "x", "y").unwrap();
        format!(
            "{schemes} {} {}{}{trust}",
            endpoint.host,
            uri.authority().unwrap(),
            uri.path()
        )
    }

    #[test]
    fn without_configuration() {
        check(
            "",
            "{}",
            "ubuntu",
            &["https docker.io registry-1.docker.io/v2/library/ubuntu/x"],
        );
        check(
            "",
            "{}",
            "ghcr.io/a/b:1",
            &["https ghcr.io ghcr.io/v2/a/b/x"],
        );
        check(
            "",
            "{}",
            "localhost:5000/a",
            &["https|http localhost:5000 localhost:5000/v2/a/x"],
        );
        check(
            "",
            "{}",
            "[::1]:5000/a",
            &["https|http [::1]:5000 [::1]:5000/v2/a/x"],
        );
        check("", "{}", "MYHOST/app", &["https MYHOST myhost/v2/app/x"]);
        check(
            "",
            "{}",
            "10.0.0.1:5000/a",
            &["https 10.0.0.1:5000 10.0.0.1:5000/v2/a/x"],
        );
    }

    #[test]
    fn docker_daemon() {
        let daemon = r#"{"registry-mirrors": ["http://m.example:5000/hub/"],
            "insecure-registries": ["10.0.0.0/8"]}"#;
        check(
            "",
            daemon,
            "ubuntu",
            &[
                "http m.example:5000 m.example:5000/hub/v2/library/ubuntu/x",
                "https docker.io registry-1.docker.io/v2/library/ubuntu/x",
            ],
        );
        check("", daemon, "ghcr.io/a", &["https ghcr.io ghcr.io/v2/a/x"]);
        check(
            "",
            daemon,
            "10.0.0.1:5000/a",
            &["https|http 10.0.0.1:5000 10.0.0.1:5000/v2/a/x unverified"],
        );
    }

    #[test]
    fn containers_registries() {
        let conf = r#"
[[registry]]
prefix = "a.example/team"
location = "b.example/x"
[[registry.mirror]]
location = "localhost:5000/m"
[[registry.mirror]]
location = "c.example"
insecure = true
pull-from-mirror = "digest-only"
[[registry]]
prefix = "*.corp.example"
location = "proxy.example/corp"
[[registry]]
location = "evil.example"
blocked = true
[[registry]]
prefix = "d.example/one:1"
location = "e.example/two:2"
[[registry]]
prefix = "f.example/one"
location = "g.example"
"#;
        check(
            conf,
            "{}",
            "a.example/team/app:1",
            &[
                "https|http localhost:5000 localhost:5000/v2/m/app/x",
                "https b.example b.example/v2/x/app/x",
            ],
        );
        let digest = format!("a.example/team/app@sha256:{}", "0".repeat(64));
        check(
            conf,
            "{}",
            &digest,
            &[
                "https|http localhost:5000 localhost:5000/v2/m/app/x",
                "https|http c.example c.example/v2/app/x unverified",
                "https b.example b.example/v2/x/app/x",
            ],
        );
        check(
            conf,
            "{}",
            "x.corp.example/a",
            &["https proxy.example proxy.example/v2/corp/a/x"],
        );
        check(
            conf,
            "{}",
            "d.example/one:1",
            &["https e.example e.example/v2/two/x"],
        );
        check(
            conf,
            "{}",
            "d.example/one:2",
            &["https d.example d.example/v2/one/x"],
        );
        check(
            conf,
            "{}",
            "evil.example/a",
            &["evil.example/a:latest: registry evil.example is blocked in "],
        );
        check(conf, "{}", "f.example/one", &["configuration file "]);
    }
}
