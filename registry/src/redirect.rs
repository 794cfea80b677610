//! Follows redirects, and takes credentials to nobody but the server they are for.

use ureq::Body;
use ureq::http::header::{AUTHORIZATION, HeaderName, LOCATION};
use ureq::http::{HeaderValue, Method, Response, StatusCode, Uri};

use crate::address::{is_disguised_number, is_link_local, is_loopback, literal};
use crate::error::RegistryError;
use crate::retry::{Failure, Patience};
use crate::secret::presentable;
use crate::transport::{Call, Fault, FaultKind, Payload, Reach, Transport, Trust};
use crate::url::{Origin, join, show};

const MAX_REDIRECTS: usize = 10;

/// A request that may be redirected.
pub(crate) struct Journey<'a> {
    pub(crate) method: Method,
    /// Where it starts.
    pub(crate) start: &'a Uri,
    /// Sent to every server.
    pub(crate) headers: &'a [(HeaderName, HeaderValue)],
    /// Sent to the scheme, host and port of `start` only.
    pub(crate) authorization: Option<&'a HeaderValue>,
    /// Sent to every server, but see [`Journey::is_movable`].
    pub(crate) body: Option<Payload<'a>>,
    /// Whether a request with a body may be led elsewhere, by the two statuses that keep method and
    /// body. False for a body with a secret in it.
    pub(crate) is_movable: bool,
    /// Who named the server of `start`.
    pub(crate) reach: Reach,
    /// How a server may be trusted.
    pub(crate) trust: &'a dyn Fn(&Origin) -> Trust,
    /// What it is for.
    pub(crate) subject: &'a str,
}

/// Where a journey ended.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) response: Response<Body>,
    /// Who answered.
    pub(crate) origin: Origin,
    /// At which URL; what its `Location` is relative to.
    pub(crate) uri: Uri,
    /// True if that is the server of the start.
    pub(crate) is_home: bool,
}

/// What kept a journey from its end.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// A server gave no answer.
    Fault(Origin, Fault),
    /// The way is forbidden, or the configuration is broken.
    Refused(RegistryError),
}

impl Obstacle {
    /// Returns what to report, and whether to try again.
    pub(crate) fn into_failure(self, subject: &str) -> Failure {
        let (origin, fault) = match self {
            Self::Refused(error) => return Failure::Final(error),
            Self::Fault(origin, fault) => (origin, fault),
        };
        // It was us: the body could not be read.
        let fault = match own_error(fault) {
            Ok(error) => return Failure::Final(error),
            Err(fault) => fault,
        };
        let error = RegistryError::Unreachable {
            subject: subject.to_owned(),
            host: origin.show(),
            source: fault.cause,
        };
        let patience = match fault.kind {
            FaultKind::Passing => Patience::Full,
            FaultKind::Absent => Patience::Short,
            FaultKind::NotTls | FaultKind::Lasting => return Failure::Final(error),
        };
        Failure::Passing {
            error: Box::new(error),
            after: None,
            patience,
        }
    }
}

impl From<RegistryError> for Obstacle {
    fn from(error: RegistryError) -> Self {
        Self::Refused(error)
    }
}

impl Journey<'_> {
    fn follows(&self, redirect: &Response<Body>) -> bool {
        let keeps_body = matches!(
            redirect.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        self.body.is_none() || (self.is_movable && keeps_body)
    }
}

fn own_error(fault: Fault) -> Result<RegistryError, Fault> {
    let kind = fault.kind;
    let error = fault
        .cause
        .downcast::<std::io::Error>()
        .map_err(|cause| Fault { kind, cause })?;
    RegistryError::from_io(*error).map_err(|error| Fault {
        kind,
        cause: error.into(),
    })
}

