//! One HTTP exchange with one server: TLS, proxy, timeouts, and what a failure means.
//!
//! Knows nothing of registries, redirects or credentials.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, ClientConfig};
use ureq::config::Config;
use ureq::http::header::HeaderName;
use ureq::http::{HeaderValue, Method, Response, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectProxyConnector, Connector as _, NextTimeout, SocksConnector, TcpConnector,
};
use ureq::{Agent, Body, RequestBuilder, SendBody};

use crate::address::is_link_local;
use crate::certificates::{HostCertificates, system_authorities};
use crate::error::{Cause, RegistryError};
use crate::proxy::ProxyRules;
use crate::settings::{Limits, Settings};
use crate::tls::TlsConnector;
use crate::url::Origin;

const USER_AGENT: &str = concat!("rbuild/", env!("CARGO_PKG_VERSION"));
const MAX_IDLE_PER_SERVER: usize = 8;
/// Longer bodies wait until the server wants them: a 401 or 413 then comes before the bytes.
const EXPECT_ABOVE: u64 = 64 * 1024;

/// Whose certificate is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trust {
    /// Certificates that a known authority vouches for.
    Verified,
    /// Any: the user listed the server as insecure.
    Anyone,
}

/// Who named the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// The user or the configuration.
    Named,
    /// Another server; link-local addresses are out of bounds.
    Foreign,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// GET, HEAD or DELETE; POST, PUT or PATCH with a body.
    pub(crate) method: Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a [(HeaderName, HeaderValue)],
    pub(crate) body: Option<Payload<'a>>,
    pub(crate) trust: Trust,
    pub(crate) reach: Reach,
}

impl Call<'_> {
    /// Whether it only tells the server that something is not wanted any more.
    fn gives_up(&self) -> bool {
        self.method == Method::DELETE
    }
}

/// The body of a request. It can be sent more than once.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// All of it is here.
    Bytes(&'a [u8]),
    /// It is read anew whenever it is sent.
    Stream(&'a dyn Stream),
}

/// Bytes that can be read again and again. A reader that cannot give all of them fails; what it
/// fails with is reported as it is if it is a [`RegistryError`].
pub(crate) trait Stream {
    /// How many bytes there are.
    fn length(&self) -> u64;
    /// Returns a reader of them.
    fn open(&self) -> io::Result<Box<dyn io::Read + '_>>;
}

impl std::fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A body may be a refresh token.
        write!(f, "Payload({} bytes)", self.length())
    }
}

/// How long giving something up may take.
const PARTING: Duration = Duration::from_secs(3);

impl Payload<'_> {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stream(stream) => stream.length(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) cause: Cause,
}

/// What a fault means for the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The server speaks, but not TLS.
    NotTls,
    /// Nobody listens, or the name is not known at the moment.
    Absent,
    /// The connection broke or timed out.
    Passing,
    /// It will be the same the next time.
    Lasting,
}

/// Agents, one for each server and way of trusting it; each keeps its connections open.
pub(crate) struct Transport {
    limits: Limits,
    proxies: ProxyRules,
    certificate_dirs: Vec<PathBuf>,
    system_authorities: OnceLock<Vec<CertificateDer<'static>>>,
    agents: Mutex<Agents>,
}

#[derive(Default)]
struct Agents {
    known: BTreeMap<(Origin, Trust, Reach), Agent>,
    is_shut_down: bool,
}

impl Transport {
    pub(crate) fn new(settings: &Settings) -> Result<Self, RegistryError> {
        Ok(Self {
            limits: settings.limits.clone(),
            proxies: ProxyRules::new(&settings.proxies)?,
            certificate_dirs: settings.certificate_dirs.clone(),
            system_authorities: OnceLock::new(),
            agents: Mutex::default(),
        })
    }

