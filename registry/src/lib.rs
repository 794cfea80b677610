//! rbuild-registry: speaks the distribution protocol, blocking.
//!
//! The only crate that opens sockets. It finds manifests, reads blobs and pushes images, with the credentials,
//! mirrors, certificates and proxies that docker and the containers tools are configured with. It
//! knows nothing of stores, and prints nothing.
//!
//! ```text
//! web                     any URL: one GET, for `ADD` and for contexts
//! client ── blob          what is wanted: manifests, configurations, blobs; verified
//!    ├─ push ── upload    what is brought there: blobs, then manifests, then a name
//!    └─ access            one server: credentials, retries; scheme: https or http
//!        ├─ auth ── token     challenges, tokens, one request for many threads
//!        ├─ redirect          where a request may be led, and with what
//!        └─ transport         one exchange: TLS, proxy, timeouts
//! ```

mod access;
mod address;
mod answer;
mod auth;
mod blob;
mod certificates;
mod challenge;
mod client;
mod content;
mod credential_file;
mod credential_helper;
mod credentials;
mod endpoint;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod login;
mod proxy;
mod push;
mod redirect;
mod referrers;
mod registries_conf;
mod retry;
mod scheme;
mod secret;
mod secured;
mod settings;
mod tags;
mod tls;
mod token;
mod transport;
mod upload;
mod upload_headers;
mod url;
mod verifier;
mod web;

pub use blob::BlobReader;
pub use client::{Client, MAX_CONFIG_BYTES, Resolved};
pub use content::{Bytes, Content};
pub use credential_file::{Keeper, erase_login, find_login, store_login};
pub use credentials::Login;
pub use error::{Answer, Cause, RegistryError};
pub use push::{PushEvent, PushOptions};
pub use rbuild_image::manifest::Descriptor;
pub use secret::Secret;
pub use secured::{TlsFiles, TlsStream};
pub use settings::{CredentialFile, CredentialFormat, Limits, Proxies, RegistriesConf, Settings};
pub use upload::Placed;
pub use web::{Get, Page, Web};
