//! Gets tokens from a registry's token server.
//!
//! Spec: <https://distribution.github.io/distribution/spec/auth/token/> and
//! <https://distribution.github.io/distribution/spec/auth/oauth/>.

use std::time::Duration;

use serde::Deserialize;
use ureq::http::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use ureq::http::{HeaderValue, Method, StatusCode, Uri};

use crate::address::is_loopback;
use crate::answer::judge;
use crate::auth::{Door, secrets_of};
use crate::credentials::Login;
use crate::error::RegistryError;
use crate::redirect::{Journey, Reply, foreign_problem, travel};
use crate::retry::{Failure, Patience, with_retries};
use crate::secret::{Secret, basic};
use crate::transport::{Payload, Reach, Trust, read_document};
use crate::url::{Origin, encode_pairs, show};

const CLIENT_ID: &str = "rbuild";
const MAX_TOKEN_BYTES: u64 = 1 << 20;
/// What a token without `expires_in` lives.
const DEFAULT_LIFETIME_SECONDS: u64 = 60;

/// What a token is wanted for.
#[derive(Debug)]
pub(crate) struct TokenRequest<'a> {
    pub(crate) realm: &'a str,
    pub(crate) service: Option<&'a str>,
    pub(crate) scopes: Vec<String>,
    /// Somebody logs in: a token to get further ones with is welcome.
    pub(crate) is_login: bool,
}

/// A token.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) token: Secret,
    pub(crate) lifetime: Duration,
    /// What to get further ones with in place of a password.
    pub(crate) identity: Option<Secret>,
}

#[derive(Deserialize)]
struct TokenJson {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
    refresh_token: Option<String>,
}

/// Asks the token server, with `login` or anonymously.
///
/// # Errors
/// [`RegistryError::Unauthorized`] if it does not accept the login, [`RegistryError::Token`] for a
/// realm that is not asked or an answer without a token, and those of any request.
pub(crate) fn fetch(
    door: &Door<'_>,
    request: &TokenRequest<'_>,
    login: Option<&Login>,
    source: &str,
) -> Result<Token, RegistryError> {
    let desk = Desk {
        realm: checked_realm(door, request)?,
        secrets: login.cloned().map(secrets_of).unwrap_or_default(),
        door,
        request,
        source,
    };
    let attempts = door.limits.attempts;
    with_retries(door.limits, attempts, door.cancel, door.subject, || {
        let reply = desk.ask(login)?;
        desk.read(reply)
    })
}

/// One token server and what it is asked.
struct Desk<'a> {
    door: &'a Door<'a>,
    request: &'a TokenRequest<'a>,
    realm: Uri,
    secrets: Vec<Secret>,
    source: &'a str,
}