    /// Sends `call` and returns the answer, whatever its status; redirects are not followed.
    ///
    /// # Errors
    /// The outer error for a configuration that cannot be used, the inner for no answer.
    pub(crate) fn exchange(
        &self,
        call: &Call<'_>,
    ) -> Result<Result<Response<Body>, Fault>, RegistryError> {
        let Some(origin) = Origin::of(call.uri) else {
            let cause = "not an http or https URL".into();
            return Ok(Err(Fault {
                kind: FaultKind::Lasting,
                cause,
            }));
        };
        let Some(agent) = self.agent(origin, call)? else {
            return Ok(Err(Fault {
                kind: FaultKind::Lasting,
                cause: "it was broken off here".into(),
            }));
        };
        Ok(send(&agent, call, self.limits.commit_timeout).map_err(Fault::from))
    }

    /// Breaks off every exchange of every thread. Of new ones only those go out that give something up.
    pub(crate) fn shut_down(&self) {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.is_shut_down = true;
        for agent in std::mem::take(&mut agents.known).into_values() {
            agent.shutdown();
        }
    }

    fn agent(&self, origin: Origin, call: &Call<'_>) -> Result<Option<Agent>, RegistryError> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if agents.is_shut_down && !call.gives_up() {
            return Ok(None);
        }
        let key = (origin, call.trust, call.reach);
        if let Some(agent) = agents.known.get(&key) {
            return Ok(Some(agent.clone()));
        }
        let agent = self.new_agent(&key.0, call.trust, call.reach)?;
        agents.known.insert(key, agent.clone());
        Ok(Some(agent))
    }

    fn new_agent(
        &self,
        origin: &Origin,
        trust: Trust,
        reach: Reach,
    ) -> Result<Agent, RegistryError> {
        let proxy = self.proxies.for_origin(origin).cloned();
        let has_proxy = proxy.is_some();
        let guard = LinkLocalGuard {
            // Behind a proxy the only name looked up here is the proxy's, which the user chose.
            is_on: reach == Reach::Foreign && !has_proxy,
            inner: DefaultResolver::default(),
        };
        let connect = Some(self.limits.connect_timeout);
        let idle = Some(self.limits.idle_timeout);
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .user_agent(USER_AGENT)
            .max_idle_connections_per_host(MAX_IDLE_PER_SERVER)
            .timeout_resolve(connect)
            .timeout_connect(connect)
            .timeout_per_read(idle)
            .timeout_per_write(idle);
        let connector =
            ().chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(TcpConnector::default())
                .chain(TlsConnector {
                    own: if origin.is_tls {
                        Some((origin.clone(), self.tls(origin, trust)?))
                    } else {
                        None
                    },
                    other: match has_proxy {
                        true => Some(self.proxy_tls()?),
                        false => None,
                    },
                });
        Ok(Agent::with_parts(config.build(), connector, guard))
    }

    fn tls(&self, origin: &Origin, trust: Trust) -> Result<Arc<ClientConfig>, RegistryError> {
        let own = HostCertificates::read(&self.certificate_dirs, origin)?;
        let made = match trust {
            Trust::Verified => own.verified(self.system_authorities()),
            Trust::Anyone => own.unverified(),
        };
        made.map_err(|error| RegistryError::config(format!("certs.d of {}", origin.show()), error))
    }

    fn proxy_tls(&self) -> Result<Arc<ClientConfig>, RegistryError> {
        HostCertificates::default()
            .verified(self.system_authorities())
            .map_err(|error| RegistryError::config("TLS", error))
    }

    fn system_authorities(&self) -> &[CertificateDer<'static>] {
        self.system_authorities.get_or_init(system_authorities)
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Proxies and agents may hold passwords.
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

fn send(
    agent: &Agent,
    call: &Call<'_>,
    commit_timeout: Duration,
) -> Result<Response<Body>, ureq::Error> {
    match call.body {
        None => {
            let request = match call.method {
                Method::HEAD => agent.head(call.uri),
                Method::DELETE => agent.delete(call.uri),
                _ => agent.get(call.uri),
            };
            let mut request = with_headers(request, call);
            if call.gives_up() {
                // Nobody waits for that.
                request = request.config().timeout_global(Some(PARTING)).build();
            }
            request.call()
        }
        Some(body) => {
            let request = match call.method {
                Method::PUT => agent.put(call.uri),
                Method::PATCH => agent.patch(call.uri),
                _ => agent.post(call.uri),
            };
            let length = body.length();
            let mut request = request.header_raw("Content-Length", length.to_string().as_bytes());
            if length > EXPECT_ABOVE {
                request = request.header_raw("Expect", b"100-continue");
            }
            let mut request = with_headers(request, call);
            if call.method == Method::PUT {
                let longest = Some(commit_timeout);
                request = request.config().timeout_per_read(longest).build();
            }
            match body {
                Payload::Bytes(bytes) => request.send(bytes),
                Payload::Stream(stream) => {
                    request.send(SendBody::from_reader(&mut *stream.open()?))
                }
            }
        }
    }
}

/// Adds the headers, in the case in which people write them: some servers compare it.
fn with_headers<T>(request: RequestBuilder<T>, call: &Call<'_>) -> RequestBuilder<T> {
    // Bytes must arrive as they are stored: digests and ranges are about those.
    let request = request
        .header_raw("User-Agent", USER_AGENT.as_bytes())
        .header_raw("Accept-Encoding", b"identity");
    call.headers.iter().fold(request, |request, (name, value)| {
        request.header_raw(&title_case(name.as_str()), value.as_bytes())
    })
}

fn title_case(name: &str) -> String {
    let mut is_start = true;
    let cased = name.chars().map(|c| {
        let cased = if is_start { c.to_ascii_uppercase() } else { c };
        is_start = c == '-';
        cased
    });
    cased.collect()
}

/// Reads a whole body of at most `limit` bytes within `longest`.
///
/// # Errors
/// Whatever reading gives; `FileTooLarge` for a longer body, `TimedOut` for a slow one.
pub(crate) fn read_document(body: Body, limit: u64, longest: Duration) -> io::Result<Vec<u8>> {
    let end = Instant::now() + longest;
    // One more than allowed, so that a longer body can be told from a full one.
    let mut reader = body.into_reader().take(limit.saturating_add(1));
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = reader.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..count]);
        if u64::try_from(bytes.len()).is_ok_and(|length| length > limit) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if count == 0 {
            return Ok(bytes);
        }
        if Instant::now() > end {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

impl From<ureq::Error> for Fault {
    fn from(error: ureq::Error) -> Self {
        let kind = match &error {
            ureq::Error::Io(error) => kind_of_io(error),
            ureq::Error::HostNotFound => FaultKind::Lasting,
            ureq::Error::Timeout(_)
            | ureq::Error::ConnectionFailed
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::Protocol(_) => FaultKind::Passing,
            _ => FaultKind::Lasting,
        };
        Self {
            kind,
            cause: plain_words(error),
        }
    }
}

/// Names what ureq only calls "io", and drops texts that may quote a URL.
fn plain_words(error: ureq::Error) -> Cause {
    match error {
        ureq::Error::Io(error) => match tls_error(&error) {
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                let words = "its certificate is signed by an unknown authority; put the \
                    authority's certificate into certs.d, or list the registry as insecure";
                words.into()
            }
            _ => error.into(),
        },
        ureq::Error::Other(error) => error,
        ureq::Error::BadUri(_) => "the URL cannot be used".into(),
        error => error.into(),
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn kind_of_io(error: &io::Error) -> FaultKind {
    match tls_error(error) {
        Some(rustls::Error::InvalidMessage(_)) => return FaultKind::NotTls,
        Some(_) => return FaultKind::Lasting,
        None => {}
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => FaultKind::Absent,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::TimedOut
        | io::ErrorKind::WouldBlock
        | io::ErrorKind::Interrupted
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable => FaultKind::Passing,
        // The resolver's errors have no kind of their own.
        _ if error
            .to_string()
            .contains("Temporary failure in name resolution") =>
        {
            FaultKind::Absent
        }
        _ => FaultKind::Lasting,
    }
}

/// Looks names up, and refuses those of link-local addresses if it is on.
#[derive(Debug)]
struct LinkLocalGuard {
    is_on: bool,
    inner: DefaultResolver,
}

impl Resolver for LinkLocalGuard {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let addresses = self.inner.resolve(uri, config, timeout)?;
        let is_bad = addresses.iter().any(|address| is_link_local(address.ip()));
        if self.is_on && is_bad {
            return Err(ureq::Error::Other("its address is link-local".into()));
        }
        Ok(addresses)
    }
}
