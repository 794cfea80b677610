//! URLs: encoding, joining, comparing, showing.

use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// Returns `text` with everything but unreserved characters percent-encoded.
pub(crate) fn encode_component(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// Returns `name=value` pairs as a query or form.
pub(crate) fn encode_pairs(pairs: &[(&str, &str)]) -> String {
    let encoded: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode_component(value)))
        .collect();
    encoded.join("&")
}

/// Scheme, host and port of a server; the unit to which credentials belong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin {
    /// True for https.
    pub(crate) is_tls: bool,
    /// Host in lower case, IPv6 in brackets.
    pub(crate) host: String,
    /// Port, the scheme's own if none was written.
    pub(crate) port: u16,
}

impl Origin {
    /// Returns the origin of an absolute http or https URL.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        let host = authority.host().to_ascii_lowercase();
        // "host:" and "host:99999" are not ports, and http::Uri lets both through.
        let written = authority.as_str().rsplit('@').next()?.get(host.len()..)?;
        let port = match written.strip_prefix(':') {
            None if written.is_empty() => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            None => return None,
            Some(digits) => digits.parse().ok()?,
        };
        (!host.is_empty()).then_some(Self { is_tls, host, port })
    }

    /// Returns the origin as users write it: `https://host`, `http://host:5000`.
    pub(crate) fn show(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        let usual = if self.is_tls { 443 } else { 80 };
        if self.port == usual {
            format!("{scheme}://{}", self.host)
        } else {
            format!("{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// Returns `uri` without user, query and fragment: those may hold signatures and passwords.
pub(crate) fn show(uri: &Uri) -> String {
    let place = Origin::of(uri).map_or_else(|| "an unknown server".into(), |origin| origin.show());
    format!("{place}{}", uri.path())
}

/// Resolves a `Location` header against the URL that answered.
///
/// Spec: <https://www.rfc-editor.org/rfc/rfc3986#section-5.2>. Returns `None` if the result is not
/// an absolute http or https URL.
pub(crate) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default().trim();
    let scheme = base.scheme_str()?;
    let authority = base.authority()?.as_str();
    let joined = if let Some((written, _)) = location.split_once(':')
        && is_scheme(written)
    {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{}", flatten(location))
    } else if location.is_empty() || location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let folder = base
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        let path = flatten(&format!("{folder}/{location}"));
        format!("{scheme}://{authority}{path}")
    };
    let uri: Uri = joined.parse().ok()?;
    Origin::of(&uri)?;
    Some(uri)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Removes `.` and `..` from a path that starts with a slash; the query stays as it is.
fn flatten(target: &str) -> String {
    let (path, query) = match target.find('?') {
        Some(at) => target.split_at(at),
        None => (target, ""),
    };
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    for (at, segment) in segments.iter().enumerate() {
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    kept.pop();
                }
                if at == last {
                    kept.push("");
                }
            }
            name => kept.push(name),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_join(location: &str, expected: &str) {
        let base: Uri = "https://reg.example:5000/v2/a/blobs/x?sig=1"
            .parse()
            .unwrap();
        let joined = join(&base, location).map(|uri| uri.to_string());
        assert_eq!(joined.as_deref().unwrap_or("-"), expected, "{location}");
    }

    #[test]
    fn locations() {
        check_join("https://cdn.example/b?s=2#f", "https://cdn.example/b?s=2");
        check_join("HTTP://cdn.example/b", "http://cdn.example/b");
        check_join("//cdn.example/b", "https://cdn.example/b");
        check_join("/other?x=/../y", "https://reg.example:5000/other?x=/../y");
        check_join("y", "https://reg.example:5000/v2/a/blobs/y");
        check_join("../../up", "https://reg.example:5000/v2/up");
        check_join("../../../../..", "https://reg.example:5000/");
        check_join("?state=3", "https://reg.example:5000/v2/a/blobs/x?state=3");
        check_join("", "https://reg.example:5000/v2/a/blobs/x");
    }

    #[test]
    fn locations_that_are_refused() {
        for location in [
            "file:///etc/passwd",
            "ftp://host/x",
            "gopher://host/x",
            "data:text/plain,hello",
            "unix:///var/run/docker.sock",
            "//",
            "http://",
            "http://host:/x",
            "http://host:70000/x",
            "https://ho st/x",
        ] {
            check_join(location, "-");
        }
    }

    #[test]
    fn origins() {
        let origin = |text: &str| Origin::of(&text.parse().unwrap()).map(|origin| origin.show());
        assert_eq!(
            origin("https://A.example:443/x").as_deref(),
            Some("https://a.example")
        );
        assert_eq!(
            origin("http://[::1]:5000/x").as_deref(),
            Some("http://[::1]:5000")
        );
        assert_eq!(origin("http://u:p@host/x").as_deref(), Some("http://host"));
        assert_eq!(origin("/relative"), None);
    }

    #[test]
    fn shown_without_query() {
        let uri: Uri = "https://u:p@s3.example/key?signature=abc".parse().unwrap();
        assert_eq!(show(&uri), "https://s3.example/key");
    }

    #[test]
    fn pairs() {
        let pairs = [("scope", "repository:a/b:pull"), ("service", "r & s")];
        assert_eq!(
            encode_pairs(&pairs),
            "scope=repository%3Aa%2Fb%3Apull&service=r%20%26%20s"
        );
    }
}
