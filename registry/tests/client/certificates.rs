//! TLS: whose certificate is believed, and that distrust never leads to plain http.

#![expect(
    clippy::disallowed_methods,
    reason = "the thread is joined when the server is dropped"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rbuild_registry::{Client, RegistryError};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::server::{settings, shown};

/// Answers every request over TLS with 404, and counts.
struct TlsServer {
    address: SocketAddr,
    n_requests: Arc<AtomicUsize>,
    n_connections: Arc<AtomicUsize>,
    is_stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TlsServer {
    fn new(certificate: &Path, key: &Path) -> Self {
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let n_requests = Arc::new(AtomicUsize::new(0));
        let n_connections = Arc::new(AtomicUsize::new(0));
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (requests, connections) = (Arc::clone(&n_requests), Arc::clone(&n_connections));
        let stopped = Arc::clone(&is_stopped);
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                stream
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut tls = StreamOwned::new(connection, stream);
                let mut buffer = [0; 4096];
                if tls.read(&mut buffer).is_ok_and(|count| count > 0) {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let answer =
                        b"HTTP/1.1 404 Nothing\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    drop(tls.write_all(answer));
                    tls.conn.send_close_notify();
                    drop(tls.flush());
                }
            }
        });
        Self {
            address,
            n_requests,
            n_connections,
            is_stopped,
            thread: Some(thread),
        }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

/// Makes a self-signed certificate with openssl; false, with a notice, where there is none.
fn make_certificate(folder: &Path, name: &str, subject: &str) -> bool {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "30", "-subj", "/CN=test", "-addext"])
        .arg(format!("subjectAltName={subject}"))
        .arg("-keyout")
        .arg(folder.join(format!("{name}.key")))
        .arg("-out")
        .arg(folder.join(format!("{name}.crt")))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let is_made = made.is_ok_and(|status| status.success());
    if !is_made {
        eprintln!("skipped: no openssl to make certificates with");
    }
    is_made
}

fn resolve(server: &TlsServer, certs: Option<&Path>, is_insecure: bool) -> RegistryError {
    let mut settings = settings();
    settings.certificate_dirs.extend(certs.map(Path::to_owned));
    if is_insecure {
        settings
            .insecure_registries
            .push(server.address.to_string());
    }
    let reference = format!("{}/app:1", server.address).parse().unwrap();
    Client::new(settings)
        .unwrap()
        .resolve(&reference)
        .unwrap_err()
}

#[test]
fn trust() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    if !make_certificate(folder.path(), "good", "IP:127.0.0.1")
        || !make_certificate(folder.path(), "other", "DNS:other.example")
    {
        return;
    }
    let server = TlsServer::new(&place("good.crt"), &place("good.key"));
    let text = shown(&resolve(&server, None, false));
    assert!(text.contains("signed by an unknown authority"), "{text}");
    // No second try, neither over TLS nor without.
    assert_eq!(server.n_connections.load(Ordering::SeqCst), 1);
    assert_eq!(server.n_requests.load(Ordering::SeqCst), 0);
    assert!(resolve(&server, None, true).is_not_found());

    let certs = place("certs.d");
    let own = certs.join(server.address.to_string());
    fs_err::create_dir_all(&own).unwrap();
    fs_err::copy(place("good.crt"), own.join("ca.crt")).unwrap();
    let error = resolve(&server, Some(&certs), false);
    assert!(error.is_not_found(), "{}", shown(&error));
    assert_eq!(server.n_requests.load(Ordering::SeqCst), 2);

    let wrong_name = TlsServer::new(&place("other.crt"), &place("other.key"));
    let own = certs.join(wrong_name.address.to_string());
    fs_err::create_dir_all(&own).unwrap();
    fs_err::copy(place("other.crt"), own.join("ca.crt")).unwrap();
    let text = shown(&resolve(&wrong_name, Some(&certs), false));
    assert!(text.contains("NotValidForName"), "{text}");
    assert_eq!(wrong_name.n_requests.load(Ordering::SeqCst), 0);
}

#[test]
fn broken_folders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    if !make_certificate(folder.path(), "a", "IP:127.0.0.1")
        || !make_certificate(folder.path(), "b", "IP:127.0.0.1")
    {
        return;
    }
    let server = TlsServer::new(&place("a.crt"), &place("a.key"));
    let certs = place("certs.d");
    let own = certs.join(server.address.to_string());
    let check = |files: &[(&str, &str)], word: &str| {
        drop(fs_err::remove_dir_all(&own));
        fs_err::create_dir_all(&own).unwrap();
        for (name, source) in files {
            fs_err::copy(place(source), own.join(name)).unwrap();
        }
        let error = resolve(&server, Some(&certs), false);
        assert!(
            error.to_string().contains(word),
            "{files:?}: {}",
            shown(&error)
        );
    };
    fs_err::write(place("rubbish"), "x").unwrap();
    check(&[("client.cert", "a.crt")], "client.key is missing");
    check(&[("client.key", "a.key")], ".cert file is missing");
    check(&[("ca.crt", "rubbish")], "no certificate in it");
    check(
        &[("c.cert", "a.crt"), ("c.key", "rubbish")],
        "no private key in it",
    );
    check(&[("c.cert", "a.crt"), ("c.key", "b.key")], "not a key of");
    check(
        &[("ca.crt", "a.crt"), ("c.cert", "a.crt"), ("c.key", "a.key")],
        "not found",
    );
}

#[test]
fn bad_luck_with_tls_does_not_lead_to_http() {
    // Says what Go's TLS servers say to plain http; TLS itself fails as by a broken connection.
    let server = crate::server::Server::new(|_| {
        crate::server::Answer::new(400, "Client sent an HTTP request to an HTTPS server.")
    });
    let reference = server.reference("app:1");
    let error = Client::new(settings())
        .unwrap()
        .resolve(&reference)
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::Unreachable { .. }),
        "{}",
        shown(&error)
    );
    assert_eq!(server.seen().len(), 5);
}
