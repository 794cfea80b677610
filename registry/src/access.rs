//! Asks one server of a reference: scheme, credentials, retries, warnings.

use std::sync::{Mutex, PoisonError};

use ureq::http::header::{ACCEPT, HeaderName, RANGE, WARNING};
use ureq::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use crate::answer::{Asked, judge};
use crate::auth::{ANONYMOUS, Authenticator, Door, Held};
use crate::challenge::Challenge;
use crate::endpoint::{Endpoint, Role, trust};
use crate::error::RegistryError;
use crate::redirect::{Journey, Obstacle, Reply, travel};
use crate::registries_conf::Registries;
use crate::retry::{Cancel, Failure, with_retries};
use crate::scheme::{Conversation, SchemeMemory};
use crate::secret::{Secret, presentable};
use crate::settings::{Limits, Settings};
use crate::transport::{Payload, Reach, Transport, Trust};
use crate::url::Origin;

/// Tries at a mirror: another server is waiting behind it.
const MIRROR_ATTEMPTS: u32 = 2;
/// Challenges that one request answers: a token may be spent by other threads as soon as it is here.
const MAX_CHALLENGES: usize = 8;
/// Warnings kept for the caller.
const MAX_WARNINGS: usize = 100;

/// What all requests of a client share.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) limits: Limits,
    pub(crate) registries: Registries,
    pub(crate) cancel: Cancel,
    transport: Transport,
    authenticator: Authenticator,
    schemes: SchemeMemory,
    warnings: Mutex<Vec<String>>,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    /// Behind the repository: `manifests/latest`.
    Path(&'a str),
    /// A URL that the server itself named. On any other server it is asked without credentials.
    Url(&'a Uri),
    /// The protocol's root, `/v2/`.
    Root,
    /// Behind the protocol's root: `_catalog`.
    Server(&'a str),
}

/// What a token must allow.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// Nothing in particular.
    None,
    /// Reading the repository.
    Pull,
    /// Writing it too, and reading the repositories that blobs may be mounted from.
    Push(&'a [String]),
}

/// A request in the protocol.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) target: Target<'a>,
    pub(crate) scope: Scope<'a>,
    /// Headers of this request alone.
    pub(crate) headers: &'a [(HeaderName, HeaderValue)],
    pub(crate) body: Option<Payload<'a>>,
    /// Media types wanted; empty for any.
    pub(crate) accept: &'a str,
    /// First byte wanted; 0 asks for the whole.
    pub(crate) offset: u64,
    /// What it is for, e.g. `docker.io/library/ubuntu:22.04`.
    pub(crate) subject: &'a str,
    /// The repository as users write it.
    pub(crate) name: &'a str,
}

impl<'a> Request<'a> {
    /// Returns a request that reads `path`, for `subject` in the repository `name`.
    pub(crate) const fn get(path: &'a str, subject: &'a str, name: &'a str) -> Self {
        Self {
            method: Method::GET,
            target: Target::Path(path),
            scope: Scope::Pull,
            headers: &[],
            body: None,
            accept: "",
            offset: 0,
            subject,
            name,
        }
    }

    const fn action(&self) -> &'static str {
        match self.scope {
            Scope::None | Scope::Pull => "pull",
            Scope::Push(_) => "push",
        }
    }
}

impl Scope<'_> {
    /// Returns the scope as token servers know it; several are separated by blanks.
    fn text(self, repository: &str) -> String {
        match self {
            Self::None => String::new(),
            Self::Pull => format!("repository:{repository}:pull"),
            Self::Push(sources) => {
                let others = sources.iter().filter(|source| *source != repository);
                let others = others.map(|source| format!("repository:{source}:pull"));
                let own = format!("repository:{repository}:pull,push");
                let all: Vec<String> = std::iter::once(own).chain(others).collect();
                all.join(" ")
            }
        }
    }
}

impl Access {
    pub(crate) fn new(settings: Settings) -> Result<Self, RegistryError> {
        Ok(Self {
            limits: settings.limits.clone(),
            registries: Registries::read(&settings)?,
            cancel: Cancel::default(),
            transport: Transport::new(&settings)?,
            authenticator: Authenticator::new(settings),
            schemes: SchemeMemory::default(),
            warnings: Mutex::new(Vec::new()),
        })
    }

    /// Returns what `read` makes of the answer of `endpoint`: a success, or 416 to a request with
    /// an offset. A failed reading is tried again from the beginning.
    ///
    /// # Errors
    /// Everything else, after retries where they make sense.
    pub(crate) fn ask<T>(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        read: impl Fn(Reply) -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        let attempts = match endpoint.role {
            Role::Origin => self.limits.attempts,
            Role::Mirror => self.limits.attempts.min(MIRROR_ATTEMPTS),
        };
        with_retries(
            &self.limits,
            attempts,
            &self.cancel,
            request.subject,
            || read(self.ask_once(endpoint, request)?),
        )
    }

