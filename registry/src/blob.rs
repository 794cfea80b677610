//! Reads a blob: resumes, bounds, verifies.

use std::io::{self, Read};
use std::sync::Arc;

use rbuild_image::digest::Digest;
use rbuild_image::manifest::Descriptor;
use sha2::{Digest as _, Sha256};
use ureq::BodyReader;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE};
use ureq::http::{HeaderMap, StatusCode, Uri};

use crate::access::{Access, Request};
use crate::address::is_loopback;
use crate::endpoint::{Endpoint, Role};
use crate::error::{Cause, RegistryError};
use crate::redirect::{Reply, foreign_problem};
use crate::retry::backoff;
use crate::url::Origin;

/// Resumes of one blob, however much each of them brought.
const MAX_RESUMES: u32 = 1000;
/// Pieces in which bytes that are known already are skipped and earlier ones are hashed.
const PIECE: usize = 64 * 1024;

/// A blob on its way. See [`Client::blob`](crate::Client::blob).
///
/// Errors are [`RegistryError`]s inside [`io::Error`]s; [`RegistryError::from_io`] takes them out.
pub struct BlobReader {
    access: Arc<Access>,
    sources: Vec<Source>,
    /// The source that is asked first.
    first: usize,
    descriptor: Descriptor,
    subject: String,
    name: String,
    /// `None` if somebody else checks the digest.
    hasher: Option<Sha256>,
    position: u64,
    state: State,
    failures_in_row: u32,
    n_resumes: u32,
    /// True if the server announced where its body ends.
    is_bounded: bool,
    note: String,
}

/// What is known of a blob before anything is asked for.
pub(crate) enum Earlier<'a> {
    /// Its beginning, which is hashed with the rest.
    Bytes(&'a mut dyn Read),
    /// The length of its beginning; somebody else hashes all of it.
    Checked(u64),
}

enum Source {
    Server(Endpoint),
    Foreign(Uri),
}

enum State {
    /// Bytes come.
    Open(Box<BodyReader<'static>>),
    /// All bytes came and, as far as they are checked here, are right.
    Complete,
    /// Nothing more comes.
    Failed,
}

impl BlobReader {
    pub(crate) fn open(
        access: Arc<Access>,
        servers: Vec<Endpoint>,
        descriptor: &Descriptor,
        (subject, name): (String, String),
        have: Earlier<'_>,
    ) -> Result<Self, RegistryError> {
        let mut sources: Vec<Source> = servers.into_iter().map(Source::Server).collect();
        sources.extend(foreign_sources(descriptor).map(Source::Foreign));
        let mut reader = Self {
            access,
            sources,
            first: 0,
            descriptor: descriptor.clone(),
            subject,
            name,
            hasher: None,
            position: 0,
            state: State::Failed,
            failures_in_row: 0,
            n_resumes: 0,
            is_bounded: false,
            note: String::new(),
        };
        match have {
            Earlier::Bytes(have) => {
                reader.hasher = Some(Sha256::new());
                reader.take_earlier(have)?;
            }
            Earlier::Checked(n_bytes) => reader.advance(n_bytes)?,
        }
        if reader.position == reader.descriptor.size {
            reader.complete()?;
        } else {
            let body = reader.request()?;
            reader.state = State::Open(body);
        }
        Ok(reader)
    }

    /// Returns how many bytes of the blob have come, those of an earlier download included.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// True once every byte has been read and the digest was right.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        matches!(self.state, State::Complete) && self.hasher.is_some()
    }

