//! Which proxy a server is reached through.

use ureq::Proxy;

use crate::address::{Network, is_loopback, literal, split_port};
use crate::error::RegistryError;
use crate::secret::Secret;
use crate::settings::Proxies;
use crate::url::Origin;

/// The proxies of the settings, parsed.
pub(crate) struct ProxyRules {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<Exception>,
}

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exception {
    matcher: Matcher,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Matcher {
    Everything,
    Network(Network),
    /// `example.com` and what ends in `.example.com`.
    Domain(String),
    /// Only what ends in `.example.com`.
    Subdomains(String),
}

impl ProxyRules {
    /// # Errors
    /// [`RegistryError::Config`] for a proxy URL that cannot be used; it is not quoted.
    pub(crate) fn new(proxies: &Proxies) -> Result<Self, RegistryError> {
        let entries = proxies.no_proxy.split([',', ' ']);
        Ok(Self {
            http: parse(proxies.http.as_ref(), "HTTP_PROXY")?,
            https: parse(proxies.https.as_ref(), "HTTPS_PROXY")?,
            except: entries.filter_map(Exception::parse).collect(),
        })
    }

    /// Returns the proxy for requests to `origin`; never one for this machine.
    pub(crate) fn for_origin(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = if origin.is_tls {
            &self.https
        } else {
            &self.http
        };
        let is_direct = is_loopback(&origin.host)
            || self
                .except
                .iter()
                .any(|exception| exception.covers(&origin.host, origin.port));
        proxy.as_ref().filter(|_| !is_direct)
    }
}

fn parse(url: Option<&Secret>, variable: &str) -> Result<Option<Proxy>, RegistryError> {
    let Some(url) = url else {
        return Ok(None);
    };
    // ureq's error is not kept: the URL may hold a password.
    Proxy::new(url.reveal())
        .map(Some)
        .map_err(|_error| RegistryError::config(variable, "not a proxy URL of a known kind"))
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return None;
        }
        if let Some(network) = Network::parse(&text) {
            let matcher = Matcher::Network(network);
            return Some(Self {
                matcher,
                port: None,
            });
        }
        let is_address = text.parse::<std::net::IpAddr>().is_ok();
        let (host, port) = if is_address {
            (text.as_str(), None)
        } else {
            split_port(&text)
        };
        let matcher = if host == "*" {
            Matcher::Everything
        } else if let Some(domain) = host.strip_prefix("*.").or_else(|| host.strip_prefix('.')) {
            Matcher::Subdomains(format!(".{domain}"))
        } else {
            Matcher::Domain(host.to_owned())
        };
        Some(Self { matcher, port })
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        if self.port.is_some_and(|wanted| wanted != port) {
            return false;
        }
        match &self.matcher {
            Matcher::Everything => true,
            Matcher::Network(network) => {
                literal(host).is_some_and(|address| network.contains(address))
            }
            Matcher::Subdomains(suffix) => host.ends_with(suffix.as_str()),
            Matcher::Domain(domain) => match (literal(host), literal(domain)) {
                (Some(host), Some(listed)) => host == listed,
                (None, None) => host
                    .strip_suffix(domain.as_str())
                    .is_some_and(|front| front.is_empty() || front.ends_with('.')),
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(no_proxy: &str, url: &str, expected: Option<&str>) {
        let rules = ProxyRules::new(&Proxies {
            http: Some(Secret::new("http://plain.example:1")),
            https: Some(Secret::new("http://user:pw@tls.example:2")),
            no_proxy: no_proxy.into(),
        })
        .unwrap();
        let origin = Origin::of(&url.parse().unwrap()).unwrap();
        let proxy = rules.for_origin(&origin).map(Proxy::host);
        assert_eq!(proxy, expected, "{no_proxy} {url}");
    }

    #[test]
    fn by_scheme_and_never_for_loopback() {
        check("", "http://h/", Some("plain.example"));
        check("", "https://h/", Some("tls.example"));
        check("", "https://localhost:5000/", None);
        check("", "http://127.0.0.5/", None);
        check("", "http://[::1]/", None);
    }

    #[test]
    fn exceptions() {
        check("a.example, b.example", "https://b.example/", None);
        check("b.example", "https://x.b.example/", None);
        check("b.example", "https://xb.example/", Some("tls.example"));
        check(".b.example", "https://b.example/", Some("tls.example"));
        check("*.b.example", "https://x.b.example/", None);
        check("*", "https://h/", None);
        check("h:8443", "https://h/", Some("tls.example"));
        check("h:8443", "https://h:8443/", None);
        check("10.0.0.0/8", "https://10.1.1.1/", None);
        check("10.0.0.0/8", "https://11.1.1.1/", Some("tls.example"));
        check("10.1.1.1", "https://10.1.1.1:5000/", None);
        check("fe80::1", "https://[fe80::1]:5000/", None);
    }

    #[test]
    fn a_bad_proxy_is_not_quoted() {
        let proxies = Proxies {
            https: Some(Secret::new("weird://u:hunter2@h:1")),
            ..Proxies::default()
        };
        let error = ProxyRules::new(&proxies).err().unwrap();
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("HTTPS_PROXY") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
