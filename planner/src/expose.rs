//! Ports of `EXPOSE`: `80`, `80-90/udp`, and what docker tolerates: `127.0.0.1:8080:80/tcp`.

use std::fmt;
use std::net::IpAddr;

use rbuild_parser::quote::quote;

/// A range of ports of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ports {
    first: u16,
    last: u16,
    protocol: &'static str,
}

impl Ports {
    /// Returns the number of ports.
    pub(crate) fn len(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// Returns each port as an image config names it: `80/tcp`.
    pub(crate) fn names(self) -> impl Iterator<Item = String> {
        (self.first..=self.last).map(move |port| format!("{port}/{}", self.protocol))
    }
}

/// What is wrong with a port, in BuildKit's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortFault {
    Missing { word: String },
    Protocol { word: String, protocol: String },
    Container(String),
    Host(String),
    Address(String),
    Ranges { container: String, host: String },
}

impl fmt::Display for PortFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { word } => write!(f, "no port specified: {word}<empty>"),
            Self::Protocol { word, protocol } => {
                write!(
                    f,
                    "invalid port: {}: invalid proto: {protocol}",
                    quote(word)
                )
            }
            Self::Container(port) => write!(f, "invalid containerPort: {port}"),
            Self::Host(port) => write!(f, "invalid hostPort: {port}"),
            Self::Address(address) => write!(f, "invalid IP address: {address}"),
            Self::Ranges { container, host } => write!(
                f,
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ),
        }
    }
}

/// `address:host:port/protocol`; what is not there is empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'w> {
    pub(crate) address: &'w str,
    pub(crate) host: &'w str,
    pub(crate) port: &'w str,
    pub(crate) protocol: &'w str,
}

/// Takes a word apart.
pub(crate) fn split(word: &str) -> Parts<'_> {
    let (rest, container) = word.rsplit_once(':').unwrap_or(("", word));
    let (address, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    Parts {
        address,
        host,
        port,
        protocol,
    }
}

/// Reads one expanded word. Only the container's side counts; the host's is checked and dropped.
pub(crate) fn parse(word: &str) -> Result<Ports, PortFault> {
    let Parts {
        address,
        host,
        port,
        protocol,
    } = split(word);
    if port.is_empty() {
        return Err(PortFault::Missing {
            word: word.to_owned(),
        });
    }
    let protocol = match protocol.to_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        other => {
            return Err(PortFault::Protocol {
                word: word.to_owned(),
                protocol: other.to_owned(),
            });
        }
    };
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    if !address.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(PortFault::Address(bare.to_owned()));
    }
    let (first, last) = parse_range(port).ok_or_else(|| PortFault::Container(port.to_owned()))?;
    if !host.is_empty() {
        let (host_first, host_last) =
            parse_range(host).ok_or_else(|| PortFault::Host(host.to_owned()))?;
        if first != last && last - first != host_last - host_first {
            return Err(PortFault::Ranges {
                container: port.to_owned(),
                host: host.to_owned(),
            });
        }
    }
    Ok(Ports {
        first,
        last,
        protocol,
    })
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: &str) {
        let found = match parse(word) {
            Ok(ports) => {
                let names: Vec<_> = ports.names().collect();
                assert_eq!(names.len(), ports.len());
                names.join(" ")
            }
            Err(fault) => fault.to_string(),
        };
        assert_eq!(found, expected, "{word}");
    }

    #[test]
    fn ports_and_ranges() {
        check("80", "80/tcp");
        check("0", "0/tcp");
        check("8080/TCP", "8080/tcp");
        check("80/", "80/tcp");
        check("90-92/udp", "90/udp 91/udp 92/udp");
        check("1:2", "2/tcp");
        check("127.0.0.1:8000-8010:80/sctp", "80/sctp");
        check("[::1]:80:81", "81/tcp");
    }

    #[test]
    fn faults_in_buildkits_words() {
        check("foo", "invalid containerPort: foo");
        check("9-8", "invalid containerPort: 9-8");
        check("65536", "invalid containerPort: 65536");
        check("+80", "invalid containerPort: +80");
        check("1-2-3", "invalid containerPort: 1-2-3");
        check("80/foo", "invalid port: \"80/foo\": invalid proto: foo");
        check("/tcp", "no port specified: /tcp<empty>");
        check("", "no port specified: <empty>");
        check("x:80", "invalid hostPort: x");
        check("nope:1:80", "invalid IP address: nope");
        check(
            "1-5:80-81",
            "invalid ranges specified for container and host Ports: 80-81 and 1-5",
        );
    }
}