    fn take_earlier(&mut self, have: &mut dyn Read) -> Result<(), RegistryError> {
        let mut piece = vec![0; PIECE];
        loop {
            let count = match have.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.interrupted(error.into())),
            };
            self.hash(&piece[..count]);
            self.advance(u64::try_from(count).unwrap_or(u64::MAX))?;
        }
    }

    fn advance(&mut self, n_bytes: u64) -> Result<(), RegistryError> {
        self.position = self.position.saturating_add(n_bytes);
        if self.position > self.descriptor.size {
            return Err(self.wrong_size(self.position));
        }
        Ok(())
    }

    fn hash(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
    }

    /// Asks every source for the rest, beginning with the preferred one.
    fn request(&mut self) -> Result<Box<BodyReader<'static>>, RegistryError> {
        let n_sources = self.sources.len();
        let mut reported: Option<RegistryError> = None;
        for step in 0..n_sources {
            let at = (self.first + step) % n_sources;
            let error = match self.request_from(at) {
                Ok(body) => {
                    self.first = at;
                    return Ok(body);
                }
                Err(error) => error,
            };
            self.access.cancel.check(&self.subject)?;
            if let Source::Server(endpoint) = &self.sources[at]
                && endpoint.role == Role::Mirror
            {
                self.access.warn_mirror(endpoint, &error);
                continue;
            }
            // The registry's own error says most; a foreign URL only stands in for "not found".
            let is_fit_for_foreign = error.is_not_found();
            if reported.is_none() || matches!(self.sources[at], Source::Server(_)) {
                reported = Some(error);
            }
            if !is_fit_for_foreign {
                break;
            }
        }
        Err(reported.unwrap_or_else(|| self.interrupted("no server to ask".into())))
    }

    fn request_from(&mut self, at: usize) -> Result<Box<BodyReader<'static>>, RegistryError> {
        let path = format!("blobs/{}", self.descriptor.digest);
        let request = Request {
            offset: self.position,
            ..Request::get(&path, &self.subject, &self.name)
        };
        let reply = match &self.sources[at] {
            Source::Server(endpoint) => self.access.ask(endpoint, &request, Ok)?,
            Source::Foreign(url) => self.access.ask_foreign(url, &request)?,
        };
        self.accept(reply)
    }

    /// Checks what is announced, and goes to the right place in it.
    fn accept(&mut self, reply: Reply) -> Result<Box<BodyReader<'static>>, RegistryError> {
        let size = self.descriptor.size;
        let headers = reply.response.headers();
        self.note = encoding_note(headers);
        let length: Option<u64> = number(headers.get(CONTENT_LENGTH));
        self.is_bounded = length.is_some();
        match reply.response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = content_range(headers);
                if let Some((_, Some(total))) = range
                    && total != size
                {
                    return Err(self.wrong_size(total));
                }
                if range.is_none_or(|(start, _)| start != self.position) {
                    let cause = "the server sent another part than the one asked for";
                    return Err(self.interrupted(cause.into()));
                }
                Ok(Box::new(reply.response.into_body().into_reader()))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let total = content_range_total(headers).unwrap_or(self.position);
                Err(self.wrong_size(total))
            }
            StatusCode::OK => {
                if let Some(length) = length
                    && length != size
                {
                    return Err(self.wrong_size(length));
                }
                let mut body = Box::new(reply.response.into_body().into_reader());
                self.skip(&mut body)?;
                Ok(body)
            }
            status => Err(self.interrupted(format!("unexpected status {status}").into())),
        }
    }

    /// Reads over what is known already: the server does not do ranges.
    fn skip(&self, body: &mut BodyReader<'static>) -> Result<(), RegistryError> {
        let mut skipped = body.take(self.position);
        let count = io::copy(&mut skipped, &mut io::sink())
            .map_err(|error| self.interrupted(error.into()))?;
        if count < self.position {
            return Err(self.interrupted("the server sent less than before".into()));
        }
        Ok(())
    }

    /// Gets a new body after the last one ended early.
    fn resume(&mut self, cause: Cause) -> Result<(), RegistryError> {
        let mut cause = cause;
        loop {
            self.n_resumes += 1;
            if self.failures_in_row >= self.access.limits.attempts || self.n_resumes > MAX_RESUMES {
                return Err(self.interrupted(cause));
            }
            if self.failures_in_row > 0 {
                let pause = backoff(&self.access.limits, self.failures_in_row);
                self.access.cancel.sleep(pause);
                // What does not come from here may come from the next.
                self.first = (self.first + 1) % self.sources.len().max(1);
            }
            self.access.cancel.check(&self.subject)?;
            self.failures_in_row += 1;
            match self.request() {
                Ok(body) => {
                    self.state = State::Open(body);
                    return Ok(());
                }
                // The connection broke again while the known part was skipped.
                Err(RegistryError::Interrupted { source, .. }) => cause = source,
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks for one byte too many where no length was announced.
    fn check_end(&mut self) -> Result<(), RegistryError> {
        let State::Open(body) = &mut self.state else {
            return Ok(());
        };
        // Whatever goes wrong behind the last byte does not matter any more.
        if !self.is_bounded && matches!(body.read(&mut [0]), Ok(1)) {
            self.state = State::Failed;
            return Err(self.wrong_size(self.position.saturating_add(1)));
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), RegistryError> {
        let hash = self.hasher.as_mut().map(Sha256::finalize_reset);
        let found = hash.map(|hash| Digest::from_bytes(hash.into()));
        self.state = State::Failed;
        if let Some(found) = found
            && found != self.descriptor.digest
        {
            return Err(RegistryError::DigestMismatch {
                subject: self.subject.clone(),
                expected: self.descriptor.digest,
                found,
                note: self.note.clone(),
            });
        }
        self.state = State::Complete;
        Ok(())
    }

    fn interrupted(&self, source: Cause) -> RegistryError {
        RegistryError::Interrupted {
            subject: self.subject.clone(),
            received: self.position,
            expected: self.descriptor.size,
            source,
        }
    }

    fn wrong_size(&self, found: u64) -> RegistryError {
        RegistryError::SizeMismatch {
            subject: self.subject.clone(),
            expected: self.descriptor.size,
            found,
        }
    }

    fn read_piece(&mut self, buffer: &mut [u8]) -> Result<usize, RegistryError> {
        loop {
            let left = self.descriptor.size - self.position;
            let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let outcome = match &mut self.state {
                State::Complete => return Ok(0),
                State::Failed => return Err(self.interrupted("it failed before".into())),
                State::Open(body) => body.read(&mut buffer[..most]),
            };
            let cause: Cause = match outcome {
                Ok(0) => "the connection was closed early".into(),
                Ok(count) => {
                    self.hash(&buffer[..count]);
                    self.position += u64::try_from(count).unwrap_or(u64::MAX);
                    self.failures_in_row = 0;
                    if self.position == self.descriptor.size {
                        self.check_end()?;
                        self.complete()?;
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error.into(),
            };
            self.state = State::Failed;
            self.resume(cause)?;
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_piece(buffer).map_err(io::Error::other)
    }
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader")
            .field("subject", &self.subject)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// The URLs of a foreign layer that may be asked: a manifest can name any.
pub(crate) fn foreign_sources(descriptor: &Descriptor) -> impl Iterator<Item = Uri> + '_ {
    descriptor.urls.iter().filter_map(|url| {
        let uri: Uri = url.parse().ok()?;
        let origin = Origin::of(&uri)?;
        let has_user = uri.authority()?.as_str().contains('@');
        let is_private = origin.is_tls || is_loopback(&origin.host);
        (!has_user && is_private && foreign_problem(&origin).is_none()).then_some(uri)
    })
}

fn number(header: Option<&ureq::http::HeaderValue>) -> Option<u64> {
    header?.to_str().ok()?.trim().parse().ok()
}

/// Reads `bytes 10-99/100` as (10, 100), `bytes 10-99/*` as (10, none).
pub(crate) fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

/// Reads `bytes */100` as 100.
pub(crate) fn content_range_total(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.trim().strip_prefix("bytes */")?.parse().ok()
}

fn encoding_note(headers: &HeaderMap) -> String {
    match headers.get(CONTENT_ENCODING).map(|value| value.to_str()) {
        None | Some(Ok("identity")) => String::new(),
        Some(_) => ", and the server encoded it on the way though it was asked not to".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_range(text: &'static str, expected: Option<(u64, Option<u64>)>) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_RANGE, text.parse().unwrap());
        assert_eq!(content_range(&headers), expected, "{text}");
    }

    #[test]
    fn ranges() {
        check_range("bytes 10-99/100", Some((10, Some(100))));
        check_range("bytes 10-99/*", Some((10, None)));
        check_range("bytes */100", None);
        check_range("items 1-2/3", None);
        check_range("bytes -5-9/10", None);
    }

    #[test]
    fn foreign_urls() {
        let mut descriptor = Descriptor::of("x", b"");
        descriptor.urls = [
            "https://a.example/x",
            "http://a.example/x",
            "http://127.0.0.1:1/x",
            "https://u:p@a.example/x",
            "https://169.254.169.254/x",
            "file:///etc/passwd",
            "rubbish",
        ]
        .map(str::to_owned)
        .to_vec();
        let kept: Vec<String> = foreign_sources(&descriptor)
            .map(|uri| uri.to_string())
            .collect();
        assert_eq!(kept, ["https://a.example/x", "http://127.0.0.1:1/x"]);
    }
}