    /// Returns the answer of `endpoint` to one try, with credentials if it wants some.
    ///
    /// # Errors
    /// As for [`Access::ask`], with what is known of whether another try may succeed.
    pub(crate) fn ask_once(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
    ) -> Result<Reply, Failure> {
        let converse = |is_tls| self.converse(endpoint, request, is_tls);
        self.schemes.ask(endpoint, request.subject, converse)
    }

    /// Returns the answer of a URL that a manifest names, asked without any credentials.
    ///
    /// # Errors
    /// As for [`Access::ask`].
    pub(crate) fn ask_foreign(
        &self,
        url: &Uri,
        request: &Request<'_>,
    ) -> Result<Reply, RegistryError> {
        let host = Origin::of(url)
            .map(|origin| origin.show())
            .unwrap_or_default();
        let asked = Asked {
            subject: request.subject,
            name: request.name,
            host: &host,
            repository: "-",
            credentials: ANONYMOUS,
            secrets: &[],
            action: request.action(),
        };
        let attempts = self.limits.attempts;
        with_retries(
            &self.limits,
            attempts,
            &self.cancel,
            request.subject,
            || {
                let sent = self.send(url, request, None, Reach::Foreign, Trust::Verified);
                let reply = sent.map_err(|obstacle| obstacle.into_failure(request.subject))?;
                self.settle(&asked, request, reply)
            },
        )
    }

