//! Which certificates a server is checked with and shown, from the system and `certs.d`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ALL_VERSIONS, ClientConfig};

use crate::error::RegistryError;
use crate::secured::TlsFiles;
use crate::url::Origin;
use crate::verifier::{Anyone, Authorities};

/// A certificate chain and its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What `certs.d` has for one server.
#[derive(Debug, Default)]
pub(crate) struct HostCertificates {
    /// Authorities to trust besides the system's.
    authorities: Vec<CertificateDer<'static>>,
    /// What to prove our own identity with.
    client: Option<Identity>,
}

/// Returns the system's trusted authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).
///
/// None at all is not an error here: every certificate is then refused as of an unknown issuer.
pub(crate) fn system_authorities() -> Vec<CertificateDer<'static>> {
    rustls_native_certs::load_native_certs().certs
}

impl HostCertificates {
    /// Reads every folder that `dirs` have for `origin`: all authorities, the first client pair.
    ///
    /// # Errors
    /// [`RegistryError::Config`] for a file that cannot be read, holds no certificate, or a
    /// certificate without its key.
    pub(crate) fn read(dirs: &[PathBuf], origin: &Origin) -> Result<Self, RegistryError> {
        let mut certificates = Self::default();
        for name in folder_names(origin) {
            for dir in dirs {
                add_folder(&dir.join(&name), &mut certificates)?;
            }
        }
        Ok(certificates)
    }

    /// Reads files that are named one by one.
    ///
    /// # Errors
    /// As for [`HostCertificates::read`].
    pub(crate) fn of_files(files: &TlsFiles) -> Result<Self, RegistryError> {
        let authorities = match &files.authorities {
            Some(path) => read_certificates(path)?,
            None => Vec::new(),
        };
        let client = match &files.client {
            Some((certificate, key)) => Some(read_client(certificate, key)?),
            None => None,
        };
        Ok(Self {
            authorities,
            client,
        })
    }

    /// Returns a TLS configuration that trusts these authorities and the `system`'s.
    ///
    /// # Errors
    /// [`rustls::Error`] for a client key that TLS cannot use.
    pub(crate) fn verified(
        self,
        system: &[CertificateDer<'static>],
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let provider = Arc::new(default_provider());
        let mut authorities = self.authorities;
        authorities.extend(system.iter().cloned());
        let verifier = Arc::new(Authorities::new(authorities, &provider));
        configuration(&provider, verifier, self.client)
    }

    /// Returns a TLS configuration that trusts anyone.
    ///
    /// # Errors
    /// As for [`HostCertificates::verified`].
    pub(crate) fn unverified(self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let provider = Arc::new(default_provider());
        let verifier = Arc::new(Anyone::new(&provider));
        configuration(&provider, verifier, self.client)
    }
}

fn configuration(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    client: Option<Identity>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(ALL_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    Ok(Arc::new(match client {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    }))
}

/// A server's folders: `host:port`, and `host` for the usual port.
fn folder_names(origin: &Origin) -> Vec<String> {
    let Origin { host, port, .. } = origin;
    // Redirects decide on this name as well: nothing that climbs.
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    if host.starts_with('.') || !host.chars().all(is_name) {
        return Vec::new();
    }
    let mut names = vec![format!("{host}:{port}")];
    if *port == 443 {
        names.push(host.clone());
        if host == "registry-1.docker.io" {
            names.push("docker.io".into());
        }
    }
    names
}

fn add_folder(folder: &Path, certificates: &mut HostCertificates) -> Result<(), RegistryError> {
    let listing = match fs_err::read_dir(folder) {
        Ok(listing) => listing,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(error) => return Err(RegistryError::config(folder, error)),
    };
    let mut paths = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|error| RegistryError::config(folder, error))?;
        paths.push(entry.path());
    }
    paths.sort();
    for path in &paths {
        let kind = path.extension().and_then(|extension| extension.to_str());
        match kind {
            Some("crt") => certificates.authorities.extend(read_certificates(path)?),
            Some("cert") => {
                let key = path.with_extension("key");
                if !paths.contains(&key) {
                    let problem = format!("its key {} is missing", key.display());
                    return Err(RegistryError::config(path, problem));
                }
                let client = read_client(path, &key)?;
                certificates.client.get_or_insert(client);
            }
            Some("key") if !paths.contains(&path.with_extension("cert")) => {
                return Err(RegistryError::config(path, "its .cert file is missing"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let pem = fs_err::read(path).map_err(|error| RegistryError::config(path, error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|_error| RegistryError::config(path, "not valid PEM"))?;
    if found.is_empty() {
        return Err(RegistryError::config(path, "no certificate in it"));
    }
    Ok(found)
}

fn read_client(cert: &Path, key: &Path) -> Result<Identity, RegistryError> {
    let chain = read_certificates(cert)?;
    let pem = fs_err::read(key).map_err(|error| RegistryError::config(key, error))?;
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_error| RegistryError::config(key, "no private key in it"))?;
    CertifiedKey::from_der(chain.clone(), private.clone_key(), &default_provider())
        .map_err(|_error| RegistryError::config(key, format!("not a key of {}", cert.display())))?;
    Ok((chain, private))
}
