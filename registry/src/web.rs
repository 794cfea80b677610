//! GET of any URL: files that no registry serves.
//!
//! Proxies, certificates, redirects and retries are those of the distribution client. What a server
//! says is judged by its status alone.

use std::io::{self, Read};

use ureq::http::header::{CONTENT_LENGTH, DATE, ETAG, HeaderName, IF_NONE_MATCH, LAST_MODIFIED};
use ureq::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use crate::answer::retry_after;
use crate::error::RegistryError;
use crate::redirect::{Journey, Reply, travel};
use crate::retry::{Cancel, Failure, Patience, with_retries};
use crate::secret::{Secret, basic};
use crate::settings::{Limits, Settings};
use crate::transport::{Reach, Transport, Trust};
use crate::url::show;

/// Fetches files from web servers. Shared by all threads.
#[derive(Debug)]
pub struct Web {
    transport: Transport,
    limits: Limits,
    cancel: Cancel,
}

/// A question to a web server.
#[derive(Debug, Clone, Default)]
pub struct Get<'a> {
    /// An http or https URL without a user.
    pub url: &'a str,
    /// The `Authorization` header; goes to the scheme, host and port of the URL only.
    pub authorization: Option<Secret>,
    /// The `ETag` of what is known already.
    pub etag: Option<&'a str>,
    /// Asks for the headers only.
    pub is_head: bool,
}

/// A success, or "not modified".
pub struct Page<'a> {
    /// True if what the tag names is still right; there is no body then.
    pub is_unmodified: bool,
    /// Identifies this version of the file.
    pub etag: Option<String>,
    /// When the file changed last, as the server wrote it.
    pub last_modified: Option<String>,
    /// When the server answered, by its own clock.
    pub date: Option<String>,
    /// Length of the body in bytes, if the server said it.
    pub length: Option<u64>,
    /// The file.
    pub body: &'a mut dyn Read,
}

impl std::fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").finish_non_exhaustive()
    }
}

impl Get<'_> {
    /// Returns the `Authorization` header of a user and a password.
    #[must_use]
    pub fn basic(user: &str, password: &Secret) -> Secret {
        Secret::new(format!("Basic {}", basic(user, password).reveal()))
    }
}

impl Web {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// [`RegistryError::Config`] for a proxy that cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, RegistryError> {
        Ok(Self {
            transport: Transport::new(settings)?,
            limits: settings.limits.clone(),
            cancel: Cancel::default(),
        })
    }

    /// Returns what `read` makes of the answer. If reading fails because the connection does, which
    /// is an error of `read` itself, everything is tried again from the beginning.
    ///
    /// # Errors
    /// [`RegistryError::PageStatus`] for another status than success, and those of connecting and
    /// redirecting. The URL's query is in none.
    pub fn get<T>(
        &self,
        get: &Get<'_>,
        mut read: impl FnMut(Page<'_>) -> io::Result<T>,
    ) -> Result<T, RegistryError> {
        let bad = |problem: &str| RegistryError::BadName {
            subject: "the URL".to_owned(),
            problem: problem.to_owned(),
        };
        let uri: Uri = get
            .url
            .parse()
            .map_err(|_error| bad("not a URL that can be fetched"))?;
        let subject = show(&uri);
        let tag = get.etag.and_then(|etag| HeaderValue::from_str(etag).ok());
        let headers: Vec<_> = tag.map(|tag| (IF_NONE_MATCH, tag)).into_iter().collect();
        let method = if get.is_head {
            Method::HEAD
        } else {
            Method::GET
        };
        let authorization = get
            .authorization
            .as_ref()
            .map(|secret| HeaderValue::from_str(secret.reveal()))
            .transpose()
            .map_err(|_error| bad("its credentials cannot be put into a header"))?;
        let attempts = self.limits.attempts;
        with_retries(&self.limits, attempts, &self.cancel, &subject, || {
            let journey = Journey {
                method: method.clone(),
                start: &uri,
                headers: &headers,
                authorization: authorization.as_ref(),
                body: None,
                is_movable: false,
                reach: Reach::Named,
                trust: &|_origin| Trust::Verified,
                subject: &subject,
            };
            let reply = travel(&self.transport, &journey)
                .map_err(|obstacle| obstacle.into_failure(&subject))?;
            self.judge(reply, &subject, &mut read)
        })
    }

    /// Stops every request of every thread.
    pub fn cancel(&self) {
        self.cancel.set();
        self.transport.shut_down();
    }

    fn judge<T>(
        &self,
        reply: Reply,
        subject: &str,
        read: &mut impl FnMut(Page<'_>) -> io::Result<T>,
    ) -> Result<T, Failure> {
        let host = reply.origin.show();
        let (parts, body) = reply.response.into_parts();
        let is_unmodified = parts.status == StatusCode::NOT_MODIFIED;
        if !parts.status.is_success() && !is_unmodified {
            let error = RegistryError::PageStatus {
                subject: subject.to_owned(),
                status: parts.status.to_string(),
            };
            return Err(match parts.status.as_u16() {
                408 | 429 | 499 | 500 | 502 | 503 | 504 | 522 => Failure::Passing {
                    error: Box::new(error),
                    after: retry_after(&parts.headers),
                    patience: Patience::Full,
                },
                _ => Failure::Final(error),
            });
        }
        let mut body = body.into_reader();
        let page = Page {
            is_unmodified,
            etag: text(&parts.headers, &ETAG),
            last_modified: text(&parts.headers, &LAST_MODIFIED),
            date: text(&parts.headers, &DATE),
            length: text(&parts.headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            body: &mut body,
        };
        read(page).map_err(|error| Failure::Passing {
            error: Box::new(RegistryError::Unreachable {
                subject: subject.to_owned(),
                host,
                source: error.into(),
            }),
            after: None,
            patience: Patience::Full,
        })
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
