//! Brings one blob into a repository: finds it there, mounts it, or uploads it.
//!
//! An upload is one request by default. A registry that does not take so much at once, or whose
//! connections do not last that long, gets it in chunks. What broke off goes on where the registry
//! says that it has got to.

use std::time::Duration;

use rbuild_image::manifest::Descriptor;
use sha2::Sha256;
use ureq::http::header::{HeaderName, LOCATION};
use ureq::http::{HeaderValue, Method, StatusCode, Uri};

use crate::access::{Access, Request, Scope, Target};
use crate::client::told_digest;
use crate::content::Outgoing;
use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::redirect::{Reply, check};
use crate::retry::{Failure, Patience, backoff};
use crate::transport::Payload;
use crate::upload_headers::{content_range, octets, over_tls, received};
use crate::url::{encode_component, join, show};

/// What registries take in one piece who do not take everything.
const CHUNK: u64 = 4 << 20;
/// Longest chunk that a registry may ask for.
const MAX_CHUNK: u64 = 256 << 20;
/// Whole uploads that may break off before chunks are tried.
const MAX_BROKEN: u32 = 2;
/// Uploads that are begun anew because the registry lost or misread one.
const MAX_RESTARTS: u32 = 2;

/// How a blob came into a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// It was there.
    Exists,
    /// The registry took it from this repository of its own.
    Mounted(String),
    /// It was uploaded.
    Uploaded,
}

/// One blob and where it goes.
pub(crate) struct Upload<'a> {
    pub(crate) access: &'a Access,
    pub(crate) endpoint: &'a Endpoint,
    /// Repositories that the token of this push is to open.
    pub(crate) scope: &'a [String],
    /// Those of them to mount from, the best guess first.
    pub(crate) sources: &'a [String],
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) outgoing: &'a Outgoing<'a>,
    pub(crate) subject: &'a str,
    pub(crate) name: &'a str,
    /// Told why there is another try.
    pub(crate) retrying: &'a dyn Fn(&RegistryError),
}

/// An upload that the registry has opened.
#[derive(Debug, Clone)]
struct Session {
    location: Uri,
    /// How many bytes the registry has.
    offset: u64,
    chunk: u64,
    /// Its state is to be asked for before it is used.
    is_doubtful: bool,
}

/// What the registry makes of a mount.
enum Opening {
    Mounted(String),
    Open(Session),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In one request.
    Whole,
    /// In several: the registry has refused the whole with this status, or connections broke (0).
    Chunks(u16),
}

/// What is known of an upload from one try to the next.
struct State {
    session: Option<Session>,
    way: Way,
    takes_chunks: bool,
    n_broken: u32,
    n_restarts: u32,
    /// The most that any session has reached.
    reached: u64,
    hash: (u64, Option<Sha256>),
}

