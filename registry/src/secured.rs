//! TLS over one connection to a server that is no registry: a Docker engine.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::certificates::{HostCertificates, system_authorities};

/// The files that a connection is made with; what they name must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whom to trust; without it, whom the system trusts.
    pub authorities: Option<PathBuf>,
    /// A certificate to show, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Trust anyone.
    pub is_unverified: bool,
}

/// A connection with TLS.
pub struct TlsStream(StreamOwned<ClientConnection, TcpStream>);

impl TlsStream {
    /// Starts TLS with the server `host` on a connection to it.
    ///
    /// # Errors
    /// Files that cannot be read, and whatever keeps the two from agreeing.
    pub fn new(stream: TcpStream, host: &str, files: &TlsFiles) -> io::Result<Self> {
        let certificates = HostCertificates::of_files(files).map_err(io::Error::other)?;
        let config = match (files.is_unverified, &files.authorities) {
            (true, _) => certificates.unverified(),
            (false, Some(_)) => certificates.verified(&[]),
            (false, None) => certificates.verified(&system_authorities()),
        };
        let config = config.map_err(io::Error::other)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?;
        let connection =
            ClientConnection::new(Arc::clone(&config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self(stream))
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            // Many servers close without saying so; HTTP says itself where an answer ends.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").finish_non_exhaustive()
    }
}
