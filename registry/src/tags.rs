//! Which tags a repository has, and which repositories a registry.

use rbuild_image::reference::Reference;
use serde::Deserialize;
use ureq::http::header::LINK;
use ureq::http::{HeaderMap, Uri};

use crate::access::{Request, Scope, Target};
use crate::client::{Client, Place};
use crate::endpoint::endpoints;
use crate::error::RegistryError;
use crate::redirect::Reply;
use crate::retry::Failure;
use crate::transport::read_document;
use crate::url::join;

/// Longest page that is read, in bytes.
const MAX_PAGE_BYTES: u64 = 4 << 20;
/// Pages that are read: a server can lead in circles.
const MAX_PAGES: usize = 1000;

#[derive(Deserialize)]
struct Page {
    #[serde(default, alias = "repositories")]
    tags: Option<Vec<String>>,
}

impl Client {
    /// Returns the tags of the repository of `reference`, as the registry itself lists them.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`], [`RegistryError::Denied`], [`RegistryError::BadAnswer`] for
    /// what is no list, and those of any request.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        let place = Place::of(reference);
        let subject = reference.familiar_name();
        let first = Request::get("tags/list?n=1000", &subject, &place.name);
        self.pages(reference, &first, "tags")
    }

    /// Returns the repositories of the registry at `host` (as references name it), as the registry
    /// itself lists them. Many do not.
    ///
    /// # Errors
    /// As for [`Client::tags`].
    pub fn catalog(&self, host: &str) -> Result<Vec<String>, RegistryError> {
        // Any repository will do: it is not asked for.
        let name = Reference {
            domain: host.to_owned(),
            path: "-".to_owned(),
            tag: None,
            digest: None,
        };
        let first = Request {
            target: Target::Server("_catalog?n=1000"),
            scope: Scope::None,
            ..Request::get("", host, host)
        };
        self.pages(&name, &first, "repositories")
    }

    /// Reads a list with all its pages.
    fn pages(
        &self,
        reference: &Reference,
        first: &Request<'_>,
        what: &str,
    ) -> Result<Vec<String>, RegistryError> {
        let place = Place::of(reference);
        let Some(endpoint) = endpoints(&self.access.registries, reference)?.pop() else {
            return Ok(Vec::new());
        };
        let bad = |problem: String| RegistryError::BadAnswer {
            subject: first.subject.to_owned(),
            host: endpoint.host.clone(),
            problem,
        };
        let read = |reply: Reply| -> Result<(Vec<String>, Option<Uri>), Failure> {
            let next = next_page(&reply.uri, reply.response.headers());
            let longest = self.access.limits.document_timeout;
            let body = read_document(reply.response.into_body(), MAX_PAGE_BYTES, longest);
            let bytes = body.map_err(|error| place.unreadable(&endpoint, error))?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|_error| bad(format!("did not answer with a list of {what}")))?;
            Ok((page.tags.unwrap_or_default(), next))
        };
        let (mut names, mut next) = self.access.ask(&endpoint, first, read)?;
        for _ in 1..MAX_PAGES {
            let Some(url) = next else {
                return Ok(names);
            };
            let request = Request {
                target: Target::Url(&url),
                ..first.clone()
            };
            let (more, following) = self.access.ask(&endpoint, &request, read)?;
            names.extend(more);
            next = following;
        }
        Err(bad(format!("lists {what} without an end")))
    }
}

/// Reads `Link: </v2/…?last=x&n=1000>; rel="next"`.
fn next_page(asked: &Uri, headers: &HeaderMap) -> Option<Uri> {
    let links = headers.get_all(LINK).iter();
    links
        .filter_map(|link| link.to_str().ok())
        .flat_map(|link| link.split(','))
        .filter(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))
        .find_map(|link| {
            let (_, rest) = link.split_once('<')?;
            let (target, _) = rest.split_once('>')?;
            join(asked, target)
        })
}
