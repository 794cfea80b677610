//! Answers a registry's challenge, and remembers the answer for each scope.
//!
//! State machine of `distribution`: ask without credentials or with the remembered ones; on 401 get
//! new ones, once; on a second 401 give up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ureq::http::HeaderValue;

use crate::answer::Asked;
use crate::challenge::Challenge;
use crate::credentials::{CredentialStore, Found, Login};
use crate::error::{Answer, RegistryError};
use crate::retry::Cancel;
use crate::secret::{Secret, basic};
use crate::settings::{Limits, Settings};
use crate::token::{self, TokenRequest};
use crate::transport::Transport;
use crate::url::Origin;

/// What credentials are called when there are none.
pub(crate) const ANONYMOUS: &str = "no credentials";

/// An Authorization header and what is known of it.
#[derive(Debug)]
pub(crate) struct Held {
    /// The header; marked as sensitive, so it is not printed.
    pub(crate) header: HeaderValue,
    /// Every secret that a server could echo.
    pub(crate) secrets: Vec<Secret>,
    /// Whose it is and where from, fit for a message.
    pub(crate) source: String,
    /// True if a user or helper provided credentials, false for anonymous tokens.
    pub(crate) is_anonymous: bool,
    /// True for user name and password sent as they are.
    pub(crate) is_basic: bool,
    /// What the token server gave to be kept in place of the password.
    pub(crate) identity: Option<Secret>,
    expires: Option<Instant>,
}

/// Who wants to be let in where.
pub(crate) struct Door<'a> {
    pub(crate) transport: &'a Transport,
    pub(crate) limits: &'a Limits,
    pub(crate) cancel: &'a Cancel,
    /// The server that asks, with the scheme it was asked with.
    pub(crate) origin: &'a Origin,
    /// The host as credentials files name it.
    pub(crate) host: &'a str,
    pub(crate) repository: &'a str,
    /// What the token must allow at least, e.g. `repository:library/ubuntu:pull`.
    pub(crate) scope: &'a str,
    pub(crate) subject: &'a str,
    /// The repository as users write it.
    pub(crate) name: &'a str,
    /// `pull` or `push`.
    pub(crate) action: &'static str,
    /// Whether somebody logs in.
    pub(crate) is_login: bool,
    /// Servers that may be spoken to over plain http.
    pub(crate) is_insecure: &'a dyn Fn(&Origin) -> bool,
}

/// Credentials and tokens of one client.
#[derive(Debug)]
pub(crate) struct Authenticator {
    store: CredentialStore,
    slots: Mutex<Slots>,
}

/// One slot for each server and scope.
type Slots = BTreeMap<(Origin, String), Arc<Mutex<Slot>>>;

/// One scope on one server. Its lock is held while a token is fetched, so that many threads make
/// one request.
#[derive(Debug, Default)]
struct Slot {
    held: Option<Arc<Held>>,
    /// Something that was held here has been accepted.
    had_success: bool,
    /// The token server did not accept the credentials: asking again could lock the account.
    refusal: Option<Box<Answer>>,
}

impl Authenticator {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            store: CredentialStore::new(settings),
            slots: Mutex::new(BTreeMap::new()),
        }
    }

    /// Returns what is remembered for `scope` and still good.
    pub(crate) fn current(&self, origin: &Origin, scope: &str) -> Option<Arc<Held>> {
        let slot = self.slot(origin, scope);
        let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.held.clone().filter(|held| held.is_fresh())
    }

    /// Returns new credentials after `used` (or none) was answered with 401 and `challenge`.
    ///
    /// # Errors
    /// [`RegistryError::Unauthorized`] if there are none to send or they are not accepted; errors
    /// of credentials files, helpers and token servers.
    pub(crate) fn answer(
        &self,
        door: &Door<'_>,
        challenge: &Challenge,
        used: Option<&Arc<Held>>,
    ) -> Result<Arc<Held>, RegistryError> {
        let slot = self.slot(door.origin, door.scope);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refusal) = &slot.refusal {
            return Err(RegistryError::Unauthorized {
                answer: refusal.clone(),
            });
        }
        // Another thread was faster: what it got is newer than what was refused.
        if let Some(held) = &slot.held
            && held.is_fresh()
            && !used.is_some_and(|used| Arc::ptr_eq(used, held))
        {
            return Ok(Arc::clone(held));
        }
        let found = self.store.find(door.host, door.repository)?;
        let outcome = match challenge {
            Challenge::Basic => basic_header(door, found),
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => bearer_header(
                door,
                found,
                &TokenRequest {
                    realm,
                    service: service.as_deref(),
                    scopes: merged_scopes(door.scope, scope.as_deref()),
                    is_login: door.is_login,
                },
            ),
        };
        if let Err(RegistryError::Unauthorized { answer }) = &outcome {
            slot.refusal = Some(answer.clone());
        }
        let held = Arc::new(outcome?);
        slot.held = Some(Arc::clone(&held));
        Ok(held)
    }

    /// Remembers that `refusal` was the answer to a user name and password: they are not sent again.
    pub(crate) fn reject(&self, origin: &Origin, scope: &str, refusal: &Answer) {
        let slot = self.slot(origin, scope);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.held = None;
        slot.refusal = Some(Box::new(refusal.clone()));
    }

    /// Remembers that what is held for `scope` is accepted.
    pub(crate) fn note_success(&self, origin: &Origin, scope: &str) {
        let slot = self.slot(origin, scope);
        slot.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .had_success = true;
    }

    /// Returns whether something that was held for `scope` has been accepted.
    pub(crate) fn had_success(&self, origin: &Origin, scope: &str) -> bool {
        let slot = self.slot(origin, scope);
        let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.had_success
    }

    fn slot(&self, origin: &Origin, scope: &str) -> Arc<Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (origin.clone(), scope.to_owned());
        Arc::clone(slots.entry(key).or_default())
    }
}

