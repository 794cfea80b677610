//! What can go wrong between here and a registry.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rbuild_image::digest::Digest;
use rbuild_image::error::ImageError;

/// Cause of a failed connection.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An error of the distribution client. No message and no field holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A configuration or credentials file cannot be used.
    #[error("configuration file {}: {problem}", path.display())]
    Config {
        /// The file, or the variable or directory that stands for one.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A credential helper failed or is missing.
    #[error("credential helper {helper} for {server}: {problem}")]
    CredentialHelper {
        /// Name of the program.
        helper: String,
        /// The server it was asked about.
        server: String,
        /// What went wrong.
        problem: String,
    },
    /// `registries.conf` forbids the registry.
    #[error("{subject}: registry {prefix} is blocked in {}", path.display())]
    Blocked {
        /// What was wanted.
        subject: String,
        /// The entry that forbids it.
        prefix: String,
        /// The file with that entry.
        path: PathBuf,
    },
    /// The registry does not have what was asked for.
    #[error("{}: not found ({answer})", answer.subject)]
    NotFound {
        /// What the registry said.
        answer: Box<Answer>,
    },
    /// The registry does not let this user, or nobody in particular, read or write the repository.
    #[error(
        "{} access denied for {}, repository does not exist or may require authorization ({answer})",
        answer.action, answer.name
    )]
    Denied {
        /// What the registry said.
        answer: Box<Answer>,
    },
    /// The registry or its token server did not accept the credentials, or wants some.
    #[error("{}: unauthorized: authentication required ({answer})", answer.subject)]
    Unauthorized {
        /// What the registry or its token server said.
        answer: Box<Answer>,
    },
    /// The registry does not accept the credentials that were to be checked.
    #[error(
        "login attempt to {url} failed with status: {status}{}",
        behind(message)
    )]
    Login {
        /// The URL that was asked for.
        url: String,
        /// The HTTP status.
        status: &'static str,
        /// What the registry or its token server said.
        message: String,
    },
    /// The registry wants a pause that is too long to wait for, or too many of them.
    #[error(
        "{}: toomanyrequests: the registry limits the rate of requests{}; log in or use a mirror ({answer})",
        answer.subject, RateNote(*retry_after, limits)
    )]
    RateLimited {
        /// What the registry said.
        answer: Box<Answer>,
        /// How long it wants us to wait.
        retry_after: Option<Duration>,
        /// Its rate limit headers, as `name: value`.
        limits: Vec<String>,
    },
    /// The registry answered with an unexpected status.
    #[error("{}: unexpected status {status} ({answer})", answer.subject)]
    Status {
        /// HTTP status.
        status: u16,
        /// What the registry said.
        answer: Box<Answer>,
    },
    /// A web server answered with another status than success.
    #[error("{subject}: invalid response status {status}")]
    PageStatus {
        /// The URL, without its query.
        subject: String,
        /// HTTP status and its name.
        status: String,
    },
    /// No answer came from the server.
    #[error("{subject}: no answer from {host}")]
    Unreachable {
        /// What was wanted.
        subject: String,
        /// The server, with its scheme.
        host: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The server sent the client somewhere it does not go.
    #[error("{subject}: {host} redirects to {target}: {problem}")]
    Redirect {
        /// What was wanted.
        subject: String,
        /// The server that redirected.
        host: String,
        /// Where to, without the query.
        target: String,
        /// Why that is refused.
        problem: String,
    },
    /// The token server gave no usable token.
    #[error("{subject}: cannot get a token for {host} from {realm}: {problem}")]
    Token {
        /// What was wanted.
        subject: String,
        /// The registry that the token is for.
        host: String,
        /// The token server, without its query.
        realm: String,
        /// What is wrong.
        problem: String,
    },
    /// Content has another digest than it should.
    #[error("{subject}: content has digest {found}, expected {expected}{note}")]
    DigestMismatch {
        /// What was read.
        subject: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
        /// A hint at the reason; empty or starting with a comma.
        note: String,
    },
    /// Content has another size than its descriptor says.
    #[error("{subject}: content has {found} bytes, expected {expected}")]
    SizeMismatch {
        /// What was read.
        subject: String,
        /// Size in the descriptor, in bytes.
        expected: u64,
        /// Size that the registry announced or sent, in bytes.
        found: u64,
    },
    /// A manifest or configuration is larger than this client reads.
    #[error("{subject}: larger than {limit} bytes")]
    TooLarge {
        /// What was read.
        subject: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A download broke off too often.
    #[error("{subject}: download broke off after {received} of {expected} bytes")]
    Interrupted {
        /// What was read.
        subject: String,
        /// Bytes that came, in all attempts.
        received: u64,
        /// Bytes that were expected.
        expected: u64,
        /// Why the last attempt ended.
        #[source]
        source: Cause,
    },
    /// What is to be pushed cannot be read.
    #[error("{subject}: what is to be pushed cannot be read")]
    Content {
        /// What was to be pushed.
        subject: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The registry does not keep to the protocol.
    #[error("{subject}: registry {host} {problem}")]
    BadAnswer {
        /// What was wanted.
        subject: String,
        /// Who answered.
        host: String,
        /// What it did.
        problem: String,
    },
    /// The registry answered with a schema 1 manifest.
    #[error(
        "{subject}: the registry returned a schema 1 manifest, which is obsolete and not supported; push the image again with a current tool"
    )]
    SchemaOne {
        /// What was asked for.
        subject: String,
    },
    /// What came is not a manifest or index that can be trusted.
    #[error("{subject}: {host} answered with a manifest that cannot be used")]
    Manifest {
        /// What was asked for.
        subject: String,
        /// Who answered.
        host: String,
        /// What is wrong with it.
        #[source]
        source: Box<ImageError>,
    },
    /// A name cannot be made into a request.
    #[error("{subject}: {problem}")]
    BadName {
        /// What was wanted.
        subject: String,
        /// What is wrong with it.
        problem: String,
    },
    /// [`Client::cancel`](crate::Client::cancel) was called.
    #[error("{subject}: cancelled")]
    Cancelled {
        /// What was wanted.
        subject: String,
    },
}

