//! An HTTP server that answers as a test wants, down to broken connections.

#![expect(
    clippy::disallowed_methods,
    reason = "the threads are joined when the server is dropped"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rbuild_image::reference::Reference;
use rbuild_registry::{Client, Limits, Settings};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// Header names as they were written.
    pub(crate) header_names: Vec<String>,
    pub(crate) body: String,
    pub(crate) bytes: Vec<u8>,
    /// How many requests with this method and target came before.
    pub(crate) nth: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// First byte of the `Range` header; 0 without one.
    pub(crate) fn offset(&self) -> usize {
        self.header("range").map_or(0, |range| {
            let digits = range.strip_prefix("bytes=").unwrap();
            digits.strip_suffix('-').unwrap().parse().unwrap()
        })
    }
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As it should.
    Well,
    /// The connection closes after so many bytes of the body.
    Cut(usize),
    /// The connection is reset after so many bytes of the body.
    Reset(usize),
    /// After so many bytes of the body nothing more comes, though the connection stays open.
    Stall(usize),
    /// Where the connection closes; no length is announced.
    Closed,
    /// Chunked, without a length, and the body is sent again and again.
    Never,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    end: End,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            end: End::Well,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// `bytes` from the offset that was asked for, with everything that belongs to ranges.
    pub(crate) fn part(seen: &Seen, bytes: &[u8]) -> Self {
        match seen.offset() {
            0 => Self::new(200, bytes),
            offset => {
                let range = format!("bytes {offset}-{}/{}", bytes.len() - 1, bytes.len());
                Self::new(206, &bytes[offset..]).header("Content-Range", &range)
            }
        }
    }

    pub(crate) fn redirect(location: &str) -> Self {
        Self::new(307, "").header("Location", location)
    }
}

/// What happens when the head of a request is here and its body is not.
#[derive(Debug, Clone)]
pub(crate) enum Gate {
    /// The body is read.
    Open,
    /// This is answered, and the body is not read.
    Refuse(Answer),
    /// So many bytes are read, then the connection is reset.
    Reset(usize),
}

type Handler = dyn Fn(&Seen) -> Answer + Send + Sync;

/// A server on a free loopback port; ends when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    gate: Box<dyn Fn(&Seen) -> Gate + Send + Sync>,
    handler: Box<Handler>,
    seen: Mutex<Vec<Seen>>,
    is_stopped: AtomicBool,
}

impl Server {
    pub(crate) fn new(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::gated(|_| Gate::Open, handler)
    }

    /// Asks `gate` before it reads bodies. Requests that do not pass are seen without one.
    pub(crate) fn gated(
        gate: impl Fn(&Seen) -> Gate + Send + Sync + 'static,
        handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            gate: Box::new(gate),
            handler: Box::new(handler),
            seen: Mutex::new(Vec::new()),
            is_stopped: AtomicBool::new(false),
        });
        let inner = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                while let Ok((stream, _)) = listener.accept() {
                    if inner.is_stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let inner = &inner;
                    // A client that breaks off is part of the game.
                    scope.spawn(move || drop(inner.serve(stream)));
                }
            });
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn reference(&self, name: &str) -> Reference {
        format!("{}/{name}", self.address).parse().unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        let Some(mut seen) = read_request(&mut stream)? else {
            return Ok(());
        };
        {
            let mut all = self.seen.lock().unwrap();
            let same = |old: &&Seen| old.method == seen.method && old.target == seen.target;
            seen.nth = all.iter().filter(same).count();
            all.push(seen.clone());
        }
        let answer = match (self.gate)(&seen) {
            Gate::Open => {
                read_body(&mut stream, &mut seen)?;
                if let Some(last) = self.seen.lock().unwrap().iter_mut().rev().find(|old| {
                    (&old.method, &old.target, old.nth) == (&seen.method, &seen.target, seen.nth)
                }) {
                    last.body.clone_from(&seen.body);
                    last.bytes.clone_from(&seen.bytes);
                }
                (self.handler)(&seen)
            }
            Gate::Refuse(answer) => answer,
            Gate::Reset(count) => {
                if seen.header("expect").is_some() {
                    stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                }
                stream.read_exact(&mut vec![0; count])?;
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
                return Ok(());
            }
        };
        let is_endless = answer.end == End::Never;
        let mut head = format!(
            "HTTP/1.1 {} Whatever\r\nConnection: close\r\n",
            answer.status
        );
        for (name, value) in &answer.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let has_length = answer
            .headers
            .iter()
            .any(|(name, _)| name == "Content-Length");
        if is_endless {
            head += "Transfer-Encoding: chunked\r\n";
        } else if !has_length && answer.end != End::Closed {
            write!(head, "Content-Length: {}\r\n", answer.body.len()).unwrap();
        }
        stream.write_all(head.as_bytes())?;
        stream.write_all(b"\r\n")?;
        if seen.method == "HEAD" {
            return Ok(());
        }
        match answer.end {
            End::Well | End::Closed => stream.write_all(&answer.body),
            End::Cut(at) => stream.write_all(&answer.body[..at]),
            End::Reset(at) => {
                stream.write_all(&answer.body[..at])?;
                // Give the bytes a chance to arrive before the reset overtakes them.
                std::thread::sleep(Duration::from_millis(50));
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
                Ok(())
            }
            End::Stall(at) => {
                stream.write_all(&answer.body[..at])?;
                while !self.is_stopped.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            }
            End::Never => {
                while !self.is_stopped.load(Ordering::SeqCst) {
                    write!(stream, "{:x}\r\n", answer.body.len())?;
                    stream.write_all(&answer.body)?;
                    stream.write_all(b"\r\n")?;
                }
                Ok(())
            }
        }
    }
}

/// Returns `None` for what is no HTTP, such as the beginning of TLS.
fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<Seen>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        bytes.push(byte[0]);
        if !bytes[0].is_ascii_alphabetic() || bytes.len() > 100_000 {
            return Ok(None);
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = text.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, target) = (word(), word());
    let pairs: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let header_names = pairs.iter().map(|(name, _)| (*name).to_owned()).collect();
    let headers: BTreeMap<String, String> = pairs
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Ok(Some(Seen {
        method,
        target,
        headers,
        header_names,
        body: String::new(),
        bytes: Vec::new(),
        nth: 0,
    }))
}

fn read_body(stream: &mut TcpStream, seen: &mut Seen) -> std::io::Result<()> {
    if seen.header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = seen.header("content-length");
    seen.bytes = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut seen.bytes)?;
    seen.body = String::from_utf8_lossy(&seen.bytes).into_owned();
    Ok(())
}

/// Settings with little patience and no files.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.limits = Limits {
        backoff: Duration::from_millis(5),
        idle_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(10),
        ..Limits::default()
    };
    settings
}

pub(crate) fn client() -> Client {
    Client::new(settings()).unwrap()
}

/// The whole chain of an error, as the command line would print it, and its `Debug` form.
pub(crate) fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error} | {error:?}");
    let mut source = error.source();
    while let Some(inner) = source {
        write!(text, " <- {inner} | {inner:?}").unwrap();
        source = inner.source();
    }
    text
}