impl Held {
    fn is_fresh(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }
}

impl Door<'_> {
    /// Returns the frame of a message about this door.
    pub(crate) fn asked<'a>(&'a self, credentials: &'a str, secrets: &'a [Secret]) -> Asked<'a> {
        Asked {
            subject: self.subject,
            name: self.name,
            host: self.host,
            repository: self.repository,
            credentials,
            secrets,
            action: self.action,
        }
    }
}

fn basic_header(door: &Door<'_>, found: Option<Found>) -> Result<Held, RegistryError> {
    let Some(Found { login, source }) = found else {
        let message = "the registry asks for a user name and a password".to_owned();
        let answer = door.asked(ANONYMOUS, &[]).answer(message);
        return Err(RegistryError::Unauthorized { answer });
    };
    let (user, password) = match login {
        Login::Basic { user, password } => (user, password),
        Login::Identity { user, token } => (user, token),
        Login::Registry { token } => return held(door, "Bearer", token, Vec::new(), source),
    };
    let encoded = basic(&user, &password);
    held(door, "Basic", encoded, vec![password], source)
}

fn bearer_header(
    door: &Door<'_>,
    found: Option<Found>,
    request: &TokenRequest<'_>,
) -> Result<Held, RegistryError> {
    let (login, source) = match found {
        Some(Found {
            login: Login::Registry { token },
            source,
        }) => return held(door, "Bearer", token, Vec::new(), source),
        Some(Found { login, source }) => (Some(login), source),
        None => (None, ANONYMOUS.to_owned()),
    };
    let fetched = token::fetch(door, request, login.as_ref(), &source)?;
    let secrets = login.map(secrets_of).unwrap_or_default();
    let is_anonymous = secrets.is_empty();
    let mut held = held(door, "Bearer", fetched.token, secrets, source)?;
    // A token is renewed before it dies in the middle of something.
    held.expires = Some(Instant::now() + fetched.lifetime.mul_f64(0.8));
    held.is_anonymous = is_anonymous;
    held.identity = fetched.identity.filter(|_| door.is_login);
    Ok(held)
}

/// Returns every form in which a login can be echoed.
pub(crate) fn secrets_of(login: Login) -> Vec<Secret> {
    match login {
        Login::Basic { user, password } => vec![basic(&user, &password), password],
        Login::Identity { user, token } => vec![basic(&user, &token), token],
        Login::Registry { token } => vec![token],
    }
}

fn held(
    door: &Door<'_>,
    scheme: &str,
    value: Secret,
    mut secrets: Vec<Secret>,
    source: String,
) -> Result<Held, RegistryError> {
    let mut header =
        HeaderValue::from_str(&format!("{scheme} {}", value.reveal())).map_err(|_error| {
            let message = "a token holds characters that a header cannot hold".to_owned();
            RegistryError::Unauthorized {
                answer: door.asked(&source, &[]).answer(message),
            }
        })?;
    header.set_sensitive(true);
    secrets.push(value);
    Ok(Held {
        header,
        secrets,
        source,
        is_anonymous: false,
        is_basic: scheme == "Basic",
        identity: None,
        expires: None,
    })
}

/// Returns our scope and the ones the registry named, each once, sorted.
fn merged_scopes(own: &str, named: Option<&str>) -> Vec<String> {
    let mut scopes: Vec<String> = named
        .unwrap_or_default()
        .split(' ')
        .chain(own.split(' '))
        .filter(|scope| !scope.is_empty())
        .map(str::to_owned)
        .collect();
    scopes.sort();
    scopes.dedup();
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_merged() {
        let own = "repository:a:pull";
        assert_eq!(merged_scopes(own, None), [own]);
        assert_eq!(merged_scopes(own, Some(own)), [own]);
        assert_eq!(
            merged_scopes(own, Some("repository:b:pull  repository:a:pull")),
            [own, "repository:b:pull"]
        );
    }
}
