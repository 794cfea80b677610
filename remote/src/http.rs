//! A URL to a blob of the store.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::fmt::rfc2822::DateTimeParser;
use rbuild_image::digest::Digest;
use rbuild_image::layer::entry::ContentDigest;
use rbuild_image::store::Pin;
use rbuild_registry::{Get, Page, Secret, Web};
use serde::{Deserialize, Serialize};

use crate::{Cancelled, Login, Remote, RemoteError, name_of};

/// A body that is larger than this is refused, unless somebody says otherwise, in bytes.
pub const MAX_BODY: u64 = 32 << 30;

/// A record that is larger than this is none.
const MAX_RECORD: u64 = 64 << 10;

const BUFFER_SIZE: usize = 128 * 1024;

/// A file that is wanted.
#[derive(Debug, Clone)]
pub struct UrlFile<'a> {
    /// http or https, without a user.
    pub url: &'a str,
    /// The user that stood in the URL.
    pub login: Option<&'a Login>,
    /// What it must be. Then nobody is asked if the store has it.
    pub checksum: Option<&'a Digest>,
}

/// A file that was fetched: a blob of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// The blob.
    pub digest: Digest,
    /// BLAKE3 of the same bytes.
    pub content: ContentDigest,
    /// Its length in bytes.
    pub size: u64,
    /// `Last-Modified`, in seconds since the Unix epoch.
    pub last_modified: Option<i64>,
}

/// What a URL was when it was asked for last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    digest: Digest,
    blake3: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    /// True if the file was older than the clock's grain when it came: then another version has
    /// another `Last-Modified`.
    #[serde(default)]
    is_settled: bool,
}

/// The URLs that this build has asked for: each is asked once.
pub(crate) type Asked = Mutex<HashMap<String, Arc<Mutex<Option<Body>>>>>;

impl Remote {
    /// Brings a file into the store. Threads that want the same URL wait for one another, and it is
    /// asked for once.
    ///
    /// # Errors
    /// [`RemoteError::Web`], [`RemoteError::DigestMismatch`], [`RemoteError::TooLarge`],
    /// [`RemoteError::Cancelled`], and those of the store.
    pub fn fetch(
        &self,
        wanted: &UrlFile<'_>,
        cancelled: Cancelled<'_>,
    ) -> Result<Body, RemoteError> {
        let place = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(asked.entry(wanted.url.to_owned()).or_default())
        };
        let mut known = place.lock().unwrap_or_else(PoisonError::into_inner);
        let body = match *known {
            Some(body) => body,
            None => self.find(wanted, cancelled)?,
        };
        *known = Some(body);
        check(wanted, &body)?;
        Ok(body)
    }

    /// Forgets a file that turned out to be damaged.
    ///
    /// # Errors
    /// [`RemoteError::Store`] if it cannot be removed.
    pub fn forget(&self, url: &str) -> Result<(), RemoteError> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.remove(url);
        drop(asked);
        if let Some(record) = self.record(url)? {
            self.store.remove_blob(&record.digest)?;
        }
        Ok(())
    }

    fn find(&self, wanted: &UrlFile<'_>, cancelled: Cancelled<'_>) -> Result<Body, RemoteError> {
        let known = self.record(wanted.url)?;
        if let Some(record) = &known {
            self.store.pin(&[Pin::Blob(record.digest)])?;
        }
        let known = known.filter(|record| {
            self.store.blob_size(&record.digest).ok().flatten() == Some(record.size)
        });
        if let Some(record) = &known
            && wanted.checksum == Some(&record.digest)
            && let Some(body) = record.body()
        {
            return Ok(body);
        }
        let web = self
            .web
            .get_or_init(|| Web::new(&self.settings).map_err(Arc::new))
            .as_ref()
            .map_err(Arc::clone)?;
        let get = Get {
            url: wanted.url,
            authorization: self.authorization(wanted),
            etag: known.as_ref().and_then(|record| record.etag.as_deref()),
            is_head: false,
        };
        if let Some(record) = &known
            && record.is_still_there(web, &get)
            && let Some(body) = record.body()
        {
            return Ok(body);
        }
        let record = web.get(&get, |page| self.take(page, known.as_ref(), cancelled))??;
        let body = record.body().ok_or_else(|| RemoteError::Refused {
            what: "a record of what was fetched".to_owned(),
            problem: "it is damaged",
        })?;
        // What is not wanted is not remembered either.
        check(wanted, &body)?;
        self.remember(wanted.url, &record)?;
        Ok(body)
    }

    /// Stores a body. The outer error is one of the connection.
    fn take(
        &self,
        page: Page<'_>,
        known: Option<&Record>,
        cancelled: Cancelled<'_>,
    ) -> io::Result<Result<Record, RemoteError>> {
        if let (true, Some(known)) = (page.is_unmodified, known) {
            let mut record = known.clone();
            record.etag = page.etag.or(record.etag);
            record.last_modified = page.last_modified.or(record.last_modified);
            return Ok(Ok(record));
        }
        // Who sends without an end gets no more than there is room for.
        let limit_bytes = self.max_body.min(self.store.free_bytes());
        let too_large = || RemoteError::TooLarge {
            subject: "the file".to_owned(),
            limit_bytes,
        };
        if page.is_unmodified {
            return Err(io::Error::other(
                "\"not modified\" to a question without conditions",
            ));
        }
        if page.length.is_some_and(|length| length > limit_bytes) {
            return Ok(Err(too_large()));
        }
        let mut writer = match self.store.blob_writer() {
            Ok(writer) => writer,
            Err(error) => return Ok(Err(error.into())),
        };
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; BUFFER_SIZE];
        loop {
            if cancelled() {
                return Ok(Err(RemoteError::Cancelled));
            }
            let n_bytes = match page.body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n_bytes) => n_bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..n_bytes]);
            if let Err(error) = writer.write_all(&buffer[..n_bytes]) {
                return Ok(Err(RemoteError::file("store what is fetched")(error)));
            }
            if writer.size() > limit_bytes {
                return Ok(Err(too_large()));
            }
        }
        if page.length.is_some_and(|length| length != writer.size()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(match writer.commit(None) {
            Ok((digest, size)) => Ok(Record {
                digest,
                blake3: hasher.finalize().to_hex().to_string(),
                size,
                is_settled: is_settled(page.last_modified.as_deref(), page.date.as_deref()),
                etag: page.etag,
                last_modified: page.last_modified,
            }),
            Err(error) => Err(error.into()),
        })
    }

    /// The URL's user, else the secret that belongs to its host.
    fn authorization(&self, wanted: &UrlFile<'_>) -> Option<Secret> {
        let host = host_of(wanted.url);
        let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
        let ids = |kind: &str| {
            [
                format!("HTTP_AUTH_{kind}_{host}"),
                format!("HTTP_AUTH_{kind}_{bare}"),
            ]
        };
        let token = || {
            let token = self.secret(&ids("TOKEN"))?;
            Some(Secret::new(format!("Bearer {}", token.reveal().trim())))
        };
        let header = || {
            let header = self.secret(&ids("HEADER"))?;
            Some(Secret::new(header.reveal().trim()))
        };
        wanted
            .login
            .map(|login| Get::basic(login.user.reveal(), &login.password))
            .or_else(header)
            .or_else(token)
    }

    fn record(&self, url: &str) -> Result<Option<Record>, RemoteError> {
        let path = self.folder("http")?.join(format!("{}.json", name_of(url)));
        let file = match fs_err::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(RemoteError::file("look up what was fetched"))?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_RECORD)
            .read_to_end(&mut bytes)
            .map_err(RemoteError::file("look up what was fetched"))?;
        // A damaged record is none: the file is fetched anew.
        Ok(serde_json::from_slice(&bytes).ok())
    }

    fn remember(&self, url: &str, record: &Record) -> Result<(), RemoteError> {
        self.folder("http")?;
        let name = format!("remote/http/{}.json", name_of(url));
        let bytes = serde_json::to_vec(record)
            .map_err(|error| RemoteError::file("remember what was fetched")(error.into()))?;
        self.store
            .write_file(name, &bytes)
            .map_err(RemoteError::file("remember what was fetched"))
    }
}

