//! Where the engine is: what Docker's client and Podman's go by.

use std::path::{Path, PathBuf};

use rbuild_image::digest::Digest;
use rbuild_registry::TlsFiles;
use serde::Deserialize;

use crate::docker_config::{self, DockerConfig};
use crate::environment::variable;
use crate::report::Failure;

/// How an engine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// A socket.
    Unix(PathBuf),
    /// `HOST:PORT`, maybe with TLS.
    Tcp(String, Option<TlsFiles>),
    /// A program on another machine that has a connection to its engine.
    Ssh(Ssh),
}

/// What `ssh` is called with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ssh {
    pub(super) host: String,
    pub(super) user: Option<String>,
    pub(super) port: Option<u16>,
    /// A file with a key.
    pub(super) key: Option<String>,
    /// What runs there.
    pub(super) command: Vec<String>,
}

/// A program that brings a connection to its engine: `docker system dial-stdio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Docker,
    Podman,
}

/// Returns the address that the environment or a Docker context names, as it was written and as it
/// is understood; `None` if nothing does. In Docker's order: `context`, `DOCKER_HOST`,
/// `DOCKER_CONTEXT`, the current context; then Podman's `CONTAINER_HOST`.
pub(super) fn named(context: Option<&str>) -> Result<Option<(String, Address)>, Failure> {
    let is_default = |name: &String| name == "default";
    if let Some(name) = context.map(str::to_owned).filter(|name| !is_default(name)) {
        return of_context(&name).map(Some);
    }
    if let Some(host) = variable("DOCKER_HOST") {
        let tls = environment_tls()?;
        let address = parse(&host, tls, Client::Docker)?;
        return Ok(Some((host, address)));
    }
    let current = variable("DOCKER_CONTEXT").or_else(|| {
        let config = DockerConfig::read();
        Some(config.current_context).filter(|name| !name.is_empty())
    });
    if context.is_none()
        && let Some(name) = current.filter(|name| !is_default(name))
    {
        return of_context(&name).map(Some);
    }
    let Some(host) = variable("CONTAINER_HOST") else {
        return Ok(None);
    };
    let mut address = parse(&host, None, Client::Podman)?;
    if let Address::Ssh(ssh) = &mut address {
        ssh.key = variable("CONTAINER_SSHKEY");
    }
    Ok(Some((host, address)))
}

/// What `meta.json` of a Docker context says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    endpoints: Endpoints,
}

#[derive(Debug, Deserialize)]
struct Endpoints {
    docker: Endpoint,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Endpoint {
    host: String,
    #[serde(rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

fn of_context(name: &str) -> Result<(String, Address), Failure> {
    let folder = docker_config::folder().join("contexts");
    let id = Digest::of(name.as_bytes()).hex();
    let file = folder.join("meta").join(&id).join("meta.json");
    let text = match fs_err::read(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::with_help(
                format!(
                    "context \"{name}\": context not found: no {}",
                    file.display()
                ),
                "`docker context ls` lists those that Docker knows",
            ));
        }
        other => other?,
    };
    let meta: Meta = serde_json::from_slice(&text)
        .map_err(|error| Failure::message(format!("{}: {error}", file.display())))?;
    let endpoint = meta.endpoints.docker;
    let certificates = folder.join("tls").join(&id).join("docker");
    let has_files = certificates.is_dir();
    let tls = (has_files || endpoint.skip_tls_verify).then(|| TlsFiles {
        is_unverified: endpoint.skip_tls_verify,
        ..files_in(&certificates)
    });
    let address = parse(&endpoint.host, tls, Client::Docker)?;
    Ok((endpoint.host, address))
}

/// What `DOCKER_TLS_VERIFY`, `DOCKER_TLS` and `DOCKER_CERT_PATH` say.
fn environment_tls() -> Result<Option<TlsFiles>, Failure> {
    let is_verified = variable("DOCKER_TLS_VERIFY").is_some();
    if !is_verified && variable("DOCKER_TLS").is_none() {
        return Ok(None);
    }
    let named = variable("DOCKER_CERT_PATH").map(PathBuf::from);
    if let Some(folder) = named.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(Failure::message(format!(
            "DOCKER_CERT_PATH: {} is no directory",
            folder.display()
        )));
    }
    let folder = named.unwrap_or_else(docker_config::folder);
    Ok(Some(TlsFiles {
        is_unverified: !is_verified,
        ..files_in(&folder)
    }))
}

/// The files of Docker's names that are there.
fn files_in(folder: &Path) -> TlsFiles {
    let file = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    TlsFiles {
        authorities: file("ca.pem"),
        client: file("cert.pem").zip(file("key.pem")),
        is_unverified: false,
    }
}