impl RegistryError {
    /// Returns the error inside an I/O error that a blob's reader returned, or the I/O error back.
    ///
    /// # Errors
    /// `error` itself, if it does not come from this crate.
    pub fn from_io(error: std::io::Error) -> Result<Self, std::io::Error> {
        error.downcast::<Self>()
    }

    /// True if the registry says that the thing does not exist.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    pub(crate) fn config(path: impl Into<PathBuf>, problem: impl fmt::Display) -> Self {
        Self::Config {
            path: path.into(),
            problem: problem.to_string(),
        }
    }
}

/// A registry's answer that was not the wanted one, fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was asked for, e.g. `docker.io/library/ubuntu:22.04`.
    pub subject: String,
    /// The repository as users write it, e.g. `ubuntu`.
    pub name: String,
    /// The server that answered.
    pub host: String,
    /// The repository on that server.
    pub repository: String,
    /// Whose credentials were sent and where they are from; never their value.
    pub credentials: String,
    /// What was to be done: `pull` or `push`.
    pub action: &'static str,
    /// The server's own words, on one line, shortened, without secrets; empty if it said nothing.
    pub message: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            repository,
            credentials,
            message,
            ..
        } = self;
        write!(f, "registry {host}, repository {repository}, {credentials}")?;
        if message.is_empty() {
            return Ok(());
        }
        write!(f, ": {message}")
    }
}

fn behind(message: &str) -> String {
    match message {
        // The status says that already.
        "" | "unauthorized" => String::new(),
        message if message.ends_with("authentication required") => String::new(),
        message => format!(" ({message})"),
    }
}

struct RateNote<'a>(Option<Duration>, &'a Vec<String>);

impl fmt::Display for RateNote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(wait) = self.0 {
            write!(f, " and asks to wait {} s", wait.as_secs())?;
        }
        for limit in self.1 {
            write!(f, ", {limit}")?;
        }
        Ok(())
    }
}