impl Record {
    /// Asks a server that gave no tag, but a time. `If-Modified-Since` would not do: it also says
    /// no to a file that was replaced by an older one.
    fn is_still_there(&self, web: &Web, get: &Get<'_>) -> bool {
        if self.etag.is_some() || !self.is_settled {
            return false;
        }
        let head = Get {
            is_head: true,
            ..get.clone()
        };
        let is_same = |page: Page<'_>| {
            Ok(page.last_modified == self.last_modified
                && page.length.is_none_or(|length| length == self.size))
        };
        // Not all servers answer such a question; then the file is fetched.
        web.get(&head, is_same).unwrap_or(false)
    }

    pub(crate) fn body(&self) -> Option<Body> {
        let content = blake3::Hash::from_hex(&self.blake3).ok()?;
        Some(Body {
            digest: self.digest,
            content: ContentDigest(*content.as_bytes()),
            size: self.size,
            last_modified: self.last_modified.as_deref().and_then(seconds),
        })
    }
}

fn check(wanted: &UrlFile<'_>, body: &Body) -> Result<(), RemoteError> {
    match wanted.checksum {
        Some(expected) if *expected != body.digest => Err(RemoteError::DigestMismatch {
            found: body.digest.to_string(),
            expected: expected.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Tells whether a file changed long enough before it was sent.
pub(crate) fn is_settled(last_modified: Option<&str>, date: Option<&str>) -> bool {
    const GRAIN_SECONDS: i64 = 2;
    let (changed, sent) = (last_modified.and_then(seconds), date.and_then(seconds));
    matches!((changed, sent), (Some(changed), Some(sent)) if changed + GRAIN_SECONDS <= sent)
}

/// Reads an HTTP date.
fn seconds(date: &str) -> Option<i64> {
    let time = DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(time.as_second())
}

/// Host and port of a URL as written.
pub(crate) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}