    /// Returns what servers wanted to be known, and mirrors that failed; each once.
    pub(crate) fn take_warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *warnings)
    }

    pub(crate) fn warn(&self, warning: String) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < MAX_WARNINGS && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Notes why a mirror was passed over.
    pub(crate) fn warn_mirror(&self, endpoint: &Endpoint, error: &RegistryError) {
        self.warn(format!(
            "mirror {} was passed over: {error}",
            endpoint.authority
        ));
    }

    /// Returns whether `endpoint` was last spoken to over https.
    pub(crate) fn speaks_tls(&self, endpoint: &Endpoint) -> bool {
        self.schemes.speaks_tls(endpoint)
    }

    /// Returns what the token server of `origin` gave to be kept in place of a password.
    pub(crate) fn identity(&self, origin: &Origin) -> Option<Secret> {
        let held = self.authenticator.current(origin, "")?;
        held.identity.clone()
    }

    /// Stops every request of every thread.
    pub(crate) fn shut_down(&self) {
        self.cancel.set();
        self.transport.shut_down();
    }

    /// One request with the answers to challenges. The inner error is for no answer at all.
    fn converse(&self, endpoint: &Endpoint, request: &Request<'_>, is_tls: bool) -> Conversation {
        let own = match request.target {
            Target::Path(path) => endpoint.uri(is_tls, path, request.subject)?,
            Target::Root | Target::Url(_) => endpoint.root(is_tls, request.subject)?,
            Target::Server(path) => endpoint.at_root(is_tls, path, request.subject)?,
        };
        let Some(origin) = Origin::of(&own) else {
            return Ok(Err(Obstacle::Refused(RegistryError::BadName {
                subject: request.subject.to_owned(),
                problem: format!("{} does not make a URL", endpoint.authority),
            })));
        };
        match request.target {
            Target::Url(url) if Origin::of(url).as_ref() != Some(&origin) => {
                self.ask_elsewhere(endpoint, request, url)
            }
            Target::Url(url) => self.ask_home(endpoint, request, url, &origin),
            Target::Path(_) | Target::Root | Target::Server(_) => {
                self.ask_home(endpoint, request, &own, &origin)
            }
        }
    }

    /// Asks the server that the registry named, which gets no credentials.
    fn ask_elsewhere(&self, endpoint: &Endpoint, request: &Request<'_>, url: &Uri) -> Conversation {
        let own_trust = Origin::of(url).map_or(Trust::Verified, |origin| {
            self.trust_of(&origin, None, Trust::Verified)
        });
        let mut reply = match self.send(url, request, None, Reach::Foreign, own_trust) {
            Ok(reply) => reply,
            Err(obstacle) => return Ok(Err(obstacle)),
        };
        reply.is_home = false;
        let asked = asked_of(endpoint, request, None);
        self.settle(&asked, request, reply).map(Ok)
    }

    fn ask_home(
        &self,
        endpoint: &Endpoint,
        request: &Request<'_>,
        uri: &Uri,
        origin: &Origin,
    ) -> Conversation {
        let scope = request.scope.text(&endpoint.repository);
        let is_insecure =
            |other: &Origin| self.trust_of(other, Some(origin), endpoint.trust) == Trust::Anyone;
        let door = Door {
            transport: &self.transport,
            limits: &self.limits,
            cancel: &self.cancel,
            origin,
            host: &endpoint.host,
            repository: &endpoint.repository,
            scope: &scope,
            subject: request.subject,
            name: request.name,
            action: request.action(),
            is_login: matches!(request.target, Target::Root),
            is_insecure: &is_insecure,
        };
        let mut used = self.authenticator.current(origin, &scope);
        let mut has_answered = false;
        for _ in 0..MAX_CHALLENGES {
            let header = used.as_ref().map(|held| &held.header);
            let reply = match self.send(uri, request, header, Reach::Named, endpoint.trust) {
                Ok(reply) => reply,
                Err(obstacle) => return Ok(Err(obstacle)),
            };
            let is_refused = reply.response.status() == StatusCode::UNAUTHORIZED && reply.is_home;
            let challenge = Challenge::best(reply.response.headers());
            let asked = asked_of(endpoint, request, used.as_deref());
            if !is_refused {
                if used.is_some() {
                    self.authenticator.note_success(origin, &scope);
                }
                return self.settle(&asked, request, reply).map(Ok);
            }
            let had_success = self.authenticator.had_success(origin, &scope);
            let refused = used.as_deref().filter(|_| has_answered);
            // Tokens die, even in the middle of something: what has opened this door before is
            // fetched again. Everything else that was just got is not better the next time.
            if let Some(held) = refused
                && (held.is_basic || !had_success)
            {
                let answer = asked.heard(reply);
                if held.is_basic && !had_success {
                    self.authenticator.reject(origin, &scope, &answer);
                    return Err(Failure::Final(RegistryError::Unauthorized { answer }));
                }
                // The user was accepted, and is not let into this repository.
                return Err(Failure::Final(RegistryError::Denied { answer }));
            }
            let Some(challenge) = challenge else {
                return self.settle(&asked, request, reply).map(Ok);
            };
            drop(reply);
            used = Some(
                self.authenticator
                    .answer(&door, &challenge, used.as_ref())?,
            );
            has_answered = true;
        }
        let asked = asked_of(endpoint, request, used.as_deref());
        let answer = asked.answer("every token is refused at once".to_owned());
        Err(Failure::Final(RegistryError::Denied { answer }))
    }

    fn send(
        &self,
        uri: &Uri,
        request: &Request<'_>,
        authorization: Option<&HeaderValue>,
        reach: Reach,
        own_trust: Trust,
    ) -> Result<Reply, Obstacle> {
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
        let mut add = |name, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.push((name, value));
            }
        };
        if !request.accept.is_empty() {
            add(ACCEPT, request.accept);
        }
        if request.offset > 0 {
            add(RANGE, &format!("bytes={}-", request.offset));
        }
        headers.extend_from_slice(request.headers);
        let home = Origin::of(uri);
        let journey = Journey {
            method: request.method.clone(),
            start: uri,
            headers: &headers,
            authorization,
            body: request.body,
            is_movable: true,
            reach,
            trust: &|origin| self.trust_of(origin, home.as_ref(), own_trust),
            subject: request.subject,
        };
        let reply = travel(&self.transport, &journey)?;
        self.note_warnings(reply.response.headers());
        Ok(reply)
    }

    fn settle(
        &self,
        asked: &Asked<'_>,
        request: &Request<'_>,
        reply: Reply,
    ) -> Result<Reply, Failure> {
        let status = reply.response.status();
        let is_end = status == StatusCode::RANGE_NOT_SATISFIABLE && request.offset > 0;
        if status.is_success() || is_end {
            return Ok(reply);
        }
        Err(judge(asked, reply, &self.limits))
    }

    /// Returns how `origin` is trusted when a server that is trusted as `own_trust` leads there.
    fn trust_of(&self, origin: &Origin, home: Option<&Origin>, own_trust: Trust) -> Trust {
        if home.is_some_and(|home| home.host == origin.host) {
            return own_trust;
        }
        let authority = format!("{}:{}", origin.host, origin.port);
        trust(&self.registries, &authority)
    }

    /// Keeps the texts of `Warning: 299 - "text"` headers.
    fn note_warnings(&self, headers: &HeaderMap) {
        for warning in headers.get_all(WARNING) {
            let text = String::from_utf8_lossy(warning.as_bytes());
            let quoted = text
                .strip_prefix("299 - \"")
                .and_then(|rest| rest.strip_suffix('"'));
            if let Some(quoted) = quoted {
                let plain = quoted.replace("\\\"", "\"").replace("\\\\", "\\");
                self.warn(format!("registry: {}", presentable(&plain, &[])));
            }
        }
    }
}

fn asked_of<'a>(
    endpoint: &'a Endpoint,
    request: &Request<'a>,
    held: Option<&'a Held>,
) -> Asked<'a> {
    Asked {
        subject: request.subject,
        name: request.name,
        host: &endpoint.host,
        repository: &endpoint.repository,
        credentials: held.map_or(ANONYMOUS, |held| held.source.as_str()),
        secrets: held.map_or(&[], |held| held.secrets.as_slice()),
        action: request.action(),
    }
}