fn parse(host: &str, tls: Option<TlsFiles>, client: Client) -> Result<Address, Failure> {
    let (scheme, rest) = host.split_once("://").unwrap_or(("", host));
    match scheme {
        "unix" => Ok(Address::Unix(rest.into())),
        "tcp" | "http" | "https" => {
            let tls = tls.or_else(|| (scheme == "https").then(TlsFiles::default));
            let port = if tls.is_some() { 2376 } else { 2375 };
            let rest = rest.split('/').next().unwrap_or_default();
            let has_port = rest
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            Ok(match has_port {
                true => Address::Tcp(rest.to_owned(), tls),
                false => Address::Tcp(format!("{rest}:{port}"), tls),
            })
        }
        "ssh" => ssh(rest, client).map(Address::Ssh).ok_or_else(|| {
            Failure::message(format!(
                "{host} is not of the form ssh://[USER@]HOST[:PORT][/SOCKET]"
            ))
        }),
        _ => Err(Failure::with_help(
            format!("--load does not reach the engine at {host}"),
            "it speaks to unix://, tcp:// and ssh://; `-o type=docker,dest=- | docker load` reaches all",
        )),
    }
}

/// `[USER@]HOST[:PORT][/SOCKET]`
fn ssh(text: &str, client: Client) -> Option<Ssh> {
    let (server, socket) = match text.split_once('/') {
        Some((server, socket)) => (server, format!("/{socket}")),
        None => (text, String::new()),
    };
    let (user, server) = match server.rsplit_once('@') {
        Some((user, server)) => (Some(user.to_owned()), server),
        None => (None, server),
    };
    let bracketed = server
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
        None => match server.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        },
    };
    let is_word = |text: &str| {
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "'\"\\$`;&|<>?#".contains(c);
        !text.is_empty() && !text.starts_with('-') && !text.contains(is_odd)
    };
    // A password has a colon before it.
    let is_user = |user: &String| is_word(user) && !user.contains(':');
    if !is_word(host)
        || !user.as_ref().is_none_or(is_user)
        || socket.contains(|c| !is_word(&String::from(c)) && c != '-')
    {
        return None;
    }
    let words: &[&str] = match (client, socket.trim_end_matches('/')) {
        (Client::Docker, "") => &["docker", "system", "dial-stdio"],
        (Client::Docker, path) => &[
            "docker",
            "--host",
            &format!("unix://{path}"),
            "system",
            "dial-stdio",
        ],
        (Client::Podman, "") => &["podman", "system", "dial-stdio"],
        (Client::Podman, path) => &[
            "podman",
            "--url",
            &format!("unix://{path}"),
            "system",
            "dial-stdio",
        ],
    };
    Some(Ssh {
        host: host.to_owned(),
        user,
        port: match port {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        },
        key: None,
        command: words.iter().map(|word| (*word).to_owned()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "a table reads better so")]
    fn check(host: &str, expected: Option<Address>) {
        assert_eq!(parse(host, None, Client::Docker).ok(), expected, "{host}");
    }

    fn tcp(address: &str) -> Option<Address> {
        Some(Address::Tcp(address.to_owned(), None))
    }

    #[test]
    fn addresses() {
        check("unix:///run/x", Some(Address::Unix("/run/x".into())));
        check("tcp://host", tcp("host:2375"));
        check("tcp://host:99/", tcp("host:99"));
        check("tcp://[::1]", tcp("[::1]:2375"));
        check("tcp://[::1]:99", tcp("[::1]:99"));
        let with_tls = Address::Tcp("host:2376".to_owned(), Some(TlsFiles::default()));
        check("https://host", Some(with_tls.clone()));
        let tls = parse("tcp://host", Some(TlsFiles::default()), Client::Docker);
        assert_eq!(tls.unwrap(), with_tls);
        for host in ["npipe:////./pipe/x", "fd://3", "host", ""] {
            check(host, None);
        }
    }

    #[test]
    fn ssh_addresses() {
        let parsed = |text: &str| {
            ssh(text, Client::Docker).map(|ssh| {
                let Ssh {
                    host,
                    user,
                    port,
                    command,
                    ..
                } = ssh;
                (host, user.unwrap_or_default(), port, command.join(" "))
            })
        };
        let plain = "docker system dial-stdio".to_owned();
        let is = |host: &str, user: &str, port| {
            Some((host.to_owned(), user.to_owned(), port, plain.clone()))
        };
        assert_eq!(parsed("host"), is("host", "", None));
        assert_eq!(parsed("me@host:22/"), is("host", "me", Some(22)));
        assert_eq!(parsed("me@[::1]:22"), is("::1", "me", Some(22)));
        assert_eq!(
            parsed("host/run/user/1/a-b.sock").unwrap().3,
            "docker --host unix:///run/user/1/a-b.sock system dial-stdio"
        );
        let podman = ssh("host/run/p.sock", Client::Podman).unwrap().command;
        assert_eq!(
            podman.join(" "),
            "podman --url unix:///run/p.sock system dial-stdio"
        );
        for text in [
            "",
            "-oProxyCommand=x",
            "me:secret@host",
            "a b",
            "host:port",
            "host/a;b",
            "host/$(x)",
            "-l@host",
            "host/a?b",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
