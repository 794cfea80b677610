//! Whether a registry accepts somebody.

use rbuild_image::reference::Reference;
use ureq::http::Uri;

use crate::access::{Request, Scope, Target};
use crate::client::Client;
use crate::endpoint::endpoints;
use crate::error::RegistryError;
use crate::secret::Secret;

impl Client {
    /// Asks `host` (as references name it) whether it accepts the credentials for it, those of
    /// [`Settings::logins`](crate::Settings::logins) first. Returns the token that its token server gave to
    /// be kept in place of a password, if it did.
    ///
    /// # Errors
    /// [`RegistryError::Login`] if it does not; those of any request.
    pub fn check_login(&self, host: &str) -> Result<Option<Secret>, RegistryError> {
        // Any repository will do: it is not asked for.
        let name = Reference {
            domain: host.to_owned(),
            path: "-".to_owned(),
            tag: None,
            digest: None,
        };
        let Some(endpoint) = endpoints(&self.access.registries, &name)?.pop() else {
            return Ok(None);
        };
        let request = Request {
            target: Target::Root,
            scope: Scope::None,
            ..Request::get("", host, host)
        };
        let answered = self
            .access
            .ask(&endpoint, &request, |reply| Ok(reply.origin));
        match answered {
            Ok(origin) => Ok(self.access.identity(&origin)),
            Err(RegistryError::Unauthorized { answer } | RegistryError::Denied { answer }) => {
                let is_tls = self.access.speaks_tls(&endpoint);
                let url: Result<Uri, _> = endpoint.root(is_tls, host);
                Err(RegistryError::Login {
                    url: url.map_or_else(|_| host.to_owned(), |url| url.to_string()),
                    status: "401 Unauthorized",
                    message: answer.message,
                })
            }
            Err(error) => Err(error),
        }
    }
}