/// Sends the request and follows at most ten redirects.
///
/// # Errors
/// [`Obstacle::Refused`] with [`RegistryError::Redirect`] for a way that is not taken.
pub(crate) fn travel(transport: &Transport, journey: &Journey<'_>) -> Result<Reply, Obstacle> {
    let Some(home) = Origin::of(journey.start) else {
        return Err(bad_start(journey).into());
    };
    let mut uri = journey.start.clone();
    let mut origin = home.clone();
    for _ in 0..=MAX_REDIRECTS {
        let is_home = origin == home;
        let mut headers = journey.headers.to_vec();
        if let Some(authorization) = journey.authorization.filter(|_| is_home) {
            headers.push((AUTHORIZATION, authorization.clone()));
        }
        let call = Call {
            method: journey.method.clone(),
            uri: &uri,
            headers: &headers,
            body: journey.body,
            trust: (journey.trust)(&origin),
            reach: if origin.host == home.host {
                journey.reach
            } else {
                Reach::Foreign
            },
        };
        let response = transport
            .exchange(&call)?
            .map_err(|fault| Obstacle::Fault(origin.clone(), fault))?;
        let Some(location) = redirect_of(&response).filter(|_| journey.follows(&response)) else {
            return Ok(Reply {
                response,
                origin,
                uri,
                is_home,
            });
        };
        let refuse = |problem: &str| RegistryError::Redirect {
            subject: journey.subject.to_owned(),
            host: origin.show(),
            target: shown_location(&location),
            problem: problem.to_owned(),
        };
        let next = join(&uri, &location).ok_or_else(|| refuse("not an http or https URL"))?;
        let next_origin = check(&home, &origin, &next).map_err(refuse)?;
        (uri, origin) = (next, next_origin);
    }
    Err(Obstacle::Refused(RegistryError::Redirect {
        subject: journey.subject.to_owned(),
        host: home.show(),
        target: show(&uri),
        problem: format!("more than {MAX_REDIRECTS} redirects"),
    }))
}

/// Returns why a server that another one named must not be asked, `None` if it may.
///
/// Such names come with every byte a registry sends: redirects, token servers, foreign layers.
pub(crate) fn foreign_problem(origin: &Origin) -> Option<&'static str> {
    if is_disguised_number(&origin.host) {
        Some("its host is a number in disguise")
    } else if literal(&origin.host).is_some_and(is_link_local) {
        Some("its address is link-local")
    } else {
        None
    }
}

fn redirect_of(response: &Response<Body>) -> Option<String> {
    let is_redirect = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(LOCATION).filter(|_| is_redirect)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// Returns the server of `next`, which the server `from` named to a client of `home`.
///
/// # Errors
/// Why it must not be asked.
pub(crate) fn check(home: &Origin, from: &Origin, next: &Uri) -> Result<Origin, &'static str> {
    let origin = Origin::of(next).ok_or("not an http or https URL")?;
    if next
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err("it has a user name in it");
    }
    if from.is_tls && !origin.is_tls && !is_loopback(&origin.host) {
        return Err("it leads from https to http");
    }
    if origin.host != home.host
        && let Some(problem) = foreign_problem(&origin)
    {
        return Err(problem);
    }
    Ok(origin)
}

pub(crate) fn shown_location(location: &str) -> String {
    // Queries of object stores are signatures.
    presentable(location.split('?').next().unwrap_or_default(), &[])
}

fn bad_start(journey: &Journey<'_>) -> RegistryError {
    RegistryError::BadName {
        subject: journey.subject.to_owned(),
        problem: format!("{} is not an http or https URL", show(journey.start)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_hop(home: &str, from: &str, next: &str, expected: Result<&str, &str>) {
        let origin = |text: &str| Origin::of(&text.parse().unwrap()).unwrap();
        let checked = check(&origin(home), &origin(from), &next.parse().unwrap());
        let shown = checked.map(|origin| origin.show());
        assert_eq!(
            shown.as_deref().map_err(|problem| *problem),
            expected,
            "{next}"
        );
    }

    #[test]
    fn hops() {
        let tls = "https://reg.example";
        let plain = "http://127.0.0.1:5000";
        let downgrade = Err("it leads from https to http");
        let link_local = Err("its address is link-local");
        let disguise = Err("its host is a number in disguise");
        check_hop(tls, tls, "https://cdn.example/x", Ok("https://cdn.example"));
        check_hop(tls, tls, "http://cdn.example/x", downgrade);
        check_hop(tls, tls, "http://localhost:1/x", Ok("http://localhost:1"));
        check_hop(
            plain,
            plain,
            "http://cdn.example/x",
            Ok("http://cdn.example"),
        );
        check_hop(plain, tls, "http://cdn.example/x", downgrade);
        check_hop(plain, plain, "http://169.254.169.254/latest", link_local);
        check_hop(plain, plain, "http://[fe80::1]/x", link_local);
        check_hop(
            plain,
            plain,
            "http://[::ffff:169.254.169.254]/x",
            link_local,
        );
        check_hop(plain, plain, "http://2852039166/x", disguise);
        check_hop(plain, plain, "http://0xa9fea9fe/x", disguise);
        check_hop(
            tls,
            tls,
            "https://u:p@cdn.example/x",
            Err("it has a user name in it"),
        );
        let own = "http://169.254.1.2:5000";
        check_hop(own, own, "http://169.254.1.2:5000/y", Ok(own));
        check_hop(own, own, "http://169.254.169.254/y", link_local);
    }

    #[test]
    fn a_shown_location_has_no_signature() {
        assert_eq!(shown_location("file:///x\u{1b}[2J?sig=1"), "file:///x [2J");
    }
}