impl Desk<'_> {
    fn ask(&self, login: Option<&Login>) -> Result<Reply, Failure> {
        match login {
            None | Some(Login::Registry { .. }) => self.get(None),
            Some(Login::Basic { user, password }) => {
                let offline = [("account", user.as_str()), ("offline_token", "true")];
                let more = if self.request.is_login {
                    &offline[..]
                } else {
                    &[]
                };
                self.get_with(Some(basic(user, password)), more)
            }
            Some(Login::Identity { user, token }) => {
                let reply = self.post(token)?;
                // Some registries know no POST here and take the token as a password.
                let is_unknown = matches!(reply.response.status().as_u16(), 400 | 401 | 404 | 405);
                if is_unknown && !user.is_empty() {
                    return self.get(Some(basic(user, token)));
                }
                Ok(reply)
            }
        }
    }

    fn get(&self, login: Option<Secret>) -> Result<Reply, Failure> {
        self.get_with(login, &[])
    }

    fn get_with(&self, login: Option<Secret>, more: &[(&str, &str)]) -> Result<Reply, Failure> {
        let mut pairs = vec![("client_id", CLIENT_ID)];
        pairs.extend_from_slice(more);
        pairs.extend(self.request.service.map(|service| ("service", service)));
        pairs.extend(
            self.request
                .scopes
                .iter()
                .map(|scope| ("scope", scope.as_str())),
        );
        let joint = if self.realm.query().is_some() {
            '&'
        } else {
            '?'
        };
        let url = format!("{}{joint}{}", self.realm, encode_pairs(&pairs));
        let start: Uri = url
            .parse()
            .map_err(|_error| self.problem("its URL cannot be used"))?;
        let authorization = match login {
            Some(login) => Some(self.header(&format!("Basic {}", login.reveal()))?),
            None => None,
        };
        self.send(Method::GET, &start, authorization.as_ref(), None)
    }

    fn post(&self, token: &Secret) -> Result<Reply, Failure> {
        let scope = self.request.scopes.join(" ");
        let form = encode_pairs(&[
            ("grant_type", "refresh_token"),
            ("service", self.request.service.unwrap_or_default()),
            ("client_id", CLIENT_ID),
            ("scope", &scope),
            ("refresh_token", token.reveal()),
        ]);
        let body = Payload::Bytes(form.as_bytes());
        self.send(Method::POST, &self.realm, None, Some(body))
    }

    fn send(
        &self,
        method: Method,
        start: &Uri,
        authorization: Option<&HeaderValue>,
        body: Option<Payload<'_>>,
    ) -> Result<Reply, Failure> {
        let mut headers: Vec<(HeaderName, HeaderValue)> =
            vec![(ACCEPT, HeaderValue::from_static("application/json"))];
        if body.is_some() {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.push((CONTENT_TYPE, form));
        }
        let is_insecure = self.door.is_insecure;
        let is_own = Origin::of(start).is_some_and(|realm| realm.host == self.door.origin.host);
        let journey = Journey {
            method,
            start,
            headers: &headers,
            authorization,
            body,
            is_movable: false,
            reach: if is_own { Reach::Named } else { Reach::Foreign },
            trust: &|origin| {
                if is_insecure(origin) {
                    Trust::Anyone
                } else {
                    Trust::Verified
                }
            },
            subject: self.door.subject,
        };
        travel(self.door.transport, &journey)
            .map_err(|obstacle| obstacle.into_failure(self.door.subject))
    }

    fn read(&self, reply: Reply) -> Result<Token, Failure> {
        let status = reply.response.status();
        let asked = self.door.asked(self.source, &self.secrets);
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let answer = asked.heard(reply);
            return Err(Failure::Final(if self.secrets.is_empty() {
                RegistryError::Denied { answer }
            } else {
                RegistryError::Unauthorized { answer }
            }));
        }
        if !status.is_success() {
            let what = format!("token server {}", show(&self.realm));
            let asked = crate::answer::Asked {
                host: &what,
                ..asked
            };
            return Err(match judge(&asked, reply, self.door.limits) {
                Failure::Final(RegistryError::NotFound { answer }) => {
                    let problem = format!("status 404: {}", answer.message);
                    Failure::Final(self.problem(&problem))
                }
                failure => failure,
            });
        }
        let longest = self.door.limits.document_timeout;
        let body = read_document(reply.response.into_body(), MAX_TOKEN_BYTES, longest);
        let bytes = body.map_err(|error| Failure::Passing {
            error: Box::new(self.problem(&format!("its answer broke off ({error})"))),
            after: None,
            patience: Patience::Full,
        })?;
        self.parse(&bytes).map_err(Failure::Final)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Token, RegistryError> {
        read_token(bytes).map_err(|problem| self.problem(problem))
    }

    fn header(&self, text: &str) -> Result<HeaderValue, RegistryError> {
        let mut header = HeaderValue::from_str(text)
            .map_err(|_error| self.problem("the credentials do not fit into a header"))?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn problem(&self, problem: &str) -> RegistryError {
        token_problem(self.door, &show(&self.realm), problem)
    }
}

/// Reads a token server's answer.
pub(crate) fn read_token(bytes: &[u8]) -> Result<Token, &'static str> {
    // serde_json's error could quote the token.
    let json: TokenJson =
        serde_json::from_slice(bytes).map_err(|_error| "its answer is not the expected JSON")?;
    let token = json
        .access_token
        .filter(|token| !token.is_empty())
        .or(json.token)
        .filter(|token| !token.is_empty())
        .ok_or("its answer has no token")?;
    let seconds = json.expires_in.filter(|seconds| *seconds >= 1.0);
    let lifetime = seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds.min(86_400.0)).ok())
        .unwrap_or(Duration::from_secs(DEFAULT_LIFETIME_SECONDS));
    let identity = json.refresh_token.filter(|token| !token.is_empty());
    Ok(Token {
        token: Secret::new(token),
        lifetime,
        identity: identity.map(Secret::new),
    })
}

/// Returns the realm as a URL that credentials may be sent to.
fn checked_realm(door: &Door<'_>, request: &TokenRequest<'_>) -> Result<Uri, RegistryError> {
    let shown =
        crate::secret::presentable(request.realm.split('?').next().unwrap_or_default(), &[]);
    let refuse = |problem: &str| token_problem(door, &shown, problem);
    let realm: Uri = request
        .realm
        .parse()
        .map_err(|_error| refuse("it is not a URL"))?;
    let origin = Origin::of(&realm).ok_or_else(|| refuse("it is not an http or https URL"))?;
    let has_user = |authority: &ureq::http::uri::Authority| authority.as_str().contains('@');
    if realm.authority().is_some_and(has_user) {
        return Err(refuse("it has a user name in it"));
    }
    let is_own = origin.host == door.origin.host;
    let may_be_plain =
        !door.origin.is_tls && (is_own || is_loopback(&origin.host) || (door.is_insecure)(&origin));
    if !origin.is_tls && !may_be_plain {
        return Err(refuse("credentials are only sent over https"));
    }
    if !is_own && let Some(problem) = foreign_problem(&origin) {
        return Err(refuse(problem));
    }
    Ok(realm)
}

fn token_problem(door: &Door<'_>, realm: &str, problem: &str) -> RegistryError {
    RegistryError::Token {
        subject: door.subject.to_owned(),
        host: door.host.to_owned(),
        realm: realm.to_owned(),
        problem: problem.to_owned(),
    }
}