impl Upload<'_> {
    /// Brings the blob there.
    ///
    /// # Errors
    /// Those of any request; [`RegistryError::Content`], [`RegistryError::SizeMismatch`] and
    /// [`RegistryError::DigestMismatch`] if the blob here cannot be used.
    pub(crate) fn place(&self) -> Result<Placed, RegistryError> {
        if self.is_there()? {
            return Ok(Placed::Exists);
        }
        let session = match self.open()? {
            Opening::Mounted(source) => return Ok(Placed::Mounted(source)),
            Opening::Open(session) => session,
        };
        self.send_all(session)?;
        Ok(Placed::Uploaded)
    }

    fn is_there(&self) -> Result<bool, RegistryError> {
        let path = format!("blobs/{}", self.descriptor.digest);
        let request = Request {
            method: Method::HEAD,
            ..self.request(Target::Path(&path))
        };
        match self.access.ask(self.endpoint, &request, Ok) {
            Ok(_) => Ok(true),
            Err(RegistryError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has the blob mounted, or an upload opened.
    fn open(&self) -> Result<Opening, RegistryError> {
        let mut opened: Option<Session> = None;
        for source in self.sources {
            let answer = self.mount(source);
            match answer {
                Ok(Opening::Mounted(_)) => {
                    self.abandon(opened.as_ref());
                    return answer;
                }
                // It is not there, and an upload is open that may do.
                Ok(Opening::Open(session)) => {
                    self.abandon(opened.as_ref());
                    opened = Some(session);
                }
                // It may be that this user cannot read there.
                Err(
                    RegistryError::Denied { .. }
                    | RegistryError::Unauthorized { .. }
                    | RegistryError::NotFound { .. }
                    | RegistryError::Status { .. },
                ) => {}
                Err(error) => {
                    self.abandon(opened.as_ref());
                    return Err(error);
                }
            }
        }
        if let Some(session) = opened {
            return Ok(Opening::Open(session));
        }
        let request = self.post(Target::Path("blobs/uploads/"));
        let opened = self
            .access
            .ask(self.endpoint, &request, |reply| self.opened(&reply));
        opened.map(Opening::Open)
    }

    fn mount(&self, source: &str) -> Result<Opening, RegistryError> {
        let path = format!(
            "blobs/uploads/?mount={}&from={}",
            encode_component(&self.descriptor.digest.to_string()),
            encode_component(source)
        );
        let request = self.post(Target::Path(&path));
        self.access.ask(self.endpoint, &request, |reply| {
            if reply.response.status() == StatusCode::CREATED {
                return Ok(Opening::Mounted(source.to_owned()));
            }
            self.opened(&reply).map(Opening::Open)
        })
    }

    fn send_all(&self, session: Session) -> Result<(), RegistryError> {
        let limits = &self.access.limits;
        let mut state = State {
            session: Some(session),
            way: Way::Whole,
            takes_chunks: true,
            n_broken: 0,
            n_restarts: 0,
            reached: 0,
            hash: (0, None),
        };
        let mut n_failures = 0;
        loop {
            let is_wanted = self.access.cancel.check(self.subject);
            if let Err(error) = is_wanted.and_then(|()| self.outgoing.check_stopped()) {
                self.abandon(state.session.as_ref());
                return Err(error);
            }
            let reached = state.reached;
            let (error, after) = match self.attempt(&mut state) {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => {
                    self.abandon(state.session.as_ref());
                    return Err(error);
                }
                Err(Failure::Passing { error, after, .. }) => (error, after),
            };
            n_failures = if state.reached > reached {
                1
            } else {
                n_failures + 1
            };
            let is_long = after.is_some_and(|wish| wish > limits.retry_after_cap);
            if n_failures >= limits.attempts || is_long {
                self.abandon(state.session.as_ref());
                return Err(*error);
            }
            (self.retrying)(&error);
            let pause = after.unwrap_or_else(|| backoff(limits, n_failures));
            self.access.cancel.sleep(pause);
        }
    }

    /// One try, from where the last one has got to.
    fn attempt(&self, state: &mut State) -> Result<(), Failure> {
        let Some(mut session) = self.resumed(state)? else {
            return Ok(());
        };
        let sent = match state.way {
            Way::Whole => self.send_rest(&mut session, state),
            Way::Chunks(_) => self.send_chunks(&mut session, state),
        };
        state.reached = state.reached.max(session.offset);
        let Err(failure) = sent else {
            return Ok(());
        };
        session.is_doubtful = true;
        state.session = Some(session);
        self.next_way(state, failure)
    }

    /// Returns the session to go on with, `None` if the blob is there after all.
    fn resumed(&self, state: &mut State) -> Result<Option<Session>, Failure> {
        let size = self.descriptor.size;
        // While the registry is asked, the session stays known: it may have to be given up.
        if let Some(session) = state.session.clone() {
            if !session.is_doubtful {
                return Ok(Some(session));
            }
            let asked = self.state_of(session);
            if let Ok(Some(session)) = asked
                && session.offset > 0
                && session.offset <= size
            {
                return Ok(Some(session));
            }
            // The answer to the last request may be all that was lost.
            if self.is_there()? {
                return Ok(None);
            }
        }
        state.session = None;
        let request = self.post(Target::Path("blobs/uploads/"));
        let reply = self.access.ask_once(self.endpoint, &request)?;
        self.opened(&reply).map(Some)
    }

    /// Asks how far a session has got; `None` if the registry does not say.
    fn state_of(&self, session: Session) -> Result<Option<Session>, RegistryError> {
        let request = self.request(Target::Url(&session.location));
        let reply = self.access.ask(self.endpoint, &request, Ok)?;
        let headers = reply.response.headers();
        let Some(offset) = received(headers) else {
            return Ok(None);
        };
        let location = self.location(&reply)?;
        Ok(Some(Session {
            location: location.unwrap_or(session.location),
            // Both "nothing" and "one byte" are told as 0-0.
            offset: if offset == 1 { 0 } else { offset },
            is_doubtful: false,
            ..session
        }))
    }

    /// Decides how to go on after a failure.
    fn next_way(&self, state: &mut State, failure: Failure) -> Result<(), Failure> {
        let error = match failure {
            Failure::Passing {
                error,
                after,
                patience,
            } => {
                state.n_broken += 1;
                if state.way == Way::Whole && state.takes_chunks && state.n_broken >= MAX_BROKEN {
                    state.way = Way::Chunks(0);
                }
                return Err(Failure::Passing {
                    error,
                    after,
                    patience,
                });
            }
            Failure::Final(error) => error,
        };
        let status = match &error {
            RegistryError::Status { status, .. } => *status,
            RegistryError::NotFound { .. } => 404,
            _ => return Err(Failure::Final(error)),
        };
        match (state.way, status) {
            (Way::Whole, 413 | 416) if state.takes_chunks => {
                state.session = None;
                state.way = Way::Chunks(status);
            }
            (Way::Chunks(0), 404 | 405 | 413 | 415 | 416 | 501) if state.n_restarts == 0 => {
                state.takes_chunks = false;
                state.n_restarts += 1;
                state.session = None;
                state.way = Way::Whole;
            }
            (Way::Chunks(whole), 405 | 413 | 415 | 416 | 501) if whole != 0 => {
                let problem = format!(
                    "takes this blob neither whole (status {whole}) nor in chunks (status {status})"
                );
                return Err(Failure::Final(self.bad_answer(&problem)));
            }
            // The registry lost the session, or got other bytes than were sent.
            (_, 400 | 404 | 410 | 416) if state.n_restarts < MAX_RESTARTS => {
                state.n_restarts += 1;
                state.session = None;
            }
            _ => return Err(Failure::Final(error)),
        }
        Err(Failure::Passing {
            error: Box::new(error),
            after: Some(Duration::ZERO),
            patience: Patience::Full,
        })
    }

    /// Sends everything that is missing with the request that ends the upload.
    fn send_rest(&self, session: &mut Session, state: &mut State) -> Result<(), Failure> {
        let (start, end) = (session.offset, self.descriptor.size);
        let part = self.outgoing.part(start, end, self.hash_at(start, state)?);
        let range = content_range(start, end).filter(|_| start > 0);
        let headers: Vec<_> = [octets()].into_iter().chain(range).collect();
        self.finish(session, &headers, Payload::Stream(&part))
    }

    fn send_chunks(&self, session: &mut Session, state: &mut State) -> Result<(), Failure> {
        let size = self.descriptor.size;
        let mut n_stuck = 0;
        while session.offset < size {
            self.access.cancel.check(self.subject)?;
            let start = session.offset;
            let end = size.min(start.saturating_add(session.chunk));
            let part = self.outgoing.part(start, end, self.hash_at(start, state)?);
            let headers: Vec<_> = [octets()]
                .into_iter()
                .chain(content_range(start, end))
                .collect();
            let reply = self.send(
                &Method::PATCH,
                &session.location,
                &headers,
                Payload::Stream(&part),
            )?;
            if let Some(location) = self.location(&reply)? {
                session.location = location;
            }
            state.hash = (end, part.into_hash());
            session.offset = match received(reply.response.headers()) {
                None => end,
                Some(has) if has == end || (start..end).contains(&has) => has,
                Some(has) => {
                    let problem = format!("says it has {has} bytes after {end} were sent");
                    return Err(self.passing(self.bad_answer(&problem)));
                }
            };
            n_stuck = if session.offset > start {
                0
            } else {
                n_stuck + 1
            };
            if n_stuck >= self.access.limits.attempts {
                return Err(Failure::Final(
                    self.bad_answer("keeps nothing of what it gets"),
                ));
            }
        }
        self.finish(session, &[octets()], Payload::Bytes(&[]))
    }

    /// Ends the upload, with the last of the bytes.
    fn finish(
        &self,
        session: &Session,
        headers: &[(HeaderName, HeaderValue)],
        body: Payload<'_>,
    ) -> Result<(), Failure> {
        let digest = self.descriptor.digest;
        let joint = if session.location.query().is_some() {
            '&'
        } else {
            '?'
        };
        let value = encode_component(&digest.to_string());
        let url: Uri = format!("{}{joint}digest={value}", session.location)
            .parse()
            .map_err(|_error| self.bad_answer("named an upload URL that cannot be used"))?;
        let reply = self.send(&Method::PUT, &url, headers, body)?;
        let status = reply.response.status();
        if !matches!(
            status,
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK
        ) {
            let problem = format!("did not confirm the upload (status {})", status.as_u16());
            return Err(Failure::Final(self.bad_answer(&problem)));
        }
        match told_digest(reply.response.headers()) {
            Some(found) if found != digest => Err(Failure::Final(RegistryError::DigestMismatch {
                subject: self.subject.to_owned(),
                expected: digest,
                found,
                note: format!(", says {}", self.endpoint.host),
            })),
            _ => Ok(()),
        }
    }

    fn send(
        &self,
        method: &Method,
        url: &Uri,
        headers: &[(HeaderName, HeaderValue)],
        body: Payload<'_>,
    ) -> Result<Reply, Failure> {
        let request = Request {
            method: method.clone(),
            headers,
            body: Some(body),
            ..self.request(Target::Url(url))
        };
        self.access.ask_once(self.endpoint, &request)
    }

    /// Tells the registry to forget the upload, whether or not it listens.
    fn abandon(&self, session: Option<&Session>) {
        if let Some(session) = session {
            let request = Request {
                method: Method::DELETE,
                ..self.request(Target::Url(&session.location))
            };
            drop(self.access.ask_once(self.endpoint, &request));
        }
    }

    fn opened(&self, reply: &Reply) -> Result<Session, Failure> {
        let location = self.location(reply)?.ok_or_else(|| {
            let status = reply.response.status().as_u16();
            self.bad_answer(&format!(
                "opened an upload (status {status}) but did not say where: there is no Location"
            ))
        })?;
        let wish = reply.response.headers().get("oci-chunk-min-length");
        let wish: Option<u64> = wish.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(Session {
            location,
            offset: 0,
            chunk: wish.unwrap_or(CHUNK).clamp(CHUNK, MAX_CHUNK),
            is_doubtful: false,
        })
    }

    /// Returns where an answer says that the upload goes on.
    fn location(&self, reply: &Reply) -> Result<Option<Uri>, RegistryError> {
        let Some(text) = reply.response.headers().get(LOCATION) else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(text.as_bytes());
        let shown = || crate::secret::presentable(text.split('?').next().unwrap_or_default(), &[]);
        let refuse = |target: String, problem: &str| RegistryError::Redirect {
            subject: self.subject.to_owned(),
            host: reply.origin.show(),
            target,
            problem: problem.to_owned(),
        };
        let next =
            join(&reply.uri, &text).ok_or_else(|| refuse(shown(), "not an http or https URL"))?;
        let next = over_tls(&reply.uri, next);
        check(&reply.origin, &reply.origin, &next)
            .map_err(|problem| refuse(show(&next), problem))?;
        Ok(Some(next))
    }

    fn hash_at(&self, offset: u64, state: &State) -> Result<Sha256, RegistryError> {
        match &state.hash {
            (known, Some(hash)) if *known == offset => Ok(hash.clone()),
            _ => self.outgoing.hash_of_first(offset),
        }
    }

    fn request<'b>(&'b self, target: Target<'b>) -> Request<'b> {
        Request {
            target,
            scope: Scope::Push(self.scope),
            ..Request::get("", self.subject, self.name)
        }
    }

    fn post<'b>(&'b self, target: Target<'b>) -> Request<'b> {
        Request {
            method: Method::POST,
            body: Some(Payload::Bytes(&[])),
            ..self.request(target)
        }
    }

    fn passing(&self, error: RegistryError) -> Failure {
        Failure::Passing {
            error: Box::new(error),
            after: None,
            patience: Patience::Full,
        }
    }

    fn bad_answer(&self, problem: &str) -> RegistryError {
        RegistryError::BadAnswer {
            subject: self.subject.to_owned(),
            host: self.endpoint.host.clone(),
            problem: problem.to_owned(),
        }
    }
}
